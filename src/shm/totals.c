/* totals: see shm/totals.h. Runs in the master.
 *
 * The surprise: nothing of what stands in the file is believed. The directory proves itself by its
 * check, and each of its offsets is held against the file's length all the same.
 */
#include "config.h"

#include "shm/totals.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/panic.h"
#include "region_layout.h"

#define CELLS_MAX (1u << 24)

struct totals {
    struct buf catalogue;
    unsigned cells;
    uint64_t *sums;
    unsigned name_counts[REGION_NAME_KINDS];
    char *names[REGION_NAME_KINDS]; /* REGION_NAME_SIZE each */
};

/* Another daemon's region, mapped to be read. */
struct image {
    const uint8_t *base;
    size_t size;
    struct region_directory directory;
};

static bool lies_within(const struct image *image, uint64_t offset, uint64_t count, uint64_t each) {
    return each <= image->size && (each == 0 || count <= image->size / each) &&
           offset <= image->size && count * each <= image->size - offset;
}

static bool is_sound(const struct image *image) {
    const struct region_directory *at = &image->directory;
    bool sound = at->version == REGION_DIRECTORY_VERSION &&
                 at->check == region_directory_check(at) && at->name_size == REGION_NAME_SIZE &&
                 at->cells <= CELLS_MAX && at->cells * sizeof(counter_cell) <= at->row_bytes &&
                 at->rows % sizeof(counter_cell) == 0 &&
                 at->row_bytes % sizeof(counter_cell) == 0 &&
                 lies_within(image, at->rows, at->row_count, at->row_bytes) &&
                 lies_within(image, at->row_used, at->row_count, 1) &&
                 lies_within(image, at->catalogue, at->catalogue_bytes, 1);
    for (unsigned kind = 0; sound && kind < REGION_NAME_KINDS; kind++) {
        sound = at->names[kind] % REGION_LINE == 0 &&
                lies_within(image, at->names[kind], 1, sizeof(struct names_table)) &&
                lies_within(image, at->names[kind] + sizeof(struct names_table),
                            at->names_capacity[kind], REGION_NAME_SIZE);
    }
    return sound;
}

static int copy_names(struct totals *totals, const struct image *image, unsigned kind) {
    const struct names_table *table =
        (const struct names_table *)(const void *)(image->base + image->directory.names[kind]);
    unsigned count =
        (unsigned)(atomic_load_explicit(&table->shown, memory_order_acquire) & UINT16_MAX);
    if (count > image->directory.names_capacity[kind]) {
        return -1;
    }
    totals->names[kind] = malloc((size_t)count * REGION_NAME_SIZE + 1);
    if (totals->names[kind] == NULL) {
        return -1;
    }
    memcpy(totals->names[kind], table->entries, (size_t)count * REGION_NAME_SIZE);
    for (unsigned i = 0; i < count; i++) {
        totals->names[kind][(i + 1) * REGION_NAME_SIZE - 1] = '\0';
    }
    totals->name_counts[kind] = count;
    return 0;
}

static int sum_rows(struct totals *totals, const struct image *image) {
    const struct region_directory *at = &image->directory;
    totals->cells = at->cells;
    totals->sums = calloc(at->cells + 1, sizeof(totals->sums[0]));
    if (totals->sums == NULL) {
        return -1;
    }
    const _Atomic uint8_t *used = (const _Atomic uint8_t *)(image->base + at->row_used);
    for (uint32_t row = 0; row < at->row_count; row++) {
        if (atomic_load_explicit(&used[row], memory_order_relaxed) == 0) {
            continue; /* looking at a hole of a memfd would fill it */
        }
        const counter_cell *cells =
            (const counter_cell *)(const void *)(image->base + at->rows + row * at->row_bytes);
        for (unsigned cell = 0; cell < at->cells; cell++) {
            totals->sums[cell] += atomic_load_explicit(&cells[cell], memory_order_relaxed);
        }
    }
    return 0;
}

static struct totals *copy(const struct image *image) {
    struct totals *totals = calloc(1, sizeof(*totals));
    if (totals == NULL) {
        return NULL;
    }
    buf_init(&totals->catalogue, 0);
    buf_append(&totals->catalogue, (const char *)image->base + image->directory.catalogue,
               image->directory.catalogue_bytes);
    bool whole = !totals->catalogue.failed && sum_rows(totals, image) == 0;
    for (unsigned kind = 0; whole && kind < REGION_NAME_KINDS; kind++) {
        whole = copy_names(totals, image, kind) == 0;
    }
    if (!whole) {
        totals_free(totals);
        return NULL;
    }
    return totals;
}

struct totals *totals_read(int fd) {
    struct stat status;
    if (fstat(fd, &status) == -1 || !S_ISREG(status.st_mode) || status.st_size < REGION_PAGE) {
        return NULL;
    }
    struct image image = {.size = (size_t)status.st_size};
    void *base = mmap(NULL, image.size, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        return NULL;
    }
    image.base = base;
    const struct region_header *header = base;
    image.directory = header->directory;
    struct totals *totals = header->magic == REGION_MAGIC && is_sound(&image) ? copy(&image) : NULL;
    munmap(base, image.size);
    return totals;
}

void totals_free(struct totals *totals) {
    if (totals == NULL) {
        return;
    }
    buf_free(&totals->catalogue);
    free(totals->sums);
    for (unsigned kind = 0; kind < REGION_NAME_KINDS; kind++) {
        free(totals->names[kind]);
    }
    free(totals);
}

struct bytes totals_catalogue(const struct totals *totals) {
    return buf_bytes(&totals->catalogue);
}

unsigned totals_cells(const struct totals *totals) {
    return totals->cells;
}

uint64_t totals_sum(const struct totals *totals, unsigned cell) {
    ASSERT(cell < totals->cells);
    return totals->sums[cell];
}

const char *totals_name(const struct totals *totals, enum names_kind kind, unsigned index) {
    ASSERT((unsigned)kind < REGION_NAME_KINDS);
    return index < totals->name_counts[kind] ? totals->names[kind] + index * REGION_NAME_SIZE
                                             : NULL;
}
