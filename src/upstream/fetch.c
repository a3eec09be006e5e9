/* One request to a provider: its libcurl options, what libcurl calls on the way, its deadlines and
 * its end. See fetch.h for the phases.
 *
 * Runs in workers. Its one surprise: a handle belongs to one site for good. What all requests to a
 * provider have in common is set once, so that a request sets its address and its body and nothing
 * else.
 */
#include "config.h"

#include "fetch_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/panic.h"

/* libcurl sends again by itself when a kept connection was closed: once is enough. */
#define SENDS_MAX 2
#define DRAIN_MS 1000     /* that an exchange may take to end behind the last event of a stream */
#define READ_BYTES 16384L /* of one read; libcurl goes on for up to a hundred of them */
#define TURN_BYTES 32768  /* of one answer in a turn of the loop: none starves the others */
#define TLS_LOG_NS (60 * NS_PER_S)
#define CURL_PATIENCE_MS (24L * 3600 * 1000) /* ours always come first */

static void on_deadline(void *argument);
static void end_with(struct fetch *fetch, enum outcome outcome);
static void retire(struct fetch *fetch);

/* ---- deadlines ---- */

static int64_t now_of(const struct fetch *fetch) {
    return timers_now_ns(&fetch->site->fetcher->timers);
}

static int64_t next_due(const struct fetch *fetch) {
    return fetch->deadline_ns < fetch->end_ns ? fetch->deadline_ns : fetch->end_ns;
}

/* The timer is left alone when it fires early enough: it looks again then. False: no memory. */
static bool arm(struct fetch *fetch) {
    const struct timers *timers = &fetch->site->fetcher->timers;
    int64_t due_ns = next_due(fetch);
    if (fetch->timer != NULL && fetch->timer_due_ns <= due_ns) {
        return true;
    }
    int64_t delay_ns = due_ns - now_of(fetch);
    struct timer *timer = timers_after(timers, delay_ns > 0 ? delay_ns : 0, on_deadline, fetch);
    if (timer == NULL) {
        return fetch->timer != NULL;
    }
    timers_cancel(timers, fetch->timer);
    fetch->timer = timer;
    fetch->timer_due_ns = due_ns;
    return true;
}

/* Without memory for a timer the old one has to do. */
static void set_deadline(struct fetch *fetch, int64_t ms) {
    fetch->deadline_ns = now_of(fetch) + ms * NS_PER_MS;
    (void)arm(fetch);
}

/* A large request that was on its way out since the last look has not been waiting for its answer
 * for all of the time. (One that went out with its head has.) */
static bool still_sends(struct fetch *fetch) {
    curl_off_t uploaded = 0;
    (void)curl_easy_getinfo(fetch->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
    bool moves =
        uploaded > fetch->uploaded && (fetch->uploaded > 0 || (size_t)uploaded < fetch->body_size);
    fetch->uploaded = uploaded;
    return moves;
}

/* Is there more time than the timer thought? */
static bool has_time(struct fetch *fetch, int64_t now_ns) {
    const struct conf_provider *provider = fetch->site->provider;
    if (fetch->phase == FETCH_BODY) {
        int64_t heard_ns = fetch->paused ? now_ns : fetch->heard_ns;
        fetch->deadline_ns = heard_ns + provider->idle_timeout_ms * NS_PER_MS;
    } else if (fetch->phase == FETCH_FIRST_BYTE && now_ns >= fetch->deadline_ns &&
               still_sends(fetch)) {
        fetch->deadline_ns = now_ns + provider->first_byte_timeout_ms * NS_PER_MS;
    }
    return now_ns < next_due(fetch);
}

static void on_deadline(void *argument) {
    struct fetch *fetch = argument;
    int64_t now_ns = now_of(fetch);
    fetch->timer = NULL;
    if (fetch->list == &fetch->site->fetcher->finished) {
        return; /* its end is on the way */
    }
    if (has_time(fetch, now_ns) && arm(fetch)) {
        return;
    }
    if (fetch->drains) {
        retire(fetch);
        return;
    }
    end_with(fetch, now_ns >= fetch->end_ns ? OUTCOME_TOTAL_TIMEOUT : fetch_late(fetch));
}

/* ---- what libcurl calls ---- */

/* Behind a pause. It calls on_data with what it had kept, and would forget a fault of that. */
static void go_on(struct fetch *fetch) {
    struct fetcher *fetcher = fetch->site->fetcher;
    fetcher->turn++;
    fetcher->depth++;
    CURLcode result = curl_easy_pause(fetch->easy, CURLPAUSE_CONT);
    fetcher->depth--;
    if (result != CURLE_OK && fetch->list == &fetcher->active) {
        fetch->code = result;
        fetch_move(fetch, &fetcher->finished);
    }
    fetcher_collect(fetcher);
    fetcher_settle_soon(fetcher);
}

/* The connection stands and the request is about to be written. */
static int on_ready(void *argument, char *ip, char *local_ip, int port, int local_port) {
    struct fetch *fetch = argument;
    (void)ip;
    (void)local_ip;
    (void)port;
    if (++fetch->sends > SENDS_MAX) {
        fetch->fault = OUTCOME_EMPTY_REPLY;
        return CURL_PREREQFUNC_ABORT;
    }
    lookup_not_needed(fetch);
    fetcher_connected(fetch, local_port);
    fetch->phase = FETCH_FIRST_BYTE;
    fetch->uploaded = 0;
    set_deadline(fetch, fetch->site->provider->first_byte_timeout_ms);
    return CURL_PREREQFUNC_OK;
}

/* "HTTP/1.1 200 OK": 0 when it is no status line. */
static int status_of(struct bytes line) {
    size_t blank = bytes_find(line, ' ');
    int64_t status;
    if (!bytes_start_with(line, BYTES_LITERAL("HTTP/")) || line.size < blank + 4 ||
        !bytes_to_int64(bytes_make(line.data + blank + 1, 3), &status)) {
        return 0;
    }
    return (int)status;
}

static void take_field(struct fetch *fetch, struct bytes line) {
    size_t colon = bytes_find(line, ':');
    if (colon == line.size) {
        return;
    }
    struct bytes name = bytes_make(line.data, colon);
    struct bytes value = bytes_trim(bytes_make(line.data + colon + 1, line.size - colon - 1));
    if (bytes_equal_nocase(name, BYTES_LITERAL("content-type"))) {
        size_t size = value.size < FETCH_TYPE_SIZE ? value.size : FETCH_TYPE_SIZE;
        memcpy(fetch->content_type, value.data, size);
        fetch->head.content_type = bytes_make(fetch->content_type, size);
    } else if (bytes_equal_nocase(name, BYTES_LITERAL("content-encoding"))) {
        fetch->head.is_encoded = !bytes_equal_nocase(value, BYTES_LITERAL("identity"));
    } else if (bytes_equal_nocase(name, BYTES_LITERAL("retry-after"))) {
        fetch->head.retry_after_ms = fetch_retry_after_ms(value, clock_wall_ns() / NS_PER_S);
    } else if (bytes_equal_nocase(name, BYTES_LITERAL("x-should-retry"))) {
        fetch->head.should_retry = bytes_equal_str(value, "true")    ? 1
                                   : bytes_equal_str(value, "false") ? -1
                                                                     : 0;
    }
}

static void begin_head(struct fetch *fetch, int status) {
    fetch->head = (struct fetch_head){.status = status, .retry_after_ms = -1};
    if (status >= 200) {
        fetch->phase = FETCH_BODY;
        fetch->heard_ns = now_of(fetch);
        set_deadline(fetch, fetch->site->provider->idle_timeout_ms);
    }
}

static enum outcome end_head(struct fetch *fetch) {
    int status = fetch->head.status;
    if (status == 101) { /* another protocol would follow; nobody asked for one */
        return OUTCOME_BAD_HTTP;
    }
    if (status < 200) {
        return ++fetch->interim > FETCH_MAX_INTERIM ? OUTCOME_BAD_HTTP : OUTCOME_OK;
    }
    if (status > 599) {
        return OUTCOME_BAD_HTTP;
    }
    fetch->head_done = true;
    return fetch->events->head(fetch->user, &fetch->head);
}

static enum outcome take_line(struct fetch *fetch, struct bytes line) {
    fetch->head_size += line.size;
    if (fetch->head_size > FETCH_MAX_HEAD || ++fetch->field_count > FETCH_MAX_FIELDS) {
        return OUTCOME_HEADER_TOO_LARGE;
    }
    if (fetch->head_done) {
        return OUTCOME_OK; /* a trailer */
    }
    while (line.size > 0 &&
           (line.data[line.size - 1] == '\n' || line.data[line.size - 1] == '\r')) {
        line.size--;
    }
    int status = status_of(line);
    if (status != 0) {
        begin_head(fetch, status);
    } else if (line.size == 0) {
        return end_head(fetch);
    } else {
        take_field(fetch, line);
    }
    return OUTCOME_OK;
}

static size_t on_line(char *data, size_t size, size_t count, void *argument) {
    struct fetch *fetch = argument;
    fetch->fault = take_line(fetch, bytes_make(data, size * count));
    return fetch->fault == OUTCOME_OK ? size * count : CURL_WRITEFUNC_ERROR;
}

/* What the socket has is left there until the others have had their turn. */
static void on_rested(void *argument) {
    struct fetch *fetch = argument;
    fetch->rest_timer = NULL;
    if (!fetch->paused && fetch->list == &fetch->site->fetcher->active) {
        go_on(fetch);
    }
}

static void count_turn(struct fetch *fetch, size_t size) {
    const struct fetcher *fetcher = fetch->site->fetcher;
    fetch->turn_bytes = fetch->turn == fetcher->turn ? fetch->turn_bytes + size : size;
    fetch->turn = fetcher->turn;
    if (fetch->turn_bytes < TURN_BYTES || fetch->paused || fetch->rest_timer != NULL) {
        return;
    }
    fetch->rest_timer = timers_after(&fetcher->timers, 0, on_rested, fetch);
    if (fetch->rest_timer != NULL) {
        (void)curl_easy_pause(fetch->easy, CURLPAUSE_RECV);
    }
}

static size_t on_data(char *data, size_t size, size_t count, void *argument) {
    struct fetch *fetch = argument;
    fetch->heard_ns = now_of(fetch);
    if (fetch->fault != OUTCOME_OK) {
        return CURL_WRITEFUNC_ERROR;
    }
    count_turn(fetch, size * count);
    if (fetch->complete) {
        return size * count;
    }
    fetch->fault = fetch->head_done
                       ? fetch->events->data(fetch->user, bytes_make(data, size * count))
                       : OUTCOME_BAD_HTTP;
    return fetch->fault == OUTCOME_OK ? size * count : CURL_WRITEFUNC_ERROR;
}

/* libcurl wants some of a body of several pieces. */
static size_t on_read(char *to, size_t size, size_t count, void *argument) {
    struct fetch *fetch = argument;
    size_t room = size * count;
    size_t done = 0;
    while (done < room && fetch->piece_at < fetch->piece_count) {
        const struct bytes *piece = &fetch->pieces[fetch->piece_at];
        size_t left = piece->size - fetch->piece_sent;
        size_t taken = left < room - done ? left : room - done;
        memcpy(to + done, piece->data + fetch->piece_sent, taken);
        done += taken;
        fetch->piece_sent += taken;
        if (fetch->piece_sent == piece->size) {
            fetch->piece_at++;
            fetch->piece_sent = 0;
        }
    }
    return done;
}

/* And once more from the beginning, on another connection. */
static int on_seek(void *argument, curl_off_t offset, int origin) {
    struct fetch *fetch = argument;
    if (offset != 0 || origin != SEEK_SET) {
        return CURL_SEEKFUNC_FAIL;
    }
    fetch->piece_at = 0;
    fetch->piece_sent = 0;
    return CURL_SEEKFUNC_OK;
}

/* ---- a handle ---- */

#define SET(option, value) \
    (result = result == CURLE_OK ? curl_easy_setopt(fetch->easy, option, value) : result)

static CURLcode set_callbacks(struct fetch *fetch) {
    CURLcode result = CURLE_OK;
    SET(CURLOPT_PRIVATE, fetch);
    SET(CURLOPT_ERRORBUFFER, fetch->error);
    SET(CURLOPT_HEADERFUNCTION, on_line);
    SET(CURLOPT_HEADERDATA, fetch);
    SET(CURLOPT_WRITEFUNCTION, on_data);
    SET(CURLOPT_WRITEDATA, fetch);
    SET(CURLOPT_READFUNCTION, on_read);
    SET(CURLOPT_READDATA, fetch);
    SET(CURLOPT_SEEKFUNCTION, on_seek);
    SET(CURLOPT_SEEKDATA, fetch);
    SET(CURLOPT_PREREQFUNCTION, on_ready);
    SET(CURLOPT_PREREQDATA, fetch);
    SET(CURLOPT_OPENSOCKETFUNCTION, fetcher_open_socket);
    SET(CURLOPT_OPENSOCKETDATA, fetch);
    SET(CURLOPT_CLOSESOCKETFUNCTION, fetcher_close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, fetch->site->fetcher); /* a connection outlives its first fetch */
    return result;
}

static CURLcode set_protocol(struct fetch *fetch) {
    CURLcode result = CURLE_OK;
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* no waiting for a lookup's thread */
    SET(CURLOPT_DNS_CACHE_TIMEOUT, -1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, CURL_PATIENCE_MS);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_PROTOCOLS_STR, fetch->site->is_tls ? "https" : "http");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_BUFFERSIZE, READ_BYTES);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_HTTPHEADER, fetch->site->fields);
    SET(CURLOPT_USERAGENT, "optiroute/" PACKAGE_VERSION);
    return result;
}

/* The bundle is named and the directory is not: then libcurl keeps one parsed store for all
 * connections, instead of 870 KiB and 35 ms for each (libcurl 7.88, Debian 12). */
static CURLcode set_tls(struct fetch *fetch) {
    const struct conf_provider *provider = fetch->site->provider;
    CURLcode result = CURLE_OK;
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_SHARE, fetch->site->fetcher->share);
    if (provider->ca_pem.size > 0) {
        struct curl_blob blob = {.data = (void *)(uintptr_t)provider->ca_pem.data,
                                 .len = provider->ca_pem.size,
                                 .flags = CURL_BLOB_NOCOPY};
        SET(CURLOPT_CAINFO_BLOB, &blob);
    }
    return result;
}

static struct fetch *fetch_new(struct fetch_site *site) {
    struct fetch *fetch = calloc(1, sizeof(*fetch));
    if (fetch == NULL) {
        return NULL;
    }
    fetch->site = site;
    fetch->easy = curl_easy_init();
    if (fetch->easy == NULL || set_callbacks(fetch) != CURLE_OK ||
        set_protocol(fetch) != CURLE_OK || (site->is_tls && set_tls(fetch) != CURLE_OK)) {
        fetch_free(fetch);
        return NULL;
    }
    return fetch;
}

void fetch_free(struct fetch *fetch) {
    curl_easy_cleanup(fetch->easy);
    free(fetch);
}

static struct fetch *take_spare(struct fetch_site *site) {
    struct fetch *fetch = site->spare;
    if (fetch == NULL) {
        return fetch_new(site);
    }
    site->spare = fetch->next_spare;
    site->spare_count--;
    return fetch;
}

/* Out of libcurl and of every list, its timer gone; kept for the next request, or freed. */
static void retire(struct fetch *fetch) {
    struct fetch_site *site = fetch->site;
    fetcher_remove(site->fetcher, fetch);
    fetch_move(fetch, NULL);
    timers_cancel(&site->fetcher->timers, fetch->timer);
    timers_cancel(&site->fetcher->timers, fetch->rest_timer);
    fetch->timer = fetch->rest_timer = NULL;
    fetch->phase = FETCH_SPARE;
    fetch_drop_fields(fetch);
    if (site->spare_count >= FETCH_SPARE_MAX) {
        fetch_free(fetch);
        return;
    }
    fetch->next_spare = site->spare;
    site->spare = fetch;
    site->spare_count++;
}

/* ---- public ---- */

static void reset(struct fetch *fetch, const struct fetch_request *request) {
    const struct conf_provider *provider = fetch->site->provider;
    int64_t now_ns = now_of(fetch);
    fetch->events = request->events;
    fetch->user = request->user;
    fetch->shortage = fetch->paused = fetch->head_done = false;
    fetch->complete = fetch->drains = fetch->ended = false;
    fetch->fault = OUTCOME_OK;
    fetch->code = CURLE_OK;
    fetch->sends = fetch->interim = fetch->field_count = fetch->opened_count = 0;
    fetch->head_size = 0;
    fetch->head = (struct fetch_head){.retry_after_ms = -1};
    fetch->pieces = request->pieces;
    fetch->piece_count = request->piece_count;
    fetch->piece_at = 0;
    fetch->piece_sent = 0;
    fetch->body_size = 0;
    for (unsigned i = 0; i < request->piece_count; i++) {
        fetch->body_size += request->pieces[i].size;
    }
    fetch->uploaded = 0;
    fetch->error[0] = '\0';
    fetch->deadline_ns = now_ns + provider->connect_timeout_ms * NS_PER_MS;
    fetch->end_ns = now_ns + provider->total_timeout_ms * NS_PER_MS;
    if (request->deadline_ns < fetch->end_ns) {
        fetch->end_ns = request->deadline_ns;
    }
}

bool fetch_start(struct fetch_site *site, const struct fetch_request *request, struct fetch **out) {
    struct fetch *fetch = take_spare(site);
    if (fetch == NULL) {
        return false;
    }
    CURLcode result = CURLE_OK;
    reset(fetch, request);
    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_POSTFIELDS, fetch->piece_count == 1 ? fetch->pieces[0].data : NULL);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)fetch->body_size);
    if (result != CURLE_OK ||
        (request->fields.size > 0 && !fetch_take_fields(fetch, request->fields)) || !arm(fetch)) {
        retire(fetch);
        return false;
    }
    *out = fetch;
    if (lookup_enter(fetch)) {
        fetcher_begin(site->fetcher, fetch);
        fetcher_settle_soon(site->fetcher);
    }
    return true;
}

/* The waiters of its lookup go on in the next turn. */
void fetch_cancel(struct fetch *fetch) {
    struct fetcher *fetcher = fetch->site->fetcher;
    ASSERT(fetch->phase != FETCH_SPARE);
    lookup_leave(fetch, OUTCOME_CLIENT_GONE);
    retire(fetch);
    fetcher_settle_soon(fetcher);
}

/* Why there is no encrypted connection, which only the operator can mend: once a minute a site. */
static void log_tls(struct fetch *fetch, enum outcome outcome) {
    struct fetch_site *site = fetch->site;
    int64_t now_ns = now_of(fetch);
    if ((outcome == OUTCOME_TLS_VERIFY || outcome == OUTCOME_TLS_HANDSHAKE) &&
        (site->tls_logged_ns == 0 || now_ns - site->tls_logged_ns >= TLS_LOG_NS)) {
        site->tls_logged_ns = now_ns;
        log_error("provider %s: %s: %s", site->provider->name, outcome_name(outcome),
                  fetch->error[0] != '\0' ? fetch->error : curl_easy_strerror(fetch->code));
    }
}

static void end_with(struct fetch *fetch, enum outcome outcome) {
    struct fetcher *fetcher = fetch->site->fetcher;
    const struct fetch_events *events = fetch->events;
    void *user = fetch->user;
    lookup_leave(fetch, outcome);
    log_tls(fetch, outcome);
    /* Out of libcurl before, in the spare list after: `end` may still ask how it was sent. */
    fetcher_remove(fetcher, fetch);
    fetch_move(fetch, NULL);
    events->end(user, outcome);
    retire(fetch);
    fetcher_settle_soon(fetcher);
}

/* The caller has all that it wants. The exchange may go on to its end, but not without the
 * request's body, which the caller is about to free. */
static void end_early(struct fetch *fetch) {
    struct fetcher *fetcher = fetch->site->fetcher;
    curl_off_t uploaded = 0;
    (void)curl_easy_getinfo(fetch->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
    if ((size_t)uploaded < fetch->body_size) {
        end_with(fetch, OUTCOME_OK);
        return;
    }
    lookup_leave(fetch, OUTCOME_OK);
    fetch->drains = true;
    fetch_move(fetch, &fetcher->active);
    fetch->events->end(fetch->user, OUTCOME_OK);
    if (fetch->paused) {
        retire(fetch);
    } else {
        fetch_limit(fetch, DRAIN_MS);
    }
    fetcher_settle_soon(fetcher);
}

void fetch_settle(struct fetch *fetch) {
    if (fetch->drains) {
        retire(fetch);
    } else if (fetch->complete && !fetch->ended) {
        end_early(fetch);
    } else {
        end_with(fetch, fetch->complete ? OUTCOME_OK : fetch_fault(fetch, fetch->code));
    }
}

void fetch_complete(struct fetch *fetch) {
    fetch->complete = true;
    fetch_move(fetch, &fetch->site->fetcher->finished);
}

bool fetch_was_sent(const struct fetch *fetch) {
    return fetch->sends > 0;
}

unsigned fetch_stale_sends(const struct fetch *fetch) {
    return fetch->sends > 1 ? fetch->sends - 1 : 0;
}

void fetch_limit(struct fetch *fetch, int64_t ms) {
    int64_t end_ns = now_of(fetch) + ms * NS_PER_MS;
    if (end_ns < fetch->end_ns) {
        fetch->end_ns = end_ns;
        (void)arm(fetch);
    }
}

void fetch_pause(struct fetch *fetch) {
    if (!fetch->paused && fetch->added) {
        fetch->paused = true;
        (void)curl_easy_pause(fetch->easy, CURLPAUSE_RECV);
    }
}

void fetch_resume(struct fetch *fetch) {
    if (!fetch->paused || !fetch->added) {
        return;
    }
    fetch->paused = false;
    fetch->heard_ns = now_of(fetch);
    if (fetch->rest_timer == NULL) {
        go_on(fetch);
    }
}
