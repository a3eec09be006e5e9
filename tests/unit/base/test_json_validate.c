/* The rules of RFC 8259, each with texts just inside and just outside of it. Every rule that the
 * public JSONTestSuite (nst/JSONTestSuite, test_parsing) shows has a row of ours here: what its y_
 * files show is accepted, what its n_ files show is refused. Of what it leaves open (i_): numbers
 * of any size are valid, bytes that are not UTF-8, lone surrogates, a byte order mark, UTF-16 and
 * more than 64 levels are refused. Each text is tried as a heap copy of exactly its size, so that
 * a sanitizer sees a byte read too many. */
#include "base/json_read.h"

#include <stdio.h>
#include <time.h>

#include "base/text.h"
#include "unit.h"

#define ACCEPTED SIZE_MAX
#define VALID(text) \
    { {(text), sizeof(text) - 1}, ACCEPTED, NULL }
#define FAULT(text, offset, reason) \
    { {(text), sizeof(text) - 1}, (offset), (reason) }

#define NO_VALUE "a value is missing"
#define NO_KEY "a key is missing"
#define NO_COLON "':' is missing"
#define NO_NEXT "',' or ']' is missing"
#define NO_NEXT_MEMBER "',' or '}' is missing"
#define NO_DIGIT "a digit is missing in number"
#define LEADING_ZERO "leading zero in number"
#define TRAILING "bytes after the value"
#define NOTHING "no value at all"
#define EARLY "the text ends too early"
#define UNENDED "string is not ended"
#define CONTROL "control character in string"
#define BAD_ESCAPE "invalid escape in string"
#define BAD_UNICODE "invalid \\u escape in string"
#define LONE "surrogate without its pair in string"
#define BAD_UTF8 "invalid UTF-8 in string"
#define BOM "a value is missing (byte order marks are not allowed)"

struct rule {
    struct bytes text;
    size_t offset; /* of the fault, or ACCEPTED */
    const char *reason;
};

static const struct rule structure_rules[] = {
    /* any value may be the whole text, with any of the four blanks around it */
    VALID("true"),
    VALID("false"),
    VALID("null"),
    VALID("7"),
    VALID("-3.25"),
    VALID("\"text\""),
    VALID("\"\""),
    VALID("[]"),
    VALID("{}"),
    VALID(" \t\r\n[\n]\t"),
    VALID("0 "),
    VALID("\r\n{ \t}\n"),
    VALID("[[] , [ ],{}\t]"),
    VALID("[7\n,null]"),
    VALID("[null,-1,\"x\",{},[],true,false]"),
    VALID("[1,true,null,null,2]"),
    VALID("{\"k\":\"v\"}"),
    VALID("{\"k\" :\t\"v\" ,\n\"l\": [ ] }"),
    VALID("{\"\":1}"),
    VALID("{\"k\":1,\"k\":2}"), /* doubled keys are another function's business */
    VALID("{\"k\":1,\"k\":1}"),
    VALID("{\"a\\u0000b\":1}"),
    VALID("{\"k\":{\"l\":{\"m\":[{\"n\":[[[]]]}]}}}"),
    /* nothing, or not all */
    FAULT("", 0, NOTHING),
    FAULT(" ", 1, NOTHING),
    FAULT("\n\t\r ", 4, NOTHING),
    FAULT("[", 1, EARLY),
    FAULT("{", 1, EARLY),
    FAULT("[[", 2, EARLY),
    FAULT("[8", 2, EARLY),
    FAULT("[8,", 3, EARLY),
    FAULT("[\"a\"", 4, EARLY),
    FAULT("[\n8\n,9", 6, EARLY),
    FAULT("[{}", 3, EARLY),
    FAULT("[{", 2, EARLY),
    FAULT("{\"k\"", 4, NO_COLON),
    FAULT("{\"k\":", 5, EARLY),
    FAULT("{\"k\":1", 6, EARLY),
    FAULT("{\"k\":\"v\"", 8, EARLY),
    FAULT("{\"k\":true,", 10, EARLY),
    FAULT("{\"k\":[{\"l\":[", 12, EARLY),
    FAULT("[true,fals", 6, NO_VALUE),
    FAULT("[true,tru", 6, NO_VALUE),
    FAULT("[true,nul", 6, NO_VALUE),
    /* too much */
    FAULT("[8]8", 3, TRAILING),
    FAULT("[8]]", 3, TRAILING),
    FAULT("[8],", 3, TRAILING),
    FAULT("[][]", 2, TRAILING),
    FAULT("{}}", 2, TRAILING),
    FAULT("{\"k\":1} \"v\"", 8, TRAILING),
    FAULT("{\"k\":1}#", 7, TRAILING),
    FAULT("{\"k\":1}#{}", 7, TRAILING),
    FAULT("\"\"8", 2, TRAILING),
    FAULT("5]", 1, TRAILING),
    FAULT("5@", 1, TRAILING),
    FAULT("5\0", 1, TRAILING),
    FAULT("true\0", 4, TRAILING),
    FAULT("null null", 5, TRAILING),
    FAULT("\"a\",\"b\"", 3, TRAILING),
    /* brackets */
    FAULT("]", 0, NO_VALUE),
    FAULT("}", 0, NO_VALUE),
    FAULT("[}", 1, NO_VALUE),
    FAULT("{]", 1, NO_KEY),
    FAULT("[1}", 2, NO_NEXT),
    FAULT("{\"k\":1]", 6, NO_NEXT_MEMBER),
    FAULT("[{]}", 2, NO_KEY),
    FAULT("{[", 1, NO_KEY),
    FAULT("<>", 0, NO_VALUE),
    FAULT("[<null>]", 1, NO_VALUE),
    /* commas and colons */
    FAULT("[,]", 1, NO_VALUE),
    FAULT("[,8]", 1, NO_VALUE),
    FAULT("[  , 8]", 3, NO_VALUE),
    FAULT("[8,]", 3, NO_VALUE),
    FAULT("[\"\",]", 4, NO_VALUE),
    FAULT("[8,,]", 3, NO_VALUE),
    FAULT("[8,,9]", 3, NO_VALUE),
    FAULT("[8 9]", 3, NO_NEXT),
    FAULT("[8 true]", 3, NO_NEXT),
    FAULT("[8[9]]", 2, NO_NEXT),
    FAULT("[8:9]", 2, NO_NEXT),
    FAULT("[8;9]", 2, NO_NEXT),
    FAULT("[\"k\":9]", 4, NO_NEXT),
    FAULT("{,", 1, NO_KEY),
    FAULT("{:1}", 1, NO_KEY),
    FAULT("{\"k\"::1}", 5, NO_VALUE),
    FAULT("{\"k\",1}", 4, NO_COLON),
    FAULT("{\"k\" 1}", 5, NO_COLON),
    FAULT("{\"k\" \"v\"}", 5, NO_COLON),
    FAULT("{\"k\"}", 4, NO_COLON),
    FAULT("{\"k\":1,}", 7, NO_KEY),
    FAULT("{\"k\":1,,,}", 7, NO_KEY),
    FAULT("{\"k\":1,,\"l\":2}", 7, NO_KEY),
    FAULT("{\"k\":1 2}", 7, NO_NEXT_MEMBER),
    FAULT("{\"k\":1,\"l\"}", 10, NO_COLON),
    FAULT("{\"k\":}", 5, NO_VALUE),
    FAULT("{\"k\":,\"l\":1}", 5, NO_VALUE),
    /* keys are strings in double quotes */
    FAULT("{8:8}", 1, NO_KEY),
    FAULT("{1E400:8}", 1, NO_KEY),
    FAULT("{null:null}", 1, NO_KEY),
    FAULT("{k:8}", 1, NO_KEY),
    FAULT("{'k':8}", 1, NO_KEY),
    FAULT("{'k'", 1, NO_KEY),
    FAULT("{\xF0\x9F\x98\x80}", 1, NO_KEY),
    FAULT("{[:1}", 1, NO_KEY),
    FAULT("{{}:1}", 1, NO_KEY),
    /* words */
    FAULT("[True]", 1, NO_VALUE),
    FAULT("NULL", 0, NO_VALUE),
    FAULT("[truth]", 1, NO_VALUE),
    FAULT("[nul]", 1, NO_VALUE),
    FAULT("[fals]", 1, NO_VALUE),
    FAULT("nulll", 4, TRAILING),
    FAULT("[truefalse]", 5, NO_NEXT),
    FAULT("undefined", 0, NO_VALUE),
    FAULT("[*]", 1, NO_VALUE),
    FAULT("*", 0, NO_VALUE),
    FAULT("[word", 1, NO_VALUE),
    FAULT("word", 0, NO_VALUE),
    FAULT("[\xC3\xA9]", 1, NO_VALUE),
    FAULT("[a\xE9]", 1, NO_VALUE),
    FAULT("\xE9", 0, NO_VALUE),
    FAULT("'text'", 0, NO_VALUE),
    FAULT("['", 1, NO_VALUE),
    /* blanks are four bytes and nothing else */
    FAULT("[\f]", 1, NO_VALUE),
    FAULT("[\v]", 1, NO_VALUE),
    FAULT("[\"a\"\f]", 4, NO_NEXT),
    FAULT("[\0]", 1, NO_VALUE),
    FAULT("\xC2\xA0[]", 0, NO_VALUE),
    FAULT("[\xE2\x81\xA0]", 1, NO_VALUE),
    FAULT("\xE2\x80\x83{}", 0, NO_VALUE),
    FAULT("[\\n]", 1, NO_VALUE),
    FAULT("[\\u000A8]", 1, NO_VALUE),
    FAULT("[\\u0020\"a\"]", 1, NO_VALUE),
    /* no comments */
    FAULT("{\"k\":/*c*/1}", 5, NO_VALUE),
    FAULT("{\"k\":1}/**/", 7, TRAILING),
    FAULT("{\"k\":1}//", 7, TRAILING),
    FAULT("{\"k\":1}/", 7, TRAILING),
    FAULT("//c\n8", 0, NO_VALUE),
    /* no byte order mark, no other encoding */
    FAULT("\xEF\xBB\xBF", 0, BOM),
    FAULT("\xEF\xBB\xBF{}", 0, BOM),
    FAULT("\xEF\xBB{}", 0, BOM),
    FAULT("\xFF\xFE[\0]\0", 0, NO_VALUE),
    FAULT("[\0\"\0]\0", 1, NO_VALUE),
    FAULT("\0[\0]", 0, NO_VALUE),
};

static const struct rule number_rules[] = {
    VALID("0"), VALID("-0"), VALID("[-0.0]"), VALID("[90]"), VALID("[ 5]"), VALID("[-17]"),
    VALID("[0.125]"),
    VALID("[-0.000000000000000000000000000000000000000000000000000000000000000000000001]"),
    VALID("[7e1]"), VALID("[7E1]"), VALID("[7e+1]"), VALID("[7E+1]"), VALID("[7e-1]"),
    VALID("[7E-1]"), VALID("[7e001]"), VALID("[0e5]"), VALID("[0e+5]"), VALID("[0E-0]"),
    VALID("[7.5e10]"), VALID("{\"low\":-2.5e+30,\"high\":2.5e+30}"),
    /* any size and precision: what to make of it is the reader's question */
    VALID("[12345678901234567890123456789012345678901234567890]"),
    VALID("[-98765432109876543210987654321]"), VALID("[1.5e+99999]"), VALID("[-7e99999]"),
    VALID("[0.5e00987654321987654321987654321]"), VALID("[7e-99999999]"), VALID("[-7e+99999]"),
    VALID("[123.5e-900]"),
    /* one spelling only */
    FAULT("[+7]", 1, NO_VALUE), FAULT("[++7]", 1, NO_VALUE), FAULT("[.5]", 1, NO_VALUE),
    FAULT("[.5e-3]", 1, NO_VALUE), FAULT("[.-5]", 1, NO_VALUE), FAULT("[-.5]", 2, NO_DIGIT),
    FAULT("[5.]", 3, NO_DIGIT), FAULT("[-5.]", 4, NO_DIGIT), FAULT("5.", 2, NO_DIGIT),
    FAULT("[5.e1]", 3, NO_DIGIT), FAULT("[5.e+1]", 3, NO_DIGIT), FAULT("[5.e-1]", 3, NO_DIGIT),
    FAULT("[0.e1]", 3, NO_DIGIT), FAULT("[5.-1]", 3, NO_DIGIT), FAULT("[-]", 2, NO_DIGIT),
    FAULT("-", 1, NO_DIGIT), FAULT("[--7]", 2, NO_DIGIT), FAULT("[- 7]", 2, NO_DIGIT),
    FAULT("[-x]", 2, NO_DIGIT), FAULT("[5e]", 3, NO_DIGIT), FAULT("5e", 2, NO_DIGIT),
    FAULT("[0E]", 3, NO_DIGIT), FAULT("[5e+]", 4, NO_DIGIT), FAULT("[0E-]", 4, NO_DIGIT),
    FAULT("[5.5e]", 5, NO_DIGIT), FAULT("[5.5e-]", 6, NO_DIGIT), FAULT("[5e+-1]", 4, NO_DIGIT),
    FAULT("[5eE1]", 3, NO_DIGIT), FAULT("[5ex]", 3, NO_DIGIT), FAULT("[5e\xE9]", 3, NO_DIGIT),
    FAULT("[5e1.5]", 4, NO_NEXT), FAULT("[5.5.5]", 4, NO_NEXT), FAULT("[-5.5.]", 5, NO_NEXT),
    FAULT("[00]", 1, LEADING_ZERO), FAULT("[-00]", 2, LEADING_ZERO), FAULT("[07]", 1, LEADING_ZERO),
    FAULT("[-07]", 2, LEADING_ZERO), FAULT("[00.5]", 1, LEADING_ZERO), FAULT("[0x7]", 2, NO_NEXT),
    FAULT("[0x7F]", 2, NO_NEXT), FAULT("[7x]", 2, NO_NEXT), FAULT("[-7x]", 3, NO_NEXT),
    FAULT("[7+7]", 2, NO_NEXT), FAULT("[7 000]", 3, NO_NEXT), FAULT("[7_000]", 2, NO_NEXT),
    FAULT("[5.5f]", 4, NO_NEXT), FAULT("[1.8H-300]", 4, NO_NEXT), FAULT("[-5.5word]", 5, NO_NEXT),
    FAULT("[7\xE9]", 2, NO_NEXT), FAULT("[5e1\xE9]", 4, NO_NEXT), FAULT("7\0", 1, TRAILING),
    FAULT("[NaN]", 1, NO_VALUE), FAULT("[-NaN]", 2, NO_DIGIT), FAULT("[Inf]", 1, NO_VALUE),
    FAULT("[+Inf]", 1, NO_VALUE), FAULT("[Infinity]", 1, NO_VALUE),
    FAULT("[-Infinity]", 2, NO_DIGIT), FAULT("[\xEF\xBC\x97]", 1, BOM), /* a full-width seven */
};

static const struct rule string_rules[] = {
    VALID("[\"\"]"),
    VALID("[ \"word\"]"),
    VALID("\" \""),
    VALID("\"a/*b*//c\""),
    VALID("\"\x7F\""),
    VALID("\"a\x7F"
          "b\""),
    /* escapes */
    VALID("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    VALID("\"\\\\n\\\\u00\""), /* a backslash, then letters */
    VALID("\"\\u0000\\u001F\\u0022\\u005c\\u007f\""),
    VALID("\"\\u00A0\\u00e9\\u2064\\u200B\\u6587\\uAbCd\""),
    VALID("\"\\uFDD0\\uFFFE\\uFFFF\""), /* noncharacters are characters */
    VALID("{\"\\u0061\\u30AF\":\"\\u043f\\u043E\"}"),
    /* surrogates in pairs */
    VALID("\"\\uD83D\\uDE00\""),
    VALID("\"\\ud83d\\ude00\\uD834\\udd1e\""),
    VALID("\"\\uD800\\uDC00\\uDBFF\\uDFFF\""),
    VALID("\"\\uD7FF\\uE000\""),
    /* raw UTF-8 up to U+10FFFF */
    VALID("\"\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\""),
    VALID("\"\xED\x9F\xBF\xEE\x80\x80\""),
    VALID("\"\xE2\x80\xA8\xE2\x80\xA9\""), /* line and paragraph separators */
    VALID("\"\xEF\xBB\xBFinside, a mark is a character\""),
    VALID("[\"\xE2\x82\xAC\xF0\x9D\x84\x9E\"]"),
    /* ends and quotes */
    FAULT("\"", 1, UNENDED),
    FAULT("\"word", 5, UNENDED),
    FAULT("[\"word]", 7, UNENDED),
    FAULT("{\"k", 3, UNENDED),
    FAULT("{\"k\":\"v", 7, UNENDED),
    FAULT("\"\\", 2, UNENDED),
    FAULT("[\"\\\"]", 5, UNENDED),
    FAULT("[\"\\\\\\\"]", 7, UNENDED),
    FAULT("\"\xC3\xA9", 3, UNENDED),
    /* control characters */
    FAULT("\"\t\"", 1, CONTROL),
    FAULT("\"a\nb\"", 2, CONTROL),
    FAULT("\"a\0b\"", 2, CONTROL),
    FAULT("\"12345678\x1F\"", 9, CONTROL),
    FAULT("{\"k\r\":1}", 3, CONTROL),
    /* escapes */
    FAULT("\"\\a\"", 1, BAD_ESCAPE),
    FAULT("\"\\x41\"", 1, BAD_ESCAPE),
    FAULT("\"\\'\"", 1, BAD_ESCAPE),
    FAULT("\"\\0\"", 1, BAD_ESCAPE),
    FAULT("\"\\\0\"", 1, BAD_ESCAPE),
    FAULT("\"\\\t\"", 1, BAD_ESCAPE),
    FAULT("\"\\\xE9\"", 1, BAD_ESCAPE),
    FAULT("\"\\\xF0\x9F\x98\x80\"", 1, BAD_ESCAPE),
    FAULT("\"\\U0041\"", 1, BAD_ESCAPE),
    FAULT("[\"\\{[\"\\{", 2, BAD_ESCAPE),
    FAULT("\"\\u\"", 1, BAD_UNICODE),
    FAULT("\"\\u", 1, BAD_UNICODE),
    FAULT("\"\\u00\"", 1, BAD_UNICODE),
    FAULT("\"\\u00F\"", 1, BAD_UNICODE),
    FAULT("\"\\u00Fg\"", 1, BAD_UNICODE),
    FAULT("\"\\uwxyz\"", 1, BAD_UNICODE),
    FAULT("\"\\u+041\"", 1, BAD_UNICODE),
    FAULT("\"\\u 041\"", 1, BAD_UNICODE),
    FAULT("\"\\u\xE9\"", 1, BAD_UNICODE),
    FAULT("\"\\uD83D\\u\"", 1, LONE),
    /* surrogates alone, in the wrong order, or with a wrong second */
    FAULT("\"\\uD83D\"", 1, LONE),
    FAULT("\"\\ud800\"", 1, LONE),
    FAULT("\"\\udfff\"", 1, LONE),
    FAULT("\"\\uDC00\"", 1, LONE),
    FAULT("{\"\\uDE00\":1}", 2, LONE),
    FAULT("\"\\uD83Dword\"", 1, LONE),
    FAULT("\"\\uD83D\\n\"", 1, LONE),
    FAULT("\"\\uD83D\\\"", 1, LONE),
    FAULT("\"\\uD83D\\u0041\"", 1, LONE),
    FAULT("\"\\uD83D\\uD83D\\uDE00\"", 1, LONE),
    FAULT("\"\\uD83D\\uD83D\\n\"", 1, LONE),
    FAULT("\"\\uD83D\\uD83D\\x\"", 1, LONE),
    FAULT("\"\\uDE00\\uD83D\"", 1, LONE),
    FAULT("\"\\uD83D\\uDE\"", 1, LONE),
    FAULT("\"\\uD83D\\u1\"", 1, LONE),
    FAULT("\"\\uD83D\\u1x\"", 1, LONE),
    FAULT("\"\\uDe001\"", 1, LONE),
    FAULT("\"\\uD83D\\uDE00\\uDE00\"", 13, LONE),
    /* UTF-8 */
    FAULT("\"\xE9\"", 1, BAD_UTF8),
    FAULT("\"\x80\"", 1, BAD_UTF8),
    FAULT("{\"\xBF\":\"0\",}", 2, BAD_UTF8),
    FAULT("\"\xFF\"", 1, BAD_UTF8),
    FAULT("\"\xFE\"", 1, BAD_UTF8),
    FAULT("\"\xC0\x80\"", 1, BAD_UTF8), /* overlong */
    FAULT("\"\xC1\xBF\"", 1, BAD_UTF8),
    FAULT("\"\xE0\x9F\xBF\"", 1, BAD_UTF8),
    FAULT("\"\xF0\x8F\xBF\xBF\"", 1, BAD_UTF8),
    FAULT("\"\xFC\x80\x80\x80\x80\x80\"", 1, BAD_UTF8),
    FAULT("\"\xED\xA0\x80\"", 1, BAD_UTF8), /* surrogates */
    FAULT("\"\xED\xBF\xBF\"", 1, BAD_UTF8),
    FAULT("\"\xF4\x90\x80\x80\"", 1, BAD_UTF8), /* past U+10FFFF */
    FAULT("\"\xF5\x80\x80\x80\"", 1, BAD_UTF8),
    FAULT("\"\xE2\x82\"", 1, BAD_UTF8), /* cut short */
    FAULT("\"\xF0\x9F\x98\"", 1, BAD_UTF8),
    FAULT("\"\xE2\x82", 1, BAD_UTF8),
    FAULT("\"\xE2\xC2\xA9\"", 1, BAD_UTF8),
    FAULT("\"\xE6\x97\xA5\xD1\x88\xFA\"", 6, BAD_UTF8),
    FAULT("\"\\n\xE9\"", 3, BAD_UTF8),
};

/* The verdict on an exact copy. */
static int validate(struct bytes text, struct json_fault *fault) {
    char *copy = malloc(text.size);
    ck_assert_ptr_nonnull(copy);
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    *fault = (struct json_fault){.offset = SIZE_MAX, .reason = "untouched"};
    int result = json_validate(bytes_make(copy, text.size), fault);
    free(copy);
    return result;
}

static void check_rules(const struct rule *rules, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct rule *rule = &rules[i];
        struct json_fault fault;
        int result = validate(rule->text, &fault);
        ck_assert_msg((result == 0) == (rule->offset == ACCEPTED), "row %zu: %.*s: %d, %s", i,
                      (int)rule->text.size, rule->text.data, result, fault.reason);
        if (result != 0) {
            ck_assert_msg(fault.offset == rule->offset && strcmp(fault.reason, rule->reason) == 0,
                          "row %zu: %.*s: %zu %s", i, (int)rule->text.size, rule->text.data,
                          fault.offset, fault.reason);
        }
    }
}

#define CHECK_RULES(rules) check_rules((rules), sizeof(rules) / sizeof((rules)[0]))

START_TEST(the_structure_is_strict) {
    CHECK_RULES(structure_rules);
}
END_TEST

START_TEST(numbers_have_one_grammar) {
    CHECK_RULES(number_rules);
}
END_TEST

START_TEST(strings_are_strict) {
    CHECK_RULES(string_rules);
}
END_TEST

/* Every byte at every kind of place, against the sets of the RFC. */
START_TEST(every_byte_is_judged_at_every_place) {
    struct json_fault fault;
    for (int c = 0; c < 256; c++) {
        char b = (char)c;
        bool blank = c == ' ' || c == '\t' || c == '\n' || c == '\r';
        bool digit = c >= '0' && c <= '9';
        char alone[] = {b};
        char in_array[] = {'[', b, ']'};
        char after[] = {'[', '1', b, ']'};
        char behind[] = {'[', ']', b};
        char in_object[] = {'{', b, '}'};
        char in_string[] = {'"', b, '"'};
        char escape[] = {'"', '\\', b, '"'};
        char hex[] = {'"', '\\', 'u', '0', '0', 'a', b, '"'};
        ck_assert_int_eq(validate(bytes_make(alone, 1), &fault) == 0, digit);
        ck_assert_int_eq(validate(bytes_make(in_array, 3), &fault) == 0, digit || blank);
        ck_assert_int_eq(validate(bytes_make(after, 4), &fault) == 0, digit || blank);
        ck_assert_int_eq(validate(bytes_make(behind, 3), &fault) == 0, blank);
        ck_assert_int_eq(validate(bytes_make(in_object, 3), &fault) == 0, blank);
        ck_assert_int_eq(validate(bytes_make(in_string, 3), &fault) == 0,
                         c >= 0x20 && c < 0x80 && c != '"' && c != '\\');
        ck_assert_int_eq(validate(bytes_make(escape, 4), &fault) == 0,
                         c != 0 && strchr("\"\\/bfnrt", c) != NULL);
        ck_assert_int_eq(validate(bytes_make(hex, 8), &fault) == 0,
                         digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'));
    }
}
END_TEST

/* Strings are stepped over eight bytes at a time: a bad byte must be found at each place of a word,
 * behind bytes of every neighbouring value. */
START_TEST(a_bad_byte_is_found_at_each_offset) {
    static const uint8_t bad[] = {0x00, 0x1F, 0x80, 0xFF};
    static const uint8_t fillers[] = {0x20, 0x21, 0x23, 0x5B, 0x5D, 0x7F};
    for (size_t size = 1; size <= 40; size++) {
        for (size_t at = 0; at < size; at++) {
            for (size_t i = 0; i < sizeof(bad) * sizeof(fillers); i++) {
                char text[48];
                struct json_fault fault;
                memset(text, fillers[i / sizeof(bad)], sizeof(text));
                text[0] = '"';
                text[size + 1] = '"';
                ck_assert_int_eq(validate(bytes_make(text, size + 2), &fault), 0);
                text[at + 1] = (char)bad[i % sizeof(bad)];
                ck_assert_int_eq(validate(bytes_make(text, size + 2), &fault), -1);
                ck_assert_uint_eq(fault.offset, at + 1);
            }
        }
    }
}
END_TEST

START_TEST(utf8_is_exactly_the_code_points) {
    struct json_fault fault;
    for (uint32_t cp = 0x80; cp <= 0x10FFFF; cp++) {
        char text[6] = {'"'};
        if (cp >= 0xD800 && cp <= 0xDFFF) {
            continue;
        }
        size_t size = text_utf8_put(text + 1, cp);
        text[size + 1] = '"';
        ck_assert_int_eq(json_validate(bytes_make(text, size + 2), &fault), 0);
    }
    /* Of all first and second bytes, with good continuations behind: what is accepted are as many
     * as there are code points, and no others. */
    unsigned accepted[5] = {0};
    for (unsigned head = 0; head < 0x10000; head++) {
        for (size_t size = 2; size <= 4; size++) {
            char text[6] = {'"', (char)(head >> 8), (char)head, (char)0x80, (char)0x80, '"'};
            if ((head >> 8) < 0x80) {
                continue;
            }
            text[size + 1] = '"';
            accepted[size] += json_validate(bytes_make(text, size + 2), &fault) == 0;
        }
    }
    ck_assert_uint_eq(accepted[2], 0x800 - 0x80);
    ck_assert_uint_eq(accepted[3], (0x10000 - 0x800 - 0x800) / 64);
    ck_assert_uint_eq(accepted[4], 0x100000 / 4096);
}
END_TEST

START_TEST(every_unicode_escape_is_judged) {
    struct json_fault fault;
    for (unsigned unit = 0; unit < 0x10000; unit++) {
        char text[32];
        bool first = unit >= 0xD800 && unit < 0xDC00;
        bool second = unit >= 0xDC00 && unit < 0xE000;
        int size = snprintf(text, sizeof(text), "\"\\u%04X\"", unit);
        ck_assert_int_eq(json_validate(bytes_make(text, (size_t)size), &fault) == 0,
                         !first && !second);
        size = snprintf(text, sizeof(text), "\"\\u%04x\\uDC00\"", unit);
        ck_assert_int_eq(json_validate(bytes_make(text, (size_t)size), &fault) == 0, first);
        size = snprintf(text, sizeof(text), "\"\\uDBFF\\u%04x\"", unit);
        ck_assert_int_eq(json_validate(bytes_make(text, (size_t)size), &fault) == 0, second);
    }
}
END_TEST

START_TEST(no_prefix_of_a_text_is_a_text) {
    static const char text[] = " {\"a\":[1.5e-7,-0,\"\\uD83D\\uDE00\\n\xE2\x82\xAC\"],\"b\":{\"c\":"
                               "[[],{},null,true,false]},\"\":\"\"}";
    struct json_fault fault;
    ck_assert_int_eq(validate(bytes_from_str(text), &fault), 0);
    for (size_t size = 0; size < sizeof(text) - 1; size++) {
        ck_assert_int_eq(validate(bytes_make(text, size), &fault), -1);
        ck_assert_uint_le(fault.offset, size);
    }
}
END_TEST

/* `levels` containers in each other, arrays or objects by the bits of a pattern. */
static struct bytes nest(char *out, int levels, unsigned pattern) {
    size_t size = 0;
    for (int i = 0; i < levels; i++) {
        const char *open = pattern >> (i % 8) & 1 ? "{\"\":" : "[";
        size_t length = strlen(open);
        memcpy(out + size, open, length);
        size += length;
    }
    out[size++] = '0';
    for (int i = levels - 1; i >= 0; i--) {
        out[size++] = pattern >> (i % 8) & 1 ? '}' : ']';
    }
    return bytes_make(out, size);
}

START_TEST(depth_is_bounded) {
    char text[4096];
    struct json_fault fault;
    for (unsigned pattern = 0; pattern < 256; pattern++) {
        ck_assert_int_eq(validate(nest(text, JSON_MAX_DEPTH, pattern), &fault), 0);
        ck_assert_int_eq(validate(nest(text, JSON_MAX_DEPTH + 1, pattern), &fault), -1);
        ck_assert_str_eq(fault.reason, "nested too deeply");
        /* each level remembers what it was */
        struct bytes nested = nest(text, JSON_MAX_DEPTH, pattern);
        for (size_t i = nested.size - JSON_MAX_DEPTH; i < nested.size; i++) {
            char right = text[i];
            text[i] = right == '}' ? ']' : '}';
            ck_assert_int_eq(validate(nested, &fault), -1);
            ck_assert_uint_eq(fault.offset, i);
            text[i] = right;
        }
    }
    ck_assert_int_eq(validate(nest(text, 500, 0), &fault), -1);
    ck_assert_uint_eq(fault.offset, JSON_MAX_DEPTH);
}
END_TEST

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* 100,000 brackets stop at the 65th. The time is printed, not judged. */
START_TEST(deep_text_is_not_read_to_its_end) {
    size_t size = 100000;
    char *text = malloc(size);
    struct json_fault fault;
    ck_assert_ptr_nonnull(text);
    memset(text, '[', size);
    double start = now_ms();
    ck_assert_int_eq(json_validate(bytes_make(text, size), &fault), -1);
    printf("100,000 brackets: %.3f ms\n", now_ms() - start);
    ck_assert_uint_eq(fault.offset, JSON_MAX_DEPTH);
    ck_assert_str_eq(fault.reason, "nested too deeply");
    free(text);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("json_validate");
    TCase *rules = tcase_create("rules");
    tcase_add_test(rules, the_structure_is_strict);
    tcase_add_test(rules, numbers_have_one_grammar);
    tcase_add_test(rules, strings_are_strict);
    suite_add_tcase(suite, rules);
    TCase *exhaustive = tcase_create("exhaustive");
    tcase_set_timeout(exhaustive, 60);
    tcase_add_test(exhaustive, every_byte_is_judged_at_every_place);
    tcase_add_test(exhaustive, a_bad_byte_is_found_at_each_offset);
    tcase_add_test(exhaustive, utf8_is_exactly_the_code_points);
    tcase_add_test(exhaustive, every_unicode_escape_is_judged);
    tcase_add_test(exhaustive, no_prefix_of_a_text_is_a_text);
    suite_add_tcase(suite, exhaustive);
    TCase *bounds = tcase_create("bounds");
    tcase_set_timeout(bounds, 60);
    tcase_add_test(bounds, depth_is_bounded);
    tcase_add_test(bounds, deep_text_is_not_read_to_its_end);
    suite_add_tcase(suite, bounds);
    return suite;
}

UNIT_MAIN(make_suite)
