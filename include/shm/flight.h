/* flight: identical requests that are in flight on the machine, so that one upstream call answers
 * them all.
 *
 * One entry per key: who leads (a slot and its incarnation) and which slots wait for the answer.
 * Entries are found and made under the lock of the key's store shard, so that nobody misses both
 * the answer in the store and the flight that brings it; the leader ends its flight without any
 * lock, by one compare-and-swap. What the answer is is not here: it is in the store when the flight
 * is over, or it is not.
 *
 *            join                    flight_end
 *   FREE ----------> LED ---------------------------------> FREE
 *    ^                | \ flight_unshare --> UNSHARED --------^
 *    |                |  \
 *    |   flight_vacate|   \ the leader dies: it is LED or UNSHARED by an incarnation that is gone
 *    |                v    v
 *    +-------------- VACANT ---- join of one who waits, or of a newcomer ----> LED
 *
 * A death at any point leaves one of these states. Capacity is fixed (FLIGHTS_MAX); where there is
 * no room a request goes alone, which costs money and is never wrong.
 */
#ifndef OPTIROUTE_SHM_FLIGHT_H
#define OPTIROUTE_SHM_FLIGHT_H

#include "shm/store.h"

#define FLIGHTS_MAX 16384 /* on the machine, at once */

/* A flight as one process knows it: where it lies and which one it is of those that lay there. */
struct flight_ticket {
    uint32_t index;
    uint32_t number;
};

enum flight_join {
    FLIGHT_STORED, /* the answer is in the store, young enough and not expired */
    FLIGHT_LEAD,   /* the slot leads: it brings the answer and ends the flight */
    FLIGHT_WAIT,   /* another slot does; this one is woken when there is something to look at */
    FLIGHT_ALONE,  /* the answer cannot be shared, the flight waited for ended without one, or there
                      is no room */
    FLIGHT_BUSY    /* the shard's lock was not to be had: who waits goes on waiting */
};

/* A request that found nothing in the store. *failures: how often leaders of this flight have
 * failed before, 0 to FLIGHT_FAILURES_MAX. The ticket is set by LEAD and WAIT. max_age_ms as in
 * store_get. */
enum flight_join flight_join(struct store *store, const uint8_t key[STORE_KEY_SIZE], int slot,
                             int64_t max_age_ms, struct flight_ticket *ticket, unsigned *failures);
/* The same of a slot that waits with this ticket, after a wake-up: never begins a new flight. */
enum flight_join flight_look(struct store *store, const uint8_t key[STORE_KEY_SIZE], int slot,
                             int64_t max_age_ms, struct flight_ticket *ticket, unsigned *failures);
/* Without a lock: could flight_look say something else than WAIT, or has the slot been woken since
 * it looked last? */
bool flight_has_changed(const struct store *store, const struct flight_ticket *ticket, int slot);

#define FLIGHT_FAILURES_MAX 3

/* -- Leader: what follows is nothing when the flight is not (any more) led by this slot. ---------
 */

/* The flight is over: the answer is in the store, or there is none. Wakes who waits. */
void flight_end(struct store *store, const struct flight_ticket *ticket, int slot);
/* The answer, still on its way, will not be in the store: who waits elsewhere may go. */
void flight_unshare(struct store *store, const struct flight_ticket *ticket, int slot);
/* The leader gives up; one of those who wait leads once more. has_failed: counts as a failure. */
void flight_vacate(struct store *store, const struct flight_ticket *ticket, int slot,
                   bool has_failed);
/* Does a living slot (but this one) wait? A moment ago: who comes later finds the flight's state.
 */
bool flight_is_awaited(const struct store *store, const struct flight_ticket *ticket, int slot);

/* -- Who waits. */

/* Nobody here waits any more. */
void flight_leave(struct store *store, const struct flight_ticket *ticket, int slot);

/* For tests: entries that are not FREE. */
unsigned flight_count(const struct store *store);

#endif
