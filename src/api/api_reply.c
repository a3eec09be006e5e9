/* Answers: header fields, errors in the one shape that clients know, counting and logging.
 *
 * Runs in workers. Its one surprise: fields and body are built in buffers of the worker, so only
 * one answer can be under construction at a time; each is handed to http before the next begins.
 */
#include "api_private.h"

#include "base/clock.h"
#include "watch/metrics_table.h"

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
}

void api_fields_add(struct api_call *call, const char *name, struct bytes value) {
    struct buf *fields = &call->api->fields;
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
}

void api_stream_begin(struct api_call *call) {
    struct api *api = call->api;
    buf_append_str(&api->fields, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
    struct http_reply head = {
        .status = 200, .content_type = "text/event-stream", .fields = buf_bytes(&api->fields)};
    call->streaming = true;
    http_reply_begin(call->exchange, &head);
}

void api_write_error(struct buf *out, const struct api_error *error) {
    struct json_writer writer;
    json_write_init(&writer, out);
    json_object_begin(&writer);
    json_key(&writer, "error");
    json_object_begin(&writer);
    json_key(&writer, "message");
    json_put_str(&writer, error->message);
    json_key(&writer, "type");
    json_put_str(&writer, error->type);
    json_key(&writer, "param");
    json_put_str(&writer, error->param);
    json_key(&writer, "code");
    json_put_str(&writer, error->code);
    json_object_end(&writer);
    json_object_end(&writer);
}

void api_reply_error(struct api_call *call, const struct api_error *error) {
    struct api *api = call->api;
    if (error->retry_after_s > 0) {
        buf_printf(&api->fields, "retry-after: %d\r\n", error->retry_after_s);
    }
    if (!error->should_retry) {
        buf_append_str(&api->fields, "x-should-retry: false\r\n");
    }
    api_write_error(&api->body, error);
    api_reply(call, error->status, "application/json", buf_bytes(&api->body));
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

void api_log(struct api_call *call, int status) {
    struct access_log *log = call->api->env->access_log;
    if (!access_log_is_on(log)) {
        return;
    }
    struct access_record record;
    api_fill_record(call, status, &record);
    record.duration_ns = api_answered_ns(call) - call->started_ns;
    record.overhead_ns = api_answered_ns(call) - call->parsed_ns;
    access_log_write(log, &record);
}
