/* Stored answers: what goes in comes out; what does not add up is no entry. */
#include "unit.h"

#include <string.h>

#include "gateway/cost.h"
#include "gateway/entry.h"

static struct entry sample(void) {
    return (struct entry){.json = BYTES_LITERAL("{\"text\":\"an \\\"answer\\\"\"}"),
                          .text = {8, 15},
                          .usage = {.prompt_tokens = 7, .completion_tokens = 11, .estimated = true},
                          .cost_nusd = 123456789,
                          .provider = BYTES_LITERAL("local"),
                          .routed_to = BYTES_LITERAL("openai"),
                          .model = BYTES_LITERAL("m/1 (simulated)"),
                          .reason = BYTES_LITERAL("score:0.10")};
}

START_TEST(round_trip) {
    struct entry in = sample(), out;
    struct buf buf;
    buf_init(&buf, 0);
    entry_encode(&in, &buf);
    memset(&out, 0x5a, sizeof(out)); /* a hit's access line once told what lay there */
    ck_assert_int_eq(entry_decode(buf_bytes(&buf), &out), 0);
    ck_assert(bytes_equal(in.json, out.json));
    ck_assert(bytes_equal_str(bytes_make(out.json.data + out.text.at, out.text.size),
                              "\"an \\\"answer\\\"\""));
    ck_assert(bytes_equal(in.provider, out.provider));
    ck_assert(bytes_equal(in.routed_to, out.routed_to));
    ck_assert(bytes_equal(in.model, out.model));
    ck_assert(bytes_equal(in.reason, out.reason));
    ck_assert_int_eq(out.cost_nusd, in.cost_nusd);
    ck_assert_int_eq(out.usage.prompt_tokens, 7);
    ck_assert_int_eq(out.usage.completion_tokens, 11);
    ck_assert(out.usage.estimated);
    ck_assert_int_eq(out.usage.cached_tokens, 0); /* these are not kept */
    ck_assert_int_eq(out.usage.reasoning_tokens, 0);
    in.cost_nusd = COST_UNKNOWN;
    buf_clear(&buf);
    entry_encode(&in, &buf);
    ck_assert_int_eq(entry_decode(buf_bytes(&buf), &out), 0);
    ck_assert_int_eq(out.cost_nusd, COST_UNKNOWN);
    buf_free(&buf);
}
END_TEST

START_TEST(every_other_length_is_refused) {
    struct entry in = sample(), out;
    struct buf buf;
    buf_init(&buf, 0);
    entry_encode(&in, &buf);
    for (size_t size = 0; size < buf.size; size++) {
        ck_assert_int_eq(entry_decode(bytes_make(buf.data, size), &out), -1);
    }
    buf_append_char(&buf, 'x');
    ck_assert_int_eq(entry_decode(buf_bytes(&buf), &out), -1);
    buf_free(&buf);
}
END_TEST

/* As drawn in the header. */
enum { TEXT_AT = 40, TEXT_SIZE = 44 };

START_TEST(a_text_outside_the_answer_is_refused) {
    static const struct {
        uint32_t at, size;
        int result;
    } rows[] = {
        {0, 0, 0},   {0, 24, 0},          {24, 0, 0},          {23, 1, 0},
        {0, 25, -1}, {25, 0, -1},         {24, 1, -1},         {23, 2, -1},
        {1, 24, -1}, {1, UINT32_MAX, -1}, {UINT32_MAX, 1, -1}, {UINT32_MAX, UINT32_MAX, -1},
    };
    struct entry in = sample(), out;
    struct buf buf;
    buf_init(&buf, 0);
    ck_assert_uint_eq(in.json.size, 24);
    entry_encode(&in, &buf);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        memcpy(buf.data + TEXT_AT, &rows[i].at, sizeof(rows[i].at));
        memcpy(buf.data + TEXT_SIZE, &rows[i].size, sizeof(rows[i].size));
        ck_assert_msg(entry_decode(buf_bytes(&buf), &out) == rows[i].result, "row %zu", i);
    }
    buf_free(&buf);
}
END_TEST

START_TEST(what_does_not_fit_fails) {
    char room[64];
    struct entry in = sample();
    struct buf buf;
    buf_init_fixed(&buf, room, sizeof(room));
    entry_encode(&in, &buf);
    ck_assert(buf.failed);
    buf_clear(&buf);
    in.model.size = 70000; /* never read: the length alone is refused */
    entry_encode(&in, &buf);
    ck_assert(buf.failed);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("entry");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, round_trip);
    tcase_add_test(tcase, every_other_length_is_refused);
    tcase_add_test(tcase, a_text_outside_the_answer_is_refused);
    tcase_add_test(tcase, what_does_not_fit_fails);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
