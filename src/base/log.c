/* log: see base/log.h. Used by every process. Not the access log.
 *
 * The surprise: log_reopen puts the new file under the old descriptor's number, so a descriptor
 * that was handed out stays good and no line is lost between closing and opening.
 */
#include "config.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/text.h"

/* At most PIPE_BUF, so that lines stay whole when stderr is a pipe. */
#define LOG_LINE_MAX 4096
#define LOG_CUT_MARK "..."
#define LOG_IDENTITY_MAX 32
#define LOG_FILE_MODE 0640
#define NO_DESCRIPTOR (-1) /* syslog */

static struct {
    int descriptor;
    enum log_level level;
    bool muted;
    char path[PATH_MAX]; /* empty for stderr and syslog */
    char identity[LOG_IDENTITY_MAX];
} log_state = {.descriptor = STDERR_FILENO, .level = LOG_LEVEL_INFO, .identity = "optiroute"};

static _Atomic uint64_t dropped_lines;

static const struct {
    const char *name;
    int priority; /* for syslog(3) */
} levels[] = {
    [LOG_LEVEL_DEBUG] = {"debug", LOG_DEBUG},
    [LOG_LEVEL_INFO] = {"info", LOG_INFO},
    [LOG_LEVEL_WARN] = {"warn", LOG_WARNING},
    [LOG_LEVEL_ERROR] = {"error", LOG_ERR},
};

/* A FIFO that nobody reads is an error (ENXIO) and not a process that hangs in open for ever.
 * Writes wait as usual: a reader that is slow for a moment must not cost lines. */
static int open_file(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                  LOG_FILE_MODE);
    if (fd != -1) {
        (void)fcntl(fd, F_SETFL, O_APPEND);
    }
    return fd;
}

int log_open(const char *destination, enum log_level level) {
    bool to_stderr = strcmp(destination, "stderr") == 0;
    bool to_syslog = strcmp(destination, "syslog") == 0;
    int descriptor = to_stderr ? STDERR_FILENO : NO_DESCRIPTOR;
    char path[PATH_MAX] = "";
    if (!to_stderr && !to_syslog) {
        size_t size = strlen(destination) + 1;
        if (size > sizeof(path)) {
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(path, destination, size);
        descriptor = open_file(path);
        if (descriptor == -1) {
            return -1;
        }
    }
    if (to_syslog) {
        openlog("optiroute", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    } else if (log_state.descriptor == NO_DESCRIPTOR) {
        closelog();
    }
    if (log_state.path[0] != '\0') {
        close(log_state.descriptor);
    }
    log_state.descriptor = descriptor;
    log_state.level = level;
    memcpy(log_state.path, path, sizeof(path));
    return 0;
}

int log_reopen(void) {
    if (log_state.path[0] == '\0') {
        return 0;
    }
    int fresh = open_file(log_state.path);
    if (fresh == -1) {
        return -1;
    }
    int result = dup3(fresh, log_state.descriptor, O_CLOEXEC);
    int saved_errno = errno;
    close(fresh);
    errno = saved_errno;
    return result == -1 ? -1 : 0;
}

void log_set_identity(const char *who) {
    snprintf(log_state.identity, sizeof(log_state.identity), "%s", who);
}

int log_descriptor(void) {
    return log_state.descriptor;
}

uint64_t log_dropped(void) {
    return atomic_load_explicit(&dropped_lines, memory_order_relaxed);
}

/* Size of the character at text[at] when it may stand in the log as it is; 0 when its first byte
 * must be escaped: controls (C0, DEL and C1, which terminals obey too) and what is not UTF-8. */
static size_t plain_size(struct bytes text, size_t at) {
    unsigned char c = (unsigned char)text.data[at];
    if (c < 0x80) {
        return c >= 0x20 && c != 0x7f ? 1 : 0;
    }
    size_t size = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    struct bytes one = bytes_make(text.data + at, size);
    if (size > text.size - at || text_utf8_check(one) != size) {
        return 0;
    }
    bool is_c1 = c == 0xc2 && (unsigned char)text.data[at + 1] < 0xa0;
    return is_c1 ? 0 : size;
}

/* Appends the text with controls as \xNN. A text that does not fit is cut between characters and
 * marked; `reserved` bytes behind it stay free. */
static void append_escaped(struct buf *line, struct bytes text, size_t reserved) {
    static const char hex[] = "0123456789abcdef";
    const size_t end = line->capacity - reserved;
    const size_t mark = sizeof(LOG_CUT_MARK) - 1;
    size_t cut_at = line->size; /* where the mark goes should the text not fit */
    for (size_t at = 0; at < text.size;) {
        size_t plain = plain_size(text, at);
        size_t need = plain != 0 ? plain : 4;
        if (need > end - line->size) {
            line->size = cut_at;
            buf_append(line, LOG_CUT_MARK, mark);
            return;
        }
        if (plain != 0) {
            buf_append(line, text.data + at, plain);
            at += plain;
        } else {
            unsigned char c = (unsigned char)text.data[at++];
            const char escape[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
            buf_append(line, escape, sizeof(escape));
        }
        if (line->size + mark <= end) {
            cut_at = line->size;
        }
    }
}

/* 2026-01-31T12:00:00.123Z level who[pid]: */
static void append_prefix(struct buf *line, enum log_level level) {
    int64_t now_ns = clock_wall_ns();
    time_t seconds = (time_t)(now_ns / NS_PER_S);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    buf_printf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s %s[%d]: ", tm.tm_year + 1900,
               tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
               (int)(now_ns % NS_PER_S / NS_PER_MS), levels[level].name, log_state.identity,
               (int)getpid());
}

static void write_line(struct bytes line) {
    ssize_t written;
    do {
        written = write(log_state.descriptor, line.data, line.size);
    } while (written == -1 && errno == EINTR);
    /* A rest is not written later: it would stand in the middle of another process's line. */
    if (written != (ssize_t)line.size) {
        atomic_fetch_add_explicit(&dropped_lines, 1, memory_order_relaxed);
    }
}

void log_mute(bool muted) {
    log_state.muted = muted;
}

void log_write(enum log_level level, const char *format, ...) {
    if (level < log_state.level || log_state.muted) {
        return;
    }
    int saved_errno = errno; /* callers log first and look at errno afterwards */
    /* One byte more than a line holds, so that a message cut here is cut again, visibly. */
    char message[LOG_LINE_MAX + 1];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (size >= (int)sizeof(message)) {
        size = (int)sizeof(message) - 1;
    }
    struct bytes text = size < 0 ? bytes_from_str(format) : bytes_make(message, (size_t)size);

    char memory[LOG_LINE_MAX];
    struct buf line;
    buf_init_fixed(&line, memory, sizeof(memory));
    if (log_state.descriptor == NO_DESCRIPTOR) {
        append_escaped(&line, text, 0);
        syslog(levels[level].priority, "%s: %.*s", log_state.identity, (int)line.size, line.data);
    } else {
        append_prefix(&line, level);
        append_escaped(&line, text, 1);
        buf_append_char(&line, '\n');
        write_line(buf_bytes(&line));
    }
    errno = saved_errno;
}
