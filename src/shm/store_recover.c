/* store_recover: index and figures of a shard anew from its log.
 *
 * Runs in the worker that locks a shard after its owner died in a change, or that finds damaged
 * bytes; always under the lock, with dirty = 1. It believes nothing but the ends and the records
 * between them, so its own death at any step is healed by running again. The surprise: a dead
 * record is read like a live one. Should an older record of its key have lost its index word to
 * damage and so have missed its replacement, the dead one keeps it from coming back.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "base/failpoint.h"
#include "store_layout.h"

/* A position in the log and what is left of it up to the head. */
struct walk {
    uint32_t position;
    uint32_t left;
};

enum walk_result { WALK_RECORD, WALK_END, WALK_BROKEN };

static struct walk walk_begin(const struct store *store, const struct shard *shard) {
    struct log_ends ends = shard_ends(shard);
    return (struct walk){ends.tail, log_used(store, ends)};
}

static void walk_over(const struct store *store, struct walk *walk, uint32_t units) {
    walk->left -= units;
    walk->position += units;
    if (walk->position == store->log_end) {
        walk->position = store->log_start;
    }
}

/* The next record from tail to head, LIVE or DEAD, over fillers; BROKEN when the log does not hang
 * together there. Ends because every step takes from `left`. */
static enum walk_result walk_next(const struct store *store, const struct shard *shard,
                                  struct walk *walk, uint32_t *position) {
    while (walk->left > 0) {
        const struct record *record = record_at(shard, walk->position);
        bool is_filler = record_kind(record) == RECORD_FILLER;
        if (!is_filler && !record_is_plausible(store, shard, walk->position)) {
            return WALK_BROKEN;
        }
        uint32_t units =
            is_filler ? store->log_end - walk->position : record_units(record->value_size);
        if (units > walk->left) {
            return WALK_BROKEN;
        }
        *position = walk->position;
        walk_over(store, walk, units);
        if (!is_filler) {
            return WALK_RECORD;
        }
    }
    return WALK_END;
}

/* A stamp ahead of the time after a reboot: the wall clock went back. */
static bool is_wanted(const struct store *store, const struct record *record,
                      enum rebuild_cause cause, int64_t now_ms) {
    return record_kind(record) == RECORD_LIVE && now_ms < record->expiry_ms &&
           (cause != REBUILD_AFTER_REBOOT || record->stamp_ms <= now_ms) &&
           record_checksum(store, record, record_value(record)) == record->checksum;
}

/* Indexes the record, or marks it DEAD when it must not come back. Either way an older one of its
 * key goes: the last record of a key in the log decides, dead, damaged or alive. */
static void readmit(struct store *store, struct shard *shard, uint32_t position,
                    enum rebuild_cause cause, int64_t now_ms) {
    struct record *record = record_at(shard, position);
    bool wanted = is_wanted(store, record, cause, now_ms);
    _Atomic uint64_t *older;
    uint32_t older_position;
    if (index_find(store, shard, record->key, &older, &older_position) == FIND_FOUND) {
        if (cause == REBUILD_AFTER_REBOOT && wanted &&
            record_at(shard, older_position)->stamp_ms > record->stamp_ms) {
            wanted = false; /* ends older than the log: the walk began with its newest records */
        } else {
            shard_forget(shard, older, older_position);
        }
    }
    if (!wanted) {
        atomic_store_explicit(&record->kind, RECORD_DEAD, memory_order_release);
        return;
    }
    FAILPOINT("store.repair.4");
    index_add(store, shard, position);
    FAILPOINT("store.repair.5");
    shard_count_added(shard, record_units(record->value_size));
}

/* A live record that the index has lost was out of reach of deletes and replacements since: it must
 * not come back. After a death that is no sign of age, for a new record's word is written last. */
static void drop_lost(const struct store *store, struct shard *shard) {
    struct walk walk = walk_begin(store, shard);
    uint32_t position;
    while (walk_next(store, shard, &walk, &position) == WALK_RECORD) {
        if (index_word_of(store, shard, position) == NULL) {
            FAILPOINT("store.repair.2");
            atomic_store_explicit(&record_at(shard, position)->kind, RECORD_DEAD,
                                  memory_order_release);
        }
    }
}

/* False when the log does not hang together from tail to head. */
static bool rescan(struct store *store, struct shard *shard, enum rebuild_cause cause,
                   int64_t now_ms) {
    struct walk walk = walk_begin(store, shard);
    uint32_t position;
    for (;;) {
        switch (walk_next(store, shard, &walk, &position)) {
        case WALK_RECORD:
            readmit(store, shard, position, cause, now_ms);
            break;
        case WALK_END:
            return true;
        case WALK_BROKEN:
            return false;
        }
    }
}

enum rebuild_result store_rebuild(struct store *store, struct shard *shard,
                                  enum rebuild_cause cause, int64_t now_ms) {
    FAILPOINT("store.repair.1");
    if (shard_ends_are_sane(store, shard_ends(shard))) {
        if (cause == REBUILD_AFTER_DAMAGE) {
            drop_lost(store, shard);
        }
        memset(shard_buckets(shard), 0, store->bucket_count * sizeof(struct bucket));
        atomic_store_explicit(&shard->entries, 0, memory_order_relaxed);
        atomic_store_explicit(&shard->bytes, 0, memory_order_relaxed);
        FAILPOINT("store.repair.3");
        if (rescan(store, shard, cause, now_ms)) {
            FAILPOINT("store.repair.6");
            return REBUILD_KEPT;
        }
    }
    shard_empty(store, shard);
    return REBUILD_EMPTIED;
}

/* -- For tests -- */

static const char *check_shard(struct store *store, struct shard *shard) {
    struct log_ends ends = shard_ends(shard);
    if (!shard_ends_are_sane(store, ends)) {
        return "ends outside the log";
    }
    struct walk walk = walk_begin(store, shard);
    enum walk_result step;
    uint32_t position;
    uint64_t entries = 0, bytes = 0, words = 0;
    while ((step = walk_next(store, shard, &walk, &position)) == WALK_RECORD) {
        const struct record *record = record_at(shard, position);
        if (record_kind(record) != RECORD_LIVE) {
            continue;
        }
        entries++;
        bytes += (uint64_t)record_units(record->value_size) * RECORD_UNIT;
        if (index_word_of(store, shard, position) == NULL) {
            return "a live record without a word";
        }
    }
    if (step == WALK_BROKEN) {
        return "the log does not hang together";
    }
    const struct bucket *buckets = shard_buckets(shard);
    for (uint32_t i = 0; i < store->bucket_count * BUCKET_WORDS; i++) {
        words += atomic_load(&buckets[i / BUCKET_WORDS].words[i % BUCKET_WORDS]) != 0;
    }
    if (words != entries) {
        return "words and live records differ in number";
    }
    if (entries != atomic_load(&shard->entries) || bytes != atomic_load(&shard->bytes)) {
        return "the figures are not what the log holds";
    }
    return NULL;
}

const char *store_check(struct store *store) {
    for (uint32_t i = 0; i < store->shard_count; i++) {
        const char *wrong =
            check_shard(store, (struct shard *)(void *)(store->shards + i * store->shard_bytes));
        if (wrong != NULL) {
            return wrong;
        }
    }
    return NULL;
}
