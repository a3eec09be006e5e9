/* http_body: each body at once, cut in two at every byte, and byte by byte. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "http/http_body.h"

#define LIMIT 1000

struct outcome {
    enum http_parse_result result;
    int status;
    size_t used; /* bytes of the request */
    size_t size;
    char *body;
};

static struct http_head chunked_head(void) {
    return (struct http_head){.chunked = true, .content_length = -1};
}

/* Feeds text in pieces that end at the cuts, the way a connection does: behind what is decoded. */
static struct outcome feed(const struct http_head *head, struct bytes text, const size_t *cuts,
                           size_t cut_count) {
    struct outcome outcome = {.result = HTTP_PARSE_PARTIAL, .body = malloc(text.size + 1)};
    struct http_body body;
    struct http_fault fault = {0};
    size_t from = 0;
    http_body_begin(&body, head, LIMIT);
    for (size_t i = 0; i < cut_count && outcome.result == HTTP_PARSE_PARTIAL; i++) {
        size_t consumed, decoded;
        char *fresh = outcome.body + outcome.size;
        memcpy(fresh, text.data + from, cuts[i] - from);
        outcome.result = http_body_feed(&body, fresh, cuts[i] - from, &consumed, &decoded, &fault);
        if (outcome.result == HTTP_PARSE_PARTIAL) {
            ck_assert_uint_eq(consumed, cuts[i] - from);
        } else if (outcome.result == HTTP_PARSE_DONE) {
            /* What follows the body is left as it came. */
            ck_assert_mem_eq(fresh + consumed, text.data + from + consumed,
                             cuts[i] - from - consumed);
        }
        outcome.used = from + consumed;
        outcome.size += decoded;
        from = cuts[i];
    }
    outcome.status = fault.status;
    return outcome;
}

static void check_same(struct outcome a, struct outcome b) {
    ck_assert_int_eq(a.result, b.result);
    ck_assert_int_eq(a.status, b.status);
    if (a.result == HTTP_PARSE_DONE) {
        ck_assert_uint_eq(a.used, b.used);
        ck_assert_uint_eq(a.size, b.size);
        ck_assert_mem_eq(a.body, b.body, a.size);
    }
    free(b.body);
}

static struct outcome feed_every_way(const struct http_head *head, struct bytes text) {
    struct outcome whole = feed(head, text, &text.size, 1);
    size_t *cuts = calloc(text.size + 1, sizeof(*cuts));
    for (size_t i = 0; i < text.size; i++) {
        size_t two[] = {i, text.size};
        check_same(whole, feed(head, text, two, 2));
        cuts[i] = i + 1;
    }
    check_same(whole, feed(head, text, cuts, text.size));
    free(cuts);
    return whole;
}

static void check_done(struct outcome outcome, const char *body, size_t used) {
    ck_assert_int_eq(outcome.result, HTTP_PARSE_DONE);
    ck_assert_uint_eq(outcome.size, strlen(body));
    ck_assert_mem_eq(outcome.body, body, outcome.size);
    ck_assert_uint_eq(outcome.used, used);
    free(outcome.body);
}

static void check_refused(struct outcome outcome, int status) {
    ck_assert_int_eq(outcome.result, HTTP_PARSE_ERROR);
    ck_assert_int_eq(outcome.status, status);
    free(outcome.body);
}

START_TEST(test_length) {
    struct http_head head = {.content_length = 5};
    check_done(feed_every_way(&head, BYTES_LITERAL("helloGET /")), "hello", 5);
    head.content_length = -1;
    check_done(feed_every_way(&head, BYTES_LITERAL("GET /")), "", 0);
    head.content_length = 0;
    check_done(feed_every_way(&head, BYTES_LITERAL("GET /")), "", 0);
}
END_TEST

/* What the head alone decides is told before a byte of the body is there. */
START_TEST(test_decided_by_head) {
    size_t none = 0;
    struct http_head head = {.content_length = LIMIT + 1};
    check_refused(feed(&head, BYTES_LITERAL(""), &none, 1), 413);
    head.content_length = INT64_MAX;
    check_refused(feed(&head, BYTES_LITERAL(""), &none, 1), 413);
    head.content_length = LIMIT;
    struct outcome outcome = feed(&head, BYTES_LITERAL(""), &none, 1);
    ck_assert_int_eq(outcome.result, HTTP_PARSE_PARTIAL);
    free(outcome.body);
    head.content_length = -1;
    check_done(feed(&head, BYTES_LITERAL(""), &none, 1), "", 0);
}
END_TEST

struct good {
    const char *text;
    const char *body;
    size_t used;
};

static const struct good good[] = {
    {"0\r\n\r\nX", "", 5},
    {"5\r\nhello\r\n0\r\n\r\nGET", "hello", 15},
    {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", 26},
    {"0005\r\nhello\r\n0000000000000000\r\n\r\n", "hello", 33},
    {"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", 35},
    {"5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", "hello", 29},
    {"2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 12},
    {"1\r\nx\r\n0\r\nA: b\r\nContent-Length: 7\r\nE:\r\n\r\nGET", "x", 40},
};

START_TEST(test_chunked) {
    struct http_head head = chunked_head();
    check_done(feed_every_way(&head, bytes_from_str(good[_i].text)), good[_i].body, good[_i].used);
}
END_TEST

struct bad {
    int status;
    const char *text;
};

static const struct bad bad[] = {
    {400, "\r\n"},
    {400, ";a\r\n"},
    {400, " 5\r\nhello\r\n"},
    {400, "5 \r\nhello\r\n"},
    {400, "5 ;a\r\nhello\r\n"},
    {400, "+5\r\nhello\r\n"},
    {400, "-5\r\nhello\r\n"},
    {400, "0x5\r\nhello\r\n"},
    {400, "g\r\n"},
    {400, "5\nhello\r\n"},
    {400, "5\rhello\r\n"},
    {400, "5\r\nhello0\r\n\r\n"},
    {400, "5\r\nhello\n0\r\n\r\n"},
    {400, "5\r\nhello\r0\r\n\r\n"},
    {400, "5\r\nhello!\r\n0\r\n\r\n"},
    {400, "5;a\nhello\r\n"},
    {400, "5;a\x01\r\nhello\r\n"},
    {400, "00000000000000000\r\n"},
    {400, "fffffffffffffffff\r\n"},
    {400, "8000000000000000\r\n"},
    {400, "0\r\n\n"},
    {400, "0\r\n\rX"},
    {400, "0\r\nA\r\n\r\n"},
    {400, "0\r\n: b\r\n\r\n"},
    {400, "0\r\nA : b\r\n\r\n"},
    {400, "0\r\n A: b\r\n\r\n"},
    {400, "0\r\nA: b\n\r\n"},
    {400, "0\r\nA: \x7f\r\n\r\n"},
    {413, "3e9\r\n"},
    {413, "7fffffffffffffff\r\n"},
    {413, "1\r\nx\r\n3e8\r\n"},
};

START_TEST(test_bad_chunks) {
    struct http_head head = chunked_head();
    check_refused(feed_every_way(&head, bytes_from_str(bad[_i].text)), bad[_i].status);
}
END_TEST

/* "1;eee...\r\nx\r\n", `count` times, and the end. */
static struct bytes extended(size_t extension, size_t count) {
    size_t one = 2 + extension + 5;
    char *text = malloc(one * count + 6);
    for (size_t i = 0; i < count; i++) {
        memset(text + one * i, 'e', one);
        memcpy(text + one * i, "1;", 2);
        memcpy(text + one * (i + 1) - 5, "\r\nx\r\n", 5);
    }
    memcpy(text + one * count, "0\r\n\r\n", 6);
    return bytes_make(text, one * count + 5);
}

static void check_extended(size_t extension, size_t count, enum http_parse_result result) {
    struct http_head head = chunked_head();
    struct bytes text = extended(extension, count);
    struct outcome outcome = feed(&head, text, &text.size, 1);
    ck_assert_int_eq(outcome.result, result);
    ck_assert_int_eq(outcome.status, result == HTTP_PARSE_ERROR ? 400 : 0);
    free(outcome.body);
    free((char *)(uintptr_t)text.data);
}

START_TEST(test_framing_limits) {
    check_extended(4096, 1, HTTP_PARSE_DONE);
    check_extended(4097, 1, HTTP_PARSE_ERROR);
    check_extended(4000, 4, HTTP_PARSE_DONE);
    check_extended(4000, 5, HTTP_PARSE_ERROR);
    /* 16 bytes of framing for a byte of data are allowed for ever, 17 and more are not. */
    check_extended(10, 900, HTTP_PARSE_DONE);
    check_extended(60, 900, HTTP_PARSE_ERROR);
}
END_TEST

static struct outcome feed_trailers(size_t size) {
    char text[10000] = "0\r\nA:";
    struct http_head head = chunked_head();
    memset(text + 5, 'b', size);
    memcpy(text + 3 + size - 4, "\r\n\r\n", 4);
    size_t all = 3 + size;
    return feed(&head, bytes_make(text, all), &all, 1);
}

START_TEST(test_trailer_limit) {
    struct outcome outcome = feed_trailers(8192);
    ck_assert_int_eq(outcome.result, HTTP_PARSE_DONE);
    free(outcome.body);
    check_refused(feed_trailers(8193), 400);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("http_body");
    TCase *tcase = tcase_create("body");
    tcase_add_test(tcase, test_length);
    tcase_add_test(tcase, test_decided_by_head);
    tcase_add_loop_test(tcase, test_chunked, 0, sizeof(good) / sizeof(good[0]));
    tcase_add_loop_test(tcase, test_bad_chunks, 0, sizeof(bad) / sizeof(bad[0]));
    tcase_add_test(tcase, test_framing_limits);
    tcase_add_test(tcase, test_trailer_limit);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
