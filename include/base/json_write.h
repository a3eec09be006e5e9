/* json_write: a writer that cannot produce invalid JSON.
 *
 * Commas, quotes and nesting are its business; calling it out of order (a value without a key, an
 * end that does not match) is a programming fault and panics. Bytes that are not UTF-8 become
 * U+FFFD. What does not fit the buffer sets buf->failed, which the caller checks once at the end.
 */
#ifndef OPTIROUTE_BASE_JSON_WRITE_H
#define OPTIROUTE_BASE_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* As deep as json_read reads. */
#define JSON_WRITE_MAX_DEPTH 64

struct json_writer {
    struct buf *out;  /* borrowed */
    uint64_t objects; /* bit d: the container at nesting level d + 1 is an object */
    unsigned depth;   /* open containers, at most JSON_WRITE_MAX_DEPTH */
    bool need_comma;  /* something stands before in this container */
    bool have_key;    /* a key was written, its value is due */
    bool done;        /* the top value is complete */
};

void json_write_init(struct json_writer *writer, struct buf *out);
/* The buffer holds one whole value when writer->done is set and out->failed is not. */
void json_object_begin(struct json_writer *writer);
void json_object_end(struct json_writer *writer);
void json_array_begin(struct json_writer *writer);
void json_array_end(struct json_writer *writer);
void json_key(struct json_writer *writer, const char *key);
void json_put_string(struct json_writer *writer, struct bytes text);
void json_put_str(struct json_writer *writer, const char *text); /* NULL writes null */
void json_put_int(struct json_writer *writer, int64_t value);
void json_put_bool(struct json_writer *writer, bool value);
void json_put_null(struct json_writer *writer);
/* value / 10^9 with exactly nine decimals, as money and seconds are printed. */
void json_put_nano(struct json_writer *writer, int64_t value);
/* Bytes that are one valid JSON value already (the caller vouches: they come from json_validate or
 * from this writer). */
void json_put_raw(struct json_writer *writer, struct bytes json);
/* The text as the inside of a JSON string, without quotes: what the writer itself uses. Escapes
 * only what RFC 8259 section 7 requires: quote, backslash, U+0000 to U+001F (short forms where they
 * exist). */
void json_escape(struct buf *out, struct bytes text);
/* The same with its quotes: a whole JSON string. */
void json_quote(struct buf *out, struct bytes text);

#endif
