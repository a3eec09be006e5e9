/* flight: see shm/flight.h. Runs in every worker.
 *
 * The surprise: `waiting` is not cleared when a flight begins. Its bits are taken by who wakes
 * (exchange with 0), and a slot that was woken for nothing sets its bit again when it looks. So a
 * new flight in an entry never loses those who waited for the one before.
 *
 * Who waits sets its bit and then reads `word` again; who ends the flight changes `word` and then
 * takes the bits; both in one total order (seq_cst), so at least one of them sees the other.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "base/failpoint.h"
#include "flight_layout.h"
#include "region_layout.h"
#include "shm/wake.h"
#include "store_layout.h"

#define SLOT_BITS 8
#define STATE_BITS 3
#define FAILURES_BITS 2
#define NUMBER_BITS 19
#define STATE_SHIFT SLOT_BITS
#define FAILURES_SHIFT (STATE_SHIFT + STATE_BITS)
#define NUMBER_SHIFT (FAILURES_SHIFT + FAILURES_BITS)
#define INCARNATION_SHIFT 32
_Static_assert(NUMBER_SHIFT + NUMBER_BITS == INCARNATION_SHIFT, "the word is full");
_Static_assert(FLIGHT_FAILURES_MAX < 1 << FAILURES_BITS, "failures fit");

struct flight {
    enum flight_state state;
    int slot; /* of the leader; may be no slot when the bytes are damaged */
    uint32_t incarnation;
    uint32_t number;
    unsigned failures;
};

static struct flight unpack(uint64_t word) {
    return (struct flight){
        .slot = (int)(word & ((1u << SLOT_BITS) - 1)),
        .state = (enum flight_state)(word >> STATE_SHIFT & ((1u << STATE_BITS) - 1)),
        .failures = (unsigned)(word >> FAILURES_SHIFT & ((1u << FAILURES_BITS) - 1)),
        .number = (uint32_t)(word >> NUMBER_SHIFT & ((1u << NUMBER_BITS) - 1)),
        .incarnation = (uint32_t)(word >> INCARNATION_SHIFT),
    };
}

static uint64_t pack(const struct flight *flight) {
    return (uint64_t)flight->incarnation << INCARNATION_SHIFT |
           (uint64_t)(flight->number & ((1u << NUMBER_BITS) - 1)) << NUMBER_SHIFT |
           (uint64_t)flight->failures << FAILURES_SHIFT | (uint64_t)flight->state << STATE_SHIFT |
           (uint64_t)flight->slot;
}

static struct flight_entry *entry_at(const struct store *store, uint32_t index) {
    return (struct flight_entry *)(void *)(store->region->base + store->region->at.flights) + index;
}

/* Bytes 0..3 of the key choose the shard, whose lock protects the set: so the set must not be
 * another shard's. There are as many sets as shards or more, and both are powers of two. */
_Static_assert(FLIGHT_SETS >= REGION_SHARDS_MAX, "no two shards share a set");
_Static_assert((FLIGHT_SETS & (FLIGHT_SETS - 1)) == 0, "a power of two");
static uint32_t set_of(const struct store *store, const uint8_t key[STORE_KEY_SIZE]) {
    uint32_t shard_part, spread;
    memcpy(&shard_part, key, sizeof(shard_part));
    memcpy(&spread, key + 16, sizeof(spread));
    uint32_t shard = shard_part & (store->shard_count - 1);
    return ((spread & (FLIGHT_SETS / store->shard_count - 1)) * store->shard_count + shard) *
           FLIGHT_WAYS;
}

/* Led by a process that lives, as far as its slot says. */
static bool is_led(const struct store *store, const struct flight *flight) {
    return (flight->state == FLIGHT_LED || flight->state == FLIGHT_UNSHARED) &&
           flight->slot < REGION_SLOTS &&
           board_incarnation(store->region, flight->slot) == flight->incarnation;
}

/* -- Join, under the lock -- */

static struct flight_entry *find_entry(const struct store *store, const uint8_t key[STORE_KEY_SIZE],
                                       uint32_t *index) {
    uint32_t first = set_of(store, key);
    for (*index = first; *index < first + FLIGHT_WAYS; ++*index) {
        struct flight_entry *entry = entry_at(store, *index);
        if (unpack(atomic_load(&entry->word)).state != FLIGHT_FREE &&
            memcmp(entry->key, key, STORE_KEY_SIZE) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* One that is FREE, else one that nobody leads: those who wait for it see that it is another. */
static struct flight_entry *find_room(const struct store *store, const uint8_t key[STORE_KEY_SIZE],
                                      uint32_t *index) {
    uint32_t first = set_of(store, key);
    struct flight_entry *abandoned = NULL;
    for (uint32_t i = first; i < first + FLIGHT_WAYS; i++) {
        struct flight_entry *entry = entry_at(store, i);
        struct flight flight = unpack(atomic_load(&entry->word));
        if (flight.state == FLIGHT_FREE) {
            *index = i;
            return entry;
        }
        if (abandoned == NULL && !is_led(store, &flight)) {
            abandoned = entry;
            *index = i;
        }
    }
    return abandoned;
}

static enum flight_join lead(const struct store *store, struct flight_entry *entry, uint64_t seen,
                             struct flight flight, int slot, struct flight_ticket *ticket,
                             unsigned *failures) {
    flight.state = FLIGHT_LED;
    flight.slot = slot;
    flight.incarnation = board_incarnation(store->region, slot);
    FAILPOINT("flight.lead.1");
    if (!atomic_compare_exchange_strong(&entry->word, &seen, pack(&flight))) {
        return FLIGHT_BUSY; /* a leader thought dead was not: look again */
    }
    FAILPOINT("flight.lead.2");
    ticket->number = flight.number;
    *failures = flight.failures;
    return FLIGHT_LEAD;
}

static enum flight_join begin(const struct store *store, const uint8_t key[STORE_KEY_SIZE],
                              int slot, struct flight_ticket *ticket, unsigned *failures) {
    struct flight_entry *entry = find_room(store, key, &ticket->index);
    if (entry == NULL) {
        return FLIGHT_ALONE;
    }
    uint64_t seen = atomic_load(&entry->word);
    struct flight flight = unpack(seen);
    flight.number++; /* pack cuts it */
    flight.failures = 0;
    /* A death between the two leaves an entry that is FREE, or one that nobody leads under a key
     * that was not its own: both may be taken. */
    memcpy(entry->key, key, STORE_KEY_SIZE);
    return lead(store, entry, seen, flight, slot, ticket, failures);
}

static _Atomic uint64_t *waiting_word(struct flight_entry *entry, int slot) {
    return &entry->waiting[(unsigned)slot / 64];
}

static uint64_t waiting_bit(int slot) {
    return UINT64_C(1) << ((unsigned)slot % 64);
}

/* At an entry of the key that is not FREE. */
static enum flight_join take_part(const struct store *store, struct flight_entry *entry, int slot,
                                  struct flight_ticket *ticket, unsigned *failures) {
    atomic_fetch_or(waiting_word(entry, slot), waiting_bit(slot));
    FAILPOINT("flight.wait.1");
    uint64_t word = atomic_load(&entry->word);
    struct flight flight = unpack(word);
    enum flight_join result = FLIGHT_WAIT;
    if (flight.state != FLIGHT_FREE && !is_led(store, &flight)) {
        result = lead(store, entry, word, flight, slot, ticket, failures);
    } else if (flight.state != FLIGHT_LED) {
        result = FLIGHT_ALONE; /* UNSHARED; or ended this moment, after a look into the store */
    }
    if (result == FLIGHT_WAIT) {
        ticket->number = flight.number;
        *failures = flight.failures;
    } else {
        atomic_fetch_and(waiting_word(entry, slot), ~waiting_bit(slot));
    }
    return result;
}

/* -- Public: who asks -- */

static bool is_stored(struct store *store, struct shard *shard, const uint8_t key[STORE_KEY_SIZE],
                      int64_t now_ms, int64_t max_age_ms) {
    const struct record *record = store_find_live(store, shard, key, now_ms);
    return record != NULL && (int64_t)((uint64_t)now_ms - (uint64_t)record->stamp_ms) <= max_age_ms;
}

enum flight_join flight_join(struct store *store, const uint8_t key[STORE_KEY_SIZE], int slot,
                             int64_t max_age_ms, struct flight_ticket *ticket, unsigned *failures) {
    *failures = 0;
    if (store->shard_count == 0) {
        return FLIGHT_ALONE;
    }
    int64_t now_ms = region_now_ms(store->region);
    struct shard *shard = store_take_shard(store, key, now_ms);
    if (shard == NULL) {
        return FLIGHT_BUSY;
    }
    enum flight_join result = FLIGHT_STORED;
    if (!is_stored(store, shard, key, now_ms, max_age_ms)) {
        struct flight_entry *entry = find_entry(store, key, &ticket->index);
        result = entry != NULL ? take_part(store, entry, slot, ticket, failures)
                               : begin(store, key, slot, ticket, failures);
    }
    lock_release(&shard->lock);
    return result;
}

enum flight_join flight_look(struct store *store, const uint8_t key[STORE_KEY_SIZE], int slot,
                             int64_t max_age_ms, struct flight_ticket *ticket, unsigned *failures) {
    int64_t now_ms = region_now_ms(store->region);
    struct shard *shard = store_take_shard(store, key, now_ms);
    if (shard == NULL) {
        return FLIGHT_BUSY;
    }
    struct flight_entry *entry = entry_at(store, ticket->index);
    struct flight flight = unpack(atomic_load(&entry->word));
    enum flight_join result = FLIGHT_ALONE;
    if (is_stored(store, shard, key, now_ms, max_age_ms)) {
        result = FLIGHT_STORED;
    } else if (flight.state != FLIGHT_FREE && flight.number == ticket->number) {
        result = take_part(store, entry, slot, ticket, failures);
    }
    lock_release(&shard->lock);
    return result;
}

bool flight_has_changed(const struct store *store, const struct flight_ticket *ticket, int slot) {
    struct flight_entry *entry = entry_at(store, ticket->index);
    struct flight flight = unpack(atomic_load(&entry->word));
    return (atomic_load(waiting_word(entry, slot)) & waiting_bit(slot)) == 0 ||
           flight.number != ticket->number || flight.state != FLIGHT_LED || !is_led(store, &flight);
}

void flight_leave(struct store *store, const struct flight_ticket *ticket, int slot) {
    struct flight_entry *entry = entry_at(store, ticket->index);
    if (unpack(atomic_load(&entry->word)).number == ticket->number) {
        atomic_fetch_and(waiting_word(entry, slot), ~waiting_bit(slot));
    }
}

/* -- Public: the leader -- */

static void wake_waiting(const struct store *store, struct flight_entry *entry) {
    for (int half = 0; half < 2; half++) {
        uint64_t bits = atomic_exchange(&entry->waiting[half], 0);
        for (; bits != 0; bits &= bits - 1) {
            wake_slot(store->region, half * 64 + __builtin_ctzll(bits));
        }
    }
}

/* From a state that this slot leads in to another. */
static void change(struct store *store, const struct flight_ticket *ticket, int slot,
                   enum flight_state to, unsigned failures) {
    struct flight_entry *entry = entry_at(store, ticket->index);
    uint64_t word = atomic_load(&entry->word);
    struct flight flight = unpack(word);
    if (!is_led(store, &flight) || flight.slot != slot || flight.number != ticket->number) {
        return;
    }
    flight.state = to;
    flight.failures += failures;
    if (flight.failures > FLIGHT_FAILURES_MAX) {
        flight.failures = FLIGHT_FAILURES_MAX;
    }
    FAILPOINT("flight.end.1");
    if (!atomic_compare_exchange_strong(&entry->word, &word, pack(&flight))) {
        return;
    }
    FAILPOINT("flight.end.2");
    wake_waiting(store, entry);
    FAILPOINT("flight.end.3");
}

void flight_end(struct store *store, const struct flight_ticket *ticket, int slot) {
    change(store, ticket, slot, FLIGHT_FREE, 0);
}

void flight_unshare(struct store *store, const struct flight_ticket *ticket, int slot) {
    change(store, ticket, slot, FLIGHT_UNSHARED, 0);
}

void flight_vacate(struct store *store, const struct flight_ticket *ticket, int slot,
                   bool has_failed) {
    change(store, ticket, slot, FLIGHT_VACANT, has_failed ? 1 : 0);
}

bool flight_is_awaited(const struct store *store, const struct flight_ticket *ticket, int slot) {
    struct flight_entry *entry = entry_at(store, ticket->index);
    for (int i = 0; i < REGION_SLOTS; i++) {
        if (i != slot && (atomic_load(waiting_word(entry, i)) & waiting_bit(i)) != 0 &&
            board_role(store->region, i) == BOARD_WORKER) {
            return true;
        }
    }
    return false;
}

unsigned flight_count(const struct store *store) {
    unsigned count = 0;
    for (uint32_t i = 0; i < FLIGHTS_MAX && store->shard_count != 0; i++) {
        count += unpack(atomic_load(&entry_at(store, i)->word)).state != FLIGHT_FREE;
    }
    return count;
}
