/* completion: whole JSON answers of the dialects. Which answer, if any, is body.c's choice; streams
 * are events.c's.
 *
 * The surprise: a huge text is not composed. Where it would stand is remembered (`text_at`), and
 * answer.c makes it while sending. The same place is where a byte is spoilt for `badutf8`.
 */
#include "config.h"

#include "mock.h"

/* ---- text ---- */

/* The value of a key: words from (inclusive) to (exclusive) of the text. */
static void put_words(struct json_writer *writer, struct conn *conn, int64_t from, int64_t to) {
    struct answer *answer = &conn->answer;
    struct buf *text = &conn->mock->text;
    if (answer->orders->body == BODY_NULL) {
        json_put_null(writer);
        return;
    }
    buf_clear(text);
    for (int64_t i = from; i < to && answer->orders->huge_mib == 0; i++) {
        append_word(text, answer->orders, i);
    }
    if (answer->text_at == 0) {
        answer->text_at = writer->out->size + 1; /* behind the quote */
    }
    json_put_string(writer, buf_bytes(text));
}

static void put_text(struct json_writer *writer, struct conn *conn) {
    put_words(writer, conn, 0, conn->answer.orders->tokens);
}

static void put_part(struct json_writer *writer, struct conn *conn, int64_t from, int64_t to) {
    json_object_begin(writer);
    put_str(writer, "type", "text");
    json_key(writer, "text");
    put_words(writer, conn, from, to);
    json_object_end(writer);
}

/* The text in one part, or by order in two. */
static void put_parts(struct json_writer *writer, struct conn *conn) {
    int64_t tokens = conn->answer.orders->tokens;
    int64_t middle = conn->answer.orders->body == BODY_PARTS ? tokens / 2 : tokens;
    put_part(writer, conn, 0, middle);
    if (middle < tokens) {
        put_part(writer, conn, middle, tokens);
    }
}

/* ---- OpenAI ---- */

static void put_tool_calls(struct json_writer *writer, const struct answer *answer) {
    json_key(writer, "tool_calls");
    json_array_begin(writer);
    json_object_begin(writer);
    put_id(writer, "id", "call_", answer);
    put_str(writer, "type", "function");
    json_key(writer, "function");
    json_object_begin(writer);
    put_str(writer, "name", tool_call.name);
    put_arguments(writer, "arguments");
    json_object_end(writer);
    json_object_end(writer);
    json_array_end(writer);
}

static void put_message(struct json_writer *writer, struct conn *conn) {
    const struct orders *orders = conn->answer.orders;
    json_object_begin(writer);
    put_str(writer, "role", "assistant");
    if (orders->reasoning_text) {
        put_thoughts(writer, "reasoning_content");
    }
    json_key(writer, "content");
    if (orders->tool) {
        json_put_null(writer);
        put_tool_calls(writer, &conn->answer);
    } else if (orders->body == BODY_PARTS) {
        json_array_begin(writer);
        put_parts(writer, conn);
        json_array_end(writer);
    } else {
        put_text(writer, conn);
    }
    json_object_end(writer);
}

static void begin_openai(struct json_writer *writer, const struct answer *answer,
                         const char *id_prefix, const char *object) {
    put_id(writer, "id", id_prefix, answer);
    put_str(writer, "object", object);
    put_int(writer, "created", answer->created_s);
    put_model(writer, answer);
}

static void write_chat(struct json_writer *writer, struct conn *conn) {
    const struct answer *answer = &conn->answer;
    begin_openai(writer, answer, "chatcmpl-", "chat.completion");
    json_key(writer, "choices");
    json_array_begin(writer);
    for (int64_t i = 0; i < answer->choices; i++) {
        json_object_begin(writer);
        put_int(writer, "index", i);
        json_key(writer, "message");
        put_message(writer, conn);
        if (answer->orders->logprobs) {
            put_logprobs(writer, answer->orders, 0, answer->orders->tokens);
        }
        put_str(writer, "finish_reason", finish_reason(answer));
        json_object_end(writer);
    }
    json_array_end(writer);
    put_usage(writer, answer);
}

static void write_completions(struct json_writer *writer, struct conn *conn) {
    const struct answer *answer = &conn->answer;
    begin_openai(writer, answer, "cmpl-", "text_completion");
    json_key(writer, "choices");
    json_array_begin(writer);
    for (int64_t i = 0; i < answer->choices; i++) {
        json_object_begin(writer);
        json_key(writer, "text");
        put_text(writer, conn);
        put_int(writer, "index", i);
        put_str(writer, "logprobs", NULL);
        put_str(writer, "finish_reason", finish_reason(answer));
        json_object_end(writer);
    }
    json_array_end(writer);
    put_usage(writer, answer);
}

static void write_embeddings(struct json_writer *writer, struct conn *conn) {
    static const struct bytes vector =
        BYTES_LITERAL("[0.125,-0.25,0.375,-0.5,0.625,-0.75,0.875,-1.0]");
    static const struct bytes base64 = /* of the same, as little-endian floats */
        BYTES_LITERAL("\"AAAAPgAAgL4AAMA+AAAAvwAAID8AAEC/AABgPwAAgL8=\"");
    static const struct bytes null = BYTES_LITERAL("null");
    const struct answer *answer = &conn->answer;
    bool is_null = answer->orders->body == BODY_NULL;
    put_str(writer, "object", "list");
    json_key(writer, "data");
    json_array_begin(writer);
    for (int64_t i = 0; i < answer->inputs; i++) {
        json_object_begin(writer);
        put_str(writer, "object", "embedding");
        put_int(writer, "index", i);
        json_key(writer, "embedding");
        json_put_raw(writer, is_null ? null : answer->base64 ? base64 : vector);
        json_object_end(writer);
    }
    json_array_end(writer);
    put_model(writer, answer);
    put_usage(writer, answer);
}

static void write_models(struct json_writer *writer, struct conn *conn) {
    put_str(writer, "object", "list");
    json_key(writer, "data");
    json_array_begin(writer);
    json_object_begin(writer);
    put_str(writer, "id", "mock");
    put_str(writer, "object", "model");
    put_int(writer, "created", conn->answer.created_s);
    put_str(writer, "owned_by", "mock");
    json_object_end(writer);
    json_array_end(writer);
}

/* ---- Responses ---- */

static void put_function_call(struct json_writer *writer, const struct answer *answer) {
    put_str(writer, "type", "function_call");
    put_id(writer, "id", "fc_", answer);
    put_id(writer, "call_id", "call_", answer);
    put_str(writer, "status", "completed");
    put_str(writer, "name", tool_call.name);
    put_arguments(writer, "arguments");
}

static void put_output_message(struct json_writer *writer, struct conn *conn) {
    put_str(writer, "type", "message");
    put_id(writer, "id", "msg_", &conn->answer);
    put_str(writer, "status", "completed");
    put_str(writer, "role", "assistant");
    json_key(writer, "content");
    json_array_begin(writer);
    json_object_begin(writer);
    put_str(writer, "type", "output_text");
    json_key(writer, "text");
    put_text(writer, conn);
    json_key(writer, "annotations");
    json_array_begin(writer);
    json_array_end(writer);
    json_object_end(writer);
    json_array_end(writer);
}

void completion_output_item(struct json_writer *writer, struct conn *conn) {
    json_object_begin(writer);
    if (conn->answer.orders->tool) {
        put_function_call(writer, &conn->answer);
    } else {
        put_output_message(writer, conn);
    }
    json_object_end(writer);
}

void completion_response(struct json_writer *writer, struct conn *conn, bool completed) {
    const struct answer *answer = &conn->answer;
    bool early = answer->orders->stop != STOP_END;
    put_id(writer, "id", "resp_", answer);
    put_str(writer, "object", "response");
    put_int(writer, "created_at", answer->created_s);
    put_str(writer, "status", !completed ? "in_progress" : early ? "incomplete" : "completed");
    json_key(writer, "incomplete_details");
    if (completed && early) {
        json_object_begin(writer);
        put_str(writer, "reason",
                answer->orders->stop == STOP_LENGTH ? "max_output_tokens" : "content_filter");
        json_object_end(writer);
    } else {
        json_put_null(writer);
    }
    put_model(writer, answer);
    json_key(writer, "output");
    json_array_begin(writer);
    if (completed) {
        completion_output_item(writer, conn);
    }
    json_array_end(writer);
    if (completed) {
        put_usage(writer, answer);
    } else {
        put_str(writer, "usage", NULL);
    }
}

static void write_responses(struct json_writer *writer, struct conn *conn) {
    completion_response(writer, conn, true);
}

/* ---- Anthropic ---- */

static void put_tool_use(struct json_writer *writer, const struct answer *answer) {
    char memory[128];
    struct buf input;
    buf_init_fixed(&input, memory, sizeof(memory));
    for (size_t i = 0; i < sizeof(tool_call.fragments) / sizeof(tool_call.fragments[0]); i++) {
        buf_append_str(&input, tool_call.fragments[i]);
    }
    json_object_begin(writer);
    put_str(writer, "type", "tool_use");
    put_id(writer, "id", "toolu_", answer);
    put_str(writer, "name", tool_call.name);
    json_key(writer, "input");
    json_put_raw(writer, buf_bytes(&input));
    json_object_end(writer);
}

static void write_messages(struct json_writer *writer, struct conn *conn) {
    const struct answer *answer = &conn->answer;
    put_id(writer, "id", "msg_", answer);
    put_str(writer, "type", "message");
    put_str(writer, "role", "assistant");
    put_model(writer, answer);
    json_key(writer, "content");
    json_array_begin(writer);
    if (answer->orders->reasoning_text) {
        json_object_begin(writer);
        put_str(writer, "type", "thinking");
        put_thoughts(writer, "thinking");
        put_str(writer, "signature", "mock");
        json_object_end(writer);
    }
    if (answer->orders->tool) {
        put_tool_use(writer, answer);
    } else {
        put_parts(writer, conn);
    }
    json_array_end(writer);
    put_str(writer, "stop_reason", finish_reason(answer));
    put_str(writer, "stop_sequence", NULL);
    put_usage(writer, answer);
}

/* ---- Hugging Face ---- */

static void write_inference(struct json_writer *writer, struct conn *conn) {
    const struct answer *answer = &conn->answer;
    json_key(writer, "generated_text");
    put_text(writer, conn);
    if (answer->orders->usage == USAGE_NONE) {
        return;
    }
    json_key(writer, "details");
    if (answer->orders->usage == USAGE_NULL) {
        json_put_null(writer);
        return;
    }
    json_object_begin(writer);
    put_str(writer, "finish_reason", finish_reason(answer));
    put_figure(writer, "generated_tokens", answer, answer->orders->tokens);
    put_str(writer, "seed", NULL);
    json_key(writer, "prefill");
    json_array_begin(writer);
    json_array_end(writer);
    json_key(writer, "tokens");
    json_array_begin(writer);
    json_array_end(writer);
    json_object_end(writer);
}

/* ---- the answer ---- */

void completion_write(struct conn *conn) {
    static void (*const writers[])(struct json_writer *, struct conn *) = {
        [DIALECT_CHAT] = write_chat,
        [DIALECT_COMPLETIONS] = write_completions,
        [DIALECT_EMBEDDINGS] = write_embeddings,
        [DIALECT_RESPONSES] = write_responses,
        [DIALECT_MESSAGES] = write_messages,
        [DIALECT_INFERENCE] = write_inference,
        [DIALECT_MODELS] = write_models,
    };
    struct answer *answer = &conn->answer;
    struct buf *out = &conn->mock->body;
    struct json_writer writer;
    json_write_init(&writer, out);
    bool in_array = answer->dialect == DIALECT_INFERENCE;
    if (in_array) {
        json_array_begin(&writer);
    }
    json_object_begin(&writer);
    writers[answer->dialect](&writer, conn);
    json_object_end(&writer);
    if (in_array) {
        json_array_end(&writer);
    }
    if (answer->orders->body == BODY_BAD_UTF8 && answer->text_at > 0 &&
        answer->orders->tokens > 0) {
        out->data[answer->text_at] = '\xff';
    }
}
