/* capacity: see proc/capacity.h. No state, no system calls. */
#include "config.h"

#include "proc/capacity.h"

#include <stdio.h>

#include "shm/region.h"

/* Open in every process before its first connection: loop, pipes, logs, sockets; and a wake-up for
 * each slot of the board. */
#define BASE (32 + REGION_SLOTS)
/* A health check is pushed out only when so many come between its connection and its request. */
#define ABOVE_MAX 64
/* Connections to providers of the clients that are in, name look-ups, log files. */
#define OTHERS_MAX 128

static int64_t clamp(int64_t value, int64_t least, int64_t most) {
    return value < least ? least : value > most ? most : value;
}

struct capacity capacity_of(int64_t most, unsigned processes, uint64_t nofile) {
    int64_t files = nofile < INT32_MAX ? (int64_t)nofile : INT32_MAX;
    struct capacity capacity = {.above = clamp(files / 16, 4, ABOVE_MAX)};
    capacity.descriptors = files - capacity.above - clamp(files / 8, 8, OTHERS_MAX);
    int64_t room = clamp(capacity.descriptors - BASE, 1, INT32_MAX) * processes;
    if (processes > 1) {
        room = clamp(room * 8 / 9, 1, INT64_MAX);
    }
    capacity.connections = most < room ? most : room;
    return capacity;
}

int64_t capacity_body_bytes(uint64_t memory, int64_t cache, int64_t max_body, unsigned processes) {
    int64_t there = memory < INT64_MAX ? (int64_t)memory : INT64_MAX;
    int64_t part = (there - cache) / 2 / processes;
    return part > 4 * max_body ? part : 4 * max_body;
}

uint64_t capacity_nofile(int64_t most, unsigned processes) {
    int64_t share = processes > 1 ? (most * 9 + 8 * processes - 1) / (8 * processes) : most;
    return (uint64_t)(share + 1 + BASE + ABOVE_MAX + OTHERS_MAX);
}

bool capacity_is_short(int64_t most, unsigned processes, uint64_t nofile, char *line, size_t size) {
    struct capacity capacity = capacity_of(most, processes, nofile);
    if (capacity.connections >= most) {
        return false;
    }
    snprintf(line, size,
             "a process may have %llu open files, which is room for %lld connections and not for "
             "max_connections (%lld): raise nofile (ulimit -n, LimitNOFILE=) to %llu",
             (unsigned long long)nofile, (long long)capacity.connections, (long long)most,
             (unsigned long long)capacity_nofile(most, processes));
    return true;
}
