/* Identical requests that share one answer: who hears what and when, who pays, who asks again, and
 * what happens to whom when somebody leaves, fails, reads slowly or dies. Other processes are other
 * gateways on the same region.
 */
#include "config.h"

#include "shm/wake.h"
#include "unit.h"

#include "stream_test.h"

/* A client with a memory of its own. */
struct client {
    struct sink sink; /* first */
    struct flow *flow;
    char order[256]; /* as heard.order */
    char said[256];  /* texts of events */
    char json[4096], text[256], id[3];
    int64_t cost_nusd, saved_nusd;
    enum answer_cache cache;
    int status;
    enum sink_fill fill;
};

static struct client clients[4];
#define leader (&clients[0])
#define second (&clients[1])
#define third (&clients[2])

static void add(struct client *client, char letter) {
    size_t size = strlen(client->order);
    ck_assert_uint_lt(size + 1, sizeof(client->order));
    client->order[size] = letter;
}
static void client_head(struct sink *to, const struct answer *answer) {
    ((struct client *)to)->cache = answer->cache;
    add((struct client *)to, 'h');
}
static void client_event(struct sink *to, const struct chat_event *told) {
    struct client *client = (struct client *)to;
    append(client->said, sizeof(client->said), told->text);
    add(client, told->is_content ? 'c' : 'e');
}
static void client_ignores(struct sink *to, const struct chat_event *told) {
    (void)to;
    (void)told;
}
static void client_ping(struct sink *to) {
    add((struct client *)to, 'p');
}
static enum sink_fill client_flush(struct sink *to) {
    add((struct client *)to, 'f');
    return ((struct client *)to)->fill;
}
static void client_done(struct sink *to, const struct answer *answer) {
    struct client *client = (struct client *)to;
    copy(client->json, sizeof(client->json), answer->json);
    copy(client->text, sizeof(client->text), answer->text);
    client->cost_nusd = answer->cost_nusd;
    client->saved_nusd = answer->saved_nusd;
    client->cache = answer->cache;
    client->flow = NULL;
    add(client, 'd');
}
static void client_failed(struct sink *to, const struct failure *failure) {
    struct client *client = (struct client *)to;
    client->status = failure->status;
    client->flow = NULL;
    add(client, 'x');
}

static struct gateway *there; /* another process */

static void open_there(void) {
    struct gateway_env env = gateway->env;
    env.slot = board_claim(region, BOARD_WORKER, 1);
    env.store = store_open(region);
    env.metrics.row = counters_row(region, (unsigned)env.slot);
    there = gateway_new(&env);
    ck_assert_ptr_nonnull(there);
}

static void flight_setup(void) {
    hand_setup();
    ck_assert_int_eq(wake_open(region), 0);
    memset(clients, 0, sizeof(clients));
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
        clients[i].sink = (struct sink){client_head,  client_event, client_ping,
                                        client_flush, client_done,  client_failed};
    }
    open_there();
}

static void flight_teardown(void) {
    ck_assert_uint_eq(flight_count(gateway->env.store), 0);
    ck_assert_uint_eq(gateway_flows(there), 0);
    ck_assert_ptr_null(gateway->elsewhere);
    ck_assert_ptr_null(there->elsewhere);
    struct store *store = there->env.store;
    gateway_free(there);
    store_close(store);
    asking_sink = NULL;
    asked_gateway = NULL;
    hand_teardown();
}

#define STREAM true
#define WHOLE false

static void ask_as(struct client *client, const struct script *script, struct gateway *where,
                   bool stream, const char *prompt) {
    asking_sink = &client->sink;
    asked_gateway = where;
    client->flow = ask_for(script, "both", prompt, stream);
}
static void ask_here_and_there(struct client *client, const struct script *script, bool elsewhere,
                               bool stream) {
    ask_as(client, script, elsewhere ? there : gateway, stream, "x");
}
static void ask(struct client *client, bool stream) {
    ask_here_and_there(client, &scripts[0], false, stream);
}

/* What the event loop of the other process does when it is woken. */
static void wake_there(void) {
    gateway_wake(there);
}

/* Of the route `both`: a, then b. */
static void whole_plan_fails(void) {
    break_off(OUTCOME_RESET);
    break_off(OUTCOME_RESET);
}

/* Of the access log. */
static const char *all_lines(void) {
    static char lines[4096];
    memset(lines, 0, sizeof(lines));
    access_log_flush(gateway->env.access_log);
    ck_assert_int_gt(pread(log_fd, lines, sizeof(lines) - 1, 0), 0);
    return lines;
}

static void content(int piece) {
    say(&scripts[0], piece);
    flush();
}

/* -- one answer ----------------------------------------------------------------------------------
 */

START_TEST(who_joins_a_stream_hears_its_beginning_and_then_what_comes) {
    const struct script *script = &scripts[_i];
    ask_here_and_there(leader, script, false, STREAM);
    ask_here_and_there(second, script, false, STREAM);
    begin(script, "c1");
    flush();
    ck_assert_str_eq(second->order, "");
    say(script, 0);
    flush();
    const char *so_far = script->form == FORM_CHAT ? "hecf" : "heecf";
    ck_assert_str_eq(leader->order, so_far);
    ck_assert_str_eq(second->order, so_far);
    ask_here_and_there(third, script, false, STREAM);
    ck_assert_str_eq(third->order, so_far);
    say(script, 1);
    flush();
    end(script);
    for (int i = 0; i < 3; i++) {
        ck_assert_str_eq(clients[i].said, SCRIPT_TEXT);
        ck_assert_int_eq(clients[i].order[strlen(clients[i].order) - 1], 'd');
        ck_assert_int_eq(clients[i].cache, i == 0 ? ANSWER_MISS : ANSWER_COALESCED);
        ck_assert_int_eq(clients[i].cost_nusd > 0, i == 0);
        ck_assert_int_eq(clients[i].saved_nusd, i == 0 ? 0 : leader->cost_nusd);
    }
    ck_assert_str_eq(hand.asked, "a");
    ck_assert_uint_eq(event(CACHE_EVENT_COALESCED), 2);
    ck_assert_uint_eq(event(CACHE_EVENT_MISS), 1);
    ck_assert_uint_eq(total(METRIC_SAVED, SAVED_COALESCED, 0, 0), 2 * (uint64_t)leader->cost_nusd);
    ck_assert_uint_eq(total(METRIC_TOKENS, pair_of("a"), TOKEN_PROMPT, 0), 1000);
}
END_TEST

/* _i: does the leader stream, does the other, is the other in another process? */
START_TEST(streamed_and_whole_have_the_same_answer) {
    bool leader_streams = (_i & 1) != 0, other_streams = (_i & 2) != 0, elsewhere = (_i & 4) != 0;
    const struct script *script = &scripts[0];
    ask_here_and_there(leader, script, false, leader_streams);
    ask_here_and_there(second, script, elsewhere, other_streams);
    if (leader_streams) {
        play(script, "c1");
    } else {
        answer_whole(script->whole);
    }
    wake_there();
    if (other_streams) {
        ck_assert_str_eq(second->said, SCRIPT_TEXT);
    } else {
        ck_assert_ptr_nonnull(strstr(second->json, "Hello big w"));
    }
    ck_assert_int_eq(second->cache, ANSWER_COALESCED);
    ck_assert_int_eq(second->saved_nusd, leader->cost_nusd);
    ck_assert_int_eq(second->cost_nusd, 0);
    ck_assert_str_eq(hand.asked, "a");
}
END_TEST

START_TEST(who_does_not_use_the_cache_leads_nobody_and_joins_nobody) {
    asking_sink = &leader->sink;
    leader->flow = start_chat((struct ask){"both", "x", CACHE_NO_READ, false, NULL},
                              (struct chat){.form = FORM_CHAT});
    struct attempt *first = hand.attempt;
    hand.attempt = NULL; /* one hand plays both */
    ask(second, WHOLE);
    ck_assert_str_eq(hand.asked, "aa");
    ck_assert_ptr_ne(hand.attempt, first);
    answer_whole(scripts[0].whole);
    ck_assert_int_eq(second->cache, ANSWER_MISS);
    hand.attempt = first;
    answer_whole(scripts[0].whole);
    ck_assert_int_eq(leader->cache, ANSWER_BYPASS);
}
END_TEST

START_TEST(who_waits_elsewhere_hears_a_sign_of_life) {
    ask(leader, WHOLE);
    ask_here_and_there(second, &scripts[0], true, STREAM);
    pass_time(FLOW_PING_NS);
    ck_assert_str_eq(second->order, "hp");
    answer_whole(scripts[0].whole);
    wake_there();
    ck_assert_str_eq(second->said, SCRIPT_TEXT);
}
END_TEST

/* -- failures -------------------------------------------------------------------------------------
 */

/* _i: is the other elsewhere? The plan is a, then b. */
START_TEST(after_a_failure_one_asks_again_and_a_second_one_is_everybodys) {
    bool elsewhere = _i == 1;
    ask(leader, WHOLE);
    ask_here_and_there(second, &scripts[0], elsewhere, WHOLE);
    ask_here_and_there(third, &scripts[0], elsewhere, WHOLE);
    whole_plan_fails();
    ck_assert_int_eq(leader->status, 502);
    wake_there();
    ck_assert_str_eq(hand.asked, "aba");
    ck_assert_str_eq(second->order, "");
    whole_plan_fails();
    wake_there();
    ck_assert_str_eq(hand.asked, "abab");
    ck_assert_int_eq(second->status, 502);
    ck_assert_int_eq(third->status, 502);
}
END_TEST

/* The heir is elsewhere, and its failure comes back to those here. */
START_TEST(a_failure_goes_from_process_to_process) {
    ask(leader, WHOLE);
    ask_here_and_there(second, &scripts[0], true, WHOLE);
    whole_plan_fails();
    ask(third, STREAM); /* before the other process has looked: it leads, with one failure behind */
    ck_assert_str_eq(hand.asked, "aba");
    wake_there();
    ck_assert_str_eq(second->order, "");
    whole_plan_fails();
    ck_assert_int_eq(third->status, 502);
    wake_there();
    ck_assert_int_eq(second->status, 502);
    ck_assert_str_eq(hand.asked, "abab");
}
END_TEST

/* The other process is woken by the first failure and so busy that the second comes before it
 * looks. */
START_TEST(who_looks_late_hears_of_the_second_failure) {
    ask(leader, WHOLE);
    ask_here_and_there(second, &scripts[0], true, WHOLE);
    whole_plan_fails();
    ask(third, WHOLE);
    whole_plan_fails();
    ck_assert_int_eq(third->status, 502);
    wake_there();
    ck_assert_int_eq(second->status, 502);
    ck_assert_str_eq(hand.asked, "abab");
}
END_TEST

START_TEST(a_refusal_is_everybodys_at_once) {
    bool elsewhere = _i == 1;
    ask(leader, WHOLE);
    ask_here_and_there(second, &scripts[0], elsewhere, WHOLE);
    ask_here_and_there(third, &scripts[0], elsewhere, STREAM);
    for (int i = 0; i < 2; i++) { /* a, then b */
        hand.attempt->status = 422;
        snprintf(hand.attempt->code, sizeof(hand.attempt->code), "too_odd");
        break_off(OUTCOME_REJECTED);
    }
    wake_there();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(clients[i].status, 422);
        ck_assert_str_eq(clients[i].order, "x");
    }
    ck_assert_str_eq(hand.asked, "ab");
    ck_assert_uint_eq(event(CACHE_EVENT_COALESCED), 2);
}
END_TEST

START_TEST(who_has_heard_a_part_shares_the_break_and_who_has_not_asks_again) {
    ask(leader, STREAM);
    ask(second, STREAM);
    ask(third, WHOLE);
    begin(&scripts[0], "c1");
    content(0);
    break_off(OUTCOME_STREAM_TRUNCATED);
    ck_assert_str_eq(leader->order, "hecffx");
    ck_assert_str_eq(second->order, "hecfx");
    ck_assert_str_eq(third->order, "");
    ck_assert_str_eq(hand.asked, "aa");
    answer_whole(scripts[0].whole);
    ck_assert_str_eq(third->order, "d");
}
END_TEST

START_TEST(a_fallback_of_the_leader_begins_anew_for_all) {
    ask(leader, STREAM);
    ask(second, STREAM);
    begin(&scripts[0], "c0");
    flush();
    break_off(OUTCOME_STREAM_TRUNCATED); /* before there was something to read */
    play(&scripts[0], "c1");
    ck_assert_str_eq(second->order, "hecfcfefd");
    ck_assert_str_eq(second->said, SCRIPT_TEXT);
    ck_assert_str_eq(hand.asked, "ab");
}
END_TEST

START_TEST(the_heir_of_a_dead_leader_asks) {
    ask_here_and_there(leader, &scripts[0], true, WHOLE);
    struct attempt *lost = hand.attempt;
    hand.attempt = NULL;
    ask(second, WHOLE);
    ask(third, STREAM);
    ck_assert_str_eq(hand.asked, "a");
    int slot = there->env.slot;
    board_release(region, slot); /* the master, when it has reaped it */
    gateway_tick(gateway);
    ck_assert_str_eq(hand.asked, "aa");
    answer_whole(scripts[0].whole);
    ck_assert_str_eq(second->order, "d");
    ck_assert_str_eq(third->said, SCRIPT_TEXT);
    hand.attempt = lost; /* the dead one's memory goes */
    ck_assert(board_begin_attempt(region, slot, label_of("a"), 1));
    flow_abort(leader->flow, OUTCOME_CLIENT_GONE);
    ck_assert_int_eq(board_claim(region, BOARD_WORKER, 1), slot);
}
END_TEST

/* -- clients that leave --------------------------------------------------------------------------
 */

START_TEST(who_waits_may_leave) {
    bool elsewhere = _i == 1;
    ask(leader, WHOLE);
    ask_here_and_there(second, &scripts[0], elsewhere, WHOLE);
    flow_abort(second->flow, OUTCOME_CLIENT_GONE);
    ck_assert_uint_eq(hand.cancelled, 0);
    answer_whole(scripts[0].whole);
    wake_there();
    ck_assert_str_eq(leader->order, "d");
    ck_assert_str_eq(second->order, "");
    ck_assert_uint_eq(event(CACHE_EVENT_COALESCED), 0);
}
END_TEST

START_TEST(a_leader_that_leaves_is_waited_for_and_pays) {
    bool elsewhere = _i == 1;
    ask(leader, STREAM);
    ask_here_and_there(second, &scripts[0], elsewhere, STREAM);
    begin(&scripts[0], "c1");
    content(0);
    flow_abort(leader->flow, OUTCOME_CLIENT_GONE);
    ck_assert_uint_eq(hand.cancelled, 0);
    content(1);
    end(&scripts[0]);
    wake_there();
    ck_assert_str_eq(leader->order, "hecf");
    ck_assert_str_eq(second->said, SCRIPT_TEXT);
    ck_assert_uint_gt((uint64_t)second->saved_nusd, 0);
    const char *lines = all_lines();
    const char *line = strstr(lines, "\"status\":499,");
    ck_assert_ptr_nonnull(line);
    ck_assert_ptr_nonnull(strstr(line, "\"outcome\":\"ok\","));
    ck_assert_ptr_null(strstr(line, "\"cost_usd\":0.000000000,\"saved_usd\":0.000000000,\"cost"));
}
END_TEST

START_TEST(when_all_have_left_the_upstream_is_stopped) {
    bool elsewhere = _i == 1;
    ask(leader, STREAM);
    ask_here_and_there(second, &scripts[0], elsewhere, WHOLE);
    flow_abort(leader->flow, OUTCOME_CLIENT_GONE);
    ck_assert_uint_eq(hand.cancelled, 0);
    flow_abort(second->flow, OUTCOME_CLIENT_GONE);
    ck_assert_uint_eq(hand.cancelled, elsewhere ? 0 : 1);
    gateway_tick(gateway); /* within a second where nobody tells it */
    ck_assert_uint_eq(hand.cancelled, 1);
    ck_assert_uint_eq(total(METRIC_CLIENT_ABORTS, 0, 0, 0), 2);
}
END_TEST

START_TEST(shutdown_hands_the_question_to_another_process) {
    ask(leader, WHOLE);
    ask(second, WHOLE);
    ask_here_and_there(third, &scripts[0], true, WHOLE);
    gateway_abort_all(gateway);
    ck_assert_int_eq(leader->status, 503);
    ck_assert_int_eq(second->status, 503);
    ck_assert_str_eq(third->order, "");
    wake_there();
    ck_assert_str_eq(hand.asked, "aa");
    answer_whole(scripts[0].whole);
    ck_assert_str_eq(third->order, "d");
}
END_TEST

/* -- slow readers ---------------------------------------------------------------------------------
 */

START_TEST(the_upstream_waits_only_when_all_readers_are_full) {
    ask(leader, STREAM);
    ask(second, STREAM);
    begin(&scripts[0], "c1");
    leader->fill = SINK_FULL;
    content(0);
    ck_assert_uint_eq(hand.paused, 0);
    second->fill = SINK_FULL;
    content(1);
    ck_assert_uint_eq(hand.paused, 1);
    second->fill = SINK_HAS_ROOM;
    flow_writable(second->flow);
    ck_assert_uint_eq(hand.resumed, 1);
    end(&scripts[0]);
}
END_TEST

START_TEST(who_wants_it_whole_never_makes_the_upstream_wait) {
    bool elsewhere = _i == 1;
    ask(leader, STREAM);
    ask_here_and_there(second, &scripts[0], elsewhere, WHOLE);
    begin(&scripts[0], "c1");
    leader->fill = SINK_FULL;
    content(0);
    ck_assert_uint_eq(hand.paused, 0);
    leader->fill = SINK_OVERFULL; /* but memory has an end */
    content(1);
    ck_assert_uint_eq(hand.paused, 1);
    flow_abort(leader->flow, OUTCOME_CLIENT_STALL); /* cut after 30 s */
    ck_assert_uint_eq(hand.resumed, 1);
    end(&scripts[0]);
    wake_there();
    ck_assert_ptr_nonnull(strstr(second->json, "Hello big w"));
}
END_TEST

/* It takes a byte now and then, so nobody else cuts it. _i: does it lead? */
START_TEST(who_lags_far_behind_for_long_is_left_behind) {
    struct client *laggard = _i == 1 ? leader : second;
    struct client *other = _i == 1 ? second : leader;
    ask(leader, STREAM);
    ask(second, STREAM);
    begin(&scripts[0], "c1");
    laggard->fill = SINK_OVERFULL;
    content(0);
    ck_assert_uint_eq(hand.paused, 1);
    pass_time(30 * NS_PER_S - 1);
    gateway_tick(gateway);
    ck_assert_uint_eq(hand.resumed, 0);
    pass_time(1);
    gateway_tick(gateway);
    ck_assert_uint_eq(hand.resumed, 1);
    ck_assert_int_eq(laggard->status, 408);
    content(1);
    end(&scripts[0]);
    ck_assert_str_eq(other->said, SCRIPT_TEXT);
    ck_assert_str_eq(laggard->said, "Hello big");
    const char *lines = all_lines();
    ck_assert_ptr_nonnull(strstr(lines, "\"status\":408,"));
    ck_assert_ptr_nonnull(strstr(lines, "\"status\":200,"));
    ck_assert_uint_gt(total(METRIC_COST, pair_of("a"), 0, 0), 0);
}
END_TEST

/* Whoever reads alone may take its time. */
START_TEST(a_laggard_that_nobody_reads_with_goes_on) {
    ask(leader, STREAM);
    ask(second, STREAM);
    begin(&scripts[0], "c1");
    second->fill = SINK_OVERFULL;
    content(0);
    flow_abort(leader->flow, OUTCOME_CLIENT_GONE);
    pass_time(60 * NS_PER_S);
    gateway_tick(gateway);
    ck_assert_int_eq(second->status, 0);
    second->fill = SINK_HAS_ROOM;
    flow_writable(second->flow);
    content(1);
    end(&scripts[0]);
    ck_assert_str_eq(second->said, SCRIPT_TEXT);
}
END_TEST

START_TEST(who_leaves_may_have_been_the_only_one_with_room) {
    ask(leader, STREAM);
    ask(second, STREAM);
    begin(&scripts[0], "c1");
    leader->fill = SINK_FULL;
    content(0);
    ck_assert_uint_eq(hand.paused, 0);
    flow_abort(second->flow, OUTCOME_CLIENT_GONE);
    ck_assert_uint_eq(hand.paused, 1);
    leader->fill = SINK_HAS_ROOM;
    flow_writable(leader->flow);
    content(1);
    end(&scripts[0]);
    ck_assert_str_eq(leader->said, SCRIPT_TEXT);
}
END_TEST

/* 0: a stream, 1: whole, 2: whole and in another process, which is seen a little later. */
START_TEST(who_joins_with_room_makes_the_upstream_go_on) {
    ask(leader, STREAM);
    begin(&scripts[0], "c1");
    leader->fill = SINK_FULL;
    content(0);
    ck_assert_uint_eq(hand.paused, 1);
    ask_here_and_there(second, &scripts[0], _i == 2, _i == 0 ? STREAM : WHOLE);
    gateway_tick(gateway);
    ck_assert_uint_eq(hand.resumed, 1);
    content(1);
    end(&scripts[0]);
    wake_there();
    ck_assert_int_eq(second->cache, ANSWER_COALESCED);
    ck_assert_int_eq(second->order[strlen(second->order) - 1], 'd');
}
END_TEST

/* -- what cannot be shared
 * -------------------------------------------------------------------------
 */

static void say_much(size_t bytes) {
    static char data[70000];
    for (size_t said = 0; said < bytes; said += 60000) {
        int size = snprintf(data, sizeof(data), "%s",
                            CHUNK("c1", "\"choices\":[{\"index\":0,"
                                        "\"delta\":{\"content\":\""));
        size = (int)(strstr(data, "\"content\":\"") - data) + 11;
        for (int i = 0; i < 60000; i++) { /* unlike the line before, or little of it is kept */
            data[size++] = (char)('a' + (said / 60000 + (size_t)i) % 23);
        }
        snprintf(data + size, sizeof(data) - (size_t)size, "\"},\"finish_reason\":null}]}");
        tell("", data);
    }
    flush();
}

/* Past what is kept nobody joins; who is there goes on, and who wants it whole asks alone. */
START_TEST(a_stream_too_long_to_keep_lets_the_others_go) {
    ask(leader, STREAM);
    ask(second, WHOLE);
    ask_here_and_there(third, &scripts[0], true, WHOLE);
    begin(&scripts[0], "c1");
    leader->sink.event = client_ignores; /* what it says is not remembered */
    say_much((size_t)3 << 20);
    struct attempt *stream = hand.attempt;
    hand.attempt = NULL;
    wake_there();
    ck_assert_str_eq(hand.asked, "aa");
    answer_whole(scripts[0].whole);
    ck_assert_str_eq(third->order, "d");
    ck_assert_int_eq(third->cache, ANSWER_MISS);
    gateway_tick(gateway);
    ck_assert_str_eq(hand.asked, "aaa");
    answer_whole(scripts[0].whole);
    ck_assert_str_eq(second->order, "d");
    hand.attempt = stream;
    end(&scripts[0]);
    ck_assert_int_eq(leader->order[strlen(leader->order) - 1], 'd');
}
END_TEST

START_TEST(an_answer_that_may_not_be_stored_is_asked_for_once_elsewhere) {
    static const char *const cut = "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":7,"
                                   "\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{"
                                   "\"role\":\"assistant\",\"content\":\"Hello\"},"
                                   "\"finish_reason\":\"content_filter\"}]}";
    ask(leader, WHOLE);
    ask(second, WHOLE);
    ask_here_and_there(third, &scripts[0], true, WHOLE);
    ask_here_and_there(&clients[3], &scripts[0], true, WHOLE);
    answer_whole(cut);
    ck_assert_int_eq(second->cache, ANSWER_COALESCED);
    ck_assert_ptr_nonnull(strstr(second->json, "content_filter"));
    wake_there();
    ck_assert_str_eq(hand.asked, "aa");
    answer_whole(cut);
    ck_assert_int_eq(third->cache + clients[3].cache, ANSWER_MISS + ANSWER_COALESCED);
}
END_TEST

/* -- time -----------------------------------------------------------------------------------------
 */

/* The longest `total` of the configuration: 600 s. */
START_TEST(who_waits_gives_up_by_its_own_arrival) {
    bool elsewhere = _i == 1;
    int64_t total_ns = gateway->wait_max_ns;
    ask(leader, WHOLE);
    pass_time(total_ns / 2);
    ask_here_and_there(second, &scripts[0], elsewhere, WHOLE);
    pass_time(total_ns / 4);
    whole_plan_fails();
    wake_there();
    ck_assert_str_eq(hand.asked, "aba");
    ck_assert_int_eq(hand.attempt->deadline_ns,
                     fake.now_ns - total_ns / 4 + total_ns); /* as if it had asked itself */
    ask_here_and_there(third, &scripts[0], elsewhere, WHOLE);
    pass_time(total_ns - 1);
    ck_assert_str_eq(third->order, "");
    pass_time(1);
    ck_assert_int_eq(third->status, 504);
    answer_whole(scripts[0].whole);
    ck_assert_str_eq(second->order, "d");
}
END_TEST

START_TEST(without_memory_for_a_timer_one_fails_and_the_others_go_on) {
    ask(leader, WHOLE);
    fake.refuse = 1;
    ask_here_and_there(second, &scripts[0], _i == 1, WHOLE);
    ck_assert_int_eq(second->status, 503);
    answer_whole(scripts[0].whole);
    ck_assert_str_eq(leader->order, "d");
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("flight");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, flight_setup, flight_teardown);
    tcase_add_loop_test(tcase, who_joins_a_stream_hears_its_beginning_and_then_what_comes, 0,
                        SCRIPT_COUNT);
    tcase_add_loop_test(tcase, streamed_and_whole_have_the_same_answer, 0, 8);
    tcase_add_test(tcase, who_does_not_use_the_cache_leads_nobody_and_joins_nobody);
    tcase_add_test(tcase, who_waits_elsewhere_hears_a_sign_of_life);
    tcase_add_loop_test(tcase, after_a_failure_one_asks_again_and_a_second_one_is_everybodys, 0, 2);
    tcase_add_test(tcase, a_failure_goes_from_process_to_process);
    tcase_add_test(tcase, who_looks_late_hears_of_the_second_failure);
    tcase_add_loop_test(tcase, a_refusal_is_everybodys_at_once, 0, 2);
    tcase_add_test(tcase, who_has_heard_a_part_shares_the_break_and_who_has_not_asks_again);
    tcase_add_test(tcase, a_fallback_of_the_leader_begins_anew_for_all);
    tcase_add_test(tcase, the_heir_of_a_dead_leader_asks);
    tcase_add_loop_test(tcase, who_waits_may_leave, 0, 2);
    tcase_add_loop_test(tcase, a_leader_that_leaves_is_waited_for_and_pays, 0, 2);
    tcase_add_loop_test(tcase, when_all_have_left_the_upstream_is_stopped, 0, 2);
    tcase_add_test(tcase, shutdown_hands_the_question_to_another_process);
    tcase_add_test(tcase, the_upstream_waits_only_when_all_readers_are_full);
    tcase_add_loop_test(tcase, who_wants_it_whole_never_makes_the_upstream_wait, 0, 2);
    tcase_add_loop_test(tcase, who_lags_far_behind_for_long_is_left_behind, 0, 2);
    tcase_add_test(tcase, a_laggard_that_nobody_reads_with_goes_on);
    tcase_add_test(tcase, who_leaves_may_have_been_the_only_one_with_room);
    tcase_add_loop_test(tcase, who_joins_with_room_makes_the_upstream_go_on, 0, 3);
    tcase_add_test(tcase, a_stream_too_long_to_keep_lets_the_others_go);
    tcase_add_test(tcase, an_answer_that_may_not_be_stored_is_asked_for_once_elsewhere);
    tcase_add_loop_test(tcase, who_waits_gives_up_by_its_own_arrival, 0, 2);
    tcase_add_loop_test(tcase, without_memory_for_a_timer_one_fails_and_the_others_go_on, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
