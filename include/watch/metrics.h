/* metrics: one row per metric: name, type, labels, help; and the way from a row to cells in shared
 * memory.
 *
 * A process adds to its own counter row (shm/counters.h) with metric_add and metric_observe; the
 * metrics worker sums rows and prints them (watch/prometheus.h). Label values are positions in
 * fixed lists or in the region's name tables, never client bytes. Adding a metric is adding its row
 * to metrics.c and its name to the enum.
 */
#ifndef OPTIROUTE_WATCH_METRICS_H
#define OPTIROUTE_WATCH_METRICS_H

#include "shm/counters.h"

enum metric_id {
    METRIC_HTTP_REQUESTS,       /* method, endpoint, status */
    METRIC_HTTP_DURATION,       /* histogram s: method, endpoint */
    METRIC_OVERHEAD,            /* histogram s */
    METRIC_COST,                /* nano-dollars: pair */
    METRIC_SAVED,               /* nano-dollars: saved reason */
    METRIC_UNKNOWN_PRICE,       /* pair */
    METRIC_CACHE_EVENTS,        /* cache event */
    METRIC_LLM_REQUESTS,        /* pair, outcome */
    METRIC_TOKENS,              /* pair, token type */
    METRIC_UPSTREAM_DURATION,   /* histogram s: provider */
    METRIC_TIME_TO_FIRST_TOKEN, /* histogram s: provider */
    METRIC_UPSTREAM_ERRORS,     /* provider, reason (an outcome) */
    METRIC_CLIENT_ABORTS,
    METRIC_FALLBACKS,        /* from (a provider), reason (an outcome) */
    METRIC_ROUTE_DECISIONS,  /* route, tier, route reason */
    METRIC_SHARD_RECOVERIES, /* recovery result */
    METRIC_LOCK_TIMEOUTS,
    METRIC_WORKER_RESTARTS, /* restart reason */
    METRIC_LOG_DROPPED,
    METRIC_UPSTREAM_RESPONSES,  /* provider, code (a status) */
    METRIC_RETRIES,             /* provider, reason (an outcome) */
    METRIC_CIRCUIT_TRANSITIONS, /* provider, to (a circuit state) */
    METRIC_STALE_REPORTS,       /* provider */
    METRIC_USAGE_INVALID,       /* provider */
    METRIC_SHED,                /* shed reason */
    METRIC_PROVIDER_SAVED,      /* nano-dollars: provider, saved reason */
    METRIC_COUNT
};

/* What a cell index means along one dimension. */
enum metric_dim {
    DIM_NONE,
    DIM_METHOD,
    DIM_ENDPOINT,
    DIM_STATUS,
    DIM_PROVIDER, /* names table */
    DIM_PAIR,     /* names table; two labels: model, provider */
    DIM_ROUTE,    /* names table */
    DIM_SAVED_REASON,
    DIM_CACHE_EVENT,
    DIM_OUTCOME,
    DIM_TOKEN_TYPE,
    DIM_TIER,
    DIM_ROUTE_REASON,
    DIM_RECOVERY,
    DIM_RESTART_REASON,
    DIM_FROM,   /* DIM_PROVIDER under the label "from" */
    DIM_REASON, /* DIM_OUTCOME under the label "reason" */
    DIM_CODE,   /* DIM_STATUS under the label "code" */
    DIM_TO,     /* circuit state */
    DIM_SHED_REASON,
    DIM_COUNT
};

enum metric_method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_OPTIONS,
    METHOD_OTHER,
    METHOD_COUNT
};
enum metric_endpoint {
    ENDPOINT_GENERATE,
    ENDPOINT_CHAT,
    ENDPOINT_COMPLETIONS,
    ENDPOINT_EMBEDDINGS,
    ENDPOINT_RESPONSES,
    ENDPOINT_MESSAGES,
    ENDPOINT_MODELS,
    ENDPOINT_HEALTH,
    ENDPOINT_READY,
    ENDPOINT_METRICS,
    ENDPOINT_CHAT_PAGE,
    ENDPOINT_DASHBOARD,
    ENDPOINT_STATIC,
    ENDPOINT_STATS,
    ENDPOINT_EVENTS,
    ENDPOINT_OTHER, /* unknown paths, and requests whose head was refused */
    ENDPOINT_COUNT
};
enum metric_saved_reason { SAVED_CACHE, SAVED_COALESCED, SAVED_ROUTING, SAVED_COUNT };
enum metric_cache_event {
    CACHE_EVENT_HIT,
    CACHE_EVENT_COALESCED,
    CACHE_EVENT_MISS,
    CACHE_EVENT_BYPASS,
    CACHE_EVENT_STORE,
    CACHE_EVENT_EVICT,
    CACHE_EVENT_EXPIRE,
    CACHE_EVENT_CORRUPT,
    CACHE_EVENT_COUNT
};
/* Cached tokens are among the prompt's, reasoning tokens among the completion's. */
enum metric_token_type {
    TOKEN_PROMPT,
    TOKEN_COMPLETION,
    TOKEN_CACHED_PROMPT,
    TOKEN_REASONING,
    TOKEN_TYPE_COUNT
};
enum metric_tier { TIER_CHEAP, TIER_STRONG, TIER_PROVIDER, TIER_COUNT };
enum metric_route_reason {
    ROUTE_BY_RULE,
    ROUTE_BY_LENGTH,
    ROUTE_BY_SCORE,
    ROUTE_BY_PROVIDER,
    ROUTE_BY_MODEL,
    ROUTE_REASON_COUNT
};
enum metric_recovery { RECOVERY_CLEAN, RECOVERY_REBUILT, RECOVERY_EMPTIED, RECOVERY_COUNT };
enum metric_circuit { CIRCUIT_CLOSED, CIRCUIT_HALF_OPEN, CIRCUIT_OPEN, CIRCUIT_COUNT };
/* Which limit was reached when a client was told to come again. */
enum metric_shed {
    SHED_MAX_CONNECTIONS,
    SHED_DESCRIPTORS,
    SHED_MEMORY,
    SHED_MAX_CONCURRENCY,
    SHED_COUNT
};
enum metric_restart_reason { RESTART_SIGNAL, RESTART_EXIT, RESTART_BOOT, RESTART_REASON_COUNT };

/* How an attempt at a provider ended: the small enum that retry, breaker, metrics and log share.
 * Its names are the `reason` and `code` words of doc/providers.md; what each
 * means for client, retry and breaker is the table of upstream/outcome.c. */
enum outcome {
    OUTCOME_OK,
    OUTCOME_SIMULATED_FAILURE,
    OUTCOME_CLIENT_GONE,
    OUTCOME_TOTAL_TIMEOUT,
    OUTCOME_NO_MEMORY,
    OUTCOME_OVERLOADED, /* the provider's max_concurrency is reached */
    OUTCOME_SHUTDOWN,   /* this worker ends before the answer came */
    OUTCOME_BREAKER_OPEN,
    OUTCOME_LOCAL_RESOURCES, /* no descriptor or port of ours to connect with */
    OUTCOME_BAD_MODEL,       /* a model's name that cannot be part of an address */
    OUTCOME_UNTRANSLATABLE,  /* the provider's API has no way to say this request */
    OUTCOME_CLIENT_STALL,    /* the client did not read its stream */
    /* connecting */
    OUTCOME_DNS,
    OUTCOME_DNS_TIMEOUT,
    OUTCOME_CONNECT_REFUSED,
    OUTCOME_CONNECT_UNREACHABLE,
    OUTCOME_CONNECT_TIMEOUT,
    OUTCOME_TLS_VERIFY,
    OUTCOME_TLS_HANDSHAKE,
    OUTCOME_TLS_TIMEOUT,
    /* the exchange */
    /* a kept connection was closed under the request: sent again, a retry's reason */
    OUTCOME_STALE,
    OUTCOME_EMPTY_REPLY,
    OUTCOME_RESET,
    OUTCOME_FIRST_BYTE_TIMEOUT,
    OUTCOME_IDLE_TIMEOUT,
    OUTCOME_TRUNCATED,
    OUTCOME_BAD_HTTP,
    OUTCOME_BAD_FRAMING,
    OUTCOME_BAD_ENCODING, /* compressed, though not asked for */
    OUTCOME_HEADER_TOO_LARGE,
    OUTCOME_TOO_LARGE,
    /* the answer */
    OUTCOME_REDIRECT,
    OUTCOME_REJECTED, /* a 4xx that is about the request */
    OUTCOME_AUTH,
    OUTCOME_RATE_LIMITED,
    OUTCOME_HTTP_408,
    OUTCOME_HTTP_5XX,
    OUTCOME_BAD_CONTENT_TYPE,
    OUTCOME_BAD_JSON,
    OUTCOME_BAD_UTF8,
    OUTCOME_BAD_SCHEMA,
    /* a stream, after its head */
    OUTCOME_STREAM_TRUNCATED,
    OUTCOME_STREAM_IDLE,
    OUTCOME_STREAM_ERROR, /* the provider's own word for a failure, in the middle */
    OUTCOME_COUNT
};
const char *outcome_name(enum outcome outcome);

/* Handle of one process on its own row. */
struct metrics {
    counter_cell *row;
};

/* Cells a row needs, and a hash of every name, dimension and size in order (shm/region.h's
 * counter_layout). */
unsigned metrics_cells(void);
uint64_t metrics_layout_hash(void);

#define METRICS_STATUSES 43 /* their number */
/* Index along DIM_STATUS: a fixed list, else the last, "other". */
unsigned metrics_status_index(int status);

/* Adds to a counter. Unused dimensions are 0. An index out of range panics: it is a programming
 * fault. */
void metric_add(const struct metrics *metrics, enum metric_id id, uint64_t value, unsigned i,
                unsigned j, unsigned k);
/* The same for the masters' row, which two of them may write at once. */
void metric_add_shared(const struct metrics *metrics, enum metric_id id, uint64_t value, unsigned i,
                       unsigned j, unsigned k);
/* Adds an observation to a histogram, in nanoseconds (negative counts as 0). */
void metric_observe(const struct metrics *metrics, enum metric_id id, int64_t value_ns, unsigned i,
                    unsigned j);
/* Sum over all rows, for tests and the dashboard: a counter's total, or a histogram's number of
 * observations. */
uint64_t metric_total(const struct region *region, enum metric_id id, unsigned i, unsigned j,
                      unsigned k);

#endif
