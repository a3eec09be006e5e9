/* retry: when to ask the same provider again after a failure.
 *
 * A pure function. Extra attempts are spaced by a back-off that doubles and is spread by half of
 * itself to both sides, so that clients who failed together do not come back together; all attempts
 * at one provider fit into its total timeout.
 */
#ifndef OPTIROUTE_GATEWAY_RETRY_H
#define OPTIROUTE_GATEWAY_RETRY_H

#include "conf/conf.h"

#define RETRY_BACKOFF_MAX_MS 60000

/* Nanoseconds to wait before the next attempt, -1: no further one. tries: attempts made so far (at
 * least 1); elapsed_ns: since the first of them began; random: any 64 bits. */
int64_t retry_wait_ns(const struct conf_provider *provider, unsigned tries, int64_t elapsed_ns,
                      uint64_t random);

#endif
