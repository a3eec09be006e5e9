/* json_validate: decides what is JSON, in one pass over the bytes.
 *
 * RFC 8259 without any leniency: its grammar, well-formed UTF-8 inside strings, surrogates only in
 * pairs, at most JSON_MAX_DEPTH containers in each other, no byte order mark, nothing behind the
 * value. It builds nothing: json_read.c has jsmn make the tokens of what passes here. Runs in every
 * worker for every request body and every provider's answer.
 *
 * The surprise: the stack of open containers is one 64-bit word, one bit each (1: object), which is
 * why the depth is 64.
 */
#include "base/json_read.h"

#include <stdlib.h>

#include "json_scan.h"

_Static_assert(JSON_MAX_DEPTH <= 64, "open containers are bits of one word");

/* Where and why a scan stopped. */
struct stop {
    const uint8_t *at;
    const char *reason;
    const uint8_t *rest; /* it need not go on behind this */
    bool rests;          /* it has stopped there, inside a string */
};

/* Always NULL, so that the scanners can return it. */
static const uint8_t *fail(struct stop *stop, const uint8_t *at, const char *reason) {
    stop->at = at;
    stop->reason = reason;
    return NULL;
}

static inline const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
        at++;
    }
    return at;
}

static inline bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

static inline const uint8_t *skip_digits(const uint8_t *at, const uint8_t *end) {
    while (at < end && is_digit(*at)) {
        at++;
    }
    return at;
}

int json_hex4(const uint8_t *at) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = at[i];
        if (is_digit(c)) {
            value = value * 16 + (c - '0');
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            value = value * 16 + ((c | 0x20) - 'a' + 10);
        } else {
            return -1;
        }
    }
    return value;
}

/* `at` stands on the backslash of a \u escape. */
static const uint8_t *scan_unicode_escape(const uint8_t *at, const uint8_t *end,
                                          struct stop *stop) {
    int unit = end - at >= 6 ? json_hex4(at + 2) : -1;
    if (unit == -1) {
        return fail(stop, at, "invalid \\u escape in string");
    }
    if (unit < 0xD800 || unit > 0xDFFF) {
        return at + 6;
    }
    int second = -1;
    if (unit < 0xDC00 && end - at >= 12 && at[6] == '\\' && at[7] == 'u') {
        second = json_hex4(at + 8);
    }
    if (second < 0xDC00 || second > 0xDFFF) {
        return fail(stop, at, "surrogate without its pair in string");
    }
    return at + 12;
}

static const uint8_t *scan_escape(const uint8_t *at, const uint8_t *end, struct stop *stop) {
    if (end - at < 2) {
        return fail(stop, end, "string is not ended");
    }
    switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return at + 2;
    case 'u':
        return scan_unicode_escape(at, end, stop);
    default:
        return fail(stop, at, "invalid escape in string");
    }
}

static const uint8_t *scan_non_ascii(const uint8_t *at, const uint8_t *end, struct stop *stop) {
    do {
        int length = json_utf8_sequence(at, end);
        if (length < 0) {
            return fail(stop, at, "invalid UTF-8 in string");
        }
        at += length;
    } while (at < end && *at >= 0x80);
    return at;
}

/* `at` stands inside a string; returns what follows the closing quote, or where it rests. */
static inline const uint8_t *scan_string(const uint8_t *at, const uint8_t *end, struct stop *stop) {
    while (at != NULL) {
        at = json_plain_end(at, stop->rest);
        if (at >= stop->rest) {
            if (at == end) {
                return fail(stop, end, "string is not ended");
            }
            stop->rests = true;
            return at;
        }
        if (*at == '"') {
            return at + 1;
        }
        if (*at == '\\') {
            at = scan_escape(at, end, stop);
        } else if (*at < 0x20) {
            return fail(stop, at, "control character in string");
        } else {
            at = scan_non_ascii(at, end, stop);
        }
    }
    return NULL;
}

/* Digits, at least one. */
static inline const uint8_t *scan_digits(const uint8_t *at, const uint8_t *end, struct stop *stop) {
    if (at == end || !is_digit(*at)) {
        return fail(stop, at, "a digit is missing in number");
    }
    return skip_digits(at, end);
}

static const uint8_t *scan_number(const uint8_t *at, const uint8_t *end, struct stop *stop) {
    if (*at == '-') {
        at++;
    }
    const uint8_t *first = at;
    at = scan_digits(at, end, stop);
    if (at == NULL) {
        return NULL;
    }
    if (*first == '0' && at - first > 1) {
        return fail(stop, first, "leading zero in number");
    }
    if (at < end && *at == '.') {
        at = scan_digits(at + 1, end, stop);
        if (at == NULL) {
            return NULL;
        }
    }
    if (at < end && (*at | 0x20) == 'e') {
        at++;
        if (at < end && (*at == '+' || *at == '-')) {
            at++;
        }
        return scan_digits(at, end, stop);
    }
    return at;
}

static const uint8_t *scan_word(const uint8_t *at, const uint8_t *end, struct bytes word,
                                struct stop *stop) {
    if ((size_t)(end - at) < word.size || memcmp(at, word.data, word.size) != 0) {
        return fail(stop, at, "a value is missing");
    }
    return at + word.size;
}

/* A number or a word. */
static inline const uint8_t *scan_scalar(const uint8_t *at, const uint8_t *end, struct stop *stop) {
    switch (*at) {
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return scan_number(at, end, stop);
    case 't':
        return scan_word(at, end, BYTES_LITERAL("true"), stop);
    case 'f':
        return scan_word(at, end, BYTES_LITERAL("false"), stop);
    case 'n':
        return scan_word(at, end, BYTES_LITERAL("null"), stop);
    case 0xEF:
        return fail(stop, at, "a value is missing (byte order marks are not allowed)");
    default:
        return fail(stop, at, "a value is missing");
    }
}

/* What follows a key. */
static inline const uint8_t *scan_colon(const uint8_t *at, const uint8_t *end, struct stop *stop) {
    at = skip_blanks(at, end);
    if (at == end || *at != ':') {
        return fail(stop, at, "':' is missing");
    }
    return at + 1;
}

static const char *why_not_next(unsigned depth, bool in_object) {
    if (depth == 0) {
        return "bytes after the value";
    }
    return in_object ? "',' or '}' is missing" : "',' or ']' is missing";
}

/* ---- parts that need not be seen again ---- */

static void add_part(struct json_scan *scan, const uint8_t *from, const uint8_t *to,
                     bool is_numbers) {
    struct json_parts *parts = scan->parts;
    if (parts->count == parts->capacity) {
        size_t capacity = parts->capacity == 0 ? 64 : 2 * parts->capacity;
        struct json_part *items = realloc(parts->items, capacity * sizeof(*items));
        if (items == NULL) {
            scan->no_memory = true;
            return;
        }
        parts->items = items;
        parts->capacity = capacity;
    }
    size_t offset = (size_t)(from - scan->start);
    size_t size = (size_t)(to - from);
    parts->items[parts->count++] = (struct json_part){
        .from = offset, .size = size, .at = offset - parts->cut, .is_numbers = is_numbers};
    parts->cut += size;
}

/* `to` stands behind the closing quote. */
static inline void note_string(struct json_scan *scan, const uint8_t *from, const uint8_t *to) {
    if (scan->parts != NULL && to - 1 - from >= JSON_PART_MIN) {
        add_part(scan, from, to - 1, false);
    }
}

/* One blank stays on each side, so that no token begins or ends at a cut. */
static inline void note_blanks(struct json_scan *scan, const uint8_t *from, const uint8_t *to) {
    if (scan->parts != NULL && to - from >= JSON_PART_MIN) {
        add_part(scan, from + 1, to - 1, false);
    }
}

/* `at` stands behind a '['. When there are many numbers and nothing else: what follows the ']',
 * else NULL. (Batches of tokens to embed are such, and embeddings.) */
static const uint8_t *scan_numbers(struct json_scan *scan, const uint8_t *at) {
    const uint8_t *from = at;
    const uint8_t *end = scan->end;
    struct stop ignored = {.rest = end};
    for (size_t count = 1;; count++) {
        at = skip_blanks(at, end);
        if (at == end || !(is_digit(*at) || *at == '-')) {
            return NULL;
        }
        at = scan_number(at, end, &ignored);
        at = at != NULL ? skip_blanks(at, end) : NULL;
        if (at == NULL || at == end) {
            return NULL;
        }
        if (*at == ']') {
            if (count < JSON_PART_MIN) {
                return NULL;
            }
            add_part(scan, from, at, true);
            return at + 1;
        }
        if (*at != ',') {
            return NULL;
        }
        at++;
    }
}

/* ---- the pass ---- */

/* `at` stands on a '{' or '['. */
static const uint8_t *open_container(struct json_scan *scan, const uint8_t *at, struct stop *stop) {
    if (scan->depth == JSON_MAX_DEPTH) {
        return fail(stop, at, "nested too deeply");
    }
    if (scan->parts != NULL && *at == '[') {
        const uint8_t *after = scan_numbers(scan, at + 1);
        if (after != NULL) {
            scan->want = JSON_WANT_NEXT_OR_CLOSE;
            return after;
        }
    }
    scan->depth++;
    scan->objects = scan->objects << 1 | (*at == '{');
    scan->want = *at == '{' ? JSON_WANT_FIRST_KEY : JSON_WANT_FIRST_VALUE;
    return at + 1;
}

static inline void close_container(struct json_scan *scan) {
    scan->objects >>= 1;
    scan->depth--;
    scan->want = JSON_WANT_NEXT_OR_CLOSE;
}

/* Behind the end of a string, when it did not rest in it. */
static inline const uint8_t *end_string(struct json_scan *scan, const uint8_t *at,
                                        struct stop *stop) {
    if (at == NULL || stop->rests) {
        return at;
    }
    note_string(scan, scan->string, at);
    scan->string = NULL;
    if (!scan->is_key) {
        scan->want = JSON_WANT_NEXT_OR_CLOSE;
        return at;
    }
    scan->want = JSON_WANT_VALUE;
    return scan_colon(at, scan->end, stop);
}

static inline const uint8_t *begin_string(struct json_scan *scan, const uint8_t *at, bool is_key,
                                          struct stop *stop) {
    scan->string = at + 1;
    scan->is_key = is_key;
    return end_string(scan, scan_string(at + 1, scan->end, stop), stop);
}

/* A key, a container's opening, or a whole value. */
static inline const uint8_t *scan_item(struct json_scan *scan, const uint8_t *at,
                                       struct stop *stop) {
    uint8_t c = *at;
    if (scan->count++ == scan->max_values) {
        return fail(stop, at, "too many values");
    }
    if (scan->want == JSON_WANT_KEY || scan->want == JSON_WANT_FIRST_KEY) {
        return c == '"' ? begin_string(scan, at, true, stop) : fail(stop, at, "a key is missing");
    }
    if (c == '"') {
        return begin_string(scan, at, false, stop);
    }
    if (c == '{' || c == '[') {
        return open_container(scan, at, stop);
    }
    scan->want = JSON_WANT_NEXT_OR_CLOSE;
    return scan_scalar(at, scan->end, stop);
}

/* A comma or a closing bracket. */
static inline const uint8_t *scan_next(struct json_scan *scan, const uint8_t *at,
                                       struct stop *stop) {
    bool in_object = (scan->objects & 1) != 0;
    if (scan->depth > 0 && *at == ',') {
        scan->want = in_object ? JSON_WANT_KEY : JSON_WANT_VALUE;
    } else if (scan->depth > 0 && *at == (in_object ? '}' : ']')) {
        close_container(scan);
    } else {
        return fail(stop, at, why_not_next(scan->depth, in_object));
    }
    return at + 1;
}

/* Returns end, or where it rests, or NULL with the stop filled. */
static const uint8_t *scan_some(struct json_scan *scan, const uint8_t *at, struct stop *stop) {
    const uint8_t *end = scan->end;
    if (scan->string != NULL) {
        at = end_string(scan, scan_string(at, end, stop), stop);
    }
    while (at != NULL && at < stop->rest) {
        const uint8_t *blanks = at;
        at = skip_blanks(at, end);
        note_blanks(scan, blanks, at);
        if (at == end) {
            break;
        }
        uint8_t c = *at;
        if (scan->want == JSON_WANT_NEXT_OR_CLOSE) {
            at = scan_next(scan, at, stop);
        } else if ((scan->want == JSON_WANT_FIRST_KEY && c == '}') ||
                   (scan->want == JSON_WANT_FIRST_VALUE && c == ']')) {
            close_container(scan);
            at++;
        } else {
            at = scan_item(scan, at, stop);
        }
    }
    if (at == end && (scan->want != JSON_WANT_NEXT_OR_CLOSE || scan->depth > 0)) {
        return fail(stop, end, scan->count == 0 ? "no value at all" : "the text ends too early");
    }
    return at;
}

void json_scan_begin(struct json_scan *scan, struct bytes text, size_t max_values,
                     struct json_parts *parts) {
    /* An address to count from even when there is no text. */
    const uint8_t *start = text.size > 0 ? (const uint8_t *)text.data : (const uint8_t *)"";
    *scan = (struct json_scan){.start = start,
                               .at = start,
                               .end = start + text.size,
                               .max_values = max_values,
                               .want = JSON_WANT_VALUE,
                               .parts = parts};
}

enum json_progress json_scan_step(struct json_scan *scan, size_t budget, struct json_fault *fault) {
    size_t left = (size_t)(scan->end - scan->at);
    struct stop stop = {.at = scan->at, .rest = scan->at + (budget < left ? budget : left)};
    const uint8_t *at = scan_some(scan, scan->at, &stop);
    if (at == NULL) {
        *fault =
            (struct json_fault){.offset = (size_t)(stop.at - scan->start), .reason = stop.reason};
        return JSON_WRONG;
    }
    if (scan->no_memory) {
        *fault = (struct json_fault){.reason = "out of memory", .no_memory = true};
        return JSON_WRONG;
    }
    scan->at = at;
    return at == scan->end ? JSON_DONE : JSON_MORE;
}

int json_validate(struct bytes text, struct json_fault *fault) {
    struct json_scan scan;
    json_scan_begin(&scan, text, SIZE_MAX, NULL);
    return json_scan_step(&scan, SIZE_MAX, fault) == JSON_DONE ? 0 : -1;
}
