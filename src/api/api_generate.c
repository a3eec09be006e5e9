/* POST /generate: the first prototype's endpoint: one prompt in, one answer out, or a stream.
 *
 * Reads the body strictly and translates it into a chat request: its canonical form is that of the
 * chat endpoint, so that both doors share cache entries. Runs in workers.
 */
#include "api_private.h"

#include "base/json_canon.h"

#define MAX_TOKENS_DEFAULT 100
#define MAX_TOKENS_LIMIT 1000000
#define TEMPERATURE_LIMIT 2.0
#define MODEL_ID_MAX 256
#define MEMBERS_MAX 2048 /* bytes of a chat request beside its prompt */

#define NOT_GIVEN (-1)     /* instead of a field's token number */
#define GIVEN_AS_NULL (-2) /* the same, but a second one is still a doubled key */

/* The body's known members, kept as token numbers. */
enum field {
    FIELD_PROMPT,
    FIELD_MAX_TOKENS,
    FIELD_PROVIDER,
    FIELD_MODEL_ID,
    FIELD_TEMPERATURE,
    FIELD_STREAM,
    FIELD_COUNT
};

static const struct field_row {
    const char *name;
    enum json_type type; /* JSON_TRUE stands for both booleans */
    const char *expected;
} fields[FIELD_COUNT] = {
    [FIELD_PROMPT] = {"prompt", JSON_STRING, "a string"},
    [FIELD_MAX_TOKENS] = {"max_tokens", JSON_NUMBER, "an integer"},
    [FIELD_PROVIDER] = {"provider", JSON_STRING, "a string"},
    [FIELD_MODEL_ID] = {"model_id", JSON_STRING, "a string"},
    [FIELD_TEMPERATURE] = {"temperature", JSON_NUMBER, "a number"},
    [FIELD_STREAM] = {"stream", JSON_TRUE, "true or false"},
};

struct generate {
    struct ask *ask;
    int field[FIELD_COUNT];
    bool has_extra;    /* there are members beside the fields that are part of the cache key */
    bool has_left_out; /* there are some that are not */
    size_t prompt_at;  /* where the prompt's text stands in the chat's body */
};

static int refuse(struct generate *generate, const char *param, const char *code,
                  const char *message) {
    return ask_refuse(generate->ask, 400, param, code, message);
}

/* -- reading the body --------------------------------------------------------------------- */

static int find_field(struct bytes name) {
    for (int i = 0; i < FIELD_COUNT; i++) {
        if (bytes_equal_str(name, fields[i].name)) {
            return i;
        }
    }
    return -1;
}

static bool has_type(enum json_type wanted, enum json_type given) {
    return given == wanted || (wanted == JSON_TRUE && given == JSON_FALSE);
}

/* Takes note of one member: a known field's value, or that there are others. */
static int collect_member(struct generate *generate, int key) {
    const struct json_reader *reader = generate->ask->reader;
    struct bytes name = json_string(reader, key, generate->ask->arena);
    if (name.data == NULL) {
        return ask_out_of_memory(generate->ask);
    }
    int field = find_field(name);
    if (field == -1) {
        *(ask_is_left_out(FORM_CHAT, name) ? &generate->has_left_out : &generate->has_extra) = true;
        return 0;
    }
    const struct field_row *row = &fields[field];
    int value = json_member_value(reader, key);
    if (generate->field[field] != NOT_GIVEN) {
        return refuse(generate, row->name, "doubled_key", "this key is given twice");
    }
    /* null means not given, as in the OpenAI API */
    if (json_type(reader, value) == JSON_NULL) {
        value = GIVEN_AS_NULL;
    } else if (!has_type(row->type, json_type(reader, value))) {
        return ask_wrong_type(generate->ask, row->name, row->expected);
    }
    generate->field[field] = value;
    return 0;
}

static int collect_members(struct generate *generate) {
    const struct json_reader *reader = generate->ask->reader;
    for (int key = json_first(reader, 0); key >= 0; key = json_next(reader, key)) {
        if (collect_member(generate, key) == -1) {
            return -1;
        }
    }
    return 0;
}

/* A body that is not cached: its prompt goes on as it was written, since decoding it and writing it
 * anew would hold up the others. */
static bool is_long(const struct generate *generate) {
    return generate->ask->reader->text.size > ASK_CACHED_MAX;
}

static int take_prompt(struct generate *generate) {
    struct chat *chat = &generate->ask->request->chat;
    int value = generate->field[FIELD_PROMPT];
    if (value < 0) {
        return refuse(generate, "prompt", "missing", "prompt is required");
    }
    struct bytes prompt = ask_read_text(generate->ask, value);
    if (prompt.data == NULL) {
        return ask_out_of_memory(generate->ask);
    }
    if (prompt.size == 0) {
        return refuse(generate, "prompt", "invalid_value", "prompt must not be empty");
    }
    chat->prompt = prompt;
    chat->text_size = is_long(generate) ? json_raw(generate->ask->reader, value).size : prompt.size;
    return 0;
}

static int take_numbers(struct generate *generate) {
    const struct json_reader *reader = generate->ask->reader;
    struct chat *chat = &generate->ask->request->chat;
    double temperature = 0;
    chat->max_tokens = MAX_TOKENS_DEFAULT;
    if (generate->field[FIELD_MAX_TOKENS] >= 0) {
        if (!json_int64(reader, generate->field[FIELD_MAX_TOKENS], &chat->max_tokens)) {
            return ask_wrong_type(generate->ask, "max_tokens", "an integer");
        }
        if (chat->max_tokens < 1 || chat->max_tokens > MAX_TOKENS_LIMIT) {
            return refuse(generate, "max_tokens", "invalid_value",
                          "max_tokens must be from 1 to 1000000");
        }
    }
    if (generate->field[FIELD_TEMPERATURE] >= 0) {
        int value = generate->field[FIELD_TEMPERATURE];
        if (!json_double(reader, value, &temperature) || temperature < 0 ||
            temperature > TEMPERATURE_LIMIT) {
            return refuse(generate, "temperature", "invalid_value",
                          "temperature must be from 0 to 2");
        }
        chat->temperature = json_raw(reader, value);
    }
    if (generate->field[FIELD_STREAM] >= 0) {
        chat->wants_stream = json_type(reader, generate->field[FIELD_STREAM]) == JSON_TRUE;
    }
    return 0;
}

static int take_target(struct generate *generate) {
    const struct json_reader *reader = generate->ask->reader;
    const struct conf *conf = generate->ask->call->api->env->conf;
    struct arena *arena = generate->ask->arena;
    struct route_request *route = &generate->ask->request->route;
    struct bytes name = BYTES_LITERAL("auto");
    if (generate->field[FIELD_PROVIDER] >= 0) {
        name = json_string(reader, generate->field[FIELD_PROVIDER], arena);
        if (name.data == NULL) {
            return ask_out_of_memory(generate->ask);
        }
    }
    route->route = conf_find_route(conf, name);
    route->provider = route->route == -1 ? conf_find_provider(conf, name) : -1;
    if (route->route == -1 && route->provider == -1) {
        return refuse(generate, "provider", "unknown_provider",
                      "no route and no provider has this name");
    }
    if (generate->field[FIELD_MODEL_ID] >= 0) {
        route->model = json_string(reader, generate->field[FIELD_MODEL_ID], arena);
        if (route->model.data == NULL) {
            return ask_out_of_memory(generate->ask);
        }
        if (route->model.size == 0 || route->model.size > MODEL_ID_MAX ||
            memchr(route->model.data, '\0', route->model.size) != NULL) {
            return refuse(generate, "model_id", "invalid_value",
                          "model_id must have 1 to 256 bytes, none of them NUL");
        }
    }
    return 0;
}

/* -- the chat request that it stands for --------------------------------------------------------
 */

/* Doubled keys where the canonical form does not look. */
static int check_left_out(struct generate *generate) {
    if (!generate->has_left_out) {
        return 0;
    }
    switch (json_find_doubled_key(generate->ask->reader, generate->ask->arena)) {
    case -1:
        return 0;
    case -2:
        return ask_out_of_memory(generate->ask);
    default:
        return refuse(generate, NULL, "doubled_key", "a key is given twice in one object");
    }
}

/* Appends `"generate":{...},` with the members that no chat has, sorted; nothing when there are
 * none. They lie apart, so that they can never be taken for members of a chat request. */
static int write_extra_members(struct generate *generate) {
    struct ask *ask = generate->ask;
    struct buf *out = &ask->call->api->canonical;
    if (!generate->has_extra) {
        return 0;
    }
    struct json_member *members = json_sorted_members(ask->reader, 0, ask->arena);
    if (members == NULL) {
        return ask_out_of_memory(ask);
    }
    const char *separator = "\"generate\":{\"";
    struct bytes previous = {NULL, 0};
    for (int i = 0; i < json_count(ask->reader, 0); i++) {
        size_t fault_offset;
        if (ask_is_left_out(FORM_CHAT, members[i].name) || find_field(members[i].name) != -1) {
            continue;
        }
        if (previous.data != NULL && bytes_equal(previous, members[i].name)) {
            return refuse(generate, NULL, "doubled_key", "a key is given twice in one object");
        }
        previous = members[i].name;
        buf_append_str(out, separator);
        json_escape(out, previous);
        buf_append_str(out, "\":");
        separator = ",\"";
        switch (json_canon(ask->reader, json_member_value(ask->reader, members[i].key), ask->arena,
                           out, &fault_offset)) {
        case JSON_CANON_OK:
            break;
        case JSON_CANON_DOUBLED_KEY:
            return refuse(generate, NULL, "doubled_key", "a key is given twice in one object");
        case JSON_CANON_NO_MEMORY:
            return ask_out_of_memory(ask);
        }
    }
    buf_append_str(out, "},");
    return 0;
}

/* "max_tokens":N,"messages":[{"content":P,"role":"user"}],"model":"auto","temperature":T}, keys
 * sorted. The body begins at `from`, where there is a brace. */
static void write_members(struct generate *generate, struct buf *out, size_t from) {
    static const struct bytes limit = BYTES_LITERAL("\"max_tokens\"");
    const struct conf *conf = generate->ask->call->api->env->conf;
    const struct route_request *route = &generate->ask->request->route;
    struct chat *chat = &generate->ask->request->chat;
    buf_append_bytes(out, limit);
    buf_append_char(out, ':');
    buf_append_i64(out, chat->max_tokens);
    buf_append_str(out, ",\"messages\":[{\"content\":\"");
    generate->prompt_at = out->size;
    if (is_long(generate)) {
        buf_append_bytes(out, json_raw(generate->ask->reader, generate->field[FIELD_PROMPT]));
    } else {
        json_escape(out, chat->prompt);
    }
    buf_append_str(out, "\",\"role\":\"user\"}],\"model\":");
    size_t model_at = out->size;
    buf_append_char(out, '"');
    buf_append_str(out, route->provider >= 0 ? conf->providers[route->provider].name
                                             : conf->routes[route->route].name);
    if (route->model.size > 0) {
        buf_append_char(out, '/');
        json_escape(out, route->model);
    }
    buf_append_char(out, '"');
    chat->model = (struct chat_span){model_at - from, out->size - model_at};
    if (chat->temperature.size > 0) {
        buf_append_str(out, ",\"temperature\":");
        buf_append_bytes(out, chat->temperature);
    }
    buf_append_char(out, '}');
    chat->limit_name = (struct chat_span){1, limit.size};
    chat->body = bytes_make(out->data + from, out->size - from);
}

/* One that has no key: in memory of its own, which is the flow's. */
static int write_long_chat(struct generate *generate) {
    struct ask *ask = generate->ask;
    struct buf *memory = &ask->request->memory;
    struct buf out;
    generate->has_left_out = true; /* nothing is looked at but that */
    if (check_left_out(generate) == -1) {
        return -1;
    }
    buf_init(&out, 0);
    (void)buf_reserve(&out, ask->reader->text.size + MEMBERS_MAX);
    buf_append_char(&out, '{');
    write_members(generate, &out, 0);
    if (out.failed) {
        buf_free(&out);
        return ask_out_of_memory(ask);
    }
    struct bytes raw = json_raw(ask->reader, generate->field[FIELD_PROMPT]);
    if (ask->request->chat.prompt.data == raw.data) { /* the same bytes, where they stay */
        ask->request->chat.prompt = bytes_make(out.data + generate->prompt_at, raw.size);
    }
    buf_clear(&ask->call->api->canonical);
    ask->request->cache = CACHE_NO_STORE;
    *memory = out;
    return 0;
}

/* The key's text, and what an OpenAI provider is sent. */
static int write_chat(struct generate *generate) {
    struct chat *chat = &generate->ask->request->chat;
    struct buf *out = &generate->ask->call->api->canonical;
    buf_clear(out);
    buf_append_char(out, '{');
    if (check_left_out(generate) == -1 || write_extra_members(generate) == -1) {
        return -1;
    }
    write_members(generate, out, out->size - 1); /* what no chat has goes nowhere */
    if (out->failed) {
        return ask_out_of_memory(generate->ask);
    }
    if (generate->has_extra) { /* it begins with their comma: in a copy that becomes the brace */
        chat->body = arena_copy(generate->ask->arena, chat->body);
        if (chat->body.data == NULL) {
            return ask_out_of_memory(generate->ask);
        }
        *(char *)(uintptr_t)chat->body.data = '{';
    }
    return 0;
}

/* -- the endpoint --------------------------------------------------------------------------- */

static int read_generate(struct ask *ask) {
    struct generate generate = {.ask = ask};
    for (int i = 0; i < FIELD_COUNT; i++) {
        generate.field[i] = NOT_GIVEN;
    }
    ask->request->chat.form = FORM_CHAT;
    ask->request->chat.wants_text = true;
    if (collect_members(&generate) == -1 || take_prompt(&generate) == -1 ||
        take_numbers(&generate) == -1 || take_target(&generate) == -1) {
        return -1;
    }
    return is_long(&generate) ? write_long_chat(&generate) : write_chat(&generate);
}

void api_generate(struct api_call *call, const struct http_head *head, struct bytes body) {
    api_ask(call, head, body, read_generate, &api_generate_sink);
}
