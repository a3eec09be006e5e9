/* From the plan to an answer: retries, fallbacks, the circuit breaker, the concurrency limit, and
 * what a client hears when nobody answers; with providers that do what the test wrote down.
 */
#include "config.h"

#include "unit.h"

static const char flow_test_conf[] =
    "cache: {size: 8MB}\n"
    "providers:\n"
    "  a: {type: simulated, default_model: m, models: {m: {input: 1, output: 2}}, max_concurrency: "
    "2,"
    " breaker: {failures: 3, open: 30s, max_open: 60s}, timeouts: {total: 20s}}\n"
    "  b: {type: simulated, default_model: n, models: {n: {input: 1, output: 2}},"
    " retry: {attempts: 0}}\n"
    "routes:\n"
    "  auto: {cheap: a, strong: a, policy: length}\n"
    "  both: {cheap: a, strong: a, policy: length, fallback: [b]}\n";

struct conf_provider;
static const struct provider_ops *scripted(const struct conf_provider *provider);
#define flow_test_ops scripted
#include "flow_test.h"

/* What the next attempts do, in order; past the end they answer. Each takes a second. */
struct act {
    enum outcome outcome;
    int status;
    int64_t retry_after_ms; /* 0: none */
    bool come_back_now;     /* a Retry-After of 0 */
    int takes_s;            /* 0: one second */
    bool head_early;        /* the status is known from the start */
    const char *code;
    const char *refusal; /* what cannot be said */
    bool at_start;       /* start itself fails */
    int pieces;          /* before the end */
    unsigned stale;
    bool usage_invalid;
};
static struct act acts[32];
static unsigned act_count, started, cancelled;
static char asked[64]; /* providers, a letter each */

struct scripted {
    struct act act;
    struct timer *timer;
};

static void say(struct attempt *attempt, const char *text) {
    char data[128];
    snprintf(data, sizeof(data), "{\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}", text);
    struct chat_event event = {
        .data = bytes_from_str(data), .text = bytes_from_str(text), .is_content = true};
    attempt->events->event(attempt, &event);
}

static void finish(void *argument) {
    struct attempt *attempt = argument;
    struct scripted *own = attempt->state;
    own->timer = NULL;
    attempt->usage = (struct usage){
        .prompt_tokens = 1000, .completion_tokens = 500, .estimated = own->act.usage_invalid};
    attempt->usage_invalid = own->act.usage_invalid;
    attempt->status = own->act.status;
    attempt->stale_sends = own->act.stale;
    attempt->retry_after_ms = own->act.retry_after_ms != 0 ? own->act.retry_after_ms : -1;
    attempt->retry_after_ms = own->act.come_back_now ? 0 : attempt->retry_after_ms;
    if (own->act.code != NULL) {
        snprintf(attempt->code, sizeof(attempt->code), "%s", own->act.code);
    }
    for (int i = 0; i < own->act.pieces; i++) {
        say(attempt, "text");
    }
    if (own->act.pieces > 0) {
        attempt->events->flush(attempt);
    }
    if (own->act.outcome != OUTCOME_OK) {
        attempt->events->failed(attempt, own->act.outcome);
        return;
    }
    attempt->answer.finish = FINISH_STOP;
    if (attempt->chat->wants_stream) {
        say(attempt, "done");
        attempt->events->flush(attempt);
    } else {
        attempt->answer.json = BYTES_LITERAL("{\"text\":\"done\"}");
        attempt->answer.text = (struct chat_span){8, 6};
    }
    attempt->events->done(attempt);
}

static enum outcome scripted_start(struct attempt *attempt) {
    struct act act = {.outcome = OUTCOME_OK, .status = 200};
    if (started < act_count) {
        act = acts[started];
    }
    asked[started++] = attempt->provider->name[0];
    if (act.refusal != NULL) {
        snprintf(attempt->refusal, sizeof(attempt->refusal), "%s", act.refusal);
    }
    if (act.at_start) {
        return act.outcome;
    }
    struct scripted *own = arena_calloc(attempt->arena, 1, sizeof(*own));
    own->act = act;
    own->timer = timers_after(attempt->timers, act.takes_s > 0 ? act.takes_s * NS_PER_S : NS_PER_S,
                              finish, attempt);
    attempt->status = act.head_early ? act.status : 0;
    attempt->state = own;
    return OUTCOME_OK;
}

static void scripted_cancel(struct attempt *attempt) {
    struct scripted *own = attempt->state;
    timers_cancel(attempt->timers, own->timer);
    cancelled++;
}

static const struct provider_ops ops = {
    .type = "scripted", .start = scripted_start, .cancel = scripted_cancel};

static const struct provider_ops *scripted(const struct conf_provider *provider) {
    (void)provider;
    return &ops;
}

static void scripted_setup(void) {
    memset(acts, 0, sizeof(acts));
    memset(asked, 0, sizeof(asked));
    act_count = started = cancelled = 0;
    setup();
}

static void add_act(struct act act) {
    ck_assert_uint_lt(act_count, sizeof(acts) / sizeof(acts[0]));
    acts[act_count++] = act;
}

static void fail_with(enum outcome outcome, int times) {
    for (int i = 0; i < times; i++) {
        add_act((struct act){.outcome = outcome});
    }
}

static void ask(const char *to, const char *prompt) {
    run((struct ask){to, prompt, CACHE_NO_STORE, false, NULL});
}

/* -- retries ---------------------------------------------------------------------------------- */

START_TEST(a_failure_is_tried_again_with_growing_pauses) {
    fail_with(OUTCOME_CONNECT_REFUSED, 2);
    int64_t began_ns = fake.now_ns;
    ask("auto", "x");
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_str_eq(heard.text, "\"done\"");
    ck_assert_str_eq(asked, "aaa");
    int64_t paused_ns = fake.now_ns - began_ns - 3 * NS_PER_S; /* 50..150 + 100..300 ms */
    ck_assert_int_ge(paused_ns, 150 * NS_PER_MS);
    ck_assert_int_lt(paused_ns, 450 * NS_PER_MS);
    ck_assert_uint_eq(provider_total(METRIC_RETRIES, "a", OUTCOME_CONNECT_REFUSED), 2);
    ck_assert_uint_eq(provider_total(METRIC_UPSTREAM_ERRORS, "a", OUTCOME_CONNECT_REFUSED), 2);
    ck_assert_int_eq(heard.answer.upstream_ns, fake.now_ns - began_ns);
    ck_assert_line_has("\"outcome\":\"ok\",\"attempts\":3,");
    ck_assert_line_has("\"overhead_s\":0.000000000,"); /* the pauses are no overhead of ours */
}
END_TEST

START_TEST(what_cannot_help_is_not_tried_again) {
    fail_with(OUTCOME_FIRST_BYTE_TIMEOUT, 1);
    ask("auto", "x");
    ck_assert_str_eq(asked, "a");
    ck_assert_int_eq(heard.status, 504);
    ck_assert_str_eq(heard.code, "first_byte_timeout");
}
END_TEST

START_TEST(retries_fit_into_the_total_timeout) {
    conf->providers[0].total_timeout_ms = 2100; /* room for two attempts of a second */
    fail_with(OUTCOME_RESET, 3);
    ask("auto", "x");
    ck_assert_str_eq(asked, "aa");
    ck_assert_str_eq(heard.code, "reset");
}
END_TEST

START_TEST(a_client_that_leaves_between_two_attempts_is_let_go) {
    fail_with(OUTCOME_RESET, 1);
    struct flow *flow = start((struct ask){"auto", "x", CACHE_NO_STORE, false, NULL});
    ck_assert_int_eq(fake_timers_step(&fake), 1); /* fails; the retry is armed */
    ck_assert_uint_eq(started, 1);
    fake.now_ns += 7 * NS_PER_MS;
    flow_abort(flow, OUTCOME_CLIENT_GONE);
    ck_assert_ptr_null(fake.first);
    ck_assert_uint_eq(cancelled, 0);
    ck_assert_int_eq(board_outstanding(region, label_of("a")), 0);
    ck_assert_line_has("\"status\":499,");
    ck_assert_line_has("\"outcome\":\"client_gone\",\"attempts\":1,");
    ck_assert_line_has("\"upstream_s\":1.007000000,\"overhead_s\":0.000000000,");
    ck_assert_uint_eq(provider_total(METRIC_RETRIES, "a", OUTCOME_RESET), 0); /* nothing was sent */
}
END_TEST

START_TEST(shutdown_ends_those_who_wait_between_two_attempts) {
    fail_with(OUTCOME_RESET, 1);
    start((struct ask){"auto", "x", CACHE_NO_STORE, false, NULL});
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    gateway_abort_all(gateway);
    ck_assert_int_eq(heard.status, 503);
    ck_assert_str_eq(heard.code, "shutdown");
}
END_TEST

/* -- fallbacks ----------------------------------------------------------------------------------
 */

START_TEST(the_fallback_answers_when_the_retries_are_over) {
    fail_with(OUTCOME_TRUNCATED, 3);
    ask("both", "x");
    ck_assert_str_eq(asked, "aaab");
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_str_eq(heard.provider, "b");
    ck_assert_uint_eq(provider_total(METRIC_FALLBACKS, "a", OUTCOME_TRUNCATED), 1);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("a"), 0, 0), 0);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("b"), 0, 0), 2000000);
}
END_TEST

START_TEST(a_refused_request_goes_to_the_fallback_too_and_is_told_when_that_is_no_better) {
    add_act((struct act){.outcome = OUTCOME_REJECTED, .status = 413, .code = "too_long"});
    add_act((struct act){.outcome = OUTCOME_CONNECT_REFUSED});
    ask("both", "x");
    ck_assert_str_eq(asked, "ab");
    ck_assert_int_eq(heard.status, 413);
    ck_assert_str_eq(heard.code, "too_long");
    ck_assert_uint_eq(provider_total(METRIC_UPSTREAM_RESPONSES, "a", metrics_status_index(413)), 1);
    ck_assert_uint_eq(provider_total(METRIC_UPSTREAM_ERRORS, "a", OUTCOME_REJECTED), 0);
}
END_TEST

START_TEST(what_the_client_has_heard_of_has_no_fallback) {
    add_act((struct act){.outcome = OUTCOME_RESET, .pieces = 2});
    run((struct ask){"both", "x", CACHE_NO_STORE, true, NULL});
    ck_assert_str_eq(asked, "a");
    ck_assert_int_eq(heard.pieces, 2);
    ck_assert_int_eq(heard.failed, 1);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("a"), 0, 0), 2000000);
}
END_TEST

START_TEST(a_provider_that_cannot_start_is_passed_over) {
    add_act((struct act){.outcome = OUTCOME_BAD_MODEL, .at_start = true});
    ask("both", "x");
    ck_assert_str_eq(asked, "ab");
    ck_assert_int_eq(heard.dones, 1);
    add_act((struct act){.outcome = OUTCOME_OK});
    add_act((struct act){.outcome = OUTCOME_NO_MEMORY, .at_start = true});
    ask("auto", "x");
    ck_assert_int_eq(heard.status, 503);
    ck_assert_str_eq(heard.code, "no_memory");
    ck_assert_int_eq(board_outstanding(region, label_of("a")), 0);
}
END_TEST

/* Not all that one API can say can be said in another. */
START_TEST(who_cannot_be_asked_this_is_heard_of_when_that_is_all_there_is) {
    static const struct act cannot = {
        .outcome = OUTCOME_UNTRANSLATABLE, .refusal = "messages[1].content", .at_start = true};
    add_act(cannot);
    ask("both", "x");
    ck_assert_str_eq(asked, "ab");
    ck_assert_int_eq(heard.dones, 1);
    add_act((struct act){.outcome = OUTCOME_OK});
    add_act(cannot);
    ask("auto", "x");
    ck_assert_int_eq(heard.status, 400);
    ck_assert_str_eq(heard.param, "messages[1].content");
    add_act(cannot);
    fail_with(OUTCOME_CONNECT_REFUSED, 1);
    ask("both", "x");
    ck_assert_int_eq(heard.status, 502);
    ck_assert_str_eq(heard.code, "connect_refused");
    ck_assert_str_eq(heard.param, "");
    ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_CLOSED);
    ck_assert_uint_eq(total(METRIC_COST, pair_of("a"), 0, 0), 0);
}
END_TEST

/* -- the circuit ------------------------------------------------------------------------------- */

START_TEST(three_failures_open_the_circuit_and_nobody_is_asked_any_more) {
    fail_with(OUTCOME_CONNECT_REFUSED, 3);
    ask("auto", "x"); /* its retries are failures like any other */
    ck_assert_str_eq(asked, "aaa");
    ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_OPEN);
    int64_t before_ns = fake.now_ns;
    ask("auto", "y");
    ck_assert_str_eq(asked, "aaa");
    ck_assert_int_eq(fake.now_ns, before_ns);
    ck_assert_int_eq(heard.status, 503);
    ck_assert_str_eq(heard.code, "breaker_open");
    ck_assert_int_ge(heard.retry_after_s, 29);
    ck_assert_int_le(heard.retry_after_s, 30);
    ck_assert_uint_eq(provider_total(METRIC_UPSTREAM_ERRORS, "a", OUTCOME_BREAKER_OPEN), 1);
    ck_assert_uint_eq(provider_total(METRIC_CIRCUIT_TRANSITIONS, "a", CIRCUIT_OPEN), 1);
}
END_TEST

START_TEST(an_open_circuit_is_passed_over_and_recovers_by_one_probe) {
    fail_with(OUTCOME_RESET, 3);
    ask("both", "x");
    ask("both", "y");
    ck_assert_str_eq(asked, "aaabb");
    ck_assert_uint_eq(provider_total(METRIC_FALLBACKS, "a", OUTCOME_BREAKER_OPEN), 1);
    region_shift_time(region, 30000);
    for (int i = 0; i < 5; i++) {
        start((struct ask){"both", "z", CACHE_NO_STORE, false, NULL});
    }
    ck_assert_str_eq(asked, "aaabbabbbb"); /* one probe */
    while (fake_timers_step(&fake)) {
    }
    ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_CLOSED);
    ask("both", "again");
    ck_assert_str_eq(asked, "aaabbabbbba");
    ck_assert_uint_eq(provider_total(METRIC_CIRCUIT_TRANSITIONS, "a", CIRCUIT_HALF_OPEN), 1);
    ck_assert_uint_eq(provider_total(METRIC_CIRCUIT_TRANSITIONS, "a", CIRCUIT_CLOSED), 1);
}
END_TEST

START_TEST(a_retry_that_finds_the_circuit_open_goes_to_the_fallback) {
    conf->providers[0].breaker_failures = 2;
    fail_with(OUTCOME_RESET, 2);
    for (int i = 0; i < 2; i++) { /* the second one's failure opens it while the first one waits */
        start((struct ask){"both", "x", CACHE_NO_STORE, false, NULL});
    }
    while (fake_timers_step(&fake)) {
    }
    ck_assert_int_eq(heard.dones, 2);
    ck_assert_str_eq(asked, "aabb");
}
END_TEST

#define NOW (-1) /* a Retry-After of 0 */

START_TEST(retry_after_is_obeyed_and_passed_on) {
    static const struct {
        enum outcome outcome;
        int status;
        int64_t retry_after_ms;
        int client_status, client_s;
        bool opens;
    } rows[] = {
        {OUTCOME_RATE_LIMITED, 429, 7000, 429, 7, true},
        {OUTCOME_RATE_LIMITED, 429, 1, 429, 1, true},
        {OUTCOME_RATE_LIMITED, 429, INT64_MAX, 429, 60, true}, /* max_open */
        {OUTCOME_RATE_LIMITED, 429, 0, 429, 0, false},         /* it said nothing */
        {OUTCOME_RATE_LIMITED, 429, NOW, 429, 0, false},       /* no reason to leave it alone */
        {OUTCOME_HTTP_5XX, 503, NOW, 502, 0, false},
        {OUTCOME_HTTP_5XX, 503, 9000, 503, 9, true},
        {OUTCOME_HTTP_5XX, 503, 0, 502, 0, false},
        {OUTCOME_HTTP_5XX, 500, 9000, 502, 0, false}, /* only 429 and 503 may */
        {OUTCOME_HTTP_5XX, 504, 0, 504, 0, false},
    };
    conf->providers[0].retry_attempts = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        add_act((struct act){.outcome = rows[i].outcome,
                             .status = rows[i].status,
                             .come_back_now = rows[i].retry_after_ms == NOW,
                             .retry_after_ms = rows[i].retry_after_ms});
        ask("auto", "x");
        ck_assert_msg(heard.status == rows[i].client_status &&
                          heard.retry_after_s == rows[i].client_s,
                      "row %zu: %d, %d s", i, heard.status, heard.retry_after_s);
        ck_assert_int_eq(breaker_state(region, label_of("a")) == CIRCUIT_OPEN, rows[i].opens);
        region_shift_time(region, 300000);
        add_act((struct act){.outcome = OUTCOME_OK}); /* closes it again */
        ask("auto", "x");
    }
}
END_TEST

START_TEST(refusals_and_our_own_key_never_open_it) {
    for (int i = 0; i < 5; i++) {
        add_act((struct act){.outcome = OUTCOME_REJECTED, .status = 400});
        ask("auto", "x");
        ck_assert_int_eq(heard.status, 400);
        ck_assert_str_eq(heard.code, "rejected");
        add_act((struct act){.outcome = OUTCOME_AUTH, .status = 401});
        ask("auto", "x");
        ck_assert_int_eq(heard.status, 502);
        ck_assert_str_eq(heard.code, "provider_auth");
    }
    ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_CLOSED);
}
END_TEST

START_TEST(a_client_that_leaves_a_probe_makes_the_next_one_the_probe) {
    fail_with(OUTCOME_RESET, 3);
    ask("auto", "x");
    region_shift_time(region, 30000);
    flow_abort(start((struct ask){"auto", "y", CACHE_NO_STORE, false, NULL}), OUTCOME_CLIENT_GONE);
    ck_assert_uint_eq(cancelled, 1);
    ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_OPEN);
    ck_assert_int_eq(breaker_wait_ms(region, label_of("a")), 0);
    ask("auto", "z");
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_CLOSED);
}
END_TEST

/* A stream may go on for minutes; its first content shows that the provider is back. */
START_TEST(a_streaming_probe_closes_the_circuit_with_its_first_content) {
    fail_with(OUTCOME_RESET, 3);
    ask("auto", "x");
    region_shift_time(region, 30000);
    add_act((struct act){.outcome = OUTCOME_RESET, .pieces = 1}); /* then it breaks off */
    run((struct ask){"auto", "y", CACHE_NO_STORE, true, NULL});
    ck_assert_uint_eq(provider_total(METRIC_CIRCUIT_TRANSITIONS, "a", CIRCUIT_CLOSED), 1);
    ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_CLOSED);
    ck_assert_uint_eq(breaker_unpack(word_load(region, label_of("a"))).fails, 1);
    ck_assert_uint_eq(provider_total(METRIC_STALE_REPORTS, "a", 0), 0);
}
END_TEST

/* Its lease is connect + first_byte + 1 s (34 s here). An answer that takes longer, but has begun,
 * shows that the provider is back; else one probe after the other would be stale for ever. */
START_TEST(a_probe_whose_answer_outlasts_its_lease_closes_the_circuit) {
    static const struct {
        bool head_early;
        enum metric_circuit circuit;
    } rows[] = {{true, CIRCUIT_CLOSED}, {false, CIRCUIT_HALF_OPEN}};
    conf->providers[0].simulated = false; /* those keep no timeouts */
    conf->providers[0].type = CONF_OPENAI;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fail_with(OUTCOME_RESET, 3);
        ask("auto", "x");
        ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_OPEN);
        region_shift_time(region, 30000);
        add_act((struct act){.status = 200, .takes_s = 100, .head_early = rows[i].head_early});
        start((struct ask){"auto", "y", CACHE_NO_STORE, false, NULL});
        ck_assert_int_le(breaker_wait_ms(region, label_of("a")), 1000); /* it may end any time */
        ck_assert_int_eq(fake_timers_step(&fake), 1);
        ck_assert_int_eq(breaker_state(region, label_of("a")), rows[i].circuit);
        while (fake_timers_step(&fake)) {
        }
        ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_CLOSED);
    }
    ck_assert_uint_eq(provider_total(METRIC_STALE_REPORTS, "a", 0), 0);
}
END_TEST

/* While a reload moves a provider, the word is about one of two addresses, and the workers of the
 * other one leave it alone. */
START_TEST(a_circuit_of_another_address_is_not_ours) {
    fail_with(OUTCOME_RESET, 3);
    ask("auto", "x");
    ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_OPEN);
    uint64_t word = word_load(region, label_of("a"));
    word_set_subject(region, label_of("a"), breaker_subject(&conf->providers[0]) + 2);
    ask("auto", "y");
    ck_assert_int_eq(heard.dones, 1);
    fail_with(OUTCOME_RESET, 3);
    ask("auto", "z");
    ck_assert(word_load(region, label_of("a")) == word);
    ck_assert_uint_eq(provider_total(METRIC_STALE_REPORTS, "a", 0), 0);
}
END_TEST

START_TEST(readiness_fails_when_every_circuit_is_open) {
    ck_assert(gateway_is_ready(gateway));
    fail_with(OUTCOME_RESET, 6);
    ask("auto", "x");
    ck_assert(gateway_is_ready(gateway));
    conf->providers[1].breaker_failures = 1;
    acts[3].outcome = OUTCOME_RESET;
    run((struct ask){"b", "x", CACHE_NO_STORE, false, NULL});
    ck_assert(!gateway_is_ready(gateway));
    region_shift_time(region, 30000);
    ck_assert(gateway_is_ready(gateway));
}
END_TEST

/* -- the concurrency limit --------------------------------------------------------------------- */

START_TEST(more_than_max_concurrency_go_to_the_fallback_or_hear_503) {
    for (int i = 0; i < 3; i++) {
        start((struct ask){"auto", "x", CACHE_NO_STORE, false, NULL});
    }
    ck_assert_str_eq(asked, "aa");
    ck_assert_int_eq(board_outstanding(region, label_of("a")), 2);
    ck_assert_int_eq(heard.status, 503);
    ck_assert_str_eq(heard.code, "overloaded");
    ck_assert_int_eq(heard.retry_after_s, 1);
    start((struct ask){"both", "x", CACHE_NO_STORE, false, NULL});
    ck_assert_str_eq(asked, "aab");
    ck_assert_uint_eq(provider_total(METRIC_FALLBACKS, "a", OUTCOME_OVERLOADED), 1);
    while (fake_timers_step(&fake)) {
    }
    ck_assert_int_eq(board_outstanding(region, label_of("a")), 0);
    ck_assert_int_eq(breaker_state(region, label_of("a")), CIRCUIT_CLOSED);
    ask("auto", "x");
    ck_assert_str_eq(asked, "aaba");
}
END_TEST

START_TEST(other_processes_count_too) {
    int other = board_claim(region, BOARD_WORKER, 1);
    ck_assert(board_begin_attempt(region, other, label_of("a"), 2));
    ck_assert(board_begin_attempt(region, other, label_of("a"), 2));
    ck_assert(!board_begin_attempt(region, other, label_of("a"), 2));
    ask("auto", "x");
    ck_assert_str_eq(heard.code, "overloaded");
    board_release(region, other); /* it died: the master clears what it held */
    ask("auto", "x");
    ck_assert_int_eq(heard.dones, 1);
}
END_TEST

/* -- the books ----------------------------------------------------------------------------------
 */

START_TEST(what_happened_below_is_counted) {
    add_act((struct act){.outcome = OUTCOME_OK, .status = 200, .stale = 1, .usage_invalid = true});
    ask("auto", "x");
    ck_assert_uint_eq(provider_total(METRIC_RETRIES, "a", OUTCOME_STALE), 1);
    ck_assert_uint_eq(provider_total(METRIC_USAGE_INVALID, "a", 0), 1);
    ck_assert_uint_eq(provider_total(METRIC_UPSTREAM_RESPONSES, "a", metrics_status_index(200)), 1);
    ck_assert_line_has("\"estimated\":true,");
}
END_TEST

START_TEST(who_was_not_asked_is_in_the_log_all_the_same) {
    fail_with(OUTCOME_RESET, 3);
    conf->providers[0].retry_attempts = 0;
    conf->providers[0].breaker_failures = 1;
    ask("auto", "x");
    access_log_flush(gateway_env(gateway)->access_log);
    ck_assert_int_eq(ftruncate(log_fd, 0), 0);
    ask("auto", "y");
    ck_assert_line_has("\"status\":503,");
    ck_assert_line_has("\"provider\":\"a\",\"model\":\"m\",");
    ck_assert_line_has("\"outcome\":\"breaker_open\",\"attempts\":0,");
    ck_assert_line_has("\"cost_usd\":null,");
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("flow_attempt");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, scripted_setup, teardown);
    tcase_add_test(tcase, a_failure_is_tried_again_with_growing_pauses);
    tcase_add_test(tcase, what_cannot_help_is_not_tried_again);
    tcase_add_test(tcase, retries_fit_into_the_total_timeout);
    tcase_add_test(tcase, a_client_that_leaves_between_two_attempts_is_let_go);
    tcase_add_test(tcase, shutdown_ends_those_who_wait_between_two_attempts);
    tcase_add_test(tcase, the_fallback_answers_when_the_retries_are_over);
    tcase_add_test(tcase,
                   a_refused_request_goes_to_the_fallback_too_and_is_told_when_that_is_no_better);
    tcase_add_test(tcase, what_the_client_has_heard_of_has_no_fallback);
    tcase_add_test(tcase, a_provider_that_cannot_start_is_passed_over);
    tcase_add_test(tcase, who_cannot_be_asked_this_is_heard_of_when_that_is_all_there_is);
    tcase_add_test(tcase, three_failures_open_the_circuit_and_nobody_is_asked_any_more);
    tcase_add_test(tcase, an_open_circuit_is_passed_over_and_recovers_by_one_probe);
    tcase_add_test(tcase, a_retry_that_finds_the_circuit_open_goes_to_the_fallback);
    tcase_add_test(tcase, retry_after_is_obeyed_and_passed_on);
    tcase_add_test(tcase, refusals_and_our_own_key_never_open_it);
    tcase_add_test(tcase, a_client_that_leaves_a_probe_makes_the_next_one_the_probe);
    tcase_add_test(tcase, a_streaming_probe_closes_the_circuit_with_its_first_content);
    tcase_add_test(tcase, a_probe_whose_answer_outlasts_its_lease_closes_the_circuit);
    tcase_add_test(tcase, a_circuit_of_another_address_is_not_ours);
    tcase_add_test(tcase, readiness_fails_when_every_circuit_is_open);
    tcase_add_test(tcase, more_than_max_concurrency_go_to_the_fallback_or_hear_503);
    tcase_add_test(tcase, other_processes_count_too);
    tcase_add_test(tcase, what_happened_below_is_counted);
    tcase_add_test(tcase, who_was_not_asked_is_in_the_log_all_the_same);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
