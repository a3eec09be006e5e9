/* store_shard: the parts of one shard: records and their checksum, index words, ends of the log.
 *
 * Runs in every worker, always under the shard's lock (store.c takes it). Every position or length
 * that comes from shared memory is checked here before it is followed: random bytes may cost
 * entries, never a crash. The surprise: the index needs no tombstones. A key can only be in one of
 * the 16 words of its two buckets, and a search always looks at all of them.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "base/failpoint.h"
#include "base/hash.h"
#include "store_layout.h"

/* A put evicts until there is room, so a value may take the whole log; 1 GiB keeps sizes in 32
 * bits. */
#define VALUE_BYTES_MAX (UINT32_C(1) << 30)

struct shard_geometry shard_geometry(size_t shard_bytes) {
    struct shard_geometry geometry;
    geometry.bucket_count = (uint32_t)(shard_bytes / BUCKET_SPAN);
    size_t log = sizeof(struct shard) + geometry.bucket_count * sizeof(struct bucket);
    geometry.log_start = (uint32_t)(log / RECORD_UNIT);
    geometry.log_end = (uint32_t)(shard_bytes / RECORD_UNIT);
    return geometry;
}

int shard_format(void *memory, size_t shard_bytes) {
    struct shard *shard = memory;
    struct shard_geometry geometry = shard_geometry(shard_bytes);
    shard_set_ends(shard, (struct log_ends){geometry.log_start, geometry.log_start});
    return lock_init(&shard->lock);
}

size_t store_max_value(const struct store *store) {
    if (store->shard_count == 0) {
        return 0;
    }
    /* One unit less than the log: a record of all of it would end where it began, and equal ends at
     * log_start mean empty. */
    size_t room = (size_t)(store->log_end - store->log_start - 1) * RECORD_UNIT;
    size_t value = room - sizeof(struct record);
    return value < VALUE_BYTES_MAX ? value : VALUE_BYTES_MAX;
}

uint64_t record_checksum(const struct store *store, const struct record *record,
                         const char *value) {
    uint64_t of_value = hash64(value, record->value_size, store->seed);
    size_t start = offsetof(struct record, value_size);
    return hash64((const char *)record + start, sizeof(*record) - start, of_value);
}

/* -- Ends of the log -- */

void shard_set_ends(struct shard *shard, struct log_ends ends) {
    atomic_store_explicit(&shard->ends, (uint64_t)ends.head << 32 | ends.tail,
                          memory_order_release);
}

bool shard_ends_are_sane(const struct store *store, struct log_ends ends) {
    return ends.head >= store->log_start && ends.head < store->log_end &&
           ends.tail >= store->log_start && ends.tail < store->log_end;
}

static uint32_t distance(const struct store *store, uint32_t from, uint32_t to) {
    return to >= from ? to - from : to + (store->log_end - store->log_start) - from;
}

bool log_is_full(const struct store *store, struct log_ends ends) {
    return ends.head == ends.tail && ends.head != store->log_start;
}

uint32_t log_used(const struct store *store, struct log_ends ends) {
    return log_is_full(store, ends) ? store->log_end - store->log_start
                                    : distance(store, ends.tail, ends.head);
}

bool record_is_plausible(const struct store *store, const struct shard *shard, uint32_t position) {
    const uint32_t head_units = sizeof(struct record) / RECORD_UNIT;
    if (position < store->log_start || position > store->log_end - head_units) {
        return false;
    }
    const struct record *record = record_at(shard, position);
    uint32_t kind = record_kind(record);
    uint32_t size = record->value_size;
    if ((kind != RECORD_LIVE && kind != RECORD_DEAD) || size > store_max_value(store)) {
        return false;
    }
    uint32_t units = record_units(size);
    struct log_ends ends = shard_ends(shard);
    uint32_t used = log_used(store, ends);
    uint32_t before = distance(store, ends.tail, position);
    return units <= store->log_end - position && before < used && units <= used - before;
}

/* -- Index -- */

/* The key is a SHA-256: any of its bytes are as good as a hash. Bytes 0..3 choose the shard, 4..7
 * and 8..11 the buckets, 12..15 are the tag. */
static uint32_t key_part(const uint8_t key[STORE_KEY_SIZE], size_t at) {
    uint32_t part;
    memcpy(&part, key + at, sizeof(part));
    return part;
}

static struct bucket *bucket_of(const struct store *store, const struct shard *shard,
                                const uint8_t key[STORE_KEY_SIZE], unsigned which) {
    uint64_t scaled = (uint64_t)key_part(key, 4 + 4 * which) * store->bucket_count;
    return &shard_buckets(shard)[scaled >> 32];
}

/* The part of a word that belongs to the key: tag without hit and position. */
static uint64_t word_tag(const uint8_t key[STORE_KEY_SIZE]) {
    return (uint64_t)key_part(key, 12) << 33;
}

static uint64_t word_get(const _Atomic uint64_t *word) {
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* Release: whoever repairs after our death sees the changes in the order they were made. */
static void word_set(_Atomic uint64_t *word, uint64_t value) {
    atomic_store_explicit(word, value, memory_order_release);
}

const void *index_home(const struct store *store, const struct shard *shard,
                       const uint8_t key[STORE_KEY_SIZE]) {
    return bucket_of(store, shard, key, 0);
}

enum find_result index_find(const struct store *store, const struct shard *shard,
                            const uint8_t key[STORE_KEY_SIZE], _Atomic uint64_t **word,
                            uint32_t *position) {
    uint64_t tag = word_tag(key) >> 33;
    for (unsigned which = 0; which < 2; which++) {
        struct bucket *bucket = bucket_of(store, shard, key, which);
        for (unsigned i = 0; i < BUCKET_WORDS; i++) {
            uint64_t value = word_get(&bucket->words[i]);
            if (value >> 33 != tag || value == 0) {
                continue;
            }
            uint32_t at = (uint32_t)value;
            if (!record_is_plausible(store, shard, at) ||
                record_kind(record_at(shard, at)) != RECORD_LIVE) {
                return FIND_DAMAGED;
            }
            if (memcmp(record_at(shard, at)->key, key, STORE_KEY_SIZE) == 0) {
                *word = &bucket->words[i];
                *position = at;
                return FIND_FOUND;
            }
        }
    }
    return FIND_ABSENT;
}

_Atomic uint64_t *index_word_of(const struct store *store, const struct shard *shard,
                                uint32_t position) {
    const uint8_t *key = record_at(shard, position)->key;
    for (unsigned which = 0; which < 2; which++) {
        struct bucket *bucket = bucket_of(store, shard, key, which);
        for (unsigned i = 0; i < BUCKET_WORDS; i++) {
            if ((word_get(&bucket->words[i]) & ~WORD_HIT) == (word_tag(key) | position)) {
                return &bucket->words[i];
            }
        }
    }
    return NULL;
}

/* An empty word of the bucket, else NULL; keeps in *oldest the word whose record is nearest to the
 * tail, one without a hit before one with. */
static _Atomic uint64_t *empty_word(const struct store *store, const struct shard *shard,
                                    struct bucket *bucket, _Atomic uint64_t **oldest,
                                    uint64_t *oldest_rank) {
    uint32_t tail = shard_ends(shard).tail;
    for (unsigned i = 0; i < BUCKET_WORDS; i++) {
        uint64_t value = word_get(&bucket->words[i]);
        if (value == 0) {
            return &bucket->words[i];
        }
        uint64_t rank = (value & WORD_HIT) | distance(store, tail, (uint32_t)value);
        if (*oldest == NULL || rank < *oldest_rank) {
            *oldest = &bucket->words[i];
            *oldest_rank = rank;
        }
    }
    return NULL;
}

/* Takes the word from whatever it points at. */
static void push_out(struct store *store, struct shard *shard, _Atomic uint64_t *word) {
    uint32_t position = (uint32_t)word_get(word);
    if (record_is_plausible(store, shard, position) &&
        index_word_of(store, shard, position) == word) {
        FAILPOINT("store.evict.1");
        shard_forget(shard, word, position);
        store->stats.evictions++;
    } else {
        word_set(word, 0); /* damaged: it pointed at nothing */
        store->stats.corruptions++;
    }
}

void index_add(struct store *store, struct shard *shard, uint32_t position) {
    const uint8_t *key = record_at(shard, position)->key;
    _Atomic uint64_t *oldest = NULL, *word = NULL;
    uint64_t oldest_rank = 0;
    for (unsigned which = 0; which < 2 && word == NULL; which++) {
        struct bucket *bucket = bucket_of(store, shard, key, which);
        word = empty_word(store, shard, bucket, &oldest, &oldest_rank);
    }
    if (word == NULL) {
        push_out(store, shard, oldest);
        word = oldest;
    }
    word_set(word, word_tag(key) | position);
}

/* -- Figures and removal -- */

void shard_count_added(struct shard *shard, uint32_t units) {
    uint64_t entries = atomic_load_explicit(&shard->entries, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&shard->bytes, memory_order_relaxed);
    atomic_store_explicit(&shard->entries, entries + 1, memory_order_relaxed);
    atomic_store_explicit(&shard->bytes, bytes + (uint64_t)units * RECORD_UNIT,
                          memory_order_relaxed);
}

/* Stops at 0: after damage a length may not be the one that was added; a rebuild counts anew. */
void shard_count_removed(struct shard *shard, uint32_t units) {
    uint64_t entries = atomic_load_explicit(&shard->entries, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&shard->bytes, memory_order_relaxed);
    uint64_t gone = (uint64_t)units * RECORD_UNIT;
    atomic_store_explicit(&shard->entries, entries > 0 ? entries - 1 : 0, memory_order_relaxed);
    atomic_store_explicit(&shard->bytes, bytes > gone ? bytes - gone : 0, memory_order_relaxed);
}

void shard_forget(struct shard *shard, _Atomic uint64_t *word, uint32_t position) {
    struct record *record = record_at(shard, position);
    FAILPOINT("store.delete.1");
    /* DEAD first: from here on a rescan does not bring it back. */
    atomic_store_explicit(&record->kind, RECORD_DEAD, memory_order_release);
    FAILPOINT("store.delete.2");
    word_set(word, 0);
    FAILPOINT("store.delete.3");
    shard_count_removed(shard, record_units(record->value_size));
    FAILPOINT("store.delete.4");
}

void shard_empty(const struct store *store, struct shard *shard) {
    /* Ends first: words that point out of an empty log are harmless, and a rescan finds nothing. */
    shard_set_ends(shard, (struct log_ends){store->log_start, store->log_start});
    FAILPOINT("store.repair.7");
    memset(shard_buckets(shard), 0, store->bucket_count * sizeof(struct bucket));
    FAILPOINT("store.repair.8");
    atomic_store_explicit(&shard->entries, 0, memory_order_relaxed);
    atomic_store_explicit(&shard->bytes, 0, memory_order_relaxed);
}
