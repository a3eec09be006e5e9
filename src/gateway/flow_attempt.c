/* From the plan to an answer: which provider may be asked now, asking it, and what follows when it
 * fails. What the client then hears is in flow_failure.c, the life of a request as a whole in
 * flow.c. Runs in workers.
 *
 * Its one surprise: after a wait for a retry the breaker is asked anew, like for any other attempt;
 * so a provider that everybody has given up meanwhile is not asked a third time.
 */
#include "gateway_private.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/retry.h"
#include "upstream/outcome.h"

#define REFUSAL_LOG_NS (60 * NS_PER_S)

static void on_event(struct attempt *attempt, const struct chat_event *event);
static void on_flush(struct attempt *attempt);
static void on_done(struct attempt *attempt);
static void on_failed(struct attempt *attempt, enum outcome outcome);

static const struct attempt_events attempt_events = {on_event, on_flush, on_done, on_failed};

/* -- admission --------------------------------------------------------------------------------- */

static void note_circuit(const struct flow *flow, enum metric_circuit to, const char *why,
                         int64_t open_ms) {
    const char *name = flow_provider(flow)->name;
    metric_add(&flow->gateway->env.metrics, METRIC_CIRCUIT_TRANSITIONS, 1,
               flow_provider_index(flow), to, 0);
    switch (to) {
    case CIRCUIT_OPEN:
        log_warn("provider %s: circuit open for %.1f s (%s)", name, (double)open_ms / 1000, why);
        break;
    case CIRCUIT_HALF_OPEN:
        log_info("provider %s: circuit half-open, one request tries it", name);
        break;
    default:
        log_info("provider %s: circuit closed (%s)", name, why);
    }
}

static enum breaker_report report_of(const struct attempt *attempt, enum outcome outcome) {
    switch (outcome_rule(outcome)->verdict) {
    case VERDICT_SUCCESS:
        return BREAKER_SUCCESS;
    case VERDICT_FAILURE:
        return flow_holds_off(attempt, outcome) ? BREAKER_HOLD_OFF : BREAKER_FAILURE;
    case VERDICT_ANSWERED:
        return BREAKER_ANSWERED;
    default:
        return BREAKER_UNKNOWN;
    }
}

/* Tells the breaker; `why` is the outcome's or another word for the log. */
static void report(struct flow *flow, enum breaker_report what, const char *why) {
    const struct gateway_env *env = &flow->gateway->env;
    unsigned index = flow_provider_index(flow);
    struct breaker_rules rules = breaker_rules_of(flow_provider(flow));
    struct breaker now_is;
    timers_cancel(&env->timers, flow->lease_timer);
    flow->lease_timer = NULL;
    flow->probes = false;
    if (!flow->has_ticket) {
        return;
    }
    switch (breaker_report(env->region, index, &rules, flow->ticket, what,
                           flow->attempt.retry_after_ms, &now_is)) {
    case BREAKER_STALE:
        flow->has_ticket = false;
        metric_add(&env->metrics, METRIC_STALE_REPORTS, 1, index, 0, 0);
        break;
    case BREAKER_MOVED:
        flow->ticket = now_is.generation;
        note_circuit(flow, now_is.state, why, now_is.deadline_ms - region_now_ms(env->region));
        break;
    default:
        break;
    }
}

/* A probe is about to lose its lease. Its own timeouts have not ended it, so it is in the middle of
 * an answer that takes long: the provider is back. Without this a provider whose answers all take
 * longer than a lease would never be let in again. */
static void on_lease(void *argument) {
    struct flow *flow = argument;
    flow->lease_timer = NULL;
    if (flow->attempt.provider->simulated || flow->attempt.status / 100 == 2) {
        report(flow, BREAKER_SUCCESS, "a long answer has begun");
    }
}

static void begin_probe(struct flow *flow, const struct breaker_rules *rules) {
    int64_t wait_ms = rules->lease_ms - BREAKER_LEASE_SLACK_MS;
    flow->probes = true;
    flow->lease_timer =
        timers_after(&flow->gateway->env.timers, wait_ms * NS_PER_MS, on_lease, flow);
    note_circuit(flow, CIRCUIT_HALF_OPEN, NULL, 0);
}

/* May the plan's provider be asked now? OUTCOME_OK: it has been entered and must be left. */
static enum outcome enter(struct flow *flow) {
    const struct gateway_env *env = &flow->gateway->env;
    const struct conf_provider *provider = flow_provider(flow);
    unsigned index = flow_provider_index(flow);
    if (!board_begin_attempt(env->region, env->slot, index, provider->max_concurrency)) {
        return OUTCOME_OVERLOADED;
    }
    flow->has_ticket = breaker_is_about(env->region, index, flow_gateway_provider(flow)->subject);
    if (!flow->has_ticket) {
        return OUTCOME_OK; /* a reload moves the provider: the word is of the other place */
    }
    struct breaker_rules rules = breaker_rules_of(provider);
    switch (breaker_admit(env->region, index, &rules, (unsigned)env->slot, &flow->ticket)) {
    case BREAKER_ALLOW:
        return OUTCOME_OK;
    case BREAKER_PROBE:
        begin_probe(flow, &rules);
        return OUTCOME_OK;
    default:
        board_end_attempt(env->region, env->slot, index);
        return OUTCOME_BREAKER_OPEN;
    }
}

/* The attempt is over: makes room and tells the breaker. */
static void leave(struct flow *flow, enum outcome outcome) {
    const struct gateway_env *env = &flow->gateway->env;
    board_end_attempt(env->region, env->slot, flow_provider_index(flow));
    char why[64];
    snprintf(why, sizeof(why), flow->attempt.status >= 300 ? "%s, status %d" : "%s",
             outcome_name(outcome), flow->attempt.status);
    report(flow, report_of(&flow->attempt, outcome), why);
}

/* -- choose ------------------------------------------------------------------------------------ */

/* The client is told of those who came first and did not answer. Without memory it is not. */
static void note_passed_over(struct flow *flow, enum outcome outcome) {
    struct bytes before = flow->answer.passed_over;
    struct bytes name = bytes_from_str(flow_provider(flow)->name);
    struct bytes reason = bytes_from_str(outcome_name(outcome));
    size_t size = before.size + name.size + reason.size + 3;
    char *text = arena_alloc(&flow->arena, size + 1);
    if (text != NULL) {
        int length = snprintf(text, size + 1, "%.*s%s%.*s:%.*s", (int)before.size,
                              before.size > 0 ? before.data : "", before.size > 0 ? ", " : "",
                              (int)name.size, name.data, (int)reason.size, reason.data);
        flow->answer.passed_over = bytes_make(text, (size_t)length);
    }
}

/* The next of the plan, if there is one. */
static void pass_on(struct flow *flow, enum outcome outcome) {
    note_passed_over(flow, outcome);
    if (flow->plan_at + 1 < flow->plan.count) {
        metric_add(&flow->gateway->env.metrics, METRIC_FALLBACKS, 1, flow_provider_index(flow),
                   outcome, 0);
    }
    flow->plan_at++;
    flow->tries = 0;
}

/* In the log at most once a minute for each provider. */
static bool is_due(const struct flow *flow, int64_t *logged_ns) {
    int64_t now_ns = timers_now_ns(&flow->gateway->env.timers);
    if (*logged_ns != 0 && now_ns - *logged_ns < REFUSAL_LOG_NS) {
        return false;
    }
    *logged_ns = now_ns;
    return true;
}

static void log_full(const struct flow *flow) {
    const struct conf_provider *provider = flow_provider(flow);
    if (is_due(flow, &flow_gateway_provider(flow)->full_logged_ns)) {
        log_warn("provider %s: max_concurrency (%lld) is reached: requests go to the next of their "
                 "plan, or hear 503",
                 provider->name, (long long)provider->max_concurrency);
    }
}

enum step_result flow_step_choose(struct flow *flow) {
    while (flow->plan_at < flow->plan.count) {
        enum outcome outcome = enter(flow);
        if (outcome == OUTCOME_OK) {
            return STEP_NEXT;
        }
        if (outcome == OUTCOME_OVERLOADED) {
            log_full(flow);
        }
        metric_add(&flow->gateway->env.metrics, METRIC_UPSTREAM_ERRORS, 1,
                   flow_provider_index(flow), outcome, 0);
        flow_note_failure(flow, outcome);
        pass_on(flow, outcome);
    }
    if (flow->failure_rank > 0 && flow->failure_outcome == OUTCOME_OVERLOADED) {
        metric_add(&flow->gateway->env.metrics, METRIC_SHED, 1, SHED_MAX_CONCURRENCY, 0, 0);
    }
    return STEP_ANSWER;
}

/* -- attempt ----------------------------------------------------------------------------------- */

/* The model of the plan's entry; an unlisted one is made for this request, under the label "other".
 */
static const struct conf_model *model_of(struct flow *flow) {
    const struct plan_entry *entry = &flow->plan.entry[flow->plan_at];
    const struct conf_provider *provider = flow_provider(flow);
    if (entry->model < provider->model_count) {
        return &provider->models[entry->model];
    }
    struct conf_model *model = arena_alloc(&flow->arena, sizeof(*model));
    if (model != NULL) {
        *model = (struct conf_model){.name = flow->request->route.model.data, /* NUL: keep_views */
                                     .label = FLOW_UNLISTED_LABEL,
                                     .input_nusd = CONF_PRICE_UNKNOWN,
                                     .output_nusd = CONF_PRICE_UNKNOWN,
                                     .cached_input_nusd = CONF_PRICE_UNKNOWN,
                                     .cache_write_nusd = CONF_PRICE_UNKNOWN,
                                     .cache_write_1h_nusd = CONF_PRICE_UNKNOWN};
    }
    return model;
}

/* A pause between two attempts is the provider's doing, so it counts as waiting for it. */
static void end_pause(struct flow *flow) {
    flow->retry_timer = NULL;
    flow->answer.upstream_ns += timers_now_ns(&flow->gateway->env.timers) - flow->retry_since_ns;
}

static void on_retry(void *argument) {
    struct flow *flow = argument;
    end_pause(flow);
    flow_continue(flow, STEP_CHOOSE);
}

/* splitmix64 (see prov_simulated.c): nothing depends on how good it is. */
static uint64_t draw(struct gateway *gateway) {
    uint64_t z = (gateway->random += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    return z ^ (z >> 31);
}

/* Is the same provider asked again, after a while? */
static bool try_again(struct flow *flow, enum outcome outcome) {
    const struct gateway_env *env = &flow->gateway->env;
    int64_t now_ns = timers_now_ns(&env->timers);
    unsigned index = flow_provider_index(flow);
    if (!outcome_rule(outcome)->retry || breaker_state(env->region, index) != CIRCUIT_CLOSED) {
        return false;
    }
    int64_t wait_ns = retry_wait_ns(flow_provider(flow), flow->tries, now_ns - flow->first_try_ns,
                                    draw(flow->gateway));
    if (wait_ns < 0) {
        return false;
    }
    flow->retry_timer = timers_after(&env->timers, wait_ns, on_retry, flow);
    flow->retry_since_ns = now_ns;
    return flow->retry_timer != NULL;
}

/* What only the operator can mend, and the circuit breaker never will; at most once a minute. */
static void log_refusal(const struct flow *flow, enum outcome outcome) {
    const struct conf_provider *provider = flow_provider(flow);
    int status = flow->attempt.status;
    bool not_there = outcome == OUTCOME_REJECTED && (status == 404 || status == 405);
    if ((outcome != OUTCOME_AUTH && !not_there) ||
        !is_due(flow, &flow_gateway_provider(flow)->refusal_logged_ns)) {
        return;
    }
    if (not_there) {
        const char *code = flow->attempt.code;
        log_warn("provider %s: status %d, code %s: is its url right, and does it have the model?",
                 provider->name, status, code[0] != '\0' ? code : "none");
    } else if (provider->api_key == NULL) {
        log_error("provider %s wants a key and has none (status %d)", provider->name, status);
    } else {
        log_error("provider %s does not accept our key or account (status %d)", provider->name,
                  status);
    }
}

/* An attempt has failed: the same provider again, the next one, or the end. */
static enum step_result after_failure(struct flow *flow, enum outcome outcome) {
    leave(flow, outcome);
    flow_note_failure(flow, outcome);
    log_refusal(flow, outcome);
    if (flow->content_sent) {
        return STEP_ANSWER;
    }
    if (try_again(flow, outcome)) {
        return STEP_WAIT;
    }
    pass_on(flow, outcome);
    return STEP_CHOOSE;
}

static void prepare(struct flow *flow, const struct conf_model *model) {
    const struct gateway_env *env = &flow->gateway->env;
    const struct conf_provider *provider = flow_provider(flow);
    int64_t now_ns = timers_now_ns(&env->timers);
    if (flow->tries++ == 0) {
        /* who has waited for another before is not to wait longer than if it had asked itself */
        bool has_waited = flow->waited_ns != 0 && flow->attempts == 0;
        flow->first_try_ns = has_waited ? flow->waited_ns : now_ns;
    } else {
        metric_add(&env->metrics, METRIC_RETRIES, 1, flow_provider_index(flow), flow->outcome, 0);
    }
    flow->attempts++;
    flow->attempt_started_ns = now_ns;
    flow->answer.provider = bytes_from_str(provider->name);
    flow->answer.model = bytes_from_str(model->label);
    flow->attempt = (struct attempt){
        .provider = provider,
        .model = model,
        .chat = &flow->request->chat,
        .events = &attempt_events,
        .user = flow,
        .timers = &env->timers,
        .upstream = env->upstream,
        .arena = &flow->arena,
        .deadline_ns = flow->first_try_ns + provider->total_timeout_ms * NS_PER_MS,
        .retry_after_ms = -1,
    };
}

enum step_result flow_step_attempt(struct flow *flow) {
    const struct conf_model *model = model_of(flow);
    flow->attempt = (struct attempt){.retry_after_ms = -1};
    flow_forget_events(flow);
    flight_forget_events(flow);
    if (flow->request->chat.wants_text && flow->request->chat.wants_stream) {
        buf_append_char(&flow->text, '"');
    }
    if (model == NULL || flow->text.failed) {
        return after_failure(flow, OUTCOME_NO_MEMORY);
    }
    prepare(flow, model);
    flow->ops = flow->gateway->env.provider_ops(flow->attempt.provider);
    enum outcome outcome = flow->ops->start(&flow->attempt);
    if (outcome != OUTCOME_OK) {
        flow_book_attempt(flow, outcome);
        return after_failure(flow, outcome);
    }
    return STEP_WAIT;
}

void flow_stop_attempt(struct flow *flow, enum outcome outcome) {
    if (flow->ops != NULL) {
        flow->ops->cancel(&flow->attempt);
        flow_book_attempt(flow, outcome);
        leave(flow, outcome);
        return;
    }
    timers_cancel(&flow->gateway->env.timers, flow->retry_timer);
    end_pause(flow);
    flow->outcome = outcome;
}

/* -- events of the provider ---------------------------------------------------------------- */

static void note_first_token(struct flow *flow) {
    const struct gateway_env *env = &flow->gateway->env;
    metric_observe(&env->metrics, METRIC_TIME_TO_FIRST_TOKEN,
                   timers_now_ns(&env->timers) - flow->attempt_started_ns,
                   flow_provider_index(flow), 0);
}

static void on_event(struct attempt *attempt, const struct chat_event *event) {
    struct flow *flow = attempt->user;
    if (event->is_content && !flow->content_sent) {
        note_first_token(flow);
        if (flow->probes) {
            /* A stream may go on for minutes: its first content proves that the provider is back.
             * What fails later counts like any other failure. */
            report(flow, BREAKER_SUCCESS, "a stream has begun");
        }
    }
    flow_tell(flow, event);
    flight_tell(flow, event);
}

static void on_flush(struct attempt *attempt) {
    struct flow *flow = attempt->user;
    flow_flush(flow);
    flight_flush(flow);
    flight_set_pace(flow, false);
}

static void on_done(struct attempt *attempt) {
    struct flow *flow = attempt->user;
    bool lost_last = flow->last.is_last && flow->last.data.data == NULL;
    if (flow->text.failed || flow->held.failed || lost_last) {
        on_failed(attempt, OUTCOME_NO_MEMORY);
        return;
    }
    if (flow->request->chat.wants_text && flow->was_streamed) {
        buf_append_char(&flow->text, '"');
    }
    if (!flow->content_sent) {
        note_first_token(flow);
    }
    flow_book_attempt(flow, OUTCOME_OK);
    leave(flow, OUTCOME_OK);
    flow_continue(flow, STEP_SETTLE);
}

static void on_failed(struct attempt *attempt, enum outcome outcome) {
    struct flow *flow = attempt->user;
    if (flow->was_paused && outcome == OUTCOME_TOTAL_TIMEOUT) {
        outcome = OUTCOME_CLIENT_STALL; /* the provider could have gone on */
    }
    flow_book_attempt(flow, outcome);
    flow_continue(flow, after_failure(flow, outcome));
}
