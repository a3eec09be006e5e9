/* Connections above the limit: one answer each, and nobody keeps the next one out. */
#include "config.h"

#include <fcntl.h>

#include "http_harness.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define CLOSED(status, length, body) ANSWER(status, length, "Connection: close\r\n", body)
#define NO_ROOM "too many connections: the server is busy, try again in a moment"

static int above(void) {
    return harness_connect_as(NULL, HTTP_ABOVE_CONNECTIONS);
}

static uint64_t turned_away(void) {
    return http_server_stats(harness.server)->turned_away[HTTP_ABOVE_CONNECTIONS];
}

static void expect_above(int64_t count) {
    ck_assert_int_eq(http_server_stats(harness.server)->above, count);
}

START_TEST(what_is_admitted_is_answered_once) {
    int fd = above();
    harness_say_str(fd, GET("/now") GET("/now"));
    harness_step();
    harness_expect(fd, CLOSED("200 OK", "0", ""), true);
    ck_assert_uint_eq(turned_away(), 0);
    close(fd);
    harness_step();
    expect_above(0);
}
END_TEST

START_TEST(all_else_is_refused_before_its_body) {
    int fd = above();
    harness_say_str(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nbegin");
    harness_step();
    harness_expect(fd, CLOSED("503 Service Unavailable", "63", NO_ROOM), true);
    ck_assert_uint_eq(turned_away(), 1);
    expect_above(1); /* it lingers, so that the answer is not lost to a reset */
    harness_say_str(fd, "the rest of the body");
    harness_step();
    expect_above(1);
    harness_pass(2000);
    expect_above(0);
    close(fd);
}
END_TEST

START_TEST(an_admitted_request_has_no_body) {
    int fd = above();
    harness_say_str(fd, "GET /now HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    harness_step();
    harness_expect(fd, CLOSED("413 Content Too Large", "17", "body is too large"), true);
    close(fd);
}
END_TEST

/* Nothing, a part of a head, or a part of an admitted one. */
START_TEST(who_takes_long_hears_the_prepared_answer) {
    static const char *const parts[] = {"", "GET /la", "GET /now HTTP/1.1\r\nHost:"};
    int fd = above();
    harness_say_str(fd, parts[_i]);
    harness_step();
    harness_pass(999);
    harness_expect(fd, "", false);
    harness_pass(1);
    harness_expect(fd, HARNESS_BUSY, true);
    ck_assert_uint_eq(turned_away(), 1);
    close(fd);
    harness_step();
    expect_above(0);
}
END_TEST

START_TEST(a_drip_does_not_move_the_deadline) {
    int fd = above();
    for (int i = 0; i < 10; i++) {
        harness_say_str(fd, i == 0 ? "GET /" : "a");
        harness_step();
        harness_pass(100);
    }
    harness_expect(fd, HARNESS_BUSY, true);
    close(fd);
}
END_TEST

START_TEST(one_more_pushes_out_the_oldest) {
    int fds[4];
    for (int i = 0; i < 3; i++) {
        fds[i] = above();
    }
    expect_above(3);
    fds[3] = above();
    expect_above(3);
    harness_expect(fds[0], HARNESS_BUSY, true);
    harness_expect(fds[1], "", false);
    ck_assert_uint_eq(turned_away(), 1);
    harness_say_str(fds[3], GET("/now"));
    harness_step();
    harness_expect(fds[3], CLOSED("200 OK", "0", ""), true);
    for (int i = 0; i < 4; i++) {
        close(fds[i]);
    }
    harness_step();
    expect_above(0);
}
END_TEST

/* Whoever is answered already and only lingers is not counted a second time. */
START_TEST(who_lingers_is_pushed_out_in_silence) {
    int fds[4];
    for (int i = 0; i < 3; i++) {
        fds[i] = above();
        harness_say_str(fds[i], GET("/later"));
    }
    harness_step();
    ck_assert_uint_eq(turned_away(), 3);
    fds[3] = above();
    ck_assert_uint_eq(turned_away(), 3);
    harness_expect(fds[0], CLOSED("503 Service Unavailable", "63", NO_ROOM), true);
    for (int i = 0; i < 4; i++) {
        close(fds[i]);
    }
    harness_step();
    expect_above(0);
}
END_TEST

/* Even an admitted answer, when it takes so long; its handler is told. */
START_TEST(an_answer_under_way_can_be_pushed_out) {
    int first = above();
    harness_say_str(first, GET("/stream"));
    harness_step();
    ck_assert_int_eq(harness.opened, 1);
    (void)above();
    (void)above();
    ck_assert_int_eq(harness.aborted, 0);
    (void)above();
    ck_assert_int_eq(harness.aborted, 1);
    expect_above(3);
    ck_assert_uint_eq(turned_away(), 0);
    close(first);
}
END_TEST

START_TEST(regular_ones_are_left_alone) {
    int regular = harness_connect();
    for (int i = 0; i < 8; i++) {
        (void)above();
    }
    ck_assert_int_eq(http_server_stats(harness.server)->connections, 4);
    ck_assert_int_eq(http_server_stats(harness.server)->idle, 1);
    harness_say_str(regular, GET("/now"));
    harness_step();
    harness_expect(regular, ANSWER("200 OK", "0", "", ""), false);
    close(regular);
}
END_TEST

/* Over TLS there is no word before the handshake. */
START_TEST(a_descriptor_too_many_hears_it_and_is_closed) {
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    harness_say_str(pair[0], GET("/now"));
    http_server_turn_away(harness.server, pair[1], NULL);
    harness_expect(pair[0], HARNESS_BUSY, true);
    ck_assert_uint_eq(http_server_stats(harness.server)->turned_away[HTTP_ABOVE_DESCRIPTORS], 1);
    ck_assert_int_eq(fcntl(pair[1], F_GETFD), -1);
    close(pair[0]);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("http_above");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, harness_set_up, harness_tear_down);
    tcase_add_test(tcase, what_is_admitted_is_answered_once);
    tcase_add_test(tcase, all_else_is_refused_before_its_body);
    tcase_add_test(tcase, an_admitted_request_has_no_body);
    tcase_add_loop_test(tcase, who_takes_long_hears_the_prepared_answer, 0, 3);
    tcase_add_test(tcase, a_drip_does_not_move_the_deadline);
    tcase_add_test(tcase, one_more_pushes_out_the_oldest);
    tcase_add_test(tcase, who_lingers_is_pushed_out_in_silence);
    tcase_add_test(tcase, an_answer_under_way_can_be_pushed_out);
    tcase_add_test(tcase, regular_ones_are_left_alone);
    tcase_add_test(tcase, a_descriptor_too_many_hears_it_and_is_closed);
    suite_add_tcase(suite, tcase);
    return suite;
}
UNIT_MAIN(make_suite)
