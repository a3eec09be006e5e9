/* store_layout: the bytes of a shard and what the store*.c files share; private to layer shm.
 *
 * A shard is: struct shard, index, log. Positions in the log are counted in units of 16 bytes from
 * the beginning of the shard, so 32 bits reach 64 GiB and 0 never is a position.
 *
 * The invariant that everything here keeps between two changes: a record in the live part of the
 * log is RECORD_LIVE exactly when one index word points to it. What breaks it (a death, damaged
 * bytes) is healed by store_rebuild, which believes the log alone.
 */
#ifndef OPTIROUTE_SHM_STORE_LAYOUT_H
#define OPTIROUTE_SHM_STORE_LAYOUT_H

#include <stdatomic.h>

#include "shm/lock.h"
#include "shm/store.h"

#define RECORD_UNIT 16u
/* Far apart in every bit, so that no small damage turns one into another. */
#define RECORD_LIVE UINT32_C(0x5ac31e97) /* counts, if its checksum agrees */
#define RECORD_DEAD                                                               \
    UINT32_C(0xa53ce168) /* deleted, replaced, expired or pushed out of the index \
                          */
#define RECORD_FILLER UINT32_C(0x3c965ba4) /* nothing more before the end of the log */

/* A record in the log, followed by the value and up to 15 bytes of padding. Written under the
 * shard's lock before the log's head passes it; afterwards only `kind` changes. A filler has only
 * `kind`. */
struct record {
    uint64_t checksum;     /* of all that follows except kind, and of the value */
    _Atomic uint32_t kind; /* RECORD_* */
    uint32_t value_size;   /* bytes */
    uint8_t key[STORE_KEY_SIZE];
    int64_t stamp_ms;  /* region time of the put */
    int64_t expiry_ms; /* region time from which it must not be served */
};
_Static_assert(sizeof(struct record) == 64, "a record's head is one cache line long");

#define BUCKET_WORDS 8u

/* Index word: tag 31 | hit 1 | position 32; 0 is empty. */
#define WORD_HIT (UINT64_C(1) << 32)

struct bucket {
    _Alignas(64) _Atomic uint64_t words[BUCKET_WORDS];
};

/* Bytes of shard per bucket: one index word per 256 bytes (3.1 % of the shard). A record of a short
 * answer (580 bytes of JSON) takes 656, so the index is at most 40 % full when the log is, and a
 * key's 16 words (home and second bucket) practically never are all taken; at the 1 KiB that is
 * expected, 25 %. Records under 256 bytes could fill it; then the key's own neighbourhood evicts.
 */
#define BUCKET_SPAN 2048u

/* First bytes of a shard. Everything below lock: changed under the lock; the atomics may be read
 * without it, as figures of a moment ago. */
struct shard {
    struct lock lock;
    _Alignas(64) _Atomic uint64_t ends; /* head << 32 | tail: positions, see struct log_ends */
    _Atomic uint64_t entries;           /* RECORD_LIVE records in the log */
    _Atomic uint64_t bytes;             /* what these take, heads and padding included */
};

_Static_assert(sizeof(struct shard) % sizeof(struct bucket) == 0, "buckets lie on cache lines");

/* Equal ends: at log_start the log is empty, anywhere else it is full. Neither the one elsewhere
 * nor the other there is ever made. */
struct log_ends {
    uint32_t head; /* where the next record goes */
    uint32_t tail; /* the oldest record */
};

/* Process-local. Geometry comes from the region handle, never from shared bytes. */
struct store {
    struct region *region;
    uint8_t *shards;                /* first shard in this process's mapping; NULL when off */
    uint32_t shard_count;           /* power of two, 0 when off */
    size_t shard_bytes;             /* distance from shard to shard */
    uint32_t bucket_count;          /* of one shard */
    uint32_t log_start, log_end;    /* positions: first of the log, first after it */
    uint64_t seed;                  /* of checksums */
    struct store_stats stats;       /* of this process */
    uint64_t *populated;            /* bitmap: 64 KiB pieces of the store this process touched */
    struct lock_patience *patience; /* one per shard */
};

/* -- store.c, for flight.c ----------------------------------------------------------------------
 */

/* The key's shard, locked (lock_release), or NULL when it is busy (counted). */
struct shard *store_take_shard(struct store *store, const uint8_t key[STORE_KEY_SIZE],
                               int64_t now_ms);
/* In that shard: the key's record, NULL when there is none that has not expired. Its checksum is
 * not verified. */
const struct record *store_find_live(struct store *store, struct shard *shard,
                                     const uint8_t key[STORE_KEY_SIZE], int64_t now_ms);

/* -- store_shard.c: records, index and log of one shard; all under its lock ------------------- */

struct shard_geometry {
    uint32_t bucket_count, log_start, log_end;
};
struct shard_geometry shard_geometry(size_t shard_bytes);
/* Makes the lock and the empty log of an all-zero shard; -1 when the lock cannot be made. */
int shard_format(void *memory, size_t shard_bytes);

static inline struct record *record_at(const struct shard *shard, uint32_t position) {
    return (struct record *)((uintptr_t)shard + (uintptr_t)position * RECORD_UNIT);
}
static inline char *record_value(const struct record *record) {
    return (char *)((uintptr_t)record + sizeof(*record));
}
static inline uint32_t record_units(uint32_t value_size) {
    return (uint32_t)((sizeof(struct record) + (uint64_t)value_size + RECORD_UNIT - 1) /
                      RECORD_UNIT);
}
static inline uint32_t record_kind(const struct record *record) {
    return atomic_load_explicit(&record->kind, memory_order_relaxed);
}
static inline struct log_ends shard_ends(const struct shard *shard) {
    uint64_t word = atomic_load_explicit(&shard->ends, memory_order_relaxed);
    return (struct log_ends){(uint32_t)(word >> 32), (uint32_t)word};
}
static inline struct bucket *shard_buckets(const struct shard *shard) {
    return (struct bucket *)((uintptr_t)shard + sizeof(*shard));
}

/* Over key, length, stamp, expiry and value; `value` need not lie behind `record`. */
uint64_t record_checksum(const struct store *store, const struct record *record, const char *value);
void shard_set_ends(struct shard *shard, struct log_ends ends);
/* Both ends lie in the log. */
bool shard_ends_are_sane(const struct store *store, struct log_ends ends);
bool log_is_full(const struct store *store, struct log_ends ends);
/* Units from tail to head. */
uint32_t log_used(const struct store *store, struct log_ends ends);
/* A LIVE or DEAD record that begins at `position` lies as a whole in the live part of the log. */
bool record_is_plausible(const struct store *store, const struct shard *shard, uint32_t position);
/* The first bucket of a key, to be fetched before the lock is taken. */
const void *index_home(const struct store *store, const struct shard *shard,
                       const uint8_t key[STORE_KEY_SIZE]);

enum find_result {
    FIND_ABSENT,
    FIND_FOUND,
    FIND_DAMAGED /* a word of this key points to no live record: rebuild */
};
enum find_result index_find(const struct store *store, const struct shard *shard,
                            const uint8_t key[STORE_KEY_SIZE], _Atomic uint64_t **word,
                            uint32_t *position);
/* Points a word at the record; when the neighbourhood is full its oldest record is given up. */
void index_add(struct store *store, struct shard *shard, uint32_t position);
/* The record's word, NULL when none points at it. */
_Atomic uint64_t *index_word_of(const struct store *store, const struct shard *shard,
                                uint32_t position);
/* Unpublishes: the record becomes DEAD, its word empty; both figures go down. */
void shard_forget(struct shard *shard, _Atomic uint64_t *word, uint32_t position);
/* Both figures go up by one record. */
void shard_count_added(struct shard *shard, uint32_t units);
void shard_count_removed(struct shard *shard, uint32_t units);
/* No entry, empty log. */
void shard_empty(const struct store *store, struct shard *shard);

/* -- store_log.c: room at the head --------------------------------------------------------------
 */

/* Makes room for `units` and returns the position to write at (wrapping is done); 0 when the log's
 * tail is damaged: the caller rebuilds and asks again. now_ms decides which records are expired. */
uint32_t log_reserve(struct store *store, struct shard *shard, uint32_t units, int64_t now_ms);
/* Shows a record of `units` that was written where log_reserve said. */
void log_advance(const struct store *store, struct shard *shard, uint32_t position, uint32_t units);

/* -- store_recover.c ----------------------------------------------------------------------------
 */

enum rebuild_result { REBUILD_KEPT, REBUILD_EMPTIED };
enum rebuild_cause {
    REBUILD_AFTER_DEATH,  /* the log is right, the index may lack the last step */
    REBUILD_AFTER_DAMAGE, /* bytes changed by themselves: what both agree on is right */
    REBUILD_AFTER_REBOOT  /* any page may be older than its neighbour: only checksums are believed,
                           * and of two records of a key the later stamp counts */
};
/* Index and figures anew from the log's whole, unexpired, newest records; an empty shard when the
 * log does not hang together. Idempotent. Between lock_change_begin and lock_change_end or
 * lock_repaired. */
enum rebuild_result store_rebuild(struct store *store, struct shard *shard,
                                  enum rebuild_cause cause, int64_t now_ms);
/* For tests, nobody else writing: NULL when the shard keeps every invariant, else which is broken.
 */
const char *store_check(struct store *store);

#endif
