/* listen: the sockets that clients connect to: bound by the master while it is privileged, or
 * inherited from systemd, and shared by all workers of all generations.
 *
 * A host name may stand for several addresses; each gets its socket. Nothing is accepted here (see
 * proc/accept.h).
 */
#ifndef OPTIROUTE_PROC_LISTEN_H
#define OPTIROUTE_PROC_LISTEN_H

#include <stddef.h>

#include "conf/conf.h"

#define LISTEN_MAX (4 * CONF_MAX_LISTEN)
#define LISTEN_NAME_SIZE 64
#define LISTEN_ASKED_SIZE 128

struct listener {
    int fd;                      /* non-blocking, close-on-exec, listening */
    char name[LISTEN_NAME_SIZE]; /* where it really is: "127.0.0.1:43121", "[::1]:8000" */
    char
        asked[LISTEN_ASKED_SIZE]; /* the configuration's address, cut; "" when it was given to us */
};

struct listeners {
    unsigned count;
    struct listener items[LISTEN_MAX];
};

/* Binds every address that `address` stands for and appends the sockets. -1 with one helpful line
 * in error and errno EADDRINUSE when somebody else has it; what other calls appended stays. */
int listen_open(struct listeners *listeners, const struct conf_address *address, char *error,
                size_t error_size);
/* How many sockets an init system says that it gave us, as LISTEN_FDS has it (sd_listen_fds(3)); 0:
 * it gave none to this process. Looks at the environment only. */
int64_t listen_given(void);
/* Socket activation (sd_listen_fds(3)): takes the descriptors that LISTEN_PID and LISTEN_FDS give
 * to this process; one named "metrics" in LISTEN_FDNAMES goes to `metrics`, all others to
 * `clients`. The variables are removed. Nothing given: 0 and both stay empty. -1 with a reason when
 * something else than listening TCP sockets was given. Called before any fork. */
int listen_inherit(struct listeners *clients, struct listeners *metrics, char *error,
                   size_t error_size);
/* Takes a descriptor that the master before us had bound for `asked` ("": was given). -1 when it is
 * no listening TCP socket or there are too many. */
int listen_adopt(struct listeners *listeners, int fd, const char *asked);
/* Moves those that were bound for `asked` from one to the other; how many. */
unsigned listen_move(struct listeners *to, struct listeners *from, const char *asked);
void listen_close(struct listeners *listeners);

#endif
