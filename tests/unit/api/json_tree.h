/* json_tree: random JSON documents for property tests: trees that are written in ever other
 * spellings of the same meaning, and changed in one place.
 *
 * Deterministic: everything follows from the state of one generator. Trees live in a pool that is
 * emptied as a whole.
 */
#ifndef OPTIROUTE_TESTS_JSON_TREE_H
#define OPTIROUTE_TESTS_JSON_TREE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json_read.h"

#define TREE_TEXT_MAX 48 /* bytes of a decoded string, a key, or a number's spelling */
#define TREE_NODES_MAX 4096
#define TREE_ITEMS_MAX 512 /* of one container */

struct tree_text {
    char data[TREE_TEXT_MAX];
    size_t size;
};

struct tree {
    enum json_type type;
    struct tree_text key;  /* decoded; of a member */
    struct tree_text text; /* decoded string, or the number's spelling */
    unsigned repeat;       /* times that a string's text stands in it, one after the other */
    struct tree *first, *next;
};

static struct tree tree_pool[TREE_NODES_MAX];
static size_t tree_pool_used;
static uint64_t tree_random; /* state */

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
static inline uint64_t draw(void) {
    uint64_t z = (tree_random += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}
static inline unsigned below(unsigned count) {
    return (unsigned)(draw() % count);
}
#define PICK(list) ((list)[below(sizeof(list) / sizeof((list)[0]))])

static inline bool text_equal(const struct tree_text *a, const struct tree_text *b) {
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

static inline void text_add(struct tree_text *to, struct bytes more) {
    ck_assert_uint_le(to->size + more.size, sizeof(to->data));
    memcpy(to->data + to->size, more.data, more.size);
    to->size += more.size;
}

static inline struct tree_text text_of(const char *text) {
    struct tree_text out = {.size = 0};
    text_add(&out, bytes_from_str(text));
    return out;
}

/* -- random values ---- */

/* Whole characters, among them all that has to be escaped, or may be. */
static inline struct tree_text random_text(unsigned max_characters) {
    static const struct bytes odd[] = {BYTES_LITERAL("\""),
                                       BYTES_LITERAL("\\"),
                                       BYTES_LITERAL("/"),
                                       BYTES_LITERAL("\n"),
                                       BYTES_LITERAL("\0"),
                                       BYTES_LITERAL("\t"),
                                       BYTES_LITERAL("\x1f"),
                                       BYTES_LITERAL("\x7f"),
                                       BYTES_LITERAL("\b"),
                                       BYTES_LITERAL("\f"),
                                       BYTES_LITERAL("\r"),
                                       BYTES_LITERAL("\xc3\xa9"),
                                       BYTES_LITERAL("\xe2\x82\xac"),
                                       BYTES_LITERAL("\xf0\x9f\x98\x80")};
    struct tree_text out = {.size = 0};
    for (unsigned i = below(max_characters + 1); i > 0; i--) {
        char plain = (char)('A' + below(58));
        text_add(&out, below(4) == 0 ? PICK(odd) : bytes_make(&plain, 1));
    }
    return out;
}

/* In each row the same number. */
static const char *const tree_numbers[][4] = {
    {"1", "1.0", "1e0", "10e-1"},
    {"0", "-0", "0.0", "0e5"},
    {"0.1", "0.10", "1e-1", "1E-1"},
    {"-70", "-70.0", "-7e1", "-7e+1"},
    {"12345678901234567890", "12345678901234567890.0", "1234567890123456789e1",
     "1.234567890123456789e19"},
};

static inline struct tree *new_node(enum json_type type) {
    ck_assert_uint_lt(tree_pool_used, TREE_NODES_MAX);
    struct tree *node = &tree_pool[tree_pool_used++];
    *node = (struct tree){.type = type, .repeat = 1};
    return node;
}

static inline bool has_key(const struct tree *object, const struct tree_text *key) {
    for (const struct tree *member = object->first; member != NULL; member = member->next) {
        if (text_equal(&member->key, key)) {
            return true;
        }
    }
    return false;
}

static inline bool is_deny_listed(const struct tree_text *key) {
    static const char *const names[] = {"stream", "stream_options", "user", "metadata"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (bytes_equal_str(bytes_make(key->data, key->size), names[i])) {
            return true;
        }
    }
    return false;
}

static inline void add_item(struct tree *container, struct tree *item) {
    item->next = container->first;
    container->first = item;
}

static inline struct tree *random_tree(unsigned depth);

/* A key that the object does not have yet; below the top also the names that are left out there. */
static inline struct tree_text random_key(const struct tree *object, bool is_top) {
    static const char *const usual[] = {
        "a",      "b",           "ab",    "content", "role",           "type",
        "stream", "user",        "name",  "Stream",  "stream_options", "metadata",
        "seed",   "temperature", "tools", "stop"};
    struct tree_text key;
    do {
        key = below(2) == 0 ? text_of(PICK(usual)) : random_text(6);
    } while (has_key(object, &key) || (is_top && is_deny_listed(&key)));
    return key;
}

static inline void fill_object(struct tree *object, unsigned count, unsigned depth, bool is_top) {
    while (count-- > 0) {
        struct tree *member = random_tree(depth);
        member->key = random_key(object, is_top);
        add_item(object, member);
    }
}

static inline struct tree *random_tree(unsigned depth) {
    static const enum json_type types[] = {JSON_STRING, JSON_NUMBER, JSON_TRUE,  JSON_FALSE,
                                           JSON_NULL,   JSON_OBJECT, JSON_ARRAY, JSON_STRING};
    struct tree *node = new_node(depth > 0 ? PICK(types) : types[below(5)]);
    if (node->type == JSON_STRING) {
        node->text = random_text(8);
    } else if (node->type == JSON_NUMBER) {
        node->text = text_of(PICK(PICK(tree_numbers)));
    } else if (node->type == JSON_OBJECT) {
        fill_object(node, below(5), depth - 1, false);
    } else if (node->type == JSON_ARRAY) {
        for (unsigned i = below(5); i > 0; i--) {
            add_item(node, random_tree(depth - 1));
        }
    }
    return node;
}

static inline struct tree *string_member(const char *key, struct tree_text text) {
    struct tree *node = new_node(JSON_STRING);
    node->key = text_of(key);
    node->text = text;
    return node;
}

/* What long texts are read in another way for (base/json_read.h): many numbers, a long string. */
static inline void add_long_members(struct tree *body) {
    struct tree *numbers = new_node(JSON_ARRAY);
    numbers->key = text_of("numbers");
    for (unsigned i = 60 + below(TREE_ITEMS_MAX - 60); i > 0; i--) {
        struct tree *number = new_node(JSON_NUMBER);
        number->text = text_of(PICK(PICK(tree_numbers)));
        add_item(numbers, number);
    }
    add_item(body, numbers);
    struct tree *string = string_member("long", random_text(9));
    string->repeat = 1 + below(600);
    add_item(body, string);
}

/* The body of a chat request: a model, messages, and anything else. */
static inline struct tree *random_body(void) {
    static const char *const roles[] = {"system", "user", "assistant"};
    tree_pool_used = 0;
    struct tree *body = new_node(JSON_OBJECT);
    struct tree *messages = new_node(JSON_ARRAY);
    messages->key = text_of("messages");
    for (unsigned i = 1 + below(3); i > 0; i--) {
        struct tree *message = new_node(JSON_OBJECT);
        add_item(message, string_member("role", text_of(PICK(roles))));
        add_item(message, string_member("content", random_text(10)));
        fill_object(message, below(2), 2, false);
        add_item(messages, message);
    }
    add_item(body, messages);
    add_item(body, string_member("model", text_of("auto")));
    fill_object(body, below(5), 3, true);
    if (below(32) == 0) {
        add_long_members(body);
    }
    return body;
}

/* -- spellings ---- */

static inline void write_blanks(struct buf *out) {
    static const char blanks[] = " \n\r\t";
    for (unsigned i = below(8) == 0 ? below(4) : 0; i > 0; i--) {
        buf_append_char(out, blanks[below(4)]);
    }
}

static inline void write_unit(struct buf *out, unsigned unit) {
    buf_printf(out, below(2) == 0 ? "\\u%04x" : "\\u%04X", unit);
}

/* \uXXXX, as a pair of surrogates where it must be. */
static inline void write_escaped(struct buf *out, unsigned point) {
    if (point < 0x10000) {
        write_unit(out, point);
    } else {
        write_unit(out, 0xd800 + ((point - 0x10000) >> 10));
        write_unit(out, 0xdc00 + ((point - 0x10000) & 0x3ff));
    }
}

/* The first character of the text, which is UTF-8, and its bytes. */
static inline unsigned first_point(const char *text, size_t *size) {
    const unsigned char *at = (const unsigned char *)text;
    unsigned point = at[0];
    *size = point < 0x80 ? 1 : point < 0xe0 ? 2 : point < 0xf0 ? 3 : 4;
    if (*size > 1) {
        point &= 0x7fU >> *size;
    }
    for (size_t i = 1; i < *size; i++) {
        point = point << 6 | (at[i] & 0x3f);
    }
    return point;
}

static inline void write_character(struct buf *out, const char *text, size_t size, unsigned point) {
    static const char shorts[] = "\"\"\\\\//\bb\ff\nn\rr\tt"; /* what it is, how it is written */
    const char *row = NULL;
    for (size_t i = 0; i < sizeof(shorts) - 1 && row == NULL; i += 2) {
        row = (unsigned char)shorts[i] == point ? &shorts[i] : NULL;
    }
    bool may_be_plain = point >= 0x20 && point != '"' && point != '\\';
    if (may_be_plain && below(8) != 0) {
        buf_append(out, text, size);
    } else if (row != NULL && below(2) == 0) {
        buf_append_char(out, '\\');
        buf_append_char(out, row[1]);
    } else {
        write_escaped(out, point);
    }
}

static inline void write_string(struct buf *out, const struct tree_text *text, unsigned repeat) {
    size_t size;
    buf_append_char(out, '"');
    while (repeat-- > 0) {
        for (size_t i = 0; i < text->size; i += size) {
            unsigned point = first_point(text->data + i, &size);
            write_character(out, text->data + i, size, point);
        }
    }
    buf_append_char(out, '"');
}

static inline void write_tree(struct buf *out, const struct tree *tree);

/* Members in any order. */
static inline void write_items(struct buf *out, const struct tree *container) {
    const struct tree *items[TREE_ITEMS_MAX];
    unsigned count = 0;
    for (const struct tree *item = container->first; item != NULL; item = item->next) {
        ck_assert_uint_lt(count, TREE_ITEMS_MAX);
        items[count++] = item;
    }
    for (unsigned i = count; container->type == JSON_OBJECT && i > 1; i--) {
        unsigned other = below(i);
        const struct tree *item = items[i - 1];
        items[i - 1] = items[other];
        items[other] = item;
    }
    for (unsigned i = 0; i < count; i++) {
        if (i > 0) {
            buf_append_char(out, ',');
        }
        write_blanks(out);
        if (container->type == JSON_OBJECT) {
            write_string(out, &items[i]->key, 1);
            write_blanks(out);
            buf_append_char(out, ':');
            write_blanks(out);
        }
        write_tree(out, items[i]);
        write_blanks(out);
    }
}

/* In any of its spellings. */
static inline void write_tree(struct buf *out, const struct tree *tree) {
    switch (tree->type) {
    case JSON_STRING:
        write_string(out, &tree->text, tree->repeat);
        break;
    case JSON_NUMBER:
        buf_append(out, tree->text.data, tree->text.size);
        break;
    case JSON_OBJECT:
    case JSON_ARRAY:
        buf_append_char(out, tree->type == JSON_OBJECT ? '{' : '[');
        write_blanks(out);
        write_items(out, tree);
        buf_append_char(out, tree->type == JSON_OBJECT ? '}' : ']');
        break;
    default:
        buf_append_str(out, tree->type == JSON_TRUE    ? "true"
                            : tree->type == JSON_FALSE ? "false"
                                                       : "null");
    }
}

/* A body in any of its spellings, with or without what does not count. */
static inline void write_body(struct buf *out, struct tree *body) {
    static const char *const names[] = {"stream", "stream_options", "user", "metadata"};
    struct tree *first = body->first;
    size_t used = tree_pool_used;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (below(2) == 0) {
            struct tree *member = random_tree(2);
            member->key = text_of(names[i]);
            add_item(body, member);
        }
    }
    write_blanks(out);
    write_tree(out, body);
    for (unsigned i = below(32) == 0 ? JSON_LONG_TEXT : 0; i > 0; i--) {
        buf_append_char(out, ' ');
    }
    body->first = first;
    tree_pool_used = used;
}

/* -- one change ---- */

static inline struct tree *nth(const struct tree *container, unsigned at) {
    struct tree *item = container->first;
    while (at-- > 0) {
        item = item->next;
    }
    return item;
}

static inline unsigned count_of_items(const struct tree *container) {
    unsigned count = 0;
    for (const struct tree *item = container->first; item != NULL; item = item->next) {
        count++;
    }
    return count;
}

static inline bool tree_equal(const struct tree *a, const struct tree *b);

/* Is there an equal member, wherever it stands? */
static inline bool has_member(const struct tree *object, const struct tree *wanted) {
    for (const struct tree *member = object->first; member != NULL; member = member->next) {
        if (text_equal(&member->key, &wanted->key)) {
            return tree_equal(member, wanted);
        }
    }
    return false;
}

static inline bool tree_equal(const struct tree *a, const struct tree *b) {
    if (a->type != b->type || !text_equal(&a->text, &b->text) || a->repeat != b->repeat ||
        count_of_items(a) != count_of_items(b)) {
        return false;
    }
    const struct tree *other = b->first;
    for (const struct tree *item = a->first; item != NULL; item = item->next) {
        if (a->type == JSON_OBJECT ? !has_member(b, item) : !tree_equal(item, other)) {
            return false;
        }
        other = other->next;
    }
    return true;
}

enum tree_change {
    CHANGE_VALUE,  /* another string, number, truth */
    CHANGE_NUMBER, /* 1 to 1.0: the same number, but not the same spelling */
    CHANGE_TYPE,   /* 1 to "1", null to false, {} to [] */
    CHANGE_KEY,    /* another name */
    CHANGE_ORDER,  /* two elements of an array change places */
    CHANGE_LESS,   /* a member or an element is gone */
    CHANGE_MORE,   /* one more */
    CHANGE_DENIED, /* one more, below the top, of a name that would not count at the top */
    CHANGE_JOIN,   /* "a","b" to "a\",\"b" */
    CHANGE_COUNT
};

/* One byte more, or one bit of the first character, which stays one byte. */
static inline void change_text(struct tree_text *text) {
    if (text->size > 0 && (unsigned char)text->data[0] < 0x80 && below(2) == 0) {
        text->data[0] = (char)(text->data[0] ^ (1 << below(5)));
    } else {
        text_add(text, BYTES_LITERAL("x"));
    }
}

static inline bool change_number(struct tree *node, bool to_same_number) {
    size_t row = 0;
    if (node->type != JSON_NUMBER) {
        return false;
    }
    for (size_t i = 0; i < sizeof(tree_numbers) / sizeof(tree_numbers[0]); i++) {
        for (size_t j = 0; j < 4; j++) {
            row = bytes_equal_str(bytes_make(node->text.data, node->text.size), tree_numbers[i][j])
                      ? i
                      : row;
        }
    }
    struct tree_text text =
        text_of(to_same_number ? PICK(tree_numbers[row]) : PICK(PICK(tree_numbers)));
    bool changed = !text_equal(&text, &node->text);
    node->text = text;
    return changed;
}

static inline bool change_value(struct tree *node) {
    switch (node->type) {
    case JSON_STRING:
        if (node->repeat > 1) {
            node->repeat--;
            return node->text.size > 0;
        }
        change_text(&node->text);
        return true;
    case JSON_NUMBER:
        return change_number(node, false);
    case JSON_TRUE:
    case JSON_FALSE:
        node->type = node->type == JSON_TRUE ? JSON_FALSE : JSON_TRUE;
        return true;
    default:
        return false;
    }
}

static inline void change_type(struct tree *node) {
    switch (node->type) {
    case JSON_NUMBER:
        node->type = JSON_STRING;
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        node->text = text_of(node->type == JSON_TRUE ? "true" : "false");
        node->type = JSON_STRING;
        break;
    case JSON_NULL:
        node->type = below(2) == 0 ? JSON_FALSE : JSON_OBJECT;
        break;
    case JSON_OBJECT:
        node->type = JSON_ARRAY;
        break;
    default:
        node->type = JSON_NULL;
        node->first = NULL;
        break;
    }
}

static inline bool change_order(struct tree *array) {
    unsigned count = count_of_items(array);
    if (array->type != JSON_ARRAY || count < 2) {
        return false;
    }
    unsigned at = below(count - 1);
    struct tree *one = nth(array, at), *other = one->next;
    if (tree_equal(one, other)) {
        return false;
    }
    if (at == 0) {
        array->first = other;
    } else {
        nth(array, at - 1)->next = other;
    }
    one->next = other->next;
    other->next = one;
    return true;
}

static inline bool change_less(struct tree *container) {
    unsigned count = count_of_items(container);
    if (count == 0) {
        return false;
    }
    unsigned at = below(count);
    if (at == 0) {
        container->first = container->first->next;
    } else {
        nth(container, at - 1)->next = nth(container, at)->next;
    }
    return true;
}

static inline bool change_more(struct tree *container, bool is_top) {
    if (container->type != JSON_ARRAY && container->type != JSON_OBJECT) {
        return false;
    }
    struct tree *item = random_tree(1);
    if (container->type == JSON_OBJECT) {
        item->key = random_key(container, is_top);
    }
    add_item(container, item);
    return true;
}

static inline bool change_key(struct tree *object, bool is_top) {
    unsigned count = count_of_items(object);
    if (object->type != JSON_OBJECT || count == 0) {
        return false;
    }
    struct tree_text key = random_key(object, is_top);
    nth(object, below(count))->key = key;
    return true;
}

static inline bool change_denied(struct tree *object) {
    static const char *const names[] = {"stream", "stream_options", "user", "metadata"};
    struct tree_text key = text_of(PICK(names));
    if (object->type != JSON_OBJECT || has_key(object, &key)) {
        return false;
    }
    struct tree *member = random_tree(1);
    member->key = key;
    add_item(object, member);
    return true;
}

static inline bool change_join(struct tree *array) {
    if (array->type != JSON_ARRAY) {
        return false;
    }
    for (struct tree *one = array->first; one != NULL && one->next != NULL; one = one->next) {
        const struct tree *other = one->next;
        if (one->type == JSON_STRING && other->type == JSON_STRING &&
            one->text.size + other->text.size + 3 < TREE_TEXT_MAX) {
            text_add(&one->text, BYTES_LITERAL("\",\""));
            text_add(&one->text, bytes_make(other->text.data, other->text.size));
            one->next = other->next;
            return true;
        }
    }
    return false;
}

/* Changes one node of the pool, whose first one is the body; false: this one cannot be changed so,
 * but it may have been spoilt. */
static inline bool change_node(struct tree *node, enum tree_change how) {
    bool is_top = node == &tree_pool[0];
    switch (how) {
    case CHANGE_VALUE:
        return change_value(node);
    case CHANGE_NUMBER:
        return change_number(node, true);
    case CHANGE_TYPE:
        if (!is_top) {
            change_type(node);
        }
        return !is_top;
    case CHANGE_KEY:
        return change_key(node, is_top);
    case CHANGE_ORDER:
        return change_order(node);
    case CHANGE_LESS:
        return change_less(node);
    case CHANGE_MORE:
        return change_more(node, is_top);
    case CHANGE_JOIN:
        return change_join(node);
    default:
        return !is_top && change_denied(node);
    }
}

#endif
