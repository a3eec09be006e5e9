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

#define REGION_SLOTS                                                                          \
    128 /* processes that can hold a slot at once: workers of all generations and the metrics \
           worker */
#define REGION_MASTER_ROW REGION_SLOTS /* the master's own counter row */
#define REGION_ROWS (REGION_SLOTS + 1)
#define REGION_PROVIDERS 64
#define REGION_PAIRS 256
#define REGION_ROUTES 64
#define REGION_NAME_SIZE 128 /* bytes of a name with its final NUL */

struct region;

struct region_params {
    int64_t store_bytes; /* `cache.size`: exact cap of all store shards together, index included; 0
                            turns the store off */
    const char *path;    /* `cache.file`, or NULL/"" for a memfd */
    unsigned counter_cells;  /* cells of a counter row, from watch/metrics */
    uint64_t counter_layout; /* hash of what the cells mean; a difference means another layout */
};

/* Makes (or attaches) the region. NULL with a one-line reason in error. Never partially: on failure
 * nothing stays open. */
struct region *region_create(const struct region_params *params, char *error, size_t error_size);
/* For tests and the master's end: unmaps. Workers never unmap. */
void region_destroy(struct region *region);
/* Milliseconds of region time; monotonic, the same in every process. */
int64_t region_now_ms(const struct region *region);
/* True when an existing region was attached instead of starting empty. */
bool region_was_attached(const struct region *region);
/* Bytes of the whole mapping. */
size_t region_size(const struct region *region);

#endif
