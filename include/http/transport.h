/* transport: bytes in and out of one client connection, plain or TLS, behind four functions.
 *
 * Results are those of read(2) and write(2) with three cases made explicit. TLS (OpenSSL 3, TLS 1.2
 * and 1.3) is the same to its user, except that either call may wait for the other direction, and
 * that it may hold bytes the descriptor no longer tells of (`pending`).
 *
 * Plain writes never raise SIGPIPE. OpenSSL's do: a process that uses TLS ignores that signal.
 */
#ifndef OPTIROUTE_HTTP_TRANSPORT_H
#define OPTIROUTE_HTTP_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define TRANSPORT_WANT_READ (-1)  /* try again when the descriptor is readable */
#define TRANSPORT_WANT_WRITE (-2) /* try again when it is writable */
#define TRANSPORT_BROKEN (-3)     /* reset, protocol fault: close */

struct transport;

struct transport_ops {
    ssize_t (*read)(struct transport *t, void *data, size_t size); /* 0: end of stream */
    ssize_t (*writev)(struct transport *t, const struct iovec *pieces,
                      int count); /* may write less */
    int (*shutdown_write)(
        struct transport *t);           /* no more from us: FIN, close_notify; 0 or WANT/BROKEN */
    void (*close)(struct transport *t); /* releases all but the struct; the descriptor is closed */
};

struct transport {
    const struct transport_ops *ops;
    int fd;
    void *tls;    /* SSL of a TLS connection, else NULL */
    bool pending; /* set by read: call it again, the descriptor may not become readable for what is
                     there already */
};

struct tls_context; /* certificate and key of the listening side; one per process */

/* Reads the files (while still privileged). NULL with a reason that names the file. */
struct tls_context *tls_context_new(const char *certificate_path, const char *key_path, char *error,
                                    size_t error_size);
void tls_context_free(struct tls_context *context);

void transport_init_plain(struct transport *t, int fd);
/* -1 when OpenSSL has no memory; fd stays open then. The handshake happens inside the first reads.
 */
int transport_init_tls(struct transport *t, int fd, struct tls_context *context);

#endif
