/* Process statistics: the parser of /proc/PID/stat, and sums over real processes. */
#include "config.h"

#include "unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "watch/process_stats.h"

#define TAIL " S 1 2 3 0 -1 4194560 100 0 0 0 11 22 333 4444 20 0 1 0 900 5000000 77 18446744"

static const struct {
    const char *line;
    bool valid;
} lines[] = {
    {"42 (optirouted)" TAIL "\n", true},
    {"42 (a b) c) 7 (d)" TAIL, true},
    {"42 ()" TAIL, true},
    {"42 (new\nline)" TAIL, true},
    {"", false},
    {"42 optirouted S 1 2 3", false},
    {"42 (optirouted)", false},
    {"42 (optirouted) S 1 2 3 0 -1 4194560 100 0 0 0 11 22 333 4444 20 0 1 0 900", false},
};

START_TEST(stat_line) {
    struct process_stat_line out = {0};
    ck_assert_int_eq(process_stat_parse(bytes_from_str(lines[_i].line), &out), lines[_i].valid);
    if (lines[_i].valid) {
        ck_assert_uint_eq(out.own_ticks, 33);
        ck_assert_uint_eq(out.children_ticks, 4777);
        ck_assert_uint_eq(out.virtual_bytes, 5000000);
    }
}
END_TEST

/* A child that waits until its pipe is closed; `burn_ns` of CPU time before that. */
static pid_t spawn(int pipe_fds[2], int64_t burn_ns) {
    int ready[2];
    char byte = 0;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    ck_assert_int_ne(pid, -1);
    if (pid == 0) {
        struct timespec used = {0};
        close(pipe_fds[1]);
        while ((int64_t)used.tv_sec * 1000000000 + used.tv_nsec < burn_ns) {
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
        }
        _exit(write(ready[1], &byte, 1) == 1 && read(pipe_fds[0], &byte, 1) == 0 ? 0 : 1);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

START_TEST(own_process) {
    struct process_stats stats;
    struct process_stats more;
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    process_stats_read(getpid(), NULL, 0, &stats);
    ck_assert_uint_gt(stats.resident_bytes, 100 * 1024);
    ck_assert_uint_gt(stats.virtual_bytes, stats.resident_bytes);
    ck_assert_uint_eq(stats.max_fds, limit.rlim_cur);
    int fds[2] = {dup(0), dup(0)};
    process_stats_read(getpid(), NULL, 0, &more);
    ck_assert_uint_eq(more.open_fds, stats.open_fds + 2);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(sums_and_ends) {
    struct process_stats alone;
    struct process_stats both;
    struct process_stats after;
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    pid_t child = spawn(fds, 50000000);
    process_stats_read(getpid(), NULL, 0, &alone);
    process_stats_read(getpid(), &child, 1, &both);
    ck_assert_uint_ge(both.cpu_ns, alone.cpu_ns + 30000000);
    ck_assert_uint_gt(both.resident_bytes, alone.resident_bytes);
    ck_assert_uint_lt(both.resident_bytes, 2 * alone.resident_bytes); /* shared pages once */
    ck_assert_uint_gt(both.virtual_bytes, alone.virtual_bytes);
    ck_assert_uint_gt(both.open_fds, alone.open_fds);
    ck_assert_uint_eq(both.max_fds, 2 * alone.max_fds);
    /* Dead but not reaped, then reaped: its CPU time stays in the sum. */
    close(fds[0]);
    close(fds[1]);
    siginfo_t info;
    ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    process_stats_read(getpid(), &child, 1, &after);
    ck_assert_uint_ge(after.cpu_ns, both.cpu_ns);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    both = after;
    process_stats_read(getpid(), &child, 1, &after);
    ck_assert_uint_ge(after.cpu_ns, both.cpu_ns);
    ck_assert_uint_eq(after.max_fds, alone.max_fds);
}
END_TEST

START_TEST(nobody_there) {
    struct process_stats stats;
    pid_t child = fork();
    if (child == 0) {
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    process_stats_read(child, &child, 1, &stats);
    ck_assert_uint_eq(stats.cpu_ns, 0);
    ck_assert_uint_eq(stats.resident_bytes, 0);
    ck_assert_uint_eq(stats.open_fds, 0);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("process_stats");
    TCase *tcase = tcase_create("proc");
    tcase_add_loop_test(tcase, stat_line, 0, (int)(sizeof(lines) / sizeof(lines[0])));
    tcase_add_test(tcase, own_process);
    tcase_add_test(tcase, sums_and_ends);
    tcase_add_test(tcase, nobody_there);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
