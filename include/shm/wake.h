/* wake: how one process tells another that there is something to look at: an eventfd for each slot.
 *
 * A wake-up carries nothing. Who is woken looks at what it waits for, and finds out there whether
 * anything has changed; so one too many costs a look and is never wrong. One too few costs time:
 * who waits looks once a second besides.
 */
#ifndef OPTIROUTE_SHM_WAKE_H
#define OPTIROUTE_SHM_WAKE_H

#include "shm/region.h"

/* Master, at boot, before the first fork: the eventfds of all slots, non-blocking, close-on-exec.
 * -1 when the system has none left (errno says why). */
int wake_open(struct region *region);
/* Owner of the slot, in its event loop: readable when it was woken. -1 without wake_open. */
int wake_fd(const struct region *region, int slot);
/* Owner: takes the wake-ups that have come. */
void wake_take(const struct region *region, int slot);
/* Anybody, never under a lock: wakes the owner of the slot. */
void wake_slot(const struct region *region, int slot);
/* The same for all slots that were ever claimed: the master, when somebody whom others may wait for
 * has died. */
void wake_all(const struct region *region);

#endif
