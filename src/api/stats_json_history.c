/* The statistics of the last hour and the last requests: see stats_json.h. Runs in workers.
 *
 * A row of the history is the difference of two samples that follow each other; where one is
 * missing (nobody ran) a row covers more seconds.
 */
#include "config.h"

#include "base/clock.h"
#include "base/json_write.h"
#include "gateway/flow.h"
#include "stats_json.h"

#include <stdio.h>

/* -- history ----------------------------------------------------------------------------------- */

/* Money, seconds and counts of a row, in the order of the columns. */
static const struct {
    const char *name;
    unsigned column;
    bool is_money;
} sums[] = {
    {"requests", COLUMN_REQUESTS, false},
    {"failed", COLUMN_FAILED, false},
    {"cost_usd", COLUMN_COST, true},
    {"saved_usd.cache", COLUMN_SAVED + SAVED_CACHE, true},
    {"saved_usd.coalesced", COLUMN_SAVED + SAVED_COALESCED, true},
    {"saved_usd.routing", COLUMN_SAVED + SAVED_ROUTING, true},
    {"hits", COLUMN_HITS, false},
    {"coalesced", COLUMN_COALESCED, false},
    {"misses", COLUMN_MISSES, false},
    {"bypasses", COLUMN_BYPASSES, false},
    {"prompt_tokens", COLUMN_PROMPT_TOKENS, false},
    {"completion_tokens", COLUMN_COMPLETION_TOKENS, false},
};
static const struct {
    const char *name;
    double share;
} quantiles[] = {{"latency_s.p50", 0.5}, {"latency_s.p95", 0.95}, {"latency_s.p99", 0.99}};
/* As they are at the row's end. */
static const struct {
    const char *name;
    unsigned column;
} levels[] = {{"in_flight", COLUMN_ATTEMPTS},
              {"connections", COLUMN_CONNECTIONS},
              {"cache_entries", COLUMN_ENTRIES},
              {"cache_bytes", COLUMN_BYTES}};
#define LENGTH(table) (sizeof(table) / sizeof((table)[0]))

static void put_heads(const struct stats_json *stats, struct json_writer *writer) {
    char name[REGION_NAME_SIZE + 16];
    json_key(writer, "columns");
    json_array_begin(writer);
    json_put_str(writer, "number");
    json_put_str(writer, "time");
    json_put_str(writer, "seconds");
    for (size_t i = 0; i < LENGTH(sums); i++) {
        json_put_str(writer, sums[i].name);
    }
    for (size_t i = 0; i < LENGTH(quantiles); i++) {
        json_put_str(writer, quantiles[i].name);
    }
    for (size_t i = 0; i < LENGTH(levels); i++) {
        json_put_str(writer, levels[i].name);
    }
    for (unsigned i = 0; i < stats->now.provider_count; i++) {
        snprintf(name, sizeof(name), "cost_usd:%s",
                 names_get(stats->env->region, NAMES_PROVIDER, (int)i));
        json_put_str(writer, name);
    }
    json_array_end(writer);
}

static void put_quantiles(const uint64_t *from, const uint64_t *to, struct json_writer *writer) {
    uint64_t buckets[STATS_BUCKETS];
    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        buckets[i] = stats_since(to[COLUMN_DURATION + i], from[COLUMN_DURATION + i]);
    }
    for (size_t i = 0; i < LENGTH(quantiles); i++) {
        stats_json_put_ns(writer,
                          stats_quantile_ns(METRIC_HTTP_DURATION, buckets, quantiles[i].share));
    }
}

static void put_row(const struct stats_json *stats, uint64_t number, const uint64_t *from,
                    const uint64_t *to, struct json_writer *writer) {
    int64_t age_ms = stats->now.at_ms - (int64_t)to[COLUMN_AT_MS];
    int64_t length_ms = (int64_t)stats_since(to[COLUMN_AT_MS], from[COLUMN_AT_MS]);
    json_array_begin(writer);
    json_put_int(writer, (int64_t)number);
    json_put_int(writer, (stats->wall_ns - age_ms * NS_PER_MS) / NS_PER_S);
    json_put_nano(writer, length_ms * NS_PER_MS);
    for (size_t i = 0; i < LENGTH(sums); i++) {
        int64_t sum = (int64_t)stats_since(to[sums[i].column], from[sums[i].column]);
        if (sums[i].is_money) {
            json_put_nano(writer, sum);
        } else {
            json_put_int(writer, sum);
        }
    }
    put_quantiles(from, to, writer);
    for (size_t i = 0; i < LENGTH(levels); i++) {
        json_put_int(writer, (int64_t)to[levels[i].column]);
    }
    for (unsigned i = 0; i < stats->now.provider_count; i++) {
        unsigned column = STATS_COLUMN_OF(i, PROVIDER_COLUMN_COST);
        json_put_nano(writer, (int64_t)stats_since(to[column], from[column]));
    }
    json_array_end(writer);
}

void stats_json_history(const struct stats_json *stats, uint64_t after,
                        struct json_writer *writer) {
    const struct region *region = stats->env->region;
    unsigned count = STATS_COLUMN_OF(stats->now.provider_count, 0);
    uint64_t samples[2][STATS_COLUMNS];
    unsigned at = 0; /* which of the two is read next; the other is the one before */
    bool has_one = false;
    uint64_t newest = history_newest(region);
    uint64_t number = newest > HISTORY_SAMPLES - 1 ? newest - (HISTORY_SAMPLES - 1) : 1;
    json_key(writer, "history");
    json_object_begin(writer);
    json_key(writer, "period_s");
    json_put_int(writer, HISTORY_PERIOD_MS / 1000);
    put_heads(stats, writer);
    json_key(writer, "rows");
    json_array_begin(writer);
    for (number = after > number ? after : number; number <= newest; number++) {
        if (!history_read(region, number, 0, count, samples[at])) {
            continue;
        }
        if (has_one) {
            put_row(stats, number, samples[1 - at], samples[at], writer);
        }
        has_one = true;
        at = 1 - at;
    }
    json_array_end(writer);
    json_object_end(writer);
}

/* -- requests ---------------------------------------------------------------------------------- */

static void put_text(struct json_writer *writer, const char *key, const char *text) {
    json_key(writer, key);
    json_put_str(writer, text[0] != '\0' ? text : NULL);
}

static void put_tokens(struct json_writer *writer, const char *key,
                       const struct history_request *request, int64_t count) {
    json_key(writer, key);
    if ((request->flags & HISTORY_HAS_USAGE) != 0) {
        json_put_int(writer, count);
    } else {
        json_put_null(writer);
    }
}

/* The numbers of enums are looked at: a file may hold anything. */
static const char *cache_word(unsigned cache) {
    return cache > 0 && cache <= ANSWER_BYPASS + 1
               ? answer_cache_name((enum answer_cache)(cache - 1))
               : NULL;
}

static const char *outcome_word(unsigned outcome) {
    return outcome > 0 && outcome <= OUTCOME_COUNT ? outcome_name((enum outcome)(outcome - 1))
                                                   : NULL;
}

static const char *endpoint_word(unsigned endpoint) {
    return metric_dim_info(DIM_ENDPOINT)
        ->values[endpoint < ENDPOINT_COUNT ? endpoint : ENDPOINT_OTHER];
}

static void put_request(const struct stats_json *stats, const struct history_request *request,
                        struct json_writer *writer) {
    int64_t age_ms = stats->now.at_ms - request->at_ms;
    json_object_begin(writer);
    json_key(writer, "time");
    json_put_nano(writer, stats->wall_ns - age_ms * NS_PER_MS);
    json_key(writer, "endpoint");
    json_put_str(writer, endpoint_word(request->endpoint));
    json_key(writer, "status");
    json_put_int(writer, request->status);
    json_key(writer, "cache");
    json_put_str(writer, cache_word(request->cache));
    put_text(writer, "route", request->route);
    put_text(writer, "reason", request->reason);
    put_text(writer, "provider", request->provider);
    put_text(writer, "model", request->model);
    json_key(writer, "outcome");
    json_put_str(writer, outcome_word(request->outcome));
    json_key(writer, "attempts");
    json_put_int(writer, request->attempts);
    json_key(writer, "streamed");
    json_put_bool(writer, (request->flags & HISTORY_STREAMED) != 0);
    json_key(writer, "cost_usd");
    if (request->cost_nusd == HISTORY_COST_UNKNOWN) {
        json_put_null(writer);
    } else {
        json_put_nano(writer, request->cost_nusd);
    }
    json_key(writer, "saved_usd");
    json_put_nano(writer, request->saved_nusd);
    stats_json_seconds(writer, "duration_s", request->duration_ns);
    put_tokens(writer, "prompt_tokens", request, request->prompt_tokens);
    put_tokens(writer, "completion_tokens", request, request->completion_tokens);
    json_key(writer, "estimated");
    json_put_bool(writer, (request->flags & HISTORY_ESTIMATED) != 0);
    json_object_end(writer);
}

void stats_json_recent(struct stats_json *stats, struct json_writer *writer) {
    unsigned count = history_recent(stats->env->region, stats->recent, STATS_RECENT);
    json_key(writer, "recent");
    json_array_begin(writer);
    for (unsigned i = 0; i < count; i++) {
        put_request(stats, &stats->recent[i], writer);
    }
    json_array_end(writer);
}
