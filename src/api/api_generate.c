/* POST /generate: the first prototype's endpoint: one prompt in, one answer out, or a stream.
 *
 * Reads the body strictly, translates it into a chat (its canonical form is that of the chat
 * endpoints, so that both doors share cache entries), and composes the answer. Runs in workers.
 */
#include "api_private.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json_canon.h"
#include "gateway/cost.h"

#define MAX_TOKENS_DEFAULT 100
#define MAX_TOKENS_LIMIT 1000000
#define TEMPERATURE_LIMIT 2.0
#define MODEL_ID_MAX 256

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
    [FIELD_PROMPT] = {"prompt", JSON_STRING, "prompt must be a string"},
    [FIELD_MAX_TOKENS] = {"max_tokens", JSON_NUMBER, "max_tokens must be an integer"},
    [FIELD_PROVIDER] = {"provider", JSON_STRING, "provider must be a string"},
    [FIELD_MODEL_ID] = {"model_id", JSON_STRING, "model_id must be a string"},
    [FIELD_TEMPERATURE] = {"temperature", JSON_NUMBER, "temperature must be a number"},
    [FIELD_STREAM] = {"stream", JSON_TRUE, "stream must be true or false"},
};

/* Members that do not change the answer, so are no part of the key. */
static const char *const not_in_key[] = {"stream_options", "user", "metadata"};

struct generate {
    struct api_call *call;
    struct flow *flow;
    struct flow_request *request;
    int field[FIELD_COUNT];
    bool has_extra;         /* there are members beside the fields that are part of the cache key */
    bool has_left_out;      /* there are some that are not */
    struct api_error error; /* status 0: none */
};

/* What a call needs beside struct api_call once it waits; in the flow's arena. */
struct generate_call {
    struct api_call call;
    struct flow_request request;
};

static int refuse(struct generate *generate, const char *param, const char *code,
                  const char *message) {
    generate->error = (struct api_error){.status = 400,
                                         .type = "invalid_request_error",
                                         .code = code,
                                         .param = param,
                                         .message = message};
    return -1;
}

static int out_of_memory(struct generate *generate) {
    generate->error = (struct api_error){.status = 503,
                                         .type = "server_error",
                                         .code = "no_memory",
                                         .message = "out of memory",
                                         .retry_after_s = 1,
                                         .should_retry = true};
    return -1;
}

/* -- reading the body --------------------------------------------------------------------- */

static bool is_left_out_of_key(struct bytes name) {
    for (size_t i = 0; i < sizeof(not_in_key) / sizeof(not_in_key[0]); i++) {
        if (bytes_equal_str(name, not_in_key[i])) {
            return true;
        }
    }
    return false;
}

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
    const struct json_reader *reader = &generate->call->api->reader;
    struct bytes name = json_string(reader, key, flow_arena(generate->flow));
    if (name.data == NULL) {
        return out_of_memory(generate);
    }
    int field = find_field(name);
    if (field == -1) {
        *(is_left_out_of_key(name) ? &generate->has_left_out : &generate->has_extra) = true;
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
        return refuse(generate, row->name, "invalid_type", row->expected);
    }
    generate->field[field] = value;
    return 0;
}

static int collect_members(struct generate *generate) {
    const struct json_reader *reader = &generate->call->api->reader;
    if (json_type(reader, 0) != JSON_OBJECT) {
        return refuse(generate, NULL, "invalid_json", "the body must be a JSON object");
    }
    for (int key = json_first(reader, 0); key >= 0; key = json_next(reader, key)) {
        if (collect_member(generate, key) == -1) {
            return -1;
        }
    }
    return 0;
}

static int take_prompt(struct generate *generate) {
    const struct json_reader *reader = &generate->call->api->reader;
    struct chat *chat = &generate->request->chat;
    int value = generate->field[FIELD_PROMPT];
    if (value < 0) {
        return refuse(generate, "prompt", "missing", "prompt is required");
    }
    struct bytes prompt = json_string(reader, value, flow_arena(generate->flow));
    if (prompt.data == NULL) {
        return out_of_memory(generate);
    }
    if (prompt.size == 0) {
        return refuse(generate, "prompt", "invalid_value", "prompt must not be empty");
    }
    chat->prompt = prompt;
    return 0;
}

static int take_numbers(struct generate *generate) {
    const struct json_reader *reader = &generate->call->api->reader;
    struct chat *chat = &generate->request->chat;
    double temperature = 0;
    chat->max_tokens = MAX_TOKENS_DEFAULT;
    if (generate->field[FIELD_MAX_TOKENS] >= 0) {
        if (!json_int64(reader, generate->field[FIELD_MAX_TOKENS], &chat->max_tokens)) {
            return refuse(generate, "max_tokens", "invalid_type", "max_tokens must be an integer");
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
        chat->stream = json_type(reader, generate->field[FIELD_STREAM]) == JSON_TRUE;
    }
    return 0;
}

static int take_target(struct generate *generate) {
    const struct json_reader *reader = &generate->call->api->reader;
    const struct conf *conf = generate->call->api->env->conf;
    struct arena *arena = flow_arena(generate->flow);
    struct route_request *route = &generate->request->route;
    struct bytes name = BYTES_LITERAL("auto");
    if (generate->field[FIELD_PROVIDER] >= 0) {
        name = json_string(reader, generate->field[FIELD_PROVIDER], arena);
        if (name.data == NULL) {
            return out_of_memory(generate);
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
            return out_of_memory(generate);
        }
        if (route->model.size == 0 || route->model.size > MODEL_ID_MAX) {
            return refuse(generate, "model_id", "invalid_value",
                          "model_id must have 1 to 256 bytes");
        }
    }
    return 0;
}

/* -- the canonical form --------------------------------------------------------------------- */

/* Doubled keys where the canonical form does not look. */
static int check_left_out(struct generate *generate) {
    if (!generate->has_left_out) {
        return 0;
    }
    switch (json_find_doubled_key(&generate->call->api->reader, flow_arena(generate->flow))) {
    case -1:
        return 0;
    case -2:
        return out_of_memory(generate);
    default:
        return refuse(generate, NULL, "doubled_key", "a key is given twice in one object");
    }
}

/* Appends `"generate":{...},` with the members that no chat has, sorted; nothing when there are
 * none. They lie apart, so that they can never be taken for members of a chat request. */
static int write_extra_members(struct generate *generate) {
    struct api *api = generate->call->api;
    const struct json_reader *reader = &api->reader;
    struct arena *arena = flow_arena(generate->flow);
    struct buf *out = &api->canonical;
    if (!generate->has_extra) {
        return 0;
    }
    struct json_member *members = json_sorted_members(reader, 0, arena);
    if (members == NULL) {
        return out_of_memory(generate);
    }
    const char *separator = "\"generate\":{\"";
    struct bytes previous = {NULL, 0};
    for (int i = 0; i < json_count(reader, 0); i++) {
        size_t fault_offset;
        if (is_left_out_of_key(members[i].name) || find_field(members[i].name) != -1) {
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
        switch (json_canon(reader, json_member_value(reader, members[i].key), arena, out,
                           &fault_offset)) {
        case JSON_CANON_OK:
            break;
        case JSON_CANON_DOUBLED_KEY:
            return refuse(generate, NULL, "doubled_key", "a key is given twice in one object");
        case JSON_CANON_NO_MEMORY:
            return out_of_memory(generate);
        }
    }
    buf_append_str(out, "},");
    return 0;
}

/* The chat request that this body stands for, keys sorted:
 * {"max_tokens":N,"messages":[{"content":P,"role":"user"}],"model":"auto","temperature":T} */
static int write_canonical(struct generate *generate) {
    struct api *api = generate->call->api;
    const struct flow_request *request = generate->request;
    const struct conf *conf = api->env->conf;
    struct buf *out = &api->canonical;
    buf_clear(out);
    buf_append_char(out, '{');
    if (check_left_out(generate) == -1 || write_extra_members(generate) == -1) {
        return -1;
    }
    buf_append_str(out, "\"max_tokens\":");
    buf_append_i64(out, request->chat.max_tokens);
    buf_append_str(out, ",\"messages\":[{\"content\":\"");
    json_escape(out, request->chat.prompt);
    buf_append_str(out, "\",\"role\":\"user\"}],\"model\":\"");
    buf_append_str(out, request->route.provider >= 0 ? conf->providers[request->route.provider].name
                                                     : conf->routes[request->route.route].name);
    if (request->route.model.size > 0) {
        buf_append_char(out, '/');
        json_escape(out, request->route.model);
    }
    buf_append_char(out, '"');
    if (request->chat.temperature.size > 0) {
        buf_append_str(out, ",\"temperature\":");
        buf_append_bytes(out, request->chat.temperature);
    }
    buf_append_char(out, '}');
    return out->failed ? out_of_memory(generate) : 0;
}

/* -- Cache-Control -------------------------------------------------------------------------- */

/* RFC 9111 section 5.2.1: what a client may ask; unknown directives are ignored as it says. */
static void take_directives(struct flow_request *request, struct bytes value) {
    while (value.size > 0) {
        size_t comma = bytes_find(value, ',');
        struct bytes item = bytes_trim(bytes_make(value.data, comma));
        int64_t seconds;
        if (bytes_equal_nocase(item, BYTES_LITERAL("no-store"))) {
            request->cache = CACHE_NO_STORE;
        } else if (bytes_equal_nocase(item, BYTES_LITERAL("no-cache"))) {
            request->cache = request->cache == CACHE_NO_STORE ? CACHE_NO_STORE : CACHE_NO_READ;
        } else if (item.size > 8 &&
                   bytes_equal_nocase(bytes_make(item.data, 8), BYTES_LITERAL("max-age=")) &&
                   bytes_to_int64(bytes_make(item.data + 8, item.size - 8), &seconds)) {
            int64_t ms = seconds < INT64_MAX / 1000 ? seconds * 1000 : INT64_MAX;
            request->max_age_ms = ms < request->max_age_ms ? ms : request->max_age_ms;
        }
        size_t used = comma < value.size ? comma + 1 : comma;
        value = bytes_make(value.data + used, value.size - used);
    }
}

/* A proxy on the way may have added a second field of that name: all of them count. */
static void take_cache_control(struct flow_request *request, const struct http_head *head) {
    request->cache = CACHE_USE;
    request->max_age_ms = INT64_MAX;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (bytes_equal_nocase(head->fields[i].name, BYTES_LITERAL("cache-control"))) {
            take_directives(request, head->fields[i].value);
        }
    }
}

/* -- the endpoint --------------------------------------------------------------------------- */

/* What it leaves in the request are views into the body, as flow_start takes them. */
static int read_body(struct generate *generate, struct bytes body) {
    struct api *api = generate->call->api;
    struct json_fault fault;
    if (json_read(&api->reader, body, &fault) == -1) {
        if (fault.no_memory) {
            return out_of_memory(generate);
        }
        char message[160];
        struct buf text;
        buf_init_fixed(&text, message, sizeof(message) - 1);
        buf_append_str(&text, "invalid JSON at byte ");
        buf_append_u64(&text, fault.offset);
        buf_append_str(&text, ": ");
        buf_append_str(&text, fault.reason);
        struct bytes kept = arena_copy(flow_arena(generate->flow), buf_bytes(&text));
        return kept.data == NULL ? out_of_memory(generate)
                                 : refuse(generate, NULL, "invalid_json", kept.data);
    }
    if (collect_members(generate) == -1 || take_prompt(generate) == -1 ||
        take_numbers(generate) == -1 || take_target(generate) == -1) {
        return -1;
    }
    return write_canonical(generate);
}

/* Moves the call into the arena, where it outlives this function. */
static struct generate_call *settle_call(struct api_call *call, struct flow *flow) {
    struct generate_call *kept = arena_alloc(flow_arena(flow), sizeof(*kept));
    if (kept == NULL) {
        return NULL;
    }
    kept->call = *call;
    kept->call.flow = flow;
    kept->call.sink = api_generate_sink;
    kept->request =
        (struct flow_request){.started_ns = call->started_ns, .parsed_ns = call->parsed_ns};
    return kept;
}

void api_generate(struct api_call *call, const struct http_head *head, struct bytes body) {
    struct flow *flow = flow_new(call->api->gateway);
    struct generate_call *kept = flow != NULL ? settle_call(call, flow) : NULL;
    struct generate generate = {.call = call, .flow = flow};
    for (int i = 0; i < FIELD_COUNT; i++) {
        generate.field[i] = NOT_GIVEN;
    }
    if (kept == NULL) {
        out_of_memory(&generate);
    } else {
        generate.request = &kept->request;
        take_cache_control(&kept->request, head);
        read_body(&generate, body);
    }
    if (generate.error.status != 0) {
        api_reply_error(call, &generate.error);
        api_log(call, generate.error.status);
        if (flow != NULL) {
            flow_drop(flow);
        }
        return;
    }
    kept->call.stream = kept->request.chat.stream;
    kept->request.canonical = buf_bytes(&call->api->canonical);
    if (access_log_is_on(call->api->env->access_log)) {
        api_fill_record(&kept->call, 200, &kept->request.record);
    }
    http_exchange_set_user(call->exchange, &kept->call);
    flow_start(flow, &kept->request, &kept->call.sink);
}
