/* system: see proc/system.h. Runs in the master and, at their start, in its children. */
#include "config.h"

#include "proc/system.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

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

int system_die_with(pid_t master) {
    /* The comparison comes second: a master that ended before prctl sends nothing. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != master) {
        return -1;
    }
    return 0;
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
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    int64_t pid_number, given = 0;
    if (pid == NULL || count == NULL || !bytes_to_int64(bytes_from_str(pid), &pid_number) ||
        pid_number != getpid() || !bytes_to_int64(bytes_from_str(count), &given) ||
        given > INT16_MAX) {
        given = 0;
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
