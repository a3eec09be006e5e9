/* fuzz_http_body: any bytes, cut anywhere, give the same body, end and fault; decoding never leaves
 * its room and never passes its limits.
 *
 * The first byte of the input says what the head said (0: chunked, else that length), the second
 * how the rest is cut.
 */
#include "config.h"

#include <stdlib.h>

#include "base/panic.h"
#include "http/http_body.h"

#define LIMIT 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum http_parse_result result;
    struct http_fault fault;
    size_t used;
    size_t size;
    char *body;
};

/* The way a connection feeds: fresh bytes right behind what is decoded. */
static struct outcome feed(const struct http_head *head, struct bytes text, size_t step) {
    struct outcome outcome = {.result = HTTP_PARSE_PARTIAL, .body = malloc(text.size + 1)};
    struct http_body body;
    ASSERT(outcome.body != NULL);
    http_body_begin(&body, head, LIMIT);
    size_t from = 0;
    do {
        size_t fresh = step < text.size - from ? step : text.size - from;
        size_t consumed, decoded;
        memcpy(outcome.body + outcome.size, text.data + from, fresh);
        outcome.result = http_body_feed(&body, outcome.body + outcome.size, fresh, &consumed,
                                        &decoded, &outcome.fault);
        ASSERT(consumed <= fresh && decoded <= consumed);
        ASSERT(outcome.result != HTTP_PARSE_PARTIAL || consumed == fresh);
        from += consumed;
        outcome.size += decoded;
    } while (outcome.result == HTTP_PARSE_PARTIAL && from < text.size);
    outcome.used = from;
    ASSERT(outcome.result == HTTP_PARSE_ERROR || outcome.size == (size_t)body.received);
    ASSERT(body.received <= LIMIT);
    return outcome;
}

static void check_same(struct outcome a, struct outcome b) {
    ASSERT(a.result == b.result);
    if (a.result == HTTP_PARSE_ERROR) {
        ASSERT(a.fault.status == b.fault.status && a.fault.reason == b.fault.reason);
    } else {
        ASSERT(a.used == b.used && a.size == b.size);
        ASSERT(memcmp(a.body, b.body, a.size) == 0);
    }
    free(b.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct http_head head;
    if (size < 2) {
        return 0;
    }
    head.chunked = data[0] == 0;
    head.content_length = head.chunked ? -1 : data[0];
    struct bytes text = bytes_make((const char *)data + 2, size - 2);
    struct outcome whole = feed(&head, text, text.size + 1);
    check_same(whole, feed(&head, text, 1));
    check_same(whole, feed(&head, text, (size_t)data[1] + 1));
    free(whole.body);
    return 0;
}
