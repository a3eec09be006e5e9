/* entry: how an answer lies in the store: a fixed head and its strings, one after the other.
 *
 *   0        8        16       24      28  30  32  34  36       40       44       48
 *   | cost   | prompt | compl. | json  |prv|rto|mdl|rsn| flags  | text at| text   |
 *                              | size  | sizes of four |        |        | size   |
 *   | provider | routed_to | model | reason | json |
 *
 * Same machine, so integers lie as they are in memory; another binary may read them from a
 * cache.file, so ENTRY_LAYOUT goes up when this picture changes. Decoding checks every length: a
 * value that does not add up is no entry.
 */
#ifndef OPTIROUTE_GATEWAY_ENTRY_H
#define OPTIROUTE_GATEWAY_ENTRY_H

#include "base/bytes.h"
#include "upstream/chat.h"

#define ENTRY_HEAD_SIZE 48
#define ENTRY_LAYOUT 1u

/* Views into the stored bytes after decoding. */
struct entry {
    struct bytes json;     /* the answer, in the form of the request that it is stored under */
    struct chat_span text; /* FORM_CHAT: its text in json as a string, quotes included */
    struct usage usage;
    int64_t cost_nusd;      /* COST_UNKNOWN when it was */
    struct bytes provider;  /* that answered */
    struct bytes routed_to; /* that the router chose */
    struct bytes model;     /* label */
    struct bytes reason;    /* route reason */
};

/* Appends the entry; out->failed when it does not fit. */
void entry_encode(const struct entry *entry, struct buf *out);
/* -1 when the bytes are no entry. */
int entry_decode(struct bytes value, struct entry *entry);

#endif
