/* conf_tree: the YAML text as a bounded tree whose nodes know their line and column.
 *
 * Private to layer conf. What makes YAML dangerous is refused here: anchors and aliases, tags, more
 * than one document, deep nesting, keys that are not plain values.
 */
#ifndef OPTIROUTE_CONF_TREE_H
#define OPTIROUTE_CONF_TREE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/bytes.h"

#define CONF_MAX_DEPTH 16
#define CONF_MAX_NODES 65536

enum conf_node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct conf_node {
    enum conf_node_kind kind;
    bool quoted;             /* scalar: written in quotes or as a block, so never "no value" */
    bool built_in;           /* comes from the compiled-in text, not from the user's file */
    bool doubled;            /* key: stands in its mapping already; reported, then passed over */
    unsigned line, column;   /* from 1; columns count code points */
    struct bytes text;       /* scalar: its value, NUL behind it; may contain NUL */
    unsigned count;          /* list: items; map: keys */
    struct conf_node *first; /* list: first item; map: first key */
    struct conf_node *last;
    struct conf_node *next;  /* the item or key after this one */
    struct conf_node *value; /* key: what it stands for */
};

/* Where and why reading stopped. */
struct conf_fault {
    unsigned line, column;
    char reason[256];
};

/* The root, NULL in *root for a text without content. Nodes live in the arena. 0, or -1 with the
 * fault filled. */
int conf_tree_parse(struct arena *arena, struct bytes text, bool built_in, struct conf_node **root,
                    struct conf_fault *fault);
/* The first key of that name, or NULL; NULL too when map is NULL or no mapping. */
struct conf_node *conf_tree_find(const struct conf_node *map, const char *name);
/* Written as nothing at all, `~` or `null`. */
bool conf_node_is_null(const struct conf_node *node);
/* "a list", "a mapping", "a single value": for messages. */
const char *conf_node_kind_text(const struct conf_node *node);

#endif
