/* main: what optirouted was asked to do: serve, check a configuration, or tell a running daemon.
 *
 * Exit status: 0 clean, 1 usage or configuration, 2 fatal at boot.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "proc/check.h"
#include "proc/control.h"
#include "proc/master.h"
#include "proc/options.h"
#include "proc/system.h"

#define STATUS_WRONG 1
#define STATUS_FATAL 2

static void print(FILE *stream, const struct buf *text) {
    if (text->size > 0) {
        (void)fwrite(text->data, 1, text->size, stream);
    }
}

/* The checked configuration, or NULL: the errors are on stderr. */
static struct conf *load(const struct options *options) {
    struct conf_errors errors;
    conf_errors_init(&errors);
    struct conf *conf = check_load(check_conf_path(options->config), &errors);
    if (conf == NULL) {
        print(stderr, &errors.lines);
    }
    conf_errors_fini(&errors);
    return conf;
}

static int test(const struct options *options) {
    struct conf *conf = load(options);
    if (conf == NULL) {
        return STATUS_WRONG;
    }
    int status = 0;
    if (options->print) {
        struct buf text;
        buf_init(&text, 0);
        conf_print(conf, &text);
        print(stdout, &text);
        status = text.failed || fflush(stdout) != 0 ? STATUS_WRONG : 0;
        buf_free(&text);
    }
    if (options->test) {
        check_capacity(conf);
        fprintf(stderr, "configuration %s is ok\n", conf->source);
    }
    conf_free(conf);
    return status;
}

/* A daemon that is to end or to open its logs again need not have a good file. One that is to load
 * it need not be told when that would fail; but its environment is not ours, so what is wrong with
 * ours is only said. */
static struct conf *look(const struct options *options) {
    struct conf_errors errors;
    conf_errors_init(&errors);
    struct conf *conf = conf_load_anyway(check_conf_path(options->config), &errors);
    bool loads = options->signal == OPTIONS_RELOAD || options->signal == OPTIONS_UPGRADE;
    if (conf == NULL || loads) {
        print(stderr, &errors.lines);
    }
    if (loads && errors.count > errors.unset) {
        conf_free(conf);
        conf = NULL;
    } else if (loads && errors.unset > 0) {
        fprintf(stderr, "optirouted: the daemon looks into its own environment, so it is told\n");
    }
    conf_errors_fini(&errors);
    return conf;
}

static int tell(const struct options *options) {
    char error[512];
    struct conf *conf = NULL;
    const char *pid_path = options->pid_file;
    if (pid_path == NULL) {
        conf = look(options);
        if (conf == NULL) {
            return STATUS_WRONG;
        }
        pid_path = conf->pid_file;
    }
    int result = control_send(options->signal, pid_path, error, sizeof(error));
    if (result == -1) {
        fprintf(stderr, "optirouted: %s\n", error);
    }
    conf_free(conf);
    return result == -1 ? STATUS_WRONG : 0;
}

static int serve(const struct options *options) {
    struct conf *conf = load(options);
    return conf != NULL ? master_run(options, conf) : STATUS_WRONG;
}

static int help(void) {
    struct buf text;
    buf_init(&text, 0);
    options_help(&text);
    print(stdout, &text);
    int status = text.failed || fflush(stdout) != 0 ? STATUS_WRONG : 0;
    buf_free(&text);
    return status;
}

static int refuse(const struct buf *error) {
    fprintf(stderr, "optirouted: %.*s\n", (int)error->size, error->data);
    return STATUS_WRONG;
}

int main(int argc, char **argv) {
    struct options options;
    char memory[512];
    struct buf error;
    buf_init_fixed(&error, memory, sizeof(memory));
    if (system_take_descriptors() == -1) {
        return STATUS_FATAL;
    }
    if (options_parse(&options, argc, argv, &error) == -1) {
        return refuse(&error);
    }
    switch (options.task) {
    case OPTIONS_HELP:
        return help();
    case OPTIONS_VERSION:
        puts("optirouted " PACKAGE_VERSION);
        return 0;
    case OPTIONS_SIGNAL:
        return tell(&options);
    case OPTIONS_TEST:
        return test(&options);
    case OPTIONS_RUN:
        return serve(&options);
    }
    return STATUS_WRONG;
}
