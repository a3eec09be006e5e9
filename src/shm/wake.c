/* wake: see shm/wake.h. The descriptors are inherited by every process; nothing of it lies in the
 * region. A slot's descriptor outlives its owners: the heir takes what was meant for the dead one,
 * looks, and finds nothing. */
#include "config.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "region_layout.h"

#include "shm/board.h"
#include "shm/wake.h"

int wake_open(struct region *region) {
    for (int slot = 0; slot < REGION_SLOTS; slot++) {
        region->wake_fds[slot] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (region->wake_fds[slot] == -1) {
            return -1;
        }
    }
    return 0;
}

int wake_fd(const struct region *region, int slot) {
    return region->wake_fds[slot];
}

void wake_take(const struct region *region, int slot) {
    uint64_t times;
    ssize_t taken = read(region->wake_fds[slot], &times, sizeof(times));
    (void)taken; /* nothing to take is no harm */
}

void wake_slot(const struct region *region, int slot) {
    const uint64_t once = 1;
    if (region->wake_fds[slot] != -1) {
        ssize_t written = write(region->wake_fds[slot], &once, sizeof(once));
        (void)written; /* a full counter is readable as well */
    }
}

void wake_all(const struct region *region) {
    int seen = board_seen(region);
    for (int slot = 0; slot < seen; slot++) {
        wake_slot(region, slot);
    }
}
