/* fetch: events, header lines, bodies, connections used again, and Retry-After. Ends and pauses are
 * in test_fetch_stream.c, names in test_fetch_lookup.c. What goes wrong on the wire is tested row
 * by row in the black-box tests.
 */
#include "config.h"

#include "fetch_test.h"

START_TEST(an_answer_comes_as_head_data_end) {
    answers[0] = ANSWER;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_int_eq(heard.heads, 1);
    ck_assert_int_eq(heard.head.status, 200);
    ck_assert(!heard.head.is_encoded);
    ck_assert_str_eq(heard.data, "hello");
}
END_TEST

START_TEST(the_request_is_exactly_what_was_asked) {
    answers[0] = ANSWER;
    exchange();
    const char *request = peers[0].request;
    ck_assert_ptr_eq(strstr(request, "POST /v1/x HTTP/1.1\r\n"), request);
    ck_assert_ptr_nonnull(strstr(request, "\r\nX-Test: yes\r\nX-Key: k\r\n"));
    ck_assert_ptr_nonnull(strstr(request, "\r\nContent-Length: 7\r\n"));
    ck_assert_ptr_nonnull(strstr(request, "\r\nUser-Agent: optiroute/" PACKAGE_VERSION "\r\n"));
    ck_assert_ptr_null(strstr(request, "Expect"));
    ck_assert_ptr_null(strstr(request, "Accept-Encoding"));
}
END_TEST

static unsigned count_of(const char *text, const char *part) {
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    return count;
}

/* Lines of the request's own stand beside the site's; one of the same name takes its place. They
 * are gone with the next request. */
START_TEST(a_request_may_have_header_lines_of_its_own) {
    answers[0] = answers[1] = ANSWER;
    exchange_with(&one_piece, 1, "x-own: 1\nx-KEY: mine\n");
    const char *request = peers[0].request;
    ck_assert_ptr_nonnull(strstr(request, "\r\nX-Test: yes\r\n"));
    ck_assert_ptr_nonnull(strstr(request, "\r\nx-own: 1\r\n"));
    ck_assert_ptr_nonnull(strstr(request, "\r\nx-KEY: mine\r\n"));
    ck_assert_ptr_null(strstr(request, "X-Key: k"));
    ck_assert_uint_eq(count_of(request, "Content-Length"), 1);
    ck_assert_ptr_null(strstr(request, "Expect"));
    exchange();
    ck_assert_uint_eq(peer_count, 1);
    ck_assert_ptr_nonnull(strstr(request, "\r\nX-Test: yes\r\nX-Key: k\r\n"));
    ck_assert_ptr_null(strstr(request, "x-own"));
    ck_assert_ptr_null(strstr(request, "mine"));
}
END_TEST

/* More than libcurl can take, in one line: refused at the start, and nothing is left behind. */
START_TEST(a_header_line_without_end_is_no_request) {
    static char line[10002];
    memset(line, 'x', 10000);
    line[1] = ':';
    line[10000] = '\n';
    struct fetch_request request = {.url = url,
                                    .fields = bytes_make(line, 10001),
                                    .pieces = &one_piece,
                                    .piece_count = 1,
                                    .deadline_ns = INT64_MAX,
                                    .events = &events,
                                    .user = &heard};
    struct fetch *fetch = NULL;
    ck_assert(!fetch_start(site, &request, &fetch));
    answers[0] = ANSWER;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
}
END_TEST

#define LARGE ((size_t)3 << 20)

/* Pieces of every size, empty ones too, arrive as one body, byte for byte. */
START_TEST(a_body_in_pieces_arrives_as_one) {
    static const size_t sizes[] = {1, 0, 7, 65536, 65537, 1, LARGE, 0, 3};
    struct bytes pieces[COUNT(sizes)];
    struct buf whole;
    uint32_t state = 1;
    buf_init(&whole, 0);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        body_wanted += sizes[i];
    }
    char *room = buf_reserve(&whole, body_wanted);
    for (size_t i = 0; i < body_wanted; i++) {
        state = state * 1664525 + 1013904223;
        room[i] = (char)(state >> 24);
    }
    whole.size = body_wanted;
    size_t at = 0;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        pieces[i] = bytes_make(whole.data + at, sizes[i]);
        at += sizes[i];
    }
    answers[0] = answers[1] = ANSWER;
    for (int i = 0; i < 2; i++) { /* and once more, on the same handle and connection */
        exchange_with(pieces, COUNT(sizes), "");
        ck_assert_int_eq(heard.outcome, OUTCOME_OK);
        ck_assert(bytes_equal(buf_bytes(&body_got), buf_bytes(&whole)));
    }
    ck_assert_uint_eq(peer_count, 1);
    char length[64];
    snprintf(length, sizeof(length), "\r\nContent-Length: %zu\r\n", body_wanted);
    ck_assert_ptr_nonnull(strstr(peers[0].request, length));
    ck_assert_ptr_null(strstr(peers[0].request, "Transfer-Encoding"));
    ck_assert_ptr_null(strstr(peers[0].request, "Expect"));
    buf_free(&whole);
}
END_TEST

/* A kept connection that is closed under it: the pieces go once more from the beginning. */
START_TEST(a_body_in_pieces_is_sent_again) {
    static const struct bytes pieces[] = {BYTES_LITERAL("{\"a\""), BYTES_LITERAL(":1"),
                                          BYTES_LITERAL("}")};
    answers[0] = ANSWER;
    answers[1] = NULL;
    answers[2] = ANSWER;
    exchange();
    exchange_with(pieces, 3, "");
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_uint_eq(heard.stale_sends, 1);
    ck_assert_uint_eq(requests, 3); /* the server knows REQUEST only */
    ck_assert_uint_eq(peer_count, 2);
}
END_TEST

START_TEST(a_kept_connection_is_used_again) {
    answers[0] = answers[1] = answers[2] = ANSWER;
    exchange();
    exchange();
    exchange();
    ck_assert_uint_eq(requests, 3);
    ck_assert_uint_eq(peer_count, 1);
}
END_TEST

/* libcurl sends again by itself, once; that is counted and it is not repeated. */
START_TEST(a_kept_connection_that_is_closed_under_the_request_costs_one_more_try) {
    answers[0] = ANSWER;
    answers[1] = NULL;
    answers[2] = ANSWER;
    exchange();
    heard.ends = 0;
    start_with(&heard, &one_piece, 1, "", &current);
    run_until(&heard.ends, 1);
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_uint_eq(heard.stale_sends, 1);
    ck_assert_uint_eq(requests, 3);
    ck_assert_uint_eq(peer_count, 2);
}
END_TEST

START_TEST(a_fresh_connection_that_is_closed_is_not_tried_again) {
    answers[0] = NULL;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_EMPTY_REPLY);
    ck_assert_uint_eq(requests, 1);
}
END_TEST

START_TEST(another_protocol_is_no_answer) {
    answers[0] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
                 "{\"hello\":1}";
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_BAD_HTTP);
    ck_assert_int_eq(heard.heads, 0);
    ck_assert_uint_eq(heard.size, 0);
}
END_TEST

START_TEST(the_head_says_when_to_come_back_and_what_is_inside) {
    answers[0] = "HTTP/1.1 503 Busy\r\nretry-after:  17 \r\ncontent-encoding: gzip\r\n"
                 "Content-Length: 0\r\n\r\n";
    exchange();
    ck_assert_int_eq(heard.head.status, 503);
    ck_assert_int_eq(heard.head.retry_after_ms, 17000);
    ck_assert(heard.head.is_encoded);
    answers[1] = "HTTP/1.1 100 Continue\r\nretry-after: 5\r\n\r\n" ANSWER;
    heard = (struct heard){0};
    exchange();
    ck_assert_int_eq(heard.heads, 1); /* the interim answer is not one */
    ck_assert_int_eq(heard.head.retry_after_ms, -1);
}
END_TEST

/* RFC 9110 section 10.2.3; B8. 784111777 is the date that RFC 9110 section 5.6.7 writes down. */
START_TEST(retry_after_as_seconds_and_as_a_date) {
    static const struct {
        const char *value;
        int64_t ms;
    } rows[] = {
        {"0", 0},
        {"2", 2000},
        {"1000000000", 1000000000000},
        {"9223372036854775807", INT64_MAX},
        {"9223372036854775808", -1},
        {"-1", -1},
        {"1e9", -1},
        {"1.5", -1},
        {"", -1},
        {"soon", -1},
        {"tomorrow, GMT", -1},
        {"Sun, 06 Nov 1994 08:49:47 GMT", 10000},
        {"Sunday, 06-Nov-94 08:49:47 GMT", 10000},
        {"Sun, 06 Nov 1994 08:49:30 GMT", 0}, /* over */
        {"Sun, 06 Nov 1994 08:49:47", -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t ms = fetch_retry_after_ms(bytes_from_str(rows[i].value), 784111777);
        ck_assert_msg(ms == rows[i].ms, "%s: %lld", rows[i].value, (long long)ms);
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("fetch");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, fetch_open, fetch_close);
    tcase_add_test(all, an_answer_comes_as_head_data_end);
    tcase_add_test(all, the_request_is_exactly_what_was_asked);
    tcase_add_test(all, a_request_may_have_header_lines_of_its_own);
    tcase_add_test(all, a_header_line_without_end_is_no_request);
    tcase_add_test(all, a_body_in_pieces_arrives_as_one);
    tcase_add_test(all, a_body_in_pieces_is_sent_again);
    tcase_add_test(all, a_kept_connection_is_used_again);
    tcase_add_test(all, a_kept_connection_that_is_closed_under_the_request_costs_one_more_try);
    tcase_add_test(all, a_fresh_connection_that_is_closed_is_not_tried_again);
    tcase_add_test(all, another_protocol_is_no_answer);
    tcase_add_test(all, the_head_says_when_to_come_back_and_what_is_inside);
    tcase_add_test(all, retry_after_as_seconds_and_as_a_date);
    suite_add_tcase(suite, all);
    return suite;
}

UNIT_MAIN(make_suite)
