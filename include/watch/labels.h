/* labels: the numbers that a configuration's providers, models and routes have in the region's name
 * tables.
 *
 * Made by the master for each configuration, before it forks the generation that uses it (it adds
 * the new names); immutable afterwards.
 */
#ifndef OPTIROUTE_WATCH_LABELS_H
#define OPTIROUTE_WATCH_LABELS_H

#include "conf/conf.h"
#include "shm/names.h"

/* Entries without a name; metric_add refuses it as out of range. */
#define LABELS_NONE UINT16_MAX

/* Indexed as the configuration's arrays are. */
struct labels {
    uint16_t provider[CONF_MAX_PROVIDERS];
    uint16_t pair[CONF_MAX_PROVIDERS][CONF_MAX_MODELS + 1]; /* last used one: "other", when unlisted
                                                               models are allowed */
    uint16_t route[CONF_MAX_ROUTES];
};

/* 0, or -1 with a one-line reason when a table is full or a name too long; the configuration is
 * then refused and nothing was added. */
int labels_bind(struct labels *labels, const struct conf *conf, struct region *region, char *error,
                size_t error_size);

#endif
