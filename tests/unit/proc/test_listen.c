/* Listening sockets: bound, named, refused with a helpful word, inherited. */
#include "config.h"

#include "proc/listen.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#define INHERITED_FD 3 /* where sd_listen_fds(3) begins */

static struct listeners clients, metrics;
static char error[512];

static void reset(void) {
    clients.count = 0;
    metrics.count = 0;
    error[0] = '\0';
}

/* An address of its own: its port is free once more when it is closed, whatever else runs here. */
#define ADDRESS "127.11.7.3"

START_TEST(binds_and_names) {
    reset();
    struct conf_address address = {.text = ADDRESS ":0", .host = ADDRESS, .port = 0};
    ck_assert_int_eq(listen_open(&clients, &address, error, sizeof(error)), 0);
    ck_assert_uint_eq(clients.count, 1);
    struct sockaddr_in bound;
    socklen_t size = sizeof(bound);
    int fd = clients.items[0].fd;
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&bound, &size), 0);
    char expected[64];
    snprintf(expected, sizeof(expected), ADDRESS ":%u", (unsigned)ntohs(bound.sin_port));
    ck_assert_str_eq(clients.items[0].name, expected);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);

    /* The same port again: the line names the address and what to do. */
    struct conf_address again = {.text = expected, .host = ADDRESS, .port = ntohs(bound.sin_port)};
    ck_assert_int_eq(listen_open(&clients, &again, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, expected));
    ck_assert_ptr_nonnull(strstr(error, "is another optirouted running?"));
    ck_assert_uint_eq(clients.count, 1);

    listen_close(&clients);
    ck_assert_uint_eq(clients.count, 0);
    ck_assert_int_eq(listen_open(&clients, &again, error, sizeof(error)), 0);
    listen_close(&clients);
}
END_TEST

START_TEST(foreign_address) {
    reset();
    /* TEST-NET-1 of RFC 5737: no machine has it. */
    struct conf_address address = {.text = "192.0.2.1:8000", .host = "192.0.2.1", .port = 8000};
    ck_assert_int_eq(listen_open(&clients, &address, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, "192.0.2.1:8000: no interface"));
}
END_TEST

/* What a child makes of a socket given as systemd gives it. A child, because descriptor 3 of this
 * process belongs to check(3). */
enum answer { ANSWER_NOTHING, ANSWER_CLIENT, ANSWER_METRICS, ANSWER_REFUSED, ANSWER_WRONG };

static enum answer inherit(int fd, const char *pid, const char *names) {
    char own_pid[16];
    snprintf(own_pid, sizeof(own_pid), "%d", (int)getpid());
    setenv("LISTEN_PID", pid != NULL ? pid : own_pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    if (names != NULL) {
        setenv("LISTEN_FDNAMES", names, 1);
    }
    if (dup2(fd, INHERITED_FD) == -1) {
        return ANSWER_WRONG;
    }
    int result = listen_inherit(&clients, &metrics, error, sizeof(error));
    if (getenv("LISTEN_PID") != NULL || getenv("LISTEN_FDS") != NULL ||
        getenv("LISTEN_FDNAMES") != NULL) {
        return ANSWER_WRONG;
    }
    if (result == -1) {
        return strstr(error, "descriptor 3") != NULL ? ANSWER_REFUSED : ANSWER_WRONG;
    }
    if (clients.count + metrics.count == 0) {
        return ANSWER_NOTHING;
    }
    const struct listener *taken = clients.count > 0 ? &clients.items[0] : &metrics.items[0];
    if (clients.count + metrics.count != 1 || taken->fd != INHERITED_FD ||
        (fcntl(INHERITED_FD, F_GETFL) & O_NONBLOCK) == 0 ||
        (fcntl(INHERITED_FD, F_GETFD) & FD_CLOEXEC) == 0) {
        return ANSWER_WRONG;
    }
    return clients.count > 0 ? ANSWER_CLIENT : ANSWER_METRICS;
}

static const struct {
    const char *pid, *names; /* NULL: the child's own; not set */
    bool listens;
    enum answer answer;
} given[] = {
    {NULL, NULL, true, ANSWER_CLIENT},           {NULL, "metrics", true, ANSWER_METRICS},
    {NULL, "http:metrics", true, ANSWER_CLIENT}, {NULL, NULL, false, ANSWER_REFUSED},
    {"1", NULL, true, ANSWER_NOTHING},
};

START_TEST(inherits) {
    reset();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (given[_i].listens) {
        ck_assert_int_eq(listen(fd, 5), 0); /* binds by itself */
    }
    pid_t child = fork();
    if (child == 0) {
        _exit(inherit(fd, given[_i].pid, given[_i].names));
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), given[_i].answer);
    close(fd);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("listen");
    TCase *tcase = tcase_create("listen");
    tcase_add_test(tcase, binds_and_names);
    tcase_add_test(tcase, foreign_address);
    tcase_add_loop_test(tcase, inherits, 0, sizeof(given) / sizeof(given[0]));
    suite_add_tcase(suite, tcase);
    return suite;
}
UNIT_MAIN(make_suite)
