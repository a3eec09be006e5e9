/* dialect: how one kind of HTTP provider wants to be asked and how it answers.
 *
 * Private to layer upstream. A dialect is pure: bytes out, a JSON document in. What is the same for
 * all of them (the connection, limits, time, status codes) is in prov_http.c.
 */
#ifndef OPTIROUTE_UPSTREAM_DIALECT_H
#define OPTIROUTE_UPSTREAM_DIALECT_H

#include "base/json_read.h"
#include "upstream/provider.h"

/* What is known of the tokens. */
enum usage_state {
    USAGE_KNOWN,
    USAGE_PARTIAL, /* the API does not tell all of it: the rest is estimated */
    USAGE_INVALID  /* missing though the API has it, negative, too large, no integer */
};

struct dialect_answer {
    struct bytes text;  /* decoded; in the document or in the arena */
    struct usage usage; /* where the state says so; -1 in a part that is not known */
    enum usage_state usage_state;
};

struct dialect {
    /* Header lines of every request to the provider, each ending in '\n'. */
    void (*fields)(const struct conf_provider *provider, struct buf *out);
    /* Appends the address to ask. OUTCOME_BAD_MODEL: there is none for this model. */
    enum outcome (*address)(const struct attempt *attempt, struct buf *out);
    /* Appends the request's body. */
    void (*encode)(const struct attempt *attempt, struct buf *out);
    /* Reads the document of an answer of status 2xx. OUTCOME_OK, OUTCOME_BAD_SCHEMA or
     * OUTCOME_NO_MEMORY. */
    enum outcome (*decode)(const struct json_reader *reader, struct arena *arena,
                           struct dialect_answer *answer);
    /* Reads the document of an error: fills attempt->code, and retry_after_ms when the body has
     * one. */
    void (*explain)(const struct json_reader *reader, struct attempt *attempt);
};

/* start and cancel of every HTTP provider; its dialect is that of its row in provider.c. */
enum outcome prov_http_start(struct attempt *attempt);
void prov_http_cancel(struct attempt *attempt);

extern const struct dialect prov_openai_dialect;
extern const struct dialect prov_anthropic_dialect;
extern const struct dialect prov_huggingface_dialect;

/* -- helpers for dialects (dialect.c) */

/* A token count: 0 to 10^9, an integer. Absent or null: `absent`; anything else: -1 and *bad. */
int64_t dialect_count(const struct json_reader *reader, int object, const char *name,
                      int64_t absent, bool *bad);
/* Copies a string of the form [a-z][a-z0-9_]*, as error codes are; anything else is left out, so
 * that nothing of an upstream's text, no key and no host can get into an answer. */
void dialect_take_code(const struct json_reader *reader, int value, struct attempt *attempt);
/* The `text` members of an array of parts, one after the other; parts without one are passed over.
 * OUTCOME_BAD_SCHEMA when it is no array or no part has one. */
enum outcome dialect_join_texts(const struct json_reader *reader, int parts, struct arena *arena,
                                struct bytes *text);
/* Members of a request: "max_tokens":N under that name and "temperature":T, each with a comma in
 * front. */
void dialect_put_limits(const struct attempt *attempt, const char *max_tokens, struct buf *out);
/* "Authorization: Bearer KEY\n", when there is a key. */
void dialect_put_bearer(const struct conf_provider *provider, struct buf *out);

#endif
