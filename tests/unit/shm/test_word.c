/* test_word: swaps happen once, whoever races; words do not touch their neighbours. */
#include "config.h"

#include "shm/word.h"
#include "shm_test.h"

#define SWAPS 50000

static int swap_many(void *argument) {
    struct region *region = argument;
    for (int i = 0; i < SWAPS; i++) {
        uint64_t seen = word_load(region, 7);
        while (!word_cas(region, 7, &seen, seen + 1)) {
        }
    }
    return 0;
}

START_TEST(no_swap_is_lost) {
    struct region *region = test_region_new(0, NULL);
    pid_t pids[2] = {test_spawn(swap_many, region), test_spawn(swap_many, region)};
    ck_assert_int_eq(test_reap(pids[0]), 0);
    ck_assert_int_eq(test_reap(pids[1]), 0);
    ck_assert_uint_eq(word_load(region, 7), 2 * SWAPS);
    ck_assert_uint_eq(word_load(region, 6), 0);
    ck_assert_uint_eq(word_load(region, 8), 0);
    region_destroy(region);
}
END_TEST

START_TEST(wrong_expectation_changes_nothing) {
    struct region *region = test_region_new(0, NULL);
    for (unsigned i = 0; i < REGION_PROVIDERS; i++) {
        uint64_t expected = 0;
        ck_assert(word_cas(region, i, &expected, UINT64_MAX - i));
        expected = 5;
        ck_assert(!word_cas(region, i, &expected, 6));
        ck_assert_uint_eq(expected, UINT64_MAX - i);
        ck_assert_uint_eq(word_load(region, i), UINT64_MAX - i);
    }
    region_destroy(region);
}
END_TEST

START_TEST(a_subject_stands_beside_its_word) {
    struct region *region = test_region_new(0, NULL);
    ck_assert_uint_eq(word_subject(region, 63), 0);
    word_set_subject(region, 63, UINT64_MAX);
    word_set_subject(region, 0, 5);
    ck_assert_uint_eq(word_subject(region, 63), UINT64_MAX);
    ck_assert_uint_eq(word_subject(region, 0), 5);
    for (unsigned i = 0; i < REGION_PROVIDERS; i++) {
        ck_assert_uint_eq(word_load(region, i), 0);
    }
    region_destroy(region);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {no_swap_is_lost, wrong_expectation_changes_nothing,
                                  a_subject_stands_beside_its_word};
    return test_suite("word", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
