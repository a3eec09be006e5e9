/* options: see proc/options.h. Runs in the process that was started, before anything else. */
#include "config.h"

#include "proc/options.h"

#include <getopt.h>

static const char *const signal_words[OPTIONS_SIGNAL_COUNT] = {
    [OPTIONS_RELOAD] = "reload", [OPTIONS_REOPEN] = "reopen",   [OPTIONS_QUIT] = "quit",
    [OPTIONS_STOP] = "stop",     [OPTIONS_UPGRADE] = "upgrade",
};

/* One row per option; the help text and getopt's own string are made of these. */
static const struct {
    char letter;
    const char *argument; /* NULL: takes none */
    const char *help;
} rows[] = {
    {'c', "FILE",
     "read the configuration from FILE (default: " SYSCONFDIR
     "/optiroute/optiroute.yaml if present, else a built-in one)"},
    {'t', NULL, "check the configuration and end"},
    {'T', NULL, "print the configuration in force and end"},
    {'f', NULL, "stay in the foreground and log to stderr"},
    {'s', "WORD", "tell the running daemon: reload, reopen, quit, stop or upgrade"},
    {'p', "FILE", "process id file, instead of pid_file in the configuration"},
    {'v', NULL, "print the version and end"},
    {'h', NULL, "print this help and end"},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct option long_options[] = {
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

static void raise_task(struct options *options, enum options_task task) {
    if (task > options->task) {
        options->task = task;
    }
}

static int parse_signal(struct options *options, const char *word, struct buf *error) {
    for (int i = 0; i < OPTIONS_SIGNAL_COUNT; i++) {
        if (bytes_equal_str(bytes_from_str(word), signal_words[i])) {
            options->signal = (enum options_signal)i;
            raise_task(options, OPTIONS_SIGNAL);
            return 0;
        }
    }
    buf_printf(error, "-s %s: not one of reload, reopen, quit, stop, upgrade", word);
    return -1;
}

static int take_option(struct options *options, int letter, struct buf *error) {
    switch (letter) {
    case 'c':
        options->config = optarg;
        return 0;
    case 't':
        options->test = true;
        raise_task(options, OPTIONS_TEST);
        return 0;
    case 'T':
        options->print = true;
        raise_task(options, OPTIONS_TEST);
        return 0;
    case 'f':
        options->foreground = true;
        return 0;
    case 's':
        return parse_signal(options, optarg, error);
    case 'p':
        options->pid_file = optarg;
        return 0;
    case 'v':
        raise_task(options, OPTIONS_VERSION);
        return 0;
    case 'h':
        raise_task(options, OPTIONS_HELP);
        return 0;
    case ':':
        buf_printf(error, "-%c needs an argument (-h shows the options)", optopt);
        return -1;
    default:
        if (optopt != 0) {
            buf_printf(error, "unknown option -%c (-h shows the options)", optopt);
        } else {
            buf_append_str(error, "unknown long option (-h shows the options)");
        }
        return -1;
    }
}

int options_parse(struct options *options, int argc, char **argv, struct buf *error) {
    *options = (struct options){.task = OPTIONS_RUN, .program = argc > 0 ? argv[0] : ""};
    char letters[2 * ROWS + 2];
    struct buf text;
    buf_init_fixed(&text, letters, sizeof(letters));
    buf_append_char(&text, ':'); /* a missing argument is told apart from an unknown option */
    for (size_t i = 0; i < ROWS; i++) {
        buf_append_char(&text, rows[i].letter);
        if (rows[i].argument != NULL) {
            buf_append_char(&text, ':');
        }
    }
    buf_append_char(&text, '\0');

    optind = 0; /* glibc: start afresh, also after another command line */
    opterr = 0;
    int letter;
    while ((letter = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
        if (take_option(options, letter, error) == -1) {
            return -1;
        }
    }
    if (optind < argc) {
        buf_printf(error, "%s: not an option (-h shows the options)", argv[optind]);
        return -1;
    }
    if ((options->config != NULL && options->config[0] == '\0') ||
        (options->pid_file != NULL && options->pid_file[0] == '\0')) {
        buf_append_str(error, "-c and -p need a file name");
        return -1;
    }
    return 0;
}

void options_help(struct buf *out) {
    buf_append_str(out, "usage: optirouted [-c FILE] [-t] [-T] [-f] [-s WORD] [-p FILE] [-v] [-h]\n"
                        "A cost-aware gateway for large language models.\n\n");
    for (size_t i = 0; i < ROWS; i++) {
        buf_printf(out, "  -%c %-5s %s\n", rows[i].letter,
                   rows[i].argument != NULL ? rows[i].argument : "", rows[i].help);
    }
    buf_append_str(out, "\nExit status: 0 clean, 1 usage or configuration, 2 cannot start.\n");
}
