/* capacity: how many connections there is room for: limits.max_connections against the limit of
 * open files (RLIMIT_NOFILE), and what is kept free below it; and how much may be uploaded at once,
 * which max_connections times max_body would not bound. Pure functions; master, workers and -t.
 *
 *   0        base                                 descriptors        + above              nofile
 *   | files  | connections of clients             | above the limit  | upstream, resolver, log |
 *
 * Descriptors are numbered from the lowest free one, so an accepted connection with a number of
 * `descriptors` or more says that all below are in use: that is how a worker sees its limit coming
 * without counting what libraries open.
 */
#ifndef OPTIROUTE_PROC_CAPACITY_H
#define OPTIROUTE_PROC_CAPACITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct capacity {
    int64_t connections; /* of the whole daemon */
    int64_t descriptors; /* of one process: a connection with this number or more is above it */
    int64_t above;       /* connections of one process above the limits, held for a moment each */
    int64_t body_bytes;  /* of one process: of all requests that it is reading at once */
};

/* most: wanted, over `processes` of them. Each of them may be 9/8 of an equal share, as the accept
 * balance has it (proc/accept.h). */
struct capacity capacity_of(int64_t most, unsigned processes, uint64_t nofile);
/* Half of what the machine or the control group has beside the cache, in equal parts; but always
 * four of the largest bodies. */
int64_t capacity_body_bytes(uint64_t memory, int64_t cache, int64_t max_body, unsigned processes);
/* Open files that one process must be allowed so that `most` fit. */
uint64_t capacity_nofile(int64_t most, unsigned processes);
/* True, and one line, when nofile does not allow what is wanted. */
bool capacity_is_short(int64_t most, unsigned processes, uint64_t nofile, char *line, size_t size);

#endif
