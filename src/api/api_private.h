/* What the files of layer api share: the worker's api, one call, and the ways to answer it.
 *
 * Every answer of the daemon goes through api_reply or a sink, so that each carries
 * x-request-id, is counted and logged.
 */
#ifndef OPTIROUTE_SRC_API_PRIVATE_H
#define OPTIROUTE_SRC_API_PRIVATE_H

#include "api/api.h"
#include "base/json_read.h"
#include "base/json_write.h"
#include "gateway/flow.h"
#include "upstream/form.h"

#define API_REQUEST_ID_MAX 64
/* Of a stream, unsent: so much waits for a client while others read the same answer faster. */
#define STREAM_OVERFULL_BYTES ((size_t)4 * 1024 * 1024)

struct api {
    struct gateway *gateway;
    const struct gateway_env *env;
    struct json_reader reader; /* of the request that is being looked at */
    struct buf canonical;      /* canonical body under construction */
    struct buf body;           /* answer, or events, under construction; empty in between */
    struct buf fields;         /* its header fields */
    char id_prefix[24];        /* of generated request ids: random, per process */
    uint64_t id_count;
    int64_t started_s; /* wall clock */
    struct stats_json *stats;
    struct api_events *events;
};

struct api_call;
struct api_reading;
struct api_events;
struct event_stream;
struct stats_json;

struct api_endpoint {
    const char *path;
    bool has_below; /* and what lies below it: "/v1/models/NAME" */
    unsigned
        methods; /* bits 1 << enum http_method; HEAD goes with GET, OPTIONS is answered for all */
    enum metric_endpoint label;
    enum chat_form form; /* of its errors, and of what it answers; FORM_CHAT where there is none */
    void (*handle)(struct api_call *call, const struct http_head *head, struct bytes body);
};

/* One request. On the stack for answers given at once, in the flow's arena for those that wait. */
struct api_call {
    struct sink sink; /* first: the sink of a flow is its call */
    struct api *api;
    struct http_exchange *exchange;
    const struct api_endpoint *endpoint;
    struct flow *flow;                  /* while one is under way */
    struct api_reading *reading;        /* while its body is being read */
    struct event_stream *events_stream; /* of /api/events */
    enum metric_method method;
    bool streaming;                /* the head of a stream has gone out */
    bool lost;                     /* and something that should have followed has not */
    int64_t events;                /* of the provider's that it was told */
    int64_t started_ns, parsed_ns; /* monotonic: first byte, last byte parsed */
    int64_t answered_ns;           /* see api_answered_ns; 0: not yet */
    size_t id_size;
    char id[API_REQUEST_ID_MAX];
};

struct api_error {
    int status;
    const char *type;  /* "invalid_request_error", ... */
    const char *code;  /* NULL: null */
    const char *param; /* NULL: null */
    int retry_after_s; /* 0: no field */
    bool should_retry;
    bool retry_is_asked; /* and the provider said so */
    const char *message;
};

static inline struct bytes api_call_id(const struct api_call *call) {
    return bytes_make(call->id, call->id_size);
}

/* Monotonic time at which the answer was complete: when this is first asked. So the clock is read
 * once, and what body, fields, metrics and log say of one call agrees. */
int64_t api_answered_ns(struct api_call *call);
/* One request and the time it took in the metrics. Once a call: for whole answers api_reply does
 * it, for streams and those that nobody heard it is done by who ends them. */
void api_count(struct api_call *call, int status);
/* Starts an answer: empties api->body, and api->fields but for x-request-id. */
void api_fields_begin(struct api_call *call);
/* Answers with api->fields as they are, and counts. */
void api_reply(struct api_call *call, int status, const char *content_type, struct bytes body);
/* Answers with what api->fields hold and the error, composed in api->body; counts. */
void api_reply_error(struct api_call *call, const struct api_error *error);
/* The access line of a call that no flow writes one for. */
void api_log(struct api_call *call, int status);
/* The HTTP side of an access line. */
void api_fill_record(const struct api_call *call, int status, struct access_record *record);

/* -- requests to models (api_ask.c): what /generate and the endpoints below /v1 have in common */

/* One that is being understood. What is wrong with it ends up in `error`. */
struct ask {
    struct api_call *call; /* in the flow's arena, where it outlives the handler */
    struct flow *flow;
    struct flow_request *request; /* in the arena too */
    const struct json_reader *reader;
    struct arena *arena;
    struct api_error error; /* status 0: none */
};

/* How an endpoint understands the body that is in ask->reader: fills ask->request and
 * api->canonical. 0, or -1 after a refusal. */
typedef int ask_reader(struct ask *ask);

/* Reads the body, at once or (a large one) in turns of the loop, then starts a flow with this sink,
 * or answers with what is wrong. */
void api_ask(struct api_call *call, const struct http_head *head, struct bytes body,
             ask_reader *read, const struct sink *sink);
/* The client of a body that is being read is gone. */
void api_reading_cancel(struct api_reading *reading);

/* Both return -1. */
int ask_refuse(struct ask *ask, int status, const char *param, const char *code,
               const char *message);
int ask_out_of_memory(struct ask *ask);
/* "invalid_type" for a member; the text is made of the name and of what was expected. */
int ask_wrong_type(struct ask *ask, const char *name, const char *expected);
/* Is the top-level member left out of the cache key? (DESIGN of the key: never an allow-list; these
 * do not change the answer.) */
bool ask_is_left_out(enum chat_form form, struct bytes name);
#define ASK_CACHED_MAX ((size_t)1024 * 1024) /* bytes; a larger body is not worth a key */
/* The text of a string; of one that is long and has escapes its beginning and its end. data NULL
 * without memory. */
struct bytes ask_read_text(struct ask *ask, int string);
/* The canonical form of the body but for the members that are left out, to api->canonical. Doubled
 * keys at any depth are refused. A body too large to be worth it is not cached. */
int ask_write_canonical(struct ask *ask);
/* Who is asked: a route, a provider, either with "/model" behind it, or a model that a provider
 * lists. False: nobody is called so. */
bool ask_find_target(const struct conf *conf, struct bytes name, struct route_request *route);

/* The sinks: a flow's call is its sink. api_generate_answer.c, api_chat_answer.c */
extern const struct sink api_generate_sink, api_chat_sink;
/* What they have in common. */
void api_sink_head(struct sink *sink, const struct answer *answer);
void api_sink_ping(struct sink *sink);
enum sink_fill api_sink_flush(struct sink *sink);
void api_sink_failed(struct sink *sink, const struct failure *failure);
/* Header fields of an answer that a flow gives, begun anew. */
void api_add_route_fields(struct api_call *call, const struct answer *answer);
void api_add_money_fields(struct api_call *call, const struct answer *answer);
/* The comment with the money that a stream's head could not tell yet. */
void api_put_money_comment(struct api_call *call, const struct answer *answer, struct buf *out);
/* The same of the last piece, after which the stream ends; counts. */
void api_stream_end(struct api_call *call);

/* -- who listens to /api/events (api_events.c) */

#define API_EVENT_STREAMS_MAX 32 /* in one worker; past it 503 */
/* NULL without memory. */
struct api_events *api_events_new(void);
void api_events_free(struct api *api);
/* The client of a stream is gone. */
void api_events_gone(struct event_stream *stream);

/* Endpoints. */
void api_generate(struct api_call *call, const struct http_head *head, struct bytes body);
void api_chat(struct api_call *call, const struct http_head *head, struct bytes body);
void api_models(struct api_call *call, const struct http_head *head, struct bytes body);
void api_health(struct api_call *call, const struct http_head *head, struct bytes body);
void api_ready(struct api_call *call, const struct http_head *head, struct bytes body);
void api_stats(struct api_call *call, const struct http_head *head, struct bytes body);
void api_events(struct api_call *call, const struct http_head *head, struct bytes body);
void api_www(struct api_call *call, const struct http_head *head, struct bytes body);

#endif
