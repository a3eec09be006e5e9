/* The metrics table: layout, indexes, buckets; adding and summing over a real region. */
#include "unit.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "shm/board.h"
#include "watch/metrics_table.h"

static struct region *make_region(void) {
    char error[200] = "";
    struct region_params params = {.counter_cells = metrics_cells(),
                                   .counter_layout = metrics_layout_hash()};
    struct region *region = region_create(&params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    return region;
}

static unsigned cells_of(const struct metric_row *row) {
    return row->type == METRIC_HISTOGRAM ? METRIC_HISTOGRAM_CELLS : 1;
}

/* Every series of every metric has cells of its own, and together they are the whole row. */
START_TEST(cells_do_not_overlap) {
    unsigned char *taken = calloc(metrics_cells(), 1);
    unsigned total = 0;
    ck_assert_ptr_nonnull(taken);
    for (unsigned id = 0; id < METRIC_COUNT; id++) {
        const struct metric_row *row = metric_row((enum metric_id)id);
        for (unsigned i = 0; i < row->sizes[0]; i++) {
            for (unsigned j = 0; j < row->sizes[1]; j++) {
                for (unsigned k = 0; k < row->sizes[2]; k++) {
                    for (unsigned c = 0; c < cells_of(row); c++) {
                        unsigned cell = metric_cell(row, i, j, k) + c;
                        ck_assert_uint_lt(cell, metrics_cells());
                        ck_assert_msg(taken[cell] == 0, "%s overlaps", row->name);
                        taken[cell] = 1;
                        total++;
                    }
                }
            }
        }
    }
    ck_assert_uint_eq(total, metrics_cells());
    free(taken);
}
END_TEST

START_TEST(rows_are_complete) {
    for (unsigned id = 0; id < METRIC_COUNT; id++) {
        const struct metric_row *row = metric_row((enum metric_id)id);
        ck_assert_ptr_nonnull(row->name);
        ck_assert_ptr_nonnull(row->help);
        ck_assert_int_eq(row->bounds != NULL, row->type == METRIC_HISTOGRAM);
        for (unsigned d = 0; d < METRIC_DIMS; d++) {
            const struct metric_dim_info *dim = metric_dim_info(row->dims[d]);
            ck_assert_uint_eq(dim->size, row->sizes[d]);
            for (unsigned v = 0; dim->values != NULL && v < dim->size; v++) {
                ck_assert_msg(dim->values[v] != NULL, "%s: value %u", dim->labels[0], v);
            }
        }
        for (unsigned b = 1; row->bounds != NULL && b < METRIC_BOUNDS; b++) {
            ck_assert_int_lt(row->bounds[b - 1], row->bounds[b]);
        }
    }
}
END_TEST

static const struct {
    int status;
    const char *label;
} status_cases[] = {
    {200, "200"},   {204, "204"},   {400, "400"},   {401, "401"},         {403, "403"},
    {404, "404"},   {405, "405"},   {408, "408"},   {409, "409"},         {413, "413"},
    {414, "414"},   {415, "415"},   {417, "417"},   {422, "422"},         {429, "429"},
    {431, "431"},   {499, "499"},   {500, "500"},   {501, "501"},         {502, "502"},
    {503, "503"},   {504, "504"},   {505, "505"},   {0, "other"},         {-1, "other"},
    {201, "201"},   {302, "302"},   {402, "402"},   {520, "520"},         {529, "529"},
    {100, "other"}, {199, "other"}, {203, "other"}, {206, "other"},       {418, "other"},
    {506, "other"}, {599, "other"}, {600, "other"}, {INT32_MAX, "other"}, {INT32_MIN, "other"},
};

START_TEST(status_has_its_label) {
    const struct metric_dim_info *dim = metric_dim_info(DIM_STATUS);
    unsigned index = metrics_status_index(status_cases[_i].status);
    ck_assert_uint_lt(index, dim->size);
    ck_assert_str_eq(dim->values[index], status_cases[_i].label);
}
END_TEST

START_TEST(outcomes_have_names) {
    for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
        ck_assert_uint_gt(strlen(outcome_name((enum outcome)i)), 0);
        for (unsigned j = 0; j < i; j++) {
            ck_assert_str_ne(outcome_name((enum outcome)i), outcome_name((enum outcome)j));
        }
    }
    ck_assert_str_eq(outcome_name(OUTCOME_OK), "ok");
}
END_TEST

/* A value on a bound belongs to it, one more to the next bucket. */
START_TEST(bucket_edges) {
    static const enum metric_id histograms[] = {METRIC_OVERHEAD, METRIC_HTTP_DURATION};
    struct region *region = make_region();
    struct metrics metrics = {.row = counters_row(region, 0)};
    for (unsigned h = 0; h < 2; h++) {
        const struct metric_row *row = metric_row(histograms[h]);
        const counter_cell *cells = counters_row(region, 0) + metric_cell(row, 0, 0, 0);
        uint64_t expected[METRIC_BOUNDS + 1] = {0};
        uint64_t sum = 0;
        for (unsigned b = 0; b < METRIC_BOUNDS; b++) {
            static const int steps[] = {-1, 0, 1};
            for (unsigned s = 0; s < 3; s++) {
                int64_t value = row->bounds[b] + steps[s];
                metric_observe(&metrics, histograms[h], value, 0, 0);
                expected[b + (s == 2)]++;
                sum += (uint64_t)value;
            }
        }
        metric_observe(&metrics, histograms[h], 0, 0, 0);
        metric_observe(&metrics, histograms[h], -5, 0, 0);
        metric_observe(&metrics, histograms[h], INT64_MIN, 0, 0);
        expected[0] += 3;
        metric_observe(&metrics, histograms[h], INT64_MAX, 0, 0);
        expected[METRIC_BOUNDS]++;
        sum += (uint64_t)INT64_MAX;
        uint64_t count = 0;
        for (unsigned b = 0; b <= METRIC_BOUNDS; b++) {
            ck_assert_msg(cells[b] == expected[b], "%s bucket %u", row->name, b);
            count += expected[b];
        }
        ck_assert_uint_eq(cells[METRIC_HISTOGRAM_SUM], sum);
        ck_assert_uint_eq(metric_total(region, histograms[h], 0, 0, 0), count);
    }
    region_destroy(region);
}
END_TEST

START_TEST(bounds_are_those_of_the_contract) {
    static const int64_t ms = 1000000;
    const int64_t *requests = metric_row(METRIC_HTTP_DURATION)->bounds;
    const int64_t *overhead = metric_row(METRIC_OVERHEAD)->bounds;
    static const double steps[] = {1,   2.5,  5,    10,   25,    50,    100,   250,
                                   500, 1000, 2500, 5000, 10000, 25000, 50000, 100000};
    for (unsigned b = 0; b < METRIC_BOUNDS; b++) {
        ck_assert_int_eq(requests[b], (int64_t)(steps[b] * (double)ms));
        ck_assert_int_eq(overhead[b], (int64_t)(steps[b] * 1000.0));
    }
}
END_TEST

START_TEST(totals_are_sums_over_rows) {
    struct region *region = make_region();
    struct metrics first = {.row = counters_row(region, 0)};
    struct metrics last = {.row = counters_row(region, REGION_MASTER_ROW)};
    metric_add(&first, METRIC_COST, 1500, 3, 0, 0);
    metric_add(&last, METRIC_COST, 27, 3, 0, 0);
    metric_add(&last, METRIC_COST, 1, 4, 0, 0);
    ck_assert_uint_eq(metric_total(region, METRIC_COST, 3, 0, 0), 1527);
    ck_assert_uint_eq(metric_total(region, METRIC_COST, 4, 0, 0), 1);
    ck_assert_uint_eq(metric_total(region, METRIC_COST, REGION_PAIRS - 1, 0, 0), 0);
    region_destroy(region);
}
END_TEST

/* A worker dies, its slot is freed and claimed again: the heir adds to what is there. */
START_TEST(heir_continues_the_row) {
    struct region *region = make_region();
    uint64_t seen = 0;
    for (uint32_t life = 1; life <= 5; life++) {
        int slot = board_claim(region, BOARD_WORKER, 1);
        ck_assert_int_ge(slot, 0);
        struct metrics metrics = {.row = counters_row(region, (unsigned)slot)};
        ck_assert_uint_eq(metric_total(region, METRIC_CLIENT_ABORTS, 0, 0, 0), seen);
        metric_add(&metrics, METRIC_CLIENT_ABORTS, life, 0, 0, 0);
        metric_observe(&metrics, METRIC_OVERHEAD, 100, 0, 0);
        seen += life;
        ck_assert_uint_eq(metric_total(region, METRIC_CLIENT_ABORTS, 0, 0, 0), seen);
        ck_assert_uint_eq(metric_total(region, METRIC_OVERHEAD, 0, 0, 0), life);
        board_release(region, slot);
    }
    region_destroy(region);
}
END_TEST

/* The hash tells a layout in which cells mean something else. */
START_TEST(layout_hash_changes_with_the_table) {
    struct metric_row rows[2] = {*metric_row(METRIC_COST), *metric_row(METRIC_OVERHEAD)};
    int64_t bounds[METRIC_BOUNDS];
    uint64_t before = metrics_hash_rows(rows, 2);
    ck_assert_uint_eq(metrics_hash_rows(rows, 2), before);
    ck_assert_uint_ne(metrics_hash_rows(rows, 1), before);

    struct metric_row changed[2];
#define CHANGED(member, value)                                    \
    do {                                                          \
        memcpy(changed, rows, sizeof(rows));                      \
        changed[1].member = (value);                              \
        ck_assert_uint_ne(metrics_hash_rows(changed, 2), before); \
    } while (0)
    CHANGED(name, "optiroute_overhead_s");
    CHANGED(base, rows[1].base + 1);
    CHANGED(unit, UNIT_NANODOLLARS);
    CHANGED(dims[0], DIM_PROVIDER);
    memcpy(bounds, rows[1].bounds, sizeof(bounds));
    bounds[3]++;
    CHANGED(bounds, bounds);
    changed[0] = rows[1];
    changed[1] = rows[0];
    ck_assert_uint_ne(metrics_hash_rows(changed, 2), before);
    /* Help may be reworded without losing the totals. */
    memcpy(changed, rows, sizeof(rows));
    changed[1].help = "other words";
    ck_assert_uint_eq(metrics_hash_rows(changed, 2), before);
}
END_TEST

/* Wrong uses are programming faults: each aborts. */
static const struct {
    enum metric_id id;
    unsigned i, j, k;
    int observe;
} faults[] = {
    {METRIC_COST, REGION_PAIRS, 0, 0, 0},
    {METRIC_COST, UINT16_MAX, 0, 0, 0},
    {METRIC_COST, 0, 1, 0, 0},
    {METRIC_HTTP_REQUESTS, 0, ENDPOINT_COUNT, 0, 0},
    {METRIC_ROUTE_DECISIONS, 0, 0, ROUTE_REASON_COUNT, 0},
    {METRIC_COUNT, 0, 0, 0, 0},
    {METRIC_OVERHEAD, 0, 0, 0, 0},
    {METRIC_COST, 0, 0, 0, 1},
    {METRIC_HTTP_DURATION, 0, ENDPOINT_COUNT, 0, 1},
};

START_TEST(wrong_use_panics) {
    struct region *region = make_region();
    struct metrics metrics = {.row = counters_row(region, 0)};
    if (faults[_i].observe) {
        metric_observe(&metrics, faults[_i].id, 1, faults[_i].i, faults[_i].j);
    } else {
        metric_add(&metrics, faults[_i].id, 1, faults[_i].i, faults[_i].j, faults[_i].k);
    }
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static Suite *make_suite(void) {
    Suite *suite = suite_create("metrics");
    TCase *table = tcase_create("table");
    tcase_add_test(table, cells_do_not_overlap);
    tcase_add_test(table, rows_are_complete);
    tcase_add_loop_test(table, status_has_its_label, 0, COUNT(status_cases));
    tcase_add_test(table, outcomes_have_names);
    tcase_add_test(table, bounds_are_those_of_the_contract);
    tcase_add_test(table, layout_hash_changes_with_the_table);
    suite_add_tcase(suite, table);
    TCase *adding = tcase_create("adding");
    tcase_add_test(adding, bucket_edges);
    tcase_add_test(adding, totals_are_sums_over_rows);
    tcase_add_test(adding, heir_continues_the_row);
    tcase_add_loop_test_raise_signal(adding, wrong_use_panics, SIGABRT, 0, COUNT(faults));
    suite_add_tcase(suite, adding);
    return suite;
}

UNIT_MAIN(make_suite)
