/* The simulated provider: its latency curve, its text, its events, its failures. */
#include "unit.h"

#include "base/clock.h"
#include "base/text.h"
#include "fake_timers.h"
#include "upstream/form.h"
#include "upstream/prov_simulated.h"

static struct fake_timers fake;
static struct timers timers;
static struct arena arena;
static struct conf_model model = {.name = "m", .label = "m"};
static struct conf_provider provider;
static struct chat chat;
static struct attempt attempt;

static struct buf heard;  /* text, of events or of the whole answer */
static struct buf events; /* their data, each on a line */
static struct buf whole;  /* the answer that done had */
static struct json_reader reader;
static int pieces, flushes, dones, failures; /* pieces: events with a text */
static enum outcome last_outcome;
static int64_t ended_ns;

static void on_event(struct attempt *a, const struct chat_event *event) {
    ck_assert_ptr_eq(a, &attempt);
    buf_append_bytes(&heard, event->text);
    buf_append_bytes(&events, event->data);
    buf_append_char(&events, '\n');
    pieces += event->text.size > 0;
}
static void on_flush(struct attempt *a) {
    ck_assert_ptr_eq(a, &attempt);
    flushes++;
}
/* The text of a whole answer, read as its form reads it. */
static void hear_whole(void) {
    struct form_reading reading = {.usage_state = USAGE_NONE};
    struct json_fault fault;
    buf_append_bytes(&whole, attempt.answer.json);
    ck_assert_int_eq(json_read(&reader, buf_bytes(&whole), &fault), 0);
    ck_assert_int_eq(form_of(chat.form)->read_answer(&reader, &arena, &reading), OUTCOME_OK);
    ck_assert_int_eq(reading.finish, attempt.answer.finish);
    ck_assert_int_eq(reading.usage_state, USAGE_KNOWN);
    ck_assert_int_eq(reading.usage.prompt_tokens, attempt.usage.prompt_tokens);
    ck_assert_int_eq(reading.usage.completion_tokens, attempt.usage.completion_tokens);
    buf_append_bytes(&heard, reading.text);
}
static void on_done(struct attempt *a) {
    ck_assert_ptr_eq(a, &attempt);
    dones++;
    ended_ns = fake.now_ns;
    if (!chat.wants_stream) {
        hear_whole();
    }
}
static void on_failed(struct attempt *a, enum outcome outcome) {
    (void)a;
    failures++;
    last_outcome = outcome;
    ended_ns = fake.now_ns;
}
static const struct attempt_events attempt_events = {on_event, on_flush, on_done, on_failed};

static void setup(void) {
    fake = (struct fake_timers){.now_ns = 5 * NS_PER_S};
    timers = fake_timers_make(&fake);
    arena_init(&arena, 4096, 1 << 20);
    buf_init(&heard, 0);
    buf_init(&events, 0);
    buf_init(&whole, 0);
    json_reader_init(&reader);
    pieces = flushes = dones = failures = 0;
    provider = (struct conf_provider){
        .name = "p",
        .simulated = true,
        .simulation = {.latency_ms = 500, .per_token_ms = 20, .max_latency_ms = 2000, .seed = 1}};
    chat = (struct chat){
        .prompt = BYTES_LITERAL("What is a daemon?"), .text_size = 17, .max_tokens = 100};
    attempt = (struct attempt){.provider = &provider,
                               .model = &model,
                               .chat = &chat,
                               .events = &attempt_events,
                               .timers = &timers,
                               .arena = &arena};
}
static void teardown(void) {
    ck_assert_ptr_null(fake.first);
    json_reader_fini(&reader);
    buf_free(&heard);
    buf_free(&events);
    buf_free(&whole);
    arena_fini(&arena);
}

static void run(void) {
    ck_assert_int_eq(prov_simulated_ops.start(&attempt), OUTCOME_OK);
    ck_assert_int_eq(pieces + dones + failures, 0); /* never from inside start */
    while (fake_timers_step(&fake)) {
    }
}

START_TEST(latency_is_base_plus_tokens_up_to_the_cap) {
    static const struct {
        int64_t base, per_token, cap, tokens, want_ms;
    } rows[] = {
        {500, 20, 2000, 1, 520},    {500, 20, 2000, 75, 2000},     {500, 20, 2000, 74, 1980},
        {500, 20, 2000, 100, 2000}, {0, 0, 2000, 1000000, 0},      {500, 0, 2000, 100, 500},
        {3000, 20, 2000, 1, 2000},  {0, INT64_MAX, 2000, 2, 2000}, {0, 20, 2000, INT64_MAX, 2000},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct conf_simulated simulated = {.latency_ms = rows[i].base,
                                           .per_token_ms = rows[i].per_token,
                                           .max_latency_ms = rows[i].cap};
        ck_assert_int_eq(prov_simulated_latency_ns(&simulated, rows[i].tokens),
                         rows[i].want_ms * NS_PER_MS);
    }
}
END_TEST

START_TEST(whole_answer_comes_after_the_computed_latency) {
    run();
    ck_assert_int_eq(pieces + flushes, 0);
    ck_assert_int_eq(dones, 1);
    ck_assert_int_eq(ended_ns, 7 * NS_PER_S);
    ck_assert_int_eq(attempt.billed_ns, 2 * NS_PER_S);
    ck_assert_int_eq(attempt.usage.prompt_tokens, 5); /* 17 bytes / 4, rounded up */
    ck_assert_int_ge(attempt.usage.completion_tokens, 1);
    ck_assert_int_le(attempt.usage.completion_tokens, 100);
    ck_assert_int_eq((int)text_utf8_check(buf_bytes(&heard)), (int)heard.size);
}
END_TEST

START_TEST(stream_gives_the_same_text_in_words_and_ends_at_the_same_time) {
    run();
    struct bytes first = arena_copy(&arena, buf_bytes(&heard));
    int64_t tokens = attempt.usage.completion_tokens;
    buf_clear(&heard);
    pieces = dones = 0;
    fake.now_ns = 5 * NS_PER_S;
    chat.wants_stream = true;
    run();
    ck_assert_int_eq(flushes, tokens);
    ck_assert_uint_eq(attempt.answer.json.size, 0);
    ck_assert(bytes_equal(first, buf_bytes(&heard)));
    ck_assert_int_eq(pieces, tokens);
    ck_assert_int_eq(dones, 1);
    ck_assert_int_eq(ended_ns, 7 * NS_PER_S);
    ck_assert_int_eq(attempt.usage.completion_tokens, tokens);
}
END_TEST

START_TEST(max_tokens_bounds_the_answer) {
    chat.max_tokens = 3;
    run();
    ck_assert_int_eq(attempt.answer.finish, FINISH_LENGTH);
    int blanks = 0;
    for (size_t i = 0; i < heard.size; i++) {
        blanks += heard.data[i] == ' ';
    }
    ck_assert_int_eq(blanks, 2);
    ck_assert_int_eq(attempt.usage.completion_tokens, 3);
}
END_TEST

/* In every form that has a text; a stream of it, made whole, is an answer too. */
START_TEST(the_answer_is_in_the_form_of_the_request) {
    static const enum chat_form forms[] = {FORM_CHAT, FORM_COMPLETIONS, FORM_MESSAGES};
    int64_t words;
    chat.form = forms[_i / 2];
    chat.wants_stream = _i % 2 == 1;
    chat.max_tokens = 0; /* not said: as much as there is */
    run();
    ck_assert_int_eq(dones, 1);
    ck_assert_int_eq(attempt.answer.finish, FINISH_STOP);
    if (chat.wants_stream) {
        struct buf collected;
        buf_init(&collected, 0);
        ck_assert(form_of(chat.form)->collect(&reader, buf_bytes(&events), &arena, &collected));
        buf_free(&collected);
    }
    struct bytes text = prov_simulated_text(&provider.simulation, &chat, &arena, &words);
    ck_assert(bytes_equal(buf_bytes(&heard), text));
    ck_assert_int_eq(attempt.usage.completion_tokens, words);
}
END_TEST

START_TEST(what_it_cannot_answer) {
    static const enum chat_form forms[] = {FORM_EMBEDDINGS, FORM_RESPONSES};
    for (size_t i = 0; i < 2; i++) {
        chat.form = forms[i];
        ck_assert_int_eq(prov_simulated_ops.start(&attempt), OUTCOME_UNTRANSLATABLE);
    }
    ck_assert_int_eq(pieces + dones + failures, 0);
}
END_TEST

START_TEST(text_depends_on_prompt_and_seed_only) {
    int64_t words;
    struct bytes a = prov_simulated_text(&provider.simulation, &chat, &arena, &words);
    struct bytes b = prov_simulated_text(&provider.simulation, &chat, &arena, &words);
    ck_assert(bytes_equal(a, b));
    chat.prompt = BYTES_LITERAL("What is a demon?");
    struct bytes c = prov_simulated_text(&provider.simulation, &chat, &arena, &words);
    ck_assert(!bytes_equal(a, c));
    chat.prompt = BYTES_LITERAL("What is a daemon?");
    provider.simulation.seed = 2;
    struct bytes d = prov_simulated_text(&provider.simulation, &chat, &arena, &words);
    ck_assert(!bytes_equal(a, d));
}
END_TEST

START_TEST(failures_come_at_the_configured_rate) {
    static const struct {
        double rate;
        int least, most;
    } rows[] = {{0, 0, 0}, {1, 1000, 1000}, {0.1, 60, 140}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        provider.simulation.failure_rate = rows[i].rate;
        failures = 0;
        for (int n = 0; n < 1000; n++) {
            arena_reset(&arena);
            buf_clear(&whole);
            buf_clear(&heard);
            int before = failures;
            pieces = dones = failures = 0;
            run();
            ck_assert_int_eq(dones + failures, 1);
            failures += before;
        }
        ck_assert_int_ge(failures, rows[i].least);
        ck_assert_int_le(failures, rows[i].most);
    }
}
END_TEST

START_TEST(cancel_bills_what_was_delivered) {
    chat.wants_stream = true;
    ck_assert_int_eq(prov_simulated_ops.start(&attempt), OUTCOME_OK);
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    fake.now_ns = 6 * NS_PER_S + NS_PER_S / 2;
    prov_simulated_ops.cancel(&attempt);
    ck_assert_int_eq(attempt.usage.completion_tokens, 2);
    ck_assert_int_eq(attempt.billed_ns, NS_PER_S + NS_PER_S / 2);
    ck_assert_int_eq(fake_timers_step(&fake), 0); /* nothing fires after it */
}
END_TEST

START_TEST(without_a_timer_start_says_so) {
    fake.refuse = 1;
    ck_assert_int_eq(prov_simulated_ops.start(&attempt), OUTCOME_NO_MEMORY);
    ck_assert_int_eq(pieces + dones + failures, 0);
}
END_TEST

START_TEST(losing_the_timer_in_a_stream_is_a_failure) {
    chat.wants_stream = true;
    ck_assert_int_eq(prov_simulated_ops.start(&attempt), OUTCOME_OK);
    fake.refuse = 1;
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    ck_assert_int_eq(failures, 1);
    ck_assert_int_eq(last_outcome, OUTCOME_NO_MEMORY);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("prov_simulated");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, latency_is_base_plus_tokens_up_to_the_cap);
    tcase_add_test(tcase, whole_answer_comes_after_the_computed_latency);
    tcase_add_test(tcase, stream_gives_the_same_text_in_words_and_ends_at_the_same_time);
    tcase_add_test(tcase, max_tokens_bounds_the_answer);
    tcase_add_loop_test(tcase, the_answer_is_in_the_form_of_the_request, 0, 6);
    tcase_add_test(tcase, what_it_cannot_answer);
    tcase_add_test(tcase, text_depends_on_prompt_and_seed_only);
    tcase_add_test(tcase, failures_come_at_the_configured_rate);
    tcase_add_test(tcase, cancel_bills_what_was_delivered);
    tcase_add_test(tcase, without_a_timer_start_says_so);
    tcase_add_test(tcase, losing_the_timer_in_a_stream_is_a_failure);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
