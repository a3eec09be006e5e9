/* arena: see base/arena.h. Used by every process; not for sharing between threads.
 *
 * The surprise: a piece larger than a block gets a block of its own, hung behind the first one, so
 * that the block being filled stays current and the first block always has the ordinary size.
 *
 *     first --> oversized --> ordinary --> ordinary = current
 *     kept      `------------- freed by arena_reset ---------'
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

/* Under AddressSanitizer what is not handed out is poisoned: an overrun inside a block, and the use
 * of request memory after arena_reset, are then reported as if every piece came from malloc. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif

#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#endif

struct arena_block {
    struct arena_block *next; /* owned */
    size_t capacity;          /* bytes at data */
    size_t used;              /* bytes of data handed out */
    alignas(max_align_t) char data[];
};

/* Not inline: gcc takes poisoning for a read of memory that nobody has written. */
__attribute__((noinline)) static void poison(void *data, size_t size) {
#ifdef ARENA_POISONS
    __asan_poison_memory_region(data, size);
#else
    (void)data;
    (void)size;
#endif
}

static void unpoison(void *data, size_t size) {
#ifdef ARENA_POISONS
    __asan_unpoison_memory_region(data, size);
#else
    (void)data;
    (void)size;
#endif
}

void arena_init(struct arena *arena, size_t block_size, size_t limit) {
    *arena = (struct arena){.block_size = block_size, .limit = limit};
}

static struct arena_block *block_new(size_t capacity) {
    if (capacity > SIZE_MAX - sizeof(struct arena_block)) {
        return NULL;
    }
    struct arena_block *block = malloc(sizeof(*block) + capacity);
    if (block != NULL) {
        block->next = NULL;
        block->capacity = capacity;
        block->used = 0;
        poison(block->data, capacity);
    }
    return block;
}

static void block_free(struct arena_block *block) {
    unpoison(block->data, block->capacity);
    free(block);
}

static bool block_has_room(const struct arena_block *block, size_t size) {
    return block != NULL && size <= block->capacity - block->used;
}

/* The first block, made when it is first needed. */
static bool arena_start(struct arena *arena) {
    if (arena->first == NULL) {
        arena->first = block_new(arena->block_size);
        arena->current = arena->first;
    }
    return arena->first != NULL;
}

/* A block with room for `size` bytes, or NULL. */
static struct arena_block *arena_block_for(struct arena *arena, size_t size) {
    if (!arena_start(arena)) {
        return NULL;
    }
    if (block_has_room(arena->current, size)) {
        return arena->current;
    }
    struct arena_block *block = block_new(size > arena->block_size ? size : arena->block_size);
    if (block == NULL) {
        return NULL;
    }
    block->next = arena->first->next;
    arena->first->next = block;
    if (size <= arena->block_size) {
        arena->current = block;
    }
    return block;
}

void *arena_alloc(struct arena *arena, size_t size) {
    const size_t align = alignof(max_align_t);
    if (size > SIZE_MAX - align) {
        return NULL;
    }
    size_t rounded = size == 0 ? align : (size + align - 1) / align * align;
    if (rounded > arena->limit - arena->used) {
        return NULL;
    }
    struct arena_block *block = arena_block_for(arena, rounded);
    if (block == NULL) {
        return NULL;
    }
    void *piece = block->data + block->used;
    block->used += rounded;
    arena->used += rounded;
    unpoison(piece, size);
    return piece;
}

void *arena_calloc(struct arena *arena, size_t count, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        return NULL;
    }
    void *piece = arena_alloc(arena, total);
    if (piece != NULL) {
        memset(piece, 0, total);
    }
    return piece;
}

struct bytes arena_copy(struct arena *arena, struct bytes bytes) {
    if (bytes.size == SIZE_MAX) {
        return bytes_make(NULL, 0);
    }
    char *copy = arena_alloc(arena, bytes.size + 1);
    if (copy == NULL) {
        return bytes_make(NULL, 0);
    }
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    copy[bytes.size] = '\0';
    return bytes_make(copy, bytes.size);
}

char *arena_strdup(struct arena *arena, const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = arena_alloc(arena, size);
    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

void arena_reset(struct arena *arena) {
    arena->used = 0;
    arena->current = arena->first;
    if (arena->first == NULL) {
        return;
    }
    struct arena_block *block = arena->first->next;
    while (block != NULL) {
        struct arena_block *next = block->next;
        block_free(block);
        block = next;
    }
    arena->first->next = NULL;
    arena->first->used = 0;
    poison(arena->first->data, arena->first->capacity);
}

void arena_fini(struct arena *arena) {
    arena_reset(arena);
    if (arena->first != NULL) {
        block_free(arena->first);
    }
    arena->first = NULL;
    arena->current = NULL;
}
