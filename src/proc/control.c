/* control: see proc/control.h. Runs in a process of its own that ends at once. */
#include "config.h"

#include "proc/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "proc/pidfile.h"

/* What each word means to the master. Stop is to be told twice: two different signals, because two
 * equal ones may become one on their way. */
static const struct {
    int first, second;
} meanings[OPTIONS_SIGNAL_COUNT] = {
    [OPTIONS_RELOAD] = {SIGHUP, 0}, [OPTIONS_REOPEN] = {SIGUSR1, 0},
    [OPTIONS_QUIT] = {SIGQUIT, 0},  [OPTIONS_STOP] = {SIGQUIT, SIGTERM},
    [OPTIONS_UPGRADE] = {0, 0},
};

int control_send(enum options_signal signal, const char *pid_path, char *error, size_t error_size) {
    if (meanings[signal].first == 0) {
        snprintf(error, error_size,
                 "-s upgrade: this version cannot replace its binary while it runs; restart it");
        return -1;
    }
    if (pid_path[0] == '\0') {
        snprintf(error, error_size,
                 "-s needs a pid file: give -p FILE or set pid_file in the configuration");
        return -1;
    }
    pid_t pid = pidfile_read(pid_path, error, error_size);
    if (pid == -1) {
        return -1;
    }
    if (kill(pid, meanings[signal].first) == -1 ||
        (meanings[signal].second != 0 && kill(pid, meanings[signal].second) == -1 &&
         errno != ESRCH)) {
        snprintf(error, error_size, "cannot signal process %d: %s", (int)pid, strerror(errno));
        return -1;
    }
    return 0;
}
