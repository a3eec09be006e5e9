/* http_body: the body of a request: by length, or chunked (RFC 9112 section 7.1), as a pure
 * function over bytes.
 *
 * Decodes in place: chunked data is moved down over its framing so that a whole body becomes one
 * piece. Limits: extensions 4 KiB a line, overhead 16 KiB + 16 x data,
 * trailers 8 KiB (checked and dropped). As with the head, how the bytes are cut into calls makes no
 * difference.
 */
#ifndef OPTIROUTE_HTTP_HTTP_BODY_H
#define OPTIROUTE_HTTP_HTTP_BODY_H

#include "http/http_parse.h"

struct http_body {
    bool chunked;
    int64_t remaining;   /* bytes of the body (length) or of the chunk still to come */
    int64_t received;    /* decoded bytes so far */
    int64_t limit;       /* decoded bytes allowed; past it 413 */
    int64_t overhead;    /* framing bytes so far, trailers not counted */
    size_t line_size;    /* digits of the chunk size, then bytes of its extension */
    size_t trailer_size; /* bytes of trailers so far */
    int state;           /* http_body.c's */
};

void http_body_begin(struct http_body *body, const struct http_head *head, int64_t limit);
/* Takes `size` fresh bytes at data. *consumed says how many belong to this request; the decoded
 * ones stand at data[0..*decoded). DONE when the body is complete (bytes behind it are not
 * touched). PARTIAL: all were consumed. ERROR with 400 or 413 (*consumed tells where). A call with
 * size 0 is allowed and tells what the head alone decides: no body (DONE), too large (413). */
enum http_parse_result http_body_feed(struct http_body *body, char *data, size_t size,
                                      size_t *consumed, size_t *decoded, struct http_fault *fault);

#endif
