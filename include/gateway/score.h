/* score: how much a prompt would gain from the strong model, from 0 to 1, by features one can read.
 *
 * A pure function over bytes: no allocation, no I/O, any bytes are welcome (the text need not be
 * UTF-8). It is not a judge of topics or safety and does not know any provider. The route's
 * threshold (0.5 unless configured) cuts it into cheap and strong. doc/routing.md has the table of
 * features, the figures and how the weights are fitted.
 *
 * Bounded work: of a long prompt only the first SCORE_HEAD_SIZE and the last SCORE_TAIL_SIZE bytes
 * are read, which is where people put their question.
 */
#ifndef OPTIROUTE_GATEWAY_SCORE_H
#define OPTIROUTE_GATEWAY_SCORE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

#define SCORE_HEAD_SIZE (16 * 1024)
#define SCORE_TAIL_SIZE (4 * 1024)
/* Room for score_reason, the NUL included. */
#define SCORE_REASON_SIZE 64

/* In the order of the table in score.c, which says how each is computed. */
enum score_feature {
    SCORE_LENGTH,
    SCORE_SENTENCES,
    SCORE_QUESTIONS,
    SCORE_CODE,
    SCORE_COMPUTING,
    SCORE_MATHS,
    SCORE_NUMBERS,
    SCORE_QUANTITIES,
    SCORE_PROPORTIONS,
    SCORE_REASONING,
    SCORE_TASK,
    SCORE_CONSTRAINTS,
    SCORE_FORMAT,
    SCORE_CONDITIONS,
    SCORE_NEGATION,
    SCORE_COMPARISON,
    SCORE_STORY,
    SCORE_PROPERTY,
    SCORE_EXPERT,
    SCORE_ETHICS,
    SCORE_LOGIC,
    SCORE_RECALL,
    SCORE_PASSAGE,
    SCORE_CHOICES,
    SCORE_LONG_WORDS,
    SCORE_LANGUAGE,
    SCORE_SYSTEM,
    SCORE_HISTORY,
    SCORE_TOOLS,
    SCORE_FEATURE_COUNT
};

struct score_input {
    struct bytes last_user; /* text of the last user message, borrowed */
    size_t system_size;     /* bytes of the system prompt */
    unsigned history_turns; /* messages before the last user message, the system prompt excluded */
    bool has_tools;         /* the request offers tools */
};

struct score_result {
    double score;                        /* 0 (send it anywhere) to 1 (the strong model pays) */
    double feature[SCORE_FEATURE_COUNT]; /* each 0..1 */
};

/* Same input, same result, in every process and after every reload. */
void score_prompt(const struct score_input *input, struct score_result *result);

/* Writes "score:0.73 maths+ reasoning+ recall-": the score cut (not rounded) to two decimals and
 * the up to three features that moved it most, strongest first, with the direction. Printable ASCII
 * without quotes, fit for a header value. */
void score_reason(const struct score_result *result, char out[SCORE_REASON_SIZE]);

/* Rows of the table; index below SCORE_FEATURE_COUNT. Names are lower-case letters and '_'. */
const char *score_feature_name(unsigned index);
double score_feature_weight(unsigned index);
/* One line for people: how the value is computed. */
const char *score_feature_help(unsigned index);

#endif
