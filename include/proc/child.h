/* child: what workers and the metrics worker have in common: a process with an event loop, one HTTP
 * server, a slot on the board, and a master without which it does not go on.
 *
 *     child_start        name, last words; still privileged
 *     (read keys)
 *     child_confine      gives privileges up, ties its life to the master's
 *     child_open         event base, signals, tick
 *     child_serve        server and listening sockets: READY
 *     child_run          until drained or told to end
 *     child_close        server and loop are gone; returns the exit status
 *
 * Signals come through a signalfd: QUIT drains, TERM ends now, USR1 reopens logs, USR2 opens the
 * door of who waits (an upgrade); INT is the master's business (the terminal sends it to all of
 * us).
 */
#ifndef OPTIROUTE_PROC_CHILD_H
#define OPTIROUTE_PROC_CHILD_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "http/http_server.h"
#include "proc/accept.h"
#include "proc/listen.h"
#include "proc/system.h"
#include "watch/labels.h"
#include "watch/metrics.h"

/* What the master hands over at the fork; lives as long as the child. */
struct child_env {
    const struct conf *conf;
    const struct labels *labels;
    struct region *region;
    int slot;
    enum board_role role;
    unsigned number;     /* of the worker */
    uint32_t generation; /* of the configuration */
    const struct identity *identity;
    struct listeners *listeners; /* of its role; those of the other role are closed */
    const char *metrics_address; /* where the metrics worker listens; "" when there is none */
    pid_t master;
    bool waits;  /* of a master that upgrades another: serves from SIGUSR2 on */
    int life_fd; /* end of file: the master is gone */
    int bell_fd; /* a byte wakes the master */
};

struct child;

/* What the role adds; each may be NULL. */
struct child_hooks {
    void (*tick)(struct child *child);   /* once a second */
    void (*reopen)(struct child *child); /* after the error log was reopened */
    /* shutdown_timeout is over: end every request under way with an error. */
    void (*give_up)(struct child *child);
    /* Draining: is there still work without a connection? */
    bool (*is_busy)(struct child *child);
};

enum child_state { CHILD_RUNNING, CHILD_DRAINING, CHILD_GIVING_UP };

struct child {
    const struct child_env *env;
    const struct child_hooks *hooks;
    struct event_base *base;
    struct http_server *server; /* owned */
    struct acceptor acceptor;
    struct metrics metrics; /* our row */
    struct event signals, life, tick, drain;
    int signal_fd;
    enum child_state state;
    int64_t give_up_ns; /* monotonic; in force while not RUNNING */
    uint64_t dropped_counted;
    bool terminated; /* by SIGTERM: the exit says so */
};

void child_start(const struct child_env *env);
/* 0, or -1: logged. */
int child_confine(const struct child_env *env);
int child_open(struct child *child, const struct child_env *env, const struct child_hooks *hooks);
/* The server (owned from now on) takes connections from the environment's sockets. tls may be
 * NULL. -1 without memory. */
int child_serve(struct child *child, struct http_server *server, struct tls_context *tls,
                const struct capacity *capacity);
void child_run(struct child *child);
/* Closes every connection; then the callbacks' context may go, then child_close. */
void child_hang_up(struct child *child);
/* Exit status; does not return when a SIGTERM ended us, so that the master sees that. */
int child_close(struct child *child);

/* Adds what could not be logged so far to METRIC_LOG_DROPPED. `dropped` is this process's total. */
void child_count_dropped(struct child *child, uint64_t dropped);

#endif
