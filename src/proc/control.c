/* control: see proc/control.h. Runs in a process of its own that ends at once. */
#include "config.h"

#include "proc/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "proc/pidfile.h"

/* What each word means to the master. Stop is to be told twice: two different signals, because two
 * equal ones may become one on their way. */
static const struct {
    int first, second;
} meanings[OPTIONS_SIGNAL_COUNT] = {
    [OPTIONS_RELOAD] = {SIGHUP, 0},   [OPTIONS_REOPEN] = {SIGUSR1, 0},
    [OPTIONS_QUIT] = {SIGQUIT, 0},    [OPTIONS_STOP] = {SIGQUIT, SIGTERM},
    [OPTIONS_UPGRADE] = {SIGUSR2, 0},
};

/* An upgrade that takes longer was given up long ago. */
#define UPGRADE_WAIT_NS (60 * NS_PER_S)
#define LOOK_AGAIN_NS (20 * NS_PER_MS)

/* Ends when the pid file names another process (0), or when the same one has touched it, which is
 * its sign of an upgrade that failed. */
static int await_upgrade(const char *pid_path, pid_t before, const struct stat *file, char *error,
                         size_t error_size) {
    int64_t until_ns = clock_mono_ns() + UPGRADE_WAIT_NS;
    do {
        struct stat now;
        const struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
        (void)nanosleep(&pause, NULL);
        /* The file first: who reads the old id after a take-over is told so by the next look. */
        bool is_same = stat(pid_path, &now) == 0 && now.st_ino == file->st_ino &&
                       now.st_mtim.tv_sec == file->st_mtim.tv_sec &&
                       now.st_mtim.tv_nsec == file->st_mtim.tv_nsec;
        pid_t pid = pidfile_read(pid_path, error, error_size);
        if (pid == -1) {
            return -1;
        }
        if (pid != before) {
            return 0;
        }
        if (!is_same) {
            snprintf(error, error_size,
                     "the upgrade failed and process %d goes on; its log says why", (int)pid);
            return -1;
        }
    } while (clock_mono_ns() < until_ns);
    snprintf(error, error_size, "process %d has not been replaced in time; its log may say why",
             (int)before);
    return -1;
}

int control_send(enum options_signal signal, const char *pid_path, char *error, size_t error_size) {
    if (pid_path[0] == '\0') {
        snprintf(error, error_size,
                 "-s needs a pid file: give -p FILE or set pid_file in the configuration");
        return -1;
    }
    pid_t pid = pidfile_read(pid_path, error, error_size);
    struct stat file = {0};
    if (pid == -1) {
        return -1;
    }
    (void)stat(pid_path, &file);
    if (kill(pid, meanings[signal].first) == -1 ||
        (meanings[signal].second != 0 && kill(pid, meanings[signal].second) == -1 &&
         errno != ESRCH)) {
        snprintf(error, error_size, "cannot signal process %d: %s", (int)pid, strerror(errno));
        return -1;
    }
    return signal == OPTIONS_UPGRADE ? await_upgrade(pid_path, pid, &file, error, error_size) : 0;
}
