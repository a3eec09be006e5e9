/* What several dialects do in the same way. Pure; runs in workers. */
#include "dialect.h"

#include <string.h>

/* Tokens of one answer: past any model, far from overflow. */
#define COUNT_MAX INT64_C(1000000000)

int64_t dialect_count(const struct json_reader *reader, int object, const char *name,
                      int64_t absent, bool *bad) {
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

static bool is_code(struct bytes text) {
    if (text.size == 0 || text.size >= ATTEMPT_CODE_SIZE || text.data[0] < 'a' ||
        text.data[0] > 'z') {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) {
            return false;
        }
    }
    return true;
}

void dialect_take_code(const struct json_reader *reader, int value, struct attempt *attempt) {
    struct bytes text = json_raw(reader, value);
    if (json_type(reader, value) != JSON_STRING || !is_code(text)) {
        return;
    }
    memcpy(attempt->code, text.data, text.size);
    attempt->code[text.size] = '\0';
}

enum outcome dialect_join_texts(const struct json_reader *reader, int parts, struct arena *arena,
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

void dialect_put_limits(const struct attempt *attempt, const char *max_tokens, struct buf *out) {
    buf_append_str(out, ",\"");
    buf_append_str(out, max_tokens);
    buf_append_str(out, "\":");
    buf_append_i64(out, attempt->chat->max_tokens);
    if (attempt->chat->temperature.size > 0) {
        buf_append_str(out, ",\"temperature\":");
        buf_append_bytes(out, attempt->chat->temperature);
    }
}

void dialect_put_bearer(const struct conf_provider *provider, struct buf *out) {
    if (provider->api_key != NULL) {
        buf_append_str(out, "Authorization: Bearer ");
        buf_append_str(out, provider->api_key);
        buf_append_char(out, '\n');
    }
}
