/* upload: see load.h. Chat requests with an image in them, of one to thirty megabytes, until
 * standard input ends; each connection sends the next when it has its answer.
 *
 * The surprise: with mib_per_s it keeps to a rate, as clients behind a network do. As fast as it
 * goes means as fast as memory can be copied, and then the cores are what is measured.
 */
#include "config.h"

#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const int64_t sizes[] = {1000000, 3000000, 10000000, 30000000};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

struct sender {
    struct peer peer;
    struct event timer;
    struct buf head;
    struct bytes body;
    size_t next; /* which of the sizes */
};

static struct upload {
    const struct options *options;
    struct sender *senders;
    struct buf bodies[SIZES];
    struct samples took;
    int64_t sent, bytes, failed, waiting;
    int64_t free_ns; /* when the rate allows the next body */
    bool is_ending;
    struct event input;
} upload;

static void compose_body(struct buf *out, int64_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    buf_init(out, 0);
    buf_printf(out,
               "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
               "\"text\":\"What is this?\"},{\"type\":\"image_url\",\"image_url\":{\"url\":"
               "\"data:image/png;base64,",
               upload.options->model);
    char *at = buf_reserve(out, (size_t)size);
    if (at == NULL) {
        give_up("no memory");
    }
    uint32_t noise = 1;
    for (int64_t i = 0; i < size; i++) {
        noise = noise * 1664525u + 1013904223u;
        at[i] = digits[noise >> 26];
    }
    out->size += (size_t)size;
    buf_append_str(out, "\"}}]}]}");
}

static void stop_when_done(void) {
    if (upload.is_ending && upload.waiting == 0) {
        event_base_loopbreak(load_base());
    }
}

static void begin(struct sender *sender) {
    sender->body = buf_bytes(&upload.bodies[sender->next % SIZES]);
    sender->next++;
    buf_clear(&sender->head);
    buf_printf(&sender->head,
               "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
               "Content-Length: %zu\r\n\r\n",
               upload.options->path, sender->body.size);
    upload.waiting++;
    peer_ask(&sender->peer, buf_bytes(&sender->head), sender->body);
}

static void on_turn(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    if (!upload.is_ending) {
        begin(argument);
    }
}

/* Begins when the rate allows it. */
static void begin_in_time(struct sender *sender) {
    int64_t now_ns = clock_mono_ns();
    int64_t rate = upload.options->mib_per_s << 20;
    size_t size = upload.bodies[sender->next % SIZES].size;
    int64_t wait_us = upload.free_ns > now_ns ? (upload.free_ns - now_ns) / NS_PER_US : 0;
    struct timeval wait = {.tv_sec = wait_us / 1000000, .tv_usec = wait_us % 1000000};
    if (rate > 0) {
        int64_t from_ns = upload.free_ns > now_ns ? upload.free_ns : now_ns;
        upload.free_ns = from_ns + (int64_t)((double)size / (double)rate * NS_PER_S);
    }
    if (evtimer_add(&sender->timer, &wait) == -1) {
        give_up("no memory");
    }
}

static void on_answered(struct peer *peer) {
    struct sender *sender = peer->user;
    samples_add(&upload.took, peer->heard_ns - peer->asked_ns);
    upload.waiting--;
    upload.sent++;
    upload.bytes += (int64_t)upload.bodies[(sender->next - 1) % SIZES].size;
    if (peer->status != 200) {
        upload.failed++;
        complain("status %d", peer->status);
    }
    if (!upload.is_ending) {
        begin_in_time(sender);
    }
    stop_when_done();
}

static void on_lost(struct peer *peer) {
    (void)peer;
    give_up("a connection was closed during a body");
}

static const struct peer_events events = {.answered = on_answered, .lost = on_lost};

static void on_input(evutil_socket_t fd, short what, void *argument) {
    char byte;
    (void)what;
    (void)argument;
    if (read(fd, &byte, 1) > 0) {
        return;
    }
    event_del(&upload.input);
    upload.is_ending = true;
    stop_when_done();
}

static void arrange(struct sender *sender, int64_t number) {
    sender->next = (size_t)number;
    sender->peer.events = &events;
    sender->peer.user = sender;
    buf_init(&sender->head, 0);
    peer_open(&sender->peer, upload.options->port);
    evtimer_assign(&sender->timer, load_base(), on_turn, sender);
    begin_in_time(sender);
}

int load_upload(const struct options *options) {
    upload.options = options;
    for (size_t i = 0; i < SIZES; i++) {
        compose_body(&upload.bodies[i], options->size > 0 ? options->size : sizes[i]);
    }
    event_assign(&upload.input, load_base(), STDIN_FILENO, EV_READ | EV_PERSIST, on_input, NULL);
    if (event_add(&upload.input, NULL) == -1) {
        give_up("standard input must be a pipe");
    }
    upload.senders = must_alloc((size_t)options->count * sizeof(*upload.senders));
    for (int64_t i = 0; i < options->count; i++) {
        arrange(&upload.senders[i], i);
    }
    int64_t begun_ns = clock_mono_ns();
    say_open();
    event_base_dispatch(load_base());
    printf("{\"bodies\":%ld,\"failed\":%ld,\"mib\":%ld,\"mib_per_s\":%.1f,", (long)upload.sent,
           (long)upload.failed, (long)(upload.bytes >> 20),
           (double)upload.bytes / (1 << 20) / ((double)(clock_mono_ns() - begun_ns) / NS_PER_S));
    samples_print("took_us", &upload.took);
    puts("}");
    for (int64_t i = 0; i < options->count; i++) {
        peer_close(&upload.senders[i].peer);
        buf_free(&upload.senders[i].head);
    }
    for (size_t i = 0; i < SIZES; i++) {
        buf_free(&upload.bodies[i]);
    }
    free(upload.senders);
    free(upload.took.at);
    return upload.failed > 0;
}
