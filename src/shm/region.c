/* region: makes the one mapping that all processes of a daemon share, and tells its time.
 *
 * For where the parts begin and for creating them empty; what a file may hold is in region_file.c,
 * how it is taken over in region_attach.c, what the parts mean in board.c, counters.c, names.c,
 * word.c and store*.c. Run by the master before its first fork; only region_now_ms runs elsewhere.
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
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "base/text.h"
#include "flight_layout.h"
#include "region_layout.h"
#include "shm/totals.h"
#include "store_layout.h"

#define SHARD_WANTED_BYTES (INT64_C(4) << 20)
/* 32-bit offsets of 16-byte units reach 64 GiB of a shard. */
#define STORE_BYTES_MAX ((INT64_C(60) << 30) * REGION_SHARDS_MAX)

static size_t align_up(size_t value, size_t unit) {
    return (value + unit - 1) / unit * unit;
}

void region_fail(char *error, size_t error_size, const char *what, const char *path, int reason) {
    bool is_file = path != NULL && path[0] != '\0';
    snprintf(error, error_size, "%s%s: %s%s%s%s", is_file ? "cache.file " : "shared memory",
             is_file ? path : "", what, reason != 0 ? ": " : "",
             reason != 0 ? strerror(reason) : "", is_file ? text_file_advice(reason) : "");
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
    at->catalogue = end;
    at->catalogue_bytes = params->catalogue.size;
    end += align_up(at->catalogue_bytes, REGION_LINE);
    at->slots = align_up(end, REGION_PAGE);
    at->rows = align_up(at->slots + REGION_SLOTS * sizeof(struct board_slot), REGION_PAGE);
    at->row_bytes = align_up(params->counter_cells * sizeof(counter_cell), REGION_LINE);
    at->flights = align_up(at->rows + REGION_ROWS * at->row_bytes, REGION_PAGE);
    at->history = align_up(at->flights + FLIGHTS_MAX * sizeof(struct flight_entry), REGION_PAGE);
    at->store = align_up(at->history + history_bytes(), REGION_PAGE);
    at->shard_count = params->store_bytes == 0 ? 0 : count_shards(params->store_bytes);
    at->shard_bytes = 0;
    if (at->shard_count != 0) {
        at->shard_bytes = (size_t)params->store_bytes / at->shard_count / REGION_PAGE * REGION_PAGE;
    }
    at->size = at->store + at->shard_count * at->shard_bytes;
}

static int open_memfd(size_t size, char *error, size_t error_size) {
    int fd = memfd_create("optiroute", MFD_CLOEXEC);
    if (fd == -1) {
        region_fail(error, error_size, "memfd_create", NULL, errno);
        return -1;
    }
    if (ftruncate(fd, (off_t)size) == -1) {
        region_fail(error, error_size, "ftruncate", NULL, errno);
        close(fd);
        return -1;
    }
    return fd;
}

/* Left zero when it cannot be read (no /proc): then a reboot shows by region time that went back.
 */
static void read_boot_id(const struct region_params *params, char boot_id[REGION_BOOT_ID_SIZE]) {
    if (params->boot_id != NULL) {
        memcpy(boot_id, params->boot_id, REGION_BOOT_ID_SIZE);
        return;
    }
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return;
    }
    if (read(fd, boot_id, REGION_BOOT_ID_SIZE) != REGION_BOOT_ID_SIZE) {
        memset(boot_id, 0, REGION_BOOT_ID_SIZE);
    }
    close(fd);
}

uint64_t region_header_check(const struct region_header *header) {
    return hash64(header, offsetof(struct region_header, check), REGION_MAGIC);
}

uint64_t region_directory_check(const struct region_directory *directory) {
    return hash64(directory, offsetof(struct region_directory, check), REGION_MAGIC);
}

static void fill_directory(const struct region_geometry *at, uint32_t cells,
                           struct region_directory *directory) {
    *directory = (struct region_directory){
        .version = REGION_DIRECTORY_VERSION,
        .row_count = REGION_ROWS,
        .rows = at->rows,
        .row_bytes = at->row_bytes,
        .row_used = offsetof(struct region_header, row_used),
        .cells = cells,
        .name_size = REGION_NAME_SIZE,
        .names_capacity = {REGION_PROVIDERS, REGION_PAIRS, REGION_ROUTES},
        .catalogue_bytes = (uint32_t)at->catalogue_bytes,
        .catalogue = at->catalogue,
    };
    for (unsigned kind = 0; kind < REGION_NAME_KINDS; kind++) {
        directory->names[kind] = at->names[kind];
    }
    directory->check = region_directory_check(directory);
}

int region_identify(const struct region_geometry *at, const struct region_params *params,
                    struct region_header *header) {
    header->magic = REGION_MAGIC;
    header->layout_version = REGION_LAYOUT_VERSION;
    header->counter_cells = params->counter_cells;
    header->counter_layout = params->counter_layout;
    header->region_bytes = at->size;
    header->shard_bytes = at->shard_bytes;
    header->shard_count = at->shard_count;
    header->value_layout = params->value_layout;
    if (getrandom(&header->store_seed, sizeof(header->store_seed), 0) !=
        (ssize_t)sizeof(header->store_seed)) {
        return -1;
    }
    header->check = region_header_check(header);
    fill_directory(at, params->counter_cells, &header->directory);
    return 0;
}

/* Locks and logs of an all-zero store. */
static int format_store(struct region *region) {
    for (uint32_t i = 0; i < region->at.shard_count; i++) {
        FAILPOINT("region.form.2");
        if (shard_format(region->base + region->at.store + i * region->at.shard_bytes,
                         region->at.shard_bytes) == -1) {
            return -1;
        }
    }
    return 0;
}

/* From zeros or from what the file held to a region that can be used. The state comes last: until
 * then the next start begins where this one did. */
static int prepare(struct region *region, const struct region_params *params) {
    if (region->report.origin == REGION_INHERITED) {
        region_resume_names(region); /* and nothing else: others use all of it this moment */
        return 0;
    }
    if (!region->is_file && region_identify(&region->at, params, region->header) == -1) {
        return -1;
    }
    if (region->report.origin != REGION_ATTACHED && format_store(region) == -1) {
        return -1;
    }
    if (region->report.origin == REGION_NEW) {
        if (params->catalogue.size > 0) {
            memcpy(region->base + region->at.catalogue, params->catalogue.data,
                   params->catalogue.size);
        }
        region_start_time(region, params);
    } else if (region_attach(region, params) == -1) {
        return -1;
    }
    FAILPOINT("region.form.3");
    atomic_store_explicit(&region->header->state, REGION_WHOLE, memory_order_release);
    return 0;
}

static void abandon(struct region *region) {
    for (int slot = 0; slot < REGION_SLOTS; slot++) {
        if (region->wake_fds[slot] != -1) {
            close(region->wake_fds[slot]);
        }
    }
    close(region->fd);
    if (region->beside[0] != '\0') { /* never settled: an upgrade that failed */
        (void)unlink(region->beside);
    }
    totals_free(region->foreign);
    free(region);
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

/* The descriptor of what is to be mapped, or -1. */
static int open_backing(struct region *region, const struct region_params *params, char *error,
                        size_t error_size) {
    if (params->inherited_fd != 0) {
        region->report.not_inherited = region_inherits(region, params);
        if (region->report.not_inherited == NULL) {
            region->report.origin = REGION_INHERITED;
            return params->inherited_fd;
        }
    }
    if (!region->is_file) {
        return open_memfd(region->at.size, error, error_size);
    }
    if (params->inherited_fd != 0 && region_is_at_path(params->inherited_fd, params->path)) {
        return region_open_beside(region, params, error, error_size);
    }
    return region_file_open(region, params, error, error_size);
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
    region->is_file = params->path != NULL && params->path[0] != '\0';
    plan_geometry(params, &region->at);
    memset(region->wake_fds, 0xff, sizeof(region->wake_fds)); /* -1 */
    region->counter_cells = params->counter_cells;
    read_boot_id(params, region->boot_id);
    region->fd = open_backing(region, params, error, error_size);
    if (region->fd == -1) {
        free(region);
        return NULL;
    }
    void *base = mmap(NULL, region->at.size, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
    if (base == MAP_FAILED) {
        region_fail(error, error_size, "mmap", params->path, errno);
        abandon(region);
        return NULL;
    }
    region->base = base;
    region->header = base;
    /* A core file of a worker must not carry everybody's answers, nor be as large as the cache. */
    madvise(base, region->at.size, MADV_DONTDUMP);
    const char *wrong = "cannot make its locks";
    if (prepare(region, params) == -1 || (wrong = region_check(region)) != NULL) {
        region_fail(error, error_size, wrong, params->path, 0);
        region_destroy(region);
        return NULL;
    }
    return region;
}

void region_destroy(struct region *region) {
    if (region != NULL) {
        munmap(region->base, region->at.size);
        abandon(region);
    }
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
    if (header->check != region_header_check(header)) {
        return "has a damaged header";
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
    return region->report.origin == REGION_ATTACHED;
}

const struct region_report *region_report(const struct region *region) {
    return &region->report;
}

size_t region_size(const struct region *region) {
    return region->at.size;
}

int region_descriptor(const struct region *region) {
    return region->fd;
}

struct totals *region_take_foreign(struct region *region) {
    struct totals *foreign = region->foreign;
    region->foreign = NULL;
    return foreign;
}
