/* master_private: what the files of the master share: its state, generations, and who does what.
 *
 *     boot.c        everything before the first fork, and its undoing
 *     master.c      the loop of questions
 *     generation.c  seats of one configuration: filling, watching, draining them
 *     reap.c        who died, obituary, who follows
 *     reload.c      a new configuration, or the old one
 *     spawn.c       the fork
 *     upgrade.c     another binary takes over: the old master's part
 *     successor.c   the same: the new master's part
 */
#ifndef OPTIROUTE_PROC_MASTER_PRIVATE_H
#define OPTIROUTE_PROC_MASTER_PRIVATE_H

#include <signal.h>

#include "base/clock.h"
#include "proc/console.h"
#include "proc/handover.h"
#include "proc/listen.h"
#include "proc/master.h"
#include "proc/notify.h"
#include "proc/pidfile.h"
#include "proc/spawn.h"
#include "proc/system.h"
#include "shm/region.h"
#include "watch/carry.h"
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

/* Another binary that is being started in our place. */
struct upgrade {
    pid_t pid;           /* 0: none */
    int fd;              /* the pipe on which it says how it goes */
    int64_t deadline_ns; /* serves by then */
    const char *why;     /* why it is given up; "" while it is not */
    bool status_is_next; /* on the pipe */
    size_t size;         /* of the line that is not whole yet */
    char line[512];
};

struct master {
    const struct options *options;
    char *program;          /* absolute path of the binary, as we were called; NULL: not known */
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
    int64_t leave_ns;           /* LEAVING: until when */
    int64_t watchdog_ns;        /* next message; NEVER without a watchdog */
    unsigned quits;             /* how often we were told to end */
    int64_t bad_start_due_ns;   /* when the log should hear of one more bad start, a second each */
    unsigned bad_starts_unsaid; /* since then */
    int64_t repeat_said_ns;     /* when a child after a bad start last had a voice; 0: never */
    bool wants_reload, wants_reopen, wants_upgrade;
    /* An upgrade, seen from the old master */
    struct upgrade upgrade;
    bool handed_over; /* another one is the daemon now */
    bool hurried;     /* and ends too: idle connections have no grace any more */
    pid_t successor;  /* that one, as long as it is known to live; 0: none */
    /* and from the new one. */
    pid_t predecessor;        /* 0: none, or it is gone */
    bool predecessor_serves;  /* we have not taken over yet */
    struct handover handover; /* sockets nobody has asked for yet */
    int foreign_fd;           /* its region, when that cannot be ours; -1: none */
    struct totals *foreign;   /* what was carried over from there so far */
    int64_t carry_ns;         /* next time */
    bool orphans_wait;        /* a dead master's processes have not ended yet */
    bool announced;           /* the first generation was ready once */
    bool metrics_told;        /* DRAINING: the metrics worker was told too */
    bool unwanted;            /* every worker said that the configuration cannot work */
};

/* master.c: the signals that the master blocks and takes one by one. */
void master_signals(sigset_t *mask);

/* boot.c: 0, or an exit status that the console was told the reason of. */
int boot_master(struct master *master);
void boot_undo(struct master *master);
/* What a person wants to know once it serves. */
void boot_announce(struct master *master);
/* Says it to whoever started us, and to the log when that is somewhere else. */
void boot_fail(struct master *master, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The generation's figures on the board, its providers' places at the breakers. */
void boot_publish(struct master *master, const struct generation *generation);
/* A byte to be read there raises BELL_SIGNAL. -1 with errno. */
int boot_ring_on(int fd);
/* Where this configuration's error log goes. */
const char *boot_log_destination(const struct master *master, const struct conf *conf);
/* Log files exist and the user may write them. -1 with one line that names the key. */
int boot_own_logs(const struct master *master, const struct conf *conf, char *error,
                  size_t error_size);

/* boot_region.c */
/* One line of what went on from a region of another layout. */
void boot_say_carried(struct carried carried);
/* The region as the configuration and a predecessor want it; -1: the console was told why. */
int boot_make_region(struct master *master, int64_t patience_ms);
/* The configuration's names in the region's tables; -1 with one line. */
int boot_bind_labels(struct master *master, struct labels *labels, char *error, size_t error_size);

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
/* Waits for every process of it and frees the slots; after SIGKILL. */
void generation_bury(struct generation *generation, struct region *region);
/* The same for all of them. */
void generations_drain(struct master *master, bool metrics_too, int64_t now_ns);
void generations_signal(const struct master *master, int signal);
/* Fills due seats, notices who became ready, kills who does not end in time, frees what is over. */
void generations_turn(struct master *master, int64_t now_ns);
/* When generations_turn has something to do without a signal. */
int64_t generations_next_ns(const struct master *master, int64_t now_ns);

/* reap.c */
/* Takes every dead child there is. */
void reap_children(struct master *master, int64_t now_ns);
/* "exit code 1", "signal 9 (SIGKILL)". */
void reap_describe(int status, char *out, size_t out_size);
/* Nobody works in that slot any more: what it held goes back. */
void reap_free_slot(struct region *region, int slot);
/* Frees slots that dead masters left, once their processes have ended too. True: some have not. */
bool reap_orphans(struct master *master);

/* reload.c */
void reload_begin(struct master *master, int64_t now_ns);
/* Commits or gives up the candidate when it is time. */
void reload_turn(struct master *master, int64_t now_ns);
void reload_give_up(struct master *master, const char *why, int64_t now_ns);

/* upgrade.c */
void upgrade_begin(struct master *master, int64_t now_ns);
/* Hears the new master and hands over to it, or gives it up when it is late. */
void upgrade_turn(struct master *master, int64_t now_ns);
/* Kills the new master, if there is one that does not serve yet. */
void upgrade_give_up(struct master *master, const char *why);
/* At the end of a master that was replaced: its CPU time stays in the daemon's. */
void upgrade_bequeath(const struct master *master);
/* Was that child a new master? Then what follows has been done. */
bool upgrade_reaped(struct master *master, pid_t pid, int status, int64_t now_ns);

/* successor.c */
/* At boot: is this an upgrade? -1 with one line when it is one that cannot be. */
int successor_begin(struct master *master, char *error, size_t error_size);
/* All workers are ready: from here on this is the daemon. -1: told why, the old one goes on. */
int successor_take_over(struct master *master);
void successor_turn(struct master *master, int64_t now_ns);
/* The daemon ends: what is left of the one before us is to end too, soon or now. */
void successor_hurry(const struct master *master, bool now);
int64_t successor_next_ns(const struct master *master);
void successor_forget(struct master *master);

#endif
