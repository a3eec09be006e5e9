/* region_inherit: the region of a daemon that is being upgraded, as its successor finds it: in use
 * by the old daemon's processes, who go on whatever comes of the upgrade.
 *
 * Runs in the new master. The surprise: a region that fits is attached by doing nothing. One that
 * does not is left alone, and when the file at our path is theirs, ours is made beside it and moves
 * there when we take over; so a failed upgrade leaves no trace and a good one no moment without a
 * locked file.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "region_layout.h"

#define BESIDE ".new"

bool region_is_at_path(int fd, const char *path) {
    struct stat inherited, named;
    return fstat(fd, &inherited) == 0 && lstat(path, &named) == 0 &&
           inherited.st_dev == named.st_dev && inherited.st_ino == named.st_ino;
}

/* A memfd has no name. */
static bool is_where_it_belongs(const struct region_params *params, bool is_file,
                                const struct stat *status) {
    return is_file ? region_is_at_path(params->inherited_fd, params->path) : status->st_nlink == 0;
}

static const char *compare_headers(const struct region_header *theirs,
                                   const struct region_header *ours) {
    if (theirs->magic != ours->magic || theirs->check != region_header_check(theirs)) {
        return "its header is not one of ours";
    }
    if (theirs->layout_version != ours->layout_version) {
        return "its layout is that of another version";
    }
    if (theirs->counter_cells != ours->counter_cells ||
        theirs->counter_layout != ours->counter_layout) {
        return "its metrics are those of another version";
    }
    if (theirs->value_layout != ours->value_layout) {
        return "its answers are those of another version";
    }
    if (theirs->region_bytes != ours->region_bytes || theirs->shard_bytes != ours->shard_bytes ||
        theirs->shard_count != ours->shard_count) {
        return "cache.size has changed";
    }
    return theirs->state == REGION_WHOLE ? NULL : "it was never completed";
}

const char *region_inherits(const struct region *region, const struct region_params *params) {
    int fd = params->inherited_fd;
    struct stat status;
    if (fstat(fd, &status) == -1 || !S_ISREG(status.st_mode) || status.st_uid != geteuid()) {
        return "its descriptor is no file of ours";
    }
    if (!is_where_it_belongs(params, region->is_file, &status)) {
        return "cache.file has changed";
    }
    struct region_header theirs, ours = {.state = REGION_WHOLE};
    if (pread(fd, &theirs, sizeof(theirs), 0) != (ssize_t)sizeof(theirs) ||
        region_identify(&region->at, params, &ours) == -1) {
        return "it cannot be read";
    }
    const char *difference = compare_headers(&theirs, &ours);
    if (difference == NULL && (uint64_t)status.st_size < ours.region_bytes) {
        difference = "it is too short";
    }
    return difference;
}

int region_open_beside(struct region *region, const struct region_params *params, char *error,
                       size_t error_size) {
    int size = snprintf(region->beside, sizeof(region->beside), "%s" BESIDE, params->path);
    if (size >= (int)sizeof(region->beside)) {
        region->beside[0] = '\0';
        region_fail(error, error_size, "cannot be made beside the old one", params->path,
                    ENAMETOOLONG);
        return -1;
    }
    snprintf(region->path, sizeof(region->path), "%s", params->path);
    (void)unlink(region->beside); /* of an upgrade that was killed */
    struct region_params beside = *params;
    beside.path = region->beside;
    return region_file_open(region, &beside, error, error_size);
}

int region_settle(struct region *region) {
    if (region->beside[0] != '\0') {
        if (rename(region->beside, region->path) == -1) {
            return -1;
        }
        region->beside[0] = '\0';
    }
    return 0;
}

void region_discard_beside(const char *path) {
    char beside[PATH_MAX];
    if (path[0] != '\0' &&
        snprintf(beside, sizeof(beside), "%s" BESIDE, path) < (int)sizeof(beside)) {
        (void)unlink(beside);
    }
}
