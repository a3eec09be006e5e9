/* request: bytes to requests, and a request to what its answer has to know: dialect, model, how
 * many words were asked, whether it is to be a stream.
 *
 * Requests are read strictly, by the product's own parser: a gateway that sends nonsense is told
 * so. The surprise: nothing of a request outlives request_take but what stands in conn->answer, so
 * an answer never looks at bytes that have moved.
 */
#include "config.h"

#include "mock.h"

#define CHOICES_MAX 8

/* ---- paths ---- */

static const struct {
    const char *end;
    enum http_method method;
    enum dialect dialect;
    const char *content; /* the member that has to be there */
} routes[] = {
    {"/chat/completions", HTTP_POST, DIALECT_CHAT, "messages"},
    {"/completions", HTTP_POST, DIALECT_COMPLETIONS, "prompt"},
    {"/embeddings", HTTP_POST, DIALECT_EMBEDDINGS, "input"},
    {"/responses", HTTP_POST, DIALECT_RESPONSES, "input"},
    {"/messages", HTTP_POST, DIALECT_MESSAGES, "messages"},
    {"/models", HTTP_GET, DIALECT_MODELS, NULL},
    {"", HTTP_POST, DIALECT_INFERENCE, "inputs"}, /* any other path */
};

#define ROUTES (sizeof(routes) / sizeof(routes[0]))

static bool path_ends(struct bytes path, const char *end) {
    size_t size = strlen(end);
    return path.size >= size && memcmp(path.data + path.size - size, end, size) == 0;
}

static size_t find_route(const struct http_head *head) {
    size_t i = 0;
    while (i < ROUTES &&
           (routes[i].method != head->method || !path_ends(head->path, routes[i].end))) {
        i++;
    }
    return i;
}

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

size_t percent_decode(struct bytes text, char *out) {
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        int high = text.data[i] == '%' && i + 2 < text.size ? hex_digit(text.data[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text.data[i + 2]) : -1;
        out[size++] = low >= 0 ? (char)(high * 16 + low) : text.data[i];
        i += low >= 0 ? 2 : 0;
    }
    return size;
}

/* ---- what was asked ---- */

/* Bytes of all texts: of strings, of `text` and `content` members, of lists of these. */
static size_t text_bytes(const struct json_reader *reader, int value, int depth) {
    enum json_type type = json_type(reader, value);
    size_t size = 0;
    if (type == JSON_STRING) {
        return json_raw(reader, value).size;
    }
    if (type == JSON_OBJECT && depth < JSON_MAX_DEPTH) {
        return text_bytes(reader, json_get(reader, value, "text"), depth + 1) +
               text_bytes(reader, json_get(reader, value, "content"), depth + 1);
    }
    if (type == JSON_ARRAY && depth < JSON_MAX_DEPTH) {
        for (int item = json_first(reader, value); item >= 0; item = json_next(reader, item)) {
            size += text_bytes(reader, item, depth + 1);
        }
    }
    return size;
}

/* At four bytes to a token. */
static int64_t count_prompt_tokens(const struct json_reader *reader, int content) {
    size_t size = text_bytes(reader, content, 0) +
                  text_bytes(reader, json_get(reader, 0, "system"), 0) +
                  text_bytes(reader, json_get(reader, 0, "instructions"), 0);
    return (int64_t)((size + 3) / 4);
}

/* Texts to embed: a string is one, so is a list of token numbers. */
static int64_t count_inputs(const struct json_reader *reader, int input) {
    bool is_list = json_type(reader, input) == JSON_ARRAY &&
                   json_type(reader, json_first(reader, input)) != JSON_NUMBER;
    return is_list ? json_count(reader, input) : 1;
}

static bool can_stream(enum dialect dialect) {
    return dialect == DIALECT_CHAT || dialect == DIALECT_COMPLETIONS ||
           dialect == DIALECT_RESPONSES || dialect == DIALECT_MESSAGES;
}

static bool has_choices(enum dialect dialect) {
    return dialect == DIALECT_CHAT || dialect == DIALECT_COMPLETIONS;
}

static bool is_true(const struct json_reader *reader, int object, const char *name) {
    return json_type(reader, json_get(reader, object, name)) == JSON_TRUE;
}

/* Only a chat's messages must be a list, as they were always held to be. */
static bool is_content(const struct json_reader *reader, int content, enum dialect dialect) {
    enum json_type type = json_type(reader, content);
    bool list_only = dialect == DIALECT_CHAT || dialect == DIALECT_MESSAGES;
    return type == JSON_ARRAY || ((type == JSON_STRING || type == JSON_NUMBERS) && !list_only);
}

static bool read_question(struct conn *conn, struct bytes body, const char *content_name) {
    struct json_reader *reader = &conn->mock->reader;
    struct answer *answer = &conn->answer;
    struct json_fault fault;
    if (json_read(reader, body, &fault) == -1) {
        return false;
    }
    int content = json_get(reader, 0, content_name);
    if (!is_content(reader, content, answer->dialect)) {
        return false;
    }
    int64_t choices;
    answer->stream = can_stream(answer->dialect) && is_true(reader, 0, "stream");
    answer->include_usage = is_true(reader, json_get(reader, 0, "stream_options"), "include_usage");
    if (has_choices(answer->dialect) && json_int64(reader, json_get(reader, 0, "n"), &choices) &&
        choices >= 1 && choices <= CHOICES_MAX) {
        answer->choices = choices;
    }
    answer->inputs = count_inputs(reader, content);
    answer->base64 =
        json_string_equals(reader, json_get(reader, 0, "encoding_format"), BYTES_LITERAL("base64"));
    answer->prompt_tokens = count_prompt_tokens(reader, content);
    return true;
}

/* ---- the model ---- */

/* Behind "/models/" in the path, or the member "model". data NULL when there is none. */
static struct bytes model_name(struct conn *conn, const struct http_head *head) {
    static const char mark[] = "/models/";
    struct mock *mock = conn->mock;
    const char *at = conn->answer.dialect == DIALECT_INFERENCE
                         ? memmem(head->path.data, head->path.size, mark, sizeof(mark) - 1)
                         : NULL;
    if (at == NULL) {
        return json_string(&mock->reader, json_get(&mock->reader, 0, "model"), &mock->arena);
    }
    at += sizeof(mark) - 1;
    struct bytes name = bytes_make(at, (size_t)(head->path.data + head->path.size - at));
    char *decoded = arena_alloc(&mock->arena, name.size);
    return bytes_make(decoded, decoded != NULL ? percent_decode(name, decoded) : 0);
}

static void note_leak(struct answer *answer, const struct http_head *head) {
    struct bytes key = http_head_find(head, "Authorization");
    if (key.data == NULL) {
        key = http_head_find(head, "x-api-key");
    }
    buf_append_str(&answer->leak, "as ordered, for ");
    buf_append_bytes(&answer->leak, key);
    buf_append_str(&answer->leak, " at ");
    buf_append_bytes(&answer->leak, http_head_find(head, "Host"));
}

/* Which orders hold for this request of the model. */
static void choose_orders(struct answer *answer) {
    struct model *model = answer->model;
    const struct orders *orders = &model->orders;
    answer->orders = orders;
    if (orders->times > 0 && model->seen > (uint64_t)orders->times) {
        answer->orders = &model->calm;
    } else if (orders->fault_every > 0 && model->seen % (uint64_t)orders->fault_every == 0) {
        answer->own = *orders;
        orders_fault(&answer->own, model->seen / (uint64_t)orders->fault_every - 1, answer->stream);
        answer->orders = &answer->own;
    }
}

static void answer_for_model(struct conn *conn, const struct http_head *head) {
    struct bytes name = model_name(conn, head);
    if (name.data == NULL || name.size > MODEL_NAME_MAX) {
        answer_refuse(conn, 404, "no model is named", false);
        return;
    }
    struct model *model = model_of(conn->mock, name);
    if (model == NULL) {
        answer_refuse(conn, 503, "too many model names; POST /reset forgets them", false);
        return;
    }
    count_model(conn, model);
    if (!model->makes_sense) {
        answer_refuse(conn, 404, "no such model, or orders that make no sense", false);
        return;
    }
    choose_orders(&conn->answer);
    if (conn->answer.orders->leak) {
        note_leak(&conn->answer, head);
    }
    answer_begin(conn);
}

/* ---- one request ---- */

static void begin_answer(struct conn *conn, const struct http_head *head) {
    struct answer *answer = &conn->answer;
    memset(answer, 0, offsetof(struct answer, own));
    answer->orders = &orders_default;
    answer->choices = 1;
    buf_init(&answer->leak, 0);
    buf_init(&answer->rest, 0);
    answer->keep_alive = head != NULL && head->keep_alive;
    answer->old_version = head != NULL && head->minor_version == 0;
}

static void handle(struct conn *conn, const struct http_head *head, struct bytes head_bytes,
                   struct bytes body) {
    struct answer *answer = &conn->answer;
    begin_answer(conn, head);
    arena_reset(&conn->mock->arena);
    if (admin_take(conn, head)) {
        return;
    }
    count_connection(conn);
    conn->requests++;
    admin_note(conn, head_bytes, body);
    count_request(conn);
    size_t route = find_route(head);
    if (route == ROUTES) {
        answer_refuse(conn, 404, "no such path", false);
        return;
    }
    answer->dialect = routes[route].dialect;
    if (answer->dialect == DIALECT_MODELS) {
        answer_begin(conn);
    } else if (!read_question(conn, body, routes[route].content)) {
        bool other = answer->dialect == DIALECT_INFERENCE;
        answer_refuse(conn, other ? 404 : 400,
                      other ? "no such path, and no inputs" : "not a request of this kind", false);
    } else {
        answer_for_model(conn, head);
    }
}

static void refuse_bytes(struct conn *conn, const struct http_fault *fault) {
    begin_answer(conn, NULL);
    count_connection(conn);
    conn->requests++;
    count_request(conn);
    answer_refuse(conn, fault->status, fault->reason, true);
}

/* The body is not asked for: what it says makes no difference here. */
static void answer_early(struct conn *conn) {
    struct model *model = model_of(conn->mock, BYTES_LITERAL("early"));
    begin_answer(conn, NULL);
    count_connection(conn);
    conn->requests++;
    count_request(conn);
    if (model != NULL) {
        count_model(conn, model);
    }
    answer_begin(conn);
}

static bool take_head(struct conn *conn, const struct window *window) {
    struct http_head *head = &conn->mock->head;
    struct http_fault fault;
    switch (http_parse_head(&conn->parser, bytes_make(window->data, window->size), head, &fault)) {
    case HTTP_PARSE_PARTIAL:
        return false;
    case HTTP_PARSE_ERROR:
        refuse_bytes(conn, &fault);
        return false;
    default:
        break;
    }
    if (listener_is_early(conn->listener)) {
        answer_early(conn);
        return false;
    }
    conn->head_size = head->size;
    http_body_begin(&conn->body, head, BODY_MAX);
    if (head->expect_continue && window->size == head->size) {
        struct iovec go_on = {(char *)"HTTP/1.1 100 Continue\r\n\r\n", 25};
        (void)conn->transport.ops->writev(&conn->transport, &go_on,
                                          1); /* an empty socket takes it */
    }
    return true;
}

/* The head once more: keeping 3 KiB of views with every connection would cost more. */
static void parse_again(struct conn *conn, const char *data) {
    struct http_fault fault;
    http_parser_reset(&conn->parser);
    enum http_parse_result result = http_parse_head(
        &conn->parser, bytes_make(data, conn->head_size), &conn->mock->head, &fault);
    ASSERT(result == HTTP_PARSE_DONE);
}

bool request_take(struct conn *conn, struct window *window) {
    struct http_fault fault;
    size_t consumed, decoded;
    char *data = window->data;
    bool head_is_fresh = conn->head_size == 0;
    if (head_is_fresh && !take_head(conn, window)) {
        return false;
    }
    char *body = data + conn->head_size;
    char *raw = body + conn->body.received;
    size_t raw_size = (size_t)(data + window->size - raw);
    enum http_parse_result result =
        http_body_feed(&conn->body, raw, raw_size, &consumed, &decoded, &fault);
    if (result == HTTP_PARSE_PARTIAL) {
        window->size = (size_t)(raw - data) + decoded;
        return false;
    }
    if (result == HTTP_PARSE_ERROR) {
        refuse_bytes(conn, &fault);
        return false;
    }
    if (!head_is_fresh) {
        parse_again(conn, data);
    }
    struct bytes head_bytes = bytes_make(data, conn->head_size);
    size_t used = (size_t)(raw - data) + consumed;
    window->data += used;
    window->size -= used;
    conn->head_size = 0;
    http_parser_reset(&conn->parser);
    handle(conn, &conn->mock->head, head_bytes, bytes_make(body, (size_t)conn->body.received));
    return true;
}
