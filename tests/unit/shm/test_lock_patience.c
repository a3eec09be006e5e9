/* test_lock_patience (K3): how long anybody waits for a lock whose holder is stopped: 2 ms in 100
 * ms, to the nanosecond.
 *
 * This program brings its own clock and its own pthread_mutex_clocklock, which lets that clock run
 * for as long as the wait would have taken. So nothing here takes time and nothing can be late.
 */
#include "config.h"

#include <errno.h>

#include "base/clock.h"
#include "shm/lock.h"
#include "shm_test.h"

#define WAITS_MAX 200

static int64_t now_ns; /* our clock */
static struct { int64_t begin_ns, length_ns; } waits[WAITS_MAX];
static int wait_count;

int64_t clock_mono_ns(void) {
    return now_ns;
}

/* All of base/clock, so that the library's is not linked. */
int64_t clock_boot_ns(void) {
    return now_ns;
}

int64_t clock_wall_ns(void) {
    return now_ns;
}

/* The holder does not let go. */
int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
    (void)mutex;
    ck_assert_int_eq(clock, CLOCK_MONOTONIC);
    ck_assert_int_lt(wait_count, WAITS_MAX);
    int64_t until_ns = (int64_t)until->tv_sec * NS_PER_S + until->tv_nsec;
    waits[wait_count].begin_ns = now_ns;
    waits[wait_count++].length_ns = until_ns - now_ns;
    now_ns = until_ns;
    return ETIMEDOUT;
}

/* A lock that this very process holds: for trylock no better than somebody else's. */
static void hold(struct lock *lock) {
    now_ns = 7 * NS_PER_S;
    wait_count = 0;
    ck_assert_int_eq(lock_init(lock), 0);
    ck_assert_int_eq(pthread_mutex_lock(&lock->mutex), 0);
}

START_TEST(two_ms_in_a_hundred) {
    static const int64_t pauses_ns[] = {1,        10 * NS_PER_US, NS_PER_MS, 33 * NS_PER_MS,
                                        99999999, 100 * NS_PER_MS};
    for (size_t i = 0; i < sizeof(pauses_ns) / sizeof(pauses_ns[0]); i++) {
        struct lock lock;
        struct lock_patience patience = {0};
        hold(&lock);
        /* Five seconds, or so much of them as the shortest pauses come to. */
        int64_t end_ns = now_ns + 5 * NS_PER_S;
        for (int turn = 0; turn < 100000 && now_ns < end_ns; turn++) {
            ck_assert_int_eq(lock_take(&lock, &patience), LOCK_TIMEOUT);
            now_ns += pauses_ns[i];
        }
        ck_assert_int_ge(wait_count, now_ns < end_ns ? 1 : 25);
        for (int n = 0; n < wait_count; n++) {
            ck_assert_int_eq(waits[n].length_ns, 2 * NS_PER_MS);
            ck_assert(n == 0 || waits[n].begin_ns - waits[n - 1].begin_ns >= 102 * NS_PER_MS);
        }
        pthread_mutex_unlock(&lock.mutex);
    }
}
END_TEST

START_TEST(impatience_does_not_outlive_the_stop) {
    struct lock lock;
    struct lock_patience patience = {0};
    hold(&lock);
    ck_assert_int_eq(lock_take(&lock, &patience), LOCK_TIMEOUT);
    ck_assert_int_eq(lock_take(&lock, &patience), LOCK_TIMEOUT);
    ck_assert_int_eq(wait_count, 1);
    pthread_mutex_unlock(&lock.mutex); /* SIGCONT */
    ck_assert_int_eq(lock_take(&lock, &patience), LOCK_HELD);
    lock_release(&lock);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {two_ms_in_a_hundred, impatience_does_not_outlive_the_stop};
    return test_suite("lock_patience", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
