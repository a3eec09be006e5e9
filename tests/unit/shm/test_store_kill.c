/* test_store_kill (K2): a process killed at every step of the store and its lock, 20 times each,
 * and what the next one finds.
 *
 * Three cases: who works (write, delete, evict), who repairs after a death, and who heals damage
 * that nobody died of. Everything a child does is noted in a journal outside the region before and
 * after, so that the check knows what may be answered: each key's last value or nothing, and of the
 * key in hand the one or the other.
 */
#include "config.h"

#include <sys/mman.h>

#include "../../../src/shm/region_layout.h"
#include "../../../src/shm/store_layout.h"
#include "kill_test.h"

#define HOUR_MS 3600000
#ifdef __SANITIZE_THREAD__
#define ROUNDS 1 /* its forks take long, and it sees one process only */
#else
#define ROUNDS 20
#endif
#define KEYS 150       /* that are put again and again, with values of some size */
#define SMALL_KEYS 400 /* numbers from KEYS: many and tiny, so that the index fills up */
#define ALL_KEYS (KEYS + SMALL_KEYS)

/* What the child did, in memory that outlives it. */
struct journal {
    uint64_t versions[ALL_KEYS]; /* last put that ended; 0: none, deleted or expired */
    uint64_t key, version;       /* in hand: being put (or, with version 0, deleted) */
    bool in_hand;
};

struct world {
    struct region *region;
    struct store *store;
    struct journal *journal;
    uint64_t seed;
};

/* -- Work that keeps its journal -- */

static void begin(struct world *world, uint64_t key, uint64_t version) {
    world->journal->key = key;
    world->journal->version = version;
    world->journal->in_hand = true;
}

static void end(struct world *world) {
    world->journal->versions[world->journal->key] = world->journal->version;
    world->journal->in_hand = false;
}

static void put(struct world *world, uint64_t key, size_t size) {
    begin(world, key, test_random(&world->seed) | 1);
    ck_assert_int_eq(test_put(world->store, key, world->journal->version, size, HOUR_MS),
                     STORE_PUT_DONE);
    end(world);
}

static void remove_key(struct world *world, uint64_t key) {
    begin(world, key, 0);
    test_delete(world->store, key);
    end(world);
}

/* The only answers are the journal's. Values have at least 8 bytes, so each names its version. */
static enum store_result get(struct world *world, uint64_t key) {
    static char value[TEST_VALUE_MAX];
    const struct journal *journal = world->journal;
    uint8_t bytes[STORE_KEY_SIZE];
    size_t size = 0;
    test_key(key, bytes);
    enum store_result result =
        store_get(world->store, bytes, INT64_MAX, value, sizeof(value), &size, NULL);
    if (result == STORE_HIT) {
        uint64_t version = 0;
        ck_assert_uint_ge(size, sizeof(version));
        memcpy(&version, value, sizeof(version));
        ck_assert_msg(test_value_is_of(key, value, size), "key %d: not its value", (int)key);
        bool may_be_new = journal->in_hand && key == journal->key;
        ck_assert_msg(version != 0 && (version == journal->versions[key] ||
                                       (may_be_new && version == journal->version)),
                      "key %d: a value that was replaced or deleted", (int)key);
    }
    return result;
}

static void wrap_and_move(struct world *world) {
    for (int turn = 0; turn < 200; turn++) {
        put(world, test_random(&world->seed) % KEYS, 8 + test_random(&world->seed) % 1500);
        get(world, test_random(&world->seed) % KEYS);
        if (turn % 8 == 0) {
            remove_key(world, test_random(&world->seed) % KEYS);
        }
    }
}

/* Passes every step of write, delete and evict. */
static void work(void *argument) {
    struct world *world = argument;
    wrap_and_move(world);
    region_shift_time(world->region, 2 * HOUR_MS);
    memset(world->journal->versions, 0, sizeof(world->journal->versions)); /* expired */
    wrap_and_move(world);
    for (int turn = 0; turn < SMALL_KEYS; turn++) {
        put(world, KEYS + test_random(&world->seed) % SMALL_KEYS, 8);
    }
}

static void *prepare_to_work(uint64_t seed) {
    struct world *world = calloc(1, sizeof(*world));
    ck_assert_ptr_nonnull(world);
    world->seed = seed;
    world->region = test_region_new(REGION_STORE_BYTES_MIN, NULL);
    world->store = store_open(world->region);
    world->journal = mmap(NULL, sizeof(*world->journal), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(world->journal, MAP_FAILED);
    return world;
}

static void finish(void *argument) {
    struct world *world = argument;
    munmap(world->journal, sizeof(*world->journal));
    store_close(world->store);
    region_destroy(world->region);
    free(world);
}

static struct shard *only_shard(const struct world *world) {
    ck_assert_uint_eq(world->store->shard_count, 1);
    return (struct shard *)(void *)world->store->shards;
}

/* -- What the next one finds -- */

static void assert_sound(const struct world *world, const char *point) {
    const char *broken = store_check(world->store);
    ck_assert_msg(broken == NULL, "%s: %s", point, broken);
}

/* Whoever locks next repairs, at once and once, and counts it as what it was. */
static void assert_repaired_by_the_next(struct world *world, const char *point) {
    const struct store_stats *stats = store_stats(world->store);
    struct store_stats before = *stats;
    unsigned dirty = atomic_load(&only_shard(world)->lock.dirty);
    get(world, 0);
    assert_sound(world, point);
    ck_assert_msg(stats->recoveries_clean - before.recoveries_clean == 1 - dirty, "%s", point);
    ck_assert_msg(stats->recoveries_rebuilt + stats->recoveries_emptied -
                          before.recoveries_rebuilt - before.recoveries_emptied ==
                      dirty,
                  "%s", point);
    before = *stats;
    for (uint64_t key = 0; key < ALL_KEYS; key++) {
        get(world, key);
    }
    assert_sound(world, point);
    ck_assert_uint_eq(stats->corruptions, before.corruptions);
    ck_assert_uint_eq(stats->recoveries_clean, before.recoveries_clean);
    ck_assert_uint_eq(stats->recoveries_rebuilt, before.recoveries_rebuilt);
    ck_assert_uint_eq(stats->recoveries_emptied, before.recoveries_emptied);
    ck_assert_uint_eq(stats->lock_timeouts, 0);
}

/* It still is a cache: a value that was just put is there. */
static void assert_goes_on(struct world *world, const char *point) {
    for (uint64_t key = 0; key < 30; key++) {
        put(world, key, 8 + test_random(&world->seed) % 1500);
        ck_assert_msg(get(world, key) == STORE_HIT, "%s", point);
    }
    assert_sound(world, point);
}

static void check(void *argument, const char *point) {
    assert_repaired_by_the_next(argument, point);
    assert_goes_on(argument, point);
}

/* A death that nobody helped loses the record in hand, no other. */
static void check_work(void *argument, const char *point) {
    struct world *world = argument;
    check(world, point);
    ck_assert_msg(store_stats(world->store)->recoveries_emptied == 0, "%s", point);
}

/* -- Who repairs -- */

static void get_one(void *argument) {
    get(argument, 1);
}

static struct record *record_at_tail(const struct world *world) {
    return record_at(only_shard(world), shard_ends(only_shard(world)).tail);
}

/* By the seed: a log that is whole, one that is not, or a clean death; and repairs that died
 * before.
 */
static void *prepare_to_repair(uint64_t seed) {
    static const char *const deaths[] = {"store.evict.6", "store.write.7", "store.write.3"};
    static const char *const repairs[] = {"store.repair.3", "store.repair.5", "store.repair.6"};
    struct world *world = prepare_to_work(seed);
    uint64_t random = test_random(&world->seed);
    wrap_and_move(world);
    if (seed % 3 == 0) {
        kill_at(work, world, "lock.change.2", 1);
        return world;
    }
    kill_at(work, world, deaths[random % 3], 1);
    for (uint64_t died = 0; died < random / 3 % 3; died++) {
        kill_at(get_one, world, repairs[random / 9 % 3], 1);
    }
    if (seed % 3 == 1) {
        return world;
    }
    if (random / 27 % 2 == 0) {
        atomic_store(&record_at_tail(world)->kind, 0);
    } else {
        atomic_store(&only_shard(world)->ends, random);
    }
    return world;
}

/* -- Who heals -- */

static _Atomic uint64_t *some_word(const struct world *world, int nth) {
    struct bucket *buckets = shard_buckets(only_shard(world));
    for (uint32_t i = 0; i < world->store->bucket_count * BUCKET_WORDS; i++) {
        _Atomic uint64_t *word = &buckets[i / BUCKET_WORDS].words[i % BUCKET_WORDS];
        if (atomic_load(word) != 0 && nth-- == 0) {
            return word;
        }
    }
    ck_abort_msg("an empty index");
}

/* Bytes that change by themselves: words that are gone, and by the seed one that leads nowhere,
 * ends that lie outside, or a tail that is no record. */
static void *prepare_to_heal(uint64_t seed) {
    struct world *world = prepare_to_work(seed);
    wrap_and_move(world);
    for (int lost = 0; lost < 5; lost++) {
        atomic_store(some_word(world, 3 * lost), 0);
    }
    _Atomic uint64_t *word = some_word(world, 1);
    switch (seed % 3) {
    case 0:
        atomic_store(word, atomic_load(word) ^ 0x10000000);
        break;
    case 1:
        shard_set_ends(only_shard(world), (struct log_ends){1, 1});
        break;
    default:
        atomic_store(&record_at_tail(world)->kind, 0);
    }
    return world;
}

/* Asks for all there is and then fills the log until the tail has passed everything. */
static void notice(void *argument) {
    struct world *world = argument;
    for (uint64_t key = 0; key < KEYS; key++) {
        get(world, key);
    }
    for (uint64_t key = KEYS; key < KEYS + 80; key++) {
        put(world, key, 1000);
    }
}

/* The dead may not have noticed all of the damage. */
static void check_heal(void *argument, const char *point) {
    struct world *world = argument;
    for (uint64_t key = 0; key < ALL_KEYS; key++) {
        get(world, key);
    }
    for (uint64_t key = KEYS; key < KEYS + 80; key++) {
        put(world, key, 1000);
    }
    const struct store_stats *stats = store_stats(world->store);
    ck_assert_msg(stats->recoveries_clean + stats->recoveries_rebuilt + stats->recoveries_emptied ==
                      1,
                  "%s", point);
    assert_goes_on(world, point);
}

/* -- K2 -- */

/* Which program kills at the steps of a name; one that is missing here has no test. */
static const struct {
    const char *prefix, *program;
} owners[] = {
    {"store.", "test_store_kill"},
    {"lock.", "test_store_kill"},
    {"region.", "test_region_file"},
    {"flight.", "test_flight"},
};

static bool is_owned(const char *name) {
    for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
        if (kill_has_prefix(name, owners[i].prefix)) {
            return true;
        }
    }
    return false;
}

START_TEST(killed_at_every_step) {
    static const struct {
        struct kill_case what;
        int kinds; /* by the seed */
    } cases[] = {
        {{prepare_to_work, work, check_work, finish}, 1},
        {{prepare_to_repair, get_one, check, finish}, 3},
        {{prepare_to_heal, notice, check_heal, finish}, 3},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        kill_everywhere(&cases[i].what, cases[i].kinds, ROUNDS);
    }
    kill_assert_covered("store.", ROUNDS);
    kill_assert_covered("lock.", ROUNDS);
    for (const char *const *at = failpoints_begin; at < failpoints_end; at++) {
        ck_assert_msg(is_owned(*at), "%s: no program kills there", *at);
    }
}
END_TEST

/* -- One put of key 1 over an older version, killed in the middle -- */

static void replace(void *argument) {
    put(argument, 1, 700);
}

START_TEST(put_is_all_or_nothing) {
    static const struct {
        const char *point;
        bool older, newer; /* is there afterwards */
    } rows[] = {
        {"lock.take.1", true, false},     {"lock.change.1", true, false},
        {"store.write.1", true, false},   {"store.delete.1", true, false},
        {"store.delete.2", false, false}, {"store.delete.3", false, false},
        {"store.delete.4", false, false}, {"store.write.2", false, false},
        {"store.write.3", false, false},  {"store.write.4", false, false},
        {"store.write.5", false, false},  {"store.write.6", false, false},
        {"store.write.7", false, true},   {"store.write.8", false, true},
        {"store.write.9", false, true},   {"lock.change.2", false, true},
        {"lock.release.1", false, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world *world = prepare_to_work(1);
        for (uint64_t key = 0; key < 20; key++) {
            put(world, key, 600);
        }
        kill_at(replace, world, rows[i].point, 1);
        uint64_t older = world->journal->versions[1], newer = world->journal->version;
        bool not_older, not_newer;
        bool hit = test_get(world->store, 1, older, &not_older) == STORE_HIT;
        ck_assert_msg((hit && !not_older) == rows[i].older, "%s", rows[i].point);
        hit = test_get(world->store, 1, newer, &not_newer) == STORE_HIT;
        ck_assert_msg((hit && !not_newer) == rows[i].newer, "%s", rows[i].point);
        for (uint64_t key = 2; key < 20; key++) { /* the neighbours lost nothing */
            ck_assert_int_eq(get(world, key), STORE_HIT);
        }
        assert_sound(world, rows[i].point);
        finish(world);
    }
}
END_TEST

START_TEST(broken_log_is_emptied) {
    struct world *world = prepare_to_work(1);
    kill_at(work, world, "store.evict.6", 1);
    atomic_store(&record_at_tail(world)->kind, 0);
    ck_assert_int_eq(get(world, 1), STORE_MISS);
    ck_assert_uint_eq(store_stats(world->store)->recoveries_emptied, 1);
    uint64_t entries, bytes, capacity;
    store_usage(world->store, &entries, &bytes, &capacity);
    ck_assert_uint_eq(entries + bytes, 0);
    assert_goes_on(world, "store.evict.6");
    finish(world);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {killed_at_every_step, put_is_all_or_nothing,
                                  broken_log_is_emptied};
    return test_suite("store_kill", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
