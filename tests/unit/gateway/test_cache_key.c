/* Cache keys: equal only when every field is. */
#include "unit.h"

#include "gateway/cache_key.h"

static struct sha256 *sha;
static void setup(void) {
    sha = sha256_new();
    ck_assert_ptr_nonnull(sha);
}
static void teardown(void) {
    sha256_free(sha);
}

START_TEST(each_field_counts_and_none_runs_into_the_next) {
    uint8_t plan_a[SHA256_SIZE] = {1}, plan_b[SHA256_SIZE] = {2};
    struct bytes none = {NULL, 0};
    const struct cache_key_scope scopes[] = {
        {"chat", BYTES_LITERAL("t"), plan_a, none, none, none},
        {"embeddings", BYTES_LITERAL("t"), plan_a, none, none, none},
        {"chat", BYTES_LITERAL("u"), plan_a, none, none, none},
        {"chat", BYTES_LITERAL("t"), plan_b, none, none, none},
        {"chat", BYTES_LITERAL("t"), plan_a, BYTES_LITERAL("x"), none, none},
        {"chat", BYTES_LITERAL("t"), plan_a, none, BYTES_LITERAL("x"), none},
        {"chat", BYTES_LITERAL("t"), plan_a, none, none, BYTES_LITERAL("x")},
        {"chat", BYTES_LITERAL("tx"), plan_a, none, none, none},
    };
    enum { COUNT = sizeof(scopes) / sizeof(scopes[0]) };
    uint8_t keys[COUNT + 1][SHA256_SIZE], again[SHA256_SIZE];
    for (int i = 0; i < COUNT; i++) {
        cache_key_make(sha, &scopes[i], BYTES_LITERAL("{}"), keys[i]);
        cache_key_make(sha, &scopes[i], BYTES_LITERAL("{}"), again);
        ck_assert_mem_eq(keys[i], again, SHA256_SIZE);
    }
    cache_key_make(sha, &scopes[0], BYTES_LITERAL("{ }"), keys[COUNT]);
    for (int i = 0; i <= COUNT; i++) {
        for (int j = 0; j < i; j++) {
            ck_assert_mem_ne(keys[i], keys[j], SHA256_SIZE);
        }
    }
}
END_TEST

START_TEST(in_pieces_it_is_the_same) {
    uint8_t plan[SHA256_SIZE] = {1};
    struct bytes body = BYTES_LITERAL("{\"model\":\"auto\",\"prompt\":\"hello\"}");
    struct cache_key_scope scope = {"chat",    BYTES_LITERAL("t"), plan, BYTES_LITERAL("v"),
                                    {NULL, 0}, {NULL, 0}};
    uint8_t whole[SHA256_SIZE], key[SHA256_SIZE];
    cache_key_make(sha, &scope, body, whole);
    for (size_t cut = 0; cut <= body.size; cut++) {
        cache_key_begin(sha, &scope, body.size);
        sha256_add(sha, body.data, cut);
        sha256_add(sha, body.data + cut, body.size - cut);
        sha256_end(sha, key);
        ck_assert_mem_eq(key, whole, SHA256_SIZE);
    }
}
END_TEST

static void print_plan(struct conf *conf, uint8_t plan[SHA256_SIZE]) {
    cache_key_fingerprint_route(sha, conf, 0, plan);
}

START_TEST(whatever_decides_where_requests_go_changes_the_plan) {
    struct conf_provider providers[2] = {{.name = "a", .url = "", .default_model = "m"},
                                         {.name = "b", .url = "", .default_model = "n"}};
    struct conf_rule rule = {.name = "r", .match = "^x", .target = CONF_TARGET_STRONG};
    struct conf_route route = {
        .name = "auto", .cheap = 0, .strong = 1, .policy = CONF_POLICY_SCORE, .threshold = 0.5};
    struct conf conf = {
        .provider_count = 2, .providers = providers, .route_count = 1, .routes = &route};
    uint8_t plans[10][SHA256_SIZE], last[SHA256_SIZE];
    int n = 0;
    print_plan(&conf, plans[n++]);
    route.threshold = 0.6;
    print_plan(&conf, plans[n++]);
    route.policy = CONF_POLICY_LENGTH;
    print_plan(&conf, plans[n++]);
    route.strong = 0;
    print_plan(&conf, plans[n++]);
    route.fallback_count = 1;
    print_plan(&conf, plans[n++]);
    route.fallback[0] = 1;
    print_plan(&conf, plans[n++]);
    route.rules = &rule;
    route.rule_count = 1;
    print_plan(&conf, plans[n++]);
    rule.match = "^y";
    print_plan(&conf, plans[n++]);
    providers[0].url = "http://127.0.0.1/v1";
    print_plan(&conf, plans[n++]);
    providers[1].default_model = "o";
    print_plan(&conf, plans[n++]);
    ck_assert_int_eq(n, 10);
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < i; j++) {
            ck_assert_mem_ne(plans[i], plans[j], SHA256_SIZE);
        }
    }
    rule.name = "another name";
    providers[0].max_concurrency = 7;
    print_plan(&conf, last);
    ck_assert_mem_eq(last, plans[n - 1], SHA256_SIZE); /* what does not decide, does not count */
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("cache_key");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, each_field_counts_and_none_runs_into_the_next);
    tcase_add_test(tcase, in_pieces_it_is_the_same);
    tcase_add_test(tcase, whatever_decides_where_requests_go_changes_the_plan);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
