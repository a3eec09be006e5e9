/* The router: rules, then length or score, then fallbacks; or the provider that the client named.
 *
 * Pure; runs in workers, on misses only (a hit carries the reason it was stored with). Its one
 * surprise: a model_id keeps the decision but takes from the plan only providers which offer it.
 */
#include "gateway/route.h"

#include <stdio.h>

#include "base/text.h"
#include "upstream/provider.h"

struct decision {
    enum conf_target target;
    unsigned provider;
};

static bool rule_matches(const struct conf_rule *rule, struct bytes message) {
    if (rule->prefix != NULL) {
        return bytes_start_with(message, bytes_from_str(rule->prefix));
    }
    /* REG_STARTEND: the message is not terminated and may hold NUL bytes (regexec(3), glibc and
     * BSD) */
    regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)message.size};
    return regexec(&rule->regex, message.data != NULL ? message.data : "", 1, &range,
                   REG_STARTEND) == 0;
}

/* The first ROUTE_RULE_BYTES of the message, not cut inside a character. */
static struct bytes rule_window(struct bytes message) {
    if (message.size > ROUTE_RULE_BYTES) {
        message.size = ROUTE_RULE_BYTES;
        message.size = text_utf8_check(message);
    }
    return message;
}

static bool decide_by_rule(const struct conf_route *route, const struct chat *chat,
                           struct plan *plan, struct decision *decision) {
    struct bytes window = rule_window(chat->prompt);
    for (unsigned i = 0; i < route->rule_count; i++) {
        const struct conf_rule *rule = &route->rules[i];
        if (rule_matches(rule, window)) {
            *decision = (struct decision){rule->target, rule->provider};
            plan->reason_kind = ROUTE_BY_RULE;
            snprintf(plan->reason, sizeof(plan->reason), "rule:%s", rule->name);
            return true;
        }
    }
    return false;
}

static void decide_by_policy(const struct conf_route *route, const struct chat *chat,
                             struct plan *plan, struct decision *decision) {
    double value;
    if (route->policy == CONF_POLICY_LENGTH) {
        size_t length = text_utf8_length(chat->prompt);
        value = (double)length;
        plan->reason_kind = ROUTE_BY_LENGTH;
        snprintf(plan->reason, sizeof(plan->reason), "length:%zu", length);
    } else {
        struct score_input input = {.last_user = chat->prompt,
                                    .system_size = chat->system_size,
                                    .history_turns = chat->history_turns,
                                    .has_tools = chat->has_tools};
        struct score_result result;
        char words[SCORE_REASON_SIZE];
        score_prompt(&input, &result);
        score_reason(&result, words);
        value = result.score;
        plan->reason_kind = ROUTE_BY_SCORE;
        snprintf(plan->reason, sizeof(plan->reason), "%s", words);
    }
    decision->target = value > route->threshold ? CONF_TARGET_STRONG : CONF_TARGET_CHEAP;
}

/* Adds a provider once, with the model that is asked for; not when it does not offer it, or has no
 * such API. */
static void plan_add(struct plan *plan, const struct conf *conf, unsigned index, struct bytes model,
                     enum chat_form form) {
    const struct conf_provider *provider = &conf->providers[index];
    if (!provider_serves(provider, form)) {
        return;
    }
    plan->has_form = true;
    if (model.size == 0) {
        model = bytes_from_str(provider->default_model);
    }
    int found = conf_find_model(provider, model);
    if (found == -1 && !provider->allow_unlisted_models) {
        return;
    }
    for (unsigned i = 0; i < plan->count; i++) {
        if (plan->entry[i].provider == index) {
            return;
        }
    }
    unsigned at = found >= 0 ? (unsigned)found : provider->model_count;
    plan->entry[plan->count++] = (struct plan_entry){.provider = index, .model = at};
}

static void plan_route(const struct conf *conf, const struct route_request *request,
                       const struct chat *chat, struct plan *plan) {
    const struct conf_route *route = &conf->routes[request->route];
    struct decision decision = {CONF_TARGET_CHEAP, 0};
    if (!decide_by_rule(route, chat, plan, &decision)) {
        decide_by_policy(route, chat, plan, &decision);
    }
    unsigned first = decision.provider;
    plan->tier = TIER_PROVIDER;
    if (decision.target != CONF_TARGET_PROVIDER) {
        bool strong = decision.target == CONF_TARGET_STRONG;
        first = strong ? route->strong : route->cheap;
        plan->tier = strong ? TIER_STRONG : TIER_CHEAP;
    }
    plan_add(plan, conf, first, request->model, chat->form);
    for (unsigned i = 0; i < route->fallback_count; i++) {
        plan_add(plan, conf, route->fallback[i], request->model, chat->form);
    }
    if (plan->count == 0) {
        /* the model decides, or the API: whichever of the two tiers has it */
        plan_add(plan, conf, route->cheap, request->model, chat->form);
        plan_add(plan, conf, route->strong, request->model, chat->form);
        plan->tier = TIER_PROVIDER;
        plan->reason_kind = ROUTE_BY_MODEL;
        snprintf(plan->reason, sizeof(plan->reason), "model");
    }
}

void route_decide(const struct conf *conf, const struct route_request *request,
                  const struct chat *chat, struct plan *plan) {
    plan->count = 0;
    plan->has_form = false;
    if (request->provider >= 0) {
        plan->tier = TIER_PROVIDER;
        plan->reason_kind = request->model.size > 0 ? ROUTE_BY_MODEL : ROUTE_BY_PROVIDER;
        snprintf(plan->reason, sizeof(plan->reason), "%s",
                 request->model.size > 0 ? "model" : "provider");
        plan_add(plan, conf, (unsigned)request->provider, request->model, chat->form);
        return;
    }
    plan_route(conf, request, chat, plan);
}
