/* store: get, put and delete over the shards.
 *
 * For choosing the shard, holding its lock and keeping the promises of shm/store.h; records, index
 * and log are in store_shard.c and store_log.c, repair in store_recover.c. Runs in every worker.
 * The surprise: the checksum of a value is computed before the lock is taken (put) or after it was
 * released (get); what the lock covers is one copy and a few words.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/failpoint.h"
#include "base/panic.h"
#include "region_layout.h"
#include "store_layout.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older kernels answer EINVAL and pages come later */
#endif
#define POPULATE_SHIFT 16u /* 64 KiB pieces */
#define POPULATE_BYTES ((size_t)1 << POPULATE_SHIFT)

struct store *store_open(struct region *region) {
    const struct region_geometry *at = &region->at;
    struct store *store = calloc(1, sizeof(*store));
    if (store == NULL || at->shard_count == 0) {
        return store;
    }
    struct shard_geometry geometry = shard_geometry(at->shard_bytes);
    store->region = region;
    store->shards = region->base + at->store;
    store->shard_count = at->shard_count;
    store->shard_bytes = at->shard_bytes;
    store->bucket_count = geometry.bucket_count;
    store->log_start = geometry.log_start;
    store->log_end = geometry.log_end;
    store->seed = region->header->store_seed;
    size_t pieces = (at->shard_count * at->shard_bytes + POPULATE_BYTES - 1) >> POPULATE_SHIFT;
    store->populated = calloc((pieces + 63) / 64, sizeof(store->populated[0]));
    store->patience = calloc(at->shard_count, sizeof(store->patience[0]));
    if (store->populated == NULL || store->patience == NULL) {
        store_close(store);
        return NULL;
    }
    return store;
}

void store_close(struct store *store) {
    if (store != NULL) {
        free(store->populated);
        free(store->patience);
        free(store);
    }
}

/* -- Shards and their locks -- */

/* shard_count is a power of two; bytes 0..3 of the key choose. */
static uint32_t shard_index_of(const struct store *store, const uint8_t key[STORE_KEY_SIZE]) {
    uint32_t part;
    memcpy(&part, key, sizeof(part));
    return part & (store->shard_count - 1);
}

static struct shard *shard_at(const struct store *store, uint32_t index) {
    return (struct shard *)(void *)(store->shards + index * store->shard_bytes);
}

/* Damaged bytes were found while nobody died: the same cure. */
static void heal(struct store *store, struct shard *shard, int64_t now_ms) {
    store->stats.corruptions++;
    lock_change_begin(&shard->lock);
    store_rebuild(store, shard, REBUILD_AFTER_DAMAGE, now_ms);
    lock_change_end(&shard->lock);
}

/* The locked shard with ends that may be followed, or NULL when it is busy (counted). */
static struct shard *take_shard(struct store *store, uint32_t index, int64_t now_ms) {
    struct shard *shard = shard_at(store, index);
    switch (lock_take(&shard->lock, &store->patience[index])) {
    case LOCK_HELD:
        break;
    case LOCK_HELD_CLEAN:
        store->stats.recoveries_clean++;
        break;
    case LOCK_HELD_DIRTY:
        if (store_rebuild(store, shard, REBUILD_AFTER_DEATH, now_ms) == REBUILD_KEPT) {
            store->stats.recoveries_rebuilt++;
        } else {
            store->stats.recoveries_emptied++;
        }
        lock_repaired(&shard->lock);
        break;
    case LOCK_TIMEOUT:
        store->stats.lock_timeouts++;
        return NULL;
    }
    if (!shard_ends_are_sane(store, shard_ends(shard))) {
        heal(store, shard, now_ms);
    }
    return shard;
}

/* The word and position of the key's record; a shard found damaged is healed and asked again. */
static bool find(struct store *store, struct shard *shard, const uint8_t key[STORE_KEY_SIZE],
                 int64_t now_ms, _Atomic uint64_t **word, uint32_t *position) {
    enum find_result result = index_find(store, shard, key, word, position);
    if (result == FIND_DAMAGED) {
        heal(store, shard, now_ms);
        result = index_find(store, shard, key, word, position);
    }
    return result == FIND_FOUND;
}

/* Modulo 2^64: a damaged stamp must not be undefined behaviour before its checksum fails. */
static int64_t age_of(const struct record *record, int64_t now_ms) {
    return (int64_t)((uint64_t)now_ms - (uint64_t)record->stamp_ms);
}

static void forget(struct shard *shard, _Atomic uint64_t *word, uint32_t position) {
    lock_change_begin(&shard->lock);
    shard_forget(shard, word, position);
    lock_change_end(&shard->lock);
}

struct shard *store_take_shard(struct store *store, const uint8_t key[STORE_KEY_SIZE],
                               int64_t now_ms) {
    return take_shard(store, shard_index_of(store, key), now_ms);
}

const struct record *store_find_live(struct store *store, struct shard *shard,
                                     const uint8_t key[STORE_KEY_SIZE], int64_t now_ms) {
    _Atomic uint64_t *word;
    uint32_t position;
    if (!find(store, shard, key, now_ms, &word, &position)) {
        return NULL;
    }
    const struct record *record = record_at(shard, position);
    return now_ms < record->expiry_ms ? record : NULL;
}

/* -- Get -- */

/* What a get takes along out of the lock. */
struct copy {
    struct record head; /* as found; the value is in the caller's memory */
    uint32_t position;
};

/* Under the lock: one copy, no verification. */
static enum store_result copy_out(struct store *store, struct shard *shard,
                                  const uint8_t key[STORE_KEY_SIZE], int64_t now_ms,
                                  int64_t max_age_ms, char *out, size_t out_size,
                                  struct copy *copy) {
    _Atomic uint64_t *word;
    if (!find(store, shard, key, now_ms, &word, &copy->position)) {
        return STORE_MISS;
    }
    const struct record *record = record_at(shard, copy->position);
    if (now_ms >= record->expiry_ms) {
        forget(shard, word, copy->position);
        store->stats.expirations++;
        return STORE_MISS;
    }
    if (age_of(record, now_ms) > max_age_ms) {
        return STORE_MISS;
    }
    memcpy(&copy->head, record, sizeof(copy->head));
    uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
    if ((value & WORD_HIT) == 0) {
        /* One whole word, and losing it costs nothing: no change_begin. */
        atomic_store_explicit(word, value | WORD_HIT, memory_order_relaxed);
    }
    if (copy->head.value_size > out_size) {
        return STORE_TOO_SMALL;
    }
    if (copy->head.value_size > 0) { /* out may be NULL for an empty value */
        memcpy(out, record_value(record), copy->head.value_size);
    }
    return STORE_HIT;
}

/* Removes what failed its checksum, unless somebody replaced it meanwhile. */
static void remove_damaged(struct store *store, uint32_t index, int64_t now_ms,
                           const struct copy *copy) {
    store->stats.corruptions++;
    struct shard *shard = take_shard(store, index, now_ms);
    if (shard == NULL) {
        return; /* busy: the next get finds it again */
    }
    _Atomic uint64_t *word;
    uint32_t position;
    if (find(store, shard, copy->head.key, now_ms, &word, &position) &&
        position == copy->position &&
        /* both are images of the same bytes, padding included */
        /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
        memcmp(record_at(shard, position), &copy->head, sizeof(copy->head)) == 0) {
        forget(shard, word, position);
    }
    lock_release(&shard->lock);
}

enum store_result store_get(struct store *store, const uint8_t key[STORE_KEY_SIZE],
                            int64_t max_age_ms, char *out, size_t out_size, size_t *value_size,
                            int64_t *age_ms) {
    if (store->shard_count == 0) {
        return STORE_MISS;
    }
    uint32_t index = shard_index_of(store, key);
    __builtin_prefetch(index_home(store, shard_at(store, index), key));
    int64_t now_ms = region_now_ms(store->region);
    struct shard *shard = take_shard(store, index, now_ms);
    if (shard == NULL) {
        return STORE_MISS;
    }
    struct copy copy;
    enum store_result result =
        copy_out(store, shard, key, now_ms, max_age_ms, out, out_size, &copy);
    lock_release(&shard->lock);
    if (result == STORE_HIT && record_checksum(store, &copy.head, out) != copy.head.checksum) {
        remove_damaged(store, index, now_ms, &copy);
        return STORE_MISS;
    }
    if (result != STORE_MISS) {
        *value_size = copy.head.value_size;
        if (age_ms != NULL) {
            *age_ms = age_of(&copy.head, now_ms);
        }
    }
    return result;
}

/* -- Put -- */

/* Faults in what this process has not touched yet of [start, start + size) of the store. */
static void populate(struct store *store, size_t start, size_t size) {
    size_t end = start + size;
    size_t total = store->shard_count * store->shard_bytes;
    if (end > total) {
        end = total;
    }
    for (size_t piece = start >> POPULATE_SHIFT; piece << POPULATE_SHIFT < end; piece++) {
        uint64_t bit = UINT64_C(1) << (piece % 64);
        if ((store->populated[piece / 64] & bit) != 0) {
            continue;
        }
        size_t at = piece << POPULATE_SHIFT;
        size_t length = total - at < POPULATE_BYTES ? total - at : POPULATE_BYTES;
        madvise(store->shards + at, length, MADV_POPULATE_WRITE);
        store->populated[piece / 64] |= bit;
    }
}

/* Before the lock: the pages where a record of `units` is likely to go, with what may be moved to
 * the head before it. A guess from an unlocked look at the head; a wrong one costs a page fault
 * under the lock, nothing else. */
static void populate_head(struct store *store, uint32_t index, uint32_t units) {
    uint32_t head = shard_ends(shard_at(store, index)).head;
    if (head < store->log_start || head >= store->log_end) {
        return;
    }
    size_t shard = index * store->shard_bytes;
    size_t size = (size_t)units * RECORD_UNIT + POPULATE_BYTES;
    size_t left = (size_t)(store->log_end - head) * RECORD_UNIT;
    populate(store, shard + (size_t)head * RECORD_UNIT, size < left ? size : left);
    if (size > left) {
        size_t room = (size_t)(store->log_end - store->log_start) * RECORD_UNIT;
        populate(store, shard + (size_t)store->log_start * RECORD_UNIT, size < room ? size : room);
    }
}

static uint32_t reserve(struct store *store, struct shard *shard, uint32_t units, int64_t now_ms) {
    uint32_t position = log_reserve(store, shard, units, now_ms);
    if (position != 0) {
        return position;
    }
    /* The tail is damaged. A rebuilt log has a sound tail; should it not help, an empty one has. */
    store->stats.corruptions++;
    store_rebuild(store, shard, REBUILD_AFTER_DAMAGE, now_ms);
    position = log_reserve(store, shard, units, now_ms);
    if (position == 0) {
        shard_empty(store, shard);
        position = log_reserve(store, shard, units, now_ms);
    }
    return position;
}

/* Under the lock: the order of doc/shm.md, Recovery. A death before the head advances
 * leaves the log without the new record, after it the log with it; the index follows the log. */
static void write_record(struct store *store, struct shard *shard, const struct record *head,
                         const char *value, int64_t now_ms) {
    _Atomic uint64_t *old;
    uint32_t old_position;
    bool replaces = find(store, shard, head->key, now_ms, &old, &old_position);
    lock_change_begin(&shard->lock); /* after find: its cure ends with dirty = 0 */
    FAILPOINT("store.write.1");
    if (replaces) {
        shard_forget(shard, old, old_position);
    }
    FAILPOINT("store.write.2");
    uint32_t units = record_units(head->value_size);
    uint32_t position = reserve(store, shard, units, now_ms);
    FAILPOINT("store.write.3");
    struct record *record = record_at(shard, position);
    memcpy(record, head, sizeof(*head));
    record->checksum = ~head->checksum; /* wrong until the value is whole */
    FAILPOINT("store.write.4");
    if (head->value_size > 0) {
        memcpy(record_value(record), value, head->value_size);
    }
    FAILPOINT("store.write.5");
    record->checksum = head->checksum;
    FAILPOINT("store.write.6");
    log_advance(store, shard, position, units);
    FAILPOINT("store.write.7");
    index_add(store, shard, position);
    FAILPOINT("store.write.8");
    shard_count_added(shard, units);
    FAILPOINT("store.write.9");
    lock_change_end(&shard->lock);
}

enum store_put_result store_put(struct store *store, const uint8_t key[STORE_KEY_SIZE],
                                struct bytes value, int64_t ttl_ms) {
    if (store->shard_count == 0 || value.size > store_max_value(store) || ttl_ms <= 0) {
        return STORE_PUT_REFUSED;
    }
    uint32_t index = shard_index_of(store, key);
    int64_t now_ms = region_now_ms(store->region);
    struct record head = {.kind = RECORD_LIVE, .value_size = (uint32_t)value.size};
    memcpy(head.key, key, STORE_KEY_SIZE);
    head.stamp_ms = now_ms;
    head.expiry_ms = ttl_ms < INT64_MAX - now_ms ? now_ms + ttl_ms : INT64_MAX;
    head.checksum = record_checksum(store, &head, value.data);
    populate_head(store, index, record_units(head.value_size));

    struct shard *shard = take_shard(store, index, now_ms);
    if (shard == NULL) {
        return STORE_PUT_BUSY;
    }
    write_record(store, shard, &head, value.data, now_ms);
    lock_release(&shard->lock);
    return STORE_PUT_DONE;
}

bool store_delete(struct store *store, const uint8_t key[STORE_KEY_SIZE]) {
    if (store->shard_count == 0) {
        return false;
    }
    uint32_t index = shard_index_of(store, key);
    int64_t now_ms = region_now_ms(store->region);
    struct shard *shard = take_shard(store, index, now_ms);
    if (shard == NULL) {
        return false;
    }
    _Atomic uint64_t *word;
    uint32_t position;
    bool removed = false;
    if (find(store, shard, key, now_ms, &word, &position)) {
        removed = now_ms < record_at(shard, position)->expiry_ms;
        store->stats.expirations += !removed;
        forget(shard, word, position);
    }
    lock_release(&shard->lock);
    return removed;
}

/* -- Figures -- */

void store_usage(const struct store *store, uint64_t *entries, uint64_t *bytes,
                 uint64_t *capacity_bytes) {
    *entries = *bytes = 0;
    *capacity_bytes = store->shard_count * (uint64_t)store->shard_bytes;
    for (uint32_t i = 0; i < store->shard_count; i++) {
        const struct shard *shard = shard_at(store, i);
        *entries += atomic_load_explicit(&shard->entries, memory_order_relaxed);
        *bytes += atomic_load_explicit(&shard->bytes, memory_order_relaxed);
    }
}

const struct store_stats *store_stats(const struct store *store) {
    return &store->stats;
}
