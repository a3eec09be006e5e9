/* Messages: content as a list of blocks, which streams open, continue and close. Pure; runs in
 * workers.
 *
 * Its one surprise: usage counts input_tokens, cache reads and cache writes beside each other,
 * where OpenAI has them inside the prompt's; they are added up here, so that everything behind has
 * one meaning of prompt_tokens. Writes of an hour stand in cache_creation, all writes in
 * cache_creation_input_tokens (API reference, "Prompt caching").
 */
#include "form_private.h"

#include <string.h>

#include "base/json_write.h"
#include "merge.h"

/* ---- reading ---- */

static enum chat_finish finish_of(const struct json_reader *reader, int reason) {
    static const struct {
        const char *word;
        enum chat_finish finish;
    } rows[] = {
        {"end_turn", FINISH_STOP},     {"stop_sequence", FINISH_STOP},
        {"max_tokens", FINISH_LENGTH}, {"model_context_window_exceeded", FINISH_LENGTH},
        {"tool_use", FINISH_TOOLS},    {"refusal", FINISH_FILTER},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (json_string_equals(reader, reason, bytes_from_str(rows[i].word))) {
            return rows[i].finish;
        }
    }
    return FINISH_UNKNOWN; /* pause_turn: it wants to go on */
}

/* In an event only some of the counts may stand: those that do not are -1. (message_delta repeats
 * the sum of all writes, but not how many of them are for an hour.) */
static void read_usage(const struct json_reader *reader, int usage, bool is_final,
                       struct form_reading *out) {
    int creation = json_get(reader, usage, "cache_creation");
    bool bad = false;
    if (json_type(reader, usage) != JSON_OBJECT) {
        return;
    }
    int64_t input = form_count(reader, usage, "input_tokens", -1, &bad);
    int64_t read = form_count(reader, usage, "cache_read_input_tokens", -1, &bad);
    int64_t written = form_count(reader, usage, "cache_creation_input_tokens", -1, &bad);
    int64_t hour = form_count(reader, creation, "ephemeral_1h_input_tokens", -1, &bad);
    int64_t output = form_count(reader, usage, "output_tokens", -1, &bad);
    if (bad || (hour > 0 && hour > written)) {
        out->usage_state = USAGE_INVALID;
        return;
    }
    out->usage = (struct usage){.prompt_tokens = -1,
                                .cached_tokens = read,
                                .cache_write_tokens = written < 0 ? -1 : written - form_known(hour),
                                .cache_write_1h_tokens = hour,
                                .completion_tokens = is_final ? output : -1};
    if (input >= 0) {
        out->usage.prompt_tokens = input + form_known(read) + form_known(written);
    }
    out->usage_state = input < 0 || out->usage.completion_tokens < 0 ? USAGE_PARTIAL : USAGE_KNOWN;
}

static bool is_type(const struct json_reader *reader, int object, const char *type) {
    return json_string_equals(reader, json_get(reader, object, "type"), bytes_from_str(type));
}

static enum outcome read_answer(const struct json_reader *reader, struct arena *arena,
                                struct form_reading *out) {
    int content = json_get(reader, 0, "content");
    bool has_text = false;
    if (json_type(reader, content) != JSON_ARRAY) {
        return OUTCOME_BAD_SCHEMA;
    }
    out->finish = finish_of(reader, json_get(reader, 0, "stop_reason"));
    for (int block = json_first(reader, content); block >= 0; block = json_next(reader, block)) {
        if (json_type(reader, json_get(reader, block, "type")) != JSON_STRING) {
            return OUTCOME_BAD_SCHEMA;
        }
        has_text = has_text || is_type(reader, block, "text");
        out->has_tools = out->has_tools || is_type(reader, block, "tool_use");
    }
    out->delivered = form_text_size(reader, content);
    read_usage(reader, json_get(reader, 0, "usage"), true, out);
    if (out->usage_state == USAGE_PARTIAL) {
        out->usage_state = USAGE_INVALID; /* a whole answer says all of it */
    }
    out->usage.cached_tokens = form_known(out->usage.cached_tokens);
    out->usage.cache_write_tokens = form_known(out->usage.cache_write_tokens);
    out->usage.cache_write_1h_tokens = form_known(out->usage.cache_write_1h_tokens);
    /* It may have nothing to say: end_turn with no content. */
    return has_text ? form_join_texts(reader, content, arena, &out->text) : OUTCOME_OK;
}

/* ---- reading events ---- */

static enum outcome read_block_delta(const struct json_reader *reader, struct arena *arena,
                                     struct form_reading *out) {
    int delta = json_get(reader, 0, "delta");
    int text = json_get(reader, delta, "text");
    out->delivered = form_text_size(reader, delta);
    out->is_content = out->delivered > 0;
    if (json_type(reader, text) == JSON_STRING) {
        out->text = json_string(reader, text, arena);
        return out->text.data != NULL ? OUTCOME_OK : OUTCOME_NO_MEMORY;
    }
    return OUTCOME_OK;
}

/* A block that opens with something in it: a tool's name, a search's result. An empty text is not.
 */
static void read_block_start(const struct json_reader *reader, struct form_reading *out) {
    int block = json_get(reader, 0, "content_block");
    out->has_tools = is_type(reader, block, "tool_use");
    out->is_content = !is_type(reader, block, "text") && !is_type(reader, block, "thinking");
    out->is_content =
        out->is_content || form_says_something(reader, json_get(reader, block, "text"));
}

static enum outcome read_event(const struct json_reader *reader, struct arena *arena,
                               struct form_reading *out) {
    if (json_type(reader, json_get(reader, 0, "type")) != JSON_STRING) {
        return OUTCOME_BAD_SCHEMA;
    }
    if (is_type(reader, 0, "content_block_delta")) {
        return read_block_delta(reader, arena, out);
    }
    if (is_type(reader, 0, "content_block_start")) {
        read_block_start(reader, out);
    } else if (is_type(reader, 0, "message_start")) {
        read_usage(reader, json_get(reader, json_get(reader, 0, "message"), "usage"), false, out);
    } else if (is_type(reader, 0, "message_delta")) {
        int reason = json_get(reader, json_get(reader, 0, "delta"), "stop_reason");
        out->finish = finish_of(reader, reason);
        read_usage(reader, json_get(reader, 0, "usage"), true, out);
    } else if (is_type(reader, 0, "message_stop")) {
        out->is_last = true;
    } else if (is_type(reader, 0, "ping")) {
        out->is_ignorable = true;
    } else {
        out->is_error = is_type(reader, 0, "error");
    }
    return OUTCOME_OK;
}

/* ---- events made whole ---- */

struct collecting {
    struct merge merge;
    struct json_reader *reader;
    struct merge_node *message; /* NULL until it has started */
    bool has_stopped;
};

static struct merge_node *block_of(struct collecting *to) {
    struct merge_node *content = merge_member(&to->merge, to->message, BYTES_LITERAL("content"));
    int64_t index;
    if (content == NULL || !json_int64(to->reader, json_get(to->reader, 0, "index"), &index)) {
        to->merge.failed = true;
        return NULL;
    }
    merge_container(content, MERGE_ARRAY);
    return merge_element(&to->merge, content, index);
}

static void collect_start(struct collecting *to) {
    int block = json_get(to->reader, 0, "content_block");
    struct merge_node *node = block_of(to);
    if (node != NULL) {
        merge_container(node, MERGE_OBJECT);
        merge_value(&to->merge, node, to->reader, block, MERGE_LAST);
    }
}

static void collect_delta(struct collecting *to) {
    static const struct {
        const char *type, *from, *to;
        enum merge_kind kind;
    } rows[] = {
        {"text_delta", "text", "text", MERGE_TEXT},
        {"thinking_delta", "thinking", "thinking", MERGE_TEXT},
        {"signature_delta", "signature", "signature", MERGE_TEXT},
        {"input_json_delta", "partial_json", "input", MERGE_JSON},
    };
    int delta = json_get(to->reader, 0, "delta");
    struct merge_node *block = block_of(to);
    if (block == NULL || block->kind != MERGE_OBJECT) {
        to->merge.failed = true;
        return;
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int piece = json_get(to->reader, delta, rows[i].from);
        if (is_type(to->reader, delta, rows[i].type) &&
            json_type(to->reader, piece) == JSON_STRING) {
            struct merge_node *member = merge_member(&to->merge, block, bytes_from_str(rows[i].to));
            if (member != NULL) {
                merge_text(&to->merge, member, rows[i].kind, to->reader, piece);
            }
            return;
        }
    }
    if (is_type(to->reader, delta, "citations_delta")) {
        struct merge_node *citations = merge_member(&to->merge, block, BYTES_LITERAL("citations"));
        if (citations != NULL) {
            merge_append(&to->merge, citations, to->reader,
                         json_get(to->reader, delta, "citation"));
        }
        return;
    }
    to->merge.failed = true; /* whatever it is, it would be lost */
}

/* What stands in `delta` and what stands beside it are members of the message. */
static void collect_end(struct collecting *to) {
    merge_value(&to->merge, to->message, to->reader, json_get(to->reader, 0, "delta"), MERGE_WHOLE);
    for (int key = json_first(to->reader, 0); key >= 0; key = json_next(to->reader, key)) {
        if (json_string_equals(to->reader, key, BYTES_LITERAL("type")) ||
            json_string_equals(to->reader, key, BYTES_LITERAL("delta"))) {
            continue;
        }
        struct merge_node *member =
            merge_member(&to->merge, to->message, json_raw(to->reader, key));
        if (member != NULL) {
            merge_value(&to->merge, member, to->reader, json_member_value(to->reader, key),
                        MERGE_WHOLE);
        }
    }
}

/* False: nobody knows what it is. */
static bool collect_inside(struct collecting *to) {
    if (is_type(to->reader, 0, "content_block_start")) {
        collect_start(to);
    } else if (is_type(to->reader, 0, "content_block_delta")) {
        collect_delta(to);
    } else if (is_type(to->reader, 0, "message_delta")) {
        collect_end(to);
    } else {
        to->has_stopped = is_type(to->reader, 0, "message_stop");
        return to->has_stopped;
    }
    return true;
}

static void collect_event(struct collecting *to) {
    if (is_type(to->reader, 0, "message_start") && to->message == NULL) {
        int message = json_get(to->reader, 0, "message");
        to->message = merge_new(&to->merge, MERGE_OBJECT);
        if (to->message != NULL) {
            merge_value(&to->merge, to->message, to->reader, message, MERGE_LAST);
        }
        to->merge.failed = to->merge.failed || json_type(to->reader, message) != JSON_OBJECT;
    } else if (is_type(to->reader, 0, "ping") || is_type(to->reader, 0, "content_block_stop")) {
        return;
    } else if (to->message == NULL || !collect_inside(to)) {
        to->merge.failed = true;
    }
}

static bool collect(struct json_reader *reader, struct bytes events, struct arena *arena,
                    struct buf *out) {
    struct collecting to = {.merge = {.arena = arena}, .reader = reader};
    struct json_fault fault;
    while (events.size > 0 && !to.merge.failed) {
        if (json_read(reader, bytes_cut(&events, '\n'), &fault) == -1) {
            return false;
        }
        collect_event(&to);
    }
    if (to.merge.failed || to.message == NULL || !to.has_stopped) {
        return false;
    }
    merge_write(&to.merge, to.message, out);
    return !to.merge.failed && !out->failed;
}

/* ---- a whole made events ---- */

struct replaying {
    const struct json_reader *reader;
    struct arena *arena;
    const struct form_replay *replay;
    struct buf data;
    bool failed;
};

static void send_event(struct replaying *to, const char *name, struct bytes text, bool is_content) {
    struct chat_event event = {.name = bytes_from_str(name),
                               .data = buf_bytes(&to->data),
                               .text = text,
                               .is_content = is_content,
                               .is_last = strcmp(name, "message_stop") == 0};
    if (to->data.failed || (text.size > 0 && text.data == NULL)) {
        to->failed = true;
    } else {
        to->replay->event(to->replay->user, &event);
    }
}

static void begin_event(struct replaying *to, const char *type, int index) {
    buf_clear(&to->data);
    buf_append_str(&to->data, "{\"type\":\"");
    buf_append_str(&to->data, type);
    buf_append_char(&to->data, '"');
    if (index >= 0) {
        buf_append_str(&to->data, ",\"index\":");
        buf_append_i64(&to->data, index);
    }
}

static void send_start(struct replaying *to) {
    static const char *const without[] = {"content", "stop_reason", "stop_sequence", "usage", NULL};
    static const char *const output[] = {"output_tokens", NULL};
    struct buf *out = &to->data;
    begin_event(to, "message_start", -1);
    buf_append_str(out, ",\"message\":{");
    form_copy_members(to->reader, 0, without, out);
    buf_append_str(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{");
    form_copy_members(to->reader, json_get(to->reader, 0, "usage"), output, out);
    buf_append_str(out, out->data[out->size - 1] == '{' ? "\"output_tokens\":0}}}"
                                                        : ",\"output_tokens\":0}}}");
    send_event(to, "message_start", bytes_make("", 0), false);
}

/* A delta with one string, given as the inside of a JSON string. */
static void send_delta(struct replaying *to, int index, const char *type, const char *member,
                       struct bytes escaped, bool is_text) {
    struct buf *out = &to->data;
    begin_event(to, "content_block_delta", index);
    buf_append_str(out, ",\"delta\":{\"type\":\"");
    buf_append_str(out, type);
    buf_append_str(out, "\",\"");
    buf_append_str(out, member);
    buf_append_str(out, "\":\"");
    buf_append_bytes(out, escaped);
    buf_append_str(out, "\"}}");
    send_event(to, "content_block_delta",
               is_text ? form_unescape(escaped, to->arena) : bytes_make("", 0), true);
}

/* Members of a block that come in deltas. */
static const struct streamed {
    const char *member, *delta, *in_delta;
    bool is_json; /* the value itself, as text */
} streamed[] = {
    {"thinking", "thinking_delta", "thinking", false},
    {"signature", "signature_delta", "signature", false},
    {"text", "text_delta", "text", false},
    {"input", "input_json_delta", "partial_json", true},
};
#define STREAMED_COUNT (sizeof(streamed) / sizeof(streamed[0]))

static bool is_streamed(const struct json_reader *reader, int block, const struct streamed *row) {
    int value = json_get(reader, block, row->member);
    return json_type(reader, value) == (row->is_json ? JSON_OBJECT : JSON_STRING);
}

static void send_block_start(struct replaying *to, int block, int index) {
    const char *without[STREAMED_COUNT + 2] = {NULL};
    struct buf *out = &to->data;
    size_t count = 0;
    for (size_t i = 0; i < STREAMED_COUNT; i++) {
        if (is_streamed(to->reader, block, &streamed[i])) {
            without[count++] = streamed[i].member;
        }
    }
    if (json_count(to->reader, json_get(to->reader, block, "citations")) > 0) {
        without[count] = "citations";
    }
    begin_event(to, "content_block_start", index);
    buf_append_str(out, ",\"content_block\":{");
    form_copy_members(to->reader, block, without, out);
    for (size_t i = 0; i < count; i++) {
        buf_append_str(out, ",\"");
        buf_append_str(out, without[i]);
        buf_append_str(out, strcmp(without[i], "input") == 0 ? "\":{}" : "\":\"\"");
    }
    buf_append_str(out, "}}");
    send_event(to, "content_block_start", bytes_make("", 0), false);
}

static void send_member(struct replaying *to, int block, int index, const struct streamed *row) {
    int value = json_get(to->reader, block, row->member);
    bool is_text = strcmp(row->member, "text") == 0;
    struct bytes left = json_raw(to->reader, value);
    struct buf escaped;
    buf_init(&escaped, 0);
    if (row->is_json) {
        json_escape(&escaped, left);
        left = escaped.failed ? bytes_make("", 0) : buf_bytes(&escaped);
        to->failed = to->failed || escaped.failed;
    }
    while (left.size > 0 && !to->failed) {
        struct bytes piece = left;
        if (is_text && to->replay->in_words) {
            piece = form_next_words(&left, to->reader->text.size);
        } else {
            left.size = 0;
        }
        send_delta(to, index, row->delta, row->in_delta, piece, is_text);
    }
    buf_free(&escaped);
}

static void send_citations(struct replaying *to, int block, int index) {
    int citations = json_get(to->reader, block, "citations");
    for (int one = json_first(to->reader, citations); one >= 0; one = json_next(to->reader, one)) {
        begin_event(to, "content_block_delta", index);
        buf_append_str(&to->data, ",\"delta\":{\"type\":\"citations_delta\",\"citation\":");
        buf_append_bytes(&to->data, json_whole(to->reader, one));
        buf_append_str(&to->data, "}}");
        send_event(to, "content_block_delta", bytes_make("", 0), true);
    }
}

static void send_block(struct replaying *to, int block, int index) {
    send_block_start(to, block, index);
    send_citations(to, block, index);
    for (size_t i = 0; i < STREAMED_COUNT; i++) {
        if (is_streamed(to->reader, block, &streamed[i])) {
            send_member(to, block, index, &streamed[i]);
        }
    }
    begin_event(to, "content_block_stop", index);
    buf_append_char(&to->data, '}');
    send_event(to, "content_block_stop", bytes_make("", 0), false);
}

static void send_end(struct replaying *to) {
    static const char *const names[] = {"stop_reason", "stop_sequence"};
    struct buf *out = &to->data;
    int usage = json_get(to->reader, 0, "usage");
    begin_event(to, "message_delta", -1);
    buf_append_str(out, ",\"delta\":{");
    for (size_t i = 0; i < 2; i++) {
        int value = json_get(to->reader, 0, names[i]);
        buf_append_str(out, i > 0 ? ",\"" : "\"");
        buf_append_str(out, names[i]);
        buf_append_str(out, "\":");
        buf_append_bytes(out, value >= 0 ? json_whole(to->reader, value) : BYTES_LITERAL("null"));
    }
    buf_append_str(out, "},\"usage\":");
    buf_append_bytes(out, usage >= 0 ? json_whole(to->reader, usage)
                                     : BYTES_LITERAL("{\"output_tokens\":0}"));
    buf_append_char(out, '}');
    send_event(to, "message_delta", bytes_make("", 0), false);
    begin_event(to, "message_stop", -1);
    buf_append_char(out, '}');
    send_event(to, "message_stop", bytes_make("", 0), false);
}

static bool replay(const struct json_reader *reader, struct arena *arena,
                   const struct form_replay *how) {
    struct replaying to = {.reader = reader, .arena = arena, .replay = how};
    int content = json_get(reader, 0, "content");
    int index = 0;
    if (json_type(reader, content) != JSON_ARRAY) {
        return false;
    }
    buf_init(&to.data, 0);
    send_start(&to);
    for (int block = json_first(reader, content); block >= 0 && !to.failed;
         block = json_next(reader, block)) {
        send_block(&to, block, index++);
    }
    if (!to.failed) {
        send_end(&to);
    }
    buf_free(&to.data);
    return !to.failed;
}

const struct form form_messages = {
    .kind = "messages",
    .path = "/messages",
    .read_answer = read_answer,
    .read_event = read_event,
    .collect = collect,
    .replay = replay,
};
