/* spawn: see proc/spawn.h. Runs in the master; what comes after fork() == 0 runs in the child. */
#include "config.h"

#include "proc/spawn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "master_private.h"
#include "proc/worker.h"

/* So often a child that follows a bad start may say what is wrong. */
#define REPEAT_NS (60 * NS_PER_S)
#define SPAWN_RETRY_NS (100 * NS_PER_MS)

int64_t spawn_backoff(int64_t *backoff_ns, const struct spawn_death *death) {
    if (death->lived_ns >= SPAWN_BACKOFF_RESET_NS) {
        *backoff_ns = 0;
    }
    bool early = death->own_fault && death->ready_for_ns < SPAWN_EARLY_DEATH_NS;
    if (death->was_ready && !early) {
        return 0;
    }
    if (!death->own_fault) { /* whoever kills at random also meets some that have just begun */
        return SPAWN_BACKOFF_MIN_NS;
    }
    int64_t next_ns = *backoff_ns == 0 ? SPAWN_BACKOFF_MIN_NS : 2 * *backoff_ns;
    *backoff_ns = next_ns < SPAWN_BACKOFF_MAX_NS ? next_ns : SPAWN_BACKOFF_MAX_NS;
    return *backoff_ns;
}

void spawn_name(const struct seat *seat, char *out, size_t out_size) {
    if (seat->role == BOARD_METRICS) {
        snprintf(out, out_size, "metrics");
    } else {
        snprintf(out, out_size, "worker %u", seat->number);
    }
}

/* Everything of the master that a child must not hold: the write end of the life pipe above all,
 * for as long as one child had it no other would see the end of file. */
static void drop_master_things(struct master *master, const struct seat *seat) {
    close(master->life_write);
    close(master->bell_read);
    notify_close(&master->notify);
    if (master->pid_fd != -1) {
        close(master->pid_fd);
    }
    if (master->upgrade.fd != -1) {
        close(master->upgrade.fd);
    }
    successor_forget(master);
    if (master->console.fd != -1 && master->console.fd != STDERR_FILENO) {
        close(master->console.fd);
    }
    listen_close(seat->role == BOARD_METRICS ? &master->clients : &master->metrics);
}

static _Noreturn void become_child(struct master *master, const struct generation *generation,
                                   const struct seat *seat, int slot) {
    const char *metrics_address = master->metrics.count > 0 ? master->metrics.items[0].name : "";
    drop_master_things(master, seat);
    if (master->predecessor_serves && !master->options->foreground) {
        (void)system_detach_stdio(); /* stderr is the pipe to the old master */
    }
    bool is_metrics = seat->role == BOARD_METRICS;
    struct child_env env = {
        .conf = generation->conf,
        .labels = &generation->labels,
        .region = master->region,
        .slot = slot,
        .role = seat->role,
        .number = seat->number,
        .generation = generation->number,
        .identity = &master->identity,
        .listeners = is_metrics ? &master->metrics : &master->clients,
        .metrics_address = metrics_address,
        .master = master->pid,
        .waits = master->predecessor_serves,
        .life_fd = master->life_read,
        .bell_fd = master->bell_write,
    };
    exit(is_metrics ? metrics_worker_main(&env) : worker_main(&env));
}

/* Would it only say what the one before it has said? */
static bool is_repeat(struct master *master, const struct seat *seat, int64_t now_ns) {
    if (seat->backoff_ns == 0) {
        return false;
    }
    if (master->repeat_said_ns != 0 && now_ns - master->repeat_said_ns < REPEAT_NS) {
        return true;
    }
    master->repeat_said_ns = now_ns;
    return false;
}

void spawn_seat(struct master *master, struct generation *generation, struct seat *seat) {
    int64_t now_ns = clock_mono_ns();
    char name[32];
    spawn_name(seat, name, sizeof(name));
    int slot = board_claim(master->region, seat->role, generation->number);
    if (slot == -1) {
        if (!seat->slotless) {
            log_warn("%s waits: all %d slots are taken", name, REGION_SLOTS);
            seat->slotless = true;
        }
        seat->due_ns = now_ns + SPAWN_RETRY_NS;
        return;
    }
    bool repeats = is_repeat(master, seat, now_ns);
    pid_t pid = fork();
    if (pid == 0) {
        log_mute(repeats);
        become_child(master, generation, seat, slot);
    }
    if (pid == -1) {
        log_error("cannot start %s: %s", name, strerror(errno));
        board_release(master->region, slot);
        struct spawn_death death = {.was_ready = false};
        seat->due_ns = now_ns + spawn_backoff(&seat->backoff_ns, &death);
        return;
    }
    board_set_pid(master->region, slot, pid);
    seat->slotless = false;
    seat->state = SEAT_STARTING;
    seat->slot = slot;
    seat->pid = pid;
    seat->started_ns = now_ns;
    seat->ready_ns = 0;
}
