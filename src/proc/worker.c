/* worker: see proc/worker.h. Builds the house of one worker: loop, timers, store, gateway, api,
 * server; and takes it down again.
 *
 * The surprise: certificate and key are read while still privileged, everything else after.
 */
#include "config.h"

#include "proc/worker.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "gateway/gateway.h"
#include "proc/loop_timers.h"
#include "proc/spawn.h"
#include "shm/wake.h"
#include "upstream/upstream.h"

#define BODY_IDLE_MS 10000
#define BODY_PER_MIB_MS 30000
#define SEND_STALL_MS 30000
#define ABOVE_MS 1000
#define STREAM_BUFFER_BYTES ((size_t)256 * 1024)
#define OWN_MAPPING_BYTES (4 * 1024 * 1024)
#define SPARE_HEAP_BYTES (8 * 1024 * 1024)

struct worker {
    struct child child; /* first: hooks get the child and know its worker */
    struct tls_context *tls;
    struct access_log *access_log;
    struct store *store;
    struct loop_timers timers;
    struct upstream *upstream;
    struct gateway *gateway;
    struct api *api;
    struct event wake; /* an answer that others brought, or a leader that died */
};

static void on_tick(struct child *child) {
    struct worker *worker = (struct worker *)child;
    gateway_tick(worker->gateway);
    api_tick(worker->api);
    access_log_flush(worker->access_log);
    child_count_dropped(child, log_dropped() + access_log_dropped(worker->access_log));
}

static void on_reopen(struct child *child) {
    struct worker *worker = (struct worker *)child;
    if (access_log_reopen(worker->access_log) == -1) {
        log_error("cannot reopen the access log %s: %s", child->env->conf->access_log,
                  strerror(errno));
    }
}

static void on_give_up(struct child *child) {
    gateway_abort_all(((struct worker *)child)->gateway);
}

static bool is_busy(struct child *child) {
    return gateway_flows(((struct worker *)child)->gateway) > 0;
}

static const struct child_hooks hooks = {
    .tick = on_tick, .reopen = on_reopen, .give_up = on_give_up, .is_busy = is_busy};

static struct http_limits limits_of(const struct conf *conf, const struct capacity *capacity) {
    return (struct http_limits){
        .max_body_bytes = conf->limits.max_body,
        .max_input_bytes = capacity->body_bytes,
        .max_output_bytes = capacity->body_bytes / 2, /* a quarter of the memory, in all */
        .max_above = capacity->above,
        .above_ms = ABOVE_MS,
        .busy_answer = api_busy_answer,
        .header_timeout_ms = conf->limits.header_timeout_ms,
        .keepalive_ms = conf->limits.keepalive_ms,
        .body_idle_ms = BODY_IDLE_MS,
        .body_per_mib_ms = BODY_PER_MIB_MS,
        .send_stall_ms = SEND_STALL_MS,
        .stream_buffer_bytes = STREAM_BUFFER_BYTES,
    };
}

/* What is wrong with a file may be that there is no descriptor for it: that is not the
 * configuration's fault and passes. */
static int status_of(int reason) {
    bool passes = reason == EMFILE || reason == ENFILE || reason == ENOMEM || reason == ENOSPC;
    return passes ? 1 : SPAWN_EXIT_CONFIGURATION;
}

/* 0, or the exit status; logged. */
static int read_tls(struct worker *worker, const struct conf *conf) {
    if (conf->tls.certificate[0] == '\0') {
        return 0;
    }
    char error[1024];
    errno = 0; /* OpenSSL keeps what the system said of the files */
    worker->tls = tls_context_new(conf->tls.certificate, conf->tls.key, error, sizeof(error));
    if (worker->tls == NULL) {
        int status = status_of(errno);
        log_error("tls: %s", error);
        return status;
    }
    return 0;
}

static int build_gateway(struct worker *worker, const struct child_env *env) {
    worker->store = store_open(env->region);
    loop_timers_init(&worker->timers, worker->child.base);
    struct timers timers = loop_timers_interface(&worker->timers);
    worker->upstream = upstream_new(worker->child.base, &timers, env->conf);
    struct gateway_env gateway_env = {
        .conf = env->conf,
        .labels = env->labels,
        .region = env->region,
        .slot = env->slot,
        .store = worker->store,
        .upstream = worker->upstream,
        .provider_ops = provider_ops_for,
        .metrics = worker->child.metrics,
        .access_log = worker->access_log,
        .timers = timers,
        .metrics_address = env->metrics_address,
    };
    worker->gateway =
        worker->store != NULL && worker->upstream != NULL ? gateway_new(&gateway_env) : NULL;
    worker->api = worker->gateway != NULL ? api_new(worker->gateway) : NULL;
    if (worker->api == NULL) {
        log_error("no memory");
        return -1;
    }
    return 0;
}

static void on_wake(evutil_socket_t fd, short what, void *argument) {
    (void)fd;
    (void)what;
    struct worker *worker = argument;
    wake_take(worker->child.env->region, worker->child.env->slot);
    gateway_wake(worker->gateway);
}

static int listen_for_wakes(struct worker *worker) {
    const struct child_env *env = worker->child.env;
    if (event_assign(&worker->wake, worker->child.base, wake_fd(env->region, env->slot),
                     EV_READ | EV_PERSIST, on_wake, worker) == -1 ||
        event_add(&worker->wake, NULL) == -1) {
        log_error("no event loop: %s", strerror(errno));
        return -1;
    }
    return 0;
}

/* 0 when ready, else the exit status; logged. */
static int build(struct worker *worker, const struct child_env *env) {
    const struct conf *conf = env->conf;
    child_start(env);
    int status = read_tls(worker, conf);
    if (status != 0) {
        return status;
    }
    if (child_confine(env) == -1) {
        return 1;
    }
    worker->access_log = access_log_open(conf->access_log);
    if (worker->access_log == NULL) {
        status = status_of(errno);
        log_error("access log %s: %s", conf->access_log, strerror(errno));
        return status;
    }
    if (child_open(&worker->child, env, &hooks) == -1 || build_gateway(worker, env) == -1 ||
        listen_for_wakes(worker) == -1) {
        return 1;
    }
    struct capacity capacity =
        capacity_of(conf->limits.max_connections, conf->workers, system_file_limit());
    capacity.body_bytes = capacity_body_bytes(system_memory(), conf->cache.size,
                                              conf->limits.max_body, conf->workers);
    struct http_limits limits = limits_of(conf, &capacity);
    struct http_server *server =
        http_server_new(worker->child.base, &limits, &api_callbacks, worker->api);
    if (server == NULL) {
        log_error("no memory");
        return 1;
    }
    return child_serve(&worker->child, server, worker->tls, &capacity) == -1 ? 1 : 0;
}

/* In the reverse order of build. Requests under way end with their connections. */
static void take_down(struct worker *worker) {
    child_hang_up(&worker->child);
    if (worker->gateway != NULL) {
        gateway_abort_all(worker->gateway);
    }
    if (worker->api != NULL) {
        api_free(worker->api);
    }
    if (worker->gateway != NULL) {
        gateway_free(worker->gateway);
    }
    upstream_free(worker->upstream);
    loop_timers_fini(&worker->timers);
    if (worker->store != NULL) {
        store_close(worker->store);
    }
    access_log_close(worker->access_log);
    if (worker->tls != NULL) {
        tls_context_free(worker->tls);
    }
}

/* The largest bodies get mappings of their own: these grow without being copied, and go back to the
 * system at once. Left alone, malloc would after the first one put the next into the heap. Those of
 * the usual images stay in it: fresh pages cost as much as all else that is done with a body. */
static void set_up_malloc(void) {
    (void)mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, SPARE_HEAP_BYTES);
    (void)mallopt(M_ARENA_MAX, 1); /* the only other threads are libcurl's, for names */
}

int worker_main(const struct child_env *env) {
    struct worker worker = {.child = {.signal_fd = -1}};
    set_up_malloc();
    int status = build(&worker, env);
    if (status == 0) {
        child_run(&worker.child);
        on_tick(&worker.child); /* what the last second added */
    }
    take_down(&worker);
    int end = child_close(&worker.child);
    return status != 0 ? status : end;
}
