/* The statistics of now: see stats_json.h. Runs in workers.
 *
 * Money and seconds have nine decimals, as everywhere. What is said of "the last minute" is the
 * difference to the sample nearest to a minute ago; `seconds` tells how long that really is.
 */
#include "config.h"

#include "stats_json.h"

#include "base/clock.h"
#include "base/json_write.h"
#include "gateway/breaker.h"

#define NANO 1000000000.0

/* -- small parts ------------------------------------------------------------------------------- */

static int64_t as_int(uint64_t value) {
    return value <= INT64_MAX ? (int64_t)value : INT64_MAX;
}

static void put_count(struct json_writer *writer, const char *key, uint64_t value) {
    json_key(writer, key);
    json_put_int(writer, as_int(value));
}

static void put_money(struct json_writer *writer, const char *key, uint64_t nusd) {
    json_key(writer, key);
    json_put_nano(writer, as_int(nusd));
}

void stats_json_put_ns(struct json_writer *writer, int64_t ns) {
    if (ns < 0) {
        json_put_null(writer);
    } else {
        json_put_nano(writer, ns);
    }
}

void stats_json_seconds(struct json_writer *writer, const char *key, int64_t ns) {
    json_key(writer, key);
    stats_json_put_ns(writer, ns);
}

static void put_share(struct json_writer *writer, const char *key, uint64_t part, uint64_t whole) {
    json_key(writer, key);
    if (whole == 0) {
        json_put_null(writer);
    } else {
        json_put_nano(writer, (int64_t)((double)part / (double)whole * NANO));
    }
}

static void put_saved(struct json_writer *writer, const uint64_t saved[SAVED_COUNT]) {
    const struct metric_dim_info *reasons = metric_dim_info(DIM_SAVED_REASON);
    uint64_t sum = 0;
    json_key(writer, "saved_usd");
    json_object_begin(writer);
    for (unsigned i = 0; i < SAVED_COUNT; i++) {
        sum += saved[i];
        put_money(writer, reasons->values[i], saved[i]);
    }
    put_money(writer, "total", sum);
    json_object_end(writer);
}

static void put_times(struct json_writer *writer, const char *key, enum metric_id id,
                      const uint64_t buckets[STATS_BUCKETS]) {
    uint64_t count = 0;
    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        count += buckets[i];
    }
    json_key(writer, key);
    json_object_begin(writer);
    put_count(writer, "count", count);
    stats_json_seconds(writer, "p50", stats_quantile_ns(id, buckets, 0.5));
    stats_json_seconds(writer, "p95", stats_quantile_ns(id, buckets, 0.95));
    stats_json_seconds(writer, "p99", stats_quantile_ns(id, buckets, 0.99));
    json_object_end(writer);
}

static void put_tokens(struct json_writer *writer, const uint64_t tokens[TOKEN_TYPE_COUNT]) {
    json_key(writer, "tokens");
    json_object_begin(writer);
    for (unsigned i = 0; i < TOKEN_TYPE_COUNT; i++) {
        put_count(writer, metric_dim_info(DIM_TOKEN_TYPE)->values[i], tokens[i]);
    }
    json_object_end(writer);
}

/* What was added to a column in the last minute, 0 when that is not known. */
static uint64_t in_minute(const struct stats_json *stats, unsigned column) {
    return stats->has_minute ? stats_since(stats->columns[column], stats->minute[column]) : 0;
}

static void put_times_in_minute(const struct stats_json *stats, struct json_writer *writer,
                                enum metric_id id, unsigned first) {
    uint64_t buckets[STATS_BUCKETS];
    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        buckets[i] = in_minute(stats, first + i);
    }
    put_times(writer, "latency_s", id, buckets);
}

/* -- the daemon -------------------------------------------------------------------------------- */

static void put_daemon(const struct stats_json *stats, struct json_writer *writer) {
    const struct region *region = stats->env->region;
    int64_t started_ms = board_get_word(region, BOARD_WORD_START_TIME_MS);
    json_key(writer, "time");
    json_put_nano(writer, stats->wall_ns);
    json_key(writer, "version");
    json_put_str(writer, PACKAGE_VERSION);
    stats_json_seconds(writer, "uptime_s", stats->wall_ns - started_ms * NS_PER_MS);
    json_key(writer, "generation");
    json_put_int(writer, board_get_word(region, BOARD_WORD_GENERATION));
    json_key(writer, "draining");
    json_put_bool(writer, board_get_word(region, BOARD_WORD_DRAINING) != 0);
}

static void put_requests(const struct stats *now, struct json_writer *writer) {
    json_key(writer, "requests");
    json_object_begin(writer);
    put_count(writer, "total", now->models.requests);
    put_count(writer, "refused", now->models.refused);
    put_count(writer, "failed", now->models.failed);
    put_count(writer, "aborted", now->client_aborts);
    json_key(writer, "in_flight");
    json_put_int(writer, now->attempts);
    json_object_end(writer);
    json_key(writer, "endpoints");
    json_array_begin(writer);
    for (unsigned i = 0; i < ENDPOINT_COUNT; i++) {
        const struct stats_endpoint *endpoint = &now->endpoints[i];
        if (endpoint->requests == 0) {
            continue;
        }
        json_object_begin(writer);
        json_key(writer, "endpoint");
        json_put_str(writer, metric_dim_info(DIM_ENDPOINT)->values[i]);
        put_count(writer, "requests", endpoint->requests);
        put_count(writer, "refused", endpoint->refused);
        put_count(writer, "failed", endpoint->failed);
        json_object_end(writer);
    }
    json_array_end(writer);
}

static void put_totals(const struct stats *now, struct json_writer *writer) {
    put_money(writer, "cost_usd", now->cost_nusd);
    put_saved(writer, now->saved_nusd);
    put_requests(now, writer);
    put_times(writer, "latency_s", METRIC_HTTP_DURATION, now->duration.buckets);
    put_times(writer, "overhead_s", METRIC_OVERHEAD, now->overhead.buckets);
    put_tokens(writer, now->tokens);
    json_key(writer, "connections");
    json_object_begin(writer);
    json_key(writer, "active");
    json_put_int(writer, now->connections > now->idle ? now->connections - now->idle : 0);
    json_key(writer, "idle");
    json_put_int(writer, now->idle);
    json_object_end(writer);
}

static void put_cache(const struct stats *now, struct json_writer *writer) {
    const uint64_t *events = now->cache_events;
    uint64_t hits = events[CACHE_EVENT_HIT] + events[CACHE_EVENT_COALESCED];
    json_key(writer, "cache");
    json_object_begin(writer);
    for (unsigned i = 0; i < CACHE_EVENT_COUNT; i++) {
        put_count(writer, metric_dim_info(DIM_CACHE_EVENT)->values[i], events[i]);
    }
    put_share(writer, "hit_ratio", hits, hits + events[CACHE_EVENT_MISS]);
    put_count(writer, "entries", now->entries);
    put_count(writer, "bytes", now->bytes);
    put_count(writer, "capacity_bytes", now->capacity_bytes);
    put_share(writer, "fill", now->bytes, now->capacity_bytes);
    json_object_end(writer);
}

static void put_minute(const struct stats_json *stats, struct json_writer *writer) {
    uint64_t saved[SAVED_COUNT];
    uint64_t hits = in_minute(stats, COLUMN_HITS) + in_minute(stats, COLUMN_COALESCED);
    for (unsigned i = 0; i < SAVED_COUNT; i++) {
        saved[i] = in_minute(stats, COLUMN_SAVED + i);
    }
    json_key(writer, "minute");
    json_object_begin(writer);
    stats_json_seconds(writer, "seconds", as_int(in_minute(stats, COLUMN_AT_MS)) * NS_PER_MS);
    put_count(writer, "requests", in_minute(stats, COLUMN_REQUESTS));
    put_count(writer, "failed", in_minute(stats, COLUMN_FAILED));
    put_money(writer, "cost_usd", in_minute(stats, COLUMN_COST));
    put_saved(writer, saved);
    put_share(writer, "hit_ratio", hits, hits + in_minute(stats, COLUMN_MISSES));
    put_times_in_minute(stats, writer, METRIC_HTTP_DURATION, COLUMN_DURATION);
    json_object_end(writer);
}

/* -- providers --------------------------------------------------------------------------------- */

/* Index in the configuration, -1 when it is of an earlier one. */
static int configured_index(const struct gateway_env *env, unsigned provider) {
    for (unsigned i = 0; i < env->conf->provider_count; i++) {
        if (env->labels->provider[i] == provider) {
            return (int)i;
        }
    }
    return -1;
}

static void put_provider_minute(const struct stats_json *stats, unsigned provider,
                                struct json_writer *writer) {
    unsigned first = STATS_COLUMN_OF(provider, 0);
    json_key(writer, "minute");
    json_object_begin(writer);
    put_count(writer, "requests", in_minute(stats, first + PROVIDER_COLUMN_REQUESTS));
    put_count(writer, "errors", in_minute(stats, first + PROVIDER_COLUMN_ERRORS));
    put_money(writer, "cost_usd", in_minute(stats, first + PROVIDER_COLUMN_COST));
    put_money(writer, "saved_usd", in_minute(stats, first + PROVIDER_COLUMN_SAVED));
    put_times_in_minute(stats, writer, METRIC_UPSTREAM_DURATION, first + PROVIDER_COLUMN_DURATION);
    json_object_end(writer);
}

static void put_circuit(const struct region *region, unsigned provider,
                        struct json_writer *writer) {
    json_key(writer, "circuit");
    json_put_str(writer, metric_dim_info(DIM_TO)->values[breaker_state(region, provider)]);
    stats_json_seconds(writer, "retry_in_s", breaker_wait_ms(region, provider) * NS_PER_MS);
    json_key(writer, "in_flight");
    json_put_int(writer, board_outstanding(region, provider));
}

static void put_provider(const struct stats_json *stats, unsigned index,
                         struct json_writer *writer) {
    const struct gateway_env *env = stats->env;
    const struct stats_provider *provider = &stats->now.providers[index];
    int at = configured_index(env, index);
    const struct conf_provider *own = at >= 0 ? &env->conf->providers[at] : NULL;
    json_object_begin(writer);
    json_key(writer, "provider");
    json_put_str(writer, names_get(env->region, NAMES_PROVIDER, (int)index));
    json_key(writer, "configured");
    json_put_bool(writer, own != NULL);
    json_key(writer, "default_model");
    json_put_str(writer, own != NULL ? own->default_model : NULL);
    json_key(writer, "simulated");
    json_put_bool(writer, own != NULL && own->simulated);
    put_circuit(env->region, index, writer);
    put_count(writer, "requests", provider->requests);
    put_count(writer, "errors", provider->errors);
    put_count(writer, "skipped", provider->skipped);
    put_count(writer, "retries", provider->retries);
    put_count(writer, "fallbacks", provider->fallbacks);
    put_money(writer, "cost_usd", provider->cost_nusd);
    put_saved(writer, provider->saved_nusd);
    put_count(writer, "unknown_price", provider->unknown_price);
    put_tokens(writer, provider->tokens);
    put_times(writer, "latency_s", METRIC_UPSTREAM_DURATION, provider->duration.buckets);
    put_times(writer, "first_token_s", METRIC_TIME_TO_FIRST_TOKEN, provider->first_token.buckets);
    put_provider_minute(stats, index, writer);
    json_object_end(writer);
}

/* -- routes and workers ------------------------------------------------------------------------ */

static void put_route(const struct stats_json *stats, unsigned route, struct json_writer *writer) {
    uint64_t decisions = 0;
    json_object_begin(writer);
    json_key(writer, "route");
    json_put_str(writer, names_get(stats->env->region, NAMES_ROUTE, (int)route));
    json_key(writer, "choices");
    json_array_begin(writer);
    for (unsigned i = 0; i < TIER_COUNT * ROUTE_REASON_COUNT; i++) {
        unsigned tier = i / ROUTE_REASON_COUNT;
        unsigned reason = i % ROUTE_REASON_COUNT;
        uint64_t count = stats->now.routes[route][tier][reason];
        decisions += count;
        if (count == 0) {
            continue;
        }
        json_object_begin(writer);
        json_key(writer, "tier");
        json_put_str(writer, metric_dim_info(DIM_TIER)->values[tier]);
        json_key(writer, "reason");
        json_put_str(writer, metric_dim_info(DIM_ROUTE_REASON)->values[reason]);
        put_count(writer, "decisions", count);
        json_object_end(writer);
    }
    json_array_end(writer);
    put_count(writer, "decisions", decisions);
    json_object_end(writer);
}

static void put_worker(const struct stats_json *stats, int slot, struct json_writer *writer) {
    static const char *const states[] = {
        [BOARD_STARTING] = "starting", [BOARD_READY] = "ready", [BOARD_DRAINING] = "draining"};
    struct region *region = stats->env->region;
    const struct board_gauges *gauges = board_gauges(region, slot);
    unsigned state = board_state(region, slot);
    int64_t lived_ms = stats->now.at_ms - board_claimed_ms(region, slot);
    json_object_begin(writer);
    json_key(writer, "slot");
    json_put_int(writer, slot);
    json_key(writer, "pid");
    json_put_int(writer, board_pid(region, slot));
    json_key(writer, "role");
    json_put_str(writer, board_role(region, slot) == BOARD_WORKER ? "worker" : "metrics");
    json_key(writer, "state");
    json_put_str(writer, states[state <= BOARD_DRAINING ? state : BOARD_STARTING]);
    json_key(writer, "generation");
    json_put_int(writer, board_generation(region, slot));
    stats_json_seconds(writer, "uptime_s", lived_ms > 0 ? lived_ms * NS_PER_MS : 0);
    json_key(writer, "connections");
    json_put_int(writer, atomic_load_explicit(&gauges->connections, memory_order_relaxed));
    json_key(writer, "idle");
    json_put_int(writer, atomic_load_explicit(&gauges->connections_idle, memory_order_relaxed));
    json_object_end(writer);
}

static void put_workers(const struct stats_json *stats, struct json_writer *writer) {
    const struct region *region = stats->env->region;
    int seen = board_seen(region);
    json_key(writer, "workers");
    json_array_begin(writer);
    for (int slot = 0; slot < seen; slot++) {
        if (board_role(region, slot) != BOARD_FREE) {
            put_worker(stats, slot, writer);
        }
    }
    json_array_end(writer);
    json_key(writer, "restarts");
    json_object_begin(writer);
    for (unsigned i = 0; i < RESTART_REASON_COUNT; i++) {
        put_count(writer, metric_dim_info(DIM_RESTART_REASON)->values[i], stats->now.restarts[i]);
    }
    json_object_end(writer);
}

/* -- all of it --------------------------------------------------------------------------------- */

static void gather(struct stats_json *stats) {
    const struct gateway_env *env = stats->env;
    stats_read(env->region, env->store, &stats->now);
    stats_columns(&stats->now, stats->columns);
    stats->wall_ns = clock_wall_ns();
    stats->has_minute =
        stats_minute_ago(env->region, stats->now.at_ms, stats->now.provider_count, stats->minute);
}

void stats_json_write(struct stats_json *stats, const struct stats_wish *wish, struct buf *out) {
    struct json_writer writer;
    gather(stats);
    json_write_init(&writer, out);
    json_object_begin(&writer);
    put_daemon(stats, &writer);
    put_totals(&stats->now, &writer);
    put_cache(&stats->now, &writer);
    put_minute(stats, &writer);
    json_key(&writer, "providers");
    json_array_begin(&writer);
    for (unsigned i = 0; i < stats->now.provider_count; i++) {
        put_provider(stats, i, &writer);
    }
    json_array_end(&writer);
    json_key(&writer, "routes");
    json_array_begin(&writer);
    for (unsigned i = 0; i < stats->now.route_count; i++) {
        put_route(stats, i, &writer);
    }
    json_array_end(&writer);
    put_workers(stats, &writer);
    if (wish->recent) {
        stats_json_recent(stats, &writer);
    }
    if (wish->history) {
        stats_json_history(stats, wish->after, &writer);
    }
    json_object_end(&writer);
}
