/* What each dialect's answers say and cost, and what is kept of its errors: golden documents,
 * shaped as the public API references show them, with the exact nano-dollars. How it asks is in
 * test_dialects_ask.c.
 */
#include "config.h"

#include "dialect_test.h"

#include "gateway/cost.h"

/* As the dialect reads it, or the form that it speaks. */
static enum outcome decode(const struct dialect *dialect, const char *json,
                           struct form_reading *answer) {
    enum chat_form form = dialect->form[FORM_CHAT];
    read_json(json);
    *answer = (struct form_reading){.usage_state = USAGE_NONE};
    return dialect->decode != NULL ? dialect->decode(&reader, &arena, answer)
                                   : form_of(form)->read_answer(&reader, &arena, answer);
}

static void explain(const struct dialect *dialect, const char *json) {
    read_json(json);
    attempt.code[0] = '\0';
    dialect->explain(&reader, &attempt);
}

/* -- answers, tokens, money ----------------------------------------------------------------- */

static const struct golden {
    const struct dialect *dialect;
    const char *json, *text;
    enum usage_state state;
    struct usage usage;
    int64_t cost_nusd;
} goldens[] = {
    /* OpenAI: cached tokens inside the prompt, reasoning inside the completion.
     * (2006 - 1920) x 3 + 1920 x 0.3 + 300 x 15 = 258 + 576 + 4500 micro-dollars */
    {&prov_openai_dialect,
     "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\","
     "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi\\u0021 "
     "\\ud83d\\ude00\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
     "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":2006,\"completion_tokens\":300,"
     "\"total_tokens\":2306,\"prompt_tokens_details\":{\"cached_tokens\":1920,\"audio_tokens\":0},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":200,\"audio_tokens\":0}},"
     "\"service_tier\":\"default\"}",
     "Hi! \xf0\x9f\x98\x80",
     USAGE_KNOWN,
     {.prompt_tokens = 2006,
      .cached_tokens = 1920,
      .completion_tokens = 300,
      .reasoning_tokens = 200},
     5334000},
    /* llama.cpp's server: timings, no details */
    {&prov_openai_dialect,
     "{\"choices\":[{\"finish_reason\":\"stop\",\"index\":0,\"message\":{\"role\":\"assistant\","
     "\"content\":\"4\"}}],\"created\":1,\"model\":\"gpt-3.5-turbo\","
     "\"system_fingerprint\":\"b1-x\",\"object\":\"chat.completion\",\"usage\":{"
     "\"completion_tokens\":2,\"prompt_tokens\":14,\"total_tokens\":16},\"id\":\"chatcmpl-x\","
     "\"timings\":{\"prompt_n\":14,\"prompt_ms\":12.5,\"predicted_n\":2,\"predicted_ms\":30.1}}",
     "4",
     USAGE_KNOWN,
     {.prompt_tokens = 14, .completion_tokens = 2},
     72000},
    /* Ollama */
    {&prov_openai_dialect,
     "{\"id\":\"chatcmpl-954\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"llama3.2\","
     "\"system_fingerprint\":\"fp_ollama\",\"choices\":[{\"index\":0,\"message\":{"
     "\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":\"stop\"}],\"usage\":{"
     "\"prompt_tokens\":26,\"completion_tokens\":1,\"total_tokens\":27}}",
     "",
     USAGE_KNOWN,
     {.prompt_tokens = 26, .completion_tokens = 1},
     93000},
    /* vLLM: nulls where others have objects, reasoning beside the content */
    {&prov_openai_dialect,
     "{\"id\":\"chatcmpl-v\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"q\","
     "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"reasoning_content\":\"hm\","
     "\"content\":\"yes\",\"tool_calls\":[]},\"logprobs\":null,\"finish_reason\":\"stop\","
     "\"stop_reason\":null}],\"usage\":{\"prompt_tokens\":1,\"total_tokens\":2,"
     "\"completion_tokens\":1,\"prompt_tokens_details\":null},\"prompt_logprobs\":null}",
     "yes",
     USAGE_KNOWN,
     {.prompt_tokens = 1, .completion_tokens = 1},
     18000},
    /* content in parts; a refusal in its own field */
    {&prov_openai_dialect,
     "{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\\n\"},"
     "{\"type\":\"image\"},{\"type\":\"text\",\"text\":\"b\"}]}}],"
     "\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}",
     "a\nb",
     USAGE_KNOWN,
     {0},
     0},
    {&prov_openai_dialect,
     "{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"no\"}}],"
     "\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":1}}",
     "no",
     USAGE_KNOWN,
     {.completion_tokens = 1},
     15000},
    /* Anthropic: beside each other. 21 x 3 + 1000 x 0.3 + 80 x 3.75 + 20 x 6 + 50 x 15 */
    {&prov_anthropic_dialect,
     "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"c\",\"content\":["
     "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"x\"},"
     "{\"type\":\"text\",\"text\":\"Hello\"},{\"type\":\"text\",\"text\":\" there\"}],"
     "\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":21,"
     "\"cache_creation_input_tokens\":100,\"cache_read_input_tokens\":1000,\"cache_creation\":{"
     "\"ephemeral_5m_input_tokens\":80,\"ephemeral_1h_input_tokens\":20},\"output_tokens\":50,"
     "\"service_tier\":\"standard\"}}",
     "Hello there",
     USAGE_KNOWN,
     {.prompt_tokens = 1121,
      .cached_tokens = 1000,
      .cache_write_tokens = 80,
      .cache_write_1h_tokens = 20,
      .completion_tokens = 50},
     1533000},
    {&prov_anthropic_dialect,
     "{\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"usage\":{\"input_tokens\":5,"
     "\"cache_creation_input_tokens\":null,\"cache_read_input_tokens\":null,\"output_tokens\":2}}",
     "x",
     USAGE_KNOWN,
     {.prompt_tokens = 5, .completion_tokens = 2},
     45000},
    /* Hugging Face: what was read is not counted */
    {&prov_huggingface_dialect,
     "[{\"generated_text\":\"ok\",\"details\":{\"finish_reason\":\"length\","
     "\"generated_tokens\":3,\"seed\":null,\"prefill\":[],\"tokens\":[]}}]",
     "ok",
     USAGE_PARTIAL,
     {.prompt_tokens = -1, .completion_tokens = 3},
     45000},
    {&prov_huggingface_dialect,
     "{\"generated_text\":\"ok\",\"details\":{\"generated_tokens\":3}}",
     "ok",
     USAGE_PARTIAL,
     {.prompt_tokens = -1, .completion_tokens = 3},
     45000},
};

START_TEST(golden_answers) {
    const struct golden *golden = &goldens[_i];
    struct form_reading answer;
    ck_assert_int_eq(decode(golden->dialect, golden->json, &answer), OUTCOME_OK);
    ck_assert(bytes_equal_str(answer.text, golden->text));
    ck_assert_int_eq(answer.usage_state, golden->state);
    ck_assert_int_eq(answer.usage.prompt_tokens, golden->usage.prompt_tokens);
    ck_assert_int_eq(answer.usage.cached_tokens, golden->usage.cached_tokens);
    ck_assert_int_eq(answer.usage.cache_write_tokens, golden->usage.cache_write_tokens);
    ck_assert_int_eq(answer.usage.cache_write_1h_tokens, golden->usage.cache_write_1h_tokens);
    ck_assert_int_eq(answer.usage.completion_tokens, golden->usage.completion_tokens);
    ck_assert_int_eq(answer.usage.reasoning_tokens, golden->usage.reasoning_tokens);
    ck_assert_int_eq(cost_of_attempt(&provider, &model, &answer.usage, 0), golden->cost_nusd);
}
END_TEST

#define USAGE_OPENAI(usage) "{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":" usage "}"
#define USAGE_ANTHROPIC(usage) \
    "{\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"usage\":" usage "}"

/* Row 45: figures that cannot be are no figures. */
START_TEST(usage_that_cannot_be_is_invalid) {
    static const struct {
        const struct dialect *dialect;
        const char *json;
    } rows[] = {
        {&prov_openai_dialect, USAGE_OPENAI("7")},
        {&prov_openai_dialect, USAGE_OPENAI("{\"prompt_tokens\":1}")},
        {&prov_openai_dialect, USAGE_OPENAI("{\"prompt_tokens\":-1,\"completion_tokens\":1}")},
        {&prov_openai_dialect, USAGE_OPENAI("{\"prompt_tokens\":1.5,\"completion_tokens\":1}")},
        {&prov_openai_dialect, USAGE_OPENAI("{\"prompt_tokens\":\"1\",\"completion_tokens\":1}")},
        {&prov_openai_dialect, USAGE_OPENAI("{\"prompt_tokens\":1,\"completion_tokens\":1e30}")},
        {&prov_openai_dialect,
         USAGE_OPENAI("{\"prompt_tokens\":1,\"completion_tokens\":99999999999999999999}")},
        {&prov_openai_dialect, USAGE_OPENAI("{\"prompt_tokens\":1,\"completion_tokens\":1,"
                                            "\"prompt_tokens_details\":{\"cached_tokens\":2}}")},
        {&prov_openai_dialect,
         USAGE_OPENAI("{\"prompt_tokens\":1,\"completion_tokens\":1,"
                      "\"completion_tokens_details\":{\"reasoning_tokens\":2}}")},
        {&prov_anthropic_dialect, USAGE_ANTHROPIC("{\"input_tokens\":1}")},
        {&prov_anthropic_dialect, USAGE_ANTHROPIC("{\"input_tokens\":-1,\"output_tokens\":1}")},
        {&prov_anthropic_dialect,
         USAGE_ANTHROPIC(
             "{\"input_tokens\":1,\"output_tokens\":1,\"cache_creation_input_tokens\":1,"
             "\"cache_creation\":{\"ephemeral_1h_input_tokens\":2}}")},
        {&prov_huggingface_dialect, "[{\"generated_text\":\"x\"}]"},
        {&prov_huggingface_dialect,
         "[{\"generated_text\":\"x\",\"details\":{\"generated_tokens\":-3}}]"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct form_reading answer;
        ck_assert_int_eq(decode(rows[i].dialect, rows[i].json, &answer), OUTCOME_OK);
        ck_assert_msg(answer.usage_state == USAGE_INVALID, "%s", rows[i].json);
    }
}
END_TEST

/* Nothing is said: of a whole answer that is as bad (prov_http.c), in an event it is usual. */
START_TEST(usage_that_is_not_there) {
    static const struct {
        const struct dialect *dialect;
        const char *json;
    } rows[] = {
        {&prov_openai_dialect, "{\"choices\":[{\"message\":{\"content\":\"x\"}}]}"},
        {&prov_openai_dialect, USAGE_OPENAI("null")},
        {&prov_anthropic_dialect, "{\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct form_reading answer;
        ck_assert_int_eq(decode(rows[i].dialect, rows[i].json, &answer), OUTCOME_OK);
        ck_assert_msg(answer.usage_state == USAGE_NONE, "%s", rows[i].json);
    }
}
END_TEST

START_TEST(an_openai_model_may_think_until_its_tokens_are_gone) {
    struct form_reading answer;
    ck_assert_int_eq(
        decode(&prov_openai_dialect,
               "{\"choices\":[{\"message\":{\"content\":null,\"reasoning_content\":\"hm\"},"
               "\"finish_reason\":\"length\"}],"
               "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":100}}",
               &answer),
        OUTCOME_OK);
    ck_assert_uint_eq(answer.text.size, 0);
    ck_assert_int_eq(answer.usage.completion_tokens, 100);
}
END_TEST

/* A model may end its turn without a word (Messages API, "stop reasons": empty responses). */
START_TEST(an_anthropic_model_may_say_nothing) {
    struct form_reading answer;
    ck_assert_int_eq(decode(&prov_anthropic_dialect,
                            "{\"content\":[],\"stop_reason\":\"end_turn\",\"usage\":"
                            "{\"input_tokens\":3,\"output_tokens\":2}}",
                            &answer),
                     OUTCOME_OK);
    ck_assert_uint_eq(answer.text.size, 0);
    ck_assert_int_eq(answer.usage.completion_tokens, 2);
}
END_TEST

/* Row 19. */
START_TEST(an_answer_without_text_is_no_answer) {
    static const struct {
        const struct dialect *dialect;
        const char *json;
    } rows[] = {
        {&prov_openai_dialect, "{}"},
        {&prov_openai_dialect, "[]"},
        {&prov_openai_dialect, "7"},
        {&prov_openai_dialect, "{\"choices\":null}"},
        {&prov_openai_dialect, "{\"choices\":[]}"},
        {&prov_openai_dialect, "{\"choices\":{}}"},
        {&prov_openai_dialect, "{\"choices\":[7]}"},
        {&prov_openai_dialect, "{\"choices\":[{\"message\":{\"content\":null}}]}"},
        {&prov_openai_dialect, "{\"choices\":[{\"message\":{\"content\":7}}]}"},
        {&prov_openai_dialect, "{\"choices\":[{\"message\":{\"content\":[]}}]}"},
        {&prov_openai_dialect, "{\"choices\":[{\"message\":{\"content\":[{\"text\":7}]}}]}"},
        {&prov_openai_dialect, "{\"error\":{\"message\":\"x\"}}"},
        {&prov_anthropic_dialect, "{\"content\":\"x\"}"},
        {&prov_anthropic_dialect, "{\"content\":[{\"text\":\"x\"}]}"},
        {&prov_anthropic_dialect, "{\"content\":[7]}"},
        {&prov_huggingface_dialect, "[]"},
        {&prov_huggingface_dialect, "[{}]"},
        {&prov_huggingface_dialect, "{\"error\":\"x\"}"},
        {&prov_huggingface_dialect, "[{\"generated_text\":null}]"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct form_reading answer;
        ck_assert_msg(decode(rows[i].dialect, rows[i].json, &answer) == OUTCOME_BAD_SCHEMA, "%s",
                      rows[i].json);
    }
}
END_TEST

/* -- errors ---------------------------------------------------------------------------------- */

/* A word may pass; a sentence, a key or a host may not. */
START_TEST(only_a_word_of_an_error_is_kept) {
    static const struct {
        const struct dialect *dialect;
        const char *json, *code;
    } rows[] = {
        {&prov_openai_dialect,
         "{\"error\":{\"message\":\"x\",\"type\":\"invalid_request_error\",\"param\":null,"
         "\"code\":\"context_length_exceeded\"}}",
         "context_length_exceeded"},
        {&prov_openai_dialect,
         "{\"error\":{\"code\":400,\"message\":\"x\",\"type\":\"invalid_request_error\"}}",
         "invalid_request_error"}, /* llama.cpp */
        {&prov_openai_dialect,
         "{\"error\":{\"message\":\"x\",\"type\":\"api_error\",\"code\":null}}",
         "api_error"}, /* Ollama */
        {&prov_openai_dialect, "{\"object\":\"error\",\"message\":\"x\"}", ""},
        {&prov_openai_dialect, "{\"error\":\"text\"}", ""},
        {&prov_openai_dialect, "{\"error\":{\"code\":\"sk-proj-abc\"}}", ""},
        {&prov_openai_dialect, "{\"error\":{\"code\":\"api.host.example\"}}", ""},
        {&prov_openai_dialect, "{\"error\":{\"code\":\"Two words\"}}", ""},
        {&prov_openai_dialect, "{\"error\":{\"code\":\"\"}}", ""},
        {&prov_openai_dialect, "{\"error\":{\"code\":\"a\\u0000b\"}}", ""},
        {&prov_openai_dialect,
         "{\"error\":{\"code\":"
         "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}",
         ""},
        {&prov_anthropic_dialect,
         "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}",
         "overloaded_error"},
        {&prov_huggingface_dialect, "{\"error\":\"x\",\"error_type\":\"validation\"}",
         "validation"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        explain(rows[i].dialect, rows[i].json);
        ck_assert_str_eq(attempt.code, rows[i].code);
    }
}
END_TEST

START_TEST(huggingface_says_how_long_a_model_loads) {
    static const char loading[] = "{\"error\":\"Model x is currently loading\","
                                  "\"estimated_time\":20.25}";
    attempt.status = 503;
    explain(&prov_huggingface_dialect, loading);
    ck_assert_int_eq(attempt.retry_after_ms, 21000);
    attempt.retry_after_ms = 3000; /* a Retry-After of its own comes first */
    explain(&prov_huggingface_dialect, loading);
    ck_assert_int_eq(attempt.retry_after_ms, 3000);
    attempt.retry_after_ms = -1;
    attempt.status = 500;
    explain(&prov_huggingface_dialect, loading);
    ck_assert_int_eq(attempt.retry_after_ms, -1);
    attempt.status = 503;
    explain(&prov_huggingface_dialect, "{\"estimated_time\":-1}");
    explain(&prov_huggingface_dialect, "{\"estimated_time\":1e300}");
    explain(&prov_huggingface_dialect, "{\"estimated_time\":\"20\"}");
    ck_assert_int_eq(attempt.retry_after_ms, -1);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("dialects");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, dialect_open, dialect_close);
    tcase_add_loop_test(tcase, golden_answers, 0, COUNT(goldens));
    tcase_add_test(tcase, usage_that_cannot_be_is_invalid);
    tcase_add_test(tcase, usage_that_is_not_there);
    tcase_add_test(tcase, an_openai_model_may_think_until_its_tokens_are_gone);
    tcase_add_test(tcase, an_anthropic_model_may_say_nothing);
    tcase_add_test(tcase, an_answer_without_text_is_no_answer);
    tcase_add_test(tcase, only_a_word_of_an_error_is_kept);
    tcase_add_test(tcase, huggingface_says_how_long_a_model_loads);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
