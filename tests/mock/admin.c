/* admin: what a test asks the mock itself: GET /counters, GET /last, POST /reset, POST /release.
 *
 * These requests are not counted, and a connection that asks nothing else is not either. The
 * surprise: of a request only bytes are kept (one copy, no parsing on its way); its head is parsed
 * again when somebody wants to see it.
 */
#include "config.h"

#include "mock.h"

#include <stdio.h>

/* ---- remembering ---- */

void admin_note(struct conn *conn, struct bytes head, struct bytes body) {
    struct mock *mock = conn->mock;
    struct last *last = &mock->last[mock->noted++ % LAST_KEPT];
    size_t shown = body.size < LAST_BODY_MAX ? body.size : LAST_BODY_MAX;
    if (last->body.capacity > SCRATCH_SIZE) { /* of an unusual one, not to be kept for ever */
        buf_free(&last->body);
    }
    buf_clear(&last->head);
    buf_clear(&last->body);
    buf_append_bytes(&last->head, head);
    buf_append(&last->body, body.data, shown);
    last->body_bytes = body.size;
    if (body.size >= LAST_DIGEST_MIN) {
        sha256_begin(mock->sha);
        sha256_add(mock->sha, body.data, body.size);
        sha256_end(mock->sha, last->digest);
    }
    last->connection = conn->number;
    last->request = conn->requests;
}

/* ---- questions ---- */

/* The value of that name in the query, decoded into the arena; data NULL without. */
static struct bytes find_parameter(struct mock *mock, struct bytes query, const char *name) {
    while (query.size > 0) {
        struct bytes pair = bytes_make(query.data, bytes_find(query, '&'));
        size_t skip = pair.size + (pair.size < query.size);
        size_t equals = bytes_find(pair, '=');
        if (equals < pair.size && bytes_equal_str(bytes_make(pair.data, equals), name)) {
            struct bytes value = bytes_make(pair.data + equals + 1, pair.size - equals - 1);
            char *decoded = arena_alloc(&mock->arena, value.size);
            return bytes_make(decoded, decoded != NULL ? percent_decode(value, decoded) : 0);
        }
        query = bytes_make(query.data + skip, query.size - skip);
    }
    return (struct bytes){0};
}

static void put_count(struct json_writer *writer, const char *name, uint64_t value) {
    put_int(writer, name, (int64_t)value);
}

static void write_model_counters(struct json_writer *writer, const struct model *model) {
    static const struct model nobody = {0};
    const struct model *of = model != NULL ? model : &nobody;
    put_count(writer, "requests", of->requests);
    put_count(writer, "answered", of->answered);
    put_count(writer, "aborted", of->aborted);
    put_count(writer, "in_flight", of->in_flight);
}

static void write_counters(struct json_writer *writer, const struct counters *counters) {
    put_count(writer, "requests", counters->requests);
    put_count(writer, "answered", counters->answered);
    put_count(writer, "aborted", counters->aborted);
    put_count(writer, "in_flight", counters->in_flight);
    put_count(writer, "max_in_flight", counters->max_in_flight);
    put_count(writer, "errors", counters->errors);
    put_count(writer, "connections", counters->connections);
    put_count(writer, "open", counters->open);
    put_count(writer, "tls_handshakes", counters->tls_handshakes);
    put_count(writer, "bytes_received", counters->bytes_received);
}

static int answer_counters(struct mock *mock, const struct http_head *head,
                           struct json_writer *writer) {
    struct bytes name = find_parameter(mock, head->query, "model");
    if (name.data != NULL) {
        write_model_counters(writer, model_find(mock, name));
    } else {
        write_counters(writer, &mock->counters);
    }
    return 200;
}

/* ---- the last requests ---- */

static bool is_same_name(const struct http_field *a, const struct http_field *b) {
    return bytes_equal_nocase(a->name, b->name);
}

static void put_name(struct json_writer *writer, struct bytes name) {
    char lower[256];
    size_t i = 0;
    for (; i < name.size && i + 1 < sizeof(lower); i++) {
        char c = name.data[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    lower[i] = '\0';
    json_key(writer, lower);
}

/* Fields of one name are joined, as RFC 9110 section 5.2 joins them: an object has a name once. */
static void write_fields(struct mock *mock, struct json_writer *writer,
                         const struct http_head *head) {
    struct buf *value = &mock->text;
    json_key(writer, "fields");
    json_object_begin(writer);
    for (unsigned i = 0; i < head->field_count; i++) {
        unsigned first = 0;
        while (!is_same_name(&head->fields[first], &head->fields[i])) {
            first++;
        }
        if (first < i) {
            continue;
        }
        buf_clear(value);
        buf_append_bytes(value, head->fields[i].value);
        for (unsigned j = i + 1; j < head->field_count; j++) {
            if (is_same_name(&head->fields[i], &head->fields[j])) {
                buf_append_str(value, ", ");
                buf_append_bytes(value, head->fields[j].value);
            }
        }
        put_name(writer, head->fields[i].name);
        json_put_string(writer, buf_bytes(value));
    }
    json_object_end(writer);
}

/* In hexadecimal; null of a small body. */
static void put_digest(struct json_writer *writer, const struct last *last) {
    char text[2 * SHA256_SIZE + 1];
    for (size_t i = 0; i < SHA256_SIZE; i++) {
        snprintf(text + 2 * i, 3, "%02x", last->digest[i]);
    }
    put_str(writer, "body_sha256", last->body_bytes >= LAST_DIGEST_MIN ? text : NULL);
}

static void write_request(struct mock *mock, struct json_writer *writer, const struct last *last) {
    struct http_head *head = &mock->head; /* the question was read already */
    struct http_parser parser;
    struct http_fault fault;
    http_parser_reset(&parser);
    enum http_parse_result result = http_parse_head(&parser, buf_bytes(&last->head), head, &fault);
    ASSERT(result == HTTP_PARSE_DONE);
    json_key(writer, "method");
    json_put_string(writer, head->method_text);
    json_key(writer, "path");
    json_put_string(writer, head->path);
    json_key(writer, "query");
    json_put_string(writer, head->query);
    write_fields(mock, writer, head);
    json_key(writer, "body");
    json_put_string(writer, buf_bytes(&last->body));
    put_count(writer, "body_bytes", last->body_bytes);
    put_digest(writer, last);
    put_count(writer, "connection", last->connection);
    put_count(writer, "request", last->request);
}

static int answer_last(struct mock *mock, const struct http_head *head,
                       struct json_writer *writer) {
    int64_t n = 1;
    struct bytes text = find_parameter(mock, head->query, "n");
    bool is_number = text.data == NULL || bytes_to_int64(text, &n);
    uint64_t kept = mock->noted < LAST_KEPT ? mock->noted : LAST_KEPT;
    if (!is_number || n < 1 || (uint64_t)n > kept) {
        put_str(writer, "error", "no such request is remembered");
        return 404;
    }
    write_request(mock, writer, &mock->last[(mock->noted - (uint64_t)n) % LAST_KEPT]);
    return 200;
}

static int answer_reset(struct mock *mock, const struct http_head *head,
                        struct json_writer *writer) {
    (void)head;
    counters_reset(mock);
    write_counters(writer, &mock->counters);
    return 200;
}

/* The time that every answer waits for has come: of one that is delayed its beginning, of one that
 * is paced its next event. */
static int answer_release(struct mock *mock, const struct http_head *head,
                          struct json_writer *writer) {
    struct conn *conn;
    uint64_t released = 0;
    (void)head;
    LIST_FOREACH(conn, &mock->connections, link) {
        if (conn->state == CONN_ANSWERING && evtimer_pending(&conn->timer, NULL)) {
            event_active(&conn->timer, EV_TIMEOUT, 1);
            released++;
        }
    }
    put_count(writer, "released", released);
    return 200;
}

static const struct {
    const char *path;
    enum http_method method;
    int (*answer)(struct mock *mock, const struct http_head *head, struct json_writer *writer);
} routes[] = {
    {"/counters", HTTP_GET, answer_counters},
    {"/last", HTTP_GET, answer_last},
    {"/reset", HTTP_POST, answer_reset},
    {"/release", HTTP_POST, answer_release},
};

bool admin_take(struct conn *conn, const struct http_head *head) {
    struct mock *mock = conn->mock;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (head->method == routes[i].method && bytes_equal_str(head->path, routes[i].path)) {
            struct json_writer writer;
            buf_clear(&mock->body);
            json_write_init(&writer, &mock->body);
            json_object_begin(&writer);
            int status = routes[i].answer(mock, head, &writer);
            json_object_end(&writer);
            answer_reply(conn, status, false);
            return true;
        }
    }
    return false;
}
