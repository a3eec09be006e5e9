/* accept: see proc/accept.h. Runs in workers and in the metrics worker. */
#include "config.h"

#include "proc/accept.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define SAY_AGAIN_NS (60 * NS_PER_S)

static const struct timeval above_share_pause = {0, 2000};
static const struct timeval no_room_pause = {0, 100000};

static const struct {
    enum metric_shed reason;
    const char *limit;
} places[HTTP_PLACES] = {
    [HTTP_REGULAR] = {SHED_MEMORY, "bytes of request bodies under way"},
    [HTTP_ABOVE_CONNECTIONS] = {SHED_MAX_CONNECTIONS, "connections"},
    [HTTP_ABOVE_DESCRIPTORS] = {SHED_DESCRIPTORS, "open files"},
};

bool acceptor_is_above_share(int64_t own, int64_t total, unsigned workers) {
    /* own > 9/8 x total / workers + 1/2, in integers */
    return workers > 1 && own * 8 * workers > total * 9 + 4 * (int64_t)workers;
}

/* Those that count against the limit. */
static int64_t own_connections(const struct acceptor *acceptor) {
    const struct http_server_stats *stats = http_server_stats(acceptor->server);
    return stats->connections - stats->above;
}

static bool is_due(int64_t *said_ns) {
    int64_t now_ns = clock_mono_ns();
    if (*said_ns != 0 && now_ns - *said_ns < SAY_AGAIN_NS) {
        return false;
    }
    *said_ns = now_ns;
    return true;
}

static void say_turned_away(struct acceptor *acceptor, enum http_place place, uint64_t count) {
    if (!is_due(&acceptor->said_ns[place])) {
        return;
    }
    const struct capacity *capacity = &acceptor->capacity;
    int64_t limit = place == HTTP_REGULAR             ? capacity->body_bytes
                    : place == HTTP_ABOVE_CONNECTIONS ? capacity->connections
                                                      : capacity->descriptors;
    log_warn(
        "the limit of %s (%lld) is reached: clients are turned away with 503, %llu here so far",
        places[place].limit, (long long)limit, (unsigned long long)count);
}

static void count_turned_away(struct acceptor *acceptor) {
    const struct http_server_stats *stats = http_server_stats(acceptor->server);
    for (enum http_place place = HTTP_REGULAR; place < HTTP_PLACES; place++) {
        uint64_t fresh = stats->turned_away[place] - acceptor->counted[place];
        if (fresh > 0) {
            acceptor->counted[place] += fresh;
            metric_add(acceptor->metrics, METRIC_SHED, fresh, places[place].reason, 0, 0);
            say_turned_away(acceptor, place, acceptor->counted[place]);
        }
    }
}

static void count_cut_off(struct acceptor *acceptor) {
    uint64_t count = http_server_stats(acceptor->server)->cut_off;
    if (count == acceptor->counted_cut) {
        return;
    }
    metric_add(acceptor->metrics, METRIC_SHED, count - acceptor->counted_cut, SHED_MEMORY, 0, 0);
    acceptor->counted_cut = count;
    if (is_due(&acceptor->said_cut_ns)) {
        log_warn("the limit of bytes that clients have not read yet is reached: who has most of "
                 "them is cut off, %llu here so far",
                 (unsigned long long)count);
    }
}

/* The neighbours weigh theirs against it, and there is room for as many more. */
static void publish_connections(struct acceptor *acceptor) {
    struct board_gauges *gauges = board_gauges(acceptor->region, acceptor->slot);
    atomic_store(&gauges->connections, own_connections(acceptor)); /* see board_take_connection */
}

static void on_closed(void *argument) {
    publish_connections(argument);
}

void acceptor_publish(struct acceptor *acceptor) {
    const struct http_server_stats *stats = http_server_stats(acceptor->server);
    struct board_gauges *gauges = board_gauges(acceptor->region, acceptor->slot);
    count_turned_away(acceptor);
    count_cut_off(acceptor);
    publish_connections(acceptor);
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

static void keep_spare(struct acceptor *acceptor) {
    if (acceptor->spare_fd == -1) {
        acceptor->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    struct acceptor *acceptor = argument;
    if (acceptor->state != ACCEPTOR_AWAY) {
        return;
    }
    keep_spare(acceptor);
    if (add_events(acceptor) == -1) {
        look_away(acceptor, &no_room_pause);
        return;
    }
    acceptor->state = ACCEPTOR_OPEN;
}

/* Our own numbers go to the board first: they are part of the sum. */
static bool is_above_share(struct acceptor *acceptor) {
    if (!acceptor->balances) {
        return false;
    }
    acceptor_publish(acceptor);
    unsigned workers;
    int64_t total = board_ready_connections(acceptor->region, acceptor->generation, &workers);
    return acceptor_is_above_share(own_connections(acceptor), total, workers);
}

static enum http_place place_of(const struct acceptor *acceptor, int fd) {
    const struct capacity *capacity = &acceptor->capacity;
    int64_t own = own_connections(acceptor);
    if (fd >= capacity->descriptors) {
        return HTTP_ABOVE_DESCRIPTORS;
    }
    bool is_within = acceptor->balances ? board_take_connection(acceptor->region, acceptor->slot,
                                                                own, capacity->connections)
                                        : own < capacity->connections;
    return is_within ? HTTP_REGULAR : HTTP_ABOVE_CONNECTIONS;
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

/* The one place where there is not even a descriptor for saying so. */
static bool turn_away_next(struct acceptor *acceptor, int listening_fd) {
    if (acceptor->spare_fd == -1) {
        return false;
    }
    (void)close(acceptor->spare_fd);
    acceptor->spare_fd = -1;
    int client = accept4(listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client != -1) {
        http_server_turn_away(acceptor->server, client, acceptor->tls);
    }
    keep_spare(acceptor);
    return client != -1;
}

static void on_accept_failed(struct acceptor *acceptor, int listening_fd, int reason) {
    switch (reason) {
    case EAGAIN: /* a neighbour was quicker */
    case EINTR:
    case ECONNABORTED: /* the client left while it waited */
    case EPERM:        /* a firewall rule */
    case EPROTO:
        acceptor->takes_next = false;
        return;
    case EMFILE:
    case ENFILE:
        if (turn_away_next(acceptor, listening_fd)) {
            acceptor_publish(acceptor);
            return;
        }
        break;
    default:
        break;
    }
    if (!acceptor->starved) {
        log_warn("cannot accept connections: %s; trying every 100 ms", strerror(reason));
        acceptor->starved = true;
    }
    look_away(acceptor, &no_room_pause);
}

static void on_connection(evutil_socket_t fd, short what, void *argument) {
    (void)what;
    struct acceptor *acceptor = argument;
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
        on_accept_failed(acceptor, fd, errno);
        return;
    }
    acceptor->takes_next = false;
    acceptor->starved = false;
    (void)http_server_add(acceptor->server, client, acceptor->tls, describe(&peer, name),
                          place_of(acceptor, client));
    acceptor_publish(acceptor);
}

int acceptor_open(struct acceptor *acceptor, const struct acceptor_params *params) {
    *acceptor = (struct acceptor){
        .state = params->waits ? ACCEPTOR_WAITING : ACCEPTOR_OPEN,
        .listeners = params->listeners,
        .server = params->server,
        .tls = params->tls,
        .region = params->region,
        .metrics = params->metrics,
        .capacity = params->capacity,
        .spare_fd = -1,
        .generation = params->generation,
        .slot = params->slot,
        .balances = params->balances,
    };
    keep_spare(acceptor);
    http_server_on_closed(acceptor->server, on_closed, acceptor);
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
    if (acceptor->spare_fd != -1) {
        (void)close(acceptor->spare_fd);
        acceptor->spare_fd = -1;
    }
    acceptor->state = ACCEPTOR_CLOSED;
}
