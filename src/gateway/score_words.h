/* score_words: which feature of the score a word counts for. Private to score.c.
 *
 * Not a dictionary: a few hundred words and two-word phrases per feature, in lower case. Words are
 * known by a 64-bit hash that the scanner builds letter by letter, so a lookup touches one cache
 * line or two and no text. A collision (about 2^-45 per word) would count one wrong word.
 */
#ifndef OPTIROUTE_GATEWAY_SCORE_WORDS_H
#define OPTIROUTE_GATEWAY_SCORE_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#define SCORE_WORD_NONE (-1)

struct score_word {
    int feature;       /* enum score_feature, or SCORE_WORD_NONE */
    bool opens_phrase; /* may be the first word of a listed phrase */
};

#define SCORE_WORD_SEED UINT64_C(0xcbf29ce484222325)

/* FNV-1a: one more letter, lower case. Start with SCORE_WORD_SEED. */
static inline uint64_t score_word_add(uint64_t hash, unsigned char letter) {
    return (hash ^ letter) * UINT64_C(0x100000001b3);
}
/* The hash of the phrase "first second". */
static inline uint64_t score_word_join(uint64_t first, uint64_t second) {
    return ((first << 7) | (first >> 57)) ^ (second * UINT64_C(0x9e3779b97f4a7c15));
}

struct score_word score_word_find(uint64_t hash);

#endif
