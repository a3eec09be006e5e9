/* What gateway.c and the flow_*.c files share: the insides of a gateway and of a flow. Nobody else
 * includes it. */
#ifndef OPTIROUTE_SRC_GATEWAY_PRIVATE_H
#define OPTIROUTE_SRC_GATEWAY_PRIVATE_H

#include "base/hash.h"
#include "gateway/flow.h"
#include "gateway/gateway.h"
#include "upstream/provider.h"

#define FLOWS_MAX 65536       /* under way in one worker; past it 503 */
#define FLOWS_SPARE_MAX 64    /* kept for reuse with their first arena block */
#define FLOW_ARENA_BLOCK 8192 /* bytes: an ordinary request fits the first block */
#define FLOW_ARENA_LIMIT (64LL * 1024 * 1024)

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
};

struct flow {
    struct gateway *gateway;
    struct flow *next, *previous; /* in the gateway's active list; next alone in the spare list */
    struct arena arena;
    struct flow_request *request; /* in the arena */
    struct sink *sink;            /* NULL once the client is gone */
    unsigned step;                /* position in `steps` */
    uint8_t key[SHA256_SIZE];
    struct plan plan;
    unsigned plan_at;               /* entry of the plan that is being tried */
    const struct provider_ops *ops; /* of the attempt under way, else NULL */
    struct attempt attempt;
    int64_t attempt_started_ns;
    bool head_sent;       /* the sink has heard of this stream: no fallback any more */
    enum outcome outcome; /* of the last attempt */
    bool have_outcome;
    bool have_usage;   /* answer.usage is that of an attempt that was billed, or of a hit */
    struct buf text;   /* the answer as a JSON string under construction */
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

/* Frees the memory of a flow in the spare list. */
void flow_destroy(struct flow *flow);
/* Books an attempt that ended, however it did: time, tokens, money. */
void flow_book_attempt(struct flow *flow, enum outcome outcome);
/* What the same tokens would have cost at the route's strong tier, less what they did. */
int64_t flow_saved_by_routing(const struct flow *flow);

#endif
