/* transport_tls: TLS on the listening side, the other half of http/transport.h. Workers only, made
 * after fork: OpenSSL in the master would share its random state with every child.
 *
 * Its surprise: OpenSSL reads record by record and keeps the rest of a record for itself, so read
 * goes on until the caller's room is full or the socket empty; what may then still be inside is
 * told by `pending`.
 */
#include "config.h"

#include "http/transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

/* One TLS record: small pieces of an answer are joined up to this, so that they cost one record. */
#define RECORD_SIZE 16384

struct tls_context {
    SSL_CTX *ssl;
};

static const unsigned char session_id_context[] = "optiroute";

static void describe(char *error, size_t error_size, const char *what, const char *path) {
    /* the first error is the cause: "No such file or directory"; the last only says "PEM lib" */
    unsigned long cause = ERR_peek_error();
    const char *reason =
        ERR_SYSTEM_ERROR(cause) ? strerror(ERR_GET_REASON(cause)) : ERR_reason_error_string(cause);
    snprintf(error, error_size, "%s %s: %s", what, path, reason != NULL ? reason : "unusable");
    ERR_clear_error();
}

/* Only http/1.1 is spoken here. A client that offers nothing gets nothing; one that offers only
 * other protocols is refused (RFC 7301 section 3.2). */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                           const unsigned char *offered, unsigned offered_size, void *context) {
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *selected = NULL;
    (void)ssl;
    (void)context;
    if (SSL_select_next_proto(&selected, out_size, ours, sizeof(ours) - 1, offered, offered_size) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = selected;
    return SSL_TLSEXT_ERR_OK;
}

static void configure(SSL_CTX *ssl) {
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    /* An EOF without close_notify reads as EOF: HTTP's own framing tells a cut request. */
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_SERVER);
    SSL_CTX_set_session_id_context(ssl, session_id_context, sizeof(session_id_context) - 1);
    SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
}

struct tls_context *tls_context_new(const char *certificate_path, const char *key_path, char *error,
                                    size_t error_size) {
    struct tls_context *context = calloc(1, sizeof(*context));
    ERR_clear_error();
    if (context == NULL || (context->ssl = SSL_CTX_new(TLS_server_method())) == NULL) {
        snprintf(error, error_size, "TLS: out of memory");
        goto fail;
    }
    configure(context->ssl);
    if (SSL_CTX_use_certificate_chain_file(context->ssl, certificate_path) != 1) {
        describe(error, error_size, "certificate", certificate_path);
        goto fail;
    }
    if (SSL_CTX_use_PrivateKey_file(context->ssl, key_path, SSL_FILETYPE_PEM) != 1) {
        describe(error, error_size, "key", key_path);
        goto fail;
    }
    if (SSL_CTX_check_private_key(context->ssl) != 1) {
        describe(error, error_size, "key", key_path);
        goto fail;
    }
    return context;
fail:
    tls_context_free(context);
    return NULL;
}

void tls_context_free(struct tls_context *context) {
    if (context != NULL) {
        SSL_CTX_free(context->ssl);
        free(context);
    }
}

/* Someone spoke plain HTTP to the TLS port: say so in a language it understands. Best effort. */
static void answer_plain_http(int fd) {
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
                                 "Content-Length: 24\r\nConnection: close\r\n\r\n"
                                 "this port speaks HTTPS.\n";
    (void)send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
}

/* What a failed call means. The error queue is per thread and must be empty before the next call,
 * or one connection's fault is taken for another's. */
static ssize_t tls_failure(struct transport *t, int result) {
    int kind = SSL_get_error(t->tls, result);
    if (kind == SSL_ERROR_WANT_READ) {
        return TRANSPORT_WANT_READ;
    }
    if (kind == SSL_ERROR_WANT_WRITE) {
        return TRANSPORT_WANT_WRITE;
    }
    if (kind == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    if (kind == SSL_ERROR_SSL && ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST) {
        answer_plain_http(t->fd);
    }
    ERR_clear_error();
    return TRANSPORT_BROKEN;
}

static ssize_t tls_read(struct transport *t, void *data, size_t size) {
    size_t total = 0;
    t->pending = false;
    while (total < size) {
        size_t got = 0;
        int result = SSL_read_ex(t->tls, (char *)data + total, size - total, &got);
        if (result != 1) {
            ssize_t failure = tls_failure(t, result);
            if (total == 0) {
                return failure;
            }
            /* End and faults are told by the next call, which OpenSSL answers the same way. */
            t->pending = failure == 0 || failure == TRANSPORT_BROKEN;
            return (ssize_t)total;
        }
        total += got;
    }
    t->pending = SSL_has_pending(t->tls) == 1;
    return (ssize_t)total;
}

/* The next record's worth of the pieces: a large piece as it stands, small ones joined in `joined`.
 * A write that has to be repeated is repeated with the same bytes in front and at least as many,
 * which is what OpenSSL asks for: the caller keeps what was not written, in order. */
static struct iovec next_record(const struct iovec *pieces, int count, size_t skip, char *joined) {
    int i = 0;
    while (i < count && skip >= pieces[i].iov_len) {
        skip -= pieces[i].iov_len;
        i++;
    }
    struct iovec record = {.iov_base = joined, .iov_len = 0};
    for (; i < count && record.iov_len < RECORD_SIZE; i++, skip = 0) {
        char *from = (char *)pieces[i].iov_base + skip;
        size_t size = pieces[i].iov_len - skip;
        if (record.iov_len == 0 && (size >= RECORD_SIZE || i + 1 == count)) {
            return (struct iovec){from, size < RECORD_SIZE ? size : RECORD_SIZE};
        }
        size_t room = RECORD_SIZE - record.iov_len;
        size_t take = size < room ? size : room;
        memcpy(joined + record.iov_len, from, take);
        record.iov_len += take;
    }
    return record;
}

static ssize_t tls_writev(struct transport *t, const struct iovec *pieces, int count) {
    char joined[RECORD_SIZE];
    size_t total = 0;
    for (;;) {
        struct iovec record = next_record(pieces, count, total, joined);
        if (record.iov_len == 0) {
            return (ssize_t)total;
        }
        size_t sent = 0;
        int result = SSL_write_ex(t->tls, record.iov_base, record.iov_len, &sent);
        if (result != 1) {
            ssize_t failure = tls_failure(t, result);
            failure = failure == 0 ? TRANSPORT_BROKEN : failure;
            return total > 0 && failure != TRANSPORT_BROKEN ? (ssize_t)total : failure;
        }
        total += sent;
    }
}

/* close_notify, as far as the socket takes it now: nobody waits for it. */
static void notify_close(struct transport *t) {
    if (SSL_is_init_finished(t->tls)) {
        (void)SSL_shutdown(t->tls);
    }
    ERR_clear_error();
}

static int tls_shutdown_write(struct transport *t) {
    notify_close(t);
    return shutdown(t->fd, SHUT_WR) == -1 ? TRANSPORT_BROKEN : 0;
}

static void tls_close(struct transport *t) {
    notify_close(t);
    SSL_free(t->tls);
    t->tls = NULL;
    (void)close(t->fd);
    t->fd = -1;
}

static const struct transport_ops tls_ops = {
    .read = tls_read,
    .writev = tls_writev,
    .shutdown_write = tls_shutdown_write,
    .close = tls_close,
};

int transport_init_tls(struct transport *t, int fd, struct tls_context *context) {
    SSL *ssl = SSL_new(context->ssl);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        ERR_clear_error();
        return -1;
    }
    SSL_set_accept_state(ssl);
    *t = (struct transport){.ops = &tls_ops, .fd = fd, .tls = ssl};
    return 0;
}
