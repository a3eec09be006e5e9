/* mockllm: a scripted upstream for tests: speaks the OpenAI chat API and does what the model's name
 * says. Built, never installed; not a model and not a load generator.
 *
 *   mockllm [PORT]            listens on 127.0.0.1 (0 or nothing: a free port, printed on stdout)
 *
 * The model is a name with orders behind it: `any+delay=200+status=429+retry_after=7+tokens=20`
 *   delay=MS        answers after so many milliseconds
 *   status=CODE     answers with an error of this status
 *   retry_after=S   adds the field to it
 *   tokens=N        completion tokens, and words, of the answer (default 10)
 * GET /counters says what happened so far: requests, answered, aborted, in_flight, errors.
 *
 * One process, one loop, on the project's own HTTP server and JSON. Ends at SIGTERM or SIGINT.
 */
#include "config.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json_read.h"
#include "base/json_write.h"
#include "base/panic.h"
#include "http/http_server.h"

#define TOKENS_DEFAULT 10
#define TOKENS_MAX 100000
#define DELAY_MAX_MS 600000

struct mock {
    struct event_base *base;
    struct http_server *server;
    struct json_reader reader;
    struct arena arena; /* of the request that is being read */
    struct buf body, fields;
    uint64_t requests, answered, aborted, errors;
};

/* What a model's name orders. */
struct orders {
    int64_t delay_ms, status, retry_after_s, tokens;
};

/* An answer that waits for its time. */
struct pending {
    struct mock *mock;
    struct http_exchange *exchange;
    struct event *timer;
    struct orders orders;
    int64_t prompt_tokens;
    char model[128];
};

static const struct {
    const char *name;
    size_t offset;
    int64_t most;
} order_rows[] = {
    {"delay", offsetof(struct orders, delay_ms), DELAY_MAX_MS},
    {"status", offsetof(struct orders, status), 599},
    {"retry_after", offsetof(struct orders, retry_after_s), INT32_MAX},
    {"tokens", offsetof(struct orders, tokens), TOKENS_MAX},
};

/* One `key=value`; -1 when it is no order. */
static int take_order(struct orders *orders, struct bytes order) {
    size_t equals = bytes_find(order, '=');
    if (equals == order.size) {
        return -1;
    }
    struct bytes name = bytes_make(order.data, equals);
    struct bytes value = bytes_make(order.data + equals + 1, order.size - equals - 1);
    for (size_t i = 0; i < sizeof(order_rows) / sizeof(order_rows[0]); i++) {
        int64_t number;
        if (bytes_equal_str(name, order_rows[i].name) && bytes_to_int64(value, &number) &&
            number <= order_rows[i].most) {
            memcpy((char *)orders + order_rows[i].offset, &number, sizeof(number));
            return 0;
        }
    }
    return -1;
}

static int read_orders(struct bytes model, struct orders *orders) {
    *orders = (struct orders){.status = 200, .tokens = TOKENS_DEFAULT};
    size_t at = bytes_find(model, '+');
    while (at < model.size) {
        struct bytes rest = bytes_make(model.data + at + 1, model.size - at - 1);
        struct bytes order = bytes_make(rest.data, bytes_find(rest, '+'));
        if (take_order(orders, order) == -1) {
            return -1;
        }
        at += 1 + order.size;
    }
    return orders->status >= 200 ? 0 : -1;
}

static void write_error(struct buf *out, const char *message) {
    struct json_writer writer;
    json_write_init(&writer, out);
    json_object_begin(&writer);
    json_key(&writer, "error");
    json_object_begin(&writer);
    json_key(&writer, "message");
    json_put_str(&writer, message);
    json_key(&writer, "type");
    json_put_str(&writer, "mock_error");
    json_key(&writer, "param");
    json_put_null(&writer);
    json_key(&writer, "code");
    json_put_null(&writer);
    json_object_end(&writer);
    json_object_end(&writer);
}

static void write_completion(struct buf *out, const struct pending *pending) {
    struct json_writer writer;
    struct buf text;
    buf_init(&text, 0);
    for (int64_t i = 0; i < pending->orders.tokens; i++) {
        buf_append_str(&text, i > 0 ? " word" : "word");
    }
    json_write_init(&writer, out);
    json_object_begin(&writer);
    json_key(&writer, "id");
    json_put_str(&writer, "chatcmpl-mock");
    json_key(&writer, "object");
    json_put_str(&writer, "chat.completion");
    json_key(&writer, "created");
    json_put_int(&writer, 0);
    json_key(&writer, "model");
    json_put_str(&writer, pending->model);
    json_key(&writer, "choices");
    json_array_begin(&writer);
    json_object_begin(&writer);
    json_key(&writer, "index");
    json_put_int(&writer, 0);
    json_key(&writer, "message");
    json_object_begin(&writer);
    json_key(&writer, "role");
    json_put_str(&writer, "assistant");
    json_key(&writer, "content");
    json_put_string(&writer, buf_bytes(&text));
    json_object_end(&writer);
    json_key(&writer, "finish_reason");
    json_put_str(&writer, "stop");
    json_object_end(&writer);
    json_array_end(&writer);
    json_key(&writer, "usage");
    json_object_begin(&writer);
    json_key(&writer, "prompt_tokens");
    json_put_int(&writer, pending->prompt_tokens);
    json_key(&writer, "completion_tokens");
    json_put_int(&writer, pending->orders.tokens);
    json_key(&writer, "total_tokens");
    json_put_int(&writer, pending->prompt_tokens + pending->orders.tokens);
    json_object_end(&writer);
    json_object_end(&writer);
    buf_free(&text);
}

static void reply(struct mock *mock, struct http_exchange *exchange, int status) {
    struct http_reply answer = {.status = status,
                                .content_type = "application/json",
                                .fields = buf_bytes(&mock->fields),
                                .body = buf_bytes(&mock->body)};
    mock->answered++;
    mock->errors += status >= 400;
    http_reply(exchange, &answer);
}

static void refuse(struct mock *mock, struct http_exchange *exchange, int status,
                   const char *message) {
    buf_clear(&mock->fields);
    buf_clear(&mock->body);
    write_error(&mock->body, message);
    reply(mock, exchange, status);
}

static void pending_free(struct pending *pending) {
    if (pending->timer != NULL) {
        event_free(pending->timer);
    }
    free(pending);
}

static void answer_now(struct pending *pending) {
    struct mock *mock = pending->mock;
    struct http_exchange *exchange = pending->exchange;
    int status = (int)pending->orders.status;
    http_exchange_set_user(exchange, NULL);
    buf_clear(&mock->fields);
    buf_clear(&mock->body);
    if (status >= 300) {
        write_error(&mock->body, "as ordered");
    } else {
        write_completion(&mock->body, pending);
    }
    if (pending->orders.retry_after_s > 0) {
        buf_printf(&mock->fields, "Retry-After: %lld\r\n",
                   (long long)pending->orders.retry_after_s);
    }
    pending_free(pending);
    reply(mock, exchange, status);
}

static void on_due(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    answer_now(argument);
}

/* Bytes of all `content` strings, at four to a token. */
static int64_t count_prompt_tokens(const struct json_reader *reader) {
    int messages = json_get(reader, 0, "messages");
    size_t size = 0;
    for (int item = json_first(reader, messages); item >= 0; item = json_next(reader, item)) {
        int content = json_get(reader, item, "content");
        if (json_type(reader, content) == JSON_STRING) {
            size += json_raw(reader, content).size;
        }
    }
    return (int64_t)((size + 3) / 4);
}

static void complete(struct mock *mock, struct http_exchange *exchange, struct bytes body) {
    struct json_fault fault;
    arena_reset(&mock->arena);
    if (json_read(&mock->reader, body, &fault) == -1 ||
        json_type(&mock->reader, json_get(&mock->reader, 0, "messages")) != JSON_ARRAY) {
        refuse(mock, exchange, 400, "not a chat request");
        return;
    }
    struct bytes model =
        json_string(&mock->reader, json_get(&mock->reader, 0, "model"), &mock->arena);
    struct pending *pending = calloc(1, sizeof(*pending));
    if (pending == NULL || model.data == NULL || model.size >= sizeof(pending->model) ||
        read_orders(model, &pending->orders) == -1) {
        free(pending);
        refuse(mock, exchange, 404, "no such model, or orders that make no sense");
        return;
    }
    memcpy(pending->model, model.data, model.size);
    pending->mock = mock;
    pending->exchange = exchange;
    pending->prompt_tokens = count_prompt_tokens(&mock->reader);
    if (pending->orders.delay_ms == 0) {
        answer_now(pending);
        return;
    }
    struct timeval delay = {pending->orders.delay_ms / 1000,
                            (pending->orders.delay_ms % 1000) * 1000};
    pending->timer = evtimer_new(mock->base, on_due, pending);
    if (pending->timer == NULL || evtimer_add(pending->timer, &delay) == -1) {
        pending_free(pending);
        refuse(mock, exchange, 503, "out of memory");
        return;
    }
    http_exchange_set_user(exchange, pending);
}

static void put_counter(struct json_writer *writer, const char *name, uint64_t value) {
    json_key(writer, name);
    json_put_int(writer, (int64_t)value);
}

static void answer_counters(struct mock *mock, struct http_exchange *exchange) {
    struct json_writer writer;
    buf_clear(&mock->fields);
    buf_clear(&mock->body);
    json_write_init(&writer, &mock->body);
    json_object_begin(&writer);
    put_counter(&writer, "requests", mock->requests);
    put_counter(&writer, "answered", mock->answered);
    put_counter(&writer, "aborted", mock->aborted);
    put_counter(&writer, "in_flight", mock->requests - mock->answered - mock->aborted);
    put_counter(&writer, "errors", mock->errors);
    json_object_end(&writer);
    struct http_reply answer = {
        .status = 200, .content_type = "application/json", .body = buf_bytes(&mock->body)};
    http_reply(exchange, &answer);
}

static void on_request(void *context, struct http_exchange *exchange, const struct http_head *head,
                       struct bytes body) {
    struct mock *mock = context;
    if (head->method == HTTP_GET && bytes_equal_str(head->path, "/counters")) {
        answer_counters(mock, exchange);
        return;
    }
    mock->requests++;
    if (head->method == HTTP_POST && bytes_equal_str(head->path, "/v1/chat/completions")) {
        complete(mock, exchange, body);
    } else {
        refuse(mock, exchange, 404, "only POST /v1/chat/completions and GET /counters");
    }
}

static void on_fault(void *context, struct http_exchange *exchange, const struct http_head *head,
                     const struct http_fault *fault) {
    (void)head;
    struct mock *mock = context;
    mock->requests++;
    refuse(mock, exchange, fault->status, fault->reason);
}

static void on_aborted(void *context, struct http_exchange *exchange) {
    struct mock *mock = context;
    struct pending *pending = http_exchange_user(exchange);
    if (pending != NULL) {
        mock->aborted++;
        pending_free(pending);
    }
}

static const struct http_callbacks callbacks = {
    .request = on_request, .fault = on_fault, .aborted = on_aborted};

static void on_accept(evutil_socket_t fd, short what, void *argument) {
    (void)what;
    struct mock *mock = argument;
    int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client != -1) {
        (void)http_server_add(mock->server, client, NULL, NULL); /* closes it when it cannot */
    }
}

static void on_signal(evutil_socket_t number, short what, void *argument) {
    (void)number;
    (void)what;
    event_base_loopbreak(argument);
}

static int open_listener(uint16_t port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == -1 ||
        bind(fd, (struct sockaddr *)&address, size) == -1 || listen(fd, SOMAXCONN) == -1 ||
        getsockname(fd, (struct sockaddr *)&address, &size) == -1) {
        die(2, "mockllm: cannot listen on 127.0.0.1:%u: %m", port);
    }
    printf("listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static uint16_t read_port(int argc, char **argv) {
    int64_t port = 0;
    if (argc > 2 ||
        (argc == 2 && (!bytes_to_int64(bytes_from_str(argv[1]), &port) || port > UINT16_MAX))) {
        die(1, "usage: mockllm [PORT]");
    }
    return (uint16_t)port;
}

int main(int argc, char **argv) {
    static const struct http_limits limits = {.max_body_bytes = 64 << 20,
                                              .max_connections = 20000,
                                              .header_timeout_ms = 60000,
                                              .keepalive_ms = 600000,
                                              .body_idle_ms = 60000,
                                              .body_per_mib_ms = 60000,
                                              .send_stall_ms = 60000,
                                              .stream_buffer_bytes = 256 << 10};
    struct mock mock = {0};
    int listener = open_listener(read_port(argc, argv));
    mock.base = event_base_new();
    mock.server = http_server_new(mock.base, &limits, &callbacks, &mock);
    json_reader_init(&mock.reader);
    arena_init(&mock.arena, 4096, 64 << 20);
    buf_init(&mock.body, 0);
    buf_init(&mock.fields, 0);
    struct event *accepting =
        event_new(mock.base, listener, EV_READ | EV_PERSIST, on_accept, &mock);
    struct event *term = evsignal_new(mock.base, SIGTERM, on_signal, mock.base);
    struct event *interrupt = evsignal_new(mock.base, SIGINT, on_signal, mock.base);
    ASSERT(mock.server != NULL && accepting != NULL && term != NULL && interrupt != NULL);
    event_add(accepting, NULL);
    event_add(term, NULL);
    event_add(interrupt, NULL);
    event_base_dispatch(mock.base);
    http_server_free(mock.server);
    event_free(accepting);
    event_free(term);
    event_free(interrupt);
    event_base_free(mock.base);
    json_reader_fini(&mock.reader);
    arena_fini(&mock.arena);
    buf_free(&mock.body);
    buf_free(&mock.fields);
    close(listener);
    return 0;
}
