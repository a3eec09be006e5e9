/* What the tests of fetch share: a server in the same loop that the test scripts byte by byte, and
 * somebody who listens.
 */
#ifndef OPTIROUTE_TESTS_FETCH_TEST_H
#define OPTIROUTE_TESTS_FETCH_TEST_H

#include "config.h"

#include "unit.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../src/upstream/fetch_private.h"
#include "base/clock.h"
#include "proc/loop_timers.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define REQUEST "{\"a\":1}"
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"

static struct event_base *base;
static struct loop_timers timers;
static struct fetcher *fetcher;
static struct fetch_site *site;
static struct conf_provider provider;
static char url[64];

/* -- the server: one listening socket; each request gets the next of `answers` */

struct peer {
    int fd;
    struct event *event;
    char request[4096]; /* the beginning of it */
    size_t size;        /* of all of it */
};
static struct peer peers[8];
static unsigned peer_count, requests, ends;
static const char *answers[8]; /* NULL: closes instead of answering; "" says nothing */
static size_t body_wanted;     /* bytes of a request's body; 0: it is REQUEST */
static struct buf body_got;    /* of the last request, when body_wanted */
static int listener;
static struct event *accepting;

static inline void peer_close(struct peer *peer) {
    if (peer->event != NULL) {
        event_free(peer->event);
        peer->event = NULL;
        close(peer->fd);
    }
}

static inline void answer_peer(int fd, struct peer *peer) {
    const char *answer = answers[requests++];
    peer->size = 0;
    if (answer == NULL) {
        peer_close(peer);
        return;
    }
    ck_assert_int_eq(write(fd, answer, strlen(answer)), (ssize_t)strlen(answer));
}

/* A request that may be larger than the buffer: its head ends in what was read first. */
static inline void on_large(int fd, struct peer *peer) {
    char data[65536];
    ssize_t got = read(fd, data, sizeof(data));
    if (got <= 0) {
        ends++;
        peer_close(peer);
        return;
    }
    if (peer->size == 0) {
        size_t size = (size_t)got < sizeof(peer->request) ? (size_t)got : sizeof(peer->request) - 1;
        memcpy(peer->request, data, size);
        peer->request[size] = '\0';
        char *end = strstr(peer->request, "\r\n\r\n");
        ck_assert_ptr_nonnull(end);
        size_t head = (size_t)(end + 4 - peer->request);
        buf_clear(&body_got);
        buf_append(&body_got, data + head, (size_t)got - head);
        end[4] = '\0';
    } else {
        buf_append(&body_got, data, (size_t)got);
    }
    peer->size += (size_t)got;
    if (body_got.size >= body_wanted) {
        answer_peer(fd, peer);
    }
}

static inline void on_peer(evutil_socket_t fd, short what, void *argument) {
    (void)what;
    struct peer *peer = argument;
    if (body_wanted > 0) {
        on_large(fd, peer);
        return;
    }
    ssize_t got = read(fd, peer->request + peer->size, sizeof(peer->request) - 1 - peer->size);
    if (got <= 0) {
        ends++;
        peer_close(peer);
        return;
    }
    peer->size += (size_t)got;
    peer->request[peer->size] = '\0';
    if (strstr(peer->request, "\r\n\r\n" REQUEST) != NULL) {
        answer_peer(fd, peer);
    }
}

static inline void on_accept(evutil_socket_t fd, short what, void *argument) {
    (void)what;
    (void)argument;
    struct peer *peer = &peers[peer_count++];
    peer->fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    peer->event = event_new(base, peer->fd, EV_READ | EV_PERSIST, on_peer, peer);
    event_add(peer->event, NULL);
}

/* -- the client */

static struct heard {
    int heads, ends;
    enum outcome outcome;
    struct fetch_head head;
    size_t size;
    char data[64];
    bool pause;    /* at the next piece */
    bool complete; /* so is the answer, with the next piece */
    int limit_ms;  /* at the head; 0: none */
    unsigned stale_sends;
    enum outcome refuse;
} heard;
static struct fetch *current;

static inline enum outcome on_head(void *user, const struct fetch_head *head) {
    struct heard *to = user;
    to->heads++;
    to->head = *head;
    if (to->limit_ms > 0) {
        fetch_limit(current, to->limit_ms);
    }
    return OUTCOME_OK;
}

static inline enum outcome on_data(void *user, struct bytes data) {
    struct heard *to = user;
    size_t room = sizeof(to->data) - 1;
    if (to->size < room) {
        size_t part = data.size < room - to->size ? data.size : room - to->size;
        memcpy(to->data + to->size, data.data, part);
    }
    to->size += data.size;
    if (to->pause) {
        to->pause = false;
        fetch_pause(current);
    }
    if (to->complete) {
        to->complete = false;
        fetch_complete(current);
    }
    return to->refuse;
}

static inline void on_end(void *user, enum outcome outcome) {
    struct heard *to = user;
    to->ends++;
    to->outcome = outcome;
    to->stale_sends = current != NULL ? fetch_stale_sends(current) : 0;
}

static const struct fetch_events events = {on_head, on_data, on_end};

static inline void fetch_open(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    base = event_base_new();
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(listen(listener, 16), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    snprintf(url, sizeof(url), "http://localhost:%u/v1/x", ntohs(address.sin_port));
    accepting = event_new(base, listener, EV_READ | EV_PERSIST, on_accept, NULL);
    event_add(accepting, NULL);
    loop_timers_init(&timers, base);
    struct timers interface = loop_timers_interface(&timers);
    fetcher = fetcher_new(base, &interface);
    provider = (struct conf_provider){.name = "p",
                                      .url = url,
                                      .connect_timeout_ms = 20000,
                                      .first_byte_timeout_ms = 20000,
                                      .idle_timeout_ms = 20000,
                                      .total_timeout_ms = 60000};
    site = fetch_site_new(fetcher, &provider, BYTES_LITERAL("X-Test: yes\nX-Key: k\n"));
    ck_assert_ptr_nonnull(site);
    memset(&heard, 0, sizeof(heard));
    memset(peers, 0, sizeof(peers));
    memset(answers, 0, sizeof(answers));
    peer_count = requests = ends = 0;
    body_wanted = 0;
    buf_init(&body_got, 0);
}

static inline void fetch_close(void) {
    for (unsigned i = 0; i < peer_count; i++) {
        peer_close(&peers[i]);
    }
    fetcher_free(fetcher);
    ck_assert_uint_eq(timers.due, 0);
    loop_timers_fini(&timers);
    event_free(accepting);
    close(listener);
    event_base_free(base);
    buf_free(&body_got);
}

static const struct bytes one_piece = BYTES_LITERAL(REQUEST);

static inline void start_with(struct heard *to, const struct bytes *pieces, unsigned count,
                              const char *fields, struct fetch **fetch) {
    struct fetch_request request = {.url = url,
                                    .fields = bytes_from_str(fields),
                                    .pieces = pieces,
                                    .piece_count = count,
                                    .deadline_ns = INT64_MAX,
                                    .events = &events,
                                    .user = to};
    ck_assert(fetch_start(site, &request, fetch));
    ck_assert_int_eq(to->ends, 0); /* never from inside start */
}

static inline struct fetch *start_for(struct heard *to) {
    struct fetch *fetch;
    start_with(to, &one_piece, 1, "", &fetch);
    return fetch;
}

static inline void run_until(const int *count, int wanted) {
    while (*count < wanted) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    }
}

static inline void exchange_with(const struct bytes *pieces, unsigned count, const char *fields) {
    heard.ends = 0;
    start_with(&heard, pieces, count, fields, &current);
    run_until(&heard.ends, 1);
}

static inline void exchange(void) {
    exchange_with(&one_piece, 1, "");
}

#endif
