/* test_conf_schema: contrib/optiroute.schema.json is what the key table says.
 *
 * To make the file anew: srcdir=. OPTIROUTE_WRITE_SCHEMA=contrib/optiroute.schema.json
 * tests/unit/conf/test_conf_schema
 */
#include "config.h"

#include "base/json_read.h"
#include "conf_unit.h"

static void write_file(const char *path, struct bytes text) {
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "%s", path);
    ck_assert_uint_eq(fwrite(text.data, 1, text.size, file), text.size);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(committed_schema_is_current) {
    struct buf made;
    struct buf committed;
    struct json_fault fault;
    buf_init(&made, 0);
    conf_print_schema(&made);
    ck_assert(!made.failed);
    ck_assert_int_eq(json_validate(buf_bytes(&made), &fault), 0);
    const char *path = getenv("OPTIROUTE_WRITE_SCHEMA");
    if (path != NULL) {
        write_file(path, buf_bytes(&made));
    }
    buf_append_char(&made, '\0');
    read_source_file("contrib/optiroute.schema.json", &committed);
    ck_assert_msg(strcmp(made.data, committed.data) == 0,
                  "contrib/optiroute.schema.json is not what the key table says; see the head of "
                  "this test");
    buf_free(&made);
    buf_free(&committed);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("conf_schema");
    TCase *tcase = tcase_create("schema");
    tcase_add_test(tcase, committed_schema_is_current);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
