/* json_read: the tokens of a JSON document and the questions one may ask them.
 *
 * json_validate.c has judged the text before jsmn sees it, so nothing here checks syntax. Used by
 * every worker for request bodies and for what providers answer; never modifies the text.
 *
 * Two surprises. jsmn's parent links are needed only while it parses; afterwards the same field
 * holds the next sibling, which makes a step over a large value constant in time. And of a long
 * text it gets a copy without the parts that the validator has found to be dull (json_scan.h); the
 * tokens' places are moved to the text's own afterwards.
 */
#include "base/json_read.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#define JSMN_STATIC
#include <jsmn.h>

#include "base/panic.h"
#include "base/text.h"
#include "json_scan.h"

#define FIRST_CAPACITY 256
#define MAX_NUMBER_BYTES 512
/* Longest chain of tokens, each the parent of the next: a container and a key a level, a scalar. */
#define MAX_CHAIN (2 * JSON_MAX_DEPTH + 1)
/* Runs of so many members are sorted by insertion; real objects rarely have more. */
#define SORT_RUN 8
/* Instead of a token's number of elements: an array of numbers, kept whole. */
#define IS_NUMBERS (-1)

struct json_token {
    jsmntok_t token; /* .parent: the next sibling or -1, see above; .size of a key is 1 */
};

_Static_assert(sizeof(struct json_token) == sizeof(jsmntok_t), "jsmn fills our array");

void json_reader_init(struct json_reader *reader) {
    *reader = (struct json_reader){0};
}

/* A reading in steps ends, done or not. */
static void drop_scan(struct json_reader *reader) {
    if (reader->scan != NULL && reader->scan->parts != NULL) {
        free(reader->scan->parts->items);
    }
    free(reader->scan);
    reader->scan = NULL;
}

void json_reader_fini(struct json_reader *reader) {
    drop_scan(reader);
    free(reader->tokens);
    *reader = (struct json_reader){0};
}

static bool reserve_tokens(struct json_reader *reader, int count) {
    if (count <= reader->capacity) {
        return true;
    }
    int capacity = reader->capacity > 0 ? reader->capacity : FIRST_CAPACITY;
    while (capacity < count) {
        capacity *= 2;
    }
    struct json_token *tokens = malloc((size_t)capacity * sizeof(*tokens));
    if (tokens == NULL) {
        return false;
    }
    free(reader->tokens);
    reader->tokens = tokens;
    reader->capacity = capacity;
    return true;
}

/* Tokens stand in the order of the text, so a stack of the chain from the root to the token before
 * is enough: what is popped right above the parent is the sibling before. */
static void link_siblings(struct json_token *tokens, int count) {
    int chain[MAX_CHAIN];
    int length = 0;
    for (int i = 0; i < count; i++) {
        int parent = tokens[i].token.parent;
        int before = -1;
        while (length > 0 && chain[length - 1] != parent) {
            before = chain[--length];
        }
        if (before != -1) {
            tokens[before].token.parent = i;
        }
        tokens[i].token.parent = -1;
        ASSERT(length < MAX_CHAIN);
        chain[length++] = i;
    }
}

static bool is_scalar_word(char first) {
    return first != '{' && first != '[' && first != '"';
}

/* jsmn wants a delimiter behind a number or a word; a whole text may end there. */
static bool tokenise_word(struct json_reader *reader) {
    const char *text = reader->text.data;
    int start = (int)strspn(text, " \t\r\n"); /* the text is valid: some other byte follows */
    if (!is_scalar_word(text[start])) {
        return false;
    }
    int end = (int)reader->text.size;
    while (strchr(" \t\r\n", text[end - 1]) != NULL) {
        end--;
    }
    reader->tokens[0].token =
        (jsmntok_t){.type = JSMN_PRIMITIVE, .start = start, .end = end, .parent = -1};
    return true;
}

static void tokenise(struct json_reader *reader, struct bytes text) {
    jsmn_parser parser;
    jsmn_init(&parser);
    int parsed = jsmn_parse(&parser, text.data, text.size, &reader->tokens[0].token,
                            (unsigned)reader->capacity);
    ASSERT(parsed == reader->count); /* the validator has counted them */
}

/* What is left when the parts are cut out. */
static bool cut_parts(struct bytes text, const struct json_parts *parts, struct buf *out) {
    size_t at = 0;
    if (buf_reserve(out, text.size - parts->cut) == NULL) {
        return false;
    }
    for (size_t i = 0; i < parts->count; i++) {
        buf_append(out, text.data + at, parts->items[i].from - at);
        at = parts->items[i].from + parts->items[i].size;
    }
    buf_append(out, text.data + at, text.size - at);
    return true;
}

/* Bytes that were cut out before `place`, a place in what was left; those at `place` itself count
 * when it is an end. */
static size_t cut_before(const struct json_parts *parts, size_t place, bool is_end) {
    size_t low = 0;
    size_t high = parts->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        size_t at = parts->items[middle].at;
        if (at < place || (is_end && at == place)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0
               ? 0
               : parts->items[low - 1].from + parts->items[low - 1].size - parts->items[low - 1].at;
}

/* From places in what was left to places in the text. A part lies inside a string's quotes or an
 * array's brackets, or between blanks, so a token that begins or ends at one is that string. */
static void move_places(struct json_reader *reader, const struct json_parts *parts) {
    size_t next = 0; /* first part that is not before the token */
    for (int i = 0; i < reader->count; i++) {
        jsmntok_t *token = &reader->tokens[i].token;
        size_t start = (size_t)token->start;
        while (next < parts->count && parts->items[next].at < start) {
            next++;
        }
        if (token->type == JSMN_ARRAY && next < parts->count && parts->items[next].is_numbers &&
            parts->items[next].at == start + 1) {
            token->size = IS_NUMBERS;
        }
        token->start += (int)cut_before(parts, start, false);
        token->end += (int)cut_before(parts, (size_t)token->end, true);
    }
}

static bool tokenise_long(struct json_reader *reader, const struct json_parts *parts) {
    struct buf rest;
    buf_init(&rest, 0);
    bool done = cut_parts(reader->text, parts, &rest);
    if (done) {
        tokenise(reader, buf_bytes(&rest));
        move_places(reader, parts);
    }
    buf_free(&rest);
    return done;
}

/* The text is valid: makes its tokens. */
static enum json_progress end_reading(struct json_reader *reader, const struct json_scan *scan,
                                      struct json_fault *fault) {
    int count = (int)scan->count;
    bool done = reserve_tokens(reader, count);
    if (done) {
        reader->count = count;
        if (tokenise_word(reader)) {
            return JSON_DONE;
        }
        if (scan->parts != NULL && scan->parts->count > 0) {
            done = tokenise_long(reader, scan->parts);
        } else {
            tokenise(reader, reader->text);
        }
    }
    if (!done) {
        reader->count = 0;
        *fault = (struct json_fault){.reason = "out of memory", .no_memory = true};
        return JSON_WRONG;
    }
    link_siblings(reader->tokens, reader->count);
    return JSON_DONE;
}

static enum json_progress go_on(struct json_reader *reader, struct json_scan *scan, size_t budget,
                                struct json_fault *fault) {
    enum json_progress progress = json_scan_step(scan, budget, fault);
    if (progress == JSON_DONE) {
        progress = end_reading(reader, scan, fault);
    }
    if (progress != JSON_MORE && scan->parts != NULL) {
        free(scan->parts->items);
        scan->parts->items = NULL;
    }
    return progress;
}

/* A reading in steps: both live from begin to the end. */
struct long_scan {
    struct json_scan scan; /* first: freed as such */
    struct json_parts parts;
};

static int begin(struct json_reader *reader, struct bytes text, struct json_fault *fault) {
    reader->count = 0;
    reader->text = text;
    if (text.size > INT_MAX) { /* jsmn counts in int */
        *fault = (struct json_fault){.offset = INT_MAX, .reason = "text is too long"};
        return -1;
    }
    return 0;
}

int json_read(struct json_reader *reader, struct bytes text, struct json_fault *fault) {
    struct json_parts parts = {0};
    struct json_scan scan;
    if (begin(reader, text, fault) == -1) {
        return -1;
    }
    json_scan_begin(&scan, text, JSON_MAX_TOKENS, text.size >= JSON_LONG_TEXT ? &parts : NULL);
    return go_on(reader, &scan, SIZE_MAX, fault) == JSON_DONE ? 0 : -1;
}

int json_read_begin(struct json_reader *reader, struct bytes text, struct json_fault *fault) {
    drop_scan(reader);
    if (begin(reader, text, fault) == -1) {
        return -1;
    }
    struct long_scan *both = calloc(1, sizeof(*both));
    if (both == NULL) {
        *fault = (struct json_fault){.reason = "out of memory", .no_memory = true};
        return -1;
    }
    json_scan_begin(&both->scan, text, JSON_MAX_TOKENS,
                    text.size >= JSON_LONG_TEXT ? &both->parts : NULL);
    reader->scan = &both->scan;
    return 0;
}

enum json_progress json_read_step(struct json_reader *reader, size_t budget,
                                  struct json_fault *fault) {
    enum json_progress progress = go_on(reader, reader->scan, budget, fault);
    if (progress != JSON_MORE) {
        drop_scan(reader);
    }
    return progress;
}

static const jsmntok_t *token_at(const struct json_reader *reader, int value) {
    return value >= 0 && value < reader->count ? &reader->tokens[value].token : NULL;
}

enum json_type json_type(const struct json_reader *reader, int value) {
    const jsmntok_t *token = token_at(reader, value);
    if (token == NULL) {
        return JSON_NONE;
    }
    switch (token->type) {
    case JSMN_OBJECT:
        return JSON_OBJECT;
    case JSMN_ARRAY:
        return token->size == IS_NUMBERS ? JSON_NUMBERS : JSON_ARRAY;
    case JSMN_STRING:
        return JSON_STRING;
    default:
        break;
    }
    switch (reader->text.data[token->start]) {
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

struct bytes json_raw(const struct json_reader *reader, int value) {
    const jsmntok_t *token = token_at(reader, value);
    if (token == NULL) {
        return bytes_make(NULL, 0);
    }
    return bytes_make(reader->text.data + token->start, (size_t)(token->end - token->start));
}

struct bytes json_whole(const struct json_reader *reader, int value) {
    struct bytes raw = json_raw(reader, value);
    return json_type(reader, value) == JSON_STRING ? bytes_make(raw.data - 1, raw.size + 2) : raw;
}

size_t json_offset(const struct json_reader *reader, int value) {
    const jsmntok_t *token = token_at(reader, value);
    if (token == NULL) {
        return 0;
    }
    return (size_t)token->start - (token->type == JSMN_STRING ? 1 : 0);
}

int json_count(const struct json_reader *reader, int value) {
    const jsmntok_t *token = token_at(reader, value);
    if (token == NULL || (token->type != JSMN_OBJECT && token->type != JSMN_ARRAY)) {
        return 0;
    }
    return token->size == IS_NUMBERS ? 0 : token->size;
}

int json_first(const struct json_reader *reader, int container) {
    return json_count(reader, container) > 0 ? container + 1 : -1;
}

int json_next(const struct json_reader *reader, int item) {
    const jsmntok_t *token = token_at(reader, item);
    return token != NULL ? token->parent : -1;
}

int json_member_value(const struct json_reader *reader, int key) {
    const jsmntok_t *token = token_at(reader, key);
    bool is_key = token != NULL && token->type == JSMN_STRING && token->size == 1;
    return is_key ? key + 1 : -1;
}

int json_get(const struct json_reader *reader, int object, const char *name) {
    if (json_type(reader, object) != JSON_OBJECT) {
        return -1;
    }
    struct bytes wanted = bytes_from_str(name);
    for (int key = json_first(reader, object); key != -1; key = json_next(reader, key)) {
        if (json_string_equals(reader, key, wanted)) {
            return key + 1;
        }
    }
    return -1;
}

/* Decodes the escape at `at` into out, which gets *size bytes; returns the escape's length. The
 * validator has seen it: it is whole, and a first surrogate has its second. */
static size_t decode_escape(const char *at, char out[4], size_t *size) {
    static const char letters[] = "bfnrt";
    static const char controls[] = "\b\f\n\r\t";
    if (at[1] != 'u') {
        const char *letter = strchr(letters, at[1]);
        out[0] = letter != NULL ? controls[letter - letters] : at[1];
        *size = 1;
        return 2;
    }
    uint32_t cp = (uint32_t)json_hex4((const uint8_t *)at + 2);
    size_t length = 6;
    if (cp >= 0xD800 && cp <= 0xDFFF) {
        uint32_t second = (uint32_t)json_hex4((const uint8_t *)at + 8);
        cp = 0x10000 + ((cp - 0xD800) << 10) + (second - 0xDC00);
        length = 12;
    }
    *size = text_utf8_put(out, cp);
    return length;
}

static const char *find_escape(const char *at, const char *end) {
    const char *found = at < end ? memchr(at, '\\', (size_t)(end - at)) : NULL;
    return found != NULL ? found : end;
}

bool json_string_equals(const struct json_reader *reader, int string, struct bytes text) {
    if (json_type(reader, string) != JSON_STRING) {
        return false;
    }
    struct bytes raw = json_raw(reader, string);
    const char *at = raw.data;
    const char *end = raw.data + raw.size;
    size_t seen = 0; /* bytes of text that were found equal */
    if (raw.size < text.size) {
        return false; /* decoding never lengthens */
    }
    while (at < end) {
        char decoded[4];
        const char *piece = at;
        size_t size;
        if (*at == '\\') {
            at += decode_escape(at, decoded, &size);
            piece = decoded;
        } else {
            at = find_escape(at, end);
            size = (size_t)(at - piece);
        }
        if (size > text.size - seen || memcmp(piece, text.data + seen, size) != 0) {
            return false;
        }
        seen += size;
    }
    return seen == text.size;
}

struct bytes json_string(const struct json_reader *reader, int string, struct arena *arena) {
    if (json_type(reader, string) != JSON_STRING) {
        return bytes_make(NULL, 0);
    }
    struct bytes raw = json_raw(reader, string);
    const char *end = raw.data + raw.size;
    const char *at = find_escape(raw.data, end);
    if (at == end) {
        return raw;
    }
    char *out = arena_alloc(arena, raw.size);
    if (out == NULL) {
        return bytes_make(NULL, 0);
    }
    size_t size = (size_t)(at - raw.data);
    memcpy(out, raw.data, size);
    while (at < end) {
        size_t written;
        at += decode_escape(at, out + size, &written); /* an escape is longer than what it says */
        size += written;
        const char *next = find_escape(at, end);
        memcpy(out + size, at, (size_t)(next - at));
        size += (size_t)(next - at);
        at = next;
    }
    return bytes_make(out, size);
}

bool json_int64(const struct json_reader *reader, int number, int64_t *out) {
    if (json_type(reader, number) != JSON_NUMBER) {
        return false;
    }
    struct bytes raw = json_raw(reader, number);
    ASSERT(raw.size > 0); /* a number has a digit */
    bool negative = raw.data[0] == '-';
    int64_t value = 0; /* minus the magnitude: the negative side has one more */
    for (size_t i = negative ? 1 : 0; i < raw.size; i++) {
        int digit = raw.data[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) {
            return false;
        }
    }
    if (!negative && value == INT64_MIN) {
        return false;
    }
    *out = negative ? value : -value;
    return true;
}

bool json_double(const struct json_reader *reader, int number, double *out) {
    char digits[MAX_NUMBER_BYTES + 1];
    if (json_type(reader, number) != JSON_NUMBER) {
        return false;
    }
    struct bytes raw = json_raw(reader, number);
    if (raw.size > MAX_NUMBER_BYTES) {
        return false;
    }
    ASSERT(raw.data != NULL); /* it is a number, so it is there */
    memcpy(digits, raw.data, raw.size);
    digits[raw.size] = '\0';
    double value = strtod(digits, NULL); /* "C" locale: no process of ours calls setlocale */
    if (!isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

static void sort_run(struct json_member *members, size_t count) {
    for (size_t i = 1; i < count; i++) {
        struct json_member moved = members[i];
        size_t to = i;
        while (to > 0 && bytes_compare(members[to - 1].name, moved.name) > 0) {
            members[to] = members[to - 1];
            to--;
        }
        members[to] = moved;
    }
}

/* Merges from[low, middle) and from[middle, high), each sorted, into the same place of `to`. */
static void merge_runs(const struct json_member *from, struct json_member *to, size_t low,
                       size_t middle, size_t high) {
    size_t left = low;
    size_t right = middle;
    for (size_t i = low; i < high; i++) {
        bool take_left = left < middle &&
                         (right == high || bytes_compare(from[left].name, from[right].name) <= 0);
        to[i] = take_left ? from[left++] : from[right++];
    }
}

/* A merge sort from the bottom up; returns whichever of the two arrays holds the result. Not
 * qsort(3): that one may call malloc, and quicksort when there is no memory. */
static struct json_member *sort_members(struct json_member *members, struct json_member *scratch,
                                        size_t count) {
    for (size_t low = 0; low < count; low += SORT_RUN) {
        sort_run(members + low, count - low < SORT_RUN ? count - low : SORT_RUN);
    }
    for (size_t run = SORT_RUN; run < count; run *= 2) {
        for (size_t low = 0; low < count; low += 2 * run) {
            size_t middle = low + run < count ? low + run : count;
            size_t high = middle + run < count ? middle + run : count;
            merge_runs(members, scratch, low, middle, high);
        }
        struct json_member *sorted = scratch;
        scratch = members;
        members = sorted;
    }
    return members;
}

struct json_member *json_sorted_members(const struct json_reader *reader, int object,
                                        struct arena *arena) {
    size_t count = (size_t)json_count(reader, object);
    size_t arrays = count > SORT_RUN ? 2 : 1;
    struct json_member *members = arena_alloc(arena, arrays * count * sizeof(*members));
    if (members == NULL) {
        return NULL;
    }
    size_t i = 0;
    for (int key = json_first(reader, object); key != -1; key = json_next(reader, key)) {
        members[i] = (struct json_member){json_string(reader, key, arena), key};
        if (members[i].name.data == NULL) {
            return NULL;
        }
        i++;
    }
    return sort_members(members, members + count, count);
}

int json_find_doubled_key(const struct json_reader *reader, struct arena *arena) {
    for (int value = 0; value < reader->count; value++) {
        if (json_type(reader, value) != JSON_OBJECT || json_count(reader, value) < 2) {
            continue;
        }
        int count = json_count(reader, value);
        const struct json_member *members = json_sorted_members(reader, value, arena);
        if (members == NULL) {
            return -2;
        }
        for (int i = 1; i < count; i++) {
            if (bytes_equal(members[i - 1].name, members[i].name)) {
                return members[i].key;
            }
        }
    }
    return -1;
}
