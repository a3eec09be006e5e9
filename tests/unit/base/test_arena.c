/* Unit tests of base/arena. */
#include "unit.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"

#define NO_LIMIT SIZE_MAX

START_TEST(pieces_are_aligned_apart_and_keep_their_bytes) {
    struct arena arena;
    arena_init(&arena, 256, NO_LIMIT);
    unsigned char *pieces[100];
    for (size_t i = 0; i < 100; i++) {
        pieces[i] = arena_alloc(&arena, i);
        ck_assert_ptr_nonnull(pieces[i]);
        ck_assert_uint_eq((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        memset(pieces[i], (int)i, i);
    }
    for (size_t i = 0; i < 100; i++) {
        for (size_t k = 0; k < i; k++) {
            ck_assert_uint_eq(pieces[i][k], i);
        }
    }
    arena_fini(&arena);
}
END_TEST

START_TEST(empty_pieces_are_distinct) {
    struct arena arena;
    arena_init(&arena, 256, NO_LIMIT);
    void *a = arena_alloc(&arena, 0);
    void *b = arena_alloc(&arena, 0);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_ne(a, b);
    arena_fini(&arena);
}
END_TEST

START_TEST(the_limit_is_exact_and_survives_refusals) {
    struct arena arena;
    arena_init(&arena, 64, 128);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 64));
    ck_assert_ptr_null(arena_alloc(&arena, 65));
    ck_assert_ptr_nonnull(arena_alloc(&arena, 64));
    ck_assert_uint_eq(arena.used, 128);
    ck_assert_ptr_null(arena_alloc(&arena, 0));
    ck_assert_ptr_null(arena_alloc(&arena, 1));
    arena_reset(&arena);
    ck_assert_uint_eq(arena.used, 0);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 128));
    arena_fini(&arena);
}
END_TEST

START_TEST(absurd_sizes_are_refused) {
    struct arena arena;
    arena_init(&arena, 256, NO_LIMIT);
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX - 15));
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX - 16));
    ck_assert_ptr_null(arena_calloc(&arena, SIZE_MAX / 2, 3));
    ck_assert_ptr_null(arena_copy(&arena, bytes_make("x", SIZE_MAX)).data);
    ck_assert_uint_eq(arena.used, 0);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 16));
    arena_fini(&arena);
}
END_TEST

START_TEST(reset_keeps_the_first_block_only) {
    struct arena arena;
    arena_init(&arena, 256, NO_LIMIT);
    ck_assert_ptr_null(arena.first);
    void *first = arena_alloc(&arena, 100);
    for (int i = 0; i < 20; i++) {
        ck_assert_ptr_nonnull(arena_alloc(&arena, 200));
    }
    ck_assert_ptr_ne(arena.current, arena.first);
    arena_reset(&arena);
    ck_assert_ptr_eq(arena.current, arena.first);
    ck_assert_ptr_eq(arena_alloc(&arena, 100), first);
    arena_fini(&arena);
    ck_assert_ptr_null(arena.first);
}
END_TEST

START_TEST(an_oversized_piece_does_not_end_the_current_block) {
    struct arena arena;
    arena_init(&arena, 256, NO_LIMIT);
    unsigned char *large = arena_alloc(&arena, 5000); /* before any ordinary piece */
    ck_assert_ptr_nonnull(large);
    memset(large, 7, 5000);
    unsigned char *a = arena_alloc(&arena, 16);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 5000));
    unsigned char *b = arena_alloc(&arena, 16);
    ck_assert_ptr_eq(b, a + 16);
    ck_assert_ptr_eq(arena.current, arena.first);
    arena_fini(&arena);
}
END_TEST

START_TEST(calloc_zeroes_what_was_used_before) {
    struct arena arena;
    arena_init(&arena, 256, NO_LIMIT);
    memset(arena_alloc(&arena, 128), 0xff, 128);
    arena_reset(&arena);
    const unsigned char *zeros = arena_calloc(&arena, 16, 8);
    for (size_t i = 0; i < 128; i++) {
        ck_assert_uint_eq(zeros[i], 0);
    }
    arena_fini(&arena);
}
END_TEST

START_TEST(copies_are_terminated_and_independent) {
    struct arena arena;
    arena_init(&arena, 256, 64);
    char text[] = "a\0b";
    struct bytes copy = arena_copy(&arena, bytes_make(text, 3));
    char *string = arena_strdup(&arena, text);
    text[0] = 'x';
    ck_assert_uint_eq(copy.size, 3);
    ck_assert_mem_eq(copy.data, "a\0b", 4);
    ck_assert_str_eq(string, "a");
    struct bytes empty = arena_copy(&arena, bytes_make(NULL, 0));
    ck_assert_uint_eq(empty.size, 0);
    ck_assert_str_eq(empty.data, "");
    ck_assert_ptr_null(arena_strdup(&arena, "seventeen bytes.."));
    struct bytes refused = arena_copy(&arena, BYTES_LITERAL("seventeen bytes.."));
    ck_assert_ptr_null(refused.data);
    ck_assert_uint_eq(refused.size, 0);
    arena_fini(&arena);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("base/arena");
    TCase *tcase = tcase_create("arena");
    tcase_add_test(tcase, pieces_are_aligned_apart_and_keep_their_bytes);
    tcase_add_test(tcase, empty_pieces_are_distinct);
    tcase_add_test(tcase, the_limit_is_exact_and_survives_refusals);
    tcase_add_test(tcase, absurd_sizes_are_refused);
    tcase_add_test(tcase, reset_keeps_the_first_block_only);
    tcase_add_test(tcase, an_oversized_piece_does_not_end_the_current_block);
    tcase_add_test(tcase, calloc_zeroes_what_was_used_before);
    tcase_add_test(tcase, copies_are_terminated_and_independent);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
