/* test_store_damage: random bytes in the shared memory cost entries, never a crash or a wrong
 * answer.
 */
#include "config.h"

#include <sched.h>
#include <sys/mman.h>

#include "../../../src/shm/region_layout.h"
#include "../../../src/shm/store_layout.h"
#include "store_hammer.h"

#define FLIPS 1000
#define HOUR_MS 3600000

struct fixture {
    struct region *region;
    struct store *store;
    uint64_t seed;
    uint64_t versions[HAMMER_KEYS]; /* latest put of each key, 0: deleted or never put */
};

static void setup(struct fixture *fixture, int64_t store_bytes, uint64_t seed) {
    memset(fixture, 0, sizeof(*fixture));
    fixture->region = test_region_new(store_bytes, NULL);
    fixture->store = store_open(fixture->region);
    ck_assert_ptr_nonnull(fixture->store);
    fixture->seed = seed;
}

static void teardown(struct fixture *fixture) {
    store_close(fixture->store);
    region_destroy(fixture->region);
}

/* Some turns of work; a hit must be the latest version of its key. Sizes start at 8, so that each
 * value names its version. */
static int use(struct fixture *fixture, int turns) {
    int hits = 0;
    for (int turn = 0; turn < turns; turn++) {
        uint64_t number = test_random(&fixture->seed) % HAMMER_KEYS;
        uint64_t *version = &fixture->versions[number];
        uint64_t choice = test_random(&fixture->seed) % 10;
        if (choice < 6) {
            bool wrong;
            if (test_get(fixture->store, number, *version, &wrong) == STORE_HIT) {
                ck_assert(!wrong);
                ck_assert_uint_ne(*version, 0);
                hits++;
            }
        } else if (choice < 9) {
            size_t size = 8 + test_random(&fixture->seed) % 500;
            *version = test_random(&fixture->seed) | 1;
            ck_assert_int_eq(test_put(fixture->store, number, *version, size, HOUR_MS),
                             STORE_PUT_DONE);
        } else {
            test_delete(fixture->store, number);
            *version = 0;
        }
    }
    return hits;
}

static struct shard *random_shard(struct fixture *fixture) {
    size_t index = test_random(&fixture->seed) % fixture->store->shard_count;
    return (struct shard *)(void *)(fixture->store->shards + index * fixture->store->shard_bytes);
}

/* A byte of the index, of a record's head, or anywhere in index and log. */
static uint8_t *random_byte(struct fixture *fixture) {
    struct shard *shard = random_shard(fixture);
    uint8_t *bytes = (uint8_t *)shard;
    size_t index_bytes = fixture->store->bucket_count * sizeof(struct bucket);
    uint64_t random = test_random(&fixture->seed);
    switch (test_random(&fixture->seed) % 3) {
    case 0:
        return bytes + sizeof(*shard) + random % index_bytes;
    case 1: {
        struct bucket *buckets = shard_buckets(shard);
        for (uint32_t i = 0; i < fixture->store->bucket_count * BUCKET_WORDS; i++) {
            uint64_t at = (random + i) % (fixture->store->bucket_count * BUCKET_WORDS);
            uint64_t word = buckets[at / BUCKET_WORDS].words[at % BUCKET_WORDS];
            if (record_is_plausible(fixture->store, shard, (uint32_t)word)) {
                return (uint8_t *)record_at(shard, (uint32_t)word) + random % 64;
            }
        }
    } /* fall through */
    default:
        return bytes + sizeof(*shard) + random % (fixture->store->shard_bytes - sizeof(*shard));
    }
}

static void rebuild_all(struct fixture *fixture) {
    struct store *store = fixture->store;
    for (uint32_t i = 0; i < store->shard_count; i++) {
        store_rebuild(store, (struct shard *)(void *)(store->shards + i * store->shard_bytes),
                      REBUILD_AFTER_DEATH, region_now_ms(fixture->region));
    }
    const char *wrong = store_check(store);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}

START_TEST(flipped_bits_are_never_served) {
    static const int64_t sizes[] = {REGION_STORE_BYTES_MIN, 1 << 20, 8 << 20};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct fixture fixture;
        setup(&fixture, sizes[i], i + 1);
        use(&fixture, 2000);
        int hits = 0;
        for (int flip = 0; flip < FLIPS; flip++) {
            *random_byte(&fixture) ^= (uint8_t)(1u << test_random(&fixture.seed) % 8);
            hits += use(&fixture, 20);
        }
        ck_assert_int_gt(hits, FLIPS); /* it still is a cache */
        ck_assert_uint_gt(store_stats(fixture.store)->corruptions, 10);
        rebuild_all(&fixture);
        teardown(&fixture);
    }
}
END_TEST

/* -- The same while other processes serve (K4) -- */

#define SERVERS 2 /* and the test itself, which flips between its requests */

/* In memory that the test and its servers share. */
struct service {
    _Atomic uint64_t turns[SERVERS];
    _Atomic uint64_t corruptions; /* found by all of them, at their end */
    _Atomic bool ends;
};

struct server {
    struct service *service;
    struct region *region;
    int number;
};

/* 0 when all that was served was right. */
static int serve(void *argument) {
    const struct server *server = argument;
    struct service *service = server->service;
    struct store *store = store_open(server->region);
    uint64_t seed = 1000u * (unsigned)server->number + 1;
    int wrong = 0;
    while (wrong == 0 && !service->ends) {
        wrong = hammer(store, seed++, 20, 600);
        service->turns[server->number] += 20;
    }
    service->corruptions += store_stats(store)->corruptions;
    store_close(store);
    return wrong;
}

static bool somebody_ended(void) {
    siginfo_t info = {.si_pid = 0};
    ck_assert_int_eq(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid != 0;
}

/* Until each has done so much, or one has ended, which its status tells. */
static void await_turns(const struct service *service, uint64_t turns) {
    for (int i = 0; i < SERVERS; i++) {
        while (service->turns[i] < turns && !somebody_ended()) {
            sched_yield();
        }
    }
}

static void flip_while_they_serve(struct fixture *fixture) {
    struct service *service =
        mmap(NULL, sizeof(*service), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(service, MAP_FAILED);
    pid_t pids[SERVERS];
    for (int i = 0; i < SERVERS; i++) {
        struct server server = {service, fixture->region, i};
        pids[i] = test_spawn(serve, &server);
    }
    await_turns(service, 1);
    for (int flip = 0; flip < FLIPS; flip++) {
        *random_byte(fixture) ^= (uint8_t)(1u << test_random(&fixture->seed) % 8);
        /* At our own pace: to wait for others at each flip takes long on a busy machine. */
        ck_assert_int_eq(hammer(fixture->store, test_random(&fixture->seed), 20, 600), 0);
    }
    await_turns(service, 500);
    service->ends = true;
    for (int i = 0; i < SERVERS; i++) {
        ck_assert_int_eq(test_reap(pids[i]), 0);
    }
    ck_assert_uint_gt(service->corruptions + store_stats(fixture->store)->corruptions, 10);
    munmap(service, sizeof(*service));
}

START_TEST(flipped_bits_are_never_served_by_anybody) {
    static const int64_t sizes[] = {REGION_STORE_BYTES_MIN, 8 << 20};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct fixture fixture;
        setup(&fixture, sizes[i], 31 + i);
        flip_while_they_serve(&fixture);
        rebuild_all(&fixture);
        teardown(&fixture);
    }
}
END_TEST

START_TEST(random_bytes_are_never_served) {
    struct fixture fixture;
    setup(&fixture, REGION_STORE_BYTES_MIN, 9);
    for (int round = 0; round < 200; round++) {
        use(&fixture, 200);
        for (int i = 0; i < 50; i++) {
            *random_byte(&fixture) = (uint8_t)test_random(&fixture.seed);
        }
    }
    rebuild_all(&fixture);
    teardown(&fixture);
}
END_TEST

START_TEST(wild_ends_and_figures) {
    struct fixture fixture;
    setup(&fixture, REGION_STORE_BYTES_MIN, 11);
    struct shard *shard = random_shard(&fixture);
    for (int round = 0; round < 600; round++) {
        use(&fixture, 50);
        uint32_t span = fixture.store->log_end - fixture.store->log_start;
        uint32_t start = fixture.store->log_start;
        struct log_ends ends = shard_ends(shard);
        switch (round % 5) {
        case 0:
            atomic_store(&shard->ends, test_random(&fixture.seed));
            break;
        case 1:
            ends.head = start + (uint32_t)(test_random(&fixture.seed) % span);
            shard_set_ends(shard, ends);
            break;
        case 2:
            ends.tail = start + (uint32_t)(test_random(&fixture.seed) % span);
            shard_set_ends(shard, ends);
            break;
        case 3:
            shard_set_ends(shard, (struct log_ends){start + 1, start + 1});
            break;
        default:
            atomic_store(&shard->entries, test_random(&fixture.seed) % 3);
            atomic_store(&shard->bytes, test_random(&fixture.seed) % 3);
        }
    }
    rebuild_all(&fixture);
    teardown(&fixture);
}
END_TEST

START_TEST(repair_keeps_all_and_is_idempotent) {
    struct fixture fixture;
    setup(&fixture, 1 << 20, 5);
    use(&fixture, 5000);
    uint64_t entries[3], bytes[3], capacity;
    store_usage(fixture.store, &entries[0], &bytes[0], &capacity);
    /* The index is gone: the log has it all. */
    struct shard *shard = random_shard(&fixture);
    memset(shard_buckets(shard), 0xff, fixture.store->bucket_count * sizeof(struct bucket));
    for (int i = 1; i < 3; i++) {
        rebuild_all(&fixture);
        store_usage(fixture.store, &entries[i], &bytes[i], &capacity);
        ck_assert_uint_eq(entries[i], entries[0]);
        ck_assert_uint_eq(bytes[i], bytes[0]);
    }
    ck_assert_uint_gt(entries[0], 100);
    teardown(&fixture);
}
END_TEST

START_TEST(damaged_value_is_removed) {
    struct fixture fixture;
    setup(&fixture, 1 << 20, 5);
    ck_assert_int_eq(test_put(fixture.store, 1, 3, 100, HOUR_MS), STORE_PUT_DONE);
    ck_assert_int_eq(test_put(fixture.store, 2, 3, 100, HOUR_MS), STORE_PUT_DONE);
    record_value(record_at(random_shard(&fixture), fixture.store->log_start))[99] ^= 1;
    bool wrong;
    uint64_t entries, bytes, capacity;
    ck_assert_int_eq(test_get(fixture.store, 1, 3, &wrong), STORE_MISS);
    ck_assert_uint_eq(store_stats(fixture.store)->corruptions, 1);
    store_usage(fixture.store, &entries, &bytes, &capacity);
    ck_assert_uint_eq(entries, 1);
    ck_assert_int_eq(test_get(fixture.store, 1, 3, &wrong), STORE_MISS);
    ck_assert_uint_eq(store_stats(fixture.store)->corruptions, 1);
    ck_assert_int_eq(test_get(fixture.store, 2, 3, &wrong), STORE_HIT);
    teardown(&fixture);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {
        flipped_bits_are_never_served,      flipped_bits_are_never_served_by_anybody,
        random_bytes_are_never_served,      wild_ends_and_figures,
        repair_keeps_all_and_is_idempotent, damaged_value_is_removed,
    };
    return test_suite("store_damage", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
