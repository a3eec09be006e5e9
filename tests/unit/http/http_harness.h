/* http_harness: a server over socket pairs, with an event base driven step by step, a clock turned
 * by hand and a handler that does what the path of a request says. For the tests of layer http.
 *
 *   /now      answers at once with the body of the request
 *   /later    leaves the exchange in harness.open[]
 *   /big/N    answers at once with N bytes
 *   /close    answers at once and closes
 *   /empty    answers 204
 *   /stream   begins a stream, leaves it in harness.open[]
 */
#ifndef OPTIROUTE_TESTS_HTTP_HARNESS_H
#define OPTIROUTE_TESTS_HTTP_HARNESS_H

#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../src/http/http_conn.h"

#define MAX_OPEN 64

static struct harness {
    struct event_base *base;
    struct http_server *server;
    struct http_exchange *open[MAX_OPEN];
    unsigned opened, requests, faults, aborted, finished, writable;
    enum http_abort why;     /* of the last one aborted */
    struct buf taken;        /* memory of a request for /take, when it could be had */
    struct bytes taken_body; /* in it */
    char log[32768];         /* what was handed over, one line each */
    size_t log_size;
} harness;

static int64_t harness_now_ns;

static int64_t harness_clock(void) {
    return harness_now_ns;
}

static void harness_log(const char *what, const struct http_head *head, struct bytes body) {
    int size = snprintf(harness.log + harness.log_size, sizeof(harness.log) - harness.log_size,
                        "%s %.*s %.*s\n", what, head != NULL ? (int)head->target.size : 1,
                        head != NULL ? head->target.data : "-",
                        body.size > 100 ? 100 : (int)body.size, body.data);
    harness.log_size += (size_t)size;
    ck_assert_uint_lt(harness.log_size, sizeof(harness.log));
}

static void harness_answer(struct http_exchange *exchange, int status, struct bytes body,
                           bool close) {
    struct http_reply reply = {
        .status = status,
        .content_type = status == 204 ? NULL : "text/plain",
        .fields = BYTES_LITERAL("x-test: yes\r\n"),
        .body = body,
        .close = close,
    };
    http_reply(exchange, &reply);
}

static void harness_big(struct http_exchange *exchange, size_t size) {
    char *body = malloc(size);
    ck_assert_ptr_nonnull(body);
    for (size_t i = 0; i < size; i++) {
        body[i] = (char)('a' + i % 23);
    }
    harness_answer(exchange, 200, bytes_make(body, size), false);
    free(body);
}

static void harness_request(void *context, struct http_exchange *exchange,
                            const struct http_head *head, struct bytes body) {
    (void)context;
    harness.requests++;
    harness_log("request", head, body);
    ck_assert_ptr_null(http_exchange_user(exchange));
    http_exchange_set_user(exchange, &harness);
    if (bytes_equal_str(head->path, "/take")) {
        bool taken = http_exchange_take_request(exchange, &harness.taken);
        harness.taken_body = taken ? body : bytes_make(NULL, 0);
        harness.open[harness.opened++ % MAX_OPEN] = exchange;
    } else if (bytes_equal_str(head->path, "/later")) {
        harness.open[harness.opened++ % MAX_OPEN] = exchange;
    } else if (bytes_equal_str(head->path, "/stream")) {
        struct http_reply reply = {.status = 200, .content_type = "text/event-stream"};
        http_reply_begin(exchange, &reply);
        harness.open[harness.opened++ % MAX_OPEN] = exchange;
    } else if (bytes_start_with(head->path, BYTES_LITERAL("/big/"))) {
        harness_big(exchange, (size_t)atol(head->path.data + 5));
    } else if (bytes_equal_str(head->path, "/empty")) {
        harness_answer(exchange, 204, BYTES_LITERAL(""), false);
    } else {
        harness_answer(exchange, 200, body, bytes_equal_str(head->path, "/close"));
    }
}

static void harness_fault(void *context, struct http_exchange *exchange,
                          const struct http_head *head, const struct http_fault *fault) {
    (void)context;
    harness.faults++;
    harness_log("fault", head, bytes_from_str(fault->reason));
    harness_answer(exchange, fault->status, bytes_from_str(fault->reason), false);
}

static void harness_aborted(void *context, struct http_exchange *exchange, enum http_abort why) {
    (void)context;
    harness.why = why;
    ck_assert_ptr_eq(http_exchange_user(exchange), &harness);
    harness.aborted++;
}

static void harness_finished(void *context, struct http_exchange *exchange) {
    (void)context;
    (void)exchange;
    harness.finished++;
}

static void harness_writable(void *context, struct http_exchange *exchange) {
    (void)context;
    (void)exchange;
    harness.writable++;
}

static bool harness_admits(void *context, const struct http_head *head) {
    (void)context;
    return bytes_equal_str(head->path, "/now") || bytes_equal_str(head->path, "/stream");
}

#define HARNESS_BUSY "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"

static void harness_set_up(void) {
    static const struct http_limits limits = {
        .max_body_bytes = 1 << 20,
        .max_input_bytes = 2 << 20,
        .max_output_bytes = 4 << 20,
        .max_above = 3,
        .above_ms = 1000,
        .busy_answer = BYTES_LITERAL(HARNESS_BUSY),
        .header_timeout_ms = 10000,
        .keepalive_ms = 75000,
        .body_idle_ms = 10000,
        .body_per_mib_ms = 30000,
        .send_stall_ms = 30000,
        .stream_buffer_bytes = 64 * 1024,
    };
    static const struct http_callbacks callbacks = {
        .request = harness_request,
        .fault = harness_fault,
        .aborted = harness_aborted,
        .finished = harness_finished,
        .writable = harness_writable,
        .admits = harness_admits,
    };
    signal(SIGPIPE, SIG_IGN);
    memset(&harness, 0, sizeof(harness));
    harness_now_ns = 1000 * NS_PER_S;
    harness.base = event_base_new();
    harness.server = http_server_new(harness.base, &limits, &callbacks, NULL);
    ck_assert_ptr_nonnull(harness.server);
    harness.server->now_ns = harness_clock;
}

static void harness_tear_down(void) {
    http_server_free(harness.server);
    event_base_free(harness.base);
}

/* A few loop turns: enough for input, deferred work and its consequences. */
static void harness_step(void) {
    for (int i = 0; i < 6; i++) {
        event_base_loop(harness.base, EVLOOP_NONBLOCK);
    }
}

/* Turns the clock and lets every timer look at it. */
static void harness_pass(int64_t ms) {
    struct http_conn *conn = TAILQ_FIRST(&harness.server->connections);
    harness_now_ns += ms * NS_PER_MS;
    while (conn != NULL) {
        struct http_conn *next = TAILQ_NEXT(conn, link);
        conn_check_deadlines(conn);
        conn = next;
    }
    harness_step();
}

static int harness_connect_as(struct tls_context *tls, enum http_place place) {
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(http_server_add(harness.server, pair[1], tls, "192.0.2.1", place), 0);
    return pair[0];
}

static int harness_connect_with(struct tls_context *tls) {
    return harness_connect_as(tls, HTTP_REGULAR);
}

static inline int harness_connect(void) {
    return harness_connect_with(NULL);
}

static inline struct http_conn *harness_conn(void) {
    return TAILQ_LAST(&harness.server->connections, http_conn_list);
}

static void harness_say(int fd, const char *data, size_t size) {
    ck_assert_int_eq(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

static void harness_say_str(int fd, const char *text) {
    harness_say(fd, text, strlen(text));
}

/* What has come so far; the clock's part of it (the date) is made equal. NUL-terminated, static.
 * *ended: the other side is done. */
static char harness_text[1 << 20];

static size_t harness_hear(int fd, bool *ended) {
    size_t size = 0;
    *ended = false;
    for (;;) {
        ssize_t got = recv(fd, harness_text + size, sizeof(harness_text) - 1 - size, 0);
        if (got <= 0) {
            *ended = got == 0 || errno != EAGAIN;
            break;
        }
        size += (size_t)got;
    }
    harness_text[size] = '\0';
    for (char *at = harness_text; (at = strstr(at, "\r\nDate: ")) != NULL; at += 37) {
        ck_assert_mem_eq(at + 8 + 25, " GMT\r\n", 6);
        memset(at + 8, '*', 29);
    }
    return size;
}

#define DATE "Date: *****************************\r\n"
#define ANSWER(status, length, extra, body)                                              \
    "HTTP/1.1 " status "\r\n" DATE "Content-Type: text/plain\r\nContent-Length: " length \
    "\r\n" extra "x-test: yes\r\n\r\n" body

static inline void harness_expect(int fd, const char *answer, bool end) {
    bool ended;
    harness_hear(fd, &ended);
    ck_assert_str_eq(harness_text, answer);
    ck_assert_int_eq(ended, end);
}

#endif
