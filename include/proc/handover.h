/* handover: what a master hands to the one that is to take its place: descriptors with fixed
 * numbers from 3 on, and one variable that says what they are.
 *
 *     OPTIROUTE_UPGRADE="PID GENERATION KIND=ADDRESS ..."
 *     3 the pipe on which the successor says how it goes (proc/console.h)
 *     4 the region
 *     5.. the listening sockets, one for each KIND (clients or metrics); ADDRESS is what the
 *         configuration asked for, "" for a socket that an init system gave
 *
 * The variable counts only in a child of process PID. It is the contract between two versions of
 * the daemon: a version that does not know the first word ends, and the old one goes on.
 */
#ifndef OPTIROUTE_PROC_HANDOVER_H
#define OPTIROUTE_PROC_HANDOVER_H

#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "proc/listen.h"

#define HANDOVER_VARIABLE "OPTIROUTE_UPGRADE"
#define HANDOVER_FIRST_FD 3

struct handover {
    pid_t master; /* the old one */
    uint32_t generation;
    int console_fd, region_fd;
    struct listeners clients, metrics;
};

/* Old master, in the child that becomes the new one: moves the descriptors to their numbers and
 * sets the variable. -1 with errno. The handover's own numbers are not to be used afterwards. */
int handover_give(const struct handover *handover);
/* How many descriptors from HANDOVER_FIRST_FD on were handed over; 0: this is no upgrade. Looks at
 * the environment only. */
unsigned handover_count(void);
/* New master: 1 and all of it, each descriptor checked and close-on-exec; 0 when this is no
 * upgrade; -1 with one line when something is not what it should be. Removes the variable. */
int handover_take(struct handover *handover, char *error, size_t error_size);

/* The variable's text, and the way back: the number of sockets, -1 when it makes no sense; *list is
 * the part with the sockets. Pure. */
void handover_compose(const struct handover *handover, struct buf *out);
int handover_parse(struct bytes text, struct handover *handover, struct bytes *list);

#endif
