/* arena: memory that is taken piece by piece and given back at once; one per request.
 *
 * The first block is kept over arena_reset, so an object that is used again and again (a pooled
 * flow) allocates nothing on its usual path. An arena has a hard cap; past it, and when the system
 * has no memory, arena_alloc returns NULL and the request answers 503.
 */
#ifndef OPTIROUTE_BASE_ARENA_H
#define OPTIROUTE_BASE_ARENA_H

#include <stddef.h>

#include "base/bytes.h"

struct arena_block;

struct arena {
    struct arena_block *first;   /* kept over reset; NULL until the first allocation */
    struct arena_block *current; /* where the next piece comes from */
    size_t block_size;           /* bytes of an ordinary block */
    size_t used;                 /* bytes handed out, rounding included */
    size_t limit;                /* used never passes this */
};

void arena_init(struct arena *arena, size_t block_size, size_t limit);
/* Aligned for any type, not zeroed; NULL past the limit or without memory. size 0 gives a valid
 * pointer. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_calloc(struct arena *arena, size_t count, size_t size);
/* A copy with a NUL behind it (not counted in size). data is NULL on failure. */
struct bytes arena_copy(struct arena *arena, struct bytes bytes);
char *arena_strdup(struct arena *arena, const char *text);
/* Gives everything back except the first block. */
void arena_reset(struct arena *arena);
void arena_fini(struct arena *arena);

#endif
