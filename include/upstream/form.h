/* form: the APIs that clients speak, and what their answers look like: how to read one, whole or as
 * an event of a stream, how to make one whole again from its events, and how to make events of it.
 *
 * Pure functions over JSON documents, one row per form; a file each (form_*.c). What they do not
 * know they keep: a stored answer that is asked for as a stream has all members that it had.
 *
 * Sources: the OpenAI API reference (chat, completions, embeddings, responses) and the Anthropic
 * API reference (messages, streaming messages).
 */
#ifndef OPTIROUTE_UPSTREAM_FORM_H
#define OPTIROUTE_UPSTREAM_FORM_H

#include "base/arena.h"
#include "base/json_read.h"
#include "upstream/chat.h"
#include "watch/metrics.h"

/* What is known of the tokens. */
enum usage_state {
    USAGE_NONE, /* nothing is said */
    USAGE_KNOWN,
    USAGE_PARTIAL, /* some of it is: the other counts are -1 */
    USAGE_INVALID  /* negative, too large, no integer, a part larger than its whole */
};

/* A count that may not be said. */
static inline int64_t form_known(int64_t count) {
    return count > 0 ? count : 0;
}

/* What a document says, whole answer or event. */
struct form_reading {
    struct bytes text;          /* decoded text of the answer, in the document or in the arena */
    struct chat_span text_span; /* FORM_CHAT, whole answers: the string that it is, if it is one */
    size_t delivered;           /* bytes of text, reasoning and tool calls: for estimates */
    struct usage usage;         /* as the state says; an event's parts that are not said: -1 */
    enum usage_state usage_state;
    enum chat_finish finish;
    uint64_t begun, ended; /* chunks: the choices in it, a bit each, and those that said why they
                              ended; from the 64th on all have the last bit */
    bool has_tools;
    bool is_content;    /* an event with something that a reader sees */
    bool is_last;       /* the form's own last event (not [DONE]) */
    bool is_usage_only; /* a chunk that is there for the usage and nothing else */
    bool is_ignorable;  /* a sign of life: nobody needs it */
    bool is_error;      /* the provider's word for a failure in the middle of a stream */
};

/* Called for each event in order. */
struct form_replay {
    void (*event)(void *user, const struct chat_event *event);
    void *user;
    bool wants_usage; /* OpenAI: a last chunk with the usage */
    bool in_words;    /* text in pieces of a word instead of one */
};

struct form {
    const char *kind;  /* for cache keys */
    const char *path;  /* behind an API's address */
    bool ends_by_done; /* its streams end by `data: [DONE]` */
    /* Reads the document in the reader. OUTCOME_OK, OUTCOME_BAD_SCHEMA when it is no answer,
     * OUTCOME_NO_MEMORY. */
    enum outcome (*read_answer)(const struct json_reader *reader, struct arena *arena,
                                struct form_reading *out);
    /* The same of an event. NULL: the form has no streams. */
    enum outcome (*read_event)(const struct json_reader *reader, struct arena *arena,
                               struct form_reading *out);
    /* Makes the whole answer of the events' data, each on a line of its own, the form's last one
     * included. False: they are not a complete answer, or no memory. */
    bool (*collect)(struct json_reader *reader, struct bytes events, struct arena *arena,
                    struct buf *out);
    /* Makes events of the whole answer in the reader. False: it is none, or no memory. */
    bool (*replay)(const struct json_reader *reader, struct arena *arena,
                   const struct form_replay *replay);
};

const struct form *form_of(enum chat_form form);
/* The decoded text of an escaped piece of a JSON string; data NULL without memory. */
struct bytes form_unescape(struct bytes escaped, struct arena *arena);

#endif
