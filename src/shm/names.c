/* names: append-only name tables in the region.
 *
 * Written by the master alone, read everywhere without a lock. The surprise: there is no hash;
 * names are looked up when a configuration is loaded, never on the way of a request.
 */
#include "config.h"

#include <string.h>

#include "base/hash.h"
#include "base/panic.h"
#include "region_layout.h"

static const unsigned names_capacity[] = {
    [NAMES_PROVIDER] = REGION_PROVIDERS,
    [NAMES_PAIR] = REGION_PAIRS,
    [NAMES_ROUTE] = REGION_ROUTES,
};

static struct names_table *table_of(const struct region *region, enum names_kind kind) {
    return (struct names_table *)(void *)(region->base + region->at.names[kind]);
}

#define COUNT_BITS 16

static uint64_t shown_word(const struct names_table *table, unsigned count) {
    uint64_t hash = count == 0 ? 0 : hash64(table->entries, (size_t)count * REGION_NAME_SIZE, 0);
    return hash << COUNT_BITS | count;
}

/* Entries shown, never past the table whatever the shared word says. */
static unsigned shown(const struct names_table *table, enum names_kind kind) {
    unsigned count = (unsigned)(atomic_load_explicit(&table->shown, memory_order_acquire) &
                                ((UINT64_C(1) << COUNT_BITS) - 1));
    return count < names_capacity[kind] ? count : names_capacity[kind];
}

int names_add(struct region *region, enum names_kind kind, const char *name) {
    int known = names_find(region, kind, name);
    if (known != -1) {
        return known;
    }
    struct names_table *table = table_of(region, kind);
    unsigned count = shown(table, kind);
    size_t length = strlen(name);
    if (count == names_capacity[kind] || length >= REGION_NAME_SIZE) {
        return -1;
    }
    /* All of the entry: one that a dead master began must not show through. */
    memset(table->entries[count], 0, REGION_NAME_SIZE);
    memcpy(table->entries[count], name, length);
    atomic_store_explicit(&table->shown, shown_word(table, count + 1), memory_order_release);
    return (int)count;
}

const char *names_check(const struct region *region) {
    static const char *const wrong[] = {
        [NAMES_PROVIDER] = "its names of providers are damaged",
        [NAMES_PAIR] = "its names of models are damaged",
        [NAMES_ROUTE] = "its names of routes are damaged",
    };
    for (unsigned kind = 0; kind < sizeof(wrong) / sizeof(wrong[0]); kind++) {
        const struct names_table *table = table_of(region, (enum names_kind)kind);
        uint64_t word = atomic_load_explicit(&table->shown, memory_order_relaxed);
        if (word != shown_word(table, shown(table, (enum names_kind)kind))) {
            return wrong[kind];
        }
    }
    return NULL;
}

int names_find(const struct region *region, enum names_kind kind, const char *name) {
    const struct names_table *table = table_of(region, kind);
    unsigned count = shown(table, kind);
    for (unsigned i = 0; i < count; i++) {
        if (strncmp(table->entries[i], name, REGION_NAME_SIZE) == 0) {
            return (int)i;
        }
    }
    return -1;
}

int names_count(const struct region *region, enum names_kind kind) {
    return (int)shown(table_of(region, kind), kind);
}

const char *names_get(const struct region *region, enum names_kind kind, int index) {
    ASSERT(index >= 0 && index < names_count(region, kind));
    return table_of(region, kind)->entries[index];
}
