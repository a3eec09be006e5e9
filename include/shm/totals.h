/* totals: what the counters of another region say, read by its directory alone, whatever version of
 * the daemon made it.
 *
 * For carrying totals over (watch/carry.h) when the layout of the region has changed. A copy on the
 * heap; the region may be in use by others meanwhile, each cell is read whole. Master only.
 */
#ifndef OPTIROUTE_SHM_TOTALS_H
#define OPTIROUTE_SHM_TOTALS_H

#include "shm/names.h"

struct totals;

/* NULL when the file has no directory that proves itself (it is older than directories, or no
 * region), or without memory. */
struct totals *totals_read(int fd);
void totals_free(struct totals *totals);

/* What the daemon that made the region said of its cells; watch/carry.h knows how to read it. */
struct bytes totals_catalogue(const struct totals *totals);
unsigned totals_cells(const struct totals *totals);
/* Sum of a cell over all rows. */
uint64_t totals_sum(const struct totals *totals, unsigned cell);
/* NULL when there is no such name. */
const char *totals_name(const struct totals *totals, enum names_kind kind, unsigned index);

#endif
