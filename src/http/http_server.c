/* http_server: the connections of one process as a whole: adding, draining, the date, and what is
 * put off to the end of a loop turn. Workers and the metrics worker.
 *
 * The surprise: "the end of a loop turn" is a timer of zero seconds and not an activated event. An
 * event activated from a callback runs before libevent looks at the sockets again, so a connection
 * with ever more work would keep all others waiting.
 */
#include "config.h"

#include "http_conn.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void on_deferred(evutil_socket_t fd, short what, void *argument);
static void on_drain(evutil_socket_t fd, short what, void *argument);

struct http_server *http_server_new(struct event_base *base, const struct http_limits *limits,
                                    const struct http_callbacks *callbacks, void *context) {
    struct http_server *server = calloc(1, sizeof(*server));
    char *batch = malloc(HTTP_BATCH_SIZE);
    char *scratch = malloc(HTTP_SCRATCH_SIZE);
    if (server == NULL || batch == NULL || scratch == NULL) {
        free(server);
        free(batch);
        free(scratch);
        return NULL;
    }
    server->base = base;
    server->limits = *limits;
    server->callbacks = *callbacks;
    server->context = context;
    server->now_ns = clock_mono_ns;
    server->date_until_ns = INT64_MIN;
    server->scratch = scratch;
    buf_init_fixed(&server->batch, batch, HTTP_BATCH_SIZE);
    TAILQ_INIT(&server->connections);
    TAILQ_INIT(&server->dead);
    TAILQ_INIT(&server->queue);
    TAILQ_INIT(&server->above);
    evtimer_assign(&server->deferred, base, on_deferred, server);
    evtimer_assign(&server->drain_timer, base, on_drain, server);
    return server;
}

static void free_dead(struct http_server *server) {
    struct http_conn *conn;
    while ((conn = TAILQ_FIRST(&server->dead)) != NULL) {
        TAILQ_REMOVE(&server->dead, conn, link);
        conn_free(conn);
    }
}

void http_server_free(struct http_server *server) {
    struct http_conn *conn;
    if (server == NULL) {
        return;
    }
    while ((conn = TAILQ_FIRST(&server->connections)) != NULL) {
        conn_abort(conn, HTTP_SERVER_ENDS);
    }
    free_dead(server);
    event_del(&server->deferred);
    event_del(&server->drain_timer);
    free(server->batch.data);
    free(server->scratch);
    free(server);
}

int http_server_add(struct http_server *server, int fd, struct tls_context *tls, const char *peer,
                    enum http_place place) {
    return conn_open(server, fd, tls, peer != NULL ? peer : "", place);
}

const struct http_server_stats *http_server_stats(const struct http_server *server) {
    return &server->stats;
}

void http_server_on_closed(struct http_server *server, void (*closed)(void *context),
                           void *context) {
    server->closed = closed;
    server->closed_context = context;
}

bool http_server_is_empty(const struct http_server *server) {
    return server->stats.connections == 0;
}

/* ---- the end of a loop turn ---- */

void server_defer(struct http_server *server) {
    static const struct timeval now = {0, 0};
    if (!evtimer_pending(&server->deferred, NULL)) {
        evtimer_add(&server->deferred, &now);
    }
}

static void on_deferred(evutil_socket_t fd, short what, void *argument) {
    struct http_server *server = argument;
    struct http_conn *conn;
    (void)fd;
    (void)what;
    server->round++; /* what is queued from here on waits for the next turn */
    while ((conn = TAILQ_FIRST(&server->queue)) != NULL && conn->round != server->round) {
        TAILQ_REMOVE(&server->queue, conn, queue);
        conn->queued = false;
        conn_run_queued(conn);
    }
    free_dead(server);
}

/* ---- draining ---- */

/* Closing a connection whose next request has just arrived would lose that request: it is left to
 * be answered, with Connection: close. */
static bool has_input(const struct http_conn *conn) {
    struct pollfd descriptor = {.fd = conn->transport.fd, .events = POLLIN};
    return conn->in.size > 0 || conn->transport.pending || poll(&descriptor, 1, 0) == 1;
}

static void on_drain(evutil_socket_t fd, short what, void *argument) {
    struct http_server *server = argument;
    struct http_conn *conn = TAILQ_FIRST(&server->connections);
    (void)fd;
    (void)what;
    while (conn != NULL) {
        struct http_conn *next = TAILQ_NEXT(conn, link);
        if (conn->state == CONN_IDLE && !has_input(conn)) {
            conn_close(conn);
        }
        conn = next;
    }
}

void http_server_drain(struct http_server *server, int64_t grace_ms) {
    struct timeval grace = {.tv_sec = grace_ms / 1000, .tv_usec = grace_ms % 1000 * 1000};
    server->draining = true;
    if (grace_ms <= 0 || evtimer_add(&server->drain_timer, &grace) == -1) {
        on_drain(-1, 0, server);
    }
}

/* ---- the date ---- */

/* strftime would give the names of the locale. */
static void format_date(char *out, size_t out_size, time_t now) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm t;
    gmtime_r(&now, &t);
    snprintf(out, out_size, "Date: %.3s, %02u %.3s %04u %02u:%02u:%02u GMT\r\n",
             days + 3 * t.tm_wday, (unsigned)t.tm_mday % 100, months + 3 * t.tm_mon,
             (unsigned)(t.tm_year + 1900) % 10000, (unsigned)t.tm_hour % 100,
             (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100);
}

struct bytes server_date_field(struct http_server *server, int64_t now_ns) {
    if (now_ns >= server->date_until_ns) {
        int64_t wall_ns = clock_wall_ns();
        format_date(server->date, sizeof(server->date), (time_t)(wall_ns / NS_PER_S));
        server->date_until_ns = now_ns + NS_PER_S - wall_ns % NS_PER_S;
    }
    return bytes_make(server->date, 37);
}
