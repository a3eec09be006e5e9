/* master: a loop of questions: who died, end, reload, reopen, upgrade, who is due, who is ready.
 * See proc/master.h and, for the other files of it, master_private.h.
 *
 * Signals are blocked from the start and taken by sigtimedwait into a set; each turn asks every
 * question once, in the order below, and then sleeps until a signal or the next moment at which
 * something is due. An idle master does not wake up at all.
 *
 *     SERVING --quit--> LEAVING --drain_delay--> DRAINING --all gone--> exit 0
 *        \_________________\________ told twice: everybody is killed, exit 0
 */
#include "config.h"

#include "proc/master.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "master_private.h"

/* Processes whose master was killed end a moment after it. */
#define ORPHANS_NS (20 * NS_PER_MS)

void master_signals(sigset_t *mask) {
    sigemptyset(mask);
    sigaddset(mask, SIGHUP);
    sigaddset(mask, SIGUSR1);
    sigaddset(mask, SIGUSR2);
    sigaddset(mask, SIGQUIT);
    sigaddset(mask, SIGTERM);
    sigaddset(mask, SIGINT);
    sigaddset(mask, SIGCHLD);
    sigaddset(mask, BELL_SIGNAL);
    sigaddset(mask, SIGIO); /* the bell, when the queue of real-time signals is full */
}

static void empty_bell(const struct master *master) {
    char rings[64];
    while (read(master->bell_read, rings, sizeof(rings)) > 0) {
        continue;
    }
}

static void note_signal(struct master *master, int signal) {
    switch (signal) {
    case SIGHUP:
        master->wants_reload = true;
        break;
    case SIGUSR1:
        master->wants_reopen = true;
        break;
    case SIGUSR2:
        master->wants_upgrade = true;
        break;
    case SIGQUIT:
    case SIGTERM:
    case SIGINT:
        master->quits++;
        break;
    case SIGCHLD: /* reaping happens every turn */
        break;
    default:
        empty_bell(master);
    }
}

/* Sleeps until a signal or that time, then takes every signal there is. */
static void take_signals(struct master *master, int64_t until_ns) {
    sigset_t mask;
    master_signals(&mask);
    struct timespec patience = {0, 0}, *limit = &patience;
    if (until_ns == NEVER) {
        limit = NULL;
    } else {
        int64_t wait_ns = until_ns - clock_mono_ns();
        if (wait_ns > 0) {
            patience.tv_sec = wait_ns / NS_PER_S;
            patience.tv_nsec = wait_ns % NS_PER_S;
        }
    }
    int signal = sigtimedwait(&mask, NULL, limit);
    const struct timespec at_once = {0, 0};
    while (signal > 0) {
        note_signal(master, signal);
        signal = sigtimedwait(&mask, NULL, &at_once);
    }
}

static void reopen_logs(struct master *master) {
    char error[512];
    /* Of an upgrade, whoever is told tells the other one too. */
    if (master->predecessor != 0 && !master->predecessor_serves) {
        (void)kill(master->predecessor, SIGUSR1);
    }
    if (master->upgrade.pid != 0) {
        (void)kill(master->upgrade.pid, SIGUSR1);
    }
    /* After a hand-over older generations may outlive the one that served last. */
    const struct generation *latest =
        master->current != NULL ? master->current : master->generations;
    if (boot_own_logs(master, latest->conf, error, sizeof(error)) == -1) {
        log_error("%s", error);
    }
    if (log_reopen() == -1) {
        log_error("cannot reopen the error log: %s", strerror(errno));
    }
    generations_signal(master, SIGUSR1);
    log_info("logs reopened");
}

static void begin_to_leave(struct master *master, int64_t now_ns) {
    log_info("told to end");
    if (!master->predecessor_serves) { /* else the old one goes on */
        board_set_word(master->region, BOARD_WORD_DRAINING, 1);
        successor_hurry(master, false);
    }
    if (master->candidate != NULL) {
        reload_give_up(master, "the daemon ends", now_ns);
    }
    upgrade_give_up(master, "the daemon ends");
    notify_send(&master->notify, NOTIFY_STOPPING);
    master->phase = PHASE_LEAVING;
    master->leave_ns = now_ns + master->current->conf->limits.drain_delay_ms * NS_PER_MS;
}

/* The master's copies are the last but for the workers': from here on the port answers nobody
 * new. */
static void begin_to_drain(struct master *master, int64_t now_ns) {
    master->phase = PHASE_DRAINING;
    listen_close(&master->clients);
    generations_drain(master, false, now_ns);
}

static unsigned living(const struct master *master, enum board_role role) {
    unsigned count = 0;
    for (const struct generation *generation = master->generations; generation != NULL;
         generation = generation->older) {
        count += generation_living(generation, role);
    }
    return count;
}

static void leave_turn(struct master *master, int64_t now_ns) {
    if (master->phase == PHASE_SERVING && master->quits > 0) {
        begin_to_leave(master, now_ns);
    }
    if (master->phase == PHASE_LEAVING && master->leave_ns <= now_ns) {
        begin_to_drain(master, now_ns);
    }
    /* The metrics of the end can be read until it has come. */
    if (master->phase == PHASE_DRAINING && !master->metrics_told &&
        living(master, BOARD_WORKER) == 0) {
        master->metrics_told = true;
        generations_drain(master, true, now_ns);
    }
}

/* Told twice, or no configuration to serve with: nobody waits for anybody. A master that has taken
 * over from us is a child too, and goes on. */
static void kill_all(struct master *master) {
    upgrade_give_up(master, "the daemon ends");
    successor_hurry(master, true);
    generations_signal(master, SIGKILL);
    for (struct generation *generation = master->generations; generation != NULL;
         generation = generation->older) {
        generation_bury(generation, master->region);
    }
}

/* -1: an upgrade that cannot be. */
static int announce_turn(struct master *master) {
    if (master->announced || master->current == NULL || master->phase != PHASE_SERVING ||
        !generation_is_ready(master->current)) {
        return 0;
    }
    master->announced = true;
    master->current->state = GENERATION_SERVING;
    if (master->predecessor != 0) {
        return successor_take_over(master);
    }
    boot_announce(master);
    console_finish(&master->console, 0);
    notify_send(&master->notify, NOTIFY_READY);
    return 0;
}

/* One of these at a time; what comes meanwhile waits for its turn. */
static void reload_or_upgrade(struct master *master, int64_t now_ns) {
    if (master->predecessor_serves) {
        return;
    }
    if (master->upgrade.pid != 0) {
        if (master->wants_upgrade) {
            master->wants_upgrade = false;
            log_info("an upgrade is under way already");
        }
        return;
    }
    if (master->wants_reload && master->candidate == NULL) {
        master->wants_reload = false;
        reload_begin(master, now_ns);
    }
    if (master->wants_upgrade && master->candidate == NULL) {
        master->wants_upgrade = false;
        upgrade_begin(master, now_ns);
    }
}

static void reopen_turn(struct master *master) {
    if (master->wants_reopen && master->generations != NULL) {
        master->wants_reopen = false;
        reopen_logs(master);
    }
}

static void watchdog_turn(struct master *master, int64_t now_ns) {
    if (master->watchdog_ns <= now_ns) {
        notify_send(&master->notify, NOTIFY_WATCHDOG);
        master->watchdog_ns = now_ns + master->notify.watchdog_ns;
    }
}

static void count_dropped(struct master *master) {
    uint64_t dropped = log_dropped();
    if (dropped > master->dropped_counted) {
        metric_add_shared(&master->counters, METRIC_LOG_DROPPED, dropped - master->dropped_counted,
                          0, 0, 0);
        master->dropped_counted = dropped;
    }
}

static int64_t next_turn_ns(const struct master *master, int64_t now_ns) {
    int64_t next_ns = generations_next_ns(master, now_ns);
    if (master->watchdog_ns < next_ns) {
        next_ns = master->watchdog_ns;
    }
    if (master->phase == PHASE_LEAVING && master->leave_ns < next_ns) {
        next_ns = master->leave_ns;
    }
    if (master->upgrade.pid != 0 && master->upgrade.deadline_ns < next_ns) {
        next_ns = master->upgrade.deadline_ns;
    }
    if (successor_next_ns(master) < next_ns) {
        next_ns = successor_next_ns(master);
    }
    if (master->orphans_wait && now_ns + ORPHANS_NS < next_ns) {
        next_ns = now_ns + ORPHANS_NS;
    }
    return next_ns;
}

/* Returns the daemon's exit status. */
static int serve(struct master *master) {
    for (;;) {
        int64_t now_ns = clock_mono_ns();
        upgrade_turn(master, now_ns); /* first: who has taken over decides what signals mean */
        reap_children(master, now_ns);
        if (master->quits > 1) {
            log_info("told to end now");
            kill_all(master);
            return 0;
        }
        if (master->unwanted && master->phase == PHASE_SERVING) {
            log_error("every worker refused the configuration");
            console_say(&master->console,
                        "optirouted: every worker refused the configuration; see the log");
            kill_all(master);
            return 2;
        }
        leave_turn(master, now_ns);
        reopen_turn(master);
        if (master->phase == PHASE_SERVING) {
            reload_or_upgrade(master, now_ns);
        }
        master->orphans_wait = reap_orphans(master);
        generations_turn(master, now_ns);
        reload_turn(master, now_ns);
        successor_turn(master, now_ns);
        if (announce_turn(master) == -1) {
            kill_all(master);
            return 2;
        }
        watchdog_turn(master, now_ns);
        count_dropped(master);
        if (master->phase == PHASE_DRAINING && master->generations == NULL) {
            log_info("all ended");
            return 0;
        }
        take_signals(master, next_turn_ns(master, now_ns));
    }
}

int master_run(const struct options *options, struct conf *conf) {
    struct master master = {
        .options = options,
        .boot_conf = conf,
        .pid_path = "",
        .notify = {.fd = -1},
        .pid_fd = -1,
        .upgrade = {.fd = -1},
        .foreign_fd = -1,
        .life_read = -1,
        .life_write = -1,
        .bell_read = -1,
        .bell_write = -1,
        .phase = PHASE_SERVING,
    };
    int status = boot_master(&master);
    if (status == 0) {
        master.watchdog_ns =
            master.notify.watchdog_ns > 0 ? clock_mono_ns() + master.notify.watchdog_ns : NEVER;
        status = serve(&master);
    }
    boot_undo(&master);
    console_finish(&master.console, status);
    return status;
}
