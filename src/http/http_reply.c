/* http_reply: answers, whole and streamed. Workers and the metrics worker.
 *
 * A head is Date, Content-Type, Content-Length or Transfer-Encoding, Connection where it says more
 * than the version does, then the caller's own fields. Its surprise: an answer given while further
 * pipelined requests are already here is not written but gathered, see http_output.c.
 */
#include "config.h"

#include "http_conn.h"

/* Status line, date, length, connection; content type and the caller's fields come on top. */
#define HEAD_ROOM 512
/* A body (with fields) up to this is copied behind its head, a larger one is written from where it
 * is: one more piece costs less than the copy then. */
#define COPY_MAX 8192

/* "HTTP/1.1 " in front of it, CRLF behind. */
static const char *status_text(int status) {
    switch (status) {
    case 200:
        return "200 OK";
    case 201:
        return "201 Created";
    case 202:
        return "202 Accepted";
    case 204:
        return "204 No Content";
    case 301:
        return "301 Moved Permanently";
    case 302:
        return "302 Found";
    case 304:
        return "304 Not Modified";
    case 307:
        return "307 Temporary Redirect";
    case 308:
        return "308 Permanent Redirect";
    case 400:
        return "400 Bad Request";
    case 401:
        return "401 Unauthorized";
    case 402:
        return "402 Payment Required";
    case 403:
        return "403 Forbidden";
    case 404:
        return "404 Not Found";
    case 405:
        return "405 Method Not Allowed";
    case 406:
        return "406 Not Acceptable";
    case 408:
        return "408 Request Timeout";
    case 409:
        return "409 Conflict";
    case 410:
        return "410 Gone";
    case 411:
        return "411 Length Required";
    case 413:
        return "413 Content Too Large";
    case 414:
        return "414 URI Too Long";
    case 415:
        return "415 Unsupported Media Type";
    case 417:
        return "417 Expectation Failed";
    case 421:
        return "421 Misdirected Request";
    case 422:
        return "422 Unprocessable Content";
    case 424:
        return "424 Failed Dependency";
    case 425:
        return "425 Too Early";
    case 429:
        return "429 Too Many Requests";
    case 431:
        return "431 Request Header Fields Too Large";
    case 500:
        return "500 Internal Server Error";
    case 501:
        return "501 Not Implemented";
    case 502:
        return "502 Bad Gateway";
    case 503:
        return "503 Service Unavailable";
    case 504:
        return "504 Gateway Timeout";
    case 505:
        return "505 HTTP Version Not Supported";
    case 529:
        return "529 Site Is Overloaded";
    default:
        return NULL;
    }
}

bool status_has_body(int status) {
    return status >= 200 && status != 204 && status != 304;
}

/* ---- heads ---- */

static void put_status(struct buf *out, int status) {
    const char *text = status_text(status);
    buf_append_bytes(out, BYTES_LITERAL("HTTP/1.1 "));
    if (text != NULL) {
        buf_append_str(out, text);
    } else { /* RFC 9112 section 4: the phrase may be empty, the blank not */
        buf_append_i64(out, status);
        buf_append_char(out, ' ');
    }
    buf_append_bytes(out, BYTES_LITERAL("\r\n"));
}

static void put_connection(struct buf *out, const struct http_exchange *exchange, bool keep) {
    if (!keep) {
        buf_append_bytes(out, BYTES_LITERAL("Connection: close\r\n"));
    } else if (exchange->minor_version == 0) {
        buf_append_bytes(out, BYTES_LITERAL("Connection: keep-alive\r\n"));
    }
}

static size_t head_room(const struct http_reply *reply) {
    return HEAD_ROOM + (reply->content_type != NULL ? strlen(reply->content_type) : 0);
}

/* Everything up to the caller's fields. length -1: none is said. */
static void put_head(struct http_conn *conn, struct buf *out, const struct http_reply *reply,
                     int64_t length, bool keep) {
    put_status(out, reply->status);
    buf_append_bytes(out, server_date_field(conn->server, conn_now(conn)));
    if (reply->content_type != NULL) {
        buf_append_bytes(out, BYTES_LITERAL("Content-Type: "));
        buf_append_str(out, reply->content_type);
        buf_append_bytes(out, BYTES_LITERAL("\r\n"));
    }
    if (length >= 0) {
        buf_append_bytes(out, BYTES_LITERAL("Content-Length: "));
        buf_append_i64(out, length);
        buf_append_bytes(out, BYTES_LITERAL("\r\n"));
    } else if (conn->exchange.chunked) {
        buf_append_bytes(out, BYTES_LITERAL("Transfer-Encoding: chunked\r\n"));
    }
    put_connection(out, &conn->exchange, keep);
}

/* ---- decisions ---- */

static bool may_keep(const struct http_conn *conn, const struct http_reply *reply) {
    return conn->exchange.keep_alive && !conn->exchange.faulty && !reply->close &&
           !conn->server->draining && conn->place == HTTP_REGULAR;
}

/* A client that wanted the end has nothing more to say, so the close cannot reset its answer. For
 * all others what may still be on its way is drained first. */
static enum conn_after choose_after(const struct http_conn *conn, bool keep) {
    bool more = conn->server->turn == conn ? conn->more_input : conn->in.size > 0;
    if (keep) {
        return AFTER_KEEP;
    }
    return conn->exchange.keep_alive || conn->exchange.faulty || more ? AFTER_LINGER : AFTER_CLOSE;
}

/* The answer is complete as far as the handler goes. */
static void finish(struct http_conn *conn) {
    struct http_server *server = conn->server;
    conn_set_state(conn, CONN_FLUSHING);
    conn_set_deadline(conn, HTTP_NEVER);
    if (server->callbacks.finished != NULL) {
        server->callbacks.finished(server->context, &conn->exchange);
    }
    if (conn_unsent(conn) == 0 && !conn->broken) {
        conn_answered(conn);
    }
    if (server->turn != conn) {
        conn_update_events(conn);
    }
}

/* ---- whole answers ---- */

static void put_small(struct buf *out, const struct http_reply *reply, bool with_body) {
    buf_append_bytes(out, reply->fields);
    buf_append_bytes(out, BYTES_LITERAL("\r\n"));
    if (with_body) {
        buf_append_bytes(out, reply->body);
    }
}

static void send_large(struct http_conn *conn, const struct http_reply *reply, bool with_body) {
    const struct iovec pieces[] = {
        {(void *)(uintptr_t)reply->fields.data, reply->fields.size},
        {(void *)(uintptr_t) "\r\n", 2},
        {(void *)(uintptr_t)reply->body.data, reply->body.size},
    };
    batch_send(conn, pieces, with_body ? 3 : 2);
}

void http_reply(struct http_exchange *exchange, const struct http_reply *reply) {
    struct http_conn *conn = conn_of(exchange);
    struct http_server *server = conn->server;
    ASSERT(conn->state == CONN_HANDLING);
    bool keep = may_keep(conn, reply);
    bool has_body = status_has_body(reply->status);
    bool with_body = has_body && !exchange->head_only;
    size_t rest = reply->fields.size + 2 + (with_body ? reply->body.size : 0);
    bool small = rest <= COPY_MAX;

    struct buf *out = batch_for(conn, head_room(reply) + (small ? rest : 0));
    put_head(conn, out, reply, has_body ? (int64_t)reply->body.size : -1, keep);
    if (small) {
        put_small(out, reply, with_body);
        bool gather = keep && server->turn == conn && conn->more_input && conn_unsent(conn) == 0;
        if (!gather) {
            batch_send(conn, NULL, 0);
        }
    } else {
        send_large(conn, reply, with_body);
    }
    conn->after = choose_after(conn, keep);
    finish(conn);
}

/* ---- streams ---- */

void http_reply_begin(struct http_exchange *exchange, const struct http_reply *head) {
    struct http_conn *conn = conn_of(exchange);
    ASSERT(conn->state == CONN_HANDLING);
    bool has_body = status_has_body(head->status);
    exchange->has_body = has_body && !exchange->head_only;
    exchange->chunked = has_body && exchange->minor_version == 1;
    /* HTTP/1.0 knows no chunks: there the end of the connection is the end of the body. */
    bool keep = may_keep(conn, head) && (exchange->chunked || !has_body);
    struct buf *out = batch_for(conn, head_room(head));
    put_head(conn, out, head, -1, keep);
    send_large(conn, head, false);
    conn->after = choose_after(conn, keep);
    conn_set_state(conn, CONN_REPLYING);
    if (conn->server->turn != conn) {
        conn_update_events(conn);
    }
}

static size_t put_chunk_size(char out[18], size_t size) {
    static const char digits[] = "0123456789abcdef";
    size_t at = 16;
    char text[16];
    do {
        text[--at] = digits[size & 15];
        size >>= 4;
    } while (size > 0);
    memcpy(out, text + at, 16 - at);
    memcpy(out + 16 - at, "\r\n", 2);
    return 18 - at;
}

void http_reply_piece(struct http_exchange *exchange, struct bytes piece) {
    struct http_conn *conn = conn_of(exchange);
    ASSERT(conn->state == CONN_REPLYING);
    if (!exchange->has_body || piece.size == 0) { /* an empty chunk would be the last */
        return;
    }
    char size_line[18];
    struct iovec pieces[] = {
        {size_line, 0},
        {(void *)(uintptr_t)piece.data, piece.size},
        {(void *)(uintptr_t) "\r\n", 2},
    };
    if (exchange->chunked) {
        pieces[0].iov_len = put_chunk_size(size_line, piece.size);
        conn_send(conn, pieces, 3);
    } else {
        conn_send(conn, &pieces[1], 1);
    }
    exchange->was_full = exchange->was_full || http_reply_is_full(exchange);
    if (conn->server->turn != conn) {
        conn_update_events(conn);
    }
}

bool http_reply_is_full(const struct http_exchange *exchange) {
    const struct http_conn *conn = conn_of(exchange);
    return conn_unsent(conn) > conn->server->limits.stream_buffer_bytes;
}

size_t http_reply_unsent(const struct http_exchange *exchange) {
    return conn_unsent(conn_of(exchange));
}

void http_reply_end(struct http_exchange *exchange) {
    struct http_conn *conn = conn_of(exchange);
    ASSERT(conn->state == CONN_REPLYING);
    if (exchange->chunked && exchange->has_body) {
        const struct iovec last = {(void *)(uintptr_t) "0\r\n\r\n", 5};
        conn_send(conn, &last, 1);
    }
    finish(conn);
}

void http_reply_break(struct http_exchange *exchange) {
    struct http_conn *conn = conn_of(exchange);
    ASSERT(conn_is_open(conn->state));
    batch_for(conn, 0);
    batch_send(conn, NULL, 0);
    conn->after = AFTER_LINGER;
    conn_set_state(conn, CONN_FLUSHING);
    conn_set_deadline(conn, HTTP_NEVER);
    if (conn_unsent(conn) == 0 && !conn->broken) {
        conn_answered(conn);
    }
    if (conn->server->turn != conn) {
        conn_update_events(conn);
    }
}

/* ---- the exchange ---- */

void http_exchange_set_user(struct http_exchange *exchange, void *user) {
    exchange->user = user;
}

void *http_exchange_user(const struct http_exchange *exchange) {
    return exchange->user;
}

int64_t http_exchange_parsed_ns(const struct http_exchange *exchange) {
    return exchange->parsed_ns;
}

const char *http_exchange_peer(const struct http_exchange *exchange) {
    return conn_of(exchange)->peer;
}

int64_t http_exchange_started_ns(const struct http_exchange *exchange) {
    return exchange->started_ns;
}
