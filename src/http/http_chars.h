/* http_chars: which byte may stand where, one table for head and trailers; private to src/http.
 *
 * RFC 9110 section 5.5 and 5.6.2, RFC 9112 section 3, RFC 3986.
 */
#ifndef OPTIROUTE_SRC_HTTP_HTTP_CHARS_H
#define OPTIROUTE_SRC_HTTP_HTTP_CHARS_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HTTP_CHAR_TOKEN 1  /* method and field names */
#define HTTP_CHAR_TARGET 2 /* request target: visible ASCII; '#' never reaches a server */
#define HTTP_CHAR_VALUE 4  /* field value: HTAB, blank, visible ASCII, obs-text */
#define HTTP_CHAR_HOST 8   /* reg-name; without the comma, which is how doubled fields are joined */

extern const uint8_t http_chars[256];

static inline bool http_char_is(unsigned char c, unsigned classes) {
    return (http_chars[c] & classes) != 0;
}

/* First byte from `at` (at most end) on that is not of the class, or end. */
static inline size_t http_skip_class(const unsigned char *data, size_t at, size_t end,
                                     unsigned classes) {
    for (; end - at >= 4; at += 4) { /* by fours: half the time */
        if (!http_char_is(data[at], classes)) {
            return at;
        }
        if (!http_char_is(data[at + 1], classes)) {
            return at + 1;
        }
        if (!http_char_is(data[at + 2], classes)) {
            return at + 2;
        }
        if (!http_char_is(data[at + 3], classes)) {
            return at + 3;
        }
    }
    while (at < end && http_char_is(data[at], classes)) {
        at++;
    }
    return at;
}

/* The same for field values, eight bytes at a time, as they are most of a head.
 *
 * Each subtraction sets the high bit of a byte that is smaller than what was taken from it, and the
 * complement keeps bytes of 0x80 and above out. A borrow may set a bit falsely only above one that
 * is set rightly, so any bit set means "look closer", and none is missed. HTAB stops the fast loop
 * and is then skipped by the table. */
static inline size_t http_skip_value(const unsigned char *data, size_t at, size_t end) {
    const uint64_t ones = 0x0101010101010101u;
    for (;;) {
        while (end - at >= 8) {
            uint64_t word;
            memcpy(&word, data + at, 8);
            word = le64toh(word);
            uint64_t del = word ^ (ones * 0x7f);
            uint64_t stop = ((word - ones * 0x20) & ~word) | ((del - ones) & ~del);
            stop &= ones * 0x80;
            if (stop != 0) {
                at += (size_t)__builtin_ctzll(stop) / 8;
                break;
            }
            at += 8;
        }
        size_t from = at;
        while (at < end && at - from < 8 && http_char_is(data[at], HTTP_CHAR_VALUE)) {
            at++;
        }
        if (at == end || at - from < 8) {
            return at;
        }
    }
}

#endif
