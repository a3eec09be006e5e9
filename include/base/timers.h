/* timers: how code below the event loop asks for time: now, after, cancel.
 *
 * worker.c fills the three functions with libevent, tests with a clock they turn by hand. A timer
 * fires once; after it fired or was cancelled its handle is void.
 */
#ifndef OPTIROUTE_BASE_TIMERS_H
#define OPTIROUTE_BASE_TIMERS_H

#include <stdint.h>

struct timer;
typedef void timer_fn(void *argument);

struct timers {
    int64_t (*now_ns)(void *context); /* monotonic */
    /* NULL without memory. */
    struct timer *(*after)(void *context, int64_t delay_ns, timer_fn *fire, void *argument);
    void (*cancel)(void *context, struct timer *timer); /* NULL allowed */
    void *context;
};

static inline int64_t timers_now_ns(const struct timers *timers) {
    return timers->now_ns(timers->context);
}
static inline struct timer *timers_after(const struct timers *timers, int64_t delay_ns,
                                         timer_fn *fire, void *argument) {
    return timers->after(timers->context, delay_ns, fire, argument);
}
static inline void timers_cancel(const struct timers *timers, struct timer *timer) {
    timers->cancel(timers->context, timer);
}

#endif
