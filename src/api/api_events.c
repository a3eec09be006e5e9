/* GET /api/events: the statistics as an event stream (text/event-stream), for the dashboard.
 *
 * One `stats` event at once, with the last hour, then one a second with what is new of it, and
 * one as soon as a circuit breaker has changed. All streams of a worker get the same bytes. Runs in
 * workers, on a timer of its own that goes only while somebody listens.
 *
 * A stream ends when its worker drains, so that nobody waits for it: its connection closes, and
 * the browser comes back by itself, to a new worker. It is broken when its reader is so slow that
 * what it has not read fills the connection's buffer; it too may come back. The surprise: there is
 * no other keep-alive than the event of each second.
 */
#include "api_private.h"

#include <stdlib.h>

#include "gateway/breaker.h"
#include "stats_json.h"

#define TURN_NS (200 * NS_PER_MS)
#define TURNS_PER_EVENT 5
#define RETRY "retry: 1000\n\n" /* ms after which the browser comes back */

struct event_stream {
    struct api_call call;
    struct event_stream *next;
};

struct api_events {
    struct event_stream *streams;
    unsigned count;
    struct timer *timer; /* NULL: nobody listens */
    unsigned turns;      /* since the last event */
    uint64_t newest;     /* sample that every stream has */
    uint64_t added;      /* requests that every stream knows of */
    uint8_t circuits[REGION_PROVIDERS];
};

static void on_turn(void *argument);

struct api_events *api_events_new(void) {
    return calloc(1, sizeof(struct api_events));
}

void api_events_free(struct api *api) {
    if (api->events != NULL) {
        timers_cancel(&api->env->timers, api->events->timer);
        free(api->events);
    }
}

static void read_circuits(const struct region *region, uint8_t circuits[REGION_PROVIDERS]) {
    for (unsigned i = 0; i < REGION_PROVIDERS; i++) {
        circuits[i] = (uint8_t)breaker_state(region, i);
    }
}

static bool is_draining(const struct api *api) {
    return board_state(api->env->region, api->env->slot) == BOARD_DRAINING;
}

static void arm(struct api *api) {
    /* Without memory for a timer nobody hears anything more, but their connections are seen to. */
    api->events->timer = timers_after(&api->env->timers, TURN_NS, on_turn, api);
}

/* -- an event ---------------------------------------------------------------------------------- */

static void write_event(struct api *api, const struct stats_wish *wish) {
    buf_append_str(&api->body, "event: stats\ndata: ");
    stats_json_write(api->stats, wish, &api->body);
    buf_append_str(&api->body, "\n\n");
}

/* Of all that happens to a stream this comes last. */
static void forget(struct event_stream *stream) {
    struct api_events *events = stream->call.api->events;
    struct event_stream **link = &events->streams;
    while (*link != stream) {
        link = &(*link)->next;
    }
    *link = stream->next;
    events->count--;
    api_count(&stream->call, 200);
    api_log(&stream->call, 200);
    free(stream);
}

static void end_all(struct api *api) {
    while (api->events->streams != NULL) {
        struct event_stream *stream = api->events->streams;
        http_exchange_set_user(stream->call.exchange, NULL);
        http_reply_end(stream->call.exchange);
        forget(stream);
    }
}

static void send_to_all(struct api *api) {
    struct event_stream *next;
    for (struct event_stream *stream = api->events->streams; stream != NULL; stream = next) {
        next = stream->next;
        if (!http_reply_is_full(stream->call.exchange) && !api->body.failed) {
            http_reply_piece(stream->call.exchange, buf_bytes(&api->body));
            continue;
        }
        http_exchange_set_user(stream->call.exchange, NULL);
        http_reply_break(stream->call.exchange);
        forget(stream);
    }
}

static void tell_all(struct api *api) {
    struct api_events *events = api->events;
    const struct region *region = api->env->region;
    uint64_t newest = history_newest(region);
    uint64_t added = history_added(region);
    const struct stats_wish wish = {.history = newest != events->newest,
                                    .after = events->newest,
                                    .recent = added != events->added};
    buf_clear(&api->body);
    write_event(api, &wish);
    send_to_all(api);
    buf_clear(&api->body);
    events->newest = newest;
    events->added = added;
    events->turns = 0;
}

static void on_turn(void *argument) {
    struct api *api = argument;
    struct api_events *events = api->events;
    uint8_t circuits[REGION_PROVIDERS];
    events->timer = NULL;
    if (is_draining(api)) {
        end_all(api);
        return;
    }
    read_circuits(api->env->region, circuits);
    bool moved = memcmp(circuits, events->circuits, sizeof(circuits)) != 0;
    memcpy(events->circuits, circuits, sizeof(circuits));
    if (++events->turns >= TURNS_PER_EVENT || moved) {
        tell_all(api);
    }
    if (events->streams != NULL) {
        arm(api);
    }
}

/* -- a stream ---------------------------------------------------------------------------------- */

/* The first event of the first stream: what all will have been told from here on. */
static void begin_listening(struct api *api) {
    struct api_events *events = api->events;
    read_circuits(api->env->region, events->circuits);
    events->newest = history_newest(api->env->region);
    events->added = history_added(api->env->region);
    events->turns = 0;
    arm(api);
}

static void begin(struct api_call *call) {
    struct buf *fields = &call->api->fields;
    const struct stats_wish all = {.history = true, .recent = true};
    buf_append_str(fields, "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n"
                           "X-Content-Type-Options: nosniff\r\n");
    struct http_reply reply = {.status = 200,
                               .content_type = "text/event-stream",
                               .fields = buf_bytes(fields),
                               .close = true};
    http_reply_begin(call->exchange, &reply);
    buf_append_str(&call->api->body, RETRY);
    if (!is_draining(call->api)) {
        write_event(call->api, &all);
    }
    http_reply_piece(call->exchange, buf_bytes(&call->api->body));
    buf_clear(&call->api->body);
}

static void refuse(struct api_call *call, const char *code, const char *message) {
    struct api_error error = {.status = 503,
                              .type = "server_error",
                              .code = code,
                              .message = message,
                              .retry_after_s = 5,
                              .should_retry = true};
    api_reply_error(call, &error);
    api_log(call, error.status);
}

void api_events(struct api_call *call, const struct http_head *head, struct bytes body) {
    struct api *api = call->api;
    struct api_events *events = api->events;
    (void)body;
    if (events->count >= API_EVENT_STREAMS_MAX) {
        refuse(call, "too_many_streams", "too many dashboards listen to this worker already");
        return;
    }
    struct event_stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        refuse(call, "no_memory", "out of memory");
        return;
    }
    stream->call = *call;
    stream->call.events_stream = stream;
    stream->next = events->streams;
    events->streams = stream;
    events->count++;
    begin(call);
    if (head->method == HTTP_HEAD || is_draining(api)) {
        http_reply_end(call->exchange);
        forget(stream);
        return;
    }
    http_exchange_set_user(call->exchange, &stream->call);
    if (events->timer == NULL) {
        begin_listening(api);
    }
}

void api_events_gone(struct event_stream *stream) {
    struct api *api = stream->call.api;
    forget(stream);
    if (api->events->streams == NULL) {
        timers_cancel(&api->env->timers, api->events->timer);
        api->events->timer = NULL;
    }
}
