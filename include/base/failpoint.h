/* failpoint: named points at which a test kills, stops or delays this very process.
 *
 * Compiled to nothing unless ./configure --enable-failpoints. Set by the environment when the
 * process starts: OPTIROUTE_FAILPOINT=name:action[:n], comma-separated for several; action `kill`
 * (SIGKILL to itself), `stop` (SIGSTOP to itself) or `fail` (FAILPOINT_FAILS gives true); n = only
 * at the n-th pass (counted per process, from 1; default: every pass). Names are layer.verb.step,
 * as in store.write.3; shorter than 64 bytes, at most 16 entries. A forked child counts from 1
 * again. A malformed setting ends the process at start with status 1. async-signal-safe: no
 * allocation, no lock.
 */
#ifndef OPTIROUTE_BASE_FAILPOINT_H
#define OPTIROUTE_BASE_FAILPOINT_H

#include <stdbool.h>

#ifdef ENABLE_FAILPOINTS
void failpoint_pass(const char *name);
bool failpoint_fails(const char *name);
#define FAILPOINT(name) failpoint_pass(name)
#define FAILPOINT_FAILS(name) failpoint_fails(name)
#else
#define FAILPOINT(name) ((void)0)
#define FAILPOINT_FAILS(name) false
#endif

#endif
