/* Unit tests of base/failpoint. The module is compiled in here with failpoints on, so that it is
 * tested in every build; the program therefore does not take failpoint.o from the library. */
#include "config.h"

#ifndef ENABLE_FAILPOINTS
#define ENABLE_FAILPOINTS 1
#endif
#include "../../../src/base/failpoint.c"

#include "unit.h"

#include <sys/wait.h>

START_TEST(without_a_setting_nothing_happens) {
    ck_assert(load_points(""));
    FAILPOINT("store.write.1");
    ck_assert(!FAILPOINT_FAILS("store.write.1"));
}
END_TEST

START_TEST(a_name_must_match_whole) {
    ck_assert(load_points("store.write.1:fail"));
    ck_assert(FAILPOINT_FAILS("store.write.1"));
    ck_assert(FAILPOINT_FAILS("store.write.1"));
    ck_assert(!FAILPOINT_FAILS("store.write.10"));
    ck_assert(!FAILPOINT_FAILS("store.write."));
    ck_assert(!FAILPOINT_FAILS(""));
}
END_TEST

START_TEST(a_number_picks_one_pass) {
    ck_assert(load_points("a.b.c:fail:3,x.y.z:fail:1,a.b.c:fail:5"));
    for (int i = 1; i <= 7; i++) {
        ck_assert_int_eq(FAILPOINT_FAILS("a.b.c"), i == 3 || i == 5);
        ck_assert_int_eq(FAILPOINT_FAILS("x.y.z"), i == 1);
    }
}
END_TEST

START_TEST(both_macros_count_a_pass) {
    ck_assert(load_points("a.b.c:fail:2"));
    FAILPOINT("a.b.c");
    ck_assert(FAILPOINT_FAILS("a.b.c"));
    ck_assert(!FAILPOINT_FAILS("a.b.c"));
}
END_TEST

#define FOUR_POINTS "a:fail,b:fail,c:fail,d:fail,"
#define SIXTEEN_POINTS FOUR_POINTS FOUR_POINTS FOUR_POINTS FOUR_POINTS
#define MOST_POINTS SIXTEEN_POINTS SIXTEEN_POINTS SIXTEEN_POINTS SIXTEEN_POINTS
#define TOO_MANY_POINTS MOST_POINTS "e:fail"

START_TEST(malformed_settings_are_refused) {
    static const char *const rows[] = {
        "a",
        ":kill",
        "a:",
        "a:die",
        "a:kill:",
        "a:kill:0",
        "a:kill:x",
        "a:kill:-1",
        "a:kill:+0",
        "a:kill:+",
        "a:kill:++1",
        "a:kill:1:2",
        "a:KILL",
        "a:kill,,b:kill",
        ",a:kill",
        "a:kill:99999999999999999999",
        "0123456789012345678901234567890123456789012345678901234567890123:kill",
        TOO_MANY_POINTS,
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(!load_points(rows[i]), "\"%s\"", rows[i]);
    }
    ck_assert(load_points("012345678901234567890123456789012345678901234567890123456789012:kill"));
    ck_assert(load_points(MOST_POINTS));
    ck_assert(load_points("a:kill:9223372036854775807,"));
}
END_TEST

START_TEST(kill_ends_the_process) {
    pid_t pid = fork();
    ck_assert_int_ne(pid, -1);
    if (pid == 0) {
        bool loaded = load_points("a.b.c:kill:2");
        FAILPOINT("a.b.c");
        if (loaded && write(STDOUT_FILENO, "", 0) == 0) {
            FAILPOINT("a.b.c");
        }
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGKILL);
}
END_TEST

START_TEST(stop_stops_until_continued) {
    pid_t pid = fork();
    ck_assert_int_ne(pid, -1);
    if (pid == 0) {
        if (load_points("a.b.c:stop")) {
            FAILPOINT("a.b.c");
        }
        _exit(5);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    ck_assert(WIFSTOPPED(status));
    ck_assert_int_eq(WSTOPSIG(status), SIGSTOP);
    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 5);
}
END_TEST

START_TEST(the_environment_is_read_and_a_child_counts_anew) {
    setenv(FAILPOINT_VARIABLE, "a.b.c:fail:2", 1);
    failpoint_start(); /* once more, as at the start of a process with this environment */
    ck_assert(!FAILPOINT_FAILS("a.b.c"));
    pid_t pid = fork();
    ck_assert_int_ne(pid, -1);
    if (pid == 0) {
        bool first = FAILPOINT_FAILS("a.b.c");
        bool second = FAILPOINT_FAILS("a.b.c");
        _exit(!first && second ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert(FAILPOINT_FAILS("a.b.c"));
}
END_TEST

START_TEST(a_number_with_a_plus_counts_the_family) {
    ck_assert(load_points("a.b.c:fail:+3"));
    for (int turn = 1; turn <= 4; turn++) {
        pid_t pid = fork();
        ck_assert_int_ne(pid, -1);
        if (pid == 0) {
            _exit(FAILPOINT_FAILS("a.b.c") ? 1 : 0);
        }
        int status;
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(WEXITSTATUS(status), turn == 3);
    }
    ck_assert(!FAILPOINT_FAILS("a.b.c"));
}
END_TEST

START_TEST(a_death_says_where_it_was) {
    int pipe_fds[2], status;
    ck_assert_int_eq(pipe(pipe_fds), 0);
    pid_t pid = fork();
    ck_assert_int_ne(pid, -1);
    if (pid == 0) {
        if (dup2(pipe_fds[1], STDERR_FILENO) != -1 && load_points("a.b.c:kill")) {
            FAILPOINT("a.b.c");
        }
        _exit(1);
    }
    close(pipe_fds[1]);
    char said[64] = "";
    ck_assert_int_gt(read(pipe_fds[0], said, sizeof(said) - 1), 0);
    ck_assert_str_eq(said, "failpoint: a.b.c: kill\n");
    close(pipe_fds[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}
END_TEST

static int uses_of(const char *name) {
    int count = 0;
    for (const char *const *at = failpoints_begin; at < failpoints_end; at++) {
        count += strcmp(*at, name) == 0;
    }
    return count;
}

START_TEST(every_use_is_in_the_section) {
    if (failpoints_begin == NULL) { /* never, but the compiler must not know */
        FAILPOINT("only.used.here");
        ck_assert(!FAILPOINT_FAILS("and.used.here"));
    }
    ck_assert_int_eq(uses_of("only.used.here"), 1);
    ck_assert_int_eq(uses_of("and.used.here"), 1);
    ck_assert_int_gt(uses_of("a.b.c"), 3);
    ck_assert_int_eq(uses_of("used.nowhere"), 0);
}
END_TEST

START_TEST(a_malformed_environment_ends_the_process) {
    setenv(FAILPOINT_VARIABLE, "a.b.c", 1);
    failpoint_start();
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("base/failpoint");
    TCase *tcase = tcase_create("failpoint");
    tcase_add_test(tcase, without_a_setting_nothing_happens);
    tcase_add_test(tcase, a_name_must_match_whole);
    tcase_add_test(tcase, a_number_picks_one_pass);
    tcase_add_test(tcase, both_macros_count_a_pass);
    tcase_add_test(tcase, malformed_settings_are_refused);
    tcase_add_test(tcase, kill_ends_the_process);
    tcase_add_test(tcase, stop_stops_until_continued);
    tcase_add_test(tcase, the_environment_is_read_and_a_child_counts_anew);
    tcase_add_test(tcase, a_number_with_a_plus_counts_the_family);
    tcase_add_test(tcase, a_death_says_where_it_was);
    tcase_add_test(tcase, every_use_is_in_the_section);
    tcase_add_exit_test(tcase, a_malformed_environment_ends_the_process, 1);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
