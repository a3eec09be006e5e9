/* access_log: see the header. Runs in every worker, on the way of every answer; a line is formatted
 * at once and written with many others. Not the error log (base/log).
 *
 * The surprise: the buffer has one byte in front of its first line. When a full disk cut a line in
 * the middle, the next write starts there, with a newline, so that only one line is broken; it must
 * be the same write(2) because other workers append to the same file.
 */
#include "config.h"

#include "watch/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_write.h"
#include "base/log.h"

#define FLUSH_SIZE (64 * 1024)
/* Room for a line behind the last one that did not reach FLUSH_SIZE; fields are bounded names and
 * ids, so a line has a few hundred bytes. */
#define LINE_ROOM (8 * 1024)
#define FILE_MODE 0640
#define TELL_NS (60 * NS_PER_S)
#define OFF (-1)

/* "2026-01-31T12:00:00.123Z" */
#define TIME_SIZE 24
#define TIME_MS_AT 20

struct access_log {
    char *path;       /* owned */
    int fd;           /* OFF: writes nothing */
    char *memory;     /* owned; one byte, then the lines */
    struct buf lines; /* whole lines, over memory + 1 */
    bool torn;        /* the file ends inside a line of ours */
    uint64_t dropped;
    int64_t told_ns;      /* monotonic, when the error log heard of it; 0: never */
    int64_t second;       /* whose text stands in `time` */
    char time[TIME_SIZE]; /* its milliseconds are those of the last line */
};

/* A FIFO that nobody reads is an error (ENXIO) and not a process that hangs in open for ever.
 * Writes wait as usual: a reader that is slow for a moment must not cost lines. */
static int open_file(const char *path) {
    int fd =
        open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, FILE_MODE);
    if (fd != -1) {
        (void)fcntl(fd, F_SETFL, O_APPEND);
    }
    return fd;
}

static void free_log(struct access_log *log) {
    free(log->memory);
    free(log->path);
    free(log);
}

struct access_log *access_log_open(const char *path) {
    struct access_log *log = calloc(1, sizeof(*log));
    if (log == NULL) {
        return NULL;
    }
    log->fd = OFF;
    log->second = INT64_MIN;
    if (path[0] == '\0') {
        return log;
    }
    log->path = strdup(path);
    log->memory = malloc(1 + FLUSH_SIZE + LINE_ROOM);
    if (log->path != NULL && log->memory != NULL) {
        log->memory[0] = '\n';
        buf_init_fixed(&log->lines, log->memory + 1, FLUSH_SIZE + LINE_ROOM);
        log->fd = open_file(path);
    }
    if (log->fd == -1) {
        int saved_errno = errno;
        free_log(log);
        errno = saved_errno;
        return NULL;
    }
    return log;
}

void access_log_close(struct access_log *log) {
    if (log == NULL) {
        return;
    }
    access_log_flush(log);
    if (log->fd != OFF) {
        close(log->fd);
    }
    free_log(log);
}

bool access_log_is_on(const struct access_log *log) {
    return log->fd != OFF;
}

uint64_t access_log_dropped(const struct access_log *log) {
    return log->dropped;
}

static uint64_t count_lines(const char *text, size_t size) {
    uint64_t lines = 0;
    for (size_t i = 0; i < size; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

/* Writes as much as goes; returns how much that was, with errno when it is not all. The rest of a
 * short write is tried at once: it mostly fails then, and what succeeds completes the line. */
static size_t write_most(int fd, const char *text, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t written = write(fd, text + done, size - done);
        if (written == -1 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            break;
        }
        done += (size_t)written;
    }
    return done;
}

static void tell_loss(struct access_log *log, int reason) {
    int64_t now_ns = clock_mono_ns();
    if (log->told_ns == 0 || now_ns - log->told_ns >= TELL_NS) {
        log->told_ns = now_ns;
        log_error("cannot write the access log %s: %s; %llu lines are lost here so far", log->path,
                  strerror(reason), (unsigned long long)log->dropped);
    }
}

void access_log_flush(struct access_log *log) {
    if (log->lines.size == 0) {
        return;
    }
    const char *text = log->torn ? log->memory : log->memory + 1;
    size_t size = log->lines.size + (log->torn ? 1 : 0);
    size_t done = write_most(log->fd, text, size);
    int reason = errno;
    if (done > 0) {
        log->torn = text[done - 1] != '\n';
    }
    if (done < size) {
        /* A line that was cut has its newline in what is left, so it counts; the newline that
         * mends the one before is no line of its own. */
        bool mend_left = done == 0 && text == log->memory;
        log->dropped += count_lines(text + done, size - done) - (mend_left ? 1 : 0);
        tell_loss(log, reason);
    }
    buf_clear(&log->lines);
}

static bool is_same_file(int a, int b) {
    struct stat status_a;
    struct stat status_b;
    return fstat(a, &status_a) == 0 && fstat(b, &status_b) == 0 &&
           status_a.st_dev == status_b.st_dev && status_a.st_ino == status_b.st_ino;
}

int access_log_reopen(struct access_log *log) {
    if (log->fd == OFF) {
        return 0;
    }
    access_log_flush(log);
    int fresh = open_file(log->path);
    if (fresh == -1) {
        return -1;
    }
    log->torn = log->torn && is_same_file(log->fd, fresh);
    close(log->fd);
    log->fd = fresh;
    return 0;
}

/* --- one line -------------------------------------------------------------------------------- */

static void put_digits(char *at, unsigned digits, unsigned value) {
    while (digits > 0) {
        at[--digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* The calendar part once a second, the milliseconds for every line. */
static struct bytes time_text(struct access_log *log, int64_t wall_ns) {
    int64_t second = wall_ns / NS_PER_S;
    if (second != log->second) {
        time_t seconds = (time_t)second;
        struct tm tm;
        gmtime_r(&seconds, &tm);
        memcpy(log->time, "0000-00-00T00:00:00.000Z", TIME_SIZE);
        put_digits(log->time, 4, (unsigned)tm.tm_year + 1900);
        put_digits(log->time + 5, 2, (unsigned)tm.tm_mon + 1);
        put_digits(log->time + 8, 2, (unsigned)tm.tm_mday);
        put_digits(log->time + 11, 2, (unsigned)tm.tm_hour);
        put_digits(log->time + 14, 2, (unsigned)tm.tm_min);
        put_digits(log->time + 17, 2, (unsigned)tm.tm_sec);
        log->second = second;
    }
    put_digits(log->time + TIME_MS_AT, 3, (unsigned)(wall_ns % NS_PER_S / NS_PER_MS));
    return bytes_make(log->time, TIME_SIZE);
}

/* Keys are literals with all that stands around them: with the general writer of base/json_write a
 * line takes twice as long, and every cached answer pays for one. Values still go through its
 * json_quote. */
#define KEY(name) ",\"" name "\":"
#define FIRST_KEY(name) "{\"" name "\":"
#define PUT(out, literal) buf_append((out), (literal), sizeof(literal) - 1)

/* "" is null. */
static void put_name(struct buf *out, struct bytes name) {
    if (name.size == 0) {
        PUT(out, "null");
    } else {
        json_quote(out, name);
    }
}

static void put_count(struct buf *out, bool known, int64_t count) {
    if (known) {
        buf_append_i64(out, count);
    } else {
        PUT(out, "null");
    }
}

static void put_cost(struct buf *out, bool known, int64_t nusd) {
    if (known) {
        buf_append_nano(out, nusd);
    } else {
        PUT(out, "null");
    }
}

static void put_who(struct buf *out, struct bytes time, const struct access_record *record) {
    PUT(out, FIRST_KEY("time"));
    json_quote(out, time);
    PUT(out, KEY("request_id"));
    json_quote(out, record->request_id);
    PUT(out, KEY("tenant"));
    json_quote(out, record->tenant);
    PUT(out, KEY("client"));
    put_name(out, record->client);
    PUT(out, KEY("method"));
    json_quote(out, record->method);
    PUT(out, KEY("path"));
    json_quote(out, record->path);
    PUT(out, KEY("status"));
    put_count(out, true, record->status);
}

static void put_way(struct buf *out, const struct access_record *record) {
    PUT(out, KEY("route"));
    put_name(out, record->route);
    PUT(out, KEY("reason"));
    put_name(out, record->route_reason);
    PUT(out, KEY("provider"));
    put_name(out, record->provider);
    PUT(out, KEY("model"));
    put_name(out, record->model);
    PUT(out, KEY("cache"));
    put_name(out, bytes_from_str(record->cache));
    PUT(out, KEY("outcome"));
    put_name(out, bytes_from_str(record->outcome));
    PUT(out, KEY("attempts"));
    buf_append_u64(out, record->attempts);
}

static void put_price(struct buf *out, const struct access_record *record) {
    PUT(out, KEY("prompt_tokens"));
    put_count(out, record->has_usage, record->prompt_tokens);
    PUT(out, KEY("completion_tokens"));
    put_count(out, record->has_usage, record->completion_tokens);
    PUT(out, KEY("cached_tokens"));
    put_count(out, record->has_usage, record->cached_tokens);
    PUT(out, KEY("estimated"));
    buf_append_str(out, record->estimated ? "true" : "false");
    PUT(out, KEY("cost_usd"));
    put_cost(out, record->has_cost, record->cost_nusd);
    PUT(out, KEY("saved_usd"));
    buf_append_nano(out, record->saved_nusd);
    PUT(out, KEY("upstream_s"));
    buf_append_nano(out, record->upstream_ns);
    PUT(out, KEY("overhead_s"));
    buf_append_nano(out, record->overhead_ns);
    PUT(out, KEY("duration_s"));
    buf_append_nano(out, record->duration_ns);
    PUT(out, "}\n");
}

void access_log_write(struct access_log *log, const struct access_record *record) {
    if (log->fd == OFF) {
        return;
    }
    size_t start = log->lines.size;
    put_who(&log->lines, time_text(log, record->wall_ns), record);
    put_way(&log->lines, record);
    put_price(&log->lines, record);
    if (log->lines.failed) {
        log->lines.size = start;
        log->lines.failed = false;
        log->dropped++;
        return;
    }
    if (log->lines.size >= FLUSH_SIZE) {
        access_log_flush(log);
    }
}
