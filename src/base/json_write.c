/* json_write: see the header. Runs in every worker and in the metrics worker; pure, no I/O.
 *
 * The surprise: what is not UTF-8 is replaced as WHATWG and Unicode advise, one U+FFFD for each
 * maximal subpart of a sequence ("\xE2\x82" cut short is one, "\xC0\xAF" two), so that a text cut
 * inside a character costs one replacement and never swallows the byte behind it.
 */
#include "base/json_write.h"

#include "base/panic.h"
#include "json_scan.h"

void json_write_init(struct json_writer *writer, struct buf *out) {
    *writer = (struct json_writer){.out = out};
}

static bool in_object(const struct json_writer *writer) {
    return writer->depth > 0 && (writer->objects >> (writer->depth - 1) & 1) != 0;
}

/* Every value stands between these two. */
static void begin_value(struct json_writer *writer) {
    ASSERT(!writer->done);
    if (in_object(writer)) {
        ASSERT(writer->have_key);
        writer->have_key = false;
    } else if (writer->need_comma) {
        buf_append_char(writer->out, ',');
    }
}

static void end_value(struct json_writer *writer) {
    writer->need_comma = true;
    writer->done = writer->depth == 0;
}

static void begin_container(struct json_writer *writer, bool object) {
    begin_value(writer);
    ASSERT(writer->depth < JSON_WRITE_MAX_DEPTH);
    uint64_t bit = (uint64_t)1 << writer->depth;
    writer->depth++;
    writer->objects = object ? writer->objects | bit : writer->objects & ~bit;
    writer->need_comma = false;
    buf_append_char(writer->out, object ? '{' : '[');
}

static void end_container(struct json_writer *writer, bool object) {
    ASSERT(writer->depth > 0);
    ASSERT(in_object(writer) == object);
    ASSERT(!writer->have_key);
    writer->depth--;
    buf_append_char(writer->out, object ? '}' : ']');
    end_value(writer);
}

void json_object_begin(struct json_writer *writer) {
    begin_container(writer, true);
}

void json_object_end(struct json_writer *writer) {
    end_container(writer, true);
}

void json_array_begin(struct json_writer *writer) {
    begin_container(writer, false);
}

void json_array_end(struct json_writer *writer) {
    end_container(writer, false);
}

/* Nearly every string is plain: copied in one piece, between `before` and its quotes and `after`
 * (both of one byte, or 0 for none). */
static inline void put_quoted(struct buf *out, char before, struct bytes text, char after) {
    const uint8_t *start = (const uint8_t *)text.data;
    size_t size = (before != 0) + 1 + text.size + 1 + (after != 0);
    bool plain = text.size == 0 || json_plain_end(start, start + text.size) == start + text.size;
    char *at = plain ? buf_reserve(out, size) : NULL;
    if (at != NULL) {
        out->size += size;
        if (before != 0) {
            *at++ = before;
        }
        *at++ = '"';
        if (text.size > 0) {
            memcpy(at, text.data, text.size);
        }
        at[text.size] = '"';
        if (after != 0) {
            at[text.size + 1] = after;
        }
        return;
    }
    buf_append(out, &before, before != 0);
    buf_append_char(out, '"');
    json_escape(out, text);
    buf_append_char(out, '"');
    buf_append(out, &after, after != 0);
}

void json_quote(struct buf *out, struct bytes text) {
    put_quoted(out, 0, text, 0);
}

void json_key(struct json_writer *writer, const char *key) {
    ASSERT(in_object(writer));
    ASSERT(!writer->have_key);
    put_quoted(writer->out, writer->need_comma ? ',' : 0, bytes_from_str(key), ':');
    writer->have_key = true;
}

void json_put_string(struct json_writer *writer, struct bytes text) {
    begin_value(writer);
    json_quote(writer->out, text);
    end_value(writer);
}

void json_put_str(struct json_writer *writer, const char *text) {
    if (text == NULL) {
        json_put_null(writer);
    } else {
        json_put_string(writer, bytes_from_str(text));
    }
}

void json_put_int(struct json_writer *writer, int64_t value) {
    begin_value(writer);
    buf_append_i64(writer->out, value);
    end_value(writer);
}

void json_put_bool(struct json_writer *writer, bool value) {
    json_put_raw(writer, value ? BYTES_LITERAL("true") : BYTES_LITERAL("false"));
}

void json_put_null(struct json_writer *writer) {
    json_put_raw(writer, BYTES_LITERAL("null"));
}

void json_put_nano(struct json_writer *writer, int64_t value) {
    begin_value(writer);
    buf_append_nano(writer->out, value);
    end_value(writer);
}

void json_put_raw(struct json_writer *writer, struct bytes json) {
    ASSERT(json.size > 0);
    begin_value(writer);
    buf_append_bytes(writer->out, json);
    end_value(writer);
}

/* One byte that may not stand in a string as it is. */
static void escape_byte(struct buf *out, uint8_t c) {
    static const char hex[] = "0123456789abcdef";
    static const char special[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *found = c != 0 ? strchr(special, c) : NULL;
    if (found != NULL) {
        char pair[2] = {'\\', letters[found - special]};
        buf_append(out, pair, sizeof(pair));
        return;
    }
    char unit[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    buf_append(out, unit, sizeof(unit));
}

/* Over well-formed sequences, to the first byte that is ASCII or malformed. */
static const uint8_t *skip_utf8(const uint8_t *at, const uint8_t *end) {
    int length;
    while (at < end && *at >= 0x80 && (length = json_utf8_sequence(at, end)) > 0) {
        at += length;
    }
    return at;
}

void json_escape(struct buf *out, struct bytes text) {
    if (text.size == 0) {
        return;
    }
    const uint8_t *at = (const uint8_t *)text.data;
    const uint8_t *end = at + text.size;
    const uint8_t *clean = at; /* from here to `at` everything is copied as it is */
    for (;;) {
        at = skip_utf8(json_plain_end(at, end), end);
        if (at == end) {
            break;
        }
        if (json_is_plain(*at)) {
            continue;
        }
        buf_append(out, clean, (size_t)(at - clean));
        if (*at >= 0x80) {
            buf_append(out, "\xEF\xBF\xBD", 3);
            at += -json_utf8_sequence(at, end);
        } else {
            escape_byte(out, *at);
            at++;
        }
        clean = at;
    }
    buf_append(out, clean, (size_t)(end - clean));
}
