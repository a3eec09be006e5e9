/* region: the one MAP_SHARED mapping of a daemon: made by the master before it forks, inherited by
 * all.
 *
 * The region holds everything that processes share: slots and board, counter rows, name tables,
 * breaker words, store shards. Only layer shm touches its bytes; others hold a `struct region`
 * (process-local) and call functions. Inside the region there are offsets, never pointers. It is
 * anonymous (memfd) or the file `cache.file`; one open differs. The byte diagram is at the end of
 * this header and in doc/shm.md.
 *
 * Time in the region is CLOCK_BOOTTIME plus an offset kept in the header, in milliseconds: it means
 * the same in all processes and goes on over suspend. Wall-clock jumps do not touch it.
 */
#ifndef OPTIROUTE_SHM_REGION_H
#define OPTIROUTE_SHM_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Processes that can hold a slot at once: workers of all generations and the metrics worker. */
#define REGION_SLOTS 128
#define REGION_MASTER_ROW REGION_SLOTS /* the masters' counter row (counter_add_shared) */
#define REGION_ROWS (REGION_SLOTS + 1)
#define REGION_PROVIDERS 64
#define REGION_PAIRS 256
#define REGION_ROUTES 64
#define REGION_NAME_SIZE 128                       /* bytes of a name with its final NUL */
#define REGION_STORE_BYTES_MIN (INT64_C(64) << 10) /* smallest store that is not off */

struct region;
struct totals;

struct region_params {
    int64_t store_bytes; /* `cache.size`: exact cap of all store shards together, index included; 0
                            turns the store off */
    const char *path;    /* `cache.file`, or NULL/"" for a memfd */
    unsigned counter_cells;  /* cells of a counter row, from watch/metrics */
    uint64_t counter_layout; /* hash of what the cells mean; a difference means another layout */
    struct bytes catalogue;  /* what the cells mean, for daemons of other versions; may be empty */
    uint32_t value_layout;   /* what the stored values mean; a difference costs the cache alone */
    int64_t lock_wait_ms;    /* how long to wait for a file that another process still holds: the
                                workers of a killed master end a moment after it */
    int inherited_fd;        /* of an upgrade: the region of the daemon that goes on meanwhile; 0:
                                none (descriptors 0 to 2 are never regions) */
    const char *boot_id;     /* for tests: 36 characters instead of the machine's; NULL: those */
    int64_t wall_ms;         /* for tests: what the wall clock says; 0: ask it */
};

/* What of a file was taken over. */
enum region_origin {
    REGION_NEW,         /* nothing: it was empty, not ours to read, or damaged and set aside */
    REGION_TOTALS_KEPT, /* all but the cache: `cache.size` or what is stored changed */
    REGION_ATTACHED,
    REGION_INHERITED /* everything, in use: nothing was touched */
};

struct region_report {
    enum region_origin origin;
    bool is_loss;  /* something that the file held is gone: worth a warning */
    bool rebooted; /* REGION_ATTACHED: written in another boot, so every record was verified */
    unsigned shards_rebuilt, shards_emptied; /* REGION_ATTACHED */
    char text[768];            /* the above as one line that names the path; "" for a memfd */
    const char *not_inherited; /* why the inherited one cannot go on; NULL: it can, or none was */
};

/* Makes the region, or attaches to what the file holds when magic, layout, sizes and the meaning of
 * the counters agree: totals, names, cache and breaker words go on; slots and board words begin
 * anew, every lock is made anew, shards whose writer died are repaired, and after a reboot every
 * record is verified and breakers are closed. A file of ours with another layout begins empty (its
 * totals: region_take_foreign), one with another `cache.size` keeps all but the cache, a damaged
 * one is renamed to PATH.bad-SECONDS (an older such file goes) and a new one made; region_report
 * tells which. A file that is not ours is refused and left alone, and so is one that belongs to
 * another user, one that another daemon holds (it is locked, flock, as long as a process of the
 * daemon lives) and one whose bytes cannot all be allocated: NULL with a one-line reason, which
 * names the path, in error. On failure nothing stays open.
 */
struct region *region_create(const struct region_params *params, char *error, size_t error_size);
/* An upgrade (inherited_fd): when layout, sizes and meanings agree and it is what `path` names,
 * that region goes on as it is, its descriptor and its lock ours too. Else report.not_inherited
 * says why, the descriptor stays the caller's, and a new region is made; one in a file whose path
 * the old daemon still uses is made beside it (PATH.new) until region_settle. */

/* Master, when it takes over: a region made beside its path moves there. -1 with errno. */
int region_settle(struct region *region);
/* The totals of a file of ours with another layout, to be carried over; the caller frees them. NULL
 * when there are none or they were taken. */
struct totals *region_take_foreign(struct region *region);
/* Master, after an upgrade that failed: removes what the dead successor made beside the path. */
void region_discard_beside(const char *path);
/* To hand over. */
int region_descriptor(const struct region *region);
/* For tests and the master's end: unmaps. Workers never unmap. */
void region_destroy(struct region *region);
/* Milliseconds of region time; monotonic, the same in every process. */
int64_t region_now_ms(const struct region *region);
/* Every process, about once a second: notes region time and the wall clock (ms since the epoch)
 * side by side in the file, so that after a reboot the time goes on. One of the callers does it, at
 * most once in 900 ms; nothing for a memfd. */
void region_mark_time(struct region *region, int64_t wall_ms);
/* The master, at its end: the same without asking when it was done last. */
void region_mark_end(struct region *region, int64_t wall_ms);
/* Master, when names were added and before their counters are used: brings them to the disk, so
 * that a power cut cannot leave totals whose name is not there. Nothing for a memfd or without new
 * names; may wait for the disk. */
void region_sync_names(struct region *region);
/* Master, at boot: gives up totals, names and breakers, and keeps the cache. */
void region_forget_totals(struct region *region);
/* True when an existing region was attached instead of starting empty. */
bool region_was_attached(const struct region *region);
/* Lives as long as the region. */
const struct region_report *region_report(const struct region *region);
/* Bytes of the whole mapping. */
size_t region_size(const struct region *region);

/* The bytes (exact structs: src/shm/region_layout.h and store_layout.h; doc/shm.md explains):
 *
 *     +--------------------------------+ 0
 *     | header: magic, version, sizes, |   one page; written before the first fork, then only time
 *     |   boot id, time, board words   |   and board words, by the master
 *     +--------------------------------+ 4,096
 *     | breaker words    64 x 8        |   shm/word.h: compare-and-swap by every worker
 *     | their subjects   64 x 8        |   written by the master
 *     +--------------------------------+
 *     | names: providers 64 x 128      |   shm/names.h: a count and its entries, three times;
 *     |        pairs    256 x 128      |   grow only, written by the master
 *     |        routes    64 x 128      |
 *     +--------------------------------+
 *     | catalogue of the counters      |   watch/carry.h: what the cells mean, for other versions
 *     +--------------------------------+ page
 *     | slots           128 x 640      |   shm/board.h: pid, state | gauges | attempts | last words
 *     +--------------------------------+ page
 *     | counter rows    129 x row      |   shm/counters.h: row = cells x 8, whole cache lines; one
 *     |                                |   writer each; the last row is the masters'
 *     +--------------------------------+ page
 *     | flights      16,384 x 64       |   shm/flight.h: leader and who waits, under the shard's
 * lock
 *     +--------------------------------+ page
 *     | history: samples, requests     |   shm/history.h
 *     +--------------------------------+ page
 *     | shard 0: lock | index | log    |   shm/store.h: S equal shards of whole pages;
 *     | ...                            |   S = power of two of cache.size / 4 MiB, 1 to 256;
 *     | shard S-1                      |   S x shard <= cache.size
 *     +--------------------------------+ region_size
 */

#endif
