/* The dashboard's statistics as JSON, for /api/stats and /api/events. One per worker; its buffers
 * are what the figures are gathered in. */
#ifndef OPTIROUTE_SRC_STATS_JSON_H
#define OPTIROUTE_SRC_STATS_JSON_H

#include "gateway/gateway.h"
#include "watch/stats.h"

#define STATS_RECENT 30 /* requests that are listed */

struct stats_json {
    const struct gateway_env *env;
    struct stats now;
    uint64_t columns[STATS_COLUMNS]; /* of now */
    uint64_t minute[STATS_COLUMNS];  /* a minute ago */
    bool has_minute;
    int64_t wall_ns; /* of now */
    struct history_request recent[STATS_RECENT];
};

/* Which parts that are long and seldom change are wanted. */
struct stats_wish {
    bool history;
    uint64_t after; /* of the history, samples with a number above it */
    bool recent;
};

/* Appends one object. */
void stats_json_write(struct stats_json *stats, const struct stats_wish *wish, struct buf *out);

/* Parts, in stats_json_history.c: members of the object that is open. */
struct json_writer;
void stats_json_history(const struct stats_json *stats, uint64_t after, struct json_writer *writer);
void stats_json_recent(struct stats_json *stats, struct json_writer *writer);
/* Nine decimals, null when it is negative: a value, and a member of that value. */
void stats_json_put_ns(struct json_writer *writer, int64_t ns);
void stats_json_seconds(struct json_writer *writer, const char *key, int64_t ns);

#endif
