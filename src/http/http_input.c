/* http_input: the bytes of a connection on their way in: read, parsed in place, handed over.
 * Workers and the metrics worker.
 *
 * Bytes come into the server's one scratch buffer and whole requests are handed over from there.
 * Only what is left (part of a request, or requests behind an unanswered one) moves to conn->in,
 * where the rest of a body is then read to directly. In both places a request stands as
 *
 *   start                head_size          + body.received
 *     | head               | decoded body        | bytes not looked at yet ...  end
 */
#include "config.h"

#include "http_conn.h"

#include <stdlib.h>

#define READ_MIN 16384 /* room for one read into conn->in */
#define GROWTH 63      /* room for so many times what is there */
#define MIB (1024 * 1024)

struct window {
    char *data;
    size_t start; /* first byte of the request */
    size_t end;   /* behind the last byte */
};

static const struct http_fault no_memory = {503, "out of memory", "no_memory"};

/* ---- handing over ---- */

static void begin_exchange(struct http_conn *conn, const struct http_head *head) {
    conn->exchange = (struct http_exchange){
        .started_ns = conn->started_ns,
        .parsed_ns = conn->server->turn_ns,
        .minor_version = head != NULL ? (uint8_t)head->minor_version : 1,
        .keep_alive = head != NULL && head->keep_alive,
        .head_only = head != NULL && head->method == HTTP_HEAD,
    };
    conn->continue_due = false;
    conn_set_state(conn, CONN_HANDLING);
    conn_set_deadline(conn, HTTP_NEVER);
}

static void hand_over(struct http_conn *conn, struct bytes body) {
    struct http_server *server = conn->server;
    begin_exchange(conn, &server->head);
    server->callbacks.request(server->context, &conn->exchange, &server->head, body);
}

void conn_fault(struct http_conn *conn, const struct http_head *head,
                const struct http_fault *fault) {
    struct http_server *server = conn->server;
    begin_exchange(conn, head);
    conn->exchange.faulty = true;
    server->callbacks.fault(server->context, &conn->exchange, head, fault);
    if (conn_is_open(conn->state)) { /* the handler had nothing to say */
        batch_for(conn, 0);
        batch_send(conn, NULL, 0);
        conn_close(conn);
    }
}

/* The head of a request whose body did not come in the same read. It was understood once, so it is
 * again; cheaper than 3 KiB of views kept with every connection. */
static const struct http_head *parse_again(struct http_conn *conn, const char *data) {
    struct http_head *head = &conn->server->head;
    struct http_fault fault;
    http_parser_reset(&conn->parser);
    enum http_parse_result result =
        http_parse_head(&conn->parser, bytes_make(data, conn->head_size), head, &fault);
    ASSERT(result == HTTP_PARSE_DONE);
    return head;
}

void conn_time_out(struct http_conn *conn) {
    static const struct http_fault slow_head = {408, "request head did not come in time", NULL};
    static const struct http_fault slow_body = {408, "request body did not come in time", NULL};
    conn->server->turn_ns = conn->server->now_ns();
    if (conn->state == CONN_BODY) {
        conn_fault(conn, parse_again(conn, conn->in.data), &slow_body);
    } else {
        conn_fault(conn, NULL, &slow_head);
    }
    buf_free(&conn->in);
    conn_count_input(conn);
}

/* ---- one request ---- */

static void set_body_deadline(struct http_conn *conn) {
    const struct http_limits *limits = &conn->server->limits;
    int64_t idle = conn->server->turn_ns + limits->body_idle_ms * NS_PER_MS;
    int64_t mib_begun = conn->body.received / MIB + 1;
    int64_t total = conn->body_started_ns + mib_begun * limits->body_per_mib_ms * NS_PER_MS;
    conn_set_deadline(conn, idle < total ? idle : total);
}

/* True when the head is complete and legal; the body may follow. */
static bool take_head(struct http_conn *conn, struct window *w) {
    struct http_server *server = conn->server;
    struct http_fault fault;
    struct bytes data = bytes_make(w->data + w->start, w->end - w->start);
    if (conn->state == CONN_IDLE) {
        conn_set_state(conn, CONN_HEAD);
        conn->started_ns = server->turn_ns;
        http_parser_reset(&conn->parser);
    }
    switch (http_parse_head(&conn->parser, data, &server->head, &fault)) {
    case HTTP_PARSE_ERROR:
        conn_fault(conn, NULL, &fault);
        return false;
    case HTTP_PARSE_PARTIAL:
        if (conn->place == HTTP_REGULAR) {
            conn_set_deadline(conn,
                              conn->started_ns + server->limits.header_timeout_ms * NS_PER_MS);
        }
        return false;
    default:
        break;
    }
    if (conn->place != HTTP_REGULAR && above_refuses(conn, &server->head, &fault)) {
        conn_fault(conn, &server->head, &fault);
        return false;
    }
    conn->head_size = server->head.size;
    conn->body_started_ns = server->turn_ns;
    conn->continue_due = server->head.expect_continue;
    http_body_begin(&conn->body, &server->head,
                    conn->place == HTTP_REGULAR ? server->limits.max_body_bytes : 0);
    return true;
}

/* The body is not complete: remember where it stands, and ask for it if the client waits to be
 * asked. */
static void wait_for_body(struct http_conn *conn, bool nothing_came) {
    static const struct iovec go_on = {(char *)"HTTP/1.1 100 Continue\r\n\r\n", 25};
    if (conn->state == CONN_HEAD) {
        conn_set_state(conn, CONN_BODY);
    }
    if (conn->continue_due && nothing_came) {
        batch_for(conn, 0);
        batch_send(conn, &go_on, 1);
    }
    conn->continue_due = false;
    set_body_deadline(conn);
}

/* Takes one request out of the window. True when it was answered and the next may follow. */
static bool take_request(struct http_conn *conn, struct window *w) {
    struct http_server *server = conn->server;
    struct http_fault fault;
    size_t consumed, decoded;
    bool head_is_fresh = conn->state != CONN_BODY;
    if (head_is_fresh && !take_head(conn, w)) {
        return false;
    }
    char *body = w->data + w->start + conn->head_size;
    char *raw = body + conn->body.received;
    size_t raw_size = (size_t)(w->data + w->end - raw);
    enum http_parse_result result =
        http_body_feed(&conn->body, raw, raw_size, &consumed, &decoded, &fault);
    if (result == HTTP_PARSE_PARTIAL) {
        w->end = (size_t)(raw - w->data) + decoded;
        wait_for_body(conn, raw_size == 0);
        return false;
    }
    if (!head_is_fresh) {
        parse_again(conn, w->data + w->start);
    }
    if (result == HTTP_PARSE_ERROR) {
        conn_fault(conn, &server->head, &fault);
        return false;
    }
    w->start = (size_t)(raw - w->data) + consumed;
    conn->more_input = w->start < w->end;
    hand_over(conn, bytes_make(body, (size_t)conn->body.received));
    return conn->state == CONN_IDLE && !conn->broken;
}

/* ---- one turn ---- */

/* Answers that were gathered leave now; what does not go makes the next request wait. */
static void end_turn(struct http_conn *conn) {
    batch_for(conn, 0);
    batch_send(conn, NULL, 0);
    if (conn->state == CONN_IDLE && conn_unsent(conn) > 0) {
        conn->after = AFTER_KEEP;
        conn_set_state(conn, CONN_FLUSHING);
        conn_set_deadline(conn, HTTP_NEVER);
    }
    conn->more_input = false;
    conn->server->turn = NULL;
}

/* Requests one after the other while each is answered at once, within the bounds of a turn. */
static void take_requests(struct http_conn *conn, struct window *w) {
    struct http_server *server = conn->server;
    unsigned count = 0;
    server->turn = conn;
    server->turn_output = 0;
    while (w->start < w->end && take_request(conn, w)) {
        count++;
        if (w->start < w->end) {
            if (count == HTTP_TURN_REQUESTS || server->turn_output >= HTTP_TURN_OUTPUT) {
                conn_queue(conn); /* the others come first */
                break;
            }
            server->turn_ns = server->now_ns();
        }
    }
    end_turn(conn);
}

static bool wants_input(const struct http_conn *conn) {
    return conn->state != CONN_LINGER && conn->state != CONN_CLOSED && !conn->broken &&
           !(conn->state == CONN_FLUSHING && conn->after != AFTER_KEEP);
}

/* What is left of the scratch buffer goes to conn->in. */
static void keep_rest(struct http_conn *conn, const struct window *w) {
    if (w->start == w->end || !wants_input(conn)) {
        return;
    }
    conn->in.limit = SIZE_MAX;
    buf_append(&conn->in, w->data + w->start, w->end - w->start);
    conn_count_input(conn);
    if (conn->in.failed) {
        conn_break(conn);
    }
}

static void drop_taken(struct http_conn *conn, const struct window *w) {
    if (w->start == w->end || !wants_input(conn)) {
        buf_free(&conn->in);
    } else {
        conn->in.size = w->end;
        buf_consume(&conn->in, w->start);
    }
    conn_count_input(conn);
}

static void take_from_in(struct http_conn *conn) {
    struct window w = {.data = conn->in.data, .end = conn->in.size};
    take_requests(conn, &w);
    drop_taken(conn, &w);
}

/* ---- reading ---- */

bool http_exchange_take_request(struct http_exchange *exchange, struct buf *memory) {
    struct http_conn *conn = conn_of(exchange);
    ASSERT(conn->state == CONN_HANDLING && conn->server->turn == conn);
    if (conn->in.size == 0 || conn->more_input) {
        return false;
    }
    *memory = conn->in;
    buf_init(&conn->in, 0);
    conn_count_input(conn);
    return true;
}

/* A closed connection's share is gone already. */
void conn_count_input(struct http_conn *conn) {
    if (conn->state != CONN_CLOSED) {
        conn->server->input_bytes += conn->in.size - conn->counted;
        conn->counted = conn->in.size;
    }
}

/* Who comes for more while all bodies together are too large gives up its own, which makes room for
 * the others. */
static void refuse_body(struct http_conn *conn) {
    conn->server->stats.turned_away[HTTP_REGULAR]++;
    conn->in.failed = false;
    conn_fault(conn, parse_again(conn, conn->in.data), &no_memory);
    buf_free(&conn->in);
    conn_count_input(conn);
}

/* Room for the rest of a body. It grows with what came, and never past what was announced: by steps
 * so large that little is copied, since memory that is not yet written to costs nothing. */
static char *body_room(struct http_conn *conn, size_t *room) {
    uint64_t missing = (uint64_t)conn->body.remaining;
    size_t least = READ_MIN;
    conn->in.limit = SIZE_MAX;
    if (!conn->body.chunked) {
        least = missing < READ_MIN ? (size_t)missing : READ_MIN;
        conn->in.limit = conn->in.size + (size_t)missing;
        if (conn->in.capacity - conn->in.size < least) {
            size_t ahead = conn->in.size * GROWTH;
            least = missing < ahead ? (size_t)missing : least > ahead ? least : ahead;
        }
    }
    char *at = buf_reserve(&conn->in, least);
    *room = conn->in.capacity - conn->in.size;
    *room = *room < HTTP_READ_MAX ? *room : HTTP_READ_MAX;
    return at;
}

/* Where the next bytes go: the scratch buffer, or behind the part of a body that is here. */
static ssize_t read_some(struct http_conn *conn, bool *into_in) {
    struct http_server *server = conn->server;
    size_t room = HTTP_SCRATCH_SIZE;
    char *at = server->scratch;
    *into_in = conn->state == CONN_BODY;
    if (*into_in) {
        bool is_full = (int64_t)server->input_bytes >= server->limits.max_input_bytes;
        at = is_full ? NULL : body_room(conn, &room);
        if (at == NULL) {
            refuse_body(conn);
            return 0;
        }
    }
    return conn->transport.ops->read(&conn->transport, at, room);
}

static void take_read(struct http_conn *conn, size_t got, bool into_in) {
    if (into_in) {
        conn->in.size += got;
        take_from_in(conn);
        return;
    }
    if (conn->in.size > 0) { /* the rest of a head, seldom and small */
        conn->in.limit = SIZE_MAX;
        buf_append(&conn->in, conn->server->scratch, got);
        if (conn->in.failed) {
            conn_break(conn);
            return;
        }
        take_from_in(conn);
        return;
    }
    struct window w = {.data = conn->server->scratch, .end = got};
    take_requests(conn, &w);
    keep_rest(conn, &w);
}

void conn_read(struct http_conn *conn) {
    bool into_in;
    if (conn->state == CONN_IDLE && conn->in.size > 0) {
        return; /* requests wait in the queue for their turn: those first */
    }
    ssize_t got = read_some(conn, &into_in);
    if (conn->state == CONN_CLOSED || got == TRANSPORT_WANT_READ) {
        return;
    }
    if (got == TRANSPORT_WANT_WRITE) {
        conn->read_wants_write = true;
        return;
    }
    if (got <= 0) { /* nothing was handed over, so nobody has to be told */
        if (wants_input(conn)) {
            conn_close(conn);
        }
        return;
    }
    conn->server->turn_ns = conn->server->now_ns();
    take_read(conn, (size_t)got, into_in);
    if (conn->transport.pending && wants_input(conn)) {
        conn_queue(conn);
    }
}

void conn_resume(struct http_conn *conn) {
    if (conn->state == CONN_IDLE && conn->in.size > 0) {
        conn->server->turn_ns = conn->server->now_ns();
        take_from_in(conn);
    }
    bool reads = conn->state == CONN_IDLE || conn->state == CONN_HEAD || conn->state == CONN_BODY;
    if (conn->transport.pending && reads && !conn->queued && !conn->broken) {
        conn_read(conn);
    }
}
