/* text: see base/text.h. Used by every process: configuration, JSON, logs.
 *
 * The surprise: a duration or price that cannot be represented exactly ("0.5ms", ten decimals) is
 * refused instead of rounded; nobody should be billed by a rounding they did not write.
 */
#include "config.h"

#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NANO_PER_UNIT 1000000000u
#define NANO_DECIMALS 9
#define DURATION_DECIMALS 3
#define DURATION_MAX_MS (10LL * 365 * 24 * 3600 * 1000)
#define SIZE_MAX_BYTES (1LL << 62)
#define NEAREST_WORD_MAX 64

struct unit {
    const char *name;
    int64_t factor;
};

/* Ascending: the formatters take the last one that divides. */
static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000},
};
static const struct unit size_units[] = {
    {"B", 1}, {"KB", 1LL << 10}, {"MB", 1LL << 20}, {"GB", 1LL << 30}, {"TB", 1LL << 40},
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline bool is_continuation(unsigned char c) {
    return (c & 0xc0) == 0x80;
}

/* Size of the well-formed sequence at p (left > 0 bytes), or 0. The table of RFC 3629 section 4. */
static size_t utf8_sequence(const unsigned char *p, size_t left) {
    unsigned char lead = p[0];
    if (lead < 0x80) {
        return 1;
    }
    size_t size = lead >= 0xc2 && lead <= 0xdf   ? 2
                  : lead >= 0xe0 && lead <= 0xef ? 3
                  : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                 : 0;
    if (size == 0 || size > left) {
        return 0;
    }
    /* Only the second byte has narrower ranges: overlong forms, surrogates, past U+10FFFF. */
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if (!is_continuation(p[i])) {
            return 0;
        }
    }
    return size;
}

size_t text_utf8_check(struct bytes text) {
    const unsigned char *p = (const unsigned char *)text.data;
    size_t at = 0;
    while (at < text.size) {
        uint64_t word;
        while (text.size - at >= sizeof(word)) {
            memcpy(&word, p + at, sizeof(word));
            if ((word & UINT64_C(0x8080808080808080)) != 0) {
                break;
            }
            at += sizeof(word);
        }
        /* Up to one word byte by byte, then the fast loop gets another chance. */
        size_t stop = text.size - at > sizeof(word) ? at + sizeof(word) : text.size;
        while (at < stop) {
            size_t size = utf8_sequence(p + at, text.size - at);
            if (size == 0) {
                return at;
            }
            at += size;
        }
    }
    return text.size;
}

size_t text_utf8_length(struct bytes text) {
    size_t length = 0;
    for (size_t i = 0; i < text.size; i++) {
        length += !is_continuation((unsigned char)text.data[i]);
    }
    return length;
}

uint32_t text_utf8_next(struct bytes text, size_t *at) {
    const unsigned char *p = (const unsigned char *)text.data + *at;
    if (p[0] < 0x80) {
        *at += 1;
        return p[0];
    }
    size_t size = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t cp = p[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        cp = cp << 6 | (p[i] & 0x3fu);
    }
    *at += size;
    return cp;
}

size_t text_utf8_put(char out[4], uint32_t cp) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t size = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3f));
        cp >>= 6;
    }
    out[0] = (char)((0xf00 >> size) | cp); /* 0xc0, 0xe0 or 0xf0 in the low byte */
    return size;
}

/* Takes digits from the front of *rest: how many there were, and their value in *value. 0 when
 * there are none or the value passes 2^64-1. */
static size_t take_digits(struct bytes *rest, uint64_t *value) {
    size_t count = 0;
    *value = 0;
    while (count < rest->size && rest->data[count] >= '0' && rest->data[count] <= '9') {
        uint64_t digit = (uint64_t)(rest->data[count] - '0');
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, digit, value)) {
            return 0;
        }
        count++;
    }
    if (count > 0) { /* rest->data may be NULL when there was nothing */
        *rest = bytes_make(rest->data + count, rest->size - count);
    }
    return count;
}

/* Takes digits[.decimals] from the front of *rest; *scaled is the number times 10^decimals_max,
 * exactly. False when it is not such a number, has more decimals or passes 2^64-1. */
static bool take_decimal(struct bytes *rest, unsigned decimals_max, uint64_t *scaled) {
    uint64_t fraction = 0;
    size_t decimals = 0;
    if (take_digits(rest, scaled) == 0) {
        return false;
    }
    if (rest->size > 0 && rest->data[0] == '.') {
        *rest = bytes_make(rest->data + 1, rest->size - 1);
        decimals = take_digits(rest, &fraction);
        if (decimals == 0 || decimals > decimals_max) {
            return false;
        }
    }
    for (unsigned i = 0; i < decimals_max; i++) {
        if (__builtin_mul_overflow(*scaled, 10, scaled)) {
            return false;
        }
        if (i >= decimals) {
            fraction *= 10; /* below 10^decimals_max: cannot overflow */
        }
    }
    return !__builtin_add_overflow(*scaled, fraction, scaled);
}

/* The factor of the unit with exactly this name, or 0. */
static int64_t find_unit(const struct unit *units, size_t count, struct bytes name) {
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal_str(name, units[i].name)) {
            return units[i].factor;
        }
    }
    return 0;
}

bool text_parse_duration_ms(struct bytes text, int64_t *ms) {
    if (bytes_equal_str(text, "0")) {
        *ms = 0;
        return true;
    }
    struct bytes rest = text;
    uint64_t thousandths;
    uint64_t product;
    if (!take_decimal(&rest, DURATION_DECIMALS, &thousandths)) {
        return false;
    }
    int64_t factor = find_unit(duration_units, COUNT(duration_units), rest);
    if (factor == 0 || __builtin_mul_overflow(thousandths, (uint64_t)factor, &product) ||
        product % 1000 != 0 || product / 1000 > DURATION_MAX_MS) {
        return false;
    }
    *ms = (int64_t)(product / 1000);
    return true;
}

bool text_parse_size(struct bytes text, int64_t *size_bytes) {
    struct bytes rest = text;
    uint64_t number;
    uint64_t product;
    if (take_digits(&rest, &number) == 0) {
        return false;
    }
    int64_t factor = rest.size == 0 ? 1 : find_unit(size_units, COUNT(size_units), rest);
    if (factor == 0 || __builtin_mul_overflow(number, (uint64_t)factor, &product) ||
        product > SIZE_MAX_BYTES) {
        return false;
    }
    *size_bytes = (int64_t)product;
    return true;
}

bool text_parse_nano(struct bytes text, int64_t *nano) {
    struct bytes rest = text;
    bool negative = rest.size > 0 && rest.data[0] == '-';
    if (negative) {
        rest = bytes_make(rest.data + 1, rest.size - 1);
    }
    uint64_t scaled;
    if (!take_decimal(&rest, NANO_DECIMALS, &scaled) || rest.size != 0 ||
        scaled > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    *nano = (int64_t)(negative ? 0 - scaled : scaled);
    return true;
}

static void format_in_units(int64_t value, const struct unit *units, size_t count, char *out,
                            size_t out_size) {
    const struct unit *unit = &units[0];
    for (size_t i = 1; i < count; i++) {
        if (value != 0 && value % units[i].factor == 0) {
            unit = &units[i];
        }
    }
    snprintf(out, out_size, "%" PRId64 "%s", value / unit->factor, unit->name);
}

void text_format_duration_ms(int64_t ms, char *out, size_t out_size) {
    if (ms == 0) {
        snprintf(out, out_size, "0s");
        return;
    }
    format_in_units(ms, duration_units, COUNT(duration_units), out, out_size);
}

void text_format_size(int64_t size_bytes, char *out, size_t out_size) {
    format_in_units(size_bytes, size_units, COUNT(size_units), out, out_size);
}

void text_format_nano(int64_t nano, char *out, size_t out_size) {
    uint64_t magnitude = nano < 0 ? 0 - (uint64_t)nano : (uint64_t)nano;
    const char *sign = nano < 0 ? "-" : "";
    uint64_t fraction = magnitude % NANO_PER_UNIT;
    int decimals = NANO_DECIMALS;
    if (fraction == 0) {
        snprintf(out, out_size, "%s%" PRIu64, sign, magnitude / NANO_PER_UNIT);
        return;
    }
    while (fraction % 10 == 0) {
        fraction /= 10;
        decimals--;
    }
    snprintf(out, out_size, "%s%" PRIu64 ".%0*" PRIu64, sign, magnitude / NANO_PER_UNIT, decimals,
             fraction);
}

static unsigned least(unsigned a, unsigned b) {
    return a < b ? a : b;
}

/* Damerau-Levenshtein distance in its restricted form: a swapped pair is not edited again. Both
 * texts have at most NEAREST_WORD_MAX bytes. Three rows suffice: a swap looks two rows back. */
static unsigned edit_distance(struct bytes a, struct bytes b) {
    unsigned rows[3][NEAREST_WORD_MAX + 1];
    for (size_t j = 0; j <= b.size; j++) {
        rows[0][j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a.size; i++) {
        const unsigned *above = rows[(i - 1) % 3];
        unsigned *row = rows[i % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.size; j++) {
            unsigned replace = above[j - 1] + (a.data[i - 1] != b.data[j - 1]);
            row[j] = least(replace, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] &&
                a.data[i - 2] == b.data[j - 1]) {
                row[j] = least(row[j], rows[(i - 2) % 3][j - 2] + 1);
            }
        }
    }
    return rows[a.size % 3][b.size];
}

const char *text_nearest(const char *word, const char *const *candidates, size_t count) {
    struct bytes wanted = bytes_from_str(word);
    if (wanted.size > NEAREST_WORD_MAX) {
        return NULL;
    }
    const char *nearest = NULL;
    unsigned allowed = wanted.size < 3 ? 1 : (unsigned)(wanted.size / 3);
    for (size_t i = 0; i < count; i++) {
        struct bytes candidate = bytes_from_str(candidates[i]);
        if (candidate.size > NEAREST_WORD_MAX) {
            continue;
        }
        unsigned distance = edit_distance(wanted, candidate);
        /* Strictly nearer than the best so far: of equals the first one wins. */
        if (distance <= allowed) {
            nearest = candidates[i];
            if (distance == 0) {
                break;
            }
            allowed = distance - 1;
        }
    }
    return nearest;
}

const char *text_file_advice(int reason) {
    switch (reason) {
    case ENOENT:
    case ENOTDIR:
        return "; make its directory first, or name another place";
    case EACCES:
    case EPERM:
    case EROFS:
        return "; let this user write there, or name another place";
    case EISDIR:
        return "; name a file in it";
    case ENOSPC:
    case EDQUOT:
        return "; make room there, or name another place";
    default:
        return "";
    }
}
