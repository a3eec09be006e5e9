/* loop_timers: see proc/loop_timers.h. Runs in workers. */
#include "config.h"

#include "proc/loop_timers.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>

#include "base/clock.h"

#define BLOCK_TIMERS 64

struct timer {
    struct event event;
    struct loop_timers *owner;
    timer_fn *fire; /* NULL while spare */
    void *argument;
    int64_t due_ns;
    struct timer *next; /* while spare */
};

struct timer_block {
    struct timer_block *next;
    struct timer timers[BLOCK_TIMERS];
};

/* Rounded up: a timer may be late, never early. */
static struct timeval timeval_of(int64_t ns) {
    int64_t us = ns > 0 ? (ns + NS_PER_US - 1) / NS_PER_US : 0;
    return (struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000};
}

static void give_back(struct timer *timer) {
    struct loop_timers *owner = timer->owner;
    timer->fire = NULL;
    timer->next = owner->spare;
    owner->spare = timer;
    owner->due--;
}

static void on_due(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    struct timer *timer = argument;
    int64_t left_ns = timer->due_ns - clock_mono_ns();
    if (left_ns > 0) {
        struct timeval delay = timeval_of(left_ns);
        if (evtimer_add(&timer->event, &delay) == 0) {
            return;
        }
    }
    /* Spare before the call: the handle is void from here on, and the callee may set a new one. */
    timer_fn *fire = timer->fire;
    void *fire_argument = timer->argument;
    give_back(timer);
    fire(fire_argument);
}

static int grow(struct loop_timers *timers) {
    struct timer_block *block = calloc(1, sizeof(*block));
    if (block == NULL) {
        return -1;
    }
    block->next = timers->blocks;
    timers->blocks = block;
    for (int i = BLOCK_TIMERS - 1; i >= 0; i--) {
        struct timer *timer = &block->timers[i];
        timer->owner = timers;
        (void)evtimer_assign(&timer->event, timers->base, on_due, timer);
        timer->next = timers->spare;
        timers->spare = timer;
    }
    return 0;
}

static int64_t timers_now(void *context) {
    (void)context;
    return clock_mono_ns();
}

static struct timer *timers_set(void *context, int64_t delay_ns, timer_fn *fire, void *argument) {
    struct loop_timers *timers = context;
    if (timers->spare == NULL && grow(timers) == -1) {
        return NULL;
    }
    struct timer *timer = timers->spare;
    struct timeval delay = timeval_of(delay_ns);
    if (evtimer_add(&timer->event, &delay) == -1) {
        return NULL;
    }
    timers->spare = timer->next;
    timers->due++;
    timer->fire = fire;
    timer->argument = argument;
    timer->due_ns = clock_mono_ns() + (delay_ns > 0 ? delay_ns : 0);
    return timer;
}

static void timers_unset(void *context, struct timer *timer) {
    (void)context;
    if (timer != NULL) {
        (void)evtimer_del(&timer->event);
        give_back(timer);
    }
}

void loop_timers_init(struct loop_timers *timers, struct event_base *base) {
    *timers = (struct loop_timers){.base = base};
}

void loop_timers_fini(struct loop_timers *timers) {
    while (timers->blocks != NULL) {
        struct timer_block *block = timers->blocks;
        timers->blocks = block->next;
        for (int i = 0; i < BLOCK_TIMERS; i++) {
            (void)evtimer_del(&block->timers[i].event);
        }
        free(block);
    }
    timers->spare = NULL;
}

struct timers loop_timers_interface(struct loop_timers *timers) {
    return (struct timers){
        .now_ns = timers_now, .after = timers_set, .cancel = timers_unset, .context = timers};
}
