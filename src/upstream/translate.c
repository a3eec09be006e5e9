/* What both directions of translation share, and the reading of answers. Pure; runs in workers.
 *
 * Its one surprise: every member of a request is looked up in a table, so that one that is new
 * tomorrow is refused and not lost.
 */
#include "translate.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/json_write.h"
#include "form_private.h"

#define PASTE_MIN ((size_t)64 * 1024) /* bytes; copying less is cheaper than another piece */

/* ---- requests ---- */

enum outcome translate_begin(struct translator *to, struct attempt *attempt,
                             struct json_reader *reader, struct buf *out) {
    struct json_fault fault;
    *to = (struct translator){.attempt = attempt,
                              .reader = reader,
                              .arena = attempt->arena,
                              .out = out,
                              .outcome = OUTCOME_OK};
    /* it was read before, so it is JSON */
    return json_read(reader, attempt->chat->body, &fault) == 0 ? OUTCOME_OK : OUTCOME_NO_MEMORY;
}

static enum outcome run(struct translator *to, enum chat_form form) {
    if (form == FORM_MESSAGES) {
        translate_chat_to_messages(to);
    } else {
        translate_messages_to_chat(to);
    }
    return to->outcome == OUTCOME_OK && to->out->failed ? OUTCOME_NO_MEMORY : to->outcome;
}

enum outcome translate_into_pieces(struct attempt *attempt, enum chat_form to,
                                   struct json_reader *reader, struct dialect_body *body) {
    struct translator translator;
    size_t at = 0;
    enum outcome outcome = translate_begin(&translator, attempt, reader, &body->own);
    translator.may_paste = true;
    if (outcome == OUTCOME_OK) {
        outcome = run(&translator, to);
    }
    for (unsigned i = 0; outcome == OUTCOME_OK && i < translator.paste_count; i++) {
        const struct translate_paste *paste = &translator.pastes[i];
        dialect_add_piece(body, bytes_make(body->own.data + at, paste->at - at));
        dialect_add_piece(body, paste->bytes);
        at = paste->at;
    }
    if (outcome == OUTCOME_OK && at > 0) { /* else it is one piece */
        dialect_add_piece(body, bytes_make(body->own.data + at, body->own.size - at));
    }
    return outcome;
}

void translate_refuse(struct translator *to, const char *format, ...) {
    va_list args;
    if (to->outcome != OUTCOME_OK) {
        return;
    }
    to->outcome = OUTCOME_UNTRANSLATABLE;
    va_start(args, format);
    vsnprintf(to->attempt->refusal, sizeof(to->attempt->refusal), format, args);
    va_end(args);
}

/* Decoded; "" when it is no string, and when there is no memory. */
static struct bytes decode(const struct json_reader *reader, int string, struct arena *arena,
                           enum outcome *outcome) {
    struct bytes text = json_string(reader, string, arena);
    if (text.data != NULL) {
        return text;
    }
    if (json_type(reader, string) == JSON_STRING) {
        *outcome = OUTCOME_NO_MEMORY;
    }
    return bytes_make("", 0);
}

struct bytes translate_text(struct translator *to, int string) {
    return decode(to->reader, string, to->arena, &to->outcome);
}

bool translate_is(const struct translator *to, int string, const char *text) {
    return json_string_equals(to->reader, string, bytes_from_str(text));
}

bool translate_is_type(const struct json_reader *reader, int object, const char *type) {
    return json_string_equals(reader, json_get(reader, object, "type"), bytes_from_str(type));
}

int translate_get(const struct translator *to, int object, const char *name) {
    int value = json_get(to->reader, object, name);
    return json_type(to->reader, value) == JSON_NULL ? -1 : value;
}

void translate_comma(struct translator *to) {
    char last = to->out->size > 0 ? to->out->data[to->out->size - 1] : '{';
    if (last != '{' && last != '[') {
        buf_append_char(to->out, ',');
    }
}

void translate_key(struct translator *to, const char *name) {
    translate_comma(to);
    buf_append_char(to->out, '"');
    buf_append_str(to->out, name);
    buf_append_str(to->out, "\":");
}

void translate_put(struct translator *to, const char *name, int value) {
    translate_key(to, name);
    buf_append_bytes(to->out, value >= 0 ? json_whole(to->reader, value) : BYTES_LITERAL("null"));
}

void translate_paste(struct translator *to, struct bytes text) {
    struct bytes body = to->attempt->chat->body;
    bool is_raw = (uintptr_t)text.data >= (uintptr_t)body.data &&
                  (uintptr_t)text.data < (uintptr_t)body.data + body.size;
    if (!is_raw) {
        json_escape(to->out, text);
    } else if (to->may_paste && text.size >= PASTE_MIN && to->paste_count < TRANSLATE_PASTES) {
        to->pastes[to->paste_count++] = (struct translate_paste){to->out->size, text};
    } else {
        buf_append_bytes(to->out, text);
    }
}

static bool is_number(const struct translator *to, int value, double wanted) {
    double number;
    return json_double(to->reader, value, &number) && number == wanted;
}

static bool may_be_dropped(const struct translator *to, int value, enum translate_rule rule) {
    switch (json_type(to->reader, value)) {
    case JSON_NULL:
        return true;
    case JSON_FALSE:
        return rule == RULE_FALSE;
    case JSON_OBJECT:
    case JSON_ARRAY:
        return rule == RULE_FALSE && json_count(to->reader, value) == 0;
    case JSON_NUMBER:
        return (rule == RULE_FALSE && is_number(to, value, 0)) ||
               (rule == RULE_ONE && is_number(to, value, 1));
    default:
        return false;
    }
}

static const struct translate_row *find_row(const struct translator *to, int key,
                                            const struct translate_row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (translate_is(to, key, rows[i].name)) {
            return &rows[i];
        }
    }
    return NULL;
}

static void take_member(struct translator *to, int key, const struct translate_row *row,
                        const char *path) {
    int value = json_member_value(to->reader, key);
    struct bytes name = json_raw(to->reader, key);
    bool is_null = json_type(to->reader, value) == JSON_NULL;
    if (row == NULL || row->rule >= RULE_REFUSE) {
        if (!may_be_dropped(to, value, row != NULL ? row->rule : RULE_REFUSE)) {
            translate_refuse(to, "%s%.*s", path, name.size < 64 ? (int)name.size : 64, name.data);
        }
    } else if (row->rule == RULE_COPY && !is_null) {
        translate_put(to, row->as != NULL ? row->as : row->name, value);
    }
}

void translate_members(struct translator *to, int object, const struct translate_row *rows,
                       size_t count, const char *path) {
    const struct json_reader *reader = to->reader;
    for (int key = json_first(reader, object); key >= 0; key = json_next(reader, key)) {
        take_member(to, key, find_row(to, key, rows, count), path);
    }
}

bool translate_is_effort(const struct translator *to, int string) {
    return translate_is(to, string, "low") || translate_is(to, string, "medium") ||
           translate_is(to, string, "high") || translate_is(to, string, "xhigh");
}

bool translate_is_openai_itself(const struct conf_provider *provider) {
    return bytes_start_with(bytes_from_str(provider->url),
                            BYTES_LITERAL("https://api.openai.com/"));
}

/* ---- answers ---- */

struct saying {
    const struct json_reader *reader;
    struct arena *arena;
    struct compose *compose;
    enum outcome outcome;
};

static struct bytes text_of(struct saying *to, int string) {
    return decode(to->reader, string, to->arena, &to->outcome);
}

/* A content block of a message, whole or as a stream opens it. */
static void say_block(struct saying *to, int block, bool is_whole) {
    const struct json_reader *reader = to->reader;
    if (translate_is_type(reader, block, "text")) {
        compose_text(to->compose, text_of(to, json_get(reader, block, "text")));
    } else if (translate_is_type(reader, block, "thinking")) {
        compose_thought(to->compose, text_of(to, json_get(reader, block, "thinking")));
    } else if (translate_is_type(reader, block, "tool_use")) {
        compose_call(to->compose, text_of(to, json_get(reader, block, "id")),
                     text_of(to, json_get(reader, block, "name")));
        if (is_whole) {
            compose_arguments(to->compose, json_whole(reader, json_get(reader, block, "input")));
        }
    }
}

/* A block that is no call of the client's, told or not (a search that the provider makes itself).
 */
static int64_t no_call(int64_t index) {
    return -2 - index;
}

/* Pieces of a call's input belong to the block that was opened last, or to nobody. */
static void say_input(struct saying *to, struct bytes text, int64_t index, int64_t open) {
    if (index == open) {
        compose_arguments(to->compose, text);
    } else if (no_call(index) != open) {
        to->outcome = OUTCOME_BAD_SCHEMA;
    }
}

static void say_messages_event(struct saying *to, int64_t *open) {
    const struct json_reader *reader = to->reader;
    int delta = json_get(reader, 0, "delta");
    int64_t index = 0;
    bool has_index = json_int64(reader, json_get(reader, 0, "index"), &index) && index >= 0 &&
                     index <= INT32_MAX;
    if (translate_is_type(reader, 0, "content_block_start")) {
        int block = json_get(reader, 0, "content_block");
        index = has_index ? index : 0;
        *open = translate_is_type(reader, block, "tool_use") ? index : no_call(index);
        say_block(to, block, false);
    } else if (translate_is_type(reader, 0, "content_block_delta")) {
        if (translate_is_type(reader, delta, "text_delta")) {
            compose_text(to->compose, text_of(to, json_get(reader, delta, "text")));
        } else if (translate_is_type(reader, delta, "thinking_delta")) {
            compose_thought(to->compose, text_of(to, json_get(reader, delta, "thinking")));
        } else if (translate_is_type(reader, delta, "input_json_delta")) {
            say_input(to, text_of(to, json_get(reader, delta, "partial_json")),
                      has_index ? index : 0, *open);
        }
    }
}

/* A call of a tool, whole, or the part of one that is in a delta. */
static void say_call(struct saying *to, int call, int64_t *open) {
    const struct json_reader *reader = to->reader;
    int function = json_get(reader, call, "function");
    int name = json_get(reader, function, "name");
    int64_t index = *open + 1;
    bool has_index = json_int64(reader, json_get(reader, call, "index"), &index);
    if (!has_index && !form_says_something(reader, name)) {
        index = *open;
    }
    if (index < 0) {
        to->outcome = OUTCOME_BAD_SCHEMA; /* it goes on with one that never began */
        return;
    }
    if (index != *open) {
        if (index < *open || !form_says_something(reader, name)) {
            to->outcome = OUTCOME_BAD_SCHEMA; /* it goes on with one that is closed */
            return;
        }
        *open = index;
        compose_call(to->compose, text_of(to, json_get(reader, call, "id")), text_of(to, name));
    }
    compose_arguments(to->compose, text_of(to, json_get(reader, function, "arguments")));
}

/* A message, or a delta of one. */
static void say_message(struct saying *to, int message, int64_t *open) {
    static const char *const thoughts[] = {"reasoning_content", "reasoning"};
    const struct json_reader *reader = to->reader;
    int content = json_get(reader, message, "content");
    int calls = json_get(reader, message, "tool_calls");
    for (size_t i = 0; i < 2; i++) {
        int thought = json_get(reader, message, thoughts[i]);
        if (form_says_something(reader, thought)) {
            compose_thought(to->compose, text_of(to, thought));
            break;
        }
    }
    if (json_type(reader, content) == JSON_ARRAY) {
        for (int part = json_first(reader, content); part >= 0; part = json_next(reader, part)) {
            compose_text(to->compose, text_of(to, json_get(reader, part, "text")));
        }
    } else {
        compose_text(to->compose, text_of(to, content));
    }
    compose_text(to->compose, text_of(to, json_get(reader, message, "refusal")));
    for (int call = json_first(reader, calls); call >= 0 && to->outcome == OUTCOME_OK;
         call = json_next(reader, call)) {
        say_call(to, call, open);
    }
}

static int first_choice(const struct json_reader *reader, const char *member) {
    int choices = json_get(reader, 0, "choices");
    return json_get(reader, json_first(reader, choices), member);
}

enum outcome translate_answer(enum chat_form from, const struct json_reader *reader,
                              struct arena *arena, struct compose *compose) {
    struct saying to = {reader, arena, compose, OUTCOME_OK};
    int64_t open = -1;
    if (from == FORM_CHAT) {
        say_message(&to, first_choice(reader, "message"), &open);
        return to.outcome;
    }
    int content = json_get(reader, 0, "content");
    for (int block = json_first(reader, content); block >= 0; block = json_next(reader, block)) {
        say_block(&to, block, true);
    }
    return to.outcome;
}

enum outcome translate_event(enum chat_form from, const struct json_reader *reader,
                             struct arena *arena, struct compose *compose, int64_t *call) {
    struct saying to = {reader, arena, compose, OUTCOME_OK};
    if (from == FORM_CHAT) {
        int delta = first_choice(reader, "delta");
        if (delta >= 0) {
            say_message(&to, delta, call);
        }
    } else {
        say_messages_event(&to, call);
    }
    return to.outcome;
}
