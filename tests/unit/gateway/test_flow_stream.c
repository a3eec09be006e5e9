/* What a client hears of a stream while it comes: when the first event is told, signs of life, a
 * client that reads slowly, streams that break and clients that leave.
 */
#include "config.h"

#include "unit.h"

#include "stream_test.h"

/* -- the first event ------------------------------------------------------------------------------
 */

/* _i: the form. */
START_TEST(what_a_stream_begins_with_waits_for_something_to_read) {
    const struct script *script = &scripts[_i];
    ask_for(script, "both", "x", true);
    begin(script, "c1");
    flush();
    ck_assert_str_eq(heard.order, "");
    ck_assert_uint_eq(metric_total(region, METRIC_TIME_TO_FIRST_TOKEN, label_of("a"), 0, 0), 0);
    say(script, 0);
    flush();
    ck_assert_str_eq(heard.order, script->form == FORM_CHAT ? "hecf" : "heecf");
    ck_assert_str_eq(heard.head_provider, "a");
    ck_assert_uint_eq(metric_total(region, METRIC_TIME_TO_FIRST_TOKEN, label_of("a"), 0, 0), 1);
    say(script, 1);
    flush();
    end(script);
    ck_assert_str_eq(heard.order, script->form == FORM_CHAT ? "hecfcfefd" : "heecfcfeefd");
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
    ck_assert_str_eq(heard.last, script->last);
    ck_assert_int_eq(heard.answer.usage.prompt_tokens, 1000);
    ck_assert_uint_eq(metric_total(region, METRIC_TIME_TO_FIRST_TOKEN, label_of("a"), 0, 0), 1);
}
END_TEST

START_TEST(the_events_of_a_fallback_are_the_only_ones_that_are_heard) {
    const struct script *script = &scripts[_i];
    ask_for(script, "both", "x", true);
    begin(script, "c0");
    flush();
    ck_assert_uint_gt(gateway->kept_bytes, 0);
    break_off(OUTCOME_STREAM_TRUNCATED);
    ck_assert_str_eq(hand.asked, "ab");
    ck_assert_str_eq(heard.order, "");
    ck_assert_uint_eq(gateway->kept_bytes, 0);
    play(script, "c1");
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_int_eq(heard.heads, 1);
    ck_assert_str_eq(heard.head_provider, "b");
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
    ck_assert_ptr_nonnull(strstr(heard.told, "c1"));
    ck_assert_ptr_null(strstr(heard.told, "c0"));
    ck_assert_uint_eq(provider_total(METRIC_FALLBACKS, "a", OUTCOME_STREAM_TRUNCATED), 1);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("a"), 0, 0), 0); /* nothing was delivered */
    ck_assert_uint_gt(total(METRIC_COST, pair_of("b"), 0, 0), 0);
    ask_for(script, "both", "x", false);
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    ck_assert_ptr_null(strstr(heard.json, "c0"));
}
END_TEST

/* The same provider once more, then the client is tired of it. */
START_TEST(a_retry_forgets_what_the_first_attempt_said) {
    const struct script *script = &scripts[_i];
    conf->providers[0].retry_attempts = 2;
    ask_for(script, "auto", "x", true);
    begin(script, "c0");
    break_off(OUTCOME_STREAM_TRUNCATED);
    ck_assert_str_eq(hand.asked, "a");
    ck_assert_int_eq(fake_timers_step(&fake), 1); /* the pause is over */
    ck_assert_str_eq(hand.asked, "aa");
    play(script, "c1");
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_ptr_null(strstr(heard.told, "c0"));
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
    forget();
    struct flow *flow = ask_for(script, "auto", "y", true);
    begin(script, "c0");
    break_off(OUTCOME_STREAM_TRUNCATED);
    flow_abort(flow, OUTCOME_CLIENT_GONE);
    ck_assert_str_eq(hand.asked, "aaa");
    ck_assert_str_eq(heard.order, "");
    ck_assert_ptr_null(fake.first);
    ck_assert_uint_eq(gateway->kept_bytes, 0);
}
END_TEST

START_TEST(nobody_is_left_before_the_first_content) {
    ask_for(&scripts[0], "both", "x", true);
    begin(&scripts[0], "c1");
    break_off(OUTCOME_STREAM_TRUNCATED);
    begin(&scripts[0], "c2");
    break_off(OUTCOME_STREAM_IDLE);
    ck_assert_str_eq(heard.order, "x"); /* so it can be an answer with a status */
    ck_assert_int_eq(heard.status, 504);
    ck_assert_str_eq(heard.code, "stream_idle");
    ck_assert_line_has("\"cost_usd\":0.000000000,");
}
END_TEST

START_TEST(a_stream_without_a_word_is_told_at_its_end) {
    const struct script *script = &scripts[_i];
    ask_for(script, "both", "x", true);
    begin(script, "c1");
    flush();
    ck_assert_str_eq(heard.order, "");
    end(script);
    ck_assert_str_eq(heard.order, script->form == FORM_CHAT ? "heed" : "heeeed");
    ck_assert_str_eq(heard.last, script->last);
    ck_assert_str_eq(heard.said, "");
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 1);
}
END_TEST

/* 256 KiB; then it is a beginning, too. */
START_TEST(a_beginning_is_not_kept_back_for_ever) {
    static char data[70000];
    int told = 0;
    sink_keeps_data = false;
    memset(data, ' ', sizeof(data) - 1);
    memcpy(data, CHUNK("c1", "\"choices\":[]"), sizeof(CHUNK("c1", "\"choices\":[]")) - 1);
    ask_for(&scripts[0], "both", "x", true);
    while (heard.events == 0) {
        tell("", data);
        flush();
        told++;
        ck_assert_int_le(told, 10);
    }
    ck_assert_int_eq(told, 4);
    ck_assert_str_eq(heard.order, "heeeef");
    break_off(OUTCOME_STREAM_TRUNCATED);
    ck_assert_str_eq(hand.asked, "a");
    ck_assert_str_eq(heard.order, "heeeefx");
}
END_TEST

/* -- streams that break --------------------------------------------------------------------------
 */

START_TEST(a_failure_after_content_is_told_and_paid_and_has_no_fallback) {
    const struct script *script = &scripts[_i];
    ask_for(script, "both", "x", true);
    begin(script, "c1");
    say(script, 0);
    flush();
    break_off(OUTCOME_STREAM_TRUNCATED);
    ck_assert_str_eq(hand.asked, "a");
    ck_assert_str_eq(heard.order, script->form == FORM_CHAT ? "hecfx" : "heecfx");
    ck_assert_str_eq(heard.code, "stream_truncated");
    ck_assert_uint_eq(total(METRIC_TOKENS, pair_of("a"), TOKEN_COMPLETION, 0), 9);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("a"), 0, 0), 1000 * 1000 + 9 * 2000);
    ck_assert_uint_eq(provider_total(METRIC_UPSTREAM_ERRORS, "a", OUTCOME_STREAM_TRUNCATED), 1);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 0);
    ck_assert_line_has("\"outcome\":\"stream_truncated\",\"attempts\":1,\"prompt_tokens\":1000,"
                       "\"completion_tokens\":9,");
    ck_assert_line_has("\"cost_usd\":0.001018000,");
    flow_abort(ask_for(script, "both", "x", true), OUTCOME_CLIENT_GONE);
    ck_assert_str_eq(hand.asked, "aa"); /* not a hit */
}
END_TEST

/* -- signs of life --------------------------------------------------------------------------------
 */

START_TEST(a_client_hears_a_sign_of_life_every_15_s_of_silence) {
    const struct script *script = &scripts[_i];
    ask_for(script, "both", "x", true);
    pass_time(FLOW_PING_NS - 1);
    ck_assert_str_eq(heard.order, "");
    pass_time(1);
    ck_assert_str_eq(heard.order, "hp");
    ck_assert_str_eq(heard.head_provider, "a");
    pass_time(2 * FLOW_PING_NS);
    ck_assert_str_eq(heard.order, "hppp");
    begin(script, "c1"); /* is not told yet, so it breaks no silence */
    flush();
    pass_time(FLOW_PING_NS);
    ck_assert_str_eq(heard.order, "hpppp");
    say(script, 0);
    flush();
    ck_assert_str_eq(heard.order, script->form == FORM_CHAT ? "hppppecf" : "hppppeecf");
    pass_time(FLOW_PING_NS - 1);
    ck_assert_int_eq(heard.pings, 4);
    pass_time(1);
    ck_assert_int_eq(heard.pings, 5);
    pass_time(FLOW_PING_NS / 2);
    say(script, 1); /* the silence begins anew, in the middle of the timer's time */
    flush();
    pass_time(FLOW_PING_NS - 1);
    ck_assert_int_eq(heard.pings, 5);
    pass_time(1);
    ck_assert_int_eq(heard.pings, 6);
    end(script);
    ck_assert_int_eq(heard.heads, 1);
    ck_assert_int_eq(heard.dones, 1);
}
END_TEST

START_TEST(a_stream_that_speaks_needs_no_sign_of_life) {
    ask_for(&scripts[0], "both", "x", true);
    begin(&scripts[0], "c1");
    for (int i = 0; i < 20; i++) {
        say(&scripts[0], 0);
        flush();
        pass_time(FLOW_PING_NS - 1);
    }
    ck_assert_int_eq(heard.pieces, 20);
    ck_assert_int_eq(heard.pings, 0);
    end(&scripts[0]);
}
END_TEST

START_TEST(after_a_sign_of_life_a_fallback_still_answers) {
    ask_for(&scripts[0], "both", "x", true);
    begin(&scripts[0], "c0");
    pass_time(FLOW_PING_NS);
    break_off(OUTCOME_STREAM_TRUNCATED);
    pass_time(FLOW_PING_NS);
    ck_assert_str_eq(heard.order, "hpp");
    play(&scripts[0], "c1");
    ck_assert_str_eq(heard.order, "hppecfcfefd");
    ck_assert_ptr_null(strstr(heard.told, "c0"));
    ck_assert_str_eq(heard.provider, "b");
}
END_TEST

START_TEST(after_a_sign_of_life_a_failure_is_still_told) {
    ask_for(&scripts[0], "b", "x", true);
    pass_time(FLOW_PING_NS);
    break_off(OUTCOME_CONNECT_REFUSED);
    ck_assert_str_eq(heard.order, "hpx");
}
END_TEST

START_TEST(who_waits_for_a_whole_answer_hears_no_sign_of_life) {
    ask_for(&scripts[0], "both", "x", false);
    ck_assert_ptr_null(fake.first);
    pass_time(10 * FLOW_PING_NS);
    answer_whole(scripts[0].whole);
    ck_assert_str_eq(heard.order, "d");
}
END_TEST

/* -- a client that reads slowly -------------------------------------------------------------------
 */

START_TEST(a_slow_client_pauses_the_provider_once_until_it_reads_again) {
    const struct script *script = &scripts[0];
    struct flow *flow = ask_for(script, "both", "x", true);
    flow_writable(flow); /* nothing was paused */
    begin(script, "c1");
    say(script, 0);
    ck_assert_uint_eq(hand.paused, 0);
    sink_is_slow = true;
    flush();
    ck_assert_uint_eq(hand.paused, 1);
    say(script, 1); /* was on its way */
    flush();
    ck_assert_uint_eq(hand.paused, 1);
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
    pass_time(3 * FLOW_PING_NS); /* who does not read needs no sign of life */
    ck_assert_int_eq(heard.pings, 0);
    sink_is_slow = false;
    flow_writable(flow);
    ck_assert_uint_eq(hand.resumed, 1);
    flow_writable(flow);
    ck_assert_uint_eq(hand.resumed, 1);
    say(script, 0);
    flush();
    ck_assert_uint_eq(hand.paused, 1);
    sink_is_slow = true;
    say(script, 0);
    flush();
    ck_assert_uint_eq(hand.paused, 2);
    sink_is_slow = false;
    flow_writable(flow);
    ck_assert_uint_eq(hand.resumed, 2);
    end(script);
    ck_assert_int_eq(heard.dones, 1);
}
END_TEST

START_TEST(a_provider_that_cannot_pause_is_not_asked_to) {
    hand_ops.pause = NULL;
    struct flow *flow = ask_for(&scripts[0], "both", "x", true);
    sink_is_slow = true;
    begin(&scripts[0], "c1");
    say(&scripts[0], 0);
    flush();
    flow_writable(flow);
    end(&scripts[0]);
    ck_assert_uint_eq(hand.paused + hand.resumed, 0);
    ck_assert_int_eq(heard.dones, 1);
}
END_TEST

START_TEST(a_stream_that_ends_while_it_is_paused_ends) {
    ask_for(&scripts[0], "both", "x", true);
    sink_is_slow = true;
    play(&scripts[0], "c1");
    ck_assert_uint_eq(hand.paused, 1);
    ck_assert_uint_eq(hand.resumed, 0);
    ck_assert_int_eq(heard.dones, 1);
}
END_TEST

/* -- clients that leave ---------------------------------------------------------------------------
 */

START_TEST(who_leaves_pays_for_what_was_delivered) {
    static const struct {
        enum outcome why;
        const char *line;
    } rows[] = {{OUTCOME_CLIENT_GONE, "\"outcome\":\"client_gone\","},
                {OUTCOME_CLIENT_STALL, "\"outcome\":\"client_stall\","}};
    const struct script *script = &scripts[_i / 2];
    struct flow *flow = ask_for(script, "both", "x", true);
    begin(script, "c1");
    say(script, 0);
    flush();
    sink_is_slow = true;
    say(script, 1);
    flush();
    ck_assert_uint_gt(gateway->kept_bytes, 0);
    flow_abort(flow, rows[_i % 2].why);
    ck_assert_uint_eq(hand.cancelled, 1);
    ck_assert_str_eq(hand.asked, "a");
    ck_assert_int_eq(heard.dones + heard.failed, 0);
    ck_assert_ptr_null(fake.first);
    ck_assert_uint_eq(gateway->kept_bytes, 0);
    ck_assert_uint_eq(total(METRIC_CLIENT_ABORTS, 0, 0, 0), 1);
    ck_assert_uint_eq(total(METRIC_LLM_REQUESTS, pair_of("a"), rows[_i % 2].why, 0), 1);
    ck_assert_uint_eq(provider_total(METRIC_UPSTREAM_ERRORS, "a", rows[_i % 2].why), 0);
    ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_CLOSED);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("a"), 0, 0),
                      1000 * 1000 + 2000 * (uint64_t)hand.delivered);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 0);
    ck_assert_line_has("\"status\":499,");
    ck_assert_line_has(rows[_i % 2].line);
    ck_assert_line_has("\"attempts\":1,\"prompt_tokens\":1000,");
}
END_TEST

START_TEST(who_leaves_before_the_first_content_is_let_go_too) {
    struct flow *flow = ask_for(&scripts[_i], "both", "x", true);
    begin(&scripts[_i], "c1");
    flush();
    flow_abort(flow, OUTCOME_CLIENT_GONE);
    ck_assert_str_eq(heard.order, "");
    ck_assert_uint_eq(hand.cancelled, 1);
    ck_assert_str_eq(hand.asked, "a");
    ck_assert_line_has("\"outcome\":\"client_gone\",\"attempts\":1,\"prompt_tokens\":1000,"
                       "\"completion_tokens\":0,");
}
END_TEST

START_TEST(shutdown_ends_a_stream_by_a_failure) {
    ask_for(&scripts[0], "both", "x", true);
    begin(&scripts[0], "c1");
    say(&scripts[0], 0);
    flush();
    gateway_abort_all(gateway);
    ck_assert_str_eq(heard.order, "hecfx");
    ck_assert_str_eq(heard.code, "shutdown");
    ck_assert_uint_eq(hand.cancelled, 1);
    ck_assert_ptr_null(fake.first);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("flow_stream");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, hand_setup, hand_teardown);
    tcase_add_loop_test(tcase, what_a_stream_begins_with_waits_for_something_to_read, 0,
                        SCRIPT_COUNT);
    tcase_add_loop_test(tcase, the_events_of_a_fallback_are_the_only_ones_that_are_heard, 0,
                        SCRIPT_COUNT);
    tcase_add_loop_test(tcase, a_retry_forgets_what_the_first_attempt_said, 0, SCRIPT_COUNT);
    tcase_add_test(tcase, nobody_is_left_before_the_first_content);
    tcase_add_loop_test(tcase, a_stream_without_a_word_is_told_at_its_end, 0, SCRIPT_COUNT);
    tcase_add_test(tcase, a_beginning_is_not_kept_back_for_ever);
    tcase_add_loop_test(tcase, a_failure_after_content_is_told_and_paid_and_has_no_fallback, 0,
                        SCRIPT_COUNT);
    tcase_add_loop_test(tcase, a_client_hears_a_sign_of_life_every_15_s_of_silence, 0,
                        SCRIPT_COUNT);
    tcase_add_test(tcase, a_stream_that_speaks_needs_no_sign_of_life);
    tcase_add_test(tcase, after_a_sign_of_life_a_fallback_still_answers);
    tcase_add_test(tcase, after_a_sign_of_life_a_failure_is_still_told);
    tcase_add_test(tcase, who_waits_for_a_whole_answer_hears_no_sign_of_life);
    tcase_add_test(tcase, a_slow_client_pauses_the_provider_once_until_it_reads_again);
    tcase_add_test(tcase, a_provider_that_cannot_pause_is_not_asked_to);
    tcase_add_test(tcase, a_stream_that_ends_while_it_is_paused_ends);
    tcase_add_loop_test(tcase, who_leaves_pays_for_what_was_delivered, 0, 2 * SCRIPT_COUNT);
    tcase_add_loop_test(tcase, who_leaves_before_the_first_content_is_let_go_too, 0, SCRIPT_COUNT);
    tcase_add_test(tcase, shutdown_ends_a_stream_by_a_failure);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
