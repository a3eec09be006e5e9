/* orders: what the name of a model can order, read: one field each. How an order is spelled, and
 * what its values may be, is the table in orders.c; who carries it out stands in mock.h's list of
 * files.
 */
#ifndef OPTIROUTE_TESTS_MOCK_ORDERS_H
#define OPTIROUTE_TESTS_MOCK_ORDERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum usage_form {
    USAGE_OK,
    USAGE_NONE,
    USAGE_NEGATIVE,
    USAGE_HUGE,
    USAGE_FLOAT,
    USAGE_TEXT,
    USAGE_NULL
};
enum body_form {
    BODY_OK,
    BODY_EMPTY,
    BODY_HTML,
    BODY_NOT_JSON,
    BODY_NO_SCHEMA,
    BODY_BAD_UTF8,
    BODY_NESTED,
    BODY_NULL, /* the text is null */
    BODY_PARTS /* the text is an array of parts */
};
enum framing {
    FRAMING_AUTO, /* length for a body, chunked for a stream */
    FRAMING_LENGTH,
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_BAD_CHUNK,
    FRAMING_NO_LAST,
    FRAMING_TWO_LENGTHS
};
enum head_form { HEAD_OK, HEAD_BIG, HEAD_MANY, HEAD_INFORMATIONAL, HEAD_HTTP09, HEAD_BANNER };
enum eol_form { EOL_LF, EOL_CRLF, EOL_CR };
enum stop_form { STOP_END, STOP_LENGTH, STOP_FILTER };

/* Where an answer is cut, when not behind so many bytes of its body. */
#define CUT_NONE (-1)
#define CUT_START (-2)
#define CUT_IN_HEAD (-3)
#define CUT_HEAD (-4)
#define CUT_HALF (-5) /* of the body, or of the words of a stream */

#define UNSET (-1) /* of a number that nobody ordered */

/* What happens behind the last byte. */
enum ending {
    END_KEEP, /* the connection waits for the next request */
    END_FIN,
    END_RST,
    END_HOLD /* nothing, until the client leaves */
};

/* What a model's name orders; the table in orders.c says how each is spelled. All numbers have one
 * type so that the table can fill them; texts point into the model's name. */
struct orders {
    int64_t delay_ms;          /* before the first byte */
    int64_t status;            /* 300 and above: an error in the dialect's form */
    int64_t leak;              /* the error's message repeats credentials and Host */
    struct bytes code;         /* of the error; data NULL: none */
    struct bytes retry;        /* Retry-After, or "date:SECONDS" */
    struct bytes should_retry; /* X-Should-Retry */
    struct bytes location;     /* Location */
    int64_t tokens;            /* words of the answer, and completion tokens */
    int64_t usage;             /* enum usage_form */
    int64_t prompt;            /* figures of the usage; UNSET: counted, or left out */
    int64_t cached;            /* prompt tokens read from a cache */
    int64_t reasoning;         /* completion tokens spent on thinking */
    int64_t cache_write;       /* prompt tokens written to a cache; Anthropic's alone */
    int64_t body;              /* enum body_form */
    int64_t huge_mib;          /* the text has so many mebibytes */
    struct bytes file;         /* the body is this file of the directory -d */
    struct bytes type;         /* Content-Type; "none" leaves it out */
    int64_t gzip;              /* the body is the bomb of gzip.c */
    int64_t framing;           /* enum framing */
    int64_t head;              /* enum head_form */
    int64_t cut;               /* bytes of the body, or CUT_ */
    int64_t then;              /* enum ending: what follows an answer that was ended early */
    int64_t drip_ms;           /* behind the head, a byte at a time */
    int64_t extra;             /* a second answer right behind */
    int64_t close;             /* Connection: close, and FIN */
    int64_t stale;             /* the next request on this connection gets a FIN */
    int64_t finish;            /* keep-alive is promised, and FIN follows */
    int64_t times;             /* only so many requests are answered so; 0: all */
    int64_t fault_every;       /* each so manieth request fails; 0: none */
    int64_t pace_ms;           /* between events */
    int64_t eol;               /* enum eol_form */
    int64_t split;             /* behind the head, so many bytes and a millisecond */
    int64_t comments;          /* a comment before every event */
    int64_t bom;               /* a byte order mark before the stream */
    int64_t nospace;           /* no blank after `data:` */
    int64_t multiline;         /* data on two lines */
    int64_t utf8;              /* words have characters of two to four bytes */
    int64_t kill;              /* events before the stream dies; UNSET: all */
    int64_t idle;              /* events before it falls silent */
    int64_t bad_event;         /* which event is no JSON, from 1; 0: none */
    int64_t error_event;       /* which event is an error, and the last */
    int64_t huge_event;        /* the second event is a line without an end */
    int64_t huge_at;           /* which event is one, from 1; 0: none */
    int64_t hold;              /* the stream says it is done and stays open */
    int64_t no_done;           /* it ends without saying that it is done */
    int64_t no_usage;          /* it leaves the usage out */
    int64_t null_choices;      /* of the chunk with the usage */
    int64_t tool;              /* the answer is a tool call */
    int64_t reasoning_text;    /* thinking stands before the text */
    int64_t flood;             /* bytes of events, without a pause */
    int64_t stop;              /* enum stop_form: why the answer ends where it does */
    int64_t logprobs;          /* chat: every word has them */
    int64_t stamp;             /* words are NUMBER@MICROSECONDS: which, and when (monotonic) */
};

/* The name with nothing behind it. */
extern const struct orders orders_default;
/* -1: unknown orders, or values that make no sense. The text must outlive the orders. */
int orders_read(struct bytes model, struct orders *orders);
/* What stays of them when `times` is used up: tokens and the figures of the usage. */
void orders_calm(const struct orders *orders, struct orders *calm);
/* The fault of that number, in turn, laid over the orders; `stream` asks for its form there. */
void orders_fault(struct orders *orders, uint64_t number, bool stream);

#endif
