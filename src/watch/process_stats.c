/* process_stats: see the header. Runs in the metrics worker, at every scrape; a few dozen system
 * calls per process.
 *
 * The surprise: a worker that dies moves its CPU time from its own line to the master's "children".
 * Read in between, the sum would be short by a life's work and then come back; so everything is
 * read again when the master's children changed meanwhile.
 */
#include "config.h"

#include "watch/process_stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define PROC_PATH_MAX 64
#define PROC_FILE_MAX 4096
/* Enough even when a test kills a worker every few milliseconds: a pass takes far less. */
#define PASSES_MAX 8

/* Positions in /proc/PID/stat behind the name, counted from the state (see proc(5)). */
enum stat_field {
    FIELD_UTIME = 11,
    FIELD_STIME,
    FIELD_CUTIME,
    FIELD_CSTIME,
    FIELD_VSIZE = 20,
    FIELD_LAST = FIELD_VSIZE
};

/* The file's text in `memory`; size 0 when the process is gone. */
static struct bytes read_file(pid_t pid, const char *name, char memory[PROC_FILE_MAX]) {
    char path[PROC_PATH_MAX];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return bytes_make(memory, 0);
    }
    ssize_t size = read(fd, memory, PROC_FILE_MAX);
    close(fd);
    return bytes_make(memory, size > 0 ? (size_t)size : 0);
}

/* The next word, cut from the front of *rest; empty at the end. */
static struct bytes next_word(struct bytes *rest) {
    while (rest->size > 0 && (rest->data[0] == ' ' || rest->data[0] == '\n')) {
        *rest = bytes_make(rest->data + 1, rest->size - 1);
    }
    size_t size = 0;
    while (size < rest->size && rest->data[size] != ' ' && rest->data[size] != '\n') {
        size++;
    }
    struct bytes word = bytes_make(rest->data, size);
    *rest = bytes_make(rest->data + size, rest->size - size);
    return word;
}

static uint64_t number_of(struct bytes word) {
    int64_t value;
    return bytes_to_int64(word, &value) ? (uint64_t)value : 0;
}

bool process_stat_parse(struct bytes line, struct process_stat_line *out) {
    /* The name stands in parentheses and may contain blanks and parentheses itself; the last one
     * ends it. */
    const char *name_end = line.size > 0 ? memrchr(line.data, ')', line.size) : NULL;
    if (name_end == NULL) {
        return false;
    }
    struct bytes rest = bytes_make(name_end + 1, line.size - (size_t)(name_end + 1 - line.data));
    *out = (struct process_stat_line){0};
    for (int field = 0; field <= FIELD_LAST; field++) {
        struct bytes word = next_word(&rest);
        if (word.size == 0) {
            return false;
        }
        if (field == FIELD_UTIME || field == FIELD_STIME) {
            out->own_ticks += number_of(word);
        } else if (field == FIELD_CUTIME || field == FIELD_CSTIME) {
            out->children_ticks += number_of(word);
        } else if (field == FIELD_VSIZE) {
            out->virtual_bytes = number_of(word);
        }
    }
    return true;
}

static bool read_stat(pid_t pid, struct process_stat_line *out) {
    char memory[PROC_FILE_MAX];
    return process_stat_parse(read_file(pid, "stat", memory), out);
}

static void read_memory(pid_t pid, uint64_t *private_bytes, uint64_t *shared_bytes) {
    char memory[PROC_FILE_MAX];
    struct bytes rest = read_file(pid, "statm", memory);
    next_word(&rest); /* size: virtual_bytes has it */
    uint64_t resident = number_of(next_word(&rest));
    uint64_t shared = number_of(next_word(&rest));
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    *private_bytes = resident > shared ? (resident - shared) * page : 0;
    *shared_bytes = shared * page;
}

static uint64_t count_fds(pid_t pid) {
    char path[PROC_PATH_MAX];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    /* Since Linux 6.2 the directory's size is the number, also for other users' processes. */
    struct stat status;
    if (stat(path, &status) == 0 && status.st_size > 0) {
        return (uint64_t)status.st_size;
    }
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return 0;
    }
    uint64_t count = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    /* Our own list shows the descriptor that reads it. */
    return pid == getpid() ? count - 1 : count;
}

static uint64_t soft_fd_limit(pid_t pid) {
    static const char title[] = "Max open files";
    char memory[PROC_FILE_MAX];
    struct bytes text = read_file(pid, "limits", memory);
    const char *at = text.size > 0 ? memmem(text.data, text.size, title, sizeof(title) - 1) : NULL;
    if (at == NULL) {
        return 0;
    }
    at += sizeof(title) - 1;
    struct bytes rest = bytes_make(at, text.size - (size_t)(at - text.data));
    return number_of(next_word(&rest));
}

/* Adds one process; the largest shared part so far is kept aside. */
static void add_process(pid_t pid, const struct process_stat_line *line,
                        struct process_stats *stats, uint64_t *ticks, uint64_t *shared_max) {
    uint64_t private_bytes;
    uint64_t shared_bytes;
    read_memory(pid, &private_bytes, &shared_bytes);
    *ticks += line->own_ticks;
    *shared_max = shared_bytes > *shared_max ? shared_bytes : *shared_max;
    stats->resident_bytes += private_bytes;
    stats->virtual_bytes += line->virtual_bytes;
    stats->open_fds += count_fds(pid);
    stats->max_fds += soft_fd_limit(pid);
}

static uint64_t tick_ns(void) {
    return (uint64_t)NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
}

uint64_t process_children_cpu_ns(pid_t pid) {
    struct process_stat_line line;
    return read_stat(pid, &line) ? line.children_ticks * tick_ns() : 0;
}

/* True when the master reaped nobody while we read. */
static bool read_once(pid_t master, const pid_t *others, unsigned count,
                      struct process_stats *stats) {
    *stats = (struct process_stats){0};
    struct process_stat_line before = {0};
    struct process_stat_line after = {0};
    struct process_stat_line line;
    uint64_t ticks = 0;
    /* Workers share the region and the program: the largest part stands for all of them. A plain
     * sum of resident sizes would show the cache once per worker. */
    uint64_t shared_max = 0;
    if (read_stat(master, &before)) {
        ticks += before.children_ticks;
        add_process(master, &before, stats, &ticks, &shared_max);
    }
    for (unsigned i = 0; i < count; i++) {
        if (others[i] != master && read_stat(others[i], &line)) {
            add_process(others[i], &line, stats, &ticks, &shared_max);
        }
    }
    stats->resident_bytes += shared_max;
    stats->cpu_ns = ticks * tick_ns();
    return !read_stat(master, &after) || after.children_ticks == before.children_ticks;
}

void process_stats_read(pid_t master, const pid_t *others, unsigned count,
                        struct process_stats *stats) {
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        if (read_once(master, others, count, stats)) {
            return;
        }
    }
}
