/* Handover: the text that one version writes and another reads. */
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proc/handover.h"

static void ask(struct listeners *listeners, const char *asked) {
    struct listener *listener = &listeners->items[listeners->count++];
    snprintf(listener->asked, sizeof(listener->asked), "%s", asked);
}

START_TEST(text_there_and_back) {
    static struct handover given = {.master = 4711, .generation = 12}, taken;
    ask(&given.clients, "127.0.0.1:8000");
    ask(&given.clients, ""); /* from an init system */
    ask(&given.metrics, "[::1]:9464");
    char memory[256];
    struct buf text;
    buf_init_fixed(&text, memory, sizeof(memory));
    handover_compose(&given, &text);
    ck_assert(bytes_equal_str(buf_bytes(&text),
                              "4711 12 clients=127.0.0.1:8000 clients= metrics=[::1]:9464"));
    struct bytes list;
    ck_assert_int_eq(handover_parse(buf_bytes(&text), &taken, &list), 3);
    ck_assert_int_eq(taken.master, 4711);
    ck_assert_uint_eq(taken.generation, 12);
    ck_assert(bytes_equal_str(list, "clients=127.0.0.1:8000 clients= metrics=[::1]:9464"));
}
END_TEST

START_TEST(nonsense_is_refused) {
    static const char *const texts[] = {
        "",
        " ",
        "1",
        "1 2",
        "x 2 clients=",
        "1 x clients=",
        "-1 2 clients=",
        "0 2 clients=",
        "1 -2 clients=",
        "1 99999999999 clients=",
        "99999999999 1 clients=",
        "1 2 client=x",
        "1 2 clients=x  metrics=y",
        "1 2 clients=x region=3",
    };
    static struct handover taken;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct bytes list;
        ck_assert_msg(handover_parse(bytes_from_str(texts[i]), &taken, &list) == -1, "'%s'",
                      texts[i]);
    }
}
END_TEST

START_TEST(counts_only_for_a_child_of_who_wrote_it) {
    char text[64];
    snprintf(text, sizeof(text), "%d 1 clients=x metrics=y", (int)getppid());
    setenv(HANDOVER_VARIABLE, text, 1);
    ck_assert_uint_eq(handover_count(), 4);
    snprintf(text, sizeof(text), "%d 1 clients=x metrics=y", (int)getpid());
    setenv(HANDOVER_VARIABLE, text, 1);
    ck_assert_uint_eq(handover_count(), 0);
    static struct handover taken;
    char error[256];
    ck_assert_int_eq(handover_take(&taken, error, sizeof(error)), 0);
    ck_assert_ptr_null(getenv(HANDOVER_VARIABLE));
    ck_assert_uint_eq(handover_count(), 0);
}
END_TEST

START_TEST(sockets_move_by_what_was_asked) {
    static struct listeners from, to;
    ask(&from, "a:1");
    ask(&from, "b:2");
    ask(&from, "a:1"); /* a name with two addresses */
    ck_assert_uint_eq(listen_move(&to, &from, "a"), 0);
    ck_assert_uint_eq(listen_move(&to, &from, "a:1"), 2);
    ck_assert_uint_eq(to.count, 2);
    ck_assert_uint_eq(from.count, 1);
    ck_assert_str_eq(from.items[0].asked, "b:2");
    ck_assert_uint_eq(listen_move(&to, &from, "a:1"), 0);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("handover");
    TCase *tcase = tcase_create("handover");
    tcase_add_test(tcase, text_there_and_back);
    tcase_add_test(tcase, nonsense_is_refused);
    tcase_add_test(tcase, counts_only_for_a_child_of_who_wrote_it);
    tcase_add_test(tcase, sockets_move_by_what_was_asked);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
