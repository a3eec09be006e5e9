/* conf_provider: the section `providers`: names, models, prices, keys; see conf_read.h.
 *
 * The surprise: a provider without a key may be a simulated one (`simulate_without_key`). That is
 * decided here, once, and the label of its models says so; everything behind only looks at
 * `simulated` and `label`.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "conf_read.h"
#include "conf_value.h"

static const char *const own_urls[CONF_TYPE_COUNT] = {
    [CONF_SIMULATED] = "",
    [CONF_OPENAI] = "https://api.openai.com/v1",
    [CONF_ANTHROPIC] = "https://api.anthropic.com",
    [CONF_HUGGINGFACE] = "https://router.huggingface.co/hf-inference/models",
};
static const char simulated_suffix[] = " (simulated)";

static void check_model_name(struct conf_reader *reader, const struct conf_node *at,
                             struct bytes name) {
    if (name.size == 0) {
        conf_complain(reader, at, "a model needs a name");
    } else if (!conf_text_is_line(name)) {
        conf_complain(reader, at, "the model's name contains a control character");
    } else if (bytes_trim(name).size != name.size) {
        conf_complain(reader, at, "the model's name begins or ends with a blank");
    }
}

/* A price that follows from the input's when it is not given: factor in quarters, half up. */
static void settle_price(int64_t *price_nusd, const struct conf_model *model, int quarters) {
    if (*price_nusd == CONF_PRICE_UNKNOWN && model->input_nusd != CONF_PRICE_UNKNOWN) {
        *price_nusd = (model->input_nusd * quarters + 2) / 4;
    }
}

static void check_prices(struct conf_reader *reader, const struct conf_node *key,
                         enum conf_provider_type type, struct conf_model *model) {
    bool input = model->input_nusd != CONF_PRICE_UNKNOWN;
    bool output = model->output_nusd != CONF_PRICE_UNKNOWN;
    bool cached = model->cached_input_nusd != CONF_PRICE_UNKNOWN ||
                  model->cache_write_nusd != CONF_PRICE_UNKNOWN ||
                  model->cache_write_1h_nusd != CONF_PRICE_UNKNOWN;
    if (input != output || (cached && !input)) {
        conf_complain(reader, key, "%.*s: the price needs both `input` and `output`",
                      SHOWN(key->text));
    }
    settle_price(&model->cached_input_nusd, model, 4);
    settle_price(&model->cache_write_nusd, model, type == CONF_ANTHROPIC ? 5 : 4);
    settle_price(&model->cache_write_1h_nusd, model, type == CONF_ANTHROPIC ? 8 : 4);
}

void conf_read_models(struct conf_reader *reader, struct conf_provider *provider,
                      const struct conf_key *row, struct conf_node *key) {
    struct conf_node *map = key->value;
    if (!conf_expect_kind(reader, row->name, map, NODE_MAP) || map->kind != NODE_MAP) {
        return;
    }
    conf_mark_doubled(reader, map);
    /* One more than listed: the default model may have to join. */
    provider->models = conf_reader_alloc(reader, map->count + 1, sizeof(*provider->models));
    if (provider->models == NULL) {
        return;
    }
    for (struct conf_node *name = map->first; name != NULL; name = name->next) {
        if (name->doubled) {
            continue;
        }
        if (provider->model_count == CONF_MAX_MODELS) {
            conf_complain(reader, name, "models: at most %d of one provider", CONF_MAX_MODELS);
            return;
        }
        struct conf_model *model = &provider->models[provider->model_count++];
        check_model_name(reader, name, name->text);
        conf_read_table(reader, row->table, model, name, name->value);
        check_prices(reader, name, provider->type, model);
        model->name = arena_copy(reader->arena, name->text).data;
        if (model->name == NULL) {
            model->name = "";
            reader->no_memory = true;
        }
    }
}

/* The default model is always among the models, without a price when it was not listed. */
static void add_default_model(struct conf_reader *reader, const struct conf_node *key,
                              struct conf_provider *provider) {
    const struct conf_node *given = conf_tree_find(key->value, "default_model");
    if (given == NULL || provider->default_model[0] == '\0') {
        return; /* reported already */
    }
    check_model_name(reader, given->value, bytes_from_str(provider->default_model));
    if (conf_find_model(provider, bytes_from_str(provider->default_model)) != -1) {
        return;
    }
    if (provider->model_count == CONF_MAX_MODELS) {
        conf_complain(reader, given, "models: at most %d of one provider, the default included",
                      CONF_MAX_MODELS);
        return;
    }
    if (provider->models == NULL) {
        provider->models = conf_reader_alloc(reader, 1, sizeof(*provider->models));
        if (provider->models == NULL) {
            return;
        }
    }
    provider->models[provider->model_count++] =
        (struct conf_model){.name = provider->default_model,
                            .input_nusd = CONF_PRICE_UNKNOWN,
                            .output_nusd = CONF_PRICE_UNKNOWN,
                            .cached_input_nusd = CONF_PRICE_UNKNOWN,
                            .cache_write_nusd = CONF_PRICE_UNKNOWN,
                            .cache_write_1h_nusd = CONF_PRICE_UNKNOWN};
}

/* Where to point for a model: its own key, or the default that brought it in. */
static const struct conf_node *model_node(const struct conf_node *key, const char *name) {
    const struct conf_node *models = conf_tree_find(key->value, "models");
    const struct conf_node *found = models != NULL ? conf_tree_find(models->value, name) : NULL;
    if (found == NULL) {
        found = conf_tree_find(key->value, "default_model");
        found = found != NULL ? found->value : key;
    }
    return found;
}

static void make_labels(struct conf_reader *reader, const struct conf_node *key,
                        struct conf_provider *provider) {
    bool marked = provider->simulated && provider->type != CONF_SIMULATED;
    for (unsigned i = 0; i < provider->model_count; i++) {
        struct conf_model *model = &provider->models[i];
        size_t size = strlen(model->name) + (marked ? sizeof(simulated_suffix) - 1 : 0);
        /* Room for the suffix is asked for in any case: a missing key must not make a good file
         * bad. */
        if (strlen(provider->name) + 1 + strlen(model->name) + sizeof(simulated_suffix) - 1 >
            CONF_MAX_PAIR_BYTES) {
            conf_complain(reader, model_node(key, model->name),
                          "the names of provider and model are too long, together at most %d bytes",
                          CONF_MAX_PAIR_BYTES - (int)sizeof(simulated_suffix));
        }
        model->label = model->name;
        char *label = marked ? conf_reader_alloc(reader, 1, size + 1) : NULL;
        if (label != NULL) {
            snprintf(label, size + 1, "%s%s", model->name, simulated_suffix);
            model->label = label;
        }
    }
}

/* People paste the address of an endpoint instead of the API's. */
static const char *endpoint_at_end(struct bytes url) {
    static const char *const ends[] = {"/chat/completions", "/completions", "/messages",
                                       "/responses",        "/embeddings",  "/api/generate",
                                       "/api/chat"};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct bytes end = bytes_from_str(ends[i]);
        if (url.size > end.size &&
            memcmp(url.data + url.size - end.size, end.data, end.size) == 0) {
            return ends[i];
        }
    }
    return NULL;
}

static void settle_url(struct conf_reader *reader, const struct conf_node *key,
                       struct conf_provider *provider) {
    const struct conf_node *given = conf_tree_find(key->value, "url");
    struct conf_reason reason = {""};
    if (provider->url[0] == '\0' || provider->type == CONF_SIMULATED) {
        provider->url = own_urls[provider->type];
        return;
    }
    struct bytes url = bytes_from_str(provider->url);
    if (!conf_url_check(url, &reason)) {
        conf_complain(reader, given->value, "url: %s", reason.text);
        return;
    }
    while (url.data[url.size - 1] == '/') {
        url.size--;
    }
    const char *end = endpoint_at_end(url);
    if (end != NULL) {
        conf_complain(reader, given->value,
                      "url: ends in %s, which is added by itself: leave it out", end);
    }
    provider->url = arena_copy(reader->arena, url).data;
    if (provider->url == NULL) {
        provider->url = "";
        reader->no_memory = true;
    }
}

/* Finds the key, and decides whether the provider is real. */
static void settle_key(struct conf_reader *reader, const struct conf_node *key,
                       struct conf_provider *provider) {
    if (provider->type == CONF_SIMULATED) {
        provider->simulated = true;
        return;
    }
    bool named = provider->api_key_env[0] != '\0' || provider->api_key_file[0] != '\0';
    conf_read_secret(reader, key, provider);
    if (provider->simulate_without_key && provider->api_key == NULL) {
        provider->simulated = true;
    } else if (!named && strcmp(provider->url, own_urls[provider->type]) == 0) {
        conf_complain(reader, key, "%s: %s needs a key: `api_key_env` or `api_key_file`",
                      provider->name, provider->url);
    }
}

static void check_relations(struct conf_reader *reader, const struct conf_node *key,
                            const struct conf_provider *provider) {
    const struct conf_node *per_second = conf_tree_find(key->value, "per_second");
    for (unsigned i = 0; per_second != NULL && i < provider->model_count; i++) {
        if (provider->models[i].input_nusd != CONF_PRICE_UNKNOWN) {
            conf_complain(reader, per_second,
                          "per_second: the models have prices too, one of them must go");
            break;
        }
    }
    if (provider->breaker_max_open_ms < provider->breaker_open_ms) {
        const struct conf_node *breaker = conf_tree_find(key->value, "breaker");
        conf_complain(reader, breaker, "breaker: max_open must not be shorter than open");
    }
}

static void check_provider_name(struct conf_reader *reader, const struct conf_node *key) {
    static const char *const reserved[] = {"auto", "cheap", "strong"};
    if (!conf_name_is_valid(key->text)) {
        conf_complain(reader, key,
                      "`%.*s` is not a name of 1 to %d characters from A-Z a-z 0-9 . _ -",
                      SHOWN(key->text), CONF_MAX_NAME);
    }
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (bytes_equal_str(key->text, reserved[i])) {
            conf_complain(reader, key, "a provider must not be called `%s`", reserved[i]);
        }
    }
}

static void read_provider(struct conf_reader *reader, const struct conf_key *row,
                          const struct conf_node *key, struct conf_provider *provider) {
    provider->line = key->built_in ? 0 : (int)key->line;
    provider->name = arena_copy(reader->arena, key->text).data;
    if (provider->name == NULL) {
        provider->name = "";
        reader->no_memory = true;
    }
    check_provider_name(reader, key);
    if (!conf_read_table(reader, row->table, provider, key, key->value)) {
        return;
    }
    settle_url(reader, key, provider);
    settle_key(reader, key, provider);
    conf_read_authorities(reader, key, provider);
    add_default_model(reader, key, provider);
    make_labels(reader, key, provider);
    check_relations(reader, key, provider);
}

static void check_model_total(struct conf_reader *reader, const struct conf_node *key) {
    unsigned total = 0;
    for (unsigned i = 0; i < reader->conf->provider_count; i++) {
        total += reader->conf->providers[i].model_count;
    }
    if (total > CONF_MAX_MODELS_ALL) {
        conf_complain(reader, key, "providers: %u models, at most %d in all", total,
                      CONF_MAX_MODELS_ALL);
    }
}

void conf_read_providers(struct conf_reader *reader, const struct conf_key *row,
                         struct conf_node *key) {
    struct conf *conf = reader->conf;
    if (key == NULL) {
        key = conf_tree_find(reader->built_in, row->name);
    }
    struct conf_node *map = key->value;
    if (!conf_expect_kind(reader, row->name, map, NODE_MAP)) {
        return;
    }
    if (map->kind != NODE_MAP || map->count == 0) {
        conf_complain(reader, key, "providers: needs at least one");
        return;
    }
    conf_mark_doubled(reader, map);
    size_t room = map->count < CONF_MAX_PROVIDERS ? map->count : CONF_MAX_PROVIDERS;
    conf->providers = conf_reader_alloc(reader, room, sizeof(*conf->providers));
    if (conf->providers == NULL) {
        return;
    }
    for (struct conf_node *name = map->first; name != NULL; name = name->next) {
        if (name->doubled) {
            continue;
        }
        if (conf->provider_count == CONF_MAX_PROVIDERS) {
            conf_complain(reader, name, "providers: at most %d", CONF_MAX_PROVIDERS);
            break;
        }
        read_provider(reader, row, name, &conf->providers[conf->provider_count++]);
    }
    check_model_total(reader, key);
}
