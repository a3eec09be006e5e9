/* The classic Hugging Face inference API: one prompt to a model whose name is part of the address,
 * as text-generation-inference and inference endpoints still serve it. Pure; runs in workers.
 *
 * (The Hugging Face router speaks the OpenAI API: type openai.) Its one surprise: the API counts
 * the tokens it made, but not those it read, so usage is always partly an estimate.
 */
#include "dialect.h"

#include <math.h>
#include <stdio.h>

#include "form_private.h"
#include "translate.h"

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

static enum outcome address(const struct attempt *attempt, enum chat_form form, struct buf *out) {
    (void)form;
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

static const struct translate_row rows[] = {
    {"model", RULE_OWN, NULL},
    {"messages", RULE_OWN, NULL},
    {"prompt", RULE_OWN, NULL},
    {"max_tokens", RULE_OWN, NULL},
    {"max_completion_tokens", RULE_OWN, NULL},
    {"temperature", RULE_OWN, NULL},
    {"stop", RULE_OWN, NULL},
    {"stream", RULE_OWN, NULL},
    {"stream_options", RULE_OWN, NULL},
    {"stop_sequences", RULE_COPY, "stop"},
    {"top_p", RULE_COPY, NULL},
    {"top_k", RULE_COPY, NULL},
    {"seed", RULE_COPY, NULL},
    {"repetition_penalty", RULE_COPY, NULL},
    {"user", RULE_DROP, NULL},
    {"metadata", RULE_DROP, NULL},
    {"n", RULE_ONE, NULL},
    {"best_of", RULE_ONE, NULL},
    {"echo", RULE_FALSE, NULL},
    {"tools", RULE_FALSE, NULL},
    {"logprobs", RULE_FALSE, NULL},
    {"presence_penalty", RULE_FALSE, NULL},
    {"frequency_penalty", RULE_FALSE, NULL},
};

static const struct translate_row message_rows[] = {
    {"role", RULE_OWN, NULL},
    {"content", RULE_OWN, NULL},
};
static const struct translate_row part_rows[] = {
    {"type", RULE_OWN, NULL},
    {"text", RULE_OWN, NULL},
    {"cache_control", RULE_DROP, NULL},
};

static void put_part(struct translator *to, int part, unsigned number) {
    char path[48];
    int text = json_get(to->reader, part, "text");
    if (!translate_is_type(to->reader, part, "text") ||
        json_type(to->reader, text) != JSON_STRING) {
        translate_refuse(to, "messages[0].content[%u]", number);
    }
    snprintf(path, sizeof(path), "messages[0].content[%u].", number);
    TRANSLATE_MEMBERS(to, part, part_rows, path);
    buf_append_bytes(to->out, json_raw(to->reader, text));
}

/* One text goes in: there is no way to say who spoke. */
static void put_conversation(struct translator *to) {
    int messages = json_get(to->reader, 0, "messages");
    int message = json_first(to->reader, messages);
    int content = json_get(to->reader, message, "content");
    unsigned number = 0;
    if (json_count(to->reader, messages) != 1 ||
        !translate_is(to, json_get(to->reader, message, "role"), "user")) {
        translate_refuse(to, "messages");
    }
    TRANSLATE_MEMBERS(to, message, message_rows, "messages[0].");
    buf_append_char(to->out, '"');
    if (json_type(to->reader, content) == JSON_STRING) {
        buf_append_bytes(to->out, json_raw(to->reader, content));
    }
    for (int part = json_first(to->reader, content); part >= 0;
         part = json_next(to->reader, part)) {
        put_part(to, part, number++);
    }
    buf_append_char(to->out, '"');
}

static void put_prompt(struct translator *to) {
    int prompt = json_get(to->reader, 0, "prompt");
    if (json_type(to->reader, prompt) != JSON_STRING) {
        translate_refuse(to, "prompt");
        return;
    }
    buf_append_bytes(to->out, json_whole(to->reader, prompt));
}

static void put_parameters(struct translator *to) {
    const struct chat *chat = to->attempt->chat;
    int stop = translate_get(to, 0, "stop");
    buf_append_str(to->out, ",\"parameters\":{\"return_full_text\":false,\"details\":true");
    if (chat->max_tokens > 0) {
        translate_key(to, "max_new_tokens");
        buf_append_i64(to->out, chat->max_tokens);
    }
    if (is_zero(chat->temperature)) {
        buf_append_str(to->out, ",\"do_sample\":false");
    } else if (chat->temperature.size > 0) {
        translate_key(to, "temperature");
        buf_append_bytes(to->out, chat->temperature);
    }
    if (json_type(to->reader, stop) == JSON_STRING) {
        translate_key(to, "stop");
        buf_append_char(to->out, '[');
        buf_append_bytes(to->out, json_whole(to->reader, stop));
        buf_append_char(to->out, ']');
    } else if (stop >= 0) {
        translate_put(to, "stop", stop);
    }
    TRANSLATE_MEMBERS(to, 0, rows, "");
    buf_append_str(to->out, "}}");
}

static enum outcome encode(struct attempt *attempt, struct json_reader *reader, struct buf *out) {
    struct translator to;
    if (translate_begin(&to, attempt, reader, out) != OUTCOME_OK) {
        return OUTCOME_NO_MEMORY;
    }
    buf_append_str(out, "{\"inputs\":");
    if (attempt->chat->form == FORM_COMPLETIONS) {
        put_prompt(&to);
    } else {
        put_conversation(&to);
    }
    put_parameters(&to);
    return to.outcome;
}

static enum outcome decode(const struct json_reader *reader, struct arena *arena,
                           struct form_reading *out) {
    /* an array of one; inference endpoints leave the array out */
    int item = json_type(reader, 0) == JSON_ARRAY ? json_first(reader, 0) : 0;
    int text = json_get(reader, item, "generated_text");
    int details = json_get(reader, item, "details");
    bool bad = false;
    if (json_type(reader, text) != JSON_STRING) {
        return OUTCOME_BAD_SCHEMA;
    }
    out->text = json_string(reader, text, arena);
    out->delivered = out->text.size;
    out->usage.prompt_tokens = -1;
    out->usage.completion_tokens = form_count(reader, details, "generated_tokens", -1, &bad);
    out->usage_state = bad || out->usage.completion_tokens < 0 ? USAGE_INVALID : USAGE_PARTIAL;
    out->finish = json_string_equals(reader, json_get(reader, details, "finish_reason"),
                                     BYTES_LITERAL("length"))
                      ? FINISH_LENGTH
                      : FINISH_STOP;
    return out->text.data != NULL ? OUTCOME_OK : OUTCOME_NO_MEMORY;
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
    .fields = dialect_bearer_fields,
    /* no streams, and no conversations */
    .form = {[FORM_CHAT] = FORM_COUNT,
             [FORM_COMPLETIONS] = FORM_COUNT,
             [FORM_EMBEDDINGS] = FORM_COUNT,
             [FORM_RESPONSES] = FORM_COUNT,
             [FORM_MESSAGES] = FORM_COUNT},
    .address = address,
    .encode = encode,
    .decode = decode,
    .explain = explain,
};
