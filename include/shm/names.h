/* names: tables in the region that give providers, provider/model pairs and routes small numbers
 * that never change.
 *
 * They only grow, so an index means the same before and after a reload and counters and breakers
 * may be addressed by it. Writer: the master alone, before it forks the generation that uses a new
 * name. Readers: every process, without lock (an entry is complete before the count that shows it
 * is raised, release/acquire).
 */
#ifndef OPTIROUTE_SHM_NAMES_H
#define OPTIROUTE_SHM_NAMES_H

#include "shm/region.h"

enum names_kind {
    NAMES_PROVIDER, /* "openai" */
    NAMES_PAIR,     /* "openai\nmodel": provider, newline, model label */
    NAMES_ROUTE     /* "auto" */
};

/* The name's index, added when new; -1 when the table is full or the name does not fit
 * REGION_NAME_SIZE. */
int names_add(struct region *region, enum names_kind kind, const char *name);
/* -1 when unknown. */
int names_find(const struct region *region, enum names_kind kind, const char *name);
/* Entries so far. */
int names_count(const struct region *region, enum names_kind kind);
/* Terminated; lives as long as the region. index must be below names_count. */
const char *names_get(const struct region *region, enum names_kind kind, int index);

#endif
