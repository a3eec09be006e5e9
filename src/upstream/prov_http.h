/* What prov_http.c and prov_http_stream.c share: an attempt at a provider behind HTTP. Nobody else
 * includes it. */
#ifndef OPTIROUTE_SRC_UPSTREAM_PROV_HTTP_H
#define OPTIROUTE_SRC_UPSTREAM_PROV_HTTP_H

#include "base/sse.h"
#include "base/text.h"
#include "upstream_private.h"

/* In the attempt's arena. */
struct http_attempt {
    struct attempt *attempt;
    const struct dialect *dialect;
    enum chat_form native; /* in which it is asked; FORM_COUNT: the dialect's own API */
    struct fetch *fetch;
    struct dialect_body body;
    struct buf answer; /* a whole one, or an error */
    int64_t started_ns;
    bool is_html;
    struct json_reader reader; /* of a long answer, which is read in steps */
    struct timer *step_timer;  /* NULL: it is not */
    struct form_reading sums;  /* over the events so far: usage, finish, tools, bytes delivered */
    /* streams */
    bool is_stream;
    bool is_over;    /* the last event has come */
    bool has_events; /* there was more than [DONE] */
    struct sse_parser sse;
    struct compose *compose; /* events in another form than came; NULL: the same */
    int64_t call;            /* translate_event's: the tool call that is open in it */
};

/* prov_http.c */
/* What a document adds to what is known of the tokens: later figures count. */
void http_add_usage(struct http_attempt *http, const struct form_reading *reading);
/* Fills attempt->usage, with estimates where nothing is known. is_complete: the provider has had
 * its say, so what is missing is its fault. */
void http_settle_usage(struct http_attempt *http, bool is_complete);
/* OUTCOME_OK, BAD_JSON, BAD_UTF8 or NO_MEMORY. */
enum outcome http_read_document(struct json_reader *reader, struct bytes document);

/* prov_http_stream.c */
void http_stream_begin(struct http_attempt *http);
enum outcome http_stream_feed(struct http_attempt *http, struct bytes data);
/* The exchange has ended so. OUTCOME_OK: the answer is complete, answer and usage are filled. */
enum outcome http_stream_end(struct http_attempt *http, enum outcome outcome);
void http_stream_release(struct http_attempt *http);

#endif
