/* streams: see load.h. Many streams at once; every event is looked at and timed.
 *
 * The model's order `stamp` makes each word say which it is and when it was written, so what is
 * missing, doubled or out of order is seen, and the way of each event is measured and not guessed.
 * The surprise: the stamps are of another process, but of the same clock.
 */
#include "config.h"

#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sse.h"

#define EVENT_MAX 65536
#define GAP_FACTOR 10 /* a longer one than so many times the pace is counted */

struct stream {
    struct peer peer;
    struct event start;
    struct sse_parser sse;
    struct buf request;
    int64_t number;
    int64_t left;     /* streams to come on this connection */
    int64_t seen;     /* words of the one under way */
    int64_t asked_ns; /* when it was asked for */
    int64_t last_ns;  /* when the last word came */
    bool is_done;     /* [DONE] was seen */
    bool has_failed;
};

static struct run {
    const struct options *options;
    struct stream *streams;
    struct samples first, gaps, ways;
    int64_t open, most_open; /* streams that have had their first word and not their last */
    int64_t complete, failed, gaps_over, words;
    int64_t running; /* connections with streams to come */
    bool has_said;
} run;

static void fail(struct stream *stream, const char *why, int64_t figure) {
    if (!stream->has_failed) {
        stream->has_failed = true;
        run.failed++;
        complain("stream %ld: %s (%ld) after %ld words", (long)stream->number, why, (long)figure,
                 (long)stream->seen);
    }
}

/* ---- a request ---- */

static void compose(struct stream *stream) {
    const struct options *options = run.options;
    struct buf body;
    buf_init(&body, 0);
    buf_printf(&body,
               "{\"model\":\"%s\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":"
               "\"Tell me a story, number %ld of %ld of %ld.\"}]}",
               options->model, (long)stream->left, (long)stream->number, (long)getpid());
    buf_clear(&stream->request);
    buf_printf(&stream->request,
               "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
               "Content-Length: %zu\r\n\r\n",
               options->path, body.size);
    buf_append_bytes(&stream->request, buf_bytes(&body));
    buf_free(&body);
    if (stream->request.failed) {
        give_up("no memory");
    }
}

static void begin(struct stream *stream) {
    stream->seen = 0;
    stream->is_done = false;
    stream->last_ns = 0;
    sse_init(&stream->sse, EVENT_MAX);
    compose(stream);
    stream->asked_ns = clock_mono_ns();
    peer_ask(&stream->peer, buf_bytes(&stream->request), bytes_make(NULL, 0));
}

static void on_start(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    begin(argument);
}

/* ---- events ---- */

/* The text of a word: {"... "content":" 12@34567" ...}; false when it has none. */
static bool read_word(struct bytes data, int64_t *number, int64_t *stamp_us) {
    static const char key[] = "\"content\":\"";
    const char *at = memmem(data.data, data.size, key, sizeof(key) - 1);
    if (at == NULL) {
        return false;
    }
    at += sizeof(key) - 1;
    struct bytes text = bytes_make(at, (size_t)(data.data + data.size - at));
    text = bytes_trim(bytes_make(text.data, bytes_find(text, '"')));
    size_t middle = bytes_find(text, '@');
    return middle < text.size && bytes_to_int64(bytes_make(text.data, middle), number) &&
           bytes_to_int64(bytes_make(text.data + middle + 1, text.size - middle - 1), stamp_us);
}

static void count_open(void) {
    run.open++;
    run.most_open = run.open > run.most_open ? run.open : run.most_open;
    if (run.open == run.options->count && !run.has_said) {
        run.has_said = true;
        say_open();
    }
}

static void take_word(struct stream *stream, int64_t number, int64_t stamp_us) {
    int64_t now_ns = stream->peer.heard_ns;
    if (number != stream->seen) {
        fail(stream, "another word was due", number);
    }
    if (stream->seen == 0) {
        samples_add(&run.first, now_ns - stream->asked_ns);
        count_open();
    } else {
        int64_t gap_ns = now_ns - stream->last_ns;
        samples_add(&run.gaps, gap_ns);
        run.gaps_over += gap_ns > GAP_FACTOR * run.options->pace_ms * NS_PER_MS;
    }
    samples_add(&run.ways, now_ns - stamp_us * NS_PER_US);
    stream->last_ns = now_ns;
    stream->seen++;
    run.words++;
    run.open -= stream->seen == run.options->events;
}

static void on_piece(struct peer *peer, struct bytes piece) {
    struct stream *stream = peer->user;
    struct sse_event event;
    int64_t number, stamp_us;
    while (sse_next(&stream->sse, &piece, &event) == SSE_EVENT) {
        if (stream->is_done) {
            fail(stream, "more behind its end", (long)event.data.size);
        } else if (bytes_equal_str(event.data, "[DONE]")) {
            stream->is_done = true;
        } else if (read_word(event.data, &number, &stamp_us)) {
            take_word(stream, number, stamp_us);
        }
    }
}

static void leave(struct stream *stream) {
    peer_close(&stream->peer);
    if (--run.running == 0) {
        event_base_loopbreak(load_base());
    }
}

static void on_answered(struct peer *peer) {
    struct stream *stream = peer->user;
    if (peer->status != 200) {
        fail(stream, "status", peer->status);
    } else if (!stream->is_done || stream->seen != run.options->events) {
        fail(stream, "it ended early", stream->is_done);
    }
    run.complete += !stream->has_failed;
    sse_fini(&stream->sse);
    if (--stream->left > 0 && !stream->has_failed) {
        begin(stream);
    } else {
        leave(stream);
    }
}

static void on_lost(struct peer *peer) {
    struct stream *stream = peer->user;
    fail(stream, "the connection ended", peer->status);
    leave(stream);
}

static const struct peer_events events = {
    .piece = on_piece, .answered = on_answered, .lost = on_lost};

/* ---- all of them ---- */

static void arrange(struct stream *stream, int64_t number) {
    const struct options *options = run.options;
    int64_t wait_us = options->ramp_ms * 1000 * number / options->count;
    struct timeval wait = {.tv_sec = wait_us / 1000000, .tv_usec = wait_us % 1000000};
    stream->number = number;
    stream->left = options->repeat;
    stream->peer.events = &events;
    stream->peer.user = stream;
    buf_init(&stream->request, 0);
    peer_open(&stream->peer, options->port);
    evtimer_assign(&stream->start, load_base(), on_start, stream);
    if (evtimer_add(&stream->start, &wait) == -1) {
        give_up("no memory");
    }
}

int load_streams(const struct options *options) {
    run.options = options;
    run.streams = must_alloc((size_t)options->count * sizeof(*run.streams));
    run.running = options->count;
    for (int64_t i = 0; i < options->count; i++) {
        arrange(&run.streams[i], i);
    }
    event_base_dispatch(load_base());
    printf("{\"streams\":%ld,\"complete\":%ld,\"failed\":%ld,\"most_open\":%ld,\"words\":%ld,"
           "\"gaps_over\":%ld,",
           (long)(options->count * options->repeat), (long)run.complete, (long)run.failed,
           (long)run.most_open, (long)run.words, (long)run.gaps_over);
    samples_print("first_us", &run.first);
    putchar(',');
    samples_print("gap_us", &run.gaps);
    putchar(',');
    samples_print("way_us", &run.ways);
    puts("}");
    for (int64_t i = 0; i < options->count; i++) {
        buf_free(&run.streams[i].request);
    }
    free(run.streams);
    free(run.first.at);
    free(run.gaps.at);
    free(run.ways.at);
    return run.failed > 0 || run.complete != options->count * options->repeat;
}
