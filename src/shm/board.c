/* board: slots of processes, their gauges and last words, and the daemon-wide words.
 *
 * The master claims, names and releases slots; the owner of a slot writes state, beat, gauges and
 * last words; everybody reads. No locks. The surprise: the incarnation is raised at release, not at
 * claim, so what carries a dead owner's incarnation is stale from the moment its gauges are gone.
 */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "base/panic.h"
#include "region_layout.h"

#define ROLE_MASK UINT64_C(0xff)
#define MASTER_SHIFT 8
#define MASTER_MASK UINT64_C(0xffffff) /* Linux has no process id above 2^22 */
#define INCARNATION_SHIFT 32

static struct board_slot *slot_of(const struct region *region, int slot) {
    ASSERT(slot >= 0 && slot < REGION_SLOTS);
    return region_slot(region, slot);
}

static enum board_role role_of(const struct board_slot *slot) {
    return (enum board_role)(atomic_load_explicit(&slot->claim, memory_order_acquire) & ROLE_MASK);
}

static pid_t master_of(uint64_t claim) {
    return (pid_t)(claim >> MASTER_SHIFT & MASTER_MASK);
}

static uint64_t with_master(uint64_t claim, pid_t master) {
    return (claim & ~(MASTER_MASK << MASTER_SHIFT)) | (uint64_t)master << MASTER_SHIFT;
}

static void clear_gauges(struct board_slot *slot) {
    atomic_store_explicit(&slot->gauges.connections, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->gauges.connections_idle, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->gauges.requests_in_flight, 0, memory_order_relaxed);
    for (unsigned provider = 0; provider < REGION_PROVIDERS; provider++) {
        atomic_store_explicit(&slot->outstanding[provider], 0, memory_order_relaxed);
    }
}

/* Two masters may claim at once: the larger number stays. */
static void raise_seen(struct region *region, uint32_t count) {
    uint32_t seen = atomic_load_explicit(&region->header->slots_seen, memory_order_relaxed);
    while (seen < count &&
           !atomic_compare_exchange_weak_explicit(&region->header->slots_seen, &seen, count,
                                                  memory_order_release, memory_order_relaxed)) {
        continue;
    }
}

int board_claim(struct region *region, enum board_role role, uint32_t generation) {
    ASSERT(role != BOARD_FREE);
    for (int i = 0; i < REGION_SLOTS; i++) {
        struct board_slot *slot = region_slot(region, i);
        uint64_t claim = atomic_load_explicit(&slot->claim, memory_order_relaxed);
        if ((claim & ROLE_MASK) != BOARD_FREE ||
            !atomic_compare_exchange_strong_explicit(&slot->claim, &claim,
                                                     with_master(claim, getpid()) | (uint64_t)role,
                                                     memory_order_acq_rel, memory_order_relaxed)) {
            continue;
        }
        /* A reader may see the role before these; state is STARTING since the release (or zero
         * since birth), so it counts the slot as not ready whatever generation it still shows. */
        clear_gauges(slot);
        atomic_store_explicit(&slot->pid, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->state, BOARD_STARTING, memory_order_relaxed);
        atomic_store_explicit(&slot->generation, generation, memory_order_relaxed);
        atomic_store_explicit(&slot->last_beat_ms, region_now_ms(region), memory_order_relaxed);
        atomic_store_explicit(&slot->claimed_ms, region_now_ms(region), memory_order_relaxed);
        slot->last_words[0] = '\0';
        raise_seen(region, (uint32_t)i + 1);
        return i;
    }
    return -1;
}

void board_set_pid(struct region *region, int slot, pid_t pid) {
    atomic_store_explicit(&slot_of(region, slot)->pid, pid, memory_order_release);
}

void board_release(struct region *region, int slot) {
    struct board_slot *place = slot_of(region, slot);
    clear_gauges(place);
    atomic_store_explicit(&place->pid, 0, memory_order_relaxed);
    atomic_store_explicit(&place->state, BOARD_STARTING, memory_order_relaxed);
    uint64_t claim = atomic_load_explicit(&place->claim, memory_order_relaxed);
    uint64_t freed = ((claim >> INCARNATION_SHIFT) + 1) << INCARNATION_SHIFT | BOARD_FREE;
    atomic_store_explicit(&place->claim, freed, memory_order_release);
}

void board_reset(struct region *region) {
    for (int i = 0; i < REGION_SLOTS; i++) {
        struct board_slot *slot = region_slot(region, i);
        board_release(region, i);
        atomic_store_explicit(&slot->generation, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->last_beat_ms, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->claimed_ms, 0, memory_order_relaxed);
        memset(slot->last_words, 0, sizeof(slot->last_words));
    }
    atomic_store_explicit(&region->header->slots_seen, 0, memory_order_relaxed);
    for (unsigned word = 0; word < REGION_BOARD_WORDS; word++) {
        atomic_store_explicit(&region->header->board_words[word], 0, memory_order_relaxed);
    }
}

enum board_role board_role(const struct region *region, int slot) {
    return role_of(slot_of(region, slot));
}

pid_t board_pid(const struct region *region, int slot) {
    return atomic_load_explicit(&slot_of(region, slot)->pid, memory_order_acquire);
}

uint32_t board_generation(const struct region *region, int slot) {
    return atomic_load_explicit(&slot_of(region, slot)->generation, memory_order_relaxed);
}

uint32_t board_incarnation(const struct region *region, int slot) {
    uint64_t claim = atomic_load_explicit(&slot_of(region, slot)->claim, memory_order_acquire);
    return (uint32_t)(claim >> INCARNATION_SHIFT);
}

pid_t board_master(const struct region *region, int slot) {
    return master_of(atomic_load_explicit(&slot_of(region, slot)->claim, memory_order_acquire));
}

bool board_adopt(struct region *region, int slot, pid_t master) {
    struct board_slot *place = slot_of(region, slot);
    uint64_t claim = atomic_load_explicit(&place->claim, memory_order_acquire);
    return (claim & ROLE_MASK) != BOARD_FREE && master_of(claim) == master &&
           atomic_compare_exchange_strong(&place->claim, &claim, with_master(claim, getpid()));
}

enum board_state board_state(const struct region *region, int slot) {
    return (enum board_state)atomic_load_explicit(&slot_of(region, slot)->state,
                                                  memory_order_acquire);
}

void board_set_state(struct region *region, int slot, enum board_state state) {
    atomic_store_explicit(&slot_of(region, slot)->state, state, memory_order_release);
}

void board_beat(struct region *region, int slot) {
    atomic_store_explicit(&slot_of(region, slot)->last_beat_ms, region_now_ms(region),
                          memory_order_relaxed);
}

int64_t board_last_beat_ms(const struct region *region, int slot) {
    return atomic_load_explicit(&slot_of(region, slot)->last_beat_ms, memory_order_relaxed);
}

int64_t board_claimed_ms(const struct region *region, int slot) {
    return atomic_load_explicit(&slot_of(region, slot)->claimed_ms, memory_order_relaxed);
}

int board_seen(const struct region *region) {
    uint32_t seen = atomic_load_explicit(&region->header->slots_seen, memory_order_acquire);
    return seen < REGION_SLOTS ? (int)seen : REGION_SLOTS;
}

struct board_gauges *board_gauges(struct region *region, int slot) {
    return &slot_of(region, slot)->gauges;
}

/* Sequentially consistent, so that of two processes that take the last place at once at least one
 * sees the other. */
bool board_begin_attempt(struct region *region, int slot, unsigned provider, int64_t most) {
    ASSERT(provider < REGION_PROVIDERS);
    _Atomic int32_t *own = &slot_of(region, slot)->outstanding[provider];
    int32_t before = atomic_load_explicit(own, memory_order_relaxed);
    atomic_store(own, before + 1);
    if (board_outstanding(region, provider) > most) {
        atomic_store(own, before);
        return false;
    }
    return true;
}

void board_end_attempt(struct region *region, int slot, unsigned provider) {
    ASSERT(provider < REGION_PROVIDERS);
    _Atomic int32_t *own = &slot_of(region, slot)->outstanding[provider];
    int32_t before = atomic_load_explicit(own, memory_order_relaxed);
    ASSERT(before > 0);
    atomic_store_explicit(own, before - 1, memory_order_release);
}

int64_t board_outstanding(const struct region *region, unsigned provider) {
    ASSERT(provider < REGION_PROVIDERS);
    int64_t sum = 0;
    int seen = board_seen(region);
    for (int i = 0; i < seen; i++) {
        sum += atomic_load(&region_slot(region, i)->outstanding[provider]);
    }
    return sum;
}

/* As for attempts: told first, then summed. */
bool board_take_connection(struct region *region, int slot, int64_t own, int64_t most) {
    _Atomic int64_t *gauge = &slot_of(region, slot)->gauges.connections;
    int64_t sum = 0;
    int seen = board_seen(region);
    atomic_store(gauge, own + 1);
    for (int i = 0; i < seen; i++) {
        const struct board_slot *other = region_slot(region, i);
        if (role_of(other) == BOARD_WORKER) {
            sum += atomic_load(&other->gauges.connections);
        }
    }
    if (sum > most) {
        atomic_store(gauge, own);
        return false;
    }
    return true;
}

/* Plain bytes without a lock: the owner writes them once, dying, and the master reads them after it
 * reaped the owner, which orders the two. Another reader at a bad moment sees a cut text, never
 * more than the field. No ASSERT: this runs inside panic(). */
void board_set_last_words(struct region *region, int slot, const char *words) {
    if (slot < 0 || slot >= REGION_SLOTS) {
        return;
    }
    char *field = region_slot(region, slot)->last_words;
    size_t length = strnlen(words, BOARD_LAST_WORDS_SIZE - 1);
    memcpy(field, words, length);
    field[length] = '\0';
}

void board_last_words(const struct region *region, int slot, char *out, size_t out_size) {
    if (out_size == 0) {
        return;
    }
    const char *field = slot_of(region, slot)->last_words;
    size_t length = strnlen(field, BOARD_LAST_WORDS_SIZE - 1);
    if (length > out_size - 1) {
        length = out_size - 1;
    }
    memcpy(out, field, length);
    out[length] = '\0';
}

int64_t board_ready_connections(const struct region *region, uint32_t generation,
                                unsigned *workers) {
    int64_t sum = 0;
    *workers = 0;
    int seen = board_seen(region);
    for (int i = 0; i < seen; i++) {
        const struct board_slot *slot = region_slot(region, i);
        if (role_of(slot) == BOARD_WORKER &&
            atomic_load_explicit(&slot->state, memory_order_acquire) == BOARD_READY &&
            atomic_load_explicit(&slot->generation, memory_order_relaxed) == generation) {
            sum += atomic_load_explicit(&slot->gauges.connections, memory_order_relaxed);
            (*workers)++;
        }
    }
    return sum;
}

void board_sum_gauges(const struct region *region, int64_t *connections, int64_t *idle,
                      int64_t *in_flight) {
    *connections = *idle = *in_flight = 0;
    int seen = board_seen(region);
    for (int i = 0; i < seen; i++) {
        const struct board_slot *slot = region_slot(region, i);
        if (role_of(slot) != BOARD_WORKER) {
            continue;
        }
        const struct board_gauges *gauges = &slot->gauges;
        *connections += atomic_load_explicit(&gauges->connections, memory_order_relaxed);
        *idle += atomic_load_explicit(&gauges->connections_idle, memory_order_relaxed);
        *in_flight += atomic_load_explicit(&gauges->requests_in_flight, memory_order_relaxed);
    }
}

void board_set_word(struct region *region, enum board_word word, int64_t value) {
    ASSERT(word < BOARD_WORD_COUNT);
    atomic_store_explicit(&region->header->board_words[word], value, memory_order_release);
}

int64_t board_get_word(const struct region *region, enum board_word word) {
    ASSERT(word < BOARD_WORD_COUNT);
    return atomic_load_explicit(&region->header->board_words[word], memory_order_acquire);
}

void board_add_word(struct region *region, enum board_word word, int64_t value) {
    ASSERT(word < BOARD_WORD_COUNT);
    atomic_fetch_add(&region->header->board_words[word], value);
}

int64_t board_raise_word(struct region *region, enum board_word word, int64_t value) {
    ASSERT(word < BOARD_WORD_COUNT);
    _Atomic int64_t *place = &region->header->board_words[word];
    int64_t before = atomic_load(place);
    while (before < value && !atomic_compare_exchange_weak(place, &before, value)) {
        continue;
    }
    return before < value ? value : before;
}
