/* conf_read: see conf_read.h. Used by the master at boot, at reload and for -t and -T.
 *
 * The surprise: the walk follows the table, not the file. Unknown and doubled keys are found first,
 * then each row looks for its key; so providers are known before the routes that name them, however
 * the file is ordered. Complaints are sorted by position at the end (conf.c).
 */
#include "config.h"

#include "conf_read.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/panic.h"
#include "base/text.h"
#include "conf_value.h"

void conf_complain(struct conf_reader *reader, const struct conf_node *at, const char *format,
                   ...) {
    char text[512];
    va_list args;
    if (reader->complaint_count++ >= CONF_MAX_COMPLAINTS) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct conf_complaint *complaint = &reader->complaints[reader->complaint_count - 1];
    complaint->built_in = at != NULL && at->built_in;
    complaint->line = at != NULL ? at->line : 1;
    complaint->column = at != NULL ? at->column : 1;
    complaint->text = arena_strdup(reader->scratch, text);
    if (complaint->text == NULL) {
        complaint->text = "out of memory";
    }
}

void *conf_reader_alloc(struct conf_reader *reader, size_t count, size_t size) {
    void *memory = arena_calloc(reader->arena, count, size);
    if (memory == NULL) {
        reader->no_memory = true;
    }
    return memory;
}

/* A word that is the beginning of a known one ("api_key" of "api_key_env") is meant so, though the
 * edit distance says nothing. */
static const char *find_longer(const char *word, const char *const *candidates, size_t count) {
    size_t size = strlen(word);
    for (size_t i = 0; size >= 3 && i < count; i++) {
        if (strncmp(word, candidates[i], size) == 0) {
            return candidates[i];
        }
    }
    return NULL;
}

struct conf_hint conf_hint_make(struct bytes word, const char *const *candidates, size_t count) {
    struct conf_hint hint = {""};
    char text[CONF_MAX_SHOWN + 1];
    snprintf(text, sizeof(text), "%.*s", SHOWN(word));
    /* Every letter is near to every other: one alone is no ground for a guess. */
    const char *nearest = strlen(text) > 1 ? text_nearest(text, candidates, count) : NULL;
    if (nearest == NULL) {
        nearest = find_longer(text, candidates, count);
    }
    if (nearest != NULL) {
        snprintf(hint.text, sizeof(hint.text), ", did you mean `%s`?", nearest);
    }
    return hint;
}

bool conf_expect_kind(struct conf_reader *reader, const char *what, const struct conf_node *node,
                      enum conf_node_kind kind) {
    if (node->kind == kind || (kind != NODE_SCALAR && conf_node_is_null(node))) {
        return true;
    }
    struct conf_node wanted = {.kind = kind};
    conf_complain(reader, node, "%s: must be %s, not %s", what, conf_node_kind_text(&wanted),
                  conf_node_kind_text(node));
    return false;
}

const char *conf_read_word(struct conf_reader *reader, const char *what,
                           const struct conf_node *node) {
    char unset[CONF_MAX_NAME + 1];
    if (!conf_expect_kind(reader, what, node, NODE_SCALAR)) {
        return NULL;
    }
    struct bytes text = conf_expand(reader->scratch, node->text, unset);
    if (text.data == NULL) {
        reader->no_memory = true;
        return NULL;
    }
    if (unset[0] != '\0') {
        CONF_COMPLAIN_UNSET(reader, node, "%s: ${%s} is not set in the environment", what, unset);
        return NULL;
    }
    if (text.size == 0) {
        conf_complain(reader, node, "%s: has no value", what);
        return NULL;
    }
    return text.data;
}

/* Reads one value into its field. */
static void read_value(struct conf_reader *reader, const struct conf_key *row, void *base,
                       const struct conf_node *node) {
    char unset[CONF_MAX_NAME + 1];
    struct conf_reason reason = {""};
    if (!conf_expect_kind(reader, row->name, node, NODE_SCALAR)) {
        return;
    }
    struct bytes text = bytes_make("", 0);
    if (!conf_node_is_null(node)) {
        text = conf_expand(reader->scratch, node->text, unset);
    } else {
        unset[0] = '\0';
    }
    if (text.data == NULL) {
        reader->no_memory = true;
        return;
    }
    /* Without a value at all may be meant; one that lacks a piece ("/a.log") never is. */
    bool is_torn = unset[0] != '\0' && text.size > 0;
    if (!is_torn && conf_value_parse(row, text, base, reader->arena, &reason)) {
        return;
    }
    if (unset[0] != '\0') {
        CONF_COMPLAIN_UNSET(reader, node, "%s: ${%s} is not set in the environment", row->name,
                            unset);
    } else if (conf_node_is_null(node)) {
        conf_complain(reader, node, "%s: has no value", row->name);
    } else {
        conf_complain(reader, node, "%s: %s", row->name, reason.text);
    }
}

/* listen: one address or a list of them. */
static void read_addresses(struct conf_reader *reader, const struct conf_key *row,
                           const struct conf_node *node) {
    struct conf *conf = reader->conf;
    struct conf_key one = *row;
    bool is_list = node->kind == NODE_LIST;
    const struct conf_node *item = is_list ? node->first : node;
    unsigned read = 0;
    if (node->kind == NODE_MAP) {
        conf_complain(reader, node, "%s: must be a list of addresses, not a mapping", row->name);
        return;
    }
    if (item == NULL) {
        conf_complain(reader, node, "%s: needs at least one address", row->name);
        return;
    }
    for (; item != NULL; item = is_list ? item->next : NULL) {
        if (read == CONF_MAX_LISTEN) {
            conf_complain(reader, item, "%s: at most %d addresses", row->name, CONF_MAX_LISTEN);
            break;
        }
        unsigned before = reader->complaint_count;
        one.offset = row->offset + read * sizeof(conf->listen[0]);
        read_value(reader, &one, conf, item);
        if (reader->complaint_count != before) {
            continue;
        }
        for (unsigned i = 0; i < read; i++) {
            if (conf_address_equal(&conf->listen[i], &conf->listen[read])) {
                conf_complain(reader, item, "%s: `%s` is in the list twice", row->name,
                              conf->listen[read].text);
                break;
            }
        }
        read++;
    }
    conf->listen_count = read > 0 ? read : 1;
}

static void read_row(struct conf_reader *reader, const struct conf_key *row, void *base,
                     struct conf_node *key) {
    switch (row->kind) {
    case KEY_SECTION:
        conf_read_table(reader, row->table, (char *)base + row->offset, key,
                        key != NULL ? key->value : NULL);
        return;
    case KEY_PROVIDERS:
        conf_read_providers(reader, row, key);
        return;
    case KEY_ROUTES:
        conf_read_routes(reader, row, key);
        return;
    default:
        break;
    }
    if (key == NULL) {
        return;
    }
    switch (row->kind) {
    case KEY_ADDRESS_LIST:
        read_addresses(reader, row, key->value);
        break;
    case KEY_MODELS:
        conf_read_models(reader, base, row, key);
        break;
    case KEY_PROVIDER_LIST:
        conf_read_fallback(reader, base, key);
        break;
    case KEY_RULES:
        conf_read_rules(reader, base, row, key);
        break;
    case KEY_TARGET:
        conf_read_target(reader, base, key);
        break;
    case KEY_PROVIDER:
        conf_read_provider_name(reader, row->name, key->value,
                                (unsigned *)((char *)base + row->offset));
        break;
    default:
        read_value(reader, row, base, key->value);
    }
}

/* The value of a key without default: told apart from every value that can be read. */
static void read_no_default(const struct conf_key *row, void *base) {
    void *field = (char *)base + row->offset;
    switch (row->kind) {
    case KEY_MONEY:
        *(int64_t *)field = CONF_PRICE_UNKNOWN;
        break;
    case KEY_NUMBER:
        *(double *)field = -1;
        break;
    case KEY_STRING:
        *(const char **)field = "";
        break;
    default:
        break; /* zeroed memory does */
    }
}

void conf_read_defaults(struct conf_reader *reader, const struct conf_table *table, void *base) {
    struct conf_reason reason = {""};
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_key *row = &table->keys[i];
        if (row->kind == KEY_SECTION) {
            conf_read_defaults(reader, row->table, (char *)base + row->offset);
        } else if (row->standard == NULL) {
            read_no_default(row, base);
        } else if (row->kind < KEY_PROVIDER || row->kind == KEY_ADDRESS_LIST) {
            if (!conf_value_parse(row, bytes_from_str(row->standard), base, reader->arena,
                                  &reason)) {
                reader->no_memory = true; /* nothing else can be wrong with a default */
            }
        }
    }
}

static int compare_keys(const void *a, const void *b) {
    const struct conf_node *left = *(const struct conf_node *const *)a;
    const struct conf_node *right = *(const struct conf_node *const *)b;
    int order = bytes_compare(left->text, right->text);
    if (order == 0) {
        order = (left->line > right->line) - (left->line < right->line);
    }
    if (order == 0) {
        order = (left->column > right->column) - (left->column < right->column);
    }
    return order;
}

void conf_mark_doubled(struct conf_reader *reader, struct conf_node *map) {
    struct conf_node **keys = arena_calloc(reader->scratch, map->count, sizeof(struct conf_node *));
    if (keys == NULL) {
        reader->no_memory = true;
        return;
    }
    size_t count = 0;
    for (struct conf_node *key = map->first; key != NULL; key = key->next) {
        keys[count++] = key;
    }
    /* Sorted, so that a file of nothing but keys costs n log n. */
    qsort(keys, count, sizeof(struct conf_node *), compare_keys);
    const struct conf_node *first = NULL;
    for (size_t i = 0; i < count; i++) {
        if (first == NULL || !bytes_equal(first->text, keys[i]->text)) {
            first = keys[i];
            continue;
        }
        keys[i]->doubled = true;
        conf_complain(reader, keys[i], "key `%.*s` stands here twice, first in line %u",
                      SHOWN(first->text), first->line);
    }
}

static void report_unknown(struct conf_reader *reader, const struct conf_table *table,
                           const struct conf_node *key) {
    const char *names[CONF_TABLE_MAX];
    ASSERT(table->count <= CONF_TABLE_MAX);
    if (reader->complaint_count >= CONF_MAX_COMPLAINTS) {
        reader->complaint_count++;
        return; /* nobody will read it: do not look for words */
    }
    for (size_t i = 0; i < table->count; i++) {
        names[i] = table->keys[i].name;
    }
    conf_complain(reader, key, "unknown key `%.*s`%s", SHOWN(key->text),
                  conf_hint_make(key->text, names, table->count).text);
}

static bool is_known(const struct conf_table *table, struct bytes name) {
    for (size_t i = 0; i < table->count; i++) {
        if (bytes_equal_str(name, table->keys[i].name)) {
            return true;
        }
    }
    return false;
}

bool conf_read_table(struct conf_reader *reader, const struct conf_table *table, void *base,
                     const struct conf_node *key, struct conf_node *map) {
    char what[CONF_MAX_SHOWN + 1] = "the file";
    bool given = map != NULL;
    if (key != NULL) {
        snprintf(what, sizeof(what), "%.*s", SHOWN(key->text));
    }
    conf_read_defaults(reader, table, base);
    if (given && !conf_expect_kind(reader, what, map, NODE_MAP)) {
        return false;
    }
    if (given && map->kind == NODE_MAP) {
        conf_mark_doubled(reader, map);
        for (const struct conf_node *name = map->first; name != NULL; name = name->next) {
            if (!name->doubled && !is_known(table, name->text)) {
                report_unknown(reader, table, name);
            }
        }
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct conf_key *row = &table->keys[i];
        struct conf_node *found = conf_tree_find(map, row->name);
        if (found == NULL && (row->flags & KEY_REQUIRED) != 0) {
            conf_complain(reader, key, "%s: `%s` is missing", what, row->name);
        }
        read_row(reader, row, base, found);
    }
    return true;
}
