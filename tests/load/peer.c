/* peer: see load.h. One connection of the client: a request out, an answer in, decoded.
 *
 * The surprise: chunks are decoded by the server's own http_body, which refuses what is not exactly
 * right; an answer with a wrong frame ends the connection, and with it the measurement.
 */
#include "config.h"

#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_SIZE 65536
#define HEAD_MAX 16384
#define BODY_MAX ((int64_t)1 << 40)

static void on_io(evutil_socket_t fd, short what, void *argument);

static void watch(struct peer *peer, short what) {
    if (event_initialized(&peer->io)) {
        event_del(&peer->io);
    }
    event_assign(&peer->io, load_base(), peer->fd, (short)(what | EV_PERSIST), on_io, peer);
    if (event_add(&peer->io, NULL) == -1) {
        give_up("no memory");
    }
}

void peer_open(struct peer *peer, int64_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer->fd == -1 ||
        connect(peer->fd, (const struct sockaddr *)&address, sizeof(address)) == -1 ||
        evutil_make_socket_nonblocking(peer->fd) == -1) {
        give_up("cannot connect to port %d: %s", (int)port, strerror(errno));
    }
    (void)setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    buf_init(&peer->head, HEAD_MAX);
    watch(peer, EV_READ);
}

void peer_close(struct peer *peer) {
    if (peer->fd != -1) {
        event_del(&peer->io);
        (void)close(peer->fd);
        peer->fd = -1;
        buf_free(&peer->head);
    }
}

static void lose(struct peer *peer) {
    peer_close(peer);
    peer->events->lost(peer);
}

/* ---- the request ---- */

/* True when all of it is out. */
static bool write_some(struct peer *peer) {
    struct iovec pieces[2];
    for (int i = 0; i < 2; i++) {
        pieces[i] = (struct iovec){(void *)(uintptr_t)peer->out[i].data, peer->out[i].size};
    }
    ssize_t sent = writev(peer->fd, pieces, 2);
    if (sent == -1 && errno != EAGAIN) {
        lose(peer);
        return true;
    }
    for (int i = 0; i < 2 && sent > 0; i++) {
        size_t taken = (size_t)sent < peer->out[i].size ? (size_t)sent : peer->out[i].size;
        peer->out[i] = bytes_make(peer->out[i].data + taken, peer->out[i].size - taken);
        sent -= (ssize_t)taken;
    }
    return peer->out[0].size + peer->out[1].size == 0;
}

void peer_ask(struct peer *peer, struct bytes head, struct bytes body) {
    peer->out[0] = head;
    peer->out[1] = body;
    peer->in_body = false;
    buf_clear(&peer->head);
    peer->asked_ns = clock_mono_ns();
    if (!write_some(peer)) {
        watch(peer, EV_READ | EV_WRITE);
    }
}

/* ---- the answer ---- */

/* A field's value; data NULL without one. */
static struct bytes find_field(struct bytes head, const char *name) {
    size_t name_size = strlen(name);
    while (head.size > 0) {
        size_t line = bytes_find(head, '\n') + 1;
        if (head.size > name_size && head.data[name_size] == ':' &&
            strncasecmp(head.data, name, name_size) == 0) {
            struct bytes value = bytes_make(head.data + name_size + 1, line - name_size - 2);
            value.size -= value.size > 0 && value.data[value.size - 1] == '\r';
            return bytes_trim(value);
        }
        line = line < head.size ? line : head.size;
        head = bytes_make(head.data + line, head.size - line);
    }
    return bytes_make(NULL, 0);
}

static void begin_body(struct peer *peer, struct bytes head) {
    struct http_head framing = {.minor_version = 1, .content_length = 0};
    int64_t status = 0;
    (void)bytes_to_int64(bytes_make(head.data + 9, 3), &status); /* "HTTP/1.1 200" */
    peer->status = (int)status;
    framing.chunked = bytes_equal_str(find_field(head, "transfer-encoding"), "chunked");
    struct bytes length = find_field(head, "content-length");
    if (!framing.chunked && !bytes_to_int64(length, &framing.content_length)) {
        framing.content_length = 0;
    }
    http_body_begin(&peer->body, &framing, BODY_MAX);
    peer->in_body = true;
}

/* Bytes of the body; how many of them did not belong to it, or -1. */
static ssize_t take_body(struct peer *peer, char *data, size_t size) {
    struct http_fault fault;
    size_t consumed, decoded;
    enum http_parse_result result =
        http_body_feed(&peer->body, data, size, &consumed, &decoded, &fault);
    if (result == HTTP_PARSE_ERROR) {
        complain("a wrong frame: %s", fault.reason);
        return -1;
    }
    if (decoded > 0 && peer->events->piece != NULL) {
        peer->events->piece(peer, bytes_make(data, decoded));
    }
    if (result == HTTP_PARSE_DONE && peer->fd != -1) {
        peer->in_body = false;
        peer->events->answered(peer);
    }
    return (ssize_t)(size - consumed);
}

static ssize_t take_head(struct peer *peer, char *data, size_t size) {
    static const char end[] = "\r\n\r\n";
    size_t before = peer->head.size;
    buf_append(&peer->head, data, size);
    const char *found =
        peer->head.failed ? NULL : memmem(peer->head.data, peer->head.size, end, sizeof(end) - 1);
    if (found == NULL) {
        return peer->head.failed ? -1 : 0;
    }
    size_t head_size = (size_t)(found - peer->head.data) + sizeof(end) - 1;
    begin_body(peer, bytes_make(peer->head.data, head_size));
    size_t used = head_size - before;
    return take_body(peer, data + used, size - used);
}

static void on_io(evutil_socket_t fd, short what, void *argument) {
    static char scratch[READ_SIZE];
    struct peer *peer = argument;
    if ((what & EV_WRITE) != 0 && write_some(peer) && peer->fd != -1) {
        watch(peer, EV_READ);
    }
    if (peer->fd == -1 || (what & EV_READ) == 0) {
        return;
    }
    ssize_t got = read(fd, scratch, sizeof(scratch));
    peer->heard_ns = clock_mono_ns();
    if (got == -1 && errno == EAGAIN) {
        return;
    }
    if (got <= 0 || (peer->in_body ? take_body(peer, scratch, (size_t)got)
                                   : take_head(peer, scratch, (size_t)got)) != 0) {
        lose(peer); /* it ended, or said more than it was asked */
    }
}
