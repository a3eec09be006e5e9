/* metrics: the table of all counters and histograms, and adding to them. Every process adds to its
 * own row; the metrics worker reads. Not here: gauges and the text format (prometheus.c).
 *
 * The surprise: the table is a macro. It is read twice, once into an enum that lays the cells out
 * in table order and once into the rows, so that every base and stride is a constant of the
 * compiler and adding costs a few instructions, without any state to set up before fork.
 */
#include "watch/metrics_table.h"

#include "base/hash.h"
#include "base/panic.h"

/* Status codes that have a label of their own; everything else is "other". */
/* clang-format off */
#define STATUS_LIST(ITEM)                                                         \
    ITEM(200) ITEM(204)                                                           \
    ITEM(400) ITEM(401) ITEM(403) ITEM(404) ITEM(405) ITEM(408) ITEM(409)         \
    ITEM(413) ITEM(414) ITEM(415) ITEM(417) ITEM(422) ITEM(429) ITEM(431)         \
    ITEM(500) ITEM(501) ITEM(502) ITEM(503) ITEM(504) ITEM(505)                   \
    ITEM(499)                                                                     \
    ITEM(201) ITEM(202) ITEM(301) ITEM(302) ITEM(304) ITEM(307) ITEM(308) ITEM(402)         \
    ITEM(410) ITEM(424) ITEM(520) ITEM(521) ITEM(522) ITEM(523) ITEM(524)         \
    ITEM(525) ITEM(526) ITEM(527) ITEM(529)
/* clang-format on */

#define STATUS_INDEX(code) STATUS_##code,
enum status_index { STATUS_LIST(STATUS_INDEX) STATUS_OTHER, STATUS_COUNT };

_Static_assert(STATUS_COUNT == METRICS_STATUSES, "as the header says");

#define STATUS_TEXT(code) [STATUS_##code] = #code,
static const char *const statuses[STATUS_COUNT] = {[STATUS_OTHER] = "other",
                                                   STATUS_LIST(STATUS_TEXT)};

#define STATUS_CODE_MIN 200
#define STATUS_CODE_MAX 529
/* Index + 1, so that codes without a label are 0. */
#define STATUS_AT_CODE(code) [(code)-STATUS_CODE_MIN] = STATUS_##code + 1,
static const uint8_t status_at_code[STATUS_CODE_MAX - STATUS_CODE_MIN + 1] = {
    STATUS_LIST(STATUS_AT_CODE)};

static const char *const methods[METHOD_COUNT] = {
    [METHOD_GET] = "GET",         [METHOD_HEAD] = "HEAD",   [METHOD_POST] = "POST",
    [METHOD_OPTIONS] = "OPTIONS", [METHOD_OTHER] = "other",
};
static const char *const endpoints[ENDPOINT_COUNT] = {
    [ENDPOINT_GENERATE] = "/generate",
    [ENDPOINT_CHAT] = "/v1/chat/completions",
    [ENDPOINT_COMPLETIONS] = "/v1/completions",
    [ENDPOINT_EMBEDDINGS] = "/v1/embeddings",
    [ENDPOINT_RESPONSES] = "/v1/responses",
    [ENDPOINT_MESSAGES] = "/v1/messages",
    [ENDPOINT_MODELS] = "/v1/models",
    [ENDPOINT_HEALTH] = "/health",
    [ENDPOINT_READY] = "/health/ready",
    [ENDPOINT_METRICS] = "/metrics",
    [ENDPOINT_CHAT_PAGE] = "/",
    [ENDPOINT_DASHBOARD] = "/dashboard",
    [ENDPOINT_STATIC] = "/static",
    [ENDPOINT_STATS] = "/api/stats",
    [ENDPOINT_EVENTS] = "/api/events",
    [ENDPOINT_OTHER] = "other",
};
static const char *const saved_reasons[SAVED_COUNT] = {
    [SAVED_CACHE] = "cache", [SAVED_COALESCED] = "coalesced", [SAVED_ROUTING] = "routing"};
static const char *const cache_events[CACHE_EVENT_COUNT] = {
    [CACHE_EVENT_HIT] = "hit",       [CACHE_EVENT_COALESCED] = "coalesced",
    [CACHE_EVENT_MISS] = "miss",     [CACHE_EVENT_BYPASS] = "bypass",
    [CACHE_EVENT_STORE] = "store",   [CACHE_EVENT_EVICT] = "evict",
    [CACHE_EVENT_EXPIRE] = "expire", [CACHE_EVENT_CORRUPT] = "corrupt",
};
static const char *const outcomes[OUTCOME_COUNT] = {
    [OUTCOME_OK] = "ok",
    [OUTCOME_SIMULATED_FAILURE] = "simulated_failure",
    [OUTCOME_CLIENT_GONE] = "client_gone",
    [OUTCOME_TOTAL_TIMEOUT] = "total_timeout",
    [OUTCOME_NO_MEMORY] = "no_memory",
    [OUTCOME_OVERLOADED] = "overloaded",
    [OUTCOME_SHUTDOWN] = "shutdown",
    [OUTCOME_BREAKER_OPEN] = "breaker_open",
    [OUTCOME_LOCAL_RESOURCES] = "local_resources",
    [OUTCOME_BAD_MODEL] = "bad_model",
    [OUTCOME_UNTRANSLATABLE] = "untranslatable",
    [OUTCOME_CLIENT_STALL] = "client_stall",
    [OUTCOME_DNS] = "dns",
    [OUTCOME_DNS_TIMEOUT] = "dns_timeout",
    [OUTCOME_CONNECT_REFUSED] = "connect_refused",
    [OUTCOME_CONNECT_UNREACHABLE] = "connect_unreachable",
    [OUTCOME_CONNECT_TIMEOUT] = "connect_timeout",
    [OUTCOME_TLS_VERIFY] = "tls_verify",
    [OUTCOME_TLS_HANDSHAKE] = "tls_handshake",
    [OUTCOME_TLS_TIMEOUT] = "tls_timeout",
    [OUTCOME_STALE] = "stale",
    [OUTCOME_EMPTY_REPLY] = "empty_reply",
    [OUTCOME_RESET] = "reset",
    [OUTCOME_FIRST_BYTE_TIMEOUT] = "first_byte_timeout",
    [OUTCOME_IDLE_TIMEOUT] = "idle_timeout",
    [OUTCOME_TRUNCATED] = "truncated",
    [OUTCOME_BAD_HTTP] = "bad_http",
    [OUTCOME_BAD_FRAMING] = "bad_framing",
    [OUTCOME_BAD_ENCODING] = "bad_encoding",
    [OUTCOME_HEADER_TOO_LARGE] = "header_too_large",
    [OUTCOME_TOO_LARGE] = "too_large",
    [OUTCOME_REDIRECT] = "redirect",
    [OUTCOME_REJECTED] = "rejected",
    [OUTCOME_AUTH] = "auth",
    [OUTCOME_RATE_LIMITED] = "rate_limited",
    [OUTCOME_HTTP_408] = "http_408",
    [OUTCOME_HTTP_5XX] = "http_5xx",
    [OUTCOME_BAD_CONTENT_TYPE] = "bad_content_type",
    [OUTCOME_BAD_JSON] = "bad_json",
    [OUTCOME_BAD_UTF8] = "bad_utf8",
    [OUTCOME_BAD_SCHEMA] = "bad_schema",
    [OUTCOME_STREAM_TRUNCATED] = "stream_truncated",
    [OUTCOME_STREAM_IDLE] = "stream_idle",
    [OUTCOME_STREAM_ERROR] = "stream_error",
};
static const char *const token_types[TOKEN_TYPE_COUNT] = {
    [TOKEN_PROMPT] = "prompt",
    [TOKEN_COMPLETION] = "completion",
    [TOKEN_CACHED_PROMPT] = "cached_prompt",
    [TOKEN_REASONING] = "reasoning",
};
static const char *const tiers[TIER_COUNT] = {
    [TIER_CHEAP] = "cheap", [TIER_STRONG] = "strong", [TIER_PROVIDER] = "provider"};
static const char *const route_reasons[ROUTE_REASON_COUNT] = {
    [ROUTE_BY_RULE] = "rule",         [ROUTE_BY_LENGTH] = "length", [ROUTE_BY_SCORE] = "score",
    [ROUTE_BY_PROVIDER] = "provider", [ROUTE_BY_MODEL] = "model",
};
static const char *const recoveries[RECOVERY_COUNT] = {
    [RECOVERY_CLEAN] = "clean", [RECOVERY_REBUILT] = "rebuilt", [RECOVERY_EMPTIED] = "emptied"};
static const char *const circuits[CIRCUIT_COUNT] = {
    [CIRCUIT_CLOSED] = "closed", [CIRCUIT_HALF_OPEN] = "half_open", [CIRCUIT_OPEN] = "open"};
static const char *const sheds[SHED_COUNT] = {[SHED_MAX_CONNECTIONS] = "max_connections",
                                              [SHED_DESCRIPTORS] = "descriptors",
                                              [SHED_MEMORY] = "memory",
                                              [SHED_MAX_CONCURRENCY] = "max_concurrency"};
static const char *const restart_reasons[RESTART_REASON_COUNT] = {
    [RESTART_SIGNAL] = "signal", [RESTART_EXIT] = "exit", [RESTART_BOOT] = "boot"};

/* Names as in enum metric_dim, without the prefix. */
enum dim_size {
    SIZE_NONE = 1,
    SIZE_METHOD = METHOD_COUNT,
    SIZE_ENDPOINT = ENDPOINT_COUNT,
    SIZE_STATUS = STATUS_COUNT,
    SIZE_PROVIDER = REGION_PROVIDERS,
    SIZE_PAIR = REGION_PAIRS,
    SIZE_ROUTE = REGION_ROUTES,
    SIZE_SAVED_REASON = SAVED_COUNT,
    SIZE_CACHE_EVENT = CACHE_EVENT_COUNT,
    SIZE_OUTCOME = OUTCOME_COUNT,
    SIZE_TOKEN_TYPE = TOKEN_TYPE_COUNT,
    SIZE_TIER = TIER_COUNT,
    SIZE_ROUTE_REASON = ROUTE_REASON_COUNT,
    SIZE_RECOVERY = RECOVERY_COUNT,
    SIZE_RESTART_REASON = RESTART_REASON_COUNT,
    SIZE_FROM = REGION_PROVIDERS,
    SIZE_REASON = OUTCOME_COUNT,
    SIZE_CODE = STATUS_COUNT,
    SIZE_TO = CIRCUIT_COUNT,
    SIZE_SHED_REASON = SHED_COUNT
};

#define FIXED(dim, label, list) [DIM_##dim] = {.labels = {label}, SIZE_##dim, .values = list}
#define NAMED(dim, first, second, kind) [DIM_##dim] = {{first, second}, SIZE_##dim, NULL, kind}
static const struct metric_dim_info dims[DIM_COUNT] = {
    [DIM_NONE] = {.size = SIZE_NONE},
    FIXED(METHOD, "method", methods),
    FIXED(ENDPOINT, "endpoint", endpoints),
    FIXED(STATUS, "status", statuses),
    NAMED(PROVIDER, "provider", NULL, NAMES_PROVIDER),
    NAMED(PAIR, "model", "provider", NAMES_PAIR),
    NAMED(ROUTE, "route", NULL, NAMES_ROUTE),
    FIXED(SAVED_REASON, "reason", saved_reasons),
    FIXED(CACHE_EVENT, "event_type", cache_events),
    FIXED(OUTCOME, "outcome", outcomes),
    FIXED(TOKEN_TYPE, "type", token_types),
    FIXED(TIER, "tier", tiers),
    FIXED(ROUTE_REASON, "reason", route_reasons),
    FIXED(RECOVERY, "result", recoveries),
    FIXED(RESTART_REASON, "reason", restart_reasons),
    NAMED(FROM, "from", NULL, NAMES_PROVIDER),
    FIXED(REASON, "reason", outcomes),
    FIXED(CODE, "code", statuses),
    FIXED(TO, "to", circuits),
    FIXED(SHED_REASON, "reason", sheds),
};

#define STEP(unit_ns) (unit_ns), 5 * (unit_ns) / 2, 5 * (unit_ns)
static const int64_t bounds_us[METRIC_BOUNDS] = {STEP(1000LL),    STEP(10000LL),    STEP(100000LL),
                                                 STEP(1000000LL), STEP(10000000LL), 100000000LL};
static const int64_t bounds_ms[METRIC_BOUNDS] = {STEP(1000000LL),     STEP(10000000LL),
                                                 STEP(100000000LL),   STEP(1000000000LL),
                                                 STEP(10000000000LL), 100000000000LL};

/* The kinds of rows: what each is, its bounds, the cells of one of its series. */
#define TYPE_COUNTER METRIC_COUNTER
#define TYPE_HISTOGRAM_US METRIC_HISTOGRAM
#define TYPE_HISTOGRAM_MS METRIC_HISTOGRAM
#define BOUNDS_COUNTER NULL
#define BOUNDS_HISTOGRAM_US bounds_us
#define BOUNDS_HISTOGRAM_MS bounds_ms
#define CELLS_COUNTER 1
#define CELLS_HISTOGRAM_US METRIC_HISTOGRAM_CELLS
#define CELLS_HISTOGRAM_MS METRIC_HISTOGRAM_CELLS

/* The metrics. Columns: id, kind, unit, shown at 0, name, three dimensions, help. Cells lie in this
 * order; when it changes, totals of the version before are carried over by name and labels
 * (watch/carry.h), so a name and its labels are for ever. */
/* clang-format off: one row, three lines */
#define METRICS(ROW)                                                                               \
    ROW(HTTP_REQUESTS, COUNTER, UNIT_PLAIN, SHOW_USED, "http_requests_total", METHOD, ENDPOINT,    \
        STATUS, "Requests answered, by status code.")                                              \
    ROW(HTTP_DURATION, HISTOGRAM_MS, UNIT_NANOSECONDS, SHOW_USED, "http_request_duration_seconds", \
        METHOD, ENDPOINT, NONE, "Time from a request's first byte to its complete answer.")        \
    ROW(OVERHEAD, HISTOGRAM_US, UNIT_NANOSECONDS, SHOW_ALL, "optiroute_overhead_seconds", NONE,    \
        NONE, NONE, "Time the gateway itself added to a request, without waiting for a provider.") \
    ROW(COST, COUNTER, UNIT_NANODOLLARS, SHOW_NAMES, "llm_total_cost_usd_total", PAIR, NONE, NONE, \
        "Money spent, in USD.")                                                                    \
    ROW(SAVED, COUNTER, UNIT_NANODOLLARS, SHOW_ALL, "llm_saved_cost_usd_total", SAVED_REASON,      \
        NONE, NONE, "Money not spent, in USD, by what saved it.")                                  \
    ROW(UNKNOWN_PRICE, COUNTER, UNIT_PLAIN, SHOW_NAMES, "llm_unknown_price_total", PAIR, NONE,     \
        NONE, "Answers of models whose price is not configured; their cost is in no total.")       \
    ROW(CACHE_EVENTS, COUNTER, UNIT_PLAIN, SHOW_ALL, "llm_cache_events_total", CACHE_EVENT, NONE,  \
        NONE, "What happened at the answer cache.")                                                \
    ROW(LLM_REQUESTS, COUNTER, UNIT_PLAIN, SHOW_NAMES, "llm_requests_total", PAIR, OUTCOME, NONE,  \
        "Attempts at a provider, by how they ended.")                                              \
    ROW(TOKENS, COUNTER, UNIT_PLAIN, SHOW_USED, "llm_tokens_total", PAIR, TOKEN_TYPE, NONE,        \
        "Tokens billed by providers; cached_prompt is part of prompt, reasoning of completion.")   \
    ROW(UPSTREAM_DURATION, HISTOGRAM_MS, UNIT_NANOSECONDS, SHOW_USED,                              \
        "llm_upstream_duration_seconds", PROVIDER, NONE, NONE,                                     \
        "Time of an attempt at a provider, from its start to its end.")                            \
    ROW(TIME_TO_FIRST_TOKEN, HISTOGRAM_MS, UNIT_NANOSECONDS, SHOW_USED,                            \
        "llm_time_to_first_token_seconds", PROVIDER, NONE, NONE,                                   \
        "Time from the start of an attempt at a provider to its first piece of text.")             \
    ROW(UPSTREAM_ERRORS, COUNTER, UNIT_PLAIN, SHOW_USED, "llm_upstream_errors_total", PROVIDER,    \
        REASON, NONE, "Failed attempts at a provider, by what went wrong.")                        \
    ROW(CLIENT_ABORTS, COUNTER, UNIT_PLAIN, SHOW_ALL, "llm_client_aborts_total", NONE, NONE, NONE, \
        "Clients that left before their answer was complete.")                                     \
    ROW(FALLBACKS, COUNTER, UNIT_PLAIN, SHOW_USED, "llm_fallbacks_total", FROM, REASON, NONE,      \
        "Requests passed on to a fallback, by the provider that failed and why.")                  \
    ROW(ROUTE_DECISIONS, COUNTER, UNIT_PLAIN, SHOW_USED, "llm_route_decisions_total", ROUTE, TIER, \
        ROUTE_REASON, "Routing decisions, by the chosen tier and what decided.")                   \
    ROW(SHARD_RECOVERIES, COUNTER, UNIT_PLAIN, SHOW_ALL, "optiroute_cache_shard_recoveries_total", \
        RECOVERY, NONE, NONE,                                                                      \
        "Cache shards taken over from a process that died holding their lock.")                    \
    ROW(LOCK_TIMEOUTS, COUNTER, UNIT_PLAIN, SHOW_ALL, "optiroute_cache_lock_timeouts_total", NONE, \
        NONE, NONE, "Cache operations skipped because a shard's lock was not free in time.")       \
    ROW(WORKER_RESTARTS, COUNTER, UNIT_PLAIN, SHOW_ALL, "optiroute_worker_restarts_total",         \
        RESTART_REASON, NONE, NONE, "Processes started again after one died.")                     \
    ROW(LOG_DROPPED, COUNTER, UNIT_PLAIN, SHOW_ALL, "optiroute_log_dropped_total", NONE, NONE,     \
        NONE, "Log lines that could not be written.")                                              \
    ROW(UPSTREAM_RESPONSES, COUNTER, UNIT_PLAIN, SHOW_USED, "llm_upstream_responses_total",        \
        PROVIDER, CODE, NONE, "Answers of providers, by status code.")                             \
    ROW(RETRIES, COUNTER, UNIT_PLAIN, SHOW_USED, "llm_retries_total", PROVIDER, REASON, NONE,      \
        "Requests sent to the same provider again, by what went wrong before.")                    \
    ROW(CIRCUIT_TRANSITIONS, COUNTER, UNIT_PLAIN, SHOW_USED, "llm_circuit_transitions_total",      \
        PROVIDER, TO, NONE, "Changes of a provider's circuit breaker, by the new state.")          \
    ROW(STALE_REPORTS, COUNTER, UNIT_PLAIN, SHOW_USED, "llm_breaker_stale_reports_total",          \
        PROVIDER, NONE, NONE,                                                                      \
        "Attempts that ended after the circuit breaker had moved on; they changed nothing.")       \
    ROW(USAGE_INVALID, COUNTER, UNIT_PLAIN, SHOW_NAMES, "llm_usage_invalid_total", PROVIDER, NONE, \
        NONE, "Answers whose token counts were missing or impossible; they were estimated.")       \
    ROW(SHED, COUNTER, UNIT_PLAIN, SHOW_ALL, "optiroute_shed_total", SHED_REASON, NONE, NONE,      \
        "Clients told to come again (503), by the limit that was reached.")                        \
    ROW(PROVIDER_SAVED, COUNTER, UNIT_NANODOLLARS, SHOW_USED, "llm_provider_saved_cost_usd_total", \
        PROVIDER, SAVED_REASON, NONE,                                                              \
        "Money not spent, in USD, by the provider whose answer it was and by what saved it.")
/* clang-format on */

/* First and last cell of each row; the next row begins behind the last. */
#define LAYOUT(id, kind, unit, show, name, i, j, k, help) \
    FIRST_##id, LAST_##id = FIRST_##id + CELLS_##kind * SIZE_##i * SIZE_##j * SIZE_##k - 1,
enum layout { METRICS(LAYOUT) CELL_COUNT };

#define TABLE(id, kind, unit_, show_, name_, i, j, k, help_)                                    \
    [METRIC_##id] = {                                                                           \
        .base = FIRST_##id,                                                                     \
        .strides = {CELLS_##kind * SIZE_##j * SIZE_##k, CELLS_##kind * SIZE_##k, CELLS_##kind}, \
        .sizes = {SIZE_##i, SIZE_##j, SIZE_##k},                                                \
        .type = TYPE_##kind,                                                                    \
        .bounds = BOUNDS_##kind,                                                                \
        .unit = unit_,                                                                          \
        .show = show_,                                                                          \
        .dims = {DIM_##i, DIM_##j, DIM_##k},                                                    \
        .name = name_,                                                                          \
        .help = help_},
static const struct metric_row rows[METRIC_COUNT] = {METRICS(TABLE)};

#define ONE(id, kind, unit, show, name, i, j, k, help) +1
_Static_assert(0 METRICS(ONE) == METRIC_COUNT, "every metric of the enum has its row");

const char *outcome_name(enum outcome outcome) {
    ASSERT((unsigned)outcome < OUTCOME_COUNT);
    return outcomes[outcome];
}

unsigned metrics_cells(void) {
    return CELL_COUNT;
}

uint64_t metrics_layout_hash(void) {
    return metrics_hash_rows(rows, METRIC_COUNT);
}

const struct metric_row *metric_row(enum metric_id id) {
    ASSERT((unsigned)id < METRIC_COUNT);
    return &rows[id];
}

const struct metric_dim_info *metric_dim_info(enum metric_dim dim) {
    ASSERT((unsigned)dim < DIM_COUNT);
    return &dims[dim];
}

static inline unsigned cell_of(const struct metric_row *row, unsigned i, unsigned j, unsigned k) {
    ASSERT(i < row->sizes[0] && j < row->sizes[1] && k < row->sizes[2]);
    return row->base + i * row->strides[0] + j * row->strides[1] + k * row->strides[2];
}

unsigned metric_cell(const struct metric_row *row, unsigned i, unsigned j, unsigned k) {
    return cell_of(row, i, j, k);
}

static uint64_t hash_text(const char *text, uint64_t hash) {
    return hash64(text, strlen(text) + 1, hash);
}

static uint64_t hash_dim(const struct metric_dim_info *dim, uint64_t hash) {
    hash = hash64(&dim->size, sizeof(dim->size), hash);
    for (unsigned i = 0; i < 2; i++) {
        hash = hash_text(dim->labels[i] != NULL ? dim->labels[i] : "", hash);
    }
    for (unsigned i = 0; dim->values != NULL && i < dim->size; i++) {
        hash = hash_text(dim->values[i], hash);
    }
    return hash;
}

uint64_t metrics_hash_rows(const struct metric_row *table, unsigned count) {
    uint64_t hash = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct metric_row *row = &table[i];
        const uint32_t numbers[] = {row->base, (uint32_t)row->type, (uint32_t)row->unit};
        hash = hash_text(row->name, hash);
        hash = hash64(numbers, sizeof(numbers), hash);
        if (row->bounds != NULL) {
            hash = hash64(row->bounds, METRIC_BOUNDS * sizeof(row->bounds[0]), hash);
        }
        for (unsigned d = 0; d < METRIC_DIMS; d++) {
            hash = hash_dim(metric_dim_info(row->dims[d]), hash);
        }
    }
    return hash;
}

unsigned metrics_status_index(int status) {
    if (status < STATUS_CODE_MIN || status > STATUS_CODE_MAX) {
        return STATUS_OTHER;
    }
    unsigned at = status_at_code[status - STATUS_CODE_MIN];
    return at != 0 ? at - 1 : STATUS_OTHER;
}

void metric_add(const struct metrics *metrics, enum metric_id id, uint64_t value, unsigned i,
                unsigned j, unsigned k) {
    const struct metric_row *row = metric_row(id);
    ASSERT(row->type == METRIC_COUNTER);
    counter_add(&metrics->row[cell_of(row, i, j, k)], value);
}

void metric_add_shared(const struct metrics *metrics, enum metric_id id, uint64_t value, unsigned i,
                       unsigned j, unsigned k) {
    const struct metric_row *row = metric_row(id);
    ASSERT(row->type == METRIC_COUNTER);
    counter_add_shared(&metrics->row[cell_of(row, i, j, k)], value);
}

/* How many bounds lie below the value: its bucket, METRIC_BOUNDS for +Inf. Five comparisons and no
 * branch: durations are too scattered to be predicted. */
static inline unsigned bucket_of(const int64_t bounds[METRIC_BOUNDS], int64_t value) {
    _Static_assert(METRIC_BOUNDS == 16, "the steps below halve 16");
    unsigned at = (unsigned)(bounds[7] < value) * 8;
    at += (unsigned)(bounds[at + 3] < value) * 4;
    at += (unsigned)(bounds[at + 1] < value) * 2;
    at += (unsigned)(bounds[at] < value);
    return at + (unsigned)(bounds[at] < value);
}

void metric_observe(const struct metrics *metrics, enum metric_id id, int64_t value_ns, unsigned i,
                    unsigned j) {
    const struct metric_row *row = metric_row(id);
    ASSERT(row->type == METRIC_HISTOGRAM);
    counter_cell *cells = &metrics->row[cell_of(row, i, j, 0)];
    int64_t value = value_ns > 0 ? value_ns : 0;
    counter_add(&cells[bucket_of(row->bounds, value)], 1);
    counter_add(&cells[METRIC_HISTOGRAM_SUM], (uint64_t)value);
}

uint64_t metric_total(const struct region *region, enum metric_id id, unsigned i, unsigned j,
                      unsigned k) {
    const struct metric_row *row = metric_row(id);
    unsigned first = cell_of(row, i, j, k);
    unsigned count = row->type == METRIC_HISTOGRAM ? METRIC_BOUNDS + 1 : 1;
    uint64_t total = 0;
    for (unsigned cell = 0; cell < count; cell++) {
        total += counters_sum(region, first + cell);
    }
    return total;
}
