/* Answers of the endpoints below /v1, whole and as streams: what the provider gave, in the client's
 * form, with our fields and the comment on the money. Runs in workers.
 *
 * Its one surprise: a stream's last event ([DONE], message_stop, response.completed) waits for the
 * comment, because clients stop reading there.
 */
#include "api_private.h"

static struct api_call *call_of(struct sink *sink) {
    return (struct api_call *)sink;
}

/* JSON has line breaks only between its tokens, where a blank does as well. */
static void put_line(struct buf *out, struct bytes data) {
    size_t from = out->size;
    buf_append_bytes(out, data);
    for (size_t i = from; i < out->size; i++) {
        if (out->data[i] == '\n' || out->data[i] == '\r') {
            out->data[i] = ' ';
        }
    }
}

static void put_event(struct buf *out, const struct chat_event *event) {
    if (event->name.size > 0) {
        buf_append_str(out, "event: ");
        buf_append_bytes(out, event->name);
        buf_append_char(out, '\n');
    }
    buf_append_str(out, "data: ");
    put_line(out, event->data);
    buf_append_str(out, "\n\n");
}

static void on_event(struct sink *sink, const struct chat_event *event) {
    struct api_call *call = call_of(sink);
    call->events++;
    put_event(&call->api->body, event);
}

static void end_stream(struct api_call *call, const struct answer *answer) {
    struct buf *out = &call->api->body;
    api_put_money_comment(call, answer, out);
    if (answer->last.data.size > 0) {
        put_event(out, &answer->last);
    }
    if (form_of(call->endpoint->form)->ends_by_done) {
        buf_append_str(out, "data: [DONE]\n\n");
    }
    api_stream_end(call);
}

static void on_done(struct sink *sink, const struct answer *answer) {
    struct api_call *call = call_of(sink);
    http_exchange_set_user(call->exchange, NULL);
    if (call->streaming) {
        end_stream(call, answer);
        return;
    }
    api_add_route_fields(call, answer);
    api_add_money_fields(call, answer);
    api_reply(call, 200, "application/json", answer->json);
}

const struct sink api_chat_sink = {api_sink_head,  on_event, api_sink_ping,
                                   api_sink_flush, on_done,  api_sink_failed};
