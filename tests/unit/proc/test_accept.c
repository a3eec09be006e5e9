/* The balance rule: who looks away, as a function of three numbers. */
#include "config.h"

#include "proc/accept.h"

#include "unit.h"

static const struct {
    int64_t own, total;
    unsigned workers;
    bool above;
} rows[] = {
    {0, 0, 2, false},        {1, 1, 2, false},        /* 1 < 1.125 x 0.5 + 0.5 */
    {1, 1, 3, true},                                  /* 1 > 1.125 / 3 + 0.5 = 0.875 */
    {2, 2, 2, true},         {2, 3, 2, false},        /* 2 < 2.1875 */
    {5, 8, 2, false},        {6, 10, 2, false},       /* the bar is 6.125 */
    {7, 10, 2, true},        {36, 64, 2, false},      /* the bar is 36.5 */
    {37, 64, 2, true},       {1000, 1000, 1, false},  /* alone: everything is its share */
    {1000, 1000, 0, false},  {157, 10000, 64, false}, /* 156.25 x 1.125 + 0.5 = 176.28 */
    {176, 10000, 64, false}, {177, 10000, 64, true},
};

START_TEST(shares) {
    ck_assert_int_eq(acceptor_is_above_share(rows[_i].own, rows[_i].total, rows[_i].workers),
                     rows[_i].above);
}
END_TEST

/* Somebody is always willing: not all can be above. */
START_TEST(somebody_takes) {
    for (unsigned workers = 1; workers <= 64; workers++) {
        for (int64_t total = 0; total < 300; total++) {
            int64_t least = total / workers;
            ck_assert(!acceptor_is_above_share(least, total, workers));
        }
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("accept");
    TCase *tcase = tcase_create("accept");
    tcase_add_loop_test(tcase, shares, 0, sizeof(rows) / sizeof(rows[0]));
    tcase_add_test(tcase, somebody_takes);
    suite_add_tcase(suite, tcase);
    return suite;
}
UNIT_MAIN(make_suite)
