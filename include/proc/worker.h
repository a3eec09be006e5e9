/* worker: the processes that serve: workers answer clients, the metrics worker answers Prometheus.
 *
 * Both run in a fresh child of the master and return its exit status: 0 drained, 1 could not work,
 * 2 cannot work with this configuration.
 */
#ifndef OPTIROUTE_PROC_WORKER_H
#define OPTIROUTE_PROC_WORKER_H

#include "proc/child.h"

int worker_main(const struct child_env *env);
int metrics_worker_main(const struct child_env *env);

#endif
