/* clock: see base/clock.h. Used by every process; the calls stay in the vDSO. */
#include "config.h"

#include "base/clock.h"

#include <time.h>

static int64_t clock_read_ns(clockid_t id) {
    struct timespec now;
    /* Cannot fail: the ids are constants Linux has known since 2.6.39 and the pointer is good. */
    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t clock_mono_ns(void) {
    return clock_read_ns(CLOCK_MONOTONIC);
}

int64_t clock_boot_ns(void) {
    return clock_read_ns(CLOCK_BOOTTIME);
}

int64_t clock_wall_ns(void) {
    return clock_read_ns(CLOCK_REALTIME);
}
