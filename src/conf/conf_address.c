/* conf_address: addresses to listen on and URLs of providers; see conf_value.h.
 *
 * The surprise: names are not resolved here. A configuration is right or wrong without a network;
 * whether a name resolves is seen when the socket is bound.
 */
#include "config.h"

#include "conf_value.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define MAX_HOST 253
#define MAX_PORT 65535

static bool parse_port(struct bytes text, int64_t min, int64_t *port) {
    return text.size <= 5 && bytes_to_int64(text, port) && *port >= min && *port <= MAX_PORT;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* A host name of letters, digits, '-', '_' and '.', or a numeric IPv4 address. */
static bool check_host(struct bytes host) {
    bool numeric = true;
    if (host.size == 0 || host.size > MAX_HOST) {
        return false;
    }
    for (size_t i = 0; i < host.size; i++) {
        char c = host.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !is_digit(c) && c != '.' && c != '-' && c != '_') {
            return false;
        }
        numeric = numeric && (is_digit(c) || c == '.');
    }
    if (!numeric) {
        return host.data[0] != '.' && host.data[0] != '-';
    }
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    if (host.size >= sizeof(text)) {
        return false;
    }
    memcpy(text, host.data, host.size);
    text[host.size] = '\0';
    return inet_pton(AF_INET, text, &address) == 1;
}

/* Writes the IPv6 address in its shortest form, so that two spellings of one compare equal. */
static bool normalise_v6(struct bytes host, char out[INET6_ADDRSTRLEN]) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (host.size >= sizeof(text)) {
        return false;
    }
    memcpy(text, host.data, host.size);
    text[host.size] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1 &&
           inet_ntop(AF_INET6, &address, out, INET6_ADDRSTRLEN) != NULL;
}

/* Splits "host:port" or "[v6]:port"; *port_text is empty when there is none. */
static bool split_host(struct bytes text, struct bytes *host, struct bytes *port_text,
                       bool *is_v6) {
    size_t colon;
    *is_v6 = text.size > 0 && text.data[0] == '[';
    if (*is_v6) {
        size_t close = bytes_find(text, ']');
        if (close == text.size) {
            return false;
        }
        *host = bytes_make(text.data + 1, close - 1);
        colon = close + 1;
    } else {
        colon = bytes_find(text, ':');
        *host = bytes_make(text.data, colon);
    }
    *port_text = bytes_make("", 0);
    if (colon < text.size) {
        *port_text = bytes_make(text.data + colon + 1, text.size - colon - 1);
        return text.data[colon] == ':' && port_text->size > 0;
    }
    return true;
}

bool conf_address_parse(struct bytes text, struct arena *arena, struct conf_address *address,
                        struct conf_reason *reason) {
    struct bytes host;
    struct bytes port_text;
    bool is_v6;
    char v6[INET6_ADDRSTRLEN];
    int64_t port;
    if (!split_host(text, &host, &port_text, &is_v6) || port_text.size == 0 ||
        !(is_v6 ? normalise_v6(host, v6) : check_host(host))) {
        conf_reason_set(reason, "`%.*s` is not an address like 127.0.0.1:8000 or [::1]:8000",
                        SHOWN(text));
        return false;
    }
    if (!parse_port(port_text, 0, &port)) {
        conf_reason_set(reason, "`%.*s`: the port must be a number from 0 to %d", SHOWN(text),
                        MAX_PORT);
        return false;
    }
    if (is_v6) {
        host = bytes_from_str(v6);
    }
    struct bytes text_copy = arena_copy(arena, text);
    struct bytes host_copy = arena_copy(arena, host);
    if (text_copy.data == NULL || host_copy.data == NULL) {
        conf_reason_set(reason, "out of memory");
        return false;
    }
    *address = (struct conf_address){
        .text = text_copy.data, .host = host_copy.data, .port = (uint16_t)port};
    return true;
}

bool conf_address_equal(const struct conf_address *a, const struct conf_address *b) {
    return a->port == b->port && a->port != 0 &&
           bytes_equal_nocase(bytes_from_str(a->host), bytes_from_str(b->host));
}

static struct bytes skip(struct bytes text, size_t size) {
    return bytes_make(text.data + size, text.size - size);
}

bool conf_url_check(struct bytes url, struct conf_reason *reason) {
    const struct bytes http = BYTES_LITERAL("http://");
    const struct bytes https = BYTES_LITERAL("https://");
    struct bytes host;
    struct bytes port_text;
    bool is_v6;
    char v6[INET6_ADDRSTRLEN];
    int64_t port;
    if (!bytes_start_with(url, http) && !bytes_start_with(url, https)) {
        conf_reason_set(reason, "must begin with http:// or https://");
        return false;
    }
    struct bytes rest = skip(url, bytes_start_with(url, http) ? http.size : https.size);
    for (size_t i = 0; i < rest.size; i++) {
        unsigned char c = (unsigned char)rest.data[i];
        if (c <= ' ' || c >= 0x7f || memchr("\"<>\\^`{|}?#@", c, 12) != NULL) {
            /* '@' and '?' are where keys are put by mistake: not repeated in the message. */
            conf_reason_set(reason, "must be a plain address and path: no user, password, query, "
                                    "blank or other special character");
            return false;
        }
    }
    rest.size = bytes_find(rest, '/');
    if (!split_host(rest, &host, &port_text, &is_v6) ||
        !(is_v6 ? normalise_v6(host, v6) : check_host(host)) ||
        (port_text.size > 0 && !parse_port(port_text, 1, &port))) {
        conf_reason_set(reason, "`%.*s` is not a host with an optional port", SHOWN(rest));
        return false;
    }
    return true;
}
