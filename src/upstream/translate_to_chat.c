/* A request of the Anthropic API said as a chat. Pure; runs in workers.
 *
 * Facts from both API references: results of tools are messages of their own; a system prompt is
 * the first message; a call's input is an object here and a text there. Its one surprise: thoughts
 * of earlier turns stay out, as Anthropic's own API leaves them out of the model's sight. A last
 * turn of the assistant is refused: there the answer goes on from it, here it would begin anew.
 */
#include "translate.h"

#include <stdio.h>

#include "base/json_write.h"

static const struct translate_row request_rows[] = {
    {"model", RULE_OWN, NULL},          {"messages", RULE_OWN, NULL},
    {"system", RULE_OWN, NULL},         {"max_tokens", RULE_OWN, NULL},
    {"tools", RULE_OWN, NULL},          {"tool_choice", RULE_OWN, NULL},
    {"metadata", RULE_OWN, NULL},       {"stream", RULE_OWN, NULL},
    {"thinking", RULE_OWN, NULL},       {"output_config", RULE_OWN, NULL},
    {"service_tier", RULE_DROP, NULL}, /* auto or standard_only: what capacity is paid for */
    {"cache_control", RULE_DROP, NULL}, {"stop_sequences", RULE_OWN, NULL},
    {"temperature", RULE_COPY, NULL},   {"top_p", RULE_COPY, NULL},
};

/* ---- content ---- */

/* Members of blocks, by their type. */
static const struct translate_row text_rows[] = {
    {"type", RULE_OWN, NULL},
    {"text", RULE_OWN, NULL},
    {"cache_control", RULE_DROP, NULL},
    {"citations", RULE_FALSE, NULL},
};
static const struct translate_row image_rows[] = {
    {"type", RULE_OWN, NULL},
    {"source", RULE_OWN, NULL},
    {"cache_control", RULE_DROP, NULL},
};
static const struct translate_row document_rows[] = {
    {"type", RULE_OWN, NULL},    {"source", RULE_OWN, NULL},    {"title", RULE_OWN, NULL},
    {"context", RULE_OWN, NULL}, {"citations", RULE_OWN, NULL}, {"cache_control", RULE_DROP, NULL},
};
static const struct translate_row result_rows[] = {
    {"type", RULE_OWN, NULL},     {"tool_use_id", RULE_OWN, NULL},    {"content", RULE_OWN, NULL},
    {"is_error", RULE_OWN, NULL}, {"cache_control", RULE_DROP, NULL},
};
static const struct translate_row call_rows[] = {
    {"type", RULE_OWN, NULL},           {"id", RULE_OWN, NULL},      {"name", RULE_OWN, NULL},
    {"input", RULE_OWN, NULL},          {"caller", RULE_DROP, NULL}, /* the model; others come with
                                                                        tools that are refused */
    {"cache_control", RULE_DROP, NULL},
};

/* The texts of blocks, as the inside of one JSON string, a line break between two. */
static void put_joined(struct translator *to, int blocks, const char *place) {
    unsigned number = 0;
    char path[96];
    if (json_type(to->reader, blocks) == JSON_STRING) {
        buf_append_bytes(to->out, json_raw(to->reader, blocks));
        return;
    }
    for (int block = json_first(to->reader, blocks); block >= 0;
         block = json_next(to->reader, block)) {
        int text = json_get(to->reader, block, "text");
        if (!translate_is_type(to->reader, block, "text") ||
            json_type(to->reader, text) != JSON_STRING) {
            translate_refuse(to, "%s", place);
            return;
        }
        snprintf(path, sizeof(path), "%s[%u].", place, number);
        TRANSLATE_MEMBERS(to, block, text_rows, path);
        buf_append_str(to->out, number++ == 0 ? "" : "\\n");
        buf_append_bytes(to->out, json_raw(to->reader, text));
    }
}

/* A data URL as a JSON string. */
static void put_data_url(struct translator *to, int source) {
    buf_append_str(to->out, "\"data:");
    buf_append_bytes(to->out, json_raw(to->reader, json_get(to->reader, source, "media_type")));
    buf_append_str(to->out, ";base64,");
    translate_paste(to, json_raw(to->reader, json_get(to->reader, source, "data")));
    buf_append_char(to->out, '"');
}

static bool put_image(struct translator *to, int source) {
    bool is_data = translate_is_type(to->reader, source, "base64");
    if (!is_data && !translate_is_type(to->reader, source, "url")) {
        return false;
    }
    translate_comma(to);
    buf_append_str(to->out, "{\"type\":\"image_url\",\"image_url\":{\"url\":");
    if (is_data) {
        put_data_url(to, source);
    } else {
        buf_append_bytes(to->out, json_whole(to->reader, json_get(to->reader, source, "url")));
    }
    buf_append_str(to->out, "}}");
    return true;
}

static void put_text(struct translator *to, int text) {
    translate_comma(to);
    buf_append_str(to->out, "{\"type\":\"text\"");
    translate_put(to, "text", text);
    buf_append_char(to->out, '}');
}

/* What is said about a document, and has no place in a file, stands before it as text. */
static bool put_document(struct translator *to, int block, int source) {
    int title = translate_get(to, block, "title");
    int context = translate_get(to, block, "context");
    bool is_text = translate_is_type(to->reader, source, "text");
    bool is_cited =
        json_type(to->reader, json_get(to->reader, json_get(to->reader, block, "citations"),
                                       "enabled")) == JSON_TRUE;
    if (is_cited || (!is_text && !translate_is_type(to->reader, source, "base64"))) {
        return false;
    }
    if (is_text && title >= 0) {
        put_text(to, title);
    }
    if (context >= 0) {
        put_text(to, context);
    }
    if (is_text) {
        put_text(to, json_get(to->reader, source, "data"));
        return true;
    }
    translate_comma(to);
    buf_append_str(to->out, "{\"type\":\"file\",\"file\":{\"filename\":");
    buf_append_bytes(to->out, title >= 0 ? json_whole(to->reader, title)
                                         : BYTES_LITERAL("\"document.pdf\""));
    buf_append_str(to->out, ",\"file_data\":");
    put_data_url(to, source);
    buf_append_str(to->out, "}}");
    return true;
}

/* A block of the user's turn that is no tool's result, as a part. */
static void put_part(struct translator *to, int block, unsigned message, unsigned number) {
    int source = json_get(to->reader, block, "source");
    bool said = false;
    char path[64];
    snprintf(path, sizeof(path), "messages[%u].content[%u].", message, number);
    if (translate_is_type(to->reader, block, "text")) {
        TRANSLATE_MEMBERS(to, block, text_rows, path);
        put_text(to, json_get(to->reader, block, "text"));
        said = true;
    } else if (translate_is_type(to->reader, block, "image")) {
        TRANSLATE_MEMBERS(to, block, image_rows, path);
        said = put_image(to, source);
    } else if (translate_is_type(to->reader, block, "document")) {
        TRANSLATE_MEMBERS(to, block, document_rows, path);
        said = put_document(to, block, source);
    }
    if (!said) {
        translate_refuse(to, "messages[%u].content[%u]", message, number);
    }
}

/* ---- messages ---- */

static void put_result(struct translator *to, int block, unsigned message, unsigned number) {
    char place[64];
    snprintf(place, sizeof(place), "messages[%u].content[%u].", message, number);
    TRANSLATE_MEMBERS(to, block, result_rows, place);
    snprintf(place, sizeof(place), "messages[%u].content[%u].content", message, number);
    bool is_error = json_type(to->reader, json_get(to->reader, block, "is_error")) == JSON_TRUE;
    translate_comma(to);
    buf_append_str(to->out, "{\"role\":\"tool\"");
    translate_put(to, "tool_call_id", json_get(to->reader, block, "tool_use_id"));
    translate_key(to, "content");
    buf_append_str(to->out, is_error ? "\"Error: " : "\"");
    put_joined(to, json_get(to->reader, block, "content"), place);
    buf_append_str(to->out, "\"}");
}

/* Results of tools are messages of their own and come first, right behind the calls. */
static void put_user(struct translator *to, int message, unsigned number) {
    int content = json_get(to->reader, message, "content");
    unsigned block_number = 0, others = 0, only_number = 0;
    int only = -1;
    char path[64];
    if (json_type(to->reader, content) == JSON_STRING) {
        translate_comma(to);
        buf_append_str(to->out, "{\"role\":\"user\"");
        translate_put(to, "content", content);
        buf_append_char(to->out, '}');
        return;
    }
    for (int block = json_first(to->reader, content); block >= 0;
         block = json_next(to->reader, block), block_number++) {
        if (translate_is_type(to->reader, block, "tool_result")) {
            put_result(to, block, number, block_number);
        } else {
            others++;
            only = block;
            only_number = block_number;
        }
    }
    if (others == 0) {
        return;
    }
    translate_comma(to);
    buf_append_str(to->out, "{\"role\":\"user\"");
    if (others == 1 && translate_is_type(to->reader, only, "text")) {
        /* every server takes a string */
        snprintf(path, sizeof(path), "messages[%u].content[%u].", number, only_number);
        TRANSLATE_MEMBERS(to, only, text_rows, path);
        translate_put(to, "content", json_get(to->reader, only, "text"));
        buf_append_char(to->out, '}');
        return;
    }
    translate_key(to, "content");
    buf_append_char(to->out, '[');
    block_number = 0;
    for (int block = json_first(to->reader, content); block >= 0;
         block = json_next(to->reader, block), block_number++) {
        if (!translate_is_type(to->reader, block, "tool_result")) {
            put_part(to, block, number, block_number);
        }
    }
    buf_append_str(to->out, "]}");
}

static void put_call(struct translator *to, int block, unsigned message, unsigned number) {
    char path[64];
    snprintf(path, sizeof(path), "messages[%u].content[%u].", message, number);
    TRANSLATE_MEMBERS(to, block, call_rows, path);
    translate_comma(to);
    buf_append_char(to->out, '{');
    translate_put(to, "id", json_get(to->reader, block, "id"));
    buf_append_str(to->out, ",\"type\":\"function\",\"function\":{");
    translate_put(to, "name", json_get(to->reader, block, "name"));
    translate_key(to, "arguments");
    json_quote(to->out, json_whole(to->reader, json_get(to->reader, block, "input")));
    buf_append_str(to->out, "}}");
}

static void put_calls(struct translator *to, int content, unsigned message) {
    unsigned number = 0;
    translate_key(to, "tool_calls");
    buf_append_char(to->out, '[');
    for (int block = json_first(to->reader, content); block >= 0;
         block = json_next(to->reader, block), number++) {
        if (translate_is_type(to->reader, block, "tool_use")) {
            put_call(to, block, message, number);
        }
    }
    buf_append_char(to->out, ']');
}

/* The texts of the turn as one, then its calls. */
static void put_assistant(struct translator *to, int message, unsigned number) {
    int content = json_get(to->reader, message, "content");
    unsigned block_number = 0, calls = 0, texts = 0;
    char path[64];
    translate_comma(to);
    buf_append_str(to->out, "{\"role\":\"assistant\",\"content\":\"");
    if (json_type(to->reader, content) == JSON_STRING) {
        buf_append_bytes(to->out, json_raw(to->reader, content));
    }
    for (int block = json_first(to->reader, content); block >= 0;
         block = json_next(to->reader, block), block_number++) {
        if (translate_is_type(to->reader, block, "text")) {
            snprintf(path, sizeof(path), "messages[%u].content[%u].", number, block_number);
            TRANSLATE_MEMBERS(to, block, text_rows, path);
            buf_append_str(to->out, texts++ > 0 ? "\\n" : "");
            buf_append_bytes(to->out, json_raw(to->reader, json_get(to->reader, block, "text")));
        } else if (translate_is_type(to->reader, block, "tool_use")) {
            calls++;
        } else if (!translate_is_type(to->reader, block, "thinking") &&
                   !translate_is_type(to->reader, block, "redacted_thinking")) {
            translate_refuse(to, "messages[%u].content[%u]", number, block_number);
        }
    }
    buf_append_char(to->out, '"');
    if (calls > 0) {
        put_calls(to, content, number);
    }
    buf_append_char(to->out, '}');
}

static const struct translate_row message_rows[] = {
    {"role", RULE_OWN, NULL},
    {"content", RULE_OWN, NULL},
};

static void put_message(struct translator *to, int message, unsigned number) {
    int role = json_get(to->reader, message, "role");
    enum json_type content = json_type(to->reader, json_get(to->reader, message, "content"));
    bool is_last = json_next(to->reader, message) < 0;
    char path[32];
    snprintf(path, sizeof(path), "messages[%u].", number);
    TRANSLATE_MEMBERS(to, message, message_rows, path);
    if (content != JSON_STRING && content != JSON_ARRAY) {
        translate_refuse(to, "messages[%u].content", number);
    } else if (translate_is(to, role, "user")) {
        put_user(to, message, number);
    } else if (translate_is(to, role, "assistant") && !is_last) {
        put_assistant(to, message, number);
    } else {
        translate_refuse(to, "messages[%u].role", number);
    }
}

static void put_messages(struct translator *to) {
    int system = translate_get(to, 0, "system");
    int messages = json_get(to->reader, 0, "messages");
    unsigned number = 0;
    translate_key(to, "messages");
    buf_append_char(to->out, '[');
    if (json_type(to->reader, system) == JSON_STRING ? json_raw(to->reader, system).size > 0
                                                     : json_count(to->reader, system) > 0) {
        buf_append_str(to->out, "{\"role\":\"system\",\"content\":\"");
        put_joined(to, system, "system");
        buf_append_str(to->out, "\"}");
    }
    for (int message = json_first(to->reader, messages); message >= 0;
         message = json_next(to->reader, message), number++) {
        put_message(to, message, number);
    }
    buf_append_char(to->out, ']');
}

/* ---- the rest ---- */

static const struct translate_row tool_rows[] = {
    {"name", RULE_COPY, NULL},
    {"description", RULE_COPY, NULL},
    {"strict", RULE_COPY, NULL},
    {"input_schema", RULE_COPY, "parameters"},
    {"type", RULE_OWN, NULL},
    {"cache_control", RULE_DROP, NULL},
    {"eager_input_streaming", RULE_DROP, NULL}, /* how the input comes, not what it is */
    {"defer_loading", RULE_FALSE, NULL},
};

static void put_tools(struct translator *to, int tools) {
    unsigned number = 0;
    char path[32];
    translate_key(to, "tools");
    buf_append_char(to->out, '[');
    for (int tool = json_first(to->reader, tools); tool >= 0;
         tool = json_next(to->reader, tool), number++) {
        int type = translate_get(to, tool, "type");
        if (type >= 0 && !translate_is(to, type, "custom")) {
            translate_refuse(to, "tools[%u]", number); /* one that Anthropic runs itself */
            return;
        }
        snprintf(path, sizeof(path), "tools[%u].", number);
        translate_comma(to);
        buf_append_str(to->out, "{\"type\":\"function\",\"function\":{");
        TRANSLATE_MEMBERS(to, tool, tool_rows, path);
        buf_append_str(to->out, "}}");
    }
    buf_append_char(to->out, ']');
}

static const struct translate_row choice_rows[] = {
    {"type", RULE_OWN, NULL},
    {"name", RULE_OWN, NULL},
    {"disable_parallel_tool_use", RULE_OWN, NULL},
};

static void put_tool_choice(struct translator *to, int choice) {
    static const struct {
        const char *type, *word;
    } rows[] = {{"auto", "\"auto\""}, {"none", "\"none\""}, {"any", "\"required\""}};
    int serial = json_get(to->reader, choice, "disable_parallel_tool_use");
    bool is_known = translate_is_type(to->reader, choice, "tool");
    TRANSLATE_MEMBERS(to, choice, choice_rows, "tool_choice.");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (translate_is_type(to->reader, choice, rows[i].type)) {
            translate_key(to, "tool_choice");
            buf_append_str(to->out, rows[i].word);
            is_known = true;
        }
    }
    if (!is_known) {
        translate_refuse(to, "tool_choice");
    }
    if (translate_is_type(to->reader, choice, "tool")) {
        translate_key(to, "tool_choice");
        buf_append_str(to->out, "{\"type\":\"function\",\"function\":{");
        translate_put(to, "name", json_get(to->reader, choice, "name"));
        buf_append_str(to->out, "}}");
    }
    if (json_type(to->reader, serial) == JSON_TRUE) {
        buf_append_str(to->out, ",\"parallel_tool_calls\":false");
    }
}

static void put_all_tools(struct translator *to) {
    int tools = translate_get(to, 0, "tools");
    int choice = translate_get(to, 0, "tool_choice");
    if (json_count(to->reader, tools) > 0) {
        put_tools(to, tools);
        if (choice >= 0) {
            put_tool_choice(to, choice);
        }
    } else if (choice >= 0 && !translate_is_type(to->reader, choice, "auto") &&
               !translate_is_type(to->reader, choice, "none")) {
        translate_refuse(to, "tool_choice"); /* there is nothing to choose from */
    }
}

static const struct translate_row thinking_rows[] = {
    {"type", RULE_OWN, NULL},
    {"budget_tokens", RULE_OWN, NULL},
    {"display", RULE_DROP, NULL}, /* what is shown of it: here nothing, or all */
};

static void check_thinking(struct translator *to, int thinking) {
    TRANSLATE_MEMBERS(to, thinking, thinking_rows, "thinking.");
    if (thinking >= 0 && !translate_is_type(to->reader, thinking, "enabled") &&
        !translate_is_type(to->reader, thinking, "adaptive") &&
        !translate_is_type(to->reader, thinking, "disabled")) {
        translate_refuse(to, "thinking.type");
    }
}

/* How much it should think: by word, or by a budget of tokens. */
static void put_effort(struct translator *to, int thinking, int effort) {
    int64_t budget = 0;
    check_thinking(to, thinking);
    if (effort >= 0) {
        if (!translate_is_effort(to, effort)) {
            translate_refuse(to, "output_config.effort");
        }
        translate_put(to, "reasoning_effort", effort);
    } else if (translate_is_type(to->reader, thinking, "enabled") &&
               json_int64(to->reader, json_get(to->reader, thinking, "budget_tokens"), &budget)) {
        translate_key(to, "reasoning_effort");
        buf_append_str(to->out, budget <= 2048    ? "\"low\""
                                : budget <= 16384 ? "\"medium\""
                                                  : "\"high\"");
    }
}

static const struct translate_row output_rows[] = {
    {"effort", RULE_OWN, NULL},
    {"format", RULE_OWN, NULL},
};
static const struct translate_row format_rows[] = {
    {"type", RULE_OWN, NULL},
    {"schema", RULE_OWN, NULL},
};

static void put_output(struct translator *to) {
    int config = translate_get(to, 0, "output_config");
    int format = translate_get(to, config, "format");
    int schema = json_get(to->reader, format, "schema");
    TRANSLATE_MEMBERS(to, config, output_rows, "output_config.");
    TRANSLATE_MEMBERS(to, format, format_rows, "output_config.format.");
    put_effort(to, translate_get(to, 0, "thinking"), translate_get(to, config, "effort"));
    if (format < 0) {
        return;
    }
    if (!translate_is_type(to->reader, format, "json_schema") || schema < 0) {
        translate_refuse(to, "output_config.format");
        return;
    }
    translate_key(to, "response_format");
    buf_append_str(to->out, "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\","
                            "\"strict\":true");
    translate_put(to, "schema", schema);
    buf_append_str(to->out, "}}");
}

void translate_messages_to_chat(struct translator *to) {
    const struct attempt *attempt = to->attempt;
    int stop = translate_get(to, 0, "stop_sequences");
    int user = translate_get(to, translate_get(to, 0, "metadata"), "user_id");
    buf_append_str(to->out, "{\"model\":");
    json_quote(to->out, bytes_from_str(attempt->model->name));
    translate_key(to, translate_is_openai_itself(attempt->provider) ? "max_completion_tokens"
                                                                    : "max_tokens");
    buf_append_i64(to->out, attempt->chat->max_tokens);
    if (attempt->chat->wants_stream) {
        buf_append_str(to->out, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    }
    if (user >= 0) {
        translate_put(to, "user", user);
    }
    TRANSLATE_MEMBERS(to, 0, request_rows, "");
    if (json_count(to->reader, stop) > 0) { /* OpenAI refuses an empty list */
        translate_put(to, "stop", stop);
    }
    put_output(to);
    put_all_tools(to);
    put_messages(to);
    buf_append_char(to->out, '}');
}
