/* What several dialects do in the same way. Pure; runs in workers.
 *
 * Its one surprise: a body is passed on as the client wrote it. What must be said differently is
 * cut out and put in by its place, so tools, images and what nobody here has heard of are never
 * touched, and large bodies never copied.
 */
#include "dialect.h"

#include <string.h>

#include "base/json_write.h"
#include "base/panic.h"

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

void dialect_bearer_fields(const struct conf_provider *provider, struct buf *out) {
    buf_append_str(out, "Content-Type: application/json\nAccept: application/json\n");
    if (provider->api_key != NULL) {
        buf_append_str(out, "Authorization: Bearer ");
        buf_append_str(out, provider->api_key);
        buf_append_char(out, '\n');
    }
}

/* ---- the client's own body ---- */

/* One change: so many bytes at this place become these. */
struct edit {
    size_t at, removed;
    size_t from, size; /* in own */
};

#define EDITS_MAX 4 /* the model, stream, its usage, the limit */

struct splice {
    const struct chat *chat;
    struct buf *own;
    struct edit edits[EDITS_MAX];
    unsigned count;
};

/* What was appended to own since `from` goes to that place. */
static void add_edit(struct splice *splice, size_t at, size_t removed, size_t from) {
    ASSERT(splice->count < EDITS_MAX);
    struct edit edit = {at, removed, from, splice->own->size - from};
    unsigned to = splice->count++;
    while (to > 0 && splice->edits[to - 1].at > at) {
        splice->edits[to] = splice->edits[to - 1];
        to--;
    }
    splice->edits[to] = edit;
}

static size_t behind_brace(const struct chat *chat, size_t from) {
    return from + bytes_find(bytes_make(chat->body.data + from, chat->body.size - from), '{') + 1;
}

static void name_model(struct splice *splice, const char *name) {
    struct chat_span model = splice->chat->model;
    size_t from = splice->own->size;
    ASSERT(model.size > 0); /* every API wants one to be named */
    json_quote(splice->own, bytes_from_str(name));
    add_edit(splice, model.at, model.size, from);
}

/* A request for /generate says nothing of streams in its body; others say it themselves. */
static void want_stream(struct splice *splice) {
    size_t from = splice->own->size;
    if (splice->chat->wants_stream && splice->chat->stream.size == 0) {
        buf_append_str(splice->own, "\"stream\":true,");
        add_edit(splice, behind_brace(splice->chat, 0), 0, from);
    }
}

static bool is_empty_object(const struct chat *chat, struct chat_span span) {
    const char *text = chat->body.data + span.at;
    for (size_t i = 1; i + 1 < span.size; i++) {
        if (strchr(" \t\r\n", text[i]) == NULL) {
            return false;
        }
    }
    return true;
}

static bool is_null(const struct chat *chat, struct chat_span span) {
    return span.size > 0 && chat->body.data[span.at] == 'n';
}

static void want_usage(struct splice *splice) {
    const struct chat *chat = splice->chat;
    size_t from = splice->own->size;
    if (chat->include_usage.size > 0) {
        buf_append_str(splice->own, "true");
        add_edit(splice, chat->include_usage.at, chat->include_usage.size, from);
    } else if (is_null(chat, chat->stream_options)) {
        buf_append_str(splice->own, "{\"include_usage\":true}");
        add_edit(splice, chat->stream_options.at, chat->stream_options.size, from);
    } else if (chat->stream_options.size > 0) {
        buf_append_str(splice->own, is_empty_object(chat, chat->stream_options)
                                        ? "\"include_usage\":true"
                                        : "\"include_usage\":true,");
        add_edit(splice, chat->stream_options.at + 1, 0, from);
    } else {
        buf_append_str(splice->own, "\"stream_options\":{\"include_usage\":true},");
        add_edit(splice, behind_brace(chat, 0), 0, from);
    }
}

static void rename_limit(struct splice *splice, const char *name) {
    size_t from = splice->own->size;
    if (name != NULL && splice->chat->limit_name.size > 0) {
        json_quote(splice->own, bytes_from_str(name));
        add_edit(splice, splice->chat->limit_name.at, splice->chat->limit_name.size, from);
    }
}

void dialect_add_piece(struct dialect_body *body, struct bytes piece) {
    if (piece.size > 0) {
        ASSERT(body->count < DIALECT_PIECES);
        body->pieces[body->count++] = piece;
        body->size += piece.size;
    }
}

bool dialect_splice(const struct attempt *attempt, bool wants_usage, const char *limit_name,
                    struct dialect_body *body) {
    const struct chat *chat = attempt->chat;
    struct splice splice = {.chat = chat, .own = &body->own};
    size_t at = 0;
    name_model(&splice, attempt->model->name);
    want_stream(&splice);
    if (wants_usage) {
        want_usage(&splice);
    }
    rename_limit(&splice, limit_name);
    if (body->own.failed) {
        return false;
    }
    for (unsigned i = 0; i < splice.count; i++) { /* own stays where it is from here on */
        const struct edit *edit = &splice.edits[i];
        dialect_add_piece(body, bytes_make(chat->body.data + at, edit->at - at));
        dialect_add_piece(body, bytes_make(body->own.data + edit->from, edit->size));
        at = edit->at + edit->removed;
    }
    dialect_add_piece(body, bytes_make(chat->body.data + at, chat->body.size - at));
    return true;
}
