/* The Anthropic API. Pure; runs in workers. */
#include "dialect.h"

#define API_VERSION "2023-06-01"

static void fields(const struct conf_provider *provider, struct buf *out) {
    buf_append_str(out, "Content-Type: application/json\nAccept: application/json\n"
                        "anthropic-version: " API_VERSION "\n");
    if (provider->api_key != NULL) {
        buf_append_str(out, "x-api-key: ");
        buf_append_str(out, provider->api_key);
        buf_append_char(out, '\n');
    }
}

/* What an Anthropic client said in its head is said on. */
static void request_fields(const struct attempt *attempt, struct buf *out) {
    const struct chat *chat = attempt->chat;
    if (chat->form != FORM_MESSAGES) {
        return;
    }
    if (chat->anthropic_version.size > 0 &&
        !bytes_equal_str(chat->anthropic_version, API_VERSION)) {
        buf_append_str(out, "anthropic-version: ");
        buf_append_bytes(out, chat->anthropic_version);
        buf_append_char(out, '\n');
    }
    if (chat->anthropic_beta.size > 0) {
        buf_append_str(out, "anthropic-beta: ");
        buf_append_bytes(out, chat->anthropic_beta);
        buf_append_char(out, '\n');
    }
}

/* People write the address with and without the version. */
static enum outcome address(const struct attempt *attempt, enum chat_form form, struct buf *out) {
    struct bytes url = bytes_from_str(attempt->provider->url);
    bool has_version =
        url.size > 3 && bytes_equal_str(bytes_make(url.data + url.size - 3, 3), "/v1");
    buf_append_bytes(out, url);
    buf_append_str(out, has_version ? "" : "/v1");
    buf_append_str(out, form_of(form)->path);
    return OUTCOME_OK;
}

static void explain(const struct json_reader *reader, struct attempt *attempt) {
    int error = json_get(reader, 0, "error");
    dialect_take_code(reader, json_get(reader, error, "type"), attempt);
}

const struct dialect prov_anthropic_dialect = {
    .fields = fields,
    .request_fields = request_fields,
    .form = {[FORM_CHAT] = FORM_MESSAGES,
             [FORM_COMPLETIONS] = FORM_MESSAGES,
             [FORM_EMBEDDINGS] = FORM_COUNT,
             [FORM_RESPONSES] = FORM_COUNT,
             [FORM_MESSAGES] = FORM_MESSAGES},
    .address = address,
    .explain = explain,
};
