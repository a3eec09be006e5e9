/* events_named: the streams whose events have names: OpenAI's Responses and Anthropic's Messages.
 *
 * Not complete: what a client needs to put the answer together, in the order it needs it. The
 * surprise: these streams have one choice, whatever `n` a request asks for.
 */
#include "config.h"

#include "events.h"

/* ---- how often ---- */

static int64_t text_once(const struct answer *answer) {
    return answer->orders->tool ? 0 : 1;
}

static int64_t thought_once(const struct answer *answer) {
    return answer->orders->reasoning_text ? 1 : 0;
}

static int64_t once(const struct answer *answer) {
    (void)answer;
    return 1;
}

static int64_t tool_once(const struct answer *answer) {
    return answer->orders->tool ? 1 : 0;
}

static int64_t completed_once(const struct answer *answer) {
    return answer->orders->stop == STOP_END ? count_unless_no_done(answer) : 0;
}

static int64_t incomplete_once(const struct answer *answer) {
    return answer->orders->stop != STOP_END ? count_unless_no_done(answer) : 0;
}

/* ---- Responses ---- */

static void begin_event(struct json_writer *writer, struct conn *conn, const char *type) {
    put_str(writer, "type", type);
    put_int(writer, "sequence_number", conn->answer.events);
}

static void put_place(struct json_writer *writer, const struct answer *answer) {
    put_id(writer, "item_id", answer->orders->tool ? "fc_" : "msg_", answer);
    put_int(writer, "output_index", 0);
    if (!answer->orders->tool) {
        put_int(writer, "content_index", 0);
    }
}

static void put_response(struct json_writer *writer, struct conn *conn, bool completed) {
    json_key(writer, "response");
    json_object_begin(writer);
    completion_response(writer, conn, completed);
    json_object_end(writer);
}

static void write_created(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)i;
    begin_event(writer, conn, "response.created");
    put_response(writer, conn, false);
}

static void write_item_added(struct json_writer *writer, struct conn *conn, int64_t i) {
    const struct answer *answer = &conn->answer;
    (void)i;
    begin_event(writer, conn, "response.output_item.added");
    put_int(writer, "output_index", 0);
    json_key(writer, "item");
    json_object_begin(writer);
    put_str(writer, "type", answer->orders->tool ? "function_call" : "message");
    put_id(writer, "id", answer->orders->tool ? "fc_" : "msg_", answer);
    put_str(writer, "status", "in_progress");
    if (answer->orders->tool) {
        put_id(writer, "call_id", "call_", answer);
        put_str(writer, "name", tool_call.name);
        put_str(writer, "arguments", "");
    } else {
        put_str(writer, "role", "assistant");
        json_key(writer, "content");
        json_array_begin(writer);
        json_array_end(writer);
    }
    json_object_end(writer);
}

static void write_part_added(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)i;
    begin_event(writer, conn, "response.content_part.added");
    put_place(writer, &conn->answer);
    json_key(writer, "part");
    json_object_begin(writer);
    put_str(writer, "type", "output_text");
    put_str(writer, "text", "");
    json_key(writer, "annotations");
    json_array_begin(writer);
    json_array_end(writer);
    json_object_end(writer);
}

static void write_text_delta(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_event(writer, conn, "response.output_text.delta");
    put_place(writer, &conn->answer);
    put_word(writer, conn, "delta", i);
}

static void write_arguments_delta(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_event(writer, conn, "response.function_call_arguments.delta");
    put_place(writer, &conn->answer);
    put_str(writer, "delta", tool_call.fragments[i]);
}

static void write_item_done(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)i;
    begin_event(writer, conn, "response.output_item.done");
    put_int(writer, "output_index", 0);
    json_key(writer, "item");
    completion_output_item(writer, conn);
}

static void write_completed(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)i;
    begin_event(writer, conn, "response.completed");
    put_response(writer, conn, true);
}

static void write_incomplete(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)i;
    begin_event(writer, conn, "response.incomplete");
    put_response(writer, conn, true);
}

const struct step responses_steps[] = {
    {"response.created", once, write_created, NULL},
    {"response.output_item.added", once, write_item_added, NULL},
    {"response.content_part.added", text_once, write_part_added, NULL},
    {"response.output_text.delta", count_words, write_text_delta, NULL},
    {"response.function_call_arguments.delta", count_fragments, write_arguments_delta, NULL},
    {"response.output_item.done", once, write_item_done, NULL},
    {"response.completed", completed_once, write_completed, NULL},
    {"response.incomplete", incomplete_once, write_incomplete, NULL},
    {NULL, NULL, NULL, NULL},
};

/* ---- Anthropic ---- */

static void write_message_start(struct json_writer *writer, struct conn *conn, int64_t i) {
    const struct answer *answer = &conn->answer;
    (void)i;
    put_str(writer, "type", "message_start");
    json_key(writer, "message");
    json_object_begin(writer);
    put_id(writer, "id", "msg_", answer);
    put_str(writer, "type", "message");
    put_str(writer, "role", "assistant");
    put_model(writer, answer);
    json_key(writer, "content");
    json_array_begin(writer);
    json_array_end(writer);
    put_str(writer, "stop_reason", NULL);
    put_str(writer, "stop_sequence", NULL);
    put_usage(writer, answer);
    json_object_end(writer);
}

/* Thinking, when ordered, is the block before the one with the answer. */
static int64_t main_block(const struct answer *answer) {
    return answer->orders->reasoning_text ? 1 : 0;
}

static void begin_block(struct json_writer *writer, int64_t index, const char *type) {
    put_str(writer, "type", "content_block_start");
    put_int(writer, "index", index);
    json_key(writer, "content_block");
    json_object_begin(writer);
    put_str(writer, "type", type);
}

static void write_thinking_start(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)conn;
    (void)i;
    begin_block(writer, 0, "thinking");
    put_str(writer, "thinking", "");
    put_str(writer, "signature", "");
    json_object_end(writer);
}

static void write_text_start(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)i;
    begin_block(writer, main_block(&conn->answer), "text");
    put_str(writer, "text", "");
    json_object_end(writer);
}

static void write_tool_start(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)i;
    begin_block(writer, main_block(&conn->answer), "tool_use");
    put_id(writer, "id", "toolu_", &conn->answer);
    put_str(writer, "name", tool_call.name);
    json_key(writer, "input");
    json_object_begin(writer);
    json_object_end(writer);
    json_object_end(writer);
}

static void write_ping(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)conn;
    (void)i;
    put_str(writer, "type", "ping");
}

static void begin_delta(struct json_writer *writer, int64_t index, const char *type) {
    put_str(writer, "type", "content_block_delta");
    put_int(writer, "index", index);
    json_key(writer, "delta");
    json_object_begin(writer);
    put_str(writer, "type", type);
}

static void write_thinking_delta(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_delta(writer, 0, "thinking_delta");
    put_str(writer, "thinking", thoughts[i / conn->answer.choices]);
    json_object_end(writer);
}

static void write_signature(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)conn;
    (void)i;
    begin_delta(writer, 0, "signature_delta");
    put_str(writer, "signature", "mock");
    json_object_end(writer);
}

static void write_word(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_delta(writer, main_block(&conn->answer), "text_delta");
    put_word(writer, conn, "text", i);
    json_object_end(writer);
}

static void write_input(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_delta(writer, main_block(&conn->answer), "input_json_delta");
    put_str(writer, "partial_json", tool_call.fragments[i]);
    json_object_end(writer);
}

static void write_thinking_stop(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)conn;
    put_str(writer, "type", "content_block_stop");
    put_int(writer, "index", i);
}

static void write_block_stop(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)i;
    put_str(writer, "type", "content_block_stop");
    put_int(writer, "index", main_block(&conn->answer));
}

static void write_message_delta(struct json_writer *writer, struct conn *conn, int64_t i) {
    const struct answer *answer = &conn->answer;
    (void)i;
    put_str(writer, "type", "message_delta");
    json_key(writer, "delta");
    json_object_begin(writer);
    put_str(writer, "stop_reason", finish_reason(answer));
    put_str(writer, "stop_sequence", NULL);
    json_object_end(writer);
    if (answer->orders->usage != USAGE_NONE && !answer->orders->no_usage) {
        json_key(writer, "usage");
        if (answer->orders->usage == USAGE_NULL) {
            json_put_null(writer);
            return;
        }
        json_object_begin(writer);
        put_figure(writer, "output_tokens", answer, answer->orders->tokens);
        json_object_end(writer);
    }
}

static void write_message_stop(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)conn;
    (void)i;
    put_str(writer, "type", "message_stop");
}

const struct step messages_steps[] = {
    {"message_start", once, write_message_start, NULL},
    {"content_block_start", thought_once, write_thinking_start, NULL},
    {"content_block_delta", count_thought_pieces, write_thinking_delta, NULL},
    {"content_block_delta", thought_once, write_signature, NULL},
    {"content_block_stop", thought_once, write_thinking_stop, NULL},
    {"content_block_start", text_once, write_text_start, NULL},
    {"content_block_start", tool_once, write_tool_start, NULL},
    {"ping", once, write_ping, NULL},
    {"content_block_delta", count_words, write_word, NULL},
    {"content_block_delta", count_fragments, write_input, NULL},
    {"content_block_stop", once, write_block_stop, NULL},
    {"message_delta", once, write_message_delta, NULL},
    {"message_stop", count_unless_no_done, write_message_stop, NULL},
    {NULL, NULL, NULL, NULL},
};
