/* test_store_procs: four processes on one small store; every answer proves itself. */
#include "config.h"

#include "../../../src/shm/store_layout.h"
#include "store_hammer.h"

struct job {
    struct region *region;
    uint64_t seed;
    size_t value_max;
};

static int work(void *argument) {
    const struct job *job = argument;
    struct store *store = store_open(job->region);
    if (store == NULL) {
        return 3;
    }
    int result = hammer(store, job->seed, 15000, job->value_max);
    if (store_stats(store)->corruptions != 0) {
        result = 4;
    }
    store_close(store);
    return result;
}

START_TEST(four_processes) {
    static const struct {
        int64_t store_bytes;
        size_t value_max;
    } rows[] = {{REGION_STORE_BYTES_MIN, 900}, {1 << 20, 9000}, {8 << 20, 3000}};
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct region *region = test_region_new(rows[row].store_bytes, NULL);
        struct job jobs[4];
        pid_t pids[4];
        for (uint64_t i = 0; i < 4; i++) {
            jobs[i] = (struct job){region, 77 + i, rows[row].value_max};
            pids[i] = test_spawn(work, &jobs[i]);
        }
        for (int i = 0; i < 4; i++) {
            ck_assert_int_eq(test_reap(pids[i]), 0);
        }
        struct store *store = store_open(region);
        ck_assert_ptr_nonnull(store);
        const char *wrong = store_check(store);
        ck_assert_msg(wrong == NULL, "%s", wrong);
        uint64_t entries, bytes, capacity;
        store_usage(store, &entries, &bytes, &capacity);
        ck_assert_uint_gt(entries, 10);
        ck_assert_uint_le(bytes, capacity);
        store_close(store);
        region_destroy(region);
    }
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {four_processes};
    return test_suite("store_procs", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
