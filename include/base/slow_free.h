/* slow_free: gives large memory back to the system piece by piece, one a turn of the loop.
 *
 * The kernel takes a tenth of a millisecond and more for each megabyte that it gets back; thirty of
 * them in one go would keep everybody else waiting for three.
 */
#ifndef OPTIROUTE_BASE_SLOW_FREE_H
#define OPTIROUTE_BASE_SLOW_FREE_H

#include "base/bytes.h"
#include "base/timers.h"

#define SLOW_FREE_MIN ((size_t)4 * 1024 * 1024) /* bytes; smaller memory is freed at once */

struct slow_block;
struct slow_free {
    struct timers timers;
    struct timer *timer;      /* NULL: nothing to do */
    struct slow_block *first; /* what is left, in its own memory */
};

void slow_free_init(struct slow_free *slow, const struct timers *timers);
/* Frees all that is left, now. */
void slow_free_fini(struct slow_free *slow);
/* As buf_free: the buffer is empty afterwards. */
void slow_free_buf(struct slow_free *slow, struct buf *buf);

#endif
