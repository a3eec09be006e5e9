/* test_history: samples and requests are seen whole or not at all, whoever dies while writing, and
 * they outlive their writers. Time is region time, moved by hand.
 */
#include "config.h"

#include "shm/history.h"

#include <signal.h>
#include <stdlib.h>

#include "../../../src/shm/region_layout.h"
#include "shm_test.h"
#include "still_clock.h"

/* At the beginning of a period, which lasts until a test says otherwise. */
static struct region *make_region(void) {
    stop_the_clock();
    struct region *region = test_region_new(0, NULL);
    region_shift_time(region, HISTORY_PERIOD_MS - region_now_ms(region) % HISTORY_PERIOD_MS);
    return region;
}

static void next_period(struct region *region) {
    region_shift_time(region, HISTORY_PERIOD_MS);
}

static uint64_t take(struct region *region, uint64_t value) {
    uint64_t number = 0;
    ck_assert(history_begin(region, &number));
    for (unsigned column = 0; column < HISTORY_COLUMNS; column++) {
        history_set(region, number, column, value + column);
    }
    history_end(region, number);
    return number;
}

static bool has(const struct region *region, uint64_t number, uint64_t value) {
    static uint64_t columns[HISTORY_COLUMNS];
    if (!history_read(region, number, 0, HISTORY_COLUMNS, columns)) {
        return false;
    }
    for (unsigned column = 0; column < HISTORY_COLUMNS; column++) {
        ck_assert_uint_eq(columns[column], value + column);
    }
    return true;
}

/* -- samples ---------------------------------------------------------------------------------- */

START_TEST(one_sample_in_a_period) {
    struct region *region = make_region();
    uint64_t number = 0;
    ck_assert_uint_eq(history_newest(region), 0);
    uint64_t first = take(region, 100);
    ck_assert(!history_begin(region, &number));
    ck_assert_uint_eq(history_newest(region), first);
    ck_assert(has(region, first, 100));
    ck_assert(!has(region, first - 1, 0));
    ck_assert(!has(region, first + 1, 0));
    ck_assert(!has(region, 0, 0));
    next_period(region);
    ck_assert_uint_eq(take(region, 200), first + 1);
    ck_assert(has(region, first, 100) && has(region, first + 1, 200));
    region_destroy(region);
}
END_TEST

START_TEST(an_hour_is_kept_and_gaps_stay_gaps) {
    struct region *region = make_region();
    uint64_t first = take(region, 1);
    for (uint64_t i = 1; i < HISTORY_SAMPLES; i++) {
        next_period(region);
        if (i != 7) {
            ck_assert_uint_eq(take(region, i), first + i);
        }
    }
    ck_assert(has(region, first, 1));
    ck_assert(!has(region, first + 7, 7));
    next_period(region);
    take(region, 1000);
    ck_assert(!has(region, first, 1));
    ck_assert(has(region, first + 1, 1));
    ck_assert(has(region, first + HISTORY_SAMPLES, 1000));
    region_destroy(region);
}
END_TEST

static int count_wins(void *argument) {
    struct region *region = argument;
    uint64_t number;
    return history_begin(region, &number) ? 1 : 0;
}

START_TEST(of_many_processes_one_takes_it) {
    struct region *region = make_region();
    for (int round = 0; round < 20; round++) {
        pid_t pids[4];
        int wins = 0;
        next_period(region);
        for (int i = 0; i < 4; i++) {
            pids[i] = test_spawn(count_wins, region);
        }
        for (int i = 0; i < 4; i++) {
            wins += WEXITSTATUS(test_reap(pids[i]));
        }
        ck_assert_int_eq(wins, 1);
    }
    region_destroy(region);
}
END_TEST

START_TEST(a_sample_whose_writer_died_is_never_seen) {
    struct region *region = make_region();
    uint64_t number = 0;
    ck_assert(history_begin(region, &number));
    history_set(region, number, 0, 1);
    ck_assert(!has(region, number, 0));
    next_period(region);
    ck_assert(has(region, take(region, 5), 5));
    ck_assert(!has(region, number, 0));
    region_destroy(region);
}
END_TEST

/* Who was stopped for an hour between two of its stores writes nothing into the new sample. */
START_TEST(who_was_overtaken_changes_nothing) {
    struct region *region = make_region();
    uint64_t slow = 0;
    ck_assert(history_begin(region, &slow));
    history_set(region, slow, 0, 1);
    region_shift_time(region, (int64_t)HISTORY_PERIOD_MS * HISTORY_SAMPLES);
    uint64_t number = take(region, 70);
    ck_assert_uint_eq(number, slow + HISTORY_SAMPLES);
    history_set(region, slow, 0, 2);
    history_end(region, slow);
    ck_assert(has(region, number, 70));
    ck_assert(!has(region, slow, 0));
    region_destroy(region);
}
END_TEST

/* One clock read before the boundary, one behind it: nobody goes back. A number from far ahead is
 * damage and does not stop the history. */
START_TEST(a_number_ahead_is_believed_by_one_only) {
    struct region *region = make_region();
    uint64_t number = take(region, 1);
    uint64_t other = 0;
    next_period(region);
    ck_assert_uint_eq(take(region, 2), number + 1);
    region_shift_time(region, -HISTORY_PERIOD_MS);
    ck_assert(!history_begin(region, &other));
    region_shift_time(region, -HISTORY_PERIOD_MS);
    ck_assert(history_begin(region, &other));
    region_destroy(region);
}
END_TEST

/* Samples in which all columns say the same, one after the other; a reader that is after those that
 * are overwritten next sees no other. */
static int write_samples(void *argument) {
    struct region *region = argument;
    for (int64_t i = 0; i < INT64_MAX; i++) { /* until it is killed */
        uint64_t number;
        next_period(region);
        if (!history_begin(region, &number)) {
            return 1;
        }
        for (unsigned column = 0; column < 64; column++) {
            history_set(region, number, column, number);
        }
        history_end(region, number);
    }
    return 0;
}

START_TEST(samples_are_never_torn) {
    struct region *region = make_region();
    pid_t pid = test_spawn(write_samples, region);
    uint64_t columns[64];
    uint64_t seen = 0, newest = 0, until = history_newest(region) + 20000;
    while (seen < 1000 || newest < until) {
        ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
        newest = history_newest(region);
        for (uint64_t i = 0; i < 8 && newest > HISTORY_SAMPLES; i++) {
            uint64_t number = newest - HISTORY_SAMPLES + i;
            if (history_read(region, number, 0, 64, columns)) {
                seen++;
                for (unsigned column = 0; column < 64; column++) {
                    ck_assert_uint_eq(columns[column], number);
                }
            }
        }
    }
    kill(pid, SIGKILL);
    test_reap(pid);
    region_destroy(region);
}
END_TEST

/* -- requests --------------------------------------------------------------------------------- */

static void add(struct region *region, int slot, int64_t number) {
    struct history_request request = {
        .at_ms = region_now_ms(region), .cost_nusd = number, .saved_nusd = -number, .status = 200};
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)number);
    history_set_text(request.provider, sizeof(request.provider), bytes_from_str(text));
    history_set_text(request.reason, sizeof(request.reason), bytes_from_str(text));
    history_add(region, slot, &request);
}

static bool is_whole(const struct history_request *request) {
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)request->cost_nusd);
    return request->saved_nusd == -request->cost_nusd && request->status == 200 &&
           strcmp(request->provider, text) == 0 && strcmp(request->reason, text) == 0;
}

START_TEST(requests_of_all_slots_newest_first) {
    struct region *region = make_region();
    struct history_request list[50];
    ck_assert_uint_eq(history_recent(region, list, 50), 0);
    for (int i = 0; i < 60; i++) {
        add(region, i % 3 == 0 ? 0 : i % 3 == 1 ? 17 : 127, i);
        region_shift_time(region, 1000);
    }
    ck_assert_uint_eq(history_added(region), 60);
    ck_assert_uint_eq(history_recent(region, list, 50), 50);
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(list[i].cost_nusd, 59 - i);
        ck_assert(is_whole(&list[i]));
    }
    ck_assert_uint_eq(history_recent(region, list, 3), 3);
    ck_assert_int_eq(list[2].cost_nusd, 57);
    ck_assert_uint_eq(history_recent(region, list, 0), 0);
    region_destroy(region);
}
END_TEST

START_TEST(of_each_slot_the_last_are_kept) {
    struct region *region = make_region();
    struct history_request list[2 * HISTORY_REQUESTS];
    for (int i = 0; i < 3 * HISTORY_REQUESTS + 5; i++) { /* at one moment: the order stays */
        add(region, 4, i);
    }
    ck_assert_uint_eq(history_recent(region, list, 2 * HISTORY_REQUESTS), HISTORY_REQUESTS);
    for (int i = 0; i < HISTORY_REQUESTS; i++) {
        ck_assert_int_eq(list[i].cost_nusd, 3 * HISTORY_REQUESTS + 4 - i);
    }
    region_destroy(region);
}
END_TEST

static void expect_cut(struct bytes text, const char *expected) {
    char field[8] = "";
    history_set_text(field, sizeof(field), text);
    ck_assert_str_eq(field, expected);
}

START_TEST(texts_are_cut_at_a_character) {
    expect_cut(BYTES_LITERAL("abc"), "abc");
    expect_cut(BYTES_LITERAL("abcdefgh"), "abcdefg");
    expect_cut(BYTES_LITERAL("abcdef\xc3\xa9"), "abcdef");
    expect_cut(BYTES_LITERAL("abcd\xf0\x9f\x98\x80"), "abcd");
    expect_cut(BYTES_LITERAL("abc\xf0\x9f\x98\x80"), "abc\xf0\x9f\x98\x80");
    expect_cut(bytes_make(NULL, 0), "");
}
END_TEST

static int write_requests(void *argument) {
    struct region *region = argument;
    for (int64_t i = 0; i < INT64_MAX; i++) { /* until it is killed */
        add(region, 9, i);
    }
    return 0;
}

/* A writer that is killed at any instruction, many times; its heir goes on in the same ring. */
START_TEST(requests_are_never_torn) {
    struct region *region = make_region();
    struct history_request list[HISTORY_REQUESTS];
    for (int round = 0; round < 100; round++) {
        uint64_t before = history_added(region);
        pid_t pid = test_spawn(write_requests, region);
        do {
            unsigned count = history_recent(region, list, HISTORY_REQUESTS);
            for (unsigned i = 0; i < count; i++) {
                ck_assert(is_whole(&list[i]));
            }
        } while (history_added(region) < before + 50);
        kill(pid, SIGKILL);
        test_reap(pid);
        unsigned left = history_recent(region, list, HISTORY_REQUESTS);
        ck_assert_uint_ge(left, HISTORY_REQUESTS - 1); /* at most the one under way is lost */
        for (unsigned i = 0; i < left; i++) {
            ck_assert(is_whole(&list[i]));
        }
    }
    region_destroy(region);
}
END_TEST

/* -- what survives ---------------------------------------------------------------------------- */

static struct region *open_at(const char *path, const char *boot_id) {
    struct region_params params = {
        .path = path, .counter_cells = TEST_CELLS, .counter_layout = 7, .boot_id = boot_id};
    char error[256] = "";
    struct region *region = region_create(&params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    return region;
}

START_TEST(it_survives_a_restart_but_no_reboot) {
    static const char first_boot[] = "11111111-1111-1111-1111-111111111111";
    static const char second_boot[] = "22222222-2222-2222-2222-222222222222";
    char path[] = "/tmp/optiroute-test-XXXXXX";
    struct history_request list[2];
    int fd = mkstemp(path);
    ck_assert_int_ne(fd, -1);
    close(fd);
    struct region *region = open_at(path, first_boot);
    uint64_t number = take(region, 3);
    add(region, 0, 42);
    region_destroy(region);

    region = open_at(path, first_boot);
    ck_assert(has(region, number, 3));
    ck_assert_uint_eq(history_recent(region, list, 2), 1);
    ck_assert_int_eq(list[0].cost_nusd, 42);
    region_destroy(region);

    region = open_at(path, second_boot);
    ck_assert(!has(region, number, 3));
    ck_assert_uint_eq(history_newest(region), 0);
    ck_assert_uint_eq(history_recent(region, list, 2), 0);
    region_destroy(region);
    unlink(path);
}
END_TEST

START_TEST(it_goes_with_the_totals) {
    struct region *region = make_region();
    struct history_request list[2];
    uint64_t number = take(region, 3);
    add(region, 0, 42);
    region_forget_totals(region);
    ck_assert(!has(region, number, 3));
    ck_assert_uint_eq(history_recent(region, list, 2), 0);
    region_destroy(region);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {
        one_sample_in_a_period,
        an_hour_is_kept_and_gaps_stay_gaps,
        of_many_processes_one_takes_it,
        a_sample_whose_writer_died_is_never_seen,
        who_was_overtaken_changes_nothing,
        a_number_ahead_is_believed_by_one_only,
        samples_are_never_torn,
        requests_of_all_slots_newest_first,
        of_each_slot_the_last_are_kept,
        texts_are_cut_at_a_character,
        requests_are_never_torn,
        it_survives_a_restart_but_no_reboot,
        it_goes_with_the_totals,
    };
    return test_suite("history", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
