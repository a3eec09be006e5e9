/* pidfile: see proc/pidfile.h. Created by the master, read by `optirouted -s`. */
#include "config.h"

#include "proc/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

#define PIDFILE_MODE 0644
#define PIDFILE_MAX_BYTES 32 /* a larger file is somebody else's */
#define PIDFILE_ATTEMPTS 10  /* other starters may get in between */

enum claim { CLAIM_DONE, CLAIM_AGAIN, CLAIM_FAILED };

static void explain(char *error, size_t error_size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void explain(char *error, size_t error_size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_size, format, args);
    va_end(args);
}

static void explain_write(char *error, size_t error_size, const char *path) {
    int reason = errno;
    explain(error, error_size, "cannot write pid file %s: %s%s", path, strerror(reason),
            text_file_advice(reason));
}

static int lock_whole(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &lock);
}

/* Who holds the lock that lock_whole did not get; 0: nobody any more. */
static pid_t holder(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
}

bool pidfile_is_ours(const char *path, int fd) {
    struct stat open_stat, path_stat;
    return fstat(fd, &open_stat) == 0 && lstat(path, &path_stat) == 0 &&
           open_stat.st_dev == path_stat.st_dev && open_stat.st_ino == path_stat.st_ino;
}

/* The number in the file, 0 when there is none. */
static pid_t read_number(int fd) {
    char text[PIDFILE_MAX_BYTES];
    ssize_t size = pread(fd, text, sizeof(text), 0);
    int64_t pid;
    struct bytes line = bytes_make(text, size > 0 ? (size_t)size : 0);
    line.size = bytes_find(line, '\n');
    return bytes_to_int64(line, &pid) && pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

/* A complete, locked file beside the final one. */
static int make_fresh(const char *fresh_path) {
    (void)unlink(fresh_path);
    int fd = open(fresh_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, PIDFILE_MODE);
    if (fd == -1) {
        return -1;
    }
    char text[PIDFILE_MAX_BYTES];
    int size = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    /* fchmod: the umask is for logs and caches, this file is for everybody to read. */
    if (write(fd, text, (size_t)size) != size || fchmod(fd, PIDFILE_MODE) == -1 ||
        lock_whole(fd) == -1) {
        int reason = errno;
        (void)unlink(fresh_path);
        close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

/* Puts the fresh file in the place of one that nobody holds. Holding the old one's lock meanwhile
 * keeps other starters out. */
static enum claim replace_old(int old, const char *fresh_path, const char *path, pid_t predecessor,
                              char *error, size_t error_size) {
    struct stat stat;
    if (fstat(old, &stat) == -1 || !S_ISREG(stat.st_mode) || stat.st_size > PIDFILE_MAX_BYTES) {
        explain(error, error_size, "pid file %s exists and is no pid file", path);
        return CLAIM_FAILED;
    }
    if (lock_whole(old) == -1 && (predecessor == 0 || holder(old) != predecessor)) {
        explain(error, error_size, "another optirouted (pid %d) holds %s", (int)read_number(old),
                path);
        return CLAIM_FAILED;
    }
    if (!pidfile_is_ours(path, old)) {
        return CLAIM_AGAIN;
    }
    if (rename(fresh_path, path) == -1) {
        explain_write(error, error_size, path);
        return CLAIM_FAILED;
    }
    return CLAIM_DONE;
}

static enum claim claim_path(const char *fresh_path, const char *path, pid_t predecessor,
                             char *error, size_t error_size) {
    if (link(fresh_path, path) == 0) {
        (void)unlink(fresh_path);
        return CLAIM_DONE;
    }
    if (errno != EEXIST) {
        explain_write(error, error_size, path);
        return CLAIM_FAILED;
    }
    int old = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (old == -1) {
        if (errno == ENOENT) {
            return CLAIM_AGAIN;
        }
        explain(error, error_size, "cannot open pid file %s: %s", path, strerror(errno));
        return CLAIM_FAILED;
    }
    enum claim claim = replace_old(old, fresh_path, path, predecessor, error, error_size);
    close(old);
    return claim;
}

static int fresh_path_of(const char *path, pid_t pid, char out[PATH_MAX]) {
    int length = snprintf(out, PATH_MAX, "%s.%d", path, (int)pid);
    return length < 0 || length >= PATH_MAX ? -1 : 0;
}

int pidfile_prepare(const char *path, char *error, size_t error_size) {
    char fresh_path[PATH_MAX];
    if (fresh_path_of(path, getpid(), fresh_path) == -1) {
        explain(error, error_size, "pid file: the path is too long");
        return -1;
    }
    int fd = make_fresh(fresh_path);
    if (fd == -1) {
        explain_write(error, error_size, path);
    }
    return fd;
}

int pidfile_place(const char *path, pid_t predecessor, char *error, size_t error_size) {
    char fresh_path[PATH_MAX];
    enum claim claim = CLAIM_AGAIN;
    (void)fresh_path_of(path, getpid(), fresh_path); /* it fitted before */
    for (int i = 0; i < PIDFILE_ATTEMPTS && claim == CLAIM_AGAIN; i++) {
        claim = claim_path(fresh_path, path, predecessor, error, error_size);
    }
    if (claim == CLAIM_AGAIN) {
        explain(error, error_size, "pid file %s changes all the time: several are starting", path);
    }
    return claim == CLAIM_DONE ? 0 : -1;
}

int pidfile_create(const char *path, char *error, size_t error_size) {
    int fd = pidfile_prepare(path, error, error_size);
    if (fd != -1 && pidfile_place(path, 0, error, error_size) == -1) {
        pidfile_remove(path, fd);
        return -1;
    }
    return fd;
}

bool pidfile_is_held_by_another(const char *path, pid_t predecessor) {
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd == -1) {
        return false;
    }
    pid_t pid = holder(fd);
    close(fd);
    return pid != 0 && pid != predecessor;
}

void pidfile_discard(const char *path, pid_t pid) {
    char fresh_path[PATH_MAX];
    if (fresh_path_of(path, pid, fresh_path) == 0) {
        (void)unlink(fresh_path);
    }
}

void pidfile_touch(int fd) {
    struct timespec times[2];
    (void)clock_gettime(CLOCK_REALTIME, &times[0]); /* UTIME_NOW is as coarse as a tick */
    times[1] = times[0];
    (void)futimens(fd, times);
}

void pidfile_remove(const char *path, int fd) {
    pidfile_discard(path, getpid()); /* one that was never placed */
    if (pidfile_is_ours(path, fd)) {
        (void)unlink(path);
    }
    close(fd);
}

pid_t pidfile_read(const char *path, char *error, size_t error_size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd == -1) {
        explain(error, error_size, "no daemon is running: cannot open pid file %s: %s", path,
                strerror(errno));
        return -1;
    }
    pid_t pid = read_number(fd);
    bool is_held = holder(fd) != 0;
    close(fd);
    if (!is_held) {
        explain(error, error_size, "no daemon is running: nobody holds pid file %s", path);
        return -1;
    }
    if (pid == 0) {
        explain(error, error_size, "pid file %s holds no process id", path);
        return -1;
    }
    return pid;
}
