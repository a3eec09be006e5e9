/* merge: one JSON value put together from the events of a stream. Private to layer upstream.
 *
 * Everything is a view of the events' bytes, which outlive it; nodes come from an arena. What is
 * merged says how: in a delta strings are continued, elsewhere the last one counts; elements of an
 * array that carry an `index` meet by it, others are appended; null changes nothing. These are the
 * rules of the official clients (openai-python, lib/streaming/_deltas.py).
 */
#ifndef OPTIROUTE_SRC_UPSTREAM_MERGE_H
#define OPTIROUTE_SRC_UPSTREAM_MERGE_H

#include "base/arena.h"
#include "base/json_read.h"

/* Members of an object, and elements that have an index: they are searched one by one, and a
 * hostile stream must not make that long. More fail the merge. */
#define MERGE_MAX 256

enum merge_kind {
    MERGE_NULL,
    MERGE_RAW,  /* bytes as they came */
    MERGE_TEXT, /* a string in pieces */
    MERGE_JSON, /* the same, but the decoded text is the value */
    MERGE_OBJECT,
    MERGE_ARRAY
};

struct merge_piece {
    struct merge_piece *next;
    struct bytes escaped; /* inside of a JSON string */
};

struct merge_node {
    struct merge_node *next;         /* member or element behind this one */
    struct merge_node *first, *last; /* of a container */
    struct merge_node *recent;       /* found last, NULL: none; the next one is often behind it */
    unsigned count;                  /* of them */
    enum merge_kind kind;
    struct bytes name; /* of a member: escaped, without quotes */
    int64_t index;     /* of an element that has one, else -1 */
    struct bytes raw;  /* RAW: quotes of strings included */
    struct merge_piece *pieces, *last_piece;
};

struct merge {
    struct arena *arena;
    bool failed; /* no memory, or pieces that do not fit together */
};

enum merge_mode {
    MERGE_LAST,  /* the last string that is not empty counts */
    MERGE_WHOLE, /* and the last array: nothing is continued */
    MERGE_DELTA  /* strings are continued */
};

/* A fresh value of that kind. NULL without memory (noted). */
struct merge_node *merge_new(struct merge *merge, enum merge_kind kind);
/* The member of that name, NULL when there is none. */
struct merge_node *merge_find(const struct merge_node *object, const char *name);
/* The same, made when missing; the name is escaped and outlives it. NULL without memory. */
struct merge_node *merge_member(struct merge *merge, struct merge_node *object, struct bytes name);
/* The element with that index, made when missing. */
struct merge_node *merge_element(struct merge *merge, struct merge_node *array, int64_t index);
/* Merges a value of a document into the node. */
void merge_value(struct merge *merge, struct merge_node *node, const struct json_reader *reader,
                 int value, enum merge_mode mode);
/* Makes the node an array and appends a value of a document. */
void merge_append(struct merge *merge, struct merge_node *node, const struct json_reader *reader,
                  int value);
/* Continues a string (TEXT or JSON) with that of a document. */
void merge_text(struct merge *merge, struct merge_node *node, enum merge_kind kind,
                const struct json_reader *reader, int string);
/* Makes the node an object or an array, empty unless it is one already. */
void merge_container(struct merge_node *node, enum merge_kind kind);
/* Sets the node to bytes that are a JSON value and outlive it. */
void merge_set(struct merge_node *node, const char *json);
/* Takes a member out of an object. */
void merge_remove(struct merge_node *object, const char *name);
/* Appends the value as JSON. A JSON node whose pieces are none fails the merge. */
void merge_write(struct merge *merge, const struct merge_node *node, struct buf *out);

#endif
