/* The pid file: held, refused, taken over from the dead, not taken from somebody else. */
#include "config.h"

#include "proc/pidfile.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

static char directory[64], path[96], error[512];

static void setup(void) {
    snprintf(directory, sizeof(directory), "/tmp/optiroute-pidfile-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/pid", directory);
}

static void teardown(void) {
    (void)unlink(path);
    ck_assert_int_eq(rmdir(directory), 0); /* nothing is left behind */
}

/* A child that holds the file until it is killed; returns when it does. */
static pid_t start_holder(void) {
    int ready[2];
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = pidfile_create(path, error, sizeof(error));
        char answer = fd != -1 ? 'y' : 'n';
        if (write(ready[1], &answer, 1) == 1) {
            pause();
        }
        _exit(0);
    }
    char answer = 'n';
    ck_assert_int_eq(read(ready[0], &answer, 1), 1);
    ck_assert_int_eq(answer, 'y');
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void end_holder(pid_t pid) {
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(holds) {
    int fd = pidfile_create(path, error, sizeof(error));
    ck_assert_int_ne(fd, -1);
    char text[32] = "", expected[32];
    snprintf(expected, sizeof(expected), "%d\n", (int)getpid());
    ck_assert_int_eq(pread(fd, text, sizeof(text) - 1, 0), (ssize_t)strlen(expected));
    ck_assert_str_eq(text, expected);
    pidfile_remove(path, fd);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(refuses_a_second) {
    pid_t holder = start_holder();
    ck_assert_int_eq(pidfile_read(path, error, sizeof(error)), holder);
    ck_assert_int_eq(pidfile_create(path, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, "another optirouted"));
    ck_assert_int_eq(pidfile_read(path, error, sizeof(error)), holder);
    end_holder(holder);
}
END_TEST

START_TEST(takes_over_from_the_dead) {
    end_holder(start_holder());
    ck_assert_int_eq(access(path, F_OK), 0);
    ck_assert_int_eq(pidfile_read(path, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, "nobody holds"));
    int fd = pidfile_create(path, error, sizeof(error));
    ck_assert_int_ne(fd, -1);
    pidfile_remove(path, fd);
}
END_TEST

START_TEST(leaves_other_files_alone) {
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    const char *text = "this is somebody's important file, not ours\n";
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    ck_assert_int_eq(pidfile_create(path, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, "no pid file"));
    ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(follows_no_link) {
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    ck_assert_int_eq(pidfile_create(path, error, sizeof(error)), -1);
}
END_TEST

START_TEST(removes_only_its_own) {
    int fd = pidfile_create(path, error, sizeof(error));
    ck_assert_int_ne(fd, -1);
    ck_assert_int_eq(unlink(path), 0);
    pid_t holder = start_holder();
    pidfile_remove(path, fd);
    ck_assert_int_eq(pidfile_read(path, error, sizeof(error)), holder);
    end_holder(holder);
}
END_TEST

START_TEST(a_successor_replaces_its_predecessors_file) {
    pid_t holder = start_holder();
    struct stat before, after;
    ck_assert_int_eq(stat(path, &before), 0);
    ck_assert(pidfile_is_held_by_another(path, holder + 1));
    ck_assert(!pidfile_is_held_by_another(path, holder));
    int fd = pidfile_prepare(path, error, sizeof(error));
    ck_assert_msg(fd != -1, "%s", error);
    ck_assert(!pidfile_is_ours(path, fd));
    ck_assert_int_eq(pidfile_place(path, holder + 1, error, sizeof(error)), -1);
    ck_assert_int_eq(pidfile_read(path, error, sizeof(error)), holder);
    ck_assert_int_eq(pidfile_place(path, holder, error, sizeof(error)), 0);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_ne(before.st_ino, after.st_ino);
    ck_assert(pidfile_is_ours(path, fd));
    end_holder(holder); /* it does not take ours along */
    ck_assert(pidfile_is_ours(path, fd));
    pidfile_remove(path, fd);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(what_was_never_placed_goes_too) {
    char fresh[256];
    snprintf(fresh, sizeof(fresh), "%s.%d", path, (int)getpid());
    pid_t holder = start_holder();
    int fd = pidfile_prepare(path, error, sizeof(error));
    ck_assert_int_eq(access(fresh, F_OK), 0);
    pidfile_discard(path, getpid()); /* as who finds us dead */
    ck_assert_int_eq(access(fresh, F_OK), -1);
    pidfile_remove(path, fd);
    fd = pidfile_prepare(path, error, sizeof(error));
    pidfile_remove(path, fd);
    ck_assert_int_eq(access(fresh, F_OK), -1);
    ck_assert_int_eq(pidfile_read(path, error, sizeof(error)), holder);
    end_holder(holder);
}
END_TEST

START_TEST(touching_moves_the_time_and_nothing_else) {
    int fd = pidfile_create(path, error, sizeof(error));
    struct stat before, after;
    ck_assert_int_eq(stat(path, &before), 0);
    pidfile_touch(fd);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert(before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
              before.st_mtim.tv_nsec != after.st_mtim.tv_nsec);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    ck_assert_int_eq(before.st_size, after.st_size);
    pidfile_remove(path, fd);
}
END_TEST

START_TEST(nothing_there) {
    ck_assert_int_eq(pidfile_read(path, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, path));
    ck_assert_int_eq(pidfile_create("/no/such/directory/pid", error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, "/no/such/directory/pid"));
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("pidfile");
    TCase *tcase = tcase_create("pidfile");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, holds);
    tcase_add_test(tcase, refuses_a_second);
    tcase_add_test(tcase, takes_over_from_the_dead);
    tcase_add_test(tcase, leaves_other_files_alone);
    tcase_add_test(tcase, follows_no_link);
    tcase_add_test(tcase, removes_only_its_own);
    tcase_add_test(tcase, a_successor_replaces_its_predecessors_file);
    tcase_add_test(tcase, what_was_never_placed_goes_too);
    tcase_add_test(tcase, touching_moves_the_time_and_nothing_else);
    tcase_add_test(tcase, nothing_there);
    suite_add_tcase(suite, tcase);
    return suite;
}
UNIT_MAIN(make_suite)
