/* outcome: what each way an attempt can end means: for the client, for a second try at the same
 * provider, and for its circuit breaker.
 *
 * One table; doc/providers.md shows it. The words that clients and metrics see are outcome_name
 * (watch/metrics.h).
 */
#ifndef OPTIROUTE_UPSTREAM_OUTCOME_H
#define OPTIROUTE_UPSTREAM_OUTCOME_H

#include <stdbool.h>

#include "watch/metrics.h"

/* What the circuit breaker makes of it. */
enum outcome_verdict {
    VERDICT_SUCCESS,
    VERDICT_FAILURE,
    VERDICT_ANSWERED, /* neutral: the provider is alive and would not do this */
    VERDICT_UNKNOWN   /* neutral: it says nothing about the provider */
};

struct outcome_rule {
    int status; /* for the client when there is no fallback; 0: as the provider's own status says */
    enum outcome_verdict verdict;
    bool is_error;     /* counted in llm_upstream_errors_total */
    bool retry;        /* trying the same provider again may help */
    bool client_retry; /* so may the client's trying again later */
    const char *code;  /* for the client; NULL: the outcome's name */
    const char *message;
};

const struct outcome_rule *outcome_rule(enum outcome outcome);

#endif
