/* http_conn: one client connection: its state, its events, its deadlines and its end. Workers and
 * the metrics worker. What it reads is http_input.c's business, what it writes http_output.c's.
 *
 * Two things are lazy, and that is what makes a kept request cost one read and one write. The io
 * event stays registered over requests and changes only when a connection waits for something else
 * than input. The timer is not moved when a deadline moves away: it fires, finds that there is time
 * left, and is set again for the rest.
 */
#include "config.h"

#include "http_conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

/* Watching for the end only. Edge-triggered, since unread input would report itself for ever; and
 * with EV_READ, since libevent tells a reset as readable, not as closed. */
#define WATCH_END (EV_READ | EV_CLOSED | EV_ET)

static void on_io(evutil_socket_t fd, short what, void *argument);
static void on_timer(evutil_socket_t fd, short what, void *argument);

struct http_conn *conn_of(const struct http_exchange *exchange) {
    return (struct http_conn *)((char *)exchange - offsetof(struct http_conn, exchange));
}

int64_t conn_now(const struct http_conn *conn) {
    return conn->server->turn == conn ? conn->server->turn_ns : conn->server->now_ns();
}

int conn_open(struct http_server *server, int fd, struct tls_context *tls, const char *peer,
              enum http_place place) {
    struct http_conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        goto fail;
    }
    conn->server = server;
    conn->place = place;
    snprintf(conn->peer, sizeof(conn->peer), "%s", peer);
    buf_init(&conn->in, 0);
    buf_init(&conn->out, HTTP_OUTPUT_MAX);
    conn->deadline_ns = conn->stall_ns = conn->armed_ns = HTTP_NEVER;
    if (tls == NULL) {
        transport_init_plain(&conn->transport, fd);
    } else if (transport_init_tls(&conn->transport, fd, tls) == -1) {
        goto fail;
    }
    int on = 1; /* fails on a Unix socket, where it is not needed */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    evtimer_assign(&conn->timer, server->base, on_timer, conn);
    TAILQ_INSERT_TAIL(&server->connections, conn, link);
    server->stats.accepted++;
    server->stats.connections++;
    if (place == HTTP_REGULAR) {
        server->stats.idle++;
    } else {
        above_add(conn);
    }
    conn_update_events(conn);
    if (conn->broken) {
        conn_close(conn);
        return -1;
    }
    conn_set_deadline(conn,
                      server->now_ns() + (place == HTTP_REGULAR ? server->limits.header_timeout_ms
                                                                : server->limits.above_ms) *
                                             NS_PER_MS);
    return 0;
fail:
    free(conn);
    (void)close(fd);
    return -1;
}

void conn_set_state(struct http_conn *conn, enum conn_state to) {
#define TO(state) (1u << (state))
    static const unsigned allowed[CONN_STATES] = {
        [CONN_IDLE] = TO(CONN_HEAD) | TO(CONN_FLUSHING) | TO(CONN_CLOSED),
        [CONN_HEAD] = TO(CONN_BODY) | TO(CONN_HANDLING) | TO(CONN_FLUSHING) | TO(CONN_CLOSED),
        [CONN_BODY] = TO(CONN_HANDLING) | TO(CONN_FLUSHING) | TO(CONN_CLOSED),
        [CONN_HANDLING] = TO(CONN_REPLYING) | TO(CONN_FLUSHING) | TO(CONN_CLOSED),
        [CONN_REPLYING] = TO(CONN_FLUSHING) | TO(CONN_CLOSED),
        [CONN_FLUSHING] = TO(CONN_IDLE) | TO(CONN_LINGER) | TO(CONN_CLOSED),
        [CONN_LINGER] = TO(CONN_CLOSED),
    };
#undef TO
    struct http_server_stats *stats = &conn->server->stats;
    ASSERT((allowed[conn->state] & (1u << to)) != 0);
    if (conn->place == HTTP_REGULAR) {
        stats->idle += (to == CONN_IDLE) - (conn->state == CONN_IDLE);
    }
    stats->in_flight += (int)conn_is_open(to) - (int)conn_is_open(conn->state);
    conn->state = to;
}

/* ---- events ---- */

static short wanted_events(const struct http_conn *conn) {
    short wanted = 0;
    if (conn->state == CONN_FLUSHING) {
        /* The client may have shut its side by now; it still gets its answer. */
        wanted = conn->input_waits ? 0 : EV_READ;
    } else if (conn_is_open(conn->state)) {
        wanted = conn->input_waits ? WATCH_END : EV_READ;
    } else if (!conn->read_wants_write) {
        wanted = EV_READ;
    }
    if (conn->write_wants_read) {
        wanted = EV_READ;
    } else if (conn_unsent(conn) > 0 || conn->read_wants_write) {
        wanted |= EV_WRITE;
    }
    return wanted;
}

void conn_update_events(struct http_conn *conn) {
    if (conn->state == CONN_CLOSED || conn->broken) {
        return;
    }
    short wanted = wanted_events(conn);
    if (wanted == conn->watched) {
        return;
    }
    if (conn->watched != 0) {
        event_del(&conn->io);
    }
    conn->watched = wanted;
    event_assign(&conn->io, conn->server->base, conn->transport.fd, (short)(wanted | EV_PERSIST),
                 on_io, conn);
    if (wanted != 0 && event_add(&conn->io, NULL) == -1) {
        conn->watched = 0;
        conn_break(conn);
    }
}

/* While an answer is due, input is not read (the client has to wait with its next request), but a
 * client that leaves is noticed. One that shuts its writing side before the answer counts as gone:
 * the two cannot be told apart before something is written, and then the money is spent. poll(2)
 * and not a peek, because a peek sees the pipelined bytes and not the end behind them. */
static void probe_client(struct http_conn *conn) {
    struct pollfd descriptor = {.fd = conn->transport.fd, .events = POLLRDHUP};
    if (poll(&descriptor, 1, 0) == 1 &&
        (descriptor.revents & (POLLRDHUP | POLLERR | POLLHUP | POLLNVAL)) != 0) {
        conn_abort(conn, HTTP_CLIENT_LEFT);
        return;
    }
    conn->input_waits = true;
}

/* Reads and drops, so that the close that follows does not reset what the client has not read. */
static void drain_input(struct http_conn *conn) {
    ssize_t got =
        conn->transport.ops->read(&conn->transport, conn->server->scratch, HTTP_SCRATCH_SIZE);
    if (got == TRANSPORT_WANT_READ) {
        return;
    }
    if (got <= 0) {
        conn_close(conn);
        return;
    }
    conn->drained += (size_t)got;
    if (conn->drained >= HTTP_LINGER_BYTES) {
        conn_close(conn);
    } else if (conn->transport.pending) {
        conn_queue(conn);
    }
}

static void on_readable(struct http_conn *conn) {
    switch (conn->state) {
    case CONN_IDLE:
    case CONN_HEAD:
    case CONN_BODY:
        conn->read_wants_write = false;
        conn_read(conn);
        break;
    case CONN_HANDLING:
    case CONN_REPLYING:
        probe_client(conn);
        break;
    case CONN_FLUSHING:
        conn->input_waits = true;
        break;
    case CONN_LINGER:
        drain_input(conn);
        break;
    default:
        break;
    }
}

static void on_io(evutil_socket_t fd, short what, void *argument) {
    struct http_conn *conn = argument;
    (void)fd;
    bool read_waited = conn->read_wants_write;
    if (conn_unsent(conn) > 0 && ((what & EV_WRITE) != 0 || conn->write_wants_read)) {
        conn_flush(conn);
    }
    if (!conn->broken && ((what & (EV_READ | EV_CLOSED)) != 0 || read_waited)) {
        on_readable(conn);
    }
    conn_update_events(conn);
}

/* ---- deadlines ---- */

static int64_t next_deadline(const struct http_conn *conn) {
    return conn->deadline_ns < conn->stall_ns ? conn->deadline_ns : conn->stall_ns;
}

static void arm_timer(struct http_conn *conn, int64_t due_ns, int64_t now_ns) {
    int64_t left_us = (due_ns - now_ns + NS_PER_US - 1) / NS_PER_US;
    left_us = left_us > 0 ? left_us : 0;
    struct timeval left = {.tv_sec = left_us / 1000000, .tv_usec = left_us % 1000000};
    if (event_add(&conn->timer, &left) == -1) {
        conn_break(conn);
        return;
    }
    conn->armed_ns = due_ns;
}

void conn_set_deadline(struct http_conn *conn, int64_t deadline_ns) {
    conn->deadline_ns = deadline_ns;
    if (deadline_ns < conn->armed_ns) {
        arm_timer(conn, deadline_ns, conn_now(conn));
    }
}

void conn_set_stall(struct http_conn *conn, int64_t stall_ns) {
    conn->stall_ns = stall_ns;
    if (stall_ns < conn->armed_ns) {
        arm_timer(conn, stall_ns, conn_now(conn));
    }
}

void conn_check_deadlines(struct http_conn *conn) {
    int64_t now_ns = conn->server->now_ns();
    int64_t due_ns = next_deadline(conn);
    if (conn->state == CONN_CLOSED || due_ns == HTTP_NEVER) {
        return;
    }
    if (now_ns < due_ns) {
        if (due_ns < conn->armed_ns) {
            arm_timer(conn, due_ns, now_ns);
        }
        return;
    }
    if (now_ns >= conn->stall_ns) {
        log_debug("client does not read its answer, closing");
        conn_abort(conn, HTTP_CLIENT_STALLED);
        return;
    }
    if (conn->place != HTTP_REGULAR && conn->state <= CONN_BODY) {
        above_time_out(conn);
    } else if (conn->state == CONN_HEAD || conn->state == CONN_BODY) {
        conn_time_out(conn);
        conn_update_events(conn);
    } else {
        conn_abort(conn, HTTP_CLIENT_LEFT);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *argument) {
    struct http_conn *conn = argument;
    (void)fd;
    (void)what;
    conn->armed_ns = HTTP_NEVER;
    conn_check_deadlines(conn);
}

/* ---- the end of an answer, and of a connection ---- */

static void begin_linger(struct http_conn *conn) {
    int result = conn->transport.ops->shutdown_write(&conn->transport);
    if (result == TRANSPORT_BROKEN) {
        conn_close(conn);
        return;
    }
    conn_set_state(conn, CONN_LINGER);
    conn->drained = 0;
    conn->read_wants_write = conn->write_wants_read = false;
    conn_set_deadline(conn, conn_now(conn) + HTTP_LINGER_NS);
    if (conn->transport.pending) {
        conn_queue(conn);
    }
}

void conn_answered(struct http_conn *conn) {
    conn->input_waits = false;
    switch (conn->after) {
    case AFTER_KEEP:
        conn_set_state(conn, CONN_IDLE);
        conn_set_deadline(conn, conn_now(conn) + conn->server->limits.keepalive_ms * NS_PER_MS);
        if (conn->server->turn != conn && (conn->in.size > 0 || conn->transport.pending)) {
            conn_queue(conn);
        }
        break;
    case AFTER_LINGER:
        begin_linger(conn);
        break;
    case AFTER_CLOSE:
        conn_close(conn);
        break;
    }
}

void conn_queue(struct http_conn *conn) {
    if (!conn->queued && conn->state != CONN_CLOSED) {
        conn->queued = true;
        conn->round = conn->server->round;
        TAILQ_INSERT_TAIL(&conn->server->queue, conn, queue);
        server_defer(conn->server);
    }
}

void conn_run_queued(struct http_conn *conn) {
    if (conn->broken) {
        conn_abort(conn, HTTP_CLIENT_LEFT);
        return;
    }
    switch (conn->state) {
    case CONN_IDLE:
    case CONN_HEAD:
    case CONN_BODY:
        conn_resume(conn);
        break;
    case CONN_LINGER:
        drain_input(conn);
        break;
    default: /* answering: what waits is looked at when that is done */
        break;
    }
    conn_update_events(conn);
}

void conn_break(struct http_conn *conn) {
    conn->broken = true;
    if (conn->watched != 0) { /* a descriptor in error would report itself until the queue runs */
        event_del(&conn->io);
        conn->watched = 0;
    }
    conn_queue(conn);
}

void conn_abort(struct http_conn *conn, enum http_abort why) {
    struct http_server *server = conn->server;
    if (conn_is_open(conn->state) && !conn->exchange.faulty) {
        server->callbacks.aborted(server->context, &conn->exchange, why);
    }
    conn_close(conn);
}

void conn_close(struct http_conn *conn) {
    struct http_server *server = conn->server;
    if (conn->state == CONN_CLOSED) {
        return;
    }
    conn_set_state(conn, CONN_CLOSED);
    if (conn->watched != 0) {
        event_del(&conn->io);
        conn->watched = 0;
    }
    event_del(&conn->timer);
    conn->transport.ops->close(&conn->transport);
    if (conn->queued) {
        TAILQ_REMOVE(&server->queue, conn, queue);
        conn->queued = false;
    }
    if (conn->place != HTTP_REGULAR) {
        above_remove(conn);
    }
    server->input_bytes -= conn->counted; /* it is freed at the end of the loop turn */
    server->output_bytes -= conn->waiting;
    conn->counted = conn->waiting = 0;
    TAILQ_REMOVE(&server->connections, conn, link);
    TAILQ_INSERT_TAIL(&server->dead, conn, link);
    server->stats.connections--;
    if (server->closed != NULL) {
        server->closed(server->closed_context);
    }
    server_defer(server);
}

void conn_free(struct http_conn *conn) {
    buf_free(&conn->in);
    buf_free(&conn->out);
    free(conn);
}
