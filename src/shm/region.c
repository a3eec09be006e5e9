/* region: makes the one mapping that all processes of a daemon share, and tells its time.
 *
 * For where the parts begin and for creating them empty; what the parts mean is in board.c,
 * counters.c, names.c, word.c and store*.c. Run by the master before its first fork; only
 * region_now_ms runs elsewhere.
 *
 * The surprise: nothing is initialised page by page. A fresh memfd or file reads as zeros and zero
 * is the right first state of every part except the header and the locks, so what nobody uses never
 * costs a page.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "region_layout.h"
#include "store_layout.h"

#define SHARD_WANTED_BYTES (INT64_C(4) << 20)
/* 32-bit offsets of 16-byte units reach 64 GiB of a shard. */
#define STORE_BYTES_MAX ((INT64_C(60) << 30) * REGION_SHARDS_MAX)

static size_t align_up(size_t value, size_t unit) {
    return (value + unit - 1) / unit * unit;
}

static void fail(char *error, size_t error_size, const char *what, const char *path, int reason) {
    bool is_file = path != NULL && path[0] != '\0';
    snprintf(error, error_size, "%s%s: %s%s%s", is_file ? "cache.file " : "shared memory",
             is_file ? path : "", what, reason != 0 ? ": " : "",
             reason != 0 ? strerror(reason) : "");
}

/* Largest power of two not above store_bytes / 4 MiB, 1 to 256. */
static uint32_t count_shards(int64_t store_bytes) {
    uint32_t shards = 1;
    while (shards < REGION_SHARDS_MAX && store_bytes / SHARD_WANTED_BYTES >= 2 * (int64_t)shards) {
        shards *= 2;
    }
    return shards;
}

static void plan_geometry(const struct region_params *params, struct region_geometry *at) {
    static const size_t capacity[3] = {REGION_PROVIDERS, REGION_PAIRS, REGION_ROUTES};
    size_t end = REGION_PAGE;
    at->words = end;
    end += align_up(REGION_PROVIDERS * sizeof(uint64_t), REGION_LINE);
    at->subjects = end;
    end += align_up(REGION_PROVIDERS * sizeof(uint64_t), REGION_LINE);
    for (int kind = 0; kind < 3; kind++) {
        at->names[kind] = end;
        end += sizeof(struct names_table) + capacity[kind] * REGION_NAME_SIZE;
    }
    at->slots = align_up(end, REGION_PAGE);
    at->rows = align_up(at->slots + REGION_SLOTS * sizeof(struct board_slot), REGION_PAGE);
    at->row_bytes = align_up(params->counter_cells * sizeof(counter_cell), REGION_LINE);
    at->store = align_up(at->rows + REGION_ROWS * at->row_bytes, REGION_PAGE);
    at->shard_count = params->store_bytes == 0 ? 0 : count_shards(params->store_bytes);
    at->shard_bytes = 0;
    if (at->shard_count != 0) {
        at->shard_bytes = (size_t)params->store_bytes / at->shard_count / REGION_PAGE * REGION_PAGE;
    }
    at->size = at->store + at->shard_count * at->shard_bytes;
}

/* The one open that differs: a memfd, or the file with its lock taken. Both come back empty (all
 * zeros) and `size` long; attaching to what a file holds will branch off here. -1 on failure. */
static int open_memfd(size_t size, char *error, size_t error_size) {
    int fd = memfd_create("optiroute", MFD_CLOEXEC);
    if (fd == -1) {
        fail(error, error_size, "memfd_create", NULL, errno);
        return -1;
    }
    if (ftruncate(fd, (off_t)size) == -1) {
        fail(error, error_size, "ftruncate", NULL, errno);
        close(fd);
        return -1;
    }
    return fd;
}

/* Only what we made may be emptied: a slip of the pen in `cache.file` must not cost somebody's
 * data. A start that died before its header was whole left nothing at all, or zeros. */
static bool may_be_emptied(int fd) {
    uint64_t magic = 0;
    ssize_t got = pread(fd, &magic, sizeof(magic), 0);
    return got == 0 || (got == (ssize_t)sizeof(magic) && (magic == REGION_MAGIC || magic == 0));
}

static int open_file(const char *path, size_t size, char *error, size_t error_size) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        fail(error, error_size, "cannot open", path, errno);
        return -1;
    }
    struct stat status;
    int reason;
    if (fstat(fd, &status) == -1 || !S_ISREG(status.st_mode)) {
        fail(error, error_size, "is not a regular file", path, 0);
        goto failed;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
        reason = errno;
        if (reason == EWOULDBLOCK) {
            fail(error, error_size, "is in use by another running optirouted", path, 0);
        } else {
            fail(error, error_size, "cannot lock", path, reason);
        }
        goto failed;
    }
    if (!may_be_emptied(fd)) {
        fail(error, error_size, "holds something else than a cache; remove it first", path, 0);
        goto failed;
    }
    if (ftruncate(fd, 0) == -1) {
        fail(error, error_size, "cannot empty", path, errno);
        goto failed;
    }
    /* Blocks are allocated now: a full disk must be an error here, not a SIGBUS later. */
    reason = posix_fallocate(fd, 0, (off_t)size);
    if (reason != 0) {
        char what[64];
        snprintf(what, sizeof(what), "cannot allocate %zu bytes", size);
        fail(error, error_size, what, path, reason);
        (void)!ftruncate(fd, 0); /* give back what was allocated of it */
        goto failed;
    }
    return fd;

failed:
    close(fd);
    return -1;
}

/* Left zero when it cannot be read (no /proc): then a reboot is not told apart, as if none was. */
static void read_boot_id(char boot_id[REGION_BOOT_ID_SIZE]) {
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return;
    }
    if (read(fd, boot_id, REGION_BOOT_ID_SIZE) != REGION_BOOT_ID_SIZE) {
        memset(boot_id, 0, REGION_BOOT_ID_SIZE);
    }
    close(fd);
}

/* Fills the header of an all-zero region and makes the locks. The magic comes last. */
static int format_region(struct region *region, const struct region_params *params) {
    struct region_header *header = region->header;
    header->layout_version = REGION_LAYOUT_VERSION;
    header->counter_cells = params->counter_cells;
    header->counter_layout = params->counter_layout;
    header->region_bytes = region->at.size;
    header->shard_bytes = region->at.shard_bytes;
    header->shard_count = region->at.shard_count;
    read_boot_id(header->boot_id);
    if (getrandom(&header->store_seed, sizeof(header->store_seed), 0) !=
        (ssize_t)sizeof(header->store_seed)) {
        return -1;
    }
    for (uint32_t i = 0; i < region->at.shard_count; i++) {
        if (shard_format(region->base + region->at.store + i * region->at.shard_bytes,
                         region->at.shard_bytes) == -1) {
            return -1;
        }
    }
    header->magic = REGION_MAGIC;
    return 0;
}

static bool params_are_sane(const struct region_params *params, char *error, size_t error_size) {
    if (params->store_bytes != 0 &&
        (params->store_bytes < REGION_STORE_BYTES_MIN || params->store_bytes > STORE_BYTES_MAX)) {
        snprintf(error, error_size, "cache.size %lld is not 0 and not between %lld and %lld bytes",
                 (long long)params->store_bytes, (long long)REGION_STORE_BYTES_MIN,
                 (long long)STORE_BYTES_MAX);
        return false;
    }
    return true;
}

struct region *region_create(const struct region_params *params, char *error, size_t error_size) {
    if (!params_are_sane(params, error, error_size)) {
        return NULL;
    }
    struct region *region = calloc(1, sizeof(*region));
    if (region == NULL) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    bool is_file = params->path != NULL && params->path[0] != '\0';
    plan_geometry(params, &region->at);
    region->counter_cells = params->counter_cells;
    region->fd = is_file ? open_file(params->path, region->at.size, error, error_size)
                         : open_memfd(region->at.size, error, error_size);
    if (region->fd == -1) {
        free(region);
        return NULL;
    }
    void *base = mmap(NULL, region->at.size, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
    if (base == MAP_FAILED) {
        fail(error, error_size, "mmap", params->path, errno);
        close(region->fd);
        free(region);
        return NULL;
    }
    region->base = base;
    region->header = base;
    /* A core file of a worker must not carry everybody's answers, nor be as large as the cache. */
    madvise(base, region->at.size, MADV_DONTDUMP);
    const char *wrong = "cannot make its locks";
    if (format_region(region, params) == -1 || (wrong = region_check(region)) != NULL) {
        fail(error, error_size, wrong, params->path, 0);
        region_destroy(region);
        return NULL;
    }
    return region;
}

void region_destroy(struct region *region) {
    if (region == NULL) {
        return;
    }
    munmap(region->base, region->at.size);
    close(region->fd);
    free(region);
}

const char *region_check(const struct region *region) {
    const struct region_header *header = region->header;
    if (header->magic != REGION_MAGIC) {
        return "is not a region (magic)";
    }
    if (header->layout_version != REGION_LAYOUT_VERSION) {
        return "has another layout version";
    }
    if (header->region_bytes != region->at.size || header->shard_bytes != region->at.shard_bytes ||
        header->shard_count != region->at.shard_count ||
        header->counter_cells != region->counter_cells) {
        return "has other sizes";
    }
    return NULL;
}

int64_t region_now_ms(const struct region *region) {
    return clock_boot_ns() / NS_PER_MS +
           atomic_load_explicit(&region->header->time_offset_ms, memory_order_relaxed);
}

void region_shift_time(struct region *region, int64_t delta_ms) {
    atomic_fetch_add_explicit(&region->header->time_offset_ms, delta_ms, memory_order_relaxed);
}

bool region_was_attached(const struct region *region) {
    return region->attached;
}

size_t region_size(const struct region *region) {
    return region->at.size;
}
