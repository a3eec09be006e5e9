/* process_stats: what a set of processes uses together, from /proc.
 *
 * For the process_* metrics of the whole daemon. A process that is gone is left out; what the
 * kernel does not let this user see of a process counts 0.
 */
#ifndef OPTIROUTE_WATCH_PROCESS_STATS_H
#define OPTIROUTE_WATCH_PROCESS_STATS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"

struct process_stats {
    uint64_t cpu_ns;         /* user and system time, ended children of the master included */
    uint64_t resident_bytes; /* pages that processes share are counted once */
    uint64_t virtual_bytes;
    uint64_t open_fds;
    uint64_t max_fds; /* soft limits */
};

/* Sums over the master and `others`. cpu_ns does not go back when one of the others ends and the
 * master reaps it, as long as the master stays the same. */
void process_stats_read(pid_t master, const pid_t *others, unsigned count,
                        struct process_stats *stats);

/* CPU time of the ended children that this process has waited for; 0 when it cannot be read. */
uint64_t process_children_cpu_ns(pid_t pid);

/* Fields of /proc/PID/stat; times in clock ticks. */
struct process_stat_line {
    uint64_t own_ticks;      /* utime + stime */
    uint64_t children_ticks; /* cutime + cstime: children that were waited for */
    uint64_t virtual_bytes;
};
/* Parses a line of /proc/PID/stat, whatever the process calls itself; false when it is none. */
bool process_stat_parse(struct bytes line, struct process_stat_line *out);

#endif
