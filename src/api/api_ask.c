/* Requests to models: from the bytes of a body to a flow. What its members mean is the endpoints'
 * business (api_generate.c, api_chat.c). Runs in workers.
 *
 * Its one surprise: a large body is not copied and not read in one go. Its memory is taken over
 * from the connection, and it is read for a fraction of a millisecond per turn of the loop, so that
 * 30 MB of an image do not keep the others waiting.
 */
#include "api_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json_canon.h"

#define LARGE_BODY ((size_t)256 * 1024) /* bytes; past it the body is read in steps */
#define STEP_BYTES ((size_t)128 * 1024) /* of each */
#define FIELD_MAX ((size_t)4096)        /* bytes of a header field that goes on */
#define PROMPT_MAX 262144 /* bytes of a message that are looked at as a whole; of a longer one */
#define PROMPT_HEAD 65536 /* so many from its beginning */
#define PROMPT_TAIL 16384 /* and from its end */

/* What a call needs once it waits; in the flow's arena. */
struct kept_call {
    struct api_call call;
    struct flow_request request;
};

/* A large body that is being read; its own memory. */
struct api_reading {
    struct api_call call;
    const struct http_head *head; /* a copy; its views are in memory */
    struct buf memory;
    struct json_reader reader;
    struct timer *timer;
    ask_reader *read;
    const struct sink *sink;
};

/* ---- errors ---- */

int ask_refuse(struct ask *ask, int status, const char *param, const char *code,
               const char *message) {
    ask->error = (struct api_error){.status = status,
                                    .type = "invalid_request_error",
                                    .code = code,
                                    .param = param,
                                    .message = message};
    return -1;
}

int ask_out_of_memory(struct ask *ask) {
    ask->error = (struct api_error){.status = 503,
                                    .type = "server_error",
                                    .code = "no_memory",
                                    .message = "out of memory",
                                    .retry_after_s = 1,
                                    .should_retry = true};
    return -1;
}

int ask_wrong_type(struct ask *ask, const char *name, const char *expected) {
    char text[256];
    snprintf(text, sizeof(text), "%s must be %s", name, expected);
    char *param = arena_strdup(ask->arena, name);
    char *message = arena_strdup(ask->arena, text);
    if (param == NULL || message == NULL) {
        return ask_out_of_memory(ask);
    }
    return ask_refuse(ask, 400, param, "invalid_type", message);
}

static int refuse_json(struct ask *ask, const struct json_fault *fault) {
    char text[160];
    if (fault->no_memory) {
        return ask_out_of_memory(ask);
    }
    snprintf(text, sizeof(text), "invalid JSON at byte %zu: %s", fault->offset, fault->reason);
    char *message = arena_strdup(ask->arena, text);
    return message == NULL ? ask_out_of_memory(ask)
                           : ask_refuse(ask, 400, NULL, "invalid_json", message);
}

/* ---- Cache-Control ---- */

/* RFC 9111 section 5.2.1: what a client may ask; unknown directives are ignored as it says. */
static void take_directives(struct flow_request *request, struct bytes value) {
    while (value.size > 0) {
        struct bytes item = bytes_trim(bytes_cut(&value, ','));
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
    }
}

/* The field is a list: a second one of its name goes on with it (RFC 9110 section 5.2). */
static int take_list(struct ask *ask, struct bytes *list, struct bytes value) {
    if (list->size > 0) {
        char *joined = arena_alloc(ask->arena, list->size + 2 + value.size);
        if (joined == NULL) {
            return ask_out_of_memory(ask);
        }
        memcpy(joined, list->data, list->size);
        memcpy(joined + list->size, ", ", 2);
        memcpy(joined + list->size + 2, value.data, value.size);
        value = bytes_make(joined, list->size + 2 + value.size);
    }
    if (value.size > FIELD_MAX) {
        return ask_refuse(ask, 400, NULL, "invalid_value",
                          "a field that goes on to the provider is longer than 4096 bytes");
    }
    *list = value;
    return 0;
}

/* A proxy on the way may have added a second field of that name: all of them count. */
static int take_fields(struct ask *ask, const struct http_head *head) {
    struct flow_request *request = ask->request;
    enum metric_endpoint label = ask->call->endpoint->label;
    request->cache = CACHE_USE;
    request->max_age_ms = INT64_MAX;
    int result = 0;
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http_field *field = &head->fields[i];
        if (bytes_equal_nocase(field->name, BYTES_LITERAL("cache-control"))) {
            take_directives(request, field->value);
        } else if (label == ENDPOINT_MESSAGES &&
                   bytes_equal_nocase(field->name, BYTES_LITERAL("anthropic-version"))) {
            result |= take_list(ask, &request->chat.anthropic_version, field->value);
        } else if (label == ENDPOINT_MESSAGES &&
                   bytes_equal_nocase(field->name, BYTES_LITERAL("anthropic-beta"))) {
            result |= take_list(ask, &request->chat.anthropic_beta, field->value);
        } else if (label != ENDPOINT_GENERATE && label != ENDPOINT_MESSAGES &&
                   bytes_equal_nocase(field->name, BYTES_LITERAL("openai-beta"))) {
            result |= take_list(ask, &request->chat.openai_beta, field->value);
        }
    }
    return result;
}

/* ---- the canonical form ---- */

bool ask_is_left_out(enum chat_form form, struct bytes name) {
    static const char *const names[] = {"stream", "stream_options", "user", "metadata"};
    /* a response repeats the last two */
    size_t count = form == FORM_RESPONSES ? 2 : sizeof(names) / sizeof(names[0]);
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal_str(name, names[i])) {
            return true;
        }
    }
    return false;
}

static int refuse_doubled(struct ask *ask) {
    return ask_refuse(ask, 400, NULL, "doubled_key", "a key is given twice in one object");
}

/* Where the canonical form does not look. */
static int check_doubled(struct ask *ask) {
    switch (json_find_doubled_key(ask->reader, ask->arena)) {
    case -1:
        return 0;
    case -2:
        return ask_out_of_memory(ask);
    default:
        return refuse_doubled(ask);
    }
}

static bool is_container(const struct ask *ask, int value) {
    enum json_type type = json_type(ask->reader, value);
    return type == JSON_OBJECT || type == JSON_ARRAY;
}

int ask_write_canonical(struct ask *ask) {
    const struct json_reader *reader = ask->reader;
    struct buf *out = &ask->call->api->canonical;
    int count = json_count(reader, 0);
    bool is_hidden = false; /* something with members of its own is left out */
    size_t offset;
    buf_clear(out);
    if (reader->text.size > ASK_CACHED_MAX) {
        ask->request->cache = CACHE_NO_STORE;
        return check_doubled(ask);
    }
    struct json_member *members = json_sorted_members(reader, 0, ask->arena);
    if (members == NULL) {
        return ask_out_of_memory(ask);
    }
    buf_append_char(out, '{');
    for (int i = 0; i < count; i++) {
        int value = json_member_value(reader, members[i].key);
        if (i > 0 && bytes_equal(members[i - 1].name, members[i].name)) {
            return refuse_doubled(ask);
        }
        if (ask_is_left_out(ask->request->chat.form, members[i].name)) {
            is_hidden = is_hidden || is_container(ask, value);
            continue;
        }
        buf_append_str(out, out->size > 1 ? ",\"" : "\"");
        json_escape(out, members[i].name);
        buf_append_str(out, "\":");
        switch (json_canon(reader, value, ask->arena, out, &offset)) {
        case JSON_CANON_OK:
            break;
        case JSON_CANON_DOUBLED_KEY:
            return refuse_doubled(ask);
        case JSON_CANON_NO_MEMORY:
            return ask_out_of_memory(ask);
        }
    }
    buf_append_char(out, '}');
    if (out->failed) {
        return ask_out_of_memory(ask);
    }
    return is_hidden ? check_doubled(ask) : 0;
}

/* ---- texts ---- */

/* Would a cut before this byte leave every escape and every character whole? Behind the first few
 * bytes of a text only. */
static bool is_cut(struct bytes escaped, size_t at) {
    const char *text = escaped.data;
    size_t slashes = 0;
    if (((unsigned char)text[at] & 0xc0) == 0x80) {
        return false;
    }
    if (text[at] != '\\') { /* an escape has at most 6 bytes */
        return memchr(text + at - 5, '\\', 5) == NULL;
    }
    while (slashes < at && text[at - 1 - slashes] == '\\') {
        slashes++;
    }
    bool is_second = text[at + 1] == 'u' && (text[at + 2] | 0x20) == 'd' &&
                     strchr("cdefCDEF", text[at + 3]) != NULL;
    return slashes % 2 == 0 && !is_second;
}

/* The beginning and the end of a long escaped text. */
static struct bytes shorten(struct bytes escaped, struct arena *arena) {
    size_t head = PROMPT_HEAD;
    size_t tail = escaped.size - PROMPT_TAIL;
    while (head < tail && !is_cut(escaped, head)) {
        head++;
    }
    while (tail < escaped.size && !is_cut(escaped, tail)) {
        tail++;
    }
    char *out = arena_alloc(arena, head + escaped.size - tail + 1);
    if (out == NULL) {
        return bytes_make(NULL, 0);
    }
    memcpy(out, escaped.data, head);
    memcpy(out + head, escaped.data + tail, escaped.size - tail);
    return form_unescape(bytes_make(out, head + escaped.size - tail), arena);
}

struct bytes ask_read_text(struct ask *ask, int string) {
    struct bytes escaped = json_raw(ask->reader, string);
    if (escaped.size > PROMPT_MAX && memchr(escaped.data, '\\', escaped.size) != NULL) {
        return shorten(escaped, ask->arena);
    }
    return json_string(ask->reader, string, ask->arena);
}

/* ---- who is asked ---- */

static bool find_named(const struct conf *conf, struct bytes name, struct route_request *route) {
    route->route = conf_find_route(conf, name);
    route->provider = route->route == -1 ? conf_find_provider(conf, name) : -1;
    return route->route >= 0 || route->provider >= 0;
}

bool ask_find_target(const struct conf *conf, struct bytes name, struct route_request *route) {
    size_t slash = bytes_find(name, '/');
    if (memchr(name.data, '\0', name.size) != NULL) {
        return false; /* a provider would hear of what stands before it */
    }
    if (find_named(conf, name, route)) {
        return true;
    }
    if (slash + 1 < name.size && find_named(conf, bytes_make(name.data, slash), route)) {
        route->model = bytes_make(name.data + slash + 1, name.size - slash - 1);
        return true;
    }
    for (unsigned i = 0; i < conf->provider_count; i++) {
        if (conf_find_model(&conf->providers[i], name) != -1) {
            route->provider = (int)i;
            route->model = name;
            return true;
        }
    }
    return false;
}

/* ---- from a read body to a flow ---- */

/* Moves the call into the flow's arena, where it outlives the handler. */
static struct kept_call *keep_call(const struct api_call *call, struct flow *flow,
                                   const struct sink *sink) {
    struct kept_call *kept = arena_alloc(flow_arena(flow), sizeof(*kept));
    if (kept == NULL) {
        return NULL;
    }
    kept->call = *call;
    kept->call.flow = flow;
    kept->call.reading = NULL;
    kept->call.sink = *sink;
    kept->request = (struct flow_request){.endpoint = call->endpoint->label,
                                          .started_ns = call->started_ns,
                                          .parsed_ns = call->parsed_ns};
    return kept;
}

static int read_ask(struct ask *ask, const struct json_fault *fault, ask_reader *read) {
    if (fault != NULL) {
        return refuse_json(ask, fault);
    }
    if (json_type(ask->reader, 0) != JSON_OBJECT) {
        return ask_refuse(ask, 400, NULL, "invalid_json", "the body must be a JSON object");
    }
    return read(ask);
}

/* A long one goes with its memory, as its key is made in turns of the loop. */
static void give_canonical(struct ask *ask) {
    struct buf *canonical = &ask->call->api->canonical;
    ask->request->canonical = buf_bytes(canonical);
    if (canonical->size > LARGE_BODY) {
        ask->request->canonical_memory = *canonical;
        buf_init(canonical, 0);
    }
}

/* The body is in the reader, or fault says why not; memory, if any, is the flow's from here on. */
static void ask_begin(struct api_call *call, const struct http_head *head,
                      const struct json_reader *reader, const struct json_fault *fault,
                      struct buf memory, ask_reader *read, const struct sink *sink) {
    struct flow *flow = flow_new(call->api->gateway);
    struct kept_call *kept = flow != NULL ? keep_call(call, flow, sink) : NULL;
    struct ask ask = {.call = call, .flow = flow, .reader = reader};
    struct gateway *gateway = call->api->gateway;
    bool is_own = false; /* the endpoint has made a body of its own */
    if (kept == NULL) {
        ask_out_of_memory(&ask);
    } else {
        ask.call = &kept->call;
        ask.request = &kept->request;
        ask.arena = flow_arena(flow);
        if (take_fields(&ask, head) == 0 && read_ask(&ask, fault, read) == 0) {
            give_canonical(&ask);
            is_own = ask.request->memory.data != NULL;
            ask.request->memory = is_own ? ask.request->memory : memory;
        }
    }
    if (ask.error.status != 0) {
        api_reply_error(call, &ask.error);
        api_log(call, ask.error.status);
        if (flow != NULL) {
            flow_drop(flow);
        }
        gateway_give_back(gateway, &memory);
        return;
    }
    if (access_log_is_on(call->api->env->access_log)) {
        api_fill_record(&kept->call, 200, &kept->request.record);
    }
    http_exchange_set_user(call->exchange, &kept->call);
    flow_start(flow, &kept->request, &kept->call.sink);
    if (is_own) {
        gateway_give_back(gateway, &memory);
    }
}

/* ---- large bodies ---- */

static void free_reading(struct api_reading *reading) {
    json_reader_fini(&reading->reader);
    gateway_give_back(reading->call.api->gateway, &reading->memory);
    free((void *)(uintptr_t)reading->head);
    free(reading);
}

void api_reading_cancel(struct api_reading *reading) {
    timers_cancel(&reading->call.api->env->timers, reading->timer);
    free_reading(reading);
}

static void on_step(void *argument);

static bool arm(struct api_reading *reading) {
    reading->timer = timers_after(&reading->call.api->env->timers, 0, on_step, reading);
    return reading->timer != NULL;
}

static void end_reading(struct api_reading *reading, const struct json_fault *fault) {
    struct buf memory = reading->memory;
    buf_init(&reading->memory, 0);
    reading->call.reading = NULL;
    http_exchange_set_user(reading->call.exchange, NULL);
    api_fields_begin(&reading->call);
    ask_begin(&reading->call, reading->head, &reading->reader, fault, memory, reading->read,
              reading->sink);
    free_reading(reading);
}

static void on_step(void *argument) {
    struct api_reading *reading = argument;
    struct json_fault fault = {.reason = "out of memory", .no_memory = true};
    reading->timer = NULL;
    switch (json_read_step(&reading->reader, STEP_BYTES, &fault)) {
    case JSON_MORE:
        if (!arm(reading)) {
            end_reading(reading, &fault);
        }
        break;
    case JSON_DONE:
        end_reading(reading, NULL);
        break;
    case JSON_WRONG:
        end_reading(reading, &fault);
        break;
    }
}

/* False: it must be read at once (its bytes cannot be kept, or there is no memory). */
static bool begin_reading(struct api_call *call, const struct http_head *head, struct bytes body,
                          ask_reader *read, const struct sink *sink) {
    struct json_fault fault;
    struct api_reading *reading = calloc(1, sizeof(*reading));
    struct http_head *copy = malloc(sizeof(*copy));
    if (reading == NULL || copy == NULL ||
        !http_exchange_take_request(call->exchange, &reading->memory)) {
        free(copy);
        free(reading);
        return false;
    }
    *copy = *head; /* its views stay right: they are of the memory that was taken */
    reading->call = *call;
    reading->call.reading = reading;
    reading->head = copy;
    reading->read = read;
    reading->sink = sink;
    json_reader_init(&reading->reader);
    http_exchange_set_user(call->exchange, &reading->call);
    if (json_read_begin(&reading->reader, body, &fault) == -1 || !arm(reading)) {
        fault = (struct json_fault){.reason = "out of memory", .no_memory = true};
        end_reading(reading, &fault);
    }
    return true;
}

void api_ask(struct api_call *call, const struct http_head *head, struct bytes body,
             ask_reader *read, const struct sink *sink) {
    struct json_reader *reader = &call->api->reader;
    struct json_fault fault;
    struct buf none;
    if (body.size > LARGE_BODY && begin_reading(call, head, body, read, sink)) {
        return;
    }
    buf_init(&none, 0);
    bool is_json = json_read(reader, body, &fault) == 0;
    ask_begin(call, head, reader, is_json ? NULL : &fault, none, read, sink);
}
