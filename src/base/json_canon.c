/* json_canon: see the header. Runs in a worker, once per request that may be cached.
 *
 * It walks the tokens without recursion: one frame for each open container, at most JSON_MAX_DEPTH.
 * The surprise: it alone refuses doubled keys of a whole document, in passing, because it has every
 * object's members sorted anyway.
 */
#include "base/json_canon.h"

#include "base/json_write.h"
#include "base/panic.h"

/* An open container. */
struct frame {
    struct json_member *members; /* of an object, sorted; NULL: an array */
    int item;                    /* array: the next element; -1 at the end */
    int index;                   /* items written so far */
    int count;                   /* items in all */
};

struct walk {
    const struct json_reader *reader;
    struct arena *arena;
    struct buf *out;
    size_t *fault_offset;
    unsigned depth; /* frames in use */
    struct frame frames[JSON_MAX_DEPTH];
};

static void put_quoted(struct buf *out, struct bytes text) {
    buf_append_char(out, '"');
    json_escape(out, text);
    buf_append_char(out, '"');
}

/* Everything but the blanks. */
static void put_numbers(struct buf *out, struct bytes raw) {
    while (raw.size > 0) {
        size_t plain = 0;
        while (plain < raw.size && raw.data[plain] > ' ') {
            plain++;
        }
        buf_append(out, raw.data, plain);
        plain += plain < raw.size ? 1 : 0;
        raw = bytes_make(raw.data + plain, raw.size - plain);
    }
}

static enum json_canon_result put_scalar(struct walk *walk, int value) {
    if (json_type(walk->reader, value) == JSON_NUMBERS) {
        put_numbers(walk->out, json_raw(walk->reader, value));
        return JSON_CANON_OK;
    }
    if (json_type(walk->reader, value) != JSON_STRING) {
        buf_append_bytes(walk->out, json_raw(walk->reader, value));
        return JSON_CANON_OK;
    }
    struct bytes text = json_string(walk->reader, value, walk->arena);
    if (text.data == NULL) {
        return JSON_CANON_NO_MEMORY;
    }
    put_quoted(walk->out, text);
    return JSON_CANON_OK;
}

static enum json_canon_result open_object(struct walk *walk, struct frame *frame, int value) {
    frame->members = json_sorted_members(walk->reader, value, walk->arena);
    if (frame->members == NULL) {
        return JSON_CANON_NO_MEMORY;
    }
    for (int i = 1; i < frame->count; i++) {
        if (bytes_equal(frame->members[i - 1].name, frame->members[i].name)) {
            *walk->fault_offset = json_offset(walk->reader, frame->members[i].key);
            return JSON_CANON_DOUBLED_KEY;
        }
    }
    return JSON_CANON_OK;
}

/* Writes a scalar, or the opening bracket of a container whose items are due then. */
static enum json_canon_result put_value(struct walk *walk, int value) {
    enum json_type type = json_type(walk->reader, value);
    ASSERT(type != JSON_NONE);
    if (type != JSON_OBJECT && type != JSON_ARRAY) {
        return put_scalar(walk, value);
    }
    ASSERT(walk->depth < JSON_MAX_DEPTH);
    struct frame *frame = &walk->frames[walk->depth++];
    *frame = (struct frame){.item = json_first(walk->reader, value),
                            .count = json_count(walk->reader, value)};
    buf_append_char(walk->out, type == JSON_OBJECT ? '{' : '[');
    return type == JSON_OBJECT ? open_object(walk, frame, value) : JSON_CANON_OK;
}

/* Writes what stands before the next value (closing brackets, a comma, a key) and returns that
 * value, or -1 when all is written. */
static int step(struct walk *walk) {
    struct frame *frame = NULL;
    while (walk->depth > 0) {
        frame = &walk->frames[walk->depth - 1];
        if (frame->index < frame->count) {
            break;
        }
        buf_append_char(walk->out, frame->members != NULL ? '}' : ']');
        walk->depth--;
    }
    if (walk->depth == 0) {
        return -1;
    }
    int index = frame->index++;
    if (index > 0) {
        buf_append_char(walk->out, ',');
    }
    if (frame->members != NULL) {
        put_quoted(walk->out, frame->members[index].name);
        buf_append_char(walk->out, ':');
        return json_member_value(walk->reader, frame->members[index].key);
    }
    int element = frame->item;
    frame->item = json_next(walk->reader, element);
    return element;
}

enum json_canon_result json_canon(const struct json_reader *reader, int value, struct arena *arena,
                                  struct buf *out, size_t *fault_offset) {
    struct walk walk;
    walk.reader = reader;
    walk.arena = arena;
    walk.out = out;
    walk.fault_offset = fault_offset;
    walk.depth = 0; /* frames are filled when they are opened */
    do {
        enum json_canon_result result = put_value(&walk, value);
        if (result != JSON_CANON_OK) {
            return result;
        }
        value = step(&walk);
    } while (value != -1);
    return out->failed ? JSON_CANON_NO_MEMORY : JSON_CANON_OK;
}
