/* fetch against a server in the same loop that the test scripts byte by byte: events, reuse of
 * connections, back-pressure, cancelling, and Retry-After. What goes wrong on the wire is tested
 * row by row in the black-box tests.
 */
#include "config.h"

#include "unit.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../src/upstream/fetch_private.h"
#include "base/clock.h"
#include "proc/loop_timers.h"

#define REQUEST "{\"a\":1}"
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"

typedef int lookup_fn(const char *name, const char *service, const struct addrinfo *hints,
                      struct addrinfo **result);

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
    char request[4096];
    size_t size;
};
static struct peer peers[8];
static unsigned peer_count, requests, ends;
static const char *answers[8]; /* NULL: closes instead of answering; "" says nothing */
static int listener;
static struct event *accepting;

static void peer_close(struct peer *peer) {
    if (peer->event != NULL) {
        event_free(peer->event);
        peer->event = NULL;
        close(peer->fd);
    }
}

static void on_peer(evutil_socket_t fd, short what, void *argument) {
    (void)what;
    struct peer *peer = argument;
    ssize_t got = read(fd, peer->request + peer->size, sizeof(peer->request) - 1 - peer->size);
    if (got <= 0) {
        ends++;
        peer_close(peer);
        return;
    }
    peer->size += (size_t)got;
    peer->request[peer->size] = '\0';
    if (strstr(peer->request, "\r\n\r\n" REQUEST) == NULL) {
        return;
    }
    const char *answer = answers[requests++];
    peer->size = 0;
    if (answer == NULL) {
        peer_close(peer);
        return;
    }
    ck_assert_int_eq(write(fd, answer, strlen(answer)), (ssize_t)strlen(answer));
}

static void on_accept(evutil_socket_t fd, short what, void *argument) {
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
    bool pause;   /* at the next piece */
    int limit_ms; /* at the head; 0: none */
    unsigned stale_sends;
    enum outcome refuse;
} heard;
static struct fetch *current;

static enum outcome on_head(void *user, const struct fetch_head *head) {
    struct heard *to = user;
    to->heads++;
    to->head = *head;
    if (to->limit_ms > 0) {
        fetch_limit(current, to->limit_ms);
    }
    return OUTCOME_OK;
}

static enum outcome on_data(void *user, struct bytes data) {
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
    return to->refuse;
}

static void on_end(void *user, enum outcome outcome) {
    struct heard *to = user;
    to->ends++;
    to->outcome = outcome;
    to->stale_sends = current != NULL ? fetch_stale_sends(current) : 0;
}

static const struct fetch_events events = {on_head, on_data, on_end};

static void setup(void) {
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
}

static void teardown(void) {
    for (unsigned i = 0; i < peer_count; i++) {
        peer_close(&peers[i]);
    }
    fetcher_free(fetcher);
    ck_assert_uint_eq(timers.due, 0);
    loop_timers_fini(&timers);
    event_free(accepting);
    close(listener);
    event_base_free(base);
}

static struct fetch *start_for(struct heard *to) {
    struct fetch_request request = {.url = url,
                                    .body = BYTES_LITERAL(REQUEST),
                                    .deadline_ns = INT64_MAX,
                                    .events = &events,
                                    .user = to};
    struct fetch *fetch;
    ck_assert(fetch_start(site, &request, &fetch));
    ck_assert_int_eq(to->ends, 0); /* never from inside start */
    return fetch;
}

static void run_until(const int *count, int wanted) {
    while (*count < wanted) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    }
}

static void exchange(void) {
    heard.ends = 0;
    current = start_for(&heard);
    run_until(&heard.ends, 1);
}

START_TEST(an_answer_comes_as_head_data_end) {
    answers[0] = ANSWER;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_int_eq(heard.heads, 1);
    ck_assert_int_eq(heard.head.status, 200);
    ck_assert(!heard.head.is_encoded);
    ck_assert_str_eq(heard.data, "hello");
}
END_TEST

START_TEST(the_request_is_exactly_what_was_asked) {
    answers[0] = ANSWER;
    exchange();
    const char *request = peers[0].request;
    ck_assert_ptr_eq(strstr(request, "POST /v1/x HTTP/1.1\r\n"), request);
    ck_assert_ptr_nonnull(strstr(request, "\r\nX-Test: yes\r\nX-Key: k\r\n"));
    ck_assert_ptr_nonnull(strstr(request, "\r\nContent-Length: 7\r\n"));
    ck_assert_ptr_nonnull(strstr(request, "\r\nUser-Agent: optiroute/" PACKAGE_VERSION "\r\n"));
    ck_assert_ptr_null(strstr(request, "Expect"));
    ck_assert_ptr_null(strstr(request, "Accept-Encoding"));
}
END_TEST

START_TEST(a_kept_connection_is_used_again) {
    answers[0] = answers[1] = answers[2] = ANSWER;
    exchange();
    exchange();
    exchange();
    ck_assert_uint_eq(requests, 3);
    ck_assert_uint_eq(peer_count, 1);
}
END_TEST

/* libcurl sends again by itself, once; that is counted and it is not repeated. */
START_TEST(a_kept_connection_that_is_closed_under_the_request_costs_one_more_try) {
    answers[0] = ANSWER;
    answers[1] = NULL;
    answers[2] = ANSWER;
    exchange();
    heard.ends = 0;
    current = start_for(&heard);
    run_until(&heard.ends, 1);
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_uint_eq(heard.stale_sends, 1);
    ck_assert_uint_eq(requests, 3);
    ck_assert_uint_eq(peer_count, 2);
}
END_TEST

START_TEST(a_fresh_connection_that_is_closed_is_not_tried_again) {
    answers[0] = NULL;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_EMPTY_REPLY);
    ck_assert_uint_eq(requests, 1);
}
END_TEST

START_TEST(another_protocol_is_no_answer) {
    answers[0] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
                 "{\"hello\":1}";
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_BAD_HTTP);
    ck_assert_int_eq(heard.heads, 0);
    ck_assert_uint_eq(heard.size, 0);
}
END_TEST

START_TEST(what_may_take_so_long_only_is_ended_then) {
    answers[0] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell";
    heard.limit_ms = 20;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_TOTAL_TIMEOUT);
    ck_assert_uint_eq(heard.size, 4);
}
END_TEST

START_TEST(a_refused_piece_ends_it_with_the_given_reason) {
    answers[0] = ANSWER;
    heard.refuse = OUTCOME_TOO_LARGE;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_TOO_LARGE);
    run_until((int *)&ends, 1); /* and the connection is gone */
}
END_TEST

START_TEST(cancelling_closes_the_connection_and_says_nothing_more) {
    answers[0] = "";
    current = start_for(&heard);
    run_until((int *)&requests, 1);
    ck_assert(fetch_was_sent(current));
    fetch_cancel(current);
    run_until((int *)&ends, 1);
    ck_assert_int_eq(heard.ends, 0);
}
END_TEST

START_TEST(cancelling_before_anything_was_sent) {
    current = start_for(&heard);
    fetch_cancel(current);
    ck_assert_int_eq(event_base_loop(base, EVLOOP_NONBLOCK), 0);
    ck_assert_int_eq(heard.ends, 0);
    ck_assert_uint_eq(requests, 0);
}
END_TEST

/* -- names: held.test is looked up in libcurl's thread, which waits there for the test's word */

static int words[2]; /* a pipe: 'y' for 127.0.0.1, 'n' for no such name */
static atomic_int lookups;

/* Instead of libc's, for this program and the libraries it uses. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    lookup_fn *real = (lookup_fn *)dlsym(RTLD_NEXT, "getaddrinfo");
    char word = 'y';
    if (name == NULL || strcmp(name, "held.test") != 0) {
        return real(name, service, hints, result);
    }
    atomic_fetch_add(&lookups, 1);
    return read(words[0], &word, 1) != 1 || word == 'n' ? EAI_NONAME
                                                        : real("127.0.0.1", service, hints, result);
}

static void setup_names(void) {
    setup();
    char *port = strrchr(url, ':');
    char held[64];
    snprintf(held, sizeof(held), "http://held.test%s", port);
    memcpy(url, held, sizeof(url));
    site = fetch_site_new(fetcher, &provider, bytes_make(NULL, 0));
    ck_assert_int_eq(pipe2(words, O_CLOEXEC), 0);
    atomic_store(&lookups, 0);
}

static void say(char word) {
    ck_assert_int_eq(write(words[1], &word, 1), 1);
}

static void wait_for_lookups(int wanted) {
    while (atomic_load(&lookups) < wanted) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0);
    }
}

static void start_many(struct heard *many, int count) {
    memset(many, 0, (size_t)count * sizeof(*many));
    for (int i = 0; i < count; i++) {
        answers[i] = ANSWER;
        start_for(&many[i]);
    }
}

/* One of them looks the name up, the others wait for it and are not lost. */
START_TEST(one_lookup_serves_all_who_wait_for_it) {
    struct heard many[6];
    start_many(many, 6);
    wait_for_lookups(1);
    ck_assert_int_eq(site->host->state, LOOKUP_RUNS);
    say('y');
    for (int i = 0; i < 6; i++) {
        run_until(&many[i].ends, 1);
        ck_assert_int_eq(many[i].outcome, OUTCOME_OK);
    }
    ck_assert_int_eq(site->host->state, LOOKUP_FRESH);
    ck_assert_int_eq(atomic_load(&lookups), 1);
}
END_TEST

START_TEST(its_failure_is_everybodys) {
    struct heard many[4];
    start_many(many, 4);
    wait_for_lookups(1);
    say('n');
    for (int i = 0; i < 4; i++) {
        run_until(&many[i].ends, 1);
        ck_assert_int_eq(many[i].outcome, OUTCOME_DNS);
    }
    ck_assert_int_eq(site->host->state, LOOKUP_NEEDED);
    ck_assert_int_eq(atomic_load(&lookups), 1);
}
END_TEST

/* The thread of the first lookup is left behind; cancelling must not wait for it. */
START_TEST(the_next_one_leads_when_the_leader_is_cancelled) {
    struct heard second = {0};
    answers[0] = ANSWER;
    current = start_for(&heard);
    start_for(&second);
    wait_for_lookups(1);
    fetch_cancel(current);
    wait_for_lookups(2);
    say('y'); /* one for the thread that nobody waits for, one for the second */
    say('y');
    run_until(&second.ends, 1);
    ck_assert_int_eq(second.outcome, OUTCOME_OK);
    ck_assert_int_eq(heard.ends, 0);
}
END_TEST

/* Kept connections need no name; when there is none, an old address is asked for anew. */
START_TEST(an_address_that_is_old_is_looked_up_anew) {
    answers[0] = answers[1] = answers[2] = ANSWER;
    say('y');
    exchange();
    exchange();
    ck_assert_int_eq(atomic_load(&lookups), 1);
    site->host->fresh_until_ns = 0;
    exchange(); /* on the kept connection */
    ck_assert_int_eq(atomic_load(&lookups), 1);
    ck_assert_int_eq(site->host->state, LOOKUP_NEEDED);
    peer_close(&peers[0]);
    answers[3] = ANSWER;
    say('y');
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_int_eq(atomic_load(&lookups), 2);
}
END_TEST

static unsigned known_socks(void) {
    unsigned count = 0;
    for (size_t i = 0; i < fetcher->sock_capacity; i++) {
        count += fetcher->socks[i] != NULL;
    }
    return count;
}

/* A listening socket whose queue is full, so that nobody who connects hears anything. */
struct nowhere {
    int fd, filler[4];
    char url[64];
    struct conf_provider provider;
};

static void nowhere_open(struct nowhere *nowhere) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    nowhere->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(nowhere->fd, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(listen(nowhere->fd, 0), 0);
    ck_assert_int_eq(getsockname(nowhere->fd, (struct sockaddr *)&address, &size), 0);
    for (int i = 0; i < 4; i++) { /* from the second on nobody answers */
        nowhere->filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(nowhere->filler[i], (struct sockaddr *)&address, size);
    }
    snprintf(nowhere->url, sizeof(nowhere->url), "http://127.0.0.1:%u/", ntohs(address.sin_port));
    nowhere->provider = provider;
    nowhere->provider.url = nowhere->url;
}

static void nowhere_close(struct nowhere *nowhere) {
    for (int i = 0; i < 4; i++) {
        close(nowhere->filler[i]);
    }
    close(nowhere->fd);
}

/* Connects, in vain, and gives up. */
static void go_nowhere(struct nowhere *nowhere) {
    struct fetch_site *theirs = fetch_site_new(fetcher, &nowhere->provider, bytes_make(NULL, 0));
    struct fetch_request request = {.url = nowhere->url,
                                    .body = BYTES_LITERAL(REQUEST),
                                    .deadline_ns = INT64_MAX,
                                    .events = &events,
                                    .user = &heard};
    struct fetch *fetch;
    ck_assert(fetch_start(theirs, &request, &fetch));
    ck_assert_uint_gt(fetch->opened_count, 0);
    ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0);
    ck_assert_int_eq(fetch->phase, FETCH_CONNECT);
    ck_assert_uint_gt(known_socks(), 0);
    fetch_cancel(fetch);
}

/* libcurl closes such a socket without telling; its descriptor comes again with the next one. */
START_TEST(a_socket_that_never_got_connected_is_forgotten) {
    struct nowhere nowhere;
    nowhere_open(&nowhere);
    for (int i = 0; i < 3; i++) {
        go_nowhere(&nowhere);
        ck_assert_uint_eq(known_socks(), 0);
    }
    answers[0] = answers[1] = ANSWER;
    exchange();
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_uint_eq(known_socks(), 1); /* a kept connection stays registered */
    nowhere_close(&nowhere);
}
END_TEST

/* More than fits into the sockets' buffers: it must wait at the server, not in our memory. */
static char *flood;
#define FLOOD_SIZE ((size_t)32 << 20)
static size_t flood_sent;

static void on_writable(evutil_socket_t fd, short what, void *argument) {
    (void)what;
    (void)argument;
    ssize_t sent = write(fd, flood + flood_sent, FLOOD_SIZE - flood_sent);
    flood_sent += sent > 0 ? (size_t)sent : 0;
}

START_TEST(a_paused_answer_waits_at_the_server) {
    char head[128];
    int length =
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", FLOOD_SIZE);
    flood = malloc(FLOOD_SIZE);
    memset(flood, 'x', FLOOD_SIZE);
    memcpy(flood, "begin", 5);
    flood_sent = 0;
    head[length] = '\0';
    answers[0] = head;
    heard.pause = true;
    current = start_for(&heard);
    run_until((int *)&requests, 1);
    struct event *writable = event_new(base, peers[0].fd, EV_WRITE | EV_PERSIST, on_writable, NULL);
    event_add(writable, NULL);
    for (int quiet = 0; quiet < 100;) { /* until nothing moves any more */
        size_t before = flood_sent;
        ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0);
        quiet = before == flood_sent ? quiet + 1 : 0;
    }
    size_t paused_size = heard.size;
    ck_assert_uint_lt(paused_size, 1 << 20);
    ck_assert_uint_lt(flood_sent, FLOOD_SIZE / 2);
    ck_assert_str_eq(bytes_start_with(bytes_make(heard.data, 5), BYTES_LITERAL("begin")) ? "" : "?",
                     "");
    fetch_resume(current);
    while (flood_sent < FLOOD_SIZE) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    }
    event_free(writable);
    run_until(&heard.ends, 1);
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_uint_eq(heard.size, FLOOD_SIZE);
    free(flood);
}
END_TEST

START_TEST(the_head_says_when_to_come_back_and_what_is_inside) {
    answers[0] = "HTTP/1.1 503 Busy\r\nretry-after:  17 \r\ncontent-encoding: gzip\r\n"
                 "Content-Length: 0\r\n\r\n";
    exchange();
    ck_assert_int_eq(heard.head.status, 503);
    ck_assert_int_eq(heard.head.retry_after_ms, 17000);
    ck_assert(heard.head.is_encoded);
    answers[1] = "HTTP/1.1 100 Continue\r\nretry-after: 5\r\n\r\n" ANSWER;
    heard = (struct heard){0};
    exchange();
    ck_assert_int_eq(heard.heads, 1); /* the interim answer is not one */
    ck_assert_int_eq(heard.head.retry_after_ms, -1);
}
END_TEST

/* RFC 9110 section 10.2.3; B8. 784111777 is the date that RFC 9110 section 5.6.7 writes down. */
START_TEST(retry_after_as_seconds_and_as_a_date) {
    static const struct {
        const char *value;
        int64_t ms;
    } rows[] = {
        {"0", 0},
        {"2", 2000},
        {"1000000000", 1000000000000},
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", -1},
        {"-1", -1},
        {"1e9", -1},
        {"1.5", -1},
        {"", -1},
        {"soon", -1},
        {"tomorrow, GMT", -1},
        {"Sun, 06 Nov 1994 08:49:47 GMT", 10000},
        {"Sunday, 06-Nov-94 08:49:47 GMT", 10000},
        {"Sun, 06 Nov 1994 08:49:30 GMT", 0}, /* over */
        {"Sun, 06 Nov 1994 08:49:47", -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t ms = fetch_retry_after_ms(bytes_from_str(rows[i].value), 784111777);
        ck_assert_msg(ms == rows[i].ms, "%s: %lld", rows[i].value, (long long)ms);
    }
}
END_TEST

static void on_readable(evutil_socket_t fd, short what, void *argument) {
    int *count = argument;
    char byte;
    (void)what;
    *count += (int)read(fd, &byte, 1);
}

/* A connection that failed and a lookup that failed, one after the other, as when the uplink is
 * gone: the event of the lookup's descriptor stayed in the loop after its close, and a client's
 * connection with the same number was never heard. */
START_TEST(a_lookup_that_failed_leaves_no_event_behind) {
    struct nowhere nowhere;
    nowhere_open(&nowhere);
    go_nowhere(&nowhere);
    current = start_for(&heard);
    wait_for_lookups(1);
    say('n');
    run_until(&heard.ends, 1);
    ck_assert_int_eq(heard.outcome, OUTCOME_DNS);
    ck_assert_uint_eq(known_socks(), 0);
    for (int i = 0; i < 8; i++) { /* whatever numbers were free */
        int pair[2], count = 0;
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        struct event *event = event_new(base, pair[0], EV_READ | EV_PERSIST, on_readable, &count);
        event_add(event, NULL);
        ck_assert_int_eq(write(pair[1], "x", 1), 1);
        ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0);
        ck_assert_int_eq(count, 1);
        event_free(event);
    }
    nowhere_close(&nowhere);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("fetch");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, an_answer_comes_as_head_data_end);
    tcase_add_test(tcase, the_request_is_exactly_what_was_asked);
    tcase_add_test(tcase, a_kept_connection_is_used_again);
    tcase_add_test(tcase, a_kept_connection_that_is_closed_under_the_request_costs_one_more_try);
    tcase_add_test(tcase, a_fresh_connection_that_is_closed_is_not_tried_again);
    tcase_add_test(tcase, another_protocol_is_no_answer);
    tcase_add_test(tcase, what_may_take_so_long_only_is_ended_then);
    tcase_add_test(tcase, a_refused_piece_ends_it_with_the_given_reason);
    tcase_add_test(tcase, cancelling_closes_the_connection_and_says_nothing_more);
    tcase_add_test(tcase, cancelling_before_anything_was_sent);
    tcase_add_test(tcase, a_socket_that_never_got_connected_is_forgotten);
    tcase_add_test(tcase, a_paused_answer_waits_at_the_server);
    tcase_add_test(tcase, the_head_says_when_to_come_back_and_what_is_inside);
    tcase_add_test(tcase, retry_after_as_seconds_and_as_a_date);
    suite_add_tcase(suite, tcase);
    TCase *names = tcase_create("names");
    tcase_set_timeout(names, 60);
    tcase_add_checked_fixture(names, setup_names, teardown);
    tcase_add_test(names, one_lookup_serves_all_who_wait_for_it);
    tcase_add_test(names, its_failure_is_everybodys);
    tcase_add_test(names, the_next_one_leads_when_the_leader_is_cancelled);
    tcase_add_test(names, an_address_that_is_old_is_looked_up_anew);
    tcase_add_test(names, a_lookup_that_failed_leaves_no_event_behind);
    suite_add_tcase(suite, names);
    return suite;
}

UNIT_MAIN(make_suite)
