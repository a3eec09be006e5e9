/* The OpenAI and Anthropic endpoints below /v1: what their requests say to the gateway. The request
 * itself goes on as the client wrote it. Runs in workers.
 *
 * Its one surprise: only what is used here is checked (types of known members, the shape of
 * messages). Everything else is the provider's to judge, which knows more of its models than we do.
 */
#include "api_private.h"

#include <stdio.h>

#define MODEL_MAX 320 /* bytes of a model's name: a provider's, a slash, a model's */

/* Members that are looked at, and what they must be (or null). */
enum member {
    MEMBER_MODEL,
    MEMBER_MESSAGES,
    MEMBER_PROMPT,
    MEMBER_INPUT,
    MEMBER_SYSTEM,
    MEMBER_INSTRUCTIONS,
    MEMBER_STREAM,
    MEMBER_STREAM_OPTIONS,
    MEMBER_MAX_TOKENS,
    MEMBER_MAX_COMPLETION_TOKENS,
    MEMBER_MAX_OUTPUT_TOKENS,
    MEMBER_TEMPERATURE,
    MEMBER_TOP_P,
    MEMBER_N,
    MEMBER_TOOLS,
    MEMBER_STORE,
    MEMBER_BACKGROUND,
    MEMBER_PREVIOUS,
    MEMBER_CONVERSATION,
    MEMBER_THREAD,
    MEMBER_COUNT
};

#define TYPE(json_type_) (1u << (json_type_))
#define TYPES_BOOL (TYPE(JSON_TRUE) | TYPE(JSON_FALSE))
#define TYPES_LIST (TYPE(JSON_ARRAY) | TYPE(JSON_NUMBERS))

static const struct member_row {
    const char *name;
    unsigned types;
    const char *expected;
} rows[MEMBER_COUNT] = {
    [MEMBER_MODEL] = {"model", TYPE(JSON_STRING), "a string"},
    [MEMBER_MESSAGES] = {"messages", TYPE(JSON_ARRAY), "an array"},
    [MEMBER_PROMPT] = {"prompt", TYPE(JSON_STRING) | TYPES_LIST, "a string or an array"},
    [MEMBER_INPUT] = {"input", TYPE(JSON_STRING) | TYPES_LIST, "a string or an array"},
    [MEMBER_SYSTEM] = {"system", TYPE(JSON_STRING) | TYPE(JSON_ARRAY), "a string or an array"},
    [MEMBER_INSTRUCTIONS] = {"instructions", TYPE(JSON_STRING) | TYPE(JSON_ARRAY), "a string"},
    [MEMBER_STREAM] = {"stream", TYPES_BOOL, "true or false"},
    [MEMBER_STREAM_OPTIONS] = {"stream_options", TYPE(JSON_OBJECT), "an object"},
    [MEMBER_MAX_TOKENS] = {"max_tokens", TYPE(JSON_NUMBER), "an integer"},
    [MEMBER_MAX_COMPLETION_TOKENS] = {"max_completion_tokens", TYPE(JSON_NUMBER), "an integer"},
    [MEMBER_MAX_OUTPUT_TOKENS] = {"max_output_tokens", TYPE(JSON_NUMBER), "an integer"},
    [MEMBER_TEMPERATURE] = {"temperature", TYPE(JSON_NUMBER), "a number"},
    [MEMBER_TOP_P] = {"top_p", TYPE(JSON_NUMBER), "a number"},
    [MEMBER_N] = {"n", TYPE(JSON_NUMBER), "an integer"},
    [MEMBER_TOOLS] = {"tools", TYPE(JSON_ARRAY), "an array"},
    [MEMBER_STORE] = {"store", TYPES_BOOL, "true or false"},
    [MEMBER_BACKGROUND] = {"background", TYPES_BOOL, "true or false"},
    [MEMBER_PREVIOUS] = {"previous_response_id", TYPE(JSON_STRING), "a string"},
    [MEMBER_CONVERSATION] = {"conversation", TYPE(JSON_STRING) | TYPE(JSON_OBJECT),
                             "a string or an object"},
    [MEMBER_THREAD] = {"thread", TYPE(JSON_STRING) | TYPE(JSON_OBJECT), "a string or an object"},
};

struct reading {
    struct ask *ask;
    const struct json_reader *reader;
    struct chat *chat;
    int member[MEMBER_COUNT]; /* its value; -1: not given, or null */
    int last_user;            /* content of the last user message with a text, -1 */
};

/* ---- members ---- */

static int collect_members(struct reading *to) {
    for (int i = 0; i < MEMBER_COUNT; i++) {
        to->member[i] = -1;
    }
    for (int key = json_first(to->reader, 0); key >= 0; key = json_next(to->reader, key)) {
        int value = json_member_value(to->reader, key);
        enum json_type type = json_type(to->reader, value);
        for (int i = 0; i < MEMBER_COUNT; i++) {
            if (!json_string_equals(to->reader, key, bytes_from_str(rows[i].name))) {
                continue;
            }
            if (type == JSON_NULL) {
                break;
            }
            if ((rows[i].types & TYPE(type)) == 0) {
                return ask_wrong_type(to->ask, rows[i].name, rows[i].expected);
            }
            to->member[i] = value;
            break;
        }
    }
    return 0;
}

static int missing(struct reading *to, enum member member) {
    char text[64];
    snprintf(text, sizeof(text), "%s is required", rows[member].name);
    char *message = arena_strdup(to->ask->arena, text);
    return message == NULL ? ask_out_of_memory(to->ask)
                           : ask_refuse(to->ask, 400, rows[member].name, "missing", message);
}

/* At least 1; left alone when it is not given. */
static int take_count(struct reading *to, enum member member, int64_t *count) {
    int64_t value;
    if (to->member[member] < 0) {
        return 0;
    }
    if (!json_int64(to->reader, to->member[member], &value)) {
        return ask_wrong_type(to->ask, rows[member].name, "an integer");
    }
    /* an old way to score a prompt */
    int64_t least = to->chat->form == FORM_COMPLETIONS && member == MEMBER_MAX_TOKENS ? 0 : 1;
    if (value < least) {
        char text[64];
        snprintf(text, sizeof(text), "%s must be at least %d", rows[member].name, (int)least);
        char *message = arena_strdup(to->ask->arena, text);
        return message == NULL
                   ? ask_out_of_memory(to->ask)
                   : ask_refuse(to->ask, 400, rows[member].name, "invalid_value", message);
    }
    *count = value;
    return 0;
}

/* The OpenAI API has two names for it; the newer one counts. */
static int take_limits(struct reading *to) {
    int64_t ignored = 0;
    if (take_count(to, MEMBER_N, &ignored) == -1 ||
        take_count(to, MEMBER_MAX_TOKENS, &to->chat->max_tokens) == -1 ||
        take_count(to, MEMBER_MAX_COMPLETION_TOKENS, &to->chat->max_tokens) == -1 ||
        take_count(to, MEMBER_MAX_OUTPUT_TOKENS, &to->chat->max_tokens) == -1) {
        return -1;
    }
    if (to->member[MEMBER_TEMPERATURE] >= 0) {
        to->chat->temperature = json_raw(to->reader, to->member[MEMBER_TEMPERATURE]);
    }
    return 0;
}

static struct chat_span span_of(const struct reading *to, int value) {
    return (struct chat_span){json_offset(to->reader, value), json_whole(to->reader, value).size};
}

static void take_stream(struct reading *to) {
    int stream = to->member[MEMBER_STREAM];
    int options = json_get(to->reader, 0, "stream_options"); /* null has a place too */
    int usage = json_get(to->reader, options, "include_usage");
    struct chat *chat = to->chat;
    if (stream >= 0) {
        chat->stream = span_of(to, stream);
        chat->wants_stream =
            json_type(to->reader, stream) == JSON_TRUE && form_of(chat->form)->read_event != NULL;
    }
    if (options >= 0) {
        chat->stream_options = span_of(to, options);
    }
    if (usage >= 0) {
        chat->include_usage = span_of(to, usage);
        chat->wants_usage = json_type(to->reader, usage) == JSON_TRUE;
    }
}

static int take_model(struct reading *to) {
    const struct conf *conf = to->ask->call->api->env->conf;
    int model = to->member[MEMBER_MODEL];
    if (model < 0) {
        return missing(to, MEMBER_MODEL);
    }
    struct bytes name = json_string(to->reader, model, to->ask->arena);
    if (name.data == NULL) {
        return ask_out_of_memory(to->ask);
    }
    if (name.size == 0 || name.size > MODEL_MAX) {
        return ask_refuse(to->ask, 400, "model", "invalid_value", "model must have 1 to 320 bytes");
    }
    if (!ask_find_target(conf, name, &to->ask->request->route)) {
        return ask_refuse(to->ask, 404, "model", "model_not_found",
                          "there is no route, provider or model of this name; GET /v1/models lists "
                          "them");
    }
    to->chat->model = span_of(to, model);
    return 0;
}

/* State that somebody keeps must be made anew each time: a stored answer would not make it. */
static void take_storing(struct reading *to) {
    bool stores = json_type(to->reader, to->member[MEMBER_STORE]) == JSON_TRUE;
    if (to->chat->form == FORM_RESPONSES) { /* there it is the default */
        stores = json_type(to->reader, to->member[MEMBER_STORE]) != JSON_FALSE;
    }
    if (stores || to->member[MEMBER_PREVIOUS] >= 0 || to->member[MEMBER_CONVERSATION] >= 0 ||
        to->member[MEMBER_THREAD] >= 0 ||
        json_type(to->reader, to->member[MEMBER_BACKGROUND]) == JSON_TRUE) {
        to->ask->request->cache = CACHE_NO_STORE;
    }
}

/* ---- texts ---- */

/* Bytes of the texts in a content: a string, or parts with a text. */
static size_t text_size(const struct reading *to, int content) {
    size_t size = 0;
    if (json_type(to->reader, content) == JSON_STRING) {
        return json_raw(to->reader, content).size;
    }
    for (int part = json_first(to->reader, content); part >= 0;
         part = json_next(to->reader, part)) {
        int text = json_get(to->reader, part, "text");
        size += json_type(to->reader, text) == JSON_STRING ? json_raw(to->reader, text).size : 0;
    }
    return size;
}

/* The text of a content; of several parts one after the other. data NULL without memory. */
static struct bytes content_text(const struct reading *to, int content) {
    struct buf joined;
    int only = -1;
    unsigned count = 0;
    if (json_type(to->reader, content) == JSON_STRING) {
        return ask_read_text(to->ask, content);
    }
    for (int part = json_first(to->reader, content); part >= 0;
         part = json_next(to->reader, part)) {
        int text = json_get(to->reader, part, "text");
        if (json_type(to->reader, text) == JSON_STRING) {
            only = text;
            count++;
        }
    }
    if (count <= 1) {
        return count == 1 ? ask_read_text(to->ask, only) : bytes_make("", 0);
    }
    buf_init(&joined, 0);
    for (int part = json_first(to->reader, content); part >= 0;
         part = json_next(to->reader, part)) {
        int text = json_get(to->reader, part, "text");
        if (json_type(to->reader, text) == JSON_STRING) {
            struct bytes piece = ask_read_text(to->ask, text);
            joined.failed = joined.failed || piece.data == NULL;
            buf_append_bytes(&joined, piece);
        }
    }
    struct bytes text =
        joined.failed ? bytes_make(NULL, 0) : arena_copy(to->ask->arena, buf_bytes(&joined));
    buf_free(&joined);
    return text;
}

static int take_prompt(struct reading *to, int content) {
    to->chat->prompt = content >= 0 ? content_text(to, content) : bytes_make("", 0);
    return to->chat->prompt.data != NULL ? 0 : ask_out_of_memory(to->ask);
}

/* ---- conversations ---- */

static int wrong_message(struct reading *to, unsigned number, const char *member,
                         const char *expected) {
    char path[64];
    snprintf(path, sizeof(path), "messages[%u]%s", number, member);
    return ask_wrong_type(to->ask, path, expected);
}

static int check_message(struct reading *to, int message, unsigned number) {
    int content = json_get(to->reader, message, "content");
    if (json_type(to->reader, message) != JSON_OBJECT) {
        return wrong_message(to, number, "", "an object");
    }
    if (json_type(to->reader, json_get(to->reader, message, "role")) != JSON_STRING) {
        return wrong_message(to, number, ".role", "a string");
    }
    switch (json_type(to->reader, content)) {
    case JSON_NONE:
    case JSON_NULL:
    case JSON_STRING:
        return 0;
    case JSON_ARRAY:
        break;
    default:
        return wrong_message(to, number, ".content", "a string or an array of parts");
    }
    for (int part = json_first(to->reader, content); part >= 0;
         part = json_next(to->reader, part)) {
        if (json_type(to->reader, part) != JSON_OBJECT) {
            return wrong_message(to, number, ".content", "a string or an array of parts");
        }
    }
    return 0;
}

static bool has_role(const struct reading *to, int message, const char *role) {
    return json_string_equals(to->reader, json_get(to->reader, message, "role"),
                              bytes_from_str(role));
}

/* One message, or item of a response's input: what the router wants to know of it. */
static void note_message(struct reading *to, int message, unsigned *turns) {
    int content = json_get(to->reader, message, "content");
    size_t size = text_size(to, content);
    to->chat->text_size += size;
    if (has_role(to, message, "system") || has_role(to, message, "developer")) {
        to->chat->system_size += size;
        return;
    }
    if (has_role(to, message, "user") && size > 0) {
        to->last_user = content;
        to->chat->history_turns = *turns;
    }
    ++*turns;
}

static int take_messages(struct reading *to, int messages) {
    unsigned number = 0, turns = 0;
    if (messages < 0) {
        return missing(to, MEMBER_MESSAGES);
    }
    if (json_count(to->reader, messages) == 0) {
        return ask_refuse(to->ask, 400, "messages", "invalid_value", "messages must not be empty");
    }
    for (int message = json_first(to->reader, messages); message >= 0;
         message = json_next(to->reader, message)) {
        if (check_message(to, message, number++) == -1) {
            return -1;
        }
        note_message(to, message, &turns);
    }
    return 0;
}

static void take_system(struct reading *to, int system) {
    size_t size = text_size(to, system);
    to->chat->system_size += size;
    to->chat->text_size += size;
}

/* Items of any kind; those that are messages count. */
static void take_items(struct reading *to, int input) {
    unsigned turns = 0;
    for (int item = json_first(to->reader, input); item >= 0; item = json_next(to->reader, item)) {
        if (json_get(to->reader, item, "role") >= 0) {
            note_message(to, item, &turns);
        }
    }
}

/* ---- by form ---- */

static int read_chat(struct reading *to) {
    return take_messages(to, to->member[MEMBER_MESSAGES]) == -1 ? -1
                                                                : take_prompt(to, to->last_user);
}

static int read_messages(struct reading *to) {
    if (to->member[MEMBER_MAX_TOKENS] < 0) {
        return missing(to, MEMBER_MAX_TOKENS);
    }
    take_system(to, to->member[MEMBER_SYSTEM]);
    return read_chat(to);
}

static int read_responses(struct reading *to) {
    int input = to->member[MEMBER_INPUT];
    take_system(to, to->member[MEMBER_INSTRUCTIONS]);
    if (json_type(to->reader, input) == JSON_STRING) {
        to->chat->text_size += json_raw(to->reader, input).size;
        return take_prompt(to, input);
    }
    take_items(to, input);
    return take_prompt(to, to->last_user);
}

/* A text, several, or tokens (whose text nobody knows). */
static int read_texts(struct reading *to, enum member member) {
    int value = to->member[member];
    int first = json_first(to->reader, value);
    if (value < 0) {
        return missing(to, member);
    }
    to->chat->text_size = json_raw(to->reader, value).size;
    if (json_type(to->reader, value) == JSON_STRING) {
        return take_prompt(to, value);
    }
    return take_prompt(to, json_type(to->reader, first) == JSON_STRING ? first : -1);
}

static int read_form(struct reading *to) {
    switch (to->chat->form) {
    case FORM_CHAT:
        return read_chat(to);
    case FORM_MESSAGES:
        return read_messages(to);
    case FORM_RESPONSES:
        return read_responses(to);
    case FORM_COMPLETIONS:
        return read_texts(to, MEMBER_PROMPT);
    default:
        return read_texts(to, MEMBER_INPUT);
    }
}

static int read_body(struct ask *ask) {
    struct chat *chat = &ask->request->chat;
    struct reading to = {.ask = ask, .reader = ask->reader, .chat = chat, .last_user = -1};
    chat->form = ask->call->endpoint->form;
    chat->body = ask->reader->text;
    if (collect_members(&to) == -1 || take_model(&to) == -1 || take_limits(&to) == -1) {
        return -1;
    }
    take_stream(&to);
    take_storing(&to);
    chat->has_tools = json_count(to.reader, to.member[MEMBER_TOOLS]) > 0;
    return read_form(&to) == -1 ? -1 : ask_write_canonical(ask);
}

void api_chat(struct api_call *call, const struct http_head *head, struct bytes body) {
    api_ask(call, head, body, read_body, &api_chat_sink);
}
