/* Events out of a text/event-stream. See the header. Pure; runs in workers.
 *
 * Its one surprise: an event that stands in the input as one piece, which is nearly every one, is
 * given out as a view of it. Only what a piece of input cuts is copied.
 */
#include "base/sse.h"

#include <string.h>

#include "base/panic.h"

static const struct bytes byte_order_mark = BYTES_LITERAL("\xef\xbb\xbf");

void sse_init(struct sse_parser *parser, size_t limit) {
    *parser = (struct sse_parser){.limit = limit};
    buf_init(&parser->line, 0);
    buf_init(&parser->data, 0);
}

void sse_fini(struct sse_parser *parser) {
    buf_free(&parser->line);
    buf_free(&parser->data);
}

static void forget(struct sse_parser *parser) {
    buf_clear(&parser->data);
    parser->is_view = parser->has_data = parser->given = false;
    parser->name_size = 0;
}

static struct bytes data_of(const struct sse_parser *parser) {
    return parser->is_view ? parser->view : buf_bytes(&parser->data);
}

static bool is_too_large(const struct sse_parser *parser, size_t more) {
    return more > parser->limit || data_of(parser).size + parser->line.size > parser->limit - more;
}

/* The view's bytes are about to go away, or another line follows. */
static void keep_view(struct sse_parser *parser) {
    if (parser->is_view) {
        buf_append_bytes(&parser->data, parser->view);
        parser->is_view = false;
    }
}

static void add_data(struct sse_parser *parser, struct bytes value, bool is_in_input) {
    if (parser->has_data) {
        keep_view(parser);
        buf_append_char(&parser->data, '\n');
        buf_append_bytes(&parser->data, value);
    } else if (is_in_input) {
        parser->view = value;
        parser->is_view = true;
    } else {
        buf_append_bytes(&parser->data, value);
    }
    parser->has_data = true;
}

static void take_field(struct sse_parser *parser, struct bytes line, bool is_in_input) {
    size_t colon = bytes_find(line, ':');
    struct bytes name = bytes_make(line.data, colon);
    struct bytes value = bytes_make(line.data + colon, line.size - colon);
    if (value.size > 0) {
        size_t skipped = value.size > 1 && value.data[1] == ' ' ? 2 : 1;
        value = bytes_make(value.data + skipped, value.size - skipped);
    }
    if (bytes_equal_str(name, "data")) {
        add_data(parser, value, is_in_input);
    } else if (bytes_equal_str(name, "event")) {
        parser->name_size = value.size < SSE_MAX_NAME ? value.size : SSE_MAX_NAME;
        memcpy(parser->name, value.data, parser->name_size);
    }
}

/* True when the line ends an event. */
static bool take_line(struct sse_parser *parser, struct bytes line, bool is_in_input) {
    if (!parser->in_stream) {
        parser->in_stream = true;
        if (bytes_start_with(line, byte_order_mark)) {
            line = bytes_make(line.data + byte_order_mark.size, line.size - byte_order_mark.size);
        }
    }
    if (line.size > 0) {
        ASSERT(line.data != NULL);
        take_field(parser, line, is_in_input);
        return false;
    }
    if (!parser->has_data) {
        parser->name_size = 0;
    }
    return parser->has_data;
}

/* Where the first line of the text ends; text.size: it does not. */
static size_t line_end(struct bytes text) {
    size_t end = bytes_find(text, '\n');
    return bytes_find(bytes_make(text.data, end), '\r');
}

static void give(struct sse_parser *parser, struct sse_event *event) {
    event->name = bytes_make(parser->name, parser->name_size);
    event->data = data_of(parser);
    parser->given = true;
}

static void drop(struct bytes *input, size_t size) {
    input->data += size;
    input->size -= size;
}

/* The input is used up in the middle of a line. */
static enum sse_result wait_for_more(struct sse_parser *parser, struct bytes *input) {
    if (is_too_large(parser, input->size)) {
        return SSE_TOO_LARGE;
    }
    keep_view(parser);
    buf_append_bytes(&parser->line, *input);
    drop(input, input->size);
    return parser->data.failed || parser->line.failed ? SSE_NO_MEMORY : SSE_MORE;
}

enum sse_result sse_next(struct sse_parser *parser, struct bytes *input, struct sse_event *event) {
    if (parser->given) {
        forget(parser);
    }
    for (;;) {
        if (parser->skip_lf && input->size > 0) {
            parser->skip_lf = false;
            drop(input, input->data[0] == '\n' ? 1 : 0);
        }
        size_t end = line_end(*input);
        if (end == input->size) {
            return wait_for_more(parser, input);
        }
        if (is_too_large(parser, end)) {
            return SSE_TOO_LARGE;
        }
        struct bytes line = bytes_make(input->data, end);
        bool is_in_input = parser->line.size == 0;
        if (!is_in_input) {
            buf_append_bytes(&parser->line, line);
            line = buf_bytes(&parser->line);
        }
        parser->skip_lf = input->data[end] == '\r';
        drop(input, end + 1);
        bool is_event = take_line(parser, line, is_in_input);
        if (parser->data.failed || parser->line.failed) {
            return SSE_NO_MEMORY;
        }
        buf_clear(&parser->line);
        if (is_event) {
            give(parser, event);
            return SSE_EVENT;
        }
    }
}

bool sse_last(struct sse_parser *parser, struct sse_event *event) {
    if (parser->given) {
        forget(parser);
    }
    if (parser->line.size > 0) {
        (void)take_line(parser, buf_bytes(&parser->line), false);
        buf_clear(&parser->line);
    }
    if (!parser->has_data || parser->data.failed) {
        return false;
    }
    give(parser, event);
    return true;
}
