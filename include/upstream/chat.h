/* chat: what is asked of a model, and what comes back, in the form of the API that the client
 * speaks.
 *
 * A request keeps its own words: its body is passed on as it came wherever the provider speaks the
 * same form, and what is said here beside it is what routing, translation and money need to know of
 * it. Answers are in the form of the request whoever gave them.
 *
 * Views point into the arena of the request's flow, or into memory that it owns, and live as long
 * as it.
 */
#ifndef OPTIROUTE_UPSTREAM_CHAT_H
#define OPTIROUTE_UPSTREAM_CHAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* The APIs. upstream/form.h knows what their answers look like. */
enum chat_form {
    FORM_CHAT,        /* OpenAI: POST /v1/chat/completions; /generate is translated into it */
    FORM_COMPLETIONS, /* OpenAI: POST /v1/completions */
    FORM_EMBEDDINGS,  /* OpenAI: POST /v1/embeddings */
    FORM_RESPONSES,   /* OpenAI: POST /v1/responses */
    FORM_MESSAGES,    /* Anthropic: POST /v1/messages */
    FORM_COUNT
};

/* A stretch of the body; size 0: it is not there. */
struct chat_span {
    size_t at, size;
};

struct chat {
    enum chat_form form;
    struct bytes body;               /* one JSON object, valid, in that form */
    struct chat_span model;          /* value of `model`, quotes included */
    struct chat_span stream;         /* value of `stream` */
    struct chat_span stream_options; /* value of `stream_options`: object or null */
    struct chat_span include_usage;  /* value of its `include_usage` */
    struct chat_span limit_name;     /* key of the token limit, quotes included: when we chose it */
    struct bytes prompt;             /* decoded text of the last user message; UTF-8 */
    size_t text_size;                /* bytes of all text that the model is to read */
    size_t system_size;              /* of these, in system prompts */
    unsigned history_turns;          /* messages before the last user message, system excluded */
    bool has_tools;                  /* the request offers tools */
    int64_t max_tokens;              /* 0: not said */
    struct bytes temperature;        /* the JSON number as the client wrote it; size 0: not given */
    bool wants_stream;               /* the client wants events as they come */
    bool wants_usage;                /* OpenAI streams: it wants a last chunk with the usage */
    bool wants_text;                 /* the text is what counts (/generate) */
    struct bytes anthropic_version, anthropic_beta, openai_beta; /* header values, usually empty */
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

/* Why a model stopped. */
enum chat_finish {
    FINISH_UNKNOWN, /* it did not, or did not say */
    FINISH_STOP,
    FINISH_LENGTH, /* a limit of tokens */
    FINISH_TOOLS,  /* it wants tools to be called */
    FINISH_FILTER  /* somebody's rules */
};

/* One event of a streamed answer, in the form of the request. Views are valid during the call. */
struct chat_event {
    struct bytes name; /* of its `event` line; empty: it has none */
    struct bytes data; /* JSON */
    struct bytes text; /* decoded text that it adds to the answer: whole UTF-8 characters */
    bool is_content;   /* there is something in it that a reader sees */
    bool is_last;      /* the form's own end of a stream */
    bool is_usage;     /* OpenAI: it is there for the usage alone, for those who asked for that */
};

/* A whole answer, in the form of the request. */
struct chat_answer {
    struct bytes json;     /* a valid JSON value; empty when it came as events */
    struct chat_span text; /* FORM_CHAT: in json, the string with the text, quotes included */
    enum chat_finish finish;
    bool has_tools; /* it calls tools */
};

#endif
