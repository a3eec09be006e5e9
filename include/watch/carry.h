/* carry: totals from a region of another layout into this one, by name and labels.
 *
 * A region describes its own cells: its *catalogue* says by hashes what each metric is called and
 * what each of its label values is, in the order in which that daemon laid them out. A series is
 * carried when name, type, unit, bounds and labels agree; values out of the region's name tables
 * are compared by name and added here. Master only.
 */
#ifndef OPTIROUTE_WATCH_CARRY_H
#define OPTIROUTE_WATCH_CARRY_H

#include "shm/totals.h"
#include "watch/metrics.h"

/* For region_params.catalogue; lives for ever. */
struct bytes carry_catalogue(void);

struct carried {
    unsigned series; /* that went on */
    unsigned lost;   /* that nothing here corresponds to, or for whose names there is no room */
};
/* Adds to `metrics` (the master's row) what `from` says above what `since`, an earlier reading of
 * the same region, did; since may be NULL. Only series in which something changed are counted. A
 * catalogue that cannot be read carries nothing. */
struct carried carry_totals(struct region *region, const struct metrics *metrics,
                            const struct totals *from, const struct totals *since);

#endif
