/* test_region: making regions, empty and refused; what they cost; their time. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "../../../src/shm/region_layout.h"
#include "shm_test.h"

/* -- Our disk: the real one, and what was asked of it -- */

static off_t most_asked;

int posix_fallocate(int fd, off_t offset, off_t size) {
    most_asked = size > most_asked ? size : most_asked;
    return fallocate(fd, 0, offset, size) == -1 ? errno : 0;
}

static char *path_in(const char *directory, const char *name) {
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static struct region_params params_of(int64_t store_bytes, const char *path) {
    return (struct region_params){.store_bytes = store_bytes, .path = path, .counter_cells = 3};
}

START_TEST(sizes_follow_the_cap) {
    static const struct {
        int64_t store_bytes;
        uint32_t shards;
    } rows[] = {
        {0, 0},          {REGION_STORE_BYTES_MIN, 1}, {(4 << 20) - 1, 1},
        {8 << 20, 2},    {(8 << 20) + 12345, 2},      {12 << 20, 2},
        {256 << 20, 64}, {INT64_C(3) << 30, 256},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct region *region = test_region_new(rows[i].store_bytes, NULL);
        ck_assert_uint_eq(region->at.shard_count, rows[i].shards);
        ck_assert_int_le((int64_t)(region_size(region) - region->at.store), rows[i].store_bytes);
        ck_assert_ptr_null(region_check(region));
        ck_assert(!region_was_attached(region));
        region_destroy(region);
    }
}
END_TEST

START_TEST(bad_sizes_are_refused) {
    static const int64_t sizes[] = {1, REGION_STORE_BYTES_MIN - 1, -1, INT64_MAX};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct region_params params = params_of(sizes[i], NULL);
        char error[200] = "";
        ck_assert_ptr_null(region_create(&params, error, sizeof(error)));
        ck_assert_ptr_nonnull(strstr(error, "cache.size"));
    }
}
END_TEST

START_TEST(idle_region_costs_little) {
    struct region_params params = params_of(256 << 20, NULL);
    params.counter_cells = 10000;
    char error[200];
    struct region *region = region_create(&params, error, sizeof(error));
    ck_assert_ptr_nonnull(region);
    struct stat status;
    ck_assert_int_eq(fstat(region->fd, &status), 0);
    /* 64 pages with a lock each, and the header */
    ck_assert_int_le(status.st_blocks * 512, 70 * 4096);
    ck_assert_uint_eq(counters_sum(region, 9999), 0);
    ck_assert_int_eq(board_outstanding(region, 0), 0);
    ck_assert_int_eq(fstat(region->fd, &status), 0);
    ck_assert_int_le(status.st_blocks * 512, 70 * 4096);
    region_destroy(region);
}
END_TEST

START_TEST(damaged_header_is_seen) {
    struct region *region = test_region_new(1 << 20, NULL);
    region->header->magic ^= 1;
    ck_assert_ptr_nonnull(region_check(region));
    region->header->magic ^= 1;
    region->header->layout_version++;
    ck_assert_ptr_nonnull(region_check(region));
    region->header->layout_version--;
    region->header->region_bytes++;
    ck_assert_ptr_nonnull(region_check(region));
    region->header->region_bytes--;
    ck_assert_ptr_null(region_check(region));
    region_destroy(region);
}
END_TEST

START_TEST(file_has_one_owner_and_goes_on) {
    char directory[] = "/tmp/optiroute-region-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(directory));
    const char *path = path_in(directory, "cache");
    struct region *region = test_region_new(1 << 20, path);
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_eq(status.st_size, (off_t)region_size(region));
    ck_assert_int_ge(status.st_blocks * 512, (off_t)region_size(region));
    ck_assert_int_eq(names_add(region, NAMES_ROUTE, "auto"), 0);

    struct region_params params = params_of(1 << 20, path);
    char error[300] = "";
    ck_assert_ptr_null(region_create(&params, error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, path));
    ck_assert_ptr_nonnull(strstr(error, "in use"));
    ck_assert_int_eq(names_count(region, NAMES_ROUTE), 1);

    region_destroy(region);
    region = test_region_new(1 << 20, path);
    ck_assert_int_eq(names_count(region, NAMES_ROUTE), 1);
    ck_assert(region_was_attached(region));
    region_destroy(region);
    unlink(path);
    rmdir(directory);
}
END_TEST

/* Was emptied without a word. */
START_TEST(a_foreign_file_is_refused_and_left_alone) {
    static const struct {
        const char *content;
        size_t size;
        bool ours;
    } rows[] = {
        {"precious data", 13, false},
        {"short", 5, false},
        {"", 0, true},
        {"\0\0\0\0\0\0\0\0", 8, true},
    };
    char directory[] = "/tmp/optiroute-region-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(directory));
    const char *path = path_in(directory, "cache");
    struct region_params params = params_of(1 << 20, path);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        ck_assert_int_eq(write(fd, rows[i].content, rows[i].size), (ssize_t)rows[i].size);
        char error[300] = "";
        struct region *region = region_create(&params, error, sizeof(error));
        ck_assert_int_eq(region != NULL, rows[i].ours);
        if (!rows[i].ours) {
            char left[16];
            ck_assert_msg(strstr(error, path) != NULL, "%s", error);
            ck_assert_int_eq(pread(fd, left, sizeof(left), 0), (ssize_t)rows[i].size);
            ck_assert_mem_eq(left, rows[i].content, rows[i].size);
        }
        if (region != NULL && rows[i].size > 0) { /* zeros: kept, under another name */
            const char *aside = strstr(region_report(region)->text, "set aside as ");
            ck_assert_ptr_nonnull(aside);
            char name[256];
            ck_assert_int_eq(sscanf(aside, "set aside as %255[^;]", name), 1);
            ck_assert_int_eq(unlink(name), 0);
        }
        region_destroy(region);
        close(fd);
    }
    unlink(path);
    ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

/* The disk was filled to the last block for a moment, and a program beside this one failed. */
START_TEST(impossible_files_are_named) {
    char directory[] = "/tmp/optiroute-region-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(directory));
    static const struct {
        const char *name;
        int64_t store_bytes;
    } rows[] = {
        {"absent/cache", 1 << 20},
        {".", 1 << 20},
        {"huge", INT64_C(14) << 40},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *path = path_in(directory, rows[i].name);
        struct region_params params = params_of(rows[i].store_bytes, path);
        char error[300] = "";
        ck_assert_ptr_null(region_create(&params, error, sizeof(error)));
        ck_assert_msg(strstr(error, path) != NULL, "%s", error);
    }
    ck_assert_int_eq(most_asked, 0);
    unlink(path_in(directory, "huge"));
    rmdir(directory);
}
END_TEST

START_TEST(time_goes_on_and_is_shared) {
    struct region *region = test_region_new(0, NULL);
    int64_t before = region_now_ms(region);
    ck_assert_int_ge(region_now_ms(region), before);
    region_shift_time(region, 5000);
    ck_assert_int_ge(region_now_ms(region), before + 5000);
    region_destroy(region);
    region_destroy(NULL);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {
        sizes_follow_the_cap,           bad_sizes_are_refused,
        idle_region_costs_little,       damaged_header_is_seen,
        file_has_one_owner_and_goes_on, a_foreign_file_is_refused_and_left_alone,
        impossible_files_are_named,     time_goes_on_and_is_shared,
    };
    return test_suite("region", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
