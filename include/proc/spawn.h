/* spawn: seats and who sits in them: forking a worker into a slot of the board, and how long to
 * wait before the next one after a death.
 *
 * A seat is a place in a generation that wants a process: "worker 0", "metrics". Its process comes
 * and goes; the board slot it had goes back when it is reaped. Master only.
 */
#ifndef OPTIROUTE_PROC_SPAWN_H
#define OPTIROUTE_PROC_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "shm/board.h"

#define SPAWN_BACKOFF_MIN_NS (100 * NS_PER_MS)
#define SPAWN_BACKOFF_MAX_NS (30 * NS_PER_S)
#define SPAWN_BACKOFF_RESET_NS (10 * NS_PER_S) /* so long a life forgives what was before */
#define SPAWN_EARLY_DEATH_NS NS_PER_S          /* dying so soon after ready is a bad start too */

/* Exit status of a child that cannot work with its configuration: it is not tried again. */
#define SPAWN_EXIT_CONFIGURATION 2

/*
 *              fork              READY on the board
 *     DUE ------------> STARTING ------------------> READY
 *      ^                   |  |                      |  |
 *      |      death        |  |      drain           |  |
 *      +-------------------+--|---------- death -----+  |
 *                             +-------> DRAINING <------+
 *     exit status 2: FAULTY               |
 *     drained while DUE: EMPTY <----------+ death
 */
enum seat_state { SEAT_DUE, SEAT_STARTING, SEAT_READY, SEAT_DRAINING, SEAT_EMPTY, SEAT_FAULTY };

struct seat {
    enum board_role role;
    unsigned number; /* of the worker; 0 for the metrics worker */
    enum seat_state state;
    int slot;           /* on the board; -1 while nobody sits here */
    pid_t pid;          /* 0 while nobody sits here */
    int64_t started_ns; /* monotonic; when it was forked */
    int64_t ready_ns;   /* when it was seen ready; 0 before */
    int64_t backoff_ns; /* last wait for a bad start; 0: none since it lived long enough */
    int64_t due_ns;     /* DUE: not before */
    bool slotless;      /* DUE: it was said already that no slot is free */
};

struct master;
struct generation;

/* How a life ended. */
struct spawn_death {
    bool was_ready;
    bool own_fault;       /* neither SIGKILL nor SIGTERM */
    int64_t lived_ns;     /* since the fork */
    int64_t ready_for_ns; /* since it was ready */
};

/* How long to wait before the next one. *backoff_ns is the seat's memory; a life that somebody else
 * ended before it was ready costs the least wait and is not remembered. */
int64_t spawn_backoff(int64_t *backoff_ns, const struct spawn_death *death);
/* Forks a DUE seat's process. When that cannot be done now the seat stays DUE for a little later.
 * Returns in the master only. */
void spawn_seat(struct master *master, struct generation *generation, struct seat *seat);
/* "worker 3", "metrics". */
void spawn_name(const struct seat *seat, char *out, size_t out_size);

#endif
