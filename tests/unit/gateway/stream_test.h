/* stream_test: a gateway whose providers are played by hand: the test says which event comes when.
 * Events are read as the real providers read them (upstream/form.h), from memory that is gone when
 * the call returns.
 */
#ifndef OPTIROUTE_TESTS_STREAM_TEST_H
#define OPTIROUTE_TESTS_STREAM_TEST_H

static const char flow_test_conf[] =
    "cache: {size: 8MB, ttl: 1h}\n"
    "providers:\n"
    "  a: {type: simulated, default_model: m, models: {m: {input: 1, output: 2}},\n"
    "      retry: {attempts: 0}}\n"
    "  b: {type: simulated, default_model: n, models: {n: {input: 1, output: 2}},\n"
    "      retry: {attempts: 0}}\n"
    "routes:\n"
    "  auto: {cheap: a, strong: a, policy: length}\n"
    "  both: {cheap: a, strong: a, policy: length, fallback: [b]}\n";

struct conf_provider;
static const struct provider_ops *by_hand(const struct conf_provider *provider);
#define flow_test_ops by_hand
#include "flow_test.h"
#include "upstream/form.h"

/* The attempt that is under way, and what its provider would have summed up so far. */
static struct {
    struct attempt *attempt; /* NULL: none */
    char asked[64];          /* providers so far, a letter each */
    unsigned cancelled, paused, resumed;
    size_t delivered;
    enum chat_finish finish;
    bool has_tools;
    struct json_reader reader;
    struct arena arena;
} hand;

/* 1000 tokens in, and one out for each byte that was delivered. */
static inline void fill_usage(struct attempt *attempt) {
    attempt->usage =
        (struct usage){.prompt_tokens = 1000, .completion_tokens = (int64_t)hand.delivered};
}

static enum outcome hand_start(struct attempt *attempt) {
    ck_assert_ptr_null(hand.attempt);
    hand.asked[strlen(hand.asked)] = attempt->provider->name[0];
    hand.attempt = attempt;
    hand.delivered = 0;
    hand.finish = FINISH_UNKNOWN;
    hand.has_tools = false;
    return OUTCOME_OK;
}

static void hand_cancel(struct attempt *attempt) {
    ck_assert_ptr_eq(attempt, hand.attempt);
    fill_usage(attempt);
    hand.attempt = NULL;
    hand.cancelled++;
}

static void hand_pause(struct attempt *attempt) {
    ck_assert_ptr_eq(attempt, hand.attempt);
    hand.paused++;
}

static void hand_resume(struct attempt *attempt) {
    ck_assert_ptr_eq(attempt, hand.attempt);
    hand.resumed++;
}

static struct provider_ops hand_ops = {.type = "by hand",
                                       .start = hand_start,
                                       .cancel = hand_cancel,
                                       .pause = hand_pause,
                                       .resume = hand_resume};

static const struct provider_ops *by_hand(const struct conf_provider *provider) {
    (void)provider;
    return &hand_ops;
}

static inline void hand_setup(void) {
    memset(&hand, 0, sizeof(hand));
    hand_ops.pause = hand_pause;
    json_reader_init(&hand.reader);
    arena_init(&hand.arena, 4096, (size_t)64 << 20);
    setup();
}

static inline void hand_teardown(void) {
    ck_assert_ptr_null(hand.attempt);
    teardown();
    arena_fini(&hand.arena);
    json_reader_fini(&hand.reader);
}

/* One event of the provider. */
static inline void tell(const char *name, const char *data) {
    const struct form *form = form_of(hand.attempt->chat->form);
    struct form_reading reading = {.usage_state = USAGE_NONE};
    struct json_fault fault;
    char *own = strdup(data);
    ck_assert_int_eq(json_read(&hand.reader, bytes_from_str(own), &fault), 0);
    ck_assert_int_eq(form->read_event(&hand.reader, &hand.arena, &reading), OUTCOME_OK);
    hand.delivered += reading.delivered;
    hand.finish = reading.finish > hand.finish ? reading.finish : hand.finish;
    hand.has_tools = hand.has_tools || reading.has_tools;
    struct chat_event event = {.name = bytes_from_str(name),
                               .data = bytes_from_str(own),
                               .text = reading.text,
                               .is_content = reading.is_content,
                               .is_last = reading.is_last,
                               .is_usage = reading.is_usage_only && form->ends_by_done};
    hand.attempt->events->event(hand.attempt, &event);
    arena_reset(&hand.arena);
    free(own);
}

/* What came so far came together. */
static inline void flush(void) {
    hand.attempt->events->flush(hand.attempt);
}

/* The stream is over. */
static inline void finish(void) {
    struct attempt *attempt = hand.attempt;
    hand.attempt = NULL;
    fill_usage(attempt);
    attempt->answer = (struct chat_answer){.finish = hand.finish, .has_tools = hand.has_tools};
    attempt->events->done(attempt);
}

/* The answer comes whole. */
static inline void answer_whole(const char *json) {
    struct attempt *attempt = hand.attempt;
    const struct form *form = form_of(attempt->chat->form);
    struct form_reading reading = {.usage_state = USAGE_NONE};
    struct json_fault fault;
    char *own = strdup(json);
    ck_assert_int_eq(json_read(&hand.reader, bytes_from_str(own), &fault), 0);
    ck_assert_int_eq(form->read_answer(&hand.reader, &hand.arena, &reading), OUTCOME_OK);
    hand.attempt = NULL;
    fill_usage(attempt);
    attempt->answer = (struct chat_answer){.json = bytes_from_str(own),
                                           .text = reading.text_span,
                                           .finish = reading.finish,
                                           .has_tools = reading.has_tools};
    attempt->events->done(attempt);
    arena_reset(&hand.arena);
    free(own);
}

static inline void break_off(enum outcome outcome) {
    struct attempt *attempt = hand.attempt;
    hand.attempt = NULL;
    fill_usage(attempt);
    attempt->events->failed(attempt, outcome);
}

/* A short stream in each form that is tested: its beginning, a text in two pieces, its end. It
 * begins with an id of two letters, so that one can tell whose events were heard. */
struct script {
    enum chat_form form;
    const char *begin[2][2]; /* name, data; ID stands for the id */
    const char *pieces[2][2];
    const char *end[3][2];
    const char *whole; /* the same as one answer */
    const char *last;  /* heard with `done` */
};

#define CHUNK(id, rest)                                                                           \
    "{\"id\":\"" id "\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\"," rest \
    "}"
#define CHOICE(delta, reason) \
    "\"choices\":[{\"index\":0,\"delta\":" delta ",\"logprobs\":null,\"finish_reason\":" reason "}]"

static const struct script scripts[] = {
    {.form = FORM_CHAT,
     .begin = {{"", CHUNK("ID", CHOICE("{\"role\":\"assistant\",\"content\":\"\"}", "null"))}},
     .pieces = {{"", CHUNK("c1", CHOICE("{\"content\":\"Hello big\"}", "null"))},
                {"", CHUNK("c1", CHOICE("{\"content\":\" w\\u00f6rld\"}", "null"))}},
     .end = {{"", CHUNK("c1", CHOICE("{}", "\"stop\""))}},
     .whole = "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\","
              "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
              "\"Hello big w\\u00f6rld\"},\"logprobs\":null,\"finish_reason\":\"stop\"}]}",
     .last = ":"},
    {.form = FORM_MESSAGES,
     .begin = {{"message_start",
                "{\"type\":\"message_start\",\"message\":{\"id\":\"ID\",\"type\":\"message\","
                "\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,"
                "\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}"},
               {"content_block_start",
                "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":"
                "{\"type\":\"text\",\"text\":\"\"}}"}},
     .pieces = {{"content_block_delta", "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
                                        "{\"type\":\"text_delta\",\"text\":\"Hello big\"}}"},
                {"content_block_delta", "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
                                        "{\"type\":\"text_delta\",\"text\":\" w\\u00f6rld\"}}"}},
     .end = {{"content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}"},
             {"message_delta",
              "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
              "\"stop_sequence\":null},"
              "\"usage\":{\"output_tokens\":3}}"},
             {"message_stop", "{\"type\":\"message_stop\"}"}},
     .whole = "{\"id\":\"c1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\","
              "\"content\":[{\"type\":\"text\",\"text\":\"Hello big w\\u00f6rld\"}],"
              "\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":9,"
              "\"output_tokens\":3}}",
     .last = "message_stop:{\"type\":\"message_stop\"}"},
};
#define SCRIPT_TEXT "Hello big w\xc3\xb6rld"
enum { SCRIPT_COUNT = sizeof(scripts) / sizeof(scripts[0]) };

static inline void begin(const struct script *script, const char *id) {
    for (size_t i = 0; i < 2 && script->begin[i][0] != NULL; i++) {
        char data[512];
        snprintf(data, sizeof(data), "%s", script->begin[i][1]);
        char *place = strstr(data, "ID");
        if (place != NULL) {
            memcpy(place, id, 2);
        }
        tell(script->begin[i][0], data);
    }
}

static inline void say(const struct script *script, int piece) {
    tell(script->pieces[piece][0], script->pieces[piece][1]);
}

static inline void end(const struct script *script) {
    for (size_t i = 0; i < 3 && script->end[i][0] != NULL; i++) {
        tell(script->end[i][0], script->end[i][1]);
    }
    flush();
    finish();
}

/* The whole of it. */
static inline void play(const struct script *script, const char *id) {
    begin(script, id);
    flush();
    say(script, 0);
    flush();
    say(script, 1);
    flush();
    end(script);
}

static inline struct flow *ask_for(const struct script *script, const char *to, const char *prompt,
                                   bool stream) {
    return start_chat((struct ask){to, prompt, CACHE_USE, stream, NULL},
                      (struct chat){.form = script->form});
}

/* Turns the clock by this much, firing what is due on the way. */
static inline void pass_time(int64_t ns) {
    int64_t until_ns = fake.now_ns + ns;
    while (fake.first != NULL && fake.first->due_ns <= until_ns) {
        fake_timers_step(&fake);
    }
    fake.now_ns = until_ns;
}

#endif
