/* fetch: answers that come in pieces: complete before their end, refused, cancelled, paused.
 */
#include "config.h"

#include "fetch_test.h"

#define STREAM "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"

static void say_more(const char *text) {
    ck_assert_int_eq(write(peers[0].fd, text, strlen(text)), (ssize_t)strlen(text));
}

START_TEST(what_may_take_so_long_only_is_ended_then) {
    answers[0] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell";
    heard.limit_ms = 20;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_TOTAL_TIMEOUT);
    ck_assert_uint_eq(heard.size, 4);
}
END_TEST

/* Row 39: the last event has come, and the server holds the connection. The end comes at once, long
 * before any of the timeouts (20 s), and once; then the exchange is given a second. */
START_TEST(a_complete_answer_ends_at_once_and_is_cut_in_a_second) {
    answers[0] = STREAM;
    heard.complete = true;
    int64_t started_ns = clock_mono_ns();
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_str_eq(heard.data, "hello");
    ck_assert_uint_eq(ends, 0); /* it is still open */
    run_until((int *)&ends, 1);
    int64_t took_ms = (clock_mono_ns() - started_ns) / NS_PER_MS;
    ck_assert_int_ge(took_ms, 900);
    ck_assert_int_lt(took_ms, 15000); /* not one of the 20 s */
    ck_assert_int_eq(heard.ends, 1);
    ck_assert_uint_eq(heard.size, 5);
}
END_TEST

/* When the exchange ends in that time, its connection is as good as any. What came then is nobody's
 * business. */
START_TEST(a_complete_answer_that_ends_keeps_its_connection) {
    answers[0] = STREAM;
    heard.complete = true;
    exchange();
    say_more("4\r\nmore\r\n0\r\n\r\n");
    while (TAILQ_FIRST(&fetcher->active) != NULL) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    }
    ck_assert_uint_eq(heard.size, 5);
    ck_assert_int_eq(heard.ends, 1);
    answers[1] = ANSWER;
    heard.size = 0;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_uint_eq(peer_count, 1);
    ck_assert_uint_eq(ends, 0);
}
END_TEST

/* The end of the exchange comes with the last event: one end, and the connection is kept. */
START_TEST(a_complete_answer_in_one_piece_with_its_end) {
    answers[0] = STREAM "0\r\n\r\n";
    answers[1] = ANSWER;
    heard.complete = true;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    heard.size = 0;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_uint_eq(peer_count, 1);
}
END_TEST

/* A server that breaks off behind the last event has done what it should. */
START_TEST(a_complete_answer_does_not_care_how_it_ends) {
    answers[0] = STREAM;
    heard.complete = true;
    exchange();
    peer_close(&peers[0]);
    while (TAILQ_FIRST(&fetcher->active) != NULL) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    }
    ck_assert_int_eq(heard.ends, 1);
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
}
END_TEST

/* It answered before it had read all of the request, whose bytes are freed with the end: the
 * connection goes with them. */
START_TEST(a_complete_answer_to_half_a_request) {
    char *large = calloc(1, 64 << 20);
    struct bytes pieces[] = {BYTES_LITERAL("{"), bytes_make(large, 64 << 20)};
    body_wanted = 1000;
    answers[0] = STREAM;
    heard.complete = true;
    start_with(&heard, pieces, 2, "", &current);
    run_until((int *)&requests, 1);
    event_del(peers[0].event); /* and reads no more */
    run_until(&heard.ends, 1);
    free(large);
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_ptr_null(TAILQ_FIRST(&fetcher->active));
}
END_TEST

/* Nobody will resume what is over. */
START_TEST(a_complete_answer_that_is_paused) {
    answers[0] = STREAM;
    heard.complete = heard.pause = true;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_ptr_null(TAILQ_FIRST(&fetcher->active));
    run_until((int *)&ends, 1);
}
END_TEST

START_TEST(what_drains_may_be_left_at_the_end) {
    answers[0] = STREAM;
    heard.complete = true;
    exchange();
    ck_assert_ptr_nonnull(TAILQ_FIRST(&fetcher->active)); /* teardown frees the fetcher now */
}
END_TEST

START_TEST(a_refused_piece_ends_it_with_the_given_reason) {
    answers[0] = ANSWER;
    heard.refuse = OUTCOME_TOO_LARGE;
    exchange();
    ck_assert_int_eq(heard.outcome, OUTCOME_TOO_LARGE);
    run_until((int *)&ends, 1); /* and the connection is gone */
}
END_TEST

START_TEST(cancelling_closes_the_connection_and_says_nothing_more) {
    answers[0] = "";
    start_with(&heard, &one_piece, 1, "", &current);
    run_until((int *)&requests, 1);
    ck_assert(fetch_was_sent(current));
    fetch_cancel(current);
    run_until((int *)&ends, 1);
    ck_assert_int_eq(heard.ends, 0);
}
END_TEST

START_TEST(cancelling_before_anything_was_sent) {
    start_with(&heard, &one_piece, 1, "", &current);
    fetch_cancel(current);
    ck_assert_int_eq(event_base_loop(base, EVLOOP_NONBLOCK), 0);
    ck_assert_int_eq(heard.ends, 0);
    ck_assert_uint_eq(requests, 0);
}
END_TEST

/* More than fits into the sockets' buffers: it must wait at the server, not in our memory; and when
 * it comes, it comes in portions, so that others have their turns between (FIELD 5). */
static char *flood;
#define FLOOD_SIZE ((size_t)32 << 20)
#define FLOOD_TURN ((size_t)256 << 10) /* far more than a portion, far less than what is there */
static size_t flood_sent;

static void on_writable(evutil_socket_t fd, short what, void *argument) {
    (void)what;
    (void)argument;
    ssize_t sent = write(fd, flood + flood_sent, FLOOD_SIZE - flood_sent);
    flood_sent += sent > 0 ? (size_t)sent : 0;
}

START_TEST(a_paused_answer_waits_at_the_server) {
    char head[128];
    int length =
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", FLOOD_SIZE);
    flood = malloc(FLOOD_SIZE);
    memset(flood, 'x', FLOOD_SIZE);
    memcpy(flood, "begin", 5);
    flood_sent = 0;
    head[length] = '\0';
    answers[0] = head;
    heard.pause = true;
    start_with(&heard, &one_piece, 1, "", &current);
    run_until((int *)&requests, 1);
    struct event *writable = event_new(base, peers[0].fd, EV_WRITE | EV_PERSIST, on_writable, NULL);
    event_add(writable, NULL);
    for (int quiet = 0; quiet < 100;) { /* until something came and nothing moves any more */
        size_t before = flood_sent;
        ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0);
        quiet = heard.size > 0 && before == flood_sent ? quiet + 1 : 0;
    }
    size_t paused_size = heard.size;
    ck_assert_uint_lt(paused_size, 1 << 20);
    ck_assert_uint_lt(flood_sent, FLOOD_SIZE / 2);
    ck_assert_str_eq(bytes_start_with(bytes_make(heard.data, 5), BYTES_LITERAL("begin")) ? "" : "?",
                     "");
    fetch_resume(current);
    size_t most = 0;
    while (flood_sent < FLOOD_SIZE) {
        size_t before = heard.size;
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
        most = heard.size - before > most ? heard.size - before : most;
    }
    ck_assert_uint_le(most, FLOOD_TURN);
    event_free(writable);
    run_until(&heard.ends, 1);
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_uint_eq(heard.size, FLOOD_SIZE);
    free(flood);
}
END_TEST

/* While it is paused nothing is heard, however long; cancelling it then is as cancelling ever. */
START_TEST(a_paused_answer_is_silent_until_it_is_resumed) {
    answers[0] = STREAM;
    heard.pause = true;
    start_with(&heard, &one_piece, 1, "", &current);
    run_until(&heard.heads, 1);
    while (heard.size < 5) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    }
    say_more("4\r\nmore\r\n0\r\n\r\n");
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0);
    }
    ck_assert_uint_eq(heard.size, 5);
    ck_assert_int_eq(heard.ends, 0);
    fetch_resume(current);
    run_until(&heard.ends, 1);
    ck_assert_int_eq(heard.outcome, OUTCOME_OK);
    ck_assert_str_eq(heard.data, "hellomore");
}
END_TEST

START_TEST(a_paused_answer_can_be_cancelled) {
    answers[0] = STREAM;
    heard.pause = true;
    start_with(&heard, &one_piece, 1, "", &current);
    while (heard.size < 5) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    }
    fetch_cancel(current);
    run_until((int *)&ends, 1);
    ck_assert_int_eq(heard.ends, 0);
}
END_TEST

/* The idle timeout rests while it is the client that is slow. */
START_TEST(a_paused_answer_is_not_idle) {
    provider.idle_timeout_ms = 30;
    answers[0] = STREAM;
    heard.pause = true;
    start_with(&heard, &one_piece, 1, "", &current);
    while (heard.size < 5) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_ONCE), 0);
    }
    int64_t until_ns = clock_mono_ns() + 200 * NS_PER_MS;
    while (clock_mono_ns() < until_ns) {
        ck_assert_int_ge(event_base_loop(base, EVLOOP_NONBLOCK), 0);
    }
    ck_assert_int_eq(heard.ends, 0);
    fetch_resume(current);
    run_until(&heard.ends, 1);
    ck_assert_int_eq(heard.outcome, OUTCOME_IDLE_TIMEOUT);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("fetch_stream");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, fetch_open, fetch_close);
    tcase_add_test(all, what_may_take_so_long_only_is_ended_then);
    tcase_add_test(all, a_complete_answer_ends_at_once_and_is_cut_in_a_second);
    tcase_add_test(all, a_complete_answer_that_ends_keeps_its_connection);
    tcase_add_test(all, a_complete_answer_in_one_piece_with_its_end);
    tcase_add_test(all, a_complete_answer_does_not_care_how_it_ends);
    tcase_add_test(all, a_complete_answer_to_half_a_request);
    tcase_add_test(all, a_complete_answer_that_is_paused);
    tcase_add_test(all, what_drains_may_be_left_at_the_end);
    tcase_add_test(all, a_refused_piece_ends_it_with_the_given_reason);
    tcase_add_test(all, cancelling_closes_the_connection_and_says_nothing_more);
    tcase_add_test(all, cancelling_before_anything_was_sent);
    tcase_add_test(all, a_paused_answer_waits_at_the_server);
    tcase_add_test(all, a_paused_answer_is_silent_until_it_is_resumed);
    tcase_add_test(all, a_paused_answer_can_be_cancelled);
    tcase_add_test(all, a_paused_answer_is_not_idle);
    suite_add_tcase(suite, all);
    return suite;
}

UNIT_MAIN(make_suite)
