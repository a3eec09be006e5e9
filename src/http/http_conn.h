/* http_conn: what the files behind http/http_server.h share; private to src/http (and its tests,
 * which turn the clock by hand).
 *
 *   http_server.c  the server: add, drain, date, the end of a loop turn
 *   http_conn.c    one connection: state, events, deadlines, its one way to be closed
 *   http_above.c   connections above the limit: heard for a moment, pushed out by others
 *   http_input.c   bytes in: read, parse, hand over
 *   http_output.c  bytes out: write at once, keep what does not fit
 *   http_reply.c   answers: the public http_reply functions
 *
 * Inside one event callback ("turn") a connection may hand over many pipelined requests; their
 * answers are gathered in server->batch and leave in one write. Nothing is freed and no request is
 * handed over while a handler runs: such work is queued to the end of the loop turn.
 */
#ifndef OPTIROUTE_SRC_HTTP_HTTP_CONN_H
#define OPTIROUTE_SRC_HTTP_HTTP_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/panic.h"
#include "http/http_body.h"
#include "http/http_server.h"

#define HTTP_SCRATCH_SIZE 65536            /* one read */
#define HTTP_READ_MAX (128 * 1024)         /* one read of a large body: others wait meanwhile */
#define HTTP_BATCH_SIZE 65536              /* answers of one turn, before they are written */
#define HTTP_TURN_REQUESTS 64              /* handed over in one turn at most */
#define HTTP_TURN_OUTPUT (256 * 1024)      /* bytes answered in one turn, about */
#define HTTP_OUTPUT_MAX (64 * 1024 * 1024) /* unsent bytes of one connection; past it it breaks */
#define HTTP_LINGER_NS (2 * NS_PER_S)      /* unread input is drained that long */
#define HTTP_LINGER_BYTES (64 << 20)       /* or that far: all of a body that is too large */
#define HTTP_NEVER INT64_MAX

/*   IDLE -> HEAD -> [BODY] -> HANDLING -> [REPLYING] -> [FLUSHING] -> IDLE | LINGER | CLOSED  */
enum conn_state {
    CONN_IDLE,     /* no byte of a request yet: fresh (TLS handshake included) or kept */
    CONN_HEAD,     /* part of a head */
    CONN_BODY,     /* whole head, part of a body */
    CONN_HANDLING, /* handed over, no byte answered */
    CONN_REPLYING, /* a stream is under way */
    CONN_FLUSHING, /* answered, part of the answer still here */
    CONN_LINGER,   /* our side is shut, unread input is dropped */
    CONN_CLOSED,   /* freed at the end of the loop turn */
    CONN_STATES
};

enum conn_after { AFTER_KEEP, AFTER_LINGER, AFTER_CLOSE }; /* what follows a flushed answer */

#define HTTP_PEER_SIZE 46 /* bytes of an IPv6 address in text with its NUL (INET6_ADDRSTRLEN) */

struct http_exchange {
    void *user;
    int64_t started_ns; /* first byte of the request */
    int64_t parsed_ns;  /* last byte of it */
    uint8_t minor_version;
    bool keep_alive; /* the client would go on */
    bool head_only;  /* HEAD: no body in the answer */
    bool faulty;     /* made by HTTP itself: no `aborted`, always closed */
    bool has_body;   /* of a stream: its pieces are sent */
    bool chunked;    /* of a stream */
    bool was_full;   /* a `writable` is owed */
};

struct http_conn {
    struct transport transport;
    struct http_server *server;
    TAILQ_ENTRY(http_conn) link;  /* server->connections, after closing server->dead */
    TAILQ_ENTRY(http_conn) queue; /* server->queue, while `queued` */
    TAILQ_ENTRY(http_conn) rank;  /* server->above, unless REGULAR */
    struct event io;              /* one event for all directions, see conn_update_events */
    struct event timer;           /* armed lazily, see conn_set_deadline */
    char peer[HTTP_PEER_SIZE];    /* the client's address, "" when not known */
    enum conn_state state;        /* changed by conn_set_state alone */
    enum conn_after after;
    enum http_place place;
    short watched; /* EV_ flags the io event is registered with; 0: not registered */
    bool queued;
    uint64_t round;        /* server->round when it was queued */
    bool broken;           /* the transport failed; closed from the queue, not under a handler */
    bool input_waits;      /* while answering: unread bytes seen, watch for the end only */
    bool read_wants_write; /* TLS: the last read waits for room to write */
    bool write_wants_read; /* TLS: the last write waits for input */
    bool more_input;       /* during a turn: another request (or a part) is already here */
    bool continue_due;     /* Expect: 100-continue not yet answered */
    int64_t deadline_ns;   /* of the state; HTTP_NEVER without one */
    int64_t stall_ns;      /* of unsent output */
    int64_t armed_ns;      /* when `timer` fires */
    int64_t started_ns;    /* first byte of the request being read */
    int64_t body_started_ns;
    size_t head_size; /* BODY: bytes of the head at the start of `in` */
    size_t drained;   /* LINGER: bytes dropped */
    size_t counted;   /* bytes of `in` that are part of server->input_bytes, */
    size_t waiting;   /* and of `out` that are part of server->output_bytes */
    struct http_parser parser;
    struct http_body body;
    struct buf in;   /* input that waits: part of a request, or requests behind an
                        unanswered one; without memory when empty */
    struct buf out;  /* output that waits */
    size_t out_sent; /* bytes at its start that are gone already */
    struct http_exchange exchange;
};

TAILQ_HEAD(http_conn_list, http_conn);

struct http_server {
    struct event_base *base;
    struct http_limits limits;
    struct http_callbacks callbacks;
    void *context;
    void (*closed)(void *context); /* or NULL */
    void *closed_context;
    int64_t (*now_ns)(void); /* monotonic; tests put their own clock here */
    struct http_server_stats stats;
    size_t input_bytes;  /* in `in` of all connections */
    size_t output_bytes; /* in `out` of all connections */
    struct http_conn_list connections;
    struct http_conn_list dead;  /* closed, to be freed */
    struct http_conn_list queue; /* something is to be done after this loop turn */
    struct http_conn_list above; /* not REGULAR; the oldest first */
    struct event deferred;       /* runs the queue and frees the dead */
    uint64_t round;              /* times it ran */
    struct event drain_timer;
    bool draining;
    struct http_conn *turn;       /* connection whose input is being processed */
    int64_t turn_ns;              /* time of the turn */
    size_t turn_output;           /* bytes answered in it */
    struct http_conn *batch_conn; /* whose answers stand in batch */
    struct buf batch;             /* fixed, HTTP_BATCH_SIZE */
    int64_t date_until_ns;        /* monotonic; then the date is made anew */
    char date[40];                /* "Date: ...\r\n" */
    struct http_head head;        /* of the request being handed over */
    char *scratch;                /* HTTP_SCRATCH_SIZE */
};

static inline bool conn_is_open(enum conn_state state) {
    return state == CONN_HANDLING || state == CONN_REPLYING;
}
static inline size_t conn_unsent(const struct http_conn *conn) {
    return conn->out.size - conn->out_sent;
}

/* http_conn.c */
struct http_conn *conn_of(const struct http_exchange *exchange);
int conn_open(struct http_server *server, int fd, struct tls_context *tls, const char *peer,
              enum http_place place);
void conn_set_state(struct http_conn *conn, enum conn_state to);
/* The state's deadline; the timer is touched only when it would fire too late. */
void conn_set_deadline(struct http_conn *conn, int64_t deadline_ns);
void conn_set_stall(struct http_conn *conn, int64_t stall_ns);
/* Registers what state and output wait for. At the end of every entry into the layer. */
void conn_update_events(struct http_conn *conn);
/* Something is to be done (more input, a broken transport) once the running handlers are gone. */
void conn_queue(struct http_conn *conn);
void conn_run_queued(struct http_conn *conn);
void conn_break(struct http_conn *conn);
/* The answer is complete and its bytes are gone: keep, linger or close, as conn->after says. */
void conn_answered(struct http_conn *conn);
/* Tells the handler (if it has an unanswered request) and closes. Never under a handler. */
void conn_abort(struct http_conn *conn, enum http_abort why);
/* The one way to close. The memory stays until the end of the loop turn. */
void conn_close(struct http_conn *conn);
void conn_free(struct http_conn *conn);
/* What the timer does; tests call it with their own time. */
void conn_check_deadlines(struct http_conn *conn);
int64_t conn_now(const struct http_conn *conn);

/* http_above.c */
/* A new connection above the limit; may push out the oldest of them. */
void above_add(struct http_conn *conn);
void above_remove(struct http_conn *conn);
/* A whole head above the limit that is not admitted: counted, to be refused with the fault. */
bool above_refuses(struct http_conn *conn, const struct http_head *head, struct http_fault *fault);
/* Its time is over and there is no whole head: the prepared answer. */
void above_time_out(struct http_conn *conn);

/* http_input.c */
void conn_read(struct http_conn *conn);
/* Goes on with what is in conn->in. */
void conn_resume(struct http_conn *conn);
/* HTTP refuses what came; ends in LINGER or CLOSED or in flushing the answer. */
void conn_fault(struct http_conn *conn, const struct http_head *head,
                const struct http_fault *fault);
/* `in` has changed: keeps server->input_bytes right. */
void conn_count_input(struct http_conn *conn);
/* Answers 408 to a request that does not come to its end. */
void conn_time_out(struct http_conn *conn);

/* http_output.c */
/* Writes as much as goes and keeps the rest. */
void conn_send(struct http_conn *conn, const struct iovec *pieces, int count);
/* Unsent output, when the transport takes bytes again. */
void conn_flush(struct http_conn *conn);
/* server->batch with at least `room` bytes free and only conn's answers in it. */
struct buf *batch_for(struct http_conn *conn, size_t room);
/* Writes the batch and `count` (at most 3) pieces behind it in one go. */
void batch_send(struct http_conn *conn, const struct iovec *pieces, int count);

/* http_server.c */
void server_defer(struct http_server *server);
/* "Date: ...\r\n" with the IMF-fixdate of that time, renewed once a second; 37 bytes. */
struct bytes server_date_field(struct http_server *server, int64_t now_ns);

/* http_reply.c */
bool status_has_body(int status);

#endif
