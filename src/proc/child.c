/* child: see proc/child.h. Runs in workers and in the metrics worker.
 *
 * The surprise: it inherits the master's blocked signals and never unblocks them; the signalfd
 * reads them, so nothing that arrives between fork and loop is lost.
 */
#include "config.h"

#include "proc/child.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/panic.h"

/* After a reload clients keep their idle connections this long, to send one more request or to
 * notice Connection: close; when the daemon ends there is nothing to wait for. */
#define RELOAD_GRACE_MS 5000
/* Between failing what is under way and the end: room for the error answers to leave. */
#define FAREWELL_NS NS_PER_S

static const struct timeval tick_period = {1, 0};
static const struct timeval drain_period = {0, 20000};

/* For the panic hook, which has no argument. */
static const struct child_env *panic_env;

static void say_last_words(const char *last_words) {
    board_set_last_words(panic_env->region, panic_env->slot, last_words);
}

/* libevent would write to stderr, which is /dev/null in the background. */
static void log_of_libevent(int severity, const char *message) {
    if (severity == EVENT_LOG_WARN || severity == EVENT_LOG_ERR) {
        log_write(severity == EVENT_LOG_ERR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "libevent: %s",
                  message);
    }
}

void child_start(const struct child_env *env) {
    char name[32], title[16];
    if (env->role == BOARD_METRICS) {
        snprintf(name, sizeof(name), "metrics");
        snprintf(title, sizeof(title), "optirouted:m");
    } else {
        snprintf(name, sizeof(name), "worker %u", env->number);
        snprintf(title, sizeof(title), "optirouted:w%u", env->number % 100);
    }
    log_set_identity(name);
    system_set_title(title);
    panic_env = env;
    panic_set_hook(say_last_words);
    event_set_log_callback(log_of_libevent);
}

int child_confine(const struct child_env *env) {
    if (identity_assume(env->identity) == -1) {
        log_error("cannot give up privileges: %s", strerror(errno));
        return -1;
    }
    if (system_die_with(env->master) == -1) {
        log_error("the master is gone");
        return -1;
    }
    return 0;
}

static void begin_drain(struct child *child) {
    const struct child_env *env = child->env;
    bool daemon_ends = board_get_word(env->region, BOARD_WORD_DRAINING) != 0;
    acceptor_close(&child->acceptor);
    http_server_drain(child->server, daemon_ends ? 0 : RELOAD_GRACE_MS);
    if (child->state != CHILD_RUNNING) {
        return; /* told again: only the grace changes */
    }
    board_set_state(env->region, env->slot, BOARD_DRAINING);
    child->state = CHILD_DRAINING;
    child->give_up_ns = clock_mono_ns() + env->conf->limits.shutdown_timeout_ms * NS_PER_MS;
    if (event_add(&child->drain, &drain_period) == -1) {
        event_base_loopbreak(child->base);
    }
}

static void on_drain(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    struct child *child = argument;
    bool is_busy = child->hooks->is_busy != NULL && child->hooks->is_busy(child);
    if (http_server_is_empty(child->server) && !is_busy) {
        event_base_loopbreak(child->base);
        return;
    }
    int64_t now_ns = clock_mono_ns();
    if (now_ns < child->give_up_ns) {
        return;
    }
    if (child->state == CHILD_GIVING_UP) {
        event_base_loopbreak(child->base);
        return;
    }
    log_warn("shutdown_timeout is over: ending what is under way");
    child->state = CHILD_GIVING_UP;
    child->give_up_ns = now_ns + FAREWELL_NS;
    if (child->hooks->give_up != NULL) {
        child->hooks->give_up(child);
    }
    http_server_drain(child->server, 0);
}

static void on_signals(evutil_socket_t fd, short what, void *argument) {
    (void)what;
    struct child *child = argument;
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGQUIT:
            begin_drain(child);
            break;
        case SIGTERM:
            child->terminated = true;
            event_base_loopbreak(child->base);
            break;
        case SIGUSR2:
            acceptor_begin(&child->acceptor);
            break;
        case SIGUSR1:
            if (log_reopen() == -1) {
                log_error("cannot reopen the error log: %s", strerror(errno));
            }
            if (child->hooks->reopen != NULL) {
                child->hooks->reopen(child);
            }
            break;
        default:
            break;
        }
    }
}

/* Nobody ever writes: readable means end of file. */
static void on_master_gone(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    struct child *child = argument;
    log_error("the master is gone: ending");
    event_base_loopbreak(child->base);
}

void child_count_dropped(struct child *child, uint64_t dropped) {
    if (dropped > child->dropped_counted) {
        metric_add(&child->metrics, METRIC_LOG_DROPPED, dropped - child->dropped_counted, 0, 0, 0);
        child->dropped_counted = dropped;
    }
}

static void on_tick(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    struct child *child = argument;
    board_beat(child->env->region, child->env->slot);
    /* Here, for an idle master does not wake up; whoever comes first in a second does it for all.
     */
    region_mark_time(child->env->region, clock_wall_ns() / NS_PER_MS);
    acceptor_publish(&child->acceptor);
    if (child->hooks->tick != NULL) {
        child->hooks->tick(child);
    }
}

static struct event_base *make_base(void) {
    struct event_config *config = event_config_new();
    if (config == NULL) {
        return NULL;
    }
    /* One thread, and a clock read when a timer is set, not one from the loop's last turn. */
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

int child_open(struct child *child, const struct child_env *env, const struct child_hooks *hooks) {
    *child = (struct child){.env = env, .hooks = hooks, .signal_fd = -1};
    child->metrics.row = counters_row(env->region, (unsigned)env->slot);
    child->dropped_counted = log_dropped(); /* the master counts what it dropped itself */
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGQUIT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGUSR2);
    child->signal_fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
    child->base = make_base();
    if (child->signal_fd == -1 || child->base == NULL) {
        log_error("no event loop: %s", strerror(errno));
        return -1;
    }
    /* Cannot fail: the base is good and no event was added before. */
    (void)event_assign(&child->signals, child->base, child->signal_fd, EV_READ | EV_PERSIST,
                       on_signals, child);
    (void)event_assign(&child->life, child->base, env->life_fd, EV_READ, on_master_gone, child);
    (void)event_assign(&child->tick, child->base, -1, EV_PERSIST, on_tick, child);
    (void)event_assign(&child->drain, child->base, -1, EV_PERSIST, on_drain, child);
    return 0;
}

int child_serve(struct child *child, struct http_server *server, struct tls_context *tls,
                const struct capacity *capacity) {
    const struct child_env *env = child->env;
    child->server = server;
    struct acceptor_params params = {
        .base = child->base,
        .listeners = env->listeners,
        .server = server,
        .tls = tls,
        .region = env->region,
        .metrics = &child->metrics,
        .capacity = *capacity,
        .generation = env->generation,
        .slot = env->slot,
        .balances = env->role == BOARD_WORKER,
        .waits = env->waits,
    };
    if (acceptor_open(&child->acceptor, &params) == -1 || event_add(&child->signals, NULL) == -1 ||
        event_add(&child->life, NULL) == -1 || event_add(&child->tick, &tick_period) == -1) {
        log_error("no event loop: %s", strerror(errno));
        return -1;
    }
    board_beat(env->region, env->slot);
    log_mute(false);
    board_set_state(env->region, env->slot, BOARD_READY);
    const char ring = 'r';
    /* A full pipe rings as well; and the master looks at the board now and then. */
    ssize_t written = write(env->bell_fd, &ring, 1);
    (void)written;
    return 0;
}

void child_run(struct child *child) {
    if (event_base_dispatch(child->base) == -1) {
        log_error("the event loop failed: %s", strerror(errno));
    }
}

void child_hang_up(struct child *child) {
    acceptor_close(&child->acceptor);
    if (child->server != NULL) {
        http_server_free(child->server);
        child->server = NULL;
    }
}

int child_close(struct child *child) {
    if (child->base != NULL) {
        event_base_free(child->base);
    }
    if (child->signal_fd != -1) {
        close(child->signal_fd);
    }
    if (child->terminated) {
        sigset_t mask;
        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        (void)signal(SIGTERM, SIG_DFL);
        (void)raise(SIGTERM);
        (void)pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    }
    return 0;
}
