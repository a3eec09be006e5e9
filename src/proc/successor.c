/* successor: the new master's part of an upgrade (the old one's: upgrade.c). See master_private.h.
 * Runs in the master.
 *
 * The surprise: for a while two masters and their workers share one region. Each reaps its own
 * children only; a slot knows whose it is. Names and board words have one writer at a time: the old
 * master until the take-over (it loads no configuration meanwhile), the new one after it.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "gateway/breaker.h"
#include "master_private.h"
#include "shm/totals.h"
#include "watch/carry.h"

/* As long as the old daemon counts in a region of its own, ours follows this closely. */
#define CARRY_PERIOD_NS (100 * NS_PER_MS)

int successor_begin(struct master *master, char *error, size_t error_size) {
    int taken = handover_take(&master->handover, error, error_size);
    if (taken != 1) {
        return taken;
    }
    master->predecessor = master->handover.master;
    master->predecessor_serves = true;
    master->last_number = master->handover.generation;
    master->console.fd = master->handover.console_fd;
    /* A child's usual fate reversed: it wants to know of its parent's end. */
    if (prctl(PR_SET_PDEATHSIG, SIGCHLD) == -1) {
        snprintf(error, error_size, "prctl: %s", strerror(errno));
        return -1;
    }
    return 0;
}

/* What the old region says above what was carried before. */
static struct carried carry(struct master *master) {
    struct carried carried = {0};
    struct totals *now = totals_read(master->foreign_fd);
    if (now != NULL) {
        carried = carry_totals(master->region, &master->counters, now, master->foreign);
        totals_free(master->foreign);
        master->foreign = now;
    }
    return carried;
}

/* All of it that can fail. */
static int prepare_pid_file(struct master *master, char *error, size_t error_size) {
    if (master->pid_path[0] == '\0') {
        return 0;
    }
    if (pidfile_is_held_by_another(master->pid_path, master->predecessor)) {
        snprintf(error, error_size, "another daemon holds pid file %s", master->pid_path);
        return -1;
    }
    master->pid_fd = pidfile_prepare(master->pid_path, error, error_size);
    return master->pid_fd == -1 ? -1 : 0;
}

/* What is left to do once the byte is sent: nothing of it can stop us any more. */
static void settle(struct master *master) {
    char error[512];
    if (master->pid_fd != -1 &&
        pidfile_place(master->pid_path, master->predecessor, error, sizeof(error)) == -1) {
        log_error("%s", error);
    }
    generation_signal(master->current, SIGUSR2); /* doors open */
    if (region_settle(master->region) == -1) {
        log_error("cache.file: cannot move the new one to its place: %s", strerror(errno));
    }
    if (!master->options->foreground) {
        (void)system_detach_stdio(); /* stderr was the pipe to the old master */
    }
}

int successor_take_over(struct master *master) {
    char error[512];
    FAILPOINT("upgrade.take.1");
    if (prepare_pid_file(master, error, sizeof(error)) == -1) {
        boot_fail(master, "%s", error);
        return -1;
    }
    FAILPOINT("upgrade.take.2");
    boot_publish(master, master->current);
    if (master->foreign_fd != -1) {
        boot_say_carried(carry(master));
    }
    FAILPOINT("upgrade.take.3");
    master->predecessor_serves = false;
    console_finish(&master->console, 0);
    settle(master);
    log_info("optirouted " PACKAGE_VERSION " has taken over from process %d: generation %u, %u "
             "workers, configuration %s",
             (int)master->predecessor, master->current->number, master->current->conf->workers,
             master->current->conf->source);
    notify_send(&master->notify, NOTIFY_READY);
    return 0;
}

void successor_turn(struct master *master, int64_t now_ns) {
    if (master->predecessor == 0) {
        return;
    }
    bool is_gone = getppid() != master->predecessor;
    if (master->foreign_fd != -1 && !master->predecessor_serves &&
        (is_gone || master->carry_ns <= now_ns)) {
        (void)carry(master);
        master->carry_ns = now_ns + CARRY_PERIOD_NS;
    }
    if (is_gone && !master->predecessor_serves) {
        log_info("process %d has ended", (int)master->predecessor);
        master->predecessor = 0;
        successor_forget(master);
    }
}

void successor_hurry(const struct master *master, bool now) {
    if (master->predecessor != 0 && !master->predecessor_serves) {
        (void)kill(master->predecessor, SIGQUIT);
        if (now) { /* told twice; two equal signals may become one */
            (void)kill(master->predecessor, SIGTERM);
        }
    }
}

int64_t successor_next_ns(const struct master *master) {
    bool carries = master->foreign_fd != -1 && !master->predecessor_serves;
    return carries ? master->carry_ns : NEVER;
}

void successor_forget(struct master *master) {
    if (master->foreign_fd != -1) {
        close(master->foreign_fd);
        master->foreign_fd = -1;
    }
    totals_free(master->foreign);
    master->foreign = NULL;
}
