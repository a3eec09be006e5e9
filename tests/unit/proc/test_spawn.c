/* The back-off after deaths, as a sequence of lives of one seat. */
#include "config.h"

#include "proc/spawn.h"

#include "unit.h"

#define MS NS_PER_MS
#define S NS_PER_S

enum { KILLED = 0, FAULT = 1 };

struct life {
    bool was_ready;
    bool own_fault;
    int64_t lived_ns, ready_for_ns;
    int64_t wait_ns; /* expected before the next one */
};

static const struct life crash_at_start[] = {
    {false, FAULT, 1 * MS, 0, 100 * MS},
    {false, FAULT, 1 * MS, 0, 200 * MS},
    {false, FAULT, 1 * MS, 0, 400 * MS},
    {false, FAULT, 1 * MS, 0, 800 * MS},
    {false, FAULT, 1 * MS, 0, 1600 * MS},
    {false, FAULT, 1 * MS, 0, 3200 * MS},
    {false, FAULT, 1 * MS, 0, 6400 * MS},
    {false, FAULT, 1 * MS, 0, 12800 * MS},
    {false, FAULT, 1 * MS, 0, 25600 * MS},
    {false, FAULT, 1 * MS, 0, 30 * S},
    {false, FAULT, 1 * MS, 0, 30 * S},
    /* ten seconds of life forgive */
    {true, FAULT, 10 * S, 9999 * MS, 0},
    {false, FAULT, 1 * MS, 0, 100 * MS},
};
static const struct life killed_while_serving[] = {
    {true, KILLED, 5 * MS, 1 * MS, 0},
    {true, KILLED, 5 * MS, 1 * MS, 0},
    {true, KILLED, 500 * S, 500 * S, 0},
};
static const struct life killed_before_ready[] = {
    {false, KILLED, 1 * MS, 0, 100 * MS},
    {false, KILLED, 1 * MS, 0, 100 * MS}, /* nothing is wrong with it: no longer than that */
    {false, FAULT, 1 * MS, 0, 100 * MS},
    {false, KILLED, 1 * MS, 0, 100 * MS},
    {false, FAULT, 1 * MS, 0, 200 * MS}, /* and a fault is not forgotten for it */
};
static const struct life early_and_late_faults[] = {
    {true, FAULT, 1001 * MS, 999 * MS, 100 * MS},
    {true, FAULT, 1001 * MS, 1000 * MS, 0},      /* a second of service is no bad start */
    {true, FAULT, 999 * MS, 998 * MS, 200 * MS}, /* but it does not forgive either */
    {true, FAULT, 9999 * MS, 9990 * MS, 0},
    {false, FAULT, 1 * MS, 0, 400 * MS},
    {false, FAULT, 10 * S, 0, 100 * MS}, /* slow to start: forgiven, then counted */
};

#define LIVES(name) \
    { #name, name, sizeof(name) / sizeof((name)[0]) }
static const struct {
    const char *name;
    const struct life *lives;
    size_t count;
} stories[] = {LIVES(crash_at_start), LIVES(killed_while_serving), LIVES(killed_before_ready),
               LIVES(early_and_late_faults)};

START_TEST(waits) {
    int64_t memory_ns = 0;
    for (size_t i = 0; i < stories[_i].count; i++) {
        const struct life *life = &stories[_i].lives[i];
        struct spawn_death death = {.was_ready = life->was_ready,
                                    .own_fault = life->own_fault,
                                    .lived_ns = life->lived_ns,
                                    .ready_for_ns = life->ready_for_ns};
        int64_t wait_ns = spawn_backoff(&memory_ns, &death);
        ck_assert_msg(wait_ns == life->wait_ns, "%s: life %zu: %lld ms", stories[_i].name, i,
                      (long long)(wait_ns / MS));
    }
}
END_TEST

START_TEST(names) {
    char name[32];
    struct seat seat = {.role = BOARD_WORKER, .number = 63};
    spawn_name(&seat, name, sizeof(name));
    ck_assert_str_eq(name, "worker 63");
    seat.role = BOARD_METRICS;
    spawn_name(&seat, name, sizeof(name));
    ck_assert_str_eq(name, "metrics");
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("spawn");
    TCase *tcase = tcase_create("spawn");
    tcase_add_loop_test(tcase, waits, 0, sizeof(stories) / sizeof(stories[0]));
    tcase_add_test(tcase, names);
    suite_add_tcase(suite, tcase);
    return suite;
}
UNIT_MAIN(make_suite)
