/* word: one 64-bit compare-and-swap word per provider: where the circuit breaker lives.
 *
 * The word's meaning is the gateway's business (gateway/breaker.h); here it is 64 bits, all
 * zero at first, addressed by the provider's index in the name table, so a reload keeps it. A
 * change is one compare-and-swap: a process killed at any instruction leaves a whole word.
 */
#ifndef OPTIROUTE_SHM_WORD_H
#define OPTIROUTE_SHM_WORD_H

#include "shm/region.h"

/* provider_index below REGION_PROVIDERS. */
uint64_t word_load(const struct region *region, unsigned provider_index);
/* True when the word was *expected and is now desired; else *expected is what it was instead. */
bool word_cas(struct region *region, unsigned provider_index, uint64_t *expected, uint64_t desired);
/* What the word is about (a hash of the provider's address; 0: never bound), so that a provider
 * that moves does not inherit the word of its old place. Writer: master. */
uint64_t word_subject(const struct region *region, unsigned provider_index);
void word_set_subject(struct region *region, unsigned provider_index, uint64_t subject);

#endif
