/* merge: one JSON value out of deltas. */
#include "config.h"

#include "upstream_test.h"

#include <stdio.h>

#include "../../../src/upstream/merge.h"

static struct merge merge;
static struct merge_node *root;
static struct buf out;

static void setup(void) {
    documents_open();
    buf_init(&out, 0);
    merge = (struct merge){.arena = &arena};
    root = merge_new(&merge, MERGE_NULL);
}

static void teardown(void) {
    buf_free(&out);
    documents_close();
}

static void add(const char *json, enum merge_mode mode) {
    read_json(js(json));
    merge_value(&merge, root, &reader, 0, mode);
}

static struct bytes written(void) {
    buf_clear(&out);
    merge_write(&merge, root, &out);
    ck_assert(!out.failed);
    return buf_bytes(&out);
}

/* -- values -------------------------------------------------------------------------------------
 */

static const struct golden {
    enum merge_mode mode;
    const char *deltas[5], *whole;
} goldens[] = {
    /* strings are continued in a delta, inside of anything */
    {MERGE_DELTA,
     {"{'a':'x'}", "{'a':'y','b':{'c':'1'}}", "{'b':{'c':'2'}}"},
     "{'a':'xy','b':{'c':'12'}}"},
    {MERGE_DELTA, {"'x'", "''", "'y'"}, "'xy'"},
    /* and elsewhere the last one counts */
    {MERGE_LAST, {"{'a':'x'}", "{'a':'y'}"}, "{'a':'y'}"},
    {MERGE_LAST, {"{'a':{'b':'x','c':1}}", "{'a':{'b':'y'}}"}, "{'a':{'b':'y','c':1}}"},
    /* names of things are never continued, however often they come */
    {MERGE_DELTA,
     {"{'role':'assistant','type':'t','id':'1','name':'n','object':'o','format':'f'}",
      "{'role':'assistant','type':'t','id':'1','name':'n','object':'o','format':'f'}"},
     "{'role':'assistant','type':'t','id':'1','name':'n','object':'o','format':'f'}"},
    /* nor taken back */
    {MERGE_DELTA,
     {"{'role':'assistant','id':'1','name':'n','o':{'type':'t'}}",
      "{'role':'','id':'','name':'','o':{'type':''}}"},
     "{'role':'assistant','id':'1','name':'n','o':{'type':'t'}}"},
    {MERGE_LAST, {"{'a':''}", "{'a':'x','b':''}", "{'a':''}"}, "{'a':'x','b':''}"},
    {MERGE_WHOLE, {"{'a':'x'}", "{'a':''}"}, "{'a':''}"},
    /* numbers and words are not joined */
    {MERGE_DELTA, {"{'a':1,'b':true}", "{'a':2.50,'b':false}"}, "{'a':2.50,'b':false}"},
    /* null changes nothing, but the member is there */
    {MERGE_DELTA, {"{'a':null,'b':'x'}", "{'b':null}", "{'a':'y'}"}, "{'a':'y','b':'x'}"},
    {MERGE_DELTA, {"{'a':null}", "{'a':null}"}, "{'a':null}"},
    {MERGE_DELTA, {"null"}, "null"},
    /* elements with an index meet by it, in whatever order */
    {MERGE_DELTA,
     {"{'c':[{'index':0,'f':{'a':'{'}}]}",
      "{'c':[{'index':1,'f':{'a':'['}},{'index':0,'f':{'a':'1}'}}]}",
      "{'c':[{'index':1,'f':{'a':']'}}]}"},
     "{'c':[{'index':0,'f':{'a':'{1}'}},{'index':1,'f':{'a':'[]'}}]}"},
    /* others are appended */
    {MERGE_DELTA,
     {"{'l':[{'t':'a'}]}", "{'l':[{'t':'b'},{'t':'c'}]}", "{'l':[]}"},
     "{'l':[{'t':'a'},{'t':'b'},{'t':'c'}]}"},
    {MERGE_LAST, {"[1,[2]]", "['3',null]"}, "[1,[2],'3',null]"},
    {MERGE_WHOLE,
     {"{'l':[1,2],'o':{'a':[1],'b':1}}", "{'l':[3],'o':{'a':[2]}}", "{'l':null}"},
     "{'l':[3],'o':{'a':[2],'b':1}}"},
    /* an index that is none does not make two one */
    {MERGE_DELTA,
     {"[{'index':'0','a':'x'}]", "[{'index':-1,'a':'y'}]", "[{'index':0.5,'a':'z'}]"},
     "[{'index':'0','a':'x'},{'index':-1,'a':'y'},{'index':0.5,'a':'z'}]"},
    /* a value that changes its kind is the new one */
    {MERGE_DELTA, {"{'a':'x'}", "{'a':{'b':1}}"}, "{'a':{'b':1}}"},
    {MERGE_DELTA, {"{'a':{'b':1}}", "{'a':'x'}", "{'a':'y'}"}, "{'a':'xy'}"},
    {MERGE_DELTA, {"{'a':[1]}", "{'a':{'b':1}}", "{'a':[2]}"}, "{'a':[2]}"},
    {MERGE_DELTA, {"{'a':7}", "{'a':'x'}"}, "{'a':'x'}"},
    /* escapes stay what they are, also those that stand at a seam */
    {MERGE_DELTA,
     {"'\\\\\\u0041'", "'\\n\\''", "'\\ud83d\\ude00\\\\'"},
     "'\\\\\\u0041\\n\\'\\ud83d\\ude00\\\\'"},
    {MERGE_DELTA, {"{'\\u0061':'x'}", "{'\\u0061':'y'}"}, "{'a':'xy'}"},
    {MERGE_DELTA, {"{}", "{}"}, "{}"},
};

START_TEST(deltas_make_a_whole) {
    const struct golden *golden = &goldens[_i];
    for (size_t i = 0; golden->deltas[i] != NULL; i++) {
        add(golden->deltas[i], golden->mode);
    }
    ck_assert(!merge.failed);
    same_json(written(), js(golden->whole));
    ck_assert(!merge.failed);
}
END_TEST

/* The form of a stream may open with the whole string, and go on in pieces. */
START_TEST(a_string_that_was_whole_is_continued) {
    add("{'t':'be\\n'}", MERGE_LAST);
    read_json(js("'gin'"));
    merge_text(&merge, merge_find(root, "t"), MERGE_TEXT, &reader, 0);
    same_json(written(), js("{'t':'be\\ngin'}"));
}
END_TEST

/* -- values that come as text -------------------------------------------------------------------
 */

static const struct text_golden {
    const char *pieces[4];
    const char *value; /* NULL: it is none */
} texts[] = {
    {{"'{\\'a'", "'\\':1'", "'}'"}, "{'a':1}"},
    {{"''", "'{}'"}, "{}"},
    {{"''"}, "{}"}, /* a tool without parameters */
    {{"'[1,'", "'2]'"}, "[1,2]"},
    {{"'{\\'s\\':\\'\\\\\\\\u00'", "'41\\'}'"}, "{'s':'\\\\u0041'}"},
    {{"'{\\'a\\':'"}, NULL},
    {{"'{}'", "'{}'"}, NULL},
    {{"'x'"}, NULL},
    {{"'\\u0000'"}, NULL},
};

START_TEST(pieces_of_json_are_a_value_or_a_failure) {
    const struct text_golden *golden = &texts[_i];
    merge_container(root, MERGE_OBJECT);
    struct merge_node *node = merge_member(&merge, root, BYTES_LITERAL("input"));
    for (size_t i = 0; golden->pieces[i] != NULL; i++) {
        read_json(js(golden->pieces[i]));
        merge_text(&merge, node, MERGE_JSON, &reader, 0);
    }
    merge_write(&merge, root, &out);
    ck_assert_int_eq(merge.failed, golden->value == NULL);
    if (golden->value != NULL) {
        char wanted[128];
        snprintf(wanted, sizeof(wanted), "{'input':%s}", golden->value);
        same_json(buf_bytes(&out), js(wanted));
    }
}
END_TEST

/* -- the tree itself ----------------------------------------------------------------------------
 */

START_TEST(members_are_found_set_and_removed) {
    add("{'a':1,'b':2,'c':3}", MERGE_LAST);
    ck_assert_ptr_null(merge_find(root, "d"));
    ck_assert_ptr_null(merge_find(merge_find(root, "a"), "b")); /* no object has no members */
    ck_assert_ptr_null(merge_find(NULL, "a"));
    merge_remove(root, "d");
    merge_remove(root, "c"); /* the last one */
    merge_remove(root, "a"); /* the first */
    merge_set(merge_member(&merge, root, BYTES_LITERAL("e")), "[true]");
    same_json(written(), js("{'b':2,'e':[true]}"));
    merge_remove(root, "b");
    merge_remove(root, "e");
    same_json(written(), "{}");
    add("{'f':1}", MERGE_LAST);
    same_json(written(), js("{'f':1}"));
}
END_TEST

START_TEST(whole_values_are_appended) {
    struct merge_node *list;
    merge_container(root, MERGE_OBJECT);
    list = merge_member(&merge, root, BYTES_LITERAL("l"));
    for (int i = 0; i < 3; i++) { /* an index in them means nothing here */
        read_json(js("{'index':0,'text':'x'}"));
        merge_append(&merge, list, &reader, 0);
    }
    same_json(written(),
              js("{'l':[{'index':0,'text':'x'},{'index':0,'text':'x'},{'index':0,'text':'x'}]}"));
}
END_TEST

/* -- hostile streams ----------------------------------------------------------------------------
 */

/* What is searched one by one has an end; what is only appended has none. */
START_TEST(members_and_indexes_are_limited) {
    char json[64];
    merge_container(root, MERGE_OBJECT);
    for (unsigned i = 0; i < MERGE_MAX; i++) {
        snprintf(json, sizeof(json), "{'m%u':1}", i);
        add(json, MERGE_DELTA);
    }
    ck_assert(!merge.failed);
    add("{'m0':2,'m255':3}", MERGE_DELTA); /* old ones are no new ones */
    ck_assert(!merge.failed);
    add("{'one more':1}", MERGE_DELTA);
    ck_assert(merge.failed);
}
END_TEST

START_TEST(elements_with_an_index_are_limited) {
    char json[64];
    for (unsigned i = 0; i < MERGE_MAX; i++) {
        snprintf(json, sizeof(json), "[{'index':%u,'a':'x'}]", i * 1000003);
        add(json, MERGE_DELTA);
    }
    ck_assert(!merge.failed);
    add("[{'index':9223372036854775807}]", MERGE_DELTA);
    ck_assert(merge.failed);
}
END_TEST

START_TEST(what_is_appended_is_not) {
    for (unsigned i = 0; i < 4 * MERGE_MAX; i++) {
        add("[{'token':'x'}]", MERGE_LAST);
    }
    ck_assert(!merge.failed);
    struct bytes json = written();
    read_bytes(json);
    ck_assert_int_eq(json_count(&reader, 0), 4 * MERGE_MAX);
}
END_TEST

START_TEST(the_deepest_document_is_merged) {
    struct buf deep;
    buf_init(&deep, 0);
    for (int i = 0; i < JSON_MAX_DEPTH; i++) {
        buf_append_str(&deep, i % 2 == 0 ? "[" : "{\"a\":");
    }
    buf_append_str(&deep, "1");
    for (int i = JSON_MAX_DEPTH - 1; i >= 0; i--) {
        buf_append_str(&deep, i % 2 == 0 ? "]" : "}");
    }
    read_bytes(buf_bytes(&deep));
    merge_value(&merge, root, &reader, 0, MERGE_DELTA);
    ck_assert(!merge.failed);
    struct bytes json = written();
    ck_assert(bytes_equal(json, buf_bytes(&deep)));
    buf_free(&deep);
}
END_TEST

START_TEST(without_memory_it_fails_and_says_so) {
    struct arena small;
    arena_init(&small, 512, 1024);
    struct merge poor = {.arena = &small};
    struct merge_node *node = merge_new(&poor, MERGE_NULL);
    ck_assert_ptr_nonnull(node);
    read_json(js("{'a':'x','b':['y',{'c':'z'}],'d':{'e':'f'},'g':'h','i':'j'}"));
    for (int i = 0; i < 100; i++) {
        merge_value(&poor, node, &reader, 0, MERGE_DELTA);
    }
    ck_assert(poor.failed);
    ck_assert_ptr_null(merge_new(&poor, MERGE_OBJECT));
    arena_fini(&small);
}
END_TEST

/* In a long document many numbers are one value, which cannot be appended to others: a piece is not
 * taken for the whole. */
START_TEST(numbers_in_a_long_document_are_appended_or_refused) {
    static const char small[] = "{\"n\":[1,2]}";
    char numbers[64 * 2 + 1] = "", text[JSON_LONG_TEXT + 1] = "";
    char document[sizeof(numbers) + sizeof(text) + 64];
    for (size_t i = 0; i + 2 < sizeof(numbers); i += 2) {
        memcpy(numbers + i, "7,", 3);
    }
    memset(text, 'x', sizeof(text) - 1);
    snprintf(document, sizeof(document), "{\"n\":[%s3],\"t\":\"%s\"}", numbers, text);
    for (unsigned way = 0; way < 4; way++) {
        enum merge_mode mode = way < 2 ? MERGE_DELTA : MERGE_WHOLE;
        merge.failed = false;
        root = merge_new(&merge, MERGE_NULL);
        read_json(way % 2 == 0 ? small : document);
        merge_value(&merge, root, &reader, 0, mode);
        read_json(way % 2 == 0 ? document : small);
        ck_assert(!merge.failed);
        merge_value(&merge, root, &reader, 0, mode);
        ck_assert_int_eq(merge.failed, mode == MERGE_DELTA);
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("merge");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, deltas_make_a_whole, 0, COUNT(goldens));
    tcase_add_test(tcase, a_string_that_was_whole_is_continued);
    tcase_add_loop_test(tcase, pieces_of_json_are_a_value_or_a_failure, 0, COUNT(texts));
    tcase_add_test(tcase, members_are_found_set_and_removed);
    tcase_add_test(tcase, whole_values_are_appended);
    tcase_add_test(tcase, members_and_indexes_are_limited);
    tcase_add_test(tcase, elements_with_an_index_are_limited);
    tcase_add_test(tcase, what_is_appended_is_not);
    tcase_add_test(tcase, the_deepest_document_is_merged);
    tcase_add_test(tcase, numbers_in_a_long_document_are_appended_or_refused);
    tcase_add_test(tcase, without_memory_it_fails_and_says_so);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
