/* history: the last hour and the last requests, as every process sees them.
 *
 * Two rings in the region. *Samples* are rows of words, one every ten seconds, each written by
 * whichever process asks first when it is due; what the columns mean is watch/stats' business.
 * *Requests* are kept in one small ring per slot, written by the slot's owner alone after each
 * request, with plain stores and no lock; a reader merges them. Nothing here is a prompt, an answer
 * or a key.
 *
 * Both are read while they are written: a reader sees a sample or a request whole, or not at all.
 * They outlive workers (the heir of a slot goes on in its ring), reloads and, with cache.file,
 * restarts within one boot of the machine.
 */
#ifndef OPTIROUTE_SHM_HISTORY_H
#define OPTIROUTE_SHM_HISTORY_H

#include "base/bytes.h"
#include "shm/region.h"

#define HISTORY_PERIOD_MS 10000
#define HISTORY_SAMPLES 360 /* an hour */
#define HISTORY_COLUMNS 1408
#define HISTORY_REQUESTS 32 /* of each slot */

/* -- samples: numbered by their time, region ms / HISTORY_PERIOD_MS + 1, so 0 is none -- */

/* True for one process in each period: it sets the columns of sample *number and ends it. */
bool history_begin(struct region *region, uint64_t *number);
/* Does nothing when another process has overtaken us by an hour in between. */
void history_set(struct region *region, uint64_t number, unsigned column, uint64_t value);
/* From here on the sample is seen. Without it (a death in between) it never is. */
void history_end(struct region *region, uint64_t number);
/* The newest sample that somebody began, 0 before the first. Older ones than HISTORY_SAMPLES before
 * it are gone. */
uint64_t history_newest(const struct region *region);
/* Columns [first, first + count) of a sample; false when it is not there (nobody took it, it is
 * being written, or it is gone). */
bool history_read(const struct region *region, uint64_t number, unsigned first, unsigned count,
                  uint64_t *out);

/* -- requests -- */

#define HISTORY_COST_UNKNOWN INT64_MIN

enum history_flag {
    HISTORY_STREAMED = 1,
    HISTORY_HAS_USAGE = 2, /* the token counts mean something */
    HISTORY_ESTIMATED = 4  /* and are estimates */
};

/* The enums of higher layers are small numbers here. The texts are cut to fit, at a character. */
struct history_request {
    int64_t at_ms; /* region time of its end */
    int64_t duration_ns;
    int64_t cost_nusd; /* HISTORY_COST_UNKNOWN: no price, or nothing was asked of a model */
    int64_t saved_nusd;
    int64_t prompt_tokens, completion_tokens;
    uint16_t status;
    uint8_t endpoint; /* enum metric_endpoint */
    uint8_t cache;    /* enum answer_cache + 1, 0: it did not come so far */
    uint8_t outcome;  /* enum outcome + 1 of the last attempt, 0: there was none */
    uint8_t attempts; /* 255: that many or more */
    uint8_t flags;    /* enum history_flag */
    uint8_t reserved; /* 0 */
    char provider[32], route[32], model[64], reason[64]; /* terminated; "": none */
};

/* For the texts: as much as fits, terminated. The field holds zeros before. */
void history_set_text(char *field, size_t size, struct bytes text);
/* The owner of the slot. Reads no clock: that would be half of what it costs. */
void history_add(struct region *region, int slot, const struct history_request *request);
/* The newest `most` of all slots, newest first; returns how many there are. */
unsigned history_recent(const struct region *region, struct history_request *out, unsigned most);
/* Goes up with each request that anybody adds: the same number, nothing new. */
uint64_t history_added(const struct region *region);

#endif
