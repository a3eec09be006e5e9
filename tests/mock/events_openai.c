/* events_openai: the chunks of OpenAI's chat and completions streams.
 *
 * The surprise: with n > 1 the choices take turns word by word, as real streams interleave.
 */
#include "config.h"

#include "events.h"

/* ---- how often ---- */

static int64_t tool_per_choice(const struct answer *answer) {
    return answer->orders->tool ? answer->choices : 0;
}

static int64_t usage_chunk(const struct answer *answer) {
    const struct orders *orders = answer->orders;
    return answer->include_usage && !orders->no_usage && orders->usage != USAGE_NONE;
}

/* ---- chat ---- */

static void begin_chunk(struct json_writer *writer, const struct answer *answer) {
    bool chat = answer->dialect == DIALECT_CHAT;
    put_id(writer, "id", chat ? "chatcmpl-" : "cmpl-", answer);
    put_str(writer, "object", chat ? "chat.completion.chunk" : "text_completion");
    put_int(writer, "created", answer->created_s);
    put_model(writer, answer);
}

static void begin_choice(struct json_writer *writer, const struct answer *answer, int64_t choice) {
    begin_chunk(writer, answer);
    json_key(writer, "choices");
    json_array_begin(writer);
    json_object_begin(writer);
    put_int(writer, "index", choice);
    if (answer->dialect == DIALECT_CHAT) {
        json_key(writer, "delta");
        json_object_begin(writer);
    }
}

static void end_chunk(struct json_writer *writer, const struct answer *answer, const char *finish) {
    put_str(writer, "finish_reason", finish);
    json_object_end(writer);
    json_array_end(writer);
    if (answer->include_usage) { /* real chunks say then that it is not in this one */
        put_str(writer, "usage", NULL);
    }
}

static void end_choice(struct json_writer *writer, const struct answer *answer,
                       const char *finish) {
    if (answer->dialect == DIALECT_CHAT) {
        json_object_end(writer);
    }
    end_chunk(writer, answer, finish);
}

static void write_role(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_choice(writer, &conn->answer, i);
    put_str(writer, "role", "assistant");
    put_str(writer, "content", "");
    end_choice(writer, &conn->answer, NULL);
}

static void write_chat_thought(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_choice(writer, &conn->answer, i % conn->answer.choices);
    put_str(writer, "reasoning_content", thoughts[i / conn->answer.choices]);
    end_choice(writer, &conn->answer, NULL);
}

static void write_chat_word(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_choice(writer, &conn->answer, i % conn->answer.choices);
    put_word(writer, conn, "content", i / conn->answer.choices);
    if (conn->answer.orders->logprobs) { /* beside the delta, so it has to end first */
        json_object_end(writer);
        put_logprobs(writer, conn->answer.orders, i / conn->answer.choices, 1);
        end_chunk(writer, &conn->answer, NULL);
    } else {
        end_choice(writer, &conn->answer, NULL);
    }
}

static void begin_tool_delta(struct json_writer *writer) {
    json_key(writer, "tool_calls");
    json_array_begin(writer);
    json_object_begin(writer);
    put_int(writer, "index", 0);
}

static void end_tool_delta(struct json_writer *writer, const char *arguments) {
    put_str(writer, "arguments", arguments);
    json_object_end(writer);
    json_object_end(writer);
    json_array_end(writer);
}

static void write_chat_tool(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_choice(writer, &conn->answer, i);
    begin_tool_delta(writer);
    put_id(writer, "id", "call_", &conn->answer);
    put_str(writer, "type", "function");
    json_key(writer, "function");
    json_object_begin(writer);
    put_str(writer, "name", tool_call.name);
    end_tool_delta(writer, "");
    end_choice(writer, &conn->answer, NULL);
}

static void write_chat_fragment(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_choice(writer, &conn->answer, i % conn->answer.choices);
    begin_tool_delta(writer);
    json_key(writer, "function");
    json_object_begin(writer);
    end_tool_delta(writer, tool_call.fragments[i / conn->answer.choices]);
    end_choice(writer, &conn->answer, NULL);
}

static void write_finish(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_choice(writer, &conn->answer, i);
    if (conn->answer.dialect == DIALECT_COMPLETIONS) {
        put_str(writer, "text", "");
    }
    end_choice(writer, &conn->answer, finish_reason(&conn->answer));
}

static void write_usage(struct json_writer *writer, struct conn *conn, int64_t i) {
    (void)i;
    begin_chunk(writer, &conn->answer);
    json_key(writer, "choices");
    if (conn->answer.orders->null_choices) {
        json_put_null(writer);
    } else {
        json_array_begin(writer);
        json_array_end(writer);
    }
    put_usage(writer, &conn->answer);
}

const struct step chat_steps[] = {
    {.count = count_per_choice, .write = write_role},
    {.count = count_thought_pieces, .write = write_chat_thought},
    {.count = count_words, .write = write_chat_word},
    {.count = tool_per_choice, .write = write_chat_tool},
    {.count = count_fragments, .write = write_chat_fragment},
    {.count = count_per_choice, .write = write_finish},
    {.count = usage_chunk, .write = write_usage},
    {.count = count_unless_no_done, .raw = "[DONE]"},
    {.count = NULL},
};

/* ---- completions ---- */

static void write_completions_word(struct json_writer *writer, struct conn *conn, int64_t i) {
    begin_choice(writer, &conn->answer, i % conn->answer.choices);
    put_word(writer, conn, "text", i / conn->answer.choices);
    put_str(writer, "logprobs", NULL);
    end_choice(writer, &conn->answer, NULL);
}

const struct step completions_steps[] = {
    {.count = count_words, .write = write_completions_word},
    {.count = count_per_choice, .write = write_finish},
    {.count = usage_chunk, .write = write_usage},
    {.count = count_unless_no_done, .raw = "[DONE]"},
    {.count = NULL},
};
