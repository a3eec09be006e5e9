/* What gateway.c and the flow_*.c files share: the insides of a gateway and of a flow. Nobody else
 * includes it. */
#ifndef OPTIROUTE_SRC_GATEWAY_PRIVATE_H
#define OPTIROUTE_SRC_GATEWAY_PRIVATE_H

#include "base/hash.h"
#include "base/json_read.h"
#include "base/slow_free.h"
#include "gateway/breaker.h"
#include "gateway/entry.h"
#include "gateway/flow.h"
#include "gateway/gateway.h"
#include "kept.h"
#include "shm/flight.h"
#include "upstream/form.h"
#include "upstream/provider.h"

#define FLOWS_MAX 65536       /* under way in one worker; past it 503 */
#define FLOWS_SPARE_MAX 64    /* kept for reuse with their first arena block */
#define FLOW_ARENA_BLOCK 8192 /* bytes: an ordinary request fits the first block */
#define FLOW_ARENA_LIMIT (64LL * 1024 * 1024)
#define FLIGHT_BUCKETS 4096u /* a power of two */
#define FLOW_BODY_COPIES 3   /* of a body, decoded or copied, that it may hold beside that */

/* How a step ended. */
enum step_result {
    STEP_NEXT,   /* go on with the following step */
    STEP_WAIT,   /* an event or a timer will call flow_continue */
    STEP_CACHE,  /* back to cache: the answer has come into the store this moment */
    STEP_ROUTE,  /* go to route: the request is on its own */
    STEP_CHOOSE, /* back to choose: the same provider again, or the next */
    STEP_SETTLE, /* go to settle: an attempt has answered */
    STEP_REPLAY, /* go to replay: a hit is ready */
    STEP_ANSWER, /* go to share, then to answer: a failure is ready */
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
    struct flight **flights;   /* hash table of FLIGHT_BUCKETS: those of this worker, by key */
    struct flight *elsewhere;  /* list of those that other processes lead */
    unsigned round;            /* of gateway_wake */
    int64_t wait_max_ns;       /* the longest total timeout of all providers */
    bool is_ending;            /* gateway_abort_all was called */
    int64_t region_ahead_ms;   /* region time less monotonic time; looked up once a second */
    uint64_t random;           /* state of the generator that spreads retries */
    struct gateway_provider {
        uint64_t subject;          /* for its breaker */
        int64_t refusal_logged_ns; /* when one of its refusals was last logged, 0: never */
        int64_t full_logged_ns;    /* the same of its max_concurrency */
    } * providers;                 /* by index in the configuration */
};

/* Identical requests of this worker whose one answer is on its way: it is in the table as long as
 * more may join. See flight.c. */
struct flight {
    struct flight *next;                     /* in its bucket */
    struct flight *next_there, *prior_there; /* in gateway->elsewhere */
    uint8_t key[SHA256_SIZE];
    struct flow *leader;  /* asks for all; NULL: another process does */
    struct flow *waiters; /* list, the latest first */
    bool has_ticket;      /* other processes can see the flight */
    struct flight_ticket ticket;
    unsigned failures;  /* of leaders before this one */
    int64_t max_age_ms; /* elsewhere: of the one among those who wait that wants it youngest, */
    int64_t since_ns;   /* and since when the first waits */
    unsigned round;     /* of gateway_wake in which it was looked at last */
    struct buf batch;   /* events that came together, for those who wait */
};

struct flow {
    struct gateway *gateway;
    struct flow *next, *previous; /* in the gateway's active list; next alone in the spare list */
    struct arena arena;
    struct flow_request *request; /* in the arena */
    struct sink *sink;            /* NULL once it has heard the end */
    unsigned step;                /* position in `steps` */
    struct flight *flight;        /* that it leads or waits for, or NULL */
    struct flow *next_waiter, *prior_waiter;
    struct timer *wait_timer; /* of one who waits: when it gives up; else NULL */
    int64_t waited_ns;        /* monotonic: when it began to wait for another; 0: it did not */
    bool looked_again;        /* it was sent back to cache once */
    int gone_status;          /* its client is gone, with this status, and others wait for its
                                 answer; 0: the client is there */
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
    unsigned failure_rank;        /* how much `failure` tells: see flow_failure.c */
    enum outcome failure_outcome; /* what it tells of; meaningful with a rank */
    bool head_sent;               /* the sink has heard of this stream */
    bool content_sent;            /* and its reader has seen something: no fallback any more */
    bool is_paused;               /* its attempt: the clients are slower than the provider */
    enum sink_fill fill;          /* of its own client */
    int64_t overfull_ns;          /* monotonic: since when that is overfull; 0: it is not */
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

/* gateway.c */
/* Carries the store's statistics of this process over to its counters: after every miss and put. */
void gateway_count_store(struct gateway *gateway);

/* flow.c */
/* Prepares a failure that is not a provider's. Returns STEP_ANSWER. */
enum step_result flow_fail(struct flow *flow, int status, const char *code, const char *message);
enum step_result flow_no_memory(struct flow *flow);
/* Goes on with a flow that waited. May drop it. */
void flow_continue(struct flow *flow, enum step_result result);
/* Replaces the views that end with flow_start by copies in the arena, each with a NUL behind it.
 * False: no memory. */
bool flow_keep_views(struct flow *flow);

#define STATUS_CLIENT_GONE 499 /* nginx's code for a client that closed the request */
static inline bool flow_is_orphan(const struct flow *flow) {
    return flow->gone_status != 0;
}
/* What its client was told, or would have been. */
int flow_status(const struct flow *flow);
/* Is it known what it cost? That of others' answers is 0. */
bool flow_has_cost(const struct flow *flow);
/* Looks the flow's key up in the store; the entry's views are valid until the next look. */
bool flow_look_up(struct flow *flow, struct entry *entry);
/* Makes the entry the flow's answer, to be told by STEP_REPLAY: a hit, or what others have asked
 * for. False when it cannot be (no memory). Its views must be valid until it is told. */
bool flow_take_entry(struct flow *flow, const struct entry *entry, enum answer_cache cache);
/* The flow's own answer as an entry, but for json and text. */
struct entry flow_entry(const struct flow *flow);
/* Nobody is to hear of the flow: stops what it waits for, logs, drops it. */
void flow_give_up(struct flow *flow, enum outcome why);

/* flight_failure.c: a failure as bytes, for other processes that wait for the same answer. */
struct flow_failure {
    struct failure failure; /* its strings are views of the bytes */
    unsigned rank;
    enum outcome outcome; /* meaningful with a rank */
};
void flight_failure_encode(const struct flow_failure *how, struct buf *out);
/* -1 when the bytes are none, or no memory. */
int flight_failure_decode(struct bytes value, struct arena *arena, struct flow_failure *how);

/* flight.c */
enum step_result flow_step_flight(struct flow *flow);
/* The client of a flow is gone. True: the flow goes on for others. */
bool flight_lose_client(struct flow *flow);
/* The flow leads or waits no more; a leader only when nobody waits for it. Nothing when it is in no
 * flight. */
void flight_quit(struct flow *flow);
/* Once a second: leaders that nobody waits for any more are given up. */
void flight_tick(struct gateway *gateway);
bool flight_is_led_by(const struct flow *flow);
/* Nobody joins it any more. */
void flight_close(struct gateway *gateway, struct flight *flight);
/* It is not led elsewhere. */
void flight_unlist(struct gateway *gateway, struct flight *flight);
/* Closed and without anybody. */
void flight_free(struct flight *flight);
/* Not to wait any more, and in no flight. */
void flight_remove_waiter(struct flow *flow);
/* The same of the latest who waits; NULL: nobody does. */
struct flow *flight_take_waiter(struct flight *flight);
/* One that does not wait any more asks for itself. */
void flight_go_alone(struct flow *flow);
/* The latest of those who wait asks for all of them: it has the most time left. The flight may be
 * gone afterwards. */
void flight_promote(struct gateway *gateway, struct flight *flight);

/* flight_share.c */
enum step_result flow_step_share(struct flow *flow);
/* Tells one that waits what its leader was told so far. False: no memory. */
bool flight_catch_up(struct flow *flow, const struct flow *leader);
/* The failure of a leader as that of one who waited. */
void flight_fail(struct flow *flow, const struct flow_failure *how);
/* What the attempt of a leader brings, for those who wait with it. */
void flight_tell(struct flow *leader, const struct chat_event *event);
void flight_flush(struct flow *leader);
void flight_forget_events(struct flow *leader);
/* The events of a leader are not kept any more, so nobody can join it, nor take its answer from the
 * store. */
void flight_stop_keeping(struct flow *leader);
/* All who read are full, or one of them is by far. Who waits for the whole answer is never full,
 * nor is another process. */
bool flight_wants_pause(const struct flow *leader);
/* Does the leader's upstream have to wait for the clients? Acts on it; may_resume: outside of a
 * provider's own calls. */
void flight_set_pace(struct flow *flow, bool may_resume);
/* flight_elsewhere.c */
/* Leaves the reason of a failure for other processes that wait, if there are any. */
void flight_leave_failure(struct gateway *gateway, const struct flight *flight,
                          const struct flow_failure *how);

/* flow_key.c */
/* The request's key: now (STEP_NEXT), or a long one later (STEP_WAIT). Fails the flow without
 * memory (STEP_ANSWER). */
enum step_result flow_make_key(struct flow *flow);
/* What a key under construction needs, if there is one, and the canonical body. */
void flow_end_key(struct flow *flow);

/* flow_stream.c */
/* From now on the client hears a sign of life now and then. Nothing when it does already. */
void flow_begin_stream(struct flow *flow);
/* The timers of a stream. */
void flow_end_stream(struct flow *flow);
/* Nothing of an attempt's events was told: forgets them. */
void flow_forget_events(struct flow *flow);
/* The same of one who waits for the attempt of another, and keeps none. */
void flow_forget_told(struct flow *flow);
/* Events as bytes, one after the other. */
void flow_pack_event(struct buf *out, const struct chat_event *event);
/* The event at *at, which moves behind it; false at the end. */
bool flow_unpack_event(const struct buf *packed, size_t *at, struct chat_event *event);
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

/* flow_failure.c */
#define FLOW_UNLISTED_LABEL "other" /* of models that the configuration does not list */
/* The plan's entry that is being tried has failed so: keeps what tells the client most. */
void flow_note_failure(struct flow *flow, enum outcome outcome);
/* Did the provider itself say how long it wants to be left alone, where the breaker obeys? */
bool flow_holds_off(const struct attempt *attempt, enum outcome outcome);

/* flow_attempt.c */
enum step_result flow_step_choose(struct flow *flow);
enum step_result flow_step_attempt(struct flow *flow);
/* Stops the attempt under way and books what it delivered, or stops waiting for the next one. */
void flow_stop_attempt(struct flow *flow, enum outcome outcome);

/* flow_recent.c */
/* The request has ended: adds it to the recent ones, and what it saved to its provider's total. */
void flow_remember(const struct flow *flow, int64_t now_ns);

/* flow_pool.c, flow_money.c */
/* Frees the memory of a flow in the spare list. */
void flow_destroy(struct flow *flow);
/* Books an attempt that ended, however it did: time, tokens, money. */
void flow_book_attempt(struct flow *flow, enum outcome outcome);
/* What the same tokens would have cost at the route's strong tier, less what they did. */
int64_t flow_saved_by_routing(const struct flow *flow);

#endif
