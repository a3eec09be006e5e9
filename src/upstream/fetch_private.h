/* What the files behind fetch.h share. Nobody else includes it.
 *
 *     fetcher.c        libcurl's multi handle on libevent: sockets, its timer, who is finished
 *     fetch.c          one request: options, what libcurl calls, deadlines, its end
 *     fetch_site.c     what requests to one provider share, and their header lines
 *     fetch_lookup.c   at most one name lookup per host at a time
 *     fetch_fault.c    what a libcurl error means
 */
#ifndef OPTIROUTE_SRC_FETCH_PRIVATE_H
#define OPTIROUTE_SRC_FETCH_PRIVATE_H

#include <curl/curl.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "fetch.h"

#define FETCH_SPARE_MAX 64         /* handles kept per site for the next request */
#define FETCH_TYPE_SIZE 128        /* bytes kept of a content type */
#define FETCH_OPENED_MAX 8         /* sockets remembered while a connection is made */
#define FETCH_POOL_CONNECTIONS 256 /* idle connections kept by one worker, all sites together */

enum fetch_phase {
    FETCH_SPARE,      /* in its site's list */
    FETCH_LOOKUP,     /* waits for another fetch that asks for the same host's address */
    FETCH_CONNECT,    /* libcurl has it: name, TCP, TLS */
    FETCH_FIRST_BYTE, /* the request is on its way */
    FETCH_BODY        /* the answer's head has begun */
};

TAILQ_HEAD(fetch_list, fetch);

/* A host's name and whether libcurl knows its address. */
enum lookup_state { LOOKUP_NEEDED, LOOKUP_RUNS, LOOKUP_FRESH };
struct fetch_host {
    struct fetch_host *next; /* of the fetcher */
    bool is_literal;         /* an address already: nothing to look up */
    enum lookup_state state;
    int64_t fresh_until_ns;    /* FRESH: then it is looked up anew */
    struct fetch *leader;      /* RUNS: whose lookup it is */
    struct fetch_list waiting; /* RUNS: who needs the result, phase LOOKUP */
    struct curl_slist *forget; /* "-host:port": makes libcurl drop what it knows */
};

struct fetch_site {
    struct fetch_site *next; /* of the fetcher */
    struct fetcher *fetcher;
    const struct conf_provider *provider;
    struct fetch_host *host;
    struct curl_slist *fields;
    struct fetch *spare; /* singly linked by next_spare */
    unsigned spare_count;
    bool is_tls;
    int64_t tls_logged_ns; /* when its TLS failures were last logged, 0: never */
};

struct fetch {
    TAILQ_ENTRY(fetch) link; /* in one of fetcher's lists, or its host's */
    struct fetch_list *list; /* which one */
    struct fetch *next_spare;
    struct fetch_site *site;
    CURL *easy;
    const struct fetch_events *events;
    void *user;
    enum fetch_phase phase;
    bool added;               /* libcurl's multi handle has it */
    bool shortage;            /* no descriptor to open a socket with */
    bool paused;              /* somebody asked for it */
    struct timer *rest_timer; /* it has had its share of this turn; NULL: does not rest */
    uint64_t turn;            /* of the fetcher, in which */
    size_t turn_bytes;        /* so much came */
    bool complete;            /* fetch_complete was called */
    bool drains;              /* and `end`: what still comes is ignored */
    bool ended;               /* libcurl has finished with it */
    bool head_done;           /* events->head was called */
    enum outcome fault;       /* why we ended it ourselves, OUTCOME_OK: we did not */
    CURLcode code;            /* why libcurl did */
    curl_socket_t opened[FETCH_OPENED_MAX]; /* the last sockets opened to send it, as a ring */
    unsigned opened_count;                  /* > 0: the name is known */
    unsigned sends;                         /* times the request was given to a connection */
    unsigned interim;                       /* 1xx heads so far */
    unsigned field_count;
    size_t head_size;
    struct fetch_head head;
    char content_type[FETCH_TYPE_SIZE];
    const struct bytes *pieces; /* the request's body */
    unsigned piece_count;
    unsigned piece_at;             /* the next one to send, when there are several, */
    size_t piece_sent;             /* and how much of it is gone */
    struct curl_slist *own_fields; /* instead of the site's; NULL: has none */
    size_t body_size;
    curl_off_t uploaded; /* of these, when the first-byte deadline was last looked at */
    struct timer *timer;
    int64_t timer_due_ns;
    int64_t deadline_ns;         /* of the phase */
    int64_t end_ns;              /* of the whole */
    int64_t heard_ns;            /* last byte of the answer */
    char error[CURL_ERROR_SIZE]; /* libcurl's words; for the mapping and the log, never for a client
                                  */
};

struct fetch_sock;

struct fetcher {
    struct event_base *base;
    struct timers timers;
    CURLM *multi;
    CURLSH *share;         /* TLS sessions */
    struct event timer;    /* libcurl's */
    struct event deferred; /* settles what ended inside fetch_start */
    unsigned depth;        /* > 0: inside a libcurl call */
    uint64_t turn;         /* counts times that libcurl was entered from the loop */
    bool settling;
    struct fetch_sock **socks; /* by descriptor */
    size_t sock_capacity;
    struct fetch_site *sites;
    struct fetch_host *hosts;
    struct fetch_list active;   /* with libcurl */
    struct fetch_list finished; /* ended, `end` not called yet */
    struct fetch_list released; /* a lookup is over, may go to libcurl */
};

/* Moves a fetch to the end of a list, out of the one it is in; NULL: to none. */
static inline void fetch_move(struct fetch *fetch, struct fetch_list *list) {
    if (fetch->list != NULL) {
        TAILQ_REMOVE(fetch->list, fetch, link);
    }
    fetch->list = list;
    if (list != NULL) {
        TAILQ_INSERT_TAIL(list, fetch, link);
    }
}

/* fetcher.c */
/* Gives a fetch to libcurl; what ends at once waits in `finished`. */
void fetcher_begin(struct fetcher *fetcher, struct fetch *fetch);
/* Takes it away again. */
void fetcher_remove(struct fetcher *fetcher, struct fetch *fetch);
/* What libcurl has finished goes to `finished`; settled now from the loop, else soon. */
void fetcher_collect(struct fetcher *fetcher);
void fetcher_settle_soon(struct fetcher *fetcher);
/* libcurl's callbacks; the argument is the fetch, and the fetcher. */
curl_socket_t fetcher_open_socket(void *argument, curlsocktype purpose,
                                  struct curl_sockaddr *address);
int fetcher_close_socket(void *argument, curl_socket_t fd);
/* One of the sockets that were opened for it, that of this local port, is a connection now. */
void fetcher_connected(struct fetch *fetch, int local_port);

/* fetch.c */
/* Ends one of `finished`: calls its `end`, or only takes it away. */
void fetch_settle(struct fetch *fetch);
void fetch_free(struct fetch *fetch);

/* fetch_site.c */
/* Frees a site without handles; its lines, one of which may hold a key, are overwritten. */
void fetch_site_free(struct fetch_site *site);
/* The request's header lines are the site's and these, until they are dropped. False: no memory. */
bool fetch_take_fields(struct fetch *fetch, struct bytes fields);
void fetch_drop_fields(struct fetch *fetch);

/* fetch_lookup.c */
/* The host of a URL, made when new. NULL without memory. */
struct fetch_host *lookup_host(struct fetcher *fetcher, const char *url);
void lookup_host_free(struct fetch_host *host);
/* True: it may go to libcurl. False: it waits for another one's lookup. */
bool lookup_enter(struct fetch *fetch);
/* The fetch has opened a socket: the name is known. */
void lookup_known(struct fetch *fetch);
/* The fetch was sent on a kept connection: nothing was looked up. */
void lookup_not_needed(struct fetch *fetch);
/* The fetch is over. */
void lookup_leave(struct fetch *fetch, enum outcome outcome);

/* fetch_fault.c */
/* What libcurl's end of a fetch means. */
enum outcome fetch_fault(const struct fetch *fetch, CURLcode code);
/* What the end of the phase's deadline means. */
enum outcome fetch_late(const struct fetch *fetch);
/* Retry-After in milliseconds from now: seconds, or a date; -1 when it is neither. wall_s: seconds
 * since the epoch. */
int64_t fetch_retry_after_ms(struct bytes value, int64_t wall_s);

#endif
