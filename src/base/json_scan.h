/* json_scan: what the validator, the tokens and the writer of JSON share; private to src/base.
 *
 * Strings are nearly all of a request body, so both directions step over their plain bytes eight at
 * a time with json_plain_end and look closer only at what it stops at.
 */
#ifndef OPTIROUTE_SRC_BASE_JSON_SCAN_H
#define OPTIROUTE_SRC_BASE_JSON_SCAN_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json_read.h"

/* What may come next. */
enum json_want {
    JSON_WANT_VALUE,        /* a value and nothing else */
    JSON_WANT_FIRST_VALUE,  /* after '[': a value or ']' */
    JSON_WANT_KEY,          /* after ',' in an object: a key */
    JSON_WANT_FIRST_KEY,    /* after '{': a key or '}' */
    JSON_WANT_NEXT_OR_CLOSE /* after a value: ',' or the end of the container, or of the text */
};

/* A part of the text that whoever looks for tokens need not see: the inside of a long string, of a
 * long array of numbers, of a long run of blanks. `from` counts in the text, `at` in what is left
 * when all parts are cut out. */
struct json_part {
    size_t from, size, at;
    bool is_numbers;
};

struct json_parts {
    struct json_part *items; /* owned */
    size_t count, capacity;
    size_t cut; /* bytes of all of them */
};

#define JSON_PART_MIN 64 /* bytes of a string or of blanks, elements of an array of numbers */

/* A pass over a text that may rest and go on. */
struct json_scan {
    const uint8_t *start, *at, *end;
    uint64_t objects; /* bit 0: the innermost open container is an object */
    unsigned depth;
    size_t count; /* values and keys so far, which is the number of tokens jsmn will make */
    size_t max_values;
    enum json_want want;
    const uint8_t *string;    /* resting inside a string: its first byte, else NULL */
    bool is_key;              /* and it is a key */
    struct json_parts *parts; /* filled when not NULL */
    bool no_memory;           /* for parts */
};

void json_scan_begin(struct json_scan *scan, struct bytes text, size_t max_values,
                     struct json_parts *parts);
/* Goes on for about so many bytes. */
enum json_progress json_scan_step(struct json_scan *scan, size_t budget, struct json_fault *fault);

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
