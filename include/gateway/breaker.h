/* breaker: a circuit breaker per provider for the whole machine, in one 64-bit word of the region.
 *
 * After `failures` failures in a row the circuit opens: the provider is
 * skipped for `open`; then one request goes through as a probe and decides. All workers share the
 * word (shm/word.h); a transition is one compare-and-swap, so a process killed at any instruction
 * leaves a whole state.
 *
 *     63   62 61            50 49       42 41                              0
 *     | state | generation    | fails      | deadline, ms of region time    |
 *
 *              failures in a row                      deadline over, one wins
 *     CLOSED --------------------------> OPEN{until} -------------------------> HALF_OPEN{lease}
 *       ^  \----- Retry-After ---------->  ^   ^                                 |  |  |
 *       |                                  |   +--- failure, Retry-After --------+  |  |
 *       |                                  +------- proves nothing: until = now ----+  |
 *       +------------------------------------------ success, or any answer ------------+
 *
 * In CLOSED `fails` counts failures in a row; in HALF_OPEN it is the slot of the process that
 * probes (BREAKER_NOBODY when that died), so the master can end the lease of a dead one. A lease
 * that ran out is renewed by whoever asks next. Every transition, a renewed lease included, raises
 * the generation; a report with another generation, or in OPEN, is stale and changes nothing.
 *
 * Time is region time, so the word survives reloads, upgrades and jumps of the wall clock.
 */
#ifndef OPTIROUTE_GATEWAY_BREAKER_H
#define OPTIROUTE_GATEWAY_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "shm/region.h"
#include "watch/labels.h"
#include "watch/metrics.h"

#define BREAKER_NOBODY 255u         /* prober of a lease whose owner died */
#define BREAKER_GENERATIONS 4096u   /* they wrap */
#define BREAKER_LEASE_SLACK_MS 1000 /* of a lease, past the probe's own timeouts */

/* The word in parts. */
struct breaker {
    enum metric_circuit state;
    unsigned generation; /* 0 .. BREAKER_GENERATIONS - 1 */
    unsigned fails;      /* CLOSED: failures in a row; HALF_OPEN: slot of the prober */
    int64_t deadline_ms; /* OPEN: first probe; HALF_OPEN: end of the lease; CLOSED: 0 */
};
struct breaker breaker_unpack(uint64_t word);
uint64_t breaker_pack(const struct breaker *breaker);

/* What a provider's configuration says. */
struct breaker_rules {
    unsigned failures; /* 1 .. 255 */
    int64_t open_ms, max_open_ms;
    int64_t lease_ms; /* connect + first_byte + slack: by then a probe has answered, or is stuck */
};
struct breaker_rules breaker_rules_of(const struct conf_provider *provider);

enum breaker_answer {
    BREAKER_REJECT, /* skip the provider */
    BREAKER_ALLOW,
    BREAKER_PROBE /* allowed, and the next state of the circuit depends on it */
};

/* How an attempt ended, as far as the circuit is concerned. */
enum breaker_report {
    BREAKER_SUCCESS,
    BREAKER_FAILURE,
    BREAKER_ANSWERED, /* neutral, but it proves that the provider answers: a 4xx */
    BREAKER_UNKNOWN,  /* neutral and proves nothing: the client left, we had no resources */
    BREAKER_HOLD_OFF  /* the provider said for how long (Retry-After) */
};

enum breaker_effect {
    BREAKER_STALE, /* of another generation, or in OPEN: nothing changed */
    BREAKER_KEPT,  /* no transition (a count of failures may have changed) */
    BREAKER_MOVED  /* a transition */
};

/* -- pure steps: what to do with the word as it was read. *next is what it must be swapped for
 *    before the answer counts; when that is the word itself there is nothing to swap. */
enum breaker_answer breaker_admit_step(uint64_t word, const struct breaker_rules *rules,
                                       unsigned slot, int64_t now_ms, uint64_t *next);
/* ticket: the generation that breaker_admit gave. hold_off_ms: for BREAKER_HOLD_OFF, at least 0. */
enum breaker_effect breaker_report_step(uint64_t word, const struct breaker_rules *rules,
                                        unsigned ticket, enum breaker_report report,
                                        int64_t hold_off_ms, int64_t now_ms, uint64_t *next);
/* The process of this slot is dead: true when it held a lease, which ends now. */
bool breaker_bury_step(uint64_t word, unsigned slot, int64_t now_ms, uint64_t *next);

/* -- on the region's word. provider: index in the name table. */

/* *ticket is for the report; every allowed attempt is reported. */
enum breaker_answer breaker_admit(struct region *region, unsigned provider,
                                  const struct breaker_rules *rules, unsigned slot,
                                  unsigned *ticket);
/* *now_is: the word after it. */
enum breaker_effect breaker_report(struct region *region, unsigned provider,
                                   const struct breaker_rules *rules, unsigned ticket,
                                   enum breaker_report report, int64_t hold_off_ms,
                                   struct breaker *now_is);
/* Master, when it has reaped the owner of a slot and before somebody else gets it: ends the leases
 * that it held. */
void breaker_bury(struct region *region, unsigned slot);
/* Whose failures a word counts: a hash of what the provider is and of its address, never 0. */
uint64_t breaker_subject(const struct conf_provider *provider);
/* Is the word about this subject? During a reload two generations of workers may mean two addresses
 * by one name; those whom the word is not about neither obey nor change it. */
bool breaker_is_about(const struct region *region, unsigned provider, uint64_t subject);
/* Master, when a configuration takes over: providers that are new, or have moved to another
 * address, begin with a closed circuit, and so would those that are gone; all others keep theirs.
 */
void breaker_bind(struct region *region, const struct conf *conf, const struct labels *labels);
/* Master, at boot, over a region that an earlier daemon left: its probes are dead, and a deadline
 * further away than this configuration could set is damage or of another one, so the next who asks
 * is the probe. Nothing for a new region. */
void breaker_resume(struct region *region, const struct conf *conf, const struct labels *labels);
/* For the metrics. */
enum metric_circuit breaker_state(const struct region *region, unsigned provider);
/* Milliseconds until it is worth asking again, 0 when the provider may be asked now. While a probe
 * is under way that is a second at most: it may end at any time. */
int64_t breaker_wait_ms(const struct region *region, unsigned provider);

#endif
