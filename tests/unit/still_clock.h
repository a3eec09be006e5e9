/* still_clock: the clocks of base/clock.h, of which the one of the shared region can be stopped.
 *
 * For programs whose tests turn region time by hand (region_shift_time) and say what it is then:
 * the machine may take as long as it likes between two steps. It brings all of base/clock, so that
 * the library's is not linked, and is included once in a program.
 */
#ifndef OPTIROUTE_TESTS_STILL_CLOCK_H
#define OPTIROUTE_TESTS_STILL_CLOCK_H

#include <time.h>

#include "base/clock.h"

static int64_t clock_stands_at_ns; /* 0: it goes */

static inline int64_t real_clock_ns(clockid_t id) {
    struct timespec now;
    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t clock_mono_ns(void) {
    return real_clock_ns(CLOCK_MONOTONIC);
}

int64_t clock_boot_ns(void) {
    return clock_stands_at_ns != 0 ? clock_stands_at_ns : real_clock_ns(CLOCK_BOOTTIME);
}

int64_t clock_wall_ns(void) {
    return real_clock_ns(CLOCK_REALTIME);
}

/* In this process and those it forks from now on. */
static inline void stop_the_clock(void) {
    clock_stands_at_ns = real_clock_ns(CLOCK_BOOTTIME);
}

#endif
