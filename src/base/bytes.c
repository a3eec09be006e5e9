/* bytes: see base/bytes.h. Used by every process.
 *
 * The surprise: after one write that did not fit, later writes are dropped even if they would fit,
 * so a failed buffer holds a clean prefix of the output and never a text with a hole.
 */
#include "config.h"

#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_FIRST_CAPACITY 256
#define NANO_PER_UNIT 1000000000u
#define NANO_DIGITS 9
#define U64_DIGITS_MAX 20

static unsigned char ascii_lower(char c) {
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u + ('a' - 'A')) : u;
}

bool bytes_equal_nocase(struct bytes a, struct bytes b) {
    if (a.size != b.size) {
        return false;
    }
    for (size_t i = 0; i < a.size; i++) {
        if (ascii_lower(a.data[i]) != ascii_lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

bool bytes_start_with(struct bytes a, struct bytes prefix) {
    return a.size >= prefix.size && bytes_equal(bytes_make(a.data, prefix.size), prefix);
}

size_t bytes_find(struct bytes a, char needle) {
    const char *at = a.size > 0 ? memchr(a.data, needle, a.size) : NULL;
    return at != NULL ? (size_t)(at - a.data) : a.size;
}

struct bytes bytes_cut(struct bytes *rest, char separator) {
    struct bytes part = bytes_make(rest->data, bytes_find(*rest, separator));
    size_t taken = part.size < rest->size ? part.size + 1 : part.size;
    if (taken > 0) { /* else there may be no data to point into */
        *rest = bytes_make(rest->data + taken, rest->size - taken);
    }
    return part;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

struct bytes bytes_trim(struct bytes a) {
    while (a.size > 0 && is_blank(a.data[a.size - 1])) {
        a.size--;
    }
    while (a.size > 0 && is_blank(a.data[0])) {
        a.data++;
        a.size--;
    }
    return a;
}

int bytes_compare(struct bytes a, struct bytes b) {
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

bool bytes_to_int64(struct bytes a, int64_t *out) {
    int64_t value = 0;
    for (size_t i = 0; i < a.size; i++) {
        int digit = a.data[i] - '0';
        if (digit < 0 || digit > 9 || value > (INT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    if (a.size == 0) {
        return false;
    }
    *out = value;
    return true;
}

void buf_init(struct buf *buf, size_t limit) {
    *buf = (struct buf){.limit = limit != 0 ? limit : SIZE_MAX};
}

void buf_init_fixed(struct buf *buf, void *memory, size_t capacity) {
    *buf = (struct buf){.data = memory, .capacity = capacity, .limit = capacity, .fixed = true};
}

void buf_free(struct buf *buf) {
    if (!buf->fixed) {
        free(buf->data);
        buf->data = NULL;
        buf->capacity = 0;
    }
    buf_clear(buf);
}

void buf_clear(struct buf *buf) {
    buf->size = 0;
    buf->failed = false;
}

/* Makes room for `need` bytes in all; doubling keeps the cost of many small appends linear. */
static bool buf_grow(struct buf *buf, size_t need) {
    if (buf->fixed || need > buf->limit) {
        return false;
    }
    size_t capacity = buf->capacity < BUF_FIRST_CAPACITY ? BUF_FIRST_CAPACITY : buf->capacity;
    while (capacity < need) {
        capacity = capacity > SIZE_MAX / 2 ? need : capacity * 2;
    }
    if (capacity > buf->limit) {
        capacity = buf->limit;
    }
    char *data = realloc(buf->data, capacity);
    if (data == NULL) {
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

char *buf_reserve(struct buf *buf, size_t size) {
    if (buf->failed) {
        return NULL;
    }
    /* data is NULL before the first growth, and NULL must mean failure here even for size 0. */
    if (size > buf->capacity - buf->size || buf->data == NULL) {
        if (size > SIZE_MAX - buf->size || !buf_grow(buf, buf->size + size)) {
            buf->failed = true;
            return NULL;
        }
    }
    return buf->data + buf->size;
}

/* The digits of value, written backwards so that they end at `end`; returns where they start.
 * printf would cost several times as much, and these are on the path of every response. */
static char *put_digits(char *end, uint64_t value) {
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return end;
}

static uint64_t magnitude(int64_t value) {
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

void buf_append_u64(struct buf *buf, uint64_t value) {
    char digits[U64_DIGITS_MAX];
    char *end = digits + sizeof(digits);
    char *start = put_digits(end, value);
    buf_append(buf, start, (size_t)(end - start));
}

void buf_append_i64(struct buf *buf, int64_t value) {
    char digits[1 + U64_DIGITS_MAX];
    char *end = digits + sizeof(digits);
    char *start = put_digits(end, magnitude(value));
    if (value < 0) {
        *--start = '-';
    }
    buf_append(buf, start, (size_t)(end - start));
}

void buf_append_nano(struct buf *buf, int64_t value) {
    char digits[1 + U64_DIGITS_MAX + 1 + NANO_DIGITS];
    char *end = digits + sizeof(digits);
    char *point = end - NANO_DIGITS - 1;
    char *start = put_digits(end, magnitude(value) % NANO_PER_UNIT);
    while (start > point + 1) {
        *--start = '0';
    }
    *point = '.';
    start = put_digits(point, magnitude(value) / NANO_PER_UNIT);
    if (value < 0) {
        *--start = '-';
    }
    buf_append(buf, start, (size_t)(end - start));
}

void buf_printf(struct buf *buf, const char *format, ...) {
    /* Formatted aside and not in place: vsnprintf wants room for a NUL that is not part of the
     * output, and a text that fits exactly must fit. */
    char small[512];
    char *large = NULL;
    va_list args;
    va_start(args, format);
    int size = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (size >= (int)sizeof(small)) {
        va_start(args, format);
        size = vasprintf(&large, format, args);
        va_end(args);
        if (size == -1) {
            large = NULL; /* vasprintf leaves it undefined */
        }
    }
    if (size < 0) {
        buf->failed = true;
    } else {
        buf_append(buf, large != NULL ? large : small, (size_t)size);
    }
    free(large);
}

void buf_consume(struct buf *buf, size_t size) {
    if (size == 0) {
        return;
    }
    buf->size -= size;
    memmove(buf->data, buf->data + size, buf->size);
}
