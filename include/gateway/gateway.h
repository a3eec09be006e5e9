/* gateway: what the requests of one worker share: configuration, region, store, timers, pools.
 *
 * One per worker, made after fork. It knows no sockets and no event loop: clients are sinks
 * (gateway/flow.h), models are providers, time is three functions.
 */
#ifndef OPTIROUTE_GATEWAY_GATEWAY_H
#define OPTIROUTE_GATEWAY_GATEWAY_H

#include "base/timers.h"
#include "conf/conf.h"
#include "shm/board.h"
#include "shm/store.h"
#include "upstream/provider.h"
#include "watch/access_log.h"
#include "watch/labels.h"
#include "watch/metrics.h"

/* Given by the worker; everything in it outlives the gateway. */
struct gateway_env {
    const struct conf *conf;
    const struct labels *labels;
    struct region *region;
    int slot; /* of this process on the board */
    struct store *store;
    struct upstream *upstream; /* connections to providers; NULL where none is remote */
    /* Who serves a provider: provider_ops_for, but for tests. */
    const struct provider_ops *(*provider_ops)(const struct conf_provider *provider);
    struct metrics metrics;
    struct access_log *access_log;
    struct timers timers;
    const char *metrics_address; /* where /metrics really is, to tell those who ask here; "": off */
};

struct gateway;

/* NULL without memory. */
struct gateway *gateway_new(const struct gateway_env *env);
/* Every flow must have ended. */
void gateway_free(struct gateway *gateway);
/* Flows under way. */
unsigned gateway_flows(const struct gateway *gateway);
/* The worker, once a second: counts what the store did, looks at the flights. */
void gateway_tick(struct gateway *gateway);
/* The worker, when its slot was woken (shm/wake.h): looks at the flights that other processes lead
 * and goes on with those who waited for them. */
void gateway_wake(struct gateway *gateway);
/* The region time of a monotonic moment, without asking a clock. */
int64_t gateway_region_ms(const struct gateway *gateway, int64_t now_ns);
/* False while the daemon drains, and while no provider's circuit lets a request through (all are
 * open, or half-open with their probe under way). */
bool gateway_is_ready(const struct gateway *gateway);
/* Fails every flow under way with OUTCOME_SHUTDOWN: shutdown_timeout is over. */
void gateway_abort_all(struct gateway *gateway);

/* Frees memory that may be large, a piece each turn of the loop; the buffer is empty afterwards. */
void gateway_give_back(struct gateway *gateway, struct buf *memory);

const struct gateway_env *gateway_env(const struct gateway *gateway);

#endif
