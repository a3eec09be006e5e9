/* What a client hears of a stream, and when: events of a provider, or those made of a whole answer.
 * The life of a request is in flow.c. Runs in workers.
 *
 * Its one surprise: what a stream begins with (a role, an id) is kept back until there is something
 * to read. A provider that breaks before that has told the client nothing, and the fallback can
 * answer; only a sign of life may have gone out by then.
 */
#include "gateway_private.h"

#include <string.h>

#include "base/json_write.h"

#define HELD_MAX ((size_t)256 * 1024)            /* kept back of one stream; then it is told */
#define KEPT_MAX ((size_t)2 * 1024 * 1024)       /* kept of one stream, to be stored */
#define KEPT_ALL_MAX ((size_t)128 * 1024 * 1024) /* of all streams of this worker */

/* ---- signs of life ---- */

static void on_ping(void *argument);

static void send_head(struct flow *flow) {
    if (!flow->head_sent) {
        flow->head_sent = true;
        flow->sink->head(flow->sink, &flow->answer);
    }
}

static void arm_ping(struct flow *flow, int64_t delay_ns) {
    flow->ping_timer = timers_after(&flow->gateway->env.timers, delay_ns, on_ping, flow);
}

/* Fires seldom: it looks how long ago the client last heard something. */
static void on_ping(void *argument) {
    struct flow *flow = argument;
    int64_t now_ns = timers_now_ns(&flow->gateway->env.timers);
    int64_t left_ns = flow->told_ns + FLOW_PING_NS - now_ns;
    flow->ping_timer = NULL;
    if (left_ns <= 0 && flow->fill == SINK_HAS_ROOM) {
        send_head(flow);
        flow->sink->ping(flow->sink);
        flow->told_ns = now_ns;
    }
    arm_ping(flow, left_ns > 0 ? left_ns : FLOW_PING_NS);
}

void flow_begin_stream(struct flow *flow) {
    if (flow->ping_timer != NULL) {
        return;
    }
    flow->told_ns = timers_now_ns(&flow->gateway->env.timers);
    arm_ping(flow, FLOW_PING_NS);
}

void flow_end_stream(struct flow *flow) {
    const struct timers *timers = &flow->gateway->env.timers;
    timers_cancel(timers, flow->ping_timer);
    timers_cancel(timers, flow->pace_timer);
    flow->ping_timer = flow->pace_timer = NULL;
}

/* ---- events that wait ---- */

struct packed_head {
    size_t name_size, data_size, text_size;
    bool is_content, is_last, is_usage;
};

void flow_pack_event(struct buf *out, const struct chat_event *event) {
    struct packed_head head = {.name_size = event->name.size,
                               .data_size = event->data.size,
                               .text_size = event->text.size,
                               .is_content = event->is_content,
                               .is_last = event->is_last,
                               .is_usage = event->is_usage};
    buf_append(out, &head, sizeof(head));
    buf_append_bytes(out, event->name);
    buf_append_bytes(out, event->data);
    buf_append_bytes(out, event->text);
}

static struct bytes take(const char **at, size_t size) {
    struct bytes piece = bytes_make(*at, size);
    *at += size;
    return piece;
}

bool flow_unpack_event(const struct buf *packed, size_t *offset, struct chat_event *event) {
    struct packed_head head;
    if (*offset >= packed->size) {
        return false;
    }
    const char *at = packed->data + *offset;
    memcpy(&head, at, sizeof(head));
    at += sizeof(head);
    *event = (struct chat_event){
        .is_content = head.is_content, .is_last = head.is_last, .is_usage = head.is_usage};
    event->name = take(&at, head.name_size);
    event->data = take(&at, head.data_size);
    event->text = take(&at, head.text_size);
    *offset = (size_t)(at - packed->data);
    return true;
}

/* The next one that is kept back. */
static bool next_held(struct flow *flow, struct chat_event *event) {
    return flow_unpack_event(&flow->held, &flow->held_at, event);
}

void flow_tell_held(struct flow *flow) {
    struct chat_event event;
    send_head(flow);
    while (next_held(flow, &event)) {
        flow->sink->event(flow->sink, &event);
    }
    buf_free(&flow->held);
    flow->held_at = 0;
}

void flow_forget_told(struct flow *flow) {
    buf_free(&flow->held);
    buf_clear(&flow->text);
    flow->held_at = 0;
    flow->last = (struct chat_event){0};
    flow->was_streamed = false;
}

void flow_forget_events(struct flow *flow) {
    flow->gateway->kept_bytes -= kept_size(&flow->kept);
    kept_free(&flow->kept);
    flow_forget_told(flow);
    flow->was_paused = false;
    flow->keeps = flow->request->chat.wants_stream && flow->request->cache != CACHE_NO_STORE;
}

/* ---- events of a provider ---- */

static void stop_keeping(struct flow *flow) {
    flow->gateway->kept_bytes -= kept_size(&flow->kept);
    kept_free(&flow->kept);
    flow->keeps = false;
    flight_stop_keeping(flow);
}

static void keep(struct flow *flow, const struct chat_event *event) {
    struct gateway *gateway = flow->gateway;
    size_t before = kept_size(&flow->kept);
    if (!flow->keeps) {
        return;
    }
    bool is_kept = kept_add(&flow->kept, event->data);
    gateway->kept_bytes += kept_size(&flow->kept) - before;
    if (!is_kept || flow->kept.whole_size > KEPT_MAX || gateway->kept_bytes > KEPT_ALL_MAX) {
        stop_keeping(flow);
    }
}

static void keep_last(struct flow *flow, const struct chat_event *event) {
    flow->last = (struct chat_event){.name = arena_copy(&flow->arena, event->name),
                                     .data = arena_copy(&flow->arena, event->data),
                                     .is_last = true};
}

void flow_tell(struct flow *flow, const struct chat_event *event) {
    flow->was_streamed = true;
    keep(flow, event);
    if (event->is_usage && !flow->request->chat.wants_usage) {
        return;
    }
    if (flow->request->chat.wants_text) {
        json_escape(&flow->text, event->text);
    }
    if (event->is_last) {
        keep_last(flow, event);
        return;
    }
    if (!flow->content_sent && !event->is_content) {
        flow_pack_event(&flow->held, event);
        if (flow->held.size > HELD_MAX) {
            flow->content_sent = true; /* so long a beginning is one, too */
            flow_tell_held(flow);
        }
        return;
    }
    if (!flow->content_sent) {
        flow->content_sent = true;
        flow_tell_held(flow);
    }
    flow->sink->event(flow->sink, event);
}

void flow_flush(struct flow *flow) {
    if (!flow->content_sent) {
        return;
    }
    flow->told_ns = timers_now_ns(&flow->gateway->env.timers);
    flow->fill = flow->sink->flush(flow->sink);
    if (flow->fill != SINK_OVERFULL) {
        flow->overfull_ns = 0;
    } else if (flow->overfull_ns == 0) {
        flow->overfull_ns = flow->told_ns;
    }
}

void flow_writable(struct flow *flow) {
    flow->fill = SINK_HAS_ROOM;
    flow->overfull_ns = 0;
    flight_set_pace(flow, true);
}

/* ---- from events to a whole, and back ---- */

bool flow_collect(struct flow *flow) {
    struct gateway *gateway = flow->gateway;
    const struct form *form = form_of(flow->request->chat.form);
    struct form_reading reading = {.usage_state = USAGE_NONE};
    struct json_fault fault;
    struct buf lines;
    if (!flow->keeps) {
        return false;
    }
    buf_init(&lines, 0);
    kept_unpack(&flow->kept, &lines);
    bool is_whole =
        !lines.failed &&
        form->collect(&gateway->reader, buf_bytes(&lines), &gateway->scratch, &flow->json) &&
        json_read(&gateway->reader, buf_bytes(&flow->json), &fault) == 0 &&
        form->read_answer(&gateway->reader, &gateway->scratch, &reading) == OUTCOME_OK;
    buf_free(&lines);
    arena_reset(&gateway->scratch); /* it may have become large */
    if (!is_whole) {
        return false;
    }
    flow->attempt.answer.json = buf_bytes(&flow->json);
    flow->attempt.answer.text = reading.text_span;
    return true;
}

static bool is_paced_replay(const struct flow *flow) {
    return flow->gateway->env.conf->cache.replay_pace_ms > 0 && flow->answer.cache == ANSWER_HIT;
}

/* A piece of a whole answer: told now, or when its time has come. */
static void on_replayed(void *user, const struct chat_event *event) {
    struct flow *flow = user;
    if (event->is_last) {
        keep_last(flow, event);
    } else if (is_paced_replay(flow)) {
        flow_pack_event(&flow->held, event);
    } else {
        flow->sink->event(flow->sink, event);
    }
}

static void on_pace(void *argument);

static enum step_result pace(struct flow *flow) {
    const struct gateway_env *env = &flow->gateway->env;
    flow->pace_timer =
        timers_after(&env->timers, env->conf->cache.replay_pace_ms * NS_PER_MS, on_pace, flow);
    if (flow->pace_timer == NULL) { /* without a timer all at once is the best that can be done */
        flow_tell_held(flow);
        return STEP_NEXT;
    }
    return STEP_WAIT;
}

static void on_pace(void *argument) {
    struct flow *flow = argument;
    struct chat_event event;
    flow->pace_timer = NULL;
    bool more = next_held(flow, &event);
    if (more) {
        flow->sink->event(flow->sink, &event);
        /* what the client does not read waits in http's buffer: a stored answer is not that long */
        (void)flow->sink->flush(flow->sink);
    }
    flow->answer.paused_ns = timers_now_ns(&flow->gateway->env.timers) - flow->replayed_ns;
    flow_continue(flow, more ? pace(flow) : STEP_NEXT);
}

/* The views of a hit point into a buffer that the next one overwrites. */
static bool keep_answer(struct flow *flow) {
    struct answer *answer = &flow->answer;
    struct bytes *const views[] = {&answer->provider, &answer->routed_to, &answer->model,
                                   &answer->reason};
    for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
        *views[i] = arena_copy(&flow->arena, *views[i]);
        if (views[i]->data == NULL) {
            return false;
        }
    }
    answer->text =
        flow->request->chat.wants_text ? arena_copy(&flow->arena, answer->text) : bytes_make("", 0);
    answer->json = bytes_make("", 0);
    return answer->text.data != NULL && !flow->held.failed;
}

enum step_result flow_replay(struct flow *flow) {
    struct gateway *gateway = flow->gateway;
    const struct chat *chat = &flow->request->chat;
    bool is_paced = is_paced_replay(flow);
    struct form_replay how = {
        .event = on_replayed, .user = flow, .wants_usage = chat->wants_usage, .in_words = is_paced};
    struct json_fault fault;
    const struct form *form = form_of(chat->form);
    if (json_read(&gateway->reader, flow->answer.json, &fault) == -1) {
        return flow_no_memory(flow);
    }
    send_head(flow);
    bool is_told = form->replay(&gateway->reader, &gateway->scratch, &how);
    arena_reset(&gateway->scratch);
    if (!is_told) {
        return flow_no_memory(flow);
    }
    if (!is_paced) {
        return STEP_NEXT;
    }
    if (!keep_answer(flow)) {
        return flow_no_memory(flow);
    }
    (void)flow->sink->flush(flow->sink);
    flow->replayed_ns = timers_now_ns(&gateway->env.timers);
    return pace(flow);
}
