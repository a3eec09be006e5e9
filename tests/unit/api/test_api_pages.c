/* test_api_pages: a daemon built without pages, and event streams whose reader is slow or whose
 * worker ends.
 *
 * This program brings a table of pages of its own, an empty one, in place of the embedded one.
 */
#include "../../../src/api/www.h"
#include "api_harness.h"

const struct www_file www_files[] = {{NULL, NULL, NULL, NULL, 0, NULL, 0}};
const size_t www_file_count = 0;

static const char text[] =
    "cache: {size: 0}\nproviders:\n  only: {type: simulated, default_model: m}\n";

static char answer[1 << 20];
static size_t answer_size;

static void setup(void) {
    api_begin(text, HTTP_REGULAR, 16384, 4096);
    answer_size = 0;
}

/* Reads what there is; true when the other side has closed. */
static bool collect(void) {
    ssize_t got;
    do {
        event_base_loop(base, EVLOOP_NONBLOCK);
        got = read(client, answer + answer_size, sizeof(answer) - 1 - answer_size);
        answer_size += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    answer[answer_size] = '\0';
    return got == 0 || errno == ECONNRESET;
}

static void ask(const char *request) {
    size_t size = strlen(request);
    ck_assert_int_eq(write(client, request, size), (ssize_t)size);
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static unsigned count_events(void) {
    unsigned count = 0;
    for (const char *at = answer; (at = strstr(at, "event: stats\n")) != NULL; at++) {
        count++;
    }
    return count;
}

/* The stream's next turns, as the loop would take them. */
static void turns(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_ne(fake_timers_step(&fake), 0);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

START_TEST(without_pages) {
    static const char *const paths[] = {"/", "/dashboard", "/static/base.css"};
    char request[128];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[_i]);
    ask(request);
    collect();
    ck_assert_ptr_nonnull(strstr(answer, "HTTP/1.1 404 "));
    ck_assert_ptr_nonnull(strstr(answer, "--without-www"));
    answer_size = 0;
    ask("GET /api/stats HTTP/1.1\r\nHost: x\r\n\r\n"); /* the figures are there all the same */
    collect();
    ck_assert_ptr_nonnull(strstr(answer, "HTTP/1.1 200 "));
}
END_TEST

START_TEST(an_event_in_five_turns) {
    ask("GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n");
    collect();
    ck_assert_uint_eq(count_events(), 1);
    turns(4);
    collect();
    ck_assert_uint_eq(count_events(), 1);
    turns(1);
    collect();
    ck_assert_uint_eq(count_events(), 2);
    turns(10);
    ck_assert(!collect());
    ck_assert_uint_eq(count_events(), 4);
}
END_TEST

/* Nobody gathers for a reader who does not read: past the connection's buffer it is cut. */
START_TEST(a_slow_reader_is_cut) {
    ask("GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n");
    unsigned turn = 0;
    while (fake_timers_step(&fake) != 0) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        ck_assert_uint_lt(++turn, 1000);
    }
    ck_assert_uint_gt(turn, 5);
    while (!collect()) {
        ck_assert_uint_lt(answer_size, 65536);
    }
    ck_assert_ptr_null(strstr(answer, "\r\n0\r\n\r\n")); /* cut, not ended */
    ck_assert(http_server_is_empty(server) || http_server_stats(server)->in_flight == 0);
}
END_TEST

START_TEST(streams_end_with_the_worker) {
    ask("GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n");
    collect();
    board_set_state(region, 0, BOARD_DRAINING);
    turns(1);
    ck_assert(collect());
    ck_assert_ptr_nonnull(strstr(answer, "\r\n0\r\n\r\n"));
    ck_assert_uint_eq(count_events(), 1);
    ck_assert_int_eq(fake_timers_step(&fake), 0); /* and nothing goes on */
}
END_TEST

START_TEST(nothing_goes_on_when_the_client_left) {
    ask("GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n");
    collect();
    shutdown(client, SHUT_RDWR);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(fake_timers_step(&fake), 0);
    ck_assert_uint_eq(metric_total(region, METRIC_HTTP_REQUESTS, METHOD_GET, ENDPOINT_EVENTS,
                                   metrics_status_index(200)),
                      1);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("api_pages");
    TCase *cases = tcase_create("pages");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_loop_test(cases, without_pages, 0, 3);
    tcase_add_test(cases, an_event_in_five_turns);
    tcase_add_test(cases, a_slow_reader_is_cut);
    tcase_add_test(cases, streams_end_with_the_worker);
    tcase_add_test(cases, nothing_goes_on_when_the_client_left);
    suite_add_tcase(suite, cases);
    return suite;
}

UNIT_MAIN(make_suite)
