/* stats: see the header. Reads counter rows without locks, so figures that belong together may be
 * of slightly different moments.
 *
 * The surprise: cells are read by ranges, a row at a time. Asking for each cell alone would look at
 * all 129 rows for each.
 */
#include "watch/stats.h"

#include <string.h>

#include "shm/board.h"

#define MINUTE_SAMPLES (60000 / HISTORY_PERIOD_MS)

/* The cells of a series, or of several that follow each other. */
static void read_cells(const struct region *region, enum metric_id id, unsigned i, unsigned j,
                       unsigned count, uint64_t *out) {
    counters_sum_range(region, metric_cell(metric_row(id), i, j, 0), count, out);
}

static uint64_t read_cell(const struct region *region, enum metric_id id, unsigned i, unsigned j) {
    uint64_t value;
    read_cells(region, id, i, j, 1, &value);
    return value;
}

static uint64_t read_sum(const struct region *region, enum metric_id id, unsigned i,
                         unsigned count) {
    uint64_t cells[OUTCOME_COUNT];
    uint64_t sum = 0;
    read_cells(region, id, i, 0, count, cells);
    for (unsigned at = 0; at < count; at++) {
        sum += cells[at];
    }
    return sum;
}

static void read_times(const struct region *region, enum metric_id id, unsigned i, unsigned j,
                       struct stats_times *times) {
    uint64_t cells[METRIC_HISTOGRAM_CELLS];
    read_cells(region, id, i, j, METRIC_HISTOGRAM_CELLS, cells);
    for (unsigned bucket = 0; bucket < STATS_BUCKETS; bucket++) {
        times->buckets[bucket] += cells[bucket];
    }
    times->sum_ns += cells[METRIC_HISTOGRAM_SUM];
}

/* -- parts ------------------------------------------------------------------------------------- */

bool stats_is_of_models(enum metric_endpoint endpoint) {
    return endpoint <= ENDPOINT_MESSAGES;
}

static void read_endpoint(const struct region *region, unsigned endpoint,
                          struct stats_endpoint *out) {
    const struct metric_dim_info *statuses = metric_dim_info(DIM_STATUS);
    uint64_t cells[METHOD_COUNT][64];
    _Static_assert(sizeof(cells[0]) / sizeof(cells[0][0]) >= METRICS_STATUSES, "room for each");
    for (unsigned method = 0; method < METHOD_COUNT; method++) {
        read_cells(region, METRIC_HTTP_REQUESTS, method, endpoint, statuses->size, cells[method]);
    }
    for (unsigned status = 0; status < statuses->size; status++) {
        uint64_t sum = 0;
        for (unsigned method = 0; method < METHOD_COUNT; method++) {
            sum += cells[method][status];
        }
        out->requests += sum;
        out->refused += statuses->values[status][0] == '4' ? sum : 0;
        out->failed += statuses->values[status][0] == '5' ? sum : 0;
    }
}

static void read_endpoints(const struct region *region, struct stats *stats) {
    for (unsigned endpoint = 0; endpoint < ENDPOINT_COUNT; endpoint++) {
        struct stats_endpoint *own = &stats->endpoints[endpoint];
        read_endpoint(region, endpoint, own);
        if (stats_is_of_models((enum metric_endpoint)endpoint)) {
            stats->models.requests += own->requests;
            stats->models.refused += own->refused;
            stats->models.failed += own->failed;
            read_times(region, METRIC_HTTP_DURATION, METHOD_POST, endpoint, &stats->duration);
        }
    }
}

static void read_pair(const struct region *region, unsigned pair, struct stats_provider *provider,
                      struct stats *stats) {
    uint64_t tokens[TOKEN_TYPE_COUNT];
    uint64_t cost_nusd = read_cell(region, METRIC_COST, pair, 0);
    provider->cost_nusd += cost_nusd;
    stats->cost_nusd += cost_nusd;
    provider->unknown_price += read_cell(region, METRIC_UNKNOWN_PRICE, pair, 0);
    provider->requests += read_sum(region, METRIC_LLM_REQUESTS, pair, OUTCOME_COUNT);
    read_cells(region, METRIC_TOKENS, pair, 0, TOKEN_TYPE_COUNT, tokens);
    for (unsigned type = 0; type < TOKEN_TYPE_COUNT; type++) {
        provider->tokens[type] += tokens[type];
        stats->tokens[type] += tokens[type];
    }
}

/* What never became an attempt is no failed one. */
static void read_errors(const struct region *region, unsigned index,
                        struct stats_provider *provider) {
    uint64_t cells[OUTCOME_COUNT];
    read_cells(region, METRIC_UPSTREAM_ERRORS, index, 0, OUTCOME_COUNT, cells);
    for (unsigned outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
        bool skipped = outcome == OUTCOME_BREAKER_OPEN || outcome == OUTCOME_OVERLOADED;
        *(skipped ? &provider->skipped : &provider->errors) += cells[outcome];
    }
}

/* A pair is called "provider\nmodel". */
static int provider_of_pair(const struct region *region, int pair) {
    char name[REGION_NAME_SIZE];
    const char *text = names_get(region, NAMES_PAIR, pair);
    size_t size = strcspn(text, "\n");
    memcpy(name, text, size);
    name[size] = '\0';
    return names_find(region, NAMES_PROVIDER, name);
}

static void read_providers(const struct region *region, struct stats *stats) {
    int pairs = names_count(region, NAMES_PAIR);
    stats->provider_count = (unsigned)names_count(region, NAMES_PROVIDER);
    for (int pair = 0; pair < pairs; pair++) {
        int provider = provider_of_pair(region, pair);
        if (provider >= 0) {
            read_pair(region, (unsigned)pair, &stats->providers[provider], stats);
        }
    }
    for (unsigned i = 0; i < stats->provider_count; i++) {
        struct stats_provider *provider = &stats->providers[i];
        read_errors(region, i, provider);
        provider->retries = read_sum(region, METRIC_RETRIES, i, OUTCOME_COUNT);
        provider->fallbacks = read_sum(region, METRIC_FALLBACKS, i, OUTCOME_COUNT);
        read_cells(region, METRIC_PROVIDER_SAVED, i, 0, SAVED_COUNT, provider->saved_nusd);
        read_times(region, METRIC_UPSTREAM_DURATION, i, 0, &provider->duration);
        read_times(region, METRIC_TIME_TO_FIRST_TOKEN, i, 0, &provider->first_token);
        stats->attempts += board_outstanding(region, i);
    }
}

void stats_read(const struct region *region, const struct store *store, struct stats *stats) {
    int64_t in_flight;
    memset(stats, 0, sizeof(*stats));
    stats->at_ms = region_now_ms(region);
    read_endpoints(region, stats);
    read_providers(region, stats);
    read_times(region, METRIC_OVERHEAD, 0, 0, &stats->overhead);
    stats->client_aborts = read_cell(region, METRIC_CLIENT_ABORTS, 0, 0);
    read_cells(region, METRIC_SAVED, 0, 0, SAVED_COUNT, stats->saved_nusd);
    read_cells(region, METRIC_CACHE_EVENTS, 0, 0, CACHE_EVENT_COUNT, stats->cache_events);
    read_cells(region, METRIC_WORKER_RESTARTS, 0, 0, RESTART_REASON_COUNT, stats->restarts);
    store_usage(store, &stats->entries, &stats->bytes, &stats->capacity_bytes);
    board_sum_gauges(region, &stats->connections, &stats->idle, &in_flight);
    stats->route_count = (unsigned)names_count(region, NAMES_ROUTE);
    for (unsigned i = 0; i < stats->route_count; i++) {
        read_cells(region, METRIC_ROUTE_DECISIONS, i, 0, TIER_COUNT * ROUTE_REASON_COUNT,
                   &stats->routes[i][0][0]);
    }
}

/* -- samples ----------------------------------------------------------------------------------- */

static uint64_t not_negative(int64_t value) {
    return value > 0 ? (uint64_t)value : 0;
}

void stats_columns(const struct stats *stats, uint64_t columns[STATS_COLUMNS]) {
    memset(columns, 0, STATS_COLUMNS * sizeof(*columns));
    columns[COLUMN_AT_MS] = (uint64_t)stats->at_ms;
    columns[COLUMN_REQUESTS] = stats->models.requests;
    columns[COLUMN_FAILED] = stats->models.failed;
    columns[COLUMN_COST] = stats->cost_nusd;
    memcpy(&columns[COLUMN_SAVED], stats->saved_nusd, sizeof(stats->saved_nusd));
    columns[COLUMN_HITS] = stats->cache_events[CACHE_EVENT_HIT];
    columns[COLUMN_COALESCED] = stats->cache_events[CACHE_EVENT_COALESCED];
    columns[COLUMN_MISSES] = stats->cache_events[CACHE_EVENT_MISS];
    columns[COLUMN_BYPASSES] = stats->cache_events[CACHE_EVENT_BYPASS];
    columns[COLUMN_PROMPT_TOKENS] = stats->tokens[TOKEN_PROMPT];
    columns[COLUMN_COMPLETION_TOKENS] = stats->tokens[TOKEN_COMPLETION];
    memcpy(&columns[COLUMN_DURATION], stats->duration.buckets, sizeof(stats->duration.buckets));
    columns[COLUMN_ATTEMPTS] = not_negative(stats->attempts);
    columns[COLUMN_CONNECTIONS] = not_negative(stats->connections);
    columns[COLUMN_ENTRIES] = stats->entries;
    columns[COLUMN_BYTES] = stats->bytes;
    for (unsigned i = 0; i < stats->provider_count; i++) {
        const struct stats_provider *provider = &stats->providers[i];
        uint64_t *own = &columns[STATS_COLUMN_OF(i, 0)];
        own[PROVIDER_COLUMN_COST] = provider->cost_nusd;
        for (unsigned reason = 0; reason < SAVED_COUNT; reason++) {
            own[PROVIDER_COLUMN_SAVED] += provider->saved_nusd[reason];
        }
        own[PROVIDER_COLUMN_REQUESTS] = provider->requests;
        own[PROVIDER_COLUMN_ERRORS] = provider->errors;
        memcpy(&own[PROVIDER_COLUMN_DURATION], provider->duration.buckets,
               sizeof(provider->duration.buckets));
    }
}

void stats_sample(struct region *region, const struct store *store, struct stats *stats) {
    uint64_t columns[STATS_COLUMNS];
    uint64_t number;
    if (!history_begin(region, &number)) {
        return;
    }
    stats_read(region, store, stats);
    stats_columns(stats, columns);
    unsigned count = STATS_COLUMN_OF(stats->provider_count, 0);
    for (unsigned column = 0; column < count; column++) {
        history_set(region, number, column, columns[column]);
    }
    history_end(region, number);
}

bool stats_minute_ago(const struct region *region, int64_t at_ms, unsigned provider_count,
                      uint64_t columns[STATS_COLUMNS]) {
    int64_t wanted = at_ms / HISTORY_PERIOD_MS + 1 - MINUTE_SAMPLES;
    unsigned count = STATS_COLUMN_OF(provider_count, 0);
    for (int64_t off = 0; off < HISTORY_SAMPLES - MINUTE_SAMPLES; off++) {
        if (wanted - off > 0 && history_read(region, (uint64_t)(wanted - off), 0, count, columns)) {
            return true;
        }
        if (off <= MINUTE_SAMPLES && wanted + off > 0 &&
            history_read(region, (uint64_t)(wanted + off), 0, count, columns)) {
            return true;
        }
    }
    return false;
}

/* -- percentiles ------------------------------------------------------------------------------- */

int64_t stats_quantile_ns(enum metric_id id, const uint64_t buckets[STATS_BUCKETS], double share) {
    const int64_t *bounds = metric_row(id)->bounds;
    uint64_t count = 0;
    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        count += buckets[i];
    }
    if (count == 0) {
        return -1;
    }
    double rank = share * (double)count;
    double before = 0;
    for (unsigned i = 0; i < METRIC_BOUNDS; i++) {
        double here = (double)buckets[i];
        if (here > 0 && before + here >= rank) {
            int64_t low = i > 0 ? bounds[i - 1] : 0;
            return low + (int64_t)((double)(bounds[i] - low) * (rank - before) / here);
        }
        before += here;
    }
    return bounds[METRIC_BOUNDS - 1];
}
