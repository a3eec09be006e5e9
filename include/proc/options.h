/* options: the command line of optirouted, as a value.
 *
 * Parsing only: nothing is opened, printed or signalled here. Pure but for getopt(3)'s globals.
 */
#ifndef OPTIROUTE_PROC_OPTIONS_H
#define OPTIROUTE_PROC_OPTIONS_H

#include <stdbool.h>

#include "base/bytes.h"

/* What to do; of several the later one in this list wins. */
enum options_task {
    OPTIONS_RUN,
    OPTIONS_TEST,   /* -t and/or -T: read the configuration and end */
    OPTIONS_SIGNAL, /* -s: tell a running daemon */
    OPTIONS_VERSION,
    OPTIONS_HELP
};

/* -s; the table in options.c has the words. */
enum options_signal {
    OPTIONS_RELOAD,
    OPTIONS_REOPEN,
    OPTIONS_QUIT,
    OPTIONS_STOP,
    OPTIONS_UPGRADE,
    OPTIONS_SIGNAL_COUNT
};

struct options {
    enum options_task task;
    bool test;       /* -t */
    bool print;      /* -T */
    bool foreground; /* -f */
    enum options_signal signal;
    const char *program;  /* how we were called; points into argv */
    const char *config;   /* -c, NULL when not given; points into argv */
    const char *pid_file; /* -p, likewise */
};

/* 0, or -1 with one line (without newline) in error. */
int options_parse(struct options *options, int argc, char **argv, struct buf *error);
/* Text of -h. */
void options_help(struct buf *out);

#endif
