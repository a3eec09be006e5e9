/* What the attempts of one worker share. See upstream/upstream.h. Runs in workers.
 *
 * Everything here is made when it is first needed: the library with the first remote request, a
 * provider's site with the first request to it.
 */
#include "upstream_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/panic.h"

#define SCRATCH_BLOCK 4096
#define SCRATCH_LIMIT ((size_t)16 * 1024 * 1024)

struct upstream {
    struct event_base *base;
    struct timers timers;
    const struct conf *conf;
    struct json_reader reader;
    struct arena scratch;
    struct fetcher *fetcher;   /* NULL until the first remote request */
    struct fetch_site **sites; /* by the provider's index; NULL until its first request */
};

struct upstream *upstream_new(struct event_base *base, const struct timers *timers,
                              const struct conf *conf) {
    struct upstream *upstream = calloc(1, sizeof(*upstream));
    if (upstream == NULL) {
        return NULL;
    }
    upstream->base = base;
    upstream->timers = *timers;
    upstream->conf = conf;
    json_reader_init(&upstream->reader);
    arena_init(&upstream->scratch, SCRATCH_BLOCK, SCRATCH_LIMIT);
    upstream->sites = calloc(conf->provider_count, sizeof(struct fetch_site *));
    if (upstream->sites == NULL) {
        upstream_free(upstream);
        return NULL;
    }
    return upstream;
}

void upstream_free(struct upstream *upstream) {
    if (upstream == NULL) {
        return;
    }
    fetcher_free(upstream->fetcher);
    json_reader_fini(&upstream->reader);
    arena_fini(&upstream->scratch);
    free(upstream->sites);
    free(upstream);
}

struct json_reader *upstream_reader(struct upstream *upstream) {
    return &upstream->reader;
}

struct arena *upstream_scratch(struct upstream *upstream) {
    arena_reset(&upstream->scratch);
    return &upstream->scratch;
}

struct fetch_site *upstream_site(struct upstream *upstream, const struct conf_provider *provider,
                                 const struct dialect *dialect) {
    size_t index = (size_t)(provider - upstream->conf->providers);
    ASSERT(index < upstream->conf->provider_count);
    if (upstream->fetcher == NULL) {
        upstream->fetcher = fetcher_new(upstream->base, &upstream->timers);
    }
    if (upstream->sites[index] == NULL && upstream->fetcher != NULL) {
        struct buf fields;
        buf_init(&fields, 0);
        dialect->fields(provider, &fields);
        if (!fields.failed) {
            upstream->sites[index] =
                fetch_site_new(upstream->fetcher, provider, buf_bytes(&fields));
        }
        explicit_bzero(fields.data, fields.size); /* the key */
        buf_free(&fields);
    }
    return upstream->sites[index];
}
