/* prometheus: the region's totals as Prometheus text (exposition format 0.0.4).
 *
 * Reads counters and gauges without locks; every sum is of whole cells, and none goes back. Series
 * of names that are configured are printed even at 0 where a counter is expected to exist from the
 * start; label combinations that never happened are left out.
 */
#ifndef OPTIROUTE_WATCH_PROMETHEUS_H
#define OPTIROUTE_WATCH_PROMETHEUS_H

#include <sys/types.h>

#include "shm/board.h"
#include "shm/store.h"
#include "watch/metrics.h"

#define PROMETHEUS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct prometheus_source {
    struct region *region;
    const struct store *store;
    const char *version;
    pid_t master; /* process_* are sums over it and every process on the board */
    /* State of a provider's circuit; the meaning of its word is the gateway's business. */
    enum metric_circuit (*circuit)(const struct region *region, unsigned provider);
};

/* Appends the whole exposition; out->failed says that it did not fit. */
void prometheus_render(const struct prometheus_source *source, struct buf *out);

#endif
