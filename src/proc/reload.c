/* reload: a new configuration, or the old one: never something between. See master_private.h. Runs
 * in the master.
 *
 * The new generation is complete and ready before the old one hears of it. Until then everything
 * that goes wrong is logged and leaves what runs as it is.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "base/panic.h"
#include "gateway/breaker.h"
#include "master_private.h"
#include "proc/check.h"

#define READY_TIMEOUT_NS (10 * NS_PER_S)

static void refuse(struct master *master) {
    board_set_word(master->region, BOARD_WORD_RELOAD_SUCCESSFUL, 0);
    log_error("reload failed; everything stays as it is (generation %u)", master->current->number);
    notify_send(&master->notify, NOTIFY_READY);
}

static void log_errors(const struct conf_errors *errors) {
    struct bytes rest = buf_bytes(&errors->lines);
    while (rest.size > 0) {
        struct bytes line = bytes_cut(&rest, '\n');
        log_error("%.*s", (int)line.size, line.data);
    }
}

/* Sockets, region, user and pid file are those of the boot; a generation must not read otherwise in
 * its configuration. The strings are the boot configuration's, which outlives all others. */
static void keep_restart_keys(const struct master *master, struct conf *fresh) {
    const struct conf *boot = master->boot_conf;
    struct buf keys;
    buf_init(&keys, 0);
    conf_restart_keys(boot, fresh, &keys);
    if (keys.size > 0) {
        log_warn("changed, but only a restart brings into force: %.*s", (int)keys.size, keys.data);
    }
    fresh->listen_count = boot->listen_count;
    memcpy(fresh->listen, boot->listen, sizeof(fresh->listen));
    fresh->metrics_listen = boot->metrics_listen;
    fresh->user = boot->user;
    fresh->pid_file = boot->pid_file;
    fresh->cache.size = boot->cache.size;
    fresh->cache.file = boot->cache.file;
    buf_clear(&keys);
    conf_restart_keys(boot, fresh, &keys);
    ASSERT(keys.size == 0); /* else the key table has such a key that this function forgot */
    buf_free(&keys);
}

/* The log files of the new configuration are there and ours. */
static int move_logs(const struct master *master, const struct conf *conf) {
    char error[512];
    if (boot_own_logs(master, conf, error, sizeof(error)) == -1) {
        log_error("%s", error);
        return -1;
    }
    if (strcmp(conf->error_log, master->current->conf->error_log) != 0 &&
        log_open(boot_log_destination(master, conf), LOG_LEVEL_INFO) == -1) {
        log_error("error_log %s: %s", conf->error_log, strerror(errno));
        return -1;
    }
    return 0;
}

static void move_logs_back(const struct master *master, const struct conf *failed) {
    const struct conf *conf = master->current->conf;
    if (strcmp(conf->error_log, failed->error_log) != 0) {
        (void)log_open(boot_log_destination(master, conf), LOG_LEVEL_INFO);
    }
}

static struct conf *load(struct master *master) {
    struct conf_errors errors;
    conf_errors_init(&errors);
    struct conf *conf = check_load(check_conf_path(master->conf_path), &errors);
    if (conf != NULL && !master->options->foreground) {
        check_paths_absolute(conf, &errors);
    }
    if (errors.count > 0) {
        log_errors(&errors);
        conf_free(conf);
        conf = NULL;
    }
    conf_errors_fini(&errors);
    return conf;
}

void reload_begin(struct master *master, int64_t now_ns) {
    log_info("reloading the configuration");
    notify_send(&master->notify, NOTIFY_RELOADING);
    struct conf *conf = load(master);
    if (conf == NULL) {
        refuse(master);
        return;
    }
    keep_restart_keys(master, conf);
    check_capacity(conf);
    struct labels labels;
    char error[512];
    if (labels_bind(&labels, conf, master->region, error, sizeof(error)) == -1) {
        log_error("%s: %s", conf->source, error);
        conf_free(conf);
        refuse(master);
        return;
    }
    region_sync_names(master->region);
    if (move_logs(master, conf) == -1) {
        conf_free(conf);
        refuse(master);
        return;
    }
    master->candidate = generation_new(master, conf, &labels);
    if (master->candidate == NULL) {
        log_error("no memory");
        move_logs_back(master, conf);
        conf_free(conf);
        refuse(master);
        return;
    }
    master->candidate->deadline_ns = now_ns + READY_TIMEOUT_NS;
}

static void commit(struct master *master, int64_t now_ns) {
    struct generation *old = master->current;
    struct generation *fresh = master->candidate;
    fresh->state = GENERATION_SERVING;
    fresh->deadline_ns = NEVER;
    master->current = fresh;
    master->candidate = NULL;
    board_set_word(master->region, BOARD_WORD_GENERATION, fresh->number);
    board_set_word(master->region, BOARD_WORD_WORKERS, fresh->conf->workers);
    board_set_word(master->region, BOARD_WORD_RELOAD_SUCCESSFUL, 1);
    breaker_bind(master->region, fresh->conf, &fresh->labels);
    generation_drain(old, true, now_ns);
    log_info("generation %u serves with %u workers, generation %u drains", fresh->number,
             fresh->conf->workers, old->number);
    notify_send(&master->notify, NOTIFY_READY);
}

void reload_give_up(struct master *master, const char *why, int64_t now_ns) {
    struct generation *failed = master->candidate;
    master->candidate = NULL;
    move_logs_back(master, failed->conf);
    log_error("generation %u is given up: %s", failed->number, why);
    /* Who never served has nothing to finish. */
    for (unsigned i = 0; i < failed->seat_count; i++) {
        if (failed->seats[i].state == SEAT_STARTING) {
            (void)kill(failed->seats[i].pid, SIGKILL);
        }
    }
    generation_drain(failed, true, now_ns);
    refuse(master);
}

static bool somebody_drains(const struct master *master) {
    for (const struct generation *generation = master->generations; generation != NULL;
         generation = generation->older) {
        if (generation->state == GENERATION_DRAINING) {
            return true;
        }
    }
    return false;
}

void reload_turn(struct master *master, int64_t now_ns) {
    struct generation *candidate = master->candidate;
    if (candidate == NULL) {
        return;
    }
    bool is_faulty = false, is_slotless = false;
    for (unsigned i = 0; i < candidate->seat_count; i++) {
        is_faulty = is_faulty || candidate->seats[i].state == SEAT_FAULTY;
        is_slotless = is_slotless || candidate->seats[i].slotless;
    }
    if (is_slotless && somebody_drains(master)) {
        candidate->deadline_ns = now_ns + READY_TIMEOUT_NS; /* slots will come back */
    }
    if (is_faulty) {
        reload_give_up(master, "a worker cannot work with this configuration", now_ns);
    } else if (generation_is_ready(candidate)) {
        commit(master, now_ns);
    } else if (candidate->deadline_ns <= now_ns) {
        reload_give_up(master, "its workers did not get ready in time", now_ns);
    }
}
