/* Responses, and embeddings: forms that are passed on to providers that have them and are not
 * translated. Pure; runs in workers.
 *
 * Its one surprise: a stream of responses repeats itself: its last event holds the whole answer.
 */
#include "form_private.h"

#include <string.h>

/* ---- reading ---- */

static bool is_type(const struct json_reader *reader, int object, const char *type) {
    return json_string_equals(reader, json_get(reader, object, "type"), bytes_from_str(type));
}

static void read_usage(const struct json_reader *reader, int usage, struct form_reading *out) {
    int input = json_get(reader, usage, "input_tokens_details");
    int output = json_get(reader, usage, "output_tokens_details");
    bool bad = false;
    if (json_type(reader, usage) != JSON_OBJECT) {
        return;
    }
    struct usage *to = &out->usage;
    to->prompt_tokens = form_count(reader, usage, "input_tokens", -1, &bad);
    to->completion_tokens = form_count(reader, usage, "output_tokens", -1, &bad);
    to->cached_tokens = form_count(reader, input, "cached_tokens", 0, &bad);
    to->reasoning_tokens = form_count(reader, output, "reasoning_tokens", 0, &bad);
    bad = bad || to->prompt_tokens < 0 || to->completion_tokens < 0 ||
          to->cached_tokens > to->prompt_tokens || to->reasoning_tokens > to->completion_tokens;
    out->usage_state = bad ? USAGE_INVALID : USAGE_KNOWN;
}

static enum chat_finish finish_of(const struct json_reader *reader, int response) {
    int status = json_get(reader, response, "status");
    int why = json_get(reader, json_get(reader, response, "incomplete_details"), "reason");
    if (json_string_equals(reader, status, BYTES_LITERAL("completed"))) {
        return FINISH_STOP;
    }
    if (json_string_equals(reader, status, BYTES_LITERAL("incomplete"))) {
        return json_string_equals(reader, why, BYTES_LITERAL("content_filter")) ? FINISH_FILTER
                                                                                : FINISH_LENGTH;
    }
    return FINISH_UNKNOWN; /* failed, or still under way */
}

/* Everything but words and thoughts is a call of something. */
static bool is_call(const struct json_reader *reader, int item) {
    return !is_type(reader, item, "message") && !is_type(reader, item, "reasoning");
}

static enum outcome read_response(const struct json_reader *reader, int response,
                                  struct form_reading *out) {
    int output = json_get(reader, response, "output");
    if (json_type(reader, output) != JSON_ARRAY) {
        return OUTCOME_BAD_SCHEMA;
    }
    out->finish = finish_of(reader, response);
    for (int item = json_first(reader, output); item >= 0; item = json_next(reader, item)) {
        out->has_tools = out->has_tools || is_call(reader, item);
    }
    out->delivered = form_text_size(reader, output);
    read_usage(reader, json_get(reader, response, "usage"), out);
    return OUTCOME_OK;
}

static enum outcome read_answer(const struct json_reader *reader, struct arena *arena,
                                struct form_reading *out) {
    (void)arena;
    return read_response(reader, 0, out);
}

static bool ends_in(struct bytes text, const char *end) {
    size_t size = strlen(end);
    return text.size >= size && memcmp(text.data + text.size - size, end, size) == 0;
}

static enum outcome read_event(const struct json_reader *reader, struct arena *arena,
                               struct form_reading *out) {
    int type = json_get(reader, 0, "type");
    int response = json_get(reader, 0, "response");
    struct bytes name = json_raw(reader, type);
    if (json_type(reader, type) != JSON_STRING) {
        return OUTCOME_BAD_SCHEMA;
    }
    if (bytes_equal_str(name, "response.completed") ||
        bytes_equal_str(name, "response.incomplete")) {
        out->is_last = true;
        enum outcome outcome = read_response(reader, response, out);
        out->delivered = 0; /* it was, before */
        return outcome;
    }
    out->is_error = bytes_equal_str(name, "error") || bytes_equal_str(name, "response.failed");
    if (ends_in(name, ".delta")) {
        int delta = json_get(reader, 0, "delta");
        out->is_content = true;
        out->delivered = form_text_size(reader, delta);
        if (bytes_equal_str(name, "response.output_text.delta") &&
            json_type(reader, delta) == JSON_STRING) {
            out->text = json_string(reader, delta, arena);
            return out->text.data != NULL ? OUTCOME_OK : OUTCOME_NO_MEMORY;
        }
    } else if (bytes_equal_str(name, "response.output_item.done")) {
        out->is_content = true; /* one that had no deltas */
    }
    return OUTCOME_OK;
}

/* ---- events made whole ---- */

static bool collect(struct json_reader *reader, struct bytes events, struct arena *arena,
                    struct buf *out) {
    struct json_fault fault;
    struct bytes last = bytes_make(NULL, 0);
    (void)arena;
    while (events.size > 0) {
        last = bytes_cut(&events, '\n');
    }
    if (json_read(reader, last, &fault) == -1 || !is_type(reader, 0, "response.completed")) {
        return false;
    }
    int response = json_get(reader, 0, "response");
    buf_append_bytes(out, json_whole(reader, response));
    return json_type(reader, response) == JSON_OBJECT && !out->failed;
}

/* ---- a whole made events ---- */

struct replaying {
    const struct json_reader *reader;
    struct arena *arena;
    const struct form_replay *replay;
    struct buf data;
    int number; /* of the event */
    bool failed;
};

static void begin_event(struct replaying *to, const char *type) {
    buf_clear(&to->data);
    buf_append_str(&to->data, "{\"type\":\"");
    buf_append_str(&to->data, type);
    buf_append_str(&to->data, "\",\"sequence_number\":");
    buf_append_i64(&to->data, to->number++);
}

static void put_place(struct replaying *to, int item, int index, int part) {
    int id = json_get(to->reader, item, "id");
    buf_append_str(&to->data, ",\"item_id\":");
    buf_append_bytes(&to->data, id >= 0 ? json_whole(to->reader, id) : BYTES_LITERAL("null"));
    buf_append_str(&to->data, ",\"output_index\":");
    buf_append_i64(&to->data, index);
    if (part >= 0) {
        buf_append_str(&to->data, ",\"content_index\":");
        buf_append_i64(&to->data, part);
    }
}

static void end_event(struct replaying *to, const char *type, struct bytes text, bool is_content) {
    buf_append_char(&to->data, '}');
    struct chat_event event = {.name = bytes_from_str(type),
                               .data = buf_bytes(&to->data),
                               .text = text,
                               .is_content = is_content,
                               .is_last = strcmp(type, "response.completed") == 0 ||
                                          strcmp(type, "response.incomplete") == 0};
    if (to->data.failed || (text.size > 0 && text.data == NULL)) {
        to->failed = true;
    } else {
        to->replay->event(to->replay->user, &event);
    }
}

/* The response as it was when it began. */
static void send_begin(struct replaying *to, const char *type) {
    static const char *const without[] = {"status", "output", "usage", NULL};
    begin_event(to, type);
    buf_append_str(&to->data, ",\"response\":{");
    form_copy_members(to->reader, 0, without, &to->data);
    buf_append_str(&to->data, ",\"status\":\"in_progress\",\"output\":[],\"usage\":null}");
    end_event(to, type, bytes_make("", 0), false);
}

static void send_item(struct replaying *to, const char *type, int item, int index, bool whole) {
    static const char *const without[] = {"status", "content", "arguments", NULL};
    begin_event(to, type);
    buf_append_str(&to->data, ",\"output_index\":");
    buf_append_i64(&to->data, index);
    buf_append_str(&to->data, ",\"item\":");
    if (whole) {
        buf_append_bytes(&to->data, json_whole(to->reader, item));
    } else {
        buf_append_char(&to->data, '{');
        form_copy_members(to->reader, item, without, &to->data);
        buf_append_str(&to->data, ",\"status\":\"in_progress\"");
        if (json_get(to->reader, item, "content") >= 0) {
            buf_append_str(&to->data, ",\"content\":[]");
        }
        if (json_get(to->reader, item, "arguments") >= 0) {
            buf_append_str(&to->data, ",\"arguments\":\"\"");
        }
        buf_append_char(&to->data, '}');
    }
    end_event(to, type, bytes_make("", 0), whole);
}

/* A string that came in deltas, and then whole. */
static void send_text(struct replaying *to, const char *delta, const char *done, const char *member,
                      int item, int index, int part, int text, bool is_text) {
    struct bytes left = json_raw(to->reader, text);
    do {
        struct bytes piece = left;
        if (is_text && to->replay->in_words) {
            piece = form_next_words(&left, to->reader->text.size);
        } else {
            left.size = 0;
        }
        begin_event(to, delta);
        put_place(to, item, index, part);
        buf_append_str(&to->data, ",\"delta\":\"");
        buf_append_bytes(&to->data, piece);
        buf_append_str(&to->data, is_text ? "\",\"logprobs\":[]" : "\"");
        end_event(to, delta, is_text ? form_unescape(piece, to->arena) : bytes_make("", 0), true);
    } while (left.size > 0 && !to->failed);
    begin_event(to, done);
    put_place(to, item, index, part);
    buf_append_str(&to->data, ",\"");
    buf_append_str(&to->data, member);
    buf_append_str(&to->data, "\":");
    buf_append_bytes(&to->data, json_whole(to->reader, text));
    buf_append_str(&to->data, is_text ? ",\"logprobs\":[]" : "");
    end_event(to, done, bytes_make("", 0), false);
}

static void send_part(struct replaying *to, int item, int index, int part, int number) {
    static const char *const without[] = {"text", "annotations", "logprobs", NULL};
    int text = json_get(to->reader, part, "text");
    bool is_text =
        is_type(to->reader, part, "output_text") && json_type(to->reader, text) == JSON_STRING;
    begin_event(to, "response.content_part.added");
    put_place(to, item, index, number);
    buf_append_str(&to->data, ",\"part\":");
    if (is_text) {
        buf_append_char(&to->data, '{');
        form_copy_members(to->reader, part, without, &to->data);
        buf_append_str(&to->data, ",\"text\":\"\",\"annotations\":[],\"logprobs\":[]}");
    } else {
        buf_append_bytes(&to->data, json_whole(to->reader, part));
    }
    end_event(to, "response.content_part.added", bytes_make("", 0), !is_text);
    if (is_text) {
        send_text(to, "response.output_text.delta", "response.output_text.done", "text", item,
                  index, number, text, true);
    }
    begin_event(to, "response.content_part.done");
    put_place(to, item, index, number);
    buf_append_str(&to->data, ",\"part\":");
    buf_append_bytes(&to->data, json_whole(to->reader, part));
    end_event(to, "response.content_part.done", bytes_make("", 0), false);
}

static void replay_item(struct replaying *to, int item, int index) {
    int content = json_get(to->reader, item, "content");
    int arguments = json_get(to->reader, item, "arguments");
    int number = 0;
    send_item(to, "response.output_item.added", item, index, false);
    if (is_type(to->reader, item, "message")) {
        for (int part = json_first(to->reader, content); part >= 0 && !to->failed;
             part = json_next(to->reader, part)) {
            send_part(to, item, index, part, number++);
        }
    }
    if (is_type(to->reader, item, "function_call") &&
        json_type(to->reader, arguments) == JSON_STRING) {
        send_text(to, "response.function_call_arguments.delta",
                  "response.function_call_arguments.done", "arguments", item, index, -1, arguments,
                  false);
    }
    send_item(to, "response.output_item.done", item, index, true);
}

static bool replay(const struct json_reader *reader, struct arena *arena,
                   const struct form_replay *how) {
    struct replaying to = {.reader = reader, .arena = arena, .replay = how};
    int output = json_get(reader, 0, "output");
    int index = 0;
    if (json_type(reader, output) != JSON_ARRAY) {
        return false;
    }
    buf_init(&to.data, 0);
    send_begin(&to, "response.created");
    send_begin(&to, "response.in_progress");
    for (int item = json_first(reader, output); item >= 0 && !to.failed;
         item = json_next(reader, item)) {
        replay_item(&to, item, index++);
    }
    const char *end =
        finish_of(reader, 0) == FINISH_STOP ? "response.completed" : "response.incomplete";
    begin_event(&to, end);
    buf_append_str(&to.data, ",\"response\":");
    buf_append_bytes(&to.data, reader->text);
    end_event(&to, end, bytes_make("", 0), false);
    buf_free(&to.data);
    return !to.failed;
}

/* ---- embeddings ---- */

static enum outcome read_embeddings(const struct json_reader *reader, struct arena *arena,
                                    struct form_reading *out) {
    int data = json_get(reader, 0, "data");
    int usage = json_get(reader, 0, "usage");
    bool bad = false;
    (void)arena;
    if (json_type(reader, data) != JSON_ARRAY || json_count(reader, data) == 0) {
        return OUTCOME_BAD_SCHEMA;
    }
    for (int item = json_first(reader, data); item >= 0; item = json_next(reader, item)) {
        if (!form_says_something(reader, json_get(reader, item, "embedding"))) {
            return OUTCOME_BAD_SCHEMA;
        }
    }
    out->finish = FINISH_STOP;
    if (json_type(reader, usage) == JSON_OBJECT) {
        out->usage.prompt_tokens = form_count(reader, usage, "prompt_tokens", -1, &bad);
        out->usage_state = bad || out->usage.prompt_tokens < 0 ? USAGE_INVALID : USAGE_KNOWN;
    }
    return OUTCOME_OK;
}

const struct form form_responses = {
    .kind = "responses",
    .path = "/responses",
    .read_answer = read_answer,
    .read_event = read_event,
    .collect = collect,
    .replay = replay,
};

const struct form form_embeddings = {
    .kind = "embeddings",
    .path = "/embeddings",
    .read_answer = read_embeddings,
};
