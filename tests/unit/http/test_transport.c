/* transport: plain and TLS over socket pairs; the server above it serves both the same way. */
#include "http_harness.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static char certificate_path[] = "/tmp/optiroute-test-XXXXXX";
static char key_path[] = "/tmp/optiroute-test-XXXXXX";

static FILE *open_temporary(char *path) {
    memcpy(path + strlen(path) - 6, "XXXXXX", 6);
    int fd = mkstemp(path);
    ck_assert_int_ne(fd, -1);
    return fdopen(fd, "w");
}

/* A self-signed certificate of one day, made anew for each test. */
static void write_certificate(void) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    ck_assert_int_gt(X509_sign(certificate, key, EVP_sha256()), 0);
    FILE *file = open_temporary(certificate_path);
    PEM_write_X509(file, certificate);
    fclose(file);
    file = open_temporary(key_path);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static struct tls_context *server_tls;
static SSL_CTX *client_tls;

static void set_up(void) {
    char error[300];
    harness_set_up();
    write_certificate();
    server_tls = tls_context_new(certificate_path, key_path, error, sizeof(error));
    ck_assert_msg(server_tls != NULL, "%s", error);
    client_tls = SSL_CTX_new(TLS_client_method());
}

static void tear_down(void) {
    SSL_CTX_free(client_tls);
    harness_tear_down();
    tls_context_free(server_tls);
    unlink(certificate_path);
    unlink(key_path);
}

struct client {
    int fd;
    SSL *ssl;
};

/* Both sides in turns until the handshake is through or has failed. */
static bool shake_hands(struct client *client) {
    for (int i = 0; i < 20; i++) {
        int result = SSL_do_handshake(client->ssl);
        if (result == 1) {
            return true;
        }
        if (SSL_get_error(client->ssl, result) != SSL_ERROR_WANT_READ) {
            return false;
        }
        harness_step();
    }
    return false;
}

static struct client begin_client(void) {
    struct client client = {.fd = harness_connect_with(server_tls), .ssl = SSL_new(client_tls)};
    SSL_set_fd(client.ssl, client.fd);
    SSL_set_connect_state(client.ssl);
    return client;
}

static struct client connect_client(void) {
    struct client client = begin_client();
    ck_assert(shake_hands(&client));
    return client;
}

static void end_client(struct client *client) {
    SSL_free(client->ssl);
    close(client->fd);
    ERR_clear_error();
    harness_step();
}

static void say(struct client *client, const char *text) {
    ck_assert_int_eq(SSL_write(client->ssl, text, (int)strlen(text)), (int)strlen(text));
    harness_step();
}

/* What came, dates made equal, in harness_text. True at the end of the stream. */
static bool hear(struct client *client) {
    size_t size = 0;
    int error = SSL_ERROR_NONE;
    for (int quiet = 0; quiet < 3 && error != SSL_ERROR_ZERO_RETURN;) {
        int room = (int)(sizeof(harness_text) - 1 - size);
        int got = SSL_read(client->ssl, harness_text + size, room);
        error = SSL_get_error(client->ssl, got);
        quiet = got > 0 ? 0 : quiet + 1;
        size += got > 0 ? (size_t)got : 0;
        harness_step();
    }
    harness_text[size] = '\0';
    for (char *at = harness_text; (at = strstr(at, "\r\nDate: ")) != NULL; at += 37) {
        memset(at + 8, '*', 29);
    }
    return error == SSL_ERROR_ZERO_RETURN;
}

static void expect(struct client *client, const char *text, bool end) {
    bool ended = hear(client);
    ck_assert_str_eq(harness_text, text);
    ck_assert_int_eq(ended, end);
}

#define OK(length, body) ANSWER("200 OK", length, "", body)

START_TEST(test_tls_requests) {
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    SSL_CTX_set_min_proto_version(client_tls, versions[_i]);
    SSL_CTX_set_max_proto_version(client_tls, versions[_i]);
    struct client client = connect_client();
    say(&client, "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    expect(&client, OK("5", "hello"), false);
    say(&client, GET("/now") GET("/now"));
    expect(&client, OK("0", "") OK("0", ""), false);
    say(&client, "GET /now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect(&client, ANSWER("200 OK", "0", "Connection: close\r\n", ""), true);
    end_client(&client);
    ck_assert(http_server_is_empty(harness.server));
}
END_TEST

/* Records and requests are cut differently, and neither the loop nor a request is left waiting for
 * bytes OpenSSL has already taken from the socket. */
START_TEST(test_tls_splits) {
    static char says[100000];
    struct client client = connect_client();
    size_t one = strlen(GET("/now"));
    for (size_t i = 0; i < 2000; i++) {
        memcpy(says + i * one, GET("/now"), one);
    }
    for (size_t at = 0, piece = 1; at < 2000 * one; at += piece, piece = piece * 3 % 16001) {
        piece = piece < 2000 * one - at ? piece : 2000 * one - at;
        ck_assert_int_eq(SSL_write(client.ssl, says + at, (int)piece), (int)piece);
        harness_step();
        hear(&client);
        harness.log_size = 0;
    }
    ck_assert_uint_eq(harness.requests, 2000);
    end_client(&client);
}
END_TEST

START_TEST(test_tls_large_answer) {
    struct client client = connect_client();
    int size = 4096;
    setsockopt(harness_conn()->transport.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    say(&client, GET("/big/300000") GET("/now"));
    ck_assert_uint_eq(harness.requests, 1);
    ck_assert(!hear(&client));
    char *body = strstr(harness_text, "\r\n\r\n") + 4;
    for (size_t i = 0; i < 300000; i++) {
        ck_assert_int_eq(body[i], 'a' + (int)(i % 23));
    }
    ck_assert_str_eq(body + 300000, OK("0", ""));
    end_client(&client);
}
END_TEST

START_TEST(test_tls_large_body) {
    static char body[500000];
    struct client client = connect_client();
    say(&client, "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n");
    SSL_set_mode(client.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
    for (size_t at = 0; at < sizeof(body);) {
        int sent = SSL_write(client.ssl, body + at, (int)(sizeof(body) - at));
        at += sent > 0 ? (size_t)sent : 0;
        harness_step();
    }
    ck_assert_uint_eq(harness.requests, 1);
    harness_answer(harness.open[0], 200, BYTES_LITERAL("x"), false);
    expect(&client, OK("1", "x"), false);
    end_client(&client);
}
END_TEST

START_TEST(test_tls_client_leaves) {
    /* With and without close_notify. */
    struct client client = connect_client();
    say(&client, GET("/later"));
    if (_i == 0) {
        SSL_shutdown(client.ssl);
    }
    end_client(&client);
    ck_assert_uint_eq(harness.aborted, 1);
    ck_assert(http_server_is_empty(harness.server));
    client = connect_client();
    if (_i == 0) {
        SSL_shutdown(client.ssl);
    }
    end_client(&client);
    ck_assert(http_server_is_empty(harness.server));
}
END_TEST

/* A session is taken up again: the second handshake needs no certificate. */
START_TEST(test_tls_resumption) {
    struct client client = connect_client();
    say(&client, GET("/now"));
    hear(&client);
    SSL_SESSION *session = SSL_get1_session(client.ssl);
    SSL_shutdown(client.ssl);
    end_client(&client);
    client = begin_client();
    SSL_set_session(client.ssl, session);
    ck_assert(shake_hands(&client));
    ck_assert_int_eq(SSL_session_reused(client.ssl), 1);
    SSL_SESSION_free(session);
    end_client(&client);
}
END_TEST

START_TEST(test_tls_protocols) {
    const unsigned char *chosen;
    unsigned size;
    struct client client = begin_client();
    SSL_set_alpn_protos(client.ssl, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    ck_assert(shake_hands(&client));
    SSL_get0_alpn_selected(client.ssl, &chosen, &size);
    ck_assert_uint_eq(size, 8);
    ck_assert_mem_eq(chosen, "http/1.1", 8);
    end_client(&client);
    client = begin_client();
    SSL_set_alpn_protos(client.ssl, (const unsigned char *)"\x02h2", 3);
    ck_assert(!shake_hands(&client));
    end_client(&client);
    SSL_CTX_set_max_proto_version(client_tls, TLS1_1_VERSION);
    SSL_CTX_set_security_level(client_tls, 0);
    client = begin_client();
    ck_assert(!shake_hands(&client));
    end_client(&client);
    ck_assert(http_server_is_empty(harness.server));
}
END_TEST

START_TEST(test_plain_on_tls_port) {
    int fd = harness_connect_with(server_tls);
    bool ended;
    harness_say_str(fd, GET("/now"));
    harness_step();
    harness_hear(fd, &ended);
    ck_assert(ended);
    ck_assert_int_eq(strncmp(harness_text, "HTTP/1.1 400 ", 13), 0);
    ck_assert_str_eq(strstr(harness_text, "\r\n\r\n") + 4, "this port speaks HTTPS.\n");
    close(fd);
    fd = harness_connect_with(server_tls);
    harness_say(fd, "\x16\x03\x01garbage that is no hello", 28);
    harness_step();
    close(fd);
    harness_step();
    ck_assert(http_server_is_empty(harness.server));
    ck_assert_uint_eq(harness.requests + harness.faults, 0);
}
END_TEST

/* The handshake counts as part of the head. */
START_TEST(test_tls_handshake_stalls) {
    struct client client = begin_client();
    ck_assert_int_eq(SSL_do_handshake(client.ssl), -1);
    harness_step();
    harness_pass(9999);
    ck_assert(!http_server_is_empty(harness.server));
    harness_pass(2);
    ck_assert(http_server_is_empty(harness.server));
    end_client(&client);
}
END_TEST

START_TEST(test_tls_context_faults) {
    char error[300];
    ck_assert_ptr_null(tls_context_new("/no/such/file", key_path, error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, "/no/such/file: No such file or directory"));
    ck_assert_ptr_null(tls_context_new(certificate_path, "/no/such/key", error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, "/no/such/key"));
    ck_assert_ptr_null(tls_context_new(certificate_path, certificate_path, error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, certificate_path));
    tls_context_free(NULL);
}
END_TEST

START_TEST(test_plain) {
    int pair[2];
    char data[4];
    struct transport t;
    struct iovec pieces[] = {{(void *)(uintptr_t) "ab", 2}, {(void *)(uintptr_t) "cd", 2}};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    transport_init_plain(&t, pair[0]);
    ck_assert_int_eq(t.ops->read(&t, data, 4), TRANSPORT_WANT_READ);
    ck_assert_int_eq(t.ops->writev(&t, pieces, 2), 4);
    ck_assert_int_eq(recv(pair[1], data, 4, 0), 4);
    ck_assert_mem_eq(data, "abcd", 4);
    while (t.ops->writev(&t, pieces, 2) > 0) {
    }
    ck_assert_int_eq(t.ops->writev(&t, pieces, 1), TRANSPORT_WANT_WRITE);
    shutdown(pair[1], SHUT_WR);
    ck_assert_int_eq(t.ops->read(&t, data, 4), 0);
    ck_assert_int_eq(t.ops->shutdown_write(&t), 0);
    close(pair[1]);
    ck_assert_int_eq(t.ops->writev(&t, pieces, 2), TRANSPORT_BROKEN); /* and no SIGPIPE */
    t.ops->close(&t);
    ck_assert_int_eq(t.fd, -1);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("transport");
    TCase *tcase = tcase_create("transport");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, test_plain);
    tcase_add_loop_test(tcase, test_tls_requests, 0, 2);
    tcase_add_test(tcase, test_tls_splits);
    tcase_add_test(tcase, test_tls_large_answer);
    tcase_add_test(tcase, test_tls_large_body);
    tcase_add_loop_test(tcase, test_tls_client_leaves, 0, 2);
    tcase_add_test(tcase, test_tls_resumption);
    tcase_add_test(tcase, test_tls_protocols);
    tcase_add_test(tcase, test_plain_on_tls_port);
    tcase_add_test(tcase, test_tls_handshake_stalls);
    tcase_add_test(tcase, test_tls_context_faults);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
