/* What went wrong with a fetch, from libcurl's codes and from what was seen on the way.
 *
 * Runs in workers. Its one surprise: libcurl has one code for a reset, for a broken chunk and for a
 * TLS connection that is cut, and its errno may be of an earlier request; so its message decides.
 */
#include "fetch_private.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"

/* connect(2) failed, for every address of the host. */
static enum outcome connect_fault(const struct fetch *fetch) {
    long reason = 0;
    if (fetch->shortage) {
        return OUTCOME_LOCAL_RESOURCES;
    }
    (void)curl_easy_getinfo(fetch->easy, CURLINFO_OS_ERRNO, &reason);
    switch (reason) {
    case ECONNREFUSED:
    case ECONNRESET:
        return OUTCOME_CONNECT_REFUSED;
    case ETIMEDOUT:
        return OUTCOME_CONNECT_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case EADDRNOTAVAIL: /* no local port left */
        return OUTCOME_LOCAL_RESOURCES;
    default:
        return OUTCOME_CONNECT_UNREACHABLE;
    }
}

static enum outcome receive_fault(const struct fetch *fetch) {
    if (strstr(fetch->error, "chunk") != NULL) {
        return OUTCOME_BAD_FRAMING;
    }
    bool is_reset = strstr(fetch->error, strerror(ECONNRESET)) != NULL;
    return fetch->head_done && !is_reset ? OUTCOME_TRUNCATED : OUTCOME_RESET;
}

enum outcome fetch_fault(const struct fetch *fetch, CURLcode code) {
    if (fetch->fault != OUTCOME_OK) {
        return fetch->fault;
    }
    switch (code) {
    case CURLE_OK:
        return fetch->head_done ? OUTCOME_OK : OUTCOME_BAD_HTTP;
    case CURLE_COULDNT_RESOLVE_HOST:
        return OUTCOME_DNS;
    case CURLE_COULDNT_CONNECT:
        return connect_fault(fetch);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
        return OUTCOME_TLS_VERIFY;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_USE_SSL_FAILED:
        return OUTCOME_TLS_HANDSHAKE;
    case CURLE_GOT_NOTHING:
        return OUTCOME_EMPTY_REPLY;
    case CURLE_PARTIAL_FILE:
        return OUTCOME_TRUNCATED;
    case CURLE_SEND_ERROR:
        return OUTCOME_RESET;
    case CURLE_RECV_ERROR:
        return receive_fault(fetch);
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_ABORTED_BY_CALLBACK: /* not for `fault`: the loop has no memory for an event */
        return OUTCOME_NO_MEMORY;
    default: /* CURLE_WEIRD_SERVER_REPLY, CURLE_UNSUPPORTED_PROTOCOL (HTTP/0.9), ... */
        return OUTCOME_BAD_HTTP;
    }
}

/* Name, TCP or TLS: which of them had not come to its end? */
static enum outcome late_connection(const struct fetch *fetch) {
    long local_port = 0; /* known from when TCP is connected; libcurl's own time is of TLS too */
    if (fetch->opened_count == 0 && !fetch->site->host->is_literal) {
        return OUTCOME_DNS_TIMEOUT;
    }
    (void)curl_easy_getinfo(fetch->easy, CURLINFO_LOCAL_PORT, &local_port);
    return local_port > 0 && fetch->site->is_tls ? OUTCOME_TLS_TIMEOUT : OUTCOME_CONNECT_TIMEOUT;
}

enum outcome fetch_late(const struct fetch *fetch) {
    switch (fetch->phase) {
    case FETCH_LOOKUP:
        return OUTCOME_DNS_TIMEOUT;
    case FETCH_CONNECT:
        return late_connection(fetch);
    case FETCH_FIRST_BYTE:
        return OUTCOME_FIRST_BYTE_TIMEOUT;
    default:
        return OUTCOME_IDLE_TIMEOUT;
    }
}

int64_t fetch_retry_after_ms(struct bytes value, int64_t wall_s) {
    char date[64];
    int64_t seconds;
    if (bytes_to_int64(value, &seconds)) {
        return seconds < INT64_MAX / 1000 ? seconds * 1000 : INT64_MAX;
    }
    /* RFC 9110 section 10.2.3: else it is a date. curl_getdate would make something of nearly
     * anything, so it only gets what has a weekday, a comma and GMT. */
    if (value.size >= sizeof(date) || bytes_find(value, ',') == value.size ||
        memmem(value.data, value.size, "GMT", 3) == NULL) {
        return -1;
    }
    memcpy(date, value.data, value.size);
    date[value.size] = '\0';
    time_t when = curl_getdate(date, NULL);
    if (when == -1) {
        return -1;
    }
    return when > wall_s ? ((int64_t)when - wall_s) * 1000 : 0;
}
