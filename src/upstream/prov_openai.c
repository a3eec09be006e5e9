/* The OpenAI chat API, as OpenAI, the Hugging Face router, vLLM, llama.cpp, Ollama, Groq and many
 * others speak it. Pure; runs in workers.
 *
 * Facts from the API reference of each: usage counts cached tokens among prompt_tokens and
 * reasoning tokens among completion_tokens. Its one surprise: the limit's name. OpenAI itself wants
 * max_completion_tokens (its newer models refuse max_tokens), the others know max_tokens, and some
 * refuse what they do not know.
 */
#include "dialect.h"

#include "base/json_write.h"

static void fields(const struct conf_provider *provider, struct buf *out) {
    buf_append_str(out, "Content-Type: application/json\nAccept: application/json\n");
    dialect_put_bearer(provider, out);
}

static enum outcome address(const struct attempt *attempt, struct buf *out) {
    buf_append_str(out, attempt->provider->url);
    buf_append_str(out, "/chat/completions");
    return OUTCOME_OK;
}

static bool is_openai_itself(const struct conf_provider *provider) {
    return bytes_start_with(bytes_from_str(provider->url),
                            BYTES_LITERAL("https://api.openai.com/"));
}

static void encode(const struct attempt *attempt, struct buf *out) {
    buf_append_str(out, "{\"model\":");
    json_quote(out, bytes_from_str(attempt->model->name));
    buf_append_str(out, ",\"messages\":[{\"role\":\"user\",\"content\":");
    json_quote(out, attempt->chat->prompt);
    buf_append_str(out, "}]");
    dialect_put_limits(
        attempt, is_openai_itself(attempt->provider) ? "max_completion_tokens" : "max_tokens", out);
    buf_append_char(out, '}');
}

static void read_usage(const struct json_reader *reader, struct dialect_answer *answer) {
    int usage = json_get(reader, 0, "usage");
    int prompt = json_get(reader, usage, "prompt_tokens_details");
    int completion = json_get(reader, usage, "completion_tokens_details");
    bool bad = false;
    struct usage *out = &answer->usage;
    out->prompt_tokens = dialect_count(reader, usage, "prompt_tokens", -1, &bad);
    out->completion_tokens = dialect_count(reader, usage, "completion_tokens", -1, &bad);
    out->cached_tokens = dialect_count(reader, prompt, "cached_tokens", 0, &bad);
    out->reasoning_tokens = dialect_count(reader, completion, "reasoning_tokens", 0, &bad);
    bad = bad || out->prompt_tokens < 0 || out->completion_tokens < 0 ||
          out->cached_tokens > out->prompt_tokens || out->reasoning_tokens > out->completion_tokens;
    answer->usage_state = bad ? USAGE_INVALID : USAGE_KNOWN;
}

/* `content` is a string, or an array of parts of which those of type text count. */
static enum outcome read_content(const struct json_reader *reader, int content, struct arena *arena,
                                 struct bytes *text) {
    if (json_type(reader, content) == JSON_STRING) {
        *text = json_string(reader, content, arena);
        return text->data != NULL ? OUTCOME_OK : OUTCOME_NO_MEMORY;
    }
    return dialect_join_texts(reader, content, arena, text);
}

/* A model that thinks first may have no tokens left for its answer: that is an answer, and paid. */
static bool ran_out(const struct json_reader *reader, int choices) {
    int reason = json_get(reader, json_first(reader, choices), "finish_reason");
    return json_string_equals(reader, reason, BYTES_LITERAL("length"));
}

static enum outcome decode(const struct json_reader *reader, struct arena *arena,
                           struct dialect_answer *answer) {
    int choices = json_get(reader, 0, "choices");
    int message = json_get(reader, json_first(reader, choices), "message");
    int content = json_get(reader, message, "content");
    if (json_type(reader, choices) != JSON_ARRAY) {
        return OUTCOME_BAD_SCHEMA;
    }
    if (content < 0 || json_type(reader, content) == JSON_NULL) {
        content = json_get(reader, message, "refusal"); /* the model's own words for no */
        if (json_type(reader, content) != JSON_STRING && ran_out(reader, choices)) {
            read_usage(reader, answer);
            return OUTCOME_OK;
        }
    }
    enum outcome outcome = read_content(reader, content, arena, &answer->text);
    if (outcome == OUTCOME_OK) {
        read_usage(reader, answer);
    }
    return outcome;
}

static void explain(const struct json_reader *reader, struct attempt *attempt) {
    int error = json_get(reader, 0, "error");
    dialect_take_code(reader, json_get(reader, error, "code"), attempt);
    if (attempt->code[0] == '\0') { /* llama.cpp and Ollama have a number, or nothing, in `code` */
        dialect_take_code(reader, json_get(reader, error, "type"), attempt);
    }
}

const struct dialect prov_openai_dialect = {
    .fields = fields,
    .address = address,
    .encode = encode,
    .decode = decode,
    .explain = explain,
};
