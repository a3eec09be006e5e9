/* The conversation of a chat, or a prompt, said in turns of the Anthropic API. Pure; runs in
 * workers.
 *
 * Facts from both API references: system prompts stand apart; results of tools are blocks of the
 * user's turn, and stand first in it; turns of one side in a row are one; texts and turns must not
 * be empty or blank, and the last turn, when it is the assistant's, must not end in a blank.
 */
#include "translate.h"

#include <stdio.h>
#include <string.h>

#include "base/json_write.h"

/* ---- content ---- */

static const struct translate_row part_rows[] = {
    {"type", RULE_OWN, NULL},      {"text", RULE_OWN, NULL}, {"refusal", RULE_OWN, NULL},
    {"image_url", RULE_OWN, NULL}, {"file", RULE_OWN, NULL}, {"cache_control", RULE_OWN, NULL},
};
static const struct translate_row image_rows[] = {
    {"url", RULE_OWN, NULL},
    {"detail", RULE_DROP, NULL}, /* how many tokens to spend on it: decided there by its size */
};
static const struct translate_row file_rows[] = {
    {"file_data", RULE_OWN, NULL},
    {"filename", RULE_OWN, NULL},
};

/* Does the inside of a JSON string have nothing to read in it? */
static bool is_blank(struct bytes escaped) {
    for (size_t i = 0; i < escaped.size; i++) {
        if (escaped.data[i] == '\\' && memchr("nrt", escaped.data[i + 1], 3) != NULL) {
            i++;
        } else if (escaped.data[i] != ' ') {
            return false;
        }
    }
    return true;
}

/* A block of text; a blank one is none, the API refuses it. */
static void put_text(struct translator *to, int string, int cache_control) {
    if (is_blank(json_raw(to->reader, string))) {
        return;
    }
    translate_comma(to);
    buf_append_str(to->out, "{\"type\":\"text\"");
    translate_put(to, "text", string);
    if (cache_control >= 0) {
        translate_put(to, "cache_control", cache_control);
    }
    buf_append_char(to->out, '}');
}

/* "data:image/png;base64,...": its type and its data. */
static bool split_data_url(struct bytes url, struct bytes *type, struct bytes *data) {
    static const struct bytes scheme = BYTES_LITERAL("data:");
    static const struct bytes mark = BYTES_LITERAL(";base64");
    size_t comma = bytes_find(url, ',');
    if (!bytes_start_with(url, scheme) || comma == url.size || comma < scheme.size + mark.size ||
        memcmp(url.data + comma - mark.size, mark.data, mark.size) != 0) {
        return false;
    }
    *type = bytes_make(url.data + scheme.size, comma - mark.size - scheme.size);
    *data = bytes_make(url.data + comma + 1, url.size - comma - 1);
    return true;
}

/* {"type":"image","source":{...}, for a data URL or another one. */
static bool put_source(struct translator *to, const char *block, struct bytes url,
                       bool may_be_url) {
    struct bytes type, data;
    struct buf *out = to->out;
    bool is_data = split_data_url(url, &type, &data);
    if (!is_data && (!may_be_url || !bytes_start_with(url, BYTES_LITERAL("http")))) {
        return false;
    }
    translate_comma(to);
    buf_append_str(out, "{\"type\":\"");
    buf_append_str(out, block);
    buf_append_str(out, is_data ? "\",\"source\":{\"type\":\"base64\",\"media_type\":"
                                : "\",\"source\":{\"type\":\"url\",\"url\":");
    json_quote(out, is_data ? type : url);
    if (is_data) {
        buf_append_str(out, ",\"data\":\"");
        translate_paste(to, data);
        buf_append_char(out, '"');
    }
    buf_append_char(out, '}');
    return true;
}

/* A text, or a refusal, which is one. False: the part is neither. */
static bool put_text_part(struct translator *to, int part, int cache_control) {
    static const char *const types[] = {"text", "refusal"};
    int type = json_get(to->reader, part, "type");
    for (size_t i = 0; i < 2; i++) {
        int text = json_get(to->reader, part, types[i]);
        if (translate_is(to, type, types[i]) && json_type(to->reader, text) == JSON_STRING) {
            put_text(to, text, cache_control);
            return true;
        }
    }
    return false;
}

/* The beginning of a block for an image or a file, its end left open. False: it cannot be said. */
static bool put_media(struct translator *to, int part, const char *path) {
    int type = json_get(to->reader, part, "type");
    int image = json_get(to->reader, part, "image_url");
    int file = json_get(to->reader, part, "file");
    char inside[80];
    if (translate_is(to, type, "image_url")) {
        snprintf(inside, sizeof(inside), "%simage_url.", path);
        TRANSLATE_MEMBERS(to, image, image_rows, inside);
        return put_source(to, "image", translate_text(to, json_get(to->reader, image, "url")),
                          true);
    }
    if (!translate_is(to, type, "file")) {
        return false;
    }
    int name = translate_get(to, file, "filename");
    snprintf(inside, sizeof(inside), "%sfile.", path);
    TRANSLATE_MEMBERS(to, file, file_rows, inside);
    if (!put_source(to, "document", translate_text(to, json_get(to->reader, file, "file_data")),
                    false)) {
        return false;
    }
    if (name >= 0) {
        translate_put(to, "title", name);
    }
    return true;
}

static void put_part(struct translator *to, int part, unsigned message, unsigned number) {
    int cache_control = translate_get(to, part, "cache_control");
    char path[64];
    snprintf(path, sizeof(path), "messages[%u].content[%u].", message, number);
    if (put_text_part(to, part, cache_control)) {
        TRANSLATE_MEMBERS(to, part, part_rows, path);
        return;
    }
    if (!put_media(to, part, path)) {
        translate_refuse(to, "messages[%u].content[%u]", message, number);
        return;
    }
    TRANSLATE_MEMBERS(to, part, part_rows, path);
    if (cache_control >= 0) {
        translate_put(to, "cache_control", cache_control);
    }
    buf_append_char(to->out, '}');
}

/* A string, or an array of parts; or nothing, beside calls. */
static void put_content(struct translator *to, int content, unsigned message) {
    unsigned number = 0;
    if (json_type(to->reader, content) == JSON_STRING) {
        put_text(to, content, -1);
        return;
    }
    if (content >= 0 && json_type(to->reader, content) != JSON_NULL &&
        json_type(to->reader, content) != JSON_ARRAY) {
        translate_refuse(to, "messages[%u].content", message);
    }
    for (int part = json_first(to->reader, content); part >= 0;
         part = json_next(to->reader, part)) {
        put_part(to, part, message, number++);
    }
}

/* ---- messages ---- */

static bool is_system(const struct translator *to, int message) {
    int role = json_get(to->reader, message, "role");
    return translate_is(to, role, "system") || translate_is(to, role, "developer");
}

static void put_system(struct translator *to, int messages) {
    size_t without = to->out->size;
    unsigned number = 0;
    translate_key(to, "system");
    buf_append_char(to->out, '[');
    size_t begin = to->out->size;
    for (int message = json_first(to->reader, messages); message >= 0;
         message = json_next(to->reader, message)) {
        if (is_system(to, message)) {
            put_content(to, json_get(to->reader, message, "content"), number);
        }
        number++;
    }
    if (to->out->size == begin) {
        to->out->size = without; /* nothing is said */
    } else {
        buf_append_char(to->out, ']');
    }
}

static bool is_object_text(struct bytes text) {
    struct json_fault fault;
    return json_validate(text, &fault) == 0 && bytes_trim(text).size > 0 &&
           text.data[strspn(text.data, " \t\r\n")] == '{';
}

static const struct translate_row call_rows[] = {
    {"id", RULE_OWN, NULL},
    {"type", RULE_OWN, NULL},
    {"function", RULE_OWN, NULL},
    {"index", RULE_DROP, NULL}, /* left over from a stream */
};
static const struct translate_row called_rows[] = {
    {"name", RULE_OWN, NULL},
    {"arguments", RULE_OWN, NULL},
};

static void put_call(struct translator *to, int call, unsigned message, unsigned number) {
    int function = json_get(to->reader, call, "function");
    char path[64], inside[80];
    struct bytes arguments = translate_text(to, json_get(to->reader, function, "arguments"));
    bool is_empty = bytes_trim(arguments).size == 0;
    if (function < 0 || translate_get(to, call, "id") < 0 ||
        translate_get(to, function, "name") < 0) {
        translate_refuse(to, "messages[%u].tool_calls[%u]", message, number);
        return;
    }
    if (!is_empty && !is_object_text(arguments)) {
        translate_refuse(to, "messages[%u].tool_calls[%u].function.arguments", message, number);
        return;
    }
    snprintf(path, sizeof(path), "messages[%u].tool_calls[%u].", message, number);
    snprintf(inside, sizeof(inside), "%sfunction.", path);
    TRANSLATE_MEMBERS(to, call, call_rows, path);
    TRANSLATE_MEMBERS(to, function, called_rows, inside);
    translate_comma(to);
    buf_append_str(to->out, "{\"type\":\"tool_use\"");
    translate_put(to, "id", json_get(to->reader, call, "id"));
    translate_put(to, "name", json_get(to->reader, function, "name"));
    translate_key(to, "input");
    buf_append_bytes(to->out, is_empty ? BYTES_LITERAL("{}") : arguments);
    buf_append_char(to->out, '}');
}

static void put_assistant(struct translator *to, int message, unsigned number) {
    int calls = json_get(to->reader, message, "tool_calls");
    int refusal = translate_get(to, message, "refusal");
    unsigned call_number = 0;
    put_content(to, json_get(to->reader, message, "content"), number);
    if (refusal >= 0) {
        put_text(to, refusal, -1);
    }
    for (int call = json_first(to->reader, calls); call >= 0; call = json_next(to->reader, call)) {
        put_call(to, call, number, call_number++);
    }
}

static void put_result(struct translator *to, int message, unsigned number) {
    int id = translate_get(to, message, "tool_call_id");
    if (id < 0) {
        translate_refuse(to, "messages[%u].tool_call_id", number);
        return;
    }
    translate_comma(to);
    buf_append_str(to->out, "{\"type\":\"tool_result\"");
    translate_put(to, "tool_use_id", id);
    size_t without = to->out->size;
    translate_key(to, "content");
    buf_append_char(to->out, '[');
    size_t begin = to->out->size;
    put_content(to, json_get(to->reader, message, "content"), number);
    if (to->out->size == begin) { /* a tool may have nothing to say */
        to->out->size = without;
        buf_append_char(to->out, '}');
    } else {
        buf_append_str(to->out, "]}");
    }
}

static const struct translate_row message_rows[] = {
    {"role", RULE_OWN, NULL},
    {"content", RULE_OWN, NULL},
    {"tool_calls", RULE_OWN, NULL},
    {"tool_call_id", RULE_OWN, NULL},
    {"refusal", RULE_OWN, NULL},
    {"reasoning_content", RULE_DROP, NULL},
    {"reasoning", RULE_DROP, NULL},
    {"annotations", RULE_DROP, NULL},
    {"reasoning_details", RULE_DROP, NULL},
};

/* Members that only one side has. */
static void check_side(struct translator *to, int message, unsigned number) {
    static const struct {
        const char *name, *role;
    } rows[] = {{"tool_calls", "assistant"}, {"refusal", "assistant"}, {"tool_call_id", "tool"}};
    int role = json_get(to->reader, message, "role");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!translate_is(to, role, rows[i].role) &&
            translate_get(to, message, rows[i].name) >= 0) {
            translate_refuse(to, "messages[%u].%s", number, rows[i].name);
        }
    }
}

static void check_message(struct translator *to, int message, unsigned number) {
    char path[32];
    snprintf(path, sizeof(path), "messages[%u].", number);
    TRANSLATE_MEMBERS(to, message, message_rows, path);
    check_side(to, message, number);
}

/* Which side's turn a message is part of; NULL: nobody's. */
static const char *side_of(const struct translator *to, int message) {
    int role = json_get(to->reader, message, "role");
    if (translate_is(to, role, "user") || translate_is(to, role, "tool")) {
        return "user";
    }
    return translate_is(to, role, "assistant") ? "assistant" : NULL;
}

/* The turn that is being written. */
struct turn {
    const char *side;   /* NULL: there is none */
    size_t at, content; /* in out: where it begins, and its content; 0: there is some */
    const char *before; /* whose turn comes before it */
};

/* Who said nothing had no turn: the one before it goes on. */
static void drop_empty_turn(struct translator *to, struct turn *turn) {
    if (turn->side != NULL && to->out->size == turn->content && !to->out->failed) {
        to->out->size = turn->at;
        *turn = (struct turn){.side = turn->before};
    }
}

static void take_turn(struct translator *to, struct turn *turn, const char *side) {
    if (turn->side != side) {
        drop_empty_turn(to, turn);
    }
    if (turn->side != side) {
        struct turn next = {.side = side, .at = to->out->size, .before = turn->side};
        buf_append_str(to->out, turn->side != NULL ? "]},{\"role\":\"" : "{\"role\":\"");
        buf_append_str(to->out, side);
        buf_append_str(to->out, "\",\"content\":[");
        next.content = to->out->size;
        *turn = next;
    }
}

/* Takes the blanks off the end of a text that ends the conversation. */
static void trim_last_text(struct buf *out) {
    size_t end = out->size - 2;
    if (memcmp(out->data + end, "\"}", 2) != 0) {
        return; /* a call, or an image */
    }
    for (;;) {
        size_t slashes = 0;
        while (out->data[end - 2 - slashes] == '\\') {
            slashes++;
        }
        if (out->data[end - 1] == ' ') {
            end--;
        } else if (slashes % 2 == 1 && memchr("nrt", out->data[end - 1], 3) != NULL) {
            end -= 2;
        } else {
            break;
        }
    }
    out->size = end;
    buf_append_str(out, "\"}");
}

static void end_turns(struct translator *to, struct turn *turn) {
    drop_empty_turn(to, turn);
    if (turn->side == NULL) {
        translate_refuse(to, "messages"); /* nobody has said anything */
        return;
    }
    if (strcmp(turn->side, "assistant") == 0 && !to->out->failed) {
        trim_last_text(to->out);
    }
    buf_append_str(to->out, "]}]");
}

static void put_messages(struct translator *to, int messages) {
    struct turn turn = {.side = NULL};
    unsigned number = 0;
    translate_key(to, "messages");
    buf_append_char(to->out, '[');
    for (int message = json_first(to->reader, messages); message >= 0;
         message = json_next(to->reader, message), number++) {
        const char *now = side_of(to, message);
        check_message(to, message, number);
        if (is_system(to, message)) {
            continue;
        }
        if (now == NULL) {
            translate_refuse(to, "messages[%u].role", number);
            return;
        }
        take_turn(to, &turn, now);
        if (translate_is(to, json_get(to->reader, message, "role"), "tool")) {
            put_result(to, message, number);
        } else if (strcmp(now, "assistant") == 0) {
            put_assistant(to, message, number);
        } else {
            put_content(to, json_get(to->reader, message, "content"), number);
        }
    }
    end_turns(to, &turn);
}

/* One prompt is a conversation of one turn. */
static void put_prompt(struct translator *to, int prompt) {
    if (json_type(to->reader, prompt) == JSON_ARRAY && json_count(to->reader, prompt) == 1) {
        prompt = json_first(to->reader, prompt);
    }
    if (json_type(to->reader, prompt) != JSON_STRING) {
        translate_refuse(to, "prompt");
        return;
    }
    translate_key(to, "messages");
    buf_append_str(to->out, "[{\"role\":\"user\"");
    translate_put(to, "content", prompt);
    buf_append_str(to->out, "}]");
}

void translate_put_turns(struct translator *to) {
    if (to->attempt->chat->form == FORM_COMPLETIONS) {
        put_prompt(to, json_get(to->reader, 0, "prompt"));
    } else {
        int messages = json_get(to->reader, 0, "messages");
        put_system(to, messages);
        put_messages(to, messages);
    }
}
