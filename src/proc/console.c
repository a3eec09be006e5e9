/* console: see proc/console.h. Runs in the process that was started and in the master.
 *
 * The surprise: the pipe carries text, then a NUL, then one byte of status. End of file without
 * them means that the daemon died, which is status 2.
 */
#include "config.h"

#include "proc/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "proc/system.h"

#define SAY_MAX 1024
/* A daemon whose workers do not come up goes on trying; its starter does not wait for ever. */
#define WAIT_MS 15000
#define STATUS_DIED 2

void console_open(struct console *console) {
    console->fd = STDERR_FILENO;
    console->is_terminal = isatty(STDERR_FILENO) == 1;
}

static void write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written == -1 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return;
        }
        data += written;
        size -= (size_t)written;
    }
}

/* The starter's part: repeats text until the status comes. */
static int wait_for_status(int fd) {
    const int64_t end_ns = clock_mono_ns() + WAIT_MS * NS_PER_MS;
    char data[SAY_MAX];
    bool status_is_next = false;
    for (;;) {
        int64_t left_ms = (end_ns - clock_mono_ns()) / NS_PER_MS;
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        int ready = left_ms > 0 ? poll(&poll_fd, 1, (int)left_ms) : 0;
        if (ready == -1 && errno == EINTR) {
            continue;
        }
        if (ready <= 0) {
            fprintf(stderr, "optirouted: the daemon runs but does not serve yet; see its log\n");
            return 0;
        }
        ssize_t size = read(fd, data, sizeof(data));
        if (size == -1 && errno == EINTR) {
            continue;
        }
        if (size <= 0) {
            fprintf(stderr, "optirouted: the daemon died at its start; see its log\n");
            return STATUS_DIED;
        }
        for (ssize_t i = 0; i < size; i++) {
            if (status_is_next) {
                return data[i];
            }
            if (data[i] == '\0') {
                status_is_next = true;
            } else {
                (void)fputc(data[i], stderr);
            }
        }
    }
}

int console_detach(struct console *console) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == -1) {
        return -1;
    }
    pid_t child = fork();
    if (child == -1) {
        int reason = errno;
        close(ends[0]);
        close(ends[1]);
        errno = reason;
        return -1;
    }
    if (child > 0) {
        close(ends[1]);
        _exit(wait_for_status(ends[0]));
    }
    close(ends[0]);
    console->fd = ends[1];
    /* The second fork: a process that leads no session can never get a terminal again. */
    if (setsid() == -1) {
        return -1;
    }
    pid_t daemon = fork();
    if (daemon == -1) {
        return -1;
    }
    if (daemon > 0) {
        _exit(0);
    }
    if (chdir("/") == -1 || system_detach_stdio() == -1) {
        return -1;
    }
    return 0;
}

void console_say(struct console *console, const char *format, ...) {
    if (console->fd == -1) {
        return;
    }
    char line[SAY_MAX];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    if (size < 0) {
        return;
    }
    size_t end = (size_t)size < sizeof(line) - 2 ? (size_t)size : sizeof(line) - 2;
    line[end] = '\n';
    write_all(console->fd, line, end + 1);
}

void console_finish(struct console *console, int status) {
    if (console->fd == -1) {
        return;
    }
    if (console->fd != STDERR_FILENO) {
        const char farewell[2] = {'\0', (char)status};
        write_all(console->fd, farewell, sizeof(farewell));
        close(console->fd);
    }
    console->fd = -1;
}
