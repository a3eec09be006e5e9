/* upgrade: another binary takes the daemon over while it runs. See master_private.h and
 * doc/upgrade.md. This is the old master's part; the new one's is successor.c. Runs in the master.
 *
 *     old master                              new master (its child)
 *     fork, exec                         ->   configuration, sockets, region, workers (door shut)
 *                                             all ready: board words
 *     drain, MAINPID, end with 0         <-   "status 0" on the pipe; pid file, doors open
 *     all as it was                      <-   anything else: a status, its death, too late
 *
 * The surprise: until that one byte the old daemon has changed nothing, and the new one has served
 * nobody; so whatever goes wrong before it costs no request, and SIGKILL is a clean way to give up.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "gateway/breaker.h"
#include "master_private.h"
#include "proc/handover.h"

#define READY_TIMEOUT_NS (10 * NS_PER_S)
#define STATUS_NO_EXEC 127

/* What the child says until the new program speaks for itself. */
static _Noreturn void give_up_child(int fd, const char *what, const char *why) {
    dprintf(fd, "%s: %s\n", what, why);
    _exit(STATUS_NO_EXEC);
}

/* The child's part. The signal mask goes along: what is sent to the new master before it is ready
 * to listen waits. */
static _Noreturn void become_successor(const struct master *master, int console_fd) {
    const struct options *options = master->options;
    struct handover handover = {
        .master = master->pid,
        .generation = master->last_number,
        .console_fd = console_fd,
        .region_fd = region_descriptor(master->region),
        .clients = master->clients,
        .metrics = master->metrics,
    };
    const char *argv[] = {master->program, NULL, NULL, NULL, NULL, NULL, NULL};
    unsigned argc = 1;
    if (options->foreground) {
        argv[argc++] = "-f";
    } else if (dup2(console_fd, STDERR_FILENO) == -1) { /* else nobody would hear of a bad file */
        give_up_child(console_fd, "dup2", strerror(errno));
    }
    if (master->conf_path != NULL) {
        argv[argc++] = "-c";
        argv[argc++] = master->conf_path;
    }
    if (options->pid_file != NULL) {
        argv[argc++] = "-p";
        argv[argc++] = options->pid_file;
    }
    notify_export(&master->notify);
    if (handover_give(&handover) == -1) {
        give_up_child(console_fd, "handing over", strerror(errno));
    }
    (void)execv(master->program, (char *const *)argv);
    give_up_child(HANDOVER_FIRST_FD, master->program, strerror(errno));
}

static void refuse(struct master *master, const char *what, const char *why) {
    log_error("cannot upgrade: %s%s%s; everything stays as it is", what, why[0] != '\0' ? ": " : "",
              why);
    if (master->pid_fd != -1) {
        pidfile_touch(master->pid_fd);
    }
}

void upgrade_begin(struct master *master, int64_t now_ns) {
    int ends[2];
    if (master->program == NULL) {
        refuse(master, "the path of this program is not known", "");
        return;
    }
    if (master->pid == 1) {
        refuse(master, "the end of process 1 would be the end of the new daemon too", "");
        return;
    }
    if (pipe2(ends, O_CLOEXEC) == -1 || boot_ring_on(ends[0]) == -1) {
        refuse(master, "no pipe", strerror(errno));
        return;
    }
    log_info("upgrading: starting %s", master->program);
    pid_t pid = fork();
    if (pid == 0) {
        become_successor(master, ends[1]);
    }
    close(ends[1]);
    if (pid == -1) {
        refuse(master, "fork", strerror(errno));
        close(ends[0]);
        return;
    }
    notify_send(&master->notify, NOTIFY_RELOADING);
    master->upgrade = (struct upgrade){
        .pid = pid, .fd = ends[0], .deadline_ns = now_ns + READY_TIMEOUT_NS, .why = ""};
}

void upgrade_give_up(struct master *master, const char *why) {
    struct upgrade *upgrade = &master->upgrade;
    if (upgrade->pid != 0 && upgrade->why[0] == '\0') {
        upgrade->why = why;
        upgrade->deadline_ns = NEVER;
        (void)kill(upgrade->pid, SIGKILL);
    }
}

/* The pid file names us until the new master has put its own there, so what is told us meanwhile is
 * meant for the daemon. */
static void pass_on(struct master *master, int64_t now_ns) {
    bool names_us = master->pid_fd != -1 && pidfile_is_ours(master->pid_path, master->pid_fd);
    if (master->successor != 0 && master->wants_reload) {
        (void)kill(master->successor, SIGHUP);
    }
    master->wants_reload = false;
    if (master->successor != 0 && names_us) {
        for (; master->quits > 0; master->quits--) {
            (void)kill(master->successor, SIGTERM);
        }
    }
    if (master->quits > 0 && !master->hurried) {
        master->hurried = true;
        /* again: who reads on the board that the daemon ends has no grace */
        generations_drain(master, true, now_ns);
    }
}

static void drain_for(struct master *master, int64_t now_ns) {
    master->handed_over = true;
    master->successor = master->upgrade.pid;
    notify_hand_over(&master->notify, master->successor);
    notify_close(&master->notify);
    master->watchdog_ns = NEVER;
    master->phase = PHASE_DRAINING;
    master->metrics_told = true;
    listen_close(&master->clients);
    listen_close(&master->metrics);
    generations_drain(master, true, now_ns);
    log_info("process %d has taken over; this one ends when its workers have drained",
             (int)master->successor);
    pass_on(master, now_ns); /* it may have read the file before that was changed */
}

/* The new master's words go to our log: its own may not be open yet. */
static void hear(struct upgrade *upgrade, char c) {
    if (c != '\n' && c != '\0') {
        if (upgrade->size < sizeof(upgrade->line)) {
            upgrade->line[upgrade->size++] = c;
        }
        return;
    }
    if (upgrade->size > 0) {
        log_error("the new daemon says: %.*s", (int)upgrade->size, upgrade->line);
        upgrade->size = 0;
    }
    upgrade->status_is_next = c == '\0';
}

/* True when the new master serves. */
static bool listen_to(struct upgrade *upgrade) {
    char data[512];
    ssize_t size;
    bool serves = false;
    while ((size = read(upgrade->fd, data, sizeof(data))) > 0) {
        for (ssize_t i = 0; i < size; i++) {
            if (upgrade->status_is_next) {
                upgrade->status_is_next = false;
                serves = data[i] == 0;
            } else {
                hear(upgrade, data[i]);
            }
        }
    }
    return serves;
}

static void forget(struct upgrade *upgrade) {
    close(upgrade->fd);
    *upgrade = (struct upgrade){.fd = -1};
}

void upgrade_turn(struct master *master, int64_t now_ns) {
    struct upgrade *upgrade = &master->upgrade;
    if (master->handed_over) {
        pass_on(master, now_ns);
    }
    if (upgrade->pid == 0) {
        return;
    }
    if (listen_to(upgrade) && upgrade->why[0] == '\0') {
        drain_for(master, now_ns);
        forget(upgrade);
    } else if (upgrade->deadline_ns <= now_ns) {
        upgrade_give_up(master, "its workers did not get ready in time");
    }
}

/* What a new master that was about to take over may have left. */
static void tidy_up(struct master *master, pid_t pid) {
    if (master->pid_fd != -1) {
        pidfile_discard(master->pid_path, pid);
    }
    region_discard_beside(master->boot_conf->cache.file);
    if (master->phase == PHASE_SERVING && master->current != NULL) {
        boot_publish(master, master->current);
    }
}

static int64_t ns_of(const struct timeval *time) {
    return time->tv_sec * NS_PER_S + time->tv_usec * NS_PER_US;
}

void upgrade_bequeath(const struct master *master) {
    struct rusage own, children;
    if (master->handed_over && getrusage(RUSAGE_SELF, &own) == 0 &&
        getrusage(RUSAGE_CHILDREN, &children) == 0) {
        board_add_word(master->region, BOARD_WORD_CPU_GONE_NS,
                       ns_of(&own.ru_utime) + ns_of(&own.ru_stime) + ns_of(&children.ru_utime) +
                           ns_of(&children.ru_stime));
    }
}

/* It took over, and what it does since is its own business. */
static void note_end_of_successor(struct master *master, pid_t pid, int status) {
    char end[64];
    reap_describe(status, end, sizeof(end));
    bool is_well = WIFEXITED(status) && WEXITSTATUS(status) == 0; /* it was told to end */
    log_write(is_well ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR,
              "process %d, which took over, has ended: %s", (int)pid, end);
    master->successor = 0;
}

/* The line comes last: who reads it finds everything as it was. */
static void note_failure(struct master *master, pid_t pid, int status) {
    char end[64];
    const char *why = master->upgrade.why;
    reap_describe(status, end, sizeof(end));
    hear(&master->upgrade, '\n'); /* its last line may have no end */
    forget(&master->upgrade);
    tidy_up(master, pid);
    log_error(
        "upgrade failed: the new daemon (process %d) ended: %s%s%s; everything stays as it is",
        (int)pid, end, why[0] != '\0' ? ": " : "", why);
    if (master->pid_fd != -1) {
        pidfile_touch(master->pid_fd);
    }
    if (master->phase == PHASE_SERVING) {
        notify_send(&master->notify, NOTIFY_READY);
    }
}

bool upgrade_reaped(struct master *master, pid_t pid, int status, int64_t now_ns) {
    if (pid == master->upgrade.pid) {
        upgrade_turn(master, now_ns); /* the last that it said */
    }
    if (pid == master->upgrade.pid) {
        note_failure(master, pid, status);
        return true;
    }
    if (pid == master->successor) {
        note_end_of_successor(master, pid, status);
        return true;
    }
    return false;
}
