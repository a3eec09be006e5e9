/* What the client hears when nobody answers: one of the failures of the plan, in the words of the
 * table in upstream/outcome.c. What follows from a failure is in flow_attempt.c. Runs in workers.
 */
#include "gateway_private.h"

#include <stdio.h>

#include "upstream/outcome.h"

/* A plan may fail in several ways and the client hears of one: a refusal of its request tells more
 * than a broken provider, and that more than one that was not even asked; least does one that could
 * not be asked this, as long as there are others. */
enum failure_rank { RANK_NONE, RANK_UNABLE, RANK_NOT_ASKED, RANK_BROKEN, RANK_REFUSED };

static enum failure_rank rank_of(enum outcome outcome) {
    switch (outcome) {
    case OUTCOME_UNTRANSLATABLE:
        return RANK_UNABLE;
    case OUTCOME_BREAKER_OPEN:
    case OUTCOME_OVERLOADED:
        return RANK_NOT_ASKED;
    case OUTCOME_REJECTED:
    case OUTCOME_BAD_MODEL:
        return RANK_REFUSED;
    default:
        return RANK_BROKEN;
    }
}

static int seconds_of(int64_t ms) {
    int64_t seconds = ms < INT64_MAX - 999 ? (ms + 999) / 1000 : INT64_MAX / 1000;
    return seconds < 1 ? 1 : seconds < INT32_MAX ? (int)seconds : INT32_MAX;
}

/* The provider's own wish, where it is one that the breaker obeys. */
bool flow_holds_off(const struct attempt *attempt, enum outcome outcome) {
    return attempt->retry_after_ms > 0 && (outcome == OUTCOME_RATE_LIMITED ||
                                           (outcome == OUTCOME_HTTP_5XX && attempt->status == 503));
}

static int retry_after_s(const struct flow *flow, enum outcome outcome) {
    const struct conf_provider *provider = flow_provider(flow);
    if (outcome == OUTCOME_BREAKER_OPEN) {
        return seconds_of(breaker_wait_ms(flow->gateway->env.region, flow_provider_index(flow)));
    }
    if (rank_of(outcome) != RANK_NOT_ASKED && flow_holds_off(&flow->attempt, outcome)) {
        int64_t ms = flow->attempt.retry_after_ms;
        return seconds_of(ms < provider->breaker_max_open_ms ? ms : provider->breaker_max_open_ms);
    }
    return outcome_rule(outcome)->status == 503 ? 1 : 0;
}

static int client_status(const struct attempt *attempt, enum outcome outcome) {
    const struct outcome_rule *rule = outcome_rule(outcome);
    if (outcome == OUTCOME_HTTP_5XX && attempt->status == 504) {
        return 504;
    }
    if (outcome == OUTCOME_HTTP_5XX && flow_holds_off(attempt, outcome)) {
        return 503;
    }
    return rule->status != 0 ? rule->status : attempt->status;
}

static const char *type_of(enum outcome outcome) {
    return outcome == OUTCOME_NO_MEMORY || outcome == OUTCOME_SHUTDOWN ? "server_error"
           : outcome == OUTCOME_BAD_MODEL || outcome == OUTCOME_UNTRANSLATABLE
               ? "invalid_request_error"
               : "upstream_error";
}

/* The provider's own word for it, when it is a mere word; never its text. */
static const char *code_of(struct flow *flow, enum outcome outcome) {
    const struct outcome_rule *rule = outcome_rule(outcome);
    if (outcome == OUTCOME_REJECTED && flow->attempt.code[0] != '\0') {
        const char *code = arena_strdup(&flow->arena, flow->attempt.code);
        return code != NULL ? code : outcome_name(outcome);
    }
    return rule->code != NULL ? rule->code : outcome_name(outcome);
}

/* The place in the request, when that is what was wrong. */
static const char *param_of(struct flow *flow, enum outcome outcome) {
    bool has_place = outcome == OUTCOME_UNTRANSLATABLE && flow->attempt.refusal[0] != '\0';
    return has_place ? arena_strdup(&flow->arena, flow->attempt.refusal) : NULL;
}

static const char *message_of(struct flow *flow, enum outcome outcome) {
    char text[ATTEMPT_REFUSAL_SIZE + 256];
    if (outcome != OUTCOME_UNTRANSLATABLE || flow->attempt.refusal[0] == '\0') {
        return outcome_rule(outcome)->message;
    }
    snprintf(text, sizeof(text),
             "`%s` cannot be translated for provider %s, which has another API: leave it out, or "
             "ask a provider that speaks this one",
             flow->attempt.refusal, flow_provider(flow)->name);
    const char *message = arena_strdup(&flow->arena, text);
    return message != NULL ? message : outcome_rule(outcome)->message;
}

/* Of the plan's entry that is being tried. */
static const char *label_of(const struct flow *flow) {
    const struct conf_provider *provider = flow_provider(flow);
    unsigned model = flow->plan.entry[flow->plan_at].model;
    return model < provider->model_count ? provider->models[model].label : FLOW_UNLISTED_LABEL;
}

void flow_note_failure(struct flow *flow, enum outcome outcome) {
    enum failure_rank rank = rank_of(outcome);
    const struct conf *conf = flow->gateway->env.conf;
    int route = flow->request->route.route;
    if (outcome == OUTCOME_UNTRANSLATABLE && route >= 0 &&
        flow_provider(flow) == &conf->providers[conf->routes[route].strong]) {
        flow->strong_is_unable = true;
    }
    bool first_counts = rank == RANK_REFUSED || rank == RANK_UNABLE;
    if (rank < flow->failure_rank || (first_counts && flow->failure_rank == rank)) {
        return;
    }
    int wait_s = retry_after_s(flow, outcome);
    if (flow->failure_rank == RANK_NOT_ASKED && rank == RANK_NOT_ASKED &&
        flow->failure.retry_after_s < wait_s) {
        wait_s = flow->failure.retry_after_s; /* the soonest of them */
    }
    int status = client_status(&flow->attempt, outcome);
    /* what it says of a key that is ours is not for the client */
    int wish = rank == RANK_NOT_ASKED || outcome == OUTCOME_AUTH ? 0 : flow->attempt.should_retry;
    flow->failure_rank = rank;
    flow->failure_outcome = outcome;
    flow->failure = (struct failure){
        .status = status,
        .type = type_of(outcome),
        .code = code_of(flow, outcome),
        .message = message_of(flow, outcome),
        .retry_after_s = wait_s,
        .should_retry = wish != 0 ? wish > 0 : outcome_rule(outcome)->client_retry || status == 409,
        .retry_is_asked = wish > 0,
        .param = param_of(flow, outcome),
        .provider = bytes_from_str(flow_provider(flow)->name),
        .model = bytes_from_str(label_of(flow)),
    };
}
