/* What a request cost and saved: the booking of its attempts. The steps are in flow.c. Runs in
 * workers.
 */
#include "gateway/cost.h"
#include "gateway_private.h"
#include "upstream/outcome.h"

static void add_cost(struct flow *flow, int64_t cost_nusd) {
    if (cost_nusd == COST_UNKNOWN || flow->cost_nusd == COST_UNKNOWN) {
        flow->cost_nusd = COST_UNKNOWN;
    } else if (__builtin_add_overflow(flow->cost_nusd, cost_nusd, &flow->cost_nusd)) {
        flow->cost_nusd = INT64_MAX;
    }
}

/* Is the attempt paid for? One that failed before its first content delivered nothing. */
static bool is_billed(const struct flow *flow, enum outcome outcome) {
    return outcome == OUTCOME_OK || outcome == OUTCOME_CLIENT_GONE ||
           outcome == OUTCOME_CLIENT_STALL || outcome == OUTCOME_SHUTDOWN || flow->content_sent;
}

static void add_tokens(const struct metrics *metrics, unsigned pair, const struct usage *usage) {
    const int64_t counts[TOKEN_TYPE_COUNT] = {
        [TOKEN_PROMPT] = usage->prompt_tokens,
        [TOKEN_COMPLETION] = usage->completion_tokens,
        [TOKEN_CACHED_PROMPT] = usage->cached_tokens,
        [TOKEN_REASONING] = usage->reasoning_tokens,
    };
    for (unsigned type = 0; type < TOKEN_TYPE_COUNT; type++) {
        if (counts[type] > 0) {
            metric_add(metrics, METRIC_TOKENS, (uint64_t)counts[type], pair, type, 0);
        }
    }
}

void flow_book_attempt(struct flow *flow, enum outcome outcome) {
    const struct metrics *metrics = &flow->gateway->env.metrics;
    const struct attempt *attempt = &flow->attempt;
    unsigned pair = flow_pair_index(flow);
    unsigned provider = flow_provider_index(flow);
    int64_t waited_ns = timers_now_ns(&flow->gateway->env.timers) - flow->attempt_started_ns;
    flow->ops = NULL;
    flow->outcome = outcome;
    flow->have_outcome = true;
    flow->answer.upstream_ns += waited_ns;
    metric_add(metrics, METRIC_LLM_REQUESTS, 1, pair, outcome, 0);
    metric_observe(metrics, METRIC_UPSTREAM_DURATION, waited_ns, provider, 0);
    if (outcome_rule(outcome)->is_error) {
        metric_add(metrics, METRIC_UPSTREAM_ERRORS, 1, provider, outcome, 0);
    }
    if (attempt->status != 0) {
        metric_add(metrics, METRIC_UPSTREAM_RESPONSES, 1, provider,
                   metrics_status_index(attempt->status), 0);
    }
    if (attempt->stale_sends > 0) {
        metric_add(metrics, METRIC_RETRIES, attempt->stale_sends, provider, OUTCOME_STALE, 0);
    }
    if (!is_billed(flow, outcome)) {
        return;
    }
    flow->answer.usage = attempt->usage;
    flow->have_usage = true;
    add_tokens(metrics, pair, &attempt->usage);
    if (attempt->usage_invalid) {
        metric_add(metrics, METRIC_USAGE_INVALID, 1, provider, 0, 0);
    }
    int64_t cost_nusd =
        cost_of_attempt(attempt->provider, attempt->model, &attempt->usage, attempt->billed_ns);
    if (cost_nusd == COST_UNKNOWN) {
        metric_add(metrics, METRIC_UNKNOWN_PRICE, 1, pair, 0, 0);
    } else {
        metric_add(metrics, METRIC_COST, (uint64_t)cost_nusd, pair, 0, 0);
    }
    add_cost(flow, cost_nusd);
}

int64_t flow_saved_by_routing(const struct flow *flow) {
    const struct conf *conf = flow->gateway->env.conf;
    if (flow->request->route.route < 0 || flow->cost_nusd == COST_UNKNOWN) {
        return 0;
    }
    const struct conf_route *route = &conf->routes[flow->request->route.route];
    const struct conf_provider *strong = &conf->providers[route->strong];
    int model = conf_find_model(strong, bytes_from_str(strong->default_model));
    if (strong == flow->attempt.provider || model == -1 || flow->strong_is_unable ||
        !provider_serves(strong, flow->request->chat.form)) {
        return 0;
    }
    int64_t strong_nusd = cost_of_attempt(strong, &strong->models[model], &flow->attempt.usage,
                                          flow->attempt.billed_ns);
    return strong_nusd != COST_UNKNOWN && strong_nusd > flow->cost_nusd
               ? strong_nusd - flow->cost_nusd
               : 0;
}
