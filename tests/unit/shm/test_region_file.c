/* test_region_file: what a file keeps over a restart, a crash, a reboot and damage, and what it
 * gives up.
 *
 * Compiles layer shm once more with failpoints, so that a maker of a region can be killed at each
 * of its steps. Clocks are parameters: another boot is another boot id, the wall clock says what a
 * test wants, and region time stands still where less than a second must pass.
 */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../../../src/shm/region_layout.h"
#include "../../../src/shm/store_layout.h"
#include "base/failpoint.h"
#include "shm/word.h"
#include "shm_test.h"
#include "still_clock.h"

#define BOOT_A "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
#define BOOT_B "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)
#define NOON_MS INT64_C(1800000000000) /* some wall clock */
#define STORE_BYTES (8 << 20)
#define ENTRIES 300u
#define FLIPS 1000

/* -- Our failpoints -- */

static const char *armed_point;
static int armed_pass; /* die at this pass of it, from 1 */
static int point_passes;

void failpoint_pass(const char *name) {
    if (armed_point != NULL && strcmp(name, armed_point) == 0 && ++point_passes == armed_pass) {
        raise(SIGKILL);
    }
}

bool failpoint_fails(const char *name) {
    (void)name;
    return false;
}

/* -- A file and its daemons -- */

static char directory[] = "/tmp/optiroute-file-XXXXXX";
static char path[64];

static void make_directory(void) {
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/cache", directory);
}

/* Removes all of it; how many files had been set aside, and the name of one. */
static int sweep(char *aside, size_t aside_size) {
    int count = 0;
    DIR *listing = opendir(directory);
    ck_assert_ptr_nonnull(listing);
    const struct dirent *entry;
    while ((entry = readdir(listing)) != NULL) {
        if (strncmp(entry->d_name, "cache.bad-", 10) == 0) {
            count++;
            if (aside != NULL) {
                snprintf(aside, aside_size, "%s/%.80s", directory, entry->d_name);
            }
        }
    }
    closedir(listing);
    return count;
}

static void remove_directory(void) {
    DIR *listing = opendir(directory);
    const struct dirent *entry;
    while ((entry = readdir(listing)) != NULL) {
        (void)unlinkat(dirfd(listing), entry->d_name, 0);
    }
    closedir(listing);
    ck_assert_int_eq(rmdir(directory), 0);
    memset(directory + strlen(directory) - 6, 'X', 6);
}

static struct region_params usual(void) {
    return (struct region_params){.store_bytes = STORE_BYTES,
                                  .path = path,
                                  .counter_cells = TEST_CELLS,
                                  .counter_layout = 7,
                                  .boot_id = BOOT_A,
                                  .wall_ms = NOON_MS};
}

static struct region *begin(const struct region_params *params) {
    char error[512] = "";
    struct region *region = region_create(params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    ck_assert_ptr_null(region_check(region));
    return region;
}

/* A daemon's life: names, totals, a breaker word, a slot, entries. */
static struct region *fill(void) {
    struct region_params params = usual();
    struct region *region = begin(&params);
    struct store *store = store_open(region);
    ck_assert_int_eq(names_add(region, NAMES_PROVIDER, "openai"), 0);
    ck_assert_int_eq(names_add(region, NAMES_PAIR, "openai\ngpt"), 0);
    counter_add(&counters_row(region, 3)[5], 41);
    counter_add(&counters_row(region, REGION_MASTER_ROW)[5], 1);
    uint64_t word = 0;
    ck_assert(word_cas(region, 0, &word, 77));
    word_set_subject(region, 0, 99);
    int slot = board_claim(region, BOARD_WORKER, 4);
    board_set_pid(region, slot, 4242);
    board_set_state(region, slot, BOARD_READY);
    board_set_last_words(region, slot, "ouch");
    board_gauges(region, slot)->connections = 9;
    ck_assert(board_begin_attempt(region, slot, 0, 10));
    board_set_word(region, BOARD_WORD_DRAINING, 1);
    for (uint64_t n = 0; n < ENTRIES; n++) {
        ck_assert_int_eq(test_put(store, n, n + 1, 8 + n * 5 % 3000, HOUR_MS), STORE_PUT_DONE);
    }
    store_close(store);
    region_mark_end(region, NOON_MS); /* after the stamps, as any clock would have it */
    return region;
}

static unsigned hits_of(struct region *region) {
    struct store *store = store_open(region);
    unsigned hits = 0;
    for (uint64_t n = 0; n < ENTRIES; n++) {
        bool wrong;
        hits += test_get(store, n, n + 1, &wrong) == STORE_HIT;
        ck_assert(!wrong);
    }
    store_close(store);
    return hits;
}

static void assert_totals(struct region *region) {
    ck_assert_uint_eq(counters_sum(region, 5), 42);
    ck_assert_int_eq(names_find(region, NAMES_PROVIDER, "openai"), 0);
    ck_assert_int_eq(names_find(region, NAMES_PAIR, "openai\ngpt"), 0);
    ck_assert_uint_eq(word_subject(region, 0), 99);
}

static void assert_nobody_is_there(struct region *region) {
    int64_t connections, idle, in_flight;
    char words[BOARD_LAST_WORDS_SIZE];
    ck_assert_int_eq(board_role(region, 0), BOARD_FREE);
    ck_assert_int_eq(board_pid(region, 0), 0);
    ck_assert_int_eq(board_state(region, 0), BOARD_STARTING);
    ck_assert_uint_eq(board_incarnation(region, 0), 1);
    board_sum_gauges(region, &connections, &idle, &in_flight);
    ck_assert_int_eq(connections + idle + in_flight, 0);
    ck_assert_int_eq(region_slot(region, 0)->gauges.connections, 0);
    ck_assert_int_eq(region_slot(region, 0)->outstanding[0], 0);
    ck_assert_int_eq(board_outstanding(region, 0), 0);
    board_last_words(region, 0, words, sizeof(words));
    ck_assert_str_eq(words, "");
    ck_assert_int_eq(board_get_word(region, BOARD_WORD_DRAINING), 0);
}

static void assert_says(const struct region *region, const char *what) {
    const char *text = region_report(region)->text;
    ck_assert_msg(strstr(text, what) != NULL, "no '%s' in: %s", what, text);
    ck_assert_msg(strstr(text, path) != NULL, "no path in: %s", text);
}

/* -- Restart and crash -- */

START_TEST(all_goes_on_after_a_restart) {
    make_directory();
    region_destroy(fill());
    struct region_params params = usual();
    struct region *region = begin(&params);
    ck_assert(region_was_attached(region));
    ck_assert(!region_report(region)->is_loss);
    assert_says(region, "goes on with 300 entries");
    assert_totals(region);
    assert_nobody_is_there(region);
    ck_assert_uint_eq(word_load(region, 0), 77);
    ck_assert_uint_eq(hits_of(region), ENTRIES);
    region_destroy(region);
    ck_assert_int_eq(sweep(NULL, 0), 0);
    remove_directory();
}
END_TEST

START_TEST(a_memfd_has_nothing_to_report) {
    struct region *region = test_region_new(1 << 20, NULL);
    ck_assert(!region_was_attached(region));
    ck_assert_str_eq(region_report(region)->text, "");
    region_mark_time(region, NOON_MS);
    region_mark_end(region, NOON_MS);
    region_destroy(region);
}
END_TEST

/* A lock that was saved while it was held, with a change under way. */
START_TEST(held_locks_are_made_anew_and_dirty_shards_repaired) {
    make_directory();
    struct region *region = fill();
    struct store *store = store_open(region);
    struct lock_patience patience = {0};
    for (uint32_t i = 0; i < store->shard_count; i++) {
        struct shard *shard = (struct shard *)(void *)(store->shards + i * store->shard_bytes);
        ck_assert_int_eq(lock_take(&shard->lock, &patience), LOCK_HELD);
        if (i == 0) { /* the index is lost in the middle of a change */
            lock_change_begin(&shard->lock);
            memset(shard_buckets(shard), 0xff, store->bucket_count * sizeof(struct bucket));
        }
    }
    store_close(store);
    region_destroy(region);
    struct region_params params = usual();
    region = begin(&params);
    ck_assert_uint_eq(region_report(region)->shards_rebuilt, 1);
    ck_assert_uint_eq(region_report(region)->shards_emptied, 0);
    ck_assert_uint_eq(hits_of(region), ENTRIES);
    store = store_open(region);
    ck_assert_ptr_null(store_check(store));
    ck_assert_uint_eq(store_stats(store)->lock_timeouts, 0);
    store_close(store);
    region_destroy(region);
    remove_directory();
}
END_TEST

static int attach_and_die(void *argument) {
    (void)argument;
    struct region_params params = usual();
    char error[512];
    struct region *region = region_create(&params, error, sizeof(error));
    if (region == NULL) {
        fprintf(stderr, "%s\n", error); /* what the parent sees is only that it did not die */
    }
    return region != NULL ? 0 : 1;
}

/* Killed at each step of making, attaching, and changing the size: the next start is as if that one
 * had not been. */
START_TEST(a_start_killed_at_any_step_loses_nothing) {
    static const struct {
        const char *point;
        int pass;
        bool attaches;
    } rows[] = {
        {"region.form.1", 1, false},  {"region.form.1a", 1, false}, {"region.form.1b", 1, false},
        {"region.form.2", 1, false},  {"region.form.2", 2, false},  {"region.form.3", 1, false},
        {"region.attach.1", 1, true}, {"region.attach.2", 1, true}, {"region.attach.3", 1, true},
        {"region.attach.3", 2, true}, {"region.attach.4", 1, true}, {"region.form.3", 1, true},
        {"store.repair.1", 1, true},  {"store.repair.3", 1, true},  {"store.repair.4", 5, true},
        {"store.repair.5", 9, true},  {"store.repair.6", 1, true},  {"store.repair.6", 2, true},
    };
    for (const char *const *step = failpoints_begin; step < failpoints_end; step++) {
        bool has_row = strncmp(*step, "region.", 7) != 0;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            has_row |= strcmp(rows[i].point, *step) == 0;
        }
        ck_assert_msg(has_row, "%s: no row", *step);
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        make_directory();
        struct region_params params = usual();
        if (rows[i].attaches) {
            params.boot_id = BOOT_B; /* what the child finds is of another boot: all is repaired */
            region_destroy(fill());
            struct region *other = begin(&params);
            region_destroy(other);
        }
        armed_point = rows[i].point;
        armed_pass = rows[i].pass;
        point_passes = 0;
        int status = test_reap(test_spawn(attach_and_die, NULL));
        armed_point = NULL;
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: status %d",
                      rows[i].point, status);
        params = usual();
        struct region *region = begin(&params);
        ck_assert_int_eq(region_was_attached(region), rows[i].attaches);
        if (rows[i].attaches) {
            assert_totals(region);
            ck_assert_uint_eq(hits_of(region), ENTRIES);
        } else {
            ck_assert_uint_eq(hits_of(region), 0);
        }
        ck_assert_msg(!region_report(region)->is_loss, "%s %d: %s", rows[i].point, rows[i].pass,
                      region_report(region)->text);
        region_destroy(region);
        region = begin(&params);
        ck_assert(region_was_attached(region));
        region_destroy(region);
        ck_assert_int_eq(sweep(NULL, 0), 0);
        remove_directory();
    }
}
END_TEST

START_TEST(a_resize_killed_at_any_step_keeps_the_totals) {
    static const char *const points[] = {"region.form.1",   "region.form.1a",  "region.form.1b",
                                         "region.form.2",   "region.attach.1", "region.attach.2",
                                         "region.attach.4", "region.form.3"};
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        make_directory();
        struct region_params other = usual();
        other.store_bytes = 3 << 20;
        region_destroy(fill());
        region_destroy(begin(&other));
        armed_point = points[i];
        armed_pass = 1;
        point_passes = 0;
        int status = test_reap(test_spawn(attach_and_die, NULL));
        armed_point = NULL;
        ck_assert_msg(WIFSIGNALED(status), "%s: status %d", points[i], status);
        struct region_params params = usual();
        struct region *region = begin(&params);
        assert_totals(region);
        assert_says(region, "starts empty, totals go on");
        ck_assert_uint_eq(hits_of(region), 0);
        region_destroy(region);
        ck_assert_int_eq(sweep(NULL, 0), 0);
        remove_directory();
    }
}
END_TEST

/* -- Time -- */

struct life {
    int64_t ran_ms;  /* region time between the put and the mark */
    int64_t wall_ms; /* of the next start, after the mark */
    bool rebooted;
    bool is_there; /* an entry of one hour */
};

START_TEST(times_to_live_are_right_whatever_the_wall_clock_did) {
    static const struct life rows[] = {
        /* same boot: the wall clock does not matter */
        {0, 0, false, true},
        {0, -400 * DAY_MS, false, true},
        {0, 400 * DAY_MS, false, true},
        {HOUR_MS, 0, false, false},
        {HOUR_MS, -400 * DAY_MS, false, false},
        /* another boot: it tells how long the machine was off */
        {0, 60000, true, true},
        {0, HOUR_MS - 60000, true, true},
        {0, HOUR_MS, true, false},
        {HOUR_MS / 2, HOUR_MS / 2 - 60000, true, true},
        {HOUR_MS / 2, HOUR_MS / 2, true, false},
        {HOUR_MS, 0, true, false},
        {0, 400 * DAY_MS, true, false},
        /* it went back: nobody knows */
        {0, -1, true, false},
        {0, -400 * DAY_MS, true, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        make_directory();
        struct region *region = fill();
        region_shift_time(region, rows[i].ran_ms);
        region_mark_time(region, NOON_MS + rows[i].ran_ms); /* too soon: says nothing */
        region_mark_end(region, NOON_MS + rows[i].ran_ms);
        int64_t before_ms = region_now_ms(region);
        region_destroy(region);
        struct region_params params = usual();
        params.boot_id = rows[i].rebooted ? BOOT_B : BOOT_A;
        params.wall_ms = NOON_MS + rows[i].ran_ms + rows[i].wall_ms;
        region = begin(&params);
        int64_t passed_ms = rows[i].rebooted && rows[i].wall_ms > 0 ? rows[i].wall_ms : 0;
        ck_assert_int_ge(region_now_ms(region), before_ms + passed_ms);
        ck_assert_int_lt(region_now_ms(region), before_ms + passed_ms + 60000);
        ck_assert_msg((hits_of(region) == ENTRIES) == rows[i].is_there, "row %zu", i);
        ck_assert_msg(rows[i].is_there || hits_of(region) == 0, "row %zu", i);
        bool unknown = rows[i].rebooted && rows[i].wall_ms < 0;
        ck_assert_int_eq(region_report(region)->is_loss, unknown);
        if (unknown) {
            assert_says(region, "wall clock went back");
        }
        ck_assert_int_eq(region_report(region)->rebooted, rows[i].rebooted);
        ck_assert_uint_eq(word_load(region, 0), rows[i].rebooted ? 0 : 77);
        assert_totals(region);
        assert_nobody_is_there(region);
        struct store *store = store_open(region);
        ck_assert_ptr_null(store_check(store));
        ck_assert_int_eq(test_put(store, 1, 5, 100, HOUR_MS), STORE_PUT_DONE);
        bool wrong;
        ck_assert_int_eq(test_get(store, 1, 5, &wrong), STORE_HIT);
        store_close(store);
        region_destroy(region);
        remove_directory();
    }
}
END_TEST

/* Without /proc nobody knows the boot; CLOCK_BOOTTIME began again then. */
START_TEST(a_reboot_shows_without_a_boot_id) {
    make_directory();
    struct region *region = fill();
    region_destroy(region);
    static const char zeros[REGION_BOOT_ID_SIZE + 1];
    struct region_params params = usual();
    params.boot_id = zeros;
    region = begin(&params); /* BOOT_A to none: another boot */
    ck_assert(region_report(region)->rebooted);
    region_destroy(region);
    region = begin(&params); /* none to none, time goes on: the same */
    ck_assert(!region_report(region)->rebooted);
    /* As if it had been written when CLOCK_BOOTTIME was far ahead of now. */
    struct region_mark *mark = (struct region_mark *)region_newest_mark(region->header);
    mark->region_ms += DAY_MS;
    mark->check = hash64(mark, offsetof(struct region_mark, check), REGION_MAGIC);
    region_destroy(region);
    params.wall_ms += 1000;
    region = begin(&params);
    ck_assert(region_report(region)->rebooted);
    region_destroy(region);
    remove_directory();
}
END_TEST

/* The clock was set back, but not behind the last mark: what is from the future proves it. */
START_TEST(after_a_reboot_nothing_is_from_the_future) {
    make_directory();
    struct region *region = fill();
    struct store *store = store_open(region);
    region_shift_time(region, 5000);
    ck_assert_int_eq(test_put(store, 1000, 1, 100, HOUR_MS), STORE_PUT_DONE);
    store_close(store);
    region_destroy(region);
    struct region_params params = usual();
    params.boot_id = BOOT_B;
    params.wall_ms = NOON_MS + 1000;
    region = begin(&params);
    ck_assert_uint_eq(hits_of(region), ENTRIES);
    store = store_open(region);
    bool wrong;
    ck_assert_int_eq(test_get(store, 1000, 1, &wrong), STORE_MISS);
    store_close(store);
    region_destroy(region);
    remove_directory();
}
END_TEST

/* After a power cut the log may begin with its newest records: the stamp counts, not the place. */
START_TEST(after_a_reboot_the_later_of_two_records_counts) {
    stop_the_clock();
    for (int older_first = 0; older_first <= 1; older_first++) {
        make_directory();
        struct region_params params = usual();
        params.store_bytes = REGION_STORE_BYTES_MIN;
        struct region *region = begin(&params);
        struct store *store = store_open(region);
        ck_assert_int_eq(test_put(store, 1, 10, 100, HOUR_MS), STORE_PUT_DONE);
        ck_assert_int_eq(test_put(store, 1, 20, 100, HOUR_MS), STORE_PUT_DONE);
        struct shard *shard = (struct shard *)(void *)store->shards;
        struct record *first = record_at(shard, store->log_start);
        ck_assert_uint_eq(record_kind(first), RECORD_DEAD);
        first->kind = RECORD_LIVE;
        first->stamp_ms += older_first ? -1000 : 1000;
        first->checksum = record_checksum(store, first, record_value(first));
        region_shift_time(region, 2000);
        region_mark_end(region, NOON_MS);
        store_close(store);
        region_destroy(region);
        params.boot_id = BOOT_B;
        region = begin(&params);
        store = store_open(region);
        ck_assert_ptr_null(store_check(store));
        bool wrong;
        ck_assert_int_eq(test_get(store, 1, older_first ? 20 : 10, &wrong), STORE_HIT);
        ck_assert(!wrong);
        store_close(store);
        region_destroy(region);
        remove_directory();
    }
}
END_TEST

START_TEST(one_mark_a_second_whoever_comes) {
    stop_the_clock();
    make_directory();
    struct region *region = fill();
    uint64_t first = region_newest_mark(region->header)->number;
    region_mark_time(region, NOON_MS + 10);
    ck_assert_uint_eq(region_newest_mark(region->header)->number, first);
    for (unsigned i = 1; i <= 9; i++) {
        region_shift_time(region, 1000);
        region_mark_time(region, NOON_MS + 1000 * i);
        region_mark_time(region, NOON_MS + 1000 * i);
        const struct region_mark *mark = region_newest_mark(region->header);
        ck_assert_uint_eq(mark->number, first + i);
        ck_assert_int_eq(mark->wall_ms, NOON_MS + 1000 * i);
    }
    /* One that a death cut short: the one before it counts. */
    struct region_mark *mark = (struct region_mark *)region_newest_mark(region->header);
    mark->region_ms++;
    ck_assert_uint_eq(region_newest_mark(region->header)->number, first + 8);
    region_destroy(region);
    struct region_params params = usual();
    region = begin(&params);
    ck_assert(region_was_attached(region));
    ck_assert_uint_eq(region_newest_mark(region->header)->number, first + 9);
    region_destroy(region);
    remove_directory();
}
END_TEST

/* -- Another layout, another size -- */

static void flip_field(size_t offset, bool sign_again) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t bytes[sizeof(struct region_header)];
    ck_assert_int_eq(pread(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
    bytes[offset] ^= 1;
    if (sign_again) {
        struct region_header *header = (struct region_header *)(void *)bytes;
        header->check = region_header_check(header);
    }
    ck_assert_int_eq(pwrite(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
    close(fd);
}

START_TEST(another_layout_starts_empty_and_says_what_differs) {
    static const struct {
        size_t offset;
        const char *says;
    } rows[] = {
        {offsetof(struct region_header, layout_version), "layout is version"},
        {offsetof(struct region_header, counter_cells), "metrics"},
        {offsetof(struct region_header, counter_layout), "metrics"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        make_directory();
        region_destroy(fill());
        flip_field(rows[i].offset, true);
        struct region_params params = usual();
        struct region *region = begin(&params);
        ck_assert_int_eq(region_report(region)->origin, REGION_NEW);
        ck_assert(region_report(region)->is_loss);
        assert_says(region, rows[i].says);
        assert_says(region, "starting empty");
        ck_assert_uint_eq(counters_sum(region, 5), 0);
        ck_assert_int_eq(names_count(region, NAMES_PROVIDER), 0);
        ck_assert_uint_eq(hits_of(region), 0);
        region_destroy(region);
        ck_assert_int_eq(sweep(NULL, 0), 0);
        remove_directory();
    }
}
END_TEST

START_TEST(another_size_keeps_the_totals) {
    static const int64_t sizes[] = {0, REGION_STORE_BYTES_MIN, 3 << 20, 16 << 20, STORE_BYTES};
    make_directory();
    region_destroy(fill());
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct region_params params = usual();
        params.store_bytes = sizes[i];
        struct region *region = begin(&params);
        ck_assert_int_eq(region_report(region)->origin, REGION_TOTALS_KEPT);
        assert_says(region, "cache.size was");
        assert_totals(region);
        ck_assert_uint_eq(word_load(region, 0), 77);
        ck_assert_uint_eq(hits_of(region), 0);
        struct stat status;
        ck_assert_int_eq(stat(path, &status), 0);
        ck_assert_int_eq(status.st_size, (off_t)region_size(region));
        ck_assert_int_ge(status.st_blocks * 512, status.st_size);
        if (sizes[i] != 0) {
            struct store *store = store_open(region);
            ck_assert_int_eq(test_put(store, 1, 2, 100, HOUR_MS), STORE_PUT_DONE);
            ck_assert_ptr_null(store_check(store));
            store_close(store);
        }
        region_destroy(region);
        region = begin(&params);
        ck_assert(region_was_attached(region));
        ck_assert_uint_eq(hits_of(region), sizes[i] != 0 ? 1 : 0);
        region_destroy(region);
    }
    remove_directory();
}
END_TEST

START_TEST(another_kind_of_answers_keeps_the_totals) {
    make_directory();
    region_destroy(fill());
    struct region_params params = usual();
    params.value_layout = 2;
    struct region *region = begin(&params);
    ck_assert_int_eq(region_report(region)->origin, REGION_TOTALS_KEPT);
    assert_says(region, "answers are those of another version");
    assert_totals(region);
    ck_assert_uint_eq(hits_of(region), 0);
    region_destroy(region);
    region = begin(&params);
    ck_assert(region_was_attached(region));
    region_sync_names(region);
    ck_assert_int_eq(names_add(region, NAMES_ROUTE, "auto"), 0);
    region_sync_names(region);
    region_destroy(region);
    remove_directory();
}
END_TEST

START_TEST(forgetting_the_totals_keeps_the_cache) {
    make_directory();
    struct region *region = fill();
    region_forget_totals(region);
    ck_assert_uint_eq(counters_sum(region, 5), 0);
    ck_assert_int_eq(names_count(region, NAMES_PAIR), 0);
    ck_assert_uint_eq(word_load(region, 0), 0);
    ck_assert_uint_eq(hits_of(region), ENTRIES);
    ck_assert_int_eq(names_add(region, NAMES_PROVIDER, "next"), 0);
    region_destroy(region);
    struct region_params params = usual();
    region = begin(&params);
    ck_assert(region_was_attached(region));
    ck_assert_uint_eq(hits_of(region), ENTRIES);
    region_destroy(region);
    remove_directory();
}
END_TEST

/* -- Damage -- */

static void truncate_to(off_t size) {
    ck_assert_int_eq(truncate(path, size), 0);
}

/* Where in the file the names of providers are. */
static off_t names_at(void) {
    return REGION_PAGE + 2 * REGION_PROVIDERS * 8;
}

static void damage(size_t row) {
    static const size_t header[] = {
        offsetof(struct region_header, magic),       offsetof(struct region_header, region_bytes),
        offsetof(struct region_header, shard_bytes), offsetof(struct region_header, store_seed),
        offsetof(struct region_header, check),       offsetof(struct region_header, state),
    };
    static const off_t sizes[] = {12, 100, 4096, 100000, 5000000};
    uint8_t bytes[sizeof(struct region_header)] = {0};
    size_t headers = sizeof(header) / sizeof(header[0]), cuts = sizeof(sizes) / sizeof(sizes[0]);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (row < headers) {
        flip_field(header[row], false);
    } else if (row < headers + cuts) {
        truncate_to(sizes[row - headers]);
    } else if (row == headers + cuts) {
        truncate_to(9000000);               /* longer than it was */
    } else if (row == headers + cuts + 1) { /* no mark is whole */
        ck_assert_int_eq(pwrite(fd, bytes, sizeof(struct region_mark) * REGION_MARKS,
                                offsetof(struct region_header, marks)),
                         (ssize_t)(sizeof(struct region_mark) * REGION_MARKS));
    } else if (row == headers + cuts + 2) { /* a name */
        ck_assert_int_eq(pwrite(fd, "P", 1, names_at() + 64 + 1), 1);
    } else if (row == headers + cuts + 3) { /* more names than there can be */
        ck_assert_int_eq(pwrite(fd, "\xff\xff", 2, names_at()), 2);
    } else { /* the first page was never written */
        ck_assert_int_eq(pwrite(fd, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
    }
    close(fd);
}
#define DAMAGES 16u

START_TEST(a_damaged_file_is_set_aside) {
    for (size_t row = 0; row < DAMAGES; row++) {
        make_directory();
        region_destroy(fill());
        damage(row);
        struct stat before, after;
        ck_assert_int_eq(stat(path, &before), 0);
        struct region_params params = usual();
        struct region *region = begin(&params);
        ck_assert_msg(region_report(region)->origin == REGION_NEW, "row %zu", row);
        ck_assert(region_report(region)->is_loss);
        assert_says(region, "set aside as");
        char aside[160] = "";
        ck_assert_int_eq(sweep(aside, sizeof(aside)), 1);
        assert_says(region, aside);
        ck_assert_int_eq(stat(aside, &after), 0);
        ck_assert_uint_eq(after.st_ino, before.st_ino);
        ck_assert_int_eq(after.st_size, before.st_size);
        ck_assert_uint_eq(counters_sum(region, 5), 0);
        ck_assert_uint_eq(hits_of(region), 0);
        region_destroy(region);
        remove_directory();
    }
}
END_TEST

START_TEST(only_one_damaged_file_is_kept) {
    static const char *const names[] = {"cache.bad-1", "cache.bad-22", "cache.bad-3x", "cache.bad-",
                                        "other.bad-1"};
    make_directory();
    char name[160];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(name, sizeof(name), "%s/%s", directory, names[i]);
        close(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    }
    region_destroy(fill());
    damage(1);
    struct region_params params = usual();
    struct region *region = begin(&params);
    assert_says(region, "in place of an older one");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(name, sizeof(name), "%s/%s", directory, names[i]);
        ck_assert_msg((access(name, F_OK) == 0) == (i >= 2), "%s", names[i]);
    }
    region_destroy(region);
    remove_directory();
}
END_TEST

START_TEST(another_users_file_is_refused) {
    make_directory();
    region_destroy(fill());
    static const mode_t modes[] = {0620, 0602, 0666};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        ck_assert_int_eq(chmod(path, modes[i]), 0);
        struct region_params params = usual();
        char error[512] = "";
        ck_assert_ptr_null(region_create(&params, error, sizeof(error)));
        ck_assert_msg(strstr(error, "0600") != NULL && strstr(error, path) != NULL, "%s", error);
    }
    ck_assert_int_eq(chmod(path, 0600), 0);
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(path, 12345, 12345), 0);
        struct region_params params = usual();
        char error[512] = "";
        ck_assert_ptr_null(region_create(&params, error, sizeof(error)));
        ck_assert_msg(strstr(error, "another user") != NULL, "%s", error);
    }
    remove_directory();
}
END_TEST

static long naps_of(pid_t pid) {
    char name[64], line[256];
    long naps = -1;
    snprintf(name, sizeof(name), "/proc/%d/status", (int)pid);
    FILE *file = fopen(name, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        (void)sscanf(line, "voluntary_ctxt_switches: %ld", &naps);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return naps;
}

/* Until the process has slept and looked again a few times: it waits for the lock. */
static void await_naps(pid_t pid) {
    long begin = naps_of(pid);
    while (naps_of(pid) < begin + 3) {
        (void)sched_yield();
    }
}

static int hold_for_a_moment(void *argument) {
    struct region_params params = usual();
    char error[512];
    struct region *region = region_create(&params, error, sizeof(error));
    int pipe_fd = *(int *)argument;
    (void)!write(pipe_fd, "x", 1);
    await_naps(getppid());
    return region == NULL;
}

START_TEST(it_waits_for_who_is_about_to_end) {
    make_directory();
    int ends[2];
    char byte;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = test_spawn(hold_for_a_moment, &ends[1]);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    struct region_params params = usual();
    char error[512] = "";
    ck_assert_ptr_null(region_create(&params, error, sizeof(error)));
    ck_assert_msg(strstr(error, "in use") != NULL, "%s", error);
    params.lock_wait_ms = 30000;
    struct region *region = begin(&params);
    ck_assert(region_was_attached(region));
    region_destroy(region);
    ck_assert_int_eq(test_reap(pid), 0);
    close(ends[0]);
    close(ends[1]);
    remove_directory();
}
END_TEST

static int wait_and_count_routes(void *argument) {
    (void)argument;
    struct region_params params = usual();
    params.lock_wait_ms = 30000;
    char error[512];
    struct region *region = region_create(&params, error, sizeof(error));
    return region == NULL ? 100 : names_count(region, NAMES_ROUTE);
}

/* Who waited for a file that was set aside meanwhile must not go on with the renamed one. */
START_TEST(who_waited_takes_what_the_path_leads_to) {
    make_directory();
    struct region *old = fill(), *fresh;
    pid_t pid = test_spawn(wait_and_count_routes, NULL);
    await_naps(pid);
    char other[80];
    snprintf(other, sizeof(other), "%s.bad-1", path);
    ck_assert_int_eq(rename(path, other), 0);
    struct region_params params = usual();
    fresh = begin(&params);
    ck_assert_int_eq(names_add(fresh, NAMES_ROUTE, "a"), 0);
    ck_assert_int_eq(names_add(fresh, NAMES_ROUTE, "b"), 1);
    region_destroy(old);
    await_naps(pid);
    region_destroy(fresh);
    int status = test_reap(pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 2);
    remove_directory();
}
END_TEST

/* -- Random damage: a start never fails, never crashes, never serves what is wrong -- */

static off_t random_place(uint64_t *seed, off_t size) {
    uint64_t random = test_random(seed);
    switch (test_random(seed) % 4) {
    case 0:
        return (off_t)(random % 1024); /* header */
    case 1:
        return (off_t)(random % 60000); /* all before the slots */
    case 2:                             /* beginning of a shard: lock, ends, index */
        return size - STORE_BYTES + (off_t)(random % 2 * (4 << 20)) + (off_t)(random / 2 % 140000);
    default:
        return (off_t)(random % (uint64_t)size);
    }
}

START_TEST(flipped_bits_never_stop_a_start_nor_are_served) {
    make_directory();
    struct region *region = fill();
    off_t size = (off_t)region_size(region);
    region_destroy(region);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t *good = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    ck_assert_ptr_ne(good, MAP_FAILED);
    uint8_t *copy = malloc((size_t)size);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, good, (size_t)size);
    munmap(good, (size_t)size);
    close(fd);
    uint64_t seed = 2026;
    unsigned attached = 0, aside = 0, hits = 0;
    for (int flip = 0; flip < FLIPS; flip++) {
        /* In place when the last start left it so, whole when it was set aside. */
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (flip % 50 == 0 || aside != 0) {
            ck_assert_int_eq(ftruncate(fd, size), 0);
            ck_assert_int_eq(pwrite(fd, copy, (size_t)size, 0), size);
        }
        off_t place = random_place(&seed, size);
        uint8_t byte = 0;
        ck_assert_int_eq(pread(fd, &byte, 1, place), 1);
        byte ^= (uint8_t)(1u << test_random(&seed) % 8);
        ck_assert_int_eq(pwrite(fd, &byte, 1, place), 1);
        close(fd);
        struct region_params params = usual();
        params.boot_id = test_random(&seed) % 2 == 0 ? BOOT_A : BOOT_B;
        params.wall_ms = NOON_MS + flip;
        region = begin(&params);
        aside = region_report(region)->origin == REGION_NEW;
        attached += !aside;
        if (flip % 3 == 0) {
            hits += hits_of(region);
        }
        struct store *store = store_open(region);
        bool wrong;
        ck_assert_int_eq(test_put(store, 7, 8, 43, HOUR_MS), STORE_PUT_DONE);
        ck_assert_int_eq(test_get(store, 7, 8, &wrong), STORE_HIT);
        store_close(store);
        for (int kind = 0; kind < 3; kind++) {
            int count = names_count(region, (enum names_kind)kind);
            for (int i = 0; i < count; i++) {
                ck_assert_uint_lt(strlen(names_get(region, (enum names_kind)kind, i)),
                                  REGION_NAME_SIZE);
            }
        }
        int slot = board_claim(region, BOARD_WORKER, 1);
        ck_assert_int_ge(slot, 0);
        region_destroy(region);
    }
    free(copy);
    ck_assert_uint_gt(attached, FLIPS / 2);
    ck_assert_uint_lt(attached, FLIPS);
    ck_assert_uint_gt(hits, FLIPS);
    ck_assert_int_le(sweep(NULL, 0), 1);
    remove_directory();
}
END_TEST

/* -- A power cut: each page as it was at one of two moments -- */

#define CUT_STORE_BYTES (512 << 10)
#define CUT_KEYS 400u

static void work(struct store *store, uint64_t *seed, int turns) {
    for (int turn = 0; turn < turns; turn++) {
        uint64_t number = test_random(seed) % CUT_KEYS;
        if (test_random(seed) % 8 == 0) {
            test_delete(store, number);
        } else {
            ck_assert_int_eq(test_put(store, number, test_random(seed) | 1,
                                      8 + test_random(seed) % 3000, HOUR_MS),
                             STORE_PUT_DONE);
        }
    }
}

static uint8_t *snapshot(const struct region *region) {
    uint8_t *bytes = malloc(region_size(region));
    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, region->base, region_size(region));
    return bytes;
}

START_TEST(pages_of_two_moments_are_never_a_wrong_answer) {
    make_directory();
    struct region_params params = usual();
    params.store_bytes = CUT_STORE_BYTES;
    uint64_t seed = 77;
    unsigned hits = 0, attached = 0;
    for (int round = 0; round < 120; round++) {
        params.boot_id = BOOT_A;
        struct region *region = begin(&params);
        struct store *store = store_open(region);
        work(store, &seed, (int)(test_random(&seed) % 300));
        region_mark_end(region, NOON_MS);
        uint8_t *before = snapshot(region);
        work(store, &seed, (int)(test_random(&seed) % (round % 2 == 0 ? 20 : 600)));
        region_mark_end(region, NOON_MS);
        size_t size = region_size(region);
        uint64_t old_of_16 = test_random(&seed) % 16;
        for (size_t at = 0; at < size; at += REGION_PAGE) {
            if (test_random(&seed) % 16 < old_of_16) {
                memcpy(region->base + at, before + at, REGION_PAGE);
            }
        }
        free(before);
        store_close(store);
        region_destroy(region);

        params.boot_id = BOOT_B;
        params.wall_ms = NOON_MS + 1000;
        region = begin(&params);
        attached += region_was_attached(region);
        store = store_open(region);
        const char *wrong_store = store_check(store);
        ck_assert_msg(wrong_store == NULL, "%s", wrong_store);
        for (uint64_t n = 0; n < CUT_KEYS; n++) {
            bool wrong;
            hits += test_get(store, n, UINT64_MAX, &wrong) == STORE_HIT;
            ck_assert(!wrong);
        }
        ck_assert_uint_eq(store_stats(store)->corruptions, 0);
        work(store, &seed, 50);
        ck_assert_ptr_null(store_check(store));
        store_close(store);
        region_destroy(region);
        ck_assert_int_eq(unlink(path), 0);
    }
    ck_assert_uint_gt(attached, 60);
    ck_assert_uint_gt(hits, 1000);
    remove_directory();
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {
        all_goes_on_after_a_restart,
        a_memfd_has_nothing_to_report,
        held_locks_are_made_anew_and_dirty_shards_repaired,
        a_start_killed_at_any_step_loses_nothing,
        a_resize_killed_at_any_step_keeps_the_totals,
        times_to_live_are_right_whatever_the_wall_clock_did,
        a_reboot_shows_without_a_boot_id,
        after_a_reboot_nothing_is_from_the_future,
        after_a_reboot_the_later_of_two_records_counts,
        one_mark_a_second_whoever_comes,
        another_layout_starts_empty_and_says_what_differs,
        another_size_keeps_the_totals,
        another_kind_of_answers_keeps_the_totals,
        forgetting_the_totals_keeps_the_cache,
        a_damaged_file_is_set_aside,
        only_one_damaged_file_is_kept,
        another_users_file_is_refused,
        it_waits_for_who_is_about_to_end,
        who_waited_takes_what_the_path_leads_to,
        flipped_bits_never_stop_a_start_nor_are_served,
        pages_of_two_moments_are_never_a_wrong_answer,
    };
    return test_suite("region_file", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
