/* lock: the robust lock of a shard, with a bound on how long anybody waits for it.
 *
 * Runs in every worker. The surprise: after one timeout the process does not wait again for 100 ms.
 * With a stopped holder, waiting 2 ms each time cut throughput to about 1 %; this keeps 97 %.
 */
#include "config.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "shm/lock.h"

/* The ThreadSanitizer of Debian 12 (gcc 12, clang 14) knows every lock call but clocklock and would
 * report the unlock; it is told by hand. */
#if !defined(__SANITIZE_THREAD__) && defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#define WAIT_NS (2 * NS_PER_MS)
#define IMPATIENT_NS (100 * NS_PER_MS)
/* Tries before the kernel is asked to wait, about a microsecond: the usual holder is gone within
 * 200 ns, a futex wait costs more. The impatient try as often, else two busy neighbours would miss
 * each other's shard for 100 ms because one of them was once scheduled away in the lock. */
#define SPINS 32

int lock_renew(struct lock *lock) {
    pthread_mutexattr_t attributes;
    if (pthread_mutexattr_init(&attributes) != 0) {
        return -1;
    }
    int result = -1;
    if (pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0 &&
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0 &&
        pthread_mutex_init(&lock->mutex, &attributes) == 0) {
        result = 0;
    }
    pthread_mutexattr_destroy(&attributes);
    return result;
}

int lock_init(struct lock *lock) {
    atomic_store_explicit(&lock->dirty, 0, memory_order_relaxed);
    return lock_renew(lock);
}

static void pause_a_little(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int spin(struct lock *lock) {
    int error = EBUSY;
    for (int i = 0; i < SPINS && error == EBUSY; i++) {
        pause_a_little();
        error = pthread_mutex_trylock(&lock->mutex);
    }
    return error;
}

static int clocklock(pthread_mutex_t *mutex, const struct timespec *until) {
    int error = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, until);
#ifdef __SANITIZE_THREAD__
    if (error == 0 || error == EOWNERDEAD) {
        __tsan_mutex_pre_lock(mutex, __tsan_mutex_try_lock);
        __tsan_mutex_post_lock(mutex, __tsan_mutex_try_lock, 0);
    }
#endif
    return error;
}

/* The slow half of lock_take: somebody holds it. */
static int wait_a_little(struct lock *lock, struct lock_patience *patience) {
    int error = spin(lock);
    if (error != EBUSY) {
        return error;
    }
    int64_t now_ns = clock_mono_ns();
    if (now_ns < patience->impatient_until_ns) {
        return EBUSY;
    }
    int64_t until_ns = now_ns + WAIT_NS;
    struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    error = clocklock(&lock->mutex, &until);
    if (error == ETIMEDOUT) {
        patience->impatient_until_ns = until_ns + IMPATIENT_NS;
    }
    return error;
}

enum lock_result lock_take(struct lock *lock, struct lock_patience *patience) {
    int error = pthread_mutex_trylock(&lock->mutex);
    if (error == EBUSY) {
        error = wait_a_little(lock, patience);
    }
    if (error == 0) {
        FAILPOINT("lock.take.1");
        return LOCK_HELD;
    }
    if (error != EOWNERDEAD) {
        /* EBUSY or ETIMEDOUT. ENOTRECOVERABLE cannot come from us (nobody unlocks before
         * pthread_mutex_consistent), only from damaged bytes: then the shard is lost, not the
         * process. */
        return LOCK_TIMEOUT;
    }
    if (atomic_load_explicit(&lock->dirty, memory_order_acquire) != 0) {
        FAILPOINT("lock.take.2");
        return LOCK_HELD_DIRTY;
    }
    FAILPOINT("lock.repair.1");
    pthread_mutex_consistent(&lock->mutex);
    return LOCK_HELD_CLEAN;
}

void lock_repaired(struct lock *lock) {
    atomic_store_explicit(&lock->dirty, 0, memory_order_release);
    FAILPOINT("lock.repair.2");
    pthread_mutex_consistent(&lock->mutex);
    FAILPOINT("lock.repair.3");
}

/* An exchange, not a store: nothing that follows may be moved before it (a release store would let
 * it), for a killed holder must never have changed bytes while dirty still said 0. */
void lock_change_begin(struct lock *lock) {
    atomic_exchange_explicit(&lock->dirty, 1, memory_order_acq_rel);
    FAILPOINT("lock.change.1");
}

void lock_change_end(struct lock *lock) {
    atomic_store_explicit(&lock->dirty, 0, memory_order_release);
    FAILPOINT("lock.change.2");
}

void lock_release(struct lock *lock) {
    FAILPOINT("lock.release.1");
    pthread_mutex_unlock(&lock->mutex);
}
