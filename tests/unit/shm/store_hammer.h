/* store_hammer: random work on a store that checks whatever it is answered; for processes, threads
 * and what is about to be killed.
 */
#ifndef OPTIROUTE_TESTS_STORE_HAMMER_H
#define OPTIROUTE_TESTS_STORE_HAMMER_H

#include "shm_test.h"

#define HAMMER_KEYS 300

/* 0 when every hit proved itself. */
static inline int hammer(struct store *store, uint64_t seed, int turns, size_t value_max) {
    for (int turn = 0; turn < turns; turn++) {
        uint64_t choice = test_random(&seed) % 100;
        uint64_t number = test_random(&seed) % HAMMER_KEYS;
        if (choice < 60) {
            bool wrong;
            test_get(store, number, UINT64_MAX, &wrong);
            if (wrong) {
                return 1;
            }
        } else if (choice < 95) {
            size_t size = test_random(&seed) % value_max;
            int64_t ttl_ms = choice == 60 ? 1 : 3600000;
            if (test_put(store, number, test_random(&seed), size, ttl_ms) == STORE_PUT_REFUSED) {
                return 2;
            }
        } else {
            test_delete(store, number);
        }
    }
    return 0;
}

#endif
