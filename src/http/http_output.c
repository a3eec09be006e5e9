/* http_output: the bytes of a connection on their way out. Workers and the metrics worker.
 *
 * Everything is written at once; only what the socket does not take is copied to conn->out, and
 * only then EV_WRITE is waited for. Answers of one turn stand together in server->batch (which also
 * saves the copy of a head to the heap) until something has to leave.
 */
#include "config.h"

#include "http_conn.h"

#define MAX_PIECES 4

static void note_progress(struct http_conn *conn) {
    int64_t stall_ns = conn->server->limits.send_stall_ms * NS_PER_MS;
    conn_set_stall(conn, conn_now(conn) + stall_ns);
}

/* `out` has changed. A closed connection's share is gone already. */
static void count_output(struct http_conn *conn) {
    if (conn->state != CONN_CLOSED) {
        conn->server->output_bytes += conn->out.size - conn->waiting;
        conn->waiting = conn->out.size;
    }
}

/* So many clients do not read that their answers would take all memory. It goes as far as it does
 * when who has most of it loses it, and honest clients seldom do. */
static void cut_off_slowest(struct http_server *server) {
    struct http_conn *slowest = TAILQ_FIRST(&server->connections);
    ASSERT(slowest != NULL); /* somebody's bytes they are */
    for (struct http_conn *conn = slowest; conn != NULL; conn = TAILQ_NEXT(conn, link)) {
        if (conn->waiting > slowest->waiting) {
            slowest = conn;
        }
    }
    server->stats.cut_off++;
    buf_free(&slowest->out);
    slowest->out_sent = 0;
    count_output(slowest);
    conn_break(slowest);
}

/* Keeps what was not sent. */
static void keep_unsent(struct http_conn *conn, const struct iovec *pieces, int count,
                        size_t sent) {
    /* Moving the rest down only when half is gone keeps the work linear. */
    if (conn->out_sent > 0 && conn->out_sent >= conn->out.size / 2) {
        buf_consume(&conn->out, conn->out_sent);
        conn->out_sent = 0;
    }
    bool was_empty = conn->out.size == 0;
    for (int i = 0; i < count; i++) {
        size_t skip = sent < pieces[i].iov_len ? sent : pieces[i].iov_len;
        sent -= skip;
        buf_append(&conn->out, (const char *)pieces[i].iov_base + skip, pieces[i].iov_len - skip);
    }
    if (conn->out.failed) {
        conn_break(conn);
    } else if (was_empty) {
        note_progress(conn);
    }
    count_output(conn);
    if ((int64_t)conn->server->output_bytes > conn->server->limits.max_output_bytes) {
        cut_off_slowest(conn->server);
    }
}

void conn_send(struct http_conn *conn, const struct iovec *pieces, int count) {
    size_t total = 0;
    size_t sent = 0;
    for (int i = 0; i < count; i++) {
        total += pieces[i].iov_len;
    }
    if (conn->broken || conn->state == CONN_CLOSED || total == 0) {
        return;
    }
    conn->server->turn_output += total;
    if (conn_unsent(conn) == 0) {
        ssize_t result = conn->transport.ops->writev(&conn->transport, pieces, count);
        if (result == TRANSPORT_BROKEN) {
            conn_break(conn);
            return;
        }
        conn->write_wants_read = result == TRANSPORT_WANT_READ;
        sent = result > 0 ? (size_t)result : 0;
        if (sent == total) {
            return;
        }
    }
    keep_unsent(conn, pieces, count, sent);
}

/* A stream has room again, once it had none. */
static void tell_writable(struct http_conn *conn) {
    struct http_server *server = conn->server;
    if (conn->exchange.was_full && conn_unsent(conn) < server->limits.stream_buffer_bytes / 2) {
        conn->exchange.was_full = false;
        if (server->callbacks.writable != NULL) {
            server->callbacks.writable(server->context, &conn->exchange);
        }
    }
}

void conn_flush(struct http_conn *conn) {
    conn->write_wants_read = false;
    while (conn_unsent(conn) > 0) {
        struct iovec rest = {conn->out.data + conn->out_sent, conn_unsent(conn)};
        ssize_t sent = conn->transport.ops->writev(&conn->transport, &rest, 1);
        if (sent == TRANSPORT_BROKEN) {
            conn_break(conn);
            return;
        }
        if (sent < 0) {
            conn->write_wants_read = sent == TRANSPORT_WANT_READ;
            break;
        }
        conn->out_sent += (size_t)sent;
        note_progress(conn);
    }
    if (conn_unsent(conn) == 0) {
        buf_free(&conn->out);
        conn->out_sent = 0;
        conn->stall_ns = HTTP_NEVER;
        count_output(conn);
    }
    if (conn->state == CONN_REPLYING) {
        tell_writable(conn);
    } else if (conn->state == CONN_FLUSHING && conn_unsent(conn) == 0) {
        conn_answered(conn);
    }
}

/* ---- the batch ---- */

static void batch_leave(struct http_server *server, const struct iovec *pieces, int count) {
    struct iovec all[MAX_PIECES];
    struct http_conn *conn = server->batch_conn;
    int used = 0;
    ASSERT(count < MAX_PIECES);
    if (server->batch.size > 0) {
        all[used++] = (struct iovec){server->batch.data, server->batch.size};
    }
    for (int i = 0; i < count; i++) {
        all[used++] = pieces[i];
    }
    conn_send(conn, all, used);
    buf_clear(&server->batch);
}

struct buf *batch_for(struct http_conn *conn, size_t room) {
    struct http_server *server = conn->server;
    struct buf *batch = &server->batch;
    bool is_others = server->batch_conn != conn;
    if (batch->size > 0 && (is_others || batch->capacity - batch->size < room)) {
        struct http_conn *owner = server->batch_conn;
        batch_leave(server, NULL, 0);
        if (is_others) { /* ours ends its turn later; what waits now has to be watched already */
            conn_update_events(owner);
        }
    }
    server->batch_conn = conn;
    return batch;
}

void batch_send(struct http_conn *conn, const struct iovec *pieces, int count) {
    ASSERT(conn->server->batch_conn == conn);
    batch_leave(conn->server, pieces, count);
}
