/* flow: the life of one request, as a table of named steps (flow.c).
 *
 * An endpoint takes a flow, builds what it needs in the flow's arena, and starts it with a sink.
 * The sink hears the answer, at once (a hit) or later; after done or failed returned, the flow and
 * all in its arena are gone. When the client leaves first the endpoint calls flow_abort instead.
 */
#ifndef OPTIROUTE_GATEWAY_FLOW_H
#define OPTIROUTE_GATEWAY_FLOW_H

#include "base/arena.h"
#include "base/clock.h"
#include "gateway/gateway.h"
#include "gateway/route.h"

#define FLOW_TENANT "default" /* until there are several */
#define FLOW_PING_NS (15 * NS_PER_S)

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
    struct bytes json; /* the whole answer in the request's form; empty of a stream, and in head */
    struct bytes text; /* FORM_CHAT: its text, one JSON string, quotes included; of a stream for
                          those who want it (chat.wants_text) */
    struct chat_event last; /* of a stream: the form's own last event, kept back until now; data
                               empty when it has none */
    struct usage usage;
    int64_t cost_nusd; /* COST_UNKNOWN: the price is not known */
    int64_t saved_nusd;
    struct bytes provider;  /* that answered */
    struct bytes routed_to; /* that the router chose */
    struct bytes model;
    struct bytes reason; /* printable ASCII */
    enum answer_cache cache;
    struct bytes passed_over; /* "PROVIDER:REASON, ...": who came first in the plan and did not
                                 answer; empty: nobody */
    int64_t upstream_ns;      /* time spent waiting for providers */
    int64_t paused_ns;        /* and in the pauses of a replay */
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
    bool retry_is_asked; /* the provider itself said x-should-retry: true */
    struct bytes provider, model, reason; /* of the last attempt; empty when there was none */
};

/* How much of a stream waits for its client to read. */
enum sink_fill {
    SINK_HAS_ROOM,
    SINK_FULL,    /* as much as may wait while the upstream can be paused */
    SINK_OVERFULL /* as much as may wait because others read the same answer faster */
};

/* Of a request that wants a stream: head, then events with a flush behind each batch and pings in
 * between, then done. Of any other: done alone. */
struct sink {
    /* Before the first event or ping: provider, model, reason and cache are known (of a ping, those
     * of whoever is being asked), cost is not. */
    void (*head)(struct sink *sink, const struct answer *answer);
    void (*event)(struct sink *sink, const struct chat_event *event);
    /* A sign of life after FLOW_PING_NS of silence. */
    void (*ping)(struct sink *sink);
    /* What was told is to leave now. Anything but SINK_HAS_ROOM: the client reads more slowly than
     * we write; flow_writable is to be called when that is over. */
    enum sink_fill (*flush)(struct sink *sink);
    /* The last call: the whole answer, or the end of a stream. */
    void (*done)(struct sink *sink, const struct answer *answer);
    /* The last call otherwise; on a stream it may come after head and events. */
    void (*failed)(struct sink *sink, const struct failure *failure);
};

struct flow_request {
    /* Views in these need to be valid during flow_start only: a flow that has to wait keeps copies
     * of what is not in `memory`. A hit needs none. */
    struct chat chat;
    struct route_request route;
    struct bytes canonical;      /* canonical body, for the key */
    struct buf canonical_memory; /* a long one, the flow's to free: the key is made in steps; empty:
                                    a short one, or none */
    struct buf memory; /* in which the body lies, the flow's to free; empty: in another's */
    enum cache_mode cache;
    int64_t max_age_ms; /* INT64_MAX: any age */
    /* The HTTP side of the access line (its views in the arena; nothing when the log is off); flow
     * fills the rest and writes it when all is over. */
    struct access_record record;
    enum metric_endpoint endpoint;
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
/* The client is gone (OUTCOME_CLIENT_GONE, OUTCOME_CLIENT_STALL): the sink is not called again.
 * Stops the upstream, settles what it cost, logs; or, when others wait for the same answer, goes on
 * for them and does all that at its end. Not from inside a sink call. */
void flow_abort(struct flow *flow, enum outcome why);
/* The client reads again. Not from inside a sink call. */
void flow_writable(struct flow *flow);

#endif
