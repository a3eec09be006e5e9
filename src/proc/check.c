/* check: see proc/check.h. Runs in the master and in -t.
 *
 * The surprise: certificate and key are tried in a short-lived child, because the master touches no
 * TLS library. Workers read them again for themselves, before they give up their privileges.
 */
#include "config.h"

#include "proc/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "http/transport.h"
#include "proc/capacity.h"
#include "proc/system.h"

#define USUAL_PLACE SYSCONFDIR "/optiroute/optiroute.yaml"
#define TLS_CHECK_SECONDS 5 /* a key on a dead network disk must not hold the master */
#define TLS_ERROR_MAX 1024

const char *check_conf_path(const char *option) {
    if (option != NULL) {
        return option;
    }
    /* Anything but "not there" is for conf_load to explain: a file that cannot be read must not
     * silently become the built-in configuration. */
    return access(USUAL_PLACE, F_OK) == 0 || errno != ENOENT ? USUAL_PLACE : NULL;
}

static void add_error(struct conf_errors *errors, const char *source, const char *what,
                      const char *reason) {
    buf_printf(&errors->lines, "%s: %s%s\n", source, what, reason);
    errors->count++;
}

/* The child's part: an empty answer means that all is well. */
static _Noreturn void try_tls(const struct conf_tls *tls, int answer_fd) {
    char error[TLS_ERROR_MAX];
    /* SIGALRM is not among the signals the master blocks; its default action ends the child. */
    alarm(TLS_CHECK_SECONDS);
    if (tls_context_new(tls->certificate, tls->key, error, sizeof(error)) == NULL) {
        ssize_t written = write(answer_fd, error, strlen(error));
        _exit(written > 0 ? 1 : 2);
    }
    _exit(0);
}

static void check_tls(const struct conf *conf, struct conf_errors *errors) {
    if (conf->tls.certificate[0] == '\0') {
        return;
    }
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == -1) {
        add_error(errors, conf->source, "tls: cannot check: ", strerror(errno));
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        try_tls(&conf->tls, ends[1]);
    }
    close(ends[1]);
    if (child == -1) {
        add_error(errors, conf->source, "tls: cannot check: ", strerror(errno));
        close(ends[0]);
        return;
    }
    char reason[TLS_ERROR_MAX];
    size_t size = 0;
    ssize_t got;
    while (size < sizeof(reason) - 1 &&
           ((got = read(ends[0], reason + size, sizeof(reason) - 1 - size)) > 0 ||
            (got == -1 && errno == EINTR))) {
        size += got > 0 ? (size_t)got : 0;
    }
    reason[size] = '\0';
    close(ends[0]);
    int status;
    pid_t reaped;
    do {
        reaped = waitpid(child, &status, 0);
    } while (reaped == -1 && errno == EINTR);
    if (reaped != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        add_error(errors, conf->source,
                  "tls: ", size > 0 ? reason : "certificate and key cannot be read in time");
    }
}

struct conf *check_load(const char *path, struct conf_errors *errors) {
    struct conf *conf = conf_load(path, errors);
    if (conf == NULL) {
        return NULL;
    }
    check_tls(conf, errors);
    if (errors->count > 0) {
        conf_free(conf);
        return NULL;
    }
    return conf;
}

static void check_path(const struct conf *conf, const char *key, const char *path,
                       struct conf_errors *errors) {
    if (path[0] == '\0' || path[0] == '/' || strcmp(path, "stderr") == 0 ||
        strcmp(path, "syslog") == 0) {
        return;
    }
    char what[256];
    snprintf(what, sizeof(what), "%s: %.160s: ", key, path);
    add_error(errors, conf->source, what,
              "a daemon in the background needs an absolute path (or run it with -f)");
}

void check_paths_absolute(const struct conf *conf, struct conf_errors *errors) {
    check_path(conf, "pid_file", conf->pid_file, errors);
    check_path(conf, "error_log", conf->error_log, errors);
    check_path(conf, "access_log", conf->access_log, errors);
    check_path(conf, "cache.file", conf->cache.file, errors);
    check_path(conf, "tls.certificate", conf->tls.certificate, errors);
    check_path(conf, "tls.key", conf->tls.key, errors);
    for (unsigned i = 0; i < conf->provider_count; i++) {
        check_path(conf, "api_key_file", conf->providers[i].api_key_file, errors);
        check_path(conf, "ca_file", conf->providers[i].ca_file, errors);
    }
}

void check_capacity(const struct conf *conf) {
    char line[256];
    if (capacity_is_short(conf->limits.max_connections, conf->workers, system_file_limit(), line,
                          sizeof(line))) {
        log_warn("%s", line);
    }
}
