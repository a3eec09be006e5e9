/* test_flight: who leads, who waits, and what each finds when it looks; with slots of one process
 * that stand for several, and with processes that die at every step.
 */
#include "config.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "../../../src/shm/region_layout.h"
#include "kill_test.h"
#include "shm/board.h"
#include "shm/flight.h"
#include "shm/wake.h"

static struct region *region;
static struct store *store;
static int a, b, c; /* slots */
static uint8_t key[STORE_KEY_SIZE];
static struct flight_ticket led, waits, other;
static unsigned failures;

static void setup(void) {
    region = test_region_new(INT64_C(8) << 20, NULL);
    ck_assert_int_eq(wake_open(region), 0);
    store = store_open(region);
    a = board_claim(region, BOARD_WORKER, 1);
    b = board_claim(region, BOARD_WORKER, 1);
    c = board_claim(region, BOARD_WORKER, 1);
    test_key(1, key);
}

static void teardown(void) {
    store_close(store);
    region_destroy(region);
}

static enum flight_join join(int slot, struct flight_ticket *ticket) {
    return flight_join(store, key, slot, INT64_MAX, ticket, &failures);
}
static enum flight_join look(int slot, struct flight_ticket *ticket) {
    return flight_look(store, key, slot, INT64_MAX, ticket, &failures);
}

static bool is_woken(int slot) {
    struct pollfd woken = {wake_fd(region, slot), POLLIN, 0};
    bool is = poll(&woken, 1, 0) == 1;
    wake_take(region, slot);
    return is;
}

static void put(void) {
    ck_assert_int_eq(store_put(store, key, bytes_from_str("answer"), 60000), STORE_PUT_DONE);
}

START_TEST(the_first_leads_and_the_others_wait_for_its_answer) {
    ck_assert_int_eq(join(a, &led), FLIGHT_LEAD);
    ck_assert(!flight_is_awaited(store, &led, a));
    ck_assert_int_eq(join(b, &waits), FLIGHT_WAIT);
    ck_assert_int_eq(join(c, &other), FLIGHT_WAIT);
    ck_assert(flight_is_awaited(store, &led, a));
    ck_assert(!flight_has_changed(store, &waits, b));
    ck_assert_int_eq(look(b, &waits), FLIGHT_WAIT); /* woken for nothing: goes on */
    put();
    ck_assert_int_eq(look(c, &other), FLIGHT_STORED); /* before its end, too */
    flight_end(store, &led, a);
    ck_assert(is_woken(b) && !is_woken(a));
    ck_assert(flight_has_changed(store, &waits, b));
    ck_assert_int_eq(look(b, &waits), FLIGHT_STORED);
    ck_assert_int_eq(join(a, &led), FLIGHT_STORED);
    ck_assert_uint_eq(flight_count(store), 0);
}
END_TEST

START_TEST(an_answer_too_old_for_one_begins_a_flight) {
    put();
    region_shift_time(region, 5000);
    ck_assert_int_eq(flight_join(store, key, a, 4000, &led, &failures), FLIGHT_LEAD);
    ck_assert_int_eq(flight_join(store, key, b, 4000, &waits, &failures), FLIGHT_WAIT);
    ck_assert_int_eq(flight_look(store, key, b, 4000, &waits, &failures), FLIGHT_WAIT);
    ck_assert_int_eq(join(c, &other), FLIGHT_STORED);
    put();
    ck_assert_int_eq(flight_look(store, key, b, 4000, &waits, &failures), FLIGHT_STORED);
    region_shift_time(region, 60000); /* expired */
    flight_end(store, &led, a);
    ck_assert_int_eq(join(c, &other), FLIGHT_LEAD);
}
END_TEST

START_TEST(an_answer_that_is_not_stored_is_nobodys) {
    ck_assert_int_eq(join(a, &led), FLIGHT_LEAD);
    ck_assert_int_eq(join(b, &waits), FLIGHT_WAIT);
    flight_end(store, &led, a);
    ck_assert_int_eq(look(b, &waits), FLIGHT_ALONE);
    /* nor is the next flight in the same place */
    ck_assert_int_eq(join(c, &other), FLIGHT_LEAD);
    ck_assert_uint_eq(other.index, waits.index);
    ck_assert_uint_ne(other.number, waits.number);
    ck_assert(flight_has_changed(store, &waits, b));
    ck_assert_int_eq(look(b, &waits), FLIGHT_ALONE);
    flight_end(store, &led, a); /* over long ago: ends nothing */
    ck_assert_uint_eq(flight_count(store), 1);
}
END_TEST

START_TEST(one_that_cannot_be_shared_lets_all_go) {
    ck_assert_int_eq(join(a, &led), FLIGHT_LEAD);
    ck_assert_int_eq(join(b, &waits), FLIGHT_WAIT);
    flight_unshare(store, &led, a);
    ck_assert(is_woken(b));
    ck_assert_int_eq(look(b, &waits), FLIGHT_ALONE);
    ck_assert_int_eq(join(c, &other), FLIGHT_ALONE);
    ck_assert(!flight_is_awaited(store, &led, a));
    flight_end(store, &led, a);
    ck_assert_int_eq(join(c, &other), FLIGHT_LEAD);
}
END_TEST

START_TEST(a_leader_that_gives_up_has_one_heir) {
    ck_assert_int_eq(join(a, &led), FLIGHT_LEAD);
    ck_assert_uint_eq(failures, 0);
    ck_assert_int_eq(join(b, &waits), FLIGHT_WAIT);
    ck_assert_int_eq(join(c, &other), FLIGHT_WAIT);
    bool has_failed = _i == 1;
    flight_vacate(store, &led, a, has_failed);
    ck_assert(is_woken(b) && is_woken(c));
    ck_assert_int_eq(look(c, &other), FLIGHT_LEAD);
    ck_assert_uint_eq(failures, has_failed);
    ck_assert_int_eq(look(b, &waits), FLIGHT_WAIT);
    ck_assert_int_eq(join(a, &led), FLIGHT_WAIT);
    ck_assert_uint_eq(failures, has_failed);
    for (int i = 0; i < 5; i++) { /* never more than can be counted */
        struct flight_ticket *tickets[] = {&other, &waits};
        int slots[] = {c, b};
        flight_vacate(store, tickets[i % 2], slots[i % 2], true);
        ck_assert_int_eq(look(slots[(i + 1) % 2], tickets[(i + 1) % 2]), FLIGHT_LEAD);
    }
    ck_assert_uint_eq(failures, FLIGHT_FAILURES_MAX);
}
END_TEST

/* The master has reaped it and says so to all. */
START_TEST(a_leader_that_died_has_one_heir) {
    ck_assert_int_eq(join(a, &led), FLIGHT_LEAD);
    ck_assert_int_eq(join(b, &waits), FLIGHT_WAIT);
    ck_assert_int_eq(join(c, &other), FLIGHT_WAIT);
    bool was_unshared = _i == 1;
    if (was_unshared) {
        flight_unshare(store, &led, a);
    }
    board_release(region, a);
    wake_all(region);
    ck_assert(is_woken(b) && is_woken(c));
    ck_assert(flight_has_changed(store, &waits, b));
    ck_assert_int_eq(look(b, &waits), FLIGHT_LEAD);
    ck_assert_uint_eq(failures, 0);
    ck_assert_int_eq(look(c, &other), FLIGHT_WAIT);
    ck_assert_int_eq(board_claim(region, BOARD_WORKER, 1), a); /* its heir in the slot is another */
    flight_end(store, &led, a);
    ck_assert_int_eq(look(c, &other), FLIGHT_WAIT);
    put();
    flight_end(store, &waits, b);
    ck_assert_int_eq(look(c, &other), FLIGHT_STORED);
}
END_TEST

START_TEST(who_leaves_is_not_waited_for) {
    ck_assert_int_eq(join(a, &led), FLIGHT_LEAD);
    ck_assert_int_eq(join(b, &waits), FLIGHT_WAIT);
    flight_leave(store, &waits, b);
    ck_assert(!flight_is_awaited(store, &led, a));
    ck_assert_int_eq(join(c, &other), FLIGHT_WAIT);
    board_release(region, c); /* died: it waits no more, though its bit stands */
    ck_assert(!flight_is_awaited(store, &led, a));
    flight_end(store, &led, a);
    ck_assert(!is_woken(b));
}
END_TEST

/* In one set: so that there is no room for more, and what nobody leads makes room. */
START_TEST(a_full_set_lets_requests_go_alone) {
    struct flight_ticket tickets[8];
    uint8_t keys[9][STORE_KEY_SIZE];
    for (uint64_t i = 0; i < 9; i++) { /* same shard, same set: bytes 0..3 and 16..19 */
        test_key(100 + i, keys[i]);
        memset(keys[i], 7, 4);
        memset(keys[i] + 16, 7, 4);
    }
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(
            flight_join(store, keys[i], i == 3 ? b : a, INT64_MAX, &tickets[i], &failures),
            FLIGHT_LEAD);
    }
    ck_assert_int_eq(flight_join(store, keys[8], c, INT64_MAX, &other, &failures), FLIGHT_ALONE);
    ck_assert_int_eq(flight_join(store, keys[3], c, INT64_MAX, &waits, &failures), FLIGHT_WAIT);
    board_release(region, b);
    ck_assert_int_eq(flight_join(store, keys[8], c, INT64_MAX, &other, &failures), FLIGHT_LEAD);
    ck_assert_uint_eq(other.index, tickets[3].index);
    ck_assert_int_eq(flight_look(store, keys[3], c, INT64_MAX, &waits, &failures), FLIGHT_ALONE);
}
END_TEST

START_TEST(without_a_store_everybody_is_alone) {
    struct region *bare = test_region_new(0, NULL);
    struct store *none = store_open(bare);
    ck_assert_int_eq(flight_join(none, key, 0, INT64_MAX, &led, &failures), FLIGHT_ALONE);
    ck_assert_uint_eq(flight_count(none), 0);
    store_close(none);
    region_destroy(bare);
}
END_TEST

/* -- sudden death at every step of the hand-over ------------------------------------------------
 */

/* The process that dies is in slot a. In every second world it joins a flight that b leads, else it
 * leads one itself. */
struct world {
    bool has_leader;
    struct flight_ticket before;
};

static void *death_prepare(uint64_t seed) {
    static struct world world;
    test_key(1000 + seed, key);
    world.has_leader = seed % 2 == 1;
    if (world.has_leader) {
        ck_assert_int_eq(join(b, &world.before), FLIGHT_LEAD);
    }
    return &world;
}

static void death_work(void *argument) {
    struct flight_ticket ticket;
    (void)argument;
    if (join(a, &ticket) == FLIGHT_LEAD) {
        put();
        flight_end(store, &ticket, a);
    }
}

/* Whoever waits or comes later has an answer or leads, and of those exactly one. */
static void death_check(void *argument, const char *point) {
    struct world *world = argument;
    struct flight_ticket after;
    enum flight_join first = FLIGHT_LEAD;
    board_release(region, a); /* as the master does */
    wake_all(region);
    ck_assert_int_eq(board_claim(region, BOARD_WORKER, 1), a);
    (void)is_woken(c);
    if (!world->has_leader) {
        first = join(b, &world->before);
        ck_assert_msg(first == FLIGHT_LEAD || first == FLIGHT_STORED, "%s: %d", point, first);
    }
    enum flight_join next = join(c, &after);
    ck_assert_msg(next == (first == FLIGHT_STORED ? FLIGHT_STORED : FLIGHT_WAIT), "%s: %d", point,
                  next);
    if (next == FLIGHT_WAIT) {
        put();
        flight_end(store, &world->before, b);
        ck_assert(is_woken(c));
        ck_assert_int_eq(look(c, &after), FLIGHT_STORED);
    }
}

static void death_finish(void *argument) {
    struct world *world = argument;
    if (world->has_leader) {
        flight_end(store, &world->before, b);
    }
    (void)store_delete(store, key);
}

START_TEST(a_death_at_any_step_leaves_somebody_to_lead) {
    static const struct kill_case dies = {death_prepare, death_work, death_check, death_finish};
    kill_everywhere(&dies, 2, 20);
    kill_assert_covered("flight.", 20);
}
END_TEST

/* Many processes and few keys: of those that ask for a key at once never two lead. */
START_TEST(never_two_leaders) {
    enum { CHILDREN = 4, ROUNDS = 3000 };
    int slots[CHILDREN] = {a, b, c, board_claim(region, BOARD_WORKER, 1)};
    _Atomic int *leading =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(leading, MAP_FAILED);
    pid_t pids[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct store *mine = store_open(region);
            struct flight_ticket ticket;
            unsigned tries;
            for (int round = 0; round < ROUNDS; round++) {
                test_key((uint64_t)round / 4 % 3, key);
                if (flight_join(mine, key, slots[i], INT64_MAX, &ticket, &tries) == FLIGHT_LEAD) {
                    int at = round / 4 % 3;
                    if (atomic_fetch_add(&leading[at], 1) != 0) {
                        _exit(1);
                    }
                    atomic_fetch_sub(&leading[at], 1);
                    if (round % 3 == 0) {
                        flight_vacate(mine, &ticket, slots[i], true);
                    } else {
                        flight_end(mine, &ticket, slots[i]);
                    }
                }
            }
            _exit(0);
        }
    }
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
        ck_assert_int_eq(status, 0);
    }
    munmap(leading, 4096);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("flight");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, the_first_leads_and_the_others_wait_for_its_answer);
    tcase_add_test(cases, an_answer_too_old_for_one_begins_a_flight);
    tcase_add_test(cases, an_answer_that_is_not_stored_is_nobodys);
    tcase_add_test(cases, one_that_cannot_be_shared_lets_all_go);
    tcase_add_loop_test(cases, a_leader_that_gives_up_has_one_heir, 0, 2);
    tcase_add_loop_test(cases, a_leader_that_died_has_one_heir, 0, 2);
    tcase_add_test(cases, who_leaves_is_not_waited_for);
    tcase_add_test(cases, a_full_set_lets_requests_go_alone);
    tcase_add_test(cases, without_a_store_everybody_is_alone);
    tcase_add_test(cases, a_death_at_any_step_leaves_somebody_to_lead);
    tcase_add_test(cases, never_two_leaders);
    suite_add_tcase(suite, cases);
    return suite;
}

UNIT_MAIN(make_suite)
