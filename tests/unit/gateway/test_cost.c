/* Money: exact, half up, never overflowing, never 0 in silence. */
#include "unit.h"

#include "base/clock.h"
#include "gateway/cost.h"

START_TEST(tokens_are_priced_exactly_and_half_up) {
    static const struct {
        int64_t input, output, prompt, completion, want;
    } rows[] = {
        {150000000, 600000000, 1000000, 1000000, 750000000},
        {200000000, 200000000, 25, 100, 25000},
        {150000000, 600000000, 1, 0, 150},
        {1, 0, 499999, 0, 0}, /* 0.499999 nano-dollars */
        {1, 0, 500000, 0, 1},
        {1, 0, 1499999, 0, 1},
        {0, 0, 1000, 1000, 0},
        {150000000, 600000000, -5, 10, 6000},
        {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX},
        {CONF_PRICE_UNKNOWN, 5, 1, 1, COST_UNKNOWN},
        {5, CONF_PRICE_UNKNOWN, 1, 1, COST_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct conf_model model = {.input_nusd = rows[i].input, .output_nusd = rows[i].output};
        struct usage usage = {.prompt_tokens = rows[i].prompt,
                              .completion_tokens = rows[i].completion};
        ck_assert_int_eq(cost_of_tokens(&model, &usage), rows[i].want);
    }
}
END_TEST

START_TEST(time_is_priced_exactly_and_half_up) {
    static const struct {
        int64_t per_second, ns, want;
    } rows[] = {
        {5000, 2 * NS_PER_S, 10000},       {5000, NS_PER_S / 10000, 1}, /* 0.5 */
        {5000, NS_PER_S / 10000 - 1, 0},   {5000, -1, 0},
        {INT64_MAX, INT64_MAX, INT64_MAX}, {CONF_PRICE_UNKNOWN, NS_PER_S, COST_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_int_eq(cost_of_time(rows[i].per_second, rows[i].ns), rows[i].want);
    }
}
END_TEST

START_TEST(a_provider_paid_by_time_is_not_paid_by_token) {
    struct conf_model model = {.input_nusd = 1000000000, .output_nusd = 1000000000};
    struct usage usage = {.prompt_tokens = 100, .completion_tokens = 100};
    struct conf_provider provider = {.per_second_nusd = 5000};
    ck_assert_int_eq(cost_of_attempt(&provider, &model, &usage, NS_PER_S), 5000);
    provider.per_second_nusd = CONF_PRICE_UNKNOWN;
    ck_assert_int_eq(cost_of_attempt(&provider, &model, &usage, NS_PER_S), 200000);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("cost");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, tokens_are_priced_exactly_and_half_up);
    tcase_add_test(tcase, time_is_priced_exactly_and_half_up);
    tcase_add_test(tcase, a_provider_paid_by_time_is_not_paid_by_token);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
