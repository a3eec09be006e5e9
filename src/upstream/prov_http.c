/* An attempt at a provider behind HTTP: encode, fetch, decode, in the provider's dialect.
 *
 * What every dialect has in common: limits, status codes, what counts as an answer, tokens where
 * the provider does not say. Runs in workers.
 */
#include "upstream_private.h"

#include "base/clock.h"
#include "base/panic.h"

#define ANSWER_MAX (8 * 1024 * 1024) /* bytes of a JSON answer */
#define ERROR_MAX (64 * 1024)        /* bytes of an error that are looked at */
#define ERROR_MS 2000                /* time that its body may take: its status has said enough */
#define REQUEST_MAX ((size_t)256 * 1024 * 1024)

/* In the attempt's arena. */
struct http_attempt {
    struct attempt *attempt;
    const struct dialect *dialect;
    struct fetch *fetch;
    struct buf request, answer;
    int64_t started_ns;
    bool is_html;
};

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

static bool is_html(struct bytes content_type) {
    static const struct bytes html = BYTES_LITERAL("text/html");
    return content_type.size >= html.size &&
           bytes_equal_nocase(bytes_make(content_type.data, html.size), html);
}

static enum outcome on_head(void *user, const struct fetch_head *head) {
    struct http_attempt *http = user;
    http->attempt->status = head->status;
    http->attempt->retry_after_ms = head->retry_after_ms;
    http->is_html = is_html(head->content_type);
    if (outcome_of_status(head->status) != OUTCOME_OK) {
        fetch_limit(http->fetch, ERROR_MS);
    }
    return head->is_encoded ? OUTCOME_BAD_ENCODING : OUTCOME_OK;
}

static enum outcome on_data(void *user, struct bytes data) {
    struct http_attempt *http = user;
    enum outcome status = outcome_of_status(http->attempt->status);
    if (status != OUTCOME_OK && http->answer.size + data.size > ERROR_MAX) {
        return status; /* it has said what matters; an endless error is not waited for */
    }
    buf_append_bytes(&http->answer, data);
    if (http->answer.failed) {
        return http->answer.size + data.size > ANSWER_MAX ? OUTCOME_TOO_LARGE : OUTCOME_NO_MEMORY;
    }
    return OUTCOME_OK;
}

/* ---- the answer, when it is there ---- */

static void estimate(struct attempt *attempt, size_t text_size) {
    struct usage *usage = &attempt->usage;
    if (usage->prompt_tokens < 0) {
        usage->prompt_tokens = usage_estimate(attempt->chat->prompt.size);
    }
    if (usage->completion_tokens < 0) {
        usage->completion_tokens = usage_estimate(text_size);
    }
    usage->estimated = true;
}

static void settle_usage(struct attempt *attempt, const struct dialect_answer *answer) {
    attempt->usage = answer->usage;
    if (answer->usage_state == USAGE_INVALID) {
        attempt->usage_invalid = true;
        attempt->usage = (struct usage){.prompt_tokens = -1, .completion_tokens = -1};
    }
    if (answer->usage_state != USAGE_KNOWN) {
        estimate(attempt, answer->text.size);
    }
}

static enum outcome read_document(struct http_attempt *http, struct json_reader *reader) {
    struct bytes answer = buf_bytes(&http->answer);
    struct json_fault fault;
    if (http->is_html) {
        return OUTCOME_BAD_CONTENT_TYPE;
    }
    if (json_read(reader, answer, &fault) == 0) {
        return OUTCOME_OK;
    }
    if (fault.no_memory) {
        return OUTCOME_NO_MEMORY;
    }
    return text_utf8_check(answer) < answer.size ? OUTCOME_BAD_UTF8 : OUTCOME_BAD_JSON;
}

/* Everything that the request held but for the attempt's own memory. */
static void release(struct http_attempt *http) {
    http->fetch = NULL;
    buf_free(&http->request);
    buf_free(&http->answer);
}

static void finish(struct http_attempt *http, enum outcome outcome) {
    struct attempt *attempt = http->attempt;
    attempt->billed_ns = timers_now_ns(attempt->timers) - http->started_ns;
    release(http);
    attempt->events->failed(attempt, outcome);
}

static void accept_answer(struct http_attempt *http) {
    struct attempt *attempt = http->attempt;
    struct json_reader *reader = upstream_reader(attempt->upstream);
    struct dialect_answer answer = {.usage_state = USAGE_INVALID};
    enum outcome outcome = read_document(http, reader);
    if (outcome == OUTCOME_OK) {
        outcome = http->dialect->decode(reader, attempt->arena, &answer);
    }
    if (outcome != OUTCOME_OK) {
        finish(http, outcome);
        return;
    }
    settle_usage(attempt, &answer);
    attempt->billed_ns = timers_now_ns(attempt->timers) - http->started_ns;
    /* the text may lie in the answer's bytes, so these go last; `done` may free the attempt */
    struct buf bytes = http->answer;
    buf_init(&http->answer, 0);
    release(http);
    attempt->events->piece(attempt, answer.text);
    attempt->events->done(attempt);
    buf_free(&bytes);
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
    if (outcome == OUTCOME_OK) {
        accept_answer(http);
        return;
    }
    explain(http);
    finish(http, outcome);
}

/* ---- public ---- */

static enum outcome compose(struct http_attempt *http, struct buf *url) {
    struct attempt *attempt = http->attempt;
    enum outcome outcome = http->dialect->address(attempt, url);
    buf_append_char(url, '\0');
    http->dialect->encode(attempt, &http->request);
    if (outcome == OUTCOME_OK && (url->failed || http->request.failed)) {
        outcome = OUTCOME_NO_MEMORY;
    }
    return outcome;
}

enum outcome prov_http_start(struct attempt *attempt) {
    struct http_attempt *http = arena_calloc(attempt->arena, 1, sizeof(*http));
    const struct dialect *dialect = provider_ops_for(attempt->provider)->dialect;
    struct fetch_site *site =
        http != NULL ? upstream_site(attempt->upstream, attempt->provider, dialect) : NULL;
    if (site == NULL) {
        return OUTCOME_NO_MEMORY;
    }
    struct buf url;
    buf_init(&url, 0);
    http->attempt = attempt;
    http->dialect = dialect;
    http->started_ns = timers_now_ns(attempt->timers);
    buf_init(&http->request, REQUEST_MAX);
    buf_init(&http->answer, ANSWER_MAX);
    attempt->state = http;
    enum outcome outcome = compose(http, &url);
    if (outcome == OUTCOME_OK) {
        struct fetch_request request = {.url = url.data,
                                        .body = buf_bytes(&http->request),
                                        .deadline_ns = attempt->deadline_ns,
                                        .events = &fetch_events,
                                        .user = http};
        outcome = fetch_start(site, &request, &http->fetch) ? OUTCOME_OK : OUTCOME_NO_MEMORY;
    }
    buf_free(&url);
    if (outcome != OUTCOME_OK) {
        release(http);
    }
    return outcome;
}

/* What was asked has been read by the provider, so it will be on its bill; nothing was delivered.
 */
void prov_http_cancel(struct attempt *attempt) {
    struct http_attempt *http = attempt->state;
    attempt->billed_ns = timers_now_ns(attempt->timers) - http->started_ns;
    attempt->stale_sends = fetch_stale_sends(http->fetch);
    attempt->usage = (struct usage){0};
    if (fetch_was_sent(http->fetch)) {
        attempt->usage.prompt_tokens = -1;
        estimate(attempt, 0);
    } else {
        attempt->billed_ns = 0;
    }
    fetch_cancel(http->fetch);
    release(http);
}
