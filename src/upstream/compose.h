/* compose: an answer in the client's form out of what a provider of another kind says: pieces of
 * text, of thoughts, calls of tools, and why it ended. Private to layer upstream.
 *
 * As events, or as one whole at the end. For FORM_CHAT, FORM_COMPLETIONS and FORM_MESSAGES; a form
 * that cannot say something (thoughts and tools in a completion) leaves it out.
 */
#ifndef OPTIROUTE_SRC_UPSTREAM_COMPOSE_H
#define OPTIROUTE_SRC_UPSTREAM_COMPOSE_H

#include "upstream/chat.h"

#define COMPOSE_ID_SIZE 48

struct compose {
    enum chat_form form;
    bool is_stream;
    bool wants_usage;                                          /* OpenAI streams */
    void (*event)(void *user, const struct chat_event *event); /* streams only */
    void *user;
    struct bytes model; /* as the answer names it; outlives it */
    /* the rest is private */
    char id[COMPOSE_ID_SIZE];
    int64_t created_s;
    bool has_begun, failed;
    unsigned open;              /* kind of the block that is open in FORM_MESSAGES: see compose.c */
    int blocks;                 /* so far */
    int calls;                  /* of tools, so far */
    struct buf data;            /* event under construction; whole answers: their text, escaped */
    struct buf thoughts, parts; /* whole answers: thoughts, escaped; calls, or blocks, as JSON */
    struct buf arguments;       /* of the call that is open, for the check at its end */
    bool has_text;
    bool has_arguments; /* the last call */
    bool is_cut;        /* the answer has ended by its limit of tokens */
};

/* form, is_stream, wants_usage, event, user and model are set by the caller, the rest is zero. */
void compose_init(struct compose *compose);
void compose_fini(struct compose *compose);
/* Decoded text, whole characters. */
void compose_text(struct compose *compose, struct bytes text);
void compose_thought(struct compose *compose, struct bytes text);
/* A call of a tool begins; its arguments follow, as pieces of a JSON text. */
void compose_call(struct compose *compose, struct bytes id, struct bytes name);
void compose_arguments(struct compose *compose, struct bytes text);
/* The end: the last events, or the whole answer in out, where *text tells of FORM_CHAT's text.
 * False: no memory, or arguments that are no JSON object and were not cut by a limit of tokens. */
bool compose_end(struct compose *compose, enum chat_finish finish, const struct usage *usage,
                 struct buf *out, struct chat_span *text);

#endif
