/* The table of endpoints, and the way of a request to its row.
 *
 * Runs in workers. Knows no models; each endpoint's meaning is in its own file.
 */
#include "config.h"

#include "api_private.h"
#include "www.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "stats_json.h"

#define METHOD_BIT(method) (1u << (method))

static void answer_metrics(struct api_call *call, const struct http_head *head, struct bytes body);

#define GET METHOD_BIT(HTTP_GET)
#define POST METHOD_BIT(HTTP_POST)
static const struct api_endpoint endpoints[] = {
    {"/generate", false, POST, ENDPOINT_GENERATE, FORM_CHAT, api_generate},
    {"/v1/chat/completions", false, POST, ENDPOINT_CHAT, FORM_CHAT, api_chat},
    {"/v1/completions", false, POST, ENDPOINT_COMPLETIONS, FORM_COMPLETIONS, api_chat},
    {"/v1/embeddings", false, POST, ENDPOINT_EMBEDDINGS, FORM_EMBEDDINGS, api_chat},
    {"/v1/responses", false, POST, ENDPOINT_RESPONSES, FORM_RESPONSES, api_chat},
    {"/v1/messages", false, POST, ENDPOINT_MESSAGES, FORM_MESSAGES, api_chat},
    {"/v1/models", true, GET, ENDPOINT_MODELS, FORM_CHAT, api_models},
    {"/health", false, GET, ENDPOINT_HEALTH, FORM_CHAT, api_health},
    {"/health/ready", false, GET, ENDPOINT_READY, FORM_CHAT, api_ready},
    {"/api/stats", false, GET, ENDPOINT_STATS, FORM_CHAT, api_stats},
    {"/api/events", false, GET, ENDPOINT_EVENTS, FORM_CHAT, api_events},
    {"/", false, GET, ENDPOINT_CHAT_PAGE, FORM_CHAT, api_www},
    {"/dashboard", false, GET, ENDPOINT_DASHBOARD, FORM_CHAT, api_www},
    {"/static", true, GET, ENDPOINT_STATIC, FORM_CHAT, api_www},
    {"/metrics", false, GET, ENDPOINT_METRICS, FORM_CHAT, answer_metrics},
};
#define ENDPOINT_ROWS (sizeof(endpoints) / sizeof(endpoints[0]))

/* The one path that both APIs have: Anthropic's clients say who they are. */
static const struct api_endpoint models_of_anthropic = {"/v1/models",    true,          GET,
                                                        ENDPOINT_MODELS, FORM_MESSAGES, api_models};

/* For paths without a row, and heads that could not be read. */
static const struct api_endpoint no_endpoint = {"other", false, 0, ENDPOINT_OTHER, FORM_CHAT, NULL};

struct api *api_new(struct gateway *gateway) {
    struct api *api = calloc(1, sizeof(*api));
    unsigned char random[8];
    if (api == NULL) {
        return NULL;
    }
    api->gateway = gateway;
    api->env = gateway_env(gateway);
    api->started_s = clock_wall_ns() / NS_PER_S;
    json_reader_init(&api->reader);
    buf_init(&api->canonical, 0);
    buf_init(&api->body, 0);
    buf_init(&api->fields, 0);
    api->stats = calloc(1, sizeof(*api->stats));
    api->events = api_events_new();
    if (api->stats == NULL || api->events == NULL ||
        getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        api_free(api);
        return NULL;
    }
    api->stats->env = api->env;
    for (size_t i = 0; i < sizeof(random); i++) {
        snprintf(api->id_prefix + 2 * i, 3, "%02x", random[i]);
    }
    return api;
}

void api_free(struct api *api) {
    if (api == NULL) {
        return;
    }
    api_events_free(api);
    free(api->stats);
    buf_free(&api->fields);
    buf_free(&api->body);
    buf_free(&api->canonical);
    json_reader_fini(&api->reader);
    free(api);
}

/* -- a call ---------------------------------------------------------------------------------- */

static bool is_request_id(struct bytes id) {
    if (id.size == 0 || id.size > API_REQUEST_ID_MAX) {
        return false;
    }
    for (size_t i = 0; i < id.size; i++) {
        char c = id.data[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '_' || c == '-';
        if (!good) {
            return false;
        }
    }
    return true;
}

/* The client's own id when it is of the right form, else a new one. */
static void take_id(struct api_call *call, const struct http_head *head) {
    struct api *api = call->api;
    struct bytes id = head != NULL ? http_head_find(head, "x-request-id") : bytes_make("", 0);
    if (is_request_id(id)) {
        memcpy(call->id, id.data, id.size);
        call->id_size = id.size;
        return;
    }
    struct buf out;
    buf_init_fixed(&out, call->id, sizeof(call->id));
    buf_append_str(&out, api->id_prefix);
    buf_append_char(&out, '-');
    buf_append_u64(&out, ++api->id_count);
    call->id_size = out.size;
}

static enum metric_method method_label(const struct http_head *head) {
    if (head == NULL) {
        return METHOD_OTHER;
    }
    switch (head->method) {
    case HTTP_GET:
        return METHOD_GET;
    case HTTP_HEAD:
        return METHOD_HEAD;
    case HTTP_POST:
        return METHOD_POST;
    case HTTP_OPTIONS:
        return METHOD_OPTIONS;
    default:
        return METHOD_OTHER;
    }
}

static void call_init(struct api_call *call, struct api *api, struct http_exchange *exchange,
                      const struct http_head *head) {
    *call = (struct api_call){
        .api = api,
        .exchange = exchange,
        .endpoint = &no_endpoint,
        .method = method_label(head),
        .started_ns = http_exchange_started_ns(exchange),
        .parsed_ns = http_exchange_parsed_ns(exchange),
    };
    take_id(call, head);
    api_fields_begin(call);
}

/* -- answers that belong to no endpoint ----------------------------------------------------------
 */

static void refuse(struct api_call *call, int status, const char *code, const char *message) {
    bool is_ours = status == 503; /* of http: the request is not what is wrong */
    struct api_error error = {.status = status,
                              .type = is_ours ? "server_error" : "invalid_request_error",
                              .code = code,
                              .message = message,
                              .retry_after_s = is_ours ? 1 : 0,
                              .should_retry = status == 408 || is_ours};
    api_reply_error(call, &error);
    api_log(call, status);
}

static void add_allow(struct api_call *call, unsigned methods) {
    static const struct {
        unsigned bit;
        const char *names;
    } rows[] = {{METHOD_BIT(HTTP_GET), "GET, HEAD, "}, {METHOD_BIT(HTTP_POST), "POST, "}};
    struct buf *fields = &call->api->fields;
    buf_append_str(fields, "Allow: ");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if ((methods & rows[i].bit) != 0) {
            buf_append_str(fields, rows[i].names);
        }
    }
    buf_append_str(fields, "OPTIONS\r\n");
}

static void answer_options(struct api_call *call, unsigned methods) {
    add_allow(call, methods);
    api_reply(call, 204, NULL, bytes_make(NULL, 0));
    api_log(call, 204);
}

static void answer_metrics(struct api_call *call, const struct http_head *head, struct bytes body) {
    (void)head;
    (void)body;
    char message[256];
    const char *address = call->api->env->metrics_address;
    if (address[0] != '\0') {
        snprintf(message, sizeof(message),
                 "metrics are served by their own worker at http://%s/metrics", address);
    } else {
        snprintf(message, sizeof(message), "metrics are turned off: metrics_listen is empty");
    }
    refuse(call, 404, "not_found", message);
}

/* -- dispatch ---------------------------------------------------------------------------------- */

static const struct api_endpoint *find_endpoint(struct bytes path) {
    for (size_t i = 0; i < ENDPOINT_ROWS; i++) {
        struct bytes own = bytes_from_str(endpoints[i].path);
        bool is_below = endpoints[i].has_below && path.size > own.size + 1 &&
                        bytes_start_with(path, own) && path.data[own.size] == '/';
        if (is_below || bytes_equal(path, own)) {
            return &endpoints[i];
        }
    }
    return &no_endpoint;
}

bool api_has_pages(void) {
    return www_file_count > 0;
}

/* The errors of an endpoint have its form, and so have the fields with them. */
static void set_endpoint(struct api_call *call, const struct http_head *head) {
    call->endpoint = find_endpoint(head->path);
    if (call->endpoint->label == ENDPOINT_MODELS &&
        http_head_find(head, "anthropic-version").data != NULL) {
        call->endpoint = &models_of_anthropic;
    }
    api_fields_begin(call);
}

/* Many small clients say nothing of their bodies, and that is taken. Not from a browser, which says
 * whose page it is that asks: without a type the page of a stranger may post here without asking us
 * first (Fetch standard, CORS-safelisted requests), and spend the money of whoever looks at it. */
static bool is_json(const struct http_head *head) {
    struct bytes type = http_head_find(head, "content-type");
    if (type.data == NULL) {
        return http_head_find(head, "origin").data == NULL;
    }
    type.size = bytes_find(type, ';');
    return bytes_equal_nocase(bytes_trim(type), BYTES_LITERAL("application/json"));
}

static bool is_compressed(const struct http_head *head) {
    struct bytes coding = http_head_find(head, "content-encoding");
    return coding.size > 0 && !bytes_equal_nocase(coding, BYTES_LITERAL("identity"));
}

static void on_request(void *context, struct http_exchange *exchange, const struct http_head *head,
                       struct bytes body) {
    struct api *api = context;
    struct api_call call;
    call_init(&call, api, exchange, head);
    unsigned method = METHOD_BIT(head->method == HTTP_HEAD ? HTTP_GET : head->method);
    if (head->method == HTTP_METHOD_OTHER) {
        refuse(&call, 501, "not_implemented", "this method is not known here");
        return;
    }
    if (head->method == HTTP_OPTIONS && bytes_equal_str(head->target, "*")) {
        answer_options(&call, METHOD_BIT(HTTP_GET) | METHOD_BIT(HTTP_POST));
        return;
    }
    set_endpoint(&call, head);
    if (call.endpoint->handle == NULL) {
        refuse(&call, 404, "not_found",
               "there is nothing at this path; /v1/chat/completions, /v1/messages and /generate "
               "answer "
               "(an OpenAI client's base URL ends in /v1, an Anthropic client's does not)");
    } else if (head->method == HTTP_OPTIONS) {
        answer_options(&call, call.endpoint->methods);
    } else if ((call.endpoint->methods & method) == 0) {
        add_allow(&call, call.endpoint->methods);
        refuse(&call, 405, "method_not_allowed", "this path does not take this method");
    } else if (head->method == HTTP_POST && !is_json(head)) {
        refuse(&call, 415, "unsupported_media_type",
               "the body must be JSON: send Content-Type: application/json");
    } else if (is_compressed(head)) {
        refuse(&call, 415, "unsupported_encoding", "the body must not be compressed");
    } else {
        call.endpoint->handle(&call, head, body);
    }
}

static void on_fault(void *context, struct http_exchange *exchange, const struct http_head *head,
                     const struct http_fault *fault) {
    struct api_call call;
    call_init(&call, context, exchange, head);
    if (head != NULL) {
        set_endpoint(&call, head);
    }
    refuse(&call, fault->status, fault->code != NULL ? fault->code : "invalid_http", fault->reason);
}

static void on_aborted(void *context, struct http_exchange *exchange, enum http_abort why) {
    struct api_call *call = http_exchange_user(exchange);
    (void)context;
    if (call == NULL) {
        return; /* answered already; only its last bytes were not read */
    }
    if (call->events_stream != NULL) {
        api_events_gone(call->events_stream);
        return;
    }
    api_count(call, 499);
    if (call->reading != NULL) {
        api_log(call, 499);
        api_reading_cancel(call->reading);
    } else {
        flow_abort(call->flow,
                   why == HTTP_CLIENT_STALLED ? OUTCOME_CLIENT_STALL : OUTCOME_CLIENT_GONE);
    }
}

static void on_writable(void *context, struct http_exchange *exchange) {
    struct api_call *call = http_exchange_user(exchange);
    (void)context;
    if (call != NULL && call->flow != NULL) {
        flow_writable(call->flow);
    }
}

/* However many clients there are, somebody wants to know how we are. */
static bool on_admits(void *context, const struct http_head *head) {
    (void)context;
    enum metric_endpoint label = find_endpoint(head->path)->label;
    bool asks = head->method == HTTP_GET || head->method == HTTP_HEAD;
    return asks && (label == ENDPOINT_HEALTH || label == ENDPOINT_READY);
}

/* Of a client that was not heard: there is no id, and no form, so the error has the usual one. */
#define BUSY                                                                                       \
    "{\"error\":{\"message\":\"too many connections: the server is busy, try again in a moment\"," \
    "\"type\":\"server_error\",\"param\":null,\"code\":\"too_many_connections\"}}"
#define BUSY_SIZE "152"
_Static_assert(sizeof(BUSY) - 1 == 152, "the size that the answer tells");
const struct bytes api_busy_answer =
    BYTES_LITERAL("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                  "Content-Length: " BUSY_SIZE "\r\nretry-after: 1\r\n"
                  "Connection: close\r\n\r\n" BUSY);

const struct http_callbacks api_callbacks = {
    .request = on_request,
    .fault = on_fault,
    .aborted = on_aborted,
    .writable = on_writable,
    .admits = on_admits,
};
