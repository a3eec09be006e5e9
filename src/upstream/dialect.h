/* dialect: how one kind of HTTP provider wants to be asked and how it answers.
 *
 * Private to layer upstream. A dialect is pure: bytes out, a JSON document in. What is the same for
 * all of them (the connection, limits, time, status codes, streams) is in prov_http.c; what the
 * answers of an API look like in form_*.c.
 */
#ifndef OPTIROUTE_UPSTREAM_DIALECT_H
#define OPTIROUTE_UPSTREAM_DIALECT_H

#include "base/json_read.h"
#include "compose.h"
#include "upstream/form.h"
#include "upstream/provider.h"

/* A request's body in pieces: what the client wrote, and what stands between. */
#define DIALECT_PIECES 16
struct dialect_body {
    struct bytes pieces[DIALECT_PIECES]; /* views of the client's body and of `own` */
    unsigned count;
    size_t size;    /* of all */
    struct buf own; /* what we wrote; the whole body when count is 0 */
};

struct dialect {
    /* Header lines of every request to the provider, each ending in '\n'. */
    void (*fields)(const struct conf_provider *provider, struct buf *out);
    /* The same of one request, when it has some. May be NULL. */
    void (*request_fields)(const struct attempt *attempt, struct buf *out);
    /* The form in which a request of each form is asked: itself, or one that translate.h can say it
     * in. FORM_COUNT: none. FORM_COUNT too when the dialect has `encode`, an API of its own. */
    enum chat_form form[FORM_COUNT];
    /* Appends the address to ask. OUTCOME_BAD_MODEL: there is none for this model. */
    enum outcome (*address)(const struct attempt *attempt, enum chat_form form, struct buf *out);
    /* An API of its own: text for text. NULL: it speaks forms. encode appends the request's body,
     * or says OUTCOME_UNTRANSLATABLE; decode reads the document of an answer of status 2xx: text,
     * usage, finish. */
    enum outcome (*encode)(struct attempt *attempt, struct json_reader *reader, struct buf *out);
    enum outcome (*decode)(const struct json_reader *reader, struct arena *arena,
                           struct form_reading *out);
    /* Reads the document of an error: fills attempt->code, and retry_after_ms when the body has
     * one. */
    void (*explain)(const struct json_reader *reader, struct attempt *attempt);
};

/* What every HTTP provider does; its dialect is that of its row in provider.c. */
enum outcome prov_http_start(struct attempt *attempt);
void prov_http_cancel(struct attempt *attempt);
void prov_http_pause(struct attempt *attempt);
void prov_http_resume(struct attempt *attempt);

extern const struct dialect prov_openai_dialect;
extern const struct dialect prov_anthropic_dialect;
extern const struct dialect prov_huggingface_dialect;

/* -- helpers for dialects (dialect.c) */

/* Copies a string of the form [a-z][a-z0-9_]*, as error codes are; anything else is left out, so
 * that nothing of an upstream's text, no key and no host can get into an answer. */
void dialect_take_code(const struct json_reader *reader, int value, struct attempt *attempt);
/* The client's own body with the model's name in its place and what the provider must be told:
 * wants_usage asks an OpenAI stream for its usage, limit_name renames the token limit that we have
 * chosen (NULL: it stays). False: no memory. */
bool dialect_splice(const struct attempt *attempt, bool wants_usage, const char *limit_name,
                    struct dialect_body *body);
/* The next piece of the body, unless it is empty. */
void dialect_add_piece(struct dialect_body *body, struct bytes piece);
/* For `fields`: JSON both ways, and the key, when there is one, as a bearer's. */
void dialect_bearer_fields(const struct conf_provider *provider, struct buf *out);

#endif
