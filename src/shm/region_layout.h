/* region_layout: the bytes of the region, for the files of layer shm and their tests alone.
 *
 * Everything here lies in shared memory unless it says process-local. The picture is in
 * shm/region.h and doc/shm.md. Change a struct here and REGION_LAYOUT_VERSION goes up.
 */
#ifndef OPTIROUTE_SHM_REGION_LAYOUT_H
#define OPTIROUTE_SHM_REGION_LAYOUT_H

#include <limits.h>
#include <stdatomic.h>
#include <stddef.h>

#include "shm/board.h"
#include "shm/counters.h"
#include "shm/names.h"
#include "shm/region.h"

#define REGION_MAGIC UINT64_C(0x314554554f525450) /* "PTROUTE1" as a little-endian word */
#define REGION_LAYOUT_VERSION 5u
#define REGION_LINE 64u
#define REGION_PAGE 4096u
#define REGION_BOOT_ID_SIZE 36 /* text of /proc/sys/kernel/random/boot_id, without a NUL */
#define REGION_BOARD_WORDS 16
#define REGION_SHARDS_MAX 256u

_Static_assert(BOARD_WORD_COUNT <= REGION_BOARD_WORDS, "the header has room for the board's words");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "processes share 64-bit words without a lock");

/* How far the making of a region has come. In a file it outlives its maker; the values are far
 * apart so that damage does not turn one into another. */
#define REGION_FORMING UINT32_C(0x6f726d31)       /* nothing in it counts yet */
#define REGION_STORE_FORMING UINT32_C(0x53746f32) /* all but the store counts */
#define REGION_WHOLE UINT32_C(0x9a5c0e84)

/* One moment on both clocks, and in which boot that was. A mark is written by who wins the turn
 * (region_mark_time) and may be cut short by a death, so there are several and each proves itself:
 * the newest whole one counts. Read when a file is attached, never while the daemon runs. */
#define REGION_MARKS 4u
struct region_mark {
    uint64_t number; /* from 1; mark n lies at n % REGION_MARKS */
    char boot_id[REGION_BOOT_ID_SIZE];
    uint32_t reserved; /* 0 */
    int64_t offset_ms; /* region time = CLOCK_BOOTTIME of that boot + this */
    int64_t wall_ms;   /* since the epoch */
    int64_t region_ms; /* the same moment */
    uint64_t check;    /* of all before it */
};

/* Where the counters are and what they are called, for a daemon of any other version: it reads the
 * totals of this region by this alone (shm/totals.h). It stands behind the state for ever, and when
 * its fields change its version goes up. Offsets are from the beginning of the region. */
#define REGION_DIRECTORY_VERSION 1u
#define REGION_NAME_KINDS 3u
struct region_directory {
    uint32_t version; /* REGION_DIRECTORY_VERSION */
    uint32_t row_count;
    uint64_t rows, row_bytes;
    uint64_t row_used; /* a byte a row: 0 means that the row is all 0 and need not be looked at */
    uint32_t cells;    /* of a row */
    uint32_t name_size;
    uint64_t names[REGION_NAME_KINDS]; /* struct names_table each */
    uint32_t names_capacity[REGION_NAME_KINDS];
    uint32_t catalogue_bytes;
    uint64_t catalogue; /* what the cells mean; watch/carry.h */
    uint64_t check;     /* of all before it */
};

/* First page. What has no writer named is written by region_create, before the first fork. */
struct region_header {
    /* The first 64 bytes say what the region is; `check` covers them. */
    uint64_t magic;          /* REGION_MAGIC */
    uint32_t layout_version; /* REGION_LAYOUT_VERSION */
    uint32_t counter_cells;  /* cells of a row */
    uint64_t counter_layout; /* hash of what the cells mean */
    uint64_t region_bytes;   /* whole mapping */
    uint64_t shard_bytes;    /* one shard, all included; a multiple of a page */
    uint32_t shard_count;    /* 0 when the store is off */
    uint32_t value_layout;   /* what the stored values mean: the caller's business */
    uint64_t store_seed; /* random: a record's checksum cannot be made up by who chooses values */
    uint64_t check;      /* hash of all before it */
    _Atomic uint32_t state;  /* REGION_FORMING, _STORE_FORMING, _WHOLE */
    uint32_t reserved_state; /* 0 */
    struct region_directory directory;
    _Atomic int64_t time_offset_ms; /* region time = CLOCK_BOOTTIME + this */
    _Atomic int64_t marked_ms; /* region time of the last turn to mark; writer: who wins, by CAS */
    _Atomic uint64_t marks_made;                     /* the next mark has this number + 1 */
    struct region_mark marks[REGION_MARKS];          /* writer: who won a turn */
    _Atomic int64_t board_words[REGION_BOARD_WORDS]; /* writer: master; enum board_word */
    /* Slots 0..seen-1 were claimed at least once since the start; the others need no look. Writer:
     * masters, by compare-and-swap. */
    _Atomic uint32_t slots_seen;
    /* 1 once somebody asked for the row to write: an untouched row costs no page, so readers skip
     * it (even reading a hole of a memfd allocates it). Writer: who asks; never cleared. */
    _Atomic uint8_t row_used[REGION_ROWS];
};
_Static_assert(sizeof(struct region_header) <= REGION_PAGE, "the header is one page");
_Static_assert(offsetof(struct region_header, directory) == 72, "other versions look for it there");

/* One process's place. Fields of the master change rarely; the owner's gauges have their own line.
 */
struct board_slot {
    _Alignas(REGION_LINE) _Atomic uint64_t
        claim; /* incarnation 32 | master's pid 24 | role 8; writer: masters, by compare-and-swap */
    _Atomic int32_t pid;         /* 0 before the fork is known; writer: master */
    _Atomic uint32_t generation; /* of the configuration; writer: master */
    _Atomic uint32_t state;      /* enum board_state; writers: master at claim and release, owner */
    uint32_t reserved;           /* 0 */
    _Atomic int64_t last_beat_ms;                     /* region time; writer: owner */
    _Atomic int64_t claimed_ms;                       /* region time; writer: master */
    _Alignas(REGION_LINE) struct board_gauges gauges; /* writer: owner; master at release */
    /* attempts under way at each provider; writer: owner, master at release */
    _Alignas(REGION_LINE) _Atomic int32_t outstanding[REGION_PROVIDERS];
    _Alignas(REGION_LINE) char last_words[BOARD_LAST_WORDS_SIZE]; /* writer: owner, dying */
};
_Static_assert(sizeof(struct board_slot) == 10 * REGION_LINE, "slots do not share a line");

/* One name table: entries[i] is complete before `shown` counts it. Writer: master. */
struct names_table {
    /* hash of the entries shown 48 | their number 16, in one store: a death leaves both or neither,
     * and a table in a file proves itself. Release by the writer. */
    _Alignas(REGION_LINE) _Atomic uint64_t shown;
    _Alignas(REGION_LINE) char entries[][REGION_NAME_SIZE];
};

/* Where the parts begin; computed from the parameters in each process that creates or attaches,
 * never read back from shared bytes. */
struct region_geometry {
    size_t names[3]; /* by enum names_kind */
    size_t words;    /* breaker words: REGION_PROVIDERS x _Atomic uint64_t */
    size_t subjects; /* what each word is about: REGION_PROVIDERS x _Atomic uint64_t */
    size_t catalogue;
    size_t catalogue_bytes;
    size_t slots; /* REGION_SLOTS x struct board_slot */
    size_t rows;  /* REGION_ROWS x row_bytes */
    size_t row_bytes;
    size_t flights; /* FLIGHTS_MAX x struct flight_entry */
    size_t history; /* history.c's */
    size_t store;   /* shard_count x shard_bytes */
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
    bool is_file;
    int wake_fds[REGION_SLOTS]; /* -1: wake_open was not called */
    /* Of an upgrade with another layout: the file at its path is still the old daemon's, and ours
     * is this one beside it until region_settle. "" else. */
    char beside[PATH_MAX];
    char path[PATH_MAX];    /* where it belongs; set with `beside` */
    struct totals *foreign; /* of a file with another layout; NULL: none, or taken */
    int names_synced;       /* sum of the counts when they were last brought to the disk */
    char boot_id[REGION_BOOT_ID_SIZE]; /* this boot's, read once; zeros when it cannot be */
    struct region_report report;       /* what the file held */
};

/* -- region.c -- */

/* NULL when header and handle agree, else what differs: magic, version, sizes. */
const char *region_check(const struct region *region);
/* Of the directory but its `check`. */
uint64_t region_directory_check(const struct region_directory *directory);
/* Over the first 64 bytes of a header but `check`. */
uint64_t region_header_check(const struct region_header *header);
/* The identity of a new region: the first 64 bytes, with a fresh seed. -1 without random bytes. */
int region_identify(const struct region_geometry *at, const struct region_params *params,
                    struct region_header *header);
/* "cache.file PATH: what: reason", or "shared memory: ...". reason 0: none. */
void region_fail(char *error, size_t error_size, const char *what, const char *path, int reason);
/* For tests: lets region time jump for every process. */
void region_shift_time(struct region *region, int64_t delta_ms);

/* -- region_file.c: the file, before it is mapped -- */

/* The file, locked, allocated in whole and `region->at.size` long; report.origin says what of it
 * counts: nothing (the header says FORMING), all but the store (STORE_FORMING), or all. -1 with the
 * reason in error. */
int region_file_open(struct region *region, const struct region_params *params, char *error,
                     size_t error_size);

/* -- region_inherit.c: the region of a daemon that is being upgraded -- */

/* Can it go on as our region? NULL, or why not. */
const char *region_inherits(const struct region *region, const struct region_params *params);
/* As region_file_open, for a new file beside the one that the old daemon still uses. */
int region_open_beside(struct region *region, const struct region_params *params, char *error,
                       size_t error_size);
/* The inherited file is the one at the path of the parameters. */
bool region_is_at_path(int fd, const char *path);

/* -- region_attach.c: what the file holds, once mapped -- */

/* The newest whole mark, NULL when there is none. */
const struct region_mark *region_newest_mark(const struct region_header *header);
/* Makes what the dead daemon left fit for the next one: time, slots, words, locks, shards. Nobody
 * else has the region. -1 when a lock cannot be made. */
int region_attach(struct region *region, const struct region_params *params);
/* The names that are there were brought to the disk by who added them. */
void region_resume_names(struct region *region);
/* The clock of a new region. */
void region_start_time(struct region *region, const struct region_params *params);

/* -- parts, for region_attach.c and region_file.c -- */

/* board.c: every slot free and empty with its incarnation raised, every board word 0. */
void board_reset(struct region *region);
/* history.c: what it needs, and nothing in it any more. */
size_t history_bytes(void);
void history_forget(struct region *region);
/* word.c: every breaker word 0, which is closed. */
void word_reset(struct region *region);
/* names.c: NULL when each table proves itself, else which does not. */
const char *names_check(const struct region *region);

static inline struct board_slot *region_slot(const struct region *region, int slot) {
    return (struct board_slot *)(void *)(region->base + region->at.slots) + slot;
}

#endif
