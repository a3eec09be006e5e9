/* At most one lookup of a host's name at a time; all others who want the host wait for it.
 *
 * libcurl looks names up in a thread for each request that has none in its cache. With a silent
 * name server every one of them would be stuck for ten seconds, so a thousand requests would be a
 * thousand threads. Here the first request asks, and the others take its result from libcurl's
 * cache, or its failure.
 *
 * libcurl's own cache never forgets (CURLOPT_DNS_CACHE_TIMEOUT -1); when an address is a minute old
 * the next request that opens a connection is told to drop it first (CURLOPT_RESOLVE "-host:port").
 * Its one surprise: a request that is sent on a kept connection looks nothing up, so it proves
 * nothing, and the next one leads again; that costs nothing, because it never waits.
 */
#include "fetch_private.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define FRESH_NS (60 * NS_PER_S)

/* "host:port" of a URL that the configuration has checked; the port made explicit. -1: no memory.
 */
static int host_of(const char *url, char **name, bool *is_literal) {
    CURLU *parts = curl_url();
    char *host = NULL, *port = NULL;
    int result = -1;
    if (parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK) {
        unsigned char address[sizeof(struct in6_addr)];
        size_t size = strlen(host) + strlen(port) + 3;
        *is_literal = host[0] == '[' || inet_pton(AF_INET, host, address) == 1;
        *name = malloc(size);
        if (*name != NULL) {
            snprintf(*name, size, "-%s:%s", host, port);
            result = 0;
        }
    }
    curl_free(port);
    curl_free(host);
    curl_url_cleanup(parts);
    return result;
}

struct fetch_host *lookup_host(struct fetcher *fetcher, const char *url) {
    char *name = NULL;
    bool is_literal;
    if (host_of(url, &name, &is_literal) == -1) {
        return NULL;
    }
    struct fetch_host *host = fetcher->hosts;
    while (host != NULL && strcmp(host->forget->data, name) != 0) {
        host = host->next;
    }
    if (host == NULL && (host = calloc(1, sizeof(*host))) != NULL) {
        host->is_literal = is_literal;
        host->forget = curl_slist_append(NULL, name);
        TAILQ_INIT(&host->waiting);
        if (host->forget == NULL) {
            free(host);
            host = NULL;
        } else {
            host->next = fetcher->hosts;
            fetcher->hosts = host;
        }
    }
    free(name);
    return host;
}

void lookup_host_free(struct fetch_host *host) {
    curl_slist_free_all(host->forget);
    free(host);
}

static void become_leader(struct fetch *fetch) {
    struct fetch_host *host = fetch->site->host;
    host->state = LOOKUP_RUNS;
    host->leader = fetch;
    (void)curl_easy_setopt(fetch->easy, CURLOPT_RESOLVE, host->forget);
}

bool lookup_enter(struct fetch *fetch) {
    struct fetch_host *host = fetch->site->host;
    if (host->is_literal) {
        return true;
    }
    if (host->state == LOOKUP_RUNS) {
        fetch->phase = FETCH_LOOKUP;
        fetch_move(fetch, &host->waiting);
        return false;
    }
    if (host->state == LOOKUP_FRESH &&
        timers_now_ns(&fetch->site->fetcher->timers) < host->fresh_until_ns) {
        return true;
    }
    become_leader(fetch);
    return true;
}

static void end_lookup(struct fetch *fetch, enum lookup_state state) {
    struct fetcher *fetcher = fetch->site->fetcher;
    struct fetch_host *host = fetch->site->host;
    struct fetch *other;
    host->state = state;
    host->leader = NULL;
    (void)curl_easy_setopt(fetch->easy, CURLOPT_RESOLVE, NULL);
    while ((other = TAILQ_FIRST(&host->waiting)) != NULL) {
        fetch_move(other, &fetcher->released);
    }
}

void lookup_known(struct fetch *fetch) {
    struct fetch_host *host = fetch->site->host;
    if (host->leader == fetch) {
        host->fresh_until_ns = timers_now_ns(&fetch->site->fetcher->timers) + FRESH_NS;
        end_lookup(fetch, LOOKUP_FRESH);
    }
}

void lookup_not_needed(struct fetch *fetch) {
    if (fetch->site->host->leader == fetch) {
        end_lookup(fetch, LOOKUP_NEEDED);
    }
}

/* They asked the same question, so they have the same answer. */
static void fail_waiting(struct fetch_host *host, enum outcome outcome) {
    struct fetch *other;
    while ((other = TAILQ_FIRST(&host->waiting)) != NULL) {
        other->fault = outcome;
        fetch_move(other, &other->site->fetcher->finished);
    }
}

void lookup_leave(struct fetch *fetch, enum outcome outcome) {
    struct fetch_host *host = fetch->site->host;
    switch (outcome) {
    case OUTCOME_CONNECT_REFUSED:
    case OUTCOME_CONNECT_UNREACHABLE:
    case OUTCOME_CONNECT_TIMEOUT:
        host->fresh_until_ns = 0; /* perhaps it has moved */
        break;
    case OUTCOME_DNS:
    case OUTCOME_DNS_TIMEOUT:
        if (host->leader == fetch) {
            fail_waiting(host, outcome);
        }
        break;
    default:
        break;
    }
    if (host->leader == fetch) {
        end_lookup(fetch, LOOKUP_NEEDED);
    }
}
