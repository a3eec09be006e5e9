/* unit: what every unit test program needs: check(3) and a main that runs one suite.
 *
 *     static Suite *make_suite(void) { ... }
 *     UNIT_MAIN(make_suite)
 */
#ifndef OPTIROUTE_TESTS_UNIT_H
#define OPTIROUTE_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

static inline int unit_run(Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define UNIT_MAIN(make_suite)          \
    int main(void) {                   \
        return unit_run(make_suite()); \
    }

#endif
