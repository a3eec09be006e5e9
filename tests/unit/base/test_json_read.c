/* The tokens of a document and what one may ask them. The grammar is test_json_validate's. */
#include "base/json_read.h"

#include <stdio.h>
#include <time.h>

#include "unit.h"

static struct json_reader reader;
static struct arena arena;
static struct json_fault fault;
static struct buf text_buf;

static void set_up(void) {
    json_reader_init(&reader);
    arena_init(&arena, 4096, (size_t)64 << 20);
    buf_init(&text_buf, 0);
}

static void tear_down(void) {
    json_reader_fini(&reader);
    arena_fini(&arena);
    buf_free(&text_buf);
}

static void read_text(struct bytes text) {
    int result = json_read(&reader, text, &fault);
    ck_assert_msg(result == 0, "%.*s: %zu: %s", (int)text.size, text.data, fault.offset,
                  fault.reason);
}

#define READ(literal) read_text(BYTES_LITERAL(literal))
#define ck_assert_bytes(got, expected)                                                     \
    do {                                                                                   \
        struct bytes got_bytes = (got);                                                    \
        struct bytes expected_bytes = BYTES_LITERAL(expected);                             \
        ck_assert_msg(bytes_equal(got_bytes, expected_bytes), "%.*s", (int)got_bytes.size, \
                      got_bytes.data);                                                     \
    } while (0)

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

START_TEST(a_scalar_may_be_the_whole_text) {
    static const struct {
        const char *text;
        enum json_type type;
        const char *raw;
    } rows[] = {
        {"42", JSON_NUMBER, "42"},     {" -1.5e3\r\n", JSON_NUMBER, "-1.5e3"},
        {"true", JSON_TRUE, "true"},   {"\tfalse ", JSON_FALSE, "false"},
        {"null", JSON_NULL, "null"},   {" \"a\\n\" ", JSON_STRING, "a\\n"},
        {"\"\"", JSON_STRING, ""},     {"[]", JSON_ARRAY, "[]"},
        {" { } ", JSON_OBJECT, "{ }"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        read_text(bytes_from_str(rows[i].text));
        ck_assert_int_eq(reader.count, 1);
        ck_assert_int_eq(json_type(&reader, 0), rows[i].type);
        ck_assert(bytes_equal_str(json_raw(&reader, 0), rows[i].raw));
        ck_assert_uint_eq(json_offset(&reader, 0), strspn(rows[i].text, " \t"));
        ck_assert_int_eq(json_count(&reader, 0), 0);
        ck_assert_int_eq(json_first(&reader, 0), -1);
        ck_assert_int_eq(json_next(&reader, 0), -1);
    }
}
END_TEST

START_TEST(a_document_is_walked) {
    READ("{ \"model\":\"auto\", \"messages\":[ {\"role\":\"user\",\"content\":[{\"a\":1},2]}, 7 ],"
         " \"n\":3 }");
    int key = json_first(&reader, 0);
    ck_assert_int_eq(json_count(&reader, 0), 3);
    ck_assert_bytes(json_raw(&reader, key), "model");
    ck_assert_uint_eq(json_offset(&reader, key), 2);
    ck_assert_bytes(json_raw(&reader, json_member_value(&reader, key)), "auto");
    ck_assert_int_eq(json_next(&reader, json_member_value(&reader, key)), -1);
    key = json_next(&reader, key);
    ck_assert_bytes(json_raw(&reader, key), "messages");
    int messages = json_member_value(&reader, key);
    ck_assert_int_eq(json_type(&reader, messages), JSON_ARRAY);
    ck_assert_int_eq(json_count(&reader, messages), 2);
    int message = json_first(&reader, messages);
    ck_assert_int_eq(json_type(&reader, message), JSON_OBJECT);
    ck_assert_bytes(json_raw(&reader, json_get(&reader, message, "role")), "user");
    ck_assert_bytes(json_raw(&reader, json_get(&reader, message, "content")), "[{\"a\":1},2]");
    int seven = json_next(&reader, message);
    ck_assert_bytes(json_raw(&reader, seven), "7");
    ck_assert_int_eq(json_next(&reader, seven), -1);
    ck_assert_int_eq(json_member_value(&reader, seven), -1);
    key = json_next(&reader, key);
    ck_assert_bytes(json_raw(&reader, key), "n");
    ck_assert_int_eq(json_next(&reader, key), -1);
    ck_assert_int_eq(json_get(&reader, 0, "role"), -1); /* not a level deeper */
}
END_TEST

START_TEST(no_such_value_is_accepted_everywhere) {
    double number;
    int64_t integer;
    READ("[1]");
    int none[] = {-1, -2, 2, 65536};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        ck_assert_int_eq(json_type(&reader, none[i]), JSON_NONE);
        ck_assert_uint_eq(json_raw(&reader, none[i]).size, 0);
        ck_assert_uint_eq(json_offset(&reader, none[i]), 0);
        ck_assert_int_eq(json_count(&reader, none[i]), 0);
        ck_assert_int_eq(json_first(&reader, none[i]), -1);
        ck_assert_int_eq(json_next(&reader, none[i]), -1);
        ck_assert_int_eq(json_member_value(&reader, none[i]), -1);
        ck_assert_int_eq(json_get(&reader, none[i], ""), -1);
        ck_assert(!json_string_equals(&reader, none[i], BYTES_LITERAL("")));
        ck_assert_ptr_null(json_string(&reader, none[i], &arena).data);
        ck_assert(!json_int64(&reader, none[i], &integer));
        ck_assert(!json_double(&reader, none[i], &number));
    }
    ck_assert_int_eq(json_get(&reader, 0, "1"), -1); /* an array has no members */
    ck_assert_ptr_null(json_string(&reader, 1, &arena).data);
}
END_TEST

START_TEST(a_fault_leaves_no_tokens) {
    READ("[1,2,3]");
    ck_assert_int_eq(json_read(&reader, BYTES_LITERAL("[1,2,3"), &fault), -1);
    ck_assert_uint_eq(fault.offset, 6);
    ck_assert(!fault.no_memory);
    ck_assert_int_eq(reader.count, 0);
    ck_assert_int_eq(json_type(&reader, 0), JSON_NONE);
    READ("\"again\"");
    ck_assert_bytes(json_raw(&reader, 0), "again");
}
END_TEST

START_TEST(strings_are_decoded) {
    static const struct {
        struct bytes text; /* the whole document */
        struct bytes decoded;
        bool borrowed;
    } rows[] = {
#define ROW(text, decoded, borrowed) {BYTES_LITERAL(text), BYTES_LITERAL(decoded), (borrowed)}
        ROW("\"\"", "", true),
        ROW("\"plain \xC3\xA9\"", "plain \xC3\xA9", true),
        ROW("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", false),
        ROW("\"\\u0041b\\u0000c\"", "Ab\0c", false),
        ROW("\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"",
            "\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF", false),
        ROW("\"\\ud83d\\ude00x\\uD800\\uDC00\\uDBFF\\uDFFF\"",
            "\xF0\x9F\x98\x80x\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", false),
        ROW("\"\\\\u0041\"", "\\u0041", false),
        ROW("\"a long plain run, then \\n\"", "a long plain run, then \n", false),
#undef ROW
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes expected = rows[i].decoded;
        read_text(rows[i].text);
        struct bytes decoded = json_string(&reader, 0, &arena);
        ck_assert_msg(bytes_equal(decoded, expected), "row %zu", i);
        ck_assert_int_eq(decoded.data == rows[i].text.data + 1, rows[i].borrowed);
        ck_assert(json_string_equals(&reader, 0, expected));
        /* and nothing else is equal: shorter, longer, one byte different */
        char other[64];
        memcpy(other, expected.data, expected.size);
        other[expected.size] = 'x';
        ck_assert(!json_string_equals(&reader, 0, bytes_make(other, expected.size + 1)));
        for (size_t at = 0; at < expected.size; at++) {
            ck_assert(!json_string_equals(&reader, 0, bytes_make(other, at)));
            other[at] ^= 1;
            ck_assert(!json_string_equals(&reader, 0, bytes_make(other, expected.size)));
            other[at] ^= 1;
        }
    }
    READ("\"a\\n\"");
    struct arena none;
    arena_init(&none, 64, 0);
    ck_assert_ptr_null(json_string(&reader, 0, &none).data);
    arena_fini(&none);
}
END_TEST

START_TEST(members_are_found_by_decoded_name) {
    READ("{\"\\u006dodel\":1,\"mod\\u0065\":2,\"a\\/b\":3,\"\":4,\"model\":5,\"mode\\u0000\":6}");
    int64_t value = 0;
    ck_assert(json_int64(&reader, json_get(&reader, 0, "model"), &value) && value == 1);
    ck_assert(json_int64(&reader, json_get(&reader, 0, "mode"), &value) && value == 2);
    ck_assert(json_int64(&reader, json_get(&reader, 0, "a/b"), &value) && value == 3);
    ck_assert(json_int64(&reader, json_get(&reader, 0, ""), &value) && value == 4);
    ck_assert_int_eq(json_get(&reader, 0, "mod"), -1);
    ck_assert_int_eq(json_get(&reader, 0, "\\u006dodel"), -1);
}
END_TEST

START_TEST(integers_are_exact) {
    static const struct {
        const char *text;
        bool good;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"100", true, 100},
        {"-1", true, -1},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999999999", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"1E0", false, 0},
        {"\"1\"", false, 0},
        {"true", false, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t value = 77;
        read_text(bytes_from_str(rows[i].text));
        ck_assert_msg(json_int64(&reader, 0, &value) == rows[i].good, "%s", rows[i].text);
        ck_assert_int_eq(value, rows[i].good ? rows[i].value : 77);
    }
}
END_TEST

START_TEST(doubles_are_finite) {
    static const struct {
        const char *text;
        bool good;
        double value;
    } rows[] = {
        {"0.7", true, 0.7},    {"-0", true, 0},        {"2", true, 2},      {"1.5e+3", true, 1500},
        {"25E-2", true, 0.25}, {"1e308", true, 1e308}, {"1e309", false, 0}, {"-1e99999", false, 0},
        {"1e-99999", true, 0}, {"\"1\"", false, 0},    {"null", false, 0},  {"0e99999", true, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        double value = 77;
        read_text(bytes_from_str(rows[i].text));
        ck_assert_msg(json_double(&reader, 0, &value) == rows[i].good, "%s", rows[i].text);
        ck_assert_double_eq(value, rows[i].good ? rows[i].value : 77);
    }
    char digits[513];
    double value;
    memset(digits, '0', sizeof(digits));
    memcpy(digits, "1.", 2);
    read_text(bytes_make(digits, 512));
    ck_assert(json_double(&reader, 0, &value) && value == 1.0);
    read_text(bytes_make(digits, 513));
    ck_assert(!json_double(&reader, 0, &value));
}
END_TEST

/* open, `count` times the item with commas between, close */
static struct bytes repeat(const char *open, const char *item, int count, const char *close) {
    buf_clear(&text_buf);
    buf_append_str(&text_buf, open);
    for (int i = 0; i < count; i++) {
        buf_append_str(&text_buf, i > 0 ? "," : "");
        buf_append_str(&text_buf, item);
    }
    buf_append_str(&text_buf, close);
    ck_assert(!text_buf.failed);
    return buf_bytes(&text_buf);
}

START_TEST(tokens_grow_and_are_kept) {
    READ("1");
    ck_assert_int_eq(reader.capacity, 256);
    read_text(repeat("[", "null", 256, "]"));
    ck_assert_int_eq(reader.capacity, 512);
    const struct json_token *tokens = reader.tokens;
    READ("1");
    ck_assert_ptr_eq(reader.tokens, tokens);
    read_text(repeat("[", "null", JSON_MAX_TOKENS - 1, "]"));
    ck_assert_int_eq(reader.capacity, JSON_MAX_TOKENS);
    ck_assert_int_eq(reader.count, JSON_MAX_TOKENS);
}
END_TEST

START_TEST(one_value_too_many_is_a_fault) {
    static const struct {
        const char *open, *item, *close;
        int fits; /* so many items make JSON_MAX_TOKENS values or one less */
    } rows[] = {
        {"[", "true", "]", JSON_MAX_TOKENS - 1},
        {"[", "[]", "]", JSON_MAX_TOKENS - 1},
        {"{", "\"k\":1", "}", (JSON_MAX_TOKENS - 1) / 2},
        {"[", "{\"k\":\"v\"}", "]", (JSON_MAX_TOKENS - 1) / 3},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        read_text(repeat(rows[i].open, rows[i].item, rows[i].fits, rows[i].close));
        ck_assert_int_eq(json_count(&reader, 0), rows[i].fits);
        struct bytes more = repeat(rows[i].open, rows[i].item, rows[i].fits + 1, rows[i].close);
        ck_assert_int_eq(json_validate(more, &fault), 0);
        ck_assert_int_eq(json_read(&reader, more, &fault), -1);
        ck_assert_str_eq(fault.reason, "too many values");
        ck_assert_uint_ge(fault.offset + strlen(rows[i].item) + 2, more.size);
    }
}
END_TEST

/* Where everything is, though jsmn did not see most of it. */
START_TEST(a_long_text_has_its_parts_in_place) {
    buf_clear(&text_buf);
    buf_append_str(&text_buf, "{\"a\" : \"");
    for (int i = 0; i < 20000; i++) {
        buf_append_str(&text_buf, i % 100 == 0 ? "\\\"" : "x");
    }
    buf_append_str(&text_buf, "\",\"n\":[ -1.5e3");
    for (int i = 0; i < 100000; i++) {
        buf_append_str(&text_buf, i % 3 == 0 ? " , 1" : ",2");
    }
    buf_append_str(&text_buf, " ],");
    for (int i = 0; i < 1000; i++) {
        buf_append_str(&text_buf, "\n\t");
    }
    buf_append_str(&text_buf, "\"few\":[1,2],\"mixed\":[");
    for (int i = 0; i < 100; i++) {
        buf_append_str(&text_buf, "7,");
    }
    buf_append_str(&text_buf, "null],\"e\":[],\"last\":\"z\"}");
    struct bytes text = buf_bytes(&text_buf);
    for (size_t budget = 1; budget < 200000; budget = budget * 3 + 1) {
        enum json_progress progress = JSON_MORE;
        unsigned steps = 0;
        ck_assert_int_eq(json_read_begin(&reader, text, &fault), 0);
        while (progress == JSON_MORE) {
            progress = json_read_step(&reader, budget, &fault);
            steps++;
        }
        ck_assert_int_eq(progress, JSON_DONE);
        ck_assert_uint_ge(steps, budget < 10000 ? 3 : 1);
        ck_assert_int_eq(json_count(&reader, 0), 6);
        struct bytes a = json_raw(&reader, json_get(&reader, 0, "a"));
        ck_assert_uint_eq(a.size, 20200);
        ck_assert(a.data == text.data + 8 && a.data[a.size] == '"');
        int numbers = json_get(&reader, 0, "n");
        ck_assert_int_eq(json_type(&reader, numbers), JSON_NUMBERS);
        ck_assert_int_eq(json_count(&reader, numbers), 0);
        ck_assert_int_eq(json_first(&reader, numbers), -1);
        ck_assert(bytes_start_with(json_raw(&reader, numbers), BYTES_LITERAL("[ -1.5e3 , 1,2,2")));
        ck_assert_int_eq(json_count(&reader, json_get(&reader, 0, "few")), 2);
        ck_assert_int_eq(json_count(&reader, json_get(&reader, 0, "mixed")), 101);
        ck_assert_int_eq(json_type(&reader, json_get(&reader, 0, "e")), JSON_ARRAY);
        ck_assert_bytes(json_raw(&reader, json_get(&reader, 0, "last")), "z");
    }
    ck_assert_int_eq(json_read(&reader, text, &fault), 0);
    ck_assert_bytes(json_raw(&reader, json_get(&reader, 0, "last")), "z");
}
END_TEST

/* The same fault at the same place, in one go and in steps; and a reading that is given up. */
START_TEST(a_fault_is_found_in_steps_too) {
    struct bytes text = repeat("[",
                               "\"a string that is long enough to be a part of the text that "
                               "nobody looks at\"",
                               1000, ",\"\x01\"]");
    struct json_fault whole;
    ck_assert_int_eq(json_read(&reader, text, &whole), -1);
    for (size_t budget = 1; budget < 100000; budget *= 7) {
        enum json_progress progress = JSON_MORE;
        ck_assert_int_eq(json_read_begin(&reader, text, &fault), 0);
        while (progress == JSON_MORE) {
            progress = json_read_step(&reader, budget, &fault);
        }
        ck_assert_int_eq(progress, JSON_WRONG);
        ck_assert_uint_eq(fault.offset, whole.offset);
        ck_assert_str_eq(fault.reason, whole.reason);
    }
    ck_assert_int_eq(json_read_begin(&reader, text, &fault), 0);
    ck_assert_int_eq(json_read_step(&reader, 100, &fault), JSON_MORE);
    READ("[1]");
    ck_assert_int_eq(json_read_begin(&reader, text, &fault), 0); /* the fixture ends this one */
}
END_TEST

/* What takes jsmn alone 8 seconds. The bound is structural: the fault stands at the 65,537th value
 * of 1.4 million, and no tokens were made for them. The time is printed. */
START_TEST(four_megabytes_of_brackets_stop_at_the_limit) {
    struct bytes text = repeat("[", "[]", 4 * 1024 * 1024 / 3, "]");
    double start = now_ms();
    ck_assert_int_eq(json_read(&reader, text, &fault), -1);
    printf("4 MB of [], through json_read: %.3f ms", now_ms() - start);
    ck_assert_str_eq(fault.reason, "too many values");
    ck_assert_uint_eq(fault.offset, 1 + 3 * (JSON_MAX_TOKENS - 1));
    ck_assert_int_eq(reader.capacity, 0);
    start = now_ms();
    ck_assert_int_eq(json_validate(text, &fault), 0);
    printf(", json_validate alone: %.3f ms\n", now_ms() - start);
}
END_TEST

START_TEST(a_hundred_thousand_levels_stop_at_the_limit) {
    buf_clear(&text_buf);
    for (int i = 0; i < 100000; i++) {
        buf_append_char(&text_buf, '[');
    }
    double start = now_ms();
    ck_assert_int_eq(json_read(&reader, buf_bytes(&text_buf), &fault), -1);
    printf("100,000 brackets through json_read: %.3f ms\n", now_ms() - start);
    ck_assert_uint_eq(fault.offset, JSON_MAX_DEPTH);
    ck_assert_int_eq(reader.capacity, 0);
}
END_TEST

/* The next sibling as its definition says: the first token behind this one's end, if it is still
 * inside the same container. `end` is where that container ends. */
static int next_by_offset(int item, size_t end) {
    struct bytes raw = json_raw(&reader, item);
    int value = json_member_value(&reader, item);
    if (value != -1) {
        raw = json_raw(&reader, value);
    }
    size_t item_end = (size_t)(raw.data - reader.text.data) + raw.size;
    int next = item + 1;
    while (next < reader.count && json_offset(&reader, next) < item_end) {
        next++;
    }
    return next < reader.count && json_offset(&reader, next) < end ? next : -1;
}

static void check_siblings(int container) {
    struct bytes raw = json_raw(&reader, container);
    size_t end = (size_t)(raw.data - reader.text.data) + raw.size;
    int count = 0;
    for (int item = json_first(&reader, container); item != -1; item = json_next(&reader, item)) {
        ck_assert_int_eq(json_next(&reader, item), next_by_offset(item, end));
        int value = json_member_value(&reader, item);
        if (value != -1) {
            ck_assert_int_eq(json_next(&reader, value), -1);
        }
        check_siblings(value != -1 ? value : item);
        count++;
    }
    ck_assert_int_eq(count, json_count(&reader, container));
}

/* A random array; seeded, so that a failure comes again. */
static void append_random_value(unsigned *seed, int depth) {
    int kind = rand_r(seed) % (depth == JSON_MAX_DEPTH ? 3 : 7);
    if (kind < 3) {
        buf_append_str(&text_buf, kind == 0 ? "0" : kind == 1 ? "\"s\"" : "null");
        return;
    }
    int items = rand_r(seed) % 4;
    bool object = kind % 2 == 0;
    buf_append_char(&text_buf, object ? '{' : '[');
    for (int i = 0; i < items; i++) {
        buf_append_str(&text_buf, i > 0 ? "," : "");
        buf_append_str(&text_buf, object ? "\"k\":" : "");
        append_random_value(seed, depth + 1);
    }
    buf_append_char(&text_buf, object ? '}' : ']');
}

START_TEST(siblings_are_what_the_offsets_say) {
    unsigned seed = 1;
    for (int i = 0; i < 3000; i++) {
        buf_clear(&text_buf);
        append_random_value(&seed, 0);
        read_text(buf_bytes(&text_buf));
        check_siblings(0);
    }
    /* the longest chain: 64 objects in each other */
    buf_clear(&text_buf);
    for (int i = 0; i < JSON_MAX_DEPTH; i++) {
        buf_append_str(&text_buf, "{\"k\":");
    }
    buf_append_str(&text_buf, "1");
    for (int i = 0; i < JSON_MAX_DEPTH; i++) {
        buf_append_str(&text_buf, ",\"l\":2}");
    }
    read_text(buf_bytes(&text_buf));
    check_siblings(0);
}
END_TEST

/* A step is constant in time: a wide document is walked 1,000 times here, 65 million steps, which
 * would be hours if a step cost the rest of the document. */
START_TEST(wide_documents_are_walked_in_linear_time) {
    read_text(repeat("[", "[[1],[2]]", (JSON_MAX_TOKENS - 1) / 5, "]"));
    double start = now_ms();
    long steps = 0;
    for (int round = 0; round < 1000; round++) {
        for (int item = json_first(&reader, 0); item != -1; item = json_next(&reader, item)) {
            steps++;
        }
    }
    ck_assert_int_eq(steps, 1000L * json_count(&reader, 0));
    read_text(repeat("[", "1", JSON_MAX_TOKENS - 1, "]"));
    for (int round = 0; round < 1000; round++) {
        for (int item = json_first(&reader, 0); item != -1; item = json_next(&reader, item)) {
            steps++;
        }
    }
    printf("%ld steps: %.1f ms\n", steps, now_ms() - start);
}
END_TEST

START_TEST(doubled_keys_are_found_decoded) {
    static const struct {
        const char *text;
        long offset; /* of the second key, or -1 */
    } rows[] = {
        {"{}", -1},
        {"{\"a\":1}", -1},
        {"1", -1},
        {"{\"a\":1,\"b\":2}", -1},
        {"{\"a\":1,\"a\":1}", 7},
        {"{\"a\":1,\"\\u0061\":2}", 7},
        {"{\"\\u0061\":1,\"a\":2}", 12},
        {"{\"\":1,\"\":2}", 6},
        {"{\"/\":1,\"\\/\":2}", 7},
        {"{\"\\ud83d\\ude00\":1,\"\xF0\x9F\x98\x80\":2}", 18},
        {"{\"a\":1,\"A\":2,\"a \":3,\"a\\u0000\":4}", -1},
        {"{\"a\":{\"a\":{\"a\":1}}}", -1},
        {"[{\"a\":1},{\"a\":1}]", -1},
        {"{\"b\":[{\"x\":{\"y\":1,\"z\":2,\"y\":3}}]}", 24},
        {"{\"a\":\"a\",\"b\":\"a\"}", -1},
        {"{\"j\":1,\"i\":1,\"h\":1,\"g\":1,\"f\":1,\"e\":1,\"d\":1,\"c\":1,\"b\":1,\"a\":1,\"j\":"
         "1}",
         61},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        read_text(bytes_from_str(rows[i].text));
        int key = json_find_doubled_key(&reader, &arena);
        long offset = key == -1 ? -1 : (long)json_offset(&reader, key);
        ck_assert_msg(offset == rows[i].offset, "%s: %ld", rows[i].text, offset);
    }
}
END_TEST

/* All sizes around the powers of two of the merges, keys in a shuffled order. */
START_TEST(members_are_sorted) {
    unsigned seed = 7;
    for (int count = 0; count <= 300; count++) {
        buf_clear(&text_buf);
        buf_append_char(&text_buf, '{');
        for (int i = 0; i < count; i++) {
            buf_printf(&text_buf, "%s\"%x\":%d", i > 0 ? "," : "",
                       (unsigned)rand_r(&seed) % (count * 2u), i);
        }
        buf_append_char(&text_buf, '}');
        read_text(buf_bytes(&text_buf));
        const struct json_member *members = json_sorted_members(&reader, 0, &arena);
        ck_assert_ptr_nonnull(members);
        bool doubled = false;
        long sum = 0;
        for (int i = 0; i < count; i++) {
            ck_assert(json_string_equals(&reader, members[i].key, members[i].name));
            sum += members[i].key;
            if (i > 0) {
                int order = bytes_compare(members[i - 1].name, members[i].name);
                ck_assert_int_le(order, 0);
                ck_assert(order < 0 || members[i - 1].key < members[i].key);
                doubled = doubled || order == 0;
            }
        }
        ck_assert_int_eq(sum, (long)count * count); /* keys are the tokens 1, 3, 5, ... */
        ck_assert_int_eq(json_find_doubled_key(&reader, &arena) != -1, doubled);
        arena_reset(&arena);
    }
}
END_TEST

/* 32,767 keys that differ only at their end, in the order that is worst for a naive quicksort. */
START_TEST(many_keys_are_sorted_and_bounded) {
    int count = (JSON_MAX_TOKENS - 1) / 2;
    buf_clear(&text_buf);
    buf_append_char(&text_buf, '{');
    for (int i = 0; i < count; i++) {
        buf_printf(&text_buf, "%s\"key that is quite long %08d\":%d", i > 0 ? "," : "", count - i,
                   i);
    }
    buf_append_char(&text_buf, '}');
    read_text(buf_bytes(&text_buf));
    double start = now_ms();
    ck_assert_int_eq(json_find_doubled_key(&reader, &arena), -1);
    printf("%d keys: %.1f ms, %zu bytes of arena\n", count, now_ms() - start, arena.used);
    ck_assert_uint_le(arena.used, (size_t)count * 2 * sizeof(struct json_member) + 64);
    struct arena small;
    arena_init(&small, 4096, 4096);
    ck_assert_int_eq(json_find_doubled_key(&reader, &small), -2);
    ck_assert_ptr_null(json_sorted_members(&reader, 0, &small));
    arena_fini(&small);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("json_read");
    TCase *values = tcase_create("values");
    tcase_add_checked_fixture(values, set_up, tear_down);
    tcase_add_test(values, a_scalar_may_be_the_whole_text);
    tcase_add_test(values, a_document_is_walked);
    tcase_add_test(values, no_such_value_is_accepted_everywhere);
    tcase_add_test(values, a_fault_leaves_no_tokens);
    tcase_add_test(values, strings_are_decoded);
    tcase_add_test(values, members_are_found_by_decoded_name);
    tcase_add_test(values, integers_are_exact);
    tcase_add_test(values, doubles_are_finite);
    suite_add_tcase(suite, values);
    TCase *bounds = tcase_create("bounds");
    tcase_add_checked_fixture(bounds, set_up, tear_down);
    tcase_set_timeout(bounds, 60);
    tcase_add_test(bounds, tokens_grow_and_are_kept);
    tcase_add_test(bounds, one_value_too_many_is_a_fault);
    tcase_add_test(bounds, a_long_text_has_its_parts_in_place);
    tcase_add_test(bounds, a_fault_is_found_in_steps_too);
    tcase_add_test(bounds, four_megabytes_of_brackets_stop_at_the_limit);
    tcase_add_test(bounds, a_hundred_thousand_levels_stop_at_the_limit);
    tcase_add_test(bounds, siblings_are_what_the_offsets_say);
    tcase_add_test(bounds, wide_documents_are_walked_in_linear_time);
    suite_add_tcase(suite, bounds);
    TCase *keys = tcase_create("keys");
    tcase_add_checked_fixture(keys, set_up, tear_down);
    tcase_add_test(keys, doubled_keys_are_found_decoded);
    tcase_add_test(keys, members_are_sorted);
    tcase_add_test(keys, many_keys_are_sorted_and_bounded);
    suite_add_tcase(suite, keys);
    return suite;
}

UNIT_MAIN(make_suite)
