/* The gateway of one worker: making and ending it, and what it does once a second.
 *
 * The life of a request is in flow.c. Runs in workers.
 */
#include "gateway_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "gateway/cache_key.h"
#include "gateway/entry.h"

#define SCRATCH_BLOCK 4096
#define SCRATCH_LIMIT ((size_t)64 * 1024 * 1024)

static int make_fingerprints(struct gateway *gateway) {
    const struct conf *conf = gateway->env.conf;
    gateway->route_plan = calloc(conf->route_count, SHA256_SIZE);
    gateway->provider_plan = calloc(conf->provider_count, SHA256_SIZE);
    if (gateway->route_plan == NULL || gateway->provider_plan == NULL) {
        return -1;
    }
    for (unsigned i = 0; i < conf->route_count; i++) {
        cache_key_fingerprint_route(gateway->sha, conf, i, gateway->route_plan[i]);
    }
    for (unsigned i = 0; i < conf->provider_count; i++) {
        cache_key_fingerprint_provider(gateway->sha, conf, i, gateway->provider_plan[i]);
    }
    return 0;
}

/* Both clocks run alike, but for a suspended machine. */
static void look_at_clocks(struct gateway *gateway) {
    const struct gateway_env *env = &gateway->env;
    gateway->region_ahead_ms = region_now_ms(env->region) - timers_now_ns(&env->timers) / NS_PER_MS;
}

struct gateway *gateway_new(const struct gateway_env *env) {
    struct gateway *gateway = calloc(1, sizeof(*gateway));
    if (gateway == NULL) {
        return NULL;
    }
    gateway->env = *env;
    json_reader_init(&gateway->reader);
    arena_init(&gateway->scratch, SCRATCH_BLOCK, SCRATCH_LIMIT);
    slow_free_init(&gateway->slow, &env->timers);
    gateway->sha = sha256_new();
    if (gateway->sha == NULL || make_fingerprints(gateway) == -1) {
        goto failed;
    }
    /* untouched until a hit needs it, so a large max_value costs address space only */
    gateway->value_size = (size_t)env->conf->cache.max_value;
    gateway->value = malloc(gateway->value_size + 1);
    gateway->providers = calloc(env->conf->provider_count, sizeof(*gateway->providers));
    gateway->flights = calloc(FLIGHT_BUCKETS, sizeof(struct flight *));
    if (gateway->value == NULL || gateway->providers == NULL || gateway->flights == NULL) {
        goto failed;
    }
    for (unsigned i = 0; i < env->conf->provider_count; i++) {
        int64_t total_ns = env->conf->providers[i].total_timeout_ms * NS_PER_MS;
        gateway->wait_max_ns = gateway->wait_max_ns > total_ns ? gateway->wait_max_ns : total_ns;
        gateway->providers[i].subject = breaker_subject(&env->conf->providers[i]);
    }
    /* no two workers spread their retries alike; 0 would do too */
    (void)!getrandom(&gateway->random, sizeof(gateway->random), 0);
    return gateway;
failed:
    gateway_free(gateway);
    return NULL;
}

void gateway_free(struct gateway *gateway) {
    if (gateway == NULL) {
        return;
    }
    while (gateway->spare != NULL) {
        flow_destroy(gateway->spare);
    }
    slow_free_fini(&gateway->slow);
    arena_fini(&gateway->scratch);
    json_reader_fini(&gateway->reader);
    free(gateway->flights);
    free(gateway->providers);
    free(gateway->value);
    free(gateway->provider_plan);
    free(gateway->route_plan);
    sha256_free(gateway->sha);
    free(gateway);
}

unsigned gateway_flows(const struct gateway *gateway) {
    return gateway->active_count;
}

const struct gateway_env *gateway_env(const struct gateway *gateway) {
    return &gateway->env;
}

static bool has_provider(const struct gateway *gateway) {
    const struct gateway_env *env = &gateway->env;
    for (unsigned i = 0; i < env->conf->provider_count; i++) {
        if (breaker_wait_ms(env->region, env->labels->provider[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool gateway_is_ready(const struct gateway *gateway) {
    const struct gateway_env *env = &gateway->env;
    return board_get_word(env->region, BOARD_WORD_DRAINING) == 0 && has_provider(gateway);
}

int64_t gateway_region_ms(const struct gateway *gateway, int64_t now_ns) {
    return now_ns / NS_PER_MS + gateway->region_ahead_ms;
}

void gateway_count_store(struct gateway *gateway) {
    const struct metrics *metrics = &gateway->env.metrics;
    const struct store_stats now = *store_stats(gateway->env.store);
    const struct store_stats *seen = &gateway->seen;
    if (memcmp(&now, seen, sizeof(now)) == 0) { /* nearly always; it is asked after every miss */
        return;
    }
    metric_add(metrics, METRIC_CACHE_EVENTS, now.evictions - seen->evictions, CACHE_EVENT_EVICT, 0,
               0);
    metric_add(metrics, METRIC_CACHE_EVENTS, now.expirations - seen->expirations,
               CACHE_EVENT_EXPIRE, 0, 0);
    metric_add(metrics, METRIC_CACHE_EVENTS, now.corruptions - seen->corruptions,
               CACHE_EVENT_CORRUPT, 0, 0);
    metric_add(metrics, METRIC_SHARD_RECOVERIES, now.recoveries_clean - seen->recoveries_clean,
               RECOVERY_CLEAN, 0, 0);
    metric_add(metrics, METRIC_SHARD_RECOVERIES, now.recoveries_rebuilt - seen->recoveries_rebuilt,
               RECOVERY_REBUILT, 0, 0);
    metric_add(metrics, METRIC_SHARD_RECOVERIES, now.recoveries_emptied - seen->recoveries_emptied,
               RECOVERY_EMPTIED, 0, 0);
    metric_add(metrics, METRIC_LOCK_TIMEOUTS, now.lock_timeouts - seen->lock_timeouts, 0, 0, 0);
    gateway->seen = now;
}

void gateway_tick(struct gateway *gateway) {
    look_at_clocks(gateway);
    gateway_count_store(gateway);
    gateway_wake(gateway); /* should a wake-up have been lost with who was to give it */
    flight_tick(gateway);
}

void gateway_give_back(struct gateway *gateway, struct buf *memory) {
    slow_free_buf(&gateway->slow, memory);
}
