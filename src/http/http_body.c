/* http_body: see http/http_body.h. Used by workers and the metrics worker.
 *
 *   SIZE -> [EXTENSION] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *                              \ (size 0)
 *                               TRAILER_START -> NAME -> VALUE -> VALUE_LF -> TRAILER_START ...
 *                                     \-> END_LF -> done
 */
#include "http/http_body.h"

#include "http_chars.h"
#include "http_rules.h"

#define MAX_SIZE_DIGITS 16
#define MAX_EXTENSION 4096
#define MAX_OVERHEAD_BASE 16384
#define MAX_OVERHEAD_FACTOR 16
#define MAX_TRAILERS 8192

enum body_state {
    STATE_SIZE,
    STATE_EXTENSION,
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_START,
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_END_LF,
    STATE_DONE
};

void http_body_begin(struct http_body *body, const struct http_head *head, int64_t limit) {
    *body = (struct http_body){
        .chunked = head->chunked,
        .remaining = head->content_length > 0 ? head->content_length : 0,
        .limit = limit,
        .state = STATE_SIZE,
    };
    if (body->chunked) {
        body->remaining = 0;
    }
}

static int hex_value(unsigned char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool refuse_size(struct http_fault *fault) {
    http_refuse(fault, 413, "body is too large");
    fault->code = "request_too_large";
    return false;
}

/* The size line is read: is there room for what it announces? */
static bool size_is_known(struct http_body *body, enum body_state next, struct http_fault *fault) {
    if (body->line_size == 0) {
        return http_refuse(fault, 400, "invalid chunk size");
    }
    if (body->remaining > body->limit - body->received) {
        return refuse_size(fault);
    }
    body->line_size = 0;
    body->state = next;
    return true;
}

static bool feed_size(struct http_body *body, unsigned char c, struct http_fault *fault) {
    int digit = hex_value(c);
    if (digit >= 0) {
        if (body->line_size == MAX_SIZE_DIGITS || body->remaining > (INT64_MAX >> 4)) {
            return http_refuse(fault, 400, "chunk size is too large");
        }
        body->remaining = body->remaining * 16 + digit;
        body->line_size++;
        return true;
    }
    if (c == ';') {
        return size_is_known(body, STATE_EXTENSION, fault);
    }
    if (c == '\r') {
        return size_is_known(body, STATE_SIZE_LF, fault);
    }
    return http_refuse(fault, 400, "invalid chunk size");
}

static bool feed_extension(struct http_body *body, unsigned char c, struct http_fault *fault) {
    if (c == '\r') {
        body->state = STATE_SIZE_LF;
        return true;
    }
    if (!http_char_is(c, HTTP_CHAR_VALUE)) {
        return http_refuse(fault, 400, "invalid chunk extension");
    }
    body->line_size++;
    return body->line_size <= MAX_EXTENSION ||
           http_refuse(fault, 400, "chunk extension is too long");
}

static bool feed_expected(struct http_body *body, unsigned char c, unsigned char expected,
                          enum body_state next, struct http_fault *fault) {
    body->state = next;
    return c == expected || http_refuse(fault, 400, "chunk without CRLF where one must be");
}

static bool feed_trailer(struct http_body *body, unsigned char c, struct http_fault *fault) {
    switch (body->state) {
    case STATE_TRAILER_START:
        if (c == '\r') {
            body->state = STATE_END_LF;
            return true;
        }
        body->state = STATE_TRAILER_NAME;
        return http_char_is(c, HTTP_CHAR_TOKEN) || http_refuse(fault, 400, "invalid trailer name");
    case STATE_TRAILER_NAME:
        if (c == ':') {
            body->state = STATE_TRAILER_VALUE;
            return true;
        }
        return http_char_is(c, HTTP_CHAR_TOKEN) || http_refuse(fault, 400, "invalid trailer name");
    default:
        if (c == '\r') {
            body->state = STATE_TRAILER_LF;
            return true;
        }
        return http_char_is(c, HTTP_CHAR_VALUE) ||
               http_refuse(fault, 400, "control character in a trailer");
    }
}

/* One byte of framing. */
static bool feed_framing(struct http_body *body, unsigned char c, struct http_fault *fault) {
    if (body->state >= STATE_TRAILER_START) {
        if (++body->trailer_size > MAX_TRAILERS) {
            return http_refuse(fault, 400, "trailers are too large");
        }
    } else if (++body->overhead > MAX_OVERHEAD_BASE + MAX_OVERHEAD_FACTOR * body->received) {
        return http_refuse(fault, 400, "too much chunk framing for its data");
    }
    switch ((enum body_state)body->state) {
    case STATE_SIZE:
        return feed_size(body, c, fault);
    case STATE_EXTENSION:
        return feed_extension(body, c, fault);
    case STATE_SIZE_LF:
        return feed_expected(body, c, '\n', body->remaining > 0 ? STATE_DATA : STATE_TRAILER_START,
                             fault);
    case STATE_DATA_CR:
        return feed_expected(body, c, '\r', STATE_DATA_LF, fault);
    case STATE_DATA_LF:
        body->line_size = 0;
        return feed_expected(body, c, '\n', STATE_SIZE, fault);
    case STATE_TRAILER_LF:
        return feed_expected(body, c, '\n', STATE_TRAILER_START, fault);
    case STATE_END_LF:
        return feed_expected(body, c, '\n', STATE_DONE, fault);
    default:
        return feed_trailer(body, c, fault);
    }
}

/* Bytes of data, at most `size`, from `from` to `to` (to <= from). */
static size_t take_data(struct http_body *body, char *to, const char *from, size_t size) {
    size_t take = (uint64_t)body->remaining < size ? (size_t)body->remaining : size;
    if (to != from && take > 0) {
        memmove(to, from, take);
    }
    body->remaining -= (int64_t)take;
    body->received += (int64_t)take;
    return take;
}

static enum http_parse_result feed_length(struct http_body *body, char *data, size_t size,
                                          size_t *consumed, size_t *decoded,
                                          struct http_fault *fault) {
    if (body->remaining > body->limit - body->received) {
        refuse_size(fault);
        return HTTP_PARSE_ERROR;
    }
    *consumed = *decoded = take_data(body, data, data, size);
    return body->remaining == 0 ? HTTP_PARSE_DONE : HTTP_PARSE_PARTIAL;
}

enum http_parse_result http_body_feed(struct http_body *body, char *data, size_t size,
                                      size_t *consumed, size_t *decoded, struct http_fault *fault) {
    *consumed = *decoded = 0;
    if (!body->chunked) {
        return feed_length(body, data, size, consumed, decoded, fault);
    }
    size_t at = 0;
    while (at < size && body->state != STATE_DONE) {
        if (body->state == STATE_DATA) {
            size_t taken = take_data(body, data + *decoded, data + at, size - at);
            at += taken;
            *decoded += taken;
            body->state = body->remaining == 0 ? STATE_DATA_CR : STATE_DATA;
        } else if (feed_framing(body, (unsigned char)data[at], fault)) {
            at++;
        } else {
            *consumed = at;
            return HTTP_PARSE_ERROR;
        }
    }
    *consumed = at;
    return body->state == STATE_DONE ? HTTP_PARSE_DONE : HTTP_PARSE_PARTIAL;
}
