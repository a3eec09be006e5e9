/* The life of a request.
 *
 *   admit -> cache -> flight -> route -> choose -> attempt -> settle -> store
 *              |        |                | ^         | failed: the same   |
 *              | hit    | another asks   | +---------+ again, or the next |
 *              |        | already        |                                v
 *              |        |                +----- nobody is left -------> share
 *              |        v                                                 |
 *              +------> replay <------------------------------------------+
 *                         |
 *                         +-> answer -> log
 *
 * `steps` below is the table; each step says how it ended (enum step_result in gateway_private.h)
 * and never calls another one. A step that waits is continued by an event of its provider or by a
 * timer. No sockets, no event loop: clients are sinks, time is three functions. Runs in workers.
 * How the key is made is in flow_key.c, how requests wait for each other in flight.c, what happens
 * between route and settle in flow_attempt.c, what a client hears of a stream in flow_stream.c.
 *
 * Its one surprise: a hit runs from admit to log inside flow_start, without a single allocation
 * (the flow comes from a pool and its arena keeps its first block).
 */
#include "gateway/flow.h"

#include "base/clock.h"
#include "base/json_write.h"
#include "gateway/cost.h"
#include "gateway/entry.h"
#include "gateway_private.h"

#define FALLBACK_TTL_MS 30000 /* a fallback's answer is stored for at most this long */

const char *answer_cache_name(enum answer_cache cache) {
    static const char *const names[] = {
        [ANSWER_MISS] = "miss",
        [ANSWER_HIT] = "hit",
        [ANSWER_COALESCED] = "coalesced",
        [ANSWER_BYPASS] = "bypass",
    };
    return names[cache];
}

enum step_result flow_fail(struct flow *flow, int status, const char *code, const char *message) {
    flow->failure_rank = 0;
    flow->failure = (struct failure){
        .status = status,
        .type = status < 500 ? "invalid_request_error" : "server_error",
        .code = code,
        .message = message,
        .retry_after_s = status == 503 ? 1 : 0,
        .should_retry = status >= 500,
    };
    return STEP_ANSWER;
}

enum step_result flow_no_memory(struct flow *flow) {
    return flow_fail(flow, 503, outcome_name(OUTCOME_NO_MEMORY), "out of memory");
}

/* -- steps -------------------------------------------------------------------------------- */

static enum step_result step_admit(struct flow *flow) {
    bool has_key = flow->request->cache != CACHE_NO_STORE;
    flow->answer.cache = has_key ? ANSWER_MISS : ANSWER_BYPASS;
    return has_key ? flow_make_key(flow) : STEP_NEXT;
}

bool flow_look_up(struct flow *flow, struct entry *entry) {
    struct gateway *gateway = flow->gateway;
    size_t size = 0;
    enum store_result result = store_get(gateway->env.store, flow->key, flow->request->max_age_ms,
                                         gateway->value, gateway->value_size, &size, NULL);
    return result == STORE_HIT && entry_decode(bytes_make(gateway->value, size), entry) == 0;
}

/* The text of a stored answer as a JSON string. Where the answer has none to point to (one in
 * parts, stored for a client that took it as it came), it is made. data NULL: no memory. */
static struct bytes stored_text(struct flow *flow, const struct entry *entry) {
    struct gateway *gateway = flow->gateway;
    struct form_reading reading = {.usage_state = USAGE_NONE};
    struct json_fault fault;
    if (entry->text.size > 0 || !flow->request->chat.wants_text) {
        return bytes_make(entry->json.data + entry->text.at, entry->text.size);
    }
    bool is_read =
        json_read(&gateway->reader, entry->json, &fault) == 0 &&
        form_of(flow->request->chat.form)
                ->read_answer(&gateway->reader, &gateway->scratch, &reading) == OUTCOME_OK;
    if (is_read) {
        json_quote(&flow->text, reading.text);
    }
    arena_reset(&gateway->scratch);
    return !is_read || flow->text.failed ? bytes_make(NULL, 0) : buf_bytes(&flow->text);
}

bool flow_take_entry(struct flow *flow, const struct entry *entry, enum answer_cache cache) {
    const struct metrics *metrics = &flow->gateway->env.metrics;
    bool is_hit = cache == ANSWER_HIT;
    struct bytes text = stored_text(flow, entry);
    if (text.data == NULL) {
        return false;
    }
    int64_t upstream_ns = flow->answer.upstream_ns; /* spent waiting for another's */
    flow->answer = (struct answer){
        .json = entry->json,
        .text = text,
        .usage = entry->usage,
        .cost_nusd = 0,
        .saved_nusd = entry->cost_nusd != COST_UNKNOWN ? entry->cost_nusd : 0,
        .provider = entry->provider,
        .routed_to = entry->routed_to,
        .model = entry->model,
        .reason = entry->reason,
        .cache = cache,
        .upstream_ns = upstream_ns,
    };
    flow->have_usage = true;
    metric_add(metrics, METRIC_CACHE_EVENTS, 1, is_hit ? CACHE_EVENT_HIT : CACHE_EVENT_COALESCED, 0,
               0);
    metric_add(metrics, METRIC_SAVED, (uint64_t)flow->answer.saved_nusd,
               is_hit ? SAVED_CACHE : SAVED_COALESCED, 0, 0);
    return true;
}

static enum step_result step_cache(struct flow *flow) {
    struct entry entry;
    if (flow->request->cache != CACHE_USE) {
        flow->answer.cache = ANSWER_BYPASS;
        metric_add(&flow->gateway->env.metrics, METRIC_CACHE_EVENTS, 1, CACHE_EVENT_BYPASS, 0, 0);
        return STEP_NEXT;
    }
    if (flow_look_up(flow, &entry) && flow_take_entry(flow, &entry, ANSWER_HIT)) {
        return STEP_REPLAY;
    }
    gateway_count_store(flow->gateway);
    return STEP_NEXT;
}

static bool lies_in(struct bytes view, const struct buf *memory) {
    return memory->data != NULL && view.data >= memory->data &&
           view.data + view.size <= memory->data + memory->size;
}

bool flow_keep_views(struct flow *flow) {
    struct flow_request *request = flow->request;
    struct chat *chat = &request->chat;
    struct bytes *const views[] = {
        &chat->body,           &chat->prompt,      &chat->temperature,   &chat->anthropic_version,
        &chat->anthropic_beta, &chat->openai_beta, &request->route.model};
    request->canonical = bytes_make(NULL, 0); /* the key is made, or its bytes are ours */
    if (flow->has_views) {
        return true;
    }
    for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
        bool is_name = views[i] == &request->route.model; /* which is used with its NUL */
        if (views[i]->size > 0 && (is_name || !lies_in(*views[i], &request->memory))) {
            *views[i] = arena_copy(&flow->arena, *views[i]);
            if (views[i]->data == NULL) {
                return false;
            }
        }
    }
    flow->has_views = true;
    return true;
}

/* Nobody of those whom the request may go to can answer it. */
static enum step_result fail_plan(struct flow *flow) {
    enum step_result result;
    if (!flow->plan.has_form) {
        return flow_fail(flow, 400, "unsupported_endpoint",
                         "no provider that this request may go to has this endpoint: name one of "
                         "type openai, or use /v1/chat/completions or /v1/messages");
    }
    result = flow_fail(flow, flow->request->chat.wants_text ? 400 : 404, "model_not_found",
                       "no provider that this request may go to offers this model");
    flow->failure.param = flow->request->chat.wants_text ? "model_id" : "model";
    return result;
}

static enum step_result step_route(struct flow *flow) {
    const struct gateway_env *env = &flow->gateway->env;
    const struct flow_request *request = flow->request;
    if (!flow_keep_views(flow)) {
        return flow_no_memory(flow);
    }
    route_decide(env->conf, &request->route, &request->chat, &flow->plan);
    if (flow->plan.count == 0) {
        return fail_plan(flow);
    }
    if (request->route.route >= 0) {
        metric_add(&env->metrics, METRIC_ROUTE_DECISIONS, 1,
                   env->labels->route[request->route.route], flow->plan.tier,
                   flow->plan.reason_kind);
    }
    flow->answer.routed_to = bytes_from_str(flow_provider(flow)->name);
    flow->answer.reason = bytes_from_str(flow->plan.reason);
    if (request->chat.wants_stream) {
        flow_begin_stream(flow);
    }
    return STEP_NEXT;
}

static enum step_result step_settle(struct flow *flow) {
    const struct chat_answer *given = &flow->attempt.answer;
    flow->failure.status = 0; /* of those who were asked before */
    flow->answer.cost_nusd = flow->cost_nusd;
    flow->answer.saved_nusd = flow_saved_by_routing(flow);
    flow->answer.json = given->json;
    if (flow->was_streamed) {
        flow->answer.text = buf_bytes(&flow->text);
    } else {
        flow->answer.text = bytes_make(given->json.data + given->text.at, given->text.size);
    }
    metric_add(&flow->gateway->env.metrics, METRIC_SAVED, (uint64_t)flow->answer.saved_nusd,
               SAVED_ROUTING, 0, 0);
    return STEP_NEXT;
}

/* Complete, and the same for everybody: not one that somebody's rules cut, not calls of tools
 * (unless configured), not a stream that ran into a limit of tokens. */
static bool may_be_stored(struct flow *flow) {
    const struct chat_answer *given = &flow->attempt.answer;
    if (flow->request->cache == CACHE_NO_STORE || given->finish == FINISH_UNKNOWN ||
        given->finish == FINISH_FILTER || (given->finish == FINISH_LENGTH && flow->was_streamed) ||
        (given->has_tools && !flow->gateway->env.conf->cache.tool_calls)) {
        return false;
    }
    return !flow->was_streamed || flow_collect(flow);
}

struct entry flow_entry(const struct flow *flow) {
    return (struct entry){.usage = flow->answer.usage,
                          .cost_nusd = flow->answer.cost_nusd,
                          .provider = flow->answer.provider,
                          .routed_to = flow->answer.routed_to,
                          .model = flow->answer.model,
                          .reason = flow->answer.reason};
}

static enum step_result step_store(struct flow *flow) {
    struct gateway *gateway = flow->gateway;
    const struct conf_cache *cache = &gateway->env.conf->cache;
    if (!may_be_stored(flow)) {
        return STEP_NEXT;
    }
    struct entry entry = flow_entry(flow);
    entry.json = flow->attempt.answer.json;
    entry.text = flow->attempt.answer.text;
    struct buf value;
    buf_init_fixed(&value, gateway->value, gateway->value_size);
    entry_encode(&entry, &value);
    int64_t ttl_ms = cache->ttl_ms;
    if (flow->plan_at > 0 && ttl_ms > FALLBACK_TTL_MS) {
        ttl_ms = FALLBACK_TTL_MS;
    }
    if (!value.failed &&
        store_put(gateway->env.store, flow->key, buf_bytes(&value), ttl_ms) == STORE_PUT_DONE) {
        metric_add(&gateway->env.metrics, METRIC_CACHE_EVENTS, 1, CACHE_EVENT_STORE, 0, 0);
    }
    gateway_count_store(gateway);
    return STEP_NEXT;
}

/* A whole answer for a client that wants a stream. */
static enum step_result step_replay(struct flow *flow) {
    if (!flow->request->chat.wants_stream || flow->failure.status != 0) {
        return STEP_NEXT;
    }
    if (flow->was_streamed) {
        flow_tell_held(flow); /* of an answer that had nothing to read */
        return STEP_NEXT;
    }
    return flow_replay(flow);
}

static enum step_result step_answer(struct flow *flow) {
    struct sink *sink = flow->sink;
    flow_end_stream(flow);
    flow->sink = NULL;
    flow->answer.last = flow->last;
    if (flow->failure.status != 0) {
        flow->failure.reason = flow->answer.reason;
        if (flow->failure.provider.size == 0) { /* not a provider's failure: whoever was asked */
            flow->failure.provider = flow->answer.provider;
            flow->failure.model = flow->answer.model;
        }
        sink->failed(sink, &flow->failure);
    } else {
        sink->done(sink, &flow->answer);
    }
    return STEP_NEXT;
}

int flow_status(const struct flow *flow) {
    if (flow_is_orphan(flow)) {
        return flow->gone_status;
    }
    return flow->failure.status != 0 ? flow->failure.status : 200;
}

bool flow_has_cost(const struct flow *flow) {
    enum answer_cache cache = flow->answer.cache;
    bool was_given =
        cache == ANSWER_HIT || (cache == ANSWER_COALESCED && flow->failure.status == 0);
    return (was_given || flow->have_outcome) && flow->cost_nusd != COST_UNKNOWN;
}

static enum step_result step_log(struct flow *flow) {
    const struct gateway_env *env = &flow->gateway->env;
    int64_t now_ns = timers_now_ns(&env->timers);
    int64_t overhead_ns =
        now_ns - flow->request->parsed_ns - flow->answer.upstream_ns - flow->answer.paused_ns;
    metric_observe(&env->metrics, METRIC_OVERHEAD, overhead_ns, 0, 0);
    flow_remember(flow, now_ns);
    if (!access_log_is_on(env->access_log)) {
        return STEP_NEXT;
    }
    const struct answer *answer = &flow->answer;
    struct access_record *record = &flow->request->record;
    record->status = flow_status(flow);
    if (flow->request->route.route >= 0) {
        record->route = bytes_from_str(env->conf->routes[flow->request->route.route].name);
    }
    record->route_reason = answer->reason;
    record->provider = answer->provider;
    record->model = answer->model;
    record->cache = answer_cache_name(answer->cache);
    record->outcome = flow->have_outcome ? outcome_name(flow->outcome) : NULL;
    if (flow->failure.status != 0 && flow->failure_rank > 0) { /* whom the client hears of */
        record->provider = flow->failure.provider;
        record->model = flow->failure.model;
        record->outcome = outcome_name(flow->failure_outcome);
    }
    record->attempts = flow->attempts;
    record->has_usage = flow->have_usage;
    record->estimated = answer->usage.estimated;
    record->prompt_tokens = answer->usage.prompt_tokens;
    record->completion_tokens = answer->usage.completion_tokens;
    record->cached_tokens = answer->usage.cached_tokens;
    record->has_cost = flow_has_cost(flow);
    record->cost_nusd = flow->cost_nusd;
    record->saved_nusd = answer->saved_nusd;
    record->upstream_ns = answer->upstream_ns;
    record->overhead_ns = overhead_ns > 0 ? overhead_ns : 0;
    record->duration_ns = now_ns - flow->request->started_ns;
    access_log_write(env->access_log, record);
    /* Money is in the counters already, which outlive this process; a line in its buffer does not.
     */
    if (flow->cost_nusd != 0) {
        access_log_flush(env->access_log);
    }
    return STEP_NEXT;
}

static const struct {
    const char *name;
    enum step_result (*run)(struct flow *flow);
} steps[] = {
    {"admit", step_admit},          /* under which key; may wait for it */
    {"cache", step_cache},          /* somebody's answer to the same question? */
    {"flight", flow_step_flight},   /* is somebody asking it right now? then waits */
    {"route", step_route},          /* a ranked plan, with its reason */
    {"choose", flow_step_choose},   /* the plan's next provider that may be asked now */
    {"attempt", flow_step_attempt}, /* ask it; waits */
    {"settle", step_settle},        /* tokens, money, savings */
    {"store", step_store},          /* for the next one who asks */
    {"share", flow_step_share},     /* the answer, or the failure, for all who wait for it */
    {"replay", step_replay},        /* a whole answer as a stream; may wait */
    {"answer", step_answer},        /* the client hears it */
    {"log", step_log},              /* the list of recent requests, one line in the access log */
};
enum {
    STEP_AT_CACHE = 1,
    STEP_AT_ROUTE = 3,
    STEP_AT_CHOOSE = 4,
    STEP_AT_SETTLE = 6,
    STEP_AT_SHARE = 8,
    STEP_AT_REPLAY = 9,
    STEP_AT_LOG = 11,
    STEP_COUNT = 12
};
_Static_assert(sizeof(steps) / sizeof(steps[0]) == STEP_COUNT, "a name for every step");

static void take_result(struct flow *flow, enum step_result result) {
    switch (result) {
    case STEP_NEXT:
        flow->step++;
        break;
    case STEP_WAIT:
        break;
    case STEP_CACHE:
        flow->step = STEP_AT_CACHE;
        break;
    case STEP_ROUTE:
        flow->step = STEP_AT_ROUTE;
        break;
    case STEP_CHOOSE:
        flow->step = STEP_AT_CHOOSE;
        break;
    case STEP_SETTLE:
        flow->step = STEP_AT_SETTLE;
        break;
    case STEP_REPLAY:
        flow->step = STEP_AT_REPLAY;
        break;
    case STEP_ANSWER:
        flow->step = STEP_AT_SHARE;
        break;
    }
}

static void flow_run(struct flow *flow) {
    while (flow->step < STEP_COUNT) {
        enum step_result result = steps[flow->step].run(flow);
        take_result(flow, result);
        if (result == STEP_WAIT) {
            return;
        }
    }
    flow_drop(flow);
}

void flow_continue(struct flow *flow, enum step_result result) {
    take_result(flow, result);
    if (result != STEP_WAIT) {
        flow_run(flow);
    }
}

/* Whatever it waits for. */
static void flow_stop(struct flow *flow, enum outcome why) {
    bool has_attempt =
        flow->pace_timer == NULL && flow->key_timer == NULL && flow->wait_timer == NULL;
    flow_end_stream(flow);
    flow_end_key(flow);
    if (flow->wait_timer != NULL) {
        flight_quit(flow);
    }
    if (has_attempt) {
        flow_stop_attempt(flow, why);
    }
}

/* -- public -------------------------------------------------------------------------------- */

void flow_start(struct flow *flow, struct flow_request *request, struct sink *sink) {
    flow->request = request;
    flow->sink = sink;
    flow_run(flow);
}

void flow_give_up(struct flow *flow, enum outcome why) {
    flow_stop(flow, why);
    flight_quit(flow);
    flow->failure_rank = 0;
    flow->failure.status = STATUS_CLIENT_GONE;
    flow->step = STEP_AT_LOG;
    flow_run(flow);
}

void flow_abort(struct flow *flow, enum outcome why) {
    metric_add(&flow->gateway->env.metrics, METRIC_CLIENT_ABORTS, 1, 0, 0, 0);
    if (!flight_lose_client(flow)) {
        flow_give_up(flow, why);
    }
}

void gateway_abort_all(struct gateway *gateway) {
    gateway->is_ending = true;
    while (gateway->active != NULL) {
        struct flow *flow = gateway->active;
        /* A flow under way waits for its key, another flow, its attempt, the next one, or its pace.
         * (clang-tidy cannot see that flow_run takes a flow out of the list before it drops it.) */
        flow_stop(flow, OUTCOME_SHUTDOWN); /* NOLINT(clang-analyzer-unix.Malloc) */
        flow_continue(flow, flow_fail(flow, 503, outcome_name(OUTCOME_SHUTDOWN),
                                      "the server is shutting down"));
    }
}
