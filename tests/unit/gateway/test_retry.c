/* Back-off: how long, how often, and never past the provider's total timeout. */
#include "config.h"

#include "unit.h"

#include "base/clock.h"
#include "gateway/retry.h"

static const struct conf_provider provider = {
    .retry_attempts = 3, .retry_backoff_ms = 100, .total_timeout_ms = 10000};

START_TEST(doubles_and_is_spread_to_both_sides) {
    static const int64_t backoff_ms[] = {0, 100, 200, 400};
    for (unsigned tries = 1; tries <= 3; tries++) {
        int64_t whole_ns = backoff_ms[tries] * NS_PER_MS, least = INT64_MAX, most = 0;
        for (uint64_t random = 0; random < UINT64_C(1) << 62; random = random * 3 + 12345) {
            int64_t wait_ns = retry_wait_ns(&provider, tries, 0, random);
            ck_assert_int_ge(wait_ns, whole_ns / 2);
            ck_assert_int_lt(wait_ns, whole_ns / 2 * 3);
            least = wait_ns < least ? wait_ns : least;
            most = wait_ns > most ? wait_ns : most;
        }
        ck_assert_int_lt(least, whole_ns);
        ck_assert_int_gt(most, whole_ns);
    }
}
END_TEST

START_TEST(ends_after_the_configured_attempts) {
    ck_assert_int_ge(retry_wait_ns(&provider, 3, 0, 7), 0);
    ck_assert_int_eq(retry_wait_ns(&provider, 4, 0, 7), -1);
    struct conf_provider never = provider;
    never.retry_attempts = 0;
    ck_assert_int_eq(retry_wait_ns(&never, 1, 0, 7), -1);
}
END_TEST

START_TEST(fits_into_the_total_timeout) {
    ck_assert_int_ge(retry_wait_ns(&provider, 1, 9900 * NS_PER_MS, 0), 0);
    ck_assert_int_eq(retry_wait_ns(&provider, 1, 9950 * NS_PER_MS, 0), -1);
    ck_assert_int_eq(retry_wait_ns(&provider, 1, 20000 * NS_PER_MS, 0), -1);
}
END_TEST

START_TEST(is_never_longer_than_a_minute_and_a_half) {
    struct conf_provider patient = {
        .retry_attempts = 10, .retry_backoff_ms = 60000, .total_timeout_ms = INT64_MAX / NS_PER_S};
    ck_assert_int_lt(retry_wait_ns(&patient, 10, 0, UINT64_MAX), 90 * NS_PER_S);
    patient.retry_backoff_ms = 0;
    ck_assert_int_eq(retry_wait_ns(&patient, 5, 0, UINT64_MAX), 0);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("retry");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, doubles_and_is_spread_to_both_sides);
    tcase_add_test(tcase, ends_after_the_configured_attempts);
    tcase_add_test(tcase, fits_into_the_total_timeout);
    tcase_add_test(tcase, is_never_longer_than_a_minute_and_a_half);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
