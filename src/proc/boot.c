/* boot: everything of the master before its first fork, in the order that gives the best message
 * for what may be wrong, and its undoing. See master_private.h.
 *
 * The surprise: what must be seen by the process that was started (its environment, its process id)
 * is read before the daemon goes to the background, all else after.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/breaker.h"
#include "master_private.h"
#include "proc/check.h"

#define STATUS_CONFIGURATION 1
#define STATUS_FATAL 2
#define DAEMON_UMASK 027
/* The workers of a killed master end a moment after it. A supervisor starts the next one at once,
 * which must not fail because sockets and cache file are not free yet. */
#define PATIENCE_MS 3000
#define LOOK_AGAIN_NS (20 * NS_PER_MS)

void boot_fail(struct master *master, const char *format, ...) {
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    console_say(&master->console, "optirouted: %s", line);
    if (log_descriptor() != STDERR_FILENO) {
        log_error("%s", line);
    }
}

const char *boot_log_destination(const struct master *master, const struct conf *conf) {
    /* In the background there is no stderr. */
    bool is_stderr = strcmp(conf->error_log, "stderr") == 0;
    return is_stderr && !master->options->foreground ? "syslog" : conf->error_log;
}

int boot_own_logs(const struct master *master, const struct conf *conf, char *error,
                  size_t error_size) {
    const char *key = "error_log", *path = conf->error_log;
    int result = system_own_log(path, &master->identity);
    if (result == 0) {
        key = "access_log";
        path = conf->access_log;
        result = system_own_log(path, &master->identity);
    }
    if (result == -1) {
        int reason = errno;
        snprintf(error, error_size, "cannot open %s %s: %s%s", key, path, strerror(reason),
                 text_file_advice(reason));
    }
    return result;
}

/* Relative paths mean something else once we live in /. */
static int settle_paths(struct master *master) {
    const struct options *options = master->options;
    master->program = system_find_program(options->program);
    master->pid_path = options->pid_file != NULL ? options->pid_file : master->boot_conf->pid_file;
    if (options->config != NULL) {
        master->conf_path = strdup(options->config);
        if (!options->foreground && options->config[0] != '/') {
            char *directory = getcwd(NULL, 0);
            char *absolute = NULL;
            if (directory == NULL || asprintf(&absolute, "%s/%s", directory, options->config) < 0) {
                absolute = NULL;
            }
            free(directory);
            free(master->conf_path);
            master->conf_path = absolute;
        }
        if (master->conf_path == NULL) {
            boot_fail(master, "%s: %s", options->config, strerror(errno));
            return STATUS_FATAL;
        }
    }
    if (options->foreground) {
        return 0;
    }
    struct conf_errors errors;
    conf_errors_init(&errors);
    check_paths_absolute(master->boot_conf, &errors);
    if (errors.count > 0) {
        boot_fail(master, "%.*s", (int)errors.lines.size - 1, errors.lines.data);
    }
    unsigned count = errors.count;
    conf_errors_fini(&errors);
    if (options->pid_file != NULL && options->pid_file[0] != '/') {
        boot_fail(master, "-p %s: a daemon in the background needs an absolute path",
                  options->pid_file);
        count++;
    }
    return count > 0 ? STATUS_CONFIGURATION : 0;
}

/* What belongs to the process that was started. */
static int take_environment(struct master *master) {
    char error[256];
    notify_open(&master->notify);
    if (successor_begin(master, error, sizeof(error)) == -1) {
        boot_fail(master, "%s", error);
        return STATUS_FATAL;
    }
    if (listen_inherit(&master->clients, &master->metrics, error, sizeof(error)) == -1) {
        boot_fail(master, "%s", error);
        return STATUS_FATAL;
    }
    if (identity_find(&master->identity, master->boot_conf->user, error, sizeof(error)) == -1) {
        boot_fail(master, "%s", error);
        return STATUS_CONFIGURATION;
    }
    return 0;
}

static void block_signals(void) {
    sigset_t mask;
    master_signals(&mask);
    (void)sigprocmask(SIG_BLOCK, &mask, NULL);
    /* Inherited as ignored it would reap by itself; a child that is only stopped is no news. */
    const struct sigaction deaths_only = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP};
    (void)sigaction(SIGCHLD, &deaths_only, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file limit is an error of write(2), not our death */
}

static int settle_process(struct master *master) {
    bool detaches = !master->options->foreground && master->predecessor == 0;
    if (detaches && console_detach(&master->console) == -1) {
        boot_fail(master, "cannot go to the background: %s", strerror(errno));
        return STATUS_FATAL;
    }
    master->pid = getpid();
    block_signals();
    (void)umask(DAEMON_UMASK);
    log_set_identity("master");
    system_set_title("optirouted");
    const struct conf *conf = master->boot_conf;
    char error[512];
    if (boot_own_logs(master, conf, error, sizeof(error)) == -1) {
        boot_fail(master, "%s", error);
        return STATUS_FATAL;
    }
    if (log_open(boot_log_destination(master, conf), LOG_LEVEL_INFO) == -1) {
        boot_fail(master, "cannot open error_log %s: %s", conf->error_log, strerror(errno));
        return STATUS_FATAL;
    }
    (void)system_raise_file_limit();
    check_capacity(conf);
    return 0;
}

static int open_pid_file(struct master *master) {
    char error[512];
    if (master->pid_path[0] != '\0' && master->predecessor == 0) { /* else when it takes over */
        master->pid_fd = pidfile_create(master->pid_path, error, sizeof(error));
        if (master->pid_fd == -1) {
            boot_fail(master, "%s", error);
            return STATUS_FATAL;
        }
    }
    return 0;
}

/* As listen_open, but an address in use may become free. */
static int listen_patiently(struct listeners *listeners, const struct conf_address *address,
                            int64_t until_ns, char *error, size_t error_size) {
    bool told = false;
    while (listen_open(listeners, address, error, error_size) == -1) {
        if (errno != EADDRINUSE || clock_mono_ns() >= until_ns) {
            return -1;
        }
        if (!told) {
            log_info("%s is in use; waiting a moment for it", address->text);
            told = true;
        }
        const struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

static int open_sockets(struct master *master) {
    const struct conf *conf = master->boot_conf;
    char error[512];
    /* Sockets that an init system gave, to us or to the master before us: "" was asked for. */
    bool is_inherited = listen_move(&master->clients, &master->handover.clients, "") > 0 ||
                        master->clients.count > 0;
    (void)listen_move(&master->metrics, &master->handover.metrics, "");
    int64_t until_ns = clock_mono_ns() + PATIENCE_MS * NS_PER_MS;
    for (unsigned i = 0; i < conf->listen_count && !is_inherited; i++) {
        if (listen_move(&master->clients, &master->handover.clients, conf->listen[i].text) > 0) {
            continue;
        }
        if (listen_patiently(&master->clients, &conf->listen[i], until_ns, error, sizeof(error)) ==
            -1) {
            boot_fail(master, "%s", error);
            return STATUS_FATAL;
        }
    }
    if (conf->metrics_listen.text[0] != '\0' && master->metrics.count == 0 &&
        listen_move(&master->metrics, &master->handover.metrics, conf->metrics_listen.text) == 0 &&
        listen_patiently(&master->metrics, &conf->metrics_listen, until_ns, error, sizeof(error)) ==
            -1) {
        boot_fail(master, "metrics_listen: %s", error);
        return STATUS_FATAL;
    }
    listen_close(&master->handover.clients); /* not asked for any more */
    listen_close(&master->handover.metrics);
    for (unsigned i = 0; i < master->clients.count; i++) {
        log_info("listening on %s", master->clients.items[i].name);
    }
    for (unsigned i = 0; i < master->metrics.count; i++) {
        log_info("metrics on %s", master->metrics.items[i].name);
    }
    return 0;
}

void boot_publish(struct master *master, const struct generation *generation) {
    board_set_word(master->region, BOARD_WORD_GENERATION, generation->number);
    board_set_word(master->region, BOARD_WORD_WORKERS, generation->conf->workers);
    breaker_bind(master->region, generation->conf, &generation->labels);
}

int boot_ring_on(int fd) {
    bool rings = fcntl(fd, F_SETOWN, getpid()) != -1 && fcntl(fd, F_SETSIG, BELL_SIGNAL) != -1 &&
                 fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC) != -1;
    return rings ? 0 : -1;
}

/* Two pipes: one whose end tells the children that we ended, one whose bytes wake us. The kernel
 * turns these into a signal with our own rights, so a child of another user may ring. */
static int make_pipes(struct master *master) {
    int life[2], bell[2];
    if (pipe2(life, O_CLOEXEC | O_NONBLOCK) == -1) {
        boot_fail(master, "no pipe: %s", strerror(errno));
        return STATUS_FATAL;
    }
    master->life_read = life[0];
    master->life_write = life[1];
    if (pipe2(bell, O_CLOEXEC | O_NONBLOCK) == -1) {
        boot_fail(master, "no pipe: %s", strerror(errno));
        return STATUS_FATAL;
    }
    master->bell_read = bell[0];
    master->bell_write = bell[1];
    if (boot_ring_on(bell[0]) == -1) {
        boot_fail(master, "no signal from a pipe: %s", strerror(errno));
        return STATUS_FATAL;
    }
    return 0;
}

static int make_region(struct master *master) {
    return boot_make_region(master, PATIENCE_MS) == -1 ? STATUS_FATAL : 0;
}

static int make_first_generation(struct master *master) {
    const struct conf *conf = master->boot_conf;
    struct labels labels;
    char error[512];
    if (boot_bind_labels(master, &labels, error, sizeof(error)) == -1) {
        boot_fail(master, "%s: %s", master->boot_conf->source, error);
        return STATUS_CONFIGURATION;
    }
    region_sync_names(master->region);
    if (region_report(master->region)->origin != REGION_INHERITED) {
        breaker_resume(master->region, conf, &labels);
        breaker_bind(master->region, conf, &labels);
    }
    master->current = generation_new(master, master->boot_conf, &labels);
    if (master->current == NULL) {
        boot_fail(master, "no memory");
        return STATUS_FATAL;
    }
    return 0;
}

int boot_master(struct master *master) {
    static int (*const steps[])(struct master * master) = {
        settle_paths, take_environment, settle_process, open_pid_file,
        open_sockets, make_region,      make_pipes,     make_first_generation,
    };
    console_open(&master->console);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int status = steps[i](master);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

static void announce_simulated(struct master *master) {
    const struct conf *conf = master->boot_conf;
    for (unsigned i = 0; i < conf->provider_count; i++) {
        const struct conf_provider *provider = &conf->providers[i];
        if (provider->simulated && provider->type != CONF_SIMULATED) {
            log_warn("provider %s is simulated: it has no key (%s)", provider->name,
                     provider->api_key_env[0] != '\0' ? provider->api_key_env
                                                      : provider->api_key_file);
        }
    }
}

/* An address that stands for all of them is none that a browser can open. */
static void print_place(const struct listener *listener, char *out, size_t out_size) {
    const char *port = strrchr(listener->name, ':');
    if (port != NULL && strncmp(listener->name, "0.0.0.0:", 8) == 0) {
        snprintf(out, out_size, "127.0.0.1%s", port);
    } else if (port != NULL && strncmp(listener->name, "[::]:", 5) == 0) {
        snprintf(out, out_size, "[::1]%s", port);
    } else {
        snprintf(out, out_size, "%s", listener->name);
    }
}

/* Where to click and what to try, for a person at a terminal. */
static void welcome(struct master *master) {
    struct console *console = &master->console;
    char place[sizeof(master->clients.items[0].name)];
    bool is_tls = master->boot_conf->tls.certificate[0] != '\0';
    const char *scheme = is_tls ? "https" : "http";
    print_place(&master->clients.items[0], place, sizeof(place));
    if (api_has_pages()) {
        console_say(console, "  chat       %s://%s/", scheme, place);
        console_say(console, "  dashboard  %s://%s/dashboard", scheme, place);
    }
    console_say(console,
                "  try        curl %s%s://%s/generate -H 'Content-Type: application/json' "
                "-d '{\"prompt\": \"Hello\"}'",
                is_tls ? "-k " : "", scheme, place);
    if (master->metrics.count > 0) {
        print_place(&master->metrics.items[0], place, sizeof(place));
        console_say(console, "  metrics    http://%s/metrics", place);
    }
    if (master->options->foreground) {
        console_say(console, "  Ctrl-C ends it");
    }
}

void boot_announce(struct master *master) {
    const struct conf *conf = master->boot_conf;
    const char *plural = conf->workers == 1 ? "worker" : "workers";
    log_info("optirouted " PACKAGE_VERSION " is ready: %u %s, configuration %s", conf->workers,
             plural, conf->source);
    announce_simulated(master);
    /* In the foreground the log has just said it to whoever reads stderr. */
    if (!master->options->foreground) {
        console_say(&master->console,
                    "optirouted " PACKAGE_VERSION " serves with %u %s, configuration %s",
                    conf->workers, plural, conf->source);
    }
    if (master->console.is_terminal) {
        welcome(master);
    }
}

static void close_one(int *fd) {
    if (*fd != -1) {
        close(*fd);
        *fd = -1;
    }
}

void boot_undo(struct master *master) {
    while (master->generations != NULL) {
        struct generation *generation = master->generations;
        master->generations = generation->older;
        if (generation->conf != master->boot_conf) {
            conf_free(generation->conf);
        }
        free(generation);
    }
    close_one(&master->life_read);
    close_one(&master->life_write);
    close_one(&master->bell_read);
    close_one(&master->bell_write);
    if (master->region != NULL) {
        upgrade_bequeath(master);
        region_mark_end(master->region, clock_wall_ns() / NS_PER_MS);
        region_destroy(master->region);
    }
    listen_close(&master->clients);
    listen_close(&master->metrics);
    listen_close(&master->handover.clients);
    listen_close(&master->handover.metrics);
    successor_forget(master);
    close_one(&master->upgrade.fd);
    if (master->pid_fd != -1) {
        pidfile_remove(master->pid_path, master->pid_fd);
    }
    notify_close(&master->notify);
    free(master->conf_path);
    free(master->program);
    conf_free(master->boot_conf);
}
