/* unit: what every unit test program needs: check(3) and a main that runs one suite.
 *
 *     static Suite *make_suite(void) { ... }
 *     UNIT_MAIN(make_suite)
 */
#ifndef OPTIROUTE_TESTS_UNIT_H
#define OPTIROUTE_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

/* check writes its place to a file at every assertion that holds, only to say "after this point"
 * when the test crashes. Tests that go through every code point hold a million times: that was
 * half of their time, and with two programs at once on a busy disk the file came back damaged
 * ("Bad message type arg"). What fails is reported with its place all the same. */
#define _mark_point(file, line) ((void)0)

/* check 0.15 writes a record for every assertion that holds, so that it can name the last one
 * before a crash. A test that asserts a million times writes tens of megabytes, and on a busy
 * machine the runner now and then reads them wrongly ("Bad message type arg"). Only failures are
 * worth a record. */
#undef ck_assert_msg
#define ck_assert_msg(expr, ...) \
    ((expr)                      \
         ? (void)0               \
         : _ck_assert_failed(__FILE__, __LINE__, "Assertion '" #expr "' failed", ##__VA_ARGS__))

static inline int unit_run(Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* check ends a test after 4 s, which a sanitizer on a busy machine takes now and then. Ours is for
 * tests that hang; tcase_set_timeout is for those that need more. */
#define UNIT_MAIN(make_suite)                   \
    int main(void) {                            \
        setenv("CK_DEFAULT_TIMEOUT", "180", 1); \
        return unit_run(make_suite());          \
    }

#endif
