/* system: see proc/system.h. Runs in the master and, at their start, in its children. */
#include "config.h"

#include "proc/system.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "proc/handover.h"

#define LOG_FILE_MODE 0640

int identity_find(struct identity *identity, const char *user, char *error, size_t error_size) {
    *identity = (struct identity){.change = false, .uid = geteuid(), .gid = getegid()};
    if (geteuid() != 0) {
        return 0;
    }
    errno = 0;
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL) {
        snprintf(error, error_size, "user %s: %s", user,
                 errno != 0 ? strerror(errno) : "there is no such user");
        return -1;
    }
    identity->uid = entry->pw_uid;
    identity->gid = entry->pw_gid;
    identity->group_count = IDENTITY_GROUPS_MAX;
    if (getgrouplist(user, entry->pw_gid, identity->groups, &identity->group_count) == -1) {
        snprintf(error, error_size, "user %s is in more than %d groups", user, IDENTITY_GROUPS_MAX);
        return -1;
    }
    identity->change = identity->uid != 0;
    return 0;
}

int identity_assume(const struct identity *identity) {
    if (!identity->change) {
        return 0;
    }
    if (setgroups((size_t)identity->group_count, identity->groups) == -1 ||
        setgid(identity->gid) == -1 || setuid(identity->uid) == -1) {
        return -1;
    }
    /* A process that can come back was never gone. */
    if (setuid(0) == 0) {
        errno = EPERM;
        return -1;
    }
    return 0;
}

int system_own_log(const char *path, const struct identity *identity) {
    if (path[0] == '\0' || strcmp(path, "stderr") == 0 || strcmp(path, "syslog") == 0) {
        return 0;
    }
    /* O_NOFOLLOW: whoever may write in the directory must not make root give away another file. */
    int fd =
        open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK,
             LOG_FILE_MODE);
    if (fd == -1) {
        return errno == ELOOP || errno == ENXIO ? 0 : -1;
    }
    struct stat stat;
    int result = fstat(fd, &stat);
    if (identity->change && result == 0 && S_ISREG(stat.st_mode) && stat.st_nlink == 1) {
        result = fchown(fd, identity->uid, identity->gid);
    }
    int reason = errno;
    close(fd);
    errno = reason;
    return result;
}

uint64_t system_raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1) {
        return 0;
    }
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : before;
}

uint64_t system_file_limit(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : 0;
}

/* The first line that begins so, without that beginning and its end; "" when there is none. */
static void find_line(const char *path, const char *beginning, char *line, size_t size) {
    size_t skip = strlen(beginning);
    char text[512];
    FILE *file = fopen(path, "re");
    line[0] = '\0';
    while (file != NULL && line[0] == '\0' && fgets(text, sizeof(text), file) != NULL) {
        if (strncmp(text, beginning, skip) == 0) {
            snprintf(line, size, "%.*s", (int)strcspn(text + skip, "\n"), text + skip);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* Our control group (version 2, where it is usually mounted) may say a number, or `max`. */
static uint64_t group_memory(void) {
    char group[512], path[600], limit[64];
    int64_t value;
    find_line("/proc/self/cgroup", "0::", group, sizeof(group));
    snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", group);
    find_line(path, "", limit, sizeof(limit));
    bool is_limited = bytes_to_int64(bytes_from_str(limit), &value) && value > 0;
    return is_limited ? (uint64_t)value : UINT64_MAX;
}

uint64_t system_memory(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t machine = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
    uint64_t group = group_memory();
    return group < machine ? group : machine;
}

int system_die_with(pid_t master) {
    /* The comparison comes second: a master that ended before prctl sends nothing. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != master) {
        return -1;
    }
    return 0;
}

bool system_is_alive(pid_t pid) {
    int fd = pidfd_open(pid, 0);
    if (fd == -1) { /* an old kernel: a process that was not waited for counts as alive */
        return errno != ESRCH && (kill(pid, 0) == 0 || errno == EPERM);
    }
    struct pollfd end = {.fd = fd, .events = POLLIN};
    bool has_ended = poll(&end, 1, 0) == 1;
    close(fd);
    return !has_ended;
}

/* directory/name, in memory of its own. */
static char *join(const char *directory, int directory_size, const char *name) {
    char *path = NULL;
    return asprintf(&path, "%.*s/%s", directory_size, directory, name) < 0 ? NULL : path;
}

/* As the shell would. */
static char *search(const char *name) {
    const char *rest = getenv("PATH");
    while (rest != NULL && *rest != '\0') {
        size_t size = strcspn(rest, ":");
        char *path = size > 0 && rest[0] == '/' ? join(rest, (int)size, name) : NULL;
        if (path != NULL && access(path, X_OK) == 0) {
            return path;
        }
        free(path);
        rest += size + (rest[size] == ':');
    }
    return NULL;
}

char *system_find_program(const char *called) {
    if (called[0] == '/') {
        return strdup(called);
    }
    char *found = NULL;
    if (strchr(called, '/') != NULL) {
        char *directory = getcwd(NULL, 0);
        found = directory != NULL ? join(directory, (int)strlen(directory), called) : NULL;
        free(directory);
    } else if (called[0] != '\0') {
        found = search(called);
    }
    return found != NULL ? found : realpath("/proc/self/exe", NULL);
}

int system_take_descriptors(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd != -1 && fd <= STDERR_FILENO);
    if (fd == -1) {
        return -1;
    }
    (void)close(fd);
    int64_t given = listen_given();
    if (given == 0 || given > INT16_MAX) {
        given = handover_count();
    }
    return close_range((unsigned)(STDERR_FILENO + 1 + given), ~0U, 0);
}

int system_detach_stdio(void) {
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd == -1) {
        return -1;
    }
    int result = 0;
    for (int target = STDIN_FILENO; target <= STDERR_FILENO; target++) {
        if (dup2(fd, target) == -1) {
            result = -1;
        }
    }
    if (fd > STDERR_FILENO) {
        close(fd);
    }
    return result;
}

void system_set_title(const char *title) {
    (void)prctl(PR_SET_NAME, title);
}
