/* The circuit breaker: pure steps over a word, and the loops that swap it. See the header for the
 * picture. Runs in workers (admit, report) and in the master (bury, bind).
 *
 * Its one surprise: nobody ever waits for the time to pass. An OPEN word stays as it is after its
 * deadline until somebody asks, and then one of those who ask becomes the probe.
 */
#include "gateway/breaker.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/panic.h"
#include "shm/names.h"
#include "shm/word.h"

#define DEADLINE_BITS 42
#define FAILS_BITS 8
#define GENERATION_BITS 12
#define FAILS_AT DEADLINE_BITS
#define GENERATION_AT (FAILS_AT + FAILS_BITS)
#define STATE_AT (GENERATION_AT + GENERATION_BITS)
#define DEADLINE_MAX ((INT64_C(1) << DEADLINE_BITS) - 1) /* 139 years */
#define PROBE_WAIT_MS 1000 /* what others are told to wait while a probe is under way */

_Static_assert(BREAKER_GENERATIONS == 1u << GENERATION_BITS, "the header says how many there are");
_Static_assert(REGION_SLOTS <= BREAKER_NOBODY, "a slot fits where failures are counted");

struct breaker breaker_unpack(uint64_t word) {
    struct breaker breaker = {
        .state = (enum metric_circuit)(word >> STATE_AT),
        .generation = (unsigned)(word >> GENERATION_AT) & (BREAKER_GENERATIONS - 1),
        .fails = (unsigned)(word >> FAILS_AT) & ((1u << FAILS_BITS) - 1),
        .deadline_ms = (int64_t)(word & (uint64_t)DEADLINE_MAX),
    };
    if (breaker.state >=
        CIRCUIT_COUNT) { /* no word of ours: damaged memory must not stop traffic */
        breaker.state = CIRCUIT_CLOSED;
    }
    return breaker;
}

uint64_t breaker_pack(const struct breaker *breaker) {
    int64_t deadline_ms = breaker->deadline_ms < DEADLINE_MAX ? breaker->deadline_ms : DEADLINE_MAX;
    return (uint64_t)breaker->state << STATE_AT |
           (uint64_t)(breaker->generation % BREAKER_GENERATIONS) << GENERATION_AT |
           (uint64_t)breaker->fails << FAILS_AT | (uint64_t)(deadline_ms > 0 ? deadline_ms : 0);
}

struct breaker_rules breaker_rules_of(const struct conf_provider *provider) {
    return (struct breaker_rules){
        .failures = (unsigned)provider->breaker_failures,
        .open_ms = provider->breaker_open_ms,
        .max_open_ms = provider->breaker_max_open_ms,
        .lease_ms =
            provider->connect_timeout_ms + provider->first_byte_timeout_ms + BREAKER_LEASE_SLACK_MS,
    };
}

/* -- pure steps ----------------------------------------------------------------------------- */

/* The one place where a state changes. */
static uint64_t move(const struct breaker *from, enum metric_circuit to, unsigned fails,
                     int64_t deadline_ms) {
    struct breaker breaker = {.state = to,
                              .generation = from->generation + 1,
                              .fails = fails,
                              .deadline_ms = deadline_ms};
    return breaker_pack(&breaker);
}

static uint64_t open_for(const struct breaker *from, const struct breaker_rules *rules,
                         int64_t wanted_ms, int64_t now_ms) {
    int64_t open_ms = wanted_ms < rules->max_open_ms ? wanted_ms : rules->max_open_ms;
    return move(from, CIRCUIT_OPEN, 0, now_ms + open_ms);
}

enum breaker_answer breaker_admit_step(uint64_t word, const struct breaker_rules *rules,
                                       unsigned slot, int64_t now_ms, uint64_t *next) {
    struct breaker breaker = breaker_unpack(word);
    *next = word;
    if (breaker.state == CIRCUIT_CLOSED) {
        return BREAKER_ALLOW;
    }
    if (now_ms < breaker.deadline_ms) {
        return BREAKER_REJECT;
    }
    *next = move(&breaker, CIRCUIT_HALF_OPEN, slot, now_ms + rules->lease_ms);
    return BREAKER_PROBE;
}

static enum breaker_effect report_closed(uint64_t word, const struct breaker_rules *rules,
                                         enum breaker_report report, int64_t now_ms,
                                         uint64_t *next) {
    struct breaker breaker = breaker_unpack(word);
    if (report == BREAKER_SUCCESS) {
        breaker.fails = 0;
    } else if (report == BREAKER_FAILURE) {
        if (breaker.fails + 1 >= rules->failures) {
            *next = open_for(&breaker, rules, rules->open_ms, now_ms);
            return BREAKER_MOVED;
        }
        breaker.fails++;
    }
    *next = breaker_pack(&breaker);
    return BREAKER_KEPT;
}

static enum breaker_effect report_probe(const struct breaker *breaker,
                                        const struct breaker_rules *rules,
                                        enum breaker_report report, int64_t now_ms,
                                        uint64_t *next) {
    switch (report) {
    case BREAKER_SUCCESS:
    case BREAKER_ANSWERED:
        *next = move(breaker, CIRCUIT_CLOSED, 0, 0);
        break;
    case BREAKER_FAILURE:
        *next = open_for(breaker, rules, rules->open_ms, now_ms);
        break;
    default: /* UNKNOWN: the next one who asks is the probe */
        *next = move(breaker, CIRCUIT_OPEN, 0, now_ms);
        break;
    }
    return BREAKER_MOVED;
}

enum breaker_effect breaker_report_step(uint64_t word, const struct breaker_rules *rules,
                                        unsigned ticket, enum breaker_report report,
                                        int64_t hold_off_ms, int64_t now_ms, uint64_t *next) {
    struct breaker breaker = breaker_unpack(word);
    *next = word;
    if (breaker.state == CIRCUIT_OPEN || breaker.generation != ticket) {
        return BREAKER_STALE;
    }
    if (report == BREAKER_HOLD_OFF) {
        *next = open_for(&breaker, rules, hold_off_ms, now_ms);
        return BREAKER_MOVED;
    }
    return breaker.state == CIRCUIT_CLOSED ? report_closed(word, rules, report, now_ms, next)
                                           : report_probe(&breaker, rules, report, now_ms, next);
}

bool breaker_bury_step(uint64_t word, unsigned slot, int64_t now_ms, uint64_t *next) {
    struct breaker breaker = breaker_unpack(word);
    *next = word;
    if (breaker.state != CIRCUIT_HALF_OPEN || breaker.fails != slot) {
        return false;
    }
    *next = move(&breaker, CIRCUIT_HALF_OPEN, BREAKER_NOBODY, now_ms);
    return true;
}

/* -- on the region's word ------------------------------------------------------------------- */

enum breaker_answer breaker_admit(struct region *region, unsigned provider,
                                  const struct breaker_rules *rules, unsigned slot,
                                  unsigned *ticket) {
    ASSERT(slot < REGION_SLOTS);
    uint64_t word = word_load(region, provider), next;
    enum breaker_answer answer;
    do { /* ends: each failed swap means that somebody else made a step */
        answer = breaker_admit_step(word, rules, slot, region_now_ms(region), &next);
    } while (next != word && !word_cas(region, provider, &word, next));
    *ticket = breaker_unpack(next).generation;
    return answer;
}

enum breaker_effect breaker_report(struct region *region, unsigned provider,
                                   const struct breaker_rules *rules, unsigned ticket,
                                   enum breaker_report report, int64_t hold_off_ms,
                                   struct breaker *now_is) {
    uint64_t word = word_load(region, provider), next;
    enum breaker_effect effect;
    do {
        effect = breaker_report_step(word, rules, ticket, report, hold_off_ms,
                                     region_now_ms(region), &next);
    } while (next != word && !word_cas(region, provider, &word, next));
    *now_is = breaker_unpack(next);
    return effect;
}

void breaker_bury(struct region *region, unsigned slot) {
    for (unsigned provider = 0; provider < REGION_PROVIDERS; provider++) {
        uint64_t word = word_load(region, provider), next;
        while (breaker_bury_step(word, slot, region_now_ms(region), &next) &&
               !word_cas(region, provider, &word, next)) {
            continue;
        }
    }
}

/* 0 means that nobody has bound the word yet. */
uint64_t breaker_subject(const struct conf_provider *provider) {
    uint64_t kind = provider->simulated ? CONF_SIMULATED : (uint64_t)provider->type;
    return hash64(provider->url, strlen(provider->url), kind) | 1;
}

bool breaker_is_about(const struct region *region, unsigned provider, uint64_t subject) {
    return word_subject(region, provider) == subject;
}

void breaker_bind(struct region *region, const struct conf *conf, const struct labels *labels) {
    uint64_t subjects[REGION_PROVIDERS] = {0}; /* 0 for those that the configuration lacks */
    for (unsigned i = 0; i < conf->provider_count; i++) {
        subjects[labels->provider[i]] = breaker_subject(&conf->providers[i]);
    }
    for (unsigned provider = 0; provider < REGION_PROVIDERS; provider++) {
        uint64_t subject = subjects[provider];
        if (word_subject(region, provider) == subject) {
            continue;
        }
        uint64_t word = word_load(region, provider), next;
        struct breaker before;
        do { /* the generation goes on, so reports from the old place are stale */
            before = breaker_unpack(word);
            next = move(&before, CIRCUIT_CLOSED, 0, 0);
        } while (!word_cas(region, provider, &word, next));
        if (before.state != CIRCUIT_CLOSED) {
            log_info("provider %s: circuit closed (its place has changed)",
                     names_get(region, NAMES_PROVIDER, (int)provider));
        }
        word_set_subject(region, provider, subject);
    }
}

static void cut_deadline(struct region *region, unsigned provider,
                         const struct breaker_rules *rules) {
    int64_t now_ms = region_now_ms(region);
    int64_t longest_ms =
        rules->max_open_ms > rules->lease_ms ? rules->max_open_ms : rules->lease_ms;
    uint64_t word = word_load(region, provider);
    struct breaker breaker = breaker_unpack(word);
    if (breaker.state != CIRCUIT_CLOSED && breaker.deadline_ms - now_ms > longest_ms) {
        /* Nobody else is there yet. */
        (void)word_cas(region, provider, &word, move(&breaker, CIRCUIT_OPEN, 0, now_ms));
    }
}

void breaker_resume(struct region *region, const struct conf *conf, const struct labels *labels) {
    for (unsigned slot = 0; slot < REGION_SLOTS; slot++) {
        breaker_bury(region, slot);
    }
    for (unsigned i = 0; i < conf->provider_count; i++) {
        struct breaker_rules rules = breaker_rules_of(&conf->providers[i]);
        cut_deadline(region, labels->provider[i], &rules);
    }
}

enum metric_circuit breaker_state(const struct region *region, unsigned provider) {
    return breaker_unpack(word_load(region, provider)).state;
}

int64_t breaker_wait_ms(const struct region *region, unsigned provider) {
    struct breaker breaker = breaker_unpack(word_load(region, provider));
    int64_t wait_ms = breaker.deadline_ms - region_now_ms(region);
    if (breaker.state == CIRCUIT_HALF_OPEN && wait_ms > PROBE_WAIT_MS) {
        return PROBE_WAIT_MS;
    }
    return breaker.state != CIRCUIT_CLOSED && wait_ms > 0 ? wait_ms : 0;
}
