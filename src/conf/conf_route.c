/* conf_route: the section `routes`: tiers, thresholds, fallbacks, rules; see conf_read.h.
 *
 * The surprise: `auto` exists in every configuration. It comes from the file, else from the
 * built-in one (when the providers do), else a single provider is cheap and strong at once.
 */
#include "config.h"

#include <stdio.h>

#include "conf_read.h"
#include "conf_value.h"

#define PREFIX_MARK "prefix:"

/* What `threshold` may be, and is when not given, for each policy. */
static const struct {
    double standard, min, max;
} thresholds[] = {
    [CONF_POLICY_LENGTH] = {60, 1, 100000},
    [CONF_POLICY_SCORE] = {0.5, 0, 1},
};

void conf_read_provider_name(struct conf_reader *reader, const char *what,
                             const struct conf_node *value, unsigned *index) {
    const struct conf *conf = reader->conf;
    const char *names[CONF_MAX_PROVIDERS];
    const char *word = conf_read_word(reader, what, value);
    if (word == NULL) {
        return;
    }
    int found = conf_find_provider(conf, bytes_from_str(word));
    if (found != -1) {
        *index = (unsigned)found;
        return;
    }
    for (unsigned i = 0; i < conf->provider_count; i++) {
        names[i] = conf->providers[i].name;
    }
    conf_complain(reader, value, "%s: there is no provider `%.*s`%s", what,
                  SHOWN(bytes_from_str(word)),
                  conf_hint_make(bytes_from_str(word), names, conf->provider_count).text);
}

void conf_read_target(struct conf_reader *reader, struct conf_rule *rule,
                      const struct conf_node *key) {
    if (key->value->kind == NODE_SCALAR && bytes_equal_str(key->value->text, "cheap")) {
        rule->target = CONF_TARGET_CHEAP;
    } else if (key->value->kind == NODE_SCALAR && bytes_equal_str(key->value->text, "strong")) {
        rule->target = CONF_TARGET_STRONG;
    } else {
        rule->target = CONF_TARGET_PROVIDER;
        conf_read_provider_name(reader, "to", key->value, &rule->provider);
    }
}

void conf_read_fallback(struct conf_reader *reader, struct conf_route *route,
                        struct conf_node *key) {
    const struct conf_node *value = key->value;
    bool is_one = value->kind == NODE_SCALAR && !conf_node_is_null(value);
    if (!is_one && !conf_expect_kind(reader, "fallback", value, NODE_LIST)) {
        return;
    }
    for (const struct conf_node *item = is_one ? value : value->first; item != NULL;
         item = is_one ? NULL : item->next) {
        if (route->fallback_count == CONF_MAX_FALLBACKS) {
            conf_complain(reader, item, "fallback: at most %d providers", CONF_MAX_FALLBACKS);
            return;
        }
        unsigned before = reader->complaint_count;
        unsigned index = 0;
        conf_read_provider_name(reader, "fallback", item, &index);
        for (unsigned i = 0; i < route->fallback_count; i++) {
            if (reader->complaint_count == before && route->fallback[i] == index) {
                conf_complain(reader, item, "fallback: `%.*s` is in the list twice",
                              SHOWN(item->text));
            }
        }
        if (reader->complaint_count == before) {
            route->fallback[route->fallback_count++] = index;
        }
    }
}

static void check_rule_name(struct conf_reader *reader, const struct conf_route *route,
                            const struct conf_node *item, const struct conf_rule *rule) {
    for (unsigned i = 0; i < route->rule_count; i++) {
        if (strcmp(route->rules[i].name, rule->name) == 0) {
            conf_complain(reader, item, "rules: `%s` is the name of two rules", rule->name);
            return;
        }
    }
}

/* Makes the rule ready to match. False when it is none and nothing of it must be freed. */
static bool compile_rule(struct conf_reader *reader, const struct conf_node *item,
                         struct conf_rule *rule) {
    const struct conf_node *match = conf_tree_find(item, "match");
    const size_t mark_size = sizeof(PREFIX_MARK) - 1;
    struct conf_reason reason = {""};
    if (strncmp(rule->match, PREFIX_MARK, mark_size) == 0) {
        rule->prefix = rule->match + mark_size;
        if (rule->prefix[0] == '\0') {
            conf_complain(reader, match->value, "match: nothing stands behind " PREFIX_MARK);
            return false;
        }
        return true;
    }
    if (conf_regex_compile(&rule->regex, rule->match, &reason) == -1) {
        conf_complain(reader, match->value, "match: %s", reason.text);
        return false;
    }
    return true;
}

void conf_read_rules(struct conf_reader *reader, struct conf_route *route,
                     const struct conf_key *row, struct conf_node *key) {
    struct conf_node *list = key->value;
    if (!conf_expect_kind(reader, row->name, list, NODE_LIST) || list->kind != NODE_LIST ||
        list->count == 0) {
        return;
    }
    size_t room = list->count < CONF_MAX_RULES ? list->count : CONF_MAX_RULES;
    route->rules = conf_reader_alloc(reader, room, sizeof(*route->rules));
    if (route->rules == NULL) {
        return;
    }
    for (struct conf_node *item = list->first; item != NULL; item = item->next) {
        if (route->rule_count == CONF_MAX_RULES) {
            conf_complain(reader, item, "rules: at most %d in a route", CONF_MAX_RULES);
            return;
        }
        struct conf_rule *rule = &route->rules[route->rule_count];
        struct conf_node self = *item; /* a list item has no key: complaints name the rule */
        self.text = BYTES_LITERAL("rule");
        unsigned before = reader->complaint_count;
        *rule = (struct conf_rule){.name = ""};
        if (!conf_read_table(reader, row->table, rule, &self, item)) {
            continue;
        }
        if (rule->name[0] != '\0') {
            check_rule_name(reader, route, item, rule);
        }
        /* Counted is what conf_free must free: a rule that was compiled. */
        if (reader->complaint_count == before && compile_rule(reader, item, rule)) {
            route->rule_count++;
        }
    }
}

static void settle_threshold(struct conf_reader *reader, const struct conf_node *key,
                             struct conf_route *route) {
    double min = thresholds[route->policy].min;
    double max = thresholds[route->policy].max;
    if (route->threshold < 0) {
        route->threshold = thresholds[route->policy].standard;
    } else if (route->threshold < min || route->threshold > max) {
        const struct conf_node *given = conf_tree_find(key->value, "threshold");
        conf_complain(reader, given->value, "threshold: out of bounds: from %g to %g for policy %s",
                      min, max, route->policy == CONF_POLICY_LENGTH ? "length" : "score");
    }
}

static void check_route_name(struct conf_reader *reader, const struct conf_node *key) {
    if (!conf_name_is_valid(key->text)) {
        conf_complain(reader, key,
                      "`%.*s` is not a name of 1 to %d characters from A-Z a-z 0-9 . _ -",
                      SHOWN(key->text), CONF_MAX_NAME);
    }
    if (bytes_equal_str(key->text, "cheap") || bytes_equal_str(key->text, "strong")) {
        conf_complain(reader, key, "a route must not be called `%.*s`", SHOWN(key->text));
    }
    if (conf_find_provider(reader->conf, key->text) != -1 &&
        !bytes_equal_str(key->text, "auto")) { /* a provider of that name is an error already */
        conf_complain(reader, key, "route `%.*s` has the name of a provider", SHOWN(key->text));
    }
}

/* The bounds of `threshold` depend on a policy that was understood: beside other mistakes of the
 * route it must be absent or one of the words as they are. */
static bool policy_is_plain(const struct conf_node *key) {
    const struct conf_node *policy = conf_tree_find(key->value, "policy");
    return policy == NULL || bytes_equal_str(policy->value->text, "length") ||
           bytes_equal_str(policy->value->text, "score");
}

static void read_route(struct conf_reader *reader, const struct conf_key *row,
                       struct conf_node *key) {
    struct conf_route *route = &reader->conf->routes[reader->conf->route_count++];
    route->name = arena_copy(reader->arena, key->text).data;
    if (route->name == NULL) {
        route->name = "";
        reader->no_memory = true;
    }
    check_route_name(reader, key);
    unsigned before = reader->complaint_count;
    if (conf_read_table(reader, row->table, route, key, key->value) &&
        (reader->complaint_count == before || policy_is_plain(key))) {
        settle_threshold(reader, key, route);
    }
}

/* The file does not define `auto`. */
static void add_auto(struct conf_reader *reader, const struct conf_key *row,
                     const struct conf_node *key) {
    struct conf *conf = reader->conf;
    const struct conf_node *providers = conf_tree_find(reader->root, "providers");
    if (providers == NULL) {
        const struct conf_node *routes = conf_tree_find(reader->built_in, row->name);
        read_route(reader, row, conf_tree_find(routes->value, "auto"));
        return;
    }
    if (conf->provider_count != 1) {
        conf_complain(reader, key != NULL ? key : providers,
                      "routes: `auto` is missing: it must say which provider is cheap and which "
                      "is strong");
        return;
    }
    struct conf_route *route = &conf->routes[conf->route_count++];
    conf_read_defaults(reader, row->table, route);
    route->name = "auto";
    route->threshold = thresholds[route->policy].standard;
}

void conf_read_routes(struct conf_reader *reader, const struct conf_key *row,
                      struct conf_node *key) {
    struct conf *conf = reader->conf;
    struct conf_node *map = key != NULL ? key->value : NULL;
    if (map != NULL && !conf_expect_kind(reader, row->name, map, NODE_MAP)) {
        return;
    }
    if (conf->provider_count == 0) {
        return; /* reported already; every name in here would dangle */
    }
    size_t given = map != NULL ? map->count : 0;
    size_t room = given < CONF_MAX_ROUTES ? given + 1 : CONF_MAX_ROUTES;
    conf->routes = conf_reader_alloc(reader, room, sizeof(*conf->routes));
    if (conf->routes == NULL) {
        return;
    }
    if (given > 0) {
        conf_mark_doubled(reader, map);
    }
    bool has_auto = conf_tree_find(map, "auto") != NULL;
    for (struct conf_node *name = given > 0 ? map->first : NULL; name != NULL; name = name->next) {
        if (name->doubled) {
            continue;
        }
        if (conf->route_count == CONF_MAX_ROUTES - (has_auto ? 0 : 1)) {
            conf_complain(reader, name, "routes: at most %d, auto included", CONF_MAX_ROUTES);
            return;
        }
        read_route(reader, row, name);
    }
    if (!has_auto) {
        add_auto(reader, row, key);
    }
}
