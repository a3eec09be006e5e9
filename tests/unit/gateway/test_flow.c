/* The life of a request against a real region and store, with a clock turned by hand. */
#include "config.h"

#include "unit.h"

static const char flow_test_conf[] =
    "cache: {size: 8MB, ttl: 1h}\n"
    "providers:\n"
    "  cheap1: {type: simulated, default_model: c, per_second: 0.000005}\n"
    "  strong1: {type: simulated, default_model: s, models: {s: {input: 0.2, output: 0.2}}}\n"
    "  broken: {type: simulated, default_model: b, models: {b: {input: 1, output: 1}}, retry: "
    "{attempts: 0}, simulated: {failure_rate: 1}}\n"
    "  free: {type: simulated, default_model: f}\n"
    "routes:\n"
    "  auto: {cheap: cheap1, strong: strong1, policy: length}\n"
    "  shaky: {cheap: broken, strong: strong1, policy: length, fallback: [cheap1]}\n"
    "  dead: {cheap: broken, strong: broken, policy: length}\n";

#define flow_test_ops provider_ops_for
#include "flow_test.h"

START_TEST(a_miss_is_paid_and_the_next_is_a_hit) {
    run((struct ask){"auto", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_int_eq(heard.answer.cache, ANSWER_MISS);
    ck_assert_str_eq(heard.provider, "cheap1");
    ck_assert_str_eq(heard.reason, "length:5");
    ck_assert_int_eq(heard.answer.cost_nusd, 10000); /* 2 s at 0.000005 USD */
    ck_assert_int_eq(heard.answer.upstream_ns, 2 * NS_PER_S);
    int64_t tokens = heard.answer.usage.prompt_tokens + heard.answer.usage.completion_tokens;
    int64_t strong_nusd = tokens * 200; /* 0.2 USD per million */
    int64_t saved = strong_nusd > 10000 ? strong_nusd - 10000 : 0;
    ck_assert_int_eq(heard.answer.saved_nusd, saved);
    ck_assert_uint_eq(total(METRIC_SAVED, SAVED_ROUTING, 0, 0), (uint64_t)saved);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("cheap1"), 0, 0), 10000);
    ck_assert_uint_eq(total(METRIC_LLM_REQUESTS, pair_of("cheap1"), OUTCOME_OK, 0), 1);
    char first[8192];
    memcpy(first, heard.text, sizeof(first));

    int64_t before_ns = fake.now_ns;
    start((struct ask){"auto", "hello", CACHE_USE, false, NULL}); /* answered before it returns */
    ck_assert_int_eq(heard.dones, 2);
    ck_assert_int_eq(fake.now_ns, before_ns);
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    ck_assert_int_eq(heard.answer.cost_nusd, 0);
    ck_assert_int_eq(heard.answer.saved_nusd, 10000);
    ck_assert_str_eq(heard.text, first);
    ck_assert_str_eq(heard.provider, "cheap1");
    ck_assert_str_eq(heard.reason, "length:5");
    ck_assert_uint_eq(total(METRIC_COST, pair_of("cheap1"), 0, 0), 10000);
    ck_assert_uint_eq(total(METRIC_SAVED, SAVED_CACHE, 0, 0), 10000);
    ck_assert_uint_eq(total(METRIC_TOKENS, pair_of("cheap1"), TOKEN_PROMPT, 0), 2);
    ck_assert_uint_eq(event(CACHE_EVENT_HIT), 1);
    ck_assert_uint_eq(event(CACHE_EVENT_MISS), 1);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 1);
}
END_TEST

static int lines_written(void) {
    char bytes[8192];
    ssize_t size = pread(log_fd, bytes, sizeof(bytes), 0);
    int lines = 0;
    for (ssize_t i = 0; i < size; i++) {
        lines += bytes[i] == '\n';
    }
    return lines;
}

/* The counters outlive a killed worker; a paid line in its buffer did not. */
START_TEST(a_line_that_cost_something_does_not_wait_in_the_buffer) {
    run((struct ask){"auto", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(lines_written(), 1);
    run((struct ask){"auto", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    ck_assert_int_eq(lines_written(), 1);
    run((struct ask){"free", "hello", CACHE_USE, false, NULL}); /* unknown is not nothing */
    ck_assert_int_eq(lines_written(), 3);
}
END_TEST

/* They waited up to a second in a process that may be killed. */
START_TEST(what_the_store_counts_is_in_the_metrics_after_a_miss) {
    run((struct ask){"auto", "hello", CACHE_USE, false, NULL});
    region_shift_time(region, 2 * 3600 * 1000);
    run((struct ask){"auto", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(heard.answer.cache, ANSWER_MISS);
    ck_assert_uint_eq(event(CACHE_EVENT_EXPIRE), 1);
}
END_TEST

START_TEST(another_route_or_prompt_never_shares) {
    run((struct ask){"auto", "hello", CACHE_USE, false, NULL});
    run((struct ask){"auto", "hello!", CACHE_USE, false, NULL});
    run((struct ask){"cheap1", "hello", CACHE_USE, false, NULL});
    run((struct ask){"shaky", "hello", CACHE_USE, false, NULL});
    ck_assert_uint_eq(event(CACHE_EVENT_HIT), 0);
    ck_assert_uint_eq(event(CACHE_EVENT_MISS), 4);
}
END_TEST

START_TEST(no_store_neither_reads_nor_writes_and_no_cache_only_does_not_read) {
    run((struct ask){"auto", "hello", CACHE_NO_STORE, false, NULL});
    ck_assert_int_eq(heard.answer.cache, ANSWER_BYPASS);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 0);
    run((struct ask){"auto", "hello", CACHE_NO_READ, false, NULL});
    ck_assert_int_eq(heard.answer.cache, ANSWER_BYPASS);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 1);
    ck_assert_uint_eq(event(CACHE_EVENT_BYPASS), 2);
    run((struct ask){"auto", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    run((struct ask){"auto", "hello", CACHE_NO_STORE, false, NULL});
    ck_assert_int_eq(heard.answer.cache, ANSWER_BYPASS);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("cheap1"), 0, 0), 30000);
}
END_TEST

START_TEST(a_failed_provider_costs_nothing_and_the_fallback_answers) {
    run((struct ask){"shaky", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_str_eq(heard.provider, "cheap1");
    ck_assert(bytes_equal_str(heard.answer.routed_to, "broken"));
    ck_assert_int_eq(heard.answer.cost_nusd, 10000);
    ck_assert_int_eq(heard.answer.upstream_ns, 4 * NS_PER_S);
    unsigned broken = labels.provider[conf_find_provider(conf, BYTES_LITERAL("broken"))];
    ck_assert_uint_eq(total(METRIC_FALLBACKS, broken, OUTCOME_SIMULATED_FAILURE, 0), 1);
    ck_assert_uint_eq(total(METRIC_UPSTREAM_ERRORS, broken, OUTCOME_SIMULATED_FAILURE, 0), 1);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("broken"), 0, 0), 0);
}
END_TEST

START_TEST(without_a_fallback_a_failure_is_a_502_and_is_not_stored) {
    run((struct ask){"dead", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(heard.failed, 1);
    ck_assert_int_eq(heard.status, 502);
    ck_assert_str_eq(heard.code, outcome_name(OUTCOME_SIMULATED_FAILURE));
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 0);
    ck_assert_line_has("\"prompt_tokens\":null,");
    ck_assert_line_has("\"cost_usd\":0.000000000,");
}
END_TEST

START_TEST(an_unknown_price_is_unknown_and_counted) {
    run((struct ask){"free", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(heard.answer.cost_nusd, COST_UNKNOWN);
    ck_assert_uint_eq(total(METRIC_UNKNOWN_PRICE, pair_of("free"), 0, 0), 1);
    run((struct ask){"free", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(heard.answer.cost_nusd, 0); /* the hit */
}
END_TEST

START_TEST(a_stream_is_heard_in_pieces_and_stored_whole) {
    run((struct ask){"auto", "hello", CACHE_USE, true, NULL});
    ck_assert_int_eq(heard.heads, 1);
    ck_assert_int_gt(heard.pieces, 10);
    ck_assert_int_eq(heard.flushes, heard.pieces); /* one word at a time */
    ck_assert_int_eq(heard.dones, 1);
    int pieces = heard.pieces;
    char first[sizeof(heard.text)], quoted[sizeof(heard.said) + 2];
    memcpy(first, heard.text, sizeof(first));
    snprintf(quoted, sizeof(quoted), "\"%s\"", heard.said);
    ck_assert_str_eq(quoted, first);
    run((struct ask){"auto", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    ck_assert_str_eq(heard.text, first);
    ck_assert_int_eq(heard.pieces, pieces);
    ck_assert_int_eq(heard.heads, 1);
}
END_TEST

START_TEST(a_stream_that_runs_into_the_limit_of_tokens_is_not_stored_and_a_whole_answer_is) {
    struct chat how = {.form = FORM_CHAT, .wants_text = true, .max_tokens = 5};
    for (int stream = 1; stream >= 0; stream--) {
        start_chat((struct ask){"auto", "hello", CACHE_USE, stream != 0, NULL}, how);
        while (fake_timers_step(&fake)) {
        }
        ck_assert_int_eq(heard.answer.cache, ANSWER_MISS);
        ck_assert_uint_eq(event(CACHE_EVENT_STORE), stream != 0 ? 0 : 1);
    }
    ck_assert_int_eq(heard.dones, 2);
}
END_TEST

START_TEST(a_client_that_leaves_pays_for_what_was_delivered) {
    struct flow *flow = start((struct ask){"auto", "hello", CACHE_USE, true, NULL});
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    int64_t gone_ns = fake.now_ns;
    flow_abort(flow, OUTCOME_CLIENT_GONE);
    ck_assert_int_eq(heard.dones + heard.failed, 0);
    ck_assert_uint_eq(total(METRIC_CLIENT_ABORTS, 0, 0, 0), 1);
    ck_assert_uint_eq(total(METRIC_LLM_REQUESTS, pair_of("cheap1"), OUTCOME_CLIENT_GONE, 0), 1);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("cheap1"), 0, 0),
                      (uint64_t)cost_of_time(5000, gone_ns - 5 * NS_PER_S));
    ck_assert_uint_eq(total(METRIC_TOKENS, pair_of("cheap1"), TOKEN_COMPLETION, 0), 1);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 0);
    ck_assert_line_has("\"status\":499,");
    ck_assert_line_has(
        "\"outcome\":\"client_gone\",\"attempts\":1,\"prompt_tokens\":2,\"completion_tokens\":1,");
    char cost[64];
    snprintf(cost, sizeof(cost), "\"cost_usd\":0.%09d,",
             (int)total(METRIC_COST, pair_of("cheap1"), 0, 0));
    ck_assert_line_has(cost);
}
END_TEST

START_TEST(a_stream_that_breaks_is_paid_for_what_was_delivered) {
    start((struct ask){"strong1", "hello", CACHE_USE, true, NULL});
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    fake.refuse = 1; /* after the second piece the provider has no timer for the third */
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    ck_assert_int_eq(heard.pieces, 2);
    ck_assert_int_eq(heard.failed, 1);
    unsigned pair = pair_of("strong1");
    ck_assert_uint_eq(total(METRIC_TOKENS, pair, TOKEN_PROMPT, 0), 2);
    ck_assert_uint_eq(total(METRIC_TOKENS, pair, TOKEN_COMPLETION, 0), 2);
    ck_assert_uint_eq(total(METRIC_COST, pair, 0, 0), 4 * 200);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 0);
    ck_assert_line_has(
        "\"outcome\":\"no_memory\",\"attempts\":1,\"prompt_tokens\":2,\"completion_tokens\":2,");
    ck_assert_line_has("\"cost_usd\":0.000000800,");
}
END_TEST

START_TEST(a_request_that_asked_no_model_has_no_cost) {
    run((struct ask){"auto", "hello", CACHE_USE, false, "unknown"});
    ck_assert_int_eq(heard.status, 400);
    ck_assert_str_eq(heard.param, "model_id");
    ck_assert_line_has("\"outcome\":null,\"attempts\":0,\"prompt_tokens\":null,");
    ck_assert_line_has("\"cost_usd\":null,");
}
END_TEST

START_TEST(below_v1_a_model_that_nobody_offers_is_a_404) {
    start_chat((struct ask){"auto", "hello", CACHE_USE, false, "unknown"},
               (struct chat){.form = FORM_MESSAGES});
    ck_assert_int_eq(heard.failed, 1);
    ck_assert_int_eq(heard.status, 404);
    ck_assert_str_eq(heard.code, "model_not_found");
    ck_assert_str_eq(heard.param, "model");
}
END_TEST

START_TEST(an_api_that_nobody_of_the_route_has_is_refused_without_asking) {
    start_chat((struct ask){"auto", "hello", CACHE_USE, false, NULL},
               (struct chat){.form = FORM_EMBEDDINGS});
    ck_assert_int_eq(heard.failed, 1);
    ck_assert_int_eq(heard.status, 400);
    ck_assert_str_eq(heard.code, "unsupported_endpoint");
    ck_assert_line_has("\"attempts\":0,");
}
END_TEST

START_TEST(shutdown_answers_503_to_all_that_wait) {
    start((struct ask){"auto", "one", CACHE_USE, false, NULL});
    start((struct ask){"auto", "two", CACHE_USE, false, NULL});
    ck_assert_uint_eq(gateway_flows(gateway), 2);
    gateway_abort_all(gateway);
    ck_assert_int_eq(heard.failed, 2);
    ck_assert_int_eq(heard.status, 503);
    ck_assert_int_eq(heard.retry_after_s, 1);
    ck_assert_uint_eq(gateway_flows(gateway), 0);
}
END_TEST

START_TEST(a_thousand_wait_at_once) {
    char prompts[1000][16];
    for (int i = 0; i < 1000; i++) {
        snprintf(prompts[i], sizeof(prompts[i]), "prompt %d", i);
        start((struct ask){"auto", prompts[i], CACHE_USE, false, NULL});
    }
    ck_assert_uint_eq(gateway_flows(gateway), 1000);
    while (fake_timers_step(&fake)) {
    }
    ck_assert_int_eq(heard.dones, 1000);
    ck_assert_int_eq(fake.now_ns, 7 * NS_PER_S); /* all in the time of one */
    ck_assert_uint_eq(total(METRIC_COST, pair_of("cheap1"), 0, 0), 1000 * 10000);
}
END_TEST

START_TEST(without_a_timer_the_client_hears_503) {
    fake.refuse = 1;
    run((struct ask){"auto", "hello", CACHE_USE, false, NULL});
    ck_assert_int_eq(heard.status, 503);
    ck_assert_str_eq(heard.code, outcome_name(OUTCOME_NO_MEMORY));
}
END_TEST

START_TEST(readiness_follows_the_draining_word) {
    ck_assert(gateway_is_ready(gateway));
    board_set_word(region, BOARD_WORD_DRAINING, 1);
    ck_assert(!gateway_is_ready(gateway));
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("flow");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_miss_is_paid_and_the_next_is_a_hit);
    tcase_add_test(tcase, a_line_that_cost_something_does_not_wait_in_the_buffer);
    tcase_add_test(tcase, what_the_store_counts_is_in_the_metrics_after_a_miss);
    tcase_add_test(tcase, another_route_or_prompt_never_shares);
    tcase_add_test(tcase, no_store_neither_reads_nor_writes_and_no_cache_only_does_not_read);
    tcase_add_test(tcase, a_failed_provider_costs_nothing_and_the_fallback_answers);
    tcase_add_test(tcase, without_a_fallback_a_failure_is_a_502_and_is_not_stored);
    tcase_add_test(tcase, an_unknown_price_is_unknown_and_counted);
    tcase_add_test(tcase, a_stream_is_heard_in_pieces_and_stored_whole);
    tcase_add_test(tcase,
                   a_stream_that_runs_into_the_limit_of_tokens_is_not_stored_and_a_whole_answer_is);
    tcase_add_test(tcase, a_client_that_leaves_pays_for_what_was_delivered);
    tcase_add_test(tcase, a_stream_that_breaks_is_paid_for_what_was_delivered);
    tcase_add_test(tcase, a_request_that_asked_no_model_has_no_cost);
    tcase_add_test(tcase, below_v1_a_model_that_nobody_offers_is_a_404);
    tcase_add_test(tcase, an_api_that_nobody_of_the_route_has_is_refused_without_asking);
    tcase_add_test(tcase, shutdown_answers_503_to_all_that_wait);
    tcase_add_test(tcase, a_thousand_wait_at_once);
    tcase_add_test(tcase, without_a_timer_the_client_hears_503);
    tcase_add_test(tcase, readiness_follows_the_draining_word);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
