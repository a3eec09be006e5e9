/* The table of outcomes against the fault matrix. */
#include "config.h"

#include "unit.h"

#include "upstream/outcome.h"
#include "upstream/provider.h"

/* Section 4, without a fallback; REJECTED has the provider's own status, and a stream that has
 * begun has the status that it had. */
static const struct {
    enum outcome outcome;
    int status;
    enum outcome_verdict verdict;
} rows[] = {
    {OUTCOME_CONNECT_REFUSED, 502, VERDICT_FAILURE},
    {OUTCOME_CONNECT_TIMEOUT, 504, VERDICT_FAILURE},
    {OUTCOME_CONNECT_UNREACHABLE, 502, VERDICT_FAILURE},
    {OUTCOME_DNS, 502, VERDICT_FAILURE},
    {OUTCOME_DNS_TIMEOUT, 504, VERDICT_FAILURE},
    {OUTCOME_EMPTY_REPLY, 502, VERDICT_FAILURE},
    {OUTCOME_RESET, 502, VERDICT_FAILURE},
    {OUTCOME_FIRST_BYTE_TIMEOUT, 504, VERDICT_FAILURE},
    {OUTCOME_IDLE_TIMEOUT, 504, VERDICT_FAILURE},
    {OUTCOME_TOTAL_TIMEOUT, 504, VERDICT_FAILURE},
    {OUTCOME_TRUNCATED, 502, VERDICT_FAILURE},
    {OUTCOME_BAD_FRAMING, 502, VERDICT_FAILURE},
    {OUTCOME_BAD_HTTP, 502, VERDICT_FAILURE},
    {OUTCOME_HEADER_TOO_LARGE, 502, VERDICT_FAILURE},
    {OUTCOME_BAD_JSON, 502, VERDICT_FAILURE},
    {OUTCOME_BAD_SCHEMA, 502, VERDICT_FAILURE},
    {OUTCOME_BAD_CONTENT_TYPE, 502, VERDICT_FAILURE},
    {OUTCOME_BAD_UTF8, 502, VERDICT_FAILURE},
    {OUTCOME_TOO_LARGE, 502, VERDICT_FAILURE},
    {OUTCOME_BAD_ENCODING, 502, VERDICT_FAILURE},
    {OUTCOME_REDIRECT, 502, VERDICT_FAILURE},
    {OUTCOME_REJECTED, 0, VERDICT_ANSWERED},
    {OUTCOME_AUTH, 502, VERDICT_ANSWERED},
    {OUTCOME_RATE_LIMITED, 429, VERDICT_FAILURE},
    {OUTCOME_HTTP_408, 504, VERDICT_FAILURE},
    {OUTCOME_HTTP_5XX, 502, VERDICT_FAILURE},
    {OUTCOME_TLS_VERIFY, 502, VERDICT_FAILURE},
    {OUTCOME_TLS_HANDSHAKE, 502, VERDICT_FAILURE},
    {OUTCOME_TLS_TIMEOUT, 504, VERDICT_FAILURE},
    {OUTCOME_BREAKER_OPEN, 503, VERDICT_UNKNOWN},
    {OUTCOME_CLIENT_GONE, 499, VERDICT_UNKNOWN},
    {OUTCOME_SHUTDOWN, 503, VERDICT_UNKNOWN},
    {OUTCOME_NO_MEMORY, 503, VERDICT_UNKNOWN},
    {OUTCOME_LOCAL_RESOURCES, 503, VERDICT_UNKNOWN},
    {OUTCOME_OVERLOADED, 503, VERDICT_UNKNOWN},
    {OUTCOME_STREAM_TRUNCATED, 502, VERDICT_FAILURE},
    {OUTCOME_STREAM_IDLE, 504, VERDICT_FAILURE},
    {OUTCOME_STREAM_ERROR, 502, VERDICT_FAILURE},
    {OUTCOME_CLIENT_STALL, 499, VERDICT_UNKNOWN}, /* row 40: not the upstream's fault */
    {OUTCOME_UNTRANSLATABLE, 400, VERDICT_UNKNOWN},
    {OUTCOME_BAD_MODEL, 400, VERDICT_UNKNOWN},
    {OUTCOME_OK, 200, VERDICT_SUCCESS},
};

START_TEST(as_the_fault_matrix_says) {
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct outcome_rule *rule = outcome_rule(rows[i].outcome);
        ck_assert_msg(rule->status == rows[i].status && rule->verdict == rows[i].verdict, "%s",
                      outcome_name(rows[i].outcome));
    }
}
END_TEST

/* What a client may read: no placeholder, no control character, no line end. */
START_TEST(every_outcome_has_words) {
    for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
        const char *message = outcome_rule((enum outcome)i)->message;
        ck_assert_uint_gt(strlen(message), 5);
        for (const char *c = message; *c != '\0'; c++) {
            ck_assert_msg(*c >= ' ' && *c < 0x7f && *c != '%', "%s", message);
        }
    }
    ck_assert_str_eq(outcome_rule(OUTCOME_AUTH)->code, "provider_auth");
    ck_assert(!outcome_rule(OUTCOME_AUTH)->client_retry);
    ck_assert(!outcome_rule(OUTCOME_REJECTED)->is_error); /* row 26: only the response is counted */
    ck_assert(!outcome_rule(OUTCOME_UNTRANSLATABLE)->is_error); /* nobody was asked */
    ck_assert(!outcome_rule(OUTCOME_UNTRANSLATABLE)->client_retry);
    ck_assert(!outcome_rule(OUTCOME_CLIENT_STALL)->is_error);
    ck_assert(outcome_rule(OUTCOME_STREAM_TRUNCATED)->is_error);
    ck_assert(outcome_rule(OUTCOME_STREAM_IDLE)->is_error);
    ck_assert(outcome_rule(OUTCOME_STREAM_ERROR)->is_error);
}
END_TEST

/* A second try after a timeout, or at something that cannot change, only costs. */
START_TEST(what_is_not_tried_again) {
    static const enum outcome never[] = {
        OUTCOME_DNS_TIMEOUT,  OUTCOME_CONNECT_TIMEOUT,
        OUTCOME_TLS_TIMEOUT,  OUTCOME_FIRST_BYTE_TIMEOUT,
        OUTCOME_IDLE_TIMEOUT, OUTCOME_TOTAL_TIMEOUT,
        OUTCOME_TLS_VERIFY,   OUTCOME_REDIRECT,
        OUTCOME_TOO_LARGE,    OUTCOME_REJECTED,
        OUTCOME_AUTH,         OUTCOME_RATE_LIMITED,
        OUTCOME_BAD_JSON,     OUTCOME_BAD_SCHEMA,
        OUTCOME_CLIENT_GONE,  OUTCOME_CLIENT_STALL,
        OUTCOME_STREAM_IDLE,  OUTCOME_UNTRANSLATABLE,
    };
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        ck_assert_msg(!outcome_rule(never[i])->retry, "%s", outcome_name(never[i]));
    }
    ck_assert(outcome_rule(OUTCOME_CONNECT_REFUSED)->retry);
    ck_assert(outcome_rule(OUTCOME_HTTP_5XX)->retry);
}
END_TEST

START_TEST(every_outcome_has_a_name_of_its_own) {
    for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
        for (unsigned k = 0; k < i; k++) {
            ck_assert_str_ne(outcome_name((enum outcome)i), outcome_name((enum outcome)k));
        }
    }
    ck_assert_str_eq(outcome_name(OUTCOME_STREAM_TRUNCATED), "stream_truncated");
    ck_assert_str_eq(outcome_name(OUTCOME_STREAM_IDLE), "stream_idle");
    ck_assert_str_eq(outcome_name(OUTCOME_STREAM_ERROR), "stream_error");
    ck_assert_str_eq(outcome_name(OUTCOME_CLIENT_STALL), "client_stall");
}
END_TEST

/* Which API a provider can be asked in, its own or another. */
START_TEST(who_serves_which_form) {
    static const struct {
        enum conf_provider_type type;
        bool simulated;
        bool serves[FORM_COUNT];
    } types[] = {
        {CONF_OPENAI,
         false,
         {[FORM_CHAT] = true,
          [FORM_COMPLETIONS] = true,
          [FORM_EMBEDDINGS] = true,
          [FORM_RESPONSES] = true,
          [FORM_MESSAGES] = true}},
        {CONF_ANTHROPIC,
         false,
         {[FORM_CHAT] = true, [FORM_COMPLETIONS] = true, [FORM_MESSAGES] = true}},
        {CONF_HUGGINGFACE,
         false,
         {[FORM_CHAT] = true, [FORM_COMPLETIONS] = true, [FORM_MESSAGES] = true}},
        {CONF_OPENAI,
         true,
         {[FORM_CHAT] = true, [FORM_COMPLETIONS] = true, [FORM_MESSAGES] = true}},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct conf_provider provider = {.type = types[i].type, .simulated = types[i].simulated};
        for (int form = 0; form < FORM_COUNT; form++) {
            ck_assert_int_eq(provider_serves(&provider, (enum chat_form)form),
                             types[i].serves[form]);
        }
    }
}
END_TEST

START_TEST(each_type_has_its_row) {
    static const char *const types[] = {[CONF_OPENAI] = "openai",
                                        [CONF_ANTHROPIC] = "anthropic",
                                        [CONF_HUGGINGFACE] = "huggingface"};
    for (int type = CONF_OPENAI; type <= CONF_HUGGINGFACE; type++) {
        struct conf_provider provider = {.type = (enum conf_provider_type)type};
        const struct provider_ops *ops = provider_ops_for(&provider);
        ck_assert_str_eq(ops->type, types[type]);
        ck_assert_ptr_nonnull(ops->dialect);
        provider.simulated = true; /* it has no key */
        ck_assert_str_eq(provider_ops_for(&provider)->type, "simulated");
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("outcome");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, as_the_fault_matrix_says);
    tcase_add_test(tcase, every_outcome_has_words);
    tcase_add_test(tcase, what_is_not_tried_again);
    tcase_add_test(tcase, every_outcome_has_a_name_of_its_own);
    tcase_add_test(tcase, who_serves_which_form);
    tcase_add_test(tcase, each_type_has_its_row);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
