/* json_read: strict JSON (RFC 8259) in one linear pass, then tokens by jsmn.
 *
 * The validator decides what is JSON: grammar, UTF-8, surrogate pairs, depth, no trailing bytes.
 * Only what it accepted goes to jsmn (which alone accepts much that is not JSON). Doubled keys are
 * grammar-correct and pass here; json_find_doubled_key and the canonical form refuse them. Text is
 * never modified; tokens point into it. jsmn.h is included by json_read.c alone.
 *
 * Of a long text jsmn sees what is left when the insides of long strings are cut out, and an array
 * of many numbers is one value, JSON_NUMBERS: an image of 20 MB is one token, a batch of a million
 * tokens to embed too.
 */
#ifndef OPTIROUTE_BASE_JSON_READ_H
#define OPTIROUTE_BASE_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"

#define JSON_MAX_DEPTH 64
#define JSON_MAX_TOKENS 65536

enum json_type {
    JSON_NONE,
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
    JSON_NUMBERS /* of a text of JSON_LONG_TEXT bytes: an array of 64 numbers or more */
};

#define JSON_LONG_TEXT 16384

struct json_fault {
    size_t offset;      /* byte where it went wrong */
    const char *reason; /* static text, fit for a client: "control character in string" */
    bool no_memory;     /* json_read only: the text may be fine, we had no memory for its tokens */
};

/* 0 when `text` is exactly one JSON value (blanks around it allowed), else -1 with the fault
 * filled. No allocation, no recursion, linear time. */
int json_validate(struct bytes text, struct json_fault *fault);

struct json_token;
struct json_scan;

/* A reader owns one growing token array (at most JSON_MAX_TOKENS) and is used for one document
 * after another; one per worker. Tokens are numbered; 0 is the root; a negative number means "no
 * such value" and is accepted everywhere. */
struct json_reader {
    struct json_token *tokens; /* owned, kept from one document to the next */
    int capacity;
    int count;              /* tokens of the document read last; 0 after a fault */
    struct bytes text;      /* borrowed; must live as long as the tokens are used */
    struct json_scan *scan; /* of a reading in steps, while it is under way */
};

void json_reader_init(struct json_reader *reader);
void json_reader_fini(struct json_reader *reader);
/* Validates and tokenises. 0, or -1 with the fault (too many values, that is tokens, and no memory
 * are faults too). */
int json_read(struct json_reader *reader, struct bytes text, struct json_fault *fault);
/* The same in steps of about `budget` bytes, so that a large text does not keep others waiting:
 * begin, then step until it says something else than MORE. */
enum json_progress { JSON_DONE, JSON_MORE, JSON_WRONG };
int json_read_begin(struct json_reader *reader, struct bytes text, struct json_fault *fault);
enum json_progress json_read_step(struct json_reader *reader, size_t budget,
                                  struct json_fault *fault);

enum json_type json_type(const struct json_reader *reader, int value);
/* The value's own bytes; of a string without its quotes, still escaped. */
struct bytes json_raw(const struct json_reader *reader, int value);
/* The value's own bytes as they would be pasted elsewhere: of a string with its quotes. */
struct bytes json_whole(const struct json_reader *reader, int value);
/* Offset of the value's first byte (of a string: its quote) in the text, for faults. */
size_t json_offset(const struct json_reader *reader, int value);
/* Number of members or elements; 0 of what is no container, and of JSON_NUMBERS. */
int json_count(const struct json_reader *reader, int value);
/* First member's key / first element, -1 if empty. */
int json_first(const struct json_reader *reader, int container);
/* The key or element after `item` in the same container, -1 at the end. Constant time, however
 * large the item is. */
int json_next(const struct json_reader *reader, int item);
/* A key's value; -1 of what is not a key. */
int json_member_value(const struct json_reader *reader, int key);
/* The value of the (first) member of this decoded name, or -1; its key is the token before it.
 * Escaped keys are compared decoded. */
int json_get(const struct json_reader *reader, int object, const char *name);
/* Does this string token equal `text` once decoded? */
bool json_string_equals(const struct json_reader *reader, int string, struct bytes text);
/* The decoded string: the text itself when nothing is escaped, else decoded into the arena. data is
 * NULL when there is no memory or the value is no string. May contain NUL bytes. */
struct bytes json_string(const struct json_reader *reader, int string, struct arena *arena);
/* Integer written without fraction or exponent, in the range; else false. */
bool json_int64(const struct json_reader *reader, int number, int64_t *out);
/* Any finite number spelled in at most 512 bytes; false on overflow. */
bool json_double(const struct json_reader *reader, int number, double *out);

struct json_member {
    struct bytes name; /* decoded */
    int key;
};

/* The json_count() members of the object, sorted by their decoded names as bytes; equal names keep
 * the order of the text. n log n, iterative; NULL when the arena has no memory. */
struct json_member *json_sorted_members(const struct json_reader *reader, int object,
                                        struct arena *arena);
/* The second key token of a name that stands twice in one object, at any depth, or -1; -2 when the
 * arena has no memory. n log n. */
int json_find_doubled_key(const struct json_reader *reader, struct arena *arena);

#endif
