/* route: where a request goes and why: rules first, then the route's policy; or what the client
 * named.
 *
 * A pure function from a configuration and a request to a plan: providers in the order in which
 * they are to be tried, with the reason in words. The flow walks the plan.
 */
#ifndef OPTIROUTE_GATEWAY_ROUTE_H
#define OPTIROUTE_GATEWAY_ROUTE_H

#include "conf/conf.h"
#include "gateway/score.h"
#include "upstream/chat.h"
#include "watch/metrics.h"

#define ROUTE_REASON_SIZE 80  /* bytes of the reason with its NUL */
#define ROUTE_RULE_BYTES 4096 /* of the last user message that rules look at */
#define PLAN_MAX_ENTRIES (2 + CONF_MAX_FALLBACKS)

/* What the client asked for. */
struct route_request {
    int route;          /* index, or -1 when a provider is named */
    int provider;       /* index, or -1 */
    struct bytes model; /* model_id, size 0: each provider's default */
};

struct plan_entry {
    unsigned provider; /* index in the configuration */
    unsigned
        model; /* index in the provider's models; model_count means an unlisted one ("other") */
};

struct plan {
    unsigned count; /* 0: no provider of the route offers the model, or the API */
    bool has_form;  /* somebody offers the API, if not the model */
    struct plan_entry entry[PLAN_MAX_ENTRIES];
    enum metric_tier tier;
    enum metric_route_reason reason_kind;
    char reason[ROUTE_REASON_SIZE]; /* printable ASCII, fit for a header: "score:0.73 math+
                                       reasoning+" */
};

void route_decide(const struct conf *conf, const struct route_request *request,
                  const struct chat *chat, struct plan *plan);

#endif
