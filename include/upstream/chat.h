/* chat: what is asked of a model, free of any dialect: the request every endpoint is translated
 * into.
 *
 * Views point into the arena of the request's flow and live as long as it.
 */
#ifndef OPTIROUTE_UPSTREAM_CHAT_H
#define OPTIROUTE_UPSTREAM_CHAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct chat {
    struct bytes prompt;      /* decoded text of the last user message; UTF-8 */
    int64_t max_tokens;       /* at least 1 */
    struct bytes temperature; /* the JSON number as the client wrote it; size 0: not given */
    bool stream;              /* the client wants pieces as they come */
};

/* Tokens of one attempt, as the provider counts them, whatever its dialect: every part is inside
 * its whole (Anthropic reports them beside each other; its file adds them up). */
struct usage {
    int64_t prompt_tokens;         /* all that was read, cached or not */
    int64_t cached_tokens;         /* of these, read from the provider's cache */
    int64_t cache_write_tokens;    /* of these, put into its cache for 5 minutes */
    int64_t cache_write_1h_tokens; /* of these, put into its cache for an hour */
    int64_t completion_tokens;     /* all that was written */
    int64_t reasoning_tokens;      /* of these, not shown */
    bool estimated;                /* the provider did not say (all of) it: bytes / 4, rounded up */
};

/* Tokens of a text that nobody counted. */
static inline int64_t usage_estimate(size_t bytes) {
    return (int64_t)((bytes + 3) / 4);
}

#endif
