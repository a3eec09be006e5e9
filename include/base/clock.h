/* clock: the three clocks, as int64 nanoseconds.
 *
 * Timers and durations use the monotonic clock, the shared region the boot-time clock (it goes on
 * during suspend and means the same in every process), logs and the Date header the wall clock.
 * See clock_gettime(2).
 */
#ifndef OPTIROUTE_BASE_CLOCK_H
#define OPTIROUTE_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_US 1000LL
#define NS_PER_MS 1000000LL
#define NS_PER_S 1000000000LL

int64_t clock_mono_ns(void);
int64_t clock_boot_ns(void);
int64_t clock_wall_ns(void);

#endif
