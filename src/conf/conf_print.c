/* conf_print: -T, the effective configuration as YAML; see conf/conf.h and conf_print.h.
 *
 * The surprise: it prints every key, defaults included, so etc/optiroute.yaml is this output of the
 * built-in configuration with comments added, and a test compares them.
 */
#include "config.h"

#include "conf_print.h"

#include "conf_value.h"

#define STEP 2

static void print_table(const struct conf *conf, const struct conf_table *table, const void *base,
                        unsigned indent, struct buf *out) {
    for (size_t i = 0; i < table->count; i++) {
        conf_print_key(conf, &table->keys[i], base, indent, out);
    }
}

static void print_indent(unsigned indent, struct buf *out) {
    for (unsigned i = 0; i < indent; i++) {
        buf_append_char(out, ' ');
    }
}

static void print_name(const char *name, unsigned indent, struct buf *out) {
    print_indent(indent, out);
    conf_text_quote(bytes_from_str(name), out);
    buf_append_char(out, ':');
}

/* "name:" and the table below it. */
static void print_named_table(const struct conf *conf, const char *name,
                              const struct conf_table *table, const void *base, unsigned indent,
                              struct buf *out) {
    print_name(name, indent, out);
    buf_append_char(out, '\n');
    size_t before = out->size;
    print_table(conf, table, base, indent + STEP, out);
    if (out->size == before && before > 0) { /* nothing in it: "name: {}" */
        out->size--;
        buf_append_str(out, " {}\n");
    }
}

static void print_addresses(const struct conf *conf, unsigned indent, struct buf *out) {
    buf_append_char(out, '\n');
    for (unsigned i = 0; i < conf->listen_count; i++) {
        print_indent(indent + STEP, out);
        buf_append_str(out, "- ");
        conf_text_quote(bytes_from_str(conf->listen[i].text), out);
        buf_append_char(out, '\n');
    }
}

static void print_fallback(const struct conf *conf, const struct conf_route *route,
                           struct buf *out) {
    buf_append_str(out, " [");
    for (unsigned i = 0; i < route->fallback_count; i++) {
        buf_append_str(out, i > 0 ? ", " : "");
        conf_text_quote(bytes_from_str(conf->providers[route->fallback[i]].name), out);
    }
    buf_append_str(out, "]\n");
}

static void print_rules(const struct conf *conf, const struct conf_route *route,
                        const struct conf_table *table, unsigned indent, struct buf *out) {
    buf_append_str(out, route->rule_count > 0 ? "\n" : " []\n");
    for (unsigned i = 0; i < route->rule_count; i++) {
        print_indent(indent + STEP, out);
        buf_append_str(out, "-\n");
        print_table(conf, table, &route->rules[i], indent + 2 * STEP, out);
    }
}

static void print_target(const struct conf *conf, const struct conf_rule *rule, struct buf *out) {
    buf_append_char(out, ' ');
    conf_text_quote(bytes_from_str(rule->target == CONF_TARGET_CHEAP ? "cheap"
                                   : rule->target == CONF_TARGET_STRONG
                                       ? "strong"
                                       : conf->providers[rule->provider].name),
                    out);
    buf_append_char(out, '\n');
}

/* Keys whose value is a mapping or needs the whole configuration. False: a single value. */
static bool print_special(const struct conf *conf, const struct conf_key *row, const void *base,
                          unsigned indent, struct buf *out) {
    const struct conf_provider *provider = base; /* of KEY_MODELS */
    const unsigned *index;
    switch (row->kind) {
    case KEY_ADDRESS_LIST:
        print_addresses(conf, indent, out);
        return true;
    case KEY_PROVIDERS:
        buf_append_char(out, '\n');
        for (unsigned i = 0; i < conf->provider_count; i++) {
            print_named_table(conf, conf->providers[i].name, row->table, &conf->providers[i],
                              indent + STEP, out);
        }
        return true;
    case KEY_MODELS:
        buf_append_char(out, '\n');
        for (unsigned i = 0; i < provider->model_count; i++) {
            print_named_table(conf, provider->models[i].name, row->table, &provider->models[i],
                              indent + STEP, out);
        }
        return true;
    case KEY_ROUTES:
        buf_append_char(out, '\n');
        for (unsigned i = 0; i < conf->route_count; i++) {
            print_named_table(conf, conf->routes[i].name, row->table, &conf->routes[i],
                              indent + STEP, out);
        }
        return true;
    case KEY_PROVIDER:
        index = (const unsigned *)((const char *)base + row->offset);
        buf_append_char(out, ' ');
        conf_text_quote(bytes_from_str(conf->providers[*index].name), out);
        buf_append_char(out, '\n');
        return true;
    case KEY_PROVIDER_LIST:
        print_fallback(conf, base, out);
        return true;
    case KEY_RULES:
        print_rules(conf, base, row->table, indent, out);
        return true;
    case KEY_TARGET:
        print_target(conf, base, out);
        return true;
    default:
        return false;
    }
}

void conf_print_key(const struct conf *conf, const struct conf_key *row, const void *base,
                    unsigned indent, struct buf *out) {
    if (row->kind == KEY_SECTION) {
        print_named_table(conf, row->name, row->table, (const char *)base + row->offset, indent,
                          out);
        return;
    }
    if (row->kind < KEY_PROVIDER && conf_value_is_unset(row, base)) {
        return;
    }
    print_name(row->name, indent, out);
    if (!print_special(conf, row, base, indent, out)) {
        buf_append_char(out, ' ');
        conf_value_format(row, base, out);
        buf_append_char(out, '\n');
    }
}

/* Whether each key was found; the key itself is never shown. */
static void print_key_state(const struct conf *conf, struct buf *out) {
    for (unsigned i = 0; i < conf->provider_count; i++) {
        const struct conf_provider *provider = &conf->providers[i];
        if (provider->api_key_env[0] != '\0' || provider->api_key_file[0] != '\0') {
            buf_printf(out, "# api key of %s: %s\n", provider->name,
                       provider->api_key != NULL ? "(set)" : "(not set: simulated)");
        }
    }
}

/* Appends ", NAME" for each key that a reload cannot bring into force. */
static void print_restart_keys(const struct conf_table *table, const char *section,
                               struct buf *out) {
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_key *row = &table->keys[i];
        if (row->kind == KEY_SECTION) {
            print_restart_keys(row->table, row->name, out);
        }
        if ((row->flags & KEY_RESTART) != 0) {
            buf_printf(out, " %s%s%s", section, section[0] != '\0' ? "." : "", row->name);
        }
    }
}

void conf_print(const struct conf *conf, struct buf *out) {
    buf_append_str(out, "# effective configuration, from ");
    conf_text_quote(bytes_from_str(conf->source), out);
    buf_append_char(out, '\n');
    print_key_state(conf, out);
    buf_append_str(out, "# a reload does not change (an upgrade or a restart does):");
    print_restart_keys(&conf_table_root, "", out);
    buf_append_char(out, '\n');
    print_table(conf, &conf_table_root, conf, 0, out);
}
