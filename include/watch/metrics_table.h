/* metrics_table: the rows behind watch/metrics.h, for those who walk them: the Prometheus text, the
 * statistics of the dashboard, tests.
 *
 * All of it is constant: offsets and strides are computed by the compiler, so there is nothing to
 * initialise before or after fork.
 */
#ifndef OPTIROUTE_WATCH_METRICS_TABLE_H
#define OPTIROUTE_WATCH_METRICS_TABLE_H

#include "shm/names.h"
#include "watch/metrics.h"

#define METRIC_DIMS 3
#define METRIC_BOUNDS 16 /* finite bucket bounds of every histogram */

/* Cells of one histogram: its buckets (not cumulative; the last one is +Inf), then the sum in
 * nanoseconds. */
#define METRIC_HISTOGRAM_SUM (METRIC_BOUNDS + 1)
#define METRIC_HISTOGRAM_CELLS (METRIC_BOUNDS + 2)

enum metric_type { METRIC_COUNTER, METRIC_HISTOGRAM };

/* What a cell counts; the last two are printed in 10^9 of it, with exactly nine decimals. */
enum metric_unit { UNIT_PLAIN, UNIT_NANOSECONDS, UNIT_NANODOLLARS };

/* Which series are printed before anything happened. */
enum metric_show {
    SHOW_USED,  /* none */
    SHOW_ALL,   /* every one: small fixed lists */
    SHOW_NAMES, /* those of every known name, the other labels at their first value */
};

struct metric_row {
    /* the hot part, first so that it shares a cache line */
    uint32_t base;                 /* first cell */
    uint32_t strides[METRIC_DIMS]; /* cells from one index to the next */
    uint16_t sizes[METRIC_DIMS];   /* indexes along each dimension, 1 where there is none */
    enum metric_type type;
    const int64_t *bounds; /* METRIC_BOUNDS upper bounds in nanoseconds; NULL: a counter */
    /* the descriptive part */
    enum metric_unit unit;
    enum metric_show show;
    enum metric_dim dims[METRIC_DIMS];
    const char *name, *help;
};

struct metric_dim_info {
    const char *labels[2];     /* the second one for DIM_PAIR only */
    unsigned size;             /* indexes that have cells */
    const char *const *values; /* `size` texts; NULL: a names table */
    enum names_kind names;     /* which table, when values is NULL */
};

const struct metric_row *metric_row(enum metric_id id);
const struct metric_dim_info *metric_dim_info(enum metric_dim dim);
/* The first cell of a series; an index out of range panics. */
unsigned metric_cell(const struct metric_row *row, unsigned i, unsigned j, unsigned k);

/* metrics_layout_hash of any rows: a pure function. */
uint64_t metrics_hash_rows(const struct metric_row *table, unsigned count);

#endif
