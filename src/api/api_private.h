/* What the files of layer api share: the worker's api, one call, and the ways to answer it.
 *
 * Every answer of the daemon goes through api_reply or api_stream_begin, so that each carries
 * x-request-id, is counted and logged.
 */
#ifndef OPTIROUTE_SRC_API_PRIVATE_H
#define OPTIROUTE_SRC_API_PRIVATE_H

#include "api/api.h"
#include "base/json_read.h"
#include "base/json_write.h"
#include "gateway/flow.h"

#define API_REQUEST_ID_MAX 64

struct api {
    struct gateway *gateway;
    const struct gateway_env *env;
    struct json_reader reader; /* of the request that is being looked at */
    struct buf canonical;      /* canonical body under construction */
    struct buf body;           /* answer under construction, emptied by api_fields_begin */
    struct buf fields;         /* its header fields */
    char id_prefix[24];        /* of generated request ids: random, per process */
    uint64_t id_count;
};

struct api_call;

struct api_endpoint {
    const char *path;
    unsigned
        methods; /* bits 1 << enum http_method; HEAD goes with GET, OPTIONS is answered for all */
    enum metric_endpoint label;
    void (*handle)(struct api_call *call, const struct http_head *head, struct bytes body);
};

/* One request. On the stack for answers given at once, in the flow's arena for those that wait. */
struct api_call {
    struct sink sink; /* first: the sink of a flow is its call */
    struct api *api;
    struct http_exchange *exchange;
    const struct api_endpoint *endpoint;
    struct flow *flow; /* while one is under way */
    enum metric_method method;
    bool stream;
    bool streaming;                /* the head of a stream has gone out */
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
/* One more field; the value is made of printable ASCII only (anything else becomes '?'). */
void api_fields_add(struct api_call *call, const char *name, struct bytes value);
/* Answers with api->fields as they are, and counts. */
void api_reply(struct api_call *call, int status, const char *content_type, struct bytes body);
/* The head of an event stream. */
void api_stream_begin(struct api_call *call);
/* Answers with what api->fields hold and the error, composed in api->body; counts. */
void api_reply_error(struct api_call *call, const struct api_error *error);
/* The error object, appended to out. */
void api_write_error(struct buf *out, const struct api_error *error);
/* The access line of a call that no flow writes one for. */
void api_log(struct api_call *call, int status);
/* The HTTP side of an access line. */
void api_fill_record(const struct api_call *call, int status, struct access_record *record);
/* What a flow of /generate speaks to; its call is the sink. */
extern const struct sink api_generate_sink;
/* Endpoints. */
void api_generate(struct api_call *call, const struct http_head *head, struct bytes body);
void api_health(struct api_call *call, const struct http_head *head, struct bytes body);
void api_ready(struct api_call *call, const struct http_head *head, struct bytes body);

#endif
