/* Unit tests of base/panic. What a dying process says is read through a pipe put in place of its
 * stderr. */
#include "config.h"

#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/panic.h"

static char said[8192]; /* what the last child wrote to stderr */

/* Runs `act` in a child; returns its wait status and fills `said`. */
static int run_child(void (*act)(void)) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ne(pid, -1);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        act();
        _exit(77);
    }
    close(ends[1]);
    size_t size = 0;
    for (ssize_t got; (got = read(ends[0], said + size, sizeof(said) - 1 - size)) > 0;) {
        size += (size_t)got;
    }
    said[size] = '\0';
    close(ends[0]);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_aborted(int status) {
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
}

static int answer = 42;

static void break_invariant(void) {
    ASSERT(answer == 41);
}

START_TEST(a_broken_invariant_aborts_with_last_words) {
    assert_aborted(run_child(break_invariant));
    ck_assert_ptr_nonnull(strstr(said, " error "));
    ck_assert_ptr_nonnull(strstr(said, "panic: "));
    ck_assert_ptr_nonnull(strstr(said, "test_panic.c:"));
    ck_assert_ptr_nonnull(strstr(said, ": answer == 41\n"));
}
END_TEST

static void keep_invariant(void) {
    ASSERT(answer == 42);
}

START_TEST(a_kept_invariant_is_silent) {
    int status = run_child(keep_invariant);
    ck_assert_int_eq(WEXITSTATUS(status), 77);
    ck_assert_str_eq(said, "");
}
END_TEST

static void tell(const char *last_words) {
    dprintf(STDERR_FILENO, "hook<%s>\n", last_words);
}

static void panic_hooked(void) {
    panic_set_hook(tell);
    panic("file.c", 12, "what");
}

static void panic_unhooked(void) {
    panic_set_hook(tell);
    panic_set_hook(NULL);
    panic("file.c", 12, "what");
}

START_TEST(the_hook_hears_the_last_words_before_the_log) {
    assert_aborted(run_child(panic_hooked));
    const char *hook = strstr(said, "hook<file.c:12: what>\n");
    const char *line = strstr(said, "panic: file.c:12: what\n");
    ck_assert_ptr_nonnull(hook);
    ck_assert_ptr_nonnull(line);
    ck_assert(hook < line);
    assert_aborted(run_child(panic_unhooked));
    ck_assert_ptr_null(strstr(said, "hook<"));
}
END_TEST

static void panic_again(const char *last_words) {
    tell(last_words);
    panic("again.c", 1, "again");
}

static void panic_in_hook(void) {
    panic_set_hook(panic_again);
    panic("file.c", 12, "what");
}

START_TEST(a_panic_in_the_hook_ends_the_process) {
    assert_aborted(run_child(panic_in_hook));
    ck_assert_str_eq(said, "hook<file.c:12: what>\n");
}
END_TEST

static void panic_at_length(void) {
    char what[4000];
    memset(what, 'x', sizeof(what) - 1);
    what[sizeof(what) - 1] = '\0';
    panic_set_hook(tell);
    panic("file.c", 12, what);
}

START_TEST(long_last_words_are_cut) {
    assert_aborted(run_child(panic_at_length));
    size_t size = strcspn(strstr(said, "hook<") + 5, ">");
    ck_assert_uint_eq(size, 255);
}
END_TEST

static void die_of_configuration(void) {
    die(1, "%s: line %d", "optiroute.yaml", 7);
}

static void die_logging_elsewhere(void) {
    if (log_open("/dev/null", LOG_LEVEL_INFO) == 0) {
        die(2, "no %s", "memory");
    }
}

START_TEST(die_says_why_once_and_exits) {
    int status = run_child(die_of_configuration);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 1);
    const char *line = strstr(said, "]: optiroute.yaml: line 7\n");
    ck_assert_ptr_nonnull(line);
    ck_assert_ptr_null(strstr(line + 4, "optiroute.yaml"));
    ck_assert_int_eq(WEXITSTATUS(run_child(die_logging_elsewhere)), 2);
    ck_assert_str_eq(said, "optiroute: no memory\n");
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("base/panic");
    TCase *tcase = tcase_create("panic");
    tcase_add_test(tcase, a_broken_invariant_aborts_with_last_words);
    tcase_add_test(tcase, a_kept_invariant_is_silent);
    tcase_add_test(tcase, the_hook_hears_the_last_words_before_the_log);
    tcase_add_test(tcase, a_panic_in_the_hook_ends_the_process);
    tcase_add_test(tcase, long_last_words_are_cut);
    tcase_add_test(tcase, die_says_why_once_and_exits);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
