/* libcurl's multi handle on libevent's loop: its sockets, its timer, its connection pool.
 *
 * Runs in workers. Two surprises. The event of a kept connection stays registered when libcurl has
 * finished with it for now: it would otherwise cost two epoll_ctl calls for every request; when it
 * becomes readable while nobody uses it, it is taken out. That is only safe where libcurl tells of
 * the close, which libcurl 7.88 does for connections and not for sockets that never became one, nor
 * for the descriptors of its name lookups. And `end` is never called from inside fetch_start: what
 * ends that early waits for a timer of zero seconds.
 */
#include "fetch_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/panic.h"

/* A descriptor of libcurl's that is waited for, or the connection that was made with it. */
struct fetch_sock {
    struct event event;
    struct fetcher *fetcher;
    curl_socket_t fd;
    bool lasting;  /* a connection, whose close libcurl will tell */
    short watched; /* what the event is registered for, 0: it is not */
    short wanted;  /* what libcurl waits for, 0: the connection is idle */
};

/* ---- sockets ---- */

static struct fetch_sock *find_sock(const struct fetcher *fetcher, curl_socket_t fd) {
    return (size_t)fd < fetcher->sock_capacity ? fetcher->socks[(size_t)fd] : NULL;
}

static void unwatch(struct fetch_sock *sock) {
    if (sock->watched != 0) {
        event_del(&sock->event);
        sock->watched = 0;
    }
}

static void forget_sock(struct fetcher *fetcher, curl_socket_t fd) {
    struct fetch_sock *sock = find_sock(fetcher, fd);
    if (sock != NULL) {
        unwatch(sock);
        fetcher->socks[(size_t)fd] = NULL;
        free(sock);
    }
}

static int reserve_socks(struct fetcher *fetcher, size_t index) {
    size_t capacity = fetcher->sock_capacity;
    if (index < capacity) {
        return 0;
    }
    while (capacity <= index) {
        capacity = capacity == 0 ? 64 : 2 * capacity;
    }
    struct fetch_sock **socks = realloc(fetcher->socks, capacity * sizeof(struct fetch_sock *));
    if (socks == NULL) {
        return -1;
    }
    memset(socks + fetcher->sock_capacity, 0,
           (capacity - fetcher->sock_capacity) * sizeof(struct fetch_sock *));
    fetcher->socks = socks;
    fetcher->sock_capacity = capacity;
    return 0;
}

/* NULL without memory. */
static struct fetch_sock *need_sock(struct fetcher *fetcher, curl_socket_t fd) {
    struct fetch_sock *sock = find_sock(fetcher, fd);
    if (sock != NULL) {
        return sock;
    }
    if (reserve_socks(fetcher, (size_t)fd) == -1 || (sock = calloc(1, sizeof(*sock))) == NULL) {
        return NULL;
    }
    sock->fetcher = fetcher;
    sock->fd = fd;
    fetcher->socks[(size_t)fd] = sock;
    return sock;
}

static void act(struct fetcher *fetcher, curl_socket_t fd, int what) {
    int running;
    fetcher->turn++;
    fetcher->depth++;
    (void)curl_multi_socket_action(fetcher->multi, fd, what, &running);
    fetcher->depth--;
    fetcher_collect(fetcher);
}

static void settle(struct fetcher *fetcher);

static void on_sock(evutil_socket_t fd, short what, void *argument) {
    struct fetch_sock *sock = argument;
    struct fetcher *fetcher = sock->fetcher;
    if (sock->wanted == 0) { /* closed by the other side; libcurl finds out when it wants it */
        unwatch(sock);
        return;
    }
    act(fetcher, (curl_socket_t)fd,
        ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
            ((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0));
    settle(fetcher);
}

static int watch(struct fetch_sock *sock, short wanted) {
    sock->wanted = wanted;
    if (wanted == sock->watched) {
        return 0;
    }
    unwatch(sock);
    event_assign(&sock->event, sock->fetcher->base, sock->fd, (short)(wanted | EV_PERSIST), on_sock,
                 sock);
    if (event_add(&sock->event, NULL) == -1) {
        return -1;
    }
    sock->watched = wanted;
    return 0;
}

static void lose_interest(struct fetch_sock *sock) {
    sock->wanted = 0;
    if (!sock->lasting) {
        forget_sock(sock->fetcher, sock->fd);
    } else if (sock->watched != EV_READ) { /* a readable one may be wanted again in a moment */
        unwatch(sock);
    }
}

/* libcurl: CURLMOPT_SOCKETFUNCTION. */
static int on_interest(CURL *easy, curl_socket_t fd, int what, void *user, void *unused) {
    struct fetcher *fetcher = user;
    (void)easy;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        struct fetch_sock *sock = find_sock(fetcher, fd);
        if (sock != NULL) {
            lose_interest(sock);
        }
        return 0;
    }
    struct fetch_sock *sock = need_sock(fetcher, fd);
    short wanted = (short)(((what & CURL_POLL_IN) != 0 ? EV_READ : 0) |
                           ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0));
    return sock != NULL ? watch(sock, wanted) : -1;
}

curl_socket_t fetcher_open_socket(void *argument, curlsocktype purpose,
                                  struct curl_sockaddr *address) {
    struct fetch *fetch = argument;
    (void)purpose;
    curl_socket_t fd = socket(address->family, address->socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
                              address->protocol);
    if (fd == CURL_SOCKET_BAD) {
        fetch->shortage = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
        return CURL_SOCKET_BAD;
    }
    fetch->shortage = false;
    fetch->opened[fetch->opened_count++ % FETCH_OPENED_MAX] = fd;
    lookup_known(fetch);
    return fd;
}

void fetcher_connected(struct fetch *fetch, int local_port) {
    unsigned kept = fetch->opened_count < FETCH_OPENED_MAX ? fetch->opened_count : FETCH_OPENED_MAX;
    for (unsigned i = 0; i < kept; i++) {
        union {
            struct sockaddr any;
            struct sockaddr_in v4;
            struct sockaddr_in6 v6;
        } name = {.any = {.sa_family = AF_UNSPEC}};
        socklen_t size = sizeof(name);
        if (getsockname(fetch->opened[i], &name.any, &size) == -1) {
            continue; /* closed: another address was the better one */
        }
        in_port_t port = name.any.sa_family == AF_INET    ? name.v4.sin_port
                         : name.any.sa_family == AF_INET6 ? name.v6.sin6_port
                                                          : 0;
        struct fetch_sock *sock = find_sock(fetch->site->fetcher, fetch->opened[i]);
        if (ntohs(port) == local_port && sock != NULL) {
            sock->lasting = true;
        }
    }
    fetch->opened_count = 0;
}

int fetcher_close_socket(void *argument, curl_socket_t fd) {
    forget_sock(argument, fd);
    return close(fd);
}

/* ---- libcurl's timer ---- */

static void on_timer(evutil_socket_t fd, short what, void *argument) {
    struct fetcher *fetcher = argument;
    (void)fd;
    (void)what;
    act(fetcher, CURL_SOCKET_TIMEOUT, 0);
    settle(fetcher);
}

/* libcurl: CURLMOPT_TIMERFUNCTION. Zero is set like any other time: libcurl must not be entered
 * from here. */
static int on_timeout_change(CURLM *multi, long timeout_ms, void *user) {
    struct fetcher *fetcher = user;
    (void)multi;
    if (timeout_ms < 0) {
        event_del(&fetcher->timer);
        return 0;
    }
    struct timeval delay = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    return evtimer_add(&fetcher->timer, &delay);
}

/* ---- what is finished ---- */

void fetcher_collect(struct fetcher *fetcher) {
    const CURLMsg *message;
    int left;
    if (fetcher->depth > 0) {
        return; /* whoever is in there will */
    }
    while ((message = curl_multi_info_read(fetcher->multi, &left)) != NULL) {
        struct fetch *fetch = NULL;
        if (message->msg == CURLMSG_DONE) {
            (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
            fetch->code = message->data.result;
            fetch->ended = true;
            fetch_move(fetch, &fetcher->finished);
        }
    }
}

void fetcher_settle_soon(struct fetcher *fetcher) {
    static const struct timeval now = {0, 0};
    if (!fetcher->settling && !evtimer_pending(&fetcher->deferred, NULL) &&
        (TAILQ_FIRST(&fetcher->finished) != NULL || TAILQ_FIRST(&fetcher->released) != NULL)) {
        evtimer_add(&fetcher->deferred, &now);
    }
}

/* Each `end` may start others, and those may be finished at once. */
static void settle(struct fetcher *fetcher) {
    struct fetch *fetch;
    if (fetcher->settling) {
        return;
    }
    fetcher->settling = true;
    for (;;) {
        if ((fetch = TAILQ_FIRST(&fetcher->finished)) != NULL) {
            fetch_settle(fetch);
        } else if ((fetch = TAILQ_FIRST(&fetcher->released)) != NULL) {
            fetch_move(fetch, NULL);
            if (lookup_enter(fetch)) {
                fetcher_begin(fetcher, fetch);
            }
        } else {
            break;
        }
    }
    fetcher->settling = false;
}

static void on_deferred(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    settle(argument);
}

void fetcher_begin(struct fetcher *fetcher, struct fetch *fetch) {
    ASSERT(fetcher->depth == 0);
    fetch->phase = FETCH_CONNECT;
    if (curl_multi_add_handle(fetcher->multi, fetch->easy) != CURLM_OK) {
        fetch->fault = OUTCOME_NO_MEMORY;
        fetch_move(fetch, &fetcher->finished);
        return;
    }
    fetch->added = true;
    fetch_move(fetch, &fetcher->active);
    act(fetcher, CURL_SOCKET_TIMEOUT, 0); /* now rather than a turn of the loop later */
}

void fetcher_remove(struct fetcher *fetcher, struct fetch *fetch) {
    ASSERT(fetcher->depth == 0);
    if (fetch->added) {
        fetch->added = false;
        fetcher->depth++;
        (void)curl_multi_remove_handle(fetcher->multi, fetch->easy);
        fetcher->depth--;
    }
}

/* ---- making and ending ---- */

static int set_up(struct fetcher *fetcher) {
    fetcher->multi = curl_multi_init();
    fetcher->share = curl_share_init();
    if (fetcher->multi == NULL || fetcher->share == NULL) {
        return -1;
    }
    curl_multi_setopt(fetcher->multi, CURLMOPT_SOCKETFUNCTION, on_interest);
    curl_multi_setopt(fetcher->multi, CURLMOPT_SOCKETDATA, fetcher);
    curl_multi_setopt(fetcher->multi, CURLMOPT_TIMERFUNCTION, on_timeout_change);
    curl_multi_setopt(fetcher->multi, CURLMOPT_TIMERDATA, fetcher);
    curl_multi_setopt(fetcher->multi, CURLMOPT_MAXCONNECTS, (long)FETCH_POOL_CONNECTIONS);
    return curl_share_setopt(fetcher->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) ==
                   CURLSHE_OK
               ? 0
               : -1;
}

struct fetcher *fetcher_new(struct event_base *base, const struct timers *timers) {
    struct fetcher *fetcher = calloc(1, sizeof(*fetcher));
    if (fetcher == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(fetcher);
        return NULL;
    }
    fetcher->base = base;
    fetcher->timers = *timers;
    TAILQ_INIT(&fetcher->active);
    TAILQ_INIT(&fetcher->finished);
    TAILQ_INIT(&fetcher->released);
    evtimer_assign(&fetcher->timer, base, on_timer, fetcher);
    evtimer_assign(&fetcher->deferred, base, on_deferred, fetcher);
    if (set_up(fetcher) == -1) {
        fetcher_free(fetcher);
        return NULL;
    }
    return fetcher;
}

static void cancel_all(struct fetch_list *list) {
    struct fetch *fetch;
    while ((fetch = TAILQ_FIRST(list)) != NULL) {
        fetch_cancel(fetch);
    }
}

/* libcurl's global state stays: a thread that waits for a silent name server may still use it. */
void fetcher_free(struct fetcher *fetcher) {
    if (fetcher == NULL) {
        return;
    }
    cancel_all(&fetcher->active);
    for (struct fetch_host *host = fetcher->hosts; host != NULL; host = host->next) {
        cancel_all(&host->waiting);
    }
    cancel_all(&fetcher->released);
    cancel_all(&fetcher->finished);
    while (fetcher->sites != NULL) {
        struct fetch_site *site = fetcher->sites;
        fetcher->sites = site->next;
        while (site->spare != NULL) {
            struct fetch *fetch = site->spare;
            site->spare = fetch->next_spare;
            fetch_free(fetch);
        }
        fetch_site_free(site);
    }
    if (fetcher->multi != NULL) {
        (void)curl_multi_cleanup(fetcher->multi);
    }
    if (fetcher->share != NULL) {
        (void)curl_share_cleanup(fetcher->share);
    }
    while (fetcher->hosts != NULL) {
        struct fetch_host *host = fetcher->hosts;
        fetcher->hosts = host->next;
        lookup_host_free(host);
    }
    event_del(&fetcher->timer);
    event_del(&fetcher->deferred);
    for (size_t i = 0; i < fetcher->sock_capacity; i++) {
        forget_sock(fetcher, (curl_socket_t)i);
    }
    free(fetcher->socks);
    free(fetcher);
}
