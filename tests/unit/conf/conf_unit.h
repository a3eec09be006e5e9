/* conf_unit: what the tests of layer conf share: a load that must succeed, one that must fail.
 */
#ifndef OPTIROUTE_TESTS_CONF_UNIT_H
#define OPTIROUTE_TESTS_CONF_UNIT_H

#include <stdio.h>
#include <string.h>

#include "conf/conf.h"
#include "unit.h"

/* The configuration of the text; fails the test with its errors when there are any. */
static inline struct conf *load_good(const char *text) {
    struct conf_errors errors;
    conf_errors_init(&errors);
    struct conf *conf = conf_load_text("f", bytes_from_str(text), &errors);
    ck_assert_msg(conf != NULL, "%.*s", (int)errors.lines.size, errors.lines.data);
    ck_assert_uint_eq(errors.count, 0);
    conf_errors_fini(&errors);
    return conf;
}

/* The text must be refused with exactly these lines. */
static inline void expect_errors(const char *text, const char *lines) {
    struct conf_errors errors;
    conf_errors_init(&errors);
    struct conf *conf = conf_load_text("f", bytes_from_str(text), &errors);
    ck_assert_msg(conf == NULL, "accepted: %s", text);
    buf_append_char(&errors.lines, '\0');
    ck_assert_msg(strcmp(errors.lines.data, lines) == 0, "---\n%s\ngave\n%sinstead of\n%s", text,
                  errors.lines.data, lines);
    conf_errors_fini(&errors);
}

/* What -T prints, terminated; the caller frees the buffer. */
static inline void print_to(const struct conf *conf, struct buf *out) {
    buf_init(out, 0);
    conf_print(conf, out);
    buf_append_char(out, '\0');
    ck_assert(!out->failed);
}

/* A file of the source tree, terminated; the caller frees the buffer. */
static inline void read_source_file(const char *name, struct buf *out) {
    char path[1024];
    const char *srcdir = getenv("srcdir");
    snprintf(path, sizeof(path), "%s/%s", srcdir != NULL ? srcdir : ".", name);
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s", path);
    buf_init(out, 0);
    size_t got;
    do {
        char *room = buf_reserve(out, 65536);
        ck_assert_ptr_nonnull(room);
        got = fread(room, 1, 65536, file);
        out->size += got;
    } while (got > 0);
    fclose(file);
    buf_append_char(out, '\0');
}

#define ONE_PROVIDER "providers: {a: {type: simulated, default_model: m}}\n"

#endif
