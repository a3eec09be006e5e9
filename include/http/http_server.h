/* http_server: connections of one process: read, parse, hand over whole requests, write answers,
 * time out.
 *
 * One request is in flight per connection; pipelined requests wait unread. A request is handed over
 * when its body is complete; a handler may answer at once (the usual case: no allocation, one read
 * and one write) or later. Faults that HTTP itself finds go to the fault handler, which answers
 * them like any request, after which the connection lingers (at most 2 s or 64 MiB) and
 * closes.
 * Runs in workers and in the metrics worker. It knows no models and no money.
 *
 * A client that closes, resets, or shuts its writing side before the answer counts as gone (a close
 * and a half-close look the same from here); once the answer is complete, it may shut its side
 * and still read.
 *
 *   accepted -> [TLS] -> HEAD -> BODY -> HANDLING -> REPLYING -> (keep-alive) HEAD ...
 *                          \______\_______\___________\____ LINGER -> closed
 *
 * Who is above a limit of the process's owner (http_place) is heard all the same, for a moment: its
 * head is read and the handler says whether that request is answered even now (`admits`); any other
 * is refused by `fault` with 503, and who says nothing for above_ms gets `busy_answer`. One answer,
 * then it lingers and closes. At most max_above are held: one more pushes out the oldest, so that
 * nobody keeps others out by holding connections (doc/decisions/0009-overload.md).
 */
#ifndef OPTIROUTE_HTTP_HTTP_SERVER_H
#define OPTIROUTE_HTTP_HTTP_SERVER_H

#include "base/arena.h"
#include "http/http_parse.h"
#include "http/transport.h"

struct event_base;
struct http_server;
struct http_exchange; /* one request and its answer; lives inside its connection */

struct http_limits {
    int64_t max_body_bytes;     /* 413 before it is read */
    int64_t max_input_bytes;    /* of all requests that are being read; above it 503 */
    int64_t max_output_bytes;   /* of all answers that wait for their clients to read; above it the
                                   client with the most of them is cut off */
    int64_t max_above;          /* connections above the limit, held at once */
    int64_t above_ms;           /* from accept to a whole head of such a one */
    struct bytes busy_answer;   /* a whole answer, for who is above the limit and said nothing */
    int64_t header_timeout_ms;  /* head complete, from its first byte; 408. Also first byte, from
                                   accept and TLS handshake included; closed without an answer */
    int64_t keepalive_ms;       /* idle between requests */
    int64_t body_idle_ms;       /* 10 s without a byte of the body; 408 */
    int64_t body_per_mib_ms;    /* 30 s per MiB begun, in total; 408 */
    int64_t send_stall_ms;      /* 30 s without progress when the client does not read */
    size_t stream_buffer_bytes; /* 256 KiB: above it http_reply_is_full */
};

/* Why a request will not be answered in full. */
enum http_abort {
    HTTP_CLIENT_LEFT,    /* closed, reset, or shut its side before the answer */
    HTTP_CLIENT_STALLED, /* did not read for send_stall_ms */
    HTTP_SERVER_ENDS     /* http_server_free */
};

/* Where a connection stands; what the limits are is its adder's business. */
enum http_place {
    HTTP_REGULAR, /* turned away from here is who sends a body that there is no memory for */
    HTTP_ABOVE_CONNECTIONS, /* more than may be connected */
    HTTP_ABOVE_DESCRIPTORS, /* more than there are descriptors for */
    HTTP_PLACES
};

/* Of each exchange handed over by `request`, exactly one of `finished` and `aborted` is called, or
 * neither after http_reply_break. `finished` comes from within http_reply and http_reply_end;
 * `aborted` and `writable` come from the loop, never from within a call of this header (but for
 * http_server_free). */
struct http_callbacks {
    /* A whole request. head and body are valid during the call only. Must end in exactly one
     * answer, now or later. */
    void (*request)(void *context, struct http_exchange *exchange, const struct http_head *head,
                    struct bytes body);
    /* HTTP refused the bytes (400, 408, 413, 414, 417, 431, 501, 505) or has no memory for them
     * (503), or is above the limit (503): the handler must answer at once by http_reply; the
     * connection closes after it (at once when it does not answer). head may be NULL (not parsed).
     * No `aborted` follows. */
    void (*fault)(void *context, struct http_exchange *exchange, const struct http_head *head,
                  const struct http_fault *fault);
    /* The answer cannot be completed; the exchange is void after this call. Only for exchanges that
     * were handed over and not answered in full. */
    void (*aborted)(void *context, struct http_exchange *exchange, enum http_abort why);
    /* The answer's last byte was written or buffered; may be NULL. */
    void (*finished)(void *context, struct http_exchange *exchange);
    /* A streamed answer fell below half of stream_buffer_bytes again after it was full; may be
     * NULL. */
    void (*writable)(void *context, struct http_exchange *exchange);
    /* Above the limit: is this request, which may have no body, answered all the same? May be NULL:
     * each is. */
    bool (*admits)(void *context, const struct http_head *head);
};

struct http_reply {
    int status;
    const char *content_type; /* NULL: no such field (204) */
    struct bytes fields;      /* further fields, each "Name: value\r\n"; composed by the caller from
                                 checked values */
    struct bytes body;        /* whole answer; not for streams */
    bool close;               /* Connection: close, whatever the client asked */
};

struct http_server_stats {
    uint64_t accepted;
    uint64_t turned_away[HTTP_PLACES]; /* with 503, by where they stood */
    uint64_t cut_off;                  /* above max_output_bytes */
    int64_t connections;               /* all that are open */
    int64_t above;                     /* of these above the limit */
    int64_t idle;                      /* of the others between two requests */
    int64_t in_flight;
};

struct http_server *http_server_new(struct event_base *base, const struct http_limits *limits,
                                    const struct http_callbacks *callbacks, void *context);
/* Closes every connection at once, after `aborted` for those with an unanswered request. Not from
 * within a callback. */
void http_server_free(struct http_server *server);
/* Takes an accepted, non-blocking, close-on-exec descriptor; tls may be NULL. On failure the
 * descriptor is closed and -1 returned.
 * peer is the client's address in text, copied; NULL when there is none. */
int http_server_add(struct http_server *server, int fd, struct tls_context *tls, const char *peer,
                    enum http_place place);
/* For a descriptor that there is no room to hold: busy_answer where it can be understood (not over
 * TLS), then closed. Best effort, no memory, does not wait. */
void http_server_turn_away(struct http_server *server, int fd, const struct tls_context *tls);
const struct http_server_stats *http_server_stats(const struct http_server *server);
/* Called whenever a connection has closed, also from within calls of this header; it may read the
 * numbers above, which no longer have it, and nothing else of the server. */
void http_server_on_closed(struct http_server *server, void (*closed)(void *context),
                           void *context);
/* From now on answers say Connection: close, and idle connections are closed once `grace_ms` have
 * passed (0: now). */
void http_server_drain(struct http_server *server, int64_t grace_ms);
/* Idle in the sense of draining: no connection is left. */
bool http_server_is_empty(const struct http_server *server);

/* Answers in full. May be called inside the request callback or later; the reply's bytes are not
 * needed after the call. The exchange is void after it. */
void http_reply(struct http_exchange *exchange, const struct http_reply *reply);
/* Streams: head at once (chunked for 1.1, until close for 1.0), each piece flushed, then end; or
 * break, which closes the connection without the last chunk. */
void http_reply_begin(struct http_exchange *exchange, const struct http_reply *head);
void http_reply_piece(struct http_exchange *exchange, struct bytes piece);
bool http_reply_is_full(const struct http_exchange *exchange);
/* Bytes of it that the client has not taken yet. */
size_t http_reply_unsent(const struct http_exchange *exchange);
void http_reply_end(struct http_exchange *exchange);
void http_reply_break(struct http_exchange *exchange);

/* From inside `request` only: the handler takes over the memory in which the request lies, so that
 * head and body stay valid until buf_free(memory). False: they lie in a buffer that is everybody's
 * and must be copied to be kept (bodies that came in one read, or with another request behind). */
bool http_exchange_take_request(struct http_exchange *exchange, struct buf *memory);
/* The handler's own pointer, NULL for each new request. */
void http_exchange_set_user(struct http_exchange *exchange, void *user);
void *http_exchange_user(const struct http_exchange *exchange);
/* Monotonic time at which the request's last byte was parsed. */
int64_t http_exchange_parsed_ns(const struct http_exchange *exchange);
/* Monotonic time of the request's first byte. */
int64_t http_exchange_started_ns(const struct http_exchange *exchange);
/* The client's address as http_server_add was told it, terminated; "" when it was not. */
const char *http_exchange_peer(const struct http_exchange *exchange);

#endif
