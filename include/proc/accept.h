/* accept: taking connections from sockets that all workers share, without taking more than a fair
 * share and without spinning when there is no room.
 *
 * One accept4 per wake-up. A worker above 1.125 x average + 0.5 connections looks away for 2 ms and
 * then takes one anyway, so that nobody waits for a stopped neighbour (DESIGN section 8).
 *
 * A connection past a limit is taken too, and http is told that it stands above it, so that a
 * health check is answered and everybody else hears 503 at once (doc/decisions/0009-overload.md).
 * The limit of connections is one of all workers together, so who is turned away does not depend on
 * the worker. Should accept itself fail for want of a descriptor, one that is kept for this is
 * given up for the time of saying so. When that does not work either the acceptor looks away for
 * 100 ms.
 *
 *  WAITING --acceptor_begin--> OPEN (during an upgrade nobody is served before the take-over)
 *     OPEN --(above share, 2 ms)--> AWAY --timer--> OPEN, takes one anyway
 *      |  \--(no descriptor, no memory, 100 ms)--> AWAY --timer--> OPEN or AWAY again
 *      +--acceptor_close--> CLOSED
 */
#ifndef OPTIROUTE_PROC_ACCEPT_H
#define OPTIROUTE_PROC_ACCEPT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

#include "http/http_server.h"
#include "proc/capacity.h"
#include "proc/listen.h"
#include "shm/board.h"
#include "watch/metrics.h"

enum acceptor_state { ACCEPTOR_CLOSED, ACCEPTOR_WAITING, ACCEPTOR_OPEN, ACCEPTOR_AWAY };

struct acceptor {
    enum acceptor_state state;
    struct listeners *listeners;
    struct event events[LISTEN_MAX]; /* of listeners, same index */
    struct event timer;              /* AWAY: until when */
    struct http_server *server;
    struct tls_context *tls; /* NULL: plain */
    struct region *region;
    const struct metrics *metrics;
    struct capacity capacity; /* .connections: over all workers when it balances, else our own */
    uint32_t generation;
    int slot;
    int spare_fd;    /* given up for the moment in which accept needs one; -1: could not be had */
    bool balances;   /* looks at the neighbours */
    bool takes_next; /* looked away once: takes the next one whatever the balance */
    bool starved;    /* accept failed, and that was said */
    uint64_t counted[HTTP_PLACES]; /* turned away, as far as the metrics know */
    int64_t said_ns[HTTP_PLACES];  /* when that was last logged; 0: never */
    uint64_t counted_cut;          /* the same of those cut off because they do not read */
    int64_t said_cut_ns;
};

struct acceptor_params {
    struct event_base *base;
    struct listeners *listeners;
    struct http_server *server;
    struct tls_context *tls;
    struct region *region;
    const struct metrics *metrics; /* lives as long as the acceptor */
    struct capacity capacity;
    uint32_t generation;
    int slot;
    bool balances;
    bool waits; /* takes nobody before acceptor_begin */
};

/* -1 without memory. */
int acceptor_open(struct acceptor *acceptor, const struct acceptor_params *params);
/* Opens the door of one that waits; nothing else. */
void acceptor_begin(struct acceptor *acceptor);
/* No more connections; closes this process's copies of the sockets. May be called again. */
void acceptor_close(struct acceptor *acceptor);
/* Writes the server's numbers to our slot's gauges, and counts who was turned away since; the log
 * hears of that at most once a minute. How many are connected is written at each close, too. */
void acceptor_publish(struct acceptor *acceptor);

/* Has this worker more than its share? own: its connections; total, workers: of all that are ready,
 * itself included. */
bool acceptor_is_above_share(int64_t own, int64_t total, unsigned workers);

#endif
