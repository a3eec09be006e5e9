/* json_scan: what the validator, the tokens and the writer of JSON share; private to src/base.
 *
 * Strings are nearly all of a request body, so both directions step over their plain bytes eight at
 * a time with json_plain_end and look closer only at what it stops at.
 */
#ifndef OPTIROUTE_SRC_BASE_JSON_SCAN_H
#define OPTIROUTE_SRC_BASE_JSON_SCAN_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json_read.h"

/* json_validate with a bound: more than max_values values and keys together is a fault at the first
 * one too many. *values is their number, which is the number of tokens jsmn will make. */
int json_scan(struct bytes text, size_t max_values, size_t *values, struct json_fault *fault);

/* The four hexadecimal digits at `at`, or -1. */
int json_hex4(const uint8_t *at);

static inline bool json_is_plain(uint8_t c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* First byte that is a quote, a backslash, a control character or not ASCII, or end.
 *
 * Each subtraction sets the high bit of a byte that is smaller than what was taken from it. A
 * borrow can set it falsely in the bytes above, but only above one that is set rightly; so the
 * lowest one set is always right, and only that one is used. */
static inline const uint8_t *json_plain_end(const uint8_t *at, const uint8_t *end) {
    const uint64_t ones = 0x0101010101010101u;
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        word = le64toh(word);
        uint64_t control = word - ones * 0x20;
        uint64_t quote = (word ^ (ones * '"')) - ones;
        uint64_t backslash = (word ^ (ones * '\\')) - ones;
        uint64_t stop = (control | quote | backslash | word) & (ones * 0x80);
        if (stop != 0) {
            return at + __builtin_ctzll(stop) / 8;
        }
        at += 8;
    }
    while (at < end && json_is_plain(*at)) {
        at++;
    }
    return at;
}

/* The UTF-8 sequence at `at`, whose first byte is not ASCII: its length when it is well formed
 * (RFC 3629, Unicode table 3-7), else minus the length of its maximal subpart: the bytes that a
 * decoder replaces by one U+FFFD. */
static inline int json_utf8_sequence(const uint8_t *at, const uint8_t *end) {
    uint8_t lead = at[0];
    uint8_t low = 0x80;
    uint8_t high = 0xBF;
    int length;
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    } else if ((lead & 0xF0) == 0xE0) {
        length = 3;
        low = lead == 0xE0 ? 0xA0 : 0x80;  /* overlong */
        high = lead == 0xED ? 0x9F : 0xBF; /* surrogates */
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        low = lead == 0xF0 ? 0x90 : 0x80;  /* overlong */
        high = lead == 0xF4 ? 0x8F : 0xBF; /* past U+10FFFF */
    } else {
        return -1;
    }
    for (int i = 1; i < length; i++) {
        if (end - at <= i || at[i] < low || at[i] > high) {
            return -i;
        }
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

#endif
