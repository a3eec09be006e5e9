/* slow_free: see base/slow_free.h. Used by workers.
 *
 * The surprise: what is to be freed holds the list of what is to be freed. Its last pages go first
 * and the one with the list's entry last, so nothing has to be allocated in order to free.
 */
#include "base/slow_free.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PIECE ((size_t)1024 * 1024)
#define PAGE_MAX ((size_t)65536) /* a multiple of every page size there is */

struct slow_block {
    struct slow_block *next;
    size_t size; /* bytes from here on that were not given back */
};

static void on_turn(void *argument);

void slow_free_init(struct slow_free *slow, const struct timers *timers) {
    *slow = (struct slow_free){.timers = *timers};
}

static void free_first(struct slow_free *slow) {
    struct slow_block *block = slow->first;
    slow->first = block->next;
    free(block);
}

void slow_free_fini(struct slow_free *slow) {
    timers_cancel(&slow->timers, slow->timer);
    slow->timer = NULL;
    while (slow->first != NULL) {
        free_first(slow);
    }
}

/* Its last pages: whole ones, and never the first. */
static void give_back_piece(struct slow_block *block) {
    uintptr_t start = (uintptr_t)block;
    uintptr_t end = start + block->size;
    uintptr_t from = (end - PIECE) / PAGE_MAX * PAGE_MAX;
    uintptr_t until = end / PAGE_MAX * PAGE_MAX;
    (void)madvise((char *)block + (from - start), until - from, MADV_DONTNEED);
    block->size = from - start;
}

static bool arm(struct slow_free *slow) {
    if (slow->timer == NULL) {
        slow->timer = timers_after(&slow->timers, 0, on_turn, slow);
    }
    return slow->timer != NULL;
}

static void on_turn(void *argument) {
    struct slow_free *slow = argument;
    slow->timer = NULL;
    if (slow->first->size >= 2 * PIECE) {
        give_back_piece(slow->first);
    } else {
        free_first(slow);
    }
    if (slow->first != NULL && !arm(slow)) {
        slow_free_fini(slow);
    }
}

void slow_free_buf(struct slow_free *slow, struct buf *buf) {
    if (buf->fixed || buf->capacity < SLOW_FREE_MIN || !arm(slow)) {
        buf_free(buf);
        return;
    }
    struct slow_block *block = (struct slow_block *)(void *)buf->data;
    *block = (struct slow_block){.next = slow->first, .size = buf->capacity};
    slow->first = block;
    buf->data = NULL;
    buf_free(buf);
}
