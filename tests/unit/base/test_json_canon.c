/* The canonical form: a table of what it looks like, and a property over random documents: a text
 * that means the same gives the same form, a text that means anything else gives another. */
#include "base/json_canon.h"

#include <stdio.h>

#include "base/json_write.h"
#include "base/text.h"
#include "unit.h"

static struct json_reader reader;
static struct arena scratch; /* of json_canon; reset each time */
static struct arena arena;   /* of the random trees */

static void set_up(void) {
    json_reader_init(&reader);
    arena_init(&scratch, 16384, (size_t)64 << 20);
    arena_init(&arena, 16384, (size_t)64 << 20);
}

static void tear_down(void) {
    json_reader_fini(&reader);
    arena_fini(&scratch);
    arena_fini(&arena);
}

static enum json_canon_result make_canon(struct bytes text, struct buf *out, size_t *offset) {
    struct json_fault fault;
    arena_reset(&scratch);
    buf_clear(out);
    ck_assert_msg(json_read(&reader, text, &fault) == 0, "%zu: %s in %.*s", fault.offset,
                  fault.reason, (int)text.size, text.data);
    return json_canon(&reader, 0, &scratch, out, offset);
}

START_TEST(the_form_is_as_documented) {
    static const struct {
        const char *text;
        const char *canon;
    } rows[] = {
        {" 1 ", "1"},
        {"1.0", "1.0"},
        {"-0", "-0"},
        {"1E+05", "1E+05"},
        {"\ttrue", "true"},
        {"[ ]", "[]"},
        {"{ }", "{}"},
        {"[ 3 , 1 ,2 ]", "[3,1,2]"},
        {"{\"b\":1,\"a\":2}", "{\"a\":2,\"b\":1}"},
        {"{\"b\":{\"d\":[{\"f\":1,\"e\":2}],\"c\":3},\"a\":[]}",
         "{\"a\":[],\"b\":{\"c\":3,\"d\":[{\"e\":2,\"f\":1}]}}"},
        /* by decoded bytes: capitals first, a prefix first, U+FFFF before U+10000 */
        {"{\"a\":1,\"B\":2,\"\":3,\"aa\":4}", "{\"\":3,\"B\":2,\"a\":1,\"aa\":4}"},
        {"{\"\\ud800\\udc00\":1,\"\\uffff\":2}", "{\"\xEF\xBF\xBF\":2,\"\xF0\x90\x80\x80\":1}"},
        {"{\"\\u0062\":1,\"a\":2}", "{\"a\":2,\"b\":1}"},
        /* strings as short as they go */
        {"\"\\u0041\\/\\u00e9\\u0022\\u005C\"", "\"A/\xC3\xA9\\\"\\\\\""},
        {"\"\\u000a\\u0008\\u001F\\u0000\\u007f\"", "\"\\n\\b\\u001f\\u0000\x7F\""},
        {"{\"\\u000a\":1}", "{\"\\n\":1}"},
    };
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t offset;
        ck_assert_int_eq(make_canon(bytes_from_str(rows[i].text), &out, &offset), JSON_CANON_OK);
        ck_assert_msg(bytes_equal_str(buf_bytes(&out), rows[i].canon), "%.*s", (int)out.size,
                      out.data);
    }
    buf_free(&out);
}
END_TEST

START_TEST(a_part_is_appended) {
    struct buf out;
    struct json_fault fault;
    size_t offset;
    buf_init(&out, 0);
    buf_append_str(&out, "before ");
    ck_assert_int_eq(json_read(&reader, BYTES_LITERAL("[0, {\"b\":1, \"a\":2}, 3]"), &fault), 0);
    int second = json_next(&reader, json_first(&reader, 0));
    ck_assert_int_eq(json_canon(&reader, second, &scratch, &out, &offset), JSON_CANON_OK);
    ck_assert(bytes_equal_str(buf_bytes(&out), "before {\"a\":2,\"b\":1}"));
    buf_free(&out);
}
END_TEST

START_TEST(doubled_keys_are_refused) {
    static const struct {
        const char *text;
        size_t offset;
    } rows[] = {
        {"{\"a\":1,\"a\":1}", 7},
        {"{\"b\":1,\"a\":1,\"b\":2}", 13},
        {"[{\"a\":[{\"\\u0061\":1,\"a\":2}]}]", 19},
        {"{\"\":1,\"\":2}", 6},
    };
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t offset = 0;
        ck_assert_int_eq(make_canon(bytes_from_str(rows[i].text), &out, &offset),
                         JSON_CANON_DOUBLED_KEY);
        ck_assert_uint_eq(offset, rows[i].offset);
    }
    buf_free(&out);
}
END_TEST

START_TEST(lack_of_memory_is_told) {
    static const char text[] = "{\"b\":[\"a \\u0041 long enough string \\n\"],\"a\":{\"c\":1}}";
    struct json_fault fault;
    size_t offset;
    struct buf out;
    bool succeeded = false;
    ck_assert_int_eq(json_read(&reader, BYTES_LITERAL(text), &fault), 0);
    for (size_t limit = 0; limit < 1024; limit += 8) {
        struct arena small;
        arena_init(&small, 16, limit);
        buf_init(&out, 0);
        enum json_canon_result result = json_canon(&reader, 0, &small, &out, &offset);
        ck_assert(result == JSON_CANON_OK || (result == JSON_CANON_NO_MEMORY && !succeeded));
        succeeded = result == JSON_CANON_OK;
        buf_free(&out);
        arena_fini(&small);
    }
    ck_assert(succeeded);
    char room[16];
    buf_init_fixed(&out, room, sizeof(room));
    ck_assert_int_eq(json_canon(&reader, 0, &scratch, &out, &offset), JSON_CANON_NO_MEMORY);
}
END_TEST

START_TEST(the_deepest_document_has_a_form) {
    char text[8 * JSON_MAX_DEPTH];
    struct buf out;
    size_t offset;
    size_t size = 0;
    for (int i = 0; i < JSON_MAX_DEPTH; i++) {
        memcpy(text + size, i % 2 == 0 ? "{\"\":" : "[", i % 2 == 0 ? 4 : 1);
        size += i % 2 == 0 ? 4 : 1;
    }
    text[size++] = '0';
    for (int i = JSON_MAX_DEPTH - 1; i >= 0; i--) {
        text[size++] = i % 2 == 0 ? '}' : ']';
    }
    buf_init(&out, 0);
    ck_assert_int_eq(make_canon(bytes_make(text, size), &out, &offset), JSON_CANON_OK);
    ck_assert(bytes_equal(buf_bytes(&out), bytes_make(text, size)));
    buf_free(&out);
}
END_TEST

/* ---- the property ---- */

#define MAX_ITEMS 6

/* A random document as a tree. */
struct node {
    enum json_type type;
    struct bytes text; /* decoded string, or a number's or word's spelling */
    int length;        /* JSON_NUMBERS: of them */
    int count;
    struct bytes names[MAX_ITEMS]; /* of an object: decoded, all different */
    struct node *items[MAX_ITEMS];
};

static unsigned seed;

static int below(int bound) {
    return rand_r(&seed) % bound;
}

static bool long_values; /* now and then a string or an array of numbers that is long */

static struct bytes random_text(void) {
    static const char *const pieces[] = {
        "a", "b",  "Z",    "0",        " ",    "\"", "\\",
        "/", "\n", "\x01", "\xC3\xA9", "\x7F", "{,", "\xF0\x9F\x98\x80"};
    struct buf text;
    buf_init(&text, 0);
    for (int i = below(6); i > 0; i--) {
        buf_append_str(&text, pieces[below(sizeof(pieces) / sizeof(pieces[0]))]);
        if (below(12) == 0) {
            buf_append_char(&text, '\0');
        }
    }
    for (int i = long_values && below(4) == 0 ? 50 + below(50) : 0; i > 0; i--) {
        buf_append_char(&text, 'x');
    }
    struct bytes copy = arena_copy(&arena, buf_bytes(&text));
    buf_free(&text);
    return copy;
}

static bool has_name(const struct node *node, struct bytes name) {
    for (int i = 0; i < node->count; i++) {
        if (bytes_equal(node->names[i], name)) {
            return true;
        }
    }
    return false;
}

static struct node *random_tree(int depth) {
    static const char *const numbers[] = {
        "0", "-0", "1", "1.0", "1e0", "-17.50", "123456789012345"};
    static const enum json_type types[] = {JSON_NUMBER, JSON_STRING, JSON_TRUE,
                                           JSON_FALSE,  JSON_NULL,   JSON_ARRAY,
                                           JSON_OBJECT, JSON_ARRAY,  JSON_OBJECT};
    struct node *node = arena_calloc(&arena, 1, sizeof(*node));
    node->type = types[below(depth >= 4 ? 5 : 9)];
    if (depth == 0) {
        node->type = below(4) == 0 ? JSON_ARRAY : JSON_OBJECT;
    }
    if (long_values && depth > 0 && below(8) == 0) {
        node->type = JSON_NUMBERS;
        node->count = 0;
        node->length = 50 + below(50);
    } else if (node->type == JSON_NUMBER) {
        node->text = bytes_from_str(numbers[below(sizeof(numbers) / sizeof(numbers[0]))]);
    } else if (node->type == JSON_STRING) {
        node->text = random_text();
    } else if (node->type == JSON_ARRAY || node->type == JSON_OBJECT) {
        for (int i = below(MAX_ITEMS + 1); i > 0; i--) {
            struct bytes name = random_text();
            if (node->type == JSON_OBJECT && has_name(node, name)) {
                continue;
            }
            node->names[node->count] = name;
            node->items[node->count++] = random_tree(depth + 1);
        }
    }
    return node;
}

static void print_blanks(struct buf *out, bool plain) {
    while (!plain && below(4) == 0) {
        buf_append_char(out, " \t\r\n"[below(4)]);
    }
}

/* One spelling of the string: minimal when plain, else each character in any form that is allowed.
 */
static void print_string(struct buf *out, struct bytes text, bool plain) {
    buf_append_char(out, '"');
    for (size_t at = 0; at < text.size && !plain;) {
        size_t from = at;
        uint32_t cp = text_utf8_next(text, &at);
        if (below(3) != 0) {
            json_escape(out, bytes_make(text.data + from, at - from));
        } else if (cp == '/' && below(2) == 0) {
            buf_append_str(out, "\\/");
        } else if (cp >= 0x10000) {
            buf_printf(out, below(2) == 0 ? "\\u%04X\\u%04X" : "\\u%04x\\u%04x",
                       0xD800 + ((cp - 0x10000) >> 10), 0xDC00 + ((cp - 0x10000) & 0x3FF));
        } else {
            buf_printf(out, below(2) == 0 ? "\\u%04X" : "\\u%04x", cp);
        }
    }
    if (plain) {
        json_escape(out, text);
    }
    buf_append_char(out, '"');
}

/* The tree as text: plain, or with members in any order, blanks, and strings in any spelling. */
static void print_tree(struct buf *out, const struct node *node, bool plain) {
    static const char *const words[] = {
        [JSON_TRUE] = "true", [JSON_FALSE] = "false", [JSON_NULL] = "null"};
    print_blanks(out, plain);
    if (node->type == JSON_STRING) {
        print_string(out, node->text, plain);
    } else if (node->type == JSON_NUMBER) {
        buf_append_bytes(out, node->text);
    } else if (node->type == JSON_NUMBERS) {
        buf_append_char(out, '[');
        for (int i = 0; i < node->length; i++) {
            print_blanks(out, plain);
            buf_printf(out, i == 0 ? "%d" : ",%d", i);
        }
        print_blanks(out, plain);
        buf_append_char(out, ']');
    } else if (node->type != JSON_ARRAY && node->type != JSON_OBJECT) {
        buf_append_str(out, words[node->type]);
    } else {
        bool object = node->type == JSON_OBJECT;
        int order[MAX_ITEMS];
        for (int i = 0; i < node->count; i++) {
            int other = object && !plain ? below(i + 1) : i;
            order[i] = order[other];
            order[other] = i;
        }
        buf_append_char(out, object ? '{' : '[');
        for (int i = 0; i < node->count; i++) {
            buf_append_str(out, i > 0 ? "," : "");
            if (object) {
                print_blanks(out, plain);
                print_string(out, node->names[order[i]], plain);
                print_blanks(out, plain);
                buf_append_char(out, ':');
            }
            print_tree(out, node->items[order[i]], plain);
        }
        print_blanks(out, plain);
        buf_append_char(out, object ? '}' : ']');
    }
    print_blanks(out, plain);
}

static struct node *random_descendant(struct node *node) {
    while (node->count > 0 && below(4) != 0) {
        node = node->items[below(node->count)];
    }
    return node;
}

static struct bytes with_suffix(struct bytes text, const char *suffix) {
    struct buf longer;
    buf_init(&longer, 0);
    buf_append_bytes(&longer, text);
    buf_append_str(&longer, suffix);
    struct bytes copy = arena_copy(&arena, buf_bytes(&longer));
    buf_free(&longer);
    return copy;
}

static bool same_text(const struct node *a, const struct node *b) {
    struct buf texts[2];
    buf_init(&texts[0], 0);
    buf_init(&texts[1], 0);
    print_tree(&texts[0], a, true);
    print_tree(&texts[1], b, true);
    bool same = bytes_equal(buf_bytes(&texts[0]), buf_bytes(&texts[1]));
    buf_free(&texts[0]);
    buf_free(&texts[1]);
    return same;
}

static void change_container(struct node *node) {
    int at = node->count > 0 ? below(node->count) : 0;
    if (node->count == 0) {
        node->type = node->type == JSON_ARRAY ? JSON_OBJECT : JSON_ARRAY;
    } else if (node->type == JSON_OBJECT && below(2) == 0) {
        node->names[at] = with_suffix(node->names[at], "~"); /* no name has a tilde */
    } else if (node->type == JSON_ARRAY && at > 0 &&
               !same_text(node->items[at - 1], node->items[at])) {
        struct node *moved = node->items[at];
        node->items[at] = node->items[at - 1];
        node->items[at - 1] = moved;
    } else {
        node->count--; /* the last one goes */
    }
}

/* Changes what the document means at one place: a value, a spelling, an order, a name. */
static void change_one(struct node *root) {
    struct node *node = random_descendant(root);
    switch (node->type) {
    case JSON_NUMBER:
        node->text = with_suffix(node->text, below(2) == 0 ? "1" : "e0");
        if (bytes_start_with(node->text, BYTES_LITERAL("0")) ||
            bytes_start_with(node->text, BYTES_LITERAL("-0")) ||
            bytes_find(node->text, 'e') < node->text.size) {
            node->text = BYTES_LITERAL("2.5E7"); /* of none of the spellings above */
        }
        break;
    case JSON_STRING:
        if (below(4) == 0) {
            node->type = JSON_NULL;
        } else {
            node->text = with_suffix(node->text, below(2) == 0 ? "a" : "\xC3\xA9");
        }
        break;
    case JSON_TRUE:
        node->type = JSON_FALSE;
        break;
    case JSON_FALSE:
        node->type = JSON_NULL;
        break;
    case JSON_NULL:
        node->type = JSON_STRING;
        node->text = BYTES_LITERAL("null");
        break;
    default:
        change_container(node);
        break;
    }
}

START_TEST(equal_meaning_and_equal_form_are_the_same) {
    struct buf text;
    struct buf canon;
    struct buf other;
    size_t offset;
    size_t bytes = 0;
    unsigned respelled = 0;
    buf_init(&text, 0);
    buf_init(&canon, 0);
    buf_init(&other, 0);
    seed = 20240607;
    for (int i = 0; i < 20000; i++) {
        arena_reset(&arena);
        struct node *tree = random_tree(0);
        buf_clear(&text);
        print_tree(&text, tree, true);
        ck_assert_int_eq(make_canon(buf_bytes(&text), &canon, &offset), JSON_CANON_OK);
        bytes += canon.size;
        for (int spelling = 0; spelling < 2; spelling++) {
            buf_clear(&text);
            print_tree(&text, tree, false);
            respelled += !bytes_equal(buf_bytes(&text), buf_bytes(&canon));
            ck_assert_int_eq(make_canon(buf_bytes(&text), &other, &offset), JSON_CANON_OK);
            ck_assert_msg(bytes_equal(buf_bytes(&other), buf_bytes(&canon)),
                          "%.*s\nnow\n%.*s\nfrom\n%.*s", (int)canon.size, canon.data,
                          (int)other.size, other.data, (int)text.size, text.data);
        }
        ck_assert_int_eq(make_canon(buf_bytes(&canon), &other, &offset), JSON_CANON_OK);
        ck_assert(bytes_equal(buf_bytes(&other), buf_bytes(&canon)));
        change_one(tree);
        buf_clear(&text);
        print_tree(&text, tree, false);
        ck_assert_int_eq(make_canon(buf_bytes(&text), &other, &offset), JSON_CANON_OK);
        ck_assert_msg(!bytes_equal(buf_bytes(&other), buf_bytes(&canon)), "%.*s\nfrom\n%.*s",
                      (int)canon.size, canon.data, (int)text.size, text.data);
    }
    ck_assert_uint_gt(respelled, 30000); /* of 40,000: the printer does vary */
    printf("20,000 documents, %zu bytes each on average\n", bytes / 20000);
    buf_free(&text);
    buf_free(&canon);
    buf_free(&other);
}
END_TEST

/* A text is read in another way when it is long, and in steps; its form is that of the short one.
 */
START_TEST(a_long_text_has_the_form_of_a_short_one) {
    struct buf text, canon, other;
    struct json_fault fault;
    size_t offset;
    buf_init(&text, 0);
    buf_init(&canon, 0);
    buf_init(&other, 0);
    seed = 20261127;
    long_values = true;
    unsigned is_short = 0;
    for (int i = 0; i < 4000; i++) {
        arena_reset(&arena);
        struct node *tree = random_tree(0);
        buf_clear(&text);
        print_tree(&text, tree, true);
        is_short += text.size < JSON_LONG_TEXT;
        ck_assert_int_eq(make_canon(buf_bytes(&text), &canon, &offset), JSON_CANON_OK);
        buf_clear(&text);
        for (int j = 0; j < JSON_LONG_TEXT; j++) {
            buf_append_char(&text, ' ');
        }
        print_tree(&text, tree, false);
        size_t budget = (size_t)(1 + below(300));
        enum json_progress progress = JSON_MORE;
        ck_assert_int_eq(json_read_begin(&reader, buf_bytes(&text), &fault), 0);
        while (progress == JSON_MORE) {
            progress = json_read_step(&reader, budget, &fault);
        }
        ck_assert_int_eq(progress, JSON_DONE);
        arena_reset(&scratch);
        buf_clear(&other);
        ck_assert_int_eq(json_canon(&reader, 0, &scratch, &other, &offset), JSON_CANON_OK);
        ck_assert_msg(bytes_equal(buf_bytes(&other), buf_bytes(&canon)), "%.*s\nnow\n%.*s",
                      (int)canon.size, canon.data, (int)other.size, other.data);
    }
    ck_assert_uint_gt(is_short, 3900);
    long_values = false;
    buf_free(&text);
    buf_free(&canon);
    buf_free(&other);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("json_canon");
    TCase *form = tcase_create("form");
    tcase_add_checked_fixture(form, set_up, tear_down);
    tcase_add_test(form, the_form_is_as_documented);
    tcase_add_test(form, a_part_is_appended);
    tcase_add_test(form, doubled_keys_are_refused);
    tcase_add_test(form, lack_of_memory_is_told);
    tcase_add_test(form, the_deepest_document_has_a_form);
    suite_add_tcase(suite, form);
    TCase *property = tcase_create("property");
    tcase_add_checked_fixture(property, set_up, tear_down);
    tcase_set_timeout(property, 120);
    tcase_add_test(property, equal_meaning_and_equal_form_are_the_same);
    tcase_add_test(property, a_long_text_has_the_form_of_a_short_one);
    suite_add_tcase(suite, property);
    return suite;
}

UNIT_MAIN(make_suite)
