/* accept: see proc/accept.h. Runs in workers and in the metrics worker. */
#include "config.h"

#include "proc/accept.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"

static const struct timeval above_share_pause = {0, 2000};
static const struct timeval no_room_pause = {0, 100000};

bool acceptor_is_above_share(int64_t own, int64_t total, unsigned workers) {
    /* own > 9/8 x total / workers + 1/2, in integers */
    return workers > 1 && own * 8 * workers > total * 9 + 4 * (int64_t)workers;
}

void acceptor_publish(const struct acceptor *acceptor) {
    const struct http_server_stats *stats = http_server_stats(acceptor->server);
    struct board_gauges *gauges = board_gauges(acceptor->region, acceptor->slot);
    atomic_store_explicit(&gauges->connections, stats->connections, memory_order_relaxed);
    atomic_store_explicit(&gauges->connections_idle, stats->idle, memory_order_relaxed);
    atomic_store_explicit(&gauges->requests_in_flight, stats->in_flight, memory_order_relaxed);
}

static void remove_events(struct acceptor *acceptor) {
    for (unsigned i = 0; i < acceptor->listeners->count; i++) {
        (void)event_del(&acceptor->events[i]);
    }
}

static int add_events(struct acceptor *acceptor) {
    int result = 0;
    for (unsigned i = 0; i < acceptor->listeners->count; i++) {
        if (event_add(&acceptor->events[i], NULL) == -1) {
            result = -1;
        }
    }
    return result;
}

static void look_away(struct acceptor *acceptor, const struct timeval *pause) {
    if (acceptor->state == ACCEPTOR_OPEN) {
        remove_events(acceptor);
        acceptor->state = ACCEPTOR_AWAY;
    }
    if (event_add(&acceptor->timer, pause) == -1) {
        /* Without a timer nobody would open the door again: rather spin than be deaf. */
        acceptor->state = ACCEPTOR_OPEN;
        (void)add_events(acceptor);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    struct acceptor *acceptor = argument;
    if (acceptor->state != ACCEPTOR_AWAY) {
        return;
    }
    if (http_server_is_full(acceptor->server) || add_events(acceptor) == -1) {
        look_away(acceptor, &no_room_pause);
        return;
    }
    acceptor->state = ACCEPTOR_OPEN;
}

/* Our own numbers go to the board first: they are part of the sum. */
static bool is_above_share(const struct acceptor *acceptor) {
    if (!acceptor->balances) {
        return false;
    }
    acceptor_publish(acceptor);
    unsigned workers;
    int64_t total = board_ready_connections(acceptor->region, acceptor->generation, &workers);
    return acceptor_is_above_share(http_server_stats(acceptor->server)->connections, total,
                                   workers);
}

/* The address without the port; an IPv4 client of an IPv6 socket by its IPv4 address. NULL for what
 * is no TCP connection. */
static const char *describe(const struct sockaddr_storage *peer, char name[INET6_ADDRSTRLEN]) {
    if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)peer;
        return inet_ntop(AF_INET, &v4->sin_addr, name, INET6_ADDRSTRLEN);
    }
    if (peer->ss_family != AF_INET6) {
        return NULL;
    }
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)peer)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(v6)) {
        return inet_ntop(AF_INET, &v6->s6_addr[12], name, INET6_ADDRSTRLEN);
    }
    return inet_ntop(AF_INET6, v6, name, INET6_ADDRSTRLEN);
}

static void on_accept_failed(struct acceptor *acceptor, int reason) {
    switch (reason) {
    case EAGAIN: /* a neighbour was quicker */
    case EINTR:
    case ECONNABORTED: /* the client left while it waited */
    case EPERM:        /* a firewall rule */
    case EPROTO:
        acceptor->takes_next = false;
        return;
    default:
        if (!acceptor->starved) {
            log_warn("cannot accept connections: %s; trying every 100 ms", strerror(reason));
            acceptor->starved = true;
        }
        look_away(acceptor, &no_room_pause);
    }
}

static void on_connection(evutil_socket_t fd, short what, void *argument) {
    (void)what;
    struct acceptor *acceptor = argument;
    if (http_server_is_full(acceptor->server)) {
        look_away(acceptor, &no_room_pause);
        return;
    }
    if (!acceptor->takes_next && is_above_share(acceptor)) {
        acceptor->takes_next = true;
        look_away(acceptor, &above_share_pause);
        return;
    }
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t peer_size = sizeof(peer);
    char name[INET6_ADDRSTRLEN];
    int client = accept4(fd, (struct sockaddr *)&peer, &peer_size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client == -1) {
        on_accept_failed(acceptor, errno);
        return;
    }
    acceptor->takes_next = false;
    acceptor->starved = false;
    (void)http_server_add(acceptor->server, client, acceptor->tls, describe(&peer, name));
    acceptor_publish(acceptor);
}

int acceptor_open(struct acceptor *acceptor, const struct acceptor_params *params) {
    *acceptor = (struct acceptor){
        .state = params->waits ? ACCEPTOR_WAITING : ACCEPTOR_OPEN,
        .listeners = params->listeners,
        .server = params->server,
        .tls = params->tls,
        .region = params->region,
        .generation = params->generation,
        .slot = params->slot,
        .balances = params->balances,
    };
    int result = evtimer_assign(&acceptor->timer, params->base, on_timer, acceptor);
    for (unsigned i = 0; i < params->listeners->count; i++) {
        if (event_assign(&acceptor->events[i], params->base, params->listeners->items[i].fd,
                         EV_READ | EV_PERSIST, on_connection, acceptor) == -1) {
            result = -1;
        }
    }
    if (result == 0 && !params->waits) {
        result = add_events(acceptor);
    }
    return result;
}

void acceptor_begin(struct acceptor *acceptor) {
    if (acceptor->state == ACCEPTOR_WAITING) {
        acceptor->state = ACCEPTOR_OPEN;
        if (add_events(acceptor) == -1) {
            look_away(acceptor, &no_room_pause);
        }
    }
}

void acceptor_close(struct acceptor *acceptor) {
    if (acceptor->state == ACCEPTOR_CLOSED) {
        return;
    }
    (void)event_del(&acceptor->timer);
    remove_events(acceptor);
    listen_close(acceptor->listeners);
    acceptor->state = ACCEPTOR_CLOSED;
}
