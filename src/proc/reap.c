/* reap: who died, what is said of them, who follows. See master_private.h. Runs in the master. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "gateway/breaker.h"
#include "master_private.h"
#include "shm/wake.h"

#define BAD_STARTS_AHEAD 4 /* so many may be said before their second has come */

static struct seat *find_seat(struct master *master, pid_t pid, struct generation **generation) {
    for (*generation = master->generations; *generation != NULL;
         *generation = (*generation)->older) {
        for (unsigned i = 0; i < (*generation)->seat_count; i++) {
            if ((*generation)->seats[i].pid == pid) {
                return &(*generation)->seats[i];
            }
        }
    }
    return NULL;
}

void reap_describe(int status, char *out, size_t out_size) {
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        snprintf(out, out_size, "signal %d (SIG%s)%s", WTERMSIG(status), name != NULL ? name : "?",
                 WCOREDUMP(status) ? ", core dumped" : "");
    } else {
        snprintf(out, out_size, "exit code %d", WEXITSTATUS(status));
    }
}

/* What follows in the seat; says it in a few words. */
static void settle(struct seat *seat, const struct generation *generation, int status,
                   int64_t now_ns, char *next, size_t next_size) {
    struct spawn_death death = {
        .was_ready = seat->ready_ns != 0,
        .own_fault =
            !WIFSIGNALED(status) || (WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM),
        .lived_ns = now_ns - seat->started_ns,
        .ready_for_ns = now_ns - seat->ready_ns,
    };
    seat->pid = 0;
    seat->slot = -1;
    if (seat->state == SEAT_DRAINING || generation->state == GENERATION_DRAINING) {
        seat->state = SEAT_EMPTY;
        snprintf(next, next_size, "drained");
        return;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == SPAWN_EXIT_CONFIGURATION) {
        seat->state = SEAT_FAULTY;
        snprintf(next, next_size, "not started again: the configuration does not work");
        return;
    }
    int64_t wait_ns = spawn_backoff(&seat->backoff_ns, &death);
    seat->state = SEAT_DUE;
    seat->due_ns = now_ns + wait_ns;
    if (wait_ns == 0) {
        snprintf(next, next_size, "starting another");
    } else {
        snprintf(next, next_size, "starting another in %.1f s", (double)wait_ns / NS_PER_S);
    }
}

static void count_restart(const struct master *master, const struct seat *seat, int status) {
    enum metric_restart_reason reason = seat->ready_ns == 0   ? RESTART_BOOT
                                        : WIFSIGNALED(status) ? RESTART_SIGNAL
                                                              : RESTART_EXIT;
    metric_add_shared(&master->counters, METRIC_WORKER_RESTARTS, 1, (unsigned)reason, 0, 0);
}

void reap_free_slot(struct region *region, int slot) {
    breaker_bury(region, (unsigned)slot);
    board_release(region, slot);
    wake_all(region); /* some may wait for an answer that it would have brought */
}

/* When processes end as soon as they begin, the log hears of it once a second, but for the first.
 */
static bool is_worth_saying(struct master *master, const struct seat *seat, int64_t now_ns) {
    if (seat->state != SEAT_DUE || seat->backoff_ns <= SPAWN_BACKOFF_MIN_NS) {
        return true;
    }
    int64_t due_ns = master->bad_start_due_ns > now_ns ? master->bad_start_due_ns : now_ns;
    if (due_ns - now_ns > BAD_STARTS_AHEAD * NS_PER_S) {
        master->bad_starts_unsaid++;
        return false;
    }
    master->bad_start_due_ns = due_ns + NS_PER_S;
    return true;
}

static void say_unsaid(struct master *master, char *out, size_t out_size) {
    out[0] = '\0';
    if (master->bad_starts_unsaid > 0) {
        snprintf(out, out_size, " (and %u more like it)", master->bad_starts_unsaid);
        master->bad_starts_unsaid = 0;
    }
}

/* The obituary: one line. */
static void bury(struct master *master, struct generation *generation, struct seat *seat,
                 int status, int64_t now_ns) {
    char name[32], end[64], next[80], words[BOARD_LAST_WORDS_SIZE], more[48];
    int slot = seat->slot;
    pid_t pid = seat->pid;
    spawn_name(seat, name, sizeof(name));
    reap_describe(status, end, sizeof(end));
    board_last_words(master->region, slot, words, sizeof(words));
    bool was_ready = board_state(master->region, slot) != BOARD_STARTING;
    reap_free_slot(master->region, slot);
    double uptime_s = (double)(now_ns - seat->started_ns) / NS_PER_S;
    bool was_told = seat->state == SEAT_DRAINING;
    if (seat->ready_ns == 0 && was_ready) {
        seat->ready_ns = now_ns; /* it died before the master looked */
    }
    settle(seat, generation, status, now_ns, next, sizeof(next));
    if (seat->state == SEAT_DUE) {
        count_restart(master, seat, status);
    }
    /* an init system that ends everybody at once tells the worker too, and it obeys */
    bool is_well =
        was_told && (WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGTERM);
    if (!is_worth_saying(master, seat, now_ns)) {
        return;
    }
    say_unsaid(master, more, sizeof(more));
    log_write(is_well ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR,
              "%s (slot %d, pid %d, generation %u, up %.3f s) ended: %s%s%s; %s%s", name, slot,
              (int)pid, generation->number, uptime_s, end, words[0] != '\0' ? "; last words: " : "",
              words, next, more);
}

void reap_children(struct master *master, int64_t now_ns) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0 || (pid == -1 && errno == EINTR)) {
        struct generation *generation;
        if (pid > 0 && upgrade_reaped(master, pid, status, now_ns)) {
            continue;
        }
        struct seat *seat = pid > 0 ? find_seat(master, pid, &generation) : NULL;
        if (seat != NULL) {
            bury(master, generation, seat, status, now_ns);
        }
    }
    if (master->current != NULL && master->candidate == NULL &&
        generation_is_unwanted(master->current)) {
        master->unwanted = true;
    }
}

bool reap_orphans(struct master *master) {
    bool waits = false;
    for (int slot = 0; slot < REGION_SLOTS; slot++) {
        pid_t owner = board_master(master->region, slot);
        if (owner == 0 || owner == master->pid || system_is_alive(owner)) {
            continue;
        }
        pid_t pid = board_pid(master->region, slot);
        if (pid != 0 && system_is_alive(pid)) { /* its end is near: nobody holds its life pipe */
            waits = true;
        } else if (board_adopt(master->region, slot, owner)) {
            reap_free_slot(master->region, slot);
            log_info("slot %d (pid %d) of master %d, which is gone, is free again", slot, (int)pid,
                     (int)owner);
        }
    }
    return waits;
}
