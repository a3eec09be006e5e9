/* load: the client of the benchmarks: one process, one loop, many connections, exact clocks.
 *
 *   main.c     arguments, the loop, figures as JSON
 *   peer.c     one connection: a request out, an answer in
 *   streams.c  streams at once: every event looked at and timed
 *   idle.c     connections that wait and nothing else
 *   probe.c    small requests at a steady beat, timed
 *   upload.c   large bodies, one after the other
 *
 * Each mode prints one line of JSON when it is done, and before that, as a word on a line of its
 * own, when all its connections stand ("open"), so that who started it can look at the server.
 */
#ifndef OPTIROUTE_TESTS_BENCH_LOAD_H
#define OPTIROUTE_TESTS_BENCH_LOAD_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "http/http_body.h"

/* ---- main.c ---- */

/* What was asked for on the command line; every mode has its own use for them. */
struct options {
    int64_t port;
    int64_t count;     /* connections */
    int64_t repeat;    /* streams of each, one after the other */
    int64_t events;    /* of each stream */
    int64_t pace_ms;   /* between them */
    int64_t ramp_ms;   /* over which the first streams begin */
    int64_t every_us;  /* between requests */
    int64_t run_ms;    /* how long */
    int64_t size;      /* bytes of a body; 0: 1, 3, 10 and 30 MB in turn */
    int64_t mib_per_s; /* of all bodies together; 0: as fast as it goes */
    int64_t first;     /* 1: goes before others on its core */
    const char *path;
    const char *model;
    const char *body;
};

/* Times in nanoseconds. */
struct samples {
    int64_t *at;
    size_t count, capacity;
};

struct event_base *load_base(void);
void samples_add(struct samples *samples, int64_t value);
/* "name":{"p50":...,"p99":...,"max":...} in microseconds; sorts. */
void samples_print(const char *name, struct samples *samples);
/* What went wrong, the first few times. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *must_alloc(size_t size);
/* All connections stand. */
void say_open(void);

/* ---- peer.c ---- */

struct peer;

struct peer_events {
    void (*piece)(struct peer *peer, struct bytes piece); /* of the body, decoded; may be NULL */
    void (*answered)(struct peer *peer);                  /* it is whole; ask again or leave */
    void (*lost)(struct peer *peer);                      /* the connection ended */
};

struct peer {
    const struct peer_events *events;
    void *user;
    int fd; /* -1: closed */
    struct event io;
    struct bytes out[2]; /* of the request, still to be written */
    struct buf head;     /* of the answer, until it is whole */
    bool in_body;
    int status;
    struct http_body body;
    int64_t asked_ns; /* when the request was handed to the kernel first */
    int64_t heard_ns; /* when the bytes that are looked at were read */
};

/* Connects to 127.0.0.1; ends the program when that fails. */
void peer_open(struct peer *peer, int64_t port);
/* Both pieces must stay where they are until the answer is here. */
void peer_ask(struct peer *peer, struct bytes head, struct bytes body);
void peer_close(struct peer *peer);

/* ---- the modes ---- */

/* 0, or 1 when something was not as it had to be. */
int load_streams(const struct options *options);
int load_idle(const struct options *options);
int load_probe(const struct options *options);
int load_upload(const struct options *options);

#endif
