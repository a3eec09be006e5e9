/* lock: a robust, process-shared mutex with a dirty word: the lock of a store shard.
 *
 * doc/shm.md, Locks: trylock, then pthread_mutex_clocklock(CLOCK_MONOTONIC) for at most 2 ms;
 * after a timeout this process only tries this lock without waiting for 100 ms. When the owner
 * died, LOCK_DEAD_DIRTY asks the caller to repair before it goes on; a clean death is made
 * consistent here. Under the lock: no malloc, no log, no system call, no callback.
 */
#ifndef OPTIROUTE_SHM_LOCK_H
#define OPTIROUTE_SHM_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* Lives in shared memory. */
struct lock {
    pthread_mutex_t mutex;
    _Atomic uint32_t dirty; /* 1 while the holder changes what the lock guards */
};

/* Process-local companion of one lock. */
struct lock_patience {
    int64_t impatient_until_ns; /* monotonic; before it only trylock */
};

enum lock_result {
    LOCK_HELD,       /* ours, all is well */
    LOCK_HELD_CLEAN, /* ours; the owner died while it changed nothing (count a clean recovery) */
    LOCK_HELD_DIRTY, /* ours; the owner died in a change: repair, then lock_repaired */
    LOCK_TIMEOUT     /* not ours: a miss or a skipped store (count it) */
};

int lock_init(struct lock *lock);
/* The mutex anew, whatever its bytes say, and dirty as it was. Only while no other process has the
 * lock mapped: one that was saved while it was held would time out for ever. */
int lock_renew(struct lock *lock);
enum lock_result lock_take(struct lock *lock, struct lock_patience *patience);
/* After LOCK_HELD_DIRTY once the guarded bytes are whole again: dirty = 0, mutex consistent. Still
 * held. */
void lock_repaired(struct lock *lock);
void lock_change_begin(struct lock *lock);
void lock_change_end(struct lock *lock);
void lock_release(struct lock *lock);

#endif
