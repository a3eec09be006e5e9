/* Identical requests of a worker and who of them asks for all: the table of flights, joining them,
 * leaving them. What those who wait are told is in flight_share.c, flights that other processes
 * lead are in flight_elsewhere.c, the life of a request is in flow.c, what processes know of each
 * other's flights in shm/flight.h. Runs in workers.
 *
 * Its one surprise: a leader may lose its client and go on, with a sink that hears nothing, because
 * others wait for its answer.
 */
#include "gateway_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/panic.h"
#include "upstream/outcome.h"

/* A client that takes nothing is cut by http after the same time. */
#define LAGGARD_NS (30 * NS_PER_S)

/* -- the table of flights -- */

static struct flight **bucket_of(const struct gateway *gateway, const uint8_t key[SHA256_SIZE]) {
    uint32_t part; /* of a hash: any of its bytes will do */
    memcpy(&part, key + 20, sizeof(part));
    return &gateway->flights[part & (FLIGHT_BUCKETS - 1)];
}

static struct flight *find(const struct gateway *gateway, const uint8_t key[SHA256_SIZE]) {
    struct flight *flight = *bucket_of(gateway, key);
    while (flight != NULL && memcmp(flight->key, key, SHA256_SIZE) != 0) {
        flight = flight->next;
    }
    return flight;
}

/* NULL without memory: the request goes alone. */
static struct flight *open_flight(const struct flow *flow) {
    struct gateway *gateway = flow->gateway;
    struct flight *flight = calloc(1, sizeof(*flight));
    if (flight != NULL) {
        struct flight **bucket = bucket_of(gateway, flow->key);
        memcpy(flight->key, flow->key, SHA256_SIZE);
        flight->max_age_ms = INT64_MAX;
        flight->since_ns = timers_now_ns(&gateway->env.timers);
        buf_init(&flight->batch, 0);
        flight->next = *bucket;
        *bucket = flight;
    }
    return flight;
}

/* Nobody joins any more. */
void flight_close(struct gateway *gateway, struct flight *flight) {
    struct flight **at = bucket_of(gateway, flight->key);
    while (*at != NULL && *at != flight) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = flight->next;
    }
}

void flight_free(struct flight *flight) {
    buf_free(&flight->batch);
    free(flight);
}

static bool is_elsewhere(const struct gateway *gateway, const struct flight *flight) {
    return flight->prior_there != NULL || gateway->elsewhere == flight;
}

static void list_elsewhere(struct gateway *gateway, struct flight *flight) {
    flight->prior_there = NULL;
    flight->next_there = gateway->elsewhere;
    if (gateway->elsewhere != NULL) {
        gateway->elsewhere->prior_there = flight;
    }
    gateway->elsewhere = flight;
}

void flight_unlist(struct gateway *gateway, struct flight *flight) {
    if (!is_elsewhere(gateway, flight)) {
        return;
    }
    if (flight->prior_there != NULL) {
        flight->prior_there->next_there = flight->next_there;
    } else {
        gateway->elsewhere = flight->next_there;
    }
    if (flight->next_there != NULL) {
        flight->next_there->prior_there = flight->prior_there;
    }
    flight->next_there = flight->prior_there = NULL;
}

/* -- who leads, who waits -- */

bool flight_is_led_by(const struct flow *flow) {
    return flow->flight != NULL && flow->flight->leader == flow;
}

static void add_waiter(struct flight *flight, struct flow *flow) {
    flow->flight = flight;
    flow->prior_waiter = NULL;
    flow->next_waiter = flight->waiters;
    if (flight->waiters != NULL) {
        flight->waiters->prior_waiter = flow;
    }
    flight->waiters = flow;
}

/* It is in no flight afterwards, and has waited for its provider all this time. */
void flight_remove_waiter(struct flow *flow) {
    const struct timers *timers = &flow->gateway->env.timers;
    struct flight *flight = flow->flight;
    if (flow->prior_waiter != NULL) {
        flow->prior_waiter->next_waiter = flow->next_waiter;
    } else {
        flight->waiters = flow->next_waiter;
    }
    if (flow->next_waiter != NULL) {
        flow->next_waiter->prior_waiter = flow->prior_waiter;
    }
    timers_cancel(timers, flow->wait_timer);
    flow->next_waiter = flow->prior_waiter = NULL;
    flow->wait_timer = NULL;
    flow->flight = NULL;
    flow->answer.upstream_ns += timers_now_ns(timers) - flow->waited_ns;
}

struct flow *flight_take_waiter(struct flight *flight) {
    struct flow *flow = flight->waiters;
    if (flow != NULL) {
        flight_remove_waiter(flow);
    }
    return flow;
}

/* It asks itself: it has found nothing, after all. */
static void note_miss(struct flow *flow) {
    flow->answer.cache = ANSWER_MISS;
    metric_add(&flow->gateway->env.metrics, METRIC_CACHE_EVENTS, 1, CACHE_EVENT_MISS, 0, 0);
}

void flight_go_alone(struct flow *flow) {
    note_miss(flow);
    flow_continue(flow, STEP_ROUTE);
}

/* The latest of those who wait asks for all: it has the most time left. */
void flight_promote(struct gateway *gateway, struct flight *flight) {
    struct flow *flow = flight_take_waiter(flight);
    flight_unlist(gateway, flight);
    flow->flight = flight;
    flight->leader = flow;
    flight_go_alone(flow);
}

/* -- join -- */

/* Who wants the whole answer of a stream, and who comes late to one, need the events kept. */
static bool may_join(const struct flight *flight) {
    const struct flow *leader = flight->leader;
    return leader == NULL || !leader->was_streamed || leader->keeps;
}

static void on_wait_over(void *argument) {
    struct flow *flow = argument;
    flow->wait_timer = NULL;
    flight_quit(flow);
    enum step_result result =
        flow_fail(flow, 504, outcome_name(OUTCOME_TOTAL_TIMEOUT),
                  "the identical request whose answer this one waited for took too long");
    flow->failure.type = "upstream_error";
    flow_continue(flow, result);
}

static enum step_result wait_with(struct flow *flow, struct flight *flight) {
    struct gateway *gateway = flow->gateway;
    const struct timers *timers = &gateway->env.timers;
    if (!flow_keep_views(flow)) {
        return flow_no_memory(flow);
    }
    flow->waited_ns = timers_now_ns(timers);
    flow->wait_timer = timers_after(timers, gateway->wait_max_ns, on_wait_over, flow);
    if (flow->wait_timer == NULL) {
        return flow_no_memory(flow);
    }
    if (flow->request->max_age_ms < flight->max_age_ms) {
        flight->max_age_ms = flow->request->max_age_ms;
    }
    flow->answer.cache = ANSWER_COALESCED;
    add_waiter(flight, flow);
    if (flow->request->chat.wants_stream) {
        flow_begin_stream(flow);
        if (flight->leader != NULL && flight->leader->was_streamed &&
            !flight_catch_up(flow, flight->leader)) {
            flight_remove_waiter(flow);
            return flow_no_memory(flow);
        }
    }
    if (flight->leader != NULL && flight->leader->is_paused) {
        flight_set_pace(flow, true); /* the last: the stream may end in it, and the flow with it */
    }
    return STEP_WAIT;
}

static enum step_result lead(struct flow *flow, struct flight *flight) {
    if (flight != NULL) {
        flight->leader = flow;
        flow->flight = flight;
    }
    note_miss(flow);
    return STEP_NEXT;
}

/* Nobody here asks it: does another process? */
static enum step_result ask_others(struct flow *flow) {
    const struct gateway_env *env = &flow->gateway->env;
    struct flight_ticket ticket;
    unsigned failures;
    enum flight_join result = flight_join(env->store, flow->key, env->slot,
                                          flow->request->max_age_ms, &ticket, &failures);
    if (result == FLIGHT_STORED && !flow->looked_again) {
        flow->looked_again = true; /* once: what is stored may be nothing that this one can use */
        return STEP_CACHE;
    }
    struct flight *flight = open_flight(flow);
    if (flight == NULL) {
        if (result == FLIGHT_LEAD) {
            flight_end(env->store, &ticket, env->slot);
        } else if (result == FLIGHT_WAIT) {
            flight_leave(env->store, &ticket, env->slot);
        }
        return lead(flow, NULL);
    }
    if (result == FLIGHT_LEAD || result == FLIGHT_WAIT) {
        flight->has_ticket = true;
        flight->ticket = ticket;
        flight->failures = failures;
    }
    if (result != FLIGHT_WAIT) {
        return lead(flow, flight); /* without a ticket: for those of this process */
    }
    list_elsewhere(flow->gateway, flight);
    enum step_result step = wait_with(flow, flight);
    if (step != STEP_WAIT) {
        flight_leave(env->store, &ticket, env->slot);
        flight_unlist(flow->gateway, flight);
        flight_close(flow->gateway, flight);
        flight_free(flight);
    }
    return step;
}

enum step_result flow_step_flight(struct flow *flow) {
    const struct gateway *gateway = flow->gateway;
    if (flow->request->cache != CACHE_USE) { /* counted as one that passes the cache by */
        return STEP_NEXT;
    }
    if (store_max_value(gateway->env.store) == 0) { /* who keeps no answers wants each its own */
        return lead(flow, NULL);
    }
    struct flight *flight = find(gateway, flow->key);
    if (flight == NULL) {
        return ask_others(flow);
    }
    return may_join(flight) ? wait_with(flow, flight) : lead(flow, NULL);
}

/* -- clients that leave -- */

static void ignore_answer(struct sink *sink, const struct answer *answer) {
    (void)sink;
    (void)answer;
}
static void ignore_event(struct sink *sink, const struct chat_event *event) {
    (void)sink;
    (void)event;
}
static void ignore_ping(struct sink *sink) {
    (void)sink;
}
static enum sink_fill ignore_flush(struct sink *sink) {
    (void)sink;
    return SINK_HAS_ROOM;
}
static void ignore_failed(struct sink *sink, const struct failure *failure) {
    (void)sink;
    (void)failure;
}
static struct sink nobody = {ignore_answer, ignore_event,  ignore_ping,
                             ignore_flush,  ignore_answer, ignore_failed};

/* Nobody waits for the flow's answer. */
static bool is_unawaited(const struct flow *leader) {
    const struct gateway_env *env = &leader->gateway->env;
    const struct flight *flight = leader->flight;
    return flight->waiters == NULL &&
           (!flight->has_ticket || !flight_is_awaited(env->store, &flight->ticket, env->slot));
}

/* The last one has left. */
static void disband(struct gateway *gateway, struct flight *flight) {
    flight_unlist(gateway, flight);
    flight_close(gateway, flight);
    flight_free(flight);
}

static void quit_waiting(struct flow *flow) {
    struct gateway *gateway = flow->gateway;
    struct flight *flight = flow->flight;
    struct flow *leader = flight->leader;
    flight_remove_waiter(flow);
    if (leader == NULL && flight->waiters == NULL) {
        flight_leave(gateway->env.store, &flight->ticket, gateway->env.slot);
        disband(gateway, flight);
    } else if (leader != NULL && flow_is_orphan(leader) && is_unawaited(leader)) {
        flow_give_up(leader, OUTCOME_CLIENT_GONE);
    } else if (leader != NULL) {
        flight_set_pace(leader, true);
    }
}

void flight_quit(struct flow *flow) {
    const struct gateway_env *env = &flow->gateway->env;
    struct flight *flight = flow->flight;
    if (flight == NULL) {
        return;
    }
    if (flight->leader != flow) {
        quit_waiting(flow);
        return;
    }
    ASSERT(flight->waiters == NULL);
    flow->flight = NULL;
    if (flight->has_ticket) {
        flight_end(env->store, &flight->ticket, env->slot);
    }
    disband(flow->gateway, flight);
}

static void become_orphan(struct flow *flow, int status) {
    struct access_record *record = &flow->request->record;
    record->client = arena_copy(&flow->arena, record->client); /* the connection's memory goes */
    if (record->client.data == NULL) {
        record->client = bytes_make("", 0);
    }
    flow->sink = &nobody;
    flow->gone_status = status;
    flow->fill = SINK_HAS_ROOM;
    flow->overfull_ns = 0;
    flight_set_pace(flow, true);
}

bool flight_lose_client(struct flow *flow) {
    if (!flight_is_led_by(flow) || is_unawaited(flow)) {
        return false;
    }
    become_orphan(flow, STATUS_CLIENT_GONE);
    return true;
}

/* -- once a second -- */

/* A leader that works for nobody, or whose answer has become too long for those who want it whole.
 */
static struct flow *find_fruitless(const struct gateway *gateway, struct flow **whole) {
    *whole = NULL;
    for (struct flow *flow = gateway->active; flow != NULL; flow = flow->next) {
        if (!flight_is_led_by(flow)) {
            continue;
        }
        if (flow_is_orphan(flow) && is_unawaited(flow)) {
            return flow;
        }
        for (*whole = may_join(flow->flight) ? NULL : flow->flight->waiters;
             *whole != NULL && (*whole)->was_streamed; *whole = (*whole)->next_waiter) {
        }
        if (*whole != NULL) {
            return flow;
        }
    }
    return NULL;
}

/* One that waits for readers while another process has begun to want its answer: nobody tells. */
static struct flow *find_held_up(const struct gateway *gateway) {
    struct flow *flow = gateway->active;
    while (flow != NULL && !(flow->is_paused && flow->ops != NULL && !flight_wants_pause(flow))) {
        flow = flow->next;
    }
    return flow;
}

/* Nobody else reads what it reads. */
static bool reads_alone(const struct flow *flow) {
    const struct flow *leader = flow->flight->leader;
    return leader == flow
               ? is_unawaited(flow)
               : leader == NULL || (flow_is_orphan(leader) && flow->prior_waiter == NULL &&
                                    flow->next_waiter == NULL);
}

/* A reader so far behind, for so long, that the others have waited for it long enough. */
static struct flow *find_laggard(const struct gateway *gateway) {
    int64_t since_ns = timers_now_ns(&gateway->env.timers) - LAGGARD_NS;
    struct flow *flow = gateway->active;
    while (flow != NULL && (flow->flight == NULL || flow->overfull_ns == 0 ||
                            flow->overfull_ns > since_ns || reads_alone(flow))) {
        flow = flow->next;
    }
    return flow;
}

/* Its stream breaks, and the others go on. */
static void leave_behind(struct flow *flow) {
    struct flow *leader = flow->flight->leader;
    enum step_result result =
        flow_fail(flow, 408, outcome_name(OUTCOME_CLIENT_STALL),
                  "the client reads too slowly for the others who read the same answer");
    if (leader != flow) {
        flight_remove_waiter(flow);
        flow_continue(flow, result);
        flight_set_pace(leader, true);
        return;
    }
    flow->sink->failed(flow->sink, &flow->failure);
    become_orphan(flow, flow->failure.status);
    flow->failure = (struct failure){0};
}

void flight_tick(struct gateway *gateway) {
    struct flow *leader, *whole, *laggard;
    while ((laggard = find_laggard(gateway)) != NULL) {
        leave_behind(laggard);
    }
    while ((leader = find_held_up(gateway)) != NULL) {
        flight_set_pace(leader, true);
    }
    while ((leader = find_fruitless(gateway, &whole)) != NULL) {
        if (whole != NULL) {
            flight_remove_waiter(whole);
            flight_go_alone(whole);
        } else {
            flow_give_up(leader, OUTCOME_CLIENT_GONE);
        }
    }
}
