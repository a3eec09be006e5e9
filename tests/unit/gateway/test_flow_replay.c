/* Streams and whole answers out of the cache: what is stored of a stream and what is not, either
 * one given as the other, and replays that take their time.
 */
#include "config.h"

#include "unit.h"

#include "base/json_canon.h"
#include "stream_test.h"

#define ck_assert_same_json(a, b) ck_assert_msg(is_same_json(a, b), "%.1500s is not %.1500s", a, b)

static void canon(const char *json, struct buf *out) {
    struct json_fault fault;
    size_t offset;
    ck_assert_msg(json_read(&hand.reader, bytes_from_str(json), &fault) == 0, "no JSON: %.1500s",
                  json);
    ck_assert_int_eq(json_canon(&hand.reader, 0, &hand.arena, out, &offset), JSON_CANON_OK);
}

static bool is_same_json(const char *a, const char *b) {
    struct buf one, other;
    buf_init(&one, 0);
    buf_init(&other, 0);
    canon(a, &one);
    canon(b, &other);
    bool same = bytes_equal(buf_bytes(&one), buf_bytes(&other));
    buf_free(&one);
    buf_free(&other);
    return same;
}

/* What a client makes of the events that it heard. */
static const char *made_whole(enum chat_form form) {
    static char json[16384];
    struct buf events, out;
    const char *last = strchr(heard.last, ':');
    buf_init(&events, 0);
    buf_init_fixed(&out, json, sizeof(json) - 1);
    buf_append_str(&events, heard.told);
    if (last != NULL && last[1] != '\0') {
        buf_append_str(&events, last + 1);
        buf_append_char(&events, '\n');
    }
    ck_assert(form_of(form)->collect(&hand.reader, buf_bytes(&events), &hand.arena, &out));
    json[out.size] = '\0';
    buf_free(&events);
    return json;
}

static void store_whole(const struct script *script, const char *to, const char *prompt) {
    ask_for(script, to, prompt, false);
    answer_whole(script->whole);
    ck_assert_int_eq(heard.dones, 1);
    forget();
}

/* -- what is stored -------------------------------------------------------------------------------
 */

START_TEST(a_finished_stream_is_a_hit_as_json_and_as_a_stream) {
    const struct script *script = &scripts[_i];
    ask_for(script, "both", "x", true);
    play(script, "c1");
    ck_assert_int_eq(heard.answer.cache, ANSWER_MISS);
    ck_assert_int_eq(heard.answer.cost_nusd, 1000 * 1000 + 2000 * (int64_t)hand.delivered);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 1);
    ck_assert_uint_eq(gateway->kept_bytes, 0);
    ck_assert_same_json(made_whole(script->form), script->whole);
    int64_t paid_nusd = heard.answer.cost_nusd;

    forget();
    ask_for(script, "both", "x", false);
    ck_assert_str_eq(heard.order, "d");
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    ck_assert_int_eq(heard.answer.cost_nusd, 0);
    ck_assert_int_eq(heard.answer.saved_nusd, paid_nusd);
    ck_assert_str_eq(heard.provider, "a");
    ck_assert_same_json(heard.json, script->whole);

    forget();
    ask_for(script, "both", "x", true);
    ck_assert_int_eq(heard.heads, 1);
    ck_assert_int_eq(heard.head_cache, ANSWER_HIT);
    ck_assert_str_eq(heard.head_provider, "a");
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_int_ge(heard.pieces, 1);
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
    ck_assert_str_eq(heard.last, script->last);
    ck_assert_same_json(made_whole(script->form), script->whole);
    ck_assert_str_eq(hand.asked, "a");
    ck_assert_ptr_null(fake.first);
}
END_TEST

START_TEST(a_stored_whole_answer_is_a_hit_as_a_stream) {
    const struct script *script = &scripts[_i];
    store_whole(script, "both", "x");
    ask_for(script, "both", "x", true);
    ck_assert_str_eq(hand.asked, "a");
    ck_assert_int_eq(heard.head_cache, ANSWER_HIT);
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
    ck_assert_str_eq(heard.last, script->last);
    ck_assert_same_json(made_whole(script->form), script->whole);
}
END_TEST

/* Some providers have no streams. */
START_TEST(a_whole_answer_for_who_wants_a_stream_is_told_as_one_and_stored) {
    const struct script *script = &scripts[_i];
    conf->cache.replay_pace_ms = 100; /* of hits; this one has waited already */
    ask_for(script, "both", "x", true);
    answer_whole(script->whole);
    ck_assert_int_eq(heard.head_cache, ANSWER_MISS);
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
    ck_assert_same_json(made_whole(script->form), script->whole);
    forget();
    ask_for(script, "both", "x", false);
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    ck_assert_str_eq(heard.json, script->whole);
}
END_TEST

/* The two doors of the chat API share entries, and have them in their own way. */
START_TEST(who_wants_the_text_alone_has_it_of_a_stored_stream) {
    struct chat generate = {.form = FORM_CHAT, .wants_text = true};
    ask_for(&scripts[0], "both", "x", true);
    play(&scripts[0], "c1");
    for (int stream = 0; stream < 2; stream++) {
        forget();
        start_chat((struct ask){"both", "x", CACHE_USE, stream != 0, NULL}, generate);
        ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
        ck_assert_same_json(heard.text, "\"" SCRIPT_TEXT "\"");
    }
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
}
END_TEST

/* Some servers answer in parts; then there is no one string to point to. */
START_TEST(who_wants_the_text_alone_has_it_of_a_stored_answer_in_parts) {
    struct chat generate = {.form = FORM_CHAT, .wants_text = true};
    ask_for(&scripts[0], "both", "x", false);
    answer_whole("{\"choices\":[{\"index\":0,\"message\":{\"content\":[{\"type\":\"text\",\"text\":"
                 "\"a \\\"\"},{\"type\":\"text\",\"text\":\"b\\u0022\"}]},"
                 "\"finish_reason\":\"stop\"}]}");
    for (int stream = 0; stream < 2; stream++) {
        forget();
        start_chat((struct ask){"both", "x", CACHE_USE, stream != 0, NULL}, generate);
        ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
        ck_assert_str_eq(heard.text, "\"a \\\"b\\\"\"");
    }
}
END_TEST

/* We ask for the usage, because of the money; the client need not have. */
START_TEST(a_usage_that_nobody_asked_for_is_stored_and_not_told) {
    static const char usage[] =
        "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12}";
    struct chat with_usage = {.form = FORM_CHAT, .wants_usage = true};
    char data[256];
    snprintf(data, sizeof(data), "{\"choices\":[],%s}", usage);
    ask_for(&scripts[0], "both", "x", true);
    begin(&scripts[0], "c1");
    say(&scripts[0], 0);
    tell("", scripts[0].end[0][1]);
    tell("", data);
    flush();
    finish();
    ck_assert_str_eq(heard.order, "hecefd");
    ck_assert_ptr_null(strstr(heard.told, "usage"));
    ask_for(&scripts[0], "both", "x", false);
    ck_assert_ptr_nonnull(strstr(heard.json, usage));
    forget();
    ask_for(&scripts[0], "both", "x", true);
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    ck_assert_ptr_null(strstr(heard.told, "usage"));
    start_chat((struct ask){"both", "x", CACHE_USE, true, NULL}, with_usage);
    ck_assert_ptr_nonnull(strstr(heard.told, usage));
}
END_TEST

START_TEST(forms_share_no_entries) {
    ask_for(&scripts[0], "both", "x", true);
    play(&scripts[0], "c1");
    flow_abort(ask_for(&scripts[1], "both", "x", true), OUTCOME_CLIENT_GONE);
    ck_assert_uint_eq(event(CACHE_EVENT_HIT), 0);
    ck_assert_uint_eq(event(CACHE_EVENT_MISS), 2);
}
END_TEST

/* JSON may have line breaks between its tokens; what is kept is a line for each event. */
START_TEST(events_of_several_lines_are_stored_too) {
    ask_for(&scripts[0], "both", "x", true);
    begin(&scripts[0], "c1");
    tell("", "{\n\"choices\": [\r\n{\"index\":0, \"delta\":\n{\"content\": \"Hello\"}}]}");
    flush();
    end(&scripts[0]);
    ck_assert_ptr_nonnull(strchr(heard.told, '\r'));
    ask_for(&scripts[0], "both", "x", false);
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    ck_assert_ptr_nonnull(strstr(heard.json, "\"content\":\"Hello\""));
}
END_TEST

/* -- what is not ----------------------------------------------------------------------------------
 */

#define SAYS(delta, reason) \
    { "", CHUNK("c1", CHOICE(delta, reason)) }
#define STARTS                                                                            \
    {                                                                                     \
        "message_start",                                                                  \
            "{\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\"," \
            "\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":9}}}"      \
    }
#define OPENS(block)                                                                     \
    {                                                                                    \
        "content_block_start",                                                           \
            "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":" block "}" \
    }
#define ENDS(reason)                                                                      \
    {                                                                                     \
        "message_delta", "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":" reason \
                         ",\"stop_sequence\":null},\"usage\":{\"output_tokens\":3}}"      \
    }
#define STOPS \
    { "message_stop", "{\"type\":\"message_stop\"}" }
#define HELLO "{\"type\":\"text\",\"text\":\"Hello\"}"
#define CALL(rest) "{\"tool_calls\":[{\"index\":0," rest "}]}"

static const struct {
    const char *what;
    enum chat_form form;
    bool calls_tools;
    const char *events[5][2];
} unstored[] = {
    {"chat: a limit of tokens",
     FORM_CHAT,
     false,
     {SAYS("{\"content\":\"Hello\"}", "null"), SAYS("{}", "\"length\"")}},
    {"chat: a filter",
     FORM_CHAT,
     false,
     {SAYS("{\"content\":\"Hello\"}", "null"), SAYS("{}", "\"content_filter\"")}},
    {"chat: no end",
     FORM_CHAT,
     false,
     {SAYS("{\"content\":\"Hello\"}", "null"), SAYS("{\"content\":\" you\"}", "null")}},
    {"chat: one of two has no end",
     FORM_CHAT,
     false,
     {SAYS("{\"content\":\"Hello\"}", "\"stop\""),
      {"", CHUNK("c1", "\"choices\":[{\"index\":1,\"delta\":{\"content\":\"He\"}}]")}}},
    {"chat: tools",
     FORM_CHAT,
     true,
     {SAYS(CALL("\"id\":\"t\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
                "\"\"}"),
           "null"),
      SAYS(CALL("\"function\":{\"arguments\":\"{\\\"a\\\"\"}"), "null"),
      SAYS(CALL("\"function\":{\"arguments\":\":1}\"}"), "null"), SAYS("{}", "\"tool_calls\"")}},
    {"messages: a limit of tokens",
     FORM_MESSAGES,
     false,
     {STARTS, OPENS(HELLO), ENDS("\"max_tokens\""), STOPS}},
    {"messages: a filter",
     FORM_MESSAGES,
     false,
     {STARTS, OPENS(HELLO), ENDS("\"refusal\""), STOPS}},
    {"messages: it wants to go on",
     FORM_MESSAGES,
     false,
     {STARTS, OPENS(HELLO), ENDS("\"pause_turn\""), STOPS}},
    {"messages: no end", FORM_MESSAGES, false, {STARTS, OPENS(HELLO), ENDS("\"end_turn\"")}},
    {"messages: tools",
     FORM_MESSAGES,
     true,
     {STARTS,
      OPENS("{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}"),
      {"content_block_delta",
       "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
       "{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":1}\"}}"},
      ENDS("\"tool_use\""),
      STOPS}},
};
enum { UNSTORED_COUNT = sizeof(unstored) / sizeof(unstored[0]) };

static void play_unstored(int row) {
    struct script script = {.form = unstored[row].form};
    ask_for(&script, "both", "x", true);
    for (int i = 0; i < 5 && unstored[row].events[i][0] != NULL; i++) {
        tell(unstored[row].events[i][0], unstored[row].events[i][1]);
    }
    flush();
    ck_assert_uint_gt(gateway->kept_bytes, 0);
    finish();
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_uint_eq(gateway->kept_bytes, 0);
}

START_TEST(a_stream_that_is_no_answer_for_everybody_is_not_stored) {
    play_unstored(_i);
    ck_assert_msg(event(CACHE_EVENT_STORE) == 0, "%s", unstored[_i].what);
}
END_TEST

START_TEST(calls_of_tools_are_stored_where_that_is_configured) {
    struct script script = {.form = unstored[_i].form};
    conf->cache.tool_calls = true;
    play_unstored(_i);
    ck_assert_msg(event(CACHE_EVENT_STORE) == (unstored[_i].calls_tools ? 1 : 0), "%s",
                  unstored[_i].what);
    if (!unstored[_i].calls_tools) {
        return;
    }
    forget();
    ask_for(&script, "both", "x", false);
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    ck_assert_ptr_nonnull(strstr(heard.json, script.form == FORM_CHAT
                                                 ? "\"arguments\":\"{\\\"a\\\":1}\""
                                                 : "\"input\":{\"a\":1}"));
    char whole[sizeof(heard.json)];
    snprintf(whole, sizeof(whole), "%s", heard.json);
    forget();
    ask_for(&script, "both", "x", true);
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_same_json(made_whole(script.form), whole);
}
END_TEST

START_TEST(nothing_is_kept_of_what_must_not_be_stored) {
    start_chat((struct ask){"both", "x", CACHE_NO_STORE, true, NULL},
               (struct chat){.form = FORM_CHAT});
    begin(&scripts[0], "c1");
    say(&scripts[0], 0);
    ck_assert_uint_eq(gateway->kept_bytes, 0);
    end(&scripts[0]);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 0);
}
END_TEST

/* Of more events than are kept: 2 MiB. */
START_TEST(a_stream_that_is_too_long_to_keep_is_heard_and_not_stored) {
    static char data[300000];
    const char *event_start = "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"";
    memset(data, 'x', sizeof(data) - 1);
    memcpy(data, event_start, strlen(event_start));
    memcpy(data + sizeof(data) - 7, "\"}}]}", 6);
    sink_keeps_data = false;
    ask_for(&scripts[0], "both", "x", true);
    for (int i = 0; i < 20; i++) {
        tell("", data);
        flush();
        ck_assert_uint_le(gateway->kept_bytes, 2 << 20);
    }
    ck_assert_uint_eq(gateway->kept_bytes, 0);
    end(&scripts[0]);
    ck_assert_int_eq(heard.pieces, 20);
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_uint_eq(event(CACHE_EVENT_STORE), 0);
}
END_TEST

/* -- at a pace ------------------------------------------------------------------------------------
 */

#define PACE_NS (100 * NS_PER_MS)

static void pace_setup(void) {
    hand_setup();
    conf->cache.replay_pace_ms = PACE_NS / NS_PER_MS;
}

START_TEST(a_replay_at_a_pace_takes_its_time) {
    const struct script *script = &scripts[_i];
    store_whole(script, "both", "x");
    int64_t began_ns = fake.now_ns;
    ask_for(script, "both", "x", true);
    ck_assert_str_eq(heard.order, "hf"); /* at once: who it is */
    ck_assert_int_eq(heard.head_cache, ANSWER_HIT);
    int told = 0;
    while (fake_timers_step(&fake)) {
        told += heard.dones == 0;
        ck_assert_int_eq(heard.events, told);
        ck_assert_int_eq(fake.now_ns - began_ns, (told + heard.dones) * PACE_NS);
    }
    ck_assert_int_eq(heard.pieces, 3); /* a word each */
    ck_assert_int_eq(heard.flushes, heard.events + 1);
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
    ck_assert_str_eq(heard.last, script->last);
    ck_assert_same_json(made_whole(script->form), script->whole);
    ck_assert_int_eq(heard.answer.cache, ANSWER_HIT);
    ck_assert_str_eq(heard.provider, "a");
}
END_TEST

START_TEST(whole_hits_know_no_pace) {
    store_whole(&scripts[_i], "both", "x");
    ask_for(&scripts[_i], "both", "x", false);
    ck_assert_str_eq(heard.order, "d");
    ck_assert_ptr_null(fake.first);
}
END_TEST

/* Both are hits of one worker, whose values are copied to the same place. */
START_TEST(other_hits_meanwhile_change_nothing) {
    struct chat generate = {.form = FORM_CHAT, .wants_text = true};
    store_whole(&scripts[0], "a", "x");
    store_whole(&scripts[1], "b", "yyyyyyyy");
    start_chat((struct ask){"a", "x", CACHE_USE, true, NULL}, generate);
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    ask_for(&scripts[1], "b", "yyyyyyyy", false);
    ck_assert_str_eq(heard.provider, "b");
    while (fake_timers_step(&fake)) {
    }
    ck_assert_int_eq(heard.dones, 2);
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
    ck_assert_same_json(heard.text, "\"" SCRIPT_TEXT "\"");
    ck_assert_str_eq(heard.provider, "a");
    ck_assert_str_eq(heard.model, "m");
    ck_assert_str_eq(heard.reason, "provider");
}
END_TEST

START_TEST(a_client_may_leave_in_the_middle_of_a_replay) {
    store_whole(&scripts[_i], "both", "x");
    access_log_flush(gateway_env(gateway)->access_log);
    ck_assert_int_eq(ftruncate(log_fd, 0), 0);
    struct flow *flow = ask_for(&scripts[_i], "both", "x", true);
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    flow_writable(flow); /* nothing was paused */
    flow_abort(flow, OUTCOME_CLIENT_GONE);
    ck_assert_int_eq(heard.events, 2);
    ck_assert_int_eq(heard.dones + heard.failed, 0);
    ck_assert_ptr_null(fake.first);
    ck_assert_uint_eq(hand.cancelled, 0);
    ck_assert_uint_eq(total(METRIC_CLIENT_ABORTS, 0, 0, 0), 1);
    ck_assert_line_has("\"status\":499,");
    ck_assert_line_has("\"cache\":\"hit\",");
    ck_assert_line_has("\"outcome\":null,\"attempts\":0,");
    ck_assert_line_has("\"upstream_s\":0.000000000,");
    ck_assert_line_has("\"cost_usd\":0.000000000,");
}
END_TEST

START_TEST(shutdown_ends_a_replay_by_a_failure) {
    store_whole(&scripts[0], "both", "x");
    ask_for(&scripts[0], "both", "x", true);
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    gateway_abort_all(gateway);
    ck_assert_str_eq(heard.order, "hfefx");
    ck_assert_str_eq(heard.code, "shutdown");
    ck_assert_ptr_null(fake.first);
}
END_TEST

START_TEST(without_a_timer_a_replay_is_told_at_once) {
    store_whole(&scripts[_i], "both", "x");
    fake.refuse = 1;
    ask_for(&scripts[_i], "both", "x", true);
    ck_assert_int_eq(heard.dones, 1);
    ck_assert_str_eq(heard.said, SCRIPT_TEXT);
    ck_assert_same_json(made_whole(scripts[_i].form), scripts[_i].whole);
}
END_TEST

static TCase *make_cases(void) {
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, hand_setup, hand_teardown);
    tcase_add_loop_test(tcase, a_finished_stream_is_a_hit_as_json_and_as_a_stream, 0, SCRIPT_COUNT);
    tcase_add_loop_test(tcase, a_stored_whole_answer_is_a_hit_as_a_stream, 0, SCRIPT_COUNT);
    tcase_add_loop_test(tcase, a_whole_answer_for_who_wants_a_stream_is_told_as_one_and_stored, 0,
                        SCRIPT_COUNT);
    tcase_add_test(tcase, who_wants_the_text_alone_has_it_of_a_stored_stream);
    tcase_add_test(tcase, who_wants_the_text_alone_has_it_of_a_stored_answer_in_parts);
    tcase_add_test(tcase, a_usage_that_nobody_asked_for_is_stored_and_not_told);
    tcase_add_test(tcase, forms_share_no_entries);
    tcase_add_test(tcase, events_of_several_lines_are_stored_too);
    tcase_add_loop_test(tcase, a_stream_that_is_no_answer_for_everybody_is_not_stored, 0,
                        UNSTORED_COUNT);
    tcase_add_loop_test(tcase, calls_of_tools_are_stored_where_that_is_configured, 0,
                        UNSTORED_COUNT);
    tcase_add_test(tcase, nothing_is_kept_of_what_must_not_be_stored);
    tcase_add_test(tcase, a_stream_that_is_too_long_to_keep_is_heard_and_not_stored);
    return tcase;
}

static TCase *make_paced_cases(void) {
    TCase *tcase = tcase_create("paced");
    tcase_add_checked_fixture(tcase, pace_setup, hand_teardown);
    tcase_add_loop_test(tcase, a_replay_at_a_pace_takes_its_time, 0, SCRIPT_COUNT);
    tcase_add_loop_test(tcase, whole_hits_know_no_pace, 0, SCRIPT_COUNT);
    tcase_add_test(tcase, other_hits_meanwhile_change_nothing);
    tcase_add_loop_test(tcase, a_client_may_leave_in_the_middle_of_a_replay, 0, SCRIPT_COUNT);
    tcase_add_test(tcase, shutdown_ends_a_replay_by_a_failure);
    tcase_add_loop_test(tcase, without_a_timer_a_replay_is_told_at_once, 0, SCRIPT_COUNT);
    return tcase;
}

static Suite *make_suite(void) {
    Suite *suite = suite_create("flow_replay");
    suite_add_tcase(suite, make_cases());
    suite_add_tcase(suite, make_paced_cases());
    return suite;
}

UNIT_MAIN(make_suite)
