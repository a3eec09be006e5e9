/* text: UTF-8, numbers with units as people write them, and the nearest known word.
 */
#ifndef OPTIROUTE_BASE_TEXT_H
#define OPTIROUTE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Offset of the first byte that is not well-formed UTF-8 (RFC 3629: no surrogates, no overlong
 * forms, at most U+10FFFF), or text.size when all is well. */
size_t text_utf8_check(struct bytes text);
/* Code points of well-formed UTF-8. */
size_t text_utf8_length(struct bytes text);
/* Decodes one code point at text.data[*at] of well-formed UTF-8 and moves *at past it. */
uint32_t text_utf8_next(struct bytes text, size_t *at);
/* Writes cp (<= U+10FFFF, no surrogate) as UTF-8; returns 1 to 4. */
size_t text_utf8_put(char out[4], uint32_t cp);

/* "500ms", "30s", "5m", "1h", "1d", also "0" or "0s"; digits with at most three decimals before the
 * unit. False on anything else or past 10 years. */
bool text_parse_duration_ms(struct bytes text, int64_t *ms);
/* "4MB" = 4 * 1024 * 1024; units B KB MB GB TB, no unit = bytes, no decimals. False past 2^62. */
bool text_parse_size(struct bytes text, int64_t *size_bytes);
/* Decimal number into 10^-9 units, exactly: "0.15" -> 150000000. At most nine decimals, no
 * exponent, no sign but a leading '-'. False past the range. */
bool text_parse_nano(struct bytes text, int64_t *nano);
/* The other way, as people would write it: 1500 -> "1500ms", 60000 -> "1m", 4194304 -> "4MB",
 * 150000000 -> "0.15". out is always terminated. */
void text_format_duration_ms(int64_t ms, char *out, size_t out_size);
void text_format_size(int64_t size_bytes, char *out, size_t out_size);
void text_format_nano(int64_t nano, char *out, size_t out_size);

/* The candidate with the least edit distance (insert, delete, replace, swap of neighbours) when
 * that distance is at most a third of the word's length (at least 1), else NULL. */
const char *text_nearest(const char *word, const char *const *candidates, size_t count);

/* What to do about a file that could not be opened or written for that errno, to stand behind
 * strerror: "; make its directory first". Empty where there is nothing to say. */
const char *text_file_advice(int reason);

#endif
