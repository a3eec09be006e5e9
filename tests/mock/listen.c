/* listen: the listeners, each on a port of its own, and what its mode does to a connection before
 * any request is read.
 *
 * The surprise: TLS 1.0 needs no context of its own. Versions and ciphers are properties of one
 * connection too, and there they win over the context's, which allows 1.2 and 1.3 alone.
 */
#include "config.h"

#include "mock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#define ACCEPT_AT_ONCE 64 /* before others have a turn */

struct mode {
    const char *name;
    bool is_tls;   /* "=CERT,KEY" stands behind the name */
    bool is_early; /* answers behind the head */
    bool cuts_tls; /* ends early answers without close_notify */
    /* At accept; NULL: nothing, requests are read. These connections are counted here. */
    void (*begin)(struct conn *conn);
};

struct listener {
    struct mock *mock;
    const struct mode *mode;
    struct tls_context *tls; /* of TLS modes */
    struct event *accepting;
    int fd;
};

/* ---- modes ---- */

static void begin_close(struct conn *conn) {
    conn_end(conn, END_FIN);
}

static void begin_reset(struct conn *conn) {
    conn_end(conn, END_RST);
}

/* Reads and drops. */
static void begin_silent(struct conn *conn) {
    conn_end(conn, END_HOLD);
}

static void begin_stall(struct conn *conn) {
    conn->deaf = true;
    conn_end(conn, END_HOLD);
}

static void begin_banner(struct conn *conn) {
    struct iovec banner = {(char *)"SSH-2.0-OpenSSH_9.2\r\n", 21};
    (void)conn->transport.ops->writev(&conn->transport, &banner, 1); /* an empty socket takes it */
    conn_end(conn, END_HOLD);
}

/* The handshake is read as any input is. */
static void begin_tls(struct conn *conn) {
    (void)conn;
}

static void begin_tls10(struct conn *conn) {
    SSL *ssl = conn->transport.tls;
    if (SSL_set_min_proto_version(ssl, TLS1_VERSION) != 1 ||
        SSL_set_max_proto_version(ssl, TLS1_1_VERSION) != 1 ||
        SSL_set_cipher_list(ssl, "ALL:@SECLEVEL=0") != 1) {
        conn_close(conn);
    }
}

static const struct mode modes[] = {
    {.name = "plain"},
    {.name = "tls", .is_tls = true, .begin = begin_tls},
    {.name = "tls10", .is_tls = true, .begin = begin_tls10},
    {.name = "tls-stall", .begin = begin_stall},
    {.name = "tls-cut", .is_tls = true, .cuts_tls = true, .begin = begin_tls},
    {.name = "close", .begin = begin_close},
    {.name = "reset", .begin = begin_reset},
    {.name = "silent", .begin = begin_silent},
    {.name = "banner", .begin = begin_banner},
    {.name = "early", .is_early = true},
};

bool listener_cuts_tls(const struct listener *listener) {
    return listener->mode->cuts_tls;
}

bool listener_is_early(const struct listener *listener) {
    return listener->mode->is_early;
}

static const struct mode *find_mode(struct bytes name) {
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (bytes_equal_str(name, modes[i].name)) {
            return &modes[i];
        }
    }
    return NULL;
}

/* ---- accepting ---- */

static void begin(struct listener *listener, int fd) {
    struct mock *mock = listener->mock;
    if (mock->open >= mock->most_open) {
        (void)close(fd);
        return;
    }
    struct conn *conn = conn_new(listener, mock, fd, listener->tls);
    if (conn == NULL) {
        return;
    }
    if (listener->mode->begin != NULL) {
        count_connection(conn);
        listener->mode->begin(conn);
    }
    conn_leave(conn);
}

static void on_accept(evutil_socket_t fd, short what, void *argument) {
    (void)what;
    for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client == -1) {
            return;
        }
        begin(argument, client);
    }
}

/* ---- opening ---- */

static uint16_t open_socket(struct listener *listener, uint16_t port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int yes = 1;
    listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd == -1 ||
        setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == -1 ||
        bind(listener->fd, (struct sockaddr *)&address, size) == -1 ||
        listen(listener->fd, SOMAXCONN) == -1 ||
        getsockname(listener->fd, (struct sockaddr *)&address, &size) == -1) {
        die(2, "mockllm: cannot listen on 127.0.0.1:%u: %m", port);
    }
    return ntohs(address.sin_port);
}

/* "CERT,KEY" */
static struct tls_context *load_tls(const char *files) {
    const char *comma = strchr(files, ',');
    char error[512];
    char *certificate = comma != NULL ? strndup(files, (size_t)(comma - files)) : NULL;
    if (certificate == NULL) {
        die(1, "mockllm: a TLS listener needs CERT,KEY");
    }
    struct tls_context *tls = tls_context_new(certificate, comma + 1, error, sizeof(error));
    if (tls == NULL) {
        die(2, "mockllm: %s", error);
    }
    free(certificate);
    return tls;
}

struct listener *listener_new(struct mock *mock, const char *mode, uint16_t port) {
    struct bytes text = bytes_from_str(mode);
    struct bytes name = bytes_make(mode, bytes_find(text, '='));
    const struct mode *found = find_mode(name);
    if (found == NULL || found->is_tls != (name.size < text.size)) {
        die(1, "mockllm: no such listener: %s", mode);
    }
    struct listener *listener = calloc(1, sizeof(*listener));
    ASSERT(listener != NULL);
    listener->mock = mock;
    listener->mode = found;
    listener->tls = found->is_tls ? load_tls(mode + name.size + 1) : NULL;
    port = open_socket(listener, port);
    listener->accepting =
        event_new(mock->base, listener->fd, EV_READ | EV_PERSIST, on_accept, listener);
    ASSERT(listener->accepting != NULL && event_add(listener->accepting, NULL) == 0);
    printf("listening on 127.0.0.1:%u", port);
    return listener;
}

void listener_free(struct listener *listener) {
    event_free(listener->accepting);
    (void)close(listener->fd);
    tls_context_free(listener->tls);
    free(listener);
}
