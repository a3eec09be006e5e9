/* http_server: connections over socket pairs, step by step; nothing sleeps. */
#include "config.h"

#include "http_harness.h"

#include <netinet/in.h>

#define OK(length, body) ANSWER("200 OK", length, "", body)
#define CLOSED(status, length, body) ANSWER(status, length, "Connection: close\r\n", body)
#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(length, body) \
    "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: " length "\r\n\r\n" body

/* ---- requests and answers ---- */

struct exchange_case {
    const char *says;
    const char *hears;
    bool ends;
};

static const struct exchange_case exchanges[] = {
    {GET("/now"), OK("0", ""), false},
    {POST("5", "hello"), OK("5", "hello"), false},
    {POST("5", "hello") POST("3", "you") GET("/now"), OK("5", "hello") OK("3", "you") OK("0", ""),
     false},
    {"POST /now HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
     "chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n"
     "0\r\nA: b\r\n\r\n" GET("/now"),
     OK("5", "hello") OK("0", ""), false},
    {"HEAD /big/10 HTTP/1.1\r\nHost: a\r\n\r\n" GET("/now"), OK("10", "") OK("0", ""), false},
    {GET("/empty") GET("/now"),
     "HTTP/1.1 204 No Content\r\n" DATE "x-test: yes\r\n\r\n" OK("0", ""), false},
    {"GET /now HTTP/1.0\r\n\r\n", CLOSED("200 OK", "0", ""), true},
    {"GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
     ANSWER("200 OK", "0", "Connection: keep-alive\r\n", ""), false},
    {"GET /now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", CLOSED("200 OK", "0", ""), true},
    {GET("/now") GET("/close") GET("/now"), OK("0", "") CLOSED("200 OK", "0", ""), true},
    {GET("/now") "GET /now HTTP/1.1\r\n\r\n" GET("/now"),
     OK("0", "") CLOSED("400 Bad Request", "18", "missing Host field"), true},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n",
     CLOSED("413 Content Too Large", "17", "body is too large"), true},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc",
     CLOSED("400 Bad Request", "36", "chunk without CRLF where one must be"), true},
    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
     CLOSED("501 Not Implemented", "34", "transfer coding other than chunked"), true},
    {"GET / HTTP/3.0\r\n",
     CLOSED("505 HTTP Version Not Supported", "35", "HTTP version other than 1.0 and 1.1"), true},
};

/* Says the text in parts that end at the cuts, a few loop turns after each. */
static void say_cut(int fd, const char *text, const size_t *cuts, size_t cut_count) {
    size_t from = 0;
    for (size_t i = 0; i < cut_count; i++) {
        /* After a fault the rest may find the connection closed: that is part of the case. */
        (void)send(fd, text + from, cuts[i] - from, MSG_NOSIGNAL);
        from = cuts[i];
        harness_step();
    }
}

static void run_exchange(const struct exchange_case *c, const size_t *cuts, size_t cut_count,
                         char *log, size_t log_size) {
    harness.log_size = 0;
    harness.log[0] = '\0';
    int fd = harness_connect();
    say_cut(fd, c->says, cuts, cut_count);
    harness_expect(fd, c->hears, c->ends);
    snprintf(log, log_size, "%s", harness.log);
    close(fd);
    harness_step();
    ck_assert(http_server_is_empty(harness.server));
}

/* However the bytes are cut, the handler sees the same and the client hears the same. */
START_TEST(test_every_split) {
    const struct exchange_case *c = &exchanges[_i];
    size_t size = strlen(c->says);
    size_t *every = calloc(size, sizeof(*every));
    char whole[4096], split[4096];
    run_exchange(c, &size, 1, whole, sizeof(whole));
    for (size_t cut = 1; cut < size; cut++) {
        size_t cuts[] = {cut, size};
        run_exchange(c, cuts, 2, split, sizeof(split));
        ck_assert_str_eq(split, whole);
    }
    for (size_t i = 0; i < size; i++) {
        every[i] = i + 1;
    }
    run_exchange(c, every, size, split, sizeof(split));
    ck_assert_str_eq(split, whole);
    free(every);
    ck_assert_uint_eq(harness.finished, harness.requests + harness.faults);
    ck_assert_uint_eq(harness.aborted, 0);
}
END_TEST

/* Sixteen answers leave in one write: a datagram-like look at the stream socket is not possible, so
 * the transport's own function is counted. */
static const struct transport_ops *real_ops;
static struct transport_ops counting_ops;
static unsigned writes, reads;

static ssize_t counting_writev(struct transport *t, const struct iovec *pieces, int count) {
    writes++;
    return real_ops->writev(t, pieces, count);
}

static ssize_t counting_read(struct transport *t, void *data, size_t size) {
    reads++;
    return real_ops->read(t, data, size);
}

static void count_calls(struct http_conn *conn) {
    real_ops = conn->transport.ops;
    counting_ops = *real_ops;
    counting_ops.writev = counting_writev;
    counting_ops.read = counting_read;
    conn->transport.ops = &counting_ops;
    writes = reads = 0;
}

START_TEST(test_pipeline_of_16) {
    int fd = harness_connect();
    char says[4096] = "", hears[16384] = "";
    for (int i = 0; i < 16; i++) {
        strncat(says, POST("5", "hello"), sizeof(says) - strlen(says) - 1);
        strncat(hears, OK("5", "hello"), sizeof(hears) - strlen(hears) - 1);
    }
    count_calls(harness_conn());
    harness_say_str(fd, says);
    harness_step();
    harness_expect(fd, hears, false);
    ck_assert_uint_eq(writes, 1);
    ck_assert_uint_eq(reads, 1);
    close(fd);
}
END_TEST

/* A kept connection costs one read and one write a request, and its timer is left alone. */
START_TEST(test_hot_path) {
    int fd = harness_connect();
    struct http_conn *conn = harness_conn();
    count_calls(conn);
    for (int i = 0; i < 10; i++) {
        int64_t armed_ns = conn->armed_ns;
        harness_say_str(fd, POST("5", "hello"));
        harness_step();
        harness_expect(fd, OK("5", "hello"), false);
        ck_assert_int_eq(conn->armed_ns, armed_ns);
        ck_assert_ptr_null(conn->in.data);
        ck_assert_ptr_null(conn->out.data);
    }
    ck_assert_uint_eq(writes, 10);
    ck_assert_uint_eq(reads, 10);
    close(fd);
}
END_TEST

/* A thousand pipelined requests from one do not keep another waiting. */
START_TEST(test_fair_share) {
    static char says[40000];
    size_t one = strlen(GET("/now"));
    for (int i = 0; i < 1000; i++) {
        memcpy(says + one * (size_t)i, GET("/now"), one);
    }
    int greedy = harness_connect();
    int modest = harness_connect();
    harness_say(greedy, says, one * 1000);
    harness_say_str(modest, GET("/modest"));
    harness_step();
    ck_assert_uint_eq(harness.requests, 1001);
    char *at = strstr(harness.log, "request /modest");
    ck_assert_ptr_nonnull(at);
    ck_assert_int_le(at - harness.log, HTTP_TURN_REQUESTS * (int)strlen("request /now \n"));
    harness_expect(modest, OK("0", ""), false);
    close(greedy);
    close(modest);
}
END_TEST

START_TEST(test_large_body) {
    static char body[1 << 20];
    char head[100];
    int fd = harness_connect();
    struct http_conn *conn = harness_conn();
    memset(body, 'b', sizeof(body));
    int head_size =
        snprintf(head, sizeof(head),
                 "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", sizeof(body));
    harness_say(fd, head, (size_t)head_size);
    harness_step();
    ck_assert_uint_lt(conn->in.capacity, 1024); /* nothing is held for what was only announced */
    for (size_t at = 0; at < sizeof(body);) {
        ssize_t sent = send(fd, body + at, sizeof(body) - at, MSG_NOSIGNAL);
        at += sent > 0 ? (size_t)sent : 0;
        harness_step();
        ck_assert_uint_le(conn->in.capacity, (size_t)head_size + sizeof(body));
    }
    ck_assert_uint_eq(harness.requests, 1);
    ck_assert_ptr_null(conn->in.data);
    harness_big(harness.open[0], 3);
    harness_expect(fd, OK("3", "abc"), false);
    close(fd);
}
END_TEST

/* A handler may keep a large request without copying it, over the end of its connection. */
START_TEST(test_take_request) {
    const size_t size = 300000;
    char *body = malloc(size);
    char head[100];
    memset(body, 'x', size);
    body[size - 1] = 'z';
    int fd = harness_connect();
    harness_say_str(fd, "POST /take HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    harness_step();
    ck_assert_ptr_null(harness.taken_body.data); /* it lay in everybody's buffer */
    harness_answer(harness.open[0], 200, BYTES_LITERAL("ok"), false);
    snprintf(head, sizeof(head), "POST /take HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
             size);
    harness_say_str(fd, head);
    for (size_t sent = 0; sent < size; sent += 50000) {
        harness_say(fd, body + sent, size - sent < 50000 ? size - sent : 50000);
        harness_step();
    }
    ck_assert_uint_eq(harness.requests, 2);
    ck_assert_uint_eq(harness.taken_body.size, size);
    ck_assert_ptr_null(harness_conn()->in.data);
    close(fd);
    harness_step();
    ck_assert_uint_eq(harness.aborted, 1);
    ck_assert_int_eq(harness.why, HTTP_CLIENT_LEFT);
    ck_assert(memcmp(harness.taken_body.data, body, size) == 0);
    buf_free(&harness.taken);
    free(body);
}
END_TEST

START_TEST(test_expect_continue) {
    static const char head[] =
        "POST /now HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    int fd = harness_connect();
    harness_say_str(fd, head);
    harness_step();
    harness_expect(fd, "HTTP/1.1 100 Continue\r\n\r\n", false);
    harness_say_str(fd, "he");
    harness_step();
    harness_expect(fd, "", false);
    harness_say_str(fd, "llo");
    harness_step();
    harness_expect(fd, OK("5", "hello"), false);
    /* The body comes along: nobody has to be asked. */
    harness_say_str(fd, head);
    harness_say_str(fd, "hello");
    harness_step();
    harness_expect(fd, OK("5", "hello"), false);
    /* Too large: refused instead of asked for. */
    harness_say_str(fd, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                        "Content-Length: 9999999\r\n\r\n");
    harness_step();
    harness_expect(fd, CLOSED("413 Content Too Large", "17", "body is too large"), true);
    close(fd);
}
END_TEST

/* ---- answers that come later ---- */

START_TEST(test_later) {
    int fd = harness_connect();
    harness_say_str(fd, GET("/later") GET("/now"));
    harness_step();
    ck_assert_int_eq(http_server_stats(harness.server)->in_flight, 1);
    harness_expect(fd, "", false);
    harness_say_str(fd, GET("/now"));
    harness_step();
    ck_assert_uint_eq(harness.requests, 1); /* one at a time; the rest waits */
    harness_answer(harness.open[0], 200, BYTES_LITERAL("late"), false);
    harness_expect(fd, OK("4", "late"), false);
    ck_assert_uint_eq(harness.requests, 1); /* and not under the hands of who answers */
    harness_step();
    harness_expect(fd, OK("0", "") OK("0", ""), false);
    ck_assert_int_eq(http_server_stats(harness.server)->in_flight, 0);
    close(fd);
}
END_TEST

/* Input that waits does not spin the loop, and the end behind it is seen. */
START_TEST(test_client_leaves) {
    static const char *const more[] = {"", GET("/now")};
    for (unsigned i = 0; i < 2; i++) {
        int fd = harness_connect();
        harness_say_str(fd, GET("/later"));
        harness_step();
        harness_say_str(fd, more[i]);
        harness_step();
        ck_assert_uint_eq(harness.aborted, i);
        close(fd);
        harness_step();
        ck_assert_uint_eq(harness.aborted, i + 1);
        ck_assert(http_server_is_empty(harness.server));
    }
    ck_assert_uint_eq(harness.finished, 0);
}
END_TEST

/* A connected pair over TCP, which can be reset; returns the client's end. */
static int connect_tcp(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, size), 0);
    int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ck_assert_int_eq(http_server_add(harness.server, accepted, NULL, NULL, HTTP_REGULAR), 0);
    close(listener);
    return fd;
}

/* libevent tells a reset as readable and not as closed, also when unread input is in front of it:
 * it must be noticed, and must not report itself for ever. */
START_TEST(test_client_resets) {
    static const char *const more[] = {"", GET("/now")};
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    int fd = connect_tcp();
    harness_say_str(fd, GET("/later"));
    harness_step();
    harness_say_str(fd, more[_i]);
    harness_step();
    ck_assert_int_eq(http_server_stats(harness.server)->in_flight, 1);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(fd);
    harness_step();
    ck_assert_uint_eq(harness.aborted, 1);
    ck_assert(http_server_is_empty(harness.server));
}
END_TEST

START_TEST(test_half_close) {
    /* Before the answer it counts as gone. */
    int fd = harness_connect();
    harness_say_str(fd, GET("/later"));
    shutdown(fd, SHUT_WR);
    harness_step();
    ck_assert_uint_eq(harness.aborted, 1);
    close(fd);
    /* A request that is answered at once gets its answer. */
    fd = harness_connect();
    harness_say_str(fd, GET("/now"));
    shutdown(fd, SHUT_WR);
    harness_step();
    harness_expect(fd, OK("0", ""), true);
    close(fd);
    ck_assert(http_server_is_empty(harness.server));
}
END_TEST

static void small_send_buffer(struct http_conn *conn) {
    int size = 4096;
    ck_assert_int_eq(setsockopt(conn->transport.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
}

/* Reads little by little; everything comes, in order, and the next request waits for it. */
START_TEST(test_slow_reader) {
    int fd = harness_connect();
    small_send_buffer(harness_conn());
    harness_say_str(fd, GET("/big/300000") GET("/now"));
    harness_step();
    ck_assert_uint_eq(harness.requests, 1);
    size_t got = 0;
    char piece[1000];
    static char all[400000];
    for (;;) {
        ssize_t size = recv(fd, piece, sizeof(piece), 0);
        if (size <= 0) {
            break;
        }
        memcpy(all + got, piece, (size_t)size);
        got += (size_t)size;
        harness_step();
    }
    all[got] = '\0';
    char *body = strstr(all, "\r\n\r\n") + 4;
    for (size_t i = 0; i < 300000; i++) {
        ck_assert_int_eq(body[i], 'a' + (int)(i % 23));
    }
    ck_assert_ptr_nonnull(strstr(body + 300000, "Content-Length: 0\r\n"));
    ck_assert_uint_eq(harness.requests, 2);
    ck_assert_ptr_null(harness_conn()->out.data);
    close(fd);
}
END_TEST

START_TEST(test_send_stall) {
    int fd = harness_connect();
    small_send_buffer(harness_conn());
    harness_say_str(fd, GET("/big/300000"));
    harness_step();
    harness_pass(29999);
    ck_assert(!http_server_is_empty(harness.server));
    bool ended;
    ck_assert_uint_gt(harness_hear(fd, &ended), 0); /* progress: the time begins anew */
    harness_step();
    harness_pass(29999);
    ck_assert(!http_server_is_empty(harness.server));
    harness_pass(2);
    ck_assert(http_server_is_empty(harness.server));
    close(fd);
}
END_TEST

/* 4 MiB may wait for all clients together. */
START_TEST(test_who_leaves_most_unread_is_cut_off) {
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = harness_connect();
        small_send_buffer(harness_conn());
        harness_say_str(fds[i], i == 1 ? GET("/big/1500000") : GET("/big/900000"));
        harness_step();
        ck_assert_uint_eq(http_server_stats(harness.server)->cut_off, i == 4);
    }
    ck_assert_uint_eq(harness.aborted, 0); /* it was answered */
    for (int i = 0; i < 5; i++) {
        bool ended = false;
        size_t got = 0, more;
        while ((more = harness_hear(fds[i], &ended)) > 0) {
            got += more;
            harness_step();
        }
        ck_assert_int_eq(ended, i == 1);
        ck_assert_int_eq(got > 900000, i != 1);
        close(fds[i]);
    }
    ck_assert_uint_eq(harness.server->output_bytes, 0);
}
END_TEST

/* ---- streams ---- */

#define STREAM_HEAD(more) \
    "HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/event-stream\r\n" more "\r\n"

START_TEST(test_stream) {
    int fd = harness_connect();
    harness_say_str(fd, GET("/stream") GET("/now"));
    harness_step();
    harness_expect(fd, STREAM_HEAD("Transfer-Encoding: chunked\r\n"), false);
    http_reply_piece(harness.open[0], BYTES_LITERAL("data: 0123456789\n\n"));
    http_reply_piece(harness.open[0], BYTES_LITERAL(""));
    harness_expect(fd, "12\r\ndata: 0123456789\n\n\r\n", false);
    http_reply_end(harness.open[0]);
    harness_expect(fd, "0\r\n\r\n", false);
    harness_step();
    harness_expect(fd, OK("0", ""), false);
    ck_assert_uint_eq(harness.finished, 2);
    close(fd);
}
END_TEST

START_TEST(test_stream_until_close) {
    int fd = harness_connect();
    harness_say_str(fd, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    harness_step();
    http_reply_piece(harness.open[0], BYTES_LITERAL("abc"));
    http_reply_end(harness.open[0]);
    harness_expect(fd, STREAM_HEAD("Connection: close\r\n") "abc", true);
    close(fd);
}
END_TEST

START_TEST(test_stream_of_head) {
    int fd = harness_connect();
    harness_say_str(fd, "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    harness_step();
    http_reply_piece(harness.open[0], BYTES_LITERAL("abc"));
    http_reply_end(harness.open[0]);
    harness_expect(fd, STREAM_HEAD("Transfer-Encoding: chunked\r\n"), false);
    close(fd);
}
END_TEST

/* What was written before the break arrives, and no last chunk. */
START_TEST(test_stream_break) {
    int fd = harness_connect();
    harness_say_str(fd, GET("/stream"));
    harness_step();
    http_reply_piece(harness.open[0], BYTES_LITERAL("abc"));
    http_reply_break(harness.open[0]);
    harness_expect(fd, STREAM_HEAD("Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n", true);
    ck_assert_uint_eq(harness.finished + harness.aborted, 0);
    ck_assert_int_eq(http_server_stats(harness.server)->in_flight, 0);
    close(fd);
    harness_step();
    ck_assert(http_server_is_empty(harness.server));
}
END_TEST

START_TEST(test_stream_back_pressure) {
    static char piece[10000];
    bool ended;
    int fd = harness_connect();
    small_send_buffer(harness_conn());
    harness_say_str(fd, GET("/stream"));
    harness_step();
    memset(piece, 'p', sizeof(piece));
    int count = 0;
    while (!http_reply_is_full(harness.open[0])) {
        http_reply_piece(harness.open[0], bytes_make(piece, sizeof(piece)));
        ck_assert_int_lt(++count, 50);
    }
    ck_assert_uint_eq(harness.writable, 0);
    for (int i = 0; i < 200 && harness.writable == 0; i++) {
        harness_hear(fd, &ended);
        harness_step();
    }
    ck_assert_uint_eq(harness.writable, 1);
    ck_assert_uint_lt(conn_unsent(harness_conn()), 32 * 1024);
    close(fd);
    harness_step();
    ck_assert_uint_eq(harness.aborted, 1);
}
END_TEST

/* A piece for a client that is gone: told from the loop, not from under the caller. */
START_TEST(test_stream_client_leaves) {
    int fd = harness_connect();
    harness_say_str(fd, GET("/stream"));
    harness_step();
    close(fd);
    http_reply_piece(harness.open[0], BYTES_LITERAL("abc"));
    http_reply_piece(harness.open[0], BYTES_LITERAL("abc"));
    ck_assert_uint_eq(harness.aborted, 0);
    harness_step();
    ck_assert_uint_eq(harness.aborted, 1);
    ck_assert(http_server_is_empty(harness.server));
}
END_TEST

START_TEST(test_stream_stall) {
    static char piece[400000];
    int fd = harness_connect();
    harness_say_str(fd, GET("/stream"));
    harness_step();
    harness_pass(3600 * 1000); /* a stream that has nothing to say may take its time */
    ck_assert_uint_eq(harness.aborted, 0);
    http_reply_piece(harness.open[0], bytes_make(piece, sizeof(piece)));
    harness_pass(30001);
    ck_assert_uint_eq(harness.aborted, 1);
    ck_assert_int_eq(harness.why, HTTP_CLIENT_STALLED);
    ck_assert(http_server_is_empty(harness.server));
    close(fd);
}
END_TEST

/* ---- time ---- */

START_TEST(test_idle_timeouts) {
    int fresh = harness_connect();
    harness_pass(9999);
    ck_assert_int_eq(http_server_stats(harness.server)->idle, 1);
    harness_pass(2);
    harness_expect(fresh, "", true); /* nothing was asked: nothing is answered */
    close(fresh);
    int kept = harness_connect();
    harness_say_str(kept, GET("/now"));
    harness_step();
    harness_expect(kept, OK("0", ""), false);
    harness_pass(74999);
    harness_say_str(kept, GET("/now"));
    harness_step();
    harness_expect(kept, OK("0", ""), false);
    harness_pass(75001);
    harness_expect(kept, "", true);
    close(kept);
    ck_assert(http_server_is_empty(harness.server));
}
END_TEST

/* In total, not per read. */
START_TEST(test_slow_head) {
    int fd = harness_connect();
    const char *text = GET("/now");
    for (int i = 0; i < 10; i++) {
        harness_say(fd, text + i, 1);
        harness_step();
        harness_pass(999);
    }
    harness_expect(fd, "", false);
    harness_pass(11);
    harness_expect(fd, CLOSED("408 Request Timeout", "33", "request head did not come in time"),
                   true);
    ck_assert_str_eq(harness.log, "fault - request head did not come in time\n");
    close(fd);
}
END_TEST

#define SLOW_BODY CLOSED("408 Request Timeout", "33", "request body did not come in time")

START_TEST(test_slow_body) {
    int idle = harness_connect();
    harness_say_str(idle, POST("5", "h"));
    harness_step();
    harness_pass(9999);
    harness_expect(idle, "", false);
    harness_pass(2);
    harness_expect(idle, SLOW_BODY, true);
    ck_assert_str_eq(harness.log, "fault /now request body did not come in time\n");
    close(idle);
    int drip = harness_connect();
    harness_say_str(drip, POST("5000", "h"));
    harness_step();
    for (int i = 0; i < 3; i++) {
        harness_pass(9990);
        harness_say_str(drip, "x");
        harness_step();
    }
    harness_expect(drip, "", false);
    harness_pass(31);
    harness_expect(drip, SLOW_BODY, true);
    close(drip);
}
END_TEST

/* A handler may take as long as it likes. */
START_TEST(test_no_time_for_handlers) {
    int fd = harness_connect();
    harness_say_str(fd, GET("/later"));
    harness_step();
    harness_pass(3600 * 1000);
    harness_answer(harness.open[0], 200, BYTES_LITERAL(""), false);
    harness_expect(fd, OK("0", ""), false);
    close(fd);
}
END_TEST

START_TEST(test_exchange_times) {
    int fd = harness_connect();
    harness_say_str(fd, "GET /later HTTP/1.1\r\n");
    harness_step();
    int64_t started_ns = harness_now_ns;
    harness_now_ns += 5;
    harness_say_str(fd, "Host: a\r\n\r\n");
    harness_step();
    ck_assert_int_eq(http_exchange_started_ns(harness.open[0]), started_ns);
    ck_assert_int_eq(http_exchange_parsed_ns(harness.open[0]), started_ns + 5);
    close(fd);
}
END_TEST

/* ---- ends ---- */

/* Unread input is drained, so that the answer is not lost to a reset; but not for ever. */
START_TEST(test_linger) {
    static char junk[100000];
    int fd = harness_connect();
    harness_say_str(fd, "bad\r\n");
    harness_step();
    harness_say(fd, junk, sizeof(junk));
    harness_step();
    ck_assert(!http_server_is_empty(harness.server));
    harness_pass(1999);
    ck_assert(!http_server_is_empty(harness.server));
    harness_pass(2);
    ck_assert(http_server_is_empty(harness.server));
    close(fd);
    fd = harness_connect();
    harness_say_str(fd, "bad\r\n");
    harness_step();
    int said = 0;
    while (!http_server_is_empty(harness.server) && said < 1000) {
        harness_say(fd, junk, sizeof(junk));
        harness_step();
        said++;
    }
    ck_assert_int_eq(said, 672); /* 67,200,000 bytes are more than 64 MiB */
    close(fd);
    fd = harness_connect();
    harness_say_str(fd, "bad\r\n");
    harness_step();
    close(fd);
    harness_step();
    ck_assert(http_server_is_empty(harness.server));
}
END_TEST

START_TEST(test_client_leaves_early) {
    static const char *const says[] = {"", "GET /", POST("5", "he")};
    for (size_t i = 0; i < 3; i++) {
        int fd = harness_connect();
        harness_say_str(fd, says[i]);
        harness_step();
        close(fd);
        harness_step();
        ck_assert(http_server_is_empty(harness.server));
    }
    ck_assert_uint_eq(harness.requests + harness.faults + harness.aborted, 0);
}
END_TEST

START_TEST(test_drain) {
    int idle = harness_connect();
    int busy = harness_connect();
    int asks = harness_connect();
    harness_say_str(busy, GET("/later"));
    harness_step();
    harness_say_str(asks, GET("/now")); /* on its way when the drain begins */
    http_server_drain(harness.server, 0);
    harness_step();
    harness_expect(idle, "", true);
    harness_expect(asks, CLOSED("200 OK", "0", ""), true);
    harness_expect(busy, "", false);
    harness_answer(harness.open[0], 200, BYTES_LITERAL("x"), false);
    harness_expect(busy, CLOSED("200 OK", "1", "x"), true);
    ck_assert(!http_server_is_empty(harness.server)); /* until the clients have closed, too */
    close(asks);
    close(busy);
    close(idle);
    harness_step();
    ck_assert(http_server_is_empty(harness.server));
}
END_TEST

/* During the grace a kept connection is still served once. */
START_TEST(test_drain_grace) {
    int fd = harness_connect();
    harness_say_str(fd, GET("/now"));
    harness_step();
    harness_expect(fd, OK("0", ""), false);
    http_server_drain(harness.server, 3600 * 1000);
    harness_step();
    harness_say_str(fd, GET("/now"));
    harness_step();
    harness_expect(fd, CLOSED("200 OK", "0", ""), true);
    close(fd);
}
END_TEST

/* More than fits the socket at once. */
static void say_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        ck_assert(sent > 0 || errno == EAGAIN);
        data += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
        harness_step();
    }
}

/* Bodies of 900 KiB each, of which 2 MiB may be here at once: who is the first to want more gives
 * way, and the others come to their end. */
START_TEST(test_bodies_have_a_limit_together) {
    static char part[700 << 10], rest[200 << 10];
    int fds[3];
    memset(part, 'x', sizeof(part));
    memset(rest, 'x', sizeof(rest));
    for (int i = 0; i < 3; i++) {
        fds[i] = harness_connect();
        harness_say_str(fds[i], "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 921600\r\n\r\n");
        say_all(fds[i], part, sizeof(part));
    }
    ck_assert_uint_ge(harness.server->input_bytes, 2 << 20);
    say_all(fds[2], rest, sizeof(rest));
    harness_expect(fds[2], CLOSED("503 Service Unavailable", "13", "out of memory"), true);
    ck_assert_uint_eq(http_server_stats(harness.server)->turned_away[HTTP_REGULAR], 1);
    for (int i = 0; i < 2; i++) {
        say_all(fds[i], rest, sizeof(rest));
        bool ended;
        ck_assert_uint_gt(harness_hear(fds[i], &ended), 0); /* the first of its bytes will do */
        ck_assert_mem_eq(harness_text, "HTTP/1.1 200 OK\r\n", 17);
    }
    ck_assert_uint_eq(harness.server->input_bytes, 0);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
}
END_TEST

/* Whatever way a part of a request ends, it is counted no more. */
START_TEST(test_input_is_counted) {
    static const char *const begun[] = {
        "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhi", "GET /no"};
    int fd = harness_connect();
    harness_say_str(fd, begun[_i % 2]);
    harness_step();
    ck_assert_uint_eq(harness.server->input_bytes, strlen(begun[_i % 2]));
    if (_i < 2) {
        close(fd);
        harness_step();
    } else {
        harness_pass(10000);
        ck_assert_uint_eq(harness.faults, 1);
    }
    ck_assert_uint_eq(harness.server->input_bytes, 0);
    if (_i >= 2) {
        close(fd);
    }
}
END_TEST

START_TEST(test_counts) {
    int fds[10];
    for (int i = 0; i < 10; i++) {
        fds[i] = harness_connect();
    }
    ck_assert_int_eq(http_server_stats(harness.server)->idle, 10);
    harness_say_str(fds[0], "GET ");
    harness_step();
    ck_assert_int_eq(http_server_stats(harness.server)->idle, 9);
    for (int i = 0; i < 10; i++) {
        close(fds[i]);
    }
    harness_step();
    ck_assert_int_eq(http_server_stats(harness.server)->idle, 0);
    ck_assert_int_eq(http_server_stats(harness.server)->connections, 0);
    ck_assert_uint_eq(http_server_stats(harness.server)->accepted, 10);
}
END_TEST

static void note_connections(void *context) {
    int64_t *seen = context;
    *seen = *seen * 10 + http_server_stats(harness.server)->connections;
}

/* However it comes about: a client that left, an answer that closes, the server's end. */
START_TEST(test_each_close_is_told) {
    int64_t seen = 0;
    http_server_on_closed(harness.server, note_connections, &seen);
    int first = harness_connect(), second = harness_connect(), third = harness_connect();
    ck_assert_int_eq(seen, 0);
    close(first);
    harness_step();
    ck_assert_int_eq(seen, 2);
    harness_say_str(second, "no HTTP\r\n\r\n");
    harness_step();
    close(second);
    harness_step();
    ck_assert_int_eq(seen, 21);
    http_server_free(harness.server);
    ck_assert_int_eq(seen, 210);
    harness.server = NULL;
    close(third);
}
END_TEST

START_TEST(test_free_aborts) {
    int fd = harness_connect();
    harness_say_str(fd, GET("/later"));
    harness_step();
    http_server_free(harness.server);
    ck_assert_uint_eq(harness.aborted, 1);
    ck_assert_int_eq(harness.why, HTTP_SERVER_ENDS);
    harness.server = NULL;
    close(fd);
}
END_TEST

START_TEST(test_date) {
    struct bytes date = server_date_field(harness.server, harness_now_ns);
    ck_assert_uint_eq(date.size, 37);
    ck_assert_mem_eq(date.data, "Date: ", 6);
    ck_assert_mem_eq(date.data + 9, ", ", 2);
    ck_assert_mem_eq(date.data + 31, " GMT\r\n", 6);
    harness.server->date[6] = '?';
    harness_now_ns = harness.server->date_until_ns - 1;
    ck_assert_int_eq(server_date_field(harness.server, harness_now_ns).data[6], '?');
    harness_now_ns++;
    ck_assert_int_ne(server_date_field(harness.server, harness_now_ns).data[6], '?');
}
END_TEST

static void add_tests(TCase *tcase) {
    tcase_add_loop_test(tcase, test_every_split, 0, sizeof(exchanges) / sizeof(exchanges[0]));
    tcase_add_test(tcase, test_pipeline_of_16);
    tcase_add_test(tcase, test_hot_path);
    tcase_add_test(tcase, test_fair_share);
    tcase_add_test(tcase, test_large_body);
    tcase_add_test(tcase, test_take_request);
    tcase_add_test(tcase, test_expect_continue);
    tcase_add_test(tcase, test_later);
    tcase_add_test(tcase, test_client_leaves);
    tcase_add_loop_test(tcase, test_client_resets, 0, 2);
    tcase_add_test(tcase, test_half_close);
    tcase_add_test(tcase, test_slow_reader);
    tcase_add_test(tcase, test_send_stall);
    tcase_add_test(tcase, test_who_leaves_most_unread_is_cut_off);
    tcase_add_test(tcase, test_stream);
    tcase_add_test(tcase, test_stream_until_close);
    tcase_add_test(tcase, test_stream_of_head);
    tcase_add_test(tcase, test_stream_break);
    tcase_add_test(tcase, test_stream_back_pressure);
    tcase_add_test(tcase, test_stream_client_leaves);
    tcase_add_test(tcase, test_stream_stall);
    tcase_add_test(tcase, test_idle_timeouts);
    tcase_add_test(tcase, test_slow_head);
    tcase_add_test(tcase, test_slow_body);
    tcase_add_test(tcase, test_no_time_for_handlers);
    tcase_add_test(tcase, test_exchange_times);
    tcase_add_test(tcase, test_linger);
    tcase_add_test(tcase, test_bodies_have_a_limit_together);
    tcase_add_loop_test(tcase, test_input_is_counted, 0, 4);
    tcase_add_test(tcase, test_client_leaves_early);
    tcase_add_test(tcase, test_drain);
    tcase_add_test(tcase, test_drain_grace);
    tcase_add_test(tcase, test_counts);
    tcase_add_test(tcase, test_each_close_is_told);
    tcase_add_test(tcase, test_free_aborts);
    tcase_add_test(tcase, test_date);
}

static Suite *make_suite(void) {
    Suite *suite = suite_create("http_server");
    TCase *tcase = tcase_create("connections");
    tcase_add_checked_fixture(tcase, harness_set_up, harness_tear_down);
    add_tests(tcase);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
