/* What the files form_*.c share. Nobody else includes it. */
#ifndef OPTIROUTE_SRC_UPSTREAM_FORM_PRIVATE_H
#define OPTIROUTE_SRC_UPSTREAM_FORM_PRIVATE_H

#include "upstream/form.h"

extern const struct form form_chat, form_completions, form_embeddings, form_responses,
    form_messages;

/* A token count: 0 to 10^9, an integer. Absent or null: `absent`; anything else: -1 and *bad. */
int64_t form_count(const struct json_reader *reader, int object, const char *name, int64_t absent,
                   bool *bad);
/* The `usage` of chat, completions and embeddings. */
void form_read_openai_usage(const struct json_reader *reader, int usage, struct form_reading *out);
/* The `text` members of an array of parts, one after the other; parts without one are passed over.
 * OUTCOME_BAD_SCHEMA when it is no array or no part has one. */
enum outcome form_join_texts(const struct json_reader *reader, int parts, struct arena *arena,
                             struct bytes *text);
/* A value that says something: not null, "", [] or {}. */
bool form_says_something(const struct json_reader *reader, int value);
/* Does the value stand for a failure: an object or a text that is not empty? */
bool form_is_failure(const struct json_reader *reader, int error);
/* Bytes of the strings in the value, at any depth, but for names, ids and states: what a model has
 * written. */
size_t form_text_size(const struct json_reader *reader, int value);
/* Where the value stands in the document. */
struct chat_span form_span(const struct json_reader *reader, int value);
/* Appends `,"name":value` for each member of the object but those in `without` (NULL-terminated).
 * The first comma is left out when out ends in '{'. */
void form_copy_members(const struct json_reader *reader, int object, const char *const *without,
                       struct buf *out);
/* Cuts the next words off an escaped string: one, or of a long answer (`whole` bytes) several, for
 * each is told in an event of its own that repeats what stands beside the text. Never cuts an
 * escape or a character. */
struct bytes form_next_words(struct bytes *escaped, size_t whole);

#endif
