/* Unit tests of base/sse: the grammar, each stream cut at every byte, and the limit. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/sse.h"

#define LIMIT 64

/* What was heard, as "name|data;" for each event. */
struct heard {
    char text[512];
    size_t size;
};

static void hear(struct heard *heard, const struct sse_event *event) {
    heard->size += (size_t)snprintf(heard->text + heard->size, sizeof(heard->text) - heard->size,
                                    "%.*s|%.*s;", (int)event->name.size, event->name.data,
                                    (int)event->data.size, event->data.data);
}

/* A copy in memory of its own, so that a sanitizer sees who looks at it later. */
static enum sse_result feed(struct sse_parser *parser, struct bytes piece, struct heard *heard) {
    char *copy = malloc(piece.size + 1);
    struct sse_event event;
    enum sse_result result;
    if (piece.size > 0) {
        memcpy(copy, piece.data, piece.size);
    }
    struct bytes input = bytes_make(copy, piece.size);
    while ((result = sse_next(parser, &input, &event)) == SSE_EVENT) {
        hear(heard, &event);
    }
    memset(copy, '#', piece.size);
    free(copy);
    return result;
}

/* In pieces of so many bytes, but for the first, which has `first`. */
static enum sse_result parse(struct bytes text, size_t first, size_t piece, struct heard *heard) {
    struct sse_parser parser;
    struct sse_event event;
    enum sse_result result = SSE_MORE;
    size_t at = 0;
    sse_init(&parser, LIMIT);
    *heard = (struct heard){.size = 0};
    while (at < text.size && result == SSE_MORE) {
        size_t size = at == 0 ? first : piece;
        size = size < text.size - at ? size : text.size - at;
        result = feed(&parser, bytes_make(text.data + at, size), heard);
        at += size;
    }
    if (result == SSE_MORE && sse_last(&parser, &event)) {
        hear(heard, &event);
        ck_assert(!sse_last(&parser, &event));
    }
    sse_fini(&parser);
    return result;
}

static void check(const char *text, size_t size, enum sse_result wanted, const char *events) {
    struct heard heard;
    struct bytes all = bytes_make(text, size);
    for (size_t first = 1; first <= size; first++) {
        enum sse_result result = parse(all, first, size, &heard);
        ck_assert_msg(result == wanted && strcmp(heard.text, events) == 0,
                      "cut at %zu of `%s`: %d, `%s`", first, text, result, heard.text);
    }
    for (size_t piece = 1; piece < 4; piece++) {
        enum sse_result result = parse(all, piece, piece, &heard);
        ck_assert_msg(result == wanted && strcmp(heard.text, events) == 0,
                      "pieces of %zu of `%s`: %d, `%s`", piece, text, result, heard.text);
    }
}

START_TEST(streams_and_their_events) {
    static const struct {
        const char *text, *events;
    } rows[] = {
        {"data: a\n\ndata: b\n\n", "|a;|b;"},
        {"data:a\n\ndata:  b \n\n", "|a;| b ;"},
        {"data: a\r\n\r\ndata: b\r\n\r\n", "|a;|b;"},
        {"data: a\r\rdata: b\r\r", "|a;|b;"},
        {"data: a\r\n\ndata: b\n\r\n", "|a;|b;"},
        {"data: a\r\r\ndata: b\r\n\r", "|a;|b;"},
        {"data: {\ndata: \"a\":1}\n\n", "|{\n\"a\":1};"},
        {"data\ndata\n\n", "|\n;"},
        {"data\n\n", "|;"},
        {"event: x\ndata: a\n\ndata: b\n\n", "x|a;|b;"},
        {"data: a\nevent: x\n\n", "x|a;"},
        {"event: x\nevent: y\ndata: a\n\n", "y|a;"},
        {"event: x\n\ndata: a\n\n",
         "|a;"}, /* an event without data is none, and its name is gone */
        {": ping\n\n:\n\ndata: a\n: in between\n\n", "|a;"},
        {"id: 7\nretry: 10\ndata: a\nunknown: z\nword\n\n", "|a;"},
        {"\xef\xbb\xbf"
         "data: a\n\n",
         "|a;"},
        {"data: \xef\xbb\xbf\n\n", "|\xef\xbb\xbf;"},
        {"\xef\xbb\xbf\xef\xbb\xbf"
         "data: a\n\ndata: b\n\n",
         "|b;"}, /* one mark, not two */
        {"data: gr\xc3\xb6\xc3\x9f"
         "er\n\n",
         "|gr\xc3\xb6\xc3\x9f"
         "er;"},
        {"data: a\n\n\n\n\ndata: b\n\n", "|a;|b;"},
        {" data: a\n\nDATA: b\n\ndata : c\n\n", ""},
        {"data: a:b: c\n\n", "|a:b: c;"},
        {"data: a\n\ndata: [DONE]", "|a;|[DONE];"}, /* the last blank line is often forgotten */
        {"data: a\n\ndata: b\n", "|a;|b;"},
        {"event: x\ndata: a\r", "x|a;"},
        {"data: a\n\nevent: x\n", "|a;"},
        {"\n", ""},
        {": nothing", ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(rows[i].text, strlen(rows[i].text), SSE_MORE, rows[i].events);
    }
}
END_TEST

START_TEST(a_zero_byte_is_a_byte) {
    struct sse_parser parser;
    struct sse_event event;
    struct bytes input = BYTES_LITERAL("data: a\0b\n\n");
    sse_init(&parser, LIMIT);
    ck_assert_int_eq(sse_next(&parser, &input, &event), SSE_EVENT);
    ck_assert(bytes_equal(event.data, BYTES_LITERAL("a\0b")));
    sse_fini(&parser);
}
END_TEST

/* An event of the whole limit passes, one byte more does not; nor do endless lines. */
START_TEST(an_event_has_a_limit) {
    char text[4 * LIMIT];
    memset(text, 'x', sizeof(text));
    memcpy(text, "data: ", 6);
    memcpy(text + LIMIT, "\n\n", 2);
    struct heard heard;
    ck_assert_int_eq(parse(bytes_make(text, LIMIT + 2), LIMIT + 2, 1, &heard), SSE_MORE);
    ck_assert_uint_eq(heard.size, 1 + LIMIT - 6 + 1);
    memcpy(text + LIMIT, "x\n\n", 3);
    for (size_t first = 1; first < LIMIT + 3; first++) {
        ck_assert_int_eq(parse(bytes_make(text, LIMIT + 3), first, 1000, &heard), SSE_TOO_LARGE);
        ck_assert_uint_eq(heard.size, 0);
    }
    memset(text, ':', sizeof(text));
    ck_assert_int_eq(parse(bytes_make(text, sizeof(text)), 7, 7, &heard), SSE_TOO_LARGE);
    const char *lines = "data: 1234567890123456\ndata: 1234567890123456\ndata: 1234567890123456\n"
                        "data: 1234567890123456\ndata: 1234567890123456\n\n";
    check(lines, strlen(lines), SSE_TOO_LARGE, "");
}
END_TEST

START_TEST(a_long_name_is_cut) {
    char text[256];
    struct sse_parser parser;
    struct sse_event event;
    int size = snprintf(text, sizeof(text), "event: %0100d\ndata: a\n\n", 0);
    struct bytes input = bytes_make(text, (size_t)size);
    sse_init(&parser, 200);
    ck_assert_int_eq(sse_next(&parser, &input, &event), SSE_EVENT);
    ck_assert_uint_eq(event.name.size, SSE_MAX_NAME);
    sse_fini(&parser);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("sse");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, streams_and_their_events);
    tcase_add_test(tcase, a_zero_byte_is_a_byte);
    tcase_add_test(tcase, an_event_has_a_limit);
    tcase_add_test(tcase, a_long_name_is_cut);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
