/* conf_read: fills structures from the tree, row by row, and collects what is wrong.
 *
 * Private to layer conf. Nothing here stops at the first error: a field that could not be read
 * keeps its default, so that checks further on do not complain about the same thing again.
 */
#ifndef OPTIROUTE_CONF_READ_H
#define OPTIROUTE_CONF_READ_H

#include <stdbool.h>

#include "base/arena.h"
#include "conf/conf.h"
#include "conf_table.h"
#include "conf_tree.h"

#define CONF_MAX_COMPLAINTS 50

#define CONF_BUILT_IN_NAME "(built-in)"

struct conf_complaint {
    bool built_in; /* position is in the compiled-in text */
    unsigned line, column;
    const char *text; /* in scratch memory */
};

struct conf_reader {
    struct conf *conf;                /* being filled */
    struct arena *arena;              /* memory that stays with conf */
    struct arena *scratch;            /* memory that goes when loading is done */
    const struct conf_node *root;     /* of the user's file; NULL: empty */
    const struct conf_node *built_in; /* of the compiled-in text */
    unsigned complaint_count;         /* all of them; the first CONF_MAX_COMPLAINTS are kept */
    struct conf_complaint complaints[CONF_MAX_COMPLAINTS];
    unsigned unset_count; /* of these: variables that are not set */
    bool no_memory;       /* something could not be kept: the result is worthless */
};

/* `at` says where: the key or the value. */
void conf_complain(struct conf_reader *reader, const struct conf_node *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same of a variable that is not set: elsewhere it may be. */
#define CONF_COMPLAIN_UNSET(reader, ...) \
    ((reader)->unset_count++, conf_complain((reader), __VA_ARGS__))
/* Zeroed, from the arena that stays; NULL when there is none (noted in no_memory). */
void *conf_reader_alloc(struct conf_reader *reader, size_t count, size_t size);
/* ", did you mean `x`?" or "": the candidate nearest to the word, for a complaint. */
struct conf_hint {
    char text[CONF_MAX_DEPTH + 96];
};
struct conf_hint conf_hint_make(struct bytes word, const char *const *candidates, size_t count);

/* Sets every field of the table to its default. */
void conf_read_defaults(struct conf_reader *reader, const struct conf_table *table, void *base);
/* Defaults, then what the mapping says. `key` is what the mapping stands for (NULL: the whole
 * file), `map` its value, NULL when not given. False when it is no mapping at all. */
bool conf_read_table(struct conf_reader *reader, const struct conf_table *table, void *base,
                     const struct conf_node *key, struct conf_node *map);
/* Is `node` of this kind (or, for several values, nothing at all)? Complains if not. */
bool conf_expect_kind(struct conf_reader *reader, const char *what, const struct conf_node *node,
                      enum conf_node_kind kind);
/* Reports and marks the keys that stand twice. */
void conf_mark_doubled(struct conf_reader *reader, struct conf_node *map);
/* The value's text with ${NAME} replaced, copied; complains and gives NULL when it is no single
 * value. */
const char *conf_read_word(struct conf_reader *reader, const char *what,
                           const struct conf_node *node);

/* conf_provider.c; key NULL: not given */
void conf_read_providers(struct conf_reader *reader, const struct conf_key *row,
                         struct conf_node *key);
void conf_read_models(struct conf_reader *reader, struct conf_provider *provider,
                      const struct conf_key *row, struct conf_node *key);

/* conf_secret.c: finds the key of the provider; `key` is the provider's name in the file. */
void conf_read_secret(struct conf_reader *reader, const struct conf_node *key,
                      struct conf_provider *provider);

/* conf_secret.c: reads the provider's ca_file. */
void conf_read_authorities(struct conf_reader *reader, const struct conf_node *key,
                           struct conf_provider *provider);

/* conf_route.c */
void conf_read_routes(struct conf_reader *reader, const struct conf_key *row,
                      struct conf_node *key);
void conf_read_fallback(struct conf_reader *reader, struct conf_route *route,
                        struct conf_node *key);
void conf_read_rules(struct conf_reader *reader, struct conf_route *route,
                     const struct conf_key *row, struct conf_node *key);
void conf_read_target(struct conf_reader *reader, struct conf_rule *rule,
                      const struct conf_node *key);
void conf_read_provider_name(struct conf_reader *reader, const char *what,
                             const struct conf_node *value, unsigned *index);

/* conf_check.c: what concerns keys of several sections. */
void conf_check(struct conf_reader *reader);

#endif
