/* The row of each form, and what several of them do in the same way. Pure; runs in workers. */
#include "form_private.h"

#include <string.h>

#include "base/panic.h"

#define PIECES_MAX ((size_t)512)               /* of one answer that is told in words */
#define PIECES_BYTES ((size_t)2 * 1024 * 1024) /* and of all of them, about */

/* Tokens of one answer: past any model, far from overflow. */
#define COUNT_MAX INT64_C(1000000000)

const struct form *form_of(enum chat_form form) {
    static const struct form *const rows[FORM_COUNT] = {
        [FORM_CHAT] = &form_chat,
        [FORM_COMPLETIONS] = &form_completions,
        [FORM_EMBEDDINGS] = &form_embeddings,
        [FORM_RESPONSES] = &form_responses,
        [FORM_MESSAGES] = &form_messages,
    };
    ASSERT((unsigned)form < FORM_COUNT);
    return rows[form];
}

int64_t form_count(const struct json_reader *reader, int object, const char *name, int64_t absent,
                   bool *bad) {
    int value = json_get(reader, object, name);
    int64_t count;
    if (value < 0 || json_type(reader, value) == JSON_NULL) {
        return absent;
    }
    if (!json_int64(reader, value, &count) || count < 0 || count > COUNT_MAX) {
        *bad = true;
        return -1;
    }
    return count;
}

void form_read_openai_usage(const struct json_reader *reader, int usage, struct form_reading *out) {
    int prompt = json_get(reader, usage, "prompt_tokens_details");
    int completion = json_get(reader, usage, "completion_tokens_details");
    bool bad = false;
    if (json_type(reader, usage) != JSON_OBJECT) {
        out->usage_state =
            json_type(reader, usage) == JSON_NULL || usage < 0 ? USAGE_NONE : USAGE_INVALID;
        return;
    }
    struct usage *to = &out->usage;
    to->prompt_tokens = form_count(reader, usage, "prompt_tokens", -1, &bad);
    to->completion_tokens = form_count(reader, usage, "completion_tokens", -1, &bad);
    to->cached_tokens = form_count(reader, prompt, "cached_tokens", 0, &bad);
    to->reasoning_tokens = form_count(reader, completion, "reasoning_tokens", 0, &bad);
    bad = bad || to->prompt_tokens < 0 || to->completion_tokens < 0 ||
          to->cached_tokens > to->prompt_tokens || to->reasoning_tokens > to->completion_tokens;
    out->usage_state = bad ? USAGE_INVALID : USAGE_KNOWN;
}

enum outcome form_join_texts(const struct json_reader *reader, int parts, struct arena *arena,
                             struct bytes *text) {
    if (json_type(reader, parts) != JSON_ARRAY) {
        return OUTCOME_BAD_SCHEMA;
    }
    char *joined = arena_alloc(arena, json_raw(reader, parts).size + 1);
    if (joined == NULL) {
        return OUTCOME_NO_MEMORY;
    }
    size_t size = 0;
    bool found = false;
    for (int part = json_first(reader, parts); part >= 0; part = json_next(reader, part)) {
        int value = json_get(reader, part, "text");
        if (json_type(reader, value) != JSON_STRING) {
            continue;
        }
        struct bytes piece = json_string(reader, value, arena);
        if (piece.data == NULL) {
            return OUTCOME_NO_MEMORY;
        }
        memcpy(joined + size, piece.data, piece.size); /* decoded is never longer than encoded */
        size += piece.size;
        found = true;
    }
    *text = bytes_make(joined, size);
    return found ? OUTCOME_OK : OUTCOME_BAD_SCHEMA;
}

bool form_says_something(const struct json_reader *reader, int value) {
    switch (json_type(reader, value)) {
    case JSON_NONE:
    case JSON_NULL:
        return false;
    case JSON_STRING:
        return json_raw(reader, value).size > 0;
    case JSON_OBJECT:
    case JSON_ARRAY:
        return json_count(reader, value) > 0;
    default:
        return true;
    }
}

bool form_is_failure(const struct json_reader *reader, int error) {
    enum json_type type = json_type(reader, error);
    return (type == JSON_OBJECT || type == JSON_STRING) && form_says_something(reader, error);
}

/* Is the member one that names things, rather than one that a model has written? */
static bool is_label(const struct json_reader *reader, int key) {
    static const char *const names[] = {"type",   "role",   "id",        "call_id",
                                        "object", "status", "signature", "finish_reason"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (json_string_equals(reader, key, bytes_from_str(names[i]))) {
            return true;
        }
    }
    return false;
}

size_t form_text_size(const struct json_reader *reader, int value) {
    struct bytes all = json_whole(reader, value);
    size_t size = 0;
    int label = -1; /* the value of the last member that is one */
    /* tokens stand in the order of the text: those of the value are the ones inside it */
    for (int i = value; i >= 0 && i < reader->count; i++) {
        struct bytes one = json_raw(reader, i);
        if (one.data > all.data + all.size) {
            break;
        }
        int member = json_member_value(reader, i);
        if (member != -1) {
            label = is_label(reader, i) ? member : label;
        } else if (json_type(reader, i) == JSON_STRING && i != label) {
            size += one.size;
        }
    }
    return size;
}

struct chat_span form_span(const struct json_reader *reader, int value) {
    return (struct chat_span){json_offset(reader, value), json_whole(reader, value).size};
}

static bool is_listed(const struct json_reader *reader, int key, const char *const *names) {
    while (*names != NULL) {
        if (json_string_equals(reader, key, bytes_from_str(*names))) {
            return true;
        }
        names++;
    }
    return false;
}

void form_copy_members(const struct json_reader *reader, int object, const char *const *without,
                       struct buf *out) {
    for (int key = json_first(reader, object); key >= 0; key = json_next(reader, key)) {
        if (is_listed(reader, key, without)) {
            continue;
        }
        if (out->size > 0 && out->data[out->size - 1] != '{') {
            buf_append_char(out, ',');
        }
        buf_append_bytes(out, json_whole(reader, key));
        buf_append_char(out, ':');
        buf_append_bytes(out, json_whole(reader, json_member_value(reader, key)));
    }
}

struct bytes form_next_words(struct bytes *escaped, size_t whole) {
    size_t most = whole < PIECES_BYTES / PIECES_MAX ? PIECES_MAX : PIECES_BYTES / whole;
    size_t least = whole / (most > 0 ? most : 1);
    size_t size = 0;
    do {
        while (size < escaped->size && escaped->data[size] == ' ') {
            size++;
        }
        while (size < escaped->size && escaped->data[size] != ' ') {
            size++;
        }
    } while (size < escaped->size && size < least);
    struct bytes word = bytes_make(escaped->data, size);
    *escaped = bytes_make(escaped->data + size, escaped->size - size);
    return word;
}

struct bytes form_unescape(struct bytes escaped, struct arena *arena) {
    struct json_reader reader;
    struct json_fault fault;
    if (bytes_find(escaped, '\\') == escaped.size) {
        return escaped;
    }
    struct bytes text = bytes_make(NULL, 0);
    char *quoted = arena_alloc(arena, escaped.size + 2);
    if (quoted == NULL) {
        return text;
    }
    quoted[0] = quoted[escaped.size + 1] = '"';
    memcpy(quoted + 1, escaped.data, escaped.size);
    json_reader_init(&reader);
    if (json_read(&reader, bytes_make(quoted, escaped.size + 2), &fault) == 0) {
        text = json_string(&reader, 0, arena);
    }
    json_reader_fini(&reader);
    return text;
}
