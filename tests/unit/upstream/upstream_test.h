/* What the tests of forms and translation share: a reader, an arena, and JSON values that are
 * compared as values and not as bytes.
 */
#ifndef OPTIROUTE_TESTS_UPSTREAM_TEST_H
#define OPTIROUTE_TESTS_UPSTREAM_TEST_H

#include "unit.h"

#include "base/json_canon.h"
#include "upstream/form.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct arena arena;
static struct json_reader reader;

static inline void documents_open(void) {
    arena_init(&arena, 4096, 256 << 20);
    json_reader_init(&reader);
}

static inline void documents_close(void) {
    json_reader_fini(&reader);
    arena_fini(&arena);
}

/* Into `reader`; the text must live on. */
static inline void read_bytes(struct bytes json) {
    struct json_fault fault;
    ck_assert_msg(json_read(&reader, json, &fault) == 0, "%s at %zu of %.*s", fault.reason,
                  fault.offset, json.size < 3000 ? (int)json.size : 3000, json.data);
}

static inline void read_json(const char *json) {
    read_bytes(bytes_from_str(json));
}

/* The one spelling of the value, for comparing; a doubled key is a failure. From the arena. */
static inline const char *canonical(struct bytes json) {
    struct json_reader other;
    struct json_fault fault;
    struct buf out;
    size_t offset = 0;
    json_reader_init(&other);
    buf_init(&out, 0);
    ck_assert_msg(json_read(&other, json, &fault) == 0, "%s at %zu of %.*s", fault.reason,
                  fault.offset, json.size < 3000 ? (int)json.size : 3000, json.data);
    enum json_canon_result result = json_canon(&other, 0, &arena, &out, &offset);
    ck_assert_msg(result == JSON_CANON_OK, "doubled key at %zu of %.*s", offset,
                  json.size < 3000 ? (int)json.size : 3000, json.data);
    const char *text = arena_copy(&arena, buf_bytes(&out)).data;
    ck_assert_ptr_nonnull(text);
    buf_free(&out);
    json_reader_fini(&other);
    return text;
}

static inline void same_json(struct bytes got, const char *wanted) {
    const char *a = canonical(got);
    const char *b = canonical(bytes_from_str(wanted));
    ck_assert_msg(strcmp(a, b) == 0, "\n got %.1500s\nwant %.1500s", a, b);
}

/* The text with every ' made a ": JSON that can be read in C. From the arena. */
static inline const char *js(const char *text) {
    char *copy = arena_strdup(&arena, text);
    ck_assert_ptr_nonnull(copy);
    for (char *c = copy; *c != '\0'; c++) {
        if (*c == '\'') {
            *c = '"';
        }
    }
    return copy;
}

#endif
