/* http_parse: the head of an HTTP/1.1 request, strictly.
 *
 * A pure function over bytes: no I/O, no allocation, resumable at any byte. RFC 9112 with every
 * lenient reading refused: CRLF only, one Host, one length, digits only, no length together with
 * chunked, no obs-fold, no blank before the colon, no control characters. What is wrong is said as
 * a status and a reason; nothing of a refused request may be executed.
 *
 * The bytes are judged in their order and a fault is found at the first byte that makes it certain,
 * so the result for a byte sequence does not depend on how it is cut into calls.
 */
#ifndef OPTIROUTE_HTTP_HTTP_PARSE_H
#define OPTIROUTE_HTTP_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define HTTP_MAX_REQUEST_LINE 8192 /* bytes without CRLF; past it 414 */
#define HTTP_MAX_HEAD 32768        /* bytes of request line and fields; past it 431 */
#define HTTP_MAX_FIELDS 100        /* past it 431 */
#define HTTP_MAX_METHOD 32         /* bytes of a method; past it 501 */

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_PATCH,
    HTTP_METHOD_OTHER
};
enum http_parse_result { HTTP_PARSE_DONE, HTTP_PARSE_PARTIAL, HTTP_PARSE_ERROR };

struct http_fault {
    int status;         /* 400, 414, 417, 431, 501, 505; of a body 400, 413 */
    const char *reason; /* static, fit for a client */
    const char *code;   /* a word for programs; NULL: the bytes were wrong */
};

struct http_field {
    struct bytes name;  /* as sent; compare without case */
    struct bytes value; /* blanks cut from both ends */
};

/* Views into the parsed bytes; valid as long as these stay where they are. Whole only when
 * http_parse_head said DONE; before that it is scratch. */
struct http_head {
    enum http_method method;
    struct bytes method_text;
    struct bytes target; /* origin-form as sent ("/a?b"), or "*" for OPTIONS. Of an absolute-form
                            what follows the authority, so it may be empty or begin with '?'. */
    struct bytes path;   /* target before '?'; "/" for an absolute-form without a path */
    struct bytes query;  /* after '?', empty without */
    int minor_version;   /* HTTP/1.0 or 1.1 */
    bool keep_alive;     /* what version and Connection say */
    bool chunked;
    bool expect_continue;   /* of HTTP/1.1 only */
    int64_t content_length; /* -1 when absent (then no body unless chunked) */
    size_t size;            /* bytes of the head, final empty line included */
    unsigned field_count;
    struct http_field fields[HTTP_MAX_FIELDS];
};

/* Progress over calls on the same growing bytes; all zero at the start. Content is http_parse's
 * business: offsets from the request's first byte and what was learnt so far, never a pointer. */
struct http_parser {
    size_t scanned;         /* bytes judged so far */
    size_t line_start;      /* where the line being read begins */
    size_t name_end;        /* the colon of the field being read */
    size_t value_start;     /* first byte of its value; in the request line: of target or version */
    int64_t content_length; /* meaningful with the flag that says it was seen */
    unsigned field_count;
    uint8_t state;
    uint8_t method; /* enum http_method */
    uint8_t minor_version;
    uint8_t flags; /* which framing fields were seen */
};

void http_parser_reset(struct http_parser *parser);
/* data always starts at the request's first byte and only ever grows (it may move in memory between
 * calls). */
enum http_parse_result http_parse_head(struct http_parser *parser, struct bytes data,
                                       struct http_head *head, struct http_fault *fault);
/* First field of that name (any case), or data NULL. */
struct bytes http_head_find(const struct http_head *head, const char *name);

#endif
