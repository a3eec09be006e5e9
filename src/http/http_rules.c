/* http_rules: see src/http/http_rules.h. RFC 9110 sections 7.2, 8.6, 10.1.1; RFC 9112 sections 3,
 * 6 and 9.6. */
#include "http_rules.h"

#include "http_chars.h"

/* What http_parser.flags holds. */
#define SEEN_HOST 1u
#define SEEN_LENGTH 2u
#define SEEN_CHUNKED 4u
#define SEEN_CLOSE 8u
#define SEEN_KEEP_ALIVE 16u
#define SEEN_CONTINUE 32u

enum http_method http_rules_method(struct bytes text) {
    static const struct {
        struct bytes text;
        enum http_method method;
    } known[] = {
        {{"POST", 4}, HTTP_POST},   {{"GET", 3}, HTTP_GET},       {{"HEAD", 4}, HTTP_HEAD},
        {{"PUT", 3}, HTTP_PUT},     {{"DELETE", 6}, HTTP_DELETE}, {{"OPTIONS", 7}, HTTP_OPTIONS},
        {{"PATCH", 5}, HTTP_PATCH},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (bytes_equal(text, known[i].text)) {
            return known[i].method;
        }
    }
    return HTTP_METHOD_OTHER;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Bytes of the IP literal at the start, brackets included; 0 when it is none. */
static size_t ip_literal_size(struct bytes host) {
    size_t at = 1;
    while (at < host.size &&
           (is_hex(host.data[at]) || host.data[at] == ':' || host.data[at] == '.')) {
        at++;
    }
    return at > 1 && at < host.size && host.data[at] == ']' ? at + 1 : 0;
}

/* uri-host [ ":" port ], not empty (RFC 9110 section 7.2). */
static bool host_is_valid(struct bytes host) {
    size_t at = 0;
    if (host.size > 0 && host.data[0] == '[') {
        at = ip_literal_size(host);
    } else {
        at = http_skip_class((const unsigned char *)host.data, 0, host.size, HTTP_CHAR_HOST);
    }
    if (at == 0) {
        return false;
    }
    if (at < host.size && host.data[at] == ':') {
        at++;
        while (at < host.size && is_digit(host.data[at])) {
            at++;
        }
    }
    return at == host.size;
}

static void split_target(struct bytes target, struct http_head *head) {
    size_t mark = bytes_find(target, '?');
    head->target = target;
    head->path = bytes_make(target.data, mark);
    head->query = mark < target.size ? bytes_make(target.data + mark + 1, target.size - mark - 1)
                                     : bytes_make(target.data + mark, 0);
}

/* absolute-form, which RFC 9112 section 3.2.2 obliges every server to take. Only the path counts;
 * which host is meant makes no difference here. */
static bool absolute_target(struct bytes target, struct http_head *head, struct http_fault *fault) {
    size_t start = 0;
    if (target.size >= 7 &&
        bytes_equal_nocase(bytes_make(target.data, 7), BYTES_LITERAL("http://"))) {
        start = 7;
    } else if (target.size >= 8 &&
               bytes_equal_nocase(bytes_make(target.data, 8), BYTES_LITERAL("https://"))) {
        start = 8;
    } else {
        return http_refuse(fault, 400, "request target must start with a slash");
    }
    size_t end = start;
    while (end < target.size && target.data[end] != '/' && target.data[end] != '?') {
        end++;
    }
    if (!host_is_valid(bytes_make(target.data + start, end - start))) {
        return http_refuse(fault, 400, "invalid authority in request target");
    }
    split_target(bytes_make(target.data + end, target.size - end), head);
    if (head->path.size == 0) {
        head->path = BYTES_LITERAL("/");
    }
    return true;
}

bool http_rules_target(enum http_method method, struct bytes target, struct http_head *head,
                       struct http_fault *fault) {
    if (target.data[0] == '/') {
        split_target(target, head);
        return true;
    }
    if (target.data[0] == '*' && target.size == 1) {
        split_target(target, head);
        return method == HTTP_OPTIONS ||
               http_refuse(fault, 400, "request target * is for OPTIONS only");
    }
    return absolute_target(target, head, fault);
}

static bool rule_host(struct http_parser *parser, struct bytes value, struct http_fault *fault) {
    if ((parser->flags & SEEN_HOST) != 0) {
        return http_refuse(fault, 400, "more than one Host field");
    }
    parser->flags |= SEEN_HOST;
    return host_is_valid(value) || http_refuse(fault, 400, "invalid Host field");
}

static bool rule_content_length(struct http_parser *parser, struct bytes value,
                                struct http_fault *fault) {
    if ((parser->flags & SEEN_LENGTH) != 0) {
        return http_refuse(fault, 400, "more than one Content-Length field");
    }
    if ((parser->flags & SEEN_CHUNKED) != 0) {
        return http_refuse(fault, 400, "Content-Length together with Transfer-Encoding");
    }
    parser->flags |= SEEN_LENGTH;
    return bytes_to_int64(value, &parser->content_length) ||
           http_refuse(fault, 400, "invalid Content-Length field");
}

static bool rule_transfer_encoding(struct http_parser *parser, struct bytes value,
                                   struct http_fault *fault) {
    if ((parser->flags & SEEN_LENGTH) != 0) {
        return http_refuse(fault, 400, "Content-Length together with Transfer-Encoding");
    }
    if (parser->minor_version == 0) {
        return http_refuse(fault, 400, "Transfer-Encoding in an HTTP/1.0 request");
    }
    if ((parser->flags & SEEN_CHUNKED) != 0 ||
        !bytes_equal_nocase(value, BYTES_LITERAL("chunked"))) {
        return http_refuse(fault, 501, "transfer coding other than chunked");
    }
    parser->flags |= SEEN_CHUNKED;
    return true;
}

/* A comma-separated list, possibly over several fields; options we do not know are not ours. */
static bool rule_connection(struct http_parser *parser, struct bytes value) {
    while (value.size > 0) {
        struct bytes option = bytes_trim(bytes_cut(&value, ','));
        if (bytes_equal_nocase(option, BYTES_LITERAL("close"))) {
            parser->flags |= SEEN_CLOSE;
        } else if (bytes_equal_nocase(option, BYTES_LITERAL("keep-alive"))) {
            parser->flags |= SEEN_KEEP_ALIVE;
        }
    }
    return true;
}

static bool rule_expect(struct http_parser *parser, struct bytes value, struct http_fault *fault) {
    if (!bytes_equal_nocase(value, BYTES_LITERAL("100-continue"))) {
        return http_refuse(fault, 417, "expectation other than 100-continue");
    }
    if (parser->minor_version == 1) { /* RFC 9110 section 10.1.1: ignored in HTTP/1.0 */
        parser->flags |= SEEN_CONTINUE;
    }
    return true;
}

/* Names hold token characters only, and of these no two share a lower case but the two cases of a
 * letter: so one bit set in every byte makes them comparable. Both have `size` bytes. */
static bool name_is(struct bytes name, const char *lower, size_t size) {
    size_t at = 0;
    for (; size - at >= 8; at += 8) {
        uint64_t ours, theirs;
        memcpy(&ours, lower + at, 8);
        memcpy(&theirs, name.data + at, 8);
        if ((theirs | 0x2020202020202020u) != ours) {
            return false;
        }
    }
    while (at < size && (name.data[at] | 0x20) == lower[at]) {
        at++;
    }
    return at == size;
}

bool http_rules_field(struct http_parser *parser, struct bytes name, struct bytes value,
                      struct http_fault *fault) {
    /* By length first: most fields are decided without a comparison. */
    switch (name.size) {
    case 4:
        return !name_is(name, "host", 4) || rule_host(parser, value, fault);
    case 6:
        return !name_is(name, "expect", 6) || rule_expect(parser, value, fault);
    case 10:
        return !name_is(name, "connection", 10) || rule_connection(parser, value);
    case 14:
        return !name_is(name, "content-length", 14) || rule_content_length(parser, value, fault);
    case 17:
        return !name_is(name, "transfer-encoding", 17) ||
               rule_transfer_encoding(parser, value, fault);
    default:
        return true;
    }
}

bool http_rules_finish(const struct http_parser *parser, struct http_head *head,
                       struct http_fault *fault) {
    unsigned flags = parser->flags;
    if ((flags & SEEN_HOST) == 0 && parser->minor_version == 1) {
        return http_refuse(fault, 400, "missing Host field");
    }
    head->method = (enum http_method)parser->method;
    head->minor_version = parser->minor_version;
    head->keep_alive =
        (flags & SEEN_CLOSE) == 0 && (parser->minor_version == 1 || (flags & SEEN_KEEP_ALIVE) != 0);
    head->chunked = (flags & SEEN_CHUNKED) != 0;
    head->expect_continue = (flags & SEEN_CONTINUE) != 0;
    head->content_length = (flags & SEEN_LENGTH) != 0 ? parser->content_length : -1;
    head->field_count = parser->field_count;
    return true;
}
