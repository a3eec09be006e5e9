/* console: whoever started the daemon and still looks: a terminal, a script, an init system.
 *
 * In the foreground what is said goes to stderr. In the background the process that was started
 * waits, repeats what the daemon says on its own stderr, and ends with the status the daemon gives
 * it: 0 when it serves. So a daemon that does not come up is never reported as started.
 */
#ifndef OPTIROUTE_PROC_CONSOLE_H
#define OPTIROUTE_PROC_CONSOLE_H

#include <stdbool.h>

struct console {
    int fd; /* stderr; in the background a pipe to the waiting process; -1: nobody looks any more */
    bool is_terminal; /* a person looks, not the log of a service */
};

void console_open(struct console *console);
/* Goes to the background: two forks with a new session between, working directory /, stdio at
 * /dev/null. Returns 0 in the daemon only; the caller's process waits and exits. -1 with errno when
 * there is no fork. */
int console_detach(struct console *console);
/* One line, newline added. */
void console_say(struct console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The daemon serves (status 0) or gives up; nobody is listened to afterwards. */
void console_finish(struct console *console, int status);

#endif
