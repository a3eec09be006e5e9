/* region_layout: the bytes of the region, for the files of layer shm and their tests alone.
 *
 * Everything here lies in shared memory unless it says process-local. The picture is in
 * shm/region.h and doc/shm.md. Change a struct here and REGION_LAYOUT_VERSION goes up.
 */
#ifndef OPTIROUTE_SHM_REGION_LAYOUT_H
#define OPTIROUTE_SHM_REGION_LAYOUT_H

#include <stdatomic.h>

#include "shm/board.h"
#include "shm/counters.h"
#include "shm/names.h"
#include "shm/region.h"

#define REGION_MAGIC UINT64_C(0x314554554f525450) /* "PTROUTE1" as a little-endian word */
#define REGION_LAYOUT_VERSION 3u
#define REGION_LINE 64u
#define REGION_PAGE 4096u
#define REGION_BOOT_ID_SIZE 36 /* text of /proc/sys/kernel/random/boot_id, without a NUL */
#define REGION_BOARD_WORDS 16
#define REGION_SHARDS_MAX 256u

_Static_assert(BOARD_WORD_COUNT <= REGION_BOARD_WORDS, "the header has room for the board's words");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "processes share 64-bit words without a lock");

/* First page. What has no writer named is written once, by region_create, before the first fork. */
struct region_header {
    uint64_t magic;          /* REGION_MAGIC */
    uint32_t layout_version; /* REGION_LAYOUT_VERSION */
    uint32_t counter_cells;  /* cells of a row */
    uint64_t counter_layout; /* hash of what the cells mean */
    uint64_t region_bytes;   /* whole mapping */
    uint64_t shard_bytes;    /* one shard, all included; a multiple of a page */
    uint32_t shard_count;    /* 0 when the store is off */
    uint32_t reserved;       /* 0 */
    uint64_t store_seed; /* random: a record's checksum cannot be made up by who chooses values */
    char boot_id[REGION_BOOT_ID_SIZE]; /* the boot in which CLOCK_BOOTTIME counts */
    uint32_t reserved_boot;            /* 0 */
    _Atomic int64_t time_offset_ms;    /* region time = CLOCK_BOOTTIME + this */
    /* The same moment on both clocks; issue 5 lets the master write it once a second. */
    _Atomic int64_t pair_wall_ms, pair_region_ms;
    _Atomic int64_t board_words[REGION_BOARD_WORDS]; /* writer: master; enum board_word */
    /* Slots 0..seen-1 were claimed at least once; the others need no look. Writer: master. */
    _Atomic uint32_t slots_seen;
    /* 1 once somebody asked for the row to write: an untouched row costs no page, so readers skip
     * it (even reading a hole of a memfd allocates it). Writer: who asks; never cleared. */
    _Atomic uint8_t row_used[REGION_ROWS];
};
_Static_assert(sizeof(struct region_header) <= REGION_PAGE, "the header is one page");

/* One process's place. Fields of the master change rarely; the owner's gauges have their own line.
 */
struct board_slot {
    _Alignas(REGION_LINE) _Atomic uint64_t
        claim;                   /* incarnation << 32 | role; writer: master, by compare-and-swap */
    _Atomic int32_t pid;         /* 0 before the fork is known; writer: master */
    _Atomic uint32_t generation; /* of the configuration; writer: master */
    _Atomic uint32_t state;      /* enum board_state; writers: master at claim and release, owner */
    uint32_t reserved;           /* 0 */
    _Atomic int64_t last_beat_ms;                     /* region time; writer: owner */
    _Alignas(REGION_LINE) struct board_gauges gauges; /* writer: owner; master at release */
    /* attempts under way at each provider; writer: owner, master at release */
    _Alignas(REGION_LINE) _Atomic int32_t outstanding[REGION_PROVIDERS];
    _Alignas(REGION_LINE) char last_words[BOARD_LAST_WORDS_SIZE]; /* writer: owner, dying */
};
_Static_assert(sizeof(struct board_slot) == 10 * REGION_LINE, "slots do not share a line");

/* One name table: entries[i] is complete before count shows it. Writer: master. */
struct names_table {
    _Alignas(REGION_LINE) _Atomic uint32_t count; /* entries shown; release by the writer */
    _Alignas(REGION_LINE) char entries[][REGION_NAME_SIZE];
};

/* Where the parts begin; computed from the parameters in each process that creates or attaches,
 * never read back from shared bytes. */
struct region_geometry {
    size_t names[3]; /* by enum names_kind */
    size_t words;    /* breaker words: REGION_PROVIDERS x _Atomic uint64_t */
    size_t subjects; /* what each word is about: REGION_PROVIDERS x _Atomic uint64_t */
    size_t slots;    /* REGION_SLOTS x struct board_slot */
    size_t rows;     /* REGION_ROWS x row_bytes */
    size_t row_bytes;
    size_t store; /* shard_count x shard_bytes */
    size_t shard_bytes;
    uint32_t shard_count;
    size_t size; /* whole mapping */
};

/* Process-local; made before the fork and inherited with the mapping. */
struct region {
    uint8_t *base;                /* where the mapping begins here */
    struct region_header *header; /* = base */
    struct region_geometry at;
    unsigned counter_cells;
    int fd; /* memfd or cache.file; the file's flock lives as long as a process has it open */
    bool attached; /* an existing region was taken over */
};

/* NULL when header and handle agree, else what differs: magic, version, sizes. */
const char *region_check(const struct region *region);
/* For tests: lets region time jump for every process. */
void region_shift_time(struct region *region, int64_t delta_ms);

static inline struct board_slot *region_slot(const struct region *region, int slot) {
    return (struct board_slot *)(void *)(region->base + region->at.slots) + slot;
}

#endif
