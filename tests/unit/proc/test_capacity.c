/* How many connections fit into how many open files. */
#include "config.h"

#include "proc/capacity.h"

#include "unit.h"

static const struct {
    int64_t most;
    unsigned processes;
    uint64_t nofile;
    struct {
        int64_t connections, descriptors, above;
    } expected;
} rows[] = {
    /* as much as is wanted */
    {10000, 2, 1 << 20, {10000, (1 << 20) - 192, 64}},
    {10000, 2, UINT64_MAX, {10000, INT32_MAX - 192, 64}},
    /* (1024 - 64 - 128 - 160) x 2 x 8/9 */
    {10000, 2, 1024, {1194, 832, 64}},
    {10000, 1, 1024, {672, 832, 64}},
    {700, 2, 1024, {700, 832, 64}},
    /* the parts shrink with the whole, and something always fits */
    {10000, 1, 256, {48, 208, 16}},
    {10000, 1, 30, {1, 18, 4}},
    {10000, 2, 0, {1, -12, 4}},
};

START_TEST(capacities) {
    struct capacity capacity = capacity_of(rows[_i].most, rows[_i].processes, rows[_i].nofile);
    ck_assert_int_eq(capacity.connections, rows[_i].expected.connections);
    ck_assert_int_eq(capacity.descriptors, rows[_i].expected.descriptors);
    ck_assert_int_eq(capacity.above, rows[_i].expected.above);
}
END_TEST

/* What the warning asks for is enough, and hardly more than that. */
START_TEST(the_advice_is_right) {
    static const int64_t most[] = {1, 2, 7, 700, 1000, 9999, 10000, 1000000};
    char line[256];
    for (unsigned processes = 1; processes <= 64; processes++) {
        for (unsigned i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
            uint64_t nofile = capacity_nofile(most[i], processes);
            ck_assert(!capacity_is_short(most[i], processes, nofile, line, sizeof(line)));
            if (nofile > 2048) {
                ck_assert(capacity_is_short(most[i], processes, nofile - 8, line, sizeof(line)));
            }
        }
    }
    ck_assert(capacity_is_short(10000, 2, 1024, line, sizeof(line)));
    ck_assert_str_eq(line, "a process may have 1024 open files, which is room for 1194 connections "
                           "and not for max_connections (10000): raise nofile (ulimit -n, "
                           "LimitNOFILE=) to 5978");
}
END_TEST

START_TEST(bodies_have_half_of_what_is_there) {
    const int64_t mb = 1 << 20;
    ck_assert_int_eq(capacity_body_bytes(1024 << 20, 256 * mb, 4 * mb, 2), 192 * mb);
    ck_assert_int_eq(capacity_body_bytes(1024 << 20, 256 * mb, 64 * mb, 2), 256 * mb);
    ck_assert_int_eq(capacity_body_bytes(256 << 20, 256 * mb, 4 * mb, 1), 16 * mb);
    ck_assert_int_eq(capacity_body_bytes(UINT64_MAX, 0, 4 * mb, 1), INT64_MAX / 2);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("capacity");
    TCase *tcase = tcase_create("capacity");
    tcase_add_loop_test(tcase, capacities, 0, sizeof(rows) / sizeof(rows[0]));
    tcase_add_test(tcase, the_advice_is_right);
    tcase_add_test(tcase, bodies_have_half_of_what_is_there);
    suite_add_tcase(suite, tcase);
    return suite;
}
UNIT_MAIN(make_suite)
