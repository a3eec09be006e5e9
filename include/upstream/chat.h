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

/* Tokens of one attempt, as the provider counts them. */
struct usage {
    int64_t prompt_tokens;
    int64_t completion_tokens;
    bool estimated; /* the provider said nothing usable: bytes / 4, rounded up */
};

#endif
