/* bytes: borrowed views of memory, and a growing (or fixed) output buffer.
 *
 * Nothing here knows of OptiRoute. A `struct bytes` never owns what it shows and is not terminated
 * by NUL. A `struct buf` owns its memory when made by buf_init, borrows it when made by
 * buf_init_fixed; either way a write that does not fit sets `failed`, stays failed and leaves what
 * was written before intact, so a caller may write many pieces and look once.
 */
#ifndef OPTIROUTE_BASE_BYTES_H
#define OPTIROUTE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const char *data; /* may be NULL only when size is 0 */
    size_t size;
};

#define BYTES_LITERAL(text) ((struct bytes){(text), sizeof(text) - 1})

static inline struct bytes bytes_make(const char *data, size_t size) {
    return (struct bytes){data, size};
}
static inline struct bytes bytes_from_str(const char *text) {
    return (struct bytes){text, text != NULL ? strlen(text) : 0};
}
static inline bool bytes_equal(struct bytes a, struct bytes b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
static inline bool bytes_equal_str(struct bytes a, const char *text) {
    return bytes_equal(a, bytes_from_str(text));
}
/* ASCII case only; used for HTTP tokens. */
bool bytes_equal_nocase(struct bytes a, struct bytes b);
bool bytes_start_with(struct bytes a, struct bytes prefix);
/* Position of the first `needle` byte, or a.size. */
size_t bytes_find(struct bytes a, char needle);
/* Takes what stands before the first separator off the front of *rest, and the separator; all of it
 * where there is none. For lists: while (rest.size > 0). */
struct bytes bytes_cut(struct bytes *rest, char separator);
/* Cuts blanks and tabs from both ends. */
struct bytes bytes_trim(struct bytes a);
/* memcmp order, a shorter prefix first. */
int bytes_compare(struct bytes a, struct bytes b);
/* Decimal digits only, no sign, no blank, at least one digit; false on overflow of 2^63-1. */
bool bytes_to_int64(struct bytes a, int64_t *out);

struct buf {
    char *data;
    size_t size;     /* bytes written */
    size_t capacity; /* bytes of room at data */
    size_t limit;    /* capacity never grows past this; equals capacity for a fixed buffer */
    bool fixed;      /* borrowed memory: never reallocated, never freed */
    bool failed;     /* a write did not fit or memory ran out; sticky until buf_clear */
};

/* Empty, growable up to `limit` bytes (0: no limit). Allocates nothing yet. */
void buf_init(struct buf *buf, size_t limit);
void buf_init_fixed(struct buf *buf, void *memory, size_t capacity);
/* Frees owned memory and leaves an empty buffer that may be used again. */
void buf_free(struct buf *buf);
/* size = 0, failed = false; memory is kept. */
void buf_clear(struct buf *buf);
/* Room for `size` more bytes; returns where they go, NULL (and failed) when there is none.
 * The caller then adds what it wrote to buf->size. */
char *buf_reserve(struct buf *buf, size_t size);
/* The appends are inline: answers are composed of some fifty short pieces, and a literal's length
 * is then known to the compiler. */
static inline void buf_append(struct buf *buf, const void *data, size_t size) {
    if (size == 0) {
        return;
    }
    bool fits = !buf->failed && size <= buf->capacity - buf->size;
    char *at = fits ? buf->data + buf->size : buf_reserve(buf, size);
    if (at != NULL) {
        memcpy(at, data, size);
        buf->size += size;
    }
}
static inline void buf_append_bytes(struct buf *buf, struct bytes bytes) {
    buf_append(buf, bytes.data, bytes.size);
}
static inline void buf_append_str(struct buf *buf, const char *text) {
    buf_append(buf, text, strlen(text));
}
static inline void buf_append_char(struct buf *buf, char c) {
    buf_append(buf, &c, 1);
}
void buf_append_u64(struct buf *buf, uint64_t value);
void buf_append_i64(struct buf *buf, int64_t value);
/* value / 10^9 with exactly nine decimals: 1500 -> 0.000001500, -1 -> -0.000000001. */
void buf_append_nano(struct buf *buf, int64_t value);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first `size` bytes (size <= buf->size), moving the rest down. */
void buf_consume(struct buf *buf, size_t size);
static inline struct bytes buf_bytes(const struct buf *buf) {
    return (struct bytes){buf->data, buf->size};
}

#endif
