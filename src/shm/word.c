/* word: the breaker words of the region; every process reads and swaps them, nobody locks.
 *
 * The surprise: neighbours share a cache line. A word changes when a provider fails or recovers,
 * not per request, so padding would cost more reads than it saves.
 */
#include "config.h"

#include "base/panic.h"
#include "region_layout.h"
#include "shm/word.h"

static _Atomic uint64_t *word_at(const struct region *region, size_t offset, unsigned index) {
    ASSERT(index < REGION_PROVIDERS);
    return (_Atomic uint64_t *)(void *)(region->base + offset) + index;
}

static _Atomic uint64_t *word_of(const struct region *region, unsigned provider_index) {
    return word_at(region, region->at.words, provider_index);
}

uint64_t word_load(const struct region *region, unsigned provider_index) {
    return atomic_load_explicit(word_of(region, provider_index), memory_order_acquire);
}

bool word_cas(struct region *region, unsigned provider_index, uint64_t *expected,
              uint64_t desired) {
    return atomic_compare_exchange_strong_explicit(word_of(region, provider_index), expected,
                                                   desired, memory_order_acq_rel,
                                                   memory_order_acquire);
}

uint64_t word_subject(const struct region *region, unsigned provider_index) {
    return atomic_load_explicit(word_at(region, region->at.subjects, provider_index),
                                memory_order_acquire);
}

void word_set_subject(struct region *region, unsigned provider_index, uint64_t subject) {
    atomic_store_explicit(word_at(region, region->at.subjects, provider_index), subject,
                          memory_order_release);
}

void word_reset(struct region *region) {
    for (unsigned provider = 0; provider < REGION_PROVIDERS; provider++) {
        atomic_store_explicit(word_of(region, provider), 0, memory_order_relaxed);
    }
}
