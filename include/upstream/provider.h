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

struct attempt;

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
    struct arena *arena; /* for the provider's state of this attempt */
    struct usage usage;  /* provider writes */
    int64_t billed_ns;   /* provider writes: upstream time that a time-based price is paid for */
    void *state;         /* provider's own */
};

struct provider_ops {
    const char *type; /* as the configuration says it */
    /* 0, or -1 without memory (no event follows). */
    int (*start)(struct attempt *attempt);
    /* Ends a started attempt before its last event; fills usage and billed_ns with what was
     * delivered so far. */
    void (*cancel)(struct attempt *attempt);
};

/* The implementation that serves this provider, NULL when this version has none for its type. */
const struct provider_ops *provider_ops_for(const struct conf_provider *provider);
/* Checks that every provider of a configuration can be served; adds one error line for each that
 * cannot. */
void provider_check(const struct conf *conf, struct conf_errors *errors);

#endif
