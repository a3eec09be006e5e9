/* store: the shared exact cache: SHA-256 keys, byte values, time to live, one hard cap in bytes.
 *
 * Sharded; each shard is a robust lock, an index of buckets (8-byte tag and offset) and a circular
 * log of self-describing records. Put appends at the head; when the head meets the tail the oldest
 * record goes, but one that was hit since its last pass moves to the head instead (second chance;
 * at most 32 records or 64 KiB a put). There is no free list, no LRU list and no fragmentation, and
 * recovery is a rescan of the log. A value may be lost at any time; it is never wrong: its checksum
 * covers key, lengths, meta and value and is verified after the copy, outside the lock.
 *
 * Every process with a `struct store` may read and write. Nothing here waits longer than 2 ms (see
 * shm/lock.h).
 */
#ifndef OPTIROUTE_SHM_STORE_H
#define OPTIROUTE_SHM_STORE_H

#include "base/bytes.h"
#include "shm/region.h"

#define STORE_KEY_SIZE 32 /* SHA-256 */

struct store; /* process-local handle: geometry, patience of each shard's lock, statistics of this
                 process */

enum store_result {
    STORE_HIT,
    STORE_MISS,     /* not there, expired, shard busy, or found damaged and removed */
    STORE_TOO_SMALL /* there, but `out` cannot hold it: value->size says what it needs */
};

enum store_put_result {
    STORE_PUT_DONE,
    STORE_PUT_REFUSED, /* too large for a shard, or the store is off */
    STORE_PUT_BUSY     /* the shard's lock was not to be had in time */
};

/* What this process did; the owner of the handle adds the differences to its counters. */
struct store_stats {
    uint64_t evictions;   /* whole records given up for room before their time */
    uint64_t expirations; /* records found past their time */
    uint64_t corruptions; /* checksum or bounds mismatches */
    uint64_t recoveries_clean, recoveries_rebuilt,
        recoveries_emptied; /* by the first to lock after a death */
    uint64_t lock_timeouts;
};

/* A handle on the region's store; made in each process after fork (or before: it holds no thread or
 * lock). NULL without memory. */
struct store *store_open(struct region *region);
void store_close(struct store *store);

/* Looks the key up and copies the value out: out_size is its room, *value_size its size.
 * age_ms (may be NULL) gets the record's age. max_age_ms: older ones are a miss (INT64_MAX: any
 * age). On STORE_MISS nothing is set and what `out` holds means nothing. */
enum store_result store_get(struct store *store, const uint8_t key[STORE_KEY_SIZE],
                            int64_t max_age_ms, char *out, size_t out_size, size_t *value_size,
                            int64_t *age_ms);
/* Stores (or replaces) the value for ttl_ms (refused when not > 0). The value may be any bytes, at
 * most store_max_value. */
enum store_put_result store_put(struct store *store, const uint8_t key[STORE_KEY_SIZE],
                                struct bytes value, int64_t ttl_ms);
/* True when something was removed; false also when the shard was busy. */
bool store_delete(struct store *store, const uint8_t key[STORE_KEY_SIZE]);

/* Largest value that any shard can hold. */
size_t store_max_value(const struct store *store);
/* Sums over the shards, read without locks: entries and bytes in use are exact when nobody writes,
 * else of a moment ago. bytes: records with their heads; capacity_bytes: all shards with index and
 * locks, never above `cache.size`. */
void store_usage(const struct store *store, uint64_t *entries, uint64_t *bytes,
                 uint64_t *capacity_bytes);
const struct store_stats *store_stats(const struct store *store);

#endif
