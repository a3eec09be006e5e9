/* Totals go over to a region of another layout by name and labels, once each. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "../../../src/watch/catalogue.h"
#include "watch/carry.h"

static struct region *old, *fresh;
static struct metrics old_row, fresh_row;

static struct region *make(struct bytes catalogue) {
    struct region_params params = {.counter_cells = metrics_cells(),
                                   .counter_layout = metrics_layout_hash(),
                                   .catalogue = catalogue};
    char error[256] = "";
    struct region *region = region_create(&params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    return region;
}

static void open_both(struct bytes catalogue) {
    old = make(catalogue);
    fresh = make(carry_catalogue());
    old_row.row = counters_row(old, 3);
    fresh_row.row = counters_row(fresh, REGION_MASTER_ROW);
}

static void close_both(void) {
    region_destroy(old);
    region_destroy(fresh);
}

static struct carried carry_since(const struct totals *since, struct totals **now) {
    *now = totals_read(region_descriptor(old));
    ck_assert_ptr_nonnull(*now);
    return carry_totals(fresh, &fresh_row, *now, since);
}

static struct carried carry_all(void) {
    struct totals *now;
    struct carried carried = carry_since(NULL, &now);
    totals_free(now);
    return carried;
}

START_TEST(series_go_over_by_name) {
    open_both(carry_catalogue());
    /* another order of names in each */
    names_add(old, NAMES_PROVIDER, "one");
    names_add(old, NAMES_PROVIDER, "two");
    names_add(fresh, NAMES_PROVIDER, "two");
    metric_add(&old_row, METRIC_USAGE_INVALID, 1, 0, 0, 0);
    metric_add(&old_row, METRIC_USAGE_INVALID, 2, 1, 0, 0);
    metric_add(&old_row, METRIC_CLIENT_ABORTS, 5, 0, 0, 0);
    metric_add(&old_row, METRIC_UPSTREAM_ERRORS, 7, 1, OUTCOME_RESET, 0);
    metric_observe(&old_row, METRIC_UPSTREAM_DURATION, 3000000, 0, 0);
    struct metrics other = {.row = counters_row(old, REGION_MASTER_ROW)};
    metric_add(&other, METRIC_CLIENT_ABORTS, 6, 0, 0, 0);
    struct carried carried = carry_all();
    ck_assert_uint_eq(carried.series, 5);
    ck_assert_uint_eq(carried.lost, 0);
    unsigned one = (unsigned)names_find(fresh, NAMES_PROVIDER, "one");
    ck_assert_uint_eq(one, 1);
    ck_assert_uint_eq(metric_total(fresh, METRIC_USAGE_INVALID, one, 0, 0), 1);
    ck_assert_uint_eq(metric_total(fresh, METRIC_USAGE_INVALID, 0, 0, 0), 2);
    ck_assert_uint_eq(metric_total(fresh, METRIC_CLIENT_ABORTS, 0, 0, 0), 11);
    ck_assert_uint_eq(metric_total(fresh, METRIC_UPSTREAM_ERRORS, 0, OUTCOME_RESET, 0), 7);
    ck_assert_uint_eq(metric_total(fresh, METRIC_UPSTREAM_DURATION, one, 0, 0), 1);
    close_both();
}
END_TEST

START_TEST(what_is_counted_later_follows) {
    open_both(carry_catalogue());
    metric_add(&old_row, METRIC_CLIENT_ABORTS, 5, 0, 0, 0);
    struct totals *first, *second;
    carry_since(NULL, &first);
    metric_add(&old_row, METRIC_CLIENT_ABORTS, 2, 0, 0, 0);
    struct carried carried = carry_since(first, &second);
    ck_assert_uint_eq(carried.series, 1);
    totals_free(first);
    ck_assert_uint_eq(carry_since(second, &first).series, 0);
    ck_assert_uint_eq(metric_total(fresh, METRIC_CLIENT_ABORTS, 0, 0, 0), 7);
    totals_free(first);
    totals_free(second);
    close_both();
}
END_TEST

/* A catalogue of another version: metrics in another place, label values in another order, some
 * that are not known here. */
static struct catalogue another(void) {
    struct catalogue theirs;
    struct bytes ours = carry_catalogue();
    ck_assert_uint_eq(ours.size, sizeof(theirs));
    memcpy(&theirs, ours.data, sizeof(theirs));
    struct catalogue_row *events = &theirs.rows[METRIC_CACHE_EVENTS];
    uint64_t *values = &theirs.values[theirs.dims[DIM_CACHE_EVENT].first_value];
    uint64_t hit = values[CACHE_EVENT_HIT];
    values[CACHE_EVENT_HIT] = values[CACHE_EVENT_STORE];
    values[CACHE_EVENT_STORE] = hit;
    values[CACHE_EVENT_MISS] = 1; /* no longer known */
    uint32_t base = events->base;
    events->base = theirs.rows[METRIC_ROUTE_DECISIONS].base;
    theirs.rows[METRIC_ROUTE_DECISIONS].base = base;
    theirs.rows[METRIC_ROUTE_DECISIONS].meaning = 2;
    theirs.rows[METRIC_ROUTE_DECISIONS].dims[0] = DIM_CACHE_EVENT;
    theirs.rows[METRIC_ROUTE_DECISIONS].dims[1] = DIM_NONE;
    theirs.rows[METRIC_ROUTE_DECISIONS].dims[2] = DIM_NONE;
    theirs.check = catalogue_check(&theirs);
    return theirs;
}

START_TEST(another_order_is_understood_and_the_unknown_is_lost) {
    struct catalogue theirs = another();
    open_both(bytes_make((const char *)&theirs, sizeof(theirs)));
    counter_cell *events = &old_row.row[theirs.rows[METRIC_CACHE_EVENTS].base];
    counter_add(&events[CACHE_EVENT_HIT], 10);  /* means store there */
    counter_add(&events[CACHE_EVENT_STORE], 4); /* means hit */
    counter_add(&events[CACHE_EVENT_MISS], 3);
    counter_add(&old_row.row[theirs.rows[METRIC_ROUTE_DECISIONS].base], 9);
    struct carried carried = carry_all();
    ck_assert_uint_eq(carried.series, 2);
    ck_assert_uint_eq(carried.lost, 2);
    ck_assert_uint_eq(metric_total(fresh, METRIC_CACHE_EVENTS, CACHE_EVENT_STORE, 0, 0), 10);
    ck_assert_uint_eq(metric_total(fresh, METRIC_CACHE_EVENTS, CACHE_EVENT_HIT, 0, 0), 4);
    ck_assert_uint_eq(metric_total(fresh, METRIC_CACHE_EVENTS, CACHE_EVENT_MISS, 0, 0), 0);
    close_both();
}
END_TEST

START_TEST(names_without_room_are_lost_and_said) {
    open_both(carry_catalogue());
    char name[32];
    for (unsigned i = 0; i < REGION_PROVIDERS; i++) {
        snprintf(name, sizeof(name), "here %u", i);
        ck_assert_int_eq(names_add(fresh, NAMES_PROVIDER, name), (int)i);
    }
    names_add(old, NAMES_PROVIDER, "there");
    metric_add(&old_row, METRIC_USAGE_INVALID, 1, 0, 0, 0);
    struct carried carried = carry_all();
    ck_assert_uint_eq(carried.series, 0);
    ck_assert_uint_eq(carried.lost, 1);
    close_both();
}
END_TEST

/* Every byte of a catalogue, one after the other: carried or not, never a wild access. A changed
 * one that proves itself again is like one from a daemon that means harm. */
START_TEST(a_damaged_catalogue_carries_nothing_and_harms_nobody) {
    struct catalogue theirs;
    open_both(carry_catalogue());
    for (unsigned row = 0; row < METRIC_COUNT; row++) {
        metric_row((enum metric_id)row);
        counter_add(&old_row.row[metric_row((enum metric_id)row)->base], 1);
    }
    region_destroy(old);
    for (size_t at = 0; at < sizeof(theirs); at += 3) {
        memcpy(&theirs, carry_catalogue().data, sizeof(theirs));
        ((uint8_t *)&theirs)[at] ^= (uint8_t)(1u << at % 8);
        bool proves_itself = at % 2 == 0 && at < offsetof(struct catalogue, check);
        if (proves_itself) {
            theirs.check = catalogue_check(&theirs);
        }
        old = make(bytes_make((const char *)&theirs, sizeof(theirs)));
        old_row.row = counters_row(old, 3);
        counter_add(&old_row.row[metric_row(METRIC_CLIENT_ABORTS)->base], 1);
        struct carried carried = carry_all();
        ck_assert_msg(proves_itself || carried.series + carried.lost == 0, "at %zu", at);
        region_destroy(old);
    }
    region_destroy(fresh);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("carry");
    TCase *tcase = tcase_create("carry");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, series_go_over_by_name);
    tcase_add_test(tcase, what_is_counted_later_follows);
    tcase_add_test(tcase, another_order_is_understood_and_the_unknown_is_lost);
    tcase_add_test(tcase, names_without_room_are_lost_and_said);
    tcase_add_test(tcase, a_damaged_catalogue_carries_nothing_and_harms_nobody);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
