/* mockllm: a scripted upstream for tests and benchmarks: it speaks the dialects of providers, does
 * what the model's name orders, and misbehaves to the byte. Built, never installed; not a model.
 *
 *   mockllm [-d DIR] [-l MODE]... [PORT]
 *
 * Listens on 127.0.0.1, PORT 0 or nothing: a free one. The first line on stdout is `listening on
 * 127.0.0.1:PORT`; each -l adds a listener on a free port and a line with its mode behind that. DIR
 * holds the bodies that `file=NAME` orders.
 *
 *   plain                as the first
 *   tls=CERT,KEY         TLS 1.2 and 1.3
 *   tls10=CERT,KEY       TLS 1.0 and 1.1 only
 *   tls-cut=CERT,KEY     answers that are ended early end without close_notify
 *   tls-stall            accepts and never reads
 *   close, reset         FIN or RST as soon as a connection is there
 *   silent               reads, never answers
 *   banner               speaks first, and not HTTP
 *   early                answers a head, without waiting for the body, and ends
 *
 * POST .../chat/completions, .../completions, .../embeddings, .../responses (OpenAI), .../messages
 * (Anthropic), any path with "inputs" in its JSON (Hugging Face); GET .../models. Orders stand
 * behind the model's name, `any-name+delay=200+status=429`; orders.c has their table. GET
 * /counters[?model=NAME], GET /last[?n=K] and POST /reset speak with the mock itself.
 *
 * The surprise: one process, one loop, so that what happened is always in order, and one core is
 * all it takes. Ends at SIGTERM or SIGINT with status 0.
 */
#include "config.h"

#include "mock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define LISTENERS_MAX 32
#define DESCRIPTORS_KEPT 64 /* not for connections */

struct options {
    const char *files;
    const char *modes[LISTENERS_MAX];
    int mode_count;
    int64_t port;
};

static void on_signal(evutil_socket_t number, short what, void *argument) {
    (void)number;
    (void)what;
    event_base_loopbreak(argument);
}

static struct options read_options(int argc, char **argv) {
    struct options options = {.modes = {"plain"}, .mode_count = 1};
    bool good = true;
    int option;
    while ((option = getopt(argc, argv, "d:l:")) != -1) {
        if (option == 'd') {
            options.files = optarg;
        } else if (option == 'l' && options.mode_count < LISTENERS_MAX) {
            options.modes[options.mode_count++] = optarg;
        } else {
            good = false;
        }
    }
    if (argc > optind) {
        good = good && argc == optind + 1 &&
               bytes_to_int64(bytes_from_str(argv[optind]), &options.port) &&
               options.port <= UINT16_MAX;
    }
    if (!good) {
        die(1, "usage: mockllm [-d DIR] [-l MODE]... [PORT]");
    }
    return options;
}

/* As many connections as descriptors allow: an accept that fails for want of one would spin. */
static unsigned most_connections(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1) {
        return CONNECTIONS_MAX;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur < CONNECTIONS_MAX + DESCRIPTORS_KEPT
               ? (unsigned)limit.rlim_cur - DESCRIPTORS_KEPT
               : CONNECTIONS_MAX;
}

/* With exact timers: libevent's usual ones are late by up to 4 ms, more than a gateway under test
 * may add. They cost one system call for each turn of the loop, not for each request. */
static struct event_base *new_base(void) {
    struct event_config *config = event_config_new();
    ASSERT(config != NULL && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0);
    struct event_base *base = event_base_new_with_config(config);
    ASSERT(base != NULL);
    event_config_free(config);
    return base;
}

static void mock_init(struct mock *mock) {
    mock->base = new_base();
    mock->most_open = most_connections();
    LIST_INIT(&mock->connections);
    json_reader_init(&mock->reader);
    arena_init(&mock->arena, 4096, BODY_MAX);
    buf_init(&mock->body, 0);
    buf_init(&mock->text, 0);
    buf_init(&mock->event, 0);
    mock->sha = sha256_new();
    ASSERT(mock->sha != NULL);
    for (int i = 0; i < LAST_KEPT; i++) {
        buf_init(&mock->last[i].head, 0);
        buf_init(&mock->last[i].body, 0);
    }
}

/* Before the listeners, which their connections point to. */
static void close_connections(struct mock *mock) {
    struct conn *conn;
    while ((conn = LIST_FIRST(&mock->connections)) != NULL) {
        conn_close(conn);
        conn_leave(conn);
    }
}

static void mock_fini(struct mock *mock) {
    models_free(mock);
    json_reader_fini(&mock->reader);
    arena_fini(&mock->arena);
    buf_free(&mock->body);
    buf_free(&mock->text);
    buf_free(&mock->event);
    sha256_free(mock->sha);
    for (int i = 0; i < LAST_KEPT; i++) {
        buf_free(&mock->last[i].head);
        buf_free(&mock->last[i].body);
    }
    event_base_free(mock->base);
}

static struct event *catch_signal(struct mock *mock, int number) {
    struct event *event = evsignal_new(mock->base, number, on_signal, mock->base);
    ASSERT(event != NULL && event_add(event, NULL) == 0);
    return event;
}

int main(int argc, char **argv) {
    static struct mock mock;
    struct listener *listeners[LISTENERS_MAX];
    struct options options = read_options(argc, argv);
    (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL's writes raise it */
    mock_init(&mock);
    mock.files = options.files;
    for (int i = 0; i < options.mode_count; i++) {
        const char *mode = options.modes[i];
        listeners[i] = listener_new(&mock, mode, i == 0 ? (uint16_t)options.port : 0);
        if (i > 0) {
            printf(" %.*s", (int)bytes_find(bytes_from_str(mode), '='), mode);
        }
        printf("\n");
    }
    struct event *term = catch_signal(&mock, SIGTERM);
    struct event *interrupt = catch_signal(&mock, SIGINT);
    fflush(stdout); /* who reads the ports may send signals */
    event_base_dispatch(mock.base);
    event_free(term);
    event_free(interrupt);
    close_connections(&mock);
    for (int i = 0; i < options.mode_count; i++) {
        listener_free(listeners[i]);
    }
    mock_fini(&mock);
    return 0;
}
