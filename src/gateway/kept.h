/* kept: the data of a stream's events, a line each, until they can be stored; private to layer
 * gateway.
 *
 * The events of a stream look alike, so of each is kept only what differs from the one before: a
 * tenth or less of all. A thousand streams would else hold more here than for anything else.
 */
#ifndef OPTIROUTE_SRC_GATEWAY_KEPT_H
#define OPTIROUTE_SRC_GATEWAY_KEPT_H

#include "base/bytes.h"

struct kept {
    struct buf packed; /* see kept.c */
    struct buf last;   /* the line that was added last */
    size_t whole_size; /* bytes of all lines */
};

/* limit: bytes of what is held. */
void kept_init(struct kept *kept, size_t limit);
/* Empty afterwards, and may be used again. */
void kept_free(struct kept *kept);
/* Bytes held. */
static inline size_t kept_size(const struct kept *kept) {
    return kept->packed.size + kept->last.size;
}
/* False: no memory, or past the limit; then what was kept is of no use. */
bool kept_add(struct kept *kept, struct bytes data);
/* Appends all lines, each with its line feed. */
void kept_unpack(const struct kept *kept, struct buf *out);

#endif
