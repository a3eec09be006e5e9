/* The writer: what it prints, that it cannot print invalid JSON, and that misuse ends the process.
 */
#include "config.h"

#include "base/json_write.h"

#include <signal.h>
#include <unistd.h>

#include "base/json_read.h"
#include "base/text.h"
#include "unit.h"

static struct buf out;
static struct json_writer writer;

static void set_up(void) {
    buf_init(&out, 0);
    json_write_init(&writer, &out);
}

static void tear_down(void) {
    buf_free(&out);
}

static void start_again(void) {
    buf_clear(&out);
    json_write_init(&writer, &out);
}

static void check_out(const char *expected) {
    struct json_fault fault;
    ck_assert_msg(bytes_equal_str(buf_bytes(&out), expected), "%.*s", (int)out.size, out.data);
    ck_assert_int_eq(json_validate(buf_bytes(&out), &fault), 0);
    ck_assert(writer.done);
    ck_assert(!out.failed);
}

START_TEST(scalars_are_written) {
    static const struct {
        int64_t value;
        const char *as_int;
        const char *as_nano;
    } rows[] = {
        {0, "0", "0.000000000"},
        {-1, "-1", "-0.000000001"},
        {1500000000, "1500000000", "1.500000000"},
        {INT64_MAX, "9223372036854775807", "9223372036.854775807"},
        {INT64_MIN, "-9223372036854775808", "-9223372036.854775808"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        start_again();
        json_put_int(&writer, rows[i].value);
        check_out(rows[i].as_int);
        start_again();
        json_put_nano(&writer, rows[i].value);
        check_out(rows[i].as_nano);
    }
    start_again();
    json_put_bool(&writer, true);
    check_out("true");
    start_again();
    json_put_bool(&writer, false);
    check_out("false");
    start_again();
    json_put_null(&writer);
    check_out("null");
    start_again();
    json_put_str(&writer, NULL);
    check_out("null");
    start_again();
    json_put_str(&writer, "");
    check_out("\"\"");
    start_again();
    json_put_string(&writer, bytes_make(NULL, 0));
    check_out("\"\"");
    start_again();
    json_put_raw(&writer, BYTES_LITERAL("[1, 2]"));
    check_out("[1, 2]");
}
END_TEST

START_TEST(containers_get_their_commas) {
    json_object_begin(&writer);
    json_key(&writer, "a");
    json_array_begin(&writer);
    json_array_end(&writer);
    json_key(&writer, "b\"\n");
    json_array_begin(&writer);
    json_put_int(&writer, 1);
    json_object_begin(&writer);
    json_object_end(&writer);
    json_array_begin(&writer);
    json_put_null(&writer);
    json_array_end(&writer);
    json_put_str(&writer, "x");
    json_array_end(&writer);
    json_key(&writer, "");
    json_object_begin(&writer);
    json_key(&writer, "c");
    json_put_bool(&writer, false);
    json_object_end(&writer);
    json_key(&writer, "d");
    json_put_raw(&writer, BYTES_LITERAL("{}"));
    json_object_end(&writer);
    check_out("{\"a\":[],\"b\\\"\\n\":[1,{},[null],\"x\"],\"\":{\"c\":false},\"d\":{}}");
}
END_TEST

START_TEST(it_goes_as_deep_as_the_reader) {
    for (int i = 0; i < JSON_WRITE_MAX_DEPTH; i++) {
        if (i % 2 == 0) {
            json_object_begin(&writer);
            json_key(&writer, "k");
        } else {
            json_array_begin(&writer);
        }
    }
    json_put_int(&writer, 1);
    for (int i = JSON_WRITE_MAX_DEPTH - 1; i >= 0; i--) {
        if (i % 2 == 0) {
            json_object_end(&writer);
        } else {
            json_array_end(&writer);
        }
    }
    struct json_fault fault;
    ck_assert_int_eq(json_validate(buf_bytes(&out), &fault), 0);
    ck_assert_int_eq(JSON_WRITE_MAX_DEPTH, JSON_MAX_DEPTH);
}
END_TEST

struct escape_row {
    struct bytes text;
    const char *escaped;
};

#define ROW(text, escaped) \
    { BYTES_LITERAL(text), (escaped) }
#define BAD "\xEF\xBF\xBD"

static const struct escape_row escape_rows[] = {
    ROW("", ""),
    ROW("plain text, longer than one word of eight", "plain text, longer than one word of eight"),
    ROW("\"\\/", "\\\"\\\\/"),
    ROW("\b\f\n\r\t", "\\b\\f\\n\\r\\t"),
    ROW("\0\x01\x0B\x1F\x20\x7F", "\\u0000\\u0001\\u000b\\u001f \x7F"),
    ROW("12345678\n12345678\"1234567\\", "12345678\\n12345678\\\"1234567\\\\"),
    ROW("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 x", "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 x"),
    ROW("\xE2\x80\xA8\xEF\xBF\xBF", "\xE2\x80\xA8\xEF\xBF\xBF"),
    /* one U+FFFD for each maximal subpart */
    ROW("\xFF", BAD),
    ROW("a\x80z", "a" BAD "z"),
    ROW("\xC0\xAF", BAD BAD),
    ROW("\xE2\x82", BAD),
    ROW("\xE2\x82\"", BAD "\\\""),
    ROW("\xE2\xE2\x82\xAC", BAD "\xE2\x82\xAC"),
    ROW("\xED\xA0\x80", BAD BAD BAD),
    ROW("\xE0\x80\x80", BAD BAD BAD),
    ROW("\xF0\x9F\x98", BAD),
    ROW("\xF0\x9F\x98z", BAD "z"),
    ROW("\xF0\x80\x80\x80", BAD BAD BAD BAD),
    ROW("\xF4\x90\x80\x80", BAD BAD BAD BAD),
    ROW("\xF5\xFE\n", BAD BAD "\\n"),
    ROW("\xC3\xA9\xC3", "\xC3\xA9" BAD),
    /* the Unicode standard's own example, table 3-8 */
    ROW("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64",
        "a" BAD BAD BAD "b" BAD "c" BAD BAD "d"),
};

START_TEST(strings_are_escaped_minimally) {
    for (size_t i = 0; i < sizeof(escape_rows) / sizeof(escape_rows[0]); i++) {
        struct bytes text = escape_rows[i].text;
        char *copy = malloc(text.size); /* exactly its size: no byte behind is looked at */
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, text.data, text.size);
        buf_clear(&out);
        json_escape(&out, bytes_make(copy, text.size));
        ck_assert_msg(bytes_equal_str(buf_bytes(&out), escape_rows[i].escaped), "row %zu: %.*s", i,
                      (int)out.size, out.data);
        free(copy);
    }
}
END_TEST

/* Any bytes give a valid string; bytes that are UTF-8 come back as they were. */
START_TEST(any_text_makes_the_round_trip) {
    unsigned seed = 3;
    struct arena arena;
    struct json_reader reader;
    struct json_fault fault;
    unsigned whole = 0;
    arena_init(&arena, 4096, (size_t)1 << 20);
    json_reader_init(&reader);
    for (int i = 0; i < 50000; i++) {
        static const uint8_t spice[] = {'"', '\\', 0, '\n', 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xED};
        char text[48];
        size_t size = (unsigned)rand_r(&seed) % sizeof(text);
        for (size_t at = 0; at < size; at++) {
            int kind = rand_r(&seed) % 16;
            text[at] = (char)(kind == 0   ? rand_r(&seed)
                              : kind == 1 ? spice[(unsigned)rand_r(&seed) % sizeof(spice)]
                                          : ' ' + rand_r(&seed) % 95);
        }
        start_again();
        json_put_string(&writer, bytes_make(text, size));
        ck_assert_int_eq(json_read(&reader, buf_bytes(&out), &fault), 0);
        struct bytes decoded = json_string(&reader, 0, &arena);
        if (text_utf8_check(bytes_make(text, size)) == size) {
            ck_assert(bytes_equal(decoded, bytes_make(text, size)));
            whole++;
        } else {
            ck_assert_ptr_nonnull(memmem(decoded.data, decoded.size, BAD, 3));
        }
        arena_reset(&arena);
    }
    ck_assert_uint_gt(whole, 5000); /* both sides were tried */
    ck_assert_uint_lt(whole, 45000);
    json_reader_fini(&reader);
    arena_fini(&arena);
}
END_TEST

static void write_random(unsigned *seed, int depth) {
    int kind = rand_r(seed) % (depth >= 6 ? 5 : 9);
    int items = rand_r(seed) % 4;
    switch (kind) {
    case 0:
        json_put_int(&writer, (int64_t)rand_r(seed) * rand_r(seed));
        break;
    case 1:
        json_put_nano(&writer, rand_r(seed) - RAND_MAX / 2);
        break;
    case 2:
        json_put_bool(&writer, items > 1);
        break;
    case 3:
        json_put_str(&writer, items == 0 ? NULL : "a\"\x01\xFF");
        break;
    case 4:
        json_put_raw(&writer, BYTES_LITERAL("[{}, 1e5]"));
        break;
    case 5:
    case 6:
        json_object_begin(&writer);
        for (int i = 0; i < items; i++) {
            json_key(&writer, i % 2 == 0 ? "k" : "\\\xC3");
            write_random(seed, depth + 1);
        }
        json_object_end(&writer);
        break;
    default:
        json_array_begin(&writer);
        for (int i = 0; i < items; i++) {
            write_random(seed, depth + 1);
        }
        json_array_end(&writer);
        break;
    }
}

START_TEST(whatever_is_written_is_valid) {
    unsigned seed = 5;
    struct json_fault fault;
    for (int i = 0; i < 20000; i++) {
        start_again();
        write_random(&seed, 0);
        ck_assert(writer.done);
        ck_assert_msg(json_validate(buf_bytes(&out), &fault) == 0, "%zu: %s in %.*s", fault.offset,
                      fault.reason, (int)out.size, out.data);
    }
}
END_TEST

START_TEST(what_does_not_fit_fails_once) {
    char memory[64];
    for (size_t capacity = 0; capacity <= sizeof(memory); capacity++) {
        struct buf fixed;
        memset(memory, '#', sizeof(memory));
        buf_init_fixed(&fixed, memory, capacity);
        json_write_init(&writer, &fixed);
        json_object_begin(&writer);
        json_key(&writer, "key");
        json_put_str(&writer, "a text\nwith an escape");
        json_key(&writer, "cost");
        json_put_nano(&writer, 1);
        json_object_end(&writer);
        static const char whole[] = "{\"key\":\"a text\\nwith an escape\",\"cost\":0.000000001}";
        ck_assert_int_eq(fixed.failed, capacity < sizeof(whole) - 1);
        ck_assert_uint_le(fixed.size, capacity);
        ck_assert_int_eq(memcmp(memory, whole, fixed.size), 0);
        for (size_t i = capacity; i < sizeof(memory); i++) {
            ck_assert_int_eq(memory[i], '#');
        }
    }
}
END_TEST

/* Each ends the process with SIGABRT. Calls: { } [ ] k(ey) v(alue) r(aw, empty). */
static const char *const misuses[] = {
    "}",
    "]",
    "k",
    "vv",
    "[]v",
    "[][",
    "{}{",
    "{]",
    "[}",
    "{v",
    "{[",
    "{{",
    "{kk",
    "{k}",
    "[k",
    "{kvv",
    "{kv[",
    "[v}",
    "{k[}",
    "{k{]",
    "[]]",
    "{}}",
    "[{}}",
    "r",
    "[r",
    "{kv]",
    "v]",
    "vk",
    "{}k",
    "[{kv}k",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", /* 65 */
};

static void call(char what) {
    switch (what) {
    case '{':
        json_object_begin(&writer);
        break;
    case '}':
        json_object_end(&writer);
        break;
    case '[':
        json_array_begin(&writer);
        break;
    case ']':
        json_array_end(&writer);
        break;
    case 'k':
        json_key(&writer, "k");
        break;
    case 'v':
        json_put_int(&writer, 1);
        break;
    default:
        json_put_raw(&writer, bytes_make("", 0));
        break;
    }
}

/* All but the last call are in order, so it is the last one that must abort: an abort before it is
 * taken for a failure by exiting without the signal. */
static volatile sig_atomic_t at_last_call;

static void on_abort(int signal_number) {
    (void)signal_number;
    if (!at_last_call) {
        _exit(EXIT_FAILURE);
    }
    signal(SIGABRT, SIG_DFL);
}

START_TEST(misuse_ends_the_process) {
    const char *calls = misuses[_i];
    at_last_call = 0;
    signal(SIGABRT, on_abort);
    for (; *calls != '\0'; calls++) {
        at_last_call = calls[1] == '\0';
        call(*calls);
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("json_write");
    TCase *values = tcase_create("values");
    tcase_add_checked_fixture(values, set_up, tear_down);
    tcase_set_timeout(values, 60);
    tcase_add_test(values, scalars_are_written);
    tcase_add_test(values, containers_get_their_commas);
    tcase_add_test(values, it_goes_as_deep_as_the_reader);
    tcase_add_test(values, strings_are_escaped_minimally);
    tcase_add_test(values, any_text_makes_the_round_trip);
    tcase_add_test(values, whatever_is_written_is_valid);
    tcase_add_test(values, what_does_not_fit_fails_once);
    suite_add_tcase(suite, values);
    TCase *misuse = tcase_create("misuse");
    tcase_add_checked_fixture(misuse, set_up, tear_down);
    tcase_add_loop_test_raise_signal(misuse, misuse_ends_the_process, SIGABRT, 0,
                                     sizeof(misuses) / sizeof(misuses[0]));
    suite_add_tcase(suite, misuse);
    return suite;
}

UNIT_MAIN(make_suite)
