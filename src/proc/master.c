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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "master_private.h"

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
    if (boot_own_logs(master, master->current->conf, error, sizeof(error)) == -1) {
        log_error("%s", error);
    }
    if (log_reopen() == -1) {
        log_error("cannot reopen the error log: %s", strerror(errno));
    }
    for (struct generation *generation = master->generations; generation != NULL;
         generation = generation->older) {
        generation_signal(generation, SIGUSR1);
    }
    log_info("logs reopened");
}

static void drain_all(struct master *master, bool metrics_too, int64_t now_ns) {
    for (struct generation *generation = master->generations; generation != NULL;
         generation = generation->older) {
        generation_drain(generation, metrics_too, now_ns);
    }
}

static void begin_to_leave(struct master *master, int64_t now_ns) {
    log_info("told to end");
    board_set_word(master->region, BOARD_WORD_DRAINING, 1);
    if (master->candidate != NULL) {
        reload_give_up(master, "the daemon ends", now_ns);
    }
    notify_send(&master->notify, NOTIFY_STOPPING);
    master->phase = PHASE_LEAVING;
    master->leave_ns = now_ns + master->current->conf->limits.drain_delay_ms * NS_PER_MS;
}

/* The master's copies are the last but for the workers': from here on the port answers nobody
 * new. */
static void begin_to_drain(struct master *master, int64_t now_ns) {
    master->phase = PHASE_DRAINING;
    listen_close(&master->clients);
    drain_all(master, false, now_ns);
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
        drain_all(master, true, now_ns);
    }
}

/* Told twice, or no configuration to serve with: nobody waits for anybody. */
static void kill_all(struct master *master) {
    for (struct generation *generation = master->generations; generation != NULL;
         generation = generation->older) {
        generation_signal(generation, SIGKILL);
    }
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
        continue;
    }
}

static void announce_turn(struct master *master) {
    if (!master->announced && master->current != NULL && master->phase == PHASE_SERVING &&
        generation_is_ready(master->current)) {
        master->announced = true;
        master->current->state = GENERATION_SERVING;
        boot_announce(master);
        console_finish(&master->console, 0);
        notify_send(&master->notify, NOTIFY_READY);
    }
}

static void reload_or_reopen(struct master *master, int64_t now_ns) {
    if (master->wants_reload && master->candidate == NULL) { /* else it waits for its turn */
        master->wants_reload = false;
        reload_begin(master, now_ns);
    }
    if (master->wants_reopen) {
        master->wants_reopen = false;
        reopen_logs(master);
    }
    if (master->wants_upgrade) {
        master->wants_upgrade = false;
        log_warn("this version cannot replace its binary while it runs; restart it instead");
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
        metric_add(&master->counters, METRIC_LOG_DROPPED, dropped - master->dropped_counted, 0, 0,
                   0);
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
    return next_ns;
}

/* Returns the daemon's exit status. */
static int serve(struct master *master) {
    for (;;) {
        int64_t now_ns = clock_mono_ns();
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
        if (master->phase == PHASE_SERVING) {
            reload_or_reopen(master, now_ns);
        }
        generations_turn(master, now_ns);
        reload_turn(master, now_ns);
        announce_turn(master);
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
