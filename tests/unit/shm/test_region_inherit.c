/* test_region_inherit: a region that goes on under another master, one that cannot, and the totals
 * of either.
 */
#include "config.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../../../src/shm/region_layout.h"
#include "shm/totals.h"
#include "shm_test.h"

#define STORE_BYTES (1 << 20)

static char directory[64], path[80], beside[96];

static void set_up(void) {
    snprintf(directory, sizeof(directory), "/tmp/optiroute-inherit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/cache", directory);
    snprintf(beside, sizeof(beside), "%s.new", path);
}

static void tear_down(void) {
    (void)unlink(path);
    ck_assert_int_eq(rmdir(directory), 0); /* nothing else was left behind */
}

static struct region_params params_of(const char *file) {
    return (struct region_params){.store_bytes = STORE_BYTES,
                                  .path = file,
                                  .counter_cells = TEST_CELLS,
                                  .counter_layout = 7,
                                  .catalogue = bytes_from_str("what they mean")};
}

static struct region *make(const struct region_params *params) {
    char error[512] = "";
    struct region *region = region_create(params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    return region;
}

/* As the new master has it: a descriptor of its own for the same open file. */
static struct region *inherit(struct region *old, struct region_params params) {
    params.inherited_fd = dup(region_descriptor(old));
    struct region *fresh = make(&params);
    if (region_report(fresh)->origin != REGION_INHERITED) {
        close(params.inherited_fd);
    }
    return fresh;
}

static void goes_on(const char *file) {
    struct region_params params = params_of(file);
    struct region *old = make(&params);
    int slot = board_claim(old, BOARD_WORKER, 1);
    names_add(old, NAMES_PROVIDER, "one");
    counter_add(&counters_row(old, 0)[3], 5);
    board_set_word(old, BOARD_WORD_GENERATION, 9);
    struct store *store = store_open(old);
    ck_assert_int_eq(test_put(store, 1, 1, 100, 60000), STORE_PUT_DONE);
    struct region *fresh = inherit(old, params);
    ck_assert_int_eq(region_report(fresh)->origin, REGION_INHERITED);
    ck_assert_ptr_null(region_report(fresh)->not_inherited);
    ck_assert_int_eq(board_role(fresh, slot), BOARD_WORKER);
    ck_assert_int_eq(board_get_word(fresh, BOARD_WORD_GENERATION), 9);
    ck_assert_int_eq(names_find(fresh, NAMES_PROVIDER, "one"), 0);
    ck_assert_uint_eq(counters_sum(fresh, 3), 5);
    struct store *other = store_open(fresh);
    bool wrong = false;
    ck_assert_int_eq(test_get(other, 1, 1, &wrong), STORE_HIT);
    counter_add(&counters_row(old, 0)[3], 1); /* each sees what the other counts */
    ck_assert_uint_eq(counters_sum(fresh, 3), 6);
    store_close(store);
    region_destroy(old);
    ck_assert_int_eq(test_get(other, 1, 1, &wrong), STORE_HIT);
    ck_assert(!wrong);
    store_close(other);
    region_destroy(fresh);
}

START_TEST(what_fits_goes_on_in_memory) {
    goes_on(NULL);
}
END_TEST

START_TEST(what_fits_goes_on_in_a_file) {
    goes_on(path);
}
END_TEST

START_TEST(the_lock_is_never_free) {
    struct region_params params = params_of(path);
    struct region *old = make(&params);
    int other = open(path, O_RDWR | O_CLOEXEC);
    struct region *fresh = inherit(old, params);
    region_destroy(old);
    ck_assert_int_eq(flock(other, LOCK_EX | LOCK_NB), -1);
    region_destroy(fresh);
    ck_assert_int_eq(flock(other, LOCK_EX | LOCK_NB), 0);
    close(other);
}
END_TEST

/* What a new configuration or version can want otherwise, and what is said of it. */
static const struct {
    const char *said;
    int64_t store_bytes;
    unsigned cells;
    uint64_t layout;
    uint32_t values;
} differences[] = {
    {"cache.size has changed", 2 * STORE_BYTES, TEST_CELLS, 7, 0},
    {"its metrics are those of another version", STORE_BYTES, TEST_CELLS + 1, 7, 0},
    {"its metrics are those of another version", STORE_BYTES, TEST_CELLS, 8, 0},
    {"its answers are those of another version", STORE_BYTES, TEST_CELLS, 7, 1},
};

static void is_left_alone(size_t i, bool in_file) {
    struct region_params params = params_of(in_file ? path : NULL);
    struct region *old = make(&params);
    counter_add(&counters_row(old, 4)[2], 11);
    params.store_bytes = differences[i].store_bytes;
    params.counter_cells = differences[i].cells;
    params.counter_layout = differences[i].layout;
    params.value_layout = differences[i].values;
    struct region *fresh = inherit(old, params);
    ck_assert_int_eq(region_report(fresh)->origin, REGION_NEW);
    ck_assert_str_eq(region_report(fresh)->not_inherited, differences[i].said);
    ck_assert_uint_eq(counters_sum(fresh, 2), 0);
    ck_assert_uint_eq(counters_sum(old, 2), 11);
    ck_assert_int_eq(access(beside, F_OK), in_file ? 0 : -1);
    ck_assert_int_eq(region_settle(fresh), 0);
    ck_assert_int_eq(access(beside, F_OK), -1);
    ck_assert(!in_file || region_is_at_path(region_descriptor(fresh), path));
    region_destroy(old);
    region_destroy(fresh);
    (void)unlink(path);
}

START_TEST(what_does_not_fit_is_left_alone) {
    for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++) {
        is_left_alone(i, false);
        is_left_alone(i, true);
    }
}
END_TEST

START_TEST(given_up_it_leaves_nothing_beside) {
    struct region_params params = params_of(path), larger = params;
    struct region *old = make(&params);
    larger.store_bytes *= 2;
    struct region *fresh = inherit(old, larger);
    ck_assert_int_eq(access(beside, F_OK), 0);
    region_destroy(fresh);
    ck_assert_int_eq(access(beside, F_OK), -1);
    fresh = inherit(old, larger);
    region_discard_beside(path); /* as the old master does for a killed one */
    ck_assert_int_eq(access(beside, F_OK), -1);
    ck_assert(region_is_at_path(region_descriptor(old), path));
    region_destroy(fresh);
    region_destroy(old);
}
END_TEST

START_TEST(another_place_is_another_region) {
    struct region_params in_memory = params_of(NULL), in_file = params_of(path);
    struct region *old = make(&in_memory);
    struct region *fresh = inherit(old, in_file);
    ck_assert_str_eq(region_report(fresh)->not_inherited, "cache.file has changed");
    region_destroy(old);
    old = inherit(fresh, in_memory);
    ck_assert_str_eq(region_report(old)->not_inherited, "cache.file has changed");
    region_destroy(old);
    region_destroy(fresh);
}
END_TEST

static void is_not_believed(int fd) {
    struct region_params params = params_of(NULL);
    params.inherited_fd = fd;
    struct region *region = make(&params);
    ck_assert_int_eq(region_report(region)->origin, REGION_NEW);
    ck_assert_ptr_nonnull(region_report(region)->not_inherited);
    ck_assert_ptr_null(totals_read(fd));
    region_destroy(region);
    close(fd);
}

START_TEST(a_descriptor_is_not_believed) {
    int zeros = memfd_create("zeros", MFD_CLOEXEC), small = memfd_create("small", MFD_CLOEXEC);
    ck_assert_int_eq(ftruncate(zeros, 1 << 22), 0);
    ck_assert_int_eq(write(small, "short", 5), 5);
    is_not_believed(open("/dev/null", O_RDWR | O_CLOEXEC));
    is_not_believed(zeros);
    is_not_believed(small);
}
END_TEST

START_TEST(a_region_cut_short_is_not_believed) {
    struct region_params params = params_of(NULL);
    struct region *old = make(&params);
    ck_assert_int_eq(ftruncate(region_descriptor(old), REGION_PAGE), 0);
    struct region *fresh = inherit(old, params);
    ck_assert_str_eq(region_report(fresh)->not_inherited, "it is too short");
    ck_assert_ptr_null(totals_read(region_descriptor(old)));
    region_destroy(fresh);
    region_destroy(old);
}
END_TEST

START_TEST(totals_are_read_by_the_directory_alone) {
    struct region_params params = params_of(NULL);
    struct region *old = make(&params);
    counter_add(&counters_row(old, 0)[1], 2);
    counter_add(&counters_row(old, REGION_MASTER_ROW)[1], 40);
    names_add(old, NAMES_PAIR, "a\nb");
    old->header->layout_version = 99; /* of a version that nobody knows yet */
    struct totals *totals = totals_read(region_descriptor(old));
    ck_assert_ptr_nonnull(totals);
    ck_assert_uint_eq(totals_cells(totals), TEST_CELLS);
    ck_assert_uint_eq(totals_sum(totals, 1), 42);
    ck_assert(bytes_equal_str(totals_catalogue(totals), "what they mean"));
    ck_assert_str_eq(totals_name(totals, NAMES_PAIR, 0), "a\nb");
    ck_assert_ptr_null(totals_name(totals, NAMES_PAIR, 1));
    ck_assert_ptr_null(totals_name(totals, NAMES_ROUTE, 0));
    totals_free(totals);
    region_destroy(old);
}
END_TEST

/* Every bit of the directory; also with a check that is right again. */
START_TEST(a_damaged_directory_is_refused_or_harmless) {
    struct region_params params = params_of(NULL);
    struct region *old = make(&params);
    counter_add(&counters_row(old, 0)[1], 2);
    struct region_directory *found = &old->header->directory;
    const struct region_directory good = *found;
    for (size_t bit = 0; bit < 8 * sizeof(good); bit++) {
        *found = good;
        ((uint8_t *)found)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_ptr_null(totals_read(region_descriptor(old)));
        found->check = region_directory_check(found);
        totals_free(totals_read(region_descriptor(old))); /* wherever it points: no wild access */
    }
    region_destroy(old);
}
END_TEST

START_TEST(a_file_of_another_version_gives_its_totals_once) {
    struct region_params params = params_of(path);
    struct region *old = make(&params);
    counter_add(&counters_row(old, 0)[1], 2);
    region_destroy(old);
    params.counter_layout = 8;
    struct region *fresh = make(&params);
    ck_assert_int_eq(region_report(fresh)->origin, REGION_NEW);
    struct totals *totals = region_take_foreign(fresh);
    ck_assert_ptr_nonnull(totals);
    ck_assert_uint_eq(totals_sum(totals, 1), 2);
    totals_free(totals);
    ck_assert_ptr_null(region_take_foreign(fresh));
    region_destroy(fresh);
}
END_TEST

START_TEST(forgotten_totals_leave_the_catalogue) {
    struct region_params params = params_of(NULL);
    struct region *region = make(&params);
    region_forget_totals(region);
    struct totals *totals = totals_read(region_descriptor(region));
    ck_assert(bytes_equal_str(totals_catalogue(totals), "what they mean"));
    totals_free(totals);
    region_destroy(region);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {
        what_fits_goes_on_in_memory,
        what_fits_goes_on_in_a_file,
        the_lock_is_never_free,
        what_does_not_fit_is_left_alone,
        given_up_it_leaves_nothing_beside,
        another_place_is_another_region,
        a_descriptor_is_not_believed,
        a_region_cut_short_is_not_believed,
        totals_are_read_by_the_directory_alone,
        a_damaged_directory_is_refused_or_harmless,
        a_file_of_another_version_gives_its_totals_once,
        forgotten_totals_leave_the_catalogue,
    };
    Suite *suite = suite_create("region_inherit");
    TCase *tcase = tcase_create("region_inherit");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 60);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        tcase_add_test(tcase, tests[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
UNIT_MAIN(make_suite)
