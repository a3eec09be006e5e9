/* Labels: a configuration's names get their numbers, for good. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "watch/labels.h"

#define NAME_128                                                       \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct region *region;
static struct labels labels;
static char error[300];

static void set_up(void) {
    struct region_params params = {.counter_cells = 8, .counter_layout = 1};
    region = region_create(&params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    error[0] = '\0';
}

static void tear_down(void) {
    region_destroy(region);
}

static int bind(unsigned provider_count, struct conf_provider *providers, unsigned route_count,
                struct conf_route *routes) {
    struct conf conf = {.provider_count = provider_count,
                        .providers = providers,
                        .route_count = route_count,
                        .routes = routes};
    return labels_bind(&labels, &conf, region, error, sizeof(error));
}

static struct conf_model local_models[] = {{.name = "llama", .label = "llama"}};
static struct conf_model remote_models[] = {
    {.name = "big", .label = "big (simulated)"},
    {.name = "small", .label = "small (simulated)"},
};

START_TEST(names_get_numbers) {
    struct conf_provider providers[] = {
        {.name = "local", .model_count = 1, .models = local_models},
        {.name = "remote",
         .model_count = 2,
         .models = remote_models,
         .allow_unlisted_models = true},
    };
    struct conf_route routes[] = {{.name = "auto"}, {.name = "cheap-first"}};
    ck_assert_int_eq(bind(2, providers, 2, routes), 0);
    ck_assert_str_eq(names_get(region, NAMES_PROVIDER, labels.provider[0]), "local");
    ck_assert_str_eq(names_get(region, NAMES_PROVIDER, labels.provider[1]), "remote");
    ck_assert_str_eq(names_get(region, NAMES_PAIR, labels.pair[0][0]), "local\nllama");
    ck_assert_uint_eq(labels.pair[0][1], LABELS_NONE);
    ck_assert_str_eq(names_get(region, NAMES_PAIR, labels.pair[1][0]), "remote\nbig (simulated)");
    ck_assert_str_eq(names_get(region, NAMES_PAIR, labels.pair[1][1]), "remote\nsmall (simulated)");
    ck_assert_str_eq(names_get(region, NAMES_PAIR, labels.pair[1][2]), "remote\nother");
    ck_assert_uint_eq(labels.pair[1][3], LABELS_NONE);
    ck_assert_str_eq(names_get(region, NAMES_ROUTE, labels.route[0]), "auto");
    ck_assert_str_eq(names_get(region, NAMES_ROUTE, labels.route[1]), "cheap-first");
    ck_assert_uint_eq(labels.route[2], LABELS_NONE);
}
END_TEST

START_TEST(reload_keeps_numbers) {
    struct conf_provider first[] = {{.name = "local", .model_count = 1, .models = local_models},
                                    {.name = "remote", .model_count = 2, .models = remote_models}};
    struct conf_provider second[] = {{.name = "remote", .model_count = 2, .models = remote_models},
                                     {.name = "fresh", .model_count = 1, .models = local_models}};
    ck_assert_int_eq(bind(2, first, 0, NULL), 0);
    struct labels before = labels;
    ck_assert_int_eq(bind(2, second, 0, NULL), 0);
    ck_assert_uint_eq(labels.provider[0], before.provider[1]);
    ck_assert_uint_eq(labels.pair[0][0], before.pair[1][0]);
    ck_assert_uint_eq(labels.pair[0][1], before.pair[1][1]);
    ck_assert_uint_eq(labels.provider[1], 2);
    ck_assert_int_eq(names_count(region, NAMES_PROVIDER), 3);
    ck_assert_int_eq(names_count(region, NAMES_PAIR), 4);
}
END_TEST

/* Fills a table but for `left` places. */
static void fill(enum names_kind kind, unsigned capacity, unsigned left) {
    for (unsigned i = 0; i + left < capacity; i++) {
        char name[32];
        snprintf(name, sizeof(name), "old-%u", i);
        ck_assert_int_eq(names_add(region, kind, name), (int)i);
    }
}

START_TEST(full_table_of_pairs_is_named) {
    struct conf_provider provider[] = {
        {.name = "remote", .model_count = 2, .models = remote_models}};
    fill(NAMES_PAIR, REGION_PAIRS, 1);
    ck_assert_int_eq(bind(1, provider, 0, NULL), -1);
    ck_assert_str_eq(error, "the table of provider and model pairs is full: it holds 256 names and "
                            "keeps those of earlier configurations");
    /* Nothing was added, so a smaller configuration still fits. */
    ck_assert_int_eq(names_count(region, NAMES_PROVIDER), 0);
    ck_assert_int_eq(names_count(region, NAMES_PAIR), REGION_PAIRS - 1);
    provider[0].model_count = 1;
    ck_assert_int_eq(bind(1, provider, 0, NULL), 0);
    ck_assert_uint_eq(labels.pair[0][0], REGION_PAIRS - 1);
    /* Known names need no room. */
    ck_assert_int_eq(bind(1, provider, 0, NULL), 0);
}
END_TEST

START_TEST(other_full_tables_are_named) {
    struct conf_provider provider[] = {
        {.name = "remote", .model_count = 1, .models = remote_models}};
    struct conf_route route[] = {{.name = "auto"}};
    fill(NAMES_ROUTE, REGION_ROUTES, 0);
    ck_assert_int_eq(bind(1, provider, 1, route), -1);
    ck_assert_ptr_nonnull(strstr(error, "table of routes is full: it holds 64 names"));
    fill(NAMES_PROVIDER, REGION_PROVIDERS, 0);
    ck_assert_int_eq(bind(1, provider, 0, NULL), -1);
    ck_assert_ptr_nonnull(strstr(error, "table of providers is full: it holds 64 names"));
    ck_assert_int_eq(names_count(region, NAMES_PAIR), 0);
}
END_TEST

START_TEST(long_names_are_refused) {
    struct conf_model model[] = {{.name = "m", .label = &NAME_128[128 - 121]}};
    struct conf_provider provider[] = {{.name = "local", .model_count = 1, .models = model}};
    struct conf_route route[] = {{.name = &NAME_128[1]}};
    ck_assert_int_eq(bind(1, provider, 1, route), 0); /* 127 bytes each: the longest that fit */
    model[0].label = &NAME_128[128 - 122];
    ck_assert_int_eq(bind(1, provider, 0, NULL), -1);
    ck_assert_ptr_nonnull(strstr(error, model[0].label));
    ck_assert_ptr_nonnull(strstr(error, "too long"));
    route[0].name = NAME_128;
    ck_assert_int_eq(bind(0, NULL, 1, route), -1);
    ck_assert_ptr_nonnull(strstr(error, "too long"));
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("labels");
    TCase *tcase = tcase_create("bind");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, names_get_numbers);
    tcase_add_test(tcase, reload_keeps_numbers);
    tcase_add_test(tcase, full_table_of_pairs_is_named);
    tcase_add_test(tcase, other_full_tables_are_named);
    tcase_add_test(tcase, long_names_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
