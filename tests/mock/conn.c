/* conn: one connection: bytes in, bytes out, its timer and its end.
 *
 * Not for what is in the bytes: request.c reads them, answer.c makes them. Input is watched all the
 * time, also while an answer waits for its time, because that is how a client that leaves is
 * noticed; what it sends meanwhile is kept for later.
 *
 *   READING -> ANSWERING -> READING | HOLDING | LINGERING -> CLOSED
 *
 * The surprise: a client that shuts its side only for writing counts as gone. Callbacks run for one
 * connection and touch no other, so the callback that closes it frees it, at its end (conn_leave).
 */
#include "config.h"

#include "mock.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

/* Only the end is waited for. Edge-triggered, since what is never read would report itself for
 * ever; with EV_READ, since libevent tells a reset as readable, not as closed. */
#define WATCH_END (EV_READ | EV_CLOSED | EV_ET)

static void on_io(evutil_socket_t fd, short what, void *argument);
static void on_timer(evutil_socket_t fd, short what, void *argument);

/* ---- begin and end ---- */

struct conn *conn_new(const struct listener *listener, struct mock *mock, int fd,
                      struct tls_context *tls) {
    struct conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        goto fail;
    }
    if (tls == NULL) {
        transport_init_plain(&conn->transport, fd);
    } else if (transport_init_tls(&conn->transport, fd, tls) == -1) {
        goto fail;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    conn->mock = mock;
    conn->listener = listener;
    conn->answer.orders = &orders_default;
    buf_init(&conn->in, 0);
    buf_init(&conn->out, 0);
    evtimer_assign(&conn->timer, mock->base, on_timer, conn);
    LIST_INSERT_HEAD(&mock->connections, conn, link);
    mock->open++;
    return conn;
fail:
    free(conn);
    (void)close(fd);
    return NULL;
}

static void conn_free(struct conn *conn) {
    LIST_REMOVE(conn, link);
    conn->mock->open--;
    buf_free(&conn->in);
    buf_free(&conn->out);
    free(conn);
}

static bool cuts_tls(const struct conn *conn) {
    return conn->transport.tls != NULL && conn->answer.cut_short &&
           listener_cuts_tls(conn->listener);
}

void conn_close(struct conn *conn) {
    if (conn->state == CONN_CLOSED) {
        return;
    }
    answer_over(conn, true);
    if (conn->watched != 0) {
        (void)event_del(&conn->io);
    }
    (void)event_del(&conn->timer);
    if (cuts_tls(conn)) {
        SSL_set_quiet_shutdown(conn->transport.tls, 1);
    }
    conn->transport.ops->close(&conn->transport);
    conn->state = CONN_CLOSED;
    count_closed(conn);
}

static void reset(struct conn *conn) {
    struct linger at_once = {.l_onoff = 1};
    (void)setsockopt(conn->transport.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    if (conn->transport.tls != NULL) {
        SSL_set_quiet_shutdown(conn->transport.tls, 1);
    }
    conn_close(conn);
}

/* Our side is shut; theirs is drained, or what is unread would turn our FIN into a reset. */
static void finish(struct conn *conn) {
    int result = cuts_tls(conn) ? shutdown(conn->transport.fd, SHUT_WR)
                                : conn->transport.ops->shutdown_write(&conn->transport);
    if (result != 0) {
        conn_close(conn);
        return;
    }
    conn->state = CONN_LINGERING;
    conn_wait(conn, LINGER_MS);
}

void conn_end(struct conn *conn, enum ending ending) {
    switch (ending) {
    case END_KEEP:
        conn->state = CONN_READING;
        break;
    case END_FIN:
        finish(conn);
        break;
    case END_RST:
        reset(conn);
        break;
    case END_HOLD:
        conn->state = CONN_HOLDING;
        break;
    }
}

/* ---- out ---- */

static size_t unsent(const struct conn *conn) {
    return conn->out.size - conn->out_sent;
}

/* How much may go in one write, and how long the next then waits. */
static size_t allowance(const struct conn *conn, int64_t *wait_ms) {
    const struct answer *answer = &conn->answer;
    int64_t step = answer->orders->drip_ms > 0 ? 1 : answer->orders->split;
    size_t all = unsent(conn);
    *wait_ms = 0;
    if (step == 0) {
        return all;
    }
    if (answer->unhurried > 0) {
        return answer->unhurried < all ? answer->unhurried : all;
    }
    *wait_ms = answer->orders->drip_ms > 0 ? answer->orders->drip_ms : 1;
    return (uint64_t)step < all ? (size_t)step : all;
}

/* The answer is over and all of it is gone. */
static void end_answer(struct conn *conn) {
    enum ending ending = conn->answer.ending;
    if (ending != END_HOLD) {
        conn->stale = ending == END_KEEP && conn->answer.orders->stale;
        answer_over(conn, false);
    }
    if (conn->out.capacity > KEPT_OUTPUT) {
        buf_free(&conn->out);
    }
    conn_end(conn, ending);
}

/* Nothing is unsent: the next piece, now or after a pause. False when this turn has no more. */
static bool next_piece(struct conn *conn) {
    buf_clear(&conn->out);
    conn->out_sent = 0;
    if (conn->pause_ms > 0) {
        conn_wait(conn, conn->pause_ms);
        conn->pause_ms = 0;
        return false;
    }
    if (!answer_more(conn)) {
        end_answer(conn);
        return false;
    }
    if (conn->out.failed) {
        conn_close(conn);
        return false;
    }
    return true;
}

void conn_send(struct conn *conn) {
    size_t turn = 0;
    conn->blocked = false;
    while (conn->state == CONN_ANSWERING) {
        if (unsent(conn) == 0) {
            if (!next_piece(conn)) {
                return;
            }
            continue;
        }
        int64_t wait_ms;
        struct iovec piece = {conn->out.data + conn->out_sent, allowance(conn, &wait_ms)};
        ssize_t sent = conn->transport.ops->writev(&conn->transport, &piece, 1);
        if (sent == TRANSPORT_BROKEN) {
            conn_close(conn);
            return;
        }
        conn->blocked = sent < 0 || (turn += (size_t)sent) > TURN_OUTPUT;
        size_t gone = sent > 0 ? (size_t)sent : 0;
        conn->out_sent += gone;
        conn->answer.unhurried -= gone < conn->answer.unhurried ? gone : conn->answer.unhurried;
        if (conn->blocked) {
            return;
        }
        if (wait_ms > 0) {
            conn_wait(conn, wait_ms);
            return;
        }
    }
}

void conn_wait(struct conn *conn, int64_t delay_ms) {
    struct timeval delay = {delay_ms / 1000, (delay_ms % 1000) * 1000};
    if (evtimer_add(&conn->timer, &delay) == -1) {
        conn_close(conn);
    }
}

/* ---- in ---- */

/* Requests from the window, one after the other as long as each is answered at once. */
static void take_requests(struct conn *conn, struct window *window) {
    while (conn->state == CONN_READING && window->size > 0) {
        if (conn->stale) {
            conn_end(conn, END_FIN);
            return;
        }
        if (!request_take(conn, window)) {
            return;
        }
    }
}

static bool keeps_input(const struct conn *conn) {
    return conn->state == CONN_READING || conn->state == CONN_ANSWERING;
}

/* What waits in conn->in: requests behind one that was answered, or a request's part. */
static void take_waiting(struct conn *conn) {
    struct window window = {conn->in.data, conn->in.size};
    take_requests(conn, &window);
    if (!keeps_input(conn) || window.size == 0) {
        buf_free(&conn->in);
        return;
    }
    conn->in.size = (size_t)(window.data - conn->in.data) + window.size;
    buf_consume(&conn->in, (size_t)(window.data - conn->in.data));
}

static void keep_input(struct conn *conn, const char *data, size_t size) {
    buf_append(&conn->in, data, size);
    if (conn->in.failed) {
        conn_close(conn);
    }
}

static void take_input(struct conn *conn, char *data, size_t size) {
    if (!keeps_input(conn)) {
        return;
    }
    if (conn->state == CONN_ANSWERING) {
        keep_input(conn, data, size);
        if (conn->in.size > WAITING_INPUT_MAX) {
            conn_close(conn); /* no client under test sends so far ahead */
        }
        return;
    }
    if (conn->in.size > 0) {
        keep_input(conn, data, size);
        if (conn->state != CONN_CLOSED) {
            take_waiting(conn);
        }
        return;
    }
    struct window window = {data, size};
    take_requests(conn, &window);
    if (keeps_input(conn) && window.size > 0) {
        keep_input(conn, window.data, window.size);
    }
}

static void note_handshake(struct conn *conn) {
    if (conn->transport.tls != NULL && !conn->shaken && SSL_is_init_finished(conn->transport.tls)) {
        conn->shaken = true;
        conn->mock->counters.tls_handshakes++;
    }
}

static void read_some(struct conn *conn) {
    struct mock *mock = conn->mock;
    do {
        ssize_t got =
            conn->transport.ops->read(&conn->transport, mock->scratch, sizeof(mock->scratch));
        note_handshake(conn);
        conn->read_wants_write = got == TRANSPORT_WANT_WRITE;
        if (got == TRANSPORT_WANT_READ || got == TRANSPORT_WANT_WRITE) {
            return;
        }
        if (got <= 0) {
            conn_close(conn); /* counts an answer under way as aborted */
            return;
        }
        if (conn->transport.tls != NULL) {
            mock->counters.bytes_received += (uint64_t)got;
        }
        take_input(conn, mock->scratch, (size_t)got);
    } while (conn->state != CONN_CLOSED && conn->transport.pending);
}

/* ---- events ---- */

static bool peer_is_gone(int fd) {
    struct pollfd poller = {.fd = fd, .events = POLLRDHUP};
    return poll(&poller, 1, 0) == 1;
}

static short wanted_events(const struct conn *conn) {
    bool writes = conn->read_wants_write || (conn->state == CONN_ANSWERING && conn->blocked);
    if (conn->deaf) {
        return WATCH_END;
    }
    return (short)(EV_READ | (writes ? EV_WRITE : 0));
}

static void watch(struct conn *conn) {
    short wanted = wanted_events(conn);
    if (wanted == conn->watched) {
        return;
    }
    if (conn->watched != 0) {
        (void)event_del(&conn->io);
    }
    conn->watched = wanted;
    (void)event_assign(&conn->io, conn->mock->base, conn->transport.fd,
                       (short)(wanted | EV_PERSIST), on_io, conn);
    if (event_add(&conn->io, NULL) == -1) {
        conn->watched = 0;
        conn_close(conn);
    }
}

void conn_leave(struct conn *conn) {
    while (conn->state == CONN_READING && conn->in.size > 0) {
        size_t before = conn->in.size;
        take_waiting(conn);
        if (conn->in.size == before) {
            break; /* a part, for which there must come more */
        }
    }
    if (conn->state != CONN_CLOSED) {
        watch(conn);
    }
    if (conn->state == CONN_CLOSED) {
        conn_free(conn);
    }
}

static void on_io(evutil_socket_t fd, short what, void *argument) {
    struct conn *conn = argument;
    if (conn->deaf) {
        if (peer_is_gone(fd)) {
            conn_close(conn);
        }
        conn_leave(conn);
        return;
    }
    if ((what & EV_READ) != 0 || conn->read_wants_write) {
        read_some(conn);
    }
    if (conn->state == CONN_ANSWERING && conn->blocked) {
        conn_send(conn);
    }
    conn_leave(conn);
}

static void on_timer(evutil_socket_t fd, short what, void *argument) {
    struct conn *conn = argument;
    (void)fd;
    (void)what;
    if (conn->state == CONN_ANSWERING) {
        conn_send(conn);
    } else if (conn->state == CONN_LINGERING) {
        conn_close(conn);
    }
    conn_leave(conn);
}
