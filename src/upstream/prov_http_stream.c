/* A streamed answer of a provider behind HTTP: from bytes to events in the form of the request.
 * Runs in workers.
 *
 * Its one surprise: a stream is over with its last event and not with the end of the exchange.
 * Servers that hold the connection after [DONE] keep nobody waiting.
 */
#include "prov_http.h"

#include "base/panic.h"
#include "translate.h"

/* Bytes of one event: the last one of a response repeats the whole answer. */
#define EVENT_MAX ((size_t)8 * 1024 * 1024)

void http_stream_begin(struct http_attempt *http) {
    http->is_stream = true;
    sse_init(&http->sse, EVENT_MAX);
}

void http_stream_release(struct http_attempt *http) {
    if (http->is_stream) {
        sse_fini(&http->sse);
    }
    if (http->compose != NULL) {
        compose_fini(http->compose);
        http->compose = NULL;
    }
}

static void on_composed(void *user, const struct chat_event *event) {
    struct http_attempt *http = user;
    http->attempt->events->event(http->attempt, event);
}

static bool need_compose(struct http_attempt *http) {
    struct attempt *attempt = http->attempt;
    if (http->compose != NULL) {
        return true;
    }
    http->compose = arena_alloc(attempt->arena, sizeof(*http->compose));
    if (http->compose == NULL) {
        return false;
    }
    *http->compose = (struct compose){.form = attempt->chat->form,
                                      .is_stream = true,
                                      .wants_usage = attempt->chat->wants_usage,
                                      .event = on_composed,
                                      .user = http,
                                      .model = bytes_from_str(attempt->model->name)};
    http->call = -1;
    compose_init(http->compose);
    return true;
}

/* In the client's form. */
static enum outcome say(struct http_attempt *http, const struct json_reader *reader,
                        struct arena *scratch) {
    if (!need_compose(http)) {
        return OUTCOME_NO_MEMORY;
    }
    enum outcome outcome =
        translate_event(http->native, reader, scratch, http->compose, &http->call);
    if (outcome == OUTCOME_OK && http->compose->failed) {
        return http->compose->arguments.failed ? OUTCOME_TOO_LARGE : OUTCOME_BAD_SCHEMA;
    }
    return outcome;
}

/* Says it to the client: as it came, or in the client's form. */
static enum outcome pass_on(struct http_attempt *http, const struct json_reader *reader,
                            struct arena *scratch, const struct sse_event *event,
                            const struct form_reading *reading) {
    struct attempt *attempt = http->attempt;
    if (http->native != attempt->chat->form) {
        return say(http, reader, scratch);
    }
    struct chat_event out = {.name = event->name,
                             .data = event->data,
                             .text = reading->text,
                             .is_content = reading->is_content,
                             .is_last = reading->is_last,
                             .is_usage =
                                 reading->is_usage_only && form_of(http->native)->ends_by_done};
    attempt->events->event(attempt, &out);
    return OUTCOME_OK;
}

static enum outcome take_event(struct http_attempt *http, const struct sse_event *event) {
    struct attempt *attempt = http->attempt;
    const struct form *form = form_of(http->native);
    struct json_reader *reader = upstream_reader(attempt->upstream);
    struct arena *scratch = upstream_scratch(attempt->upstream);
    struct form_reading reading = {.usage_state = USAGE_NONE};
    if (form->ends_by_done && bytes_start_with(event->data, BYTES_LITERAL("[DONE]"))) {
        http->is_over = true;
        return OUTCOME_OK;
    }
    enum outcome outcome = text_utf8_check(event->name) < event->name.size
                               ? OUTCOME_BAD_UTF8
                               : http_read_document(reader, event->data);
    if (outcome == OUTCOME_OK) {
        outcome = form->read_event(reader, scratch, &reading);
    }
    if (outcome == OUTCOME_OK && reading.is_error) {
        http->dialect->explain(reader, attempt);
        outcome = OUTCOME_STREAM_ERROR;
    }
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    http->has_events = true;
    http->sums.delivered += reading.delivered;
    http->sums.begun |= reading.begun;
    http->sums.ended |= reading.ended;
    http->sums.has_tools = http->sums.has_tools || reading.has_tools;
    if (reading.finish > http->sums.finish) {
        http->sums.finish = reading.finish;
    }
    http_add_usage(http, &reading);
    http->is_over = reading.is_last;
    return pass_on(http, reader, scratch, event, &reading);
}

enum outcome http_stream_feed(struct http_attempt *http, struct bytes data) {
    struct attempt *attempt = http->attempt;
    struct sse_event event;
    enum outcome outcome = OUTCOME_OK;
    enum sse_result result = SSE_MORE;
    while (!http->is_over && outcome == OUTCOME_OK &&
           (result = sse_next(&http->sse, &data, &event)) == SSE_EVENT) {
        outcome = take_event(http, &event);
    }
    if (result == SSE_TOO_LARGE || result == SSE_NO_MEMORY) {
        outcome = result == SSE_TOO_LARGE ? OUTCOME_TOO_LARGE : OUTCOME_NO_MEMORY;
    }
    if (http->is_over && outcome == OUTCOME_OK) {
        fetch_complete(http->fetch);
    }
    attempt->events->flush(attempt);
    return outcome;
}

/* The exchange ended well: is the stream over too? The last blank line may be missing, and so may
 * [DONE], when every choice has said why it ended. And was it an answer? */
static enum outcome check_end(struct http_attempt *http) {
    struct sse_event event;
    enum outcome outcome = OUTCOME_OK;
    if (!http->is_over && sse_last(&http->sse, &event)) {
        outcome = take_event(http, &event);
    }
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    bool has_ended = http->is_over ||
                     (form_of(http->native)->ends_by_done && http->sums.finish != FINISH_UNKNOWN &&
                      (http->sums.begun & ~http->sums.ended) == 0);
    if (!has_ended) {
        return OUTCOME_STREAM_TRUNCATED;
    }
    return http->has_events ? OUTCOME_OK : OUTCOME_BAD_SCHEMA;
}

static enum outcome stream_outcome(enum outcome outcome) {
    switch (outcome) {
    case OUTCOME_TRUNCATED:
    case OUTCOME_RESET:
    case OUTCOME_EMPTY_REPLY:
        return OUTCOME_STREAM_TRUNCATED;
    case OUTCOME_IDLE_TIMEOUT:
        return OUTCOME_STREAM_IDLE;
    default:
        return outcome;
    }
}

enum outcome http_stream_end(struct http_attempt *http, enum outcome outcome) {
    struct attempt *attempt = http->attempt;
    struct buf nothing;
    struct chat_span text;
    outcome = outcome == OUTCOME_OK ? check_end(http) : stream_outcome(outcome);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    http_settle_usage(http, true);
    attempt->answer =
        (struct chat_answer){.finish = http->sums.finish, .has_tools = http->sums.has_tools};
    if (http->native != attempt->chat->form) {
        buf_init(&nothing, 0);
        if (!need_compose(http) ||
            !compose_end(http->compose, http->sums.finish, &attempt->usage, &nothing, &text)) {
            return OUTCOME_BAD_SCHEMA;
        }
    }
    return OUTCOME_OK;
}
