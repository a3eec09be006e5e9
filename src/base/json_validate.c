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

#include "json_scan.h"

_Static_assert(JSON_MAX_DEPTH <= 64, "open containers are bits of one word");

/* Where and why a scan stopped. */
struct stop {
    const uint8_t *at;
    const char *reason;
};

/* What may come next. */
enum want {
    WANT_VALUE,        /* a value and nothing else */
    WANT_FIRST_VALUE,  /* after '[': a value or ']' */
    WANT_KEY,          /* after ',' in an object: a key */
    WANT_FIRST_KEY,    /* after '{': a key or '}' */
    WANT_NEXT_OR_CLOSE /* after a value: ',' or the end of the container, or of the text */
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

/* `at` stands behind the opening quote; returns what follows the closing one. */
static inline const uint8_t *scan_string(const uint8_t *at, const uint8_t *end, struct stop *stop) {
    while (at != NULL) {
        at = json_plain_end(at, end);
        if (at == end) {
            return fail(stop, end, "string is not ended");
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

/* A value that is not a container. */
static inline const uint8_t *scan_scalar(const uint8_t *at, const uint8_t *end, struct stop *stop) {
    switch (*at) {
    case '"':
        return scan_string(at + 1, end, stop);
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

/* A key and its colon. */
static inline const uint8_t *scan_key(const uint8_t *at, const uint8_t *end, struct stop *stop) {
    if (*at != '"') {
        return fail(stop, at, "a key is missing");
    }
    at = scan_string(at + 1, end, stop);
    if (at == NULL) {
        return NULL;
    }
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

/* Returns end, or NULL with the stop filled. */
static const uint8_t *scan_document(const uint8_t *at, const uint8_t *end, size_t max_values,
                                    size_t *values, struct stop *stop) {
    uint64_t objects = 0; /* bit 0: the innermost open container is an object */
    unsigned depth = 0;
    size_t count = 0;
    enum want want = WANT_VALUE;

    for (;;) {
        at = skip_blanks(at, end);
        if (at == end) {
            break;
        }
        uint8_t c = *at;
        bool in_object = (objects & 1) != 0;
        if (want == WANT_NEXT_OR_CLOSE) {
            if (depth > 0 && c == ',') {
                want = in_object ? WANT_KEY : WANT_VALUE;
            } else if (depth > 0 && c == (in_object ? '}' : ']')) {
                objects >>= 1;
                depth--;
            } else {
                return fail(stop, at, why_not_next(depth, in_object));
            }
            at++;
            continue;
        }
        if ((want == WANT_FIRST_KEY && c == '}') || (want == WANT_FIRST_VALUE && c == ']')) {
            objects >>= 1;
            depth--;
            want = WANT_NEXT_OR_CLOSE;
            at++;
            continue;
        }
        if (count++ == max_values) {
            return fail(stop, at, "too many values");
        }
        if (want == WANT_KEY || want == WANT_FIRST_KEY) {
            at = scan_key(at, end, stop);
            want = WANT_VALUE;
        } else if (c == '{' || c == '[') {
            if (depth == JSON_MAX_DEPTH) {
                return fail(stop, at, "nested too deeply");
            }
            depth++;
            objects = objects << 1 | (c == '{');
            want = c == '{' ? WANT_FIRST_KEY : WANT_FIRST_VALUE;
            at++;
        } else {
            at = scan_scalar(at, end, stop);
            want = WANT_NEXT_OR_CLOSE;
        }
        if (at == NULL) {
            return NULL;
        }
    }
    if (want != WANT_NEXT_OR_CLOSE || depth > 0) {
        return fail(stop, end, count == 0 ? "no value at all" : "the text ends too early");
    }
    *values = count;
    return at;
}

int json_scan(struct bytes text, size_t max_values, size_t *values, struct json_fault *fault) {
    /* An address to count from even when there is no text. */
    const uint8_t *start = text.size > 0 ? (const uint8_t *)text.data : (const uint8_t *)"";
    struct stop stop = {.at = start};
    if (scan_document(start, start + text.size, max_values, values, &stop) == NULL) {
        *fault = (struct json_fault){.offset = (size_t)(stop.at - start), .reason = stop.reason};
        return -1;
    }
    return 0;
}

int json_validate(struct bytes text, struct json_fault *fault) {
    size_t values;
    return json_scan(text, SIZE_MAX, &values, fault);
}
