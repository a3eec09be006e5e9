/* notify: see proc/notify.h. Runs in the master; it writes to this one socket and reads none. */
#include "config.h"

#include "proc/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

bool notify_address(const char *name, struct sockaddr_un *address, socklen_t *size) {
    size_t length = strlen(name);
    bool abstract = name[0] == '@';
    /* A path needs its final NUL, an abstract name's length is told by the address size. */
    if ((!abstract && name[0] != '/') || length < 2 ||
        length + (abstract ? 0 : 1) > sizeof(address->sun_path)) {
        return false;
    }
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, name, length);
    if (abstract) {
        address->sun_path[0] = '\0';
    }
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (abstract ? 0 : 1));
    return true;
}

/* Half of WATCHDOG_USEC in nanoseconds, 0 when it is not meant for us. */
static int64_t watchdog_from_environment(void) {
    const char *usec_text = getenv("WATCHDOG_USEC");
    const char *pid_text = getenv("WATCHDOG_PID");
    int64_t usec, pid;
    if (usec_text == NULL || !bytes_to_int64(bytes_from_str(usec_text), &usec) || usec < 2 ||
        usec > INT64_MAX / NS_PER_US) {
        return 0;
    }
    if (pid_text != NULL &&
        (!bytes_to_int64(bytes_from_str(pid_text), &pid) || pid != (int64_t)getpid())) {
        return 0;
    }
    return usec * NS_PER_US / 2;
}

void notify_open(struct notify *notify) {
    *notify = (struct notify){.fd = -1};
    const char *name = getenv("NOTIFY_SOCKET");
    if (name != NULL && notify_address(name, &notify->address, &notify->address_size)) {
        notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (notify->fd != -1) {
            notify->watchdog_ns = watchdog_from_environment();
        }
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_close(struct notify *notify) {
    if (notify->fd != -1) {
        close(notify->fd);
        notify->fd = -1;
    }
}

void notify_compose(struct buf *out, enum notify_event event, int64_t mono_ns, int64_t pid) {
    switch (event) {
    case NOTIFY_READY:
        buf_printf(out, "READY=1\nMAINPID=%lld\n", (long long)pid);
        break;
    case NOTIFY_RELOADING:
        buf_printf(out, "RELOADING=1\nMONOTONIC_USEC=%lld\n", (long long)(mono_ns / NS_PER_US));
        break;
    case NOTIFY_STOPPING:
        buf_append_str(out, "STOPPING=1\n");
        break;
    case NOTIFY_WATCHDOG:
        buf_append_str(out, "WATCHDOG=1\n");
        break;
    }
}

static void send_event(const struct notify *notify, enum notify_event event, pid_t pid) {
    if (notify->fd == -1) {
        return;
    }
    char memory[128];
    struct buf text;
    buf_init_fixed(&text, memory, sizeof(memory));
    notify_compose(&text, event, clock_mono_ns(), pid);
    (void)sendto(notify->fd, text.data, text.size, MSG_NOSIGNAL,
                 (const struct sockaddr *)&notify->address, notify->address_size);
}

void notify_export(const struct notify *notify) {
    if (notify->fd == -1) {
        return;
    }
    char name[sizeof(notify->address.sun_path) + 1] = "";
    size_t length = notify->address_size - offsetof(struct sockaddr_un, sun_path);
    memcpy(name, notify->address.sun_path, length);
    if (name[0] == '\0') {
        name[0] = '@';
    }
    (void)setenv("NOTIFY_SOCKET", name, 1);
    if (notify->watchdog_ns > 0) {
        char usec[32];
        snprintf(usec, sizeof(usec), "%lld", (long long)(2 * notify->watchdog_ns / NS_PER_US));
        (void)setenv("WATCHDOG_USEC", usec, 1);
    }
}

void notify_hand_over(const struct notify *notify, pid_t successor) {
    send_event(notify, NOTIFY_READY, successor);
}

void notify_send(const struct notify *notify, enum notify_event event) {
    send_event(notify, event, getpid());
}
