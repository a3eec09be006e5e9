/* carry: see watch/carry.h. Runs in the master, when it boots or takes over.
 *
 * The surprise: hashes stand for texts. Nobody needs to read the texts of another version, only to
 * know whether they are the same as ours; so a catalogue is three arrays of numbers.
 */
#include "watch/carry.h"

#include "base/hash.h"
#include "base/panic.h"
#include "catalogue.h"

_Static_assert(METRIC_COUNT <= ROWS_MAX && (int)DIM_COUNT <= DIMS_MAX, "the catalogue holds all");

static uint64_t hash_text(const char *text, uint64_t hash) {
    return hash64(text, strlen(text) + 1, hash);
}

/* -- Ours -- */

static uint64_t meaning_of(const struct metric_row *row) {
    const uint32_t numbers[] = {(uint32_t)row->type, (uint32_t)row->unit};
    uint64_t hash = hash64(numbers, sizeof(numbers), hash_text(row->name, 0));
    if (row->bounds != NULL) {
        hash = hash64(row->bounds, METRIC_BOUNDS * sizeof(row->bounds[0]), hash);
    }
    for (unsigned d = 0; d < METRIC_DIMS; d++) {
        const struct metric_dim_info *dim = metric_dim_info(row->dims[d]);
        for (unsigned i = 0; i < 2; i++) {
            hash = hash_text(dim->labels[i] != NULL ? dim->labels[i] : "", hash);
        }
    }
    return hash;
}

static void add_dim(struct catalogue *catalogue, const struct metric_dim_info *info) {
    struct catalogue_dim *dim = &catalogue->dims[catalogue->dim_count++];
    *dim = (struct catalogue_dim){
        .size = info->size, .first_value = (uint16_t)catalogue->value_count, .names = FIXED_VALUES};
    if (info->values == NULL && info->labels[0] != NULL) {
        dim->names = (uint16_t)info->names;
        return;
    }
    ASSERT(catalogue->value_count + info->size <= VALUES_MAX);
    for (unsigned i = 0; i < info->size; i++) {
        catalogue->values[catalogue->value_count++] =
            info->values != NULL ? hash_text(info->values[i], 0) : 0;
    }
}

static uint32_t cells_of(const struct metric_row *row) {
    return row->type == METRIC_HISTOGRAM ? METRIC_HISTOGRAM_CELLS : 1;
}

static void add_row(struct catalogue *catalogue, const struct metric_row *row) {
    struct catalogue_row *out = &catalogue->rows[catalogue->row_count++];
    *out = (struct catalogue_row){
        .meaning = meaning_of(row),
        .base = row->base,
        .cells = cells_of(row),
    };
    for (unsigned d = 0; d < METRIC_DIMS; d++) {
        out->dims[d] = (uint16_t)row->dims[d];
    }
}

static const struct catalogue *our_catalogue(void) {
    static struct catalogue ours;
    if (ours.magic == 0) {
        ours.magic = CATALOGUE_MAGIC;
        for (unsigned dim = 0; dim < DIM_COUNT; dim++) {
            add_dim(&ours, metric_dim_info((enum metric_dim)dim));
        }
        for (unsigned id = 0; id < METRIC_COUNT; id++) {
            add_row(&ours, metric_row((enum metric_id)id));
        }
        ours.check = catalogue_check(&ours);
    }
    return &ours;
}

struct bytes carry_catalogue(void) {
    return bytes_make((const char *)our_catalogue(), sizeof(struct catalogue));
}

/* -- Theirs -- */

static bool row_is_sound(const struct catalogue *theirs, const struct catalogue_row *row,
                         unsigned cells) {
    uint64_t size = row->cells;
    for (unsigned d = 0; d < METRIC_DIMS; d++) {
        if (row->dims[d] >= theirs->dim_count) {
            return false;
        }
        size *= theirs->dims[row->dims[d]].size;
        if (size > cells) {
            return false;
        }
    }
    return row->base <= cells && size <= cells - row->base && row->cells > 0 &&
           row->cells <= METRIC_HISTOGRAM_CELLS;
}

static bool is_sound(const struct catalogue *theirs, unsigned cells) {
    bool sound = theirs->magic == CATALOGUE_MAGIC && theirs->check == catalogue_check(theirs) &&
                 theirs->row_count <= ROWS_MAX && theirs->dim_count <= DIMS_MAX &&
                 theirs->value_count <= VALUES_MAX;
    for (unsigned i = 0; sound && i < theirs->dim_count; i++) {
        const struct catalogue_dim *dim = &theirs->dims[i];
        sound = dim->names != FIXED_VALUES || (dim->size <= theirs->value_count &&
                                               dim->first_value <= theirs->value_count - dim->size);
    }
    for (unsigned i = 0; sound && i < theirs->row_count; i++) {
        sound = row_is_sound(theirs, &theirs->rows[i], cells);
    }
    return sound;
}

struct carrying {
    struct region *region;
    const struct metrics *metrics;
    const struct totals *from, *since;
    const struct catalogue *theirs;
    const struct catalogue_row *row; /* theirs */
    const struct metric_row *own;    /* what means the same here; NULL: nothing does */
    struct carried result;
};

/* Their index along a dimension as ours; -1 when there is none. */
static int translate(const struct carrying *carrying, unsigned d, uint32_t index) {
    const struct catalogue_dim *dim = &carrying->theirs->dims[carrying->row->dims[d]];
    const struct metric_dim_info *info = metric_dim_info(carrying->own->dims[d]);
    bool named = info->values == NULL && info->labels[0] != NULL;
    if (named != (dim->names != FIXED_VALUES)) {
        return -1;
    }
    if (named) {
        const char *name =
            dim->names == info->names ? totals_name(carrying->from, info->names, index) : NULL;
        return name != NULL ? names_add(carrying->region, info->names, name) : -1;
    }
    uint64_t value = carrying->theirs->values[dim->first_value + index];
    for (unsigned i = 0; i < info->size; i++) {
        if (value == (info->values != NULL ? hash_text(info->values[i], 0) : 0)) {
            return (int)i;
        }
    }
    return -1;
}

static uint64_t change_of(const struct carrying *carrying, unsigned cell) {
    uint64_t before = carrying->since != NULL ? totals_sum(carrying->since, cell) : 0;
    return totals_sum(carrying->from, cell) - before;
}

static void carry_series(struct carrying *carrying, unsigned first, const uint32_t index[]) {
    bool changed = false;
    for (unsigned i = 0; i < carrying->row->cells; i++) {
        changed = changed || change_of(carrying, first + i) != 0;
    }
    if (!changed) {
        return;
    }
    int at[METRIC_DIMS] = {-1, -1, -1};
    for (unsigned d = 0; d < METRIC_DIMS && carrying->own != NULL; d++) {
        at[d] = translate(carrying, d, index[d]);
    }
    if (at[0] == -1 || at[1] == -1 || at[2] == -1) {
        carrying->result.lost++;
        return;
    }
    counter_cell *cells =
        &carrying->metrics
             ->row[metric_cell(carrying->own, (unsigned)at[0], (unsigned)at[1], (unsigned)at[2])];
    for (unsigned i = 0; i < carrying->row->cells; i++) {
        counter_add_shared(&cells[i], change_of(carrying, first + i));
    }
    carrying->result.series++;
}

static void carry_row(struct carrying *carrying) {
    const struct catalogue_dim *dims = carrying->theirs->dims;
    const struct catalogue_row *row = carrying->row;
    uint32_t sizes[METRIC_DIMS], at[METRIC_DIMS];
    for (unsigned d = 0; d < METRIC_DIMS; d++) {
        sizes[d] = dims[row->dims[d]].size;
    }
    carrying->own = NULL;
    for (unsigned id = 0; id < METRIC_COUNT && carrying->own == NULL; id++) {
        const struct metric_row *own = metric_row((enum metric_id)id);
        bool same = meaning_of(own) == row->meaning && cells_of(own) == row->cells;
        carrying->own = same ? own : NULL;
    }
    unsigned cell = row->base;
    for (at[0] = 0; at[0] < sizes[0]; at[0]++) {
        for (at[1] = 0; at[1] < sizes[1]; at[1]++) {
            for (at[2] = 0; at[2] < sizes[2]; at[2]++) {
                carry_series(carrying, cell, at);
                cell += row->cells;
            }
        }
    }
}

struct carried carry_totals(struct region *region, const struct metrics *metrics,
                            const struct totals *from, const struct totals *since) {
    struct carrying carrying = {.region = region, .metrics = metrics, .from = from, .since = since};
    struct bytes bytes = totals_catalogue(from);
    static struct catalogue theirs; /* aligned, and too large for the stack's taste */
    if (bytes.size != sizeof(theirs) ||
        (since != NULL && totals_cells(since) != totals_cells(from))) {
        return carrying.result;
    }
    memcpy(&theirs, bytes.data, sizeof(theirs));
    if (!is_sound(&theirs, totals_cells(from))) {
        return carrying.result;
    }
    carrying.theirs = &theirs;
    for (unsigned i = 0; i < theirs.row_count; i++) {
        carrying.row = &theirs.rows[i];
        carry_row(&carrying);
    }
    return carrying.result;
}
