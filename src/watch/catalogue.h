/* catalogue: the bytes by which a region says what its cells mean; for carry.c and its test alone.
 *
 *     name, type, unit, bounds, labels -> hash      a row: which metric
 *     label value -> hash                           a dimension: which series, in which order
 */
#ifndef OPTIROUTE_WATCH_CATALOGUE_H
#define OPTIROUTE_WATCH_CATALOGUE_H

#include <stddef.h>

#include "base/hash.h"
#include "watch/metrics_table.h"

#define CATALOGUE_MAGIC UINT64_C(0x31544143454d5254)
#define ROWS_MAX 96
#define DIMS_MAX 48
#define VALUES_MAX 1024
#define FIXED_VALUES UINT16_MAX

struct catalogue_row {
    uint64_t meaning; /* name, type, unit, bounds, labels */
    uint32_t base;    /* first cell */
    uint32_t cells;   /* of one series */
    uint16_t dims[METRIC_DIMS];
    uint16_t reserved;
};
struct catalogue_dim {
    uint32_t size;
    uint16_t first_value; /* its values in `values`, one after the other */
    uint16_t names;       /* or the name table (enum names_kind); FIXED_VALUES: none */
};
/* As it lies in the region; the layout of cells is row-major over the three dimensions. */
struct catalogue {
    uint64_t magic; /* CATALOGUE_MAGIC: another one, another struct */
    uint32_t row_count, dim_count, value_count, reserved;
    struct catalogue_row rows[ROWS_MAX];
    struct catalogue_dim dims[DIMS_MAX];
    uint64_t values[VALUES_MAX]; /* hashes of label values */
    uint64_t check;              /* of all before it */
};

static inline uint64_t catalogue_check(const struct catalogue *catalogue) {
    return hash64(catalogue, offsetof(struct catalogue, check), CATALOGUE_MAGIC);
}

#endif
