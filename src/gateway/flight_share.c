/* What those who wait for another's answer are told: a stream as it comes, and in the end the
 * answer or what became of it. Who waits for whom is in flight.c. Runs in workers.
 *
 *                          leader here                  leader in another process
 *   answer                 those who wait here are      the answer is in the store: taken from
 *                          told as the leader is        there as a hit is
 *   cannot be shared       the same; of a stream too    one of those here asks for all here
 *                          long to keep, who has not
 *                          heard it asks for itself
 *   refused (4xx)          everybody's answer           the same, through the store
 *   failed                 one of those who wait        one process's turn to do so
 *                          asks once more
 *   failed again           everybody fails              the same, through the store
 *
 * Its one surprise: events go to those who wait not one by one but at the provider's flush, each
 * client's in one go, because the sinks of a worker share the memory in which they compose.
 */
#include "gateway_private.h"

#include "gateway/cost.h"

#define FAILURES_MAX 2 /* of leaders; then all who wait fail */

/* -- the leader's attempt -- */

static void note_leader(struct flow *flow, const struct flow *leader) {
    flow->answer.provider = leader->answer.provider;
    flow->answer.model = leader->answer.model;
    flow->answer.routed_to = leader->answer.routed_to;
    flow->answer.reason = arena_copy(&flow->arena, leader->answer.reason);
    if (flow->answer.reason.data == NULL) {
        flow->answer.reason = bytes_make("", 0);
    }
}

/* An event of the leader's provider, for one who waits. */
static void tell_one(struct flow *flow, const struct chat_event *event) {
    if (!flow->was_streamed) {
        note_leader(flow, flow->flight->leader);
        if (flow->request->chat.wants_text) {
            buf_append_char(&flow->text, '"');
        }
    }
    flow_tell(flow, event);
}

/* The events that the leader was told before the flow joined it; kept are only their data. */
bool flight_catch_up(struct flow *flow, const struct flow *leader) {
    struct gateway *gateway = flow->gateway;
    const struct form *form = form_of(flow->request->chat.form);
    struct json_reader *reader = &gateway->reader;
    struct json_fault fault;
    struct buf lines;
    buf_init(&lines, 0);
    kept_unpack(&leader->kept, &lines);
    struct bytes left = buf_bytes(&lines);
    bool is_read = !lines.failed;
    while (is_read && left.size > 0) {
        const char *end = memchr(left.data, '\n', left.size);
        struct bytes line = bytes_make(left.data, (size_t)(end - left.data));
        struct form_reading reading = {.usage_state = USAGE_NONE};
        left = bytes_make(end + 1, left.size - line.size - 1);
        is_read = json_read(reader, line, &fault) == 0 &&
                  form->read_event(reader, &gateway->scratch, &reading) == OUTCOME_OK;
        if (is_read) {
            /* the forms that name their events say the same name in `type` */
            int type = form->ends_by_done ? -1 : json_get(reader, 0, "type");
            struct chat_event event = {.name = type != -1 ? json_raw(reader, type)
                                                          : bytes_make(NULL, 0),
                                       .data = line,
                                       .text = reading.text,
                                       .is_content = reading.is_content,
                                       .is_last = reading.is_last,
                                       .is_usage = reading.is_usage_only && form->ends_by_done};
            tell_one(flow, &event);
        }
        arena_reset(&gateway->scratch);
    }
    buf_free(&lines);
    flow_flush(flow);
    return is_read;
}

void flight_tell(struct flow *leader, const struct chat_event *event) {
    if (!flight_is_led_by(leader)) {
        return;
    }
    for (const struct flow *flow = leader->flight->waiters; flow != NULL;
         flow = flow->next_waiter) {
        if (flow->request->chat.wants_stream) {
            flow_pack_event(&leader->flight->batch, event);
            return; /* for all of them */
        }
    }
}

void flight_flush(struct flow *leader) {
    struct flight *flight = leader->flight;
    if (!flight_is_led_by(leader) || flight->batch.size == 0) {
        return;
    }
    for (struct flow *flow = flight->waiters; flow != NULL; flow = flow->next_waiter) {
        struct chat_event event;
        size_t at = 0;
        if (!flow->request->chat.wants_stream) {
            continue;
        }
        flow->text.failed = flow->text.failed || flight->batch.failed; /* fails it at the end */
        while (!flight->batch.failed && flow_unpack_event(&flight->batch, &at, &event)) {
            tell_one(flow, &event);
        }
        flow_flush(flow);
    }
    buf_free(&flight->batch);
}

void flight_forget_events(struct flow *leader) {
    if (!flight_is_led_by(leader)) {
        return;
    }
    buf_free(&leader->flight->batch);
    for (struct flow *flow = leader->flight->waiters; flow != NULL; flow = flow->next_waiter) {
        flow_forget_told(flow);
    }
}

void flight_stop_keeping(struct flow *leader) {
    const struct gateway_env *env = &leader->gateway->env;
    if (flight_is_led_by(leader) && leader->flight->has_ticket) {
        flight_unshare(env->store, &leader->flight->ticket, env->slot);
    }
}

bool flight_wants_pause(const struct flow *leader) {
    const struct flight *flight = flight_is_led_by(leader) ? leader->flight : NULL;
    const struct gateway_env *env = &leader->gateway->env;
    bool all_are_full = flow_is_orphan(leader) || leader->fill != SINK_HAS_ROOM;
    bool one_is_full = leader->fill != SINK_HAS_ROOM;
    bool one_is_overfull = leader->fill == SINK_OVERFULL;
    for (const struct flow *flow = flight != NULL ? flight->waiters : NULL; flow != NULL;
         flow = flow->next_waiter) {
        all_are_full = all_are_full && flow->fill != SINK_HAS_ROOM;
        one_is_full = one_is_full || flow->fill != SINK_HAS_ROOM;
        one_is_overfull = one_is_overfull || flow->fill == SINK_OVERFULL;
    }
    if (one_is_overfull || !one_is_full || !all_are_full) {
        return one_is_overfull;
    }
    return flight == NULL || !flight->has_ticket ||
           !flight_is_awaited(env->store, &flight->ticket, env->slot);
}

void flight_set_pace(struct flow *flow, bool may_resume) {
    struct flow *leader = flow->flight != NULL ? flow->flight->leader : flow;
    if (leader == NULL || leader->ops == NULL || leader->ops->pause == NULL) {
        return;
    }
    bool pause = flight_wants_pause(leader);
    if (pause && !leader->is_paused) {
        leader->is_paused = leader->was_paused = true;
        leader->ops->pause(&leader->attempt);
    } else if (!pause && leader->is_paused && may_resume) {
        leader->is_paused = false;
        leader->ops->resume(&leader->attempt);
    }
}

/* -- the end -- */

static void count_coalesced(const struct flow *flow, int64_t saved_nusd) {
    const struct metrics *metrics = &flow->gateway->env.metrics;
    metric_add(metrics, METRIC_CACHE_EVENTS, 1, CACHE_EVENT_COALESCED, 0, 0);
    metric_add(metrics, METRIC_SAVED, (uint64_t)saved_nusd, SAVED_COALESCED, 0, 0);
}

/* It was told the stream as it came; this is its end. */
static void end_stream_of(struct flow *flow, const struct flow *leader) {
    bool has_lost_last = flow->last.is_last && flow->last.data.data == NULL;
    if (flow->text.failed || flow->held.failed || has_lost_last) {
        flow_continue(flow, flow_no_memory(flow));
        return;
    }
    if (flow->request->chat.wants_text) {
        buf_append_char(&flow->text, '"');
        flow->answer.text = buf_bytes(&flow->text);
    }
    int64_t cost_nusd = leader->answer.cost_nusd;
    flow->answer.usage = leader->answer.usage;
    flow->answer.saved_nusd = cost_nusd != COST_UNKNOWN ? cost_nusd : 0;
    flow->have_usage = true;
    count_coalesced(flow, flow->answer.saved_nusd);
    flow_continue(flow, STEP_REPLAY);
}

/* The leader's answer whole, in its memory. False: it cannot be had. */
static bool whole_of(struct flow *leader, struct entry *entry) {
    *entry = flow_entry(leader);
    if (leader->attempt.answer.json.size == 0 && !flow_collect(leader)) {
        return false;
    }
    entry->json = leader->attempt.answer.json;
    entry->text = leader->attempt.answer.text;
    return true;
}

/* The last events of the leader are in the memory that all sinks share. */
static void hand_out_rest(struct flow *leader) {
    if (leader->flight->waiters != NULL) {
        flow_flush(leader);
        flight_flush(leader);
    }
}

static void share_answer(struct flow *leader, struct flight *flight) {
    struct gateway *gateway = leader->gateway;
    const struct gateway_env *env = &gateway->env;
    struct flow *flow, *left = NULL;
    struct entry entry;
    hand_out_rest(leader);
    flight_close(gateway, flight);
    leader->flight = NULL;
    flight->leader = NULL;
    if (flight->has_ticket) {
        flight_end(env->store, &flight->ticket, env->slot);
    }
    bool has_whole = flight->waiters != NULL && whole_of(leader, &entry);
    while ((flow = flight_take_waiter(flight)) != NULL) {
        if (flow->was_streamed) {
            end_stream_of(flow, leader);
        } else if (has_whole && flow_take_entry(flow, &entry, ANSWER_COALESCED)) {
            flow_continue(flow, STEP_REPLAY);
        } else {
            flow->next_waiter = left; /* in nobody's list but this */
            left = flow;
        }
    }
    while ((flow = left) != NULL) {
        left = flow->next_waiter;
        flow->next_waiter = NULL;
        flight_go_alone(flow);
    }
    flight_free(flight);
}

/* The failure of a leader, as one's own. */
void flight_fail(struct flow *flow, const struct flow_failure *how) {
    flow->failure = how->failure;
    flow->failure_rank = how->rank;
    flow->failure_outcome = how->outcome;
    flow->answer.reason = how->failure.reason;
    count_coalesced(flow, 0);
    flow_continue(flow, STEP_ANSWER);
}

/* Who was told a part of it shares its end. */
static void fail_told(struct flight *flight, const struct flow_failure *how) {
    struct flow *next;
    for (struct flow *flow = flight->waiters; flow != NULL; flow = next) {
        next = flow->next_waiter;
        if (flow->content_sent) {
            flight_remove_waiter(flow);
            flight_fail(flow, how);
        }
    }
}

/* A refusal of what was asked would be the same for all; what is wrong with a provider or with this
 * process may be over. */
static bool is_everybodys(const struct failure *failure) {
    return failure->status < 500;
}

static void fail_all(struct gateway *gateway, struct flight *flight,
                     const struct flow_failure *how) {
    const struct gateway_env *env = &gateway->env;
    struct flow *flow;
    flight_close(gateway, flight);
    if (flight->has_ticket) {
        flight_leave_failure(gateway, flight, how);
        flight_end(env->store, &flight->ticket, env->slot);
    }
    while ((flow = flight_take_waiter(flight)) != NULL) {
        flight_fail(flow, how);
    }
    flight_free(flight);
}

static void share_failure(struct flow *leader, struct flight *flight) {
    struct gateway *gateway = leader->gateway;
    const struct gateway_env *env = &gateway->env;
    struct flow_failure how = {.failure = leader->failure,
                               .rank = leader->failure_rank,
                               .outcome = leader->failure_outcome};
    how.failure.reason = leader->answer.reason;
    hand_out_rest(leader);
    leader->flight = NULL;
    flight->leader = NULL;
    if (gateway->is_ending) { /* no failure of the answer: another process may have it */
        flight_close(gateway, flight);
        if (flight->has_ticket) {
            flight_vacate(env->store, &flight->ticket, env->slot, false);
            flight->has_ticket = false;
        }
    }
    flight->failures++;
    if (gateway->is_ending || is_everybodys(&how.failure) || flight->failures >= FAILURES_MAX) {
        fail_all(gateway, flight, &how);
        return;
    }
    fail_told(flight, &how);
    if (flight->waiters != NULL) {
        flight_promote(gateway, flight);
        return;
    }
    flight_close(gateway, flight);
    if (flight->has_ticket) {
        if (flight_is_awaited(env->store, &flight->ticket, env->slot)) {
            flight_vacate(env->store, &flight->ticket, env->slot, true);
        } else {
            flight_end(env->store, &flight->ticket, env->slot);
        }
    }
    flight_free(flight);
}

enum step_result flow_step_share(struct flow *flow) {
    if (flight_is_led_by(flow)) {
        if (flow->failure.status == 0) {
            share_answer(flow, flow->flight);
        } else {
            share_failure(flow, flow->flight);
        }
    }
    return STEP_NEXT;
}
