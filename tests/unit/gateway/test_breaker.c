/* The circuit breaker: its rules step by step, the promises B1, B2, B5, B6, B7 and B8 of
 * RELIABILITY section 2 on a real word, and B10: every interleaving of three processes.
 */
#include "config.h"

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/shm/region_layout.h"
#include "gateway/breaker.h"
#include "shm/names.h"
#include "shm/word.h"
#include "still_clock.h"

static const struct breaker_rules rules = {
    .failures = 3, .open_ms = 30000, .max_open_ms = 300000, .lease_ms = 34000};

/* -- single steps ----------------------------------------------------------------------------- */

START_TEST(packing_keeps_every_part) {
    static const struct breaker rows[] = {
        {CIRCUIT_CLOSED, 0, 0, 0},
        {CIRCUIT_CLOSED, 4095, 254, 0},
        {CIRCUIT_HALF_OPEN, 17, 127, 1},
        {CIRCUIT_OPEN, 2048, 0, (INT64_C(1) << 42) - 1},
    };
    ck_assert_uint_eq(breaker_pack(&rows[0]), 0); /* a fresh region is closed circuits */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct breaker got = breaker_unpack(breaker_pack(&rows[i]));
        ck_assert_int_eq(got.state, rows[i].state);
        ck_assert_uint_eq(got.generation, rows[i].generation);
        ck_assert_uint_eq(got.fails, rows[i].fails);
        ck_assert_int_eq(got.deadline_ms, rows[i].deadline_ms);
    }
    struct breaker far = {.state = CIRCUIT_OPEN, .deadline_ms = INT64_MAX};
    ck_assert_int_eq(breaker_unpack(breaker_pack(&far)).deadline_ms, (INT64_C(1) << 42) - 1);
    ck_assert_int_eq(breaker_unpack(UINT64_MAX).state, CIRCUIT_CLOSED); /* no word of ours */
}
END_TEST

static uint64_t word_of(enum metric_circuit state, unsigned generation, unsigned fails,
                        int64_t deadline_ms) {
    struct breaker breaker = {state, generation, fails, deadline_ms};
    return breaker_pack(&breaker);
}

START_TEST(admission_row_by_row) {
    static const struct {
        struct breaker before;
        int64_t now_ms;
        enum breaker_answer answer;
        struct breaker after;
    } rows[] = {
        {{CIRCUIT_CLOSED, 5, 2, 0}, 1000, BREAKER_ALLOW, {CIRCUIT_CLOSED, 5, 2, 0}},
        {{CIRCUIT_OPEN, 5, 0, 1001}, 1000, BREAKER_REJECT, {CIRCUIT_OPEN, 5, 0, 1001}},
        {{CIRCUIT_OPEN, 5, 0, 1000}, 1000, BREAKER_PROBE, {CIRCUIT_HALF_OPEN, 6, 9, 35000}},
        {{CIRCUIT_HALF_OPEN, 5, 3, 1001}, 1000, BREAKER_REJECT, {CIRCUIT_HALF_OPEN, 5, 3, 1001}},
        {{CIRCUIT_HALF_OPEN, 5, 3, 1000}, 1000, BREAKER_PROBE, {CIRCUIT_HALF_OPEN, 6, 9, 35000}},
        {{CIRCUIT_OPEN, 4095, 0, 0}, 0, BREAKER_PROBE, {CIRCUIT_HALF_OPEN, 0, 9, 34000}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t next;
        ck_assert_int_eq(
            breaker_admit_step(breaker_pack(&rows[i].before), &rules, 9, rows[i].now_ms, &next),
            rows[i].answer);
        ck_assert_msg(next == breaker_pack(&rows[i].after), "row %zu", i);
    }
}
END_TEST

START_TEST(reports_row_by_row) {
    static const struct {
        struct breaker before;
        unsigned ticket;
        enum breaker_report report;
        int64_t hold_off_ms;
        enum breaker_effect effect;
        struct breaker after;
    } rows[] = {
        {{CIRCUIT_CLOSED, 5, 2, 0},
         5,
         BREAKER_SUCCESS,
         -1,
         BREAKER_KEPT,
         {CIRCUIT_CLOSED, 5, 0, 0}},
        {{CIRCUIT_CLOSED, 5, 1, 0},
         5,
         BREAKER_FAILURE,
         -1,
         BREAKER_KEPT,
         {CIRCUIT_CLOSED, 5, 2, 0}},
        {{CIRCUIT_CLOSED, 5, 2, 0},
         5,
         BREAKER_FAILURE,
         -1,
         BREAKER_MOVED,
         {CIRCUIT_OPEN, 6, 0, 31000}},
        {{CIRCUIT_CLOSED, 5, 2, 0},
         5,
         BREAKER_ANSWERED,
         -1,
         BREAKER_KEPT,
         {CIRCUIT_CLOSED, 5, 2, 0}},
        {{CIRCUIT_CLOSED, 5, 2, 0},
         5,
         BREAKER_UNKNOWN,
         -1,
         BREAKER_KEPT,
         {CIRCUIT_CLOSED, 5, 2, 0}},
        {{CIRCUIT_CLOSED, 5, 0, 0},
         5,
         BREAKER_HOLD_OFF,
         7000,
         BREAKER_MOVED,
         {CIRCUIT_OPEN, 6, 0, 8000}},
        {{CIRCUIT_CLOSED, 5, 0, 0},
         5,
         BREAKER_HOLD_OFF,
         INT64_MAX,
         BREAKER_MOVED,
         {CIRCUIT_OPEN, 6, 0, 301000}},
        {{CIRCUIT_CLOSED, 5, 0, 0},
         5,
         BREAKER_HOLD_OFF,
         0,
         BREAKER_MOVED,
         {CIRCUIT_OPEN, 6, 0, 1000}},
        {{CIRCUIT_CLOSED, 5, 2, 0},
         4,
         BREAKER_FAILURE,
         -1,
         BREAKER_STALE,
         {CIRCUIT_CLOSED, 5, 2, 0}},
        {{CIRCUIT_CLOSED, 5, 2, 0},
         4,
         BREAKER_SUCCESS,
         -1,
         BREAKER_STALE,
         {CIRCUIT_CLOSED, 5, 2, 0}},
        {{CIRCUIT_HALF_OPEN, 6, 9, 35000},
         6,
         BREAKER_SUCCESS,
         -1,
         BREAKER_MOVED,
         {CIRCUIT_CLOSED, 7, 0, 0}},
        {{CIRCUIT_HALF_OPEN, 6, 9, 35000},
         6,
         BREAKER_ANSWERED,
         -1,
         BREAKER_MOVED,
         {CIRCUIT_CLOSED, 7, 0, 0}},
        {{CIRCUIT_HALF_OPEN, 6, 9, 35000},
         6,
         BREAKER_FAILURE,
         -1,
         BREAKER_MOVED,
         {CIRCUIT_OPEN, 7, 0, 31000}},
        {{CIRCUIT_HALF_OPEN, 6, 9, 35000},
         6,
         BREAKER_UNKNOWN,
         -1,
         BREAKER_MOVED,
         {CIRCUIT_OPEN, 7, 0, 1000}},
        {{CIRCUIT_HALF_OPEN, 6, 9, 35000},
         6,
         BREAKER_HOLD_OFF,
         2000,
         BREAKER_MOVED,
         {CIRCUIT_OPEN, 7, 0, 3000}},
        {{CIRCUIT_HALF_OPEN, 6, 9, 35000},
         5,
         BREAKER_SUCCESS,
         -1,
         BREAKER_STALE,
         {CIRCUIT_HALF_OPEN, 6, 9, 35000}},
        {{CIRCUIT_HALF_OPEN, 6, 9, 900},
         6,
         BREAKER_SUCCESS,
         -1,
         BREAKER_MOVED,
         {CIRCUIT_CLOSED, 7, 0, 0}},
        {{CIRCUIT_OPEN, 6, 0, 9000},
         6,
         BREAKER_SUCCESS,
         -1,
         BREAKER_STALE,
         {CIRCUIT_OPEN, 6, 0, 9000}},
        {{CIRCUIT_OPEN, 6, 0, 9000},
         6,
         BREAKER_HOLD_OFF,
         5,
         BREAKER_STALE,
         {CIRCUIT_OPEN, 6, 0, 9000}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t next;
        enum breaker_effect effect =
            breaker_report_step(breaker_pack(&rows[i].before), &rules, rows[i].ticket,
                                rows[i].report, rows[i].hold_off_ms, 1000, &next);
        ck_assert_msg(effect == rows[i].effect, "row %zu: effect %d", i, effect);
        ck_assert_msg(next == breaker_pack(&rows[i].after), "row %zu", i);
    }
}
END_TEST

START_TEST(open_is_never_longer_than_max_open) {
    const struct breaker_rules odd = {
        .failures = 1, .open_ms = 5000, .max_open_ms = 2000, .lease_ms = 1};
    uint64_t next;
    breaker_report_step(0, &odd, 0, BREAKER_FAILURE, -1, 100, &next);
    ck_assert_int_eq(breaker_unpack(next).deadline_ms, 2100);
}
END_TEST

START_TEST(only_the_lease_of_the_dead_ends) {
    uint64_t next, word = word_of(CIRCUIT_HALF_OPEN, 6, 9, 35000);
    ck_assert(breaker_bury_step(word, 9, 1000, &next));
    ck_assert_uint_eq(next, word_of(CIRCUIT_HALF_OPEN, 7, BREAKER_NOBODY, 1000));
    ck_assert(!breaker_bury_step(word, 8, 1000, &next));
    ck_assert_uint_eq(next, word);
    ck_assert(!breaker_bury_step(word_of(CIRCUIT_CLOSED, 6, 9, 0), 9, 1000, &next));
    ck_assert(!breaker_bury_step(word_of(CIRCUIT_OPEN, 6, 9, 5), 9, 1000, &next));
}
END_TEST

/* -- on a region ------------------------------------------------------------------------------ */

static struct region *region;

static void setup(void) {
    char error[200] = "";
    stop_the_clock();
    struct region_params params = {.counter_cells = 8, .counter_layout = 1};
    region = region_create(&params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
}

static void teardown(void) {
    region_destroy(region);
}

static enum breaker_answer admit(unsigned slot, unsigned *ticket) {
    return breaker_admit(region, 1, &rules, slot, ticket);
}

static enum breaker_effect report(unsigned ticket, enum breaker_report what) {
    struct breaker now_is;
    return breaker_report(region, 1, &rules, ticket, what, 2000, &now_is);
}

static void fail_times(int times) {
    for (int i = 0; i < times; i++) {
        unsigned ticket;
        ck_assert_int_eq(admit((unsigned)i, &ticket), BREAKER_ALLOW);
        (void)report(ticket, BREAKER_FAILURE);
    }
}

/* B1, as far as one process can show it. */
START_TEST(three_failures_of_anybody_open_it) {
    unsigned ticket;
    fail_times(3);
    ck_assert_int_eq(breaker_state(region, 1), CIRCUIT_OPEN);
    ck_assert_int_eq(admit(0, &ticket), BREAKER_REJECT);
    ck_assert_int_eq(breaker_state(region, 0), CIRCUIT_CLOSED); /* a neighbour's word */
    int64_t wait_ms = breaker_wait_ms(region, 1);
    ck_assert_int_gt(wait_ms, 29000);
    ck_assert_int_le(wait_ms, 30000);
}
END_TEST

START_TEST(b2_a_success_in_between_starts_counting_anew) {
    unsigned ticket;
    for (int i = 0; i < 10; i++) {
        fail_times(2);
        ck_assert_int_eq(admit(0, &ticket), BREAKER_ALLOW);
        ck_assert_int_eq(report(ticket, BREAKER_SUCCESS), BREAKER_KEPT);
    }
    ck_assert_int_eq(breaker_state(region, 1), CIRCUIT_CLOSED);
}
END_TEST

START_TEST(b9_a_storm_of_refusals_never_opens_it) {
    unsigned ticket;
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(admit(0, &ticket), BREAKER_ALLOW);
        ck_assert_int_eq(report(ticket, BREAKER_ANSWERED), BREAKER_KEPT);
    }
}
END_TEST

/* The naive counter, still at 3 when the time is over, would open for ever. */
START_TEST(b5_a_hundred_times_open_and_closed) {
    unsigned ticket, other;
    for (int i = 0; i < 100; i++) {
        fail_times(3);
        ck_assert_int_eq(admit(0, &ticket), BREAKER_REJECT);
        region_shift_time(region, 30000);
        ck_assert_int_eq(breaker_wait_ms(region, 1), 0);
        ck_assert_int_eq(admit(3, &ticket), BREAKER_PROBE);
        ck_assert_int_eq(breaker_state(region, 1), CIRCUIT_HALF_OPEN);
        ck_assert_int_eq(admit(4, &other), BREAKER_REJECT);
        ck_assert_int_eq(report(ticket, BREAKER_SUCCESS), BREAKER_MOVED);
        ck_assert_int_eq(breaker_state(region, 1), CIRCUIT_CLOSED);
    }
}
END_TEST

START_TEST(b6_a_stale_success_does_not_close_it) {
    unsigned slow, ticket;
    ck_assert_int_eq(admit(0, &slow), BREAKER_ALLOW);
    fail_times(3);
    ck_assert_int_eq(report(slow, BREAKER_SUCCESS), BREAKER_STALE);
    ck_assert_int_eq(breaker_state(region, 1), CIRCUIT_OPEN);
    region_shift_time(region, 30000);
    ck_assert_int_eq(admit(0, &ticket), BREAKER_PROBE);
    ck_assert_int_eq(report(slow, BREAKER_SUCCESS), BREAKER_STALE);
    ck_assert_int_eq(report(slow, BREAKER_FAILURE), BREAKER_STALE);
    ck_assert_int_eq(breaker_state(region, 1), CIRCUIT_HALF_OPEN);
}
END_TEST

START_TEST(a_stuck_probe_is_followed_by_another) {
    unsigned stuck, ticket;
    fail_times(3);
    region_shift_time(region, 30000);
    ck_assert_int_eq(admit(0, &stuck), BREAKER_PROBE);
    region_shift_time(region, 33000);
    ck_assert_int_eq(admit(1, &ticket), BREAKER_REJECT);
    region_shift_time(region, 1000);
    ck_assert_int_eq(admit(1, &ticket), BREAKER_PROBE);
    ck_assert_int_eq(report(stuck, BREAKER_FAILURE), BREAKER_STALE);
    ck_assert_int_eq(report(ticket, BREAKER_SUCCESS), BREAKER_MOVED);
}
END_TEST

START_TEST(b4_the_next_probe_comes_when_the_prober_is_buried) {
    unsigned ticket;
    fail_times(3);
    region_shift_time(region, 30000);
    ck_assert_int_eq(admit(7, &ticket), BREAKER_PROBE);
    breaker_bury(region, 6);
    ck_assert_int_eq(admit(6, &ticket), BREAKER_REJECT);
    breaker_bury(region, 7);
    ck_assert_int_eq(breaker_wait_ms(region, 1), 0);
    ck_assert_int_eq(admit(6, &ticket), BREAKER_PROBE);
}
END_TEST

/* What a dead daemon left in the file, or damage did: no state without an exit. */
START_TEST(an_attached_region_has_no_probe_and_no_deadline_for_ever) {
    struct conf_provider provider = {.name = "p",
                                     .breaker_failures = 3,
                                     .breaker_open_ms = 30000,
                                     .breaker_max_open_ms = 300000,
                                     .connect_timeout_ms = 1000,
                                     .first_byte_timeout_ms = 1000};
    struct conf conf = {.provider_count = 1, .providers = &provider};
    struct labels labels = {.provider = {1}};
    unsigned ticket;
    fail_times(3);
    breaker_resume(region, &conf, &labels);
    ck_assert_int_eq(admit(0, &ticket), BREAKER_REJECT); /* open goes on */
    region_shift_time(region, 30000);
    ck_assert_int_eq(admit(9, &ticket), BREAKER_PROBE);
    breaker_resume(region, &conf, &labels);
    ck_assert_int_eq(admit(1, &ticket), BREAKER_PROBE);
    for (int state = CIRCUIT_HALF_OPEN; state <= CIRCUIT_OPEN; state++) {
        for (unsigned fails = 0; fails < 256; fails += 51) {
            uint64_t word = word_load(region, 1);
            struct breaker wild = {.state = (enum metric_circuit)state,
                                   .generation = 7,
                                   .fails = fails,
                                   .deadline_ms = INT64_C(1) << 41};
            ck_assert(word_cas(region, 1, &word, breaker_pack(&wild)));
            breaker_resume(region, &conf, &labels);
            ck_assert_int_eq(admit(1, &ticket), BREAKER_PROBE);
        }
    }
}
END_TEST

/* A provider that moved is another one; one that stays keeps its circuit, and its index. */
START_TEST(a_reload_keeps_the_circuit_of_an_address) {
    struct conf_provider provider = {.name = "p", .type = CONF_OPENAI, .url = "http://a/v1"};
    struct conf conf = {.provider_count = 1, .providers = &provider};
    struct labels labels = {.provider = {1}};
    unsigned before, ticket;
    ck_assert_int_eq(names_add(region, NAMES_PROVIDER, "other"), 0);
    ck_assert_int_eq(names_add(region, NAMES_PROVIDER, "p"), 1);
    breaker_bind(region, &conf, &labels);
    ck_assert_int_eq(admit(0, &before), BREAKER_ALLOW);
    fail_times(3);
    breaker_bind(region, &conf, &labels);
    ck_assert_int_eq(breaker_state(region, 1), CIRCUIT_OPEN);
    provider.url = "http://b/v1";
    breaker_bind(region, &conf, &labels);
    ck_assert_int_eq(breaker_state(region, 1), CIRCUIT_CLOSED);
    ck_assert_int_eq(report(before, BREAKER_FAILURE), BREAKER_STALE); /* of the old place */
    fail_times(2);
    ck_assert_int_eq(admit(0, &ticket), BREAKER_ALLOW);
    ck_assert_int_eq(report(ticket, BREAKER_FAILURE), BREAKER_MOVED);
    provider.simulated = true; /* its key is gone */
    breaker_bind(region, &conf, &labels);
    ck_assert_int_eq(breaker_state(region, 1), CIRCUIT_CLOSED);
    ck_assert(breaker_is_about(region, 1, breaker_subject(&provider)));
    fail_times(3);
    conf.provider_count = 0; /* it is gone: nothing of it stays in the metrics */
    breaker_bind(region, &conf, &labels);
    ck_assert_int_eq(breaker_state(region, 1), CIRCUIT_CLOSED);
    ck_assert(!breaker_is_about(region, 1, breaker_subject(&provider)));
}
END_TEST

/* -- B10: every interleaving -------------------------------------------------------------------
 *
 * Three processes, each asking and reporting twice, over one word. What a process does in one
 * step is what it does between two accesses to shared memory: read the word, or swap it. Between
 * any two steps time may pass, and one process may die, which the master notices then or later.
 * Every state that can be reached is visited once. In each of them
 *   - at most one live process holds the probe of the word's generation before its lease is over,
 *   - somebody who asks after the deadline is allowed: no state is without an exit;
 * and no report of an attempt that the circuit has moved on from changes the word.
 *
 * States that differ only in the date, in how often the circuit has moved before, or in which
 * process is which, are one: that makes it finite.
 */

enum pc { PC_READ_ADMIT, PC_SWAP_ADMIT, PC_READ_REPORT, PC_SWAP_REPORT, PC_DONE, PC_DEAD };
enum { PROCESSES = 3, ROUNDS = 2 };

struct process {
    uint64_t seen;   /* what it read last */
    uint16_t ticket; /* generation of its attempt */
    uint8_t pc;      /* enum pc */
    uint8_t report;  /* what it is about to report */
    uint8_t probes;  /* it was allowed as the probe */
    uint8_t rounds;
    uint8_t slot; /* before they are put in order: where it stood */
    uint8_t pad;
};

/* The time is always 0: deadlines are relative to it, and one that is over is 0. */
struct machine {
    uint64_t word;
    struct process process[PROCESSES];
    uint8_t deaths;
    uint8_t used; /* in the table */
    uint8_t pad[6];
};

/* Small numbers: two failures open, for one unit of time; a lease lasts two. */
static const struct breaker_rules small = {
    .failures = 2, .open_ms = 1, .max_open_ms = 2, .lease_ms = 2};

static struct machine *table; /* open addressing */
static size_t table_size, table_used;
static uint64_t probes_seen, denials_seen;

/* The word as if the circuit had moved `moves` times less and `ms` later. */
static uint64_t shifted(uint64_t word, unsigned moves, int64_t ms) {
    struct breaker breaker = breaker_unpack(word);
    breaker.generation = (breaker.generation - moves) % BREAKER_GENERATIONS;
    breaker.deadline_ms = breaker.deadline_ms > ms ? breaker.deadline_ms - ms : 0;
    return breaker_pack(&breaker);
}

static int compare_processes(const void *a, const void *b) {
    struct process left = *(const struct process *)a, right = *(const struct process *)b;
    left.slot = right.slot = 0;
    return memcmp(&left, &right, sizeof(left));
}

/* Whoever held the lease stands somewhere else now. */
static uint64_t renamed(uint64_t word, const struct process *process) {
    struct breaker breaker = breaker_unpack(word);
    for (unsigned p = 0; p < PROCESSES && breaker.state == CIRCUIT_HALF_OPEN; p++) {
        if (process[p].slot == breaker.fails) {
            breaker.fails = p;
            return breaker_pack(&breaker);
        }
    }
    return word;
}

static void normalise(struct machine *state) {
    unsigned generation = breaker_unpack(state->word).generation;
    state->word = shifted(state->word, generation, 0);
    for (unsigned p = 0; p < PROCESSES; p++) {
        struct process *process = &state->process[p];
        bool has_seen = process->pc == PC_SWAP_ADMIT || process->pc == PC_SWAP_REPORT;
        bool has_ticket = process->pc == PC_READ_REPORT || process->pc == PC_SWAP_REPORT;
        process->seen = has_seen ? shifted(process->seen, generation, 0) : 0;
        process->ticket =
            (uint16_t)(has_ticket ? (process->ticket - generation) % BREAKER_GENERATIONS : 0);
        process->slot = (uint8_t)p;
    }
    qsort(state->process, PROCESSES, sizeof(state->process[0]), compare_processes);
    state->word = renamed(state->word, state->process);
    for (unsigned p = 0; p < PROCESSES; p++) {
        state->process[p].seen = renamed(state->process[p].seen, state->process);
    }
    for (unsigned p = 0; p < PROCESSES; p++) {
        state->process[p].slot = 0;
    }
}

static uint64_t hash_of(const struct machine *machine) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const unsigned char *bytes = (const unsigned char *)machine;
    for (size_t i = 0; i < sizeof(*machine); i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash ^ (hash >> 29);
}

/* True when the state is new. */
static bool visit(const struct machine *state) {
    struct machine marked = *state;
    marked.used = 1;
    size_t at = hash_of(&marked) & (table_size - 1);
    while (table[at].used != 0) {
        if (memcmp(&table[at], &marked, sizeof(marked)) == 0) {
            return false;
        }
        at = (at + 1) & (table_size - 1);
    }
    table[at] = marked;
    table_used++;
    ck_assert_uint_lt(table_used, table_size / 2);
    return true;
}

static void check_invariants(const struct machine *state) {
    struct breaker breaker = breaker_unpack(state->word);
    int live = 0;
    for (int p = 0; p < PROCESSES; p++) {
        const struct process *process = &state->process[p];
        bool waits = process->pc == PC_READ_REPORT || process->pc == PC_SWAP_REPORT;
        live += waits && process->probes && breaker.state == CIRCUIT_HALF_OPEN &&
                process->ticket == breaker.generation && breaker.deadline_ms > 0;
    }
    ck_assert_int_le(live, 1);
    /* The exit: once the deadline is over whoever asks gets through, and it is never far. */
    uint64_t next;
    ck_assert_int_ne(breaker_admit_step(state->word, &small, 0, breaker.deadline_ms, &next),
                     BREAKER_REJECT);
    ck_assert_int_le(breaker.deadline_ms, 2);
}

static void finish_round(struct process *process) {
    process->probes = process->report = 0;
    process->pc = ++process->rounds < ROUNDS ? PC_READ_ADMIT : PC_DONE;
}

/* Swaps, or reads again as the loops of breaker_admit and breaker_report do. False: read again. */
static bool swap(struct machine *state, struct process *process, uint64_t next) {
    if (next != process->seen) {
        if (state->word != process->seen) {
            process->seen = state->word;
            return false;
        }
        state->word = next;
    }
    return true;
}

static void step_admit(struct machine *state, unsigned p) {
    struct process *process = &state->process[p];
    uint64_t next;
    enum breaker_answer answer = breaker_admit_step(process->seen, &small, p, 0, &next);
    if (!swap(state, process, next)) {
        return;
    }
    if (answer == BREAKER_REJECT) {
        denials_seen++;
        finish_round(process);
        return;
    }
    probes_seen += answer == BREAKER_PROBE;
    process->ticket = (uint16_t)breaker_unpack(next).generation;
    process->probes = answer == BREAKER_PROBE;
    process->pc = PC_READ_REPORT;
}

static void step_report(struct machine *state, unsigned p) {
    struct process *process = &state->process[p];
    uint64_t next;
    (void)breaker_report_step(process->seen, &small, process->ticket,
                              (enum breaker_report)process->report, 2, 0, &next);
    struct breaker before = breaker_unpack(state->word);
    bool stale = before.state == CIRCUIT_OPEN || before.generation != process->ticket;
    uint64_t word = state->word;
    if (swap(state, process, next)) {
        finish_round(process);
    }
    ck_assert(!stale || state->word == word);
}

static void explore(struct machine state);

static void explore_process(const struct machine *state, unsigned p) {
    struct machine next = *state;
    switch (state->process[p].pc) {
    case PC_READ_ADMIT:
        next.process[p].seen = next.word;
        next.process[p].pc = PC_SWAP_ADMIT;
        explore(next);
        break;
    case PC_SWAP_ADMIT:
        step_admit(&next, p);
        explore(next);
        break;
    case PC_READ_REPORT:
        next.process[p].seen = next.word;
        next.process[p].pc = PC_SWAP_REPORT;
        for (unsigned kind = BREAKER_SUCCESS; kind <= BREAKER_HOLD_OFF; kind++) {
            next.process[p].report = (uint8_t)kind;
            explore(next);
        }
        break;
    case PC_SWAP_REPORT:
        step_report(&next, p);
        explore(next);
        break;
    default:
        break;
    }
}

/* It dies; the master buries it whenever it comes to it. */
static void explore_death(const struct machine *state, unsigned p) {
    struct machine next = *state;
    uint64_t word;
    if (state->process[p].pc == PC_DEAD) {
        if (breaker_bury_step(next.word, p, 0, &word)) {
            next.word = word;
            explore(next);
        }
    } else if (state->deaths == 0 && state->process[p].pc != PC_DONE) {
        next.deaths = 1;
        next.process[p] = (struct process){.pc = PC_DEAD};
        explore(next);
    }
}

static void explore_time(const struct machine *state) {
    struct machine later = *state;
    later.word = shifted(later.word, 0, 1);
    for (int p = 0; p < PROCESSES; p++) {
        later.process[p].seen = shifted(later.process[p].seen, 0, 1);
    }
    explore(later);
}

static void explore(struct machine state) {
    normalise(&state);
    if (!visit(&state)) {
        return;
    }
    check_invariants(&state);
    for (unsigned p = 0; p < PROCESSES; p++) {
        explore_process(&state, p);
        explore_death(&state, p);
    }
    explore_time(&state);
}

START_TEST(b10_every_interleaving_of_three_processes) {
    _Static_assert(sizeof(struct machine) == 64, "no padding: states are compared as bytes");
    struct machine first = {.word = 0};
    table_size = (size_t)1 << 23;
    table = calloc(table_size, sizeof(*table));
    ck_assert_ptr_nonnull(table);
    explore(first);
    printf("%zu states\n", table_used);
    ck_assert_uint_gt(table_used, 100000); /* it did go everywhere */
    ck_assert_uint_gt(probes_seen, 1000);
    ck_assert_uint_gt(denials_seen, 1000);
    free(table);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("breaker");
    TCase *steps = tcase_create("steps");
    tcase_add_test(steps, packing_keeps_every_part);
    tcase_add_test(steps, admission_row_by_row);
    tcase_add_test(steps, reports_row_by_row);
    tcase_add_test(steps, open_is_never_longer_than_max_open);
    tcase_add_test(steps, only_the_lease_of_the_dead_ends);
    suite_add_tcase(suite, steps);
    TCase *words = tcase_create("words");
    tcase_add_checked_fixture(words, setup, teardown);
    tcase_add_test(words, three_failures_of_anybody_open_it);
    tcase_add_test(words, b2_a_success_in_between_starts_counting_anew);
    tcase_add_test(words, b4_the_next_probe_comes_when_the_prober_is_buried);
    tcase_add_test(words, b5_a_hundred_times_open_and_closed);
    tcase_add_test(words, b6_a_stale_success_does_not_close_it);
    tcase_add_test(words, b9_a_storm_of_refusals_never_opens_it);
    tcase_add_test(words, a_stuck_probe_is_followed_by_another);
    tcase_add_test(words, an_attached_region_has_no_probe_and_no_deadline_for_ever);
    tcase_add_test(words, a_reload_keeps_the_circuit_of_an_address);
    suite_add_tcase(suite, words);
    TCase *interleavings = tcase_create("interleavings");
    tcase_set_timeout(interleavings, 600);
    tcase_add_test(interleavings, b10_every_interleaving_of_three_processes);
    suite_add_tcase(suite, interleavings);
    return suite;
}

UNIT_MAIN(make_suite)
