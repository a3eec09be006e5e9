/* Chat completions, and completions of prompts: choices, each with a message, or a text, that
 * streams bring in deltas. Pure; runs in workers.
 *
 * Its one surprise: what is content is not a list of names. Anything in a delta but the role is
 * (reasoning_content, audio, whatever comes next), so that nothing new is held back or lost.
 */
#include "form_private.h"

#include <string.h>

#include "base/json_write.h"
#include "merge.h"

/* ---- reading ---- */

static enum chat_finish finish_of(const struct json_reader *reader, int choice) {
    static const struct {
        const char *word;
        enum chat_finish finish;
    } rows[] = {
        {"stop", FINISH_STOP},
        {"length", FINISH_LENGTH},
        {"tool_calls", FINISH_TOOLS},
        {"function_call", FINISH_TOOLS},
        {"content_filter", FINISH_FILTER},
    };
    int reason = json_get(reader, choice, "finish_reason");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (json_string_equals(reader, reason, bytes_from_str(rows[i].word))) {
            return rows[i].finish;
        }
    }
    /* an unknown word is an end all the same: "eos_token" of older servers */
    return form_says_something(reader, reason) ? FINISH_STOP : FINISH_UNKNOWN;
}

/* Of several choices the one that matters most to who would store the answer. */
static void add_finish(struct form_reading *out, enum chat_finish finish) {
    if (finish > out->finish) {
        out->finish = finish;
    }
}

static bool calls_tools(const struct json_reader *reader, int message) {
    return form_says_something(reader, json_get(reader, message, "tool_calls")) ||
           form_says_something(reader, json_get(reader, message, "function_call"));
}

/* `content` is a string, or an array of parts of which those with a text count; without one the
 * model's own words for no. */
static enum outcome read_content(const struct json_reader *reader, int message, int choice,
                                 struct arena *arena, struct form_reading *out) {
    int content = json_get(reader, message, "content");
    if (content < 0 || json_type(reader, content) == JSON_NULL) {
        content = json_get(reader, message, "refusal");
        if (json_type(reader, content) != JSON_STRING) {
            /* tools to call, or a model that thinks and had no tokens left: an answer, and paid */
            return calls_tools(reader, message) || out->finish != FINISH_UNKNOWN ||
                           form_says_something(reader, json_get(reader, choice, "finish_reason"))
                       ? OUTCOME_OK
                       : OUTCOME_BAD_SCHEMA;
        }
    }
    if (json_type(reader, content) != JSON_STRING) {
        return json_type(reader, content) == JSON_ARRAY && json_count(reader, content) == 0 &&
                       calls_tools(reader, message)
                   ? OUTCOME_OK
                   : form_join_texts(reader, content, arena, &out->text);
    }
    out->text = json_string(reader, content, arena);
    out->text_span = form_span(reader, content);
    return out->text.data != NULL ? OUTCOME_OK : OUTCOME_NO_MEMORY;
}

static enum outcome read_chat(const struct json_reader *reader, struct arena *arena,
                              struct form_reading *out) {
    int choices = json_get(reader, 0, "choices");
    int first = json_first(reader, choices);
    if (json_type(reader, choices) != JSON_ARRAY || first < 0) {
        return OUTCOME_BAD_SCHEMA;
    }
    for (int choice = first; choice >= 0; choice = json_next(reader, choice)) {
        int message = json_get(reader, choice, "message");
        if (json_type(reader, message) != JSON_OBJECT) {
            return OUTCOME_BAD_SCHEMA;
        }
        add_finish(out, finish_of(reader, choice));
        out->has_tools = out->has_tools || calls_tools(reader, message);
        out->delivered += form_text_size(reader, message);
    }
    form_read_openai_usage(reader, json_get(reader, 0, "usage"), out);
    return read_content(reader, json_get(reader, first, "message"), first, arena, out);
}

static enum outcome read_completions(const struct json_reader *reader, struct arena *arena,
                                     struct form_reading *out) {
    int choices = json_get(reader, 0, "choices");
    int first = json_first(reader, choices);
    if (json_type(reader, choices) != JSON_ARRAY || first < 0) {
        return OUTCOME_BAD_SCHEMA;
    }
    for (int choice = first; choice >= 0; choice = json_next(reader, choice)) {
        int text = json_get(reader, choice, "text");
        if (json_type(reader, text) != JSON_STRING) {
            return OUTCOME_BAD_SCHEMA;
        }
        add_finish(out, finish_of(reader, choice));
        out->delivered += json_raw(reader, text).size;
    }
    form_read_openai_usage(reader, json_get(reader, 0, "usage"), out);
    out->text = json_string(reader, json_get(reader, first, "text"), arena);
    return out->text.data != NULL ? OUTCOME_OK : OUTCOME_NO_MEMORY;
}

/* ---- reading events ---- */

static void read_delta(const struct json_reader *reader, int delta, struct form_reading *out) {
    for (int key = json_first(reader, delta); key >= 0; key = json_next(reader, key)) {
        int value = json_member_value(reader, key);
        if (!json_string_equals(reader, key, BYTES_LITERAL("role")) &&
            form_says_something(reader, value)) {
            out->is_content = true;
            out->delivered += form_text_size(reader, value);
        }
    }
    out->has_tools = out->has_tools || calls_tools(reader, delta);
}

/* A choice is over when it has said why. */
static void note_choice(struct form_reading *out, int64_t index, enum chat_finish finish) {
    uint64_t bit = UINT64_C(1) << (index >= 0 && index < 63 ? index : 63);
    out->begun |= bit;
    out->ended |= finish != FINISH_UNKNOWN ? bit : 0;
    add_finish(out, finish);
}

static enum outcome read_choice(const struct json_reader *reader, int choice, struct arena *arena,
                                struct form_reading *out) {
    int delta = json_get(reader, choice, "delta");
    int text = json_get(reader, choice, "text");
    int64_t index = 0;
    (void)json_int64(reader, json_get(reader, choice, "index"), &index);
    note_choice(out, index, finish_of(reader, choice));
    if (delta >= 0) {
        read_delta(reader, delta, out);
        text = json_get(reader, delta, "content");
        if (json_type(reader, text) != JSON_STRING) {
            text = json_get(reader, delta, "refusal");
        }
    } else if (form_says_something(reader, text)) {
        out->is_content = true;
        out->delivered += json_raw(reader, text).size;
    }
    if (index == 0 && json_type(reader, text) == JSON_STRING) {
        out->text = json_string(reader, text, arena);
        return out->text.data != NULL ? OUTCOME_OK : OUTCOME_NO_MEMORY;
    }
    return OUTCOME_OK;
}

/* Some servers have `choices: null` in the chunk with the usage. */
static enum outcome read_chunk(const struct json_reader *reader, struct arena *arena,
                               struct form_reading *out) {
    int choices = json_get(reader, 0, "choices");
    if (json_type(reader, 0) != JSON_OBJECT) {
        return OUTCOME_BAD_SCHEMA;
    }
    out->is_error = form_is_failure(reader, json_get(reader, 0, "error"));
    form_read_openai_usage(reader, json_get(reader, 0, "usage"), out);
    out->is_usage_only = json_count(reader, choices) == 0 && out->usage_state != USAGE_NONE;
    for (int choice = json_first(reader, choices); choice >= 0;
         choice = json_next(reader, choice)) {
        enum outcome outcome = read_choice(reader, choice, arena, out);
        if (outcome != OUTCOME_OK) {
            return outcome;
        }
    }
    return OUTCOME_OK;
}

/* ---- events made whole ---- */

static void merge_choice(struct merge *merge, struct merge_node *to,
                         const struct json_reader *reader, int choice) {
    merge_container(to, MERGE_OBJECT);
    for (int key = json_first(reader, choice); key >= 0; key = json_next(reader, key)) {
        bool is_delta = json_string_equals(reader, key, BYTES_LITERAL("delta"));
        bool is_text = json_string_equals(reader, key, BYTES_LITERAL("text"));
        struct bytes name = is_delta ? BYTES_LITERAL("message") : json_raw(reader, key);
        struct merge_node *member = merge_member(merge, to, name);
        if (member == NULL) {
            return;
        }
        if (is_delta) {
            merge_container(member, MERGE_OBJECT);
        }
        merge_value(merge, member, reader, json_member_value(reader, key),
                    is_delta || is_text ? MERGE_DELTA : MERGE_LAST);
    }
}

static void merge_choices(struct merge *merge, struct merge_node *to,
                          const struct json_reader *reader, int choices) {
    if (json_type(reader, choices) != JSON_ARRAY) {
        return;
    }
    merge_container(to, MERGE_ARRAY);
    for (int choice = json_first(reader, choices); choice >= 0;
         choice = json_next(reader, choice)) {
        int64_t index = 0;
        (void)json_int64(reader, json_get(reader, choice, "index"), &index);
        struct merge_node *element = merge_element(merge, to, index);
        if (element != NULL) {
            merge_choice(merge, element, reader, choice);
        }
    }
}

static void merge_chunk(struct merge *merge, struct merge_node *root,
                        const struct json_reader *reader) {
    for (int key = json_first(reader, 0); key >= 0; key = json_next(reader, key)) {
        int value = json_member_value(reader, key);
        if (json_string_equals(reader, key, BYTES_LITERAL("obfuscation"))) {
            continue; /* noise that pads a chunk */
        }
        struct merge_node *member = merge_member(merge, root, json_raw(reader, key));
        if (member == NULL) {
            return;
        }
        if (json_string_equals(reader, key, BYTES_LITERAL("choices"))) {
            merge_choices(merge, member, reader, value);
        } else {
            merge_value(merge, member, reader, value, MERGE_WHOLE); /* some repeat it */
        }
    }
}

/* A call without a name is a piece of one that began elsewhere: some servers do not say with each
 * piece to which call it belongs. */
static bool finish_call(struct merge_node *call) {
    struct merge_node *function = merge_find(call, "function");
    function = function != NULL ? function : merge_find(call, "custom");
    struct merge_node *name = merge_find(function, "name");
    if (name == NULL || name->kind == MERGE_NULL) {
        return false;
    }
    merge_remove(call, "index");
    return true;
}

/* What a message has and deltas may lack; what only deltas have. False: it has no end. */
static bool finish_choice(struct merge *merge, struct merge_node *choice) {
    struct merge_node *message = merge_find(choice, "message");
    struct merge_node *reason = merge_find(choice, "finish_reason");
    if (reason == NULL || reason->kind == MERGE_NULL) {
        return false;
    }
    if (message == NULL) {
        return merge_find(choice, "text") != NULL;
    }
    struct merge_node *role = merge_member(merge, message, BYTES_LITERAL("role"));
    if (role != NULL && role->kind == MERGE_NULL) {
        merge_set(role, "\"assistant\"");
    }
    (void)merge_member(merge, message, BYTES_LITERAL("content"));
    struct merge_node *calls = merge_find(message, "tool_calls");
    for (struct merge_node *call = calls != NULL ? calls->first : NULL; call != NULL;
         call = call->next) {
        if (!finish_call(call)) {
            return false;
        }
    }
    return true;
}

/* By their index, which is seldom not their order. */
static void sort_elements(struct merge_node *array) {
    struct merge_node *sorted = NULL;
    struct merge_node *node = array->first;
    while (node != NULL) {
        struct merge_node *next = node->next;
        struct merge_node **at = &sorted;
        while (*at != NULL && (*at)->index <= node->index) {
            at = &(*at)->next;
        }
        node->next = *at;
        *at = node;
        node = next;
    }
    array->first = sorted;
    array->recent = NULL;
}

static bool collect(struct json_reader *reader, struct bytes events, struct arena *arena,
                    const char *object, struct buf *out) {
    struct merge merge = {.arena = arena};
    struct json_fault fault;
    struct merge_node *root = merge_new(&merge, MERGE_OBJECT);
    while (events.size > 0 && !merge.failed) {
        if (json_read(reader, bytes_cut(&events, '\n'), &fault) == -1) {
            return false;
        }
        merge_chunk(&merge, root, reader);
    }
    struct merge_node *choices = merge_find(root, "choices");
    if (merge.failed || choices == NULL || choices->first == NULL) {
        return false;
    }
    sort_elements(choices);
    for (struct merge_node *choice = choices->first; choice != NULL; choice = choice->next) {
        if (!finish_choice(&merge, choice)) {
            return false;
        }
    }
    struct merge_node *kind = merge_member(&merge, root, BYTES_LITERAL("object"));
    if (kind != NULL) {
        merge_set(kind, object);
        merge_write(&merge, root, out);
    }
    return !merge.failed && !out->failed;
}

static bool collect_chat(struct json_reader *reader, struct bytes events, struct arena *arena,
                         struct buf *out) {
    return collect(reader, events, arena, "\"chat.completion\"", out);
}

static bool collect_completions(struct json_reader *reader, struct bytes events,
                                struct arena *arena, struct buf *out) {
    return collect(reader, events, arena, "\"text_completion\"", out);
}

/* ---- a whole made events ---- */

struct replaying {
    const struct json_reader *reader;
    struct arena *arena;
    const struct form_replay *replay;
    bool is_chat;
    struct buf base; /* what all chunks have in common, open at the end */
    struct buf data;
    bool failed;
};

static void begin_chunk(struct replaying *to) {
    buf_clear(&to->data);
    buf_append_bytes(&to->data, buf_bytes(&to->base));
    if (to->replay->wants_usage) {
        buf_append_str(&to->data, ",\"usage\":null");
    }
    buf_append_str(&to->data, ",\"choices\":[{\"index\":");
}

static void send_chunk(struct replaying *to, struct bytes text, bool is_content) {
    struct chat_event event = {
        .data = buf_bytes(&to->data), .text = text, .is_content = is_content};
    if (to->data.failed || (is_content && text.size > 0 && text.data == NULL)) {
        to->failed = true;
    } else {
        to->replay->event(to->replay->user, &event);
    }
}

static void put_index(struct replaying *to, int choice, int order) {
    int64_t index = order;
    (void)json_int64(to->reader, json_get(to->reader, choice, "index"), &index);
    buf_append_i64(&to->data, index);
}

static void put_logprobs(struct replaying *to, int choice, bool with) {
    int logprobs = json_get(to->reader, choice, "logprobs");
    buf_append_str(&to->data, ",\"logprobs\":");
    buf_append_bytes(&to->data, with && logprobs >= 0 ? json_whole(to->reader, logprobs)
                                                      : BYTES_LITERAL("null"));
}

/* Calls of tools say in a delta which they are. */
static void put_calls(struct replaying *to, int calls) {
    static const char *const none[] = {NULL};
    struct buf *out = &to->data;
    int number = 0;
    if (calls < 0) {
        return;
    }
    buf_append_str(out, ",\"tool_calls\":");
    if (json_type(to->reader, calls) != JSON_ARRAY) {
        buf_append_bytes(out, json_whole(to->reader, calls));
        return;
    }
    buf_append_char(out, '[');
    for (int call = json_first(to->reader, calls); call >= 0; call = json_next(to->reader, call)) {
        buf_append_str(out, number > 0 ? ",{\"index\":" : "{\"index\":");
        buf_append_i64(out, number++);
        form_copy_members(to->reader, call, none, out);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

static void send_role(struct replaying *to, int choice, int order, int message) {
    int role = json_get(to->reader, message, "role");
    bool has_text = json_type(to->reader, json_get(to->reader, message, "content")) == JSON_STRING;
    begin_chunk(to);
    put_index(to, choice, order);
    buf_append_str(&to->data, ",\"delta\":{\"role\":");
    buf_append_bytes(&to->data,
                     role >= 0 ? json_whole(to->reader, role) : BYTES_LITERAL("\"assistant\""));
    buf_append_str(&to->data, has_text ? ",\"content\":\"\"}" : ",\"content\":null}");
    put_logprobs(to, choice, false);
    buf_append_str(&to->data, ",\"finish_reason\":null}]}");
    send_chunk(to, bytes_make("", 0), false);
}

/* Of a content in parts, which is one piece, what they say. */
static struct bytes piece_text(struct replaying *to, int content, struct bytes escaped) {
    struct bytes text = bytes_make("", 0);
    if (json_type(to->reader, content) != JSON_ARRAY) {
        return form_unescape(escaped, to->arena);
    }
    to->failed =
        to->failed || form_join_texts(to->reader, content, to->arena, &text) == OUTCOME_NO_MEMORY;
    return text;
}

/* A piece of the text; with the first everything else that the message has, but for its calls: they
 * come with the last, as from a model. */
static void send_piece(struct replaying *to, int choice, int order, int message,
                       struct bytes escaped, bool is_first, bool is_last) {
    static const char *const without[] = {"role", "content", "tool_calls", NULL};
    int content = json_get(to->reader, message, "content");
    begin_chunk(to);
    put_index(to, choice, order);
    buf_append_str(&to->data, ",\"delta\":{\"content\":");
    if (json_type(to->reader, content) == JSON_STRING) {
        buf_append_char(&to->data, '"');
        buf_append_bytes(&to->data, escaped);
        buf_append_char(&to->data, '"');
    } else {
        buf_append_bytes(&to->data,
                         content >= 0 ? json_whole(to->reader, content) : BYTES_LITERAL("null"));
    }
    if (is_first) {
        form_copy_members(to->reader, message, without, &to->data);
    }
    if (is_last) {
        put_calls(to, json_get(to->reader, message, "tool_calls"));
    }
    buf_append_char(&to->data, '}');
    put_logprobs(to, choice, is_first);
    buf_append_str(&to->data, ",\"finish_reason\":null}]}");
    send_chunk(to, order == 0 ? piece_text(to, content, escaped) : bytes_make("", 0), true);
}

static void send_text(struct replaying *to, int choice, int order, struct bytes escaped,
                      bool is_first) {
    begin_chunk(to);
    put_index(to, choice, order);
    buf_append_str(&to->data, ",\"text\":\"");
    buf_append_bytes(&to->data, escaped);
    buf_append_char(&to->data, '"');
    put_logprobs(to, choice, is_first);
    buf_append_str(&to->data, ",\"finish_reason\":null}]}");
    send_chunk(to, form_unescape(escaped, to->arena), true);
}

/* The end of a choice, with whatever else it has. */
static void send_end(struct replaying *to, int choice, int order) {
    static const char *const without[] = {"index", "message", "text", "logprobs", NULL};
    begin_chunk(to);
    put_index(to, choice, order);
    buf_append_str(&to->data, to->is_chat ? ",\"delta\":{}" : ",\"text\":\"\"");
    put_logprobs(to, choice, false);
    form_copy_members(to->reader, choice, without, &to->data);
    buf_append_str(&to->data, "}]}");
    send_chunk(to, bytes_make("", 0), false);
}

static bool replay_choice(struct replaying *to, int choice, int order) {
    const struct json_reader *reader = to->reader;
    int message = json_get(reader, choice, "message");
    int text =
        to->is_chat ? json_get(reader, message, "content") : json_get(reader, choice, "text");
    struct bytes left =
        json_type(reader, text) == JSON_STRING ? json_raw(reader, text) : bytes_make("", 0);
    bool is_first = true;
    if (to->is_chat ? json_type(reader, message) != JSON_OBJECT
                    : json_type(reader, text) != JSON_STRING) {
        return false;
    }
    if (to->is_chat) {
        send_role(to, choice, order, message);
    }
    do {
        struct bytes piece = left;
        if (to->replay->in_words) {
            piece = form_next_words(&left, to->reader->text.size);
        } else {
            left.size = 0;
        }
        if (to->is_chat) {
            send_piece(to, choice, order, message, piece, is_first, left.size == 0);
        } else {
            send_text(to, choice, order, piece, is_first);
        }
        is_first = false;
    } while (left.size > 0 && !to->failed);
    send_end(to, choice, order);
    return !to->failed;
}

static void send_usage(struct replaying *to) {
    int usage = json_get(to->reader, 0, "usage");
    if (to->replay->wants_usage && json_type(to->reader, usage) == JSON_OBJECT) {
        buf_clear(&to->data);
        buf_append_bytes(&to->data, buf_bytes(&to->base));
        buf_append_str(&to->data, ",\"choices\":[],\"usage\":");
        buf_append_bytes(&to->data, json_whole(to->reader, usage));
        buf_append_char(&to->data, '}');
        send_chunk(to, bytes_make("", 0), false);
    }
}

static bool replay(const struct json_reader *reader, struct arena *arena,
                   const struct form_replay *how, bool is_chat) {
    static const char *const without[] = {"object", "choices", "usage", NULL};
    struct replaying to = {.reader = reader, .arena = arena, .replay = how, .is_chat = is_chat};
    int choices = json_get(reader, 0, "choices");
    int order = 0;
    if (json_count(reader, choices) == 0) {
        return false;
    }
    buf_init(&to.base, 0);
    buf_init(&to.data, 0);
    buf_append_str(&to.base, is_chat ? "{\"object\":\"chat.completion.chunk\""
                                     : "{\"object\":\"text_completion\"");
    form_copy_members(reader, 0, without, &to.base);
    to.failed = to.base.failed;
    for (int choice = json_first(reader, choices); choice >= 0 && !to.failed;
         choice = json_next(reader, choice)) {
        to.failed = !replay_choice(&to, choice, order++);
    }
    if (!to.failed) {
        send_usage(&to);
    }
    buf_free(&to.base);
    buf_free(&to.data);
    return !to.failed;
}

static bool replay_chat(const struct json_reader *reader, struct arena *arena,
                        const struct form_replay *how) {
    return replay(reader, arena, how, true);
}

static bool replay_completions(const struct json_reader *reader, struct arena *arena,
                               const struct form_replay *how) {
    return replay(reader, arena, how, false);
}

const struct form form_chat = {
    .kind = "chat",
    .path = "/chat/completions",
    .ends_by_done = true,
    .read_answer = read_chat,
    .read_event = read_chunk,
    .collect = collect_chat,
    .replay = replay_chat,
};

const struct form form_completions = {
    .kind = "completions",
    .path = "/completions",
    .ends_by_done = true,
    .read_answer = read_completions,
    .read_event = read_chunk,
    .collect = collect_completions,
    .replay = replay_completions,
};
