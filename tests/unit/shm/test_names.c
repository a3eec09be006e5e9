/* test_names: indexes are given once and stay; readers never see half a name. */
#include "config.h"

#include "shm/names.h"
#include "shm_test.h"

static void pair_name(int index, char *out, size_t size) {
    snprintf(out, size, "provider-%d\nmodel-%0*d", index, 1 + index % 90, index);
}

START_TEST(add_find_get) {
    struct region *region = test_region_new(0, NULL);
    ck_assert_int_eq(names_find(region, NAMES_PROVIDER, "openai"), -1);
    ck_assert_int_eq(names_add(region, NAMES_PROVIDER, "openai"), 0);
    ck_assert_int_eq(names_add(region, NAMES_PROVIDER, "local"), 1);
    ck_assert_int_eq(names_add(region, NAMES_PROVIDER, "openai"), 0);
    ck_assert_int_eq(names_count(region, NAMES_PROVIDER), 2);
    ck_assert_int_eq(names_count(region, NAMES_ROUTE), 0);
    ck_assert_int_eq(names_add(region, NAMES_ROUTE, "local"), 0);
    ck_assert_str_eq(names_get(region, NAMES_PROVIDER, 1), "local");
    ck_assert_int_eq(names_find(region, NAMES_PROVIDER, "local"), 1);
    ck_assert_int_eq(names_find(region, NAMES_PROVIDER, "loca"), -1);
    region_destroy(region);
}
END_TEST

START_TEST(limits) {
    struct region *region = test_region_new(0, NULL);
    char name[REGION_NAME_SIZE + 1];
    memset(name, 'a', sizeof(name));
    name[REGION_NAME_SIZE] = '\0';
    ck_assert_int_eq(names_add(region, NAMES_ROUTE, name), -1);
    name[REGION_NAME_SIZE - 1] = '\0';
    ck_assert_int_eq(names_add(region, NAMES_ROUTE, name), 0);
    ck_assert_str_eq(names_get(region, NAMES_ROUTE, 0), name);
    static const struct {
        enum names_kind kind;
        int capacity, present;
    } rows[] = {
        {NAMES_PROVIDER, REGION_PROVIDERS, 0},
        {NAMES_PAIR, REGION_PAIRS, 0},
        {NAMES_ROUTE, REGION_ROUTES, 1},
    };
    for (size_t i = 0; i < 3; i++) {
        for (int n = rows[i].present; n < rows[i].capacity; n++) {
            pair_name(n, name, sizeof(name));
            ck_assert_int_eq(names_add(region, rows[i].kind, name), n);
        }
        ck_assert_int_eq(names_add(region, rows[i].kind, "one more"), -1);
        ck_assert_int_eq(names_count(region, rows[i].kind), rows[i].capacity);
        pair_name(rows[i].capacity - 1, name, sizeof(name));
        ck_assert_int_eq(names_find(region, rows[i].kind, name), rows[i].capacity - 1);
    }
    region_destroy(region);
}
END_TEST

/* 0 when every name that was shown was whole. */
static int read_until_full(void *argument) {
    const struct region *region = argument;
    char expected[REGION_NAME_SIZE];
    for (int count = 0; count < REGION_PAIRS;) {
        count = names_count(region, NAMES_PAIR);
        for (int i = count > 3 ? count - 3 : 0; i < count; i++) {
            pair_name(i, expected, sizeof(expected));
            if (strcmp(names_get(region, NAMES_PAIR, i), expected) != 0 ||
                names_find(region, NAMES_PAIR, expected) != i) {
                return 1;
            }
        }
    }
    return 0;
}

START_TEST(readers_see_whole_names) {
    struct region *region = test_region_new(0, NULL);
    pid_t pids[2] = {test_spawn(read_until_full, region), test_spawn(read_until_full, region)};
    for (int i = 0; i < REGION_PAIRS; i++) {
        char name[REGION_NAME_SIZE];
        pair_name(i, name, sizeof(name));
        ck_assert_int_eq(names_add(region, NAMES_PAIR, name), i);
    }
    ck_assert_int_eq(test_reap(pids[0]), 0);
    ck_assert_int_eq(test_reap(pids[1]), 0);
    region_destroy(region);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {add_find_get, limits, readers_see_whole_names};
    return test_suite("names", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
