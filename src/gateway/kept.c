/* kept: see kept.h. Pure; runs in workers.
 *
 * A line stands as three numbers and some bytes:
 *
 *   bytes as in the line before, from its beginning | bytes as there, up to its end | size | bytes
 *
 * where a number has seven bits a byte, the lowest first, and the eighth says that more follow. The
 * surprise: data may have line breaks, between tokens of JSON, and a line may not; they become
 * blanks.
 */
#include "kept.h"

#include "base/panic.h"

#define NUMBER_MAX 10 /* bytes */

void kept_init(struct kept *kept, size_t limit) {
    buf_init(&kept->packed, limit);
    buf_init(&kept->last, limit);
    kept->whole_size = 0;
}

void kept_free(struct kept *kept) {
    buf_free(&kept->packed);
    buf_free(&kept->last);
    kept->whole_size = 0;
}

static void put_number(struct buf *out, size_t number) {
    while (number >= 0x80) {
        buf_append_char(out, (char)(unsigned char)(number | 0x80));
        number >>= 7;
    }
    buf_append_char(out, (char)number);
}

static size_t take_number(const char **at) {
    size_t number = 0;
    unsigned char byte;
    for (unsigned shift = 0; shift < 7 * NUMBER_MAX; shift += 7) {
        byte = (unsigned char)*(*at)++;
        number |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            break;
        }
    }
    return number;
}

static char clean(char c) {
    return c == '\n' || c == '\r' ? ' ' : c;
}

static void append_clean(struct buf *out, struct bytes data) {
    size_t from = out->size;
    buf_append_bytes(out, data);
    for (size_t i = from; i < out->size; i++) {
        out->data[i] = clean(out->data[i]);
    }
}

bool kept_add(struct kept *kept, struct bytes data) {
    struct bytes last = buf_bytes(&kept->last);
    size_t most = data.size < last.size ? data.size : last.size;
    size_t head = 0;
    size_t tail = 0;
    while (head < most && last.data[head] == clean(data.data[head])) {
        head++;
    }
    while (tail < most - head &&
           last.data[last.size - 1 - tail] == clean(data.data[data.size - 1 - tail])) {
        tail++;
    }
    struct bytes middle = bytes_make(data.data + head, data.size - head - tail);
    put_number(&kept->packed, head);
    put_number(&kept->packed, tail);
    put_number(&kept->packed, middle.size);
    append_clean(&kept->packed, middle);
    buf_clear(&kept->last);
    append_clean(&kept->last, data);
    kept->whole_size += data.size + 1;
    return !kept->packed.failed && !kept->last.failed;
}

/* Of bytes that lie in the same buffer. */
static void append_own(struct buf *out, size_t from, size_t size) {
    char *to = buf_reserve(out, size);
    if (to != NULL && size > 0) {
        memcpy(to, out->data + from, size);
        out->size += size;
    }
}

void kept_unpack(const struct kept *kept, struct buf *out) {
    const char *at = kept->packed.data;
    const char *end = at != NULL ? at + kept->packed.size : at;
    size_t line = out->size; /* where the line before begins, */
    size_t line_size = 0;    /* and its size */
    if (buf_reserve(out, kept->whole_size) == NULL) {
        return;
    }
    while (at < end && !out->failed) {
        size_t head = take_number(&at);
        size_t tail = take_number(&at);
        size_t size = take_number(&at);
        size_t begin = out->size;
        ASSERT(head + tail <= line_size && size <= (size_t)(end - at));
        append_own(out, line, head);
        buf_append(out, at, size);
        append_own(out, line + line_size - tail, tail);
        at += size;
        line = begin;
        line_size = out->size - begin;
        buf_append_char(out, '\n');
    }
}
