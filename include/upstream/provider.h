/* provider: one way to ask models for an answer: a row in a table and one file (prov_*.c).
 *
 * The gateway starts an attempt and hears of it: of a stream, events (any number), each batch that
 * came together followed by one flush; then exactly one of done and failed; nothing after cancel.
 * done and failed never come from inside start, events may. Everything an attempt points to
 * outlives it.
 *
 * A stream that was asked for may come as a whole answer all the same (a provider that has no
 * streams): then there were no events, and done has it.
 */
#ifndef OPTIROUTE_UPSTREAM_PROVIDER_H
#define OPTIROUTE_UPSTREAM_PROVIDER_H

#include "base/arena.h"
#include "base/timers.h"
#include "conf/conf.h"
#include "upstream/chat.h"
#include "watch/metrics.h"

#define ATTEMPT_CODE_SIZE 64
#define ATTEMPT_REFUSAL_SIZE 96

struct attempt;
struct dialect;
struct upstream;

struct attempt_events {
    /* One event of a stream, in the form of the request. Does not cancel the attempt. */
    void (*event)(struct attempt *attempt, const struct chat_event *event);
    /* What came together has been told. Does not cancel the attempt either; may pause it. */
    void (*flush)(struct attempt *attempt);
    /* The answer is complete: answer, usage and billed_ns are final. What answer points to lives
     * until this returns. */
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
    struct chat_answer answer; /* of a stream without json */
    struct usage usage;
    bool usage_invalid;     /* the provider's own figures were missing or impossible */
    int64_t billed_ns;      /* upstream time that a time-based price is paid for, at least 0 */
    int status;             /* HTTP status of the answer, 0: there was none */
    int64_t retry_after_ms; /* the provider's wish, -1: none, or one that makes no sense */
    int should_retry;       /* and what its x-should-retry said: 1 true, -1 false, 0 nothing */
    unsigned stale_sends;   /* times the request was sent again on a fresh connection */
    /* a refused request: the provider's word for it, "" or [a-z0-9_] */
    char code[ATTEMPT_CODE_SIZE];
    /* OUTCOME_UNTRANSLATABLE: the place in the request that cannot be said, "" for all of it */
    char refusal[ATTEMPT_REFUSAL_SIZE];
    void *state; /* provider's own */
};

struct provider_ops {
    const char *type; /* as the configuration says it */
    /* OUTCOME_OK, or why there is no attempt (no event follows then). */
    enum outcome (*start)(struct attempt *attempt);
    /* Ends a started attempt before its last event; fills usage and billed_ns with what was
     * delivered so far. */
    void (*cancel)(struct attempt *attempt);
    /* Back-pressure: no more events until resume, but for a few that are on their way. NULL: the
     * answer is small. pause may be called from within flush, resume not. */
    void (*pause)(struct attempt *attempt);
    void (*resume)(struct attempt *attempt);
    const struct dialect *dialect; /* of HTTP providers, else NULL */
};

/* Can a request of this form be asked of the provider, in its own API or in another? */
bool provider_serves(const struct conf_provider *provider, enum chat_form form);
/* The implementation that serves this provider. */
const struct provider_ops *provider_ops_for(const struct conf_provider *provider);

#endif
