/* board: what each process of the daemon says of itself, slot by slot, for the master and for the
 * metrics.
 *
 * A slot is claimed by compare-and-swap for a pid, with an incarnation that is raised every time,
 * so that a late message of a dead owner is never taken for the heir's. Written by its owner
 * (relaxed) except where a field says master. When the master has reaped the owner it clears the
 * gauges and frees the slot. During an upgrade there are two masters (or more, while old ones
 * drain): a slot is its claimer's, and changes hands only by board_adopt.
 */
#ifndef OPTIROUTE_SHM_BOARD_H
#define OPTIROUTE_SHM_BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "shm/region.h"

enum board_role { BOARD_FREE, BOARD_WORKER, BOARD_METRICS };
enum board_state { BOARD_STARTING, BOARD_READY, BOARD_DRAINING };

#define BOARD_LAST_WORDS_SIZE 256

/* Shared; gauges of one process. */
struct board_gauges {
    _Atomic int64_t connections;        /* open client connections within the limit */
    _Atomic int64_t connections_idle;   /* of these between two requests */
    _Atomic int64_t requests_in_flight; /* requests whose answer is not complete */
};

/* Master: claims a free slot for itself (its pid is in the claim) before it forks; -1 when none is
 * free. Sets role, generation, state STARTING, clears gauges and last words. */
int board_claim(struct region *region, enum board_role role, uint32_t generation);
/* Master: after fork, the child's pid. */
void board_set_pid(struct region *region, int slot, pid_t pid);
/* The slot's master, after the owner was reaped: clears the gauges, raises the incarnation, frees
 * the slot. */
void board_release(struct region *region, int slot);
/* The master that claimed the slot; 0 when it is free. */
pid_t board_master(const struct region *region, int slot);
/* A slot that a dead master left behind becomes the caller's, who then may release it. False when
 * another was quicker or it is not `master`'s (any more). */
bool board_adopt(struct region *region, int slot, pid_t master);

enum board_role board_role(const struct region *region, int slot);
pid_t board_pid(const struct region *region, int slot);
uint32_t board_generation(const struct region *region, int slot);
uint32_t board_incarnation(const struct region *region, int slot);
enum board_state board_state(const struct region *region, int slot);
void board_set_state(struct region *region, int slot, enum board_state state);
/* Owner: once a second. Reader: region time of the last beat in ms. */
void board_beat(struct region *region, int slot);
int64_t board_last_beat_ms(const struct region *region, int slot);
/* Region time at which it was claimed, just before the fork. */
int64_t board_claimed_ms(const struct region *region, int slot);
/* Slots from here on were never claimed and need no look. */
int board_seen(const struct region *region);
struct board_gauges *board_gauges(struct region *region, int slot);
/* Owner: one more attempt is under way at a provider (index of the name table), unless that would
 * be more than `most` on the whole machine: then false, and nothing changed. Never more than `most`
 * at once; of two that take the last place at the same moment both may be refused. */
bool board_begin_attempt(struct region *region, int slot, unsigned provider, int64_t most);
void board_end_attempt(struct region *region, int slot, unsigned provider);
/* Attempts under way at a provider, over all processes. */
int64_t board_outstanding(const struct region *region, unsigned provider);
/* Owner, from the panic hook: copies at most BOARD_LAST_WORDS_SIZE-1 bytes. Async-signal-safe. */
void board_set_last_words(struct region *region, int slot, const char *words);
/* Copies out, always terminated, empty when nothing was said. */
void board_last_words(const struct region *region, int slot, char *out, size_t out_size);

/* Owner, a worker: takes one more client connection to the `own` it has, unless that would be more
 * than `most` over all workers of all generations: then false. True: its gauge says own + 1, which
 * the owner has to keep right from then on. Never more than `most` at once; of two that take the
 * last place at the same moment both may be refused. */
bool board_take_connection(struct region *region, int slot, int64_t own, int64_t most);

/* Sum and number over the READY workers of a generation, for the accept balance
 * (proc/accept.h). */
int64_t board_ready_connections(const struct region *region, uint32_t generation,
                                unsigned *workers);
/* Gauge sums over the workers of all generations, for the metrics; who scrapes them is no client.
 */
void board_sum_gauges(const struct region *region, int64_t *connections, int64_t *idle,
                      int64_t *in_flight);

/* Daemon-wide words in the header. Writer: the master that serves alone; an upgraded one from the
 * moment it takes over. */
enum board_word {
    BOARD_WORD_DRAINING,          /* 1 once the daemon was told to quit: readiness answers 503 */
    BOARD_WORD_GENERATION,        /* current configuration generation, from 1 */
    BOARD_WORD_RELOAD_SUCCESSFUL, /* 1 or 0: how the last reload went */
    BOARD_WORD_START_TIME_MS,     /* wall clock at the daemon's start, ms since the epoch */
    BOARD_WORD_WORKERS,           /* workers wanted */
    BOARD_WORD_CPU_GONE_NS,       /* CPU time of masters that were replaced, their dead included */
    BOARD_WORD_CPU_SHOWN_NS,      /* the largest CPU time that was ever shown */
    BOARD_WORD_COUNT
};
/* Any process, at any time: adds; or raises to the value, and returns the larger of the two. */
void board_add_word(struct region *region, enum board_word word, int64_t value);
int64_t board_raise_word(struct region *region, enum board_word word, int64_t value);
void board_set_word(struct region *region, enum board_word word, int64_t value);
int64_t board_get_word(const struct region *region, enum board_word word);

#endif
