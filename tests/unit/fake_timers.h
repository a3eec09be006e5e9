/* fake_timers: base/timers.h with a clock that the test turns by hand. Timers fire in the order of
 * their time, equal ones in the order in which they were armed.
 */
#ifndef OPTIROUTE_TESTS_FAKE_TIMERS_H
#define OPTIROUTE_TESTS_FAKE_TIMERS_H

#include <stdlib.h>

#include "base/timers.h"

struct timer {
    struct timer *next;
    int64_t due_ns;
    timer_fn *fire;
    void *argument;
};

struct fake_timers {
    struct timer *first; /* sorted */
    int64_t now_ns;
    int refuse; /* this many of the next `after` calls fail as without memory */
};

static inline int64_t fake_now(void *context) {
    return ((struct fake_timers *)context)->now_ns;
}

static inline struct timer *fake_after(void *context, int64_t delay_ns, timer_fn *fire,
                                       void *argument) {
    struct fake_timers *fake = context;
    if (fake->refuse > 0) {
        fake->refuse--;
        return NULL;
    }
    struct timer *timer = malloc(sizeof(*timer));
    *timer = (struct timer){.due_ns = fake->now_ns + delay_ns, .fire = fire, .argument = argument};
    struct timer **at = &fake->first;
    while (*at != NULL && (*at)->due_ns <= timer->due_ns) {
        at = &(*at)->next;
    }
    timer->next = *at;
    *at = timer;
    return timer;
}

static inline void fake_cancel(void *context, struct timer *timer) {
    struct fake_timers *fake = context;
    for (struct timer **at = &fake->first; timer != NULL && *at != NULL; at = &(*at)->next) {
        if (*at == timer) {
            *at = timer->next;
            free(timer);
            return;
        }
    }
}

static inline struct timers fake_timers_make(struct fake_timers *fake) {
    return (struct timers){fake_now, fake_after, fake_cancel, fake};
}

/* Turns the clock to the next timer and fires it; 0 when there is none. */
static inline int fake_timers_step(struct fake_timers *fake) {
    struct timer *timer = fake->first;
    if (timer == NULL) {
        return 0;
    }
    fake->first = timer->next;
    fake->now_ns = timer->due_ns;
    timer_fn *fire = timer->fire;
    void *argument = timer->argument;
    free(timer);
    fire(argument);
    return 1;
}

#endif
