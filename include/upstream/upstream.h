/* upstream: what the attempts of one worker share: its connections to providers and the reader of
 * their answers.
 *
 * One per worker, made after fork. libcurl is initialised at the first remote request, so a worker
 * without one stays small.
 */
#ifndef OPTIROUTE_UPSTREAM_UPSTREAM_H
#define OPTIROUTE_UPSTREAM_UPSTREAM_H

#include "base/timers.h"
#include "conf/conf.h"

struct event_base;
struct upstream;

/* base and conf outlive it. NULL without memory. */
struct upstream *upstream_new(struct event_base *base, const struct timers *timers,
                              const struct conf *conf);
/* Every attempt must have ended. Closes all connections. */
void upstream_free(struct upstream *upstream);

#endif
