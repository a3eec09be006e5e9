/* fuzz_json: the promises of json_read, json_canon and json_write over any bytes.
 *
 * What the validator accepts, jsmn splits into as many tokens (json_read asserts it). Walking those
 * tokens through the writer gives valid JSON again with the same canonical form, and the canonical
 * form is valid and its own canonical form.
 */
#include "config.h"

#include <stdlib.h>

#include "base/json_canon.h"
#include "base/json_read.h"
#include "base/json_write.h"
#include "base/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_value(struct json_writer *writer, const struct json_reader *reader, int value,
                        struct arena *arena);

static void write_container(struct json_writer *writer, const struct json_reader *reader, int value,
                            struct arena *arena) {
    int seen = 0;
    for (int item = json_first(reader, value); item != -1; item = json_next(reader, item)) {
        if (json_type(reader, value) == JSON_OBJECT) {
            struct bytes name = json_string(reader, item, arena);
            ASSERT(json_string_equals(reader, item, name));
            char *key = calloc(1, name.size + 1);
            ASSERT(key != NULL);
            memcpy(key, name.data, name.size);
            for (size_t i = 0; i < name.size; i++) { /* json_key takes no NUL in a name */
                key[i] = key[i] == '\0' ? '0' : key[i];
            }
            json_key(writer, key);
            free(key);
            write_value(writer, reader, json_member_value(reader, item), arena);
        } else {
            write_value(writer, reader, item, arena);
        }
        seen++;
    }
    ASSERT(seen == json_count(reader, value));
}

static void write_value(struct json_writer *writer, const struct json_reader *reader, int value,
                        struct arena *arena) {
    int64_t integer;
    double number;
    switch (json_type(reader, value)) {
    case JSON_OBJECT:
        json_object_begin(writer);
        write_container(writer, reader, value, arena);
        json_object_end(writer);
        break;
    case JSON_ARRAY:
        json_array_begin(writer);
        write_container(writer, reader, value, arena);
        json_array_end(writer);
        break;
    case JSON_STRING:
        json_put_string(writer, json_string(reader, value, arena));
        break;
    case JSON_NUMBER:
        if (json_int64(reader, value, &integer)) {
            ASSERT(json_double(reader, value, &number) || json_raw(reader, value).size > 512);
        }
        json_put_raw(writer, json_raw(reader, value));
        break;
    case JSON_NONE:
        ASSERT(!"a token without a type");
        break;
    default:
        json_put_raw(writer, json_raw(reader, value));
        break;
    }
}

/* The text's canonical form in out, or false: not JSON, or doubled keys. */
static bool canonical_form(struct bytes text, struct arena *arena, struct buf *out) {
    struct json_reader reader;
    struct json_fault fault;
    size_t offset = 0;
    json_reader_init(&reader);
    bool valid = json_validate(text, &fault) == 0;
    bool read = json_read(&reader, text, &fault) == 0;
    ASSERT(read == valid || (valid && !read && fault.reason[0] == 't')); /* too many values */
    ASSERT(read || fault.offset <= text.size);
    if (read) {
        enum json_canon_result result = json_canon(&reader, 0, arena, out, &offset);
        ASSERT(result != JSON_CANON_NO_MEMORY);
        ASSERT((json_find_doubled_key(&reader, arena) == -1) == (result == JSON_CANON_OK));
        ASSERT(offset < text.size);
        read = result == JSON_CANON_OK;
    }
    json_reader_fini(&reader);
    return read;
}

static void check_writer(struct bytes text, struct arena *arena, struct bytes canon) {
    struct json_reader reader;
    struct json_writer writer;
    struct json_fault fault;
    struct buf copy;
    struct buf again;
    buf_init(&copy, 0);
    buf_init(&again, 0);
    json_reader_init(&reader);
    ASSERT(json_read(&reader, text, &fault) == 0);
    json_write_init(&writer, &copy);
    write_value(&writer, &reader, 0, arena);
    ASSERT(writer.done && json_validate(buf_bytes(&copy), &fault) == 0);
    if (memmem(canon.data, canon.size, "\\u0000", 6) == NULL) {
        ASSERT(canonical_form(buf_bytes(&copy), arena, &again));
        ASSERT(bytes_equal(buf_bytes(&again), canon));
    }
    json_reader_fini(&reader);
    buf_free(&copy);
    buf_free(&again);
}

/* A long text is read without its dull parts, here in steps too: with the same result. */
static void check_long(struct bytes text, struct arena *arena, struct bytes canon) {
    struct json_reader reader;
    struct json_fault fault;
    struct buf padded, again;
    size_t offset;
    buf_init(&padded, 0);
    buf_init(&again, 0);
    for (int i = 0; i < JSON_LONG_TEXT; i++) {
        buf_append_char(&padded, ' ');
    }
    buf_append_bytes(&padded, text);
    json_reader_init(&reader);
    ASSERT(json_read_begin(&reader, buf_bytes(&padded), &fault) == 0);
    enum json_progress progress = JSON_MORE;
    while (progress == JSON_MORE) {
        progress = json_read_step(&reader, 1 + text.size % 50, &fault);
    }
    ASSERT((progress == JSON_DONE) == (json_validate(text, &fault) == 0));
    if (progress == JSON_DONE && json_canon(&reader, 0, arena, &again, &offset) == JSON_CANON_OK &&
        canon.size > 0) {
        ASSERT(bytes_equal(buf_bytes(&again), canon));
    }
    json_reader_fini(&reader);
    buf_free(&padded);
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes text = bytes_make((const char *)data, size);
    struct arena arena;
    struct buf canon;
    struct buf again;
    arena_init(&arena, 4096, (size_t)1 << 30);
    buf_init(&canon, 0);
    buf_init(&again, 0);
    if (canonical_form(text, &arena, &canon)) {
        ASSERT(canonical_form(buf_bytes(&canon), &arena, &again));
        ASSERT(bytes_equal(buf_bytes(&canon), buf_bytes(&again)));
        check_writer(text, &arena, buf_bytes(&canon));
    }
    check_long(text, &arena, buf_bytes(&canon));
    buf_clear(&again);
    buf_append_char(&again, '"');
    json_escape(&again, text);
    buf_append_char(&again, '"');
    struct json_fault fault;
    ASSERT(json_validate(buf_bytes(&again), &fault) == 0); /* whatever the bytes were */
    buf_free(&canon);
    buf_free(&again);
    arena_fini(&arena);
    return 0;
}
