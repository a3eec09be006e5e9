/* The classic Hugging Face inference API: one prompt to a model whose name is part of the address,
 * as text-generation-inference and inference endpoints still serve it. Pure; runs in workers.
 *
 * (The Hugging Face router speaks the OpenAI API: type openai.) Its one surprise: the API counts
 * the tokens it made, but not those it read, so usage is always partly an estimate.
 */
#include "dialect.h"

#include <math.h>

#include "base/json_write.h"

static void fields(const struct conf_provider *provider, struct buf *out) {
    buf_append_str(out, "Content-Type: application/json\nAccept: application/json\n");
    dialect_put_bearer(provider, out);
}

static bool is_unreserved(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

/* One segment of the path, percent-encoded (RFC 3986). Dots alone would climb: refused. */
static bool put_segment(struct bytes segment, struct buf *out) {
    static const char digits[] = "0123456789ABCDEF";
    if (segment.size == 0 || segment.data == NULL || bytes_equal_str(segment, ".") ||
        bytes_equal_str(segment, "..")) {
        return false;
    }
    for (size_t i = 0; i < segment.size; i++) {
        unsigned char c = (unsigned char)segment.data[i];
        if (is_unreserved((char)c)) {
            buf_append_char(out, (char)c);
        } else {
            buf_append_char(out, '%');
            buf_append_char(out, digits[c >> 4]);
            buf_append_char(out, digits[c & 15]);
        }
    }
    return true;
}

static enum outcome address(const struct attempt *attempt, struct buf *out) {
    struct bytes name = bytes_from_str(attempt->model->name);
    buf_append_str(out, attempt->provider->url);
    for (;;) {
        size_t slash = bytes_find(name, '/');
        buf_append_char(out, '/');
        if (!put_segment(bytes_make(name.data, slash), out)) {
            return OUTCOME_BAD_MODEL;
        }
        if (slash == name.size) {
            return OUTCOME_OK;
        }
        name = bytes_make(name.data + slash + 1, name.size - slash - 1);
    }
}

/* The API wants a temperature above 0; 0 means that nothing is drawn by lot. */
static bool is_zero(struct bytes number) {
    for (size_t i = 0; i < number.size && number.data[i] != 'e' && number.data[i] != 'E'; i++) {
        if (number.data[i] >= '1' && number.data[i] <= '9') {
            return false;
        }
    }
    return number.size > 0;
}

static void encode(const struct attempt *attempt, struct buf *out) {
    const struct chat *chat = attempt->chat;
    buf_append_str(out, "{\"inputs\":");
    json_quote(out, chat->prompt);
    buf_append_str(out, ",\"parameters\":{\"max_new_tokens\":");
    buf_append_i64(out, chat->max_tokens);
    buf_append_str(out, ",\"return_full_text\":false,\"details\":true");
    if (is_zero(chat->temperature)) {
        buf_append_str(out, ",\"do_sample\":false");
    } else if (chat->temperature.size > 0) {
        buf_append_str(out, ",\"temperature\":");
        buf_append_bytes(out, chat->temperature);
    }
    buf_append_str(out, "}}");
}

static enum outcome decode(const struct json_reader *reader, struct arena *arena,
                           struct dialect_answer *answer) {
    /* an array of one; inference endpoints leave the array out */
    int item = json_type(reader, 0) == JSON_ARRAY ? json_first(reader, 0) : 0;
    int text = json_get(reader, item, "generated_text");
    int details = json_get(reader, item, "details");
    bool bad = false;
    if (json_type(reader, text) != JSON_STRING) {
        return OUTCOME_BAD_SCHEMA;
    }
    answer->text = json_string(reader, text, arena);
    answer->usage.prompt_tokens = -1;
    answer->usage.completion_tokens = dialect_count(reader, details, "generated_tokens", -1, &bad);
    answer->usage_state =
        bad || answer->usage.completion_tokens < 0 ? USAGE_INVALID : USAGE_PARTIAL;
    return answer->text.data != NULL ? OUTCOME_OK : OUTCOME_NO_MEMORY;
}

/* While a model is loaded the answer is 503 and says how long that takes. */
static void explain(const struct json_reader *reader, struct attempt *attempt) {
    double seconds;
    dialect_take_code(reader, json_get(reader, 0, "error_type"), attempt);
    if (attempt->status == 503 && attempt->retry_after_ms < 0 &&
        json_double(reader, json_get(reader, 0, "estimated_time"), &seconds) && seconds >= 0 &&
        seconds < 1e6) {
        attempt->retry_after_ms = (int64_t)ceil(seconds) * 1000;
    }
}

const struct dialect prov_huggingface_dialect = {
    .fields = fields,
    .address = address,
    .encode = encode,
    .decode = decode,
    .explain = explain,
};
