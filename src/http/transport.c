/* transport: the plain side of http/transport.h; transport_tls.c has the other. */
#include "config.h"

#include "http/transport.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t plain_failure(int want) {
    return errno == EAGAIN || errno == EWOULDBLOCK ? want : TRANSPORT_BROKEN;
}

static ssize_t plain_read(struct transport *t, void *data, size_t size) {
    ssize_t got;
    do {
        got = read(t->fd, data, size);
    } while (got == -1 && errno == EINTR);
    return got == -1 ? plain_failure(TRANSPORT_WANT_READ) : got;
}

/* sendmsg(2) is writev(2) with a place for MSG_NOSIGNAL; for one piece, the usual case, send(2) is
 * a little cheaper. */
static ssize_t plain_writev(struct transport *t, const struct iovec *pieces, int count) {
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count};
    ssize_t sent;
    do {
        sent = count == 1 ? send(t->fd, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL)
                          : sendmsg(t->fd, &message, MSG_NOSIGNAL);
    } while (sent == -1 && errno == EINTR);
    return sent == -1 ? plain_failure(TRANSPORT_WANT_WRITE) : sent;
}

static int plain_shutdown_write(struct transport *t) {
    return shutdown(t->fd, SHUT_WR) == -1 ? TRANSPORT_BROKEN : 0;
}

static void plain_close(struct transport *t) {
    (void)close(t->fd); /* the descriptor is gone whatever close says (Linux) */
    t->fd = -1;
}

static const struct transport_ops plain_ops = {
    .read = plain_read,
    .writev = plain_writev,
    .shutdown_write = plain_shutdown_write,
    .close = plain_close,
};

void transport_init_plain(struct transport *t, int fd) {
    *t = (struct transport){.ops = &plain_ops, .fd = fd};
}
