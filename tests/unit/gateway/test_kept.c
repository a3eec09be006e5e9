/* Lines of a stream's events: packed, and whole again. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "../../../src/gateway/kept.h"

static struct kept kept;
static struct buf whole, out;

static void setup(void) {
    kept_init(&kept, 0);
    buf_init(&whole, 0);
    buf_init(&out, 0);
}
static void teardown(void) {
    kept_free(&kept);
    buf_free(&whole);
    buf_free(&out);
}

static void add(struct bytes line) {
    ck_assert(kept_add(&kept, line));
    buf_append_bytes(&whole, line);
    buf_append_char(&whole, '\n');
}

static void assert_whole(void) {
    buf_clear(&out);
    kept_unpack(&kept, &out);
    ck_assert_uint_eq(out.size, whole.size);
    ck_assert_uint_eq(kept.whole_size, whole.size);
    ck_assert(bytes_equal(buf_bytes(&out), buf_bytes(&whole)));
}

START_TEST(lines_come_out_as_they_went_in) {
    static const char *const lines[] = {
        "a",     "a",  "",     "",    "ab",        "ba",         "aba",
        "ababa", "aa", "aaaa", "aaa", "b",         "xaaay",      "xaaaay",
        "xaay",  "xy", "x",    "yx",  "{\"n\":1}", "{\"n\":12}", "{\"n\":2}",
    };
    assert_whole();
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        add(bytes_from_str(lines[i]));
        assert_whole();
    }
}
END_TEST

START_TEST(any_lines_come_out_as_they_went_in) {
    char line[600];
    srand(1);
    for (int i = 0; i < 3000; i++) {
        size_t size = (size_t)rand() % (i % 10 == 0 ? sizeof(line) : 8);
        for (size_t j = 0; j < size; j++) {
            line[j] = (char)('a' + rand() % 2);
        }
        add(bytes_make(line, size));
    }
    assert_whole();
}
END_TEST

START_TEST(what_is_alike_takes_little_room) {
    char line[256];
    for (int i = 0; i < 1000; i++) {
        snprintf(
            line, sizeof(line),
            "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1795811858,"
            "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" %d\"},"
            "\"finish_reason\":null}],\"usage\":null}",
            i);
        add(bytes_from_str(line));
    }
    assert_whole();
    ck_assert_uint_lt(kept_size(&kept), whole.size / 10);
}
END_TEST

START_TEST(line_breaks_become_blanks) {
    kept_add(&kept, BYTES_LITERAL("{\"a\":\n1}"));
    kept_add(&kept, BYTES_LITERAL("{\"a\":\r\n2}"));
    kept_add(&kept, BYTES_LITERAL("{\"a\":\r\n2}"));
    kept_unpack(&kept, &out);
    ck_assert(bytes_equal_str(buf_bytes(&out), "{\"a\": 1}\n{\"a\":  2}\n{\"a\":  2}\n"));
}
END_TEST

START_TEST(past_its_limit_it_says_so) {
    kept_init(&kept, 1000);
    unsigned added = 0;
    while (added < 1000 && kept_add(&kept, BYTES_LITERAL("0123456789"))) {
        added++;
        (void)kept_add(&kept, BYTES_LITERAL("abcdefghij"));
    }
    ck_assert_uint_lt(added, 50);
    ck_assert_uint_le(kept_size(&kept), 1010);
    kept_free(&kept);
    ck_assert_uint_eq(kept_size(&kept), 0);
    add(BYTES_LITERAL("again"));
    assert_whole();
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("kept");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, lines_come_out_as_they_went_in);
    tcase_add_test(tcase, any_lines_come_out_as_they_went_in);
    tcase_add_test(tcase, what_is_alike_takes_little_room);
    tcase_add_test(tcase, line_breaks_become_blanks);
    tcase_add_test(tcase, past_its_limit_it_says_so);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
