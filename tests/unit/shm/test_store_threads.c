/* test_store_threads: the same with threads, each with its own handle, so that ThreadSanitizer sees
 * what processes do: store, counters, gauges and names on one region.
 */
#include "config.h"

#include <pthread.h>

#include "../../../src/shm/store_layout.h"
#include "shm/board.h"
#include "shm/counters.h"
#include "shm/names.h"
#include "shm/word.h"
#include "store_hammer.h"

#define THREADS 4
#define TURNS 4000

struct job {
    struct region *region;
    unsigned number;
    int result;
};

static void *work(void *argument) {
    struct job *job = argument;
    struct store *store = store_open(job->region);
    if (store == NULL) {
        job->result = 3;
        return NULL;
    }
    counter_cell *row = counters_row(job->region, job->number);
    struct board_gauges *gauges = board_gauges(job->region, (int)job->number);
    for (int i = 0; i < TURNS / 100 && job->result == 0; i++) {
        job->result = hammer(store, job->number * 1000 + (unsigned)i + 1, 100, 1500);
        counter_add(&row[1], 100);
        atomic_fetch_add_explicit(&gauges->connections, 1, memory_order_relaxed);
        board_beat(job->region, (int)job->number);
        uint64_t seen = word_load(job->region, 0);
        while (!word_cas(job->region, 0, &seen, seen + 1)) {
        }
    }
    if (store_stats(store)->corruptions != 0) {
        job->result = 4;
    }
    store_close(store);
    return NULL;
}

/* What the metrics worker does meanwhile, and the master with its names. */
static void watch(struct region *region, const struct store *store) {
    uint64_t last = 0, entries, bytes, capacity;
    int64_t connections, idle, in_flight;
    char name[REGION_NAME_SIZE];
    for (int i = 0; i < REGION_PAIRS; i++) {
        uint64_t sum = counters_sum(region, 1);
        ck_assert_uint_ge(sum, last);
        last = sum;
        store_usage(store, &entries, &bytes, &capacity);
        ck_assert_uint_le(bytes, capacity);
        board_sum_gauges(region, &connections, &idle, &in_flight);
        snprintf(name, sizeof(name), "pair\n%d", i);
        ck_assert_int_eq(names_add(region, NAMES_PAIR, name), i);
    }
}

START_TEST(four_threads) {
    static const int64_t caps[] = {REGION_STORE_BYTES_MIN, 8 << 20};
    for (size_t cap = 0; cap < sizeof(caps) / sizeof(caps[0]); cap++) {
        struct region *region = test_region_new(caps[cap], NULL);
        struct store *store = store_open(region);
        ck_assert_ptr_nonnull(store);
        struct job jobs[THREADS] = {{0}};
        pthread_t threads[THREADS];
        for (unsigned i = 0; i < THREADS; i++) {
            ck_assert_int_eq(board_claim(region, BOARD_WORKER, 1), (int)i);
            jobs[i] = (struct job){region, i, 0};
            ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
        }
        watch(region, store);
        for (unsigned i = 0; i < THREADS; i++) {
            ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
            ck_assert_int_eq(jobs[i].result, 0);
        }
        ck_assert_uint_eq(counters_sum(region, 1), THREADS * TURNS);
        ck_assert_uint_eq(word_load(region, 0), THREADS * TURNS / 100);
        const char *wrong = store_check(store);
        ck_assert_msg(wrong == NULL, "%s", wrong);
        store_close(store);
        region_destroy(region);
    }
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {four_threads};
    return test_suite("store_threads", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
