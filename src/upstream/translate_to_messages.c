/* A chat request, or one to complete a prompt, said in the Anthropic API: all but the conversation
 * itself, which is in translate_turns.c. Pure; runs in workers.
 *
 * Facts from both API references: temperatures end at 1; a limit of tokens is required; a schema
 * for the answer and the effort of thinking have one place.
 */
#include "translate.h"

#include <stdio.h>
#include <string.h>

#include "base/json_write.h"

#define MAX_TOKENS_DEFAULT 4096 /* the client set no limit, and the API must have one */

static const struct translate_row request_rows[] = {
    {"model", RULE_OWN, NULL},
    {"messages", RULE_OWN, NULL},
    {"prompt", RULE_OWN, NULL},
    {"max_tokens", RULE_OWN, NULL},
    {"max_completion_tokens", RULE_OWN, NULL},
    {"temperature", RULE_OWN, NULL},
    {"tools", RULE_OWN, NULL},
    {"tool_choice", RULE_OWN, NULL},
    {"parallel_tool_calls", RULE_OWN, NULL},
    {"stop", RULE_OWN, NULL},
    {"user", RULE_OWN, NULL},
    {"response_format", RULE_OWN, NULL},
    {"reasoning_effort", RULE_OWN, NULL},
    {"stream", RULE_OWN, NULL},
    {"stream_options", RULE_OWN, NULL},
    {"service_tier", RULE_OWN, NULL},
    {"modalities", RULE_OWN, NULL},
    {"top_p", RULE_COPY, NULL},
    {"top_k", RULE_COPY, NULL},
    {"metadata", RULE_DROP, NULL},
    {"prompt_cache_key", RULE_DROP, NULL},
    {"prompt_cache_retention", RULE_DROP, NULL},
    {"safety_identifier", RULE_DROP, NULL},
    {"n", RULE_ONE, NULL},
    {"best_of", RULE_ONE, NULL},
    {"store", RULE_FALSE, NULL},
    {"echo", RULE_FALSE, NULL},
    {"logprobs", RULE_FALSE, NULL},
    {"top_logprobs", RULE_FALSE, NULL},
    {"logit_bias", RULE_FALSE, NULL},
    {"presence_penalty", RULE_FALSE, NULL},
    {"frequency_penalty", RULE_FALSE, NULL},
};

static const struct translate_row tool_rows[] = {
    {"type", RULE_OWN, NULL},
    {"function", RULE_OWN, NULL},
    {"cache_control", RULE_COPY, NULL}, /* Anthropic's own, said through an OpenAI client */
};
static const struct translate_row function_rows[] = {
    {"name", RULE_COPY, NULL},
    {"description", RULE_COPY, NULL},
    {"strict", RULE_COPY, NULL},
    {"parameters", RULE_OWN, NULL},
};

static void put_tool(struct translator *to, int tool, int function, unsigned number) {
    int parameters = translate_get(to, function, "parameters");
    char path[48];
    translate_comma(to);
    buf_append_char(to->out, '{');
    snprintf(path, sizeof(path), "tools[%u].function.", number);
    TRANSLATE_MEMBERS(to, function, function_rows, path);
    snprintf(path, sizeof(path), "tools[%u].", number);
    TRANSLATE_MEMBERS(to, tool, tool_rows, path);
    translate_key(to, "input_schema");
    buf_append_bytes(to->out, json_count(to->reader, parameters) > 0
                                  ? json_whole(to->reader, parameters)
                                  : BYTES_LITERAL("{\"type\":\"object\",\"properties\":{}}"));
    buf_append_char(to->out, '}');
}

static void put_tools(struct translator *to, int tools) {
    unsigned number = 0;
    translate_key(to, "tools");
    buf_append_char(to->out, '[');
    for (int tool = json_first(to->reader, tools); tool >= 0;
         tool = json_next(to->reader, tool), number++) {
        int function = json_get(to->reader, tool, "function");
        if (!translate_is_type(to->reader, tool, "function") ||
            translate_get(to, function, "name") < 0) {
            translate_refuse(to, "tools[%u]", number);
            return;
        }
        put_tool(to, tool, function, number);
    }
    buf_append_char(to->out, ']');
}

static void put_tool_choice(struct translator *to, int choice, bool one_at_a_time) {
    static const struct {
        const char *word, *type;
    } rows[] = {{"auto", "auto"}, {"none", "none"}, {"required", "any"}};
    const char *type = choice < 0 ? "auto" : NULL;
    int function = json_get(to->reader, choice, "function");
    int name = translate_get(to, function, "name");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (translate_is(to, choice, rows[i].word)) {
            type = rows[i].type;
        }
    }
    if (type == NULL && translate_is_type(to->reader, choice, "function") && name >= 0) {
        type = "tool";
    }
    if (type == NULL) {
        translate_refuse(to, "tool_choice");
        return;
    }
    translate_key(to, "tool_choice");
    buf_append_str(to->out, "{\"type\":\"");
    buf_append_str(to->out, type);
    buf_append_char(to->out, '"');
    if (strcmp(type, "tool") == 0) {
        translate_put(to, "name", name);
    }
    if (one_at_a_time && strcmp(type, "none") != 0) {
        buf_append_str(to->out, ",\"disable_parallel_tool_use\":true");
    }
    buf_append_char(to->out, '}');
}

static void put_all_tools(struct translator *to) {
    int tools = translate_get(to, 0, "tools");
    int choice = translate_get(to, 0, "tool_choice");
    int parallel = json_get(to->reader, 0, "parallel_tool_calls");
    bool one_at_a_time = json_type(to->reader, parallel) == JSON_FALSE;
    if (json_count(to->reader, tools) == 0) {
        if (choice >= 0 && !translate_is(to, choice, "none") && !translate_is(to, choice, "auto")) {
            translate_refuse(to, "tool_choice"); /* there is nothing to choose from */
        }
        return;
    }
    put_tools(to, tools);
    if (choice >= 0 || one_at_a_time) {
        put_tool_choice(to, choice, one_at_a_time);
    }
}

static const struct translate_row format_rows[] = {
    {"type", RULE_OWN, NULL},
    {"json_schema", RULE_OWN, NULL},
};
static const struct translate_row schema_rows[] = {
    {"schema", RULE_OWN, NULL},
    {"description", RULE_OWN, NULL},
    {"name", RULE_DROP, NULL},
    {"strict", RULE_DROP, NULL}, /* it always is there */
};

/* What the schema is for stands inside it, unless it says so itself. */
static void put_schema(struct translator *to, int json_schema, int schema) {
    int description = translate_get(to, json_schema, "description");
    bool is_added = description >= 0 && json_type(to->reader, schema) == JSON_OBJECT &&
                    json_get(to->reader, schema, "description") < 0;
    TRANSLATE_MEMBERS(to, json_schema, schema_rows, "response_format.json_schema.");
    translate_key(to, "schema");
    if (is_added) {
        struct bytes raw = json_whole(to->reader, schema);
        buf_append_char(to->out, '{');
        translate_put(to, "description", description);
        buf_append_str(to->out, json_count(to->reader, schema) > 0 ? "," : "");
        buf_append(to->out, raw.data + 1, raw.size - 1);
    } else {
        buf_append_bytes(to->out, json_whole(to->reader, schema));
    }
}

/* response_format and reasoning_effort have one place there. */
static void put_output(struct translator *to) {
    int format = translate_get(to, 0, "response_format");
    int effort = translate_get(to, 0, "reasoning_effort");
    int type = json_get(to->reader, format, "type");
    int json_schema = json_get(to->reader, format, "json_schema");
    int schema = json_get(to->reader, json_schema, "schema");
    bool has_schema = translate_is(to, type, "json_schema") && schema >= 0;
    if (format >= 0 && !has_schema && !translate_is(to, type, "text")) {
        translate_refuse(to, "response_format");
    }
    if (effort >= 0 && !translate_is_effort(to, effort)) {
        translate_refuse(to, "reasoning_effort");
    }
    TRANSLATE_MEMBERS(to, format, format_rows, "response_format.");
    if (!has_schema && effort < 0) {
        return;
    }
    translate_key(to, "output_config");
    buf_append_char(to->out, '{');
    if (effort >= 0) {
        translate_put(to, "effort", effort);
    }
    if (has_schema) {
        translate_key(to, "format");
        buf_append_str(to->out, "{\"type\":\"json_schema\"");
        put_schema(to, json_schema, schema);
        buf_append_char(to->out, '}');
    }
    buf_append_char(to->out, '}');
}

static void put_stop(struct translator *to, int stop) {
    if (json_type(to->reader, stop) == JSON_STRING) {
        translate_key(to, "stop_sequences");
        buf_append_char(to->out, '[');
        buf_append_bytes(to->out, json_whole(to->reader, stop));
        buf_append_char(to->out, ']');
    } else if (stop >= 0) {
        translate_put(to, "stop_sequences", stop);
    }
}

static void put_sampling(struct translator *to) {
    int temperature = translate_get(to, 0, "temperature");
    double value;
    if (temperature >= 0) {
        if (!json_double(to->reader, temperature, &value) || value > 1) {
            translate_refuse(to, "temperature");
        }
        translate_put(to, "temperature", temperature);
    }
    put_stop(to, translate_get(to, 0, "stop"));
}

static void check_words(struct translator *to) {
    int tier = translate_get(to, 0, "service_tier");
    int modalities = translate_get(to, 0, "modalities");
    const char *not_asked = to->attempt->chat->form == FORM_CHAT ? "prompt" : "messages";
    if (translate_get(to, 0, not_asked) >= 0) {
        translate_refuse(to, "%s", not_asked);
    }
    if (json_type(to->reader, translate_get(to, 0, "logprobs")) == JSON_NUMBER) {
        translate_refuse(to, "logprobs"); /* of a completion: 0 asks for them too */
    }
    if (tier >= 0 && !translate_is(to, tier, "auto") && !translate_is(to, tier, "default")) {
        translate_refuse(to, "service_tier");
    }
    if (modalities >= 0 && !(json_count(to->reader, modalities) == 1 &&
                             translate_is(to, json_first(to->reader, modalities), "text"))) {
        translate_refuse(to, "modalities");
    }
}

void translate_chat_to_messages(struct translator *to) {
    const struct chat *chat = to->attempt->chat;
    int user = translate_get(to, 0, "user");
    buf_append_str(to->out, "{\"model\":");
    json_quote(to->out, bytes_from_str(to->attempt->model->name));
    translate_key(to, "max_tokens");
    buf_append_i64(to->out, chat->max_tokens > 0 ? chat->max_tokens : MAX_TOKENS_DEFAULT);
    if (chat->wants_stream) {
        buf_append_str(to->out, ",\"stream\":true");
    }
    if (user >= 0) {
        translate_key(to, "metadata");
        buf_append_char(to->out, '{');
        translate_put(to, "user_id", user);
        buf_append_char(to->out, '}');
    }
    TRANSLATE_MEMBERS(to, 0, request_rows, "");
    check_words(to);
    put_sampling(to);
    put_output(to);
    put_all_tools(to);
    translate_put_turns(to);
    buf_append_char(to->out, '}');
}
