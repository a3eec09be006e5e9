/* access_log: one JSON line per request: what it cost, where it went, how long it took. Never
 * prompts, answers or keys.
 *
 * The members of a line, in this order: time (RFC 3339, UTC, milliseconds), request_id, tenant,
 * client, method, path, status, route, reason, provider, model, cache, outcome, attempts,
 * prompt_tokens, completion_tokens, cached_tokens, estimated, cost_usd, saved_usd, upstream_s,
 * overhead_s, duration_s. Money is in USD and times in seconds, both with nine decimals; what there
 * was not is null.
 *
 * Buffered per process and written in whole lines: at 64 KiB, by access_log_flush (called once a
 * second and after a line that cost something), at reopen and at the end. A line that cannot be
 * written (disk full) is dropped and counted, and the error log has the reason at most once a
 * minute; one that was cut in the middle is ended by a newline as soon as writing works again.
 */
#ifndef OPTIROUTE_WATCH_ACCESS_LOG_H
#define OPTIROUTE_WATCH_ACCESS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct access_record {
    int64_t wall_ns;           /* when the request's first byte came */
    struct bytes request_id;   /* [A-Za-z0-9._-]{1,64} */
    struct bytes tenant;       /* "default" until there are several */
    struct bytes client;       /* peer address without port, "" when unknown */
    struct bytes method, path; /* path: the route's, "other" for unknown ones */
    int status;
    struct bytes route, route_reason, provider,
        model;           /* "" where there was none: printed as null */
    const char *cache;   /* hit, coalesced, miss, bypass; NULL: null */
    const char *outcome; /* of the last attempt; NULL: null */
    unsigned attempts;   /* at all providers together */
    bool has_usage;      /* prompt and completion tokens are known */
    bool estimated;      /* tokens were estimated */
    int64_t prompt_tokens, completion_tokens;
    int64_t cached_tokens; /* of the prompt's, read from the provider's cache */
    bool has_cost;         /* false: null (unknown price, or nothing was asked of a model) */
    int64_t cost_nusd, saved_nusd;
    int64_t upstream_ns, overhead_ns, duration_ns;
};

struct access_log;

/* path "" gives a log that writes nothing. NULL with errno when the file cannot be opened. */
struct access_log *access_log_open(const char *path);
void access_log_close(struct access_log *log); /* flushes; NULL does nothing */
bool access_log_is_on(const struct access_log *log);
void access_log_write(struct access_log *log, const struct access_record *record);
/* Writes what is buffered. */
void access_log_flush(struct access_log *log);
/* Flushes, then opens the path again (after rotation). -1 with errno: the old file stays in use. */
int access_log_reopen(struct access_log *log);
/* Lines dropped since the start. */
uint64_t access_log_dropped(const struct access_log *log);

#endif
