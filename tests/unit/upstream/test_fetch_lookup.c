/* fetch: names are looked up once for all who wait, and sockets that never got connected are
 * forgotten.
 */
#include "config.h"

#include "fetch_test.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdatomic.h>

typedef int lookup_fn(const char *name, const char *service, const struct addrinfo *hints,
                      struct addrinfo **result);

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
    fetch_open();
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
    start_with(&heard, &one_piece, 1, "", &current);
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
                                    .pieces = &one_piece,
                                    .piece_count = 1,
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
    start_with(&heard, &one_piece, 1, "", &current);
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
    Suite *suite = suite_create("fetch_lookup");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, fetch_open, fetch_close);
    tcase_add_test(all, a_socket_that_never_got_connected_is_forgotten);
    suite_add_tcase(suite, all);
    TCase *names = tcase_create("names");
    tcase_set_timeout(names, 60);
    tcase_add_checked_fixture(names, setup_names, fetch_close);
    tcase_add_test(names, one_lookup_serves_all_who_wait_for_it);
    tcase_add_test(names, its_failure_is_everybodys);
    tcase_add_test(names, the_next_one_leads_when_the_leader_is_cancelled);
    tcase_add_test(names, an_address_that_is_old_is_looked_up_anew);
    tcase_add_test(names, a_lookup_that_failed_leaves_no_event_behind);
    suite_add_tcase(suite, names);
    return suite;
}

UNIT_MAIN(make_suite)
