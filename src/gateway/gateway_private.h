/* What gateway.c and the flow_*.c files share: the insides of a gateway and of a flow. Nobody else
 * includes it. */
#ifndef OPTIROUTE_SRC_GATEWAY_PRIVATE_H
#define OPTIROUTE_SRC_GATEWAY_PRIVATE_H

#include "base/hash.h"
#include "base/json_read.h"
#include "base/slow_free.h"
#include "gateway/breaker.h"
#include "gateway/flow.h"
#include "gateway/gateway.h"
#include "kept.h"
#include "upstream/form.h"
#include "upstream/provider.h"

#define FLOWS_MAX 65536       /* under way in one worker; past it 503 */
#define FLOWS_SPARE_MAX 64    /* kept for reuse with their first arena block */
#define FLOW_ARENA_BLOCK 8192 /* bytes: an ordinary request fits the first block */
#define FLOW_ARENA_LIMIT (64LL * 1024 * 1024)
#define FLOW_BODY_COPIES 3 /* of a body, decoded or copied, that it may hold beside that */

/* How a step ended. */
enum step_result {
    STEP_NEXT,   /* go on with the following step */
    STEP_WAIT,   /* an event or a timer will call flow_continue */
    STEP_CHOOSE, /* back to choose: the same provider again, or the next */
    STEP_SETTLE, /* go to settle: an attempt has answered */
    STEP_REPLAY, /* go to replay: a hit is ready */
    STEP_ANSWER, /* go to answer: a failure is ready */
};

struct gateway {
    struct gateway_env env;
    struct sha256 *sha;
    char *value;                           /* where hits are copied to */
    size_t value_size;                     /* bytes of it */
    struct store_stats seen;               /* store statistics already carried to the counters */
    uint8_t (*route_plan)[SHA256_SIZE];    /* fingerprints, one per route */
    uint8_t (*provider_plan)[SHA256_SIZE]; /* and one per provider */
    struct flow *active;                   /* list of flows under way */
    struct flow *spare;                    /* list of flows to use again */
    unsigned active_count, spare_count;
    struct json_reader reader; /* for stored answers and finished streams */
    struct arena scratch;      /* for what is made of them */
    struct slow_free slow;     /* gives large bodies back */
    size_t kept_bytes;         /* events kept by all flows, to be stored */
    uint64_t random;           /* state of the generator that spreads retries */
    struct gateway_provider {
        uint64_t subject;          /* for its breaker */
        int64_t refusal_logged_ns; /* when one of its refusals was last logged, 0: never */
        int64_t full_logged_ns;    /* the same of its max_concurrency */
    } * providers;                 /* by index in the configuration */
};

struct flow {
    struct gateway *gateway;
    struct flow *next, *previous; /* in the gateway's active list; next alone in the spare list */
    struct arena arena;
    struct flow_request *request; /* in the arena */
    struct sink *sink;            /* NULL once the client is gone */
    unsigned step;                /* position in `steps` */
    uint8_t key[SHA256_SIZE];
    struct sha256 *sha;      /* a long key under construction, owned; else NULL */
    size_t hashed;           /* bytes of the canonical body that it has seen */
    struct timer *key_timer; /* when it goes on; NULL: it is not waited for */
    bool has_views;          /* what the request shows outlives flow_start */
    struct plan plan;
    unsigned plan_at;               /* entry of the plan that is being tried */
    const struct provider_ops *ops; /* of the attempt under way, else NULL */
    struct attempt attempt;
    int64_t attempt_started_ns;
    unsigned attempts;    /* all of this request */
    unsigned tries;       /* of these, at the plan's entry that is being tried */
    int64_t first_try_ns; /* when the first of the tries began */
    bool has_ticket;      /* the breaker waits for a report of the attempt under way */
    unsigned ticket;
    bool probes;                  /* the breaker's next state depends on it */
    struct timer *lease_timer;    /* when the probe must have answered; NULL: no probe */
    struct timer *retry_timer;    /* waits to try again; NULL: does not */
    int64_t retry_since_ns;       /* since when */
    unsigned failure_rank;        /* how much `failure` tells: see flow_attempt.c */
    enum outcome failure_outcome; /* what it tells of; meaningful with a rank */
    bool head_sent;               /* the sink has heard of this stream */
    bool content_sent;            /* and its reader has seen something: no fallback any more */
    bool is_paused;               /* the client is slower than the provider */
    bool was_paused;              /* or has been, in this attempt */
    bool strong_is_unable;        /* the route's strong provider cannot be asked this */
    bool was_streamed;            /* the answer came as events */
    struct buf held;              /* events that wait for the first content, or for their pace */
    size_t held_at;               /* bytes of them that are told */
    struct kept kept;             /* the data of all events, a line each, to be stored; */
    bool keeps;                   /* as long as there is room */
    struct chat_event last;       /* the form's own last event; in the arena */
    struct buf json;              /* a finished stream made whole */
    struct timer *ping_timer;     /* streams: NULL when there is nothing to wait for */
    int64_t told_ns;              /* when the client last heard something */
    struct timer *pace_timer;     /* a hit is replayed at a pace */
    int64_t replayed_ns;          /* since when */
    enum outcome outcome;         /* of the last attempt */
    bool have_outcome;
    bool have_usage;   /* answer.usage is that of an attempt that was billed, or of a hit */
    struct buf text;   /* a stream's text as a JSON string under construction, if wanted */
    int64_t cost_nusd; /* sum of the attempts; COST_UNKNOWN is sticky */
    struct answer answer;
    struct failure failure; /* status 0: none */
};

/* Index of the attempt under way in the tables of pairs and providers. */
static inline unsigned flow_pair_index(const struct flow *flow) {
    const struct plan_entry *entry = &flow->plan.entry[flow->plan_at];
    return flow->gateway->env.labels->pair[entry->provider][entry->model];
}

static inline unsigned flow_provider_index(const struct flow *flow) {
    return flow->gateway->env.labels->provider[flow->plan.entry[flow->plan_at].provider];
}

static inline const struct conf_provider *flow_provider(const struct flow *flow) {
    return &flow->gateway->env.conf->providers[flow->plan.entry[flow->plan_at].provider];
}

static inline struct gateway_provider *flow_gateway_provider(const struct flow *flow) {
    return &flow->gateway->providers[flow->plan.entry[flow->plan_at].provider];
}

/* flow.c */
/* Prepares a failure that is not a provider's. Returns STEP_ANSWER. */
enum step_result flow_fail(struct flow *flow, int status, const char *code, const char *message);
enum step_result flow_no_memory(struct flow *flow);
/* Goes on with a flow that waited. May drop it. */
void flow_continue(struct flow *flow, enum step_result result);
/* Replaces the views that end with flow_start by copies in the arena, each with a NUL behind it.
 * False: no memory. */
bool flow_keep_views(struct flow *flow);

/* flow_key.c */
/* The request's key: now (STEP_NEXT), or a long one later (STEP_WAIT). Fails the flow without
 * memory (STEP_ANSWER). */
enum step_result flow_make_key(struct flow *flow);
/* What a key under construction needs, if there is one, and the canonical body. */
void flow_end_key(struct flow *flow);

/* flow_stream.c */
/* From now on the client hears a sign of life now and then. */
void flow_begin_stream(struct flow *flow);
/* The timers of a stream. */
void flow_end_stream(struct flow *flow);
/* Nothing of an attempt's events was told: forgets them. */
void flow_forget_events(struct flow *flow);
/* Tells an event of an attempt, or keeps it back. */
void flow_tell(struct flow *flow, const struct chat_event *event);
/* What was kept back. */
void flow_tell_held(struct flow *flow);
/* What was told leaves now. */
void flow_flush(struct flow *flow);
/* The answer of a stream as one JSON value in flow->json; false: it cannot be had. */
bool flow_collect(struct flow *flow);
/* A whole answer told as events: now (STEP_NEXT) or at the configured pace (STEP_WAIT). Fails the
 * flow when it is none (STEP_ANSWER). */
enum step_result flow_replay(struct flow *flow);

/* flow_attempt.c */
enum step_result flow_step_choose(struct flow *flow);
enum step_result flow_step_attempt(struct flow *flow);
/* Stops the attempt under way and books what it delivered, or stops waiting for the next one. */
void flow_stop_attempt(struct flow *flow, enum outcome outcome);

/* flow_pool.c, flow_money.c */
/* Frees the memory of a flow in the spare list. */
void flow_destroy(struct flow *flow);
/* Books an attempt that ended, however it did: time, tokens, money. */
void flow_book_attempt(struct flow *flow, enum outcome outcome);
/* What the same tokens would have cost at the route's strong tier, less what they did. */
int64_t flow_saved_by_routing(const struct flow *flow);

#endif
