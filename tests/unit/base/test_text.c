/* Unit tests of base/text. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- UTF-8 --- */

/* The definition, by arithmetic: decode, then look whether the shortest form of a scalar value has
 * these very bytes. The code under test looks at byte ranges instead. */
static bool reference_accepts(const unsigned char *p, size_t size) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    static const unsigned char mark[] = {0, 0, 0xc0, 0xe0, 0xf0};
    uint32_t cp = p[0];
    if (size == 1) {
        return cp < 0x80;
    }
    cp -= mark[size];
    if (p[0] < mark[size] || cp >= 1u << (7 - size)) {
        return false;
    }
    for (size_t i = 1; i < size; i++) {
        if (p[i] >> 6 != 2) {
            return false;
        }
        cp = cp * 64 + p[i] % 64;
    }
    return cp >= least[size] && cp <= 0x10ffff && (cp < 0xd800 || cp > 0xdfff);
}

/* Size of the only prefix of four bytes that is one character, 0 if none is. */
static size_t reference_size(const unsigned char p[4]) {
    for (size_t size = 1; size <= 4; size++) {
        if (reference_accepts(p, size)) {
            return size;
        }
    }
    return 0;
}

START_TEST(every_lead_and_second_byte_is_judged_as_the_definition_says) {
    static const unsigned char tails[] = {0x00, 0x41, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
    for (unsigned lead = 0; lead < 256; lead++) {
        for (unsigned second = 0; second < 256; second++) {
            for (size_t t = 0; t < COUNT(tails) * COUNT(tails); t++) {
                unsigned char p[4] = {(unsigned char)lead, (unsigned char)second,
                                      tails[t / COUNT(tails)], tails[t % COUNT(tails)]};
                size_t size = reference_size(p);
                for (size_t left = 1; left <= 4; left++) {
                    size_t bad = text_utf8_check(bytes_make((const char *)p, left));
                    bool whole = size != 0 && size <= left;
                    /* A plain if: check(3) sends every assertion through a pipe, and these are
                     * twelve million. */
                    if (whole ? bad < size : bad != 0) {
                        ck_abort_msg("%02x %02x %02x %02x, %zu: %zu", p[0], p[1], p[2], p[3], left,
                                     bad);
                    }
                }
            }
        }
    }
}
END_TEST

START_TEST(every_scalar_value_goes_round) {
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        char out[4];
        if (cp == 0xd800) {
            cp = 0xe000;
        }
        size_t size = text_utf8_put(out, cp);
        struct bytes text = bytes_make(out, size);
        size_t at = 0;
        if (text_utf8_check(text) != size || text_utf8_length(text) != 1 ||
            text_utf8_next(text, &at) != cp || at != size ||
            !reference_accepts((const unsigned char *)out, size)) {
            ck_abort_msg("U+%04X", (unsigned)cp);
        }
    }
}
END_TEST

START_TEST(the_offset_of_a_fault_is_exact_at_any_alignment) {
    for (size_t size = 1; size < 70; size++) {
        for (size_t fault = 0; fault < size; fault++) {
            char text[70];
            memset(text, 'a', sizeof(text));
            text[fault] = (char)0xff;
            ck_assert_uint_eq(text_utf8_check(bytes_make(text, size)), fault);
            /* A character cut off by the end is a fault at its first byte. */
            memset(text, 'a', sizeof(text));
            text[size - 1] = (char)0xc3;
            text[size] = (char)0xa9;
            ck_assert_uint_eq(text_utf8_check(bytes_make(text, size)), size - 1);
            ck_assert_uint_eq(text_utf8_check(bytes_make(text, size + 1)), size + 1);
        }
    }
    ck_assert_uint_eq(text_utf8_check(bytes_make(NULL, 0)), 0);
}
END_TEST

START_TEST(code_points_are_counted) {
    ck_assert_uint_eq(text_utf8_length(bytes_make(NULL, 0)), 0);
    ck_assert_uint_eq(text_utf8_length(BYTES_LITERAL("a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80\0z")),
                      6);
}
END_TEST

/* --- numbers --- */

struct number_row {
    const char *text;
    int64_t value; /* REFUSED: not accepted */
};
#define REFUSED (INT64_MIN + 1)

static void assert_parses(bool (*parse)(struct bytes, int64_t *), const struct number_row *rows,
                          size_t count) {
    for (size_t i = 0; i < count; i++) {
        int64_t value = REFUSED;
        bool good = parse(bytes_from_str(rows[i].text), &value);
        ck_assert_msg(good == (rows[i].value != REFUSED), "\"%s\" was %s", rows[i].text,
                      good ? "accepted" : "refused");
        ck_assert_msg(value == rows[i].value, "\"%s\" gave %lld", rows[i].text, (long long)value);
    }
}

/* Refused whatever the unit or the type of the number. */
static const struct number_row hostile[] = {
    {"", REFUSED},
    {" ", REFUSED},
    {"x", REFUSED},
    {"1x", REFUSED},
    {" 1", REFUSED},
    {"1 ", REFUSED},
    {"+1", REFUSED},
    {"--1", REFUSED},
    {"-", REFUSED},
    {".", REFUSED},
    {".5", REFUSED},
    {"1.", REFUSED},
    {"1..5", REFUSED},
    {"1.5.5", REFUSED},
    {"1,5", REFUSED},
    {"1e3", REFUSED},
    {"0x10", REFUSED},
    {"inf", REFUSED},
    {"nan", REFUSED},
    {"1_000", REFUSED},
    {"\xd9\xa1", REFUSED},
    {"1\n", REFUSED},
    {"1.-5", REFUSED},
    {"99999999999999999999", REFUSED},
    {"18446744073709551616", REFUSED},
    {"18446744073709551615", REFUSED},
    {"340282366920938463463374607431768211456", REFUSED},
};

START_TEST(hostile_numbers_are_refused_everywhere) {
    assert_parses(text_parse_duration_ms, hostile, COUNT(hostile));
    assert_parses(text_parse_size, hostile, COUNT(hostile));
    assert_parses(text_parse_nano, hostile, COUNT(hostile));
}
END_TEST

START_TEST(durations) {
    static const struct number_row rows[] = {
        {"0", 0},
        {"0s", 0},
        {"0ms", 0},
        {"500ms", 500},
        {"30s", 30000},
        {"5m", 300000},
        {"1h", 3600000},
        {"1d", 86400000},
        {"1.5h", 5400000},
        {"0.001s", 1},
        {"1.250s", 1250},
        {"0.125m", 7500},
        {"007s", 7000},
        {"1.000ms", 1},
        {"0.5ms", REFUSED}, /* not a whole millisecond */
        {"0.0001s", REFUSED},
        {"1.2500s", REFUSED},
        {"3650d", 315360000000},
        {"315360000000ms", 315360000000},
        {"315360000001ms", REFUSED},
        {"3650.001d", REFUSED},
        {"3651d", REFUSED},
        {"213503982335d", REFUSED}, /* 2^64 ms and a little */
        {"18446744073709551615ms", REFUSED},
        {"18446744073709552s", REFUSED},
        {"99999999999999999999s", REFUSED},
        {"1", REFUSED},
        {"00", REFUSED},
        {"1S", REFUSED},
        {"1 s", REFUSED},
        {"1sec", REFUSED},
        {"1us", REFUSED},
        {"s", REFUSED},
        {"-1s", REFUSED},
        {"1m30s", REFUSED},
        {"1.s", REFUSED},
        {".5s", REFUSED},
        {"1s ", REFUSED},
    };
    assert_parses(text_parse_duration_ms, rows, COUNT(rows));
    int64_t ms = REFUSED;
    ck_assert(!text_parse_duration_ms(BYTES_LITERAL("1s\0"), &ms));
    ck_assert(!text_parse_duration_ms(bytes_make(NULL, 0), &ms));
    ck_assert(text_parse_duration_ms(bytes_make("1ms", 2), &ms)); /* no byte past the end is read */
    ck_assert_int_eq(ms, 60000);
}
END_TEST

START_TEST(sizes) {
    static const struct number_row rows[] = {
        {"0", 0},
        {"1", 1},
        {"1B", 1},
        {"1KB", 1024},
        {"4MB", 4194304},
        {"2GB", 2147483648},
        {"1TB", 1099511627776},
        {"4611686018427387904", INT64_C(1) << 62},
        {"4611686018427387905", REFUSED},
        {"4194304TB", INT64_C(1) << 62},
        {"4194305TB", REFUSED},
        {"16777216TB", REFUSED}, /* 2^64 */
        {"16777217TB", REFUSED}, /* 2^64 + 1 TB wraps to 1 TB */
        {"1.5MB", REFUSED},
        {"1.5h", REFUSED},
        {"1K", REFUSED},
        {"1kb", REFUSED},
        {"1KiB", REFUSED},
        {"1 MB", REFUSED},
        {"MB", REFUSED},
        {"-1", REFUSED},
        {"-1MB", REFUSED},
        {"1MBMB", REFUSED},
    };
    assert_parses(text_parse_size, rows, COUNT(rows));
}
END_TEST

START_TEST(nano) {
    static const struct number_row rows[] = {
        {"0", 0},
        {"-0", 0},
        {"0.15", 150000000},
        {"1", 1000000000},
        {"-1", -1000000000},
        {"2.50", 2500000000},
        {"0.000000001", 1},
        {"-0.000000001", -1},
        {"0.100000000", 100000000},
        {"0.0000000001", REFUSED},
        {"0.0000000000", REFUSED},
        {"9223372036.854775807", INT64_MAX},
        {"9223372036.854775808", REFUSED},
        {"-9223372036.854775808", INT64_MIN},
        {"-9223372036.854775809", REFUSED},
        {"18446744073.709551615", REFUSED},
        {"18446744073.709551616", REFUSED},
        {"18446744074", REFUSED},
        {"1.5h", REFUSED},
        {"1.5 ", REFUSED},
        {"-.5", REFUSED},
        {"- 1", REFUSED},
        {"1.99999999999999999999", REFUSED},
    };
    assert_parses(text_parse_nano, rows, COUNT(rows));
}
END_TEST

static void assert_formats(void (*format)(int64_t, char *, size_t), const struct number_row *rows,
                           size_t count) {
    for (size_t i = 0; i < count; i++) {
        char out[32];
        format(rows[i].value, out, sizeof(out));
        ck_assert_str_eq(out, rows[i].text);
    }
}

START_TEST(numbers_are_written_as_people_would) {
    static const struct number_row durations_ms[] = {
        {"0s", 0},     {"1ms", 1},      {"1500ms", 1500},   {"1s", 1000},      {"90s", 90000},
        {"1m", 60000}, {"1h", 3600000}, {"36h", 129600000}, {"2d", 172800000}, {"86401s", 86401000},
    };
    static const struct number_row sizes_bytes[] = {
        {"0B", 0},
        {"1B", 1},
        {"1025B", 1025},
        {"1KB", 1024},
        {"4MB", 4194304},
        {"1536MB", 1610612736},
        {"1TB", 1099511627776},
        {"4194304TB", INT64_C(1) << 62},
    };
    static const struct number_row nanos[] = {
        {"0", 0},
        {"0.15", 150000000},
        {"2", 2000000000},
        {"-1.5", -1500000000},
        {"0.000000001", 1},
        {"10.01", 10010000000},
        {"9223372036.854775807", INT64_MAX},
        {"-9223372036.854775808", INT64_MIN},
    };
    assert_formats(text_format_duration_ms, durations_ms, COUNT(durations_ms));
    assert_formats(text_format_size, sizes_bytes, COUNT(sizes_bytes));
    assert_formats(text_format_nano, nanos, COUNT(nanos));
}
END_TEST

START_TEST(what_is_written_is_read_back) {
    uint64_t random = 1;
    for (int i = 0; i < 20000; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        int64_t value = (int64_t)random >> (random >> 58);
        int64_t ms = (int64_t)(random % 315360000001);
        int64_t size_bytes = (int64_t)(random >> 2 >> (random >> 59));
        int64_t back;
        char out[32];
        text_format_nano(value, out, sizeof(out));
        ck_assert_msg(text_parse_nano(bytes_from_str(out), &back) && back == value, "%s", out);
        text_format_duration_ms(ms, out, sizeof(out));
        ck_assert_msg(text_parse_duration_ms(bytes_from_str(out), &back) && back == ms, "%s", out);
        text_format_size(size_bytes, out, sizeof(out));
        ck_assert_msg(text_parse_size(bytes_from_str(out), &back) && back == size_bytes, "%s", out);
    }
}
END_TEST

START_TEST(a_short_output_is_terminated) {
    char out[5] = "####";
    text_format_nano(123456789, out, 4);
    ck_assert_str_eq(out, "0.1");
    text_format_duration_ms(1500, out, 4);
    ck_assert_str_eq(out, "150");
    text_format_size(1025, out, 1);
    ck_assert_str_eq(out, "");
}
END_TEST

/* --- nearest word --- */

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

START_TEST(the_nearest_word) {
    static const char *const words[] = {"listen", "providers", "timeout", "tier", "port", A64, "a"};
    static const struct {
        const char *word, *nearest;
    } rows[] = {
        {"timeout", "timeout"},
        {"tiemout", "timeout"},    /* swapped neighbours: one edit, not two */
        {"itmeotu", "timeout"},    /* two swaps are within 7/3 */
        {"timeuot", "timeout"},    /* swap */
        {"timeou", "timeout"},     /* insert */
        {"timeoutt", "timeout"},   /* delete */
        {"time_out", "timeout"},   /* delete */
        {"provders", "providers"}, /* insert */
        {"Provider", "providers"}, /* replace and insert */
        {"lisTEN", NULL},          /* three edits, two allowed */
        {"prot", "port"},
        {"tire", "tier"},
        {"prto", NULL}, /* two edits, one allowed */
        {"b", "a"},     /* at least one edit is allowed */
        {"bb", NULL},
        {"zzzzzzz", NULL},
        {A64, A64},
        {A64 "a", NULL}, /* longer than is looked at */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *nearest = text_nearest(rows[i].word, words, COUNT(words));
        ck_assert_msg(rows[i].nearest == NULL
                          ? nearest == NULL
                          : nearest != NULL && strcmp(nearest, rows[i].nearest) == 0,
                      "\"%s\" gave \"%s\"", rows[i].word, nearest != NULL ? nearest : "nothing");
    }
}
END_TEST

START_TEST(of_equally_near_words_the_first) {
    static const char *const words[] = {"cart", "card", "care", A64 "aa", "car"};
    ck_assert_str_eq(text_nearest("carx", words, 3), "cart");
    ck_assert_str_eq(text_nearest("car", words, 5), "car");
    ck_assert_ptr_null(text_nearest("car", words, 0));
    ck_assert_ptr_null(text_nearest("car", NULL, 0));
}
END_TEST

START_TEST(advice_about_files) {
    ck_assert_ptr_nonnull(strstr(text_file_advice(ENOENT), "make its directory"));
    ck_assert_ptr_nonnull(strstr(text_file_advice(EACCES), "let this user write"));
    ck_assert_ptr_nonnull(strstr(text_file_advice(EISDIR), "name a file"));
    ck_assert_ptr_nonnull(strstr(text_file_advice(ENOSPC), "make room"));
    ck_assert_str_eq(text_file_advice(EINTR), "");
    ck_assert_str_eq(text_file_advice(0), "");
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("base/text");
    TCase *utf8 = tcase_create("utf8");
    tcase_add_test(utf8, every_lead_and_second_byte_is_judged_as_the_definition_says);
    tcase_add_test(utf8, every_scalar_value_goes_round);
    tcase_add_test(utf8, the_offset_of_a_fault_is_exact_at_any_alignment);
    tcase_add_test(utf8, code_points_are_counted);
    suite_add_tcase(suite, utf8);
    TCase *numbers = tcase_create("numbers");
    tcase_add_test(numbers, hostile_numbers_are_refused_everywhere);
    tcase_add_test(numbers, durations);
    tcase_add_test(numbers, sizes);
    tcase_add_test(numbers, nano);
    tcase_add_test(numbers, numbers_are_written_as_people_would);
    tcase_add_test(numbers, what_is_written_is_read_back);
    tcase_add_test(numbers, a_short_output_is_terminated);
    suite_add_tcase(suite, numbers);
    TCase *nearest = tcase_create("nearest");
    tcase_add_test(nearest, the_nearest_word);
    tcase_add_test(nearest, of_equally_near_words_the_first);
    suite_add_tcase(suite, nearest);
    TCase *advice = tcase_create("advice");
    tcase_add_test(advice, advice_about_files);
    suite_add_tcase(suite, advice);
    return suite;
}

UNIT_MAIN(make_suite)
