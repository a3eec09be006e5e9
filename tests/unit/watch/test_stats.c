/* test_stats: the dashboard's sums agree with the counters they are made of, over rows, providers
 * and endpoints; percentiles; and the samples of the history.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "../../../src/shm/region_layout.h"
#include "shm/board.h"
#include "still_clock.h"
#include "watch/stats.h"

static struct region *region;
static struct store *store;
static struct stats stats;
static struct metrics rows[2]; /* of two processes */
static int local, remote, pair_a, pair_b, pair_c;

static void setup(void) {
    char error[200] = "";
    stop_the_clock();
    struct region_params params = {.store_bytes = 1 << 20,
                                   .counter_cells = metrics_cells(),
                                   .counter_layout = metrics_layout_hash()};
    region = region_create(&params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    store = store_open(region);
    rows[0].row = counters_row(region, 0);
    rows[1].row = counters_row(region, 5);
    local = names_add(region, NAMES_PROVIDER, "local");
    remote = names_add(region, NAMES_PROVIDER, "remote");
    pair_a = names_add(region, NAMES_PAIR, "local\nsmall");
    pair_b = names_add(region, NAMES_PAIR, "remote\nlarge");
    pair_c = names_add(region, NAMES_PAIR, "remote\nother");
    names_add(region, NAMES_ROUTE, "auto");
    /* at the beginning of a period */
    region_shift_time(region, HISTORY_PERIOD_MS - region_now_ms(region) % HISTORY_PERIOD_MS);
}

static void teardown(void) {
    store_close(store);
    region_destroy(region);
}

static void request(unsigned row, enum metric_method method, enum metric_endpoint endpoint,
                    int status, int64_t duration_ns) {
    metric_add(&rows[row], METRIC_HTTP_REQUESTS, 1, method, endpoint, metrics_status_index(status));
    metric_observe(&rows[row], METRIC_HTTP_DURATION, duration_ns, method, endpoint);
}

START_TEST(requests_by_endpoint_and_kind) {
    request(0, METHOD_POST, ENDPOINT_CHAT, 200, 1000000);
    request(1, METHOD_POST, ENDPOINT_CHAT, 200, 2000000);
    request(1, METHOD_POST, ENDPOINT_CHAT, 429, 100);
    request(0, METHOD_GET, ENDPOINT_CHAT, 405, 100);
    request(0, METHOD_POST, ENDPOINT_MESSAGES, 502, 100);
    request(0, METHOD_POST, ENDPOINT_MESSAGES, 777, 100); /* "other": neither */
    request(0, METHOD_GET, ENDPOINT_HEALTH, 200, 100);
    request(0, METHOD_GET, ENDPOINT_OTHER, 404, 100);
    stats_read(region, store, &stats);
    const struct stats_endpoint *chat = &stats.endpoints[ENDPOINT_CHAT];
    ck_assert_uint_eq(chat->requests, 4);
    ck_assert_uint_eq(chat->refused, 2);
    ck_assert_uint_eq(chat->failed, 0);
    ck_assert_uint_eq(stats.endpoints[ENDPOINT_MESSAGES].failed, 1);
    ck_assert_uint_eq(stats.endpoints[ENDPOINT_MESSAGES].requests, 2);
    ck_assert_uint_eq(stats.endpoints[ENDPOINT_OTHER].refused, 1);
    ck_assert_uint_eq(stats.models.requests, 6); /* without health and the unknown path */
    ck_assert_uint_eq(stats.models.refused, 2);
    ck_assert_uint_eq(stats.models.failed, 1);
    uint64_t observed = 0;
    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        observed += stats.duration.buckets[i];
    }
    ck_assert_uint_eq(observed, 5); /* what was posted */
    ck_assert_uint_eq(stats.duration.sum_ns, 3000300);
}
END_TEST

START_TEST(money_and_tokens_by_provider) {
    metric_add(&rows[0], METRIC_COST, 10, (unsigned)pair_a, 0, 0);
    metric_add(&rows[1], METRIC_COST, 20, (unsigned)pair_b, 0, 0);
    metric_add(&rows[1], METRIC_COST, 30, (unsigned)pair_c, 0, 0);
    metric_add(&rows[0], METRIC_TOKENS, 7, (unsigned)pair_b, TOKEN_PROMPT, 0);
    metric_add(&rows[0], METRIC_TOKENS, 5, (unsigned)pair_c, TOKEN_REASONING, 0);
    metric_add(&rows[0], METRIC_LLM_REQUESTS, 3, (unsigned)pair_b, OUTCOME_OK, 0);
    metric_add(&rows[1], METRIC_LLM_REQUESTS, 2, (unsigned)pair_c, OUTCOME_STREAM_ERROR, 0);
    metric_add(&rows[1], METRIC_UPSTREAM_ERRORS, 2, (unsigned)remote, OUTCOME_STREAM_ERROR, 0);
    metric_add(&rows[1], METRIC_UPSTREAM_ERRORS, 6, (unsigned)remote, OUTCOME_BREAKER_OPEN, 0);
    metric_add(&rows[1], METRIC_UPSTREAM_ERRORS, 1, (unsigned)remote, OUTCOME_OVERLOADED, 0);
    metric_add(&rows[0], METRIC_RETRIES, 4, (unsigned)remote, OUTCOME_RESET, 0);
    metric_add(&rows[0], METRIC_FALLBACKS, 1, (unsigned)local, OUTCOME_HTTP_5XX, 0);
    metric_add(&rows[0], METRIC_PROVIDER_SAVED, 9, (unsigned)remote, SAVED_ROUTING, 0);
    metric_add(&rows[0], METRIC_SAVED, 9, SAVED_ROUTING, 0, 0);
    stats_read(region, store, &stats);
    ck_assert_uint_eq(stats.provider_count, 2);
    ck_assert_uint_eq(stats.cost_nusd, 60);
    ck_assert_uint_eq(stats.providers[local].cost_nusd, 10);
    ck_assert_uint_eq(stats.providers[remote].cost_nusd, 50);
    ck_assert_uint_eq(stats.providers[remote].tokens[TOKEN_PROMPT], 7);
    ck_assert_uint_eq(stats.providers[remote].tokens[TOKEN_REASONING], 5);
    ck_assert_uint_eq(stats.tokens[TOKEN_PROMPT], 7);
    ck_assert_uint_eq(stats.providers[remote].requests, 5);
    ck_assert_uint_eq(stats.providers[remote].errors, 2);
    ck_assert_uint_eq(stats.providers[remote].skipped, 7); /* no attempts */
    ck_assert_uint_eq(stats.providers[remote].retries, 4);
    ck_assert_uint_eq(stats.providers[local].fallbacks, 1);
    ck_assert_uint_eq(stats.providers[remote].saved_nusd[SAVED_ROUTING], 9);
    ck_assert_uint_eq(stats.saved_nusd[SAVED_ROUTING], 9);
}
END_TEST

START_TEST(routes_cache_and_restarts) {
    metric_add(&rows[0], METRIC_ROUTE_DECISIONS, 2, 0, TIER_STRONG, ROUTE_BY_RULE);
    metric_add(&rows[1], METRIC_ROUTE_DECISIONS, 1, 0, TIER_STRONG, ROUTE_BY_RULE);
    metric_add(&rows[0], METRIC_CACHE_EVENTS, 6, CACHE_EVENT_MISS, 0, 0);
    metric_add(&rows[0], METRIC_WORKER_RESTARTS, 3, RESTART_SIGNAL, 0, 0);
    int slot = board_claim(region, BOARD_WORKER, 1);
    atomic_store(&board_gauges(region, slot)->connections, 5);
    ck_assert(board_begin_attempt(region, slot, (unsigned)remote, 9));
    stats_read(region, store, &stats);
    ck_assert_uint_eq(stats.route_count, 1);
    ck_assert_uint_eq(stats.routes[0][TIER_STRONG][ROUTE_BY_RULE], 3);
    ck_assert_uint_eq(stats.routes[0][TIER_CHEAP][ROUTE_BY_RULE], 0);
    ck_assert_uint_eq(stats.cache_events[CACHE_EVENT_MISS], 6);
    ck_assert_uint_eq(stats.restarts[RESTART_SIGNAL], 3);
    ck_assert_int_eq(stats.connections, 5);
    ck_assert_int_eq(stats.attempts, 1);
    ck_assert_uint_gt(stats.capacity_bytes, 0);
}
END_TEST

/* Observations in ms -> what Prometheus' histogram_quantile says of the same buckets. */
static const struct {
    int64_t ms[8];
    unsigned count;
    double share;
    int64_t expected_ns;
} quantile_cases[] = {
    {{0}, 0, 0.5, -1},
    {{1}, 1, 0.5, 500000},                            /* (0, 1] */
    {{2, 2, 2, 2}, 4, 0.5, 1750000},                  /* (1, 2.5] */
    {{1, 1, 1, 40}, 4, 0.99, 49000000},               /* (25, 50] */
    {{1, 1, 1, 40}, 4, 0.75, 1000000},                /* the bound itself */
    {{500000}, 1, 0.5, INT64_C(100000000000)},        /* +Inf: the last bound */
    {{3, 3, 3, 3, 3, 3, 3, 500000}, 8, 0.5, 3928571}, /* (2.5, 5] */
};

START_TEST(quantiles) {
    uint64_t buckets[STATS_BUCKETS] = {0};
    for (unsigned i = 0; i < quantile_cases[_i].count; i++) {
        request(0, METHOD_POST, ENDPOINT_GENERATE, 200, quantile_cases[_i].ms[i] * 1000000);
    }
    stats_read(region, store, &stats);
    memcpy(buckets, stats.duration.buckets, sizeof(buckets));
    ck_assert_int_eq(stats_quantile_ns(METRIC_HTTP_DURATION, buckets, quantile_cases[_i].share),
                     quantile_cases[_i].expected_ns);
}
END_TEST

START_TEST(samples_hold_every_column) {
    static uint64_t now[STATS_COLUMNS], kept[STATS_COLUMNS];
    request(0, METHOD_POST, ENDPOINT_CHAT, 500, 3000000);
    metric_add(&rows[0], METRIC_COST, 11, (unsigned)pair_b, 0, 0);
    metric_add(&rows[0], METRIC_SAVED, 12, SAVED_CACHE, 0, 0);
    metric_add(&rows[0], METRIC_PROVIDER_SAVED, 12, (unsigned)remote, SAVED_CACHE, 0);
    metric_observe(&rows[0], METRIC_UPSTREAM_DURATION, 3000000, (unsigned)remote, 0);
    stats_sample(region, store, &stats);
    stats_columns(&stats, now);
    ck_assert(history_read(region, history_newest(region), 0, STATS_COLUMNS, kept));
    ck_assert_int_eq(memcmp(now, kept, sizeof(now)), 0);
    ck_assert_uint_eq(kept[COLUMN_REQUESTS], 1);
    ck_assert_uint_eq(kept[COLUMN_FAILED], 1);
    ck_assert_uint_eq(kept[COLUMN_COST], 11);
    ck_assert_uint_eq(kept[COLUMN_SAVED + SAVED_CACHE], 12);
    ck_assert_uint_eq(kept[COLUMN_DURATION + 2], 1); /* (2.5 ms, 5 ms] */
    unsigned first = STATS_COLUMN_OF(remote, 0);
    ck_assert_uint_eq(kept[first + PROVIDER_COLUMN_COST], 11);
    ck_assert_uint_eq(kept[first + PROVIDER_COLUMN_SAVED], 12);
    ck_assert_uint_eq(kept[first + PROVIDER_COLUMN_DURATION + 2], 1);
    ck_assert_uint_eq(kept[STATS_COLUMN_OF(local, PROVIDER_COLUMN_COST)], 0);
    /* not a second one in the same period */
    metric_add(&rows[0], METRIC_COST, 11, (unsigned)pair_b, 0, 0);
    stats_sample(region, store, &stats);
    ck_assert(history_read(region, history_newest(region), COLUMN_COST, 1, kept));
    ck_assert_uint_eq(kept[0], 11);
}
END_TEST

START_TEST(the_sample_nearest_to_a_minute_ago) {
    static uint64_t columns[STATS_COLUMNS];
    ck_assert(!stats_minute_ago(region, region_now_ms(region), 2, columns));
    int64_t times[12];
    for (int i = 0; i < 12; i++) {
        stats_sample(region, store, &stats);
        times[i] = stats.at_ms;
        /* the first ones: the oldest there is; later: six periods back */
        ck_assert(stats_minute_ago(region, stats.at_ms, 2, columns));
        ck_assert_int_eq((int64_t)columns[COLUMN_AT_MS], times[i < 6 ? 0 : i - 6]);
        region_shift_time(region, HISTORY_PERIOD_MS);
    }
    /* nobody ran for five minutes: the last one before that */
    region_shift_time(region, 300000);
    ck_assert(stats_minute_ago(region, region_now_ms(region), 2, columns));
    ck_assert_int_eq((int64_t)columns[COLUMN_AT_MS], times[11]);
    /* and one just taken is nearer to a minute ago than that */
    stats_sample(region, store, &stats);
    ck_assert(stats_minute_ago(region, region_now_ms(region), 2, columns));
    ck_assert_int_eq((int64_t)columns[COLUMN_AT_MS], stats.at_ms);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("stats");
    TCase *cases = tcase_create("stats");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, requests_by_endpoint_and_kind);
    tcase_add_test(cases, money_and_tokens_by_provider);
    tcase_add_test(cases, routes_cache_and_restarts);
    tcase_add_loop_test(cases, quantiles, 0,
                        (int)(sizeof(quantile_cases) / sizeof(quantile_cases[0])));
    tcase_add_test(cases, samples_hold_every_column);
    tcase_add_test(cases, the_sample_nearest_to_a_minute_ago);
    suite_add_tcase(suite, cases);
    return suite;
}

UNIT_MAIN(make_suite)
