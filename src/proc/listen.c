/* listen: see proc/listen.h. Runs in the master, once, at boot.
 *
 * The surprise: an inherited socket is used as it is; its backlog and options are systemd's
 * business.
 */
#include "config.h"

#include "proc/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_INHERITED_FD 3 /* sd_listen_fds(3) */

static void name_socket(struct listener *listener) {
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(listener->fd, (struct sockaddr *)&address, &size) == -1 ||
        getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(listener->name, sizeof(listener->name), "?");
        return;
    }
    bool six = address.ss_family == AF_INET6;
    snprintf(listener->name, sizeof(listener->name), "%s%.48s%s:%.6s", six ? "[" : "", host,
             six ? "]" : "", port);
}

static void explain(int reason, const struct conf_address *address, char *error,
                    size_t error_size) {
    const char *text = address->text;
    switch (reason) {
    case EADDRINUSE:
        snprintf(error, error_size,
                 "%s is in use: is another optirouted running? (ss -ltnp shows who); stop it, or "
                 "listen on another port",
                 text);
        break;
    case EACCES:
    case EPERM:
        snprintf(error, error_size,
                 "%s: no permission to listen there; take a port from 1024 up, start as root, or "
                 "grant the capability cap_net_bind_service",
                 text);
        break;
    case EADDRNOTAVAIL:
        snprintf(error, error_size, "%s: no interface of this machine has that address", text);
        break;
    default:
        snprintf(error, error_size, "cannot listen on %s: %s", text, strerror(reason));
    }
}

/* A listening socket, or -1 with errno. */
static int open_socket(const struct addrinfo *info) {
    const int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd == -1) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1 ||
        (info->ai_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == -1) ||
        bind(fd, info->ai_addr, info->ai_addrlen) == -1 || listen(fd, SOMAXCONN) == -1) {
        int reason = errno;
        close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

static int append(struct listeners *listeners, int fd, const char *asked) {
    if (listeners->count == LISTEN_MAX) {
        return -1;
    }
    struct listener *listener = &listeners->items[listeners->count++];
    listener->fd = fd;
    snprintf(listener->asked, sizeof(listener->asked), "%s", asked);
    name_socket(listener);
    return 0;
}

int listen_open(struct listeners *listeners, const struct conf_address *address, char *error,
                size_t error_size) {
    char port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)address->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(address->host, port, &hints, &found);
    if (failure != 0) {
        snprintf(error, error_size, "cannot listen on %s: %s", address->text,
                 failure == EAI_SYSTEM ? strerror(errno) : gai_strerror(failure));
        errno = ENOENT;
        return -1;
    }
    unsigned bound = 0, before = listeners->count;
    int reason = 0;
    for (const struct addrinfo *info = found; info != NULL; info = info->ai_next) {
        int fd = open_socket(info);
        if (fd == -1) {
            reason = errno;
            /* A name with an IPv6 address on a machine without IPv6 is no fault, if another one
             * works. */
            if (reason == EAFNOSUPPORT || reason == EADDRNOTAVAIL) {
                continue;
            }
            bound = 0;
            break;
        }
        if (append(listeners, fd, address->text) == -1) {
            close(fd);
            snprintf(error, error_size, "%s: more than %d sockets to listen on", address->text,
                     LISTEN_MAX);
            freeaddrinfo(found);
            errno = ENOSPC;
            return -1;
        }
        bound++;
    }
    freeaddrinfo(found);
    if (bound == 0) {
        while (listeners->count > before) {
            close(listeners->items[--listeners->count].fd);
        }
        explain(reason, address, error, error_size);
        errno = reason;
        return -1;
    }
    return 0;
}

/* Is the descriptor a listening TCP socket? Makes it non-blocking and close-on-exec. */
static bool adopt(int fd) {
    int listening = 0;
    socklen_t size = sizeof(listening);
    struct sockaddr_storage address = {0};
    socklen_t address_size = sizeof(address);
    int flags = fcntl(fd, F_GETFL);
    return flags != -1 && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 &&
           listening != 0 && getsockname(fd, (struct sockaddr *)&address, &address_size) == 0 &&
           (address.ss_family == AF_INET || address.ss_family == AF_INET6) &&
           fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static int take_inherited(struct listeners *clients, struct listeners *metrics, int64_t count,
                          struct bytes names, char *error, size_t error_size) {
    for (int64_t i = 0; i < count; i++) {
        int fd = FIRST_INHERITED_FD + (int)i;
        struct bytes name = bytes_cut(&names, ':');
        if (!adopt(fd)) {
            snprintf(error, error_size,
                     "socket activation: descriptor %d is no listening TCP "
                     "socket",
                     fd);
            return -1;
        }
        if (append(bytes_equal_str(name, "metrics") ? metrics : clients, fd, "") == -1) {
            snprintf(error, error_size, "socket activation: more than %d sockets", LISTEN_MAX);
            return -1;
        }
    }
    return 0;
}

int64_t listen_given(void) {
    const char *pid_text = getenv("LISTEN_PID"), *count_text = getenv("LISTEN_FDS");
    int64_t pid, count;
    bool is_ours = pid_text != NULL && count_text != NULL &&
                   bytes_to_int64(bytes_from_str(pid_text), &pid) && pid == (int64_t)getpid() &&
                   bytes_to_int64(bytes_from_str(count_text), &count);
    return is_ours ? count : 0;
}

int listen_inherit(struct listeners *clients, struct listeners *metrics, char *error,
                   size_t error_size) {
    const char *names_text = getenv("LISTEN_FDNAMES");
    int64_t count = listen_given();
    int result = 0;
    if (count != 0) {
        struct bytes names = bytes_from_str(names_text != NULL ? names_text : "");
        result = take_inherited(clients, metrics, count, names, error, error_size);
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return result;
}

int listen_adopt(struct listeners *listeners, int fd, const char *asked) {
    return adopt(fd) ? append(listeners, fd, asked) : -1;
}

unsigned listen_move(struct listeners *to, struct listeners *from, const char *asked) {
    unsigned moved = 0, left = 0;
    for (unsigned i = 0; i < from->count; i++) {
        if (strncmp(from->items[i].asked, asked, LISTEN_ASKED_SIZE - 1) == 0 &&
            to->count < LISTEN_MAX) {
            to->items[to->count++] = from->items[i];
            moved++;
        } else {
            from->items[left++] = from->items[i];
        }
    }
    from->count = left;
    return moved;
}

void listen_close(struct listeners *listeners) {
    for (unsigned i = 0; i < listeners->count; i++) {
        close(listeners->items[i].fd);
    }
    listeners->count = 0;
}
