/* Unit tests of base/log. Each test runs in a process of its own (check forks), so each begins with
 * the default log. */
#include "config.h"

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define OUTPUT_MAX (1 << 20)

static char directory[64]; /* of this test */
static char path[96];      /* the log file in it */
static char rotated[96];
static char output[OUTPUT_MAX];

static void make_directory(void) {
    snprintf(directory, sizeof(directory), "test_log.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/error.log", directory);
    snprintf(rotated, sizeof(rotated), "%s/error.log.1", directory);
}

static void remove_directory(void) {
    unlink(path);
    unlink(rotated);
    rmdir(directory);
}

/* The whole of a file as text. */
static const char *contents(const char *file) {
    int descriptor = open(file, O_RDONLY);
    ck_assert_int_ne(descriptor, -1);
    ssize_t size = read(descriptor, output, sizeof(output) - 1);
    ck_assert_int_ge(size, 0);
    output[size] = '\0';
    close(descriptor);
    return output;
}

/* The message of the only line: what stands behind "]: ", without the newline. */
static const char *only_message(void) {
    const char *text = contents(path);
    char *end = strchr(text, '\n');
    ck_assert_ptr_nonnull(end);
    ck_assert_str_eq(end + 1, "");
    *end = '\0';
    const char *message = strstr(text, "]: ");
    ck_assert_ptr_nonnull(message);
    return message + 3;
}

START_TEST(a_line_has_time_level_process_and_message) {
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    log_set_identity("worker 3");
    log_warn("provider %s is %d", "x", 7);
    int year, month, day, hour, minute, second, ms, pid, end = 0;
    int fields =
        sscanf(contents(path), "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ warn worker 3[%d]: provider x is 7%n",
               &year, &month, &day, &hour, &minute, &second, &ms, &pid, &end);
    ck_assert_int_eq(fields, 8);
    ck_assert_str_eq(output + end, "\n");
    ck_assert_int_eq(pid, getpid());
    ck_assert_int_ge(year, 2024);
    ck_assert_int_eq(output[23], 'Z');
}
END_TEST

START_TEST(levels_below_the_threshold_are_silent) {
    static const char *const names[] = {" debug ", " info ", " warn ", " error "};
    for (int threshold = LOG_LEVEL_DEBUG; threshold <= LOG_LEVEL_ERROR; threshold++) {
        unlink(path);
        ck_assert_int_eq(log_open(path, (enum log_level)threshold), 0);
        log_debug("x");
        log_info("x");
        log_warn("x");
        log_error("x");
        contents(path);
        for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++) {
            ck_assert_int_eq(strstr(output, names[level]) != NULL, level >= threshold);
        }
    }
}
END_TEST

static const struct {
    const char *message, *written;
} escapes[] = {
    {"plain", "plain"},
    {"", ""},
    {"two\nlines\r", "two\\x0alines\\x0d"},
    {"\x1b[2J\t\x7f", "\\x1b[2J\\x09\\x7f"},
    {"\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80", "\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80"},
    {"\xc2\x9b!", "\\xc2\\x9b!"},       /* U+009B: terminals take it for ESC [ */
    {"\xc2\xa0", "\xc2\xa0"},           /* U+00A0: the first one past the controls */
    {"\xff\xc3", "\\xff\\xc3"},         /* not UTF-8 */
    {"\xed\xa0\x80", "\\xed\\xa0\\x80"} /* a surrogate */
};

START_TEST(controls_are_escaped) {
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    log_info("%s", escapes[_i].message);
    ck_assert_str_eq(only_message(), escapes[_i].written);
}
END_TEST

START_TEST(a_long_line_is_cut_and_marked) {
    static char text[20000];
    static const char *const pieces[] = {"a", "\n", "\xe4\xb8\xad", "\xff"};
    for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
        size_t size = strlen(pieces[p]);
        for (size_t i = 0; i + size < sizeof(text); i += size) {
            memcpy(text + i, pieces[p], size);
        }
        unlink(path);
        ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
        log_info("%s", text);
        contents(path);
        size_t line = strlen(output);
        ck_assert_uint_le(line, 4096);
        ck_assert_uint_gt(line, 4096 - 8); /* at most one character is given up for the mark */
        ck_assert_str_eq(output + line - 4, "...\n");
        ck_assert_uint_eq(log_dropped(), 0);
    }
}
END_TEST

/* The longest message that is not cut, and one byte more. */
START_TEST(the_cut_is_exact) {
    static char text[4096];
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    log_info("%s", "");
    size_t room = 4096 - strlen(contents(path));
    memset(text, 'a', room);
    unlink(path);
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    log_info("%s", text);
    ck_assert_str_eq(only_message(), text);
    unlink(path);
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    text[room] = 'b';
    log_info("%s", text);
    const char *cut = only_message();
    ck_assert_uint_eq(strlen(cut), room);
    ck_assert_mem_eq(cut, text, room - 3);
    ck_assert_str_eq(cut + room - 3, "...");
}
END_TEST

START_TEST(a_file_is_appended_and_private) {
    umask(0);
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    log_info("one");
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    log_info("two");
    struct stat status;
    ck_assert_int_eq(fstat(log_descriptor(), &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0640);
    contents(path);
    ck_assert_ptr_nonnull(strstr(output, ": one\n"));
    ck_assert_ptr_nonnull(strstr(output, ": two\n"));
    ck_assert_int_eq(fcntl(log_descriptor(), F_GETFD), FD_CLOEXEC);
}
END_TEST

START_TEST(reopen_follows_a_rotation_under_the_same_descriptor) {
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    int descriptor = log_descriptor();
    log_info("before");
    ck_assert_int_eq(rename(path, rotated), 0);
    log_info("between");
    ck_assert_int_eq(log_reopen(), 0);
    ck_assert_int_eq(log_descriptor(), descriptor);
    ck_assert_int_eq(fcntl(descriptor, F_GETFD), FD_CLOEXEC);
    log_info("after");
    ck_assert_str_eq(only_message(), "after");
    ck_assert_ptr_nonnull(strstr(contents(rotated), ": before\n"));
    ck_assert_ptr_nonnull(strstr(output, ": between\n"));
    ck_assert_ptr_null(strstr(output, "after"));
}
END_TEST

/* A process hung in open for ever. */
START_TEST(a_fifo_without_a_reader_is_an_error) {
    make_directory();
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), -1);
    ck_assert_int_eq(errno, ENXIO);
    remove_directory();
}
END_TEST

START_TEST(a_destination_that_fails_leaves_the_old_one) {
    char missing[128];
    char endless[PATH_MAX + 1];
    snprintf(missing, sizeof(missing), "%s/no/such/file", directory);
    memset(endless, 'a', PATH_MAX);
    endless[PATH_MAX] = '\0';
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    ck_assert_int_eq(log_open(missing, LOG_LEVEL_ERROR), -1);
    ck_assert_int_eq(errno, ENOENT);
    ck_assert_int_eq(log_open(endless, LOG_LEVEL_ERROR), -1);
    ck_assert_int_eq(errno, ENAMETOOLONG);
    log_info("still here");
    ck_assert_str_eq(only_message(), "still here");
    ck_assert_int_eq(rename(path, rotated), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(log_reopen(), -1);
    ck_assert_int_eq(errno, EISDIR);
    log_info("and here");
    ck_assert_ptr_nonnull(strstr(contents(rotated), ": and here\n"));
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(stderr_at_info_is_the_default) {
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    ck_assert_int_eq(dup2(file, STDERR_FILENO), STDERR_FILENO);
    ck_assert_int_eq(log_descriptor(), STDERR_FILENO);
    log_debug("no");
    log_info("yes");
    ck_assert_int_eq(log_reopen(), 0);
    ck_assert_str_eq(only_message(), "yes");
    ck_assert_ptr_nonnull(strstr(contents(path), " info optiroute["));
    /* Going to a file and back does not close stderr. */
    ck_assert_int_eq(log_open(rotated, LOG_LEVEL_INFO), 0);
    ck_assert_int_eq(log_open("stderr", LOG_LEVEL_INFO), 0);
    log_info("again");
    ck_assert_ptr_nonnull(strstr(contents(path), ": again\n"));
}
END_TEST

START_TEST(syslog_has_no_descriptor) {
    ck_assert_int_eq(log_open("syslog", LOG_LEVEL_ERROR), 0);
    ck_assert_int_eq(log_descriptor(), -1);
    log_error("optiroute unit test"); /* lost where no syslog daemon runs; must not hurt */
    ck_assert_int_eq(log_reopen(), 0);
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    log_info("back");
    ck_assert_str_eq(only_message(), "back");
}
END_TEST

START_TEST(lost_lines_are_counted_and_errno_is_kept) {
    ck_assert_int_eq(log_open("/dev/full", LOG_LEVEL_INFO), 0);
    ck_assert_uint_eq(log_dropped(), 0);
    errno = EDOM;
    log_info("lost");
    ck_assert_int_eq(errno, EDOM);
    log_info("lost too");
    log_debug("not even tried");
    ck_assert_uint_eq(log_dropped(), 2);
}
END_TEST

#define THREADS 4
#define LINES_EACH 500

static void *write_lines(void *argument) {
    for (int i = 0; i < LINES_EACH; i++) {
        log_info("%s", (const char *)argument);
    }
    return NULL;
}

START_TEST(lines_of_several_threads_stay_whole) {
    static const char *const texts[THREADS] = {"aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc",
                                               "dddddddddd"};
    pthread_t threads[THREADS];
    ck_assert_int_eq(log_open(path, LOG_LEVEL_INFO), 0);
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, (void *)texts[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    int lines = 0;
    char *rest = (char *)contents(path);
    for (char *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL; lines++) {
        const char *message = strstr(line, "]: ");
        ck_assert_ptr_nonnull(message);
        ck_assert_uint_eq(strspn(message + 3, (const char[]){message[3], '\0'}), 10);
        ck_assert_uint_eq(strlen(message + 3), 10);
    }
    ck_assert_int_eq(lines, THREADS * LINES_EACH);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("base/log");
    TCase *tcase = tcase_create("log");
    tcase_add_checked_fixture(tcase, make_directory, remove_directory);
    tcase_add_test(tcase, a_line_has_time_level_process_and_message);
    tcase_add_test(tcase, levels_below_the_threshold_are_silent);
    tcase_add_loop_test(tcase, controls_are_escaped, 0, sizeof(escapes) / sizeof(escapes[0]));
    tcase_add_test(tcase, a_long_line_is_cut_and_marked);
    tcase_add_test(tcase, the_cut_is_exact);
    tcase_add_test(tcase, a_file_is_appended_and_private);
    tcase_add_test(tcase, reopen_follows_a_rotation_under_the_same_descriptor);
    tcase_add_test(tcase, a_fifo_without_a_reader_is_an_error);
    tcase_add_test(tcase, a_destination_that_fails_leaves_the_old_one);
    tcase_add_test(tcase, stderr_at_info_is_the_default);
    tcase_add_test(tcase, syslog_has_no_descriptor);
    tcase_add_test(tcase, lost_lines_are_counted_and_errno_is_kept);
    tcase_add_test(tcase, lines_of_several_threads_stay_whole);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
