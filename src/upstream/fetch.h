/* fetch: one HTTP request to a provider and its answer, by libcurl, without ever blocking the loop.
 *
 * Private to layer upstream, and the only header that leads to libcurl. A fetcher is a worker's
 * libcurl multi handle with its connection pool, driven by libevent; a site is what all requests to
 * one provider have in common; a fetch is one request.
 *
 * Timeouts are our own: connect (from the start until the request can be
 * sent: name, TCP and TLS), first byte, idle, total. Redirects are not followed, certificates are
 * verified, no proxy is taken from the environment, and nothing is sent before TLS stands.
 *
 *     start -> [LOOKUP] -> CONNECT -> FIRST_BYTE -> BODY -> end
 *               somebody      \___________\__________\____ a deadline, a fault, cancel
 *               else asks for the same host's address
 */
#ifndef OPTIROUTE_UPSTREAM_FETCH_H
#define OPTIROUTE_UPSTREAM_FETCH_H

#include "base/timers.h"
#include "conf/conf.h"
#include "watch/metrics.h"

struct event_base;
struct fetcher;
struct fetch_site;
struct fetch;

#define FETCH_MAX_HEAD (64 * 1024) /* bytes of an answer's head, interim ones included */
#define FETCH_MAX_FIELDS 256       /* lines of it */
#define FETCH_MAX_INTERIM 10       /* 1xx answers before the real one */

struct fetch_head {
    int status;                /* 200..599 */
    struct bytes content_type; /* empty when not given; valid during the call */
    bool is_encoded;           /* Content-Encoding says something else than identity */
    int64_t retry_after_ms;    /* -1: none, or one that makes no sense */
    int should_retry;          /* x-should-retry: 1 true, -1 false, 0 not said */
};

/* None of them may start, cancel or resume a fetch, but for `end`. */
struct fetch_events {
    /* The answer's head. Anything but OUTCOME_OK ends the fetch with it. */
    enum outcome (*head)(void *user, const struct fetch_head *head);
    /* A piece of the body. Anything but OUTCOME_OK ends the fetch with it. */
    enum outcome (*data)(void *user, struct bytes data);
    /* The last event: OUTCOME_OK when the answer is complete. After it the fetch is void. */
    void (*end)(void *user, enum outcome outcome);
};

struct fetch_request {
    const char *url;     /* copied */
    struct bytes fields; /* header lines beside the site's, each ending in '\n'; one of a name
                            that the site has takes its place; copied */
    const struct bytes *pieces; /* the body; they and the array live until the end */
    unsigned piece_count;       /* at least 1; a single one is sent together with the head */
    int64_t deadline_ns;        /* monotonic; on top of the provider's own timeouts */
    const struct fetch_events *events;
    void *user;
};

/* NULL without memory. libcurl is initialised when it is made. */
struct fetcher *fetcher_new(struct event_base *base, const struct timers *timers);
/* Ends what is under way without events. */
void fetcher_free(struct fetcher *fetcher);

/* fields: header lines, each ending in '\n', that every request to the provider carries; they may
 * hold its key. NULL without memory. The provider outlives the site, the fetcher frees it. */
struct fetch_site *fetch_site_new(struct fetcher *fetcher, const struct conf_provider *provider,
                                  struct bytes fields);

/* False without memory. *fetch is set before the first event: head and data may come from within
 * (a kept connection, a quick server), `end` does not. */
bool fetch_start(struct fetch_site *site, const struct fetch_request *request,
                 struct fetch **fetch);
/* Ends a fetch before its last event; its connection is closed unless it is idle. Not from within
 * head and data. */
void fetch_cancel(struct fetch *fetch);
/* True once the request has been handed to a connection: from here on it may cost something. */
bool fetch_was_sent(const struct fetch *fetch);
/* Times it was sent again because a kept connection turned out to be closed; 0 or 1. */
unsigned fetch_stale_sends(const struct fetch *fetch);
/* The answer is complete as far as the caller is concerned: `end` comes with OUTCOME_OK, soon, and
 * nothing before it. Whether the exchange ends too, and its connection can be kept, is waited for a
 * second, by ourselves. Only from within data. */
void fetch_complete(struct fetch *fetch);
/* From now on it may take at most so many milliseconds more. May be called from within head and
 * data. */
void fetch_limit(struct fetch *fetch, int64_t ms);
/* Back-pressure: no more data until fetch_resume. The idle timeout rests meanwhile. pause may be
 * called from within data, resume not. */
void fetch_pause(struct fetch *fetch);
void fetch_resume(struct fetch *fetch);

#endif
