/* Cache keys and plan fingerprints. Pure but for the hasher's state; runs in workers. */
#include "gateway/cache_key.h"

#define KEY_VERSION "optiroute key 2"

static void add_str(struct sha256 *sha, const char *text) {
    sha256_add_field(sha, bytes_from_str(text));
}

static void add_number(struct sha256 *sha, const void *number, size_t size) {
    sha256_add_field(sha, bytes_make(number, size));
}

void cache_key_begin(struct sha256 *sha, const struct cache_key_scope *scope,
                     size_t canonical_size) {
    const struct bytes fields[] = {
        BYTES_LITERAL(KEY_VERSION),
        bytes_from_str(scope->kind),
        scope->tenant,
        bytes_make((const char *)scope->plan, SHA256_SIZE),
        scope->anthropic_version,
        scope->anthropic_beta,
        scope->openai_beta,
    };
    sha256_begin(sha);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        sha256_add_field(sha, fields[i]);
    }
    sha256_begin_field(sha, canonical_size);
}

void cache_key_make(struct sha256 *sha, const struct cache_key_scope *scope, struct bytes canonical,
                    uint8_t key[SHA256_SIZE]) {
    cache_key_begin(sha, scope, canonical.size);
    sha256_add(sha, canonical.data, canonical.size);
    sha256_end(sha, key);
}

static void add_provider(struct sha256 *sha, const struct conf_provider *provider) {
    add_str(sha, provider->name);
    int type = provider->simulated ? CONF_SIMULATED : provider->type;
    add_number(sha, &type, sizeof(type));
    add_str(sha, provider->url);
    add_str(sha, provider->default_model);
    /* the seed decides a simulated answer as the url decides a real one */
    add_number(sha, &provider->simulation.seed, sizeof(provider->simulation.seed));
}

void cache_key_fingerprint_provider(struct sha256 *sha, const struct conf *conf, unsigned provider,
                                    uint8_t plan[SHA256_SIZE]) {
    sha256_begin(sha);
    add_str(sha, "provider");
    add_provider(sha, &conf->providers[provider]);
    sha256_end(sha, plan);
}

void cache_key_fingerprint_route(struct sha256 *sha, const struct conf *conf, unsigned index,
                                 uint8_t plan[SHA256_SIZE]) {
    const struct conf_route *route = &conf->routes[index];
    int policy = route->policy;
    sha256_begin(sha);
    add_str(sha, "route");
    add_str(sha, route->name);
    add_provider(sha, &conf->providers[route->cheap]);
    add_provider(sha, &conf->providers[route->strong]);
    add_number(sha, &policy, sizeof(policy));
    add_number(sha, &route->threshold, sizeof(route->threshold));
    add_number(sha, &route->fallback_count, sizeof(route->fallback_count));
    for (unsigned i = 0; i < route->fallback_count; i++) {
        add_provider(sha, &conf->providers[route->fallback[i]]);
    }
    add_number(sha, &route->rule_count, sizeof(route->rule_count));
    for (unsigned i = 0; i < route->rule_count; i++) {
        const struct conf_rule *rule = &route->rules[i];
        int target = rule->target;
        add_str(sha, rule->match);
        add_number(sha, &target, sizeof(target));
        if (rule->target == CONF_TARGET_PROVIDER) {
            add_provider(sha, &conf->providers[rule->provider]);
        }
    }
    sha256_end(sha, plan);
}
