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
    json_put_raw(&writer, answer->text.size > 0 ? answer->text : BYTES_LITERAL("\"\""));
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

static void put_data(struct buf *out) {
    buf_append_str(out, "data: ");
}

static void on_event(struct sink *sink, const struct chat_event *event) {
    struct api_call *call = (struct api_call *)sink;
    struct buf *out = &call->api->body;
    if (event->text.size > 0) {
        put_data(out);
        buf_append_str(out, "{\"text\":\"");
        json_escape(out, event->text);
        buf_append_str(out, "\"}\n\n");
    }
}

/* The end of a stream: the whole answer, what it cost, [DONE]. */
static void end_stream(struct api_call *call, const struct answer *answer) {
    struct buf *out = &call->api->body;
    put_data(out);
    write_answer(out, call, answer);
    buf_append_str(out, "\n\n");
    api_put_money_comment(call, answer, out);
    buf_append_str(out, "data: [DONE]\n\n");
    api_stream_end(call);
}

static void on_done(struct sink *sink, const struct answer *answer) {
    struct api_call *call = (struct api_call *)sink;
    http_exchange_set_user(call->exchange, NULL);
    if (call->streaming) {
        end_stream(call, answer);
        return;
    }
    api_add_route_fields(call, answer);
    write_answer(&call->api->body, call, answer);
    api_add_money_fields(call, answer);
    api_reply(call, 200, "application/json", buf_bytes(&call->api->body));
}

const struct sink api_generate_sink = {api_sink_head,  on_event, api_sink_ping,
                                       api_sink_flush, on_done,  api_sink_failed};
