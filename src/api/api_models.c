/* GET /v1/models and /v1/models/NAME: what may stand in `model`: routes, providers, and the models
 * that providers list. Runs in workers.
 *
 * One answer for the clients of both APIs: each finds the members it knows.
 */
#include "api_private.h"

#include <stdio.h>
#include <time.h>

static const struct bytes prefix = BYTES_LITERAL("/v1/models/");

struct listing {
    struct json_writer *writer;
    struct bytes wanted; /* size 0: all */
    struct bytes first, last;
    struct arena *arena;
    int64_t created_s;
    unsigned count;
    bool failed;
};

static void put(struct json_writer *writer, const char *key, struct bytes text) {
    json_key(writer, key);
    json_put_string(writer, text);
}

/* provider NULL: a route. */
static void list_model(struct listing *to, struct bytes id, const struct conf_provider *provider) {
    char time_text[32];
    time_t created = (time_t)to->created_s;
    struct tm parts;
    if (to->wanted.size > 0 && !bytes_equal(id, to->wanted)) {
        return;
    }
    strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&created, &parts));
    json_object_begin(to->writer);
    put(to->writer, "id", id);
    json_key(to->writer, "object");
    json_put_str(to->writer, "model");
    json_key(to->writer, "created");
    json_put_int(to->writer, to->created_s);
    json_key(to->writer, "owned_by");
    json_put_str(to->writer, provider != NULL ? provider->name : "optiroute");
    json_key(to->writer, "type");
    json_put_str(to->writer, "model");
    put(to->writer, "display_name", id);
    json_key(to->writer, "created_at");
    json_put_str(to->writer, time_text);
    if (provider != NULL && provider->simulated) { /* made-up words, as the chat page says */
        json_key(to->writer, "simulated");
        json_put_bool(to->writer, true);
    }
    json_object_end(to->writer);
    to->first = to->count++ == 0 ? id : to->first;
    to->last = id;
}

static void list_provider(struct listing *to, const struct conf_provider *provider) {
    list_model(to, bytes_from_str(provider->name), provider);
    for (unsigned i = 0; i < provider->model_count; i++) {
        size_t size = strlen(provider->name) + 1 + strlen(provider->models[i].name);
        char *id = arena_alloc(to->arena, size + 1);
        if (id == NULL) {
            to->failed = true;
            return;
        }
        snprintf(id, size + 1, "%s/%s", provider->name, provider->models[i].name);
        list_model(to, bytes_make(id, size), provider);
    }
}

/* Models by their own names, each at the provider that is asked then. */
static void list_bare(struct listing *to, const struct conf *conf, unsigned index) {
    const struct conf_provider *provider = &conf->providers[index];
    for (unsigned i = 0; i < provider->model_count; i++) {
        struct bytes name = bytes_from_str(provider->models[i].name);
        struct route_request route = {.route = -1, .provider = -1};
        if (ask_find_target(conf, name, &route) && route.provider == (int)index &&
            bytes_equal(route.model, name)) {
            list_model(to, name, provider);
        }
    }
}

static void list_all(struct listing *to, const struct conf *conf) {
    for (unsigned i = 0; i < conf->route_count; i++) {
        list_model(to, bytes_from_str(conf->routes[i].name), NULL);
    }
    for (unsigned i = 0; i < conf->provider_count; i++) {
        list_provider(to, &conf->providers[i]);
    }
    for (unsigned i = 0; i < conf->provider_count; i++) {
        list_bare(to, conf, i);
    }
}

static void refuse(struct api_call *call, int status, const char *code, const char *message) {
    struct api_error error = {.status = status,
                              .type = status < 500 ? "invalid_request_error" : "server_error",
                              .code = code,
                              .param = status == 404 ? "model" : NULL,
                              .message = message,
                              .should_retry = status >= 500};
    api_fields_begin(call);
    api_reply_error(call, &error);
    api_log(call, status);
}

static int hex_digit(char c) {
    static const char digits[] = "0123456789abcdef";
    const char *at = memchr(digits, c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c, 16);
    return at != NULL ? (int)(at - digits) : -1;
}

/* %XX becomes a byte, for clients escape the slash; what is no escape stays. data NULL without
 * memory. */
static struct bytes decode_name(struct bytes text, struct arena *arena) {
    char *out = arena_alloc(arena, text.size + 1);
    size_t size = 0;
    for (size_t i = 0; out != NULL && i < text.size; i++) {
        int high = text.data[i] == '%' && i + 2 < text.size ? hex_digit(text.data[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text.data[i + 2]) : -1;
        out[size++] = low >= 0 ? (char)(high * 16 + low) : text.data[i];
        i += low >= 0 ? 2 : 0;
    }
    return bytes_make(out, size);
}

void api_models(struct api_call *call, const struct http_head *head, struct bytes body) {
    struct buf *out = &call->api->body;
    struct json_writer writer;
    struct arena arena;
    struct listing to = {.writer = &writer, .arena = &arena, .created_s = call->api->started_s};
    (void)body;
    arena_init(&arena, 4096, 1024 * 1024);
    if (bytes_start_with(head->path, prefix)) {
        to.wanted = decode_name(
            bytes_make(head->path.data + prefix.size, head->path.size - prefix.size), &arena);
        to.failed = to.wanted.data == NULL;
    }
    json_write_init(&writer, out);
    if (to.wanted.size == 0) {
        json_object_begin(&writer);
        json_key(&writer, "object");
        json_put_str(&writer, "list");
        json_key(&writer, "data");
        json_array_begin(&writer);
    }
    list_all(&to, call->api->env->conf);
    if (to.wanted.size == 0) {
        json_array_end(&writer);
        json_key(&writer, "has_more");
        json_put_bool(&writer, false);
        put(&writer, "first_id", to.first);
        put(&writer, "last_id", to.last);
        json_object_end(&writer);
    }
    if (to.failed) {
        refuse(call, 503, "no_memory", "out of memory");
    } else if (to.count == 0) {
        refuse(call, 404, "model_not_found",
               "there is no route, provider or model of this name; "
               "GET /v1/models lists them");
    } else {
        api_reply(call, 200, "application/json", buf_bytes(out));
        api_log(call, 200);
    }
    arena_fini(&arena);
}
