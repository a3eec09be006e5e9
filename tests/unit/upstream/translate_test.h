/* What the tests of translation share: a request as the API hands it over, and what becomes of it.
 */
#ifndef OPTIROUTE_TESTS_TRANSLATE_TEST_H
#define OPTIROUTE_TESTS_TRANSLATE_TEST_H

#include "upstream_test.h"

#include "../../../src/upstream/translate.h"

static struct conf_provider provider;
static struct conf_model model;
static struct chat chat;
static struct attempt attempt;
static struct buf out;

static inline void translate_open(void) {
    documents_open();
    buf_init(&out, 0);
    provider = (struct conf_provider){.name = "p", .url = "http://127.0.0.1:1/v1"};
    model = (struct conf_model){.name = "its-model"};
    attempt =
        (struct attempt){.provider = &provider, .model = &model, .chat = &chat, .arena = &arena};
}

static inline void translate_close(void) {
    buf_free(&out);
    documents_close();
}

/* As src/api/api_chat.c reads it. */
static inline void ask(enum chat_form form, const char *body) {
    static const char *const limits[] = {"max_tokens", "max_completion_tokens"};
    chat = (struct chat){.form = form, .body = bytes_from_str(js(body))};
    read_bytes(chat.body);
    for (size_t i = 0; i < COUNT(limits); i++) {
        (void)json_int64(&reader, json_get(&reader, 0, limits[i]), &chat.max_tokens);
    }
    chat.wants_stream = json_type(&reader, json_get(&reader, 0, "stream")) == JSON_TRUE;
}

/* As prov_http.c sends it: the pieces, if there are several, joined in `out`. */
static inline enum outcome translate_asked(enum chat_form to) {
    struct dialect_body body = {.count = 0};
    buf_init(&body.own, 0);
    enum outcome outcome = translate_into_pieces(&attempt, to, &reader, &body);
    buf_clear(&out);
    if (body.count == 0) {
        buf_append_bytes(&out, buf_bytes(&body.own));
    }
    for (unsigned i = 0; i < body.count; i++) {
        buf_append_bytes(&out, body.pieces[i]);
    }
    buf_free(&body.own);
    return outcome;
}

static inline enum outcome translate(enum chat_form form, enum chat_form to, const char *body) {
    ask(form, body);
    attempt.refusal[0] = '\0';
    return translate_asked(to);
}

static inline void translates(enum chat_form form, enum chat_form to, const char *body,
                              const char *wanted) {
    enum outcome outcome = translate(form, to, body);
    ck_assert_msg(outcome == OUTCOME_OK, "%s: refused at %s", body, attempt.refusal);
    same_json(buf_bytes(&out), js(wanted));
}

/* A refusal names its place. */
static inline void refuses(enum chat_form form, enum chat_form to, const char *body,
                           const char *place) {
    enum outcome outcome = translate(form, to, body);
    ck_assert_msg(outcome == OUTCOME_UNTRANSLATABLE, "%s: %d", body, (int)outcome);
    ck_assert_msg(strcmp(attempt.refusal, place) == 0, "%s: \"%s\" instead of \"%s\"", body,
                  attempt.refusal, place);
}

#endif
