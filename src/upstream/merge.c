/* One JSON value from many events. See the header. Pure; runs in workers, once per stream that is
 * stored.
 *
 * It is recursive: as deep as the documents are, which is JSON_MAX_DEPTH at most.
 */
#include "merge.h"

#include <string.h>

#include "base/json_write.h"

struct merge_node *merge_new(struct merge *merge, enum merge_kind kind) {
    struct merge_node *node = arena_calloc(merge->arena, 1, sizeof(*node));
    if (node == NULL) {
        merge->failed = true;
        return NULL;
    }
    node->kind = kind;
    node->index = -1;
    return node;
}

static struct merge_node *append(struct merge *merge, struct merge_node *container) {
    struct merge_node *node = merge_new(merge, MERGE_NULL);
    if (node == NULL) {
        return NULL;
    }
    if (container->last != NULL) {
        container->last->next = node;
    } else {
        container->first = node;
    }
    container->last = node;
    container->count++;
    return node;
}

/* One that will be searched for. */
static struct merge_node *append_found(struct merge *merge, struct merge_node *container) {
    if (container->count >= MERGE_MAX) {
        merge->failed = true;
        return NULL;
    }
    return append(merge, container);
}

static struct merge_node *find_named(const struct merge_node *object, struct bytes name) {
    struct merge_node *node = object != NULL && object->kind == MERGE_OBJECT ? object->first : NULL;
    while (node != NULL && !bytes_equal(node->name, name)) {
        node = node->next;
    }
    return node;
}

struct merge_node *merge_find(const struct merge_node *object, const char *name) {
    return find_named(object, bytes_from_str(name));
}

/* By name, or (NULL) by index. Deltas come in turns, so it begins where it found the last one. */
static struct merge_node *search(struct merge_node *container, const struct bytes *name,
                                 int64_t index) {
    struct merge_node *const recent = container->recent;
    struct merge_node *node = recent != NULL ? recent : container->first;
    bool wrapped = recent == NULL;
    for (;;) {
        if (node == NULL && !wrapped) {
            wrapped = true;
            node = container->first;
        }
        if (node == NULL || (wrapped && node == recent)) {
            return NULL;
        }
        if (name != NULL ? bytes_equal(node->name, *name) : node->index == index) {
            container->recent = node;
            return node;
        }
        node = node->next;
    }
}

struct merge_node *merge_member(struct merge *merge, struct merge_node *object, struct bytes name) {
    struct merge_node *node = object->kind == MERGE_OBJECT ? search(object, &name, 0) : NULL;
    if (node == NULL && (node = append_found(merge, object)) != NULL) {
        node->name = name;
    }
    return node;
}

struct merge_node *merge_element(struct merge *merge, struct merge_node *array, int64_t index) {
    struct merge_node *node = search(array, NULL, index);
    if (node == NULL && (node = append_found(merge, array)) != NULL) {
        node->index = index;
    }
    return node;
}

void merge_container(struct merge_node *node, enum merge_kind kind) {
    if (node->kind != kind) {
        node->kind = kind;
        node->first = node->last = node->recent = NULL;
        node->count = 0;
    }
}

static void add_piece(struct merge *merge, struct merge_node *node, struct bytes escaped) {
    struct merge_piece *piece = arena_calloc(merge->arena, 1, sizeof(*piece));
    if (piece == NULL) {
        merge->failed = true;
        return;
    }
    piece->escaped = escaped;
    if (node->last_piece != NULL) {
        node->last_piece->next = piece;
    } else {
        node->pieces = piece;
    }
    node->last_piece = piece;
}

void merge_text(struct merge *merge, struct merge_node *node, enum merge_kind kind,
                const struct json_reader *reader, int string) {
    if (node->kind != kind) {
        bool begun = node->kind == MERGE_RAW && kind == MERGE_TEXT && node->raw.data[0] == '"';
        node->kind = kind;
        node->pieces = node->last_piece = NULL;
        if (begun) {
            add_piece(merge, node, bytes_make(node->raw.data + 1, node->raw.size - 2));
        }
    }
    add_piece(merge, node, json_raw(reader, string));
}

/* Some servers repeat these in every delta; they are never parts of a whole. */
static bool is_whole(struct bytes name) {
    static const char *const names[] = {"role", "id", "type", "name", "object", "format"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (bytes_equal_str(name, names[i])) {
            return true;
        }
    }
    return false;
}

static void merge_object(struct merge *merge, struct merge_node *node,
                         const struct json_reader *reader, int object, enum merge_mode mode) {
    merge_container(node, MERGE_OBJECT);
    for (int key = json_first(reader, object); key >= 0; key = json_next(reader, key)) {
        struct bytes name = json_raw(reader, key);
        struct merge_node *member = merge_member(merge, node, name);
        if (member == NULL) {
            return;
        }
        merge_value(merge, member, reader, json_member_value(reader, key),
                    is_whole(name) ? MERGE_LAST : mode);
    }
}

static void merge_array(struct merge *merge, struct merge_node *node,
                        const struct json_reader *reader, int array, enum merge_mode mode) {
    if (mode == MERGE_WHOLE) {
        node->kind = MERGE_NULL; /* begun anew */
    }
    merge->failed = merge->failed || (node->kind == MERGE_RAW && node->raw.data[0] == '[');
    merge_container(node, MERGE_ARRAY);
    for (int item = json_first(reader, array); item >= 0; item = json_next(reader, item)) {
        int64_t index;
        bool has_index = json_int64(reader, json_get(reader, item, "index"), &index) && index >= 0;
        struct merge_node *element =
            has_index ? merge_element(merge, node, index) : append(merge, node);
        if (element == NULL) {
            return;
        }
        merge_value(merge, element, reader, item, mode);
    }
}

void merge_value(struct merge *merge, struct merge_node *node, const struct json_reader *reader,
                 int value, enum merge_mode mode) {
    switch (json_type(reader, value)) {
    case JSON_NONE:
    case JSON_NULL:
        return;
    case JSON_OBJECT:
        merge_object(merge, node, reader, value, mode);
        return;
    case JSON_ARRAY:
        merge_array(merge, node, reader, value, mode);
        return;
    case JSON_STRING:
        if (mode == MERGE_DELTA) {
            merge_text(merge, node, MERGE_TEXT, reader, value);
            return;
        }
        if (mode == MERGE_LAST && node->kind != MERGE_NULL && json_raw(reader, value).size == 0) {
            return; /* some repeat a role, an id or a name as "" */
        }
        break;
    case JSON_NUMBERS: /* as one piece: what is to be appended to others cannot be */
        merge->failed = merge->failed || (mode != MERGE_WHOLE && node->kind != MERGE_NULL);
        break;
    default:
        break;
    }
    node->kind = MERGE_RAW;
    node->raw = json_whole(reader, value);
}

void merge_append(struct merge *merge, struct merge_node *node, const struct json_reader *reader,
                  int value) {
    merge_container(node, MERGE_ARRAY);
    struct merge_node *element = append(merge, node);
    if (element != NULL) {
        merge_value(merge, element, reader, value, MERGE_LAST);
    }
}

void merge_set(struct merge_node *node, const char *json) {
    node->kind = MERGE_RAW;
    node->raw = bytes_from_str(json);
}

void merge_remove(struct merge_node *object, const char *name) {
    struct merge_node *before = NULL;
    struct merge_node *node = object->first;
    while (node != NULL && !bytes_equal_str(node->name, name)) {
        before = node;
        node = node->next;
    }
    if (node == NULL) {
        return;
    }
    *(before != NULL ? &before->next : &object->first) = node->next;
    if (object->last == node) {
        object->last = before;
    }
    object->recent = NULL;
}

static void write_pieces(const struct merge_node *node, struct buf *out) {
    buf_append_char(out, '"');
    for (const struct merge_piece *piece = node->pieces; piece != NULL; piece = piece->next) {
        buf_append_bytes(out, piece->escaped);
    }
    buf_append_char(out, '"');
}

/* The pieces' decoded text is the value: it must be one, or nothing at all, which is {}. */
static void write_decoded(struct merge *merge, const struct merge_node *node, struct buf *out) {
    struct json_reader reader;
    struct json_fault fault;
    struct buf quoted;
    buf_init(&quoted, 0);
    write_pieces(node, &quoted);
    json_reader_init(&reader);
    struct bytes text = bytes_make(NULL, 0);
    if (!quoted.failed && json_read(&reader, buf_bytes(&quoted), &fault) == 0) {
        text = json_string(&reader, 0, merge->arena);
    }
    if (text.data != NULL && text.size == 0) {
        buf_append_str(out, "{}");
    } else if (text.data != NULL && json_validate(text, &fault) == 0) {
        buf_append_bytes(out, text);
    } else {
        merge->failed = true;
    }
    json_reader_fini(&reader);
    buf_free(&quoted);
}

static void write_container(struct merge *merge, const struct merge_node *node, struct buf *out) {
    bool is_object = node->kind == MERGE_OBJECT;
    buf_append_char(out, is_object ? '{' : '[');
    for (const struct merge_node *item = node->first; item != NULL; item = item->next) {
        if (item != node->first) {
            buf_append_char(out, ',');
        }
        if (is_object) {
            buf_append_char(out, '"');
            buf_append_bytes(out, item->name);
            buf_append_str(out, "\":");
        }
        merge_write(merge, item, out);
    }
    buf_append_char(out, is_object ? '}' : ']');
}

void merge_write(struct merge *merge, const struct merge_node *node, struct buf *out) {
    switch (node->kind) {
    case MERGE_NULL:
        buf_append_str(out, "null");
        break;
    case MERGE_RAW:
        buf_append_bytes(out, node->raw);
        break;
    case MERGE_TEXT:
        write_pieces(node, out);
        break;
    case MERGE_JSON:
        write_decoded(merge, node, out);
        break;
    case MERGE_OBJECT:
    case MERGE_ARRAY:
        write_container(merge, node, out);
        break;
    }
}
