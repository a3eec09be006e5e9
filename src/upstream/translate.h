/* translate: a request of one form said in another, for a provider that does not speak the
 * client's; and what the provider answers, read piece by piece. Private to layer upstream.
 *
 * What cannot be said is refused, with the place that it stands at: never a silent loss. What is no
 * part of the question (ids of users, hints for caches and bills) may go.
 *
 *     FORM_CHAT, FORM_COMPLETIONS -> FORM_MESSAGES      translate_to_messages.c
 *     FORM_MESSAGES               -> FORM_CHAT          translate_to_chat.c
 */
#ifndef OPTIROUTE_SRC_UPSTREAM_TRANSLATE_H
#define OPTIROUTE_SRC_UPSTREAM_TRANSLATE_H

#include "base/json_read.h"
#include "compose.h"
#include "dialect.h"
#include "upstream/form.h"
#include "upstream/provider.h"

/* What stays where it is in the client's body instead of being copied into `out`. */
#define TRANSLATE_PASTES ((DIALECT_PIECES - 1) / 2)
struct translate_paste {
    size_t at; /* in out, where it belongs */
    struct bytes bytes;
};

struct translator {
    struct attempt *attempt;
    const struct json_reader *reader;
    struct arena *arena;
    struct buf *out;
    enum outcome outcome; /* OUTCOME_OK until something cannot be said */
    bool may_paste;       /* out is going to be sent in pieces */
    struct translate_paste pastes[TRANSLATE_PASTES];
    unsigned paste_count;
};

/* Writes the request in the other form, one of the ways above, into body->own; large images stay in
 * the client's own body. OUTCOME_UNTRANSLATABLE: attempt->refusal says what; OUTCOME_NO_MEMORY. */
enum outcome translate_into_pieces(struct attempt *attempt, enum chat_form to,
                                   struct json_reader *reader, struct dialect_body *body);

/* Reads the request for a translator. OUTCOME_NO_MEMORY when that fails. */
enum outcome translate_begin(struct translator *to, struct attempt *attempt,
                             struct json_reader *reader, struct buf *out);

/* Says a whole answer of the form, which is in the reader, to compose. */
enum outcome translate_answer(enum chat_form from, const struct json_reader *reader,
                              struct arena *arena, struct compose *compose);
/* The same of an event of a stream. *call: what it remembers of the one that is open, -1 before the
 * first event. */
enum outcome translate_event(enum chat_form from, const struct json_reader *reader,
                             struct arena *arena, struct compose *compose, int64_t *call);

/* -- what the two directions share (translate.c) */

/* A member of a request, and what becomes of it. */
enum translate_rule {
    RULE_OWN,    /* somebody else takes care of it */
    RULE_DROP,   /* no part of the question */
    RULE_COPY,   /* has the same meaning there, under the name `as` */
    RULE_REFUSE, /* only null can be said */
    RULE_FALSE,  /* only false, 0, [] and {} can be */
    RULE_ONE     /* only 1 */
};
struct translate_row {
    const char *name;
    enum translate_rule rule;
    const char *as; /* COPY; NULL: the same name */
};

/* Appends the copied members of the object, each with a comma in front; refuses what must be, and
 * what is not in the table. `path` stands before a member's name in a refusal. */
void translate_members(struct translator *to, int object, const struct translate_row *rows,
                       size_t count, const char *path);
/* The same with all rows of an array. */
#define TRANSLATE_MEMBERS(to, object, rows, path) \
    translate_members(to, object, rows, sizeof(rows) / sizeof((rows)[0]), path)
/* The first refusal counts. */
void translate_refuse(struct translator *to, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Decoded; "" (and no memory noted) when it cannot be had, or is no string. */
struct bytes translate_text(struct translator *to, int string);
bool translate_is(const struct translator *to, int string, const char *text);
/* Is this the object's `type`? */
bool translate_is_type(const struct json_reader *reader, int object, const char *type);
/* A member that is there and not null, or -1. */
int translate_get(const struct translator *to, int object, const char *name);
/* Appends ,"name": or ,"name":value; no comma behind a bracket. */
void translate_key(struct translator *to, const char *name);
void translate_put(struct translator *to, const char *name, int value);
/* Appends the inside of a JSON string, which may be large: escaped if it is not as the client wrote
 * it. */
void translate_paste(struct translator *to, struct bytes text);
/* The comma between two items, when one stands before. */
void translate_comma(struct translator *to);
/* Is it one of the efforts that both APIs know by the same word? */
bool translate_is_effort(const struct translator *to, int string);
/* Does the provider call the limit max_completion_tokens? */
bool translate_is_openai_itself(const struct conf_provider *provider);

void translate_chat_to_messages(struct translator *to);
/* Of these: the members `system` and `messages` (translate_turns.c). */
void translate_put_turns(struct translator *to);
void translate_messages_to_chat(struct translator *to);

#endif
