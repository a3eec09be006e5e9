/* The Anthropic messages API. Pure; runs in workers.
 *
 * Its one surprise: usage counts input_tokens, cache reads and cache writes beside each other,
 * where OpenAI has them inside the prompt's; they are added up here, so that everything behind has
 * one meaning of prompt_tokens. Writes of an hour stand in cache_creation, all writes in
 * cache_creation_input_tokens (API reference, "Prompt caching").
 */
#include "dialect.h"

#include "base/json_write.h"

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

/* People write the address with and without the version. */
static enum outcome address(const struct attempt *attempt, struct buf *out) {
    struct bytes url = bytes_from_str(attempt->provider->url);
    bool has_version =
        url.size > 3 && bytes_equal_str(bytes_make(url.data + url.size - 3, 3), "/v1");
    buf_append_bytes(out, url);
    buf_append_str(out, has_version ? "/messages" : "/v1/messages");
    return OUTCOME_OK;
}

static void encode(const struct attempt *attempt, struct buf *out) {
    buf_append_str(out, "{\"model\":");
    json_quote(out, bytes_from_str(attempt->model->name));
    buf_append_str(out, ",\"messages\":[{\"role\":\"user\",\"content\":");
    json_quote(out, attempt->chat->prompt);
    buf_append_str(out, "}]");
    dialect_put_limits(attempt, "max_tokens", out);
    buf_append_char(out, '}');
}

static void read_usage(const struct json_reader *reader, struct dialect_answer *answer) {
    int usage = json_get(reader, 0, "usage");
    int creation = json_get(reader, usage, "cache_creation");
    bool bad = false;
    int64_t input = dialect_count(reader, usage, "input_tokens", -1, &bad);
    int64_t read = dialect_count(reader, usage, "cache_read_input_tokens", 0, &bad);
    int64_t written = dialect_count(reader, usage, "cache_creation_input_tokens", 0, &bad);
    int64_t hour = dialect_count(reader, creation, "ephemeral_1h_input_tokens", 0, &bad);
    int64_t output = dialect_count(reader, usage, "output_tokens", -1, &bad);
    if (bad || input < 0 || output < 0 || hour > written) {
        answer->usage_state = USAGE_INVALID;
        return;
    }
    answer->usage_state = USAGE_KNOWN;
    answer->usage = (struct usage){.prompt_tokens = input + read + written,
                                   .cached_tokens = read,
                                   .cache_write_tokens = written - hour,
                                   .cache_write_1h_tokens = hour,
                                   .completion_tokens = output};
}

static enum outcome decode(const struct json_reader *reader, struct arena *arena,
                           struct dialect_answer *answer) {
    int content = json_get(reader, 0, "content");
    enum outcome outcome = OUTCOME_OK;
    /* It may have nothing to say: stop_reason end_turn with no content. */
    if (json_type(reader, content) != JSON_ARRAY || json_count(reader, content) > 0) {
        outcome = dialect_join_texts(reader, content, arena, &answer->text);
    }
    if (outcome == OUTCOME_OK) {
        read_usage(reader, answer);
    }
    return outcome;
}

static void explain(const struct json_reader *reader, struct attempt *attempt) {
    int error = json_get(reader, 0, "error");
    dialect_take_code(reader, json_get(reader, error, "type"), attempt);
}

const struct dialect prov_anthropic_dialect = {
    .fields = fields,
    .address = address,
    .encode = encode,
    .decode = decode,
    .explain = explain,
};
