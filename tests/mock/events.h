/* events: what the event tables of the dialects share: a row, how often it is done, its words.
 *
 * A stream is a walk through its dialect's table; each row makes as many events as its count says
 * at that moment. The table ends with a row without a count.
 */
#ifndef OPTIROUTE_TESTS_MOCK_EVENTS_H
#define OPTIROUTE_TESTS_MOCK_EVENTS_H

#include "mock.h"

struct step {
    const char *name; /* of the event; NULL: it has none */
    int64_t (*count)(const struct answer *answer);
    /* The members of the event's object; i counts from 0. */
    void (*write)(struct json_writer *writer, struct conn *conn, int64_t i);
    const char *raw; /* data that is no JSON; then write is NULL */
};

/* events_openai.c */
extern const struct step chat_steps[];
extern const struct step completions_steps[];
/* events_named.c */
extern const struct step responses_steps[];
extern const struct step messages_steps[];

/* events.c; where a stream has one choice, these are counts of it all */
int64_t count_per_choice(const struct answer *answer);
int64_t count_words(const struct answer *answer);
int64_t count_thought_pieces(const struct answer *answer);
int64_t count_fragments(const struct answer *answer);
int64_t count_unless_no_done(const struct answer *answer);
/* The i-th word as a member. */
void put_word(struct json_writer *writer, struct conn *conn, const char *key, int64_t i);

#endif
