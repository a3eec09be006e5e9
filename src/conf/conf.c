/* conf: see conf/conf.h. Loading, freeing, finding. Used by the master; workers inherit the result.
 *
 * The surprise: the built-in configuration is a YAML text too and goes the same way. A file without
 * `providers` borrows that section from it.
 */
#include "config.h"

#include "conf/conf.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/text.h"
#include "conf_file.h"
#include "conf_print.h"
#include "conf_read.h"

#define ARENA_BLOCK 16384
#define ARENA_LIMIT ((size_t)32 * 1024 * 1024) /* far above what 1 MB of YAML can ask for */

static const char built_in_text[] =
    "providers:\n"
    "  local:\n"
    "    type: simulated\n"
    "    default_model: llama-2-7b-local\n"
    "    per_second: 0.000005\n"
    "  huggingface:\n"
    "    type: openai\n"
    "    url: https://router.huggingface.co/v1\n"
    "    api_key_env: HF_API_TOKEN\n"
    "    simulate_without_key: yes\n"
    "    default_model: mistralai/Mistral-7B-Instruct-v0.2\n"
    "    models:\n"
    "      mistralai/Mistral-7B-Instruct-v0.2: {input: 0.20, output: 0.20}\n"
    "routes:\n"
    "  auto:\n"
    "    cheap: local\n"
    "    strong: huggingface\n"
    "    policy: score\n"
    "    fallback: [local]\n";

/* What conf_free needs besides what the reader of a configuration sees. */
struct conf_owner {
    struct conf conf; /* first: a conf is its owner */
    struct arena arena;
};

void conf_errors_init(struct conf_errors *errors) {
    *errors = (struct conf_errors){.count = 0};
    buf_init(&errors->lines, 0);
}

void conf_errors_fini(struct conf_errors *errors) {
    buf_free(&errors->lines);
    errors->count = 0;
}

/* Messages repeat what the file says; a line break or escape sequence must not reach the log. */
static void append_printable(struct buf *out, const char *text) {
    struct bytes all = bytes_from_str(text);
    size_t valid = text_utf8_check(all);
    for (size_t i = 0; i < all.size; i++) {
        unsigned char c = (unsigned char)text[i];
        /* 0xc2 0x80..0x9f are the C1 controls. */
        bool c1 = c == 0xc2 && (unsigned char)text[i + 1] < 0xa0;
        if (c < 0x20 || c == 0x7f || c1 || i >= valid) {
            buf_printf(out, "\\x%02X", c);
        } else {
            buf_append_char(out, (char)c);
        }
    }
}

static void add_error(struct conf_errors *errors, const char *name, unsigned line, unsigned column,
                      const char *reason) {
    append_printable(&errors->lines, name);
    buf_printf(&errors->lines, ":%u:%u: ", line, column);
    append_printable(&errors->lines, reason);
    buf_append_char(&errors->lines, '\n');
    errors->count++;
}

/* By position; the compiled-in text, where errors are rare, last. */
static int compare_complaints(const void *a, const void *b) {
    const struct conf_complaint *left = a;
    const struct conf_complaint *right = b;
    int order = (int)left->built_in - (int)right->built_in;
    if (order == 0) {
        order = (left->line > right->line) - (left->line < right->line);
    }
    if (order == 0) {
        order = (left->column > right->column) - (left->column < right->column);
    }
    return order != 0 ? order : strcmp(left->text, right->text);
}

static void report(struct conf_reader *reader, const char *name, struct conf_errors *errors) {
    unsigned kept = reader->complaint_count;
    errors->unset += reader->unset_count;
    if (kept > CONF_MAX_COMPLAINTS) {
        kept = CONF_MAX_COMPLAINTS;
    }
    qsort(reader->complaints, kept, sizeof(reader->complaints[0]), compare_complaints);
    for (unsigned i = 0; i < kept; i++) {
        const struct conf_complaint *complaint = &reader->complaints[i];
        add_error(errors, complaint->built_in ? CONF_BUILT_IN_NAME : name, complaint->line,
                  complaint->column, complaint->text);
    }
    if (reader->complaint_count > kept) {
        buf_printf(&errors->lines, "and %u more\n", reader->complaint_count - kept);
        errors->count += reader->complaint_count - kept;
    }
    if (reader->no_memory) {
        add_error(errors, name, 1, 1, "out of memory");
    }
}

static int parse(struct arena *arena, const char *name, struct bytes text, bool built_in,
                 struct conf_node **root, struct conf_errors *errors) {
    struct conf_fault fault;
    if (conf_tree_parse(arena, text, built_in, root, &fault) == 0) {
        return 0;
    }
    add_error(errors, name, fault.line, fault.column, fault.reason);
    return -1;
}

/* Fills the configuration from the text; what is wrong goes to errors. False: nothing was read. */
static bool load(struct conf_owner *owner, struct bytes text, bool built_in,
                 struct conf_errors *errors) {
    struct conf *conf = &owner->conf;
    const struct bytes own = bytes_make(built_in_text, sizeof(built_in_text) - 1);
    struct conf_node *root = NULL;
    struct conf_node *own_root = NULL;
    struct arena scratch;
    bool was_read = false;
    arena_init(&scratch, ARENA_BLOCK, ARENA_LIMIT);
    if (parse(&scratch, conf->source, text, built_in, &root, errors) == 0 &&
        parse(&scratch, CONF_BUILT_IN_NAME, own, true, &own_root, errors) == 0) {
        struct conf_reader *reader = arena_calloc(&scratch, 1, sizeof(*reader));
        if (reader == NULL) {
            add_error(errors, conf->source, 1, 1, "out of memory");
        } else {
            reader->conf = conf;
            reader->arena = &owner->arena;
            reader->scratch = &scratch;
            reader->root = root;
            reader->built_in = own_root;
            conf->listen_count = 1; /* the default's; read_addresses counts what is given */
            if (conf_read_table(reader, &conf_table_root, conf, NULL, root)) {
                conf_check(reader);
            }
            report(reader, conf->source, errors);
            was_read = true;
        }
    }
    arena_fini(&scratch);
    return was_read;
}

static struct conf *load_named(const char *name, struct bytes text, bool built_in, bool anyway,
                               struct conf_errors *errors) {
    bool was_read = false;
    unsigned before = errors->count;
    struct conf_owner *owner = calloc(1, sizeof(*owner));
    if (owner == NULL) {
        add_error(errors, name, 1, 1, "out of memory");
        return NULL;
    }
    arena_init(&owner->arena, ARENA_BLOCK, ARENA_LIMIT);
    owner->conf.source = arena_strdup(&owner->arena, name);
    if (owner->conf.source == NULL) {
        add_error(errors, name, 1, 1, "out of memory");
    } else if (text.size > CONF_MAX_FILE_BYTES) {
        add_error(errors, name, 1, 1, "larger than 1 MB");
    } else {
        was_read = load(owner, text, built_in, errors);
    }
    if (errors->count != before && !(anyway && was_read)) {
        conf_free(&owner->conf);
        return NULL;
    }
    return &owner->conf;
}

struct conf *conf_load_text(const char *name, struct bytes text, struct conf_errors *errors) {
    return load_named(name, text, false, false, errors);
}

static struct conf *load_path(const char *path, bool anyway, struct conf_errors *errors) {
    if (path == NULL) {
        return load_named(CONF_BUILT_IN_NAME, bytes_make(built_in_text, sizeof(built_in_text) - 1),
                          true, anyway, errors);
    }
    struct conf *conf = NULL;
    struct buf text;
    buf_init(&text, 0);
    const char *reason = conf_file_read(path, &text);
    if (reason != NULL) {
        add_error(errors, path, 1, 1, reason);
    } else {
        conf = load_named(path, buf_bytes(&text), false, anyway, errors);
    }
    buf_free(&text);
    return conf;
}

struct conf *conf_load(const char *path, struct conf_errors *errors) {
    return load_path(path, false, errors);
}

struct conf *conf_load_anyway(const char *path, struct conf_errors *errors) {
    return load_path(path, true, errors);
}

void conf_free(struct conf *conf) {
    if (conf == NULL) {
        return;
    }
    struct conf_owner *owner = (struct conf_owner *)conf;
    for (unsigned i = 0; i < conf->route_count; i++) {
        const struct conf_route *route = &conf->routes[i];
        for (unsigned j = 0; j < route->rule_count; j++) {
            if (route->rules[j].prefix == NULL) {
                regfree(&route->rules[j].regex);
            }
        }
    }
    for (unsigned i = 0; i < conf->provider_count; i++) {
        const char *key = conf->providers[i].api_key;
        if (key != NULL) {
            explicit_bzero((char *)(uintptr_t)key, strlen(key));
        }
    }
    arena_fini(&owner->arena);
    free(owner);
}

/* Appends the names of restart keys that differ; `path` is the section they stand in. */
static void compare_table(const struct conf_table *table, const char *path,
                          const struct conf *running, const struct conf *fresh,
                          const void *old_base, const void *new_base, struct buf *out) {
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_key *row = &table->keys[i];
        if (row->kind == KEY_SECTION) {
            compare_table(row->table, row->name, running, fresh,
                          (const char *)old_base + row->offset,
                          (const char *)new_base + row->offset, out);
        }
        if ((row->flags & KEY_RESTART) == 0) {
            continue;
        }
        struct buf old_text;
        struct buf new_text;
        buf_init(&old_text, 0);
        buf_init(&new_text, 0);
        conf_print_key(running, row, old_base, 0, &old_text);
        conf_print_key(fresh, row, new_base, 0, &new_text);
        if (!bytes_equal(buf_bytes(&old_text), buf_bytes(&new_text))) {
            buf_printf(out, "%s%s%s%s", out->size > 0 ? ", " : "", path, path[0] != '\0' ? "." : "",
                       row->name);
        }
        buf_free(&old_text);
        buf_free(&new_text);
    }
}

void conf_restart_keys(const struct conf *running, const struct conf *fresh, struct buf *out) {
    compare_table(&conf_table_root, "", running, fresh, running, fresh, out);
}

int conf_find_provider(const struct conf *conf, struct bytes name) {
    for (unsigned i = 0; i < conf->provider_count; i++) {
        if (bytes_equal_str(name, conf->providers[i].name)) {
            return (int)i;
        }
    }
    return -1;
}

int conf_find_route(const struct conf *conf, struct bytes name) {
    for (unsigned i = 0; i < conf->route_count; i++) {
        if (bytes_equal_str(name, conf->routes[i].name)) {
            return (int)i;
        }
    }
    return -1;
}

int conf_find_model(const struct conf_provider *provider, struct bytes name) {
    for (unsigned i = 0; i < provider->model_count; i++) {
        if (bytes_equal_str(name, provider->models[i].name)) {
            return (int)i;
        }
    }
    return -1;
}
