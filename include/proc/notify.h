/* notify: tells systemd how we are, by its own small protocol (sd_notify(3)), without its library.
 *
 * One datagram per message to the socket named by NOTIFY_SOCKET, a path or an abstract name ('@').
 * Without that variable everything here does nothing. Used by the master alone; the variables are
 * taken out of the environment so that no child believes they are meant for it.
 */
#ifndef OPTIROUTE_PROC_NOTIFY_H
#define OPTIROUTE_PROC_NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/bytes.h"

enum notify_event {
    NOTIFY_READY,     /* with MAINPID, because daemonising changed it */
    NOTIFY_RELOADING, /* with the monotonic time, as Type=notify-reload wants it */
    NOTIFY_STOPPING,
    NOTIFY_WATCHDOG
};

struct notify {
    int fd;              /* -1: nobody listens */
    int64_t watchdog_ns; /* how often to send NOTIFY_WATCHDOG: half of what was asked; 0: never */
    struct sockaddr_un address;
    socklen_t address_size;
};

/* Reads and removes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Never fails: what makes no sense
 * is as if it were not set. */
void notify_open(struct notify *notify);
/* Puts the variables back, for the process that this one is about to become. */
void notify_export(const struct notify *notify);
/* The service's process is another one from now on, and it serves. */
void notify_hand_over(const struct notify *notify, pid_t successor);
void notify_close(struct notify *notify);
/* Does not block; a lost message is not an error. */
void notify_send(const struct notify *notify, enum notify_event event);

/* The text of a message, for a given time and pid. */
void notify_compose(struct buf *out, enum notify_event event, int64_t mono_ns, int64_t pid);
/* False when the name is no path and no abstract name, or too long. */
bool notify_address(const char *name, struct sockaddr_un *address, socklen_t *size);

#endif
