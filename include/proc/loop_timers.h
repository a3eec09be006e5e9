/* loop_timers: base/timers.h on top of an event loop: now, after, cancel.
 *
 * Timers come from a pool that grows to the largest number ever due at once (one per request that
 * waits) and costs nothing after that. A timer never fires early: the loop's own clock is coarse,
 * so what comes too soon is sent back for the rest.
 */
#ifndef OPTIROUTE_PROC_LOOP_TIMERS_H
#define OPTIROUTE_PROC_LOOP_TIMERS_H

#include "base/timers.h"

struct event_base;
struct timer_block;

struct loop_timers {
    struct event_base *base;
    struct timer *spare;        /* singly linked */
    struct timer_block *blocks; /* all memory, for the end */
    unsigned due;               /* timers set and not yet fired or cancelled */
};

void loop_timers_init(struct loop_timers *timers, struct event_base *base);
/* Timers still set never fire. Before the event base is freed. */
void loop_timers_fini(struct loop_timers *timers);
/* The three functions; valid as long as `timers`. */
struct timers loop_timers_interface(struct loop_timers *timers);

#endif
