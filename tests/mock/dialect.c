/* dialect: what JSON answers and events of the dialects say alike: identity, usage, words, the tool
 * call. body.c and events.c put these pieces together.
 *
 * The surprise: the words of an answer and those of its stream are made here alone, so that a test
 * may hold one against the other.
 */
#include "config.h"

#include "base/clock.h"
#include "mock.h"

const struct tool_call tool_call = {"get_weather", {"{\"city\": ", "\"Paris\", ", "\"days\": 3}"}};
const char *const thoughts[3] = {"Let", " me", " think."};

/* The names of one dialect's figures. NULL: it has no such figure. */
struct usage_names {
    const char *prompt, *completion, *total;
    const char *prompt_details, *completion_details; /* objects that hold cached and reasoning */
    bool details_always;
};

static const struct usage_names chat_names = {
    "prompt_tokens",         "completion_tokens",         "total_tokens",
    "prompt_tokens_details", "completion_tokens_details", false};
static const struct usage_names embedding_names = {
    "prompt_tokens", NULL, "total_tokens", NULL, NULL, false};
static const struct usage_names responses_names = {"input_tokens",          "output_tokens",
                                                   "total_tokens",          "input_tokens_details",
                                                   "output_tokens_details", true};

void put_str(struct json_writer *writer, const char *key, const char *text) {
    json_key(writer, key);
    json_put_str(writer, text);
}

void put_int(struct json_writer *writer, const char *key, int64_t value) {
    json_key(writer, key);
    json_put_int(writer, value);
}

void put_id(struct json_writer *writer, const char *key, const char *prefix,
            const struct answer *answer) {
    char memory[64];
    struct buf id;
    buf_init_fixed(&id, memory, sizeof(memory));
    buf_append_str(&id, prefix);
    buf_append_str(&id, "mock-");
    buf_append_u64(&id, answer->serial);
    json_key(writer, key);
    json_put_string(writer, buf_bytes(&id));
}

void put_model(struct json_writer *writer, const struct answer *answer) {
    json_key(writer, "model");
    json_put_string(writer, answer->model != NULL
                                ? bytes_make(answer->model->name, answer->model->size)
                                : BYTES_LITERAL("mock"));
}

void put_figure(struct json_writer *writer, const char *key, const struct answer *answer,
                int64_t value) {
    char memory[32];
    struct buf raw;
    json_key(writer, key);
    switch (answer->orders->usage) {
    case USAGE_NEGATIVE:
        json_put_int(writer, -value - 1);
        break;
    case USAGE_HUGE:
        json_put_int(writer, INT64_MAX);
        break;
    case USAGE_FLOAT:
    case USAGE_TEXT:
        buf_init_fixed(&raw, memory, sizeof(memory));
        buf_printf(&raw, answer->orders->usage == USAGE_FLOAT ? "%lld.5" : "\"%lld\"",
                   (long long)value);
        json_put_raw(writer, buf_bytes(&raw));
        break;
    default:
        json_put_int(writer, value);
        break;
    }
}

static void put_detail(struct json_writer *writer, const char *object, const char *key,
                       const struct answer *answer, int64_t value, bool always) {
    if (object == NULL || (value == UNSET && !always)) {
        return;
    }
    json_key(writer, object);
    json_object_begin(writer);
    put_figure(writer, key, answer, value == UNSET ? 0 : value);
    json_object_end(writer);
}

static void put_openai_usage(struct json_writer *writer, const struct answer *answer,
                             const struct usage_names *names) {
    const struct orders *orders = answer->orders;
    int64_t prompt = orders->prompt != UNSET ? orders->prompt : answer->prompt_tokens;
    int64_t completion = names->completion != NULL ? orders->tokens : 0;
    /* ordered figures may be anything up to the largest number; their sum must not overflow */
    int64_t total = prompt > INT64_MAX - completion ? INT64_MAX : prompt + completion;
    put_figure(writer, names->prompt, answer, prompt);
    put_detail(writer, names->prompt_details, "cached_tokens", answer, orders->cached,
               names->details_always);
    if (names->completion != NULL) {
        put_figure(writer, names->completion, answer, completion);
    }
    put_detail(writer, names->completion_details, "reasoning_tokens", answer, orders->reasoning,
               names->details_always);
    put_figure(writer, names->total, answer, total);
}

/* Anthropic counts cached tokens beside the others, not among them. */
static void put_anthropic_usage(struct json_writer *writer, const struct answer *answer) {
    const struct orders *orders = answer->orders;
    put_figure(writer, "input_tokens", answer,
               orders->prompt != UNSET ? orders->prompt : answer->prompt_tokens);
    if (orders->cache_write != UNSET) {
        put_figure(writer, "cache_creation_input_tokens", answer, orders->cache_write);
    }
    if (orders->cached != UNSET) {
        put_figure(writer, "cache_read_input_tokens", answer, orders->cached);
    }
    /* a stream begins with its first token counted, and says the rest at its end */
    put_figure(writer, "output_tokens", answer, answer->stream ? 1 : orders->tokens);
}

void put_usage(struct json_writer *writer, const struct answer *answer) {
    const struct orders *orders = answer->orders;
    if (orders->usage == USAGE_NONE || (answer->stream && orders->no_usage)) {
        return;
    }
    json_key(writer, "usage");
    if (orders->usage == USAGE_NULL) {
        json_put_null(writer);
        return;
    }
    json_object_begin(writer);
    if (answer->dialect == DIALECT_MESSAGES) {
        put_anthropic_usage(writer, answer);
    } else if (answer->dialect == DIALECT_RESPONSES) {
        put_openai_usage(writer, answer, &responses_names);
    } else if (answer->dialect == DIALECT_EMBEDDINGS) {
        put_openai_usage(writer, answer, &embedding_names);
    } else {
        put_openai_usage(writer, answer, &chat_names);
    }
    json_object_end(writer);
}

static void put_joined(struct json_writer *writer, const char *key, const char *const *pieces,
                       size_t count) {
    char memory[128];
    struct buf text;
    buf_init_fixed(&text, memory, sizeof(memory));
    for (size_t i = 0; i < count; i++) {
        buf_append_str(&text, pieces[i]);
    }
    json_key(writer, key);
    json_put_string(writer, buf_bytes(&text));
}

void put_thoughts(struct json_writer *writer, const char *key) {
    put_joined(writer, key, thoughts, sizeof(thoughts) / sizeof(thoughts[0]));
}

void put_arguments(struct json_writer *writer, const char *key) {
    put_joined(writer, key, tool_call.fragments,
               sizeof(tool_call.fragments) / sizeof(tool_call.fragments[0]));
}

void append_word(struct buf *out, const struct orders *orders, int64_t i) {
    if (orders->stamp) {
        buf_append_str(out, i > 0 ? " " : "");
        buf_append_i64(out, i);
        buf_append_char(out, '@');
        buf_append_i64(out, clock_mono_ns() / NS_PER_US);
        return;
    }
    /* two, three and four bytes a character */
    const char *word = orders->utf8 ? " w\xc3\xb6rd\xe2\x82\xac\xf0\x9f\x98\x80" : " word";
    buf_append_str(out, i > 0 ? word : word + 1);
}

void put_logprobs(struct json_writer *writer, const struct orders *orders, int64_t from,
                  int64_t count) {
    char memory[64];
    struct buf word;
    json_key(writer, "logprobs");
    json_object_begin(writer);
    json_key(writer, "content");
    json_array_begin(writer);
    for (int64_t i = from; i < from + count; i++) {
        buf_init_fixed(&word, memory, sizeof(memory));
        append_word(&word, orders, i);
        json_object_begin(writer);
        json_key(writer, "token");
        json_put_string(writer, buf_bytes(&word));
        json_key(writer, "logprob");
        json_put_raw(writer, BYTES_LITERAL("-0.25"));
        put_str(writer, "bytes", NULL);
        json_key(writer, "top_logprobs");
        json_array_begin(writer);
        json_array_end(writer);
        json_object_end(writer);
    }
    json_array_end(writer);
    put_str(writer, "refusal", NULL);
    json_object_end(writer);
}

/* An answer that ended before its end; NULL: it did not. */
static const char *early_reason(const struct answer *answer) {
    bool messages = answer->dialect == DIALECT_MESSAGES;
    switch (answer->orders->stop) {
    case STOP_LENGTH:
        return messages ? "max_tokens" : "length";
    case STOP_FILTER:
        return messages ? "refusal" : "content_filter";
    default:
        return NULL;
    }
}

const char *finish_reason(const struct answer *answer) {
    bool tool = answer->orders->tool != 0;
    const char *early = early_reason(answer);
    if (early != NULL) {
        return early;
    }
    switch (answer->dialect) {
    case DIALECT_MESSAGES:
        return tool ? "tool_use" : "end_turn";
    case DIALECT_INFERENCE:
        return "eos_token";
    default:
        return tool && answer->dialect == DIALECT_CHAT ? "tool_calls" : "stop";
    }
}
