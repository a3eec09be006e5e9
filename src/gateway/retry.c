/* Back-off between attempts at one provider. Pure; runs in workers. */
#include "gateway/retry.h"

#include "base/clock.h"

int64_t retry_wait_ns(const struct conf_provider *provider, unsigned tries, int64_t elapsed_ns,
                      uint64_t random) {
    if (tries > provider->retry_attempts) {
        return -1;
    }
    int64_t backoff_ms = provider->retry_backoff_ms;
    for (unsigned i = 1; i < tries && backoff_ms < RETRY_BACKOFF_MAX_MS; i++) {
        backoff_ms *= 2;
    }
    if (backoff_ms > RETRY_BACKOFF_MAX_MS) {
        backoff_ms = RETRY_BACKOFF_MAX_MS;
    }
    int64_t backoff_ns = backoff_ms * NS_PER_MS;
    int64_t spread_ns = backoff_ns > 0 ? (int64_t)(random % (uint64_t)backoff_ns) : 0;
    int64_t wait_ns = backoff_ns / 2 + spread_ns;
    return elapsed_ns + wait_ns < provider->total_timeout_ms * NS_PER_MS ? wait_ns : -1;
}
