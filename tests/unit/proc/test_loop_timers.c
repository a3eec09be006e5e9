/* Timers on a real loop: order, never early, cancelled, set from inside one, many at once. */
#include "config.h"

#include "proc/loop_timers.h"

#include <event2/event.h>
#include <stdbool.h>

#include "base/clock.h"
#include "unit.h"

#define MANY 1000

static struct event_base *base;
static struct loop_timers loop;
static struct timers timers;

static void setup(void) {
    base = event_base_new();
    ck_assert_ptr_nonnull(base);
    loop_timers_init(&loop, base);
    timers = loop_timers_interface(&loop);
}

static void teardown(void) {
    loop_timers_fini(&loop);
    event_base_free(base);
}

struct note {
    int64_t due_ns;
    int fired;
    bool early;
};

static void fire(void *argument) {
    struct note *note = argument;
    note->fired++;
    note->early = note->early || clock_mono_ns() < note->due_ns;
}

static struct timer *set(struct note *note, int64_t delay_ns) {
    *note = (struct note){.due_ns = clock_mono_ns() + delay_ns};
    struct timer *timer = timers_after(&timers, delay_ns, fire, note);
    ck_assert_ptr_nonnull(timer);
    return timer;
}

START_TEST(never_early) {
    struct note notes[20];
    for (int i = 0; i < 20; i++) {
        set(&notes[i], i * NS_PER_MS / 2);
    }
    ck_assert_int_eq(event_base_dispatch(base), 1); /* no event is left */
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(notes[i].fired, 1);
        ck_assert(!notes[i].early);
    }
    ck_assert_uint_eq(loop.due, 0);
}
END_TEST

START_TEST(cancelled) {
    struct note kept, gone;
    struct timer *timer = set(&gone, 0);
    set(&kept, NS_PER_MS);
    timers_cancel(&timers, timer);
    timers_cancel(&timers, NULL);
    event_base_dispatch(base);
    ck_assert_int_eq(kept.fired, 1);
    ck_assert_int_eq(gone.fired, 0);
}
END_TEST

static int chain_left;

static void chain(void *argument) {
    (void)argument;
    if (--chain_left > 0) {
        ck_assert_ptr_nonnull(timers_after(&timers, 0, chain, NULL));
    }
}

START_TEST(set_from_inside) {
    chain_left = 100;
    ck_assert_ptr_nonnull(timers_after(&timers, -5, chain, NULL));
    event_base_dispatch(base);
    ck_assert_int_eq(chain_left, 0);
    ck_assert_uint_eq(loop.due, 0);
}
END_TEST

START_TEST(many) {
    static struct note notes[MANY];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            struct timer *timer = set(&notes[i], (MANY - i) * NS_PER_US);
            if (i % 3 == 0) {
                timers_cancel(&timers, timer);
            }
        }
        event_base_dispatch(base);
        for (int i = 0; i < MANY; i++) {
            ck_assert_int_eq(notes[i].fired, i % 3 != 0);
        }
    }
    ck_assert_uint_eq(loop.due, 0);
}
END_TEST

START_TEST(left_behind) {
    struct note note;
    set(&note, 3600 * NS_PER_S);
    ck_assert_uint_eq(loop.due, 1);
    /* teardown frees it unfired; the sanitizer looks */
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("loop_timers");
    TCase *tcase = tcase_create("loop_timers");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, never_early);
    tcase_add_test(tcase, cancelled);
    tcase_add_test(tcase, set_from_inside);
    tcase_add_test(tcase, many);
    tcase_add_test(tcase, left_behind);
    suite_add_tcase(suite, tcase);
    return suite;
}
UNIT_MAIN(make_suite)
