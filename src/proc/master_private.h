/* master_private: what the files of the master share: its state, generations, and who does what.
 *
 *     boot.c        everything before the first fork, and its undoing
 *     master.c      the loop of questions
 *     generation.c  seats of one configuration: filling, watching, draining them
 *     reap.c        who died, obituary, who follows
 *     reload.c      a new configuration, or the old one
 *     spawn.c       the fork
 */
#ifndef OPTIROUTE_PROC_MASTER_PRIVATE_H
#define OPTIROUTE_PROC_MASTER_PRIVATE_H

#include <signal.h>

#include "base/clock.h"
#include "proc/console.h"
#include "proc/listen.h"
#include "proc/master.h"
#include "proc/notify.h"
#include "proc/pidfile.h"
#include "proc/spawn.h"
#include "proc/system.h"
#include "shm/region.h"
#include "watch/labels.h"
#include "watch/metrics.h"

#define GENERATION_WORKERS_MAX 64
#define NEVER INT64_MAX

/* A byte in the bell's pipe raises this signal at the master (F_SETSIG). */
#define BELL_SIGNAL SIGRTMIN

enum generation_state {
    GENERATION_STARTING, /* not every seat was ready yet */
    GENERATION_SERVING,
    GENERATION_DRAINING /* ends when its last seat is empty */
};

/* One configuration and the processes that serve it. */
struct generation {
    struct generation *older; /* the list of all, newest first */
    uint32_t number;          /* from 1 */
    struct conf *conf;        /* owned, except the boot configuration (master's) */
    struct labels labels;
    enum generation_state state;
    int64_t deadline_ns; /* STARTING after a reload: ready by then; DRAINING: killed then */
    unsigned seat_count; /* workers, then the metrics worker if there is one */
    struct seat seats[GENERATION_WORKERS_MAX + 1];
};

enum master_phase {
    PHASE_SERVING,
    PHASE_LEAVING, /* told to quit: readiness fails, listening goes on for drain_delay */
    PHASE_DRAINING /* workers finish; the metrics worker leaves last */
};

struct master {
    const struct options *options;
    char *conf_path;        /* of -c, made absolute for the background; NULL: not given */
    const char *pid_path;   /* "" none */
    struct conf *boot_conf; /* keys that need a restart are in force as they stand here */
    struct console console;
    struct identity identity;
    struct listeners clients, metrics;
    struct region *region;
    struct notify notify;
    struct metrics counters; /* the master's own row */
    uint64_t dropped_counted;
    pid_t pid;
    int pid_fd;                     /* -1: no pid file */
    int life_read, life_write;      /* children see its end of file when we end */
    int bell_read, bell_write;      /* children ring it when they are ready */
    struct generation *generations; /* all, newest first */
    struct generation *current;     /* that is meant to serve */
    struct generation *candidate;   /* of a reload under way, else NULL */
    uint32_t last_number;
    enum master_phase phase;
    int64_t leave_ns;    /* LEAVING: until when */
    int64_t watchdog_ns; /* next message; NEVER without a watchdog */
    unsigned quits;      /* how often we were told to end */
    bool wants_reload, wants_reopen, wants_upgrade;
    bool announced;    /* the first generation was ready once */
    bool metrics_told; /* DRAINING: the metrics worker was told too */
    bool unwanted;     /* every worker said that the configuration cannot work */
};

/* master.c: the signals that the master blocks and takes one by one. */
void master_signals(sigset_t *mask);

/* boot.c: 0, or an exit status that the console was told the reason of. */
int boot_master(struct master *master);
void boot_undo(struct master *master);
/* What a person wants to know once it serves. */
void boot_announce(struct master *master);
/* Where this configuration's error log goes. */
const char *boot_log_destination(const struct master *master, const struct conf *conf);
/* Log files exist and the user may write them. -1 with one line that names the key. */
int boot_own_logs(const struct master *master, const struct conf *conf, char *error,
                  size_t error_size);

/* generation.c */
/* NULL without memory. Takes conf over. */
struct generation *generation_new(struct master *master, struct conf *conf,
                                  const struct labels *labels);
bool generation_is_ready(const struct generation *generation);
/* Every worker seat ended with SPAWN_EXIT_CONFIGURATION. */
bool generation_is_unwanted(const struct generation *generation);
/* Processes of that role that are still there. */
unsigned generation_living(const struct generation *generation, enum board_role role);
/* Tells the workers (and the metrics worker, if so) to finish; seats nobody sits in are closed. */
void generation_drain(struct generation *generation, bool metrics_too, int64_t now_ns);
void generation_signal(const struct generation *generation, int signal);
/* Fills due seats, notices who became ready, kills who does not end in time, frees what is over. */
void generations_turn(struct master *master, int64_t now_ns);
/* When generations_turn has something to do without a signal. */
int64_t generations_next_ns(const struct master *master, int64_t now_ns);

/* reap.c: takes every dead child there is. */
void reap_children(struct master *master, int64_t now_ns);

/* reload.c */
void reload_begin(struct master *master, int64_t now_ns);
/* Commits or gives up the candidate when it is time. */
void reload_turn(struct master *master, int64_t now_ns);
void reload_give_up(struct master *master, const char *why, int64_t now_ns);

#endif
