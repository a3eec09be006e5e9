/* fakehost: a machine of the tests, preloaded into a daemon (LD_PRELOAD): names that behave, and a
 * wall clock that jumps. Built, never installed. Not a resolver: every other name goes to the real
 * one.
 *
 *   nxdomain.test   there is no such name
 *   silent.test     the name server says nothing: EAI_AGAIN after ten seconds (Debian's defaults)
 *
 *   slow.test       127.0.0.1, after 300 ms
 *
 *   quick.test      127.0.0.1
 *
 * Each lookup of one of them appends its name and a newline to the file that FAKEHOST_LOOKUPS
 * names. FAKEHOST_CLOCK names a file of eight bytes, a signed number of seconds in the machine's
 * order, by which CLOCK_REALTIME is off; whoever writes there makes the clock jump for all
 * processes at once. FAKEHOST_BOOT_ID names a file that is read in place of the kernel's boot id: a
 * reboot, as far as a daemon can tell. FAKEHOST_NO_RENAME: nothing can be renamed. FAKEHOST_DISK:
 * so many bytes have room in the directory of a file that posix_fallocate makes longer.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef int lookup_fn(const char *name, const char *service, const struct addrinfo *hints,
                      struct addrinfo **result);
typedef int clock_fn(clockid_t clock, struct timespec *now);

static const struct {
    const char *name;
    long wait_ms;
    int error; /* 0: 127.0.0.1 */
} rows[] = {
    {"nxdomain.test", 0, EAI_NONAME},
    {"silent.test", 10000, EAI_AGAIN},
    {"slow.test", 300, 0},
    {"quick.test", 0, 0},
};

typedef int open_fn(const char *path, int flags, ...);

static clock_fn *real_clock;
static const volatile int64_t *offset_s; /* NULL: the clock is right */

__attribute__((constructor)) static void set_up(void) {
    const char *path = getenv("FAKEHOST_CLOCK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    real_clock = (clock_fn *)dlsym(RTLD_NEXT, "clock_gettime");
    if (fd != -1) {
        void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
        offset_s = map != MAP_FAILED ? map : NULL;
        (void)close(fd);
    }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (real_clock == NULL) { /* somebody's constructor came first */
        real_clock = (clock_fn *)dlsym(RTLD_NEXT, "clock_gettime");
    }
    int result = real_clock(clock, now);
    if (result == 0 && clock == CLOCK_REALTIME && offset_s != NULL) {
        now->tv_sec += *offset_s;
    }
    return result;
}

static int open_as(const char *name, const char *path, int flags, mode_t mode) {
    open_fn *real = (open_fn *)dlsym(RTLD_NEXT, name);
    const char *boot_id = getenv("FAKEHOST_BOOT_ID");
    bool is_boot_id = strcmp(path, "/proc/sys/kernel/random/boot_id") == 0;
    return real(is_boot_id && boot_id != NULL ? boot_id : path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_as("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_as("open64", path, flags, mode);
}

int rename(const char *from, const char *to) {
    typedef int rename_fn(const char *old_path, const char *new_path);
    if (getenv("FAKEHOST_NO_RENAME") != NULL) {
        errno = EACCES;
        return -1;
    }
    return ((rename_fn *)dlsym(RTLD_NEXT, "rename"))(from, to);
}

/* Bytes of the files beside this one. */
static int64_t bytes_beside(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    path[size > 0 ? size : 0] = '\0';
    char *slash = strrchr(path, '/');
    struct stat own, other;
    int64_t sum = 0;
    if (slash == NULL || fstat(fd, &own) == -1) {
        return 0;
    }
    *slash = '\0';
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (fstatat(dirfd(directory), entry->d_name, &other, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(other.st_mode) && other.st_ino != own.st_ino) {
            sum += other.st_size;
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return sum;
}

static int allocate_as(const char *name, int fd, off_t offset, off_t size) {
    typedef int allocate_fn(int file, off_t from, off_t bytes);
    const char *room = getenv("FAKEHOST_DISK");
    if (room != NULL && bytes_beside(fd) + offset + size > atoll(room)) {
        return ENOSPC;
    }
    return ((allocate_fn *)dlsym(RTLD_NEXT, name))(fd, offset, size);
}

int posix_fallocate(int fd, off_t offset, off_t size) {
    return allocate_as("posix_fallocate", fd, offset, size);
}

int posix_fallocate64(int fd, off_t offset, off_t size) {
    return allocate_as("posix_fallocate64", fd, offset, size);
}

static void note(const char *name) {
    const char *path = getenv("FAKEHOST_LOOKUPS");
    int fd = path != NULL ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (fd != -1) {
        char line[64];
        size_t size = strlen(name);
        memcpy(line, name, size);
        line[size] = '\n';
        (void)!write(fd, line, size + 1);
        (void)close(fd);
    }
}

static void wait_ms(long ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&left, &left) == -1) {
        continue;
    }
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
    lookup_fn *real = (lookup_fn *)dlsym(RTLD_NEXT, "getaddrinfo");
    for (size_t i = 0; name != NULL && i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(name, rows[i].name) == 0) {
            note(name);
            wait_ms(rows[i].wait_ms);
            return rows[i].error != 0 ? rows[i].error : real("127.0.0.1", service, hints, result);
        }
    }
    return real(name, service, hints, result);
}
