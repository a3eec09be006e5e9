/* Unit tests of base/bytes. */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"

static void assert_bytes(struct bytes actual, const char *expected) {
    ck_assert_msg(bytes_equal_str(actual, expected), "\"%.*s\" instead of \"%s\"", (int)actual.size,
                  actual.data != NULL ? actual.data : "", expected);
}

START_TEST(equality_ignores_ascii_case_only) {
    static const struct {
        const char *a, *b;
        bool equal;
    } rows[] = {
        {"", "", true},          {"Content-Length", "cONTENT-lENGTH", true},
        {"a", "ab", false},      {"ab", "a", false},
        {"[", "{", false},       {"@", "`", false},
        {"\xc9", "\xe9", false}, {"host", "most", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(bytes_equal_nocase(bytes_from_str(rows[i].a), bytes_from_str(rows[i].b)) ==
                          rows[i].equal,
                      "row %zu", i);
    }
    ck_assert(bytes_equal(bytes_make(NULL, 0), BYTES_LITERAL("")));
    ck_assert(!bytes_equal(BYTES_LITERAL("a\0b"), BYTES_LITERAL("a\0c")));
}
END_TEST

START_TEST(prefixes_positions_and_trimming) {
    ck_assert(bytes_start_with(BYTES_LITERAL("/v1/chat"), BYTES_LITERAL("/v1/")));
    ck_assert(bytes_start_with(BYTES_LITERAL("x"), bytes_make(NULL, 0)));
    ck_assert(!bytes_start_with(BYTES_LITERAL("/v"), BYTES_LITERAL("/v1")));
    ck_assert(!bytes_start_with(BYTES_LITERAL("/v2/"), BYTES_LITERAL("/v1/")));
    ck_assert_uint_eq(bytes_find(BYTES_LITERAL("a:b:c"), ':'), 1);
    ck_assert_uint_eq(bytes_find(BYTES_LITERAL("abc"), ':'), 3);
    ck_assert_uint_eq(bytes_find(bytes_make(NULL, 0), ':'), 0);
    ck_assert_uint_eq(bytes_find(BYTES_LITERAL("ab\0"), '\0'), 2);
    assert_bytes(bytes_trim(BYTES_LITERAL(" \t a b\t ")), "a b");
    assert_bytes(bytes_trim(BYTES_LITERAL("\r\na\n")), "\r\na\n");
    assert_bytes(bytes_trim(BYTES_LITERAL(" \t ")), "");
    assert_bytes(bytes_trim(bytes_make(NULL, 0)), "");
}
END_TEST

START_TEST(lists_are_cut_at_separators) {
    struct bytes rest = BYTES_LITERAL("a,bc,,d,");
    static const char *const parts[] = {"a", "bc", "", "d"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        ck_assert_uint_gt(rest.size, 0);
        assert_bytes(bytes_cut(&rest, ','), parts[i]);
    }
    ck_assert_uint_eq(rest.size, 0);
    rest = BYTES_LITERAL("whole");
    assert_bytes(bytes_cut(&rest, ','), "whole");
    ck_assert_uint_eq(rest.size, 0);
    assert_bytes(bytes_cut(&rest, ','), "");
    rest = bytes_make(NULL, 0);
    assert_bytes(bytes_cut(&rest, ','), "");
}
END_TEST

START_TEST(comparison_is_by_unsigned_bytes) {
    ck_assert_int_lt(bytes_compare(BYTES_LITERAL("a"), BYTES_LITERAL("ab")), 0);
    ck_assert_int_gt(bytes_compare(BYTES_LITERAL("ab"), BYTES_LITERAL("a")), 0);
    ck_assert_int_gt(bytes_compare(BYTES_LITERAL("b"), BYTES_LITERAL("ab")), 0);
    ck_assert_int_gt(bytes_compare(BYTES_LITERAL("\x80"), BYTES_LITERAL("\x7f")), 0);
    ck_assert_int_eq(bytes_compare(bytes_make(NULL, 0), BYTES_LITERAL("")), 0);
}
END_TEST

START_TEST(integers_are_strict) {
    static const struct {
        const char *text;
        bool good;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"9223372036854775810", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1x", false, 0},
        {"0x1", false, 0},
        {"1.5", false, 0},
        {"\xd9\xa1", false, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t value = -77;
        bool good = bytes_to_int64(bytes_from_str(rows[i].text), &value);
        ck_assert_msg(good == rows[i].good, "\"%s\"", rows[i].text);
        ck_assert_int_eq(value, good ? rows[i].value : -77);
    }
}
END_TEST

START_TEST(a_buffer_grows) {
    struct buf buf;
    buf_init(&buf, 0);
    for (int i = 0; i < 10000; i++) {
        buf_append_str(&buf, "0123456789");
    }
    ck_assert(!buf.failed);
    ck_assert_uint_eq(buf.size, 100000);
    for (size_t i = 0; i < buf.size; i++) {
        ck_assert_int_eq(buf.data[i], (char)('0' + i % 10));
    }
    buf_free(&buf);
    ck_assert_ptr_null(buf.data);
    buf_append_char(&buf, 'x'); /* usable again */
    assert_bytes(buf_bytes(&buf), "x");
    buf_free(&buf);
}
END_TEST

START_TEST(a_write_past_the_limit_fails_and_stays_failed) {
    struct buf buf;
    buf_init(&buf, 1000);
    char piece[999] = {0};
    buf_append(&buf, piece, sizeof(piece));
    buf_append_char(&buf, 'x');
    ck_assert(!buf.failed);
    ck_assert_uint_eq(buf.capacity, 1000);
    buf_append_str(&buf, "yz");
    ck_assert(buf.failed);
    ck_assert_uint_eq(buf.size, 1000);
    buf_consume(&buf, 500);
    buf_append_char(&buf, 'y'); /* would fit now, but there is a hole before it */
    ck_assert(buf.failed);
    ck_assert_uint_eq(buf.size, 500);
    ck_assert_int_eq(buf.data[499], 'x');
    buf_clear(&buf);
    buf_append_char(&buf, 'y');
    assert_bytes(buf_bytes(&buf), "y");
    buf_free(&buf);
}
END_TEST

START_TEST(a_fixed_buffer_takes_an_exact_fit_and_no_more) {
    char memory[8 + 1] = {[8] = '#'};
    struct buf buf;
    buf_init_fixed(&buf, memory, 8);
    buf_printf(&buf, "%s", "12345678");
    ck_assert(!buf.failed);
    assert_bytes(buf_bytes(&buf), "12345678");
    buf_append_char(&buf, '9');
    ck_assert(buf.failed);
    ck_assert_int_eq(memory[8], '#');
    buf_free(&buf);
    ck_assert(!buf.failed);
    buf_append_u64(&buf, 123456789);
    ck_assert(buf.failed);
    ck_assert_uint_eq(buf.size, 0);
}
END_TEST

START_TEST(reserve_gives_room_without_adding) {
    struct buf buf;
    buf_init(&buf, 600);
    ck_assert_ptr_nonnull(buf_reserve(&buf, 0));
    char *at = buf_reserve(&buf, 600);
    ck_assert_ptr_nonnull(at);
    ck_assert_uint_eq(buf.size, 0);
    memset(at, 'a', 600);
    buf.size += 600;
    ck_assert_ptr_nonnull(buf_reserve(&buf, 0));
    ck_assert_ptr_null(buf_reserve(&buf, SIZE_MAX));
    ck_assert(buf.failed);
    ck_assert_uint_eq(buf.size, 600);
    buf_free(&buf);
}
END_TEST

START_TEST(numbers_read_as_printf_writes_them) {
    static const uint64_t values[] = {0, 1, 9, 10, 99, 100, 12345678901234567890u, UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char expected[64];
        char memory[64];
        struct buf buf;
        snprintf(expected, sizeof(expected), "%" PRIu64 " %" PRId64, values[i], (int64_t)values[i]);
        buf_init_fixed(&buf, memory, sizeof(memory));
        buf_append_u64(&buf, values[i]);
        buf_append_char(&buf, ' ');
        buf_append_i64(&buf, (int64_t)values[i]);
        assert_bytes(buf_bytes(&buf), expected);
    }
}
END_TEST

START_TEST(extreme_signed_numbers) {
    char memory[64];
    struct buf buf;
    buf_init_fixed(&buf, memory, sizeof(memory));
    buf_append_i64(&buf, INT64_MIN);
    buf_append_i64(&buf, INT64_MAX);
    assert_bytes(buf_bytes(&buf), "-92233720368547758089223372036854775807");
}
END_TEST

START_TEST(nano_has_nine_decimals) {
    static const struct {
        int64_t value;
        const char *text;
    } rows[] = {
        {0, "0.000000000"},
        {1, "0.000000001"},
        {-1, "-0.000000001"},
        {1500, "0.000001500"},
        {999999999, "0.999999999"},
        {1000000000, "1.000000000"},
        {-1000000001, "-1.000000001"},
        {123456789012345678, "123456789.012345678"},
        {INT64_MAX, "9223372036.854775807"},
        {INT64_MIN, "-9223372036.854775808"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char memory[64];
        struct buf buf;
        buf_init_fixed(&buf, memory, sizeof(memory));
        buf_append_nano(&buf, rows[i].value);
        assert_bytes(buf_bytes(&buf), rows[i].text);
    }
}
END_TEST

START_TEST(printf_of_any_length) {
    struct buf buf;
    buf_init(&buf, 0);
    for (int width = 500; width < 2000; width += 3) {
        buf_clear(&buf);
        buf_printf(&buf, "<%*d>", width, 42);
        ck_assert_uint_eq(buf.size, (size_t)width + 2);
        ck_assert_mem_eq(buf.data + buf.size - 4, " 42>", 4);
        ck_assert_int_eq(buf.data[0], '<');
    }
    buf_free(&buf);
}
END_TEST

START_TEST(consume_moves_the_rest_down) {
    struct buf buf;
    buf_init(&buf, 0);
    buf_consume(&buf, 0); /* nothing there yet */
    buf_append_bytes(&buf, bytes_make(NULL, 0));
    buf_append_str(&buf, "abcdef");
    buf_consume(&buf, 2);
    assert_bytes(buf_bytes(&buf), "cdef");
    buf_consume(&buf, 4);
    ck_assert_uint_eq(buf.size, 0);
    buf_free(&buf);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("base/bytes");
    TCase *views = tcase_create("bytes");
    tcase_add_test(views, equality_ignores_ascii_case_only);
    tcase_add_test(views, prefixes_positions_and_trimming);
    tcase_add_test(views, lists_are_cut_at_separators);
    tcase_add_test(views, comparison_is_by_unsigned_bytes);
    tcase_add_test(views, integers_are_strict);
    suite_add_tcase(suite, views);
    TCase *buffers = tcase_create("buf");
    tcase_add_test(buffers, a_buffer_grows);
    tcase_add_test(buffers, a_write_past_the_limit_fails_and_stays_failed);
    tcase_add_test(buffers, a_fixed_buffer_takes_an_exact_fit_and_no_more);
    tcase_add_test(buffers, reserve_gives_room_without_adding);
    tcase_add_test(buffers, numbers_read_as_printf_writes_them);
    tcase_add_test(buffers, extreme_signed_numbers);
    tcase_add_test(buffers, nano_has_nine_decimals);
    tcase_add_test(buffers, printf_of_any_length);
    tcase_add_test(buffers, consume_moves_the_rest_down);
    suite_add_tcase(suite, buffers);
    return suite;
}

UNIT_MAIN(make_suite)
