/* provider: one way to ask models for an answer: a row in a table and one file (prov_*.c).
 *
 * The gateway starts an attempt and hears of it through three events, in this order: piece (any
 * number), then exactly one of done and failed; none after cancel. Events never come from inside
 * start. Everything an attempt points to outlives it.
 */
#ifndef OPTIROUTE_UPSTREAM_PROVIDER_H
#define OPTIROUTE_UPSTREAM_PROVIDER_H

#include "base/arena.h"
#include "base/timers.h"
#include "conf/conf.h"
#include "upstream/chat.h"
#include "watch/metrics.h"

#define ATTEMPT_CODE_SIZE 64

struct attempt;
struct dialect;
struct upstream;

struct attempt_events {
    /* Text of the answer, whole UTF-8 characters, in order. Does not cancel the attempt. */
    void (*piece)(struct attempt *attempt, struct bytes text);
    /* The answer is complete: attempt->usage and attempt->billed_ns are final. */
    void (*done)(struct attempt *attempt);
    /* There will be no (more of the) answer: usage and billed_ns say what was delivered. */
    void (*failed)(struct attempt *attempt, enum outcome outcome);
};

struct attempt {
    const struct conf_provider *provider;
    const struct conf_model *model;
    const struct chat *chat;
    const struct attempt_events *events;
    void *user; /* the gateway's */
    const struct timers *timers;
    struct upstream *upstream; /* connections of this worker; NULL where nothing is remote */
    struct arena *arena;       /* for the provider's state of this attempt */
    int64_t deadline_ns;       /* monotonic; the attempt ends before, INT64_MAX: its own timeouts */
    /* the rest is the provider's to write */
    struct usage usage;
    bool usage_invalid;           /* the provider's own figures were missing or impossible */
    int64_t billed_ns;            /* upstream time that a time-based price is paid for */
    int status;                   /* HTTP status of the answer, 0: there was none */
    int64_t retry_after_ms;       /* the provider's wish, -1: none, or one that makes no sense */
    unsigned stale_sends;         /* times the request was sent again on a fresh connection */
    char code[ATTEMPT_CODE_SIZE]; /* a refused request: the provider's word for it, "" or [a-z0-9_]
                                   */
    void *state;                  /* provider's own */
};

struct provider_ops {
    const char *type; /* as the configuration says it */
    /* OUTCOME_OK, or why there is no attempt (no event follows then). */
    enum outcome (*start)(struct attempt *attempt);
    /* Ends a started attempt before its last event; fills usage and billed_ns with what was
     * delivered so far. */
    void (*cancel)(struct attempt *attempt);
    const struct dialect *dialect; /* of HTTP providers, else NULL */
};

/* The implementation that serves this provider. */
const struct provider_ops *provider_ops_for(const struct conf_provider *provider);

#endif
