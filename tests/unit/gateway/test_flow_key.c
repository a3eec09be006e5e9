/* The key of a long request: made in turns of the loop, and whatever may happen meanwhile. */
#include "config.h"

#include "unit.h"

static const char flow_test_conf[] =
    "cache: {size: 8MB, ttl: 1h}\n"
    "providers:\n"
    "  cheap1: {type: simulated, default_model: c, per_second: 0.000005}\n"
    "routes: {auto: {cheap: cheap1, strong: cheap1}}\n";

#define flow_test_ops provider_ops_for
#include "flow_test.h"

#define LONG_BYTES ((size_t)300 * 1024)
#define LONG_TURNS 3 /* of 128 KiB */

/* A request whose canonical body is `size` bytes of x with `first` before them, given with its
 * memory or shown. */
static struct flow *start_long(char first, size_t size, bool is_given) {
    struct flow *flow = flow_new(gateway);
    struct flow_request *request = arena_calloc(flow_arena(flow), 1, sizeof(*request));
    struct buf canonical;
    char prompt[] = "hello";
    buf_init(&canonical, 0);
    memset(buf_reserve(&canonical, size), 'x', size);
    canonical.size = size;
    canonical.data[0] = first;
    request->chat = (struct chat){.form = FORM_CHAT, .wants_text = true, .max_tokens = 20};
    request->chat.prompt = request->chat.body = bytes_from_str(prompt);
    request->chat.text_size = strlen(prompt);
    request->route.provider = -1;
    request->max_age_ms = INT64_MAX;
    request->started_ns = request->parsed_ns = fake.now_ns;
    request->canonical = buf_bytes(&canonical);
    if (is_given) {
        request->canonical_memory = canonical;
    }
    flow_start(flow, request, &sink);
    memset(prompt, '#', sizeof(prompt) - 1); /* gone when flow_start returns */
    if (!is_given) {
        buf_free(&canonical);
    }
    return flow;
}

/* Turns of the loop until the sink hears the end. */
static unsigned turns(void) {
    unsigned count = 0;
    while (heard.dones + heard.failed == 0 && fake_timers_step(&fake)) {
        count++;
    }
    return count;
}

START_TEST(a_long_key_is_made_in_turns_and_is_the_same) {
    start_long('a', LONG_BYTES, false);
    turns();
    ck_assert_int_eq(heard.answer.cache, ANSWER_MISS);
    forget();
    start_long('a', LONG_BYTES, true);
    ck_assert_int_eq(heard.dones, 0);
    ck_assert_uint_eq(turns(), LONG_TURNS);
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
}
END_TEST

START_TEST(a_miss_with_a_long_key_is_answered_and_stored) {
    start_long('a', LONG_BYTES, true);
    turns();
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_int_eq(heard.answer.cache, ANSWER_MISS);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 1);
    ck_assert_line_has("\"attempts\":1");
    forget();
    start_long('b', LONG_BYTES, true);
    turns();
    ck_assert_int_eq(heard.answer.cache, ANSWER_MISS);
    forget();
    start_long('a', LONG_BYTES, true);
    turns();
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
}
END_TEST

START_TEST(a_client_that_leaves_before_the_key_is_made_asked_nobody) {
    struct flow *flow = start_long('a', LONG_BYTES, true);
    ck_assert(fake_timers_step(&fake));
    flow_abort(flow, OUTCOME_CLIENT_GONE);
    ck_assert_int_eq(heard.dones + heard.failed, 0);
    ck_assert_line_has("\"status\":499");
    ck_assert_line_has("\"attempts\":0");
    ck_assert_uint_eq(event(CACHE_EVENT_MISS), 0);
}
END_TEST

START_TEST(shutdown_before_the_key_is_made_is_a_503) {
    start_long('a', LONG_BYTES, true);
    gateway_abort_all(gateway);
    ck_assert_int_eq(heard.status, 503);
    ck_assert_str_eq(heard.code, outcome_name(OUTCOME_SHUTDOWN));
}
END_TEST

START_TEST(without_a_timer_it_is_a_503_or_made_at_once) {
    fake.refuse = 1;
    start_long('a', LONG_BYTES, true);
    ck_assert_int_eq(heard.status, 503);
    ck_assert_ptr_null(fake.first);
    forget();
    start_long('a', LONG_BYTES, true);
    fake.refuse = 2; /* then its first turn is its last; the other is the provider's */
    ck_assert_uint_eq(turns(), 2);
    ck_assert_int_eq(heard.dones, 1);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("flow_key");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_long_key_is_made_in_turns_and_is_the_same);
    tcase_add_test(tcase, a_miss_with_a_long_key_is_answered_and_stored);
    tcase_add_test(tcase, a_client_that_leaves_before_the_key_is_made_asked_nobody);
    tcase_add_test(tcase, shutdown_before_the_key_is_made_is_a_503);
    tcase_add_test(tcase, without_a_timer_it_is_a_503_or_made_at_once);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
