/* failpoint: named points at which a test kills, stops or fails this very process.
 *
 * Compiled to nothing unless ./configure --enable-failpoints. Set by the environment when the
 * process starts: OPTIROUTE_FAILPOINT=name:action[:n], comma-separated for several; action `kill`
 * (SIGKILL to itself), `stop` (SIGSTOP to itself) or `fail` (FAILPOINT_FAILS gives true).
 *
 *     n     only at the n-th pass of each process, from 1; a forked child counts from 1 again
 *     +n    only at the n-th pass of the process and all that descend from it together: once
 *           (none) at every pass
 *
 * Names are layer.verb.step, as in store.write.3; shorter than 64 bytes, at most 64 entries. Who
 * kills or stops itself says so on its standard error: "failpoint: store.write.3: kill". A
 * malformed setting ends the process at start with status 1. async-signal-safe: no allocation, no
 * lock.
 *
 * No list of the names is kept by hand: each use leaves its name in a section of the program.
 * OPTIROUTE_FAILPOINT=list prints them and ends the process; a C test walks from failpoints_begin
 * to failpoints_end (a name may stand there more than once).
 */
#ifndef OPTIROUTE_BASE_FAILPOINT_H
#define OPTIROUTE_BASE_FAILPOINT_H

#include <stdbool.h>

#ifdef ENABLE_FAILPOINTS
void failpoint_pass(const char *name);
bool failpoint_fails(const char *name);

/* The linker makes both; absent from a program without a failpoint, hence weak. */
extern const char *const failpoints_begin[] __asm__("__start_failpoints") __attribute__((weak));
extern const char *const failpoints_end[] __asm__("__stop_failpoints") __attribute__((weak));

#define FAILPOINT_AT(call, name)                                                               \
    __extension__({                                                                            \
        static const char *const failpoint_name __attribute__((section("failpoints"), used)) = \
            (name);                                                                            \
        call(failpoint_name);                                                                  \
    })
#define FAILPOINT(name) FAILPOINT_AT(failpoint_pass, name)
#define FAILPOINT_FAILS(name) FAILPOINT_AT(failpoint_fails, name)
#else
#define FAILPOINT(name) ((void)0)
#define FAILPOINT_FAILS(name) false
#endif

#endif
