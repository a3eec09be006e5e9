/* test_store_stopped (K3): a worker stopped inside a shard's lock, three others that go on.
 *
 * What can be counted is counted: hits, misses, timeouts, and how often a process waited for a lock
 * in the kernel, which our pthread_mutex_clocklock notes. The strict figures in time are those of
 * tests/stress/stopped.py; test_lock_patience proves the bound on a clock of its own.
 */
#include "config.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>

#include "../../../src/shm/store_layout.h"
#include "base/clock.h"
#include "kill_test.h"

#define HOUR_MS 3600000
#define SHARDS 8u
#define KEYS 400u
#define WORKERS 3
#define STOPPED_NS (300 * NS_PER_MS)
#define BATCHES 100 /* at least, should a worker not be run for so long */
#define IMPATIENT_NS (100 * NS_PER_MS)

/* What a worker saw; in memory that is shared with the test. */
struct row {
    uint64_t stuck_hits, stuck_misses;
    uint64_t other_hits, other_misses, wrong;
    uint64_t stuck_puts, other_puts; /* that were done */
    uint64_t timeouts;
    int64_t waits; /* for a lock, in the kernel */
    int64_t ran_ns;
};

struct world {
    struct region *region;
    struct store *store;
    struct row *rows;
    int worker; /* whose turn it is to be forked */
};

static uint32_t shard_of(uint64_t key) {
    uint8_t bytes[STORE_KEY_SIZE];
    uint32_t part;
    test_key(key, bytes);
    memcpy(&part, bytes, sizeof(part));
    return part % SHARDS;
}

static bool is_stuck(uint64_t key) {
    return shard_of(key) == shard_of(1);
}

static void setup(struct world *world) {
    world->region = test_region_new((int64_t)SHARDS << 22, NULL);
    world->store = store_open(world->region);
    ck_assert_uint_eq(world->store->shard_count, SHARDS);
    world->rows = mmap(NULL, WORKERS * sizeof(world->rows[0]), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(world->rows, MAP_FAILED);
    for (uint64_t key = 0; key < KEYS; key++) {
        ck_assert_int_eq(test_put(world->store, key, 1, 700, HOUR_MS), STORE_PUT_DONE);
    }
}

static void teardown(struct world *world) {
    munmap(world->rows, WORKERS * sizeof(world->rows[0]));
    store_close(world->store);
    region_destroy(world->region);
}

/* Stops itself in the middle of replacing key 1, and then finishes. */
static int replace_key_1(void *argument) {
    struct world *world = argument;
    kill_arm("store.write.5", 1, SIGSTOP);
    return test_put(world->store, 1, 2, 700, HOUR_MS) == STORE_PUT_DONE ? 0 : 1;
}

static pid_t stop_a_worker(struct world *world) {
    int status;
    pid_t pid = test_spawn(replace_key_1, world);
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    ck_assert(WIFSTOPPED(status));
    return pid;
}

typedef int clocklock_fn(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until);

static int64_t waits; /* of this process */

/* Instead of libc's, for this program. */
int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
    clocklock_fn *real = (clocklock_fn *)dlsym(RTLD_NEXT, "pthread_mutex_clocklock");
    waits++;
    return real(mutex, clock, until);
}

static void ask(struct store *store, struct row *row, uint64_t key) {
    bool wrong;
    bool hit = test_get(store, key, 1, &wrong) == STORE_HIT;
    row->wrong += wrong;
    if (is_stuck(key)) {
        row->stuck_hits += hit;
        row->stuck_misses += !hit;
    } else {
        row->other_hits += hit;
        row->other_misses += !hit;
    }
}

/* Mostly reads; a write of each kind for a hundred of them. */
static int go_on(void *argument) {
    struct world *world = argument;
    struct row *row = &world->rows[world->worker];
    struct store *store = store_open(world->region);
    uint64_t random = 77 + (uint64_t)world->worker;
    int64_t begin_ns = clock_mono_ns();
    waits = 0;
    for (int batch = 0; batch < BATCHES || row->ran_ns < STOPPED_NS; batch++) {
        for (int i = 0; i < 100; i++) {
            ask(store, row, test_random(&random) % KEYS);
        }
        uint64_t key = test_random(&random) % KEYS;
        *(is_stuck(key) ? &row->stuck_puts : &row->other_puts) +=
            test_put(store, key, 1, 700, HOUR_MS) == STORE_PUT_DONE;
        row->ran_ns = clock_mono_ns() - begin_ns;
    }
    row->waits = waits;
    row->timeouts = store_stats(store)->lock_timeouts;
    return 0;
}

START_TEST(others_go_on_beside_a_stopped_worker) {
    struct world world;
    setup(&world);
    pid_t stopped = stop_a_worker(&world);
    pid_t pids[WORKERS];
    for (world.worker = 0; world.worker < WORKERS; world.worker++) {
        pids[world.worker] = test_spawn(go_on, &world);
    }
    for (int i = 0; i < WORKERS; i++) {
        ck_assert_int_eq(test_reap(pids[i]), 0);
        const struct row *row = &world.rows[i];
        ck_assert_uint_eq(row->wrong, 0);
        ck_assert_uint_eq(row->stuck_hits + row->stuck_puts, 0);
        ck_assert_uint_gt(row->stuck_misses, 0);
        ck_assert_uint_ge(row->timeouts, row->stuck_misses);
        /* On a busy machine they miss each other's shards: who is scheduled away in its lock. That
         * is two more of the eight at most, so the others are more than half. */
        ck_assert_uint_gt(row->other_hits, row->other_misses + row->stuck_misses);
        ck_assert_uint_gt(row->other_puts, 0);
    }
    ck_assert_int_eq(kill(stopped, SIGCONT), 0);
    ck_assert_int_eq(test_reap(stopped), 0);
    bool wrong;
    ck_assert_int_eq(test_get(world.store, 1, 2, &wrong), STORE_HIT); /* it finished its put */
    ck_assert(!wrong);
    for (uint64_t key = 0; key < KEYS; key++) {
        ck_assert_int_eq(test_get(world.store, key, key == 1 ? 2 : 1, &wrong), STORE_HIT);
        ck_assert(!wrong);
    }
    const struct store_stats *stats = store_stats(world.store);
    ck_assert_uint_eq(stats->recoveries_clean + stats->recoveries_rebuilt, 0);
    ck_assert_ptr_null(store_check(world.store));
    teardown(&world);
}
END_TEST

/* One worker alone, so that nobody but the stopped one can make it wait. */
START_TEST(one_wait_in_a_hundred_ms) {
    struct world world;
    setup(&world);
    pid_t stopped = stop_a_worker(&world);
    world.worker = 0;
    ck_assert_int_eq(test_reap(test_spawn(go_on, &world)), 0);
    const struct row *row = &world.rows[0];
    ck_assert_uint_eq(row->other_misses, 0);
    ck_assert_uint_eq(row->stuck_hits, 0);
    ck_assert_int_ge(row->waits, 1);
    ck_assert_int_le(row->waits, row->ran_ns / IMPATIENT_NS + 1);
    ck_assert_int_eq(kill(stopped, SIGCONT), 0);
    ck_assert_int_eq(test_reap(stopped), 0);
    teardown(&world);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {others_go_on_beside_a_stopped_worker, one_wait_in_a_hundred_ms};
    return test_suite("store_stopped", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
