/* probe: see load.h. The same small request at a steady beat, on each of the connections in turn.
 *
 * The surprise: a beat that finds its connection still waiting counts as well, from when it was
 * due. Otherwise a server that stands still for a second would be measured once and not five
 * hundred times.
 */
#include "config.h"

#include "load.h"

#include <stdio.h>
#include <stdlib.h>

struct probe {
    struct peer peer;
    int64_t due_ns;  /* of the request under way */
    int64_t missed;  /* beats that came meanwhile */
    bool is_waiting; /* for its answer */
};

static struct beat {
    const struct options *options;
    struct probe *probes;
    struct buf request;
    struct samples took;
    int64_t next, failed, due_ns, end_ns, waiting;
    struct event timer;
} beat;

static void stop_when_quiet(void) {
    if (beat.waiting == 0 && beat.due_ns >= beat.end_ns) {
        event_base_loopbreak(load_base());
    }
}

static void on_answered(struct peer *peer) {
    struct probe *probe = peer->user;
    int64_t turn_ns = beat.options->every_us * NS_PER_US * beat.options->count;
    beat.failed += peer->status != 200;
    beat.waiting--;
    probe->is_waiting = false;
    for (int64_t i = 0; i <= probe->missed; i++) {
        samples_add(&beat.took, peer->heard_ns - probe->due_ns - i * turn_ns);
    }
    stop_when_quiet();
}

static void on_lost(struct peer *peer) {
    (void)peer;
    give_up("a probe's connection was closed");
}

static const struct peer_events events = {.answered = on_answered, .lost = on_lost};

static void arm(void) {
    int64_t left_us = (beat.due_ns - clock_mono_ns()) / NS_PER_US;
    left_us = left_us > 0 ? left_us : 0;
    struct timeval left = {.tv_sec = left_us / 1000000, .tv_usec = left_us % 1000000};
    if (evtimer_add(&beat.timer, &left) == -1) {
        give_up("no memory");
    }
}

static void on_beat(evutil_socket_t fd, short what, void *argument) {
    struct probe *probe = &beat.probes[beat.next];
    (void)fd;
    (void)what;
    (void)argument;
    beat.next = (beat.next + 1) % beat.options->count;
    beat.due_ns += beat.options->every_us * NS_PER_US;
    if (probe->is_waiting) {
        probe->missed++;
    } else {
        probe->missed = 0;
        probe->is_waiting = true;
        beat.waiting++;
        probe->due_ns = clock_mono_ns(); /* our own timer may be late: not the server's fault */
        peer_ask(&probe->peer, buf_bytes(&beat.request), bytes_make(NULL, 0));
    }
    if (beat.due_ns < beat.end_ns) {
        arm();
    }
    stop_when_quiet();
}

int load_probe(const struct options *options) {
    struct bytes body = bytes_from_str(options->body);
    beat.options = options;
    beat.probes = must_alloc((size_t)options->count * sizeof(*beat.probes));
    buf_init(&beat.request, 0);
    buf_printf(&beat.request,
               "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
               "Content-Length: %zu\r\n\r\n",
               options->path, body.size);
    buf_append_bytes(&beat.request, body);
    for (int64_t i = 0; i < options->count; i++) {
        beat.probes[i].peer.events = &events;
        beat.probes[i].peer.user = &beat.probes[i];
        peer_open(&beat.probes[i].peer, options->port);
    }
    say_open();
    evtimer_assign(&beat.timer, load_base(), on_beat, NULL);
    beat.due_ns = clock_mono_ns();
    beat.end_ns = beat.due_ns + options->run_ms * NS_PER_MS;
    arm();
    event_base_dispatch(load_base());
    printf("{\"failed\":%ld,", (long)beat.failed);
    samples_print("took_us", &beat.took);
    puts("}");
    for (int64_t i = 0; i < options->count; i++) {
        peer_close(&beat.probes[i].peer);
    }
    buf_free(&beat.request);
    free(beat.probes);
    free(beat.took.at);
    return beat.failed > 0;
}
