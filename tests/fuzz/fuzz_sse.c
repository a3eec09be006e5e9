/* fuzz_sse: a stream has the same events whatever pieces it comes in. The first byte of the input
 * says where it is cut.
 */
#include "config.h"

#include <stdlib.h>

#include "base/panic.h"
#include "base/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum sse_result collect(struct sse_parser *parser, struct bytes input, struct buf *out) {
    struct sse_event event;
    enum sse_result result;
    while ((result = sse_next(parser, &input, &event)) == SSE_EVENT) {
        ASSERT(event.name.size <= SSE_MAX_NAME && event.data.size <= parser->limit);
        buf_append_bytes(out, event.name);
        buf_append_char(out, '|');
        buf_append_bytes(out, event.data);
        buf_append_char(out, ';');
    }
    ASSERT(result != SSE_MORE || input.size == 0);
    return result;
}

static enum sse_result parse(struct bytes text, size_t piece, struct buf *out) {
    struct sse_parser parser;
    struct sse_event event;
    enum sse_result result = SSE_MORE;
    sse_init(&parser, 256);
    buf_init(out, 0);
    while (text.size > 0 && result == SSE_MORE) {
        size_t taken = piece < text.size ? piece : text.size;
        char *copy = malloc(taken); /* so that a sanitizer sees who looks at it later */
        ASSERT(copy != NULL);
        memcpy(copy, text.data, taken);
        result = collect(&parser, bytes_make(copy, taken), out);
        free(copy);
        text = bytes_make(text.data + taken, text.size - taken);
    }
    if (result == SSE_MORE && sse_last(&parser, &event)) {
        buf_append_bytes(out, event.data);
    }
    sse_fini(&parser);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf whole, cut;
    if (size < 2) {
        return 0;
    }
    struct bytes text = bytes_make((const char *)data + 1, size - 1);
    enum sse_result first = parse(text, text.size, &whole);
    enum sse_result second = parse(text, (size_t)data[0] % 7 + 1, &cut);
    ASSERT(first == second);
    ASSERT(bytes_equal(buf_bytes(&whole), buf_bytes(&cut)));
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
