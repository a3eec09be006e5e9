/* test_lock: owners that die, clean and dirty; holders that do not let go. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "shm/lock.h"
#include "shm_test.h"

static struct lock *lock_new(void) {
    struct lock *lock =
        mmap(NULL, sizeof(*lock), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(lock, MAP_FAILED);
    ck_assert_int_eq(lock_init(lock), 0);
    return lock;
}

static int die_clean(void *argument) {
    struct lock_patience patience = {0};
    lock_take(argument, &patience);
    lock_change_begin(argument);
    lock_change_end(argument);
    return raise(SIGKILL);
}

static int die_dirty(void *argument) {
    struct lock_patience patience = {0};
    lock_take(argument, &patience);
    lock_change_begin(argument);
    return raise(SIGKILL);
}

/* Gets the lock in a repair and dies again. */
static int die_repairing(void *argument) {
    struct lock_patience patience = {0};
    if (lock_take(argument, &patience) != LOCK_HELD_DIRTY) {
        return 1;
    }
    return raise(SIGKILL);
}

START_TEST(deaths) {
    struct lock *lock = lock_new();
    struct lock_patience patience = {0};
    ck_assert_int_eq(lock_take(lock, &patience), LOCK_HELD);
    lock_release(lock);

    ck_assert(WIFSIGNALED(test_reap(test_spawn(die_clean, lock))));
    ck_assert_int_eq(lock_take(lock, &patience), LOCK_HELD_CLEAN);
    lock_release(lock);
    ck_assert_int_eq(lock_take(lock, &patience), LOCK_HELD);
    lock_release(lock);

    ck_assert(WIFSIGNALED(test_reap(test_spawn(die_dirty, lock))));
    ck_assert(WIFSIGNALED(test_reap(test_spawn(die_repairing, lock))));
    ck_assert_int_eq(lock_take(lock, &patience), LOCK_HELD_DIRTY);
    lock_repaired(lock);
    lock_release(lock);
    ck_assert_int_eq(lock_take(lock, &patience), LOCK_HELD);
    lock_release(lock);
    ck_assert_int_eq(patience.impatient_until_ns, 0);
    munmap(lock, sizeof(*lock));
}
END_TEST

/* Held by a child that waits to be killed. */
static int hold(void *argument) {
    struct lock_patience patience = {0};
    lock_take(argument, &patience);
    return raise(SIGSTOP);
}

START_TEST(patience_ends) {
    struct lock *lock = lock_new();
    pid_t pid = test_spawn(hold, lock);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    ck_assert(WIFSTOPPED(status));

    struct lock_patience patience = {0};
    int64_t before = clock_mono_ns();
    ck_assert_int_eq(lock_take(lock, &patience), LOCK_TIMEOUT);
    int64_t until = patience.impatient_until_ns;
    ck_assert_int_ge(clock_mono_ns(), before + 2 * NS_PER_MS);
    ck_assert_int_ge(until, before + 100 * NS_PER_MS);
    /* Impatient: no wait, so patience is not used up anew. */
    patience.impatient_until_ns = until = INT64_MAX;
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(lock_take(lock, &patience), LOCK_TIMEOUT);
        ck_assert_int_eq(patience.impatient_until_ns, until);
    }
    /* The time is over: it waits once more. */
    before = clock_mono_ns();
    patience.impatient_until_ns = before;
    ck_assert_int_eq(lock_take(lock, &patience), LOCK_TIMEOUT);
    ck_assert_int_ge(patience.impatient_until_ns, before + 100 * NS_PER_MS);
    /* Impatience does not keep it from a free lock. */
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    test_reap(pid);
    patience.impatient_until_ns = INT64_MAX;
    ck_assert_int_eq(lock_take(lock, &patience), LOCK_HELD_CLEAN);
    lock_release(lock);
    munmap(lock, sizeof(*lock));
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {deaths, patience_ends};
    return test_suite("lock", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
