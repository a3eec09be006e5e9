/* Unit tests of base/slow_free; that nothing is lost or freed twice is the sanitizer's to say. */
#include "unit.h"

#include "base/slow_free.h"
#include "fake_timers.h"

static struct fake_timers fake;
static struct slow_free slow;

static struct buf filled(size_t size) {
    struct buf buf;
    buf_init(&buf, size);
    char *at = buf_reserve(&buf, size);
    ck_assert(at != NULL);
    memset(at, 'x', size);
    buf.size = size;
    return buf;
}

static void begin(void) {
    struct timers timers = fake_timers_make(&fake);
    slow_free_init(&slow, &timers);
}

/* Turns until there is nothing left to do. */
static unsigned turns(void) {
    unsigned count = 0;
    while (fake_timers_step(&fake)) {
        count++;
    }
    return count;
}

START_TEST(small_memory_goes_at_once) {
    struct buf buf = filled(SLOW_FREE_MIN - 1);
    begin();
    slow_free_buf(&slow, &buf);
    ck_assert(buf.data == NULL && buf.capacity == 0 && buf.size == 0);
    ck_assert(slow.first == NULL && fake.first == NULL);
}
END_TEST

START_TEST(large_memory_goes_a_megabyte_a_turn) {
    static const struct {
        size_t size;
        unsigned turns;
    } rows[] = {{4 << 20, 4}, {(4 << 20) + 12345, 4}, {30 << 20, 30}, {(30 << 20) - 1, 30}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf buf = filled(rows[i].size);
        begin();
        slow_free_buf(&slow, &buf);
        ck_assert(buf.data == NULL && buf.capacity == 0 && !buf.failed);
        unsigned count = turns();
        ck_assert_msg(count + 1 >= rows[i].turns && count <= rows[i].turns + 2, "row %zu: %u", i,
                      count);
        ck_assert(slow.first == NULL && slow.timer == NULL);
    }
}
END_TEST

START_TEST(several_wait_for_each_other) {
    struct buf bufs[3];
    begin();
    for (int i = 0; i < 3; i++) {
        bufs[i] = filled(5 << 20);
        slow_free_buf(&slow, &bufs[i]);
    }
    ck_assert_uint_ge(turns(), 12);
    ck_assert(slow.first == NULL);
}
END_TEST

START_TEST(without_a_timer_all_goes_at_once) {
    struct buf buf = filled(5 << 20);
    begin();
    fake.refuse = 1;
    slow_free_buf(&slow, &buf);
    ck_assert(buf.data == NULL && slow.first == NULL);
    buf = filled(5 << 20);
    slow_free_buf(&slow, &buf);
    fake.refuse = 1;
    ck_assert_uint_eq(turns(), 1);
    ck_assert(slow.first == NULL && slow.timer == NULL);
}
END_TEST

START_TEST(what_is_left_goes_with_the_end) {
    struct buf buf = filled(8 << 20);
    begin();
    slow_free_buf(&slow, &buf);
    ck_assert(fake_timers_step(&fake));
    slow_free_fini(&slow);
    ck_assert(slow.first == NULL && fake.first == NULL);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("slow_free");
    TCase *tcase = tcase_create("slow_free");
    tcase_add_test(tcase, small_memory_goes_at_once);
    tcase_add_test(tcase, large_memory_goes_a_megabyte_a_turn);
    tcase_add_test(tcase, several_wait_for_each_other);
    tcase_add_test(tcase, without_a_timer_all_goes_at_once);
    tcase_add_test(tcase, what_is_left_goes_with_the_end);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
