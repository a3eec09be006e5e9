/* generation: the seats of one configuration. See master_private.h. Runs in the master. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/panic.h"
#include "master_private.h"

/* While something starts the master looks at the board this often, should a bell be lost. */
#define LOOK_NS (100 * NS_PER_MS)
/* Children end themselves at shutdown_timeout; what is left so long after it is stuck. */
#define DRAIN_SLACK_NS (3 * NS_PER_S)

static struct seat make_seat(enum board_role role, unsigned number) {
    return (struct seat){.role = role, .number = number, .state = SEAT_DUE, .slot = -1};
}

struct generation *generation_new(struct master *master, struct conf *conf,
                                  const struct labels *labels) {
    ASSERT(conf->workers >= 1 && conf->workers <= GENERATION_WORKERS_MAX);
    struct generation *generation = calloc(1, sizeof(*generation));
    if (generation == NULL) {
        return NULL;
    }
    generation->conf = conf;
    generation->labels = *labels;
    generation->number = ++master->last_number;
    generation->state = GENERATION_STARTING;
    generation->deadline_ns = NEVER;
    for (unsigned i = 0; i < conf->workers; i++) {
        generation->seats[generation->seat_count++] = make_seat(BOARD_WORKER, i);
    }
    if (master->metrics.count > 0) {
        generation->seats[generation->seat_count++] = make_seat(BOARD_METRICS, 0);
    }
    generation->older = master->generations;
    master->generations = generation;
    return generation;
}

bool generation_is_ready(const struct generation *generation) {
    for (unsigned i = 0; i < generation->seat_count; i++) {
        if (generation->seats[i].state != SEAT_READY) {
            return false;
        }
    }
    return true;
}

bool generation_is_unwanted(const struct generation *generation) {
    for (unsigned i = 0; i < generation->seat_count; i++) {
        const struct seat *seat = &generation->seats[i];
        if (seat->role == BOARD_WORKER && seat->state != SEAT_FAULTY) {
            return false;
        }
    }
    return true;
}

unsigned generation_living(const struct generation *generation, enum board_role role) {
    unsigned living = 0;
    for (unsigned i = 0; i < generation->seat_count; i++) {
        living += generation->seats[i].role == role && generation->seats[i].pid != 0;
    }
    return living;
}

static void drain_seat(struct seat *seat) {
    switch (seat->state) {
    case SEAT_DUE:
    case SEAT_FAULTY:
        seat->state = SEAT_EMPTY;
        break;
    case SEAT_STARTING: /* blocked in the child until its loop runs, then obeyed */
    case SEAT_READY:
    case SEAT_DRAINING: /* again: the daemon ends now, so idle connections have no grace */
        (void)kill(seat->pid, SIGQUIT);
        seat->state = SEAT_DRAINING;
        break;
    case SEAT_EMPTY:
        break;
    }
}

void generation_drain(struct generation *generation, bool metrics_too, int64_t now_ns) {
    int64_t patience_ns = generation->conf->limits.shutdown_timeout_ms * NS_PER_MS + DRAIN_SLACK_NS;
    if (generation->state != GENERATION_DRAINING) {
        generation->deadline_ns = now_ns + patience_ns;
    }
    generation->state = GENERATION_DRAINING;
    for (unsigned i = 0; i < generation->seat_count; i++) {
        if (generation->seats[i].role == BOARD_WORKER || metrics_too) {
            drain_seat(&generation->seats[i]);
        }
    }
}

void generation_signal(const struct generation *generation, int signal) {
    for (unsigned i = 0; i < generation->seat_count; i++) {
        if (generation->seats[i].pid != 0) {
            (void)kill(generation->seats[i].pid, signal);
        }
    }
}

void generations_drain(struct master *master, bool metrics_too, int64_t now_ns) {
    for (struct generation *generation = master->generations; generation != NULL;
         generation = generation->older) {
        generation_drain(generation, metrics_too, now_ns);
    }
}

void generations_signal(const struct master *master, int signal) {
    for (const struct generation *generation = master->generations; generation != NULL;
         generation = generation->older) {
        generation_signal(generation, signal);
    }
}

void generation_bury(struct generation *generation, struct region *region) {
    for (unsigned i = 0; i < generation->seat_count; i++) {
        struct seat *seat = &generation->seats[i];
        while (seat->pid != 0 && waitpid(seat->pid, NULL, 0) == -1 && errno == EINTR) {
            continue;
        }
        if (seat->pid != 0) {
            reap_free_slot(region, seat->slot);
            seat->pid = 0;
        }
    }
}

static void notice_ready(struct master *master, struct seat *seat, int64_t now_ns) {
    if (seat->state == SEAT_STARTING && board_state(master->region, seat->slot) == BOARD_READY) {
        seat->state = SEAT_READY;
        seat->ready_ns = now_ns;
    }
}

static void seat_turn(struct master *master, struct generation *generation, struct seat *seat,
                      int64_t now_ns) {
    if (seat->state == SEAT_DUE && seat->due_ns <= now_ns) {
        spawn_seat(master, generation, seat);
    }
    notice_ready(master, seat, now_ns);
}

static bool is_over(const struct generation *generation) {
    return generation->state == GENERATION_DRAINING &&
           generation_living(generation, BOARD_WORKER) == 0 &&
           generation_living(generation, BOARD_METRICS) == 0;
}

static void forget(struct master *master, struct generation *generation) {
    if (master->current == generation) {
        master->current = NULL;
    }
    if (generation->conf != master->boot_conf) {
        conf_free(generation->conf);
    }
    free(generation);
}

void generations_turn(struct master *master, int64_t now_ns) {
    struct generation **link = &master->generations;
    while (*link != NULL) {
        struct generation *generation = *link;
        for (unsigned i = 0; i < generation->seat_count; i++) {
            seat_turn(master, generation, &generation->seats[i], now_ns);
        }
        if (generation->state == GENERATION_DRAINING && generation->deadline_ns <= now_ns) {
            log_warn("generation %u did not end in time: killing what is left", generation->number);
            generation_signal(generation, SIGKILL);
            generation->deadline_ns = NEVER;
        }
        if (is_over(generation)) {
            *link = generation->older;
            forget(master, generation);
            continue;
        }
        link = &generation->older;
    }
}

static int64_t sooner(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t generations_next_ns(const struct master *master, int64_t now_ns) {
    int64_t next_ns = NEVER;
    for (const struct generation *generation = master->generations; generation != NULL;
         generation = generation->older) {
        next_ns = sooner(next_ns, generation->deadline_ns);
        for (unsigned i = 0; i < generation->seat_count; i++) {
            const struct seat *seat = &generation->seats[i];
            if (seat->state == SEAT_DUE) {
                next_ns = sooner(next_ns, seat->due_ns);
            } else if (seat->state == SEAT_STARTING) {
                next_ns = sooner(next_ns, now_ns + LOOK_NS);
            }
        }
    }
    return next_ns;
}
