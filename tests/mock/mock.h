/* mock: what the files of tests/mockllm share: the server, a connection, an answer.
 *
 *   main.c       command line, signals, the loop
 *   listen.c     listeners and what each mode does to a connection before any request
 *   conn.c       one connection: bytes in, bytes out, timers, its one way to be closed
 *   request.c    bytes to requests; the request's path and JSON to an answer's task
 *   orders.c     a model's name to its orders
 *   models.c     model names seen so far, and all counters
 *   answer.c     head, framing and ending of an answer: where the misbehaviour of HTTP lives
 *   body.c       which body: an answer, an error, a file, or what is none of these
 *   completion.c JSON answers of the dialects
 *   stream.c     server-sent events: pieces, pauses, and where a stream breaks
 *   events*.c    the events of the dialects, in order
 *   dialect.c    what JSON answers and events say alike: usage, tool calls, words
 *   gzip.c       64 MiB of zeros in 64 KiB
 *   admin.c      GET /counters, GET /last, POST /reset
 *
 * Bytes flow one way: request.c fills conn->answer, answer.c appends a piece of it to conn->out
 * whenever conn.c has sent all that was there. So an answer of any size needs the memory of a
 * piece, and a client that does not read stops it.
 */
#ifndef OPTIROUTE_TESTS_MOCK_MOCK_H
#define OPTIROUTE_TESTS_MOCK_MOCK_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "base/json_read.h"
#include "base/json_write.h"
#include "base/panic.h"
#include "http/http_body.h"
#include "http/transport.h"
#include "orders.h"

#define SCRATCH_SIZE 65536            /* one read */
#define BODY_MAX (64 << 20)           /* bytes of a request's body */
#define CONNECTIONS_MAX 20000         /* open at a time */
#define WAITING_INPUT_MAX (1 << 20)   /* bytes sent behind an unanswered request */
#define MODELS_MAX 16384              /* names remembered between two resets */
#define MODEL_NAME_MAX 1024           /* bytes of a name with its orders */
#define LAST_KEPT 16                  /* requests that GET /last can show */
#define LAST_BODY_MAX (8 << 20)       /* bytes of a body that it shows */
#define LAST_DIGEST_MIN SCRATCH_SIZE  /* bytes of one of which it shows the SHA-256 too */
#define LINGER_MS 2000                /* unread input is drained that long after our FIN */
#define PIECE_SIZE 16384              /* about what an answer adds to the output at a time */
#define TURN_OUTPUT (1 << 20)         /* bytes sent to one connection before others have a turn */
#define KEPT_OUTPUT 16384             /* room an idle connection may keep */
#define HUGE_EVENT_BYTES (10LL << 20) /* of `hugeevent` */

/* ---- what was asked, and the answer that is under way ---- */

enum dialect {
    DIALECT_CHAT, /* OpenAI */
    DIALECT_COMPLETIONS,
    DIALECT_EMBEDDINGS,
    DIALECT_RESPONSES,
    DIALECT_MESSAGES,  /* Anthropic */
    DIALECT_INFERENCE, /* Hugging Face, classic */
    DIALECT_MODELS     /* OpenAI's list; no model has part in it */
};

enum stage {
    STAGE_DONE, /* nothing more follows */
    STAGE_HEAD,
    STAGE_INFORMATIONAL, /* for ever */
    STAGE_EVENTS,
    STAGE_FILL, /* `fill_left` bytes of text, then what stands in `rest` */
    STAGE_TAIL  /* what the framing wants behind the body */
};

/* One name; kept until a reset finds nobody using it. */
struct model {
    struct model *next; /* of the same bucket */
    uint64_t hash;
    uint64_t seen; /* requests since the reset, for `times` and `fault_every` */
    uint64_t requests, answered, aborted, in_flight;
    bool makes_sense;     /* its orders do */
    struct orders orders; /* views into name */
    struct orders calm;
    size_t size;
    char name[];
};

struct answer {
    /* what was asked */
    enum dialect dialect;
    struct model *model;         /* NULL where none has part in it */
    const struct orders *orders; /* the model's, its calm ones, or &own */
    bool stream;
    bool include_usage;
    bool keep_alive;  /* the client would go on */
    bool old_version; /* HTTP/1.0: no chunks */
    int64_t choices;
    int64_t inputs; /* of embeddings */
    bool base64;    /* they are wanted so, as OpenAI's own clients do */
    int64_t prompt_tokens;
    uint64_t serial; /* makes its id */
    int64_t created_s;
    struct buf leak; /* credentials and Host, when ordered */

    /* how far it is */
    enum stage stage;
    enum ending ending; /* behind its last byte */
    bool counted;       /* in flight: its end has to be counted */
    uint64_t epoch;     /* resets before it began */
    bool cut_short;     /* ended early by order */
    bool chunked;       /* how its body is framed */
    size_t unhurried;   /* bytes at the front that `drip` and `split` let pass: the head */
    int64_t body_left;  /* bytes of the body before it is cut; UNSET: all */
    int64_t body_bytes; /* appended so far */
    int64_t fill_left;  /* bytes of generated text to come */
    struct buf rest;    /* what stands behind that text */
    size_t text_at;     /* where the first text of the body in mock->body begins; 0: none */
    size_t step;        /* events.c: row of the dialect's table */
    int64_t repeat;     /* how often that row was done */
    int64_t events;     /* sent so far */
    struct orders own;  /* valid when `orders` points here */
};

/* ---- a connection ---- */

enum conn_state {
    CONN_READING,   /* waits for a request or the rest of one */
    CONN_ANSWERING, /* an answer is under way, maybe waiting for its time */
    CONN_HOLDING,   /* nothing will be sent; what comes is dropped */
    CONN_LINGERING, /* our side is shut; what comes is dropped, for LINGER_MS at most */
    CONN_CLOSED     /* freed when the event's callback ends */
};

struct conn {
    struct mock *mock;
    const struct listener *listener; /* where it came in */
    struct transport transport;
    LIST_ENTRY(conn) link;
    struct event io;    /* one event for both directions */
    struct event timer; /* of the state: delay, pause, end of lingering */
    short watched;      /* EV_ flags of io; 0: not registered */
    enum conn_state state;
    bool deaf;             /* nothing is ever read */
    bool blocked;          /* the socket takes no more at the moment */
    bool read_wants_write; /* TLS: the last read waits for room to write */
    bool shaken;           /* the TLS handshake is complete */
    bool stale;            /* the next request gets a FIN */
    bool is_api;           /* counted as a connection of clients under test */
    uint64_t number;       /* of these, from 1 */
    uint64_t requests;     /* API requests on it */
    struct http_parser parser;
    struct http_body body; /* progress, when head_size is known */
    size_t head_size;      /* of the request being read; 0: its head is not complete */
    struct buf in;         /* input that waits; without memory when empty */
    struct answer answer;
    struct buf out;   /* pieces of the answer */
    size_t out_sent;  /* bytes at its start that are gone */
    int64_t pause_ms; /* once `out` is gone, before the next piece */
};

/* What was read and not taken; the request being read is at its front. */
struct window {
    char *data;
    size_t size;
};

/* ---- the server ---- */

struct counters {
    uint64_t requests, answered, aborted, errors;
    uint64_t connections, tls_handshakes, bytes_received;
    uint64_t in_flight, max_in_flight, open; /* in_flight and open outlive a reset */
};

struct last {
    struct buf head; /* as it came */
    struct buf body;
    uint64_t body_bytes;         /* of all of it */
    uint8_t digest[SHA256_SIZE]; /* of a body from LAST_DIGEST_MIN on */
    uint64_t connection, request;
};

struct mock {
    struct event_base *base;
    const char *files; /* directory of `file=`, NULL: none */
    LIST_HEAD(conn_list, conn) connections;
    unsigned open, most_open;
    struct json_reader reader; /* the request being read */
    struct arena arena;
    struct http_head head;
    char scratch[SCRATCH_SIZE];
    struct buf body;   /* a composed body or an event's JSON, for as long as nobody is called */
    struct buf text;   /* its words */
    struct buf event;  /* an event with its lines */
    uint64_t serial;   /* answers begun */
    uint64_t numbered; /* API connections; a reset does not begin again */
    struct counters counters;
    uint64_t epoch; /* resets so far */
    struct model *models[4096];
    unsigned model_count;
    struct last last[LAST_KEPT];
    struct sha256 *sha;
    uint64_t noted; /* requests put there since the reset */
};

/* listen.c */
struct listener;
/* Opens it and prints "listening on 127.0.0.1:PORT", without the end of the line. Dies with a
 * message when the mode or the port cannot be had. */
struct listener *listener_new(struct mock *mock, const char *mode, uint16_t port);
void listener_free(struct listener *listener);
/* Does the mode close TLS without saying so when an answer was ended early? */
bool listener_cuts_tls(const struct listener *listener);
/* Is the answer due as soon as the head is read? */
bool listener_is_early(const struct listener *listener);

/* conn.c */
/* Takes the descriptor; NULL without memory (it is closed then). The caller may send something
 * (conn_send) or choose another state, and ends with conn_leave. */
struct conn *conn_new(const struct listener *listener, struct mock *mock, int fd,
                      struct tls_context *tls);
/* At the end of every callback: frees what was closed, watches for what is needed. */
void conn_leave(struct conn *conn);
/* Sends what stands in conn->out and goes on with the answer as far as it goes. */
void conn_send(struct conn *conn);
void conn_wait(struct conn *conn, int64_t delay_ms);
void conn_close(struct conn *conn);
void conn_end(struct conn *conn, enum ending ending);

/* request.c */
/* Takes one request from the front of the window and begins its answer; false when it is not
 * complete. Chunks are decoded in place, so what is left of the window may be less. */
bool request_take(struct conn *conn, struct window *window);
/* %XX becomes a byte; what is no escape stays. Returns the size; out has room for text.size. */
size_t percent_decode(struct bytes text, char *out);

/* answer.c */
/* By the orders, after their delay. */
void answer_begin(struct conn *conn);
/* At once, with what stands in mock->body; `closes`: and then FIN. */
void answer_reply(struct conn *conn, int status, bool closes);
/* The dialect's error. */
void answer_refuse(struct conn *conn, int status, const char *message, bool closes);
/* Appends the next piece to conn->out; false when there is none. */
bool answer_more(struct conn *conn);
/* The answer is over, as ordered or (aborted) because the client left. Counts it once. */
void answer_over(struct conn *conn, bool aborted);
/* Appends a piece of the body, framed, as far as it is not cut. */
void answer_put(struct conn *conn, struct bytes piece);
/* Nothing more, and the end that `then` orders. */
void answer_cut(struct conn *conn);

/* body.c */
/* Composes the body into mock->body and returns its Content-Type; NULL when the file cannot be
 * read. */
const char *body_compose(struct conn *conn);
void body_error(struct buf *out, enum dialect dialect, int64_t status, struct bytes message,
                struct bytes code);

/* completion.c */
/* The dialect's answer into mock->body. */
void completion_write(struct conn *conn);
/* Parts of the Responses form that its events have too: members of a response, an output item. */
void completion_response(struct json_writer *writer, struct conn *conn, bool completed);
void completion_output_item(struct json_writer *writer, struct conn *conn);

/* stream.c */
/* Appends events until there is a pause, an end, or a piece of them. */
void stream_more(struct conn *conn);

/* events.c */
bool events_are_left(struct answer *answer);
/* The next event's data into mock->body; returns its name or NULL. Only when one is left. */
const char *events_compose(struct conn *conn);

/* dialect.c */
struct tool_call {
    const char *name;
    const char *fragments[3]; /* of its arguments, which are JSON */
};
extern const struct tool_call tool_call;
extern const char *const thoughts[3];

void put_str(struct json_writer *writer, const char *key, const char *text);
void put_int(struct json_writer *writer, const char *key, int64_t value);
/* "chatcmpl-mock-17" */
void put_id(struct json_writer *writer, const char *key, const char *prefix,
            const struct answer *answer);
void put_model(struct json_writer *writer, const struct answer *answer);
void put_figure(struct json_writer *writer, const char *key, const struct answer *answer,
                int64_t value);
/* The member "usage" in OpenAI's, Responses' and Anthropic's form; nothing when ordered so. */
void put_usage(struct json_writer *writer, const struct answer *answer);
void put_thoughts(struct json_writer *writer, const char *key);
void put_arguments(struct json_writer *writer, const char *key);
/* Of so many words from the given one. */
void put_logprobs(struct json_writer *writer, const struct orders *orders, int64_t from,
                  int64_t count);
/* The i-th word with the blank before it. */
void append_word(struct buf *out, const struct orders *orders, int64_t i);
const char *finish_reason(const struct answer *answer);

/* gzip.c */
void gzip_bomb(struct buf *out);

/* models.c */
/* The name's entry, made when it is new; NULL when there are too many or no memory. */
struct model *model_of(struct mock *mock, struct bytes name);
/* NULL when nobody asked for it yet. */
struct model *model_find(struct mock *mock, struct bytes name);
void models_free(struct mock *mock);
void count_connection(struct conn *conn);
void count_closed(struct conn *conn);
void count_request(struct conn *conn);
/* The request in flight is one of this model's. */
void count_model(struct conn *conn, struct model *model);
void count_end(struct conn *conn, bool aborted);
void counters_reset(struct mock *mock);

/* admin.c */
/* True when the request was for us, and is answered. */
bool admin_take(struct conn *conn, const struct http_head *head);
/* Remembers a request for GET /last. */
void admin_note(struct conn *conn, struct bytes head, struct bytes body);

#endif
