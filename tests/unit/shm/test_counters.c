/* test_counters: rows add up over processes and heirs, and readers never see them go back. */
#include "config.h"

#include "shm/counters.h"
#include "shm_test.h"

#define ADDITIONS 200000

struct writer {
    struct region *region;
    unsigned row;
};

static int write_row(void *argument) {
    const struct writer *writer = argument;
    counter_cell *row = counters_row(writer->region, writer->row);
    for (int i = 0; i < ADDITIONS; i++) {
        counter_add(&row[3], 2);
    }
    return 0;
}

START_TEST(sum_over_processes_never_goes_back) {
    struct region *region = test_region_new(0, NULL);
    struct writer writers[3] = {{region, 0}, {region, 64}, {region, REGION_MASTER_ROW}};
    pid_t pids[3];
    for (int i = 0; i < 3; i++) {
        pids[i] = test_spawn(write_row, &writers[i]);
    }
    uint64_t last = 0;
    for (int done = 0; done < 3;) {
        uint64_t sum = counters_sum(region, 3);
        ck_assert_uint_ge(sum, last);
        last = sum;
        int status;
        if (waitpid(pids[done], &status, WNOHANG) == pids[done]) {
            ck_assert_int_eq(status, 0);
            done++;
        }
    }
    ck_assert_uint_eq(counters_sum(region, 3), 3 * 2 * ADDITIONS);
    ck_assert_uint_eq(counters_sum(region, 2), 0);
    region_destroy(region);
}
END_TEST

START_TEST(heir_continues_the_row) {
    struct region *region = test_region_new(0, NULL);
    struct writer writer = {region, 5};
    for (uint64_t heirs = 1; heirs <= 3; heirs++) {
        ck_assert_int_eq(test_reap(test_spawn(write_row, &writer)), 0);
        ck_assert_uint_eq(counters_sum(region, 3), heirs * 2 * ADDITIONS);
    }
    region_destroy(region);
}
END_TEST

START_TEST(rows_share_no_cache_line_and_wrap) {
    struct region *region = test_region_new(0, NULL);
    for (unsigned row = 0; row < REGION_ROWS; row++) {
        counter_cell *cells = counters_row(region, row);
        ck_assert_uint_eq((uintptr_t)cells % 64, 0);
        for (unsigned cell = 0; cell < TEST_CELLS; cell++) {
            counter_add(&cells[cell], row + 1);
        }
    }
    uint64_t expected = (uint64_t)REGION_ROWS * (REGION_ROWS + 1) / 2;
    for (unsigned cell = 0; cell < TEST_CELLS; cell++) {
        ck_assert_uint_eq(counters_sum(region, cell), expected);
    }
    counter_add(&counters_row(region, 0)[0], UINT64_MAX);
    ck_assert_uint_eq(counters_sum(region, 0), expected - 1);
    region_destroy(region);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {
        sum_over_processes_never_goes_back,
        heir_continues_the_row,
        rows_share_no_cache_line_and_wrap,
    };
    return test_suite("counters", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
