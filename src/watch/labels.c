/* labels: see the header. Runs in the master, at boot and at every reload; workers only read.
 *
 * The surprise: all names are counted before the first one is added. The tables never shrink, so a
 * reload that is refused must not leave half of its names behind.
 */
#include "watch/labels.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

/* The pair under which models outside the configuration are counted. */
#define UNLISTED_MODEL "other"

static const struct {
    const char *title;
    unsigned capacity;
} tables[] = {
    [NAMES_PROVIDER] = {"providers", REGION_PROVIDERS},
    [NAMES_PAIR] = {"provider and model pairs", REGION_PAIRS},
    [NAMES_ROUTE] = {"routes", REGION_ROUTES},
};
#define TABLE_COUNT (sizeof(tables) / sizeof(tables[0]))

/* One walk over the names of a configuration; first to count the new ones, then to add. */
struct binding {
    struct region *region;
    bool add;                    /* false: only count */
    unsigned fresh[TABLE_COUNT]; /* names that are not in their table yet */
    char *error;
    size_t error_size;
};

static int refuse_full(const struct binding *binding, enum names_kind kind) {
    snprintf(binding->error, binding->error_size,
             "the table of %s is full: it holds %u names and keeps those of earlier configurations",
             tables[kind].title, tables[kind].capacity);
    return -1;
}

static int bind_name(struct binding *binding, enum names_kind kind, const char *name,
                     uint16_t *index) {
    int found = binding->add ? names_add(binding->region, kind, name)
                             : names_find(binding->region, kind, name);
    if (found != -1) {
        *index = (uint16_t)found;
        return 0;
    }
    if (binding->add) {
        return refuse_full(binding, kind);
    }
    binding->fresh[kind]++;
    return 0;
}

static int refuse_long(const struct binding *binding, const char *name) {
    snprintf(binding->error, binding->error_size,
             "the name '%s' is too long: the tables of names hold %d bytes of it", name,
             REGION_NAME_SIZE - 1);
    return -1;
}

static int bind_plain(struct binding *binding, enum names_kind kind, const char *name,
                      uint16_t *index) {
    return strlen(name) < REGION_NAME_SIZE ? bind_name(binding, kind, name, index)
                                           : refuse_long(binding, name);
}

static int bind_pair(struct binding *binding, const char *provider, const char *model,
                     uint16_t *index) {
    char memory[REGION_NAME_SIZE];
    struct buf pair;
    buf_init_fixed(&pair, memory, sizeof(memory));
    buf_append_str(&pair, provider);
    buf_append_char(&pair, '\n');
    buf_append_str(&pair, model);
    buf_append_char(&pair, '\0');
    return pair.failed ? refuse_long(binding, model)
                       : bind_name(binding, NAMES_PAIR, memory, index);
}

static int bind_provider(struct binding *binding, const struct conf_provider *provider,
                         uint16_t *index, uint16_t *pairs) {
    if (bind_plain(binding, NAMES_PROVIDER, provider->name, index) == -1) {
        return -1;
    }
    for (unsigned m = 0; m < provider->model_count; m++) {
        if (bind_pair(binding, provider->name, provider->models[m].label, &pairs[m]) == -1) {
            return -1;
        }
    }
    return provider->allow_unlisted_models
               ? bind_pair(binding, provider->name, UNLISTED_MODEL, &pairs[provider->model_count])
               : 0;
}

static int bind_all(struct binding *binding, const struct conf *conf, struct labels *labels) {
    for (unsigned p = 0; p < conf->provider_count; p++) {
        if (bind_provider(binding, &conf->providers[p], &labels->provider[p], labels->pair[p]) ==
            -1) {
            return -1;
        }
    }
    for (unsigned r = 0; r < conf->route_count; r++) {
        if (bind_plain(binding, NAMES_ROUTE, conf->routes[r].name, &labels->route[r]) == -1) {
            return -1;
        }
    }
    return 0;
}

int labels_bind(struct labels *labels, const struct conf *conf, struct region *region, char *error,
                size_t error_size) {
    struct binding binding = {.region = region, .error = error, .error_size = error_size};
    memset(labels, 0xff, sizeof(*labels)); /* LABELS_NONE */
    if (bind_all(&binding, conf, labels) == -1) {
        return -1;
    }
    for (unsigned kind = 0; kind < TABLE_COUNT; kind++) {
        unsigned known = (unsigned)names_count(region, (enum names_kind)kind);
        if (known + binding.fresh[kind] > tables[kind].capacity) {
            return refuse_full(&binding, (enum names_kind)kind);
        }
    }
    binding.add = true;
    return bind_all(&binding, conf, labels);
}
