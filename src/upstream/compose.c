/* Answers in the client's form. See the header. Pure but for ids and the time of day; runs in
 * workers.
 *
 * Its one surprise: in FORM_MESSAGES a block of tool input is checked when it is closed, since
 * there it is a JSON object and not a text; in a stream that is too late to take it back.
 */
#include "compose.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/json_read.h"
#include "base/json_write.h"

/* Bytes of one call's arguments that can be checked: as many as a whole answer may have. */
#define ARGUMENTS_MAX ((size_t)8 * 1024 * 1024)

enum block { BLOCK_NONE, BLOCK_TEXT, BLOCK_THOUGHT, BLOCK_CALL };

static const char *const chat_reasons[] = {
    [FINISH_UNKNOWN] = "stop",          [FINISH_STOP] = "stop",
    [FINISH_LENGTH] = "length",         [FINISH_TOOLS] = "tool_calls",
    [FINISH_FILTER] = "content_filter",
};
static const char *const message_reasons[] = {
    [FINISH_UNKNOWN] = "end_turn", [FINISH_STOP] = "end_turn",  [FINISH_LENGTH] = "max_tokens",
    [FINISH_TOOLS] = "tool_use",   [FINISH_FILTER] = "refusal",
};

/* Unlike any other of this machine: a random start per process, then counted. */
static void make_id(struct compose *compose) {
    static const char *const prefixes[FORM_COUNT] = {
        [FORM_CHAT] = "chatcmpl", [FORM_COMPLETIONS] = "cmpl", [FORM_MESSAGES] = "msg"};
    static uint64_t base, count;
    if (base == 0 && getrandom(&base, sizeof(base), 0) != (ssize_t)sizeof(base)) {
        base = (uint64_t)clock_wall_ns();
    }
    snprintf(compose->id, sizeof(compose->id), "%s%c%016llx%08llx", prefixes[compose->form],
             compose->form == FORM_MESSAGES ? '_' : '-', (unsigned long long)base,
             (unsigned long long)++count);
}

void compose_init(struct compose *compose) {
    make_id(compose);
    compose->created_s = clock_wall_ns() / NS_PER_S;
    buf_init(&compose->data, 0);
    buf_init(&compose->thoughts, 0);
    buf_init(&compose->parts, 0);
    buf_init(&compose->arguments, ARGUMENTS_MAX);
}

void compose_fini(struct compose *compose) {
    buf_free(&compose->data);
    buf_free(&compose->thoughts);
    buf_free(&compose->parts);
    buf_free(&compose->arguments);
}

static void put(struct buf *out, const char *text) {
    buf_append_str(out, text);
}

static void put_quoted(struct buf *out, struct bytes text) {
    json_quote(out, text);
}

static void send_event(struct compose *compose, struct chat_event event) {
    event.data = buf_bytes(&compose->data);
    if (compose->data.failed) {
        compose->failed = true;
    } else {
        compose->event(compose->user, &event);
    }
    buf_clear(&compose->data);
}

static void send(struct compose *compose, const char *name, struct bytes text, bool is_content,
                 bool is_last) {
    send_event(compose, (struct chat_event){.name = bytes_from_str(name),
                                            .text = text,
                                            .is_content = is_content,
                                            .is_last = is_last});
}

/* ---- chunks of chat and completions ---- */

static void put_head(struct compose *compose, struct buf *out, const char *object) {
    put(out, "{\"id\":\"");
    put(out, compose->id);
    put(out, "\",\"object\":\"");
    put(out, object);
    put(out, "\",\"created\":");
    buf_append_i64(out, compose->created_s);
    put(out, ",\"model\":");
    put_quoted(out, compose->model);
}

static void begin_chunk(struct compose *compose) {
    bool is_chat = compose->form == FORM_CHAT;
    struct buf *out = &compose->data;
    put_head(compose, out, is_chat ? "chat.completion.chunk" : "text_completion");
    put(out, compose->wants_usage ? ",\"usage\":null" : "");
    put(out, is_chat ? ",\"choices\":[{\"index\":0,\"delta\":{" : ",\"choices\":[{\"index\":0,");
}

static void end_chunk(struct compose *compose, const char *reason, struct bytes text,
                      bool is_content) {
    struct buf *out = &compose->data;
    put(out, compose->form == FORM_CHAT ? "}" : "");
    put(out, ",\"logprobs\":null,\"finish_reason\":");
    put(out, reason != NULL ? "\"" : "null");
    put(out, reason != NULL ? reason : "");
    put(out, reason != NULL ? "\"}]}" : "}]}");
    send(compose, "", text, is_content, false);
}

static void put_usage(struct buf *out, const struct usage *usage) {
    put(out, "{\"prompt_tokens\":");
    buf_append_i64(out, usage->prompt_tokens);
    put(out, ",\"completion_tokens\":");
    buf_append_i64(out, usage->completion_tokens);
    put(out, ",\"total_tokens\":");
    buf_append_i64(out, usage->prompt_tokens + usage->completion_tokens);
    put(out, ",\"prompt_tokens_details\":{\"cached_tokens\":");
    buf_append_i64(out, usage->cached_tokens);
    put(out, "},\"completion_tokens_details\":{\"reasoning_tokens\":");
    buf_append_i64(out, usage->reasoning_tokens);
    put(out, "}}");
}

static void chunk_with(struct compose *compose, const char *member, struct bytes text,
                       bool is_text) {
    begin_chunk(compose);
    put(&compose->data, "\"");
    put(&compose->data, member);
    put(&compose->data, "\":");
    put_quoted(&compose->data, text);
    end_chunk(compose, NULL, is_text ? text : bytes_make("", 0), true);
}

static void end_chunks(struct compose *compose, enum chat_finish finish,
                       const struct usage *usage) {
    begin_chunk(compose);
    put(&compose->data, compose->form == FORM_CHAT ? "" : "\"text\":\"\"");
    end_chunk(compose, chat_reasons[finish], bytes_make("", 0), false);
    put_head(compose, &compose->data,
             compose->form == FORM_CHAT ? "chat.completion.chunk" : "text_completion");
    put(&compose->data, ",\"choices\":[],\"usage\":");
    put_usage(&compose->data, usage);
    put(&compose->data, "}");
    send_event(compose, (struct chat_event){.is_usage = true});
}

/* ---- events of messages ---- */

static void put_message_head(struct compose *compose, struct buf *out) {
    put(out, "{\"id\":\"");
    put(out, compose->id);
    put(out, "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    put_quoted(out, compose->model);
}

static void put_message_usage(struct buf *out, const struct usage *usage) {
    int64_t written = usage->cache_write_tokens + usage->cache_write_1h_tokens;
    put(out, "{\"input_tokens\":");
    buf_append_i64(out, usage->prompt_tokens - usage->cached_tokens - written);
    put(out, ",\"cache_creation_input_tokens\":");
    buf_append_i64(out, written);
    put(out, ",\"cache_read_input_tokens\":");
    buf_append_i64(out, usage->cached_tokens);
    put(out, ",\"output_tokens\":");
    buf_append_i64(out, usage->completion_tokens);
    put(out, "}");
}

static void begin_event(struct compose *compose, const char *type) {
    put(&compose->data, "{\"type\":\"");
    put(&compose->data, type);
    put(&compose->data, "\",\"index\":");
    buf_append_i64(&compose->data, compose->blocks - 1);
}

static bool is_object(struct bytes text) {
    struct json_reader reader;
    struct json_fault fault;
    json_reader_init(&reader);
    bool good = json_read(&reader, text, &fault) == 0 && json_type(&reader, 0) == JSON_OBJECT;
    json_reader_fini(&reader);
    return good;
}

static void close_block(struct compose *compose) {
    if (compose->open == BLOCK_NONE) {
        return;
    }
    if (compose->open == BLOCK_CALL) {
        struct bytes input = buf_bytes(&compose->arguments);
        bool is_empty = bytes_trim(input).size == 0;
        bool is_whole = is_empty || is_object(input);
        if (!is_whole && compose->is_cut) { /* half of it helps nobody; the reason says it all */
            is_whole = is_empty = true;
        }
        compose->failed = compose->failed || compose->arguments.failed || !is_whole;
        if (!compose->is_stream) {
            buf_append_bytes(&compose->parts, is_empty ? BYTES_LITERAL("{}") : input);
            put(&compose->parts, "}");
        }
        buf_clear(&compose->arguments);
    } else if (!compose->is_stream) {
        put(&compose->parts, compose->open == BLOCK_TEXT ? "\"}" : "\",\"signature\":\"\"}");
    }
    if (compose->is_stream) {
        begin_event(compose, "content_block_stop");
        put(&compose->data, "}");
        send(compose, "content_block_stop", bytes_make("", 0), false, false);
    }
    compose->open = BLOCK_NONE;
}

/* What stands in a block before its content. */
static void open_block(struct compose *compose, enum block block, struct bytes id,
                       struct bytes name) {
    close_block(compose);
    compose->open = block;
    compose->blocks++;
    struct buf *out = compose->is_stream ? &compose->data : &compose->parts;
    if (compose->is_stream) {
        begin_event(compose, "content_block_start");
        put(out, ",\"content_block\":");
    } else if (compose->blocks > 1) {
        put(out, ",");
    }
    if (block == BLOCK_CALL) {
        put(out, "{\"type\":\"tool_use\",\"id\":");
        put_quoted(out, id);
        put(out, ",\"name\":");
        put_quoted(out, name);
        put(out, compose->is_stream ? ",\"input\":{}}}" : ",\"input\":");
    } else if (block == BLOCK_TEXT) {
        put(out, "{\"type\":\"text\",\"text\":\"");
        put(out, compose->is_stream ? "\"}}" : "");
    } else {
        put(out, "{\"type\":\"thinking\",\"thinking\":\"");
        put(out, compose->is_stream ? "\",\"signature\":\"\"}}" : "");
    }
    if (compose->is_stream) {
        send(compose, "content_block_start", bytes_make("", 0), block == BLOCK_CALL, false);
    }
}

static void message_piece(struct compose *compose, enum block block, const char *type,
                          const char *member, struct bytes text) {
    if (compose->open != block) {
        open_block(compose, block, bytes_make("", 0), bytes_make("", 0));
    }
    if (!compose->is_stream) {
        json_escape(&compose->parts, text);
        return;
    }
    begin_event(compose, "content_block_delta");
    put(&compose->data, ",\"delta\":{\"type\":\"");
    put(&compose->data, type);
    put(&compose->data, "\",\"");
    put(&compose->data, member);
    put(&compose->data, "\":");
    put_quoted(&compose->data, text);
    put(&compose->data, "}}");
    send(compose, "content_block_delta", block == BLOCK_TEXT ? text : bytes_make("", 0), true,
         false);
}

static void end_message(struct compose *compose, enum chat_finish finish,
                        const struct usage *usage) {
    close_block(compose);
    put(&compose->data, "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"");
    put(&compose->data, message_reasons[finish]);
    put(&compose->data, "\",\"stop_sequence\":null},\"usage\":");
    put_message_usage(&compose->data, usage);
    put(&compose->data, "}");
    send(compose, "message_delta", bytes_make("", 0), false, false);
    put(&compose->data, "{\"type\":\"message_stop\"}");
    send(compose, "message_stop", bytes_make("", 0), false, true);
}

/* ---- pieces ---- */

/* The first event; content: of a chat, what its text is so far. */
static void begin(struct compose *compose, const char *content) {
    if (compose->has_begun || !compose->is_stream) {
        return;
    }
    compose->has_begun = true;
    if (compose->form == FORM_CHAT) {
        begin_chunk(compose);
        put(&compose->data, "\"role\":\"assistant\",\"content\":");
        put(&compose->data, content);
        end_chunk(compose, NULL, bytes_make("", 0), false);
    } else if (compose->form == FORM_MESSAGES) {
        put(&compose->data, "{\"type\":\"message_start\",\"message\":");
        put_message_head(compose, &compose->data);
        put(&compose->data, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,"
                            "\"usage\":{\"input_tokens\":0,\"output_tokens\":0}}}");
        send(compose, "message_start", bytes_make("", 0), false, false);
    }
}

void compose_text(struct compose *compose, struct bytes text) {
    begin(compose, "\"\"");
    if (text.size == 0) {
        return;
    }
    compose->has_text = true;
    if (compose->form == FORM_MESSAGES) {
        message_piece(compose, BLOCK_TEXT, "text_delta", "text", text);
    } else if (compose->is_stream) {
        chunk_with(compose, compose->form == FORM_CHAT ? "content" : "text", text, true);
    } else {
        json_escape(&compose->data, text);
    }
}

void compose_thought(struct compose *compose, struct bytes text) {
    begin(compose, "\"\"");
    if (text.size == 0 || compose->form == FORM_COMPLETIONS) {
        return;
    }
    if (compose->form == FORM_MESSAGES) {
        message_piece(compose, BLOCK_THOUGHT, "thinking_delta", "thinking", text);
    } else if (compose->is_stream) {
        chunk_with(compose, "reasoning_content", text, false);
    } else {
        json_escape(&compose->thoughts, text);
    }
}

static void put_chat_call(struct compose *compose, struct buf *out, struct bytes id,
                          struct bytes name) {
    put(out, "\"id\":");
    put_quoted(out, id);
    put(out, ",\"type\":\"function\",\"function\":{\"name\":");
    put_quoted(out, name);
    put(out, compose->is_stream ? ",\"arguments\":\"\"}}]" : ",\"arguments\":\"");
}

/* Whole chat answers: the arguments' string is closed when the next call, or the end, comes. */
static void close_chat_call(struct compose *compose) {
    if (compose->open == BLOCK_CALL) {
        put(&compose->parts, "\"}}");
        compose->open = BLOCK_NONE;
    }
}

/* A call that needs no arguments: OpenAI's clients parse the text, so it must be JSON. */
static void end_call(struct compose *compose) {
    if (compose->form == FORM_CHAT && compose->calls > 0 && !compose->has_arguments) {
        compose_arguments(compose, BYTES_LITERAL("{}"));
    }
}

void compose_call(struct compose *compose, struct bytes id, struct bytes name) {
    begin(compose, "null");
    end_call(compose);
    compose->calls++;
    compose->has_arguments = false;
    if (compose->form == FORM_COMPLETIONS) {
        return;
    }
    if (compose->form == FORM_MESSAGES) {
        open_block(compose, BLOCK_CALL, id, name);
        return;
    }
    if (compose->is_stream) {
        begin_chunk(compose);
        put(&compose->data, "\"tool_calls\":[{\"index\":");
        buf_append_i64(&compose->data, compose->calls - 1);
        put(&compose->data, ",");
        put_chat_call(compose, &compose->data, id, name);
        end_chunk(compose, NULL, bytes_make("", 0), true);
        return;
    }
    close_chat_call(compose);
    put(&compose->parts, compose->calls > 1 ? ",{" : "{");
    put_chat_call(compose, &compose->parts, id, name);
    compose->open = BLOCK_CALL;
}

void compose_arguments(struct compose *compose, struct bytes text) {
    if (text.size == 0 || compose->form == FORM_COMPLETIONS) {
        return;
    }
    compose->has_arguments = true;
    if (compose->form == FORM_CHAT && !compose->is_stream) {
        json_escape(&compose->parts, text);
    } else if (compose->form == FORM_CHAT) {
        begin_chunk(compose);
        put(&compose->data, "\"tool_calls\":[{\"index\":");
        buf_append_i64(&compose->data, compose->calls - 1);
        put(&compose->data, ",\"function\":{\"arguments\":");
        put_quoted(&compose->data, text);
        put(&compose->data, "}}]");
        end_chunk(compose, NULL, bytes_make("", 0), true);
    } else {
        buf_append_bytes(&compose->arguments, text);
        compose->failed = compose->failed || compose->arguments.failed;
        if (compose->is_stream) {
            message_piece(compose, BLOCK_CALL, "input_json_delta", "partial_json", text);
        }
    }
}

/* ---- the end ---- */

static void put_string(struct buf *out, const struct buf *escaped) {
    put(out, "\"");
    buf_append_bytes(out, buf_bytes(escaped));
    put(out, "\"");
}

static void put_chat(struct compose *compose, const char *reason, const struct usage *usage,
                     struct buf *out, struct chat_span *text) {
    put_head(compose, out, "chat.completion");
    put(out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    if (compose->has_text || compose->calls == 0) {
        size_t at = out->size;
        put_string(out, &compose->data);
        *text = (struct chat_span){at, out->size - at};
    } else {
        put(out, "null");
    }
    put(out, ",\"refusal\":null");
    if (compose->thoughts.size > 0) {
        put(out, ",\"reasoning_content\":");
        put_string(out, &compose->thoughts);
    }
    if (compose->calls > 0) {
        close_chat_call(compose);
        put(out, ",\"tool_calls\":[");
        buf_append_bytes(out, buf_bytes(&compose->parts));
        put(out, "]");
    }
    put(out, "},\"logprobs\":null,\"finish_reason\":\"");
    put(out, reason);
    put(out, "\"}],\"usage\":");
    put_usage(out, usage);
    put(out, "}");
}

static void put_completion(struct compose *compose, const char *reason, const struct usage *usage,
                           struct buf *out) {
    put_head(compose, out, "text_completion");
    put(out, ",\"choices\":[{\"index\":0,\"text\":");
    put_string(out, &compose->data);
    put(out, ",\"logprobs\":null,\"finish_reason\":\"");
    put(out, reason);
    put(out, "\"}],\"usage\":");
    put_usage(out, usage);
    put(out, "}");
}

static void put_message(struct compose *compose, const char *reason, const struct usage *usage,
                        struct buf *out) {
    close_block(compose);
    put_message_head(compose, out);
    put(out, ",\"content\":[");
    buf_append_bytes(out, buf_bytes(&compose->parts));
    put(out, "],\"stop_reason\":\"");
    put(out, reason);
    put(out, "\",\"stop_sequence\":null,\"usage\":");
    put_message_usage(out, usage);
    put(out, "}");
}

bool compose_end(struct compose *compose, enum chat_finish finish, const struct usage *usage,
                 struct buf *out, struct chat_span *text) {
    begin(compose, "\"\"");
    compose->is_cut = finish == FINISH_LENGTH;
    end_call(compose);
    *text = (struct chat_span){0, 0};
    if (compose->calls > 0 && finish == FINISH_STOP) { /* some servers do not tell the two apart */
        finish = FINISH_TOOLS;
    }
    if (compose->is_stream) {
        if (compose->form == FORM_MESSAGES) {
            end_message(compose, finish, usage);
        } else {
            end_chunks(compose, finish, usage);
        }
        return !compose->failed;
    }
    if (compose->form == FORM_MESSAGES) {
        put_message(compose, message_reasons[finish], usage, out);
    } else if (compose->form == FORM_CHAT) {
        put_chat(compose, chat_reasons[finish], usage, out, text);
    } else {
        put_completion(compose, chat_reasons[finish], usage, out);
    }
    return !compose->failed && !compose->data.failed && !compose->thoughts.failed &&
           !compose->parts.failed && !compose->arguments.failed && !out->failed;
}
