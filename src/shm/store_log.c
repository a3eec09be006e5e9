/* store_log: makes room at the head of a shard's circular log.
 *
 * Runs in every worker, under the shard's lock, between lock_change_begin and lock_change_end. The
 * tail is given up record by record; one that was hit since its last pass moves to the head
 * instead. The surprise: a moved record first leaves the log and is then written anew, because the
 * room it moves into may be its own. A death in between loses it, as a cache may.
 *
 *     log_start        tail             head            log_end
 *        |   free       | live ... live  |     free        |       not wrapped
 *        | live   | free             | live ... live | F   |       wrapped; F: filler
 *               head               tail
 *
 * Equal ends: empty at log_start, full anywhere else.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "base/failpoint.h"
#include "store_layout.h"

/* What one put may move, so that a put stays short however hot the cache is. */
#define MOVE_RECORDS 32u
#define MOVE_BYTES (UINT32_C(64) << 10)

struct allowance {
    uint32_t records;
    uint32_t units;
};

/* Where `units` fit without giving anything up: the head, log_start behind a filler, or 0. A head
 * that would come to log_start while the tail is there must wait: that is how empty looks. */
static uint32_t place_for(const struct store *store, struct log_ends ends, uint32_t units) {
    bool wrapped = ends.head < ends.tail || log_is_full(store, ends);
    if (wrapped) {
        return units <= ends.tail - ends.head ? ends.head : 0;
    }
    uint32_t left = store->log_end - ends.head;
    if (units < left || (units == left && ends.tail != store->log_start)) {
        return ends.head;
    }
    return units <= ends.tail - store->log_start ? store->log_start : 0;
}

/* place_for, with the filler written when the place is not the head. */
static uint32_t take_place(const struct store *store, struct shard *shard, uint32_t units) {
    struct log_ends ends = shard_ends(shard);
    uint32_t place = place_for(store, ends, units);
    if (place != 0 && place != ends.head) {
        FAILPOINT("store.evict.2");
        atomic_store_explicit(&record_at(shard, ends.head)->kind, RECORD_FILLER,
                              memory_order_release);
        FAILPOINT("store.evict.3");
        shard_set_ends(shard, (struct log_ends){store->log_start, ends.tail});
        FAILPOINT("store.evict.4");
    }
    return place;
}

/* A tail that reaches the head leaves an empty log, which is at log_start: both move there. */
static void pass_tail(const struct store *store, struct shard *shard, uint32_t units) {
    struct log_ends ends = shard_ends(shard);
    uint32_t next = ends.tail + units;
    ends.tail = next == store->log_end ? store->log_start : next;
    if (ends.tail == ends.head) {
        ends = (struct log_ends){store->log_start, store->log_start};
    }
    shard_set_ends(shard, ends);
}

void log_advance(const struct store *store, struct shard *shard, uint32_t position,
                 uint32_t units) {
    struct log_ends ends = shard_ends(shard);
    uint32_t next = position + units;
    ends.head = next == store->log_end ? store->log_start : next;
    shard_set_ends(shard, ends);
}

/* The tail has already passed the record and nothing was written since, so its bytes are still
 * there; the new place may overlap them or be the very same (memmove), but no filler does: that is
 * written at the head, which is outside [position, position + units). A place there always is, for
 * the room that the record left is enough or the log is empty; false keeps that from being trusted
 * when the ends are damaged. */
static bool move_to_head(const struct store *store, struct shard *shard, uint32_t position,
                         uint32_t units, _Atomic uint64_t *word, uint64_t tag) {
    uint32_t place = take_place(store, shard, units);
    if (place == 0) {
        return false;
    }
    memmove(record_at(shard, place), record_at(shard, position), (size_t)units * RECORD_UNIT);
    FAILPOINT("store.evict.7");
    log_advance(store, shard, place, units);
    FAILPOINT("store.evict.8");
    atomic_store_explicit(word, tag | place, memory_order_release); /* hit is cleared */
    FAILPOINT("store.evict.9");
    return true;
}

/* Gives up the live record at the tail, or moves it. */
static void retire(struct store *store, struct shard *shard, _Atomic uint64_t *word,
                   uint32_t position, int64_t now_ms, struct allowance *allowance) {
    const struct record *record = record_at(shard, position);
    uint32_t units = record_units(record->value_size);
    uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
    uint64_t tag = value & ~(WORD_HIT | UINT32_MAX);
    bool expired = now_ms >= record->expiry_ms;
    bool moves =
        (value & WORD_HIT) != 0 && !expired && allowance->records > 0 && units <= allowance->units;
    atomic_store_explicit(word, 0, memory_order_release);
    FAILPOINT("store.evict.5");
    pass_tail(store, shard, units);
    FAILPOINT("store.evict.6");
    if (moves && move_to_head(store, shard, position, units, word, tag)) {
        allowance->records--;
        allowance->units -= units;
        return;
    }
    shard_count_removed(shard, units);
    FAILPOINT("store.evict.10");
    if (expired) {
        store->stats.expirations++;
    } else {
        store->stats.evictions++;
    }
}

/* Lets the tail pass one record or filler; false when it is neither. The log is not empty. */
static bool give_up_tail(struct store *store, struct shard *shard, int64_t now_ms,
                         struct allowance *allowance) {
    struct log_ends ends = shard_ends(shard);
    if (record_kind(record_at(shard, ends.tail)) == RECORD_FILLER && ends.head <= ends.tail) {
        pass_tail(store, shard, store->log_end - ends.tail);
        return true;
    }
    if (!record_is_plausible(store, shard, ends.tail)) {
        return false;
    }
    const struct record *record = record_at(shard, ends.tail);
    _Atomic uint64_t *word = index_word_of(store, shard, ends.tail);
    if (record_kind(record) == RECORD_DEAD || word == NULL) {
        /* Dead, or lost by a damaged index. */
        pass_tail(store, shard, record_units(record->value_size));
        return true;
    }
    retire(store, shard, word, ends.tail, now_ms, allowance);
    return true;
}

uint32_t log_reserve(struct store *store, struct shard *shard, uint32_t units, int64_t now_ms) {
    struct allowance allowance = {MOVE_RECORDS, MOVE_BYTES / RECORD_UNIT};
    for (;;) {
        uint32_t place = take_place(store, shard, units);
        if (place != 0) {
            return place;
        }
        /* Ends: each turn takes at least one record away for good or uses up the allowance. */
        if (!give_up_tail(store, shard, now_ms, &allowance)) {
            return 0;
        }
    }
}
