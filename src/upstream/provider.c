/* The table of providers: which file serves which type of the configuration.
 *
 * A type that the configuration knows and this table does not is refused when the configuration is
 * checked, so that no worker ever meets it. Runs in every process that loads a configuration.
 */
#include "upstream/provider.h"

#include "upstream/prov_simulated.h"

static const struct provider_ops *const table[] = {
    &prov_simulated_ops,
};

static const char *type_name(enum conf_provider_type type) {
    switch (type) {
    case CONF_SIMULATED:
        return "simulated";
    case CONF_OPENAI:
        return "openai";
    case CONF_ANTHROPIC:
        return "anthropic";
    case CONF_HUGGINGFACE:
        return "huggingface";
    }
    return "unknown";
}

const struct provider_ops *provider_ops_for(const struct conf_provider *provider) {
    const char *type = provider->simulated ? "simulated" : type_name(provider->type);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i]->type, type) == 0) {
            return table[i];
        }
    }
    return NULL;
}

void provider_check(const struct conf *conf, struct conf_errors *errors) {
    for (unsigned i = 0; i < conf->provider_count; i++) {
        const struct conf_provider *provider = &conf->providers[i];
        if (provider_ops_for(provider) != NULL) {
            continue;
        }
        buf_printf(&errors->lines,
                   "%s:%d:1: provider `%s`: type `%s` needs an upstream connection, which this "
                   "version does not have; it serves `simulated` ones, and others when no key is "
                   "set and `simulate_without_key: yes` stands\n",
                   conf->source, provider->line > 0 ? provider->line : 1, provider->name,
                   type_name(provider->type));
        errors->count++;
    }
}
