/* The life of a request.
 *
 *   admit -> cache -> route -> attempt -> settle -> store -> answer -> log
 *              | hit             | ^ failed: next of the plan   ^
 *              +-----------------|-+----------------------------+
 *
 * `steps` below is the table; each step says how it ended (see enum step_result) and never calls
 * another one. A step that waits is continued by an event of its provider. No sockets, no event
 * loop: clients are sinks, time is three functions. Runs in workers.
 *
 * Its one surprise: a hit runs from admit to log inside flow_start, without a single allocation
 * (the flow comes from a pool and its arena keeps its first block).
 */
#include "gateway/flow.h"

#include "base/clock.h"
#include "base/json_write.h"
#include "base/panic.h"
#include "gateway/cache_key.h"
#include "gateway/cost.h"
#include "gateway/entry.h"
#include "gateway_private.h"
#include "upstream/provider.h"

#define FALLBACK_TTL_MS 30000 /* a fallback's answer is stored for at most this long */

enum step_result {
    STEP_NEXT,   /* go on with the following step */
    STEP_WAIT,   /* an event will call flow_run again at flow->step */
    STEP_ANSWER, /* go to the answer step: a hit or a failure is ready */
};

static void on_piece(struct attempt *attempt, struct bytes text);
static void on_done(struct attempt *attempt);
static void on_failed(struct attempt *attempt, enum outcome outcome);

static const struct attempt_events attempt_events = {on_piece, on_done, on_failed};

const char *answer_cache_name(enum answer_cache cache) {
    static const char *const names[] = {
        [ANSWER_MISS] = "miss",
        [ANSWER_HIT] = "hit",
        [ANSWER_COALESCED] = "coalesced",
        [ANSWER_BYPASS] = "bypass",
    };
    return names[cache];
}

/* -- small helpers ------------------------------------------------------------------------ */

static const struct conf_provider *provider_at(const struct flow *flow, unsigned plan_at) {
    return &flow->gateway->env.conf->providers[flow->plan.entry[plan_at].provider];
}

static enum step_result fail(struct flow *flow, int status, const char *type, const char *code,
                             const char *message) {
    flow->failure.status = status;
    flow->failure.type = type;
    flow->failure.code = code;
    flow->failure.message = message;
    flow->failure.should_retry = status >= 500 || status == 429;
    flow->failure.retry_after_s = status == 503 ? 1 : 0;
    return STEP_ANSWER;
}

/* -- steps -------------------------------------------------------------------------------- */

static enum step_result step_admit(struct flow *flow) {
    const struct flow_request *request = flow->request;
    struct gateway *gateway = flow->gateway;
    flow->answer.cache = request->cache == CACHE_NO_STORE ? ANSWER_BYPASS : ANSWER_MISS;
    if (request->cache != CACHE_NO_STORE) {
        struct cache_key_scope scope = {
            .kind = "chat",
            .tenant = BYTES_LITERAL(FLOW_TENANT),
            .plan = request->route.provider >= 0 ? gateway->provider_plan[request->route.provider]
                                                 : gateway->route_plan[request->route.route],
        };
        cache_key_make(gateway->sha, &scope, request->canonical, flow->key);
    }
    return STEP_NEXT;
}

static bool cache_look_up(struct flow *flow, struct entry *entry) {
    struct gateway *gateway = flow->gateway;
    size_t size = 0;
    enum store_result result = store_get(gateway->env.store, flow->key, flow->request->max_age_ms,
                                         gateway->value, gateway->value_size, &size, NULL);
    return result == STORE_HIT && entry_decode(bytes_make(gateway->value, size), entry) == 0;
}

static enum step_result step_cache(struct flow *flow) {
    const struct metrics *metrics = &flow->gateway->env.metrics;
    struct entry entry;
    if (flow->request->cache != CACHE_USE) {
        flow->answer.cache = ANSWER_BYPASS;
        metric_add(metrics, METRIC_CACHE_EVENTS, 1, CACHE_EVENT_BYPASS, 0, 0);
        return STEP_NEXT;
    }
    if (!cache_look_up(flow, &entry)) {
        gateway_tick(flow->gateway);
        metric_add(metrics, METRIC_CACHE_EVENTS, 1, CACHE_EVENT_MISS, 0, 0);
        return STEP_NEXT;
    }
    flow->answer = (struct answer){
        .text = entry.text,
        .usage = entry.usage,
        .cost_nusd = 0,
        .saved_nusd = entry.cost_nusd != COST_UNKNOWN ? entry.cost_nusd : 0,
        .provider = entry.provider,
        .routed_to = entry.routed_to,
        .model = entry.model,
        .reason = entry.reason,
        .cache = ANSWER_HIT,
    };
    flow->have_usage = true;
    metric_add(metrics, METRIC_CACHE_EVENTS, 1, CACHE_EVENT_HIT, 0, 0);
    metric_add(metrics, METRIC_SAVED, (uint64_t)flow->answer.saved_nusd, SAVED_CACHE, 0, 0);
    return STEP_ANSWER;
}

/* Replaces the views that end with flow_start by copies in the arena, each with a NUL behind it. */
static bool keep_views(struct flow *flow) {
    struct flow_request *request = flow->request;
    struct bytes *const views[] = {&request->chat.prompt, &request->chat.temperature,
                                   &request->route.model};
    request->canonical = bytes_make(NULL, 0); /* the key is made */
    for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
        if (views[i]->size > 0) {
            *views[i] = arena_copy(&flow->arena, *views[i]);
            if (views[i]->data == NULL) {
                return false;
            }
        }
    }
    return true;
}

static enum step_result step_route(struct flow *flow) {
    const struct gateway_env *env = &flow->gateway->env;
    const struct flow_request *request = flow->request;
    if (!keep_views(flow)) {
        return fail(flow, 503, "server_error", outcome_name(OUTCOME_NO_MEMORY), "out of memory");
    }
    route_decide(env->conf, &request->route, &request->chat, &flow->plan);
    if (flow->plan.count == 0) {
        flow->failure.param = "model_id";
        return fail(flow, 400, "invalid_request_error", "model_not_found",
                    "no provider that this request may go to offers this model_id");
    }
    if (request->route.route >= 0) {
        metric_add(&env->metrics, METRIC_ROUTE_DECISIONS, 1,
                   env->labels->route[request->route.route], flow->plan.tier,
                   flow->plan.reason_kind);
    }
    flow->answer.routed_to = bytes_from_str(provider_at(flow, 0)->name);
    flow->answer.reason = bytes_from_str(flow->plan.reason);
    return STEP_NEXT;
}

/* The model of the plan's entry; an unlisted one is made for this request, under the label "other".
 */
static const struct conf_model *model_of(struct flow *flow) {
    const struct plan_entry *entry = &flow->plan.entry[flow->plan_at];
    const struct conf_provider *provider = provider_at(flow, flow->plan_at);
    if (entry->model < provider->model_count) {
        return &provider->models[entry->model];
    }
    struct conf_model *model = arena_alloc(&flow->arena, sizeof(*model));
    if (model == NULL) {
        return NULL;
    }
    *model = (struct conf_model){.name = flow->request->route.model.data, /* NUL: keep_views */
                                 .label = "other",
                                 .input_nusd = CONF_PRICE_UNKNOWN,
                                 .output_nusd = CONF_PRICE_UNKNOWN,
                                 .cached_input_nusd = CONF_PRICE_UNKNOWN};
    return model;
}

static enum step_result step_attempt(struct flow *flow) {
    const struct gateway_env *env = &flow->gateway->env;
    const struct conf_provider *provider = provider_at(flow, flow->plan_at);
    const struct conf_model *model = model_of(flow);
    buf_clear(&flow->text);
    buf_append_char(&flow->text, '"');
    if (model == NULL || flow->text.failed) {
        return fail(flow, 503, "server_error", outcome_name(OUTCOME_NO_MEMORY), "out of memory");
    }
    flow->answer.provider = bytes_from_str(provider->name);
    flow->answer.model = bytes_from_str(model->label);
    flow->attempt = (struct attempt){.provider = provider,
                                     .model = model,
                                     .chat = &flow->request->chat,
                                     .events = &attempt_events,
                                     .user = flow,
                                     .timers = &env->timers,
                                     .arena = &flow->arena};
    flow->ops = provider_ops_for(provider);
    ASSERT(flow->ops != NULL); /* provider_check refused such a configuration */
    flow->attempt_started_ns = timers_now_ns(&env->timers);
    if (flow->ops->start(&flow->attempt) == -1) {
        flow->ops = NULL;
        return fail(flow, 503, "server_error", outcome_name(OUTCOME_NO_MEMORY), "out of memory");
    }
    return STEP_WAIT;
}

static enum step_result step_settle(struct flow *flow) {
    flow_book_attempt(flow, OUTCOME_OK);
    flow->answer.cost_nusd = flow->cost_nusd;
    flow->answer.saved_nusd = flow_saved_by_routing(flow);
    flow->answer.text = buf_bytes(&flow->text);
    metric_add(&flow->gateway->env.metrics, METRIC_SAVED, (uint64_t)flow->answer.saved_nusd,
               SAVED_ROUTING, 0, 0);
    return STEP_NEXT;
}

static enum step_result step_store(struct flow *flow) {
    struct gateway *gateway = flow->gateway;
    const struct conf_cache *cache = &gateway->env.conf->cache;
    if (flow->request->cache == CACHE_NO_STORE) {
        return STEP_NEXT;
    }
    struct entry entry = {.text = flow->answer.text,
                          .usage = flow->answer.usage,
                          .cost_nusd = flow->answer.cost_nusd,
                          .provider = flow->answer.provider,
                          .routed_to = flow->answer.routed_to,
                          .model = flow->answer.model,
                          .reason = flow->answer.reason};
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
    gateway_tick(gateway);
    return STEP_NEXT;
}

static enum step_result step_answer(struct flow *flow) {
    struct sink *sink = flow->sink;
    flow->sink = NULL;
    if (flow->failure.status != 0) {
        flow->failure.provider = flow->answer.provider;
        flow->failure.model = flow->answer.model;
        flow->failure.reason = flow->answer.reason;
        sink->failed(sink, &flow->failure);
    } else {
        sink->done(sink, &flow->answer);
    }
    return STEP_NEXT;
}

static enum step_result step_log(struct flow *flow) {
    const struct gateway_env *env = &flow->gateway->env;
    int64_t now_ns = timers_now_ns(&env->timers);
    int64_t overhead_ns = now_ns - flow->request->parsed_ns - flow->answer.upstream_ns;
    metric_observe(&env->metrics, METRIC_OVERHEAD, overhead_ns, 0, 0);
    if (!access_log_is_on(env->access_log)) {
        return STEP_NEXT;
    }
    const struct answer *answer = &flow->answer;
    struct access_record *record = &flow->request->record;
    bool is_hit = answer->cache == ANSWER_HIT;
    if (flow->failure.status != 0) {
        record->status = flow->failure.status;
    }
    if (flow->request->route.route >= 0) {
        record->route = bytes_from_str(env->conf->routes[flow->request->route.route].name);
    }
    record->route_reason = answer->reason;
    record->provider = answer->provider;
    record->model = answer->model;
    record->cache = answer_cache_name(answer->cache);
    record->outcome = flow->have_outcome ? outcome_name(flow->outcome) : NULL;
    record->has_usage = flow->have_usage;
    record->estimated = answer->usage.estimated;
    record->prompt_tokens = answer->usage.prompt_tokens;
    record->completion_tokens = answer->usage.completion_tokens;
    record->has_cost = (is_hit || flow->have_outcome) && flow->cost_nusd != COST_UNKNOWN;
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
    {"admit", step_admit},     /* may it come in, and under which key */
    {"cache", step_cache},     /* somebody's answer to the same question? */
    {"route", step_route},     /* a ranked plan, with its reason */
    {"attempt", step_attempt}, /* ask the plan's next provider; waits */
    {"settle", step_settle},   /* tokens, money, savings */
    {"store", step_store},     /* for the next one who asks */
    {"answer", step_answer},   /* the client hears it */
    {"log", step_log},         /* one line in the access log */
};
enum { STEP_AT_ATTEMPT = 3, STEP_AT_SETTLE = 4, STEP_AT_ANSWER = 6, STEP_COUNT = 8 };
_Static_assert(sizeof(steps) / sizeof(steps[0]) == STEP_COUNT, "a name for every step");

static void flow_run(struct flow *flow) {
    while (flow->step < STEP_COUNT) {
        switch (steps[flow->step].run(flow)) {
        case STEP_NEXT:
            flow->step++;
            break;
        case STEP_WAIT:
            return;
        case STEP_ANSWER:
            flow->step = STEP_AT_ANSWER;
            break;
        }
    }
    flow_drop(flow);
}

/* -- events of the provider ---------------------------------------------------------------- */

static void on_piece(struct attempt *attempt, struct bytes text) {
    struct flow *flow = attempt->user;
    const struct gateway_env *env = &flow->gateway->env;
    if (flow->text.size == 1) {
        metric_observe(&env->metrics, METRIC_TIME_TO_FIRST_TOKEN,
                       timers_now_ns(&env->timers) - flow->attempt_started_ns,
                       flow_provider_index(flow), 0);
    }
    json_escape(&flow->text, text);
    if (!flow->request->chat.stream) {
        return;
    }
    if (!flow->head_sent) {
        flow->head_sent = true;
        flow->sink->head(flow->sink, &flow->answer);
    }
    flow->sink->piece(flow->sink, text);
}

static void on_done(struct attempt *attempt) {
    struct flow *flow = attempt->user;
    buf_append_char(&flow->text, '"');
    if (flow->text.failed) {
        on_failed(attempt, OUTCOME_NO_MEMORY);
        return;
    }
    flow->step = STEP_AT_SETTLE;
    flow_run(flow);
}

static void on_failed(struct attempt *attempt, enum outcome outcome) {
    struct flow *flow = attempt->user;
    const struct metrics *metrics = &flow->gateway->env.metrics;
    flow_book_attempt(flow, outcome);
    if (!flow->head_sent && flow->plan_at + 1 < flow->plan.count) {
        metric_add(metrics, METRIC_FALLBACKS, 1, flow_provider_index(flow), outcome, 0);
        flow->plan_at++;
        flow->step = STEP_AT_ATTEMPT;
    } else {
        fail(flow, outcome == OUTCOME_NO_MEMORY ? 503 : 502, "upstream_error",
             outcome_name(outcome), "the provider failed to answer");
        flow->step = STEP_AT_ANSWER;
    }
    flow_run(flow);
}

/* -- public -------------------------------------------------------------------------------- */

void flow_start(struct flow *flow, struct flow_request *request, struct sink *sink) {
    flow->request = request;
    flow->sink = sink;
    flow_run(flow);
}

/* Stops the attempt and books what it delivered. */
static void stop_attempt(struct flow *flow, enum outcome outcome) {
    flow->ops->cancel(&flow->attempt);
    flow_book_attempt(flow, outcome);
}

void flow_abort(struct flow *flow) {
    metric_add(&flow->gateway->env.metrics, METRIC_CLIENT_ABORTS, 1, 0, 0, 0);
    stop_attempt(flow, OUTCOME_CLIENT_GONE);
    flow->failure.status = 499; /* nginx's code for a client that closed the request */
    flow->step = STEP_AT_ANSWER + 1;
    flow_run(flow);
}

void gateway_abort_all(struct gateway *gateway) {
    while (gateway->active != NULL) {
        struct flow *flow = gateway->active;
        /* A flow under way waits for its attempt. (clang-tidy cannot see that flow_run takes a flow
         * out of the list before it drops it.) */
        ASSERT(flow->ops != NULL); /* NOLINT(clang-analyzer-unix.Malloc) */
        stop_attempt(flow, OUTCOME_SHUTDOWN);
        fail(flow, 503, "server_error", outcome_name(OUTCOME_SHUTDOWN),
             "the server is shutting down");
        flow->step = STEP_AT_ANSWER;
        flow_run(flow);
    }
}
