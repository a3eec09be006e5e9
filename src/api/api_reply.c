/* Answers: header fields, errors in the one shape that clients know, counting and logging.
 *
 * Runs in workers. Its one surprise: fields and body are built in buffers of the worker, so only
 * one answer can be under construction at a time; each is handed to http before the next begins.
 */
#include "api_private.h"

#include "base/clock.h"
#include "gateway/cost.h"
#include "watch/metrics_table.h"
#include "watch/stats.h"

int64_t api_answered_ns(struct api_call *call) {
    if (call->answered_ns == 0) {
        call->answered_ns = clock_mono_ns();
    }
    return call->answered_ns;
}

void api_fields_begin(struct api_call *call) {
    struct buf *fields = &call->api->fields;
    buf_clear(&call->api->body);
    buf_clear(fields);
    buf_append_str(fields, "x-request-id: ");
    buf_append(fields, call->id, call->id_size);
    buf_append_str(fields, "\r\n");
    if (call->endpoint->form == FORM_MESSAGES) { /* where Anthropic's clients look for it */
        buf_append_str(fields, "request-id: ");
        buf_append(fields, call->id, call->id_size);
        buf_append_str(fields, "\r\n");
    }
}

/* One more field; the value is made of printable ASCII only (anything else becomes '?'). */
/* Nothing when there is nothing to say: a ping may come before it is known who answers. */
static void add_field(struct api_call *call, const char *name, struct bytes value) {
    struct buf *fields = &call->api->fields;
    if (value.size == 0) {
        return;
    }
    buf_append_str(fields, name);
    buf_append_str(fields, ": ");
    char *room = buf_reserve(fields, value.size + 2);
    if (room == NULL) {
        return;
    }
    for (size_t i = 0; i < value.size; i++) {
        unsigned char c = (unsigned char)value.data[i];
        room[i] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    memcpy(room + value.size, "\r\n", 2);
    fields->size += value.size + 2;
}

void api_count(struct api_call *call, int status) {
    const struct metrics *metrics = &call->api->env->metrics;
    metric_add(metrics, METRIC_HTTP_REQUESTS, 1, call->method, call->endpoint->label,
               metrics_status_index(status));
    metric_observe(metrics, METRIC_HTTP_DURATION, api_answered_ns(call) - call->started_ns,
                   call->method, call->endpoint->label);
}

void api_reply(struct api_call *call, int status, const char *content_type, struct bytes body) {
    struct api *api = call->api;
    struct http_reply reply = {.status = status,
                               .content_type = content_type,
                               .fields = buf_bytes(&api->fields),
                               .body = body};
    if (api->fields.failed || api->body.failed) {
        /* out of memory while composing: the least that is still an answer */
        reply = (struct http_reply){.status = 503, .close = true};
    }
    api_count(call, reply.status);
    http_reply(call->exchange, &reply);
    buf_clear(&api->body); /* a stream's next event begins with an empty one */
}

static void begin_stream(struct api_call *call) {
    struct api *api = call->api;
    buf_append_str(&api->fields, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
    struct http_reply head = {
        .status = 200, .content_type = "text/event-stream", .fields = buf_bytes(&api->fields)};
    call->streaming = true;
    http_reply_begin(call->exchange, &head);
    buf_clear(&api->body);
}

/* The words that the Anthropic API has for a status; our own stands in `code`. */
static const char *anthropic_type(int status) {
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 503:
    case 529:
        return "overloaded_error";
    case 504:
        return "timeout_error";
    default:
        return status < 500 ? "invalid_request_error" : "api_error";
    }
}

static void put_members(struct json_writer *writer, const char *type,
                        const struct api_error *error) {
    json_key(writer, "message");
    json_put_str(writer, error->message);
    json_key(writer, "type");
    json_put_str(writer, type);
    json_key(writer, "param");
    json_put_str(writer, error->param);
    json_key(writer, "code");
    json_put_str(writer, error->code);
}

/* The error as clients of this form expect it. */
static void write_error(struct buf *out, enum chat_form form, const struct api_error *error) {
    struct json_writer writer;
    bool is_anthropic = form == FORM_MESSAGES;
    json_write_init(&writer, out);
    json_object_begin(&writer);
    if (is_anthropic) {
        json_key(&writer, "type");
        json_put_str(&writer, "error");
    }
    json_key(&writer, "error");
    json_object_begin(&writer);
    put_members(&writer, is_anthropic ? anthropic_type(error->status) : error->type, error);
    json_object_end(&writer);
    json_object_end(&writer);
}

void api_reply_error(struct api_call *call, const struct api_error *error) {
    struct api *api = call->api;
    if (error->retry_after_s > 0) {
        buf_printf(&api->fields, "retry-after: %d\r\n", error->retry_after_s);
    }
    if (!error->should_retry || error->retry_is_asked) {
        buf_append_str(&api->fields, "x-should-retry: ");
        buf_append_str(&api->fields, error->should_retry ? "true\r\n" : "false\r\n");
    }
    write_error(&api->body, call->endpoint->form, error);
    api_reply(call, error->status, "application/json", buf_bytes(&api->body));
}

/* ---- what flows answer ---- */

static int64_t overhead_us(struct api_call *call, const struct answer *answer) {
    int64_t ns = api_answered_ns(call) - call->parsed_ns - answer->upstream_ns - answer->paused_ns;
    return ns > 0 ? ns / NS_PER_US : 0;
}

void api_add_route_fields(struct api_call *call, const struct answer *answer) {
    api_fields_begin(call);
    add_field(call, "x-optiroute-provider", answer->provider);
    add_field(call, "x-optiroute-model", answer->model);
    add_field(call, "x-optiroute-route-reason", answer->reason);
    add_field(call, "x-optiroute-cache", bytes_from_str(answer_cache_name(answer->cache)));
    add_field(call, "x-optiroute-fallback-from", answer->passed_over);
}

void api_add_money_fields(struct api_call *call, const struct answer *answer) {
    struct buf *out = &call->api->fields;
    if (answer->cost_nusd != COST_UNKNOWN) {
        buf_append_str(out, "x-optiroute-cost-usd: ");
        buf_append_nano(out, answer->cost_nusd);
        buf_append_str(out, "\r\n");
    }
    buf_append_str(out, "x-optiroute-saved-usd: ");
    buf_append_nano(out, answer->saved_nusd);
    buf_append_str(out, "\r\nx-optiroute-overhead-us: ");
    buf_append_i64(out, overhead_us(call, answer));
    buf_append_str(out, "\r\n");
}

void api_put_money_comment(struct api_call *call, const struct answer *answer, struct buf *out) {
    buf_append_str(out, ": optiroute");
    if (answer->cost_nusd != COST_UNKNOWN) {
        buf_append_str(out, " cost_usd=");
        buf_append_nano(out, answer->cost_nusd);
    }
    buf_append_str(out, " saved_usd=");
    buf_append_nano(out, answer->saved_nusd);
    buf_append_str(out, " overhead_us=");
    buf_append_i64(out, overhead_us(call, answer));
    buf_append_str(out, "\n\n");
}

/* Without memory for an event the rest of the stream is worthless: it ends by a break. */
static void send_body(struct api_call *call) {
    struct buf *out = &call->api->body;
    call->lost = call->lost || out->failed;
    if (out->size > 0 && !call->lost) {
        http_reply_piece(call->exchange, buf_bytes(out));
    }
    buf_clear(out);
}

static enum sink_fill flush_stream(struct api_call *call) {
    send_body(call);
    return !http_reply_is_full(call->exchange)                         ? SINK_HAS_ROOM
           : http_reply_unsent(call->exchange) < STREAM_OVERFULL_BYTES ? SINK_FULL
                                                                       : SINK_OVERFULL;
}

void api_stream_end(struct api_call *call) {
    api_count(call, 200);
    send_body(call);
    if (call->lost) {
        http_reply_break(call->exchange);
    } else {
        http_reply_end(call->exchange);
    }
}

/* The Responses API's own event, which has a number like all of them, and the `error` that clients
 * look for in any stream. */
static void write_response_error(struct api_call *call, const struct api_error *error) {
    struct json_writer writer;
    json_write_init(&writer, &call->api->body);
    json_object_begin(&writer);
    json_key(&writer, "type");
    json_put_str(&writer, "error");
    json_key(&writer, "sequence_number");
    json_put_int(&writer, call->events);
    json_key(&writer, "message");
    json_put_str(&writer, error->message);
    json_key(&writer, "param");
    json_put_str(&writer, error->param);
    json_key(&writer, "code");
    json_put_str(&writer, error->code);
    json_key(&writer, "error");
    json_object_begin(&writer);
    put_members(&writer, error->type, error);
    json_object_end(&writer);
    json_object_end(&writer);
}

/* In the form's own way, after which the connection is closed: there is no [DONE]. */
static void fail_stream(struct api_call *call, const struct api_error *error) {
    enum chat_form form = call->endpoint->form;
    struct buf *out = &call->api->body;
    bool is_named = form == FORM_MESSAGES || form == FORM_RESPONSES;
    buf_append_str(out, is_named ? "event: error\ndata: " : "data: ");
    if (form == FORM_RESPONSES) {
        write_response_error(call, error);
    } else {
        write_error(out, form, error);
    }
    buf_append_str(out, "\n\n");
    api_count(call, error->status);
    send_body(call);
    http_reply_break(call->exchange);
}

/* A failure that a flow tells: as an answer, or inside a stream. */
static void fail(struct api_call *call, const struct failure *failure) {
    struct api_error error = {.status = failure->status,
                              .type = failure->type,
                              .code = failure->code,
                              .param = failure->param,
                              .message = failure->message,
                              .retry_after_s = failure->retry_after_s,
                              .should_retry = failure->should_retry,
                              .retry_is_asked = failure->retry_is_asked};
    http_exchange_set_user(call->exchange, NULL);
    if (call->streaming) {
        fail_stream(call, &error);
        return;
    }
    api_fields_begin(call);
    if (failure->provider.size > 0) {
        add_field(call, "x-optiroute-provider", failure->provider);
        add_field(call, "x-optiroute-model", failure->model);
        add_field(call, "x-optiroute-route-reason", failure->reason);
    }
    api_reply_error(call, &error);
}

/* ---- what all sinks have in common ---- */

static struct api_call *call_of(struct sink *sink) {
    return (struct api_call *)sink; /* its first member */
}

void api_sink_head(struct sink *sink, const struct answer *answer) {
    api_add_route_fields(call_of(sink), answer);
    begin_stream(call_of(sink));
}

void api_sink_ping(struct sink *sink) {
    buf_append_str(&call_of(sink)->api->body, ": ping\n\n");
    (void)flush_stream(call_of(sink));
}

enum sink_fill api_sink_flush(struct sink *sink) {
    return flush_stream(call_of(sink));
}

void api_sink_failed(struct sink *sink, const struct failure *failure) {
    fail(call_of(sink), failure);
}

void api_fill_record(const struct api_call *call, int status, struct access_record *record) {
    /* the wall clock of the first byte: a call comes right after its last byte was parsed */
    *record = (struct access_record){
        .wall_ns = clock_wall_ns() - (call->parsed_ns - call->started_ns),
        .request_id = api_call_id(call),
        .tenant = BYTES_LITERAL(FLOW_TENANT),
        .client = bytes_from_str(http_exchange_peer(call->exchange)),
        .method = bytes_from_str(metric_dim_info(DIM_METHOD)->values[call->method]),
        .path = bytes_from_str(call->endpoint->path),
        .status = status,
    };
}

/* One that was meant for a model and refused: the list of recent requests has it too. */
static void remember(struct api_call *call, int status) {
    const struct gateway_env *env = call->api->env;
    int64_t answered_ns = api_answered_ns(call);
    struct history_request row = {.at_ms = gateway_region_ms(call->api->gateway, answered_ns),
                                  .duration_ns = answered_ns - call->started_ns,
                                  .cost_nusd = HISTORY_COST_UNKNOWN,
                                  .status = (uint16_t)status,
                                  .endpoint = (uint8_t)call->endpoint->label};
    if (stats_is_of_models(call->endpoint->label) && call->method == METHOD_POST) {
        history_add(env->region, env->slot, &row);
    }
}

void api_log(struct api_call *call, int status) {
    struct access_log *log = call->api->env->access_log;
    remember(call, status);
    if (!access_log_is_on(log)) {
        return;
    }
    struct access_record record;
    api_fill_record(call, status, &record);
    record.duration_ns = api_answered_ns(call) - call->started_ns;
    record.overhead_ns = api_answered_ns(call) - call->parsed_ns;
    access_log_write(log, &record);
}
