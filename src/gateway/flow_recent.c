/* What is remembered of a request that ended: who is to be thanked for what it saved, and its row
 * in the list of recent requests. Runs in workers, once a request; allocates nothing.
 */
#include "gateway/cost.h"
#include "gateway_private.h"
#include "shm/history.h"

/* Of the configuration, or of an earlier one: a cached answer may be of a provider that is gone. */
static int provider_index(const struct gateway_env *env, struct bytes name) {
    int provider = conf_find_provider(env->conf, name);
    char terminated[REGION_NAME_SIZE] = "";
    if (provider >= 0) {
        return env->labels->provider[provider];
    }
    history_set_text(terminated, sizeof(terminated), name);
    return names_find(env->region, NAMES_PROVIDER, terminated);
}

static void count_saved(const struct gateway_env *env, const struct answer *answer) {
    static const enum metric_saved_reason reasons[] = {
        [ANSWER_MISS] = SAVED_ROUTING,
        [ANSWER_HIT] = SAVED_CACHE,
        [ANSWER_COALESCED] = SAVED_COALESCED,
        [ANSWER_BYPASS] = SAVED_ROUTING,
    };
    int provider = answer->saved_nusd > 0 ? provider_index(env, answer->provider) : -1;
    if (provider >= 0) {
        metric_add(&env->metrics, METRIC_PROVIDER_SAVED, (uint64_t)answer->saved_nusd,
                   (unsigned)provider, reasons[answer->cache], 0);
    }
}

void flow_remember(const struct flow *flow, int64_t now_ns) {
    const struct gateway_env *env = &flow->gateway->env;
    const struct answer *answer = &flow->answer;
    const struct flow_request *request = flow->request;
    bool of_failed = flow->failure.status != 0 && flow->failure_rank > 0;
    enum outcome outcome = of_failed ? flow->failure_outcome : flow->outcome;
    unsigned outcome_byte = of_failed || flow->have_outcome ? (unsigned)outcome + 1 : 0;
    unsigned flags = (request->chat.wants_stream ? HISTORY_STREAMED : 0) |
                     (flow->have_usage ? HISTORY_HAS_USAGE : 0) |
                     (answer->usage.estimated ? HISTORY_ESTIMATED : 0);
    struct history_request row = {
        .at_ms = gateway_region_ms(flow->gateway, now_ns),
        .duration_ns = now_ns - request->started_ns,
        .cost_nusd = flow_has_cost(flow) ? flow->cost_nusd : HISTORY_COST_UNKNOWN,
        .saved_nusd = answer->saved_nusd,
        .prompt_tokens = answer->usage.prompt_tokens,
        .completion_tokens = answer->usage.completion_tokens,
        .status = (uint16_t)flow_status(flow),
        .endpoint = (uint8_t)request->endpoint,
        .cache = (uint8_t)(answer->cache + 1),
        .outcome = (uint8_t)outcome_byte,
        .attempts = (uint8_t)(flow->attempts < UINT8_MAX ? flow->attempts : UINT8_MAX),
        .flags = (uint8_t)flags,
    };
    if (request->route.route >= 0) {
        const char *route = env->conf->routes[request->route.route].name;
        history_set_text(row.route, sizeof(row.route), bytes_from_str(route));
    }
    history_set_text(row.provider, sizeof(row.provider),
                     of_failed ? flow->failure.provider : answer->provider);
    history_set_text(row.model, sizeof(row.model), of_failed ? flow->failure.model : answer->model);
    history_set_text(row.reason, sizeof(row.reason), answer->reason);
    count_saved(env, answer);
    history_add(env->region, env->slot, &row);
}
