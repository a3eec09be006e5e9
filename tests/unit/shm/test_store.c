/* test_store: one process against a simple model; the cap, time, second chance, wrap-around. */
#include "config.h"

#include "../../../src/shm/region_layout.h"
#include "../../../src/shm/store_layout.h"
#include "shm_test.h"

#define HOUR_MS 3600000

static struct store *store_of(struct region *region) {
    struct store *store = store_open(region);
    ck_assert_ptr_nonnull(store);
    return store;
}

static void check_whole(struct store *store) {
    const char *wrong = store_check(store);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}

static enum store_result get(struct store *store, uint64_t number, uint64_t version) {
    bool wrong;
    enum store_result result = test_get(store, number, version, &wrong);
    ck_assert(!wrong);
    return result;
}

START_TEST(basics) {
    struct region *region = test_region_new(1 << 20, NULL);
    struct store *store = store_of(region);
    uint8_t key[STORE_KEY_SIZE];
    test_key(1, key);
    char out[16] = "";
    size_t size = 99;
    ck_assert_int_eq(store_get(store, key, INT64_MAX, out, sizeof(out), &size, NULL), STORE_MISS);
    ck_assert(!store_delete(store, key));
    ck_assert_int_eq(store_put(store, key, bytes_from_str("hello"), HOUR_MS), STORE_PUT_DONE);
    ck_assert_int_eq(store_get(store, key, INT64_MAX, out, 4, &size, NULL), STORE_TOO_SMALL);
    ck_assert_uint_eq(size, 5);
    ck_assert_int_eq(store_get(store, key, INT64_MAX, out, 5, &size, NULL), STORE_HIT);
    ck_assert_mem_eq(out, "hello", 5);
    ck_assert_int_eq(store_put(store, key, bytes_from_str("you"), HOUR_MS), STORE_PUT_DONE);
    ck_assert_int_eq(store_get(store, key, INT64_MAX, out, sizeof(out), &size, NULL), STORE_HIT);
    ck_assert_uint_eq(size, 3);
    ck_assert_mem_eq(out, "you", 3);

    uint64_t entries, bytes, capacity;
    store_usage(store, &entries, &bytes, &capacity);
    ck_assert_uint_eq(entries, 1);
    ck_assert_uint_eq(bytes, 80);
    ck_assert_uint_eq(capacity, 1 << 20);
    ck_assert(store_delete(store, key));
    ck_assert(!store_delete(store, key));
    ck_assert_int_eq(store_get(store, key, INT64_MAX, out, sizeof(out), &size, NULL), STORE_MISS);
    store_usage(store, &entries, &bytes, &capacity);
    ck_assert_uint_eq(entries + bytes, 0);

    ck_assert_int_eq(store_put(store, key, bytes_make(NULL, 0), HOUR_MS), STORE_PUT_DONE);
    ck_assert_int_eq(store_get(store, key, INT64_MAX, NULL, 0, &size, NULL), STORE_HIT);
    ck_assert_uint_eq(size, 0);
    ck_assert_int_eq(store_put(store, key, bytes_from_str("x"), 0), STORE_PUT_REFUSED);
    store_close(store);
    store_close(NULL);
    region_destroy(region);
}
END_TEST

START_TEST(off_store_does_nothing) {
    struct region *region = test_region_new(0, NULL);
    struct store *store = store_of(region);
    ck_assert_uint_eq(store_max_value(store), 0);
    ck_assert_int_eq(test_put(store, 1, 1, 0, HOUR_MS), STORE_PUT_REFUSED);
    ck_assert_int_eq(get(store, 1, 1), STORE_MISS);
    ck_assert(!test_delete(store, 1));
    uint64_t entries, bytes, capacity;
    store_usage(store, &entries, &bytes, &capacity);
    ck_assert_uint_eq(entries + bytes + capacity, 0);
    store_close(store);
    region_destroy(region);
}
END_TEST

START_TEST(largest_value_and_one_more) {
    struct region *region = test_region_new(REGION_STORE_BYTES_MIN, NULL);
    struct store *store = store_of(region);
    size_t max = store_max_value(store);
    ck_assert_uint_gt(max, 60000);
    for (uint64_t turn = 0; turn < 5; turn++) {
        ck_assert_int_eq(test_put(store, 1000 + turn, 1, 100 * turn, HOUR_MS), STORE_PUT_DONE);
        ck_assert_int_eq(test_put(store, turn, turn, max + 1, HOUR_MS), STORE_PUT_REFUSED);
        ck_assert_int_eq(get(store, 1000 + turn, 1), STORE_HIT);
        ck_assert_int_eq(test_put(store, turn, turn, max, HOUR_MS), STORE_PUT_DONE);
        ck_assert_int_eq(get(store, turn, turn), STORE_HIT);
        ck_assert_int_eq(get(store, 1000 + turn, 1), STORE_MISS);
        check_whole(store);
    }
    store_close(store);
    region_destroy(region);
}
END_TEST

/* -- Against a model -- */

#define MODEL_KEYS 400

struct model_entry {
    bool present;
    uint64_t version;
    int64_t expiry_ms; /* of the model's own clock */
};

struct model {
    struct model_entry entries[MODEL_KEYS];
    int64_t now_ms;
    uint64_t hits, absences; /* gets of present keys that were and were not answered */
};

/* Region time also goes on by itself, so the model leaves `slack` around each expiry. */
#define SLACK_MS 600000

static void model_get(struct model *model, struct store *store, uint64_t number) {
    const struct model_entry *entry = &model->entries[number];
    enum store_result result = get(store, number, entry->version);
    int64_t left_ms = entry->expiry_ms - model->now_ms;
    if (!entry->present || left_ms <= 0) {
        ck_assert_int_eq(result, STORE_MISS);
    } else if (left_ms > SLACK_MS) {
        ck_assert_int_ne(result, STORE_TOO_SMALL);
        model->hits += result == STORE_HIT;
        model->absences += result == STORE_MISS;
    }
}

static void model_run(struct model *model, struct region *region, struct store *store,
                      uint64_t seed, size_t value_max, int turns) {
    uint64_t version = 1;
    for (int turn = 0; turn < turns; turn++) {
        uint64_t number = test_random(&seed) % MODEL_KEYS;
        struct model_entry *entry = &model->entries[number];
        uint64_t choice = test_random(&seed) % 100;
        if (choice < 45) {
            model_get(model, store, number);
        } else if (choice < 90) {
            size_t size = 8 + test_random(&seed) % (value_max - 8);
            int64_t ttl_ms = HOUR_MS * (int64_t)(1 + test_random(&seed) % 24);
            ck_assert_int_eq(test_put(store, number, ++version, size, ttl_ms), STORE_PUT_DONE);
            *entry = (struct model_entry){true, version, model->now_ms + ttl_ms};
            ck_assert_int_eq(get(store, number, version), STORE_HIT);
        } else if (choice < 99) {
            bool removed = test_delete(store, number);
            ck_assert(!removed || entry->present);
            entry->present = false;
        } else {
            region_shift_time(region, HOUR_MS / 2);
            model->now_ms += HOUR_MS / 2;
        }
        uint64_t entries, bytes, capacity;
        store_usage(store, &entries, &bytes, &capacity);
        ck_assert_uint_le(bytes, capacity);
        if (turn % 50 == 0) {
            check_whole(store);
        }
    }
    check_whole(store);
    ck_assert_uint_eq(store_stats(store)->corruptions, 0);
}

START_TEST(agrees_with_a_model_but_for_absence) {
    static const struct {
        int64_t store_bytes;
        size_t value_max;
        bool all_fit;
    } rows[] = {
        {REGION_STORE_BYTES_MIN, 300, false},
        {REGION_STORE_BYTES_MIN, 5000, false},
        {REGION_STORE_BYTES_MIN, 60000, false},
        {1 << 20, 9000, false},
        {8 << 20, 50000, false},
        {16 << 20, 4000, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct region *region = test_region_new(rows[i].store_bytes, NULL);
        struct store *store = store_of(region);
        struct model model = {0};
        model_run(&model, region, store, i + 1, rows[i].value_max, 6000);
        ck_assert_uint_gt(model.hits, 5);
        ck_assert(!rows[i].all_fit || model.absences == 0);
        store_close(store);
        region_destroy(region);
    }
}
END_TEST

START_TEST(cap_is_exact) {
    static const int64_t caps[] = {REGION_STORE_BYTES_MIN, 100001, 5 << 20, (9 << 20) + 4095};
    for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
        struct region *region = test_region_new(caps[i], NULL);
        struct store *store = store_of(region);
        uint64_t entries, bytes, capacity, most = 0;
        for (uint64_t n = 0; n < 30000; n++) {
            ck_assert_int_eq(test_put(store, n, n, n % 1500, HOUR_MS), STORE_PUT_DONE);
            store_usage(store, &entries, &bytes, &capacity);
            most = bytes > most ? bytes : most;
        }
        ck_assert_uint_le(capacity, (uint64_t)caps[i]);
        ck_assert_uint_le(most, capacity);
        ck_assert_uint_ge(most, capacity / 100 * 90); /* and most of it is of use */
        /* Nothing lies behind the shards, so nothing can be written there. */
        ck_assert_uint_eq(region_size(region), region->at.store + capacity);
        ck_assert_uint_gt(store_stats(store)->evictions, 1000);
        check_whole(store);
        store_close(store);
        region_destroy(region);
    }
}
END_TEST

START_TEST(wraps_at_every_record_size) {
    struct region *region = test_region_new(REGION_STORE_BYTES_MIN, NULL);
    struct store *store = store_of(region);
    size_t max = store_max_value(store);
    uint64_t number = 0;
    for (size_t size = 0; size <= max; size += size < 2000 ? 16 : 1777) {
        /* One lap and a half of this size, from wherever the last size left the head. */
        size_t records = (max + 64) * 3 / 2 / (size + 64) + 2;
        for (size_t i = 0; i < records; i++) {
            number++;
            ck_assert_int_eq(test_put(store, number, number, size, HOUR_MS), STORE_PUT_DONE);
            ck_assert_int_eq(get(store, number, size >= 8 ? number : UINT64_MAX), STORE_HIT);
        }
        check_whole(store);
    }
    ck_assert_uint_eq(store_stats(store)->corruptions, 0);
    store_close(store);
    region_destroy(region);
}
END_TEST

START_TEST(full_neighbourhood_evicts_there) {
    /* Records of 64 bytes: four for each index word. */
    struct region *region = test_region_new(REGION_STORE_BYTES_MIN, NULL);
    struct store *store = store_of(region);
    uint64_t entries = 0, bytes, capacity;
    for (uint64_t n = 0; n < 900; n++) {
        ck_assert_int_eq(test_put(store, n, 0, 0, HOUR_MS), STORE_PUT_DONE);
        ck_assert_int_eq(get(store, n, UINT64_MAX), STORE_HIT);
    }
    check_whole(store);
    store_usage(store, &entries, &bytes, &capacity);
    ck_assert_uint_le(entries, 32 * 8);
    ck_assert_uint_ge(entries, 32 * 8 * 9 / 10);
    store_close(store);
    region_destroy(region);
}
END_TEST

/* -- Time -- */

START_TEST(time_to_live) {
    struct region *region = test_region_new(1 << 20, NULL);
    struct store *store = store_of(region);
    uint8_t key[STORE_KEY_SIZE];
    test_key(1, key);
    char out[100];
    size_t size;
    int64_t age_ms;
    test_put(store, 1, 1, 50, 10 * HOUR_MS);
    test_put(store, 2, 1, 50, HOUR_MS);
    test_put(store, 3, 1, 50, INT64_MAX);
    test_put(store, 4, 1, 50, HOUR_MS);
    region_shift_time(region, HOUR_MS);
    ck_assert_int_eq(store_get(store, key, INT64_MAX, out, sizeof(out), &size, &age_ms), STORE_HIT);
    ck_assert_int_ge(age_ms, HOUR_MS);
    ck_assert_int_lt(age_ms, 2 * HOUR_MS);
    ck_assert_int_eq(store_get(store, key, HOUR_MS - 1, out, sizeof(out), &size, NULL), STORE_MISS);
    ck_assert_int_eq(store_get(store, key, 2 * HOUR_MS, out, sizeof(out), &size, NULL), STORE_HIT);
    ck_assert_int_eq(get(store, 2, 1), STORE_MISS);
    ck_assert_uint_eq(store_stats(store)->expirations, 1);
    ck_assert_int_eq(get(store, 2, 1), STORE_MISS);
    ck_assert_uint_eq(store_stats(store)->expirations, 1);
    ck_assert(!test_delete(store, 4));
    ck_assert_uint_eq(store_stats(store)->expirations, 2);
    region_shift_time(region, INT64_C(1000000) * HOUR_MS);
    ck_assert_int_eq(get(store, 1, 1), STORE_MISS);
    ck_assert_int_eq(get(store, 3, 1), STORE_HIT);
    check_whole(store);
    store_close(store);
    region_destroy(region);
}
END_TEST

START_TEST(expired_gets_no_second_chance) {
    struct region *region = test_region_new(REGION_STORE_BYTES_MIN, NULL);
    struct store *store = store_of(region);
    for (uint64_t n = 0; n < 50; n++) {
        test_put(store, n, 1, 1000, HOUR_MS);
        get(store, n, 1);
    }
    region_shift_time(region, 2 * HOUR_MS);
    for (uint64_t n = 100; n < 200; n++) {
        test_put(store, n, 1, 1000, HOUR_MS);
    }
    ck_assert_uint_eq(store_stats(store)->expirations, 50);
    check_whole(store);
    store_close(store);
    region_destroy(region);
}
END_TEST

/* -- Second chance -- */

#define HOT_KEYS 20 /* at 3,064 bytes a record still no more than one put may move */
#define COLD_ROUNDS 500

/* Hot keys still there after many cold ones went through; `touched` says whether they were read. */
static int hot_survivors(bool touched, size_t size, uint64_t *laps) {
    struct region *region = test_region_new(256 << 10, NULL);
    struct store *store = store_of(region);
    for (uint64_t n = 0; n < HOT_KEYS; n++) {
        test_put(store, n, 7, size, HOUR_MS);
    }
    for (uint64_t round = 0; round < COLD_ROUNDS; round++) {
        for (uint64_t n = 0; touched && n < HOT_KEYS; n++) {
            get(store, n, 7);
        }
        for (uint64_t n = 0; n < 10; n++) {
            test_put(store, 1000 + round * 10 + n, 1, size, HOUR_MS);
        }
    }
    int alive = 0;
    for (uint64_t n = 0; n < HOT_KEYS; n++) {
        alive += get(store, n, 7) == STORE_HIT;
    }
    uint64_t entries, bytes, capacity;
    store_usage(store, &entries, &bytes, &capacity);
    *laps = COLD_ROUNDS * 10 * (size + 64) / capacity;
    check_whole(store);
    store_close(store);
    region_destroy(region);
    return alive;
}

START_TEST(second_chance_keeps_hot_keys) {
    static const size_t sizes[] = {200, 580, 700, 1024, 3000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t laps;
        ck_assert_int_eq(hot_survivors(false, sizes[i], &laps), 0);
        ck_assert_uint_ge(laps, 4);
        ck_assert_int_eq(hot_survivors(true, sizes[i], &laps), HOT_KEYS);
    }
}
END_TEST

START_TEST(all_hot_is_still_bounded) {
    struct region *region = test_region_new(1 << 20, NULL);
    struct store *store = store_of(region);
    for (uint64_t n = 0; n < 20000; n++) {
        ck_assert_int_eq(test_put(store, n, n, 100, HOUR_MS), STORE_PUT_DONE);
        ck_assert_int_eq(get(store, n, n), STORE_HIT);
    }
    check_whole(store);
    ck_assert_uint_gt(store_stats(store)->evictions, 10000);
    store_close(store);
    region_destroy(region);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {
        basics,
        off_store_does_nothing,
        largest_value_and_one_more,
        agrees_with_a_model_but_for_absence,
        cap_is_exact,
        wraps_at_every_record_size,
        full_neighbourhood_evicts_there,
        time_to_live,
        expired_gets_no_second_chance,
        second_chance_keeps_hot_keys,
        all_hot_is_still_bounded,
    };
    return test_suite("store", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
