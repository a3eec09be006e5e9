/* Answers of POST /generate: the object that doc/openapi.yaml calls Answer, as a whole or at the
 * end of a stream.
 *
 * The sink that a flow speaks to; api_generate.c reads the request and starts the flow. Runs in
 * workers.
 */
#include "api_private.h"

#include "base/clock.h"
#include "gateway/cost.h"

static void put_money(struct json_writer *writer, const char *key, int64_t nusd) {
    json_key(writer, key);
    if (nusd == COST_UNKNOWN) {
        json_put_null(writer);
    } else {
        json_put_nano(writer, nusd);
    }
}

static void put_bytes(struct json_writer *writer, const char *key, struct bytes text) {
    json_key(writer, key);
    json_put_string(writer, text);
}

static void put_int(struct json_writer *writer, const char *key, int64_t value) {
    json_key(writer, key);
    json_put_int(writer, value);
}

/* The answer object. */
static void write_answer(struct buf *out, struct api_call *call, const struct answer *answer) {
    struct json_writer writer;
    json_write_init(&writer, out);
    json_object_begin(&writer);
    json_key(&writer, "text");
    json_put_raw(&writer, answer->text);
    json_key(&writer, "usage");
    json_object_begin(&writer);
    put_int(&writer, "prompt_tokens", answer->usage.prompt_tokens);
    put_int(&writer, "completion_tokens", answer->usage.completion_tokens);
    put_int(&writer, "total_tokens", answer->usage.prompt_tokens + answer->usage.completion_tokens);
    json_object_end(&writer);
    put_money(&writer, "cost", answer->cost_nusd);
    json_key(&writer, "latency");
    json_put_nano(&writer, api_answered_ns(call) - call->started_ns);
    put_bytes(&writer, "model", answer->model);
    put_bytes(&writer, "routed_to", answer->routed_to);
    put_bytes(&writer, "actual_provider_name", answer->provider);
    json_key(&writer, "cached");
    json_put_bool(&writer, answer->cache == ANSWER_HIT);
    put_money(&writer, "saved", answer->saved_nusd);
    put_bytes(&writer, "route_reason", answer->reason);
    put_bytes(&writer, "request_id", api_call_id(call));
    json_object_end(&writer);
}

static int64_t overhead_us(struct api_call *call, int64_t upstream_ns) {
    int64_t ns = api_answered_ns(call) - call->parsed_ns - upstream_ns;
    return ns > 0 ? ns / NS_PER_US : 0;
}

static void add_route_fields(struct api_call *call, const struct answer *answer) {
    api_fields_begin(call);
    api_fields_add(call, "x-optiroute-provider", answer->provider);
    api_fields_add(call, "x-optiroute-model", answer->model);
    api_fields_add(call, "x-optiroute-route-reason", answer->reason);
    api_fields_add(call, "x-optiroute-cache", bytes_from_str(answer_cache_name(answer->cache)));
}

static void add_money_fields(struct api_call *call, const struct answer *answer) {
    struct buf *out = &call->api->fields;
    if (answer->cost_nusd != COST_UNKNOWN) {
        buf_append_str(out, "x-optiroute-cost-usd: ");
        buf_append_nano(out, answer->cost_nusd);
        buf_append_str(out, "\r\n");
    }
    buf_append_str(out, "x-optiroute-saved-usd: ");
    buf_append_nano(out, answer->saved_nusd);
    buf_append_str(out, "\r\nx-optiroute-overhead-us: ");
    buf_append_i64(out, overhead_us(call, answer->upstream_ns));
    buf_append_str(out, "\r\n");
}

static void on_head(struct sink *sink, const struct answer *answer) {
    struct api_call *call = (struct api_call *)sink;
    add_route_fields(call, answer);
    api_stream_begin(call);
}

static void on_piece(struct sink *sink, struct bytes text) {
    struct api_call *call = (struct api_call *)sink;
    struct buf *out = &call->api->body;
    buf_clear(out);
    buf_append_str(out, "data: {\"text\":\"");
    json_escape(out, text);
    buf_append_str(out, "\"}\n\n");
    http_reply_piece(call->exchange, buf_bytes(out));
}

/* The end of a stream: the whole answer, what it cost, [DONE]. One that is a hit or whose provider
 * sent no pieces begins here, too, and all of it goes out as one piece. */
static void end_stream(struct api_call *call, const struct answer *answer) {
    struct buf *out = &call->api->body;
    if (call->streaming) {
        buf_clear(out);
    } else {
        on_head(&call->sink, answer);
        buf_append_str(out, "data: {\"text\":");
        buf_append_bytes(out, answer->text);
        buf_append_str(out, "}\n\n");
    }
    buf_append_str(out, "data: ");
    write_answer(out, call, answer);
    buf_append_str(out, "\n\n: optiroute");
    if (answer->cost_nusd != COST_UNKNOWN) {
        buf_append_str(out, " cost_usd=");
        buf_append_nano(out, answer->cost_nusd);
    }
    buf_append_str(out, " saved_usd=");
    buf_append_nano(out, answer->saved_nusd);
    buf_append_str(out, " overhead_us=");
    buf_append_i64(out, overhead_us(call, answer->upstream_ns));
    buf_append_str(out, "\n\ndata: [DONE]\n\n");
    api_count(call, 200);
    if (out->failed) { /* no memory; half of an event helps nobody */
        http_reply_break(call->exchange);
        return;
    }
    http_reply_piece(call->exchange, buf_bytes(out));
    http_reply_end(call->exchange);
}

static void on_done(struct sink *sink, const struct answer *answer) {
    struct api_call *call = (struct api_call *)sink;
    http_exchange_set_user(call->exchange, NULL);
    if (call->stream) {
        end_stream(call, answer);
        return;
    }
    add_route_fields(call, answer);
    write_answer(&call->api->body, call, answer);
    add_money_fields(call, answer);
    api_reply(call, 200, "application/json", buf_bytes(&call->api->body));
}

static void on_failed(struct sink *sink, const struct failure *failure) {
    struct api_call *call = (struct api_call *)sink;
    struct api_error error = {.status = failure->status,
                              .type = failure->type,
                              .code = failure->code,
                              .param = failure->param,
                              .message = failure->message,
                              .retry_after_s = failure->retry_after_s,
                              .should_retry = failure->should_retry};
    http_exchange_set_user(call->exchange, NULL);
    if (call->streaming) {
        struct buf *out = &call->api->body;
        buf_clear(out);
        buf_append_str(out, "data: ");
        api_write_error(out, &error);
        buf_append_str(out, "\n\n");
        api_count(call, failure->status);
        http_reply_piece(call->exchange, buf_bytes(out));
        http_reply_break(call->exchange);
        return;
    }
    api_fields_begin(call);
    if (failure->provider.size > 0) {
        api_fields_add(call, "x-optiroute-provider", failure->provider);
        api_fields_add(call, "x-optiroute-model", failure->model);
        api_fields_add(call, "x-optiroute-route-reason", failure->reason);
    }
    api_reply_error(call, &error);
}

const struct sink api_generate_sink = {on_head, on_piece, on_done, on_failed};
