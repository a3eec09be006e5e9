/* test_conf_tree: hostile and broken YAML: refused at a position, quickly, and never a crash.
 */
#include "config.h"

#include <ctype.h>

#include <time.h>

#include "base/clock.h"
#include "conf_unit.h"

START_TEST(refused_yaml) {
    static const struct {
        const char *text;
        const char *lines;
    } cases[] = {
        {"a: &x 1\n", "f:1:4: anchors (&name) are not allowed\n"},
        {"a: &x {b: *x}\n", "f:1:4: anchors (&name) are not allowed\n"},
        {"a: *x\n", "f:1:4: aliases (*name) are not allowed\n"},
        {"a: &a [*a, *a]\n", "f:1:4: anchors (&name) are not allowed\n"},
        {"a: !!str 1\n", "f:1:4: tags (!name) are not allowed\n"},
        {"a: !x [1]\n", "f:1:4: tags (!name) are not allowed\n"},
        {"a: ! 1\n", "f:1:4: tags (!name) are not allowed\n"},
        {"--- {}\n--- {}\n", "f:2:1: a second document begins here\n"},
        {"[a]: 1\n", "f:1:1: a key must be a single word, not a list or a mapping\n"},
        {"? {a: b}\n: 1\n", "f:1:3: a key must be a single word, not a list or a mapping\n"},
        {"a: [1, 2\n",
         "f:2:1: did not find expected ',' or ']' while parsing a flow sequence that begins in "
         "line 1\n"},
        {"a: 'x\n\n",
         "f:3:1: found unexpected end of stream while scanning a quoted scalar that begins in "
         "line 1\n"},
        {"cache:\n\tsize: 1\n", "f:2:1: a tab stands here; YAML is indented with blanks\n"},
        {"# \xc3\xa9\ncache:\n  \tsize: 1\n",
         "f:3:3: a tab stands here; YAML is indented with blanks\n"},
        {"a: [\xc3\xa9,\t@]\n",
         "f:1:8: found character that cannot start any token while scanning for the next token "
         "that begins in line 1\n"},
        {"workers: 1\n  user: x\n", "f:2:7: mapping values are not allowed in this context\n"},
        {"a: \x01\n", "f:1:4: control characters are not allowed\n"},
        {"workers: 1\na: \xff\n", "f:2:4: invalid leading UTF-8 octet\n"},
        {"\xff\xfe"
         "a",
         "f:1:1: invalid leading UTF-8 octet\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_errors(cases[i].text, cases[i].lines);
    }
}
END_TEST

static int64_t cpu_ns(void) {
    struct timespec used;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * NS_PER_S + used.tv_nsec;
}

/* Loads in ten seconds of work, however long the machine is busy with others (measured: some
 * milliseconds; a square of the size would be minutes); what comes out is the caller's to judge. */
static struct conf *load_quickly(const char *what, struct bytes text, struct conf_errors *errors) {
    int64_t start = cpu_ns();
    struct conf *conf = conf_load_text("f", text, errors);
    int64_t spent = cpu_ns() - start;
    ck_assert_msg(spent < 10 * NS_PER_S, "%.20s: %lld us", what, (long long)(spent / NS_PER_US));
    return conf;
}

START_TEST(repeated_pieces) {
    static const char *const pieces[] = {
        "[",       "{",    "{a: ",   "- ",       "? ",  "? a\n",   "a: {",
        "\"",      "'",    "a: 1\n", "a\n",      "!",   "&a ",     "*a ",
        "|\n",     "# \n", "%Y 1\n", "---\n",    "\t",  "\\",      "a: b ",
        ",",       "]",    ": ",     "- a\n",    "[],", "${A}",    "{? a : b, ",
        "\"\\x41", "- - ", "a:\n ",  "\xc3\xa9", "@",   "- {a: \n"};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct buf text;
        struct conf_errors errors;
        buf_init(&text, 0);
        conf_errors_init(&errors);
        while (text.size + strlen(pieces[i]) <= CONF_MAX_FILE_BYTES) {
            buf_append_str(&text, pieces[i]);
        }
        struct conf *conf = load_quickly(pieces[i], buf_bytes(&text), &errors);
        ck_assert((conf == NULL) == (errors.count > 0));
        conf_free(conf);
        conf_errors_fini(&errors);
        buf_free(&text);
    }
}
END_TEST

START_TEST(deep_brackets) {
    static const char *const kinds[] = {"[", "{", "{a: ", "- "};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct buf text;
        struct conf_errors errors;
        buf_init(&text, 0);
        conf_errors_init(&errors);
        for (unsigned j = 0; j < 10000; j++) {
            buf_append_str(&text, kinds[i]);
        }
        ck_assert_ptr_null(load_quickly(kinds[i], buf_bytes(&text), &errors));
        ck_assert_uint_eq(errors.count, 1);
        conf_errors_fini(&errors);
        buf_free(&text);
    }
    expect_errors("[[[[[[[[[[[[[[[[[", "f:1:17: nested too deeply\n");
}
END_TEST

START_TEST(billion_laughs) {
    struct buf text;
    struct conf_errors errors;
    buf_init(&text, 0);
    conf_errors_init(&errors);
    buf_append_str(&text, "a0: &a0 [lol]\n");
    for (unsigned i = 1; i < 40; i++) {
        buf_printf(&text, "a%u: &a%u [*a%u, *a%u]\n", i, i, i - 1, i - 1);
    }
    ck_assert_ptr_null(load_quickly("laughs", buf_bytes(&text), &errors));
    conf_errors_fini(&errors);
    buf_free(&text);
}
END_TEST

/* "f:LINE:COLUMN: reason" */
static bool has_position(struct bytes line) {
    size_t at = 2;
    unsigned numbers = 0;
    if (!bytes_start_with(line, BYTES_LITERAL("f:"))) {
        return false;
    }
    for (; numbers < 2; numbers++) {
        size_t start = at;
        while (at < line.size && isdigit((unsigned char)line.data[at])) {
            at++;
        }
        if (at == start || at >= line.size || line.data[at] != ':' || line.data[start] == '0') {
            return false;
        }
        at++;
    }
    return at + 1 < line.size && line.data[at] == ' ';
}

START_TEST(truncated_anywhere) {
    struct buf text;
    unsigned good = 0;
    read_source_file("etc/optiroute.yaml", &text);
    for (size_t size = 0; size < text.size; size++) {
        struct conf_errors errors;
        conf_errors_init(&errors);
        char *exact = malloc(size); /* so that a sanitizer sees the first byte read too many */
        memcpy(exact, text.data, size);
        struct conf *conf = conf_load_text("f", bytes_make(exact, size), &errors);
        ck_assert((conf == NULL) == (errors.count > 0));
        ck_assert_msg(conf != NULL || has_position(buf_bytes(&errors.lines)), "%zu: %.*s", size,
                      (int)errors.lines.size, errors.lines.data);
        good += conf != NULL;
        free(exact);
        conf_free(conf);
        conf_errors_fini(&errors);
    }
    ck_assert_uint_gt(good, 100); /* within comments, for one */
    buf_free(&text);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("conf_tree");
    TCase *tcase = tcase_create("hostile");
    tcase_set_timeout(tcase, 120); /* sanitizers; plain it takes a second */
    tcase_add_test(tcase, refused_yaml);
    tcase_add_test(tcase, repeated_pieces);
    tcase_add_test(tcase, deep_brackets);
    tcase_add_test(tcase, billion_laughs);
    tcase_add_test(tcase, truncated_anywhere);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
