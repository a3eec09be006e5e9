/* flow: the life of one request, as a table of named steps (flow.c).
 *
 * An endpoint takes a flow, builds what it needs in the flow's arena, and starts it with a sink.
 * The sink hears the answer, at once (a hit) or later; after done or failed returned, the flow and
 * all in its arena are gone. When the client leaves first the endpoint calls flow_abort instead.
 */
#ifndef OPTIROUTE_GATEWAY_FLOW_H
#define OPTIROUTE_GATEWAY_FLOW_H

#include "base/arena.h"
#include "gateway/gateway.h"
#include "gateway/route.h"

#define FLOW_TENANT "default" /* until there are several */

struct flow;

/* What Cache-Control asked for. */
enum cache_mode {
    CACHE_USE,
    CACHE_NO_READ, /* no-cache: a fresh answer, which is stored */
    CACHE_NO_STORE /* neither read nor write */
};

enum answer_cache { ANSWER_MISS, ANSWER_HIT, ANSWER_COALESCED, ANSWER_BYPASS };
const char *answer_cache_name(enum answer_cache cache);

/* What the sink learns. Views are valid during the call. */
struct answer {
    struct bytes text; /* one JSON string, quotes included; empty in head */
    struct usage usage;
    int64_t cost_nusd; /* COST_UNKNOWN: the price is not known */
    int64_t saved_nusd;
    struct bytes provider;  /* that answered */
    struct bytes routed_to; /* that the router chose */
    struct bytes model;
    struct bytes reason; /* printable ASCII */
    enum answer_cache cache;
    int64_t upstream_ns; /* time spent waiting for providers */
};

/* Why there is no answer, already in words for a client. */
struct failure {
    int status;
    const char *type;    /* "upstream_error", "invalid_request_error", "server_error" */
    const char *code;    /* outcome's name or another fixed word */
    const char *message; /* static or in the arena; never upstream bytes, keys or hosts */
    const char *param;   /* NULL: null */
    int retry_after_s;   /* 0: no such header */
    bool should_retry;   /* x-should-retry: false when false */
    struct bytes provider, model, reason; /* of the last attempt; empty when there was none */
};

struct sink {
    /* Streams only: before the first piece; provider, model, reason and cache are known, cost and
     * text are not. */
    void (*head)(struct sink *sink, const struct answer *answer);
    /* Streams only: decoded text, whole characters. */
    void (*piece)(struct sink *sink, struct bytes text);
    /* The last call: the whole answer (streams included). A hit on a stream request comes as done
     * alone. */
    void (*done)(struct sink *sink, const struct answer *answer);
    /* The last call otherwise; on a stream it may come after head and pieces. */
    void (*failed)(struct sink *sink, const struct failure *failure);
};

struct flow_request {
    /* Views in these three need to be valid during flow_start only: a flow that has to wait keeps
     * copies. A hit needs none. */
    struct chat chat;
    struct route_request route;
    struct bytes canonical; /* canonical body, for the key */
    enum cache_mode cache;
    int64_t max_age_ms; /* INT64_MAX: any age */
    /* The HTTP side of the access line (its views in the arena; nothing when the log is off); flow
     * fills the rest and writes it when all is over. */
    struct access_record record;
    int64_t started_ns, parsed_ns; /* monotonic: first byte, last byte parsed */
};

/* NULL when there is no memory or too many are under way: answer 503. */
struct flow *flow_new(struct gateway *gateway);
struct arena *flow_arena(struct flow *flow);
/* Gives back a flow that was not started. */
void flow_drop(struct flow *flow);
/* `request` lives in the flow's arena and is the flow's from now on. May call the sink's last event
 * before it returns. */
void flow_start(struct flow *flow, struct flow_request *request, struct sink *sink);
/* The client is gone: stops the upstream, settles what it cost, logs; the sink is not called again.
 * Not from inside a sink call. */
void flow_abort(struct flow *flow);

#endif
