/* flight_layout: the bytes of the flight table; private to layer shm and its tests. */
#ifndef OPTIROUTE_SHM_FLIGHT_LAYOUT_H
#define OPTIROUTE_SHM_FLIGHT_LAYOUT_H

#include <stdatomic.h>

#include "shm/flight.h"

#define FLIGHT_WAYS 8u /* entries of a set; a key's entry lies in its set */
#define FLIGHT_SETS (FLIGHTS_MAX / FLIGHT_WAYS)

enum flight_state { FLIGHT_FREE, FLIGHT_LED, FLIGHT_UNSHARED, FLIGHT_VACANT };

/* Of `word`: incarnation of the leader 32 | number 19 | failures 2 | state 3 | slot 8, lowest last.
 * One word, so that the leader may be changed by a compare-and-swap and a death leaves the old or
 * the new. */
struct flight_entry {
    _Alignas(64) _Atomic uint64_t word; /* from FREE: under the lock of the key's shard; else also
                                           the leader, without */
    _Atomic uint64_t waiting[2]; /* a bit for each slot; set by who waits, taken by who wakes; one
                                    too many is a wake-up too many */
    uint8_t key[STORE_KEY_SIZE]; /* under the lock; means nothing when FREE */
};
_Static_assert(sizeof(struct flight_entry) == 64, "an entry is one cache line");
_Static_assert(REGION_SLOTS <= 128, "a bit for each slot");

#endif
