/* test_store_kill: processes killed or stopped at every failpoint of the store, and what the others
 * find.
 *
 * This program compiles layer shm once more, with failpoints whatever configure said, and brings
 * its own failpoint_pass: it records which points a piece of work passes, so no list of names can
 * get out of date, and then kills a child at each of them.
 */
#include "config.h"

#include <signal.h>
#include <time.h>

#include "../../../src/shm/region_layout.h"
#include "../../../src/shm/store_layout.h"
#include "base/failpoint.h"
#include "store_hammer.h"

#define HOUR_MS 3600000
#define POINTS_MAX 64

/* -- Our failpoints -- */

static const char *points[POINTS_MAX]; /* passed so far, each once */
static int point_count;
static const char *armed_point; /* where `armed_signal` is raised; NULL: nowhere */
static int armed_signal;

void failpoint_pass(const char *name) {
    if (armed_point != NULL && strcmp(name, armed_point) == 0) {
        raise(armed_signal);
    }
    if (strncmp(name, "store.", 6) != 0) {
        return; /* those of making a region: see test_region_file */
    }
    for (int i = 0; i < point_count; i++) {
        if (strcmp(points[i], name) == 0) {
            return;
        }
    }
    if (point_count < POINTS_MAX) {
        points[point_count++] = name;
    }
}

bool failpoint_fails(const char *name) {
    (void)name;
    return false;
}

/* Passed points that begin with the prefix. */
static int count_points(const char *prefix) {
    int count = 0;
    for (int i = 0; i < point_count; i++) {
        count += strncmp(points[i], prefix, strlen(prefix)) == 0;
    }
    return count;
}

/* -- The work -- */

struct job {
    struct region *region;
    const char *point; /* where the child gets its signal */
    int signal;
};

/* Passes every point of write, delete and evict: replaces, deletes, wraps, moves, fills the index,
 * lets records expire. */
static void work(struct store *store, struct region *region) {
    bool wrong;
    for (uint64_t n = 0; n < 400; n++) {
        test_put(store, n % 150, n, n * 7 % 1500, HOUR_MS);
        test_get(store, n * 3 % 150, UINT64_MAX, &wrong);
        if (n % 10 == 0) {
            test_delete(store, n % 31);
        }
        if (n == 200) {
            region_shift_time(region, 2 * HOUR_MS);
        }
    }
    for (uint64_t n = 1000; n < 1700; n++) {
        test_put(store, n, n, 0, HOUR_MS);
    }
}

static int work_until_hit(void *argument) {
    const struct job *job = argument;
    struct store *store = store_open(job->region);
    armed_point = job->point;
    armed_signal = job->signal;
    work(store, job->region);
    return 9; /* the point was not passed */
}

static void check_after(struct region *region, struct store *store) {
    bool wrong;
    for (uint64_t n = 0; n < 1700; n++) {
        test_get(store, n, UINT64_MAX, &wrong);
        ck_assert(!wrong);
    }
    work(store, region);
    const char *broken = store_check(store);
    ck_assert_msg(broken == NULL, "%s", broken);
    ck_assert_uint_eq(store_stats(store)->corruptions, 0);
}

static uint64_t recoveries(const struct store *store) {
    const struct store_stats *stats = store_stats(store);
    return stats->recoveries_clean + stats->recoveries_rebuilt + stats->recoveries_emptied;
}

static void kill_at(struct region *region, const char *point) {
    struct job job = {region, point, SIGKILL};
    int status = test_reap(test_spawn(work_until_hit, &job));
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: status %d", point,
                  status);
}

/* The points of write, delete and evict, found by doing the work once. */
static void learn_points(void) {
    struct region *region = test_region_new(REGION_STORE_BYTES_MIN, NULL);
    struct store *store = store_open(region);
    work(store, region);
    store_close(store);
    region_destroy(region);
    ck_assert_int_eq(count_points("store.write."), 9);
    ck_assert_int_eq(count_points("store.delete."), 4);
    ck_assert_int_eq(count_points("store.evict."), 10);
}

START_TEST(killed_at_every_point) {
    learn_points();
    int known = point_count;
    for (int i = 0; i < known; i++) {
        struct region *region = test_region_new(REGION_STORE_BYTES_MIN, NULL);
        struct store *store = store_open(region);
        kill_at(region, points[i]);
        check_after(region, store);
        ck_assert_uint_eq(store_stats(store)->recoveries_rebuilt, 1);
        ck_assert_uint_eq(recoveries(store), 1);
        store_close(store);
        region_destroy(region);
    }
}
END_TEST

/* Takes the damaged store's lock and is killed while it repairs. */
static int repair_until_hit(void *argument) {
    const struct job *job = argument;
    struct store *store = store_open(job->region);
    armed_point = job->point;
    armed_signal = job->signal;
    bool wrong;
    test_get(store, 1, UINT64_MAX, &wrong);
    return 9;
}

START_TEST(killed_in_every_repair) {
    static const struct {
        const char *point;
        bool broken_log; /* the repair empties the shard */
    } rows[] = {
        {"store.repair.1", true},  {"store.repair.2", true},  {"store.repair.3", false},
        {"store.repair.4", false}, {"store.repair.5", false}, {"store.repair.6", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct region *region = test_region_new(REGION_STORE_BYTES_MIN, NULL);
        struct store *store = store_open(region);
        kill_at(region, "store.write.7");
        if (rows[i].broken_log) {
            struct shard *shard = (struct shard *)(void *)store->shards;
            atomic_store(&record_at(shard, shard_ends(shard).tail)->kind, 0);
        }
        struct job job = {region, rows[i].point, SIGKILL};
        for (int deaths = 0; deaths < 2; deaths++) {
            int status = test_reap(test_spawn(repair_until_hit, &job));
            /* The second repair of a broken log finds an empty one and passes no point 1 or 2. */
            bool again = !rows[i].broken_log || deaths == 0;
            ck_assert_int_eq(WIFSIGNALED(status), again);
        }
        check_after(region, store);
        ck_assert_uint_eq(store_stats(store)->recoveries_rebuilt, !rows[i].broken_log);
        ck_assert_uint_eq(recoveries(store), !rows[i].broken_log);
        store_close(store);
        region_destroy(region);
    }
}
END_TEST

START_TEST(broken_log_is_emptied) {
    struct region *region = test_region_new(REGION_STORE_BYTES_MIN, NULL);
    struct store *store = store_open(region);
    kill_at(region, "store.evict.6");
    struct shard *shard = (struct shard *)(void *)store->shards;
    atomic_store(&record_at(shard, shard_ends(shard).tail)->kind, 0);
    bool wrong;
    ck_assert_int_eq(test_get(store, 1, UINT64_MAX, &wrong), STORE_MISS);
    ck_assert_uint_eq(store_stats(store)->recoveries_emptied, 1);
    uint64_t entries, bytes, capacity;
    store_usage(store, &entries, &bytes, &capacity);
    ck_assert_uint_eq(entries + bytes, 0);
    check_after(region, store);
    store_close(store);
    region_destroy(region);
}
END_TEST

/* -- One put of key 1 over an older version, killed in the middle -- */

static int replace_until_hit(void *argument) {
    const struct job *job = argument;
    struct store *store = store_open(job->region);
    armed_point = job->point;
    armed_signal = job->signal;
    test_put(store, 1, 2, 700, HOUR_MS);
    return 9;
}

START_TEST(put_is_all_or_nothing) {
    static const struct {
        const char *point;
        enum store_result older, newer;
    } rows[] = {
        {"store.write.1", STORE_HIT, STORE_MISS},   {"store.delete.1", STORE_HIT, STORE_MISS},
        {"store.delete.2", STORE_MISS, STORE_MISS}, {"store.delete.3", STORE_MISS, STORE_MISS},
        {"store.delete.4", STORE_MISS, STORE_MISS}, {"store.write.2", STORE_MISS, STORE_MISS},
        {"store.write.3", STORE_MISS, STORE_MISS},  {"store.write.4", STORE_MISS, STORE_MISS},
        {"store.write.5", STORE_MISS, STORE_MISS},  {"store.write.6", STORE_MISS, STORE_MISS},
        {"store.write.7", STORE_MISS, STORE_HIT},   {"store.write.8", STORE_MISS, STORE_HIT},
        {"store.write.9", STORE_MISS, STORE_HIT},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct region *region = test_region_new(REGION_STORE_BYTES_MIN, NULL);
        struct store *store = store_open(region);
        for (uint64_t n = 0; n < 20; n++) {
            test_put(store, n, 1, 600, HOUR_MS);
        }
        struct job job = {region, rows[i].point, SIGKILL};
        ck_assert(WIFSIGNALED(test_reap(test_spawn(replace_until_hit, &job))));
        bool not_older, not_newer;
        enum store_result older = test_get(store, 1, 1, &not_older);
        enum store_result newer = test_get(store, 1, 2, &not_newer);
        ck_assert_int_eq(older == STORE_HIT && !not_older, rows[i].older == STORE_HIT);
        ck_assert_int_eq(newer == STORE_HIT && !not_newer, rows[i].newer == STORE_HIT);
        for (uint64_t n = 2; n < 20; n++) { /* the neighbours lost nothing */
            bool wrong;
            ck_assert_int_eq(test_get(store, n, 1, &wrong), STORE_HIT);
            ck_assert(!wrong);
        }
        const char *broken = store_check(store);
        ck_assert_msg(broken == NULL, "%s: %s", rows[i].point, broken);
        store_close(store);
        region_destroy(region);
    }
}
END_TEST

/* -- Stopped inside the lock -- */

static int64_t mono_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A key of the shard that key 1 lies in, or of the other of two. */
static uint64_t key_in(bool same_shard) {
    uint8_t one[STORE_KEY_SIZE], other[STORE_KEY_SIZE];
    test_key(1, one);
    for (uint64_t n = 2;; n++) {
        test_key(n, other);
        if (((one[0] ^ other[0]) & 1) == !same_shard) {
            return n;
        }
    }
}

START_TEST(stopped_holder_costs_little) {
    struct region *region = test_region_new(8 << 20, NULL);
    struct store *store = store_open(region);
    ck_assert_uint_eq(store->shard_count, 2);
    uint64_t beside = key_in(true), elsewhere = key_in(false);
    test_put(store, 1, 1, 700, HOUR_MS);
    test_put(store, beside, 1, 700, HOUR_MS);
    test_put(store, elsewhere, 1, 700, HOUR_MS);
    struct job job = {region, "store.write.5", SIGSTOP};
    pid_t pid = test_spawn(replace_until_hit, &job);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    ck_assert(WIFSTOPPED(status));

    bool wrong;
    int64_t begin_ms = mono_ms();
    for (uint64_t i = 1; i <= 1000; i++) {
        ck_assert_int_eq(test_get(store, i % 2 == 0 ? 1 : beside, 1, &wrong), STORE_MISS);
        ck_assert_uint_eq(store_stats(store)->lock_timeouts, i);
        ck_assert_int_eq(test_get(store, elsewhere, 1, &wrong), STORE_HIT);
    }
    /* Waiting 2 ms each time would be 2,000 ms and more. */
    ck_assert_int_lt(mono_ms() - begin_ms, 1000);
    ck_assert_int_eq(test_put(store, beside, 2, 10, HOUR_MS), STORE_PUT_BUSY);
    ck_assert_int_eq(test_put(store, elsewhere, 2, 10, HOUR_MS), STORE_PUT_DONE);

    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    ck_assert_int_eq(WEXITSTATUS(test_reap(pid)), 9); /* it finished its put */
    ck_assert_int_eq(test_get(store, 1, 2, &wrong), STORE_HIT);
    ck_assert(!wrong);
    ck_assert_int_eq(test_get(store, beside, 1, &wrong), STORE_HIT);
    ck_assert_uint_eq(recoveries(store), 0);
    store_close(store);
    region_destroy(region);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {
        killed_at_every_point, killed_in_every_repair,      broken_log_is_emptied,
        put_is_all_or_nothing, stopped_holder_costs_little,
    };
    return test_suite("store_kill", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
