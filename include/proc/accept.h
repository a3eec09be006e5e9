/* accept: taking connections from sockets that all workers share, without taking more than a fair
 * share and without spinning when there is no room.
 *
 * One accept4 per wake-up. A worker above 1.125 x average + 0.5 connections looks away for 2 ms and
 * then takes one anyway, so that nobody waits for a stopped neighbour (DESIGN section 8). When the
 * server is full or descriptors are used up it looks away for 100 ms.
 *
 *  WAITING --acceptor_begin--> OPEN (during an upgrade nobody is served before the take-over)
 *     OPEN --(above share, 2 ms)--> AWAY --timer--> OPEN, takes one anyway
 *      |  \--(full, EMFILE, 100 ms)--> AWAY --timer--> OPEN or AWAY again
 *      +--acceptor_close--> CLOSED
 */
#ifndef OPTIROUTE_PROC_ACCEPT_H
#define OPTIROUTE_PROC_ACCEPT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>

#include "http/http_server.h"
#include "proc/listen.h"
#include "shm/board.h"

enum acceptor_state { ACCEPTOR_CLOSED, ACCEPTOR_WAITING, ACCEPTOR_OPEN, ACCEPTOR_AWAY };

struct acceptor {
    enum acceptor_state state;
    struct listeners *listeners;
    struct event events[LISTEN_MAX]; /* of listeners, same index */
    struct event timer;              /* AWAY: until when */
    struct http_server *server;
    struct tls_context *tls; /* NULL: plain */
    struct region *region;
    uint32_t generation;
    int slot;
    bool balances;   /* looks at the neighbours */
    bool takes_next; /* looked away once: takes the next one whatever the balance */
    bool starved;    /* out of descriptors, and said so */
};

struct acceptor_params {
    struct event_base *base;
    struct listeners *listeners;
    struct http_server *server;
    struct tls_context *tls;
    struct region *region;
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
/* Writes the server's numbers to our slot's gauges. */
void acceptor_publish(const struct acceptor *acceptor);

/* Has this worker more than its share? own: its connections; total, workers: of all that are ready,
 * itself included. */
bool acceptor_is_above_share(int64_t own, int64_t total, unsigned workers);

#endif
