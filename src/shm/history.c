/* history: see the header. Samples are written by one process at a time, once in ten seconds, and
 * requests by each worker after each answer.
 *
 * Samples lie in columns, not in rows: a column that nobody uses (there are those of 64 providers)
 * costs no page. A stamp per sample and a sequence word per request tell a reader whether what it
 * copied was whole: the writer makes it odd, writes, makes it even. Values are stored with release
 * and loaded with acquire, so that a reader who saw a new value also sees the mark made before it
 * (on x86 these are plain moves).
 */
#include "config.h"

#include <string.h>

#include "base/panic.h"
#include "base/text.h"
#include "region_layout.h"
#include "shm/history.h"

#define REQUEST_WORDS (sizeof(struct history_request) / 8)
_Static_assert(sizeof(struct history_request) == 8 * REQUEST_WORDS, "requests are copied by words");

/* One request. Words behind the sequence: struct history_request. */
struct history_entry {
    _Atomic uint64_t sequence; /* 0 never written, odd: being written, else whole */
    _Atomic uint64_t words[REQUEST_WORDS];
};
_Static_assert(sizeof(struct history_entry) == 256, "entries share no cache line");

/* Writer: the slot's owner. */
struct history_ring {
    _Alignas(REGION_LINE) _Atomic uint64_t added; /* requests so far; the next one's place */
    _Alignas(REGION_LINE) struct history_entry entries[HISTORY_REQUESTS];
};

struct history {
    _Alignas(REGION_LINE) _Atomic uint64_t begun; /* newest sample begun; by compare-and-swap */
    /* number * 2 + 1 while it is written, number * 2 when it is whole; by compare-and-swap */
    _Atomic uint64_t stamps[HISTORY_SAMPLES];
    /* 1 once the slot's ring was written to; reading a hole of a memfd would allocate it */
    _Atomic uint8_t ring_used[REGION_SLOTS];
    _Alignas(REGION_LINE) _Atomic uint64_t columns[HISTORY_COLUMNS][HISTORY_SAMPLES];
    struct history_ring rings[REGION_SLOTS];
};

size_t history_bytes(void) {
    return sizeof(struct history);
}

static struct history *history_of(const struct region *region) {
    return (struct history *)(void *)(region->base + region->at.history);
}

void history_forget(struct region *region) {
    memset(history_of(region), 0, history_bytes());
}

/* -- samples ----------------------------------------------------------------------------------- */

static _Atomic uint64_t *stamp_of(struct history *history, uint64_t number) {
    return &history->stamps[number % HISTORY_SAMPLES];
}

bool history_begin(struct region *region, uint64_t *number) {
    struct history *history = history_of(region);
    uint64_t due = (uint64_t)(region_now_ms(region) / HISTORY_PERIOD_MS) + 1;
    uint64_t begun = atomic_load_explicit(&history->begun, memory_order_relaxed);
    /* A clock read a moment ago may be one period behind; what is further ahead is damage. */
    if (begun == due || begun == due + 1 ||
        !atomic_compare_exchange_strong_explicit(&history->begun, &begun, due, memory_order_relaxed,
                                                 memory_order_relaxed)) {
        return false;
    }
    _Atomic uint64_t *stamp = stamp_of(history, due);
    uint64_t before = atomic_load_explicit(stamp, memory_order_relaxed);
    *number = due;
    return atomic_compare_exchange_strong_explicit(stamp, &before, due * 2 + 1,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

void history_set(struct region *region, uint64_t number, unsigned column, uint64_t value) {
    struct history *history = history_of(region);
    ASSERT(column < HISTORY_COLUMNS);
    if (atomic_load_explicit(stamp_of(history, number), memory_order_relaxed) == number * 2 + 1) {
        atomic_store_explicit(&history->columns[column][number % HISTORY_SAMPLES], value,
                              memory_order_release);
    }
}

void history_end(struct region *region, uint64_t number) {
    uint64_t writing = number * 2 + 1;
    atomic_compare_exchange_strong_explicit(stamp_of(history_of(region), number), &writing,
                                            number * 2, memory_order_release, memory_order_relaxed);
}

uint64_t history_newest(const struct region *region) {
    return atomic_load_explicit(&history_of(region)->begun, memory_order_relaxed);
}

bool history_read(const struct region *region, uint64_t number, unsigned first, unsigned count,
                  uint64_t *out) {
    struct history *history = history_of(region);
    _Atomic uint64_t *stamp = stamp_of(history, number);
    ASSERT(first + count <= HISTORY_COLUMNS);
    if (number == 0 || atomic_load_explicit(stamp, memory_order_acquire) != number * 2) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        out[i] = atomic_load_explicit(&history->columns[first + i][number % HISTORY_SAMPLES],
                                      memory_order_acquire);
    }
    return atomic_load_explicit(stamp, memory_order_relaxed) == number * 2;
}

/* -- requests ---------------------------------------------------------------------------------- */

void history_set_text(char *field, size_t size, struct bytes text) {
    size_t fits = text.size < size ? text.size : size - 1;
    while (fits > 0 && fits < text.size && ((unsigned char)text.data[fits] & 0xc0) == 0x80) {
        fits--; /* not between the bytes of one character */
    }
    if (fits > 0) {
        memcpy(field, text.data, fits);
    }
}

void history_add(struct region *region, int slot, const struct history_request *request) {
    struct history *history = history_of(region);
    ASSERT(slot >= 0 && slot < REGION_SLOTS);
    struct history_ring *ring = &history->rings[slot];
    uint64_t added = atomic_load_explicit(&ring->added, memory_order_relaxed);
    struct history_entry *entry = &ring->entries[added % HISTORY_REQUESTS];
    atomic_store_explicit(&history->ring_used[slot], 1, memory_order_relaxed);
    atomic_store_explicit(&entry->sequence, added * 2 + 1, memory_order_relaxed);
    for (size_t i = 0; i < REQUEST_WORDS; i++) {
        uint64_t word;
        memcpy(&word, (const char *)request + 8 * i, sizeof(word));
        atomic_store_explicit(&entry->words[i], word, memory_order_release);
    }
    atomic_store_explicit(&entry->sequence, added * 2 + 2, memory_order_release);
    atomic_store_explicit(&ring->added, added + 1, memory_order_relaxed);
}

static bool read_entry(const struct history_entry *entry, struct history_request *out) {
    uint64_t words[REQUEST_WORDS];
    uint64_t sequence = atomic_load_explicit(&entry->sequence, memory_order_acquire);
    if (sequence == 0 || sequence % 2 != 0) {
        return false;
    }
    for (size_t i = 0; i < REQUEST_WORDS; i++) {
        words[i] = atomic_load_explicit(&entry->words[i], memory_order_acquire);
    }
    if (atomic_load_explicit(&entry->sequence, memory_order_relaxed) != sequence) {
        return false;
    }
    memcpy(out, words, sizeof(words));
    /* what a file holds may be anything */
    out->provider[sizeof(out->provider) - 1] = out->route[sizeof(out->route) - 1] = '\0';
    out->model[sizeof(out->model) - 1] = out->reason[sizeof(out->reason) - 1] = '\0';
    return true;
}

/* Into the list, which is sorted, when there is room or it is newer than the last. */
static unsigned insert(struct history_request *list, unsigned count, unsigned most,
                       const struct history_request *request) {
    unsigned at = count;
    while (at > 0 && list[at - 1].at_ms < request->at_ms) {
        at--;
    }
    if (at == most) {
        return count;
    }
    unsigned last = count < most ? count : most - 1;
    memmove(&list[at + 1], &list[at], (last - at) * sizeof(*list));
    list[at] = *request;
    return last + 1;
}

static bool is_used(const struct history *history, int slot) {
    return atomic_load_explicit(&history->ring_used[slot], memory_order_relaxed) != 0;
}

unsigned history_recent(const struct region *region, struct history_request *out, unsigned most) {
    struct history *history = history_of(region);
    struct history_request request;
    unsigned count = 0;
    for (int slot = 0; slot < REGION_SLOTS; slot++) {
        if (!is_used(history, slot)) {
            continue;
        }
        const struct history_ring *ring = &history->rings[slot];
        uint64_t added = atomic_load_explicit(&ring->added, memory_order_relaxed);
        /* backwards, so that of two of the same moment the later comes first */
        for (uint64_t i = 1; i <= HISTORY_REQUESTS; i++) {
            if (read_entry(&ring->entries[(added - i) % HISTORY_REQUESTS], &request)) {
                count = insert(out, count, most, &request);
            }
        }
    }
    return count;
}

uint64_t history_added(const struct region *region) {
    struct history *history = history_of(region);
    uint64_t sum = 0;
    for (int slot = 0; slot < REGION_SLOTS; slot++) {
        if (is_used(history, slot)) {
            sum += atomic_load_explicit(&history->rings[slot].added, memory_order_relaxed);
        }
    }
    return sum;
}
