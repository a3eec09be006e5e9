/* The router: rules before policy, the policies' edges, models, APIs, fallbacks. */
#include "unit.h"

#include "gateway/route.h"

static struct conf_errors errors;
static struct conf *conf;

static const char text[] =
    "providers:\n"
    "  small: {type: simulated, default_model: s1, models: {s2: {input: 1, output: 1}}}\n"
    "  big: {type: simulated, default_model: b1, allow_unlisted_models: yes}\n"
    "  code: {type: simulated, default_model: c1}\n"
    "  remote: {type: openai, url: 'http://127.0.0.1:1/v1', default_model: o1}\n"
    "  claude: {type: anthropic, url: 'http://127.0.0.1:1', default_model: a1}\n"
    "routes:\n"
    "  auto: {cheap: small, strong: big, policy: length, fallback: [small, code],\n"
    "    rules: [{name: py, match: '^def [a-z]+', to: code}, {name: sys, match: 'prefix:/sys ', "
    "to: strong},\n"
    "            {name: late, match: 'zebra$', to: cheap}]}\n"
    "  scored: {cheap: small, strong: big}\n"
    "  mixed: {cheap: small, strong: remote, policy: length, fallback: [claude, small, remote]}\n";

static void setup(void) {
    conf_errors_init(&errors);
    conf = conf_load_text("test.yaml", bytes_from_str(text), &errors);
    if (conf == NULL) {
        ck_abort_msg("%.*s", (int)errors.lines.size, errors.lines.data);
    }
}
static void teardown(void) {
    conf_free(conf);
    conf_errors_fini(&errors);
}

static struct plan decide_form(enum chat_form form, const char *route, const char *provider,
                               const char *model, struct bytes prompt) {
    struct plan plan;
    struct chat chat = {.form = form, .prompt = prompt, .max_tokens = 1};
    struct route_request request = {
        .route = route != NULL ? conf_find_route(conf, bytes_from_str(route)) : -1,
        .provider = provider != NULL ? conf_find_provider(conf, bytes_from_str(provider)) : -1,
        .model = bytes_from_str(model)};
    route_decide(conf, &request, &chat, &plan);
    return plan;
}

static struct plan decide(const char *route, const char *provider, const char *model,
                          struct bytes prompt) {
    return decide_form(FORM_CHAT, route, provider, model, prompt);
}

/* "big/b1 small/s1 ..." of a plan; an unlisted model is "?". */
static const char *names(const struct plan *plan) {
    static char out[512];
    struct buf buf;
    buf_init_fixed(&buf, out, sizeof(out) - 1);
    for (unsigned i = 0; i < plan->count; i++) {
        const struct conf_provider *provider = &conf->providers[plan->entry[i].provider];
        unsigned model = plan->entry[i].model;
        buf_printf(&buf, "%s%s/%s", i > 0 ? " " : "", provider->name,
                   model < provider->model_count ? provider->models[model].name : "?");
    }
    out[buf.size] = '\0';
    return out;
}

START_TEST(length_counts_code_points_and_more_than_60_is_strong) {
    char prompt[256] = "";
    for (int i = 0; i < 60; i++) {
        memcpy(prompt + 2 * i, "\xc3\xa9", 3);
    }
    struct plan plan = decide("auto", NULL, NULL, bytes_from_str(prompt));
    ck_assert_str_eq(names(&plan), "small/s1 code/c1");
    ck_assert_str_eq(plan.reason, "length:60");
    ck_assert_int_eq(plan.tier, TIER_CHEAP);
    ck_assert_int_eq(plan.reason_kind, ROUTE_BY_LENGTH);
    memcpy(prompt + 120, "x", 2);
    plan = decide("auto", NULL, NULL, bytes_from_str(prompt));
    ck_assert_str_eq(names(&plan), "big/b1 small/s1 code/c1");
    ck_assert_str_eq(plan.reason, "length:61");
    ck_assert_int_eq(plan.tier, TIER_STRONG);
}
END_TEST

START_TEST(rules_come_first_in_their_order) {
    struct plan plan = decide("auto", NULL, NULL, BYTES_LITERAL("def f(): zebra"));
    ck_assert_str_eq(names(&plan), "code/c1 small/s1");
    ck_assert_str_eq(plan.reason, "rule:py");
    ck_assert_int_eq(plan.tier, TIER_PROVIDER);
    plan = decide("auto", NULL, NULL, BYTES_LITERAL("/sys zebra"));
    ck_assert_str_eq(plan.reason, "rule:sys");
    ck_assert_int_eq(plan.tier, TIER_STRONG);
    plan = decide("auto", NULL, NULL, BYTES_LITERAL("a zebra"));
    ck_assert_str_eq(plan.reason, "rule:late");
    plan = decide("auto", NULL, NULL, BYTES_LITERAL("x def f"));
    ck_assert_str_eq(plan.reason, "length:7");
}
END_TEST

START_TEST(rules_see_the_first_4_kib_and_whole_characters) {
    char *prompt = calloc(1, 8192);
    memset(prompt, 'a', 8000);
    memcpy(prompt + ROUTE_RULE_BYTES - 5, "zebra", 5);
    struct plan plan = decide("auto", NULL, NULL, bytes_make(prompt, 8000));
    ck_assert_str_eq(plan.reason, "rule:late"); /* the window ends behind it */
    memset(prompt, 'a', 8000);
    memcpy(prompt + ROUTE_RULE_BYTES - 4, "zebra", 5);
    plan = decide("auto", NULL, NULL, bytes_make(prompt, 8000));
    ck_assert_str_eq(plan.reason, "length:8000");
    memset(prompt, 'a', 8000);
    memcpy(prompt + ROUTE_RULE_BYTES - 6, "zebra\xc3\xa9", 7); /* the window cuts the last one */
    plan = decide("auto", NULL, NULL, bytes_make(prompt, 8000));
    ck_assert_str_eq(plan.reason, "rule:late");
    free(prompt);
}
END_TEST

START_TEST(score_says_its_features) {
    struct plan plan = decide("scored", NULL, NULL, BYTES_LITERAL("Hi"));
    ck_assert_str_eq(names(&plan), "small/s1");
    ck_assert_int_eq(strncmp(plan.reason, "score:0.", 8), 0);
    plan = decide("scored", NULL, NULL,
                  BYTES_LITERAL("Prove that the square root of 2 is irrational and explain each "
                                "step of the proof in detail."));
    ck_assert_str_eq(names(&plan), "big/b1");
    ck_assert_int_eq(plan.reason_kind, ROUTE_BY_SCORE);
}
END_TEST

START_TEST(a_named_provider_is_the_whole_plan) {
    struct plan plan = decide(NULL, "code", NULL, BYTES_LITERAL("x"));
    ck_assert_str_eq(names(&plan), "code/c1");
    ck_assert_str_eq(plan.reason, "provider");
    plan = decide(NULL, "small", "s2", BYTES_LITERAL("x"));
    ck_assert_str_eq(names(&plan), "small/s2");
    ck_assert_str_eq(plan.reason, "model");
    plan = decide(NULL, "small", "zz", BYTES_LITERAL("x"));
    ck_assert_uint_eq(plan.count, 0);
    plan = decide(NULL, "big", "zz", BYTES_LITERAL("x"));
    ck_assert_str_eq(names(&plan), "big/?");
}
END_TEST

START_TEST(a_model_takes_the_providers_of_the_plan_that_offer_it) {
    struct plan plan = decide("auto", NULL, "s2", BYTES_LITERAL("short"));
    ck_assert_str_eq(names(&plan), "small/s2");
    ck_assert_str_eq(plan.reason, "length:5");
    plan = decide("scored", NULL, "b1", BYTES_LITERAL("Hi"));
    ck_assert_str_eq(names(&plan), "big/b1"); /* cheap does not have it, strong does */
    ck_assert_str_eq(plan.reason, "model");
}
END_TEST

START_TEST(who_has_not_the_api_is_left_out) {
    static const struct {
        enum chat_form form;
        const char *route, *provider, *names, *reason;
        bool has_form;
    } rows[] = {
        {FORM_CHAT, "mixed", NULL, "small/s1 claude/a1 remote/o1", "length:5", true},
        {FORM_MESSAGES, "mixed", NULL, "small/s1 claude/a1 remote/o1", "length:5", true},
        {FORM_EMBEDDINGS, "mixed", NULL, "remote/o1", "length:5", true},
        {FORM_RESPONSES, "mixed", NULL, "remote/o1", "length:5", true},
        {FORM_EMBEDDINGS, "scored", NULL, "", "model", false},
        {FORM_EMBEDDINGS, NULL, "remote", "remote/o1", "provider", true},
        {FORM_EMBEDDINGS, NULL, "claude", "", "provider", false},
        {FORM_MESSAGES, NULL, "remote", "remote/o1", "provider", true},
        {FORM_RESPONSES, NULL, "code", "", "provider", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct plan plan = decide_form(rows[i].form, rows[i].route, rows[i].provider, NULL,
                                       BYTES_LITERAL("short"));
        ck_assert_msg(strcmp(names(&plan), rows[i].names) == 0 &&
                          strcmp(plan.reason, rows[i].reason) == 0 &&
                          plan.has_form == rows[i].has_form,
                      "row %zu: %s, %s, %d", i, names(&plan), plan.reason, plan.has_form);
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("route");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, length_counts_code_points_and_more_than_60_is_strong);
    tcase_add_test(tcase, rules_come_first_in_their_order);
    tcase_add_test(tcase, rules_see_the_first_4_kib_and_whole_characters);
    tcase_add_test(tcase, score_says_its_features);
    tcase_add_test(tcase, a_named_provider_is_the_whole_plan);
    tcase_add_test(tcase, a_model_takes_the_providers_of_the_plan_that_offer_it);
    tcase_add_test(tcase, who_has_not_the_api_is_left_out);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
