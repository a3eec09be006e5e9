/* An attempt at a provider behind HTTP: encode, fetch, decode, in the provider's form.
 *
 * What every dialect has in common: limits, status codes, what counts as an answer, tokens where
 * the provider does not say. Streams are in prov_http_stream.c. Runs in workers.
 */
#include "prov_http.h"

#include <string.h>

#include "base/clock.h"
#include "base/panic.h"
#include "translate.h"

#define ANSWER_MAX ((size_t)8 * 1024 * 1024)      /* bytes of a JSON answer */
#define EMBEDDINGS_MAX ((size_t)64 * 1024 * 1024) /* of one full of numbers */
#define ERROR_MAX (64 * 1024)                     /* bytes of an error that are looked at */
#define ERROR_MS 2000 /* time that its body may take: its status has said enough */
#define LONG_ANSWER ((size_t)256 * 1024) /* bytes; past it an answer is read in steps */
#define STEP_BYTES ((size_t)128 * 1024)  /* of each */
#define JOIN_MAX ((size_t)64 * 1024)     /* a body up to this is made one piece */

static enum outcome on_head(void *user, const struct fetch_head *head);
static enum outcome on_data(void *user, struct bytes data);
static void on_end(void *user, enum outcome outcome);

static const struct fetch_events fetch_events = {on_head, on_data, on_end};

/* ---- the answer, as it comes ---- */

static enum outcome outcome_of_status(int status) {
    if (status < 300) {
        return OUTCOME_OK;
    }
    if (status < 400) {
        return OUTCOME_REDIRECT;
    }
    switch (status) {
    case 401:
    case 402: /* our account has no credit: nothing that the client could change */
    case 403:
        return OUTCOME_AUTH;
    case 408:
        return OUTCOME_HTTP_408;
    case 429:
        return OUTCOME_RATE_LIMITED;
    default:
        return status < 500 ? OUTCOME_REJECTED : OUTCOME_HTTP_5XX;
    }
}

static bool has_type(struct bytes content_type, const char *type) {
    struct bytes wanted = bytes_from_str(type);
    return content_type.size >= wanted.size &&
           bytes_equal_nocase(bytes_make(content_type.data, wanted.size), wanted);
}

static enum outcome on_head(void *user, const struct fetch_head *head) {
    struct http_attempt *http = user;
    http->attempt->status = head->status;
    http->attempt->retry_after_ms = head->retry_after_ms;
    http->attempt->should_retry = head->should_retry;
    http->is_html = has_type(head->content_type, "text/html");
    if (head->is_encoded) {
        return OUTCOME_BAD_ENCODING;
    }
    if (outcome_of_status(head->status) != OUTCOME_OK) {
        fetch_limit(http->fetch, ERROR_MS);
    } else if (has_type(head->content_type, "text/event-stream")) {
        if (!http->attempt->chat->wants_stream || http->native == FORM_COUNT) {
            return OUTCOME_BAD_CONTENT_TYPE;
        }
        http_stream_begin(http);
    }
    return OUTCOME_OK;
}

static enum outcome on_data(void *user, struct bytes data) {
    struct http_attempt *http = user;
    enum outcome status = outcome_of_status(http->attempt->status);
    if (http->is_stream) {
        return http_stream_feed(http, data);
    }
    if (status != OUTCOME_OK && http->answer.size + data.size > ERROR_MAX) {
        return status; /* it has said what matters; an endless error is not waited for */
    }
    buf_append_bytes(&http->answer, data);
    if (http->answer.failed) {
        return http->answer.size + data.size > http->answer.limit ? OUTCOME_TOO_LARGE
                                                                  : OUTCOME_NO_MEMORY;
    }
    return OUTCOME_OK;
}

/* ---- tokens ---- */

/* What was read, part by part: a part that is not said again is as it was. */
static void add_prompt(struct usage *to, const struct usage *from) {
    const struct usage *said = from->prompt_tokens >= 0 ? from : to;
    int64_t plain = said->prompt_tokens - form_known(said->cached_tokens) -
                    form_known(said->cache_write_tokens) - form_known(said->cache_write_1h_tokens);
    if (said->prompt_tokens < 0) {
        return;
    }
    int64_t written = to->cache_write_tokens + to->cache_write_1h_tokens;
    if (from->cached_tokens >= 0) {
        to->cached_tokens = from->cached_tokens;
    }
    if (from->cache_write_tokens >= 0) {
        written = from->cache_write_tokens + form_known(from->cache_write_1h_tokens);
    }
    if (from->cache_write_1h_tokens >= 0) {
        to->cache_write_1h_tokens = from->cache_write_1h_tokens;
    }
    if (to->cache_write_1h_tokens > written) {
        to->cache_write_1h_tokens = written;
    }
    to->cache_write_tokens = written - to->cache_write_1h_tokens;
    to->prompt_tokens = plain + to->cached_tokens + written;
}

void http_add_usage(struct http_attempt *http, const struct form_reading *reading) {
    struct usage *to = &http->sums.usage;
    const struct usage *from = &reading->usage;
    if (reading->usage_state == USAGE_NONE) {
        return;
    }
    if (reading->usage_state == USAGE_INVALID) {
        http->sums.usage_state = USAGE_INVALID;
        return;
    }
    add_prompt(to, from);
    if (from->completion_tokens >= 0) {
        to->completion_tokens = from->completion_tokens;
        to->reasoning_tokens = from->reasoning_tokens;
    }
    if (http->sums.usage_state != USAGE_INVALID || reading->usage_state == USAGE_KNOWN) {
        http->sums.usage_state =
            to->prompt_tokens >= 0 && to->completion_tokens >= 0 ? USAGE_KNOWN : USAGE_PARTIAL;
    }
}

void http_settle_usage(struct http_attempt *http, bool is_complete) {
    struct attempt *attempt = http->attempt;
    struct usage *usage = &attempt->usage;
    bool is_invalid = http->sums.usage_state == USAGE_INVALID ||
                      (is_complete && http->sums.usage_state == USAGE_NONE);
    *usage = http->sums.usage;
    if (is_invalid) {
        *usage = (struct usage){.prompt_tokens = -1, .completion_tokens = -1};
    }
    attempt->usage_invalid = is_invalid && is_complete;
    if (usage->prompt_tokens < 0) {
        usage->prompt_tokens = usage_estimate(attempt->chat->text_size);
        usage->estimated = true;
    }
    if (usage->completion_tokens < 0) {
        usage->completion_tokens = usage_estimate(http->sums.delivered);
        usage->estimated = true;
    }
}

/* ---- the answer, when it is there ---- */

static enum outcome outcome_of_fault(const struct json_fault *fault, struct bytes document) {
    if (fault->no_memory) {
        return OUTCOME_NO_MEMORY;
    }
    return text_utf8_check(document) < document.size ? OUTCOME_BAD_UTF8 : OUTCOME_BAD_JSON;
}

enum outcome http_read_document(struct json_reader *reader, struct bytes document) {
    struct json_fault fault;
    return json_read(reader, document, &fault) == 0 ? OUTCOME_OK
                                                    : outcome_of_fault(&fault, document);
}

/* Everything that the request held but for the attempt's own memory. */
static void release(struct http_attempt *http) {
    http->fetch = NULL;
    buf_free(&http->body.own);
    buf_free(&http->answer);
    http_stream_release(http);
}

static void finish(struct http_attempt *http, enum outcome outcome) {
    struct attempt *attempt = http->attempt;
    attempt->billed_ns = timers_now_ns(attempt->timers) - http->started_ns;
    http_settle_usage(http, false);
    release(http);
    attempt->events->failed(attempt, outcome);
}

/* A whole answer in the form that was asked: as it is. In another one, or a text: made anew. */
static enum outcome compose_whole(struct http_attempt *http, const struct json_reader *reader,
                                  const struct form_reading *reading, struct buf *out) {
    struct attempt *attempt = http->attempt;
    struct compose compose = {.form = attempt->chat->form,
                              .model = bytes_from_str(attempt->model->name)};
    enum outcome outcome = OUTCOME_OK;
    compose_init(&compose);
    if (http->native == FORM_COUNT) {
        compose_text(&compose, reading->text);
    } else {
        outcome = translate_answer(http->native, reader, attempt->arena, &compose);
    }
    if (outcome == OUTCOME_OK &&
        !compose_end(&compose, reading->finish, &attempt->usage, out, &attempt->answer.text)) {
        outcome = out->failed ? OUTCOME_NO_MEMORY : OUTCOME_BAD_SCHEMA;
    }
    compose_fini(&compose);
    return outcome;
}

static enum outcome read_whole(struct http_attempt *http, struct json_reader *reader,
                               struct form_reading *reading) {
    struct attempt *attempt = http->attempt;
    return http->native == FORM_COUNT
               ? http->dialect->decode(reader, attempt->arena, reading)
               : form_of(http->native)->read_answer(reader, attempt->arena, reading);
}

static void note_usage(struct http_attempt *http, const struct form_reading *reading) {
    http->sums.delivered = reading->delivered;
    http_add_usage(http, reading);
    http_settle_usage(http, true);
}

/* The document is in the reader, if outcome says so. */
static void accept_whole(struct http_attempt *http, struct json_reader *reader,
                         enum outcome outcome) {
    struct attempt *attempt = http->attempt;
    struct form_reading reading = {.usage_state = USAGE_NONE};
    struct buf made;
    buf_init(&made, 0);
    if (outcome == OUTCOME_OK) {
        outcome = read_whole(http, reader, &reading);
    }
    if (outcome == OUTCOME_OK) {
        note_usage(http, &reading);
        attempt->answer = (struct chat_answer){.json = buf_bytes(&http->answer),
                                               .text = reading.text_span,
                                               .finish = reading.finish,
                                               .has_tools = reading.has_tools};
        bool needs_text = attempt->chat->wants_text && reading.text_span.size == 0;
        if (http->native != attempt->chat->form || needs_text) {
            outcome = compose_whole(http, reader, &reading, &made);
            attempt->answer.json = buf_bytes(&made);
        }
    }
    if (outcome != OUTCOME_OK) {
        buf_free(&made);
        finish(http, outcome);
        return;
    }
    attempt->billed_ns = timers_now_ns(attempt->timers) - http->started_ns;
    /* the answer lies in these bytes, so they go last; `done` may free the attempt */
    struct buf bytes = http->answer;
    buf_init(&http->answer, 0);
    release(http);
    attempt->events->done(attempt);
    buf_free(&bytes);
    buf_free(&made);
}

/* ---- a long answer, in steps ---- */

static void on_step(void *argument);

static bool arm(struct http_attempt *http) {
    http->step_timer = timers_after(http->attempt->timers, 0, on_step, http);
    return http->step_timer != NULL;
}

static void end_steps(struct http_attempt *http, enum outcome outcome) {
    struct json_reader reader = http->reader; /* `done` may free the attempt */
    accept_whole(http, &reader, outcome);
    json_reader_fini(&reader);
}

static void on_step(void *argument) {
    struct http_attempt *http = argument;
    struct json_fault fault;
    http->step_timer = NULL;
    switch (json_read_step(&http->reader, STEP_BYTES, &fault)) {
    case JSON_MORE:
        if (!arm(http)) {
            end_steps(http, OUTCOME_NO_MEMORY);
        }
        break;
    case JSON_DONE:
        end_steps(http, OUTCOME_OK);
        break;
    case JSON_WRONG:
        end_steps(http, outcome_of_fault(&fault, buf_bytes(&http->answer)));
        break;
    }
}

static void begin_steps(struct http_attempt *http) {
    struct json_fault fault;
    http->fetch = NULL; /* it has ended */
    json_reader_init(&http->reader);
    if (json_read_begin(&http->reader, buf_bytes(&http->answer), &fault) == -1 || !arm(http)) {
        end_steps(http, OUTCOME_NO_MEMORY);
    }
}

/* Nobody waits for it any more, but it is paid for: what it says of the tokens counts. */
static void stop_steps(struct http_attempt *http) {
    struct form_reading reading = {.usage_state = USAGE_NONE};
    struct json_fault fault;
    enum json_progress progress = JSON_MORE;
    timers_cancel(http->attempt->timers, http->step_timer);
    http->step_timer = NULL;
    while (progress == JSON_MORE) {
        progress = json_read_step(&http->reader, STEP_BYTES, &fault);
    }
    if (progress == JSON_DONE && read_whole(http, &http->reader, &reading) == OUTCOME_OK) {
        note_usage(http, &reading);
    } else {
        http_settle_usage(http, false);
    }
    json_reader_fini(&http->reader);
}

static void take_whole(struct http_attempt *http) {
    struct json_reader *reader = upstream_reader(http->attempt->upstream);
    if (http->is_html) {
        finish(http, OUTCOME_BAD_CONTENT_TYPE);
    } else if (http->answer.size > LONG_ANSWER) {
        begin_steps(http);
    } else {
        accept_whole(http, reader, http_read_document(reader, buf_bytes(&http->answer)));
    }
}

static void explain(struct http_attempt *http) {
    struct json_reader *reader = upstream_reader(http->attempt->upstream);
    struct json_fault fault;
    if (http->answer.size > 0 && json_read(reader, buf_bytes(&http->answer), &fault) == 0) {
        http->dialect->explain(reader, http->attempt);
    }
}

static void on_end(void *user, enum outcome outcome) {
    struct http_attempt *http = user;
    struct attempt *attempt = http->attempt;
    attempt->stale_sends = fetch_stale_sends(http->fetch);
    /* an error's status says more than how its body ended */
    if (attempt->status >= 300) {
        outcome = outcome_of_status(attempt->status);
    }
    if (http->is_stream) {
        outcome = http_stream_end(http, outcome);
        if (outcome == OUTCOME_OK) {
            attempt->billed_ns = timers_now_ns(attempt->timers) - http->started_ns;
            release(http);
            attempt->events->done(attempt);
            return;
        }
    } else if (outcome == OUTCOME_OK) {
        take_whole(http);
        return;
    } else {
        explain(http);
    }
    finish(http, outcome);
}

/* ---- the request ---- */

static enum outcome compose_body(struct http_attempt *http) {
    struct attempt *attempt = http->attempt;
    const struct chat *chat = attempt->chat;
    struct json_reader *reader = upstream_reader(attempt->upstream);
    struct dialect_body *body = &http->body;
    if (http->native == FORM_COUNT) {
        return http->dialect->encode(attempt, reader, &body->own);
    }
    if (http->native != chat->form) {
        return translate_into_pieces(attempt, http->native, reader, body);
    }
    bool is_openai = form_of(chat->form)->ends_by_done;
    const char *limit =
        translate_is_openai_itself(attempt->provider) ? "max_completion_tokens" : NULL;
    return dialect_splice(attempt, is_openai && chat->wants_stream, limit, body)
               ? OUTCOME_OK
               : OUTCOME_NO_MEMORY;
}

/* One piece, when it is made by us or small. */
static bool join_body(struct dialect_body *body) {
    if (body->count == 0) {
        body->pieces[body->count++] = buf_bytes(&body->own);
    } else if (body->size <= JOIN_MAX) {
        struct buf joined;
        buf_init(&joined, 0);
        for (unsigned i = 0; i < body->count; i++) {
            buf_append_bytes(&joined, body->pieces[i]);
        }
        buf_free(&body->own);
        body->own = joined;
        body->pieces[0] = buf_bytes(&joined);
        body->count = 1;
    }
    return !body->own.failed;
}

static enum outcome compose(struct http_attempt *http, struct buf *url, struct buf *fields) {
    struct attempt *attempt = http->attempt;
    enum outcome outcome = http->dialect->address(attempt, http->native, url);
    buf_append_char(url, '\0');
    if (http->dialect->request_fields != NULL) {
        http->dialect->request_fields(attempt, fields);
    }
    if (outcome == OUTCOME_OK) {
        outcome = compose_body(http);
    }
    if (outcome == OUTCOME_OK && (!join_body(&http->body) || url->failed || fields->failed)) {
        outcome = OUTCOME_NO_MEMORY;
    }
    return outcome;
}

static enum outcome send_request(struct http_attempt *http, struct fetch_site *site) {
    struct attempt *attempt = http->attempt;
    struct buf url, fields;
    buf_init(&url, 0);
    buf_init(&fields, 0);
    enum outcome outcome = compose(http, &url, &fields);
    if (outcome == OUTCOME_OK) {
        struct fetch_request request = {.url = url.data,
                                        .fields = buf_bytes(&fields),
                                        .pieces = http->body.pieces,
                                        .piece_count = http->body.count,
                                        .deadline_ns = attempt->deadline_ns,
                                        .events = &fetch_events,
                                        .user = http};
        outcome = fetch_start(site, &request, &http->fetch) ? OUTCOME_OK : OUTCOME_NO_MEMORY;
    }
    buf_free(&url);
    buf_free(&fields);
    return outcome;
}

/* ---- public ---- */

enum outcome prov_http_start(struct attempt *attempt) {
    struct http_attempt *http = arena_calloc(attempt->arena, 1, sizeof(*http));
    if (http == NULL) {
        return OUTCOME_NO_MEMORY;
    }
    http->attempt = attempt;
    http->dialect = provider_ops_for(attempt->provider)->dialect;
    http->started_ns = timers_now_ns(attempt->timers);
    http->sums.usage = (struct usage){.prompt_tokens = -1, .completion_tokens = -1};
    attempt->state = http;
    http->native = http->dialect->form[attempt->chat->form];
    if (!provider_serves(attempt->provider, attempt->chat->form)) {
        return OUTCOME_UNTRANSLATABLE;
    }
    struct fetch_site *site = upstream_site(attempt->upstream, attempt->provider, http->dialect);
    if (site == NULL) {
        return OUTCOME_NO_MEMORY;
    }
    buf_init(&http->body.own, 0);
    buf_init(&http->answer, http->native == FORM_EMBEDDINGS ? EMBEDDINGS_MAX : ANSWER_MAX);
    enum outcome outcome = send_request(http, site);
    if (outcome != OUTCOME_OK) {
        release(http);
    }
    return outcome;
}

/* What was asked has been read by the provider, so it will be on its bill, and so will what was
 * delivered. */
void prov_http_cancel(struct attempt *attempt) {
    struct http_attempt *http = attempt->state;
    attempt->billed_ns = timers_now_ns(attempt->timers) - http->started_ns;
    if (http->step_timer != NULL) {
        stop_steps(http);
        release(http);
        return;
    }
    attempt->stale_sends = fetch_stale_sends(http->fetch);
    if (fetch_was_sent(http->fetch)) {
        http_settle_usage(http, false);
    } else {
        attempt->usage = (struct usage){0};
        attempt->billed_ns = 0;
    }
    fetch_cancel(http->fetch);
    release(http);
}

void prov_http_pause(struct attempt *attempt) {
    struct http_attempt *http = attempt->state;
    fetch_pause(http->fetch);
}

void prov_http_resume(struct attempt *attempt) {
    struct http_attempt *http = attempt->state;
    fetch_resume(http->fetch);
}
