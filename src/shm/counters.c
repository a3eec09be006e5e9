/* counters: where the rows are, and their sums.
 *
 * Adding is inline in the header; what a cell means is watch/metrics' business. The surprise: a row
 * that nobody asked for is skipped, because reading a hole of a memfd allocates the page.
 */
#include "config.h"

#include <string.h>

#include "base/panic.h"
#include "region_layout.h"

static counter_cell *row_at(const struct region *region, unsigned row) {
    return (counter_cell *)(void *)(region->base + region->at.rows + row * region->at.row_bytes);
}

counter_cell *counters_row(struct region *region, unsigned row) {
    ASSERT(row < REGION_ROWS);
    /* Relaxed: a reader that does not see the flag yet misses additions it could not count on. */
    atomic_store_explicit(&region->header->row_used[row], 1, memory_order_relaxed);
    return row_at(region, row);
}

uint64_t counters_sum(const struct region *region, unsigned cell) {
    uint64_t sum;
    counters_sum_range(region, cell, 1, &sum);
    return sum;
}

void counters_sum_range(const struct region *region, unsigned first, unsigned count,
                        uint64_t *out) {
    ASSERT(first + count <= region->counter_cells);
    memset(out, 0, count * sizeof(*out));
    for (unsigned row = 0; row < REGION_ROWS; row++) {
        if (atomic_load_explicit(&region->header->row_used[row], memory_order_relaxed) == 0) {
            continue;
        }
        const counter_cell *cells = row_at(region, row) + first;
        for (unsigned i = 0; i < count; i++) {
            out[i] += atomic_load_explicit(&cells[i], memory_order_relaxed);
        }
    }
}
