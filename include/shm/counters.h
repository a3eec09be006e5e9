/* counters: one cache-line-aligned row of 64-bit cells per slot, written by its owner alone, summed
 * by readers.
 *
 * A cell is a monotonic total (or a sum in nanoseconds, nano-dollars). The owner adds with a
 * relaxed load and store, no locked instruction; a reader sums over all rows and sees each cell
 * whole. The heir of a slot continues its row, so totals outlive workers and never go back. Which
 * cell means what is watch/metrics' business.
 */
#ifndef OPTIROUTE_SHM_COUNTERS_H
#define OPTIROUTE_SHM_COUNTERS_H

#include <stdatomic.h>

#include "shm/region.h"

typedef _Atomic uint64_t counter_cell;

/* Row 0..REGION_ROWS-1. */
counter_cell *counters_row(struct region *region, unsigned row);
/* Sum of one cell over all rows; wraps modulo 2^64 as the cells do. */
uint64_t counters_sum(const struct region *region, unsigned cell);

/* Master's row: while one upgrades there are two masters. Seldom, so the locked instruction does
 * not matter. */
static inline void counter_add_shared(counter_cell *cell, uint64_t value) {
    atomic_fetch_add_explicit(cell, value, memory_order_relaxed);
}
/* The same of `count` cells from `first` on, in one pass over the rows. */
void counters_sum_range(const struct region *region, unsigned first, unsigned count, uint64_t *out);

/* Owner only. */
static inline void counter_add(counter_cell *cell, uint64_t value) {
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + value,
                          memory_order_relaxed);
}

#endif
