/* conf_tree: see conf_tree.h. Used by the master at boot, at reload and for -t and -T.
 *
 * The surprise: libyaml is asked for events, never for a document. Its own document loader resolves
 * aliases and has no bound on nodes; with events we stop at the first thing we do not want, so a
 * hostile text costs no more than its length.
 */
#include "config.h"

#include "conf_tree.h"

#include <stdio.h>
#include <yaml.h>

#include "base/panic.h"

struct builder {
    struct arena *arena;                    /* borrowed */
    struct bytes text;                      /* borrowed */
    bool built_in;                          /* for every node */
    struct conf_fault *fault;               /* borrowed */
    struct conf_node *root;                 /* NULL until the first node */
    struct conf_node *open[CONF_MAX_DEPTH]; /* containers not yet closed, outermost first */
    unsigned depth;                         /* of open */
    unsigned node_count;
    unsigned document_count;
    bool done; /* the stream has ended */
};

static int fail(struct builder *builder, const yaml_mark_t *mark, const char *reason) {
    builder->fault->line = (unsigned)mark->line + 1;
    builder->fault->column = (unsigned)mark->column + 1;
    snprintf(builder->fault->reason, sizeof(builder->fault->reason), "%s", reason);
    return -1;
}

/* The reader of libyaml (encoding, control characters) gives a byte offset instead of a mark. */
static yaml_mark_t mark_of_offset(struct bytes text, size_t offset) {
    yaml_mark_t mark = {.index = offset};
    for (size_t i = 0; i < offset && i < text.size; i++) {
        if (text.data[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if (((unsigned char)text.data[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

/* A tab looks like any other indentation; libyaml only says that some character is wrong. The mark
 * counts characters, so it says where the byte is only after a line of blanks: where it matters. */
static bool is_tab_in_indentation(struct bytes text, const yaml_mark_t *mark) {
    size_t at = 0;
    for (size_t line = 0; line < mark->line && at < text.size; at++) {
        line += text.data[at] == '\n';
    }
    for (size_t end = at + mark->column; at < end && at < text.size && text.data[at] == ' ';) {
        at++;
    }
    return at < text.size && text.data[at] == '\t';
}

static int fail_syntax(struct builder *builder, const yaml_parser_t *parser) {
    char reason[200];
    yaml_mark_t mark = parser->problem_mark;
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";
    switch (parser->error) {
    case YAML_MEMORY_ERROR:
        return fail(builder, &mark, "out of memory");
    case YAML_READER_ERROR:
        mark = mark_of_offset(builder->text, parser->problem_offset);
        snprintf(reason, sizeof(reason), "%s", problem);
        break;
    default:
        if (is_tab_in_indentation(builder->text, &mark)) {
            return fail(builder, &mark, "a tab stands here; YAML is indented with blanks");
        }
        if (parser->context != NULL) {
            snprintf(reason, sizeof(reason), "%s %s that begins in line %zu", problem,
                     parser->context, parser->context_mark.line + 1);
        } else {
            snprintf(reason, sizeof(reason), "%s", problem);
        }
    }
    return fail(builder, &mark, reason);
}

static struct conf_node *node_new(struct builder *builder, enum conf_node_kind kind,
                                  const yaml_mark_t *mark) {
    if (builder->node_count == CONF_MAX_NODES) {
        fail(builder, mark, "too many values in one file");
        return NULL;
    }
    struct conf_node *node = arena_calloc(builder->arena, 1, sizeof(*node));
    if (node == NULL) {
        fail(builder, mark, "out of memory");
        return NULL;
    }
    builder->node_count++;
    node->kind = kind;
    node->built_in = builder->built_in;
    node->line = (unsigned)mark->line + 1;
    node->column = (unsigned)mark->column + 1;
    return node;
}

/* Hangs the node where the text has it: as root, item, key, or value of the last key. */
static int attach(struct builder *builder, struct conf_node *node, const yaml_mark_t *mark) {
    if (builder->depth == 0) {
        builder->root = node;
        return 0;
    }
    struct conf_node *parent = builder->open[builder->depth - 1];
    ASSERT(parent != NULL); /* depth counts what is open */
    if (parent->kind == NODE_MAP && parent->last != NULL && parent->last->value == NULL) {
        parent->last->value = node;
        return 0;
    }
    if (parent->kind == NODE_MAP && node->kind != NODE_SCALAR) {
        return fail(builder, mark, "a key must be a single word, not a list or a mapping");
    }
    if (parent->last != NULL) {
        parent->last->next = node;
    } else {
        parent->first = node;
    }
    parent->last = node;
    parent->count++;
    return 0;
}

static int add_scalar(struct builder *builder, const yaml_event_t *event) {
    struct conf_node *node = node_new(builder, NODE_SCALAR, &event->start_mark);
    if (node == NULL) {
        return -1;
    }
    node->text = arena_copy(builder->arena, bytes_make((const char *)event->data.scalar.value,
                                                       event->data.scalar.length));
    if (node->text.data == NULL) {
        return fail(builder, &event->start_mark, "out of memory");
    }
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return attach(builder, node, &event->start_mark);
}

static int open_container(struct builder *builder, enum conf_node_kind kind,
                          const yaml_event_t *event) {
    if (builder->depth == CONF_MAX_DEPTH) {
        return fail(builder, &event->start_mark, "nested too deeply");
    }
    struct conf_node *node = node_new(builder, kind, &event->start_mark);
    if (node == NULL || attach(builder, node, &event->start_mark) == -1) {
        return -1;
    }
    builder->open[builder->depth++] = node;
    return 0;
}

static int refuse_extras(struct builder *builder, const yaml_event_t *event, const void *anchor,
                         const void *tag) {
    if (anchor != NULL) {
        return fail(builder, &event->start_mark, "anchors (&name) are not allowed");
    }
    if (tag != NULL) {
        return fail(builder, &event->start_mark, "tags (!name) are not allowed");
    }
    return 0;
}

static int take_event(struct builder *builder, const yaml_event_t *event) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (builder->document_count++ > 0) {
            return fail(builder, &event->start_mark, "a second document begins here");
        }
        return 0;
    case YAML_ALIAS_EVENT:
        return fail(builder, &event->start_mark, "aliases (*name) are not allowed");
    case YAML_SCALAR_EVENT:
        if (refuse_extras(builder, event, event->data.scalar.anchor, event->data.scalar.tag) ==
            -1) {
            return -1;
        }
        return add_scalar(builder, event);
    case YAML_SEQUENCE_START_EVENT:
        if (refuse_extras(builder, event, event->data.sequence_start.anchor,
                          event->data.sequence_start.tag) == -1) {
            return -1;
        }
        return open_container(builder, NODE_LIST, event);
    case YAML_MAPPING_START_EVENT:
        if (refuse_extras(builder, event, event->data.mapping_start.anchor,
                          event->data.mapping_start.tag) == -1) {
            return -1;
        }
        return open_container(builder, NODE_MAP, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        builder->depth--;
        return 0;
    case YAML_STREAM_END_EVENT:
        builder->done = true;
        return 0;
    default:
        return 0;
    }
}

int conf_tree_parse(struct arena *arena, struct bytes text, bool built_in, struct conf_node **root,
                    struct conf_fault *fault) {
    struct builder builder = {.arena = arena, .text = text, .built_in = built_in, .fault = fault};
    yaml_parser_t parser;
    int result = 0;
    if (yaml_parser_initialize(&parser) == 0) {
        return fail(&builder, &(yaml_mark_t){0}, "out of memory");
    }
    /* Without this a byte order mark would turn the text into UTF-16. */
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.size);
    while (result == 0 && !builder.done) {
        yaml_event_t event;
        if (yaml_parser_parse(&parser, &event) == 0) {
            result = fail_syntax(&builder, &parser);
            break;
        }
        result = take_event(&builder, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    *root = result == 0 ? builder.root : NULL;
    return result;
}

struct conf_node *conf_tree_find(const struct conf_node *map, const char *name) {
    if (map == NULL || map->kind != NODE_MAP) {
        return NULL;
    }
    for (struct conf_node *key = map->first; key != NULL; key = key->next) {
        if (bytes_equal_str(key->text, name)) {
            return key;
        }
    }
    return NULL;
}

bool conf_node_is_null(const struct conf_node *node) {
    return node->kind == NODE_SCALAR && !node->quoted &&
           (node->text.size == 0 || bytes_equal_str(node->text, "~") ||
            bytes_equal_str(node->text, "null"));
}

const char *conf_node_kind_text(const struct conf_node *node) {
    return node->kind == NODE_LIST  ? "a list"
           : node->kind == NODE_MAP ? "a mapping"
                                    : "a single value";
}
