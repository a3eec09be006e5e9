/* idle: see load.h. Kept connections that have had one answer each and wait, until standard input
 * ends; then each asks once more, to show that it is still served.
 */
#include "config.h"

#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AT_ONCE 64 /* that are being opened or ask: fewer than any backlog */

static const struct bytes question =
    BYTES_LITERAL("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");

static struct idle {
    const struct options *options;
    struct peer *peers;
    int64_t next;     /* the first that has not asked in this round */
    int64_t answered; /* in this round */
    int64_t lost;
    int round;
    struct event input;
} idle;

static void ask_next(void) {
    struct peer *peer = &idle.peers[idle.next++];
    if (idle.round == 0) {
        peer_open(peer, idle.options->port);
    }
    if (peer->fd != -1) {
        peer_ask(peer, question, bytes_make(NULL, 0));
    }
}

static void begin_round(int round) {
    idle.round = round;
    idle.next = idle.answered = 0;
    while (idle.next < idle.options->count && idle.next < AT_ONCE) {
        ask_next();
    }
}

static void on_answered(struct peer *peer) {
    buf_free(&peer->head);
    idle.lost += peer->status != 200;
    if (idle.next < idle.options->count) {
        ask_next();
    }
    if (++idle.answered + idle.lost < idle.options->count) {
        return;
    }
    if (idle.round == 0) {
        say_open();
    } else {
        event_base_loopbreak(load_base());
    }
}

static void on_lost(struct peer *peer) {
    idle.lost++;
    complain("connection %ld was closed", (long)(peer - idle.peers));
    if (idle.round > 0) {
        event_base_loopbreak(load_base()); /* not all can answer any more */
    }
}

static const struct peer_events events = {.answered = on_answered, .lost = on_lost};

static void on_input(evutil_socket_t fd, short what, void *argument) {
    char byte;
    (void)what;
    (void)argument;
    if (read(fd, &byte, 1) > 0) {
        return;
    }
    event_del(&idle.input);
    if (idle.lost > 0) {
        event_base_loopbreak(load_base());
    } else {
        begin_round(1);
    }
}

int load_idle(const struct options *options) {
    idle.options = options;
    idle.peers = must_alloc((size_t)options->count * sizeof(*idle.peers));
    for (int64_t i = 0; i < options->count; i++) {
        idle.peers[i].events = &events;
        idle.peers[i].fd = -1;
    }
    event_assign(&idle.input, load_base(), STDIN_FILENO, EV_READ | EV_PERSIST, on_input, NULL);
    if (event_add(&idle.input, NULL) == -1) {
        give_up("standard input must be a pipe");
    }
    begin_round(0);
    event_base_dispatch(load_base());
    printf("{\"connections\":%ld,\"answered_again\":%ld,\"lost\":%ld}\n", (long)options->count,
           (long)idle.answered, (long)idle.lost);
    for (int64_t i = 0; i < options->count; i++) {
        peer_close(&idle.peers[i]);
    }
    free(idle.peers);
    return idle.lost > 0 || idle.answered != options->count;
}
