/* shm_test: what the tests of layer shm share: regions, keys, values that prove themselves, and
 * children.
 */
#ifndef OPTIROUTE_TESTS_SHM_TEST_H
#define OPTIROUTE_TESTS_SHM_TEST_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "shm/region.h"
#include "shm/store.h"
#include "unit.h"

#define TEST_CELLS 20u
#define TEST_VALUE_MAX (256u << 10)

static inline struct region *test_region_new(int64_t store_bytes, const char *path) {
    struct region_params params = {
        .store_bytes = store_bytes, .path = path, .counter_cells = TEST_CELLS, .counter_layout = 7};
    char error[256] = "";
    struct region *region = region_create(&params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    return region;
}

/* Stands for a SHA-256: spread over all bytes. */
static inline void test_key(uint64_t number, uint8_t key[STORE_KEY_SIZE]) {
    for (uint64_t i = 0; i < STORE_KEY_SIZE / 8; i++) {
        uint64_t part = hash64(&number, sizeof(number), 1000 + i);
        memcpy(key + 8 * i, &part, sizeof(part));
    }
}

/* The value of (key number, version): every byte follows from them. */
static inline void test_value(uint64_t number, uint64_t version, char *out, size_t size) {
    uint64_t parts[2] = {number, version};
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = at == 0 ? version : hash64(parts, sizeof(parts), at);
        memcpy(out + at, &word, size - at < 8 ? size - at : 8);
    }
}

/* True when the bytes are the value of the number in some version that they name themselves. */
static inline bool test_value_is_of(uint64_t number, const char *value, size_t size) {
    static _Thread_local char expected[TEST_VALUE_MAX];
    uint64_t version = 0;
    memcpy(&version, value, size < 8 ? size : 8);
    test_value(number, version, expected, size);
    return memcmp(expected, value, size) == 0;
}

/* xorshift64*: the same numbers each run. */
static inline uint64_t test_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static inline enum store_put_result test_put(struct store *store, uint64_t number, uint64_t version,
                                             size_t size, int64_t ttl_ms) {
    static _Thread_local char value[TEST_VALUE_MAX];
    uint8_t key[STORE_KEY_SIZE];
    test_key(number, key);
    test_value(number, version, value, size);
    return store_put(store, key, bytes_make(value, size), ttl_ms);
}

/* HIT only with a value that proves itself and, unless version is UINT64_MAX, is that version. */
static inline enum store_result test_get(struct store *store, uint64_t number, uint64_t version,
                                         bool *wrong) {
    static _Thread_local char value[TEST_VALUE_MAX];
    uint8_t key[STORE_KEY_SIZE];
    size_t size = 0;
    test_key(number, key);
    enum store_result result = store_get(store, key, INT64_MAX, value, sizeof(value), &size, NULL);
    *wrong = false;
    if (result == STORE_HIT) {
        uint64_t got = 0;
        memcpy(&got, value, size < 8 ? size : 8);
        *wrong = !test_value_is_of(number, value, size) ||
                 (version != UINT64_MAX && size >= 8 && got != version);
    }
    return result;
}

static inline bool test_delete(struct store *store, uint64_t number) {
    uint8_t key[STORE_KEY_SIZE];
    test_key(number, key);
    return store_delete(store, key);
}

/* Waits for the child and tells its wait status. */
static inline int test_reap(pid_t pid) {
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* Runs body(argument) in a child; the child's exit status is what body returns. */
static inline pid_t test_spawn(int (*body)(void *argument), void *argument) {
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ne(pid, -1);
    if (pid == 0) {
        _exit(body(argument));
    }
    return pid;
}

static inline Suite *test_suite(const char *name, const TTest *const *tests, size_t count) {
    Suite *suite = suite_create(name);
    TCase *cases = tcase_create(name);
    tcase_set_timeout(cases, 180); /* a sanitizer on a busy machine; nothing here waits */
    for (size_t i = 0; i < count; i++) {
        tcase_add_test(cases, tests[i]);
    }
    suite_add_tcase(suite, cases);
    return suite;
}

#endif
