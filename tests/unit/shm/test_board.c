/* test_board: slots are claimed, filled, released; nothing of an owner outlives its release. */
#include "config.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/board.h"
#include "shm_test.h"

START_TEST(claim_set_and_release) {
    struct region *region = test_region_new(0, NULL);
    int slot = board_claim(region, BOARD_WORKER, 4);
    ck_assert_int_eq(slot, 0);
    ck_assert_int_eq(board_claim(region, BOARD_METRICS, 4), 1);
    ck_assert_int_eq(board_role(region, slot), BOARD_WORKER);
    ck_assert_int_eq(board_state(region, slot), BOARD_STARTING);
    ck_assert_uint_eq(board_generation(region, slot), 4);
    ck_assert_int_eq(board_pid(region, slot), 0);
    board_set_pid(region, slot, 4711);
    ck_assert_int_eq(board_pid(region, slot), 4711);
    board_set_state(region, slot, BOARD_READY);
    ck_assert_int_eq(board_state(region, slot), BOARD_READY);
    int64_t now = region_now_ms(region);
    board_beat(region, slot);
    ck_assert_int_ge(board_last_beat_ms(region, slot), now);

    uint32_t incarnation = board_incarnation(region, slot);
    atomic_fetch_add(&board_gauges(region, slot)->connections, 3);
    board_release(region, slot);
    ck_assert_int_eq(board_role(region, slot), BOARD_FREE);
    ck_assert_int_eq(board_pid(region, slot), 0);
    ck_assert_uint_eq(board_incarnation(region, slot), incarnation + 1);
    ck_assert_int_eq(atomic_load(&board_gauges(region, slot)->connections), 0);
    ck_assert_int_eq(board_claim(region, BOARD_WORKER, 5), slot);
    ck_assert_uint_eq(board_incarnation(region, slot), incarnation + 1);
    ck_assert_int_eq(board_state(region, slot), BOARD_STARTING);
    ck_assert_uint_eq(board_generation(region, slot), 5);
    region_destroy(region);
}
END_TEST

START_TEST(slots_run_out) {
    struct region *region = test_region_new(0, NULL);
    for (int i = 0; i < REGION_SLOTS; i++) {
        ck_assert_int_eq(board_claim(region, BOARD_WORKER, 1), i);
    }
    ck_assert_int_eq(board_claim(region, BOARD_WORKER, 1), -1);
    board_release(region, 77);
    ck_assert_int_eq(board_claim(region, BOARD_WORKER, 1), 77);
    region_destroy(region);
}
END_TEST

/* An upgrade: each of two masters has its own slots, and a dead one's go to whoever is first. */
START_TEST(slots_know_their_master) {
    struct region *region = test_region_new(0, NULL);
    pid_t child = fork();
    if (child == 0) {
        _exit(board_claim(region, BOARD_WORKER, 2) == 0 ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    int own = board_claim(region, BOARD_WORKER, 1);
    ck_assert_int_eq(board_master(region, 0), child);
    ck_assert_int_eq(board_master(region, own), getpid());
    ck_assert_int_eq(board_master(region, 5), 0);
    uint32_t incarnation = board_incarnation(region, 0);
    ck_assert(!board_adopt(region, own, child));
    ck_assert(!board_adopt(region, 5, 0)); /* free: nobody's to adopt */
    ck_assert(board_adopt(region, 0, child));
    ck_assert(!board_adopt(region, 0, child)); /* somebody was quicker */
    ck_assert_int_eq(board_master(region, 0), getpid());
    ck_assert_int_eq(board_role(region, 0), BOARD_WORKER);
    ck_assert_uint_eq(board_incarnation(region, 0), incarnation);
    board_release(region, 0);
    ck_assert_int_eq(board_master(region, 0), 0);
    ck_assert_uint_eq(board_incarnation(region, 0), incarnation + 1);
    region_destroy(region);
}
END_TEST

START_TEST(words_add_up_and_only_rise) {
    struct region *region = test_region_new(0, NULL);
    board_add_word(region, BOARD_WORD_CPU_GONE_NS, 5);
    board_add_word(region, BOARD_WORD_CPU_GONE_NS, 7);
    ck_assert_int_eq(board_get_word(region, BOARD_WORD_CPU_GONE_NS), 12);
    ck_assert_int_eq(board_raise_word(region, BOARD_WORD_CPU_SHOWN_NS, 10), 10);
    ck_assert_int_eq(board_raise_word(region, BOARD_WORD_CPU_SHOWN_NS, 8), 10);
    ck_assert_int_eq(board_raise_word(region, BOARD_WORD_CPU_SHOWN_NS, 11), 11);
    region_destroy(region);
}
END_TEST

START_TEST(last_words_are_cut_and_cleared) {
    struct region *region = test_region_new(0, NULL);
    int slot = board_claim(region, BOARD_WORKER, 1);
    char out[BOARD_LAST_WORDS_SIZE + 50];
    board_last_words(region, slot, out, sizeof(out));
    ck_assert_str_eq(out, "");
    char longer[BOARD_LAST_WORDS_SIZE + 20];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    board_set_last_words(region, slot, longer);
    board_last_words(region, slot, out, sizeof(out));
    ck_assert_uint_eq(strlen(out), BOARD_LAST_WORDS_SIZE - 1);
    board_set_last_words(region, slot, "assertion failed");
    board_last_words(region, slot, out, 10);
    ck_assert_str_eq(out, "assertion");
    board_set_last_words(region, -1, "ignored");
    board_set_last_words(region, REGION_SLOTS, "ignored");
    /* They outlive the release, so that the obituary can still be written; not the next claim. */
    board_release(region, slot);
    board_last_words(region, slot, out, sizeof(out));
    ck_assert_str_eq(out, "assertion failed");
    ck_assert_int_eq(board_claim(region, BOARD_WORKER, 1), slot);
    board_last_words(region, slot, out, sizeof(out));
    ck_assert_str_eq(out, "");
    region_destroy(region);
}
END_TEST

START_TEST(sums_count_who_they_should) {
    struct region *region = test_region_new(0, NULL);
    static const struct {
        enum board_role role;
        uint32_t generation;
        enum board_state state;
        int64_t connections;
    } rows[] = {
        {BOARD_WORKER, 2, BOARD_READY, 10},   {BOARD_WORKER, 2, BOARD_READY, 20},
        {BOARD_WORKER, 2, BOARD_STARTING, 1}, {BOARD_WORKER, 2, BOARD_DRAINING, 2},
        {BOARD_WORKER, 1, BOARD_READY, 4},    {BOARD_METRICS, 2, BOARD_READY, 8},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int slot = board_claim(region, rows[i].role, rows[i].generation);
        board_set_state(region, slot, rows[i].state);
        struct board_gauges *gauges = board_gauges(region, slot);
        atomic_store(&gauges->connections, rows[i].connections);
        atomic_store(&gauges->connections_idle, 1);
        atomic_store(&gauges->requests_in_flight, 2);
    }
    unsigned workers = 99;
    ck_assert_int_eq(board_ready_connections(region, 2, &workers), 30);
    ck_assert_uint_eq(workers, 2);
    int64_t connections, idle, in_flight;
    board_sum_gauges(region, &connections, &idle, &in_flight);
    ck_assert_int_eq(connections, 37);
    ck_assert_int_eq(idle, 5);
    ck_assert_int_eq(in_flight, 10);
    for (int slot = 0; slot < 6; slot++) {
        board_release(region, slot);
    }
    board_sum_gauges(region, &connections, &idle, &in_flight);
    ck_assert_int_eq(connections + idle + in_flight, 0);
    ck_assert_int_eq(board_ready_connections(region, 2, &workers), 0);
    ck_assert_uint_eq(workers, 0);
    region_destroy(region);
}
END_TEST

START_TEST(attempts_are_limited_over_all_slots) {
    struct region *region = test_region_new(0, NULL);
    int one = board_claim(region, BOARD_WORKER, 1), other = board_claim(region, BOARD_WORKER, 1);
    ck_assert(board_begin_attempt(region, one, 63, 3));
    ck_assert(board_begin_attempt(region, other, 63, 3));
    ck_assert(board_begin_attempt(region, other, 63, 3));
    ck_assert(!board_begin_attempt(region, one, 63, 3));
    ck_assert_int_eq(board_outstanding(region, 63), 3);
    ck_assert(board_begin_attempt(region, one, 62, 1)); /* another provider */
    board_end_attempt(region, other, 63);
    ck_assert(board_begin_attempt(region, one, 63, 3));
    board_release(region, one); /* it died with two under way */
    ck_assert_int_eq(board_outstanding(region, 63), 1);
    ck_assert_int_eq(board_outstanding(region, 62), 0);
    region_destroy(region);
}
END_TEST

/* Processes that take and give back places all the time: never more than there are, none lost. Who
 * comes while three others are not run with a place in their hands waits for them. */
#define TAKERS 4
#define MOST 3
START_TEST(attempts_never_exceed_the_limit) {
    struct region *region = test_region_new(0, NULL);
    _Atomic int64_t *inside =
        mmap(NULL, sizeof(*inside), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(inside, MAP_FAILED);
    for (int i = 0; i < TAKERS; i++) {
        int slot = board_claim(region, BOARD_WORKER, 1);
        if (fork() == 0) {
            int taken = 0;
            for (int64_t turn = 0; turn < 20000 || taken == 0; turn++) {
                if (board_begin_attempt(region, slot, 0, MOST)) {
                    taken++;
                    if (atomic_fetch_add(inside, 1) >= MOST) {
                        _exit(1);
                    }
                    atomic_fetch_sub(inside, 1);
                    board_end_attempt(region, slot, 0);
                }
            }
            _exit(0);
        }
    }
    for (int i = 0; i < TAKERS; i++) {
        int status;
        ck_assert_int_gt(wait(&status), 0);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 0);
    }
    ck_assert_int_eq(board_outstanding(region, 0), 0);
    munmap((void *)inside, sizeof(*inside));
    region_destroy(region);
}
END_TEST

START_TEST(connections_are_limited_over_all_workers) {
    struct region *region = test_region_new(0, NULL);
    int metrics = board_claim(region, BOARD_METRICS, 1);
    int old = board_claim(region, BOARD_WORKER, 1), fresh = board_claim(region, BOARD_WORKER, 2);
    atomic_store(&board_gauges(region, metrics)->connections, 100); /* no clients */
    ck_assert(board_take_connection(region, old, 0, 3));
    ck_assert(board_take_connection(region, fresh, 0, 3));
    ck_assert(board_take_connection(region, fresh, 1, 3));
    ck_assert(!board_take_connection(region, old, 1, 3)); /* another generation counts too */
    ck_assert(!board_take_connection(region, fresh, 2, 3));
    ck_assert_int_eq(atomic_load(&board_gauges(region, old)->connections), 1);
    ck_assert_int_eq(atomic_load(&board_gauges(region, fresh)->connections), 2);
    board_release(region, fresh); /* it died: what it had comes back */
    ck_assert(board_take_connection(region, old, 1, 3));
    region_destroy(region);
}
END_TEST

START_TEST(words_keep_their_values) {
    struct region *region = test_region_new(0, NULL);
    for (int word = 0; word < BOARD_WORD_COUNT; word++) {
        ck_assert_int_eq(board_get_word(region, word), 0);
        board_set_word(region, word, INT64_MIN + word);
    }
    for (int word = 0; word < BOARD_WORD_COUNT; word++) {
        ck_assert_int_eq(board_get_word(region, word), INT64_MIN + word);
    }
    region_destroy(region);
}
END_TEST

static Suite *make_suite(void) {
    const TTest *const tests[] = {
        claim_set_and_release,
        slots_run_out,
        slots_know_their_master,
        words_add_up_and_only_rise,
        last_words_are_cut_and_cleared,
        sums_count_who_they_should,
        attempts_are_limited_over_all_slots,
        attempts_never_exceed_the_limit,
        connections_are_limited_over_all_workers,
        words_keep_their_values,
    };
    return test_suite("board", tests, sizeof(tests) / sizeof(tests[0]));
}

UNIT_MAIN(make_suite)
