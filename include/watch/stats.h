/* stats: all totals of the daemon in one struct, what the dashboard's statistics are made of; and
 * the samples of them that the history keeps (shm/history.h).
 *
 * The same figures as in the Prometheus text, summed up to what people look at. Runs in workers,
 * once a second at most and only while somebody looks; the sample once in ten seconds by one of
 * them.
 */
#ifndef OPTIROUTE_WATCH_STATS_H
#define OPTIROUTE_WATCH_STATS_H

#include "shm/history.h"
#include "shm/store.h"
#include "watch/metrics_table.h"

#define STATS_BUCKETS (METRIC_BOUNDS + 1) /* not cumulative; the last one is +Inf */

struct stats_times {
    uint64_t buckets[STATS_BUCKETS];
    uint64_t sum_ns;
};

/* By index of the name table. */
struct stats_provider {
    uint64_t cost_nusd, saved_nusd[SAVED_COUNT];
    uint64_t requests, errors; /* attempts, and those of them that failed by its fault */
    uint64_t skipped;          /* requests that passed it by: circuit open, or enough under way */
    uint64_t retries, fallbacks, unknown_price;
    uint64_t tokens[TOKEN_TYPE_COUNT];
    struct stats_times duration, first_token;
};

struct stats_endpoint {
    uint64_t requests, refused, failed; /* all; with a status of 4xx; of 5xx */
};

struct stats {
    int64_t at_ms; /* region time */
    struct stats_endpoint endpoints[ENDPOINT_COUNT];
    /* of the endpoints that ask models */
    struct stats_endpoint models;
    struct stats_times duration;
    struct stats_times overhead;
    uint64_t client_aborts;
    uint64_t cost_nusd, saved_nusd[SAVED_COUNT];
    uint64_t tokens[TOKEN_TYPE_COUNT];
    uint64_t cache_events[CACHE_EVENT_COUNT];
    uint64_t entries, bytes, capacity_bytes; /* of the cache */
    uint64_t restarts[RESTART_REASON_COUNT];
    int64_t connections, idle, attempts; /* open; of these idle; under way at providers */
    unsigned provider_count, route_count;
    struct stats_provider providers[REGION_PROVIDERS];
    uint64_t routes[REGION_ROUTES][TIER_COUNT][ROUTE_REASON_COUNT];
};

void stats_read(const struct region *region, const struct store *store, struct stats *stats);
/* Is it one that asks models? */
bool stats_is_of_models(enum metric_endpoint endpoint);

/* The columns of a sample. Totals since the beginning, but for the last few, which are of the
 * moment. They lie in the region: whoever changes them raises REGION_LAYOUT_VERSION. */
enum stats_column {
    COLUMN_AT_MS,
    COLUMN_REQUESTS,
    COLUMN_FAILED,
    COLUMN_COST,
    COLUMN_SAVED,
    COLUMN_HITS = COLUMN_SAVED + SAVED_COUNT,
    COLUMN_COALESCED,
    COLUMN_MISSES,
    COLUMN_BYPASSES,
    COLUMN_PROMPT_TOKENS,
    COLUMN_COMPLETION_TOKENS,
    COLUMN_DURATION,
    COLUMN_ATTEMPTS = COLUMN_DURATION + STATS_BUCKETS,
    COLUMN_CONNECTIONS,
    COLUMN_ENTRIES,
    COLUMN_BYTES,
    COLUMN_COMMON /* how many there are up to here */
};
/* Then those of each provider. */
enum stats_provider_column {
    PROVIDER_COLUMN_COST,
    PROVIDER_COLUMN_SAVED,
    PROVIDER_COLUMN_REQUESTS,
    PROVIDER_COLUMN_ERRORS,
    PROVIDER_COLUMN_DURATION,
    PROVIDER_COLUMNS = PROVIDER_COLUMN_DURATION + STATS_BUCKETS
};
#define STATS_COLUMN_OF(provider, column) (COLUMN_COMMON + (provider)*PROVIDER_COLUMNS + (column))
#define STATS_COLUMNS STATS_COLUMN_OF(REGION_PROVIDERS, 0)
_Static_assert(STATS_COLUMNS <= HISTORY_COLUMNS, "the history has room for all columns");

/* All columns as they are now; those of providers without a name are 0. */
void stats_columns(const struct stats *stats, uint64_t columns[STATS_COLUMNS]);
/* Takes a sample when one is due and nobody else does; `stats` is room for it. */
void stats_sample(struct region *region, const struct store *store, struct stats *stats);
/* The columns of the sample nearest to a minute before `at_ms`; false when there is none. */
bool stats_minute_ago(const struct region *region, int64_t at_ms, unsigned provider_count,
                      uint64_t columns[STATS_COLUMNS]);

/* now - then, 0 when that is negative. */
static inline uint64_t stats_since(uint64_t now, uint64_t then) {
    return now > then ? now - then : 0;
}
/* The value below which the share lies (0 < share < 1), straight inside a bucket as Prometheus'
 * histogram_quantile has it; of the last bucket its lower bound. -1 without observations. `id`: a
 * histogram, for its bounds. */
int64_t stats_quantile_ns(enum metric_id id, const uint64_t buckets[STATS_BUCKETS], double share);

#endif
