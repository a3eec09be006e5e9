/* The OpenAI API, as OpenAI, the Hugging Face router, vLLM, llama.cpp, Ollama, Groq and many others
 * speak it. Pure; runs in workers.
 *
 * Its one surprise: the limit's name. OpenAI itself wants max_completion_tokens (its newer models
 * refuse max_tokens), the others know max_tokens, and some refuse what they do not know. Where the
 * client wrote it, it stays; where we did, it is the one that this server knows.
 */
#include "dialect.h"

static void request_fields(const struct attempt *attempt, struct buf *out) {
    if (attempt->chat->openai_beta.size > 0) {
        buf_append_str(out, "OpenAI-Beta: ");
        buf_append_bytes(out, attempt->chat->openai_beta);
        buf_append_char(out, '\n');
    }
}

static enum outcome address(const struct attempt *attempt, enum chat_form form, struct buf *out) {
    buf_append_str(out, attempt->provider->url);
    buf_append_str(out, form_of(form)->path);
    return OUTCOME_OK;
}

static void explain(const struct json_reader *reader, struct attempt *attempt) {
    int error = json_get(reader, 0, "error");
    dialect_take_code(reader, json_get(reader, error, "code"), attempt);
    if (attempt->code[0] == '\0') { /* llama.cpp and Ollama have a number, or nothing, in `code` */
        dialect_take_code(reader, json_get(reader, error, "type"), attempt);
    }
}

const struct dialect prov_openai_dialect = {
    .fields = dialect_bearer_fields,
    .request_fields = request_fields,
    .form = {[FORM_CHAT] = FORM_CHAT,
             [FORM_COMPLETIONS] = FORM_COMPLETIONS,
             [FORM_EMBEDDINGS] = FORM_EMBEDDINGS,
             [FORM_RESPONSES] = FORM_RESPONSES,
             [FORM_MESSAGES] = FORM_CHAT},
    .address = address,
    .explain = explain,
};
