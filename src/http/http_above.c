/* http_above: connections above the limit: heard for a moment, answered once, never in others' way.
 * Workers and the metrics worker.
 *
 * They stand in server->above by age. There is no timer that makes room: who comes new pushes out
 * the oldest, whatever that one waits for, so what holds them all costs its holder a connection
 * each time and nobody else anything.
 */
#include "config.h"

#include "http_conn.h"

#include <sys/socket.h>
#include <unistd.h>

static const struct http_fault no_room = {
    503, "too many connections: the server is busy, try again in a moment", "too_many_connections"};

/* Over TLS a client that has asked nothing may be in the middle of its handshake, where no answer
 * can be said. */
static bool can_be_told(const struct http_conn *conn) {
    return conn->transport.tls == NULL || conn->state != CONN_IDLE;
}

static void count_turned_away(struct http_conn *conn) {
    conn->server->stats.turned_away[conn->place]++;
}

static void send_busy(struct http_conn *conn) {
    struct bytes answer = conn->server->limits.busy_answer;
    const struct iovec piece = {(void *)(uintptr_t)answer.data, answer.size};
    count_turned_away(conn);
    if (can_be_told(conn)) {
        conn_send(conn, &piece, 1);
    }
}

/* What has come already is read, so that the close that follows does not reset the answer. */
static void push_out(struct http_conn *conn) {
    struct http_server *server = conn->server;
    if (conn->state <= CONN_BODY) {
        send_busy(conn);
        if (can_be_told(conn) && !conn->broken) {
            (void)conn->transport.ops->shutdown_write(&conn->transport);
            (void)conn->transport.ops->read(&conn->transport, server->scratch, HTTP_SCRATCH_SIZE);
        }
    }
    conn_abort(conn, HTTP_CLIENT_LEFT);
}

void above_add(struct http_conn *conn) {
    struct http_server *server = conn->server;
    struct http_conn *oldest = TAILQ_FIRST(&server->above);
    if (oldest != NULL && server->stats.above >= server->limits.max_above) {
        push_out(oldest);
    }
    TAILQ_INSERT_TAIL(&server->above, conn, rank);
    server->stats.above++;
}

void above_remove(struct http_conn *conn) {
    TAILQ_REMOVE(&conn->server->above, conn, rank);
    conn->server->stats.above--;
}

bool above_refuses(struct http_conn *conn, const struct http_head *head, struct http_fault *fault) {
    const struct http_server *server = conn->server;
    if (server->callbacks.admits == NULL || server->callbacks.admits(server->context, head)) {
        return false;
    }
    count_turned_away(conn);
    *fault = no_room;
    return true;
}

void above_time_out(struct http_conn *conn) {
    send_busy(conn);
    if (!can_be_told(conn)) {
        conn_close(conn);
        return;
    }
    conn->after = AFTER_LINGER;
    conn_set_state(conn, CONN_FLUSHING);
    conn_set_deadline(conn, HTTP_NEVER);
    if (conn_unsent(conn) == 0 && !conn->broken) {
        conn_answered(conn);
    }
    conn_update_events(conn);
}

void http_server_turn_away(struct http_server *server, int fd, const struct tls_context *tls) {
    struct bytes answer = server->limits.busy_answer;
    server->stats.turned_away[HTTP_ABOVE_DESCRIPTORS]++;
    if (tls == NULL) {
        (void)send(fd, answer.data, answer.size, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)shutdown(fd, SHUT_WR);
        (void)recv(fd, server->scratch, HTTP_SCRATCH_SIZE, MSG_DONTWAIT);
    }
    (void)close(fd);
}
