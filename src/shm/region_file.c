/* region_file: the file behind the region, from its path to a descriptor that can be mapped.
 *
 * For locking it, judging what it holds, setting a damaged one aside and allocating its blocks. Not
 * for the mapped bytes: see region_attach.c. Runs in the master, before its first fork. The
 * surprise: nothing that a file of ours may hold stops a start. What is damaged is renamed, what
 * has another layout begins anew; only what is not ours is refused.
 */
#include "config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "region_layout.h"
#include "shm/totals.h"

#define POLL_NS (10 * NS_PER_MS)
#define ASIDE ".bad-"
/* The header up to and with its state. */
#define IDENTITY_BYTES offsetof(struct region_header, time_offset_ms)

/* How a file can be meant. */
enum verdict {
    FILE_EMPTY,        /* new, or made by a start that died at once */
    FILE_FOREIGN,      /* not ours: refused, left alone */
    FILE_DAMAGED,      /* ours once: set aside */
    FILE_HALF_MADE,    /* ours, by a start that died: begins empty */
    FILE_OTHER_LAYOUT, /* ours, but no byte means what it means here: begins empty */
    FILE_OTHER_STORE,  /* ours, and only the store is another: begins with an empty one */
    FILE_OURS          /* can be attached */
};

struct finding {
    enum verdict verdict;
    char what[160]; /* why */
};

/* What is being opened. */
struct opening {
    struct region *region;
    const struct region_params *params;
    char *error;
    size_t error_size;
    char aside[PATH_MAX]; /* where a damaged file went, "" when none did */
};

static void say(struct region_report *report, bool is_loss, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void say(struct region_report *report, bool is_loss, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(report->text, sizeof(report->text), format, args);
    va_end(args);
    report->is_loss = is_loss;
}

static int refuse(const struct opening *opening, const char *what, int reason) {
    region_fail(opening->error, opening->error_size, what, opening->params->path, reason);
    return -1;
}

/* -- Open and lock -- */

/* Does the path still lead to what was opened? Who held the lock before may have renamed it. */
static bool is_still_there(int fd, const char *path) {
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* An open file of ours by owner and mode. Another's bytes could carry answers that nobody gave. */
static int open_checked(const struct opening *opening) {
    const char *path = opening->params->path;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        return refuse(opening, "cannot open", errno);
    }
    struct stat status;
    const char *wrong = NULL;
    if (fstat(fd, &status) == -1 || !S_ISREG(status.st_mode)) {
        wrong = "is not a regular file";
    } else if (status.st_uid != geteuid()) {
        wrong = "belongs to another user";
    } else if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        wrong = "can be written by other users; its mode should be 0600";
    }
    if (wrong != NULL) {
        close(fd);
        return refuse(opening, wrong, 0);
    }
    return fd;
}

static int open_locked(const struct opening *opening) {
    int64_t until_ns = clock_mono_ns() + opening->params->lock_wait_ms * NS_PER_MS;
    bool told = false;
    for (;;) {
        int fd = open_checked(opening);
        if (fd == -1) {
            return -1;
        }
        bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
        int reason = errno;
        if (locked && is_still_there(fd, opening->params->path)) {
            return fd;
        }
        close(fd);
        if (!locked && reason != EWOULDBLOCK) {
            return refuse(opening, "cannot lock", reason);
        }
        if (clock_mono_ns() >= until_ns) {
            return refuse(opening, "is in use by another running optirouted", 0);
        }
        if (!told) {
            log_info("cache.file %s: another optirouted holds it; waiting for its end",
                     opening->params->path);
            told = true;
        }
        const struct timespec pause = {.tv_nsec = POLL_NS};
        (void)nanosleep(&pause, NULL);
    }
}

/* -- Judge -- */

static struct finding found(enum verdict verdict, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static struct finding found(enum verdict verdict, const char *format, ...) {
    struct finding finding = {.verdict = verdict};
    va_list args;
    va_start(args, format);
    vsnprintf(finding.what, sizeof(finding.what), format, args);
    va_end(args);
    return finding;
}

/* No magic: somebody's data, unless all else says that it is ours. */
static struct finding judge_stranger(const struct region_header *header, size_t size) {
    struct region_header with_magic = *header;
    with_magic.magic = REGION_MAGIC;
    static const struct region_header zeros;
    if (header->check == region_header_check(&with_magic) ||
        memcmp(header, &zeros, size < sizeof(zeros) ? size : sizeof(zeros)) == 0) {
        return found(FILE_DAMAGED, "its first bytes are damaged");
    }
    return found(FILE_FOREIGN, "holds something else than a cache; remove it first");
}

static struct finding judge_layout(const struct region *region, const struct region_params *params,
                                   const struct region_header *header, size_t size) {
    if (size < IDENTITY_BYTES) {
        return found(FILE_DAMAGED, "it ends after %zu bytes", size);
    }
    if (header->layout_version != REGION_LAYOUT_VERSION) {
        return found(FILE_OTHER_LAYOUT, "its layout is version %u, this is version %u",
                     header->layout_version, REGION_LAYOUT_VERSION);
    }
    if (header->check != region_header_check(header)) {
        return found(FILE_DAMAGED, "its header is damaged");
    }
    if (header->state == REGION_FORMING) {
        return found(FILE_HALF_MADE, "a start that died had only begun to make it");
    }
    if (header->counter_cells != params->counter_cells ||
        header->counter_layout != params->counter_layout) {
        return found(FILE_OTHER_LAYOUT, "its metrics are those of another version");
    }
    if (header->state != REGION_WHOLE && header->state != REGION_STORE_FORMING) {
        return found(FILE_DAMAGED, "its state is damaged");
    }
    size_t least = header->state == REGION_WHOLE ? header->region_bytes : region->at.store;
    if (size < least || (header->state == REGION_WHOLE && size > least)) {
        return found(FILE_DAMAGED, "it has %zu bytes instead of %zu", size, least);
    }
    if (region_newest_mark(header) == NULL) {
        return found(FILE_DAMAGED, "its times are damaged");
    }
    return found(FILE_OURS, "%s", "");
}

/* The part before the slots, as it stands in the file. NULL without memory or when it cannot be
 * read, with errno. */
static void *read_beginning(const struct region *region, int fd, size_t *size) {
    uint8_t *bytes = aligned_alloc(REGION_PAGE, region->at.slots);
    if (bytes == NULL) {
        return NULL;
    }
    memset(bytes, 0, region->at.slots);
    *size = 0;
    ssize_t got;
    while (*size < region->at.slots &&
           (got = pread(fd, bytes + *size, region->at.slots - *size, (off_t)*size)) != 0) {
        if (got == -1) {
            free(bytes);
            return NULL;
        }
        *size += (size_t)got;
    }
    return bytes;
}

static struct finding judge(const struct opening *opening, uint8_t *bytes, size_t size) {
    const struct region *region = opening->region;
    const struct region_header *header = (const struct region_header *)(void *)bytes;
    if (size == 0) {
        return found(FILE_EMPTY, "%s", "");
    }
    if (header->magic != REGION_MAGIC) {
        return judge_stranger(header, size);
    }
    struct finding finding = judge_layout(region, opening->params, header, size);
    if (finding.verdict != FILE_OURS) {
        return finding;
    }
    struct region image = {.base = bytes, .at = region->at};
    const char *wrong = names_check(&image);
    if (wrong != NULL) {
        return found(FILE_DAMAGED, "%s", wrong);
    }
    if (header->shard_bytes != region->at.shard_bytes ||
        header->shard_count != region->at.shard_count) {
        return found(FILE_OTHER_STORE, "its cache.size was %lld bytes, now it is %lld",
                     (long long)header->shard_bytes * header->shard_count,
                     (long long)region->at.shard_bytes * region->at.shard_count);
    }
    if (header->value_layout != opening->params->value_layout) {
        return found(FILE_OTHER_STORE, "its answers are those of another version");
    }
    if (header->state == REGION_STORE_FORMING) {
        return found(FILE_OTHER_STORE, "a start that died had only begun to make its cache");
    }
    return finding;
}

static int inspect(const struct opening *opening, int fd, struct finding *finding) {
    struct stat status;
    size_t got = 0;
    uint8_t *bytes = read_beginning(opening->region, fd, &got);
    if (bytes == NULL || fstat(fd, &status) == -1) {
        int reason = errno;
        free(bytes);
        return refuse(opening, "cannot read", reason);
    }
    *finding = judge(opening, bytes, (size_t)status.st_size);
    free(bytes);
    return 0;
}

/* -- Set aside -- */

static bool is_aside_of(const char *name, const char *file) {
    size_t length = strlen(file);
    if (strncmp(name, file, length) != 0 || strncmp(name + length, ASIDE, strlen(ASIDE)) != 0) {
        return false;
    }
    const char *digit = name + length + strlen(ASIDE);
    bool any = *digit != '\0';
    while (isdigit((unsigned char)*digit)) {
        digit++;
    }
    return any && *digit == '\0';
}

/* Removes what earlier starts set aside, so that there is never more than one. */
static bool drop_older(const char *path, const char *kept) {
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *file = slash != NULL ? slash + 1 : path;
    const char *kept_slash = strrchr(kept, '/');
    kept = kept_slash != NULL ? kept_slash + 1 : kept;
    snprintf(directory, sizeof(directory), "%.*s", slash != NULL ? (int)(slash - path + 1) : 1,
             slash != NULL ? path : ".");
    DIR *listing = opendir(directory);
    if (listing == NULL) {
        return false;
    }
    bool dropped = false;
    const struct dirent *entry;
    while ((entry = readdir(listing)) != NULL) {
        if (is_aside_of(entry->d_name, file) && strcmp(entry->d_name, kept) != 0) {
            dropped = unlinkat(dirfd(listing), entry->d_name, 0) == 0 || dropped;
        }
    }
    closedir(listing);
    return dropped;
}

static int set_aside(struct opening *opening, const char *why) {
    const char *path = opening->params->path;
    int size = snprintf(opening->aside, sizeof(opening->aside), "%s" ASIDE "%lld", path,
                        (long long)(clock_wall_ns() / NS_PER_S));
    if (size >= (int)sizeof(opening->aside) || rename(path, opening->aside) == -1) {
        char what[256];
        snprintf(what, sizeof(what), "is damaged (%s) and cannot be renamed", why);
        return refuse(opening, what, size >= (int)sizeof(opening->aside) ? ENAMETOOLONG : errno);
    }
    bool replaced = drop_older(path, opening->aside);
    say(&opening->region->report, true,
        "cache.file %.250s is damaged (%s): set aside as %.250s%s; starting empty", path, why,
        opening->aside, replaced ? ", in place of an older one" : "");
    return 0;
}

/* -- Allocate -- */

/* The header up to and with the state, in one call: no death leaves a part of it. */
static int write_identity(const struct opening *opening, int fd, uint32_t state) {
    struct region_header header = {.state = state};
    if (region_identify(&opening->region->at, opening->params, &header) == -1 ||
        pwrite(fd, &header, IDENTITY_BYTES, 0) != (ssize_t)IDENTITY_BYTES) {
        return -1;
    }
    return 0;
}

static int refuse_size(const struct opening *opening, int reason) {
    char what[64];
    snprintf(what, sizeof(what), "cannot allocate %zu bytes", opening->region->at.size);
    return refuse(opening, what, reason);
}

/* Asked for more than there is, ext4 hands out all of it before it says no, and until that is given
 * back every other program finds the disk full. Asked before anything is given up: not every file
 * system counts at once what was truncated. */
static int check_room(const struct opening *opening, int fd) {
    struct stat file;
    struct statvfs disk;
    if (opening->aside[0] != '\0' || /* may have to make room */
        fstat(fd, &file) == -1 || fstatvfs(fd, &disk) == -1 || disk.f_blocks == 0) {
        return 0; /* allocate() will see */
    }
    uint64_t room = (uint64_t)file.st_blocks * 512 + (uint64_t)disk.f_bfree * disk.f_frsize;
    return opening->region->at.size > room ? refuse_size(opening, ENOSPC) : 0;
}

/* Blocks are allocated now: a full disk must be an error here, not a SIGBUS later. */
static int allocate(struct opening *opening, int fd) {
    size_t size = opening->region->at.size;
    int reason = posix_fallocate(fd, 0, (off_t)size);
    if ((reason == ENOSPC || reason == EDQUOT) && opening->aside[0] != '\0' &&
        unlink(opening->aside) == 0) {
        say(&opening->region->report, true,
            "cache.file %.250s was damaged: removed, for there is no room to set it aside; "
            "starting empty",
            opening->params->path);
        reason = posix_fallocate(fd, 0, (off_t)size);
    }
    return reason != 0 ? refuse_size(opening, reason) : 0;
}

/* `kept` bytes at the beginning stay, all behind them becomes zeros. */
static int make_over(struct opening *opening, int fd, size_t kept, uint32_t state) {
    if (check_room(opening, fd) == -1) {
        return -1;
    }
    if (kept == 0 && ftruncate(fd, 0) == -1) {
        return refuse(opening, "cannot empty", errno);
    }
    FAILPOINT("region.form.1");
    if (write_identity(opening, fd, state) == -1) {
        int reason = errno;
        (void)!ftruncate(fd, (off_t)kept);
        return refuse(opening, "cannot write", reason);
    }
    FAILPOINT("region.form.1a");
    if (kept > 0 && ftruncate(fd, (off_t)kept) == -1) {
        return refuse(opening, "cannot empty", errno);
    }
    FAILPOINT("region.form.1b");
    if (allocate(opening, fd) == -1) {
        (void)!ftruncate(fd, (off_t)kept); /* give back what was allocated of it */
        return -1;
    }
    return 0;
}

/* Acts on what was found. 0, -1 refused, 1: the file was renamed, begin again. */
static int settle(struct opening *opening, int fd, const struct finding *finding) {
    struct region *region = opening->region;
    const char *path = opening->params->path;
    switch (finding->verdict) {
    case FILE_FOREIGN:
        return refuse(opening, finding->what, 0);
    case FILE_DAMAGED:
        return set_aside(opening, finding->what) == -1 ? -1 : 1;
    case FILE_OURS:
        region->report.origin = REGION_ATTACHED;
        /* a copy of the file may have holes */
        return check_room(opening, fd) == -1 ? -1 : allocate(opening, fd);
    case FILE_OTHER_STORE:
        region->report.origin = REGION_TOTALS_KEPT;
        say(&region->report, true, "cache.file %.250s: %s; the cache starts empty, totals go on",
            path, finding->what);
        return make_over(opening, fd, region->at.store, REGION_STORE_FORMING);
    case FILE_OTHER_LAYOUT:
        region->foreign = totals_read(fd); /* the file is made over; they wait in memory */
        /* fall through */
    case FILE_HALF_MADE:
        say(&region->report, finding->verdict == FILE_OTHER_LAYOUT,
            "cache.file %.250s: %s; starting empty", path, finding->what);
        return make_over(opening, fd, 0, REGION_FORMING);
    case FILE_EMPTY:
        break;
    }
    if (region->report.text[0] == '\0') {
        say(&region->report, false, "cache.file %.250s: new, starting empty", path);
    }
    return make_over(opening, fd, 0, REGION_FORMING);
}

int region_file_open(struct region *region, const struct region_params *params, char *error,
                     size_t error_size) {
    struct opening opening = {
        .region = region, .params = params, .error = error, .error_size = error_size};
    for (;;) {
        int fd = open_locked(&opening);
        if (fd == -1) {
            return -1;
        }
        struct finding finding;
        int result = inspect(&opening, fd, &finding);
        if (result == 0) {
            result = settle(&opening, fd, &finding);
        }
        if (result == 0) {
            return fd;
        }
        close(fd);
        if (result == -1) {
            return -1;
        }
    }
}
