/* sse: events out of a text/event-stream, however it is cut into pieces.
 *
 * The grammar is that of the HTML standard, section 9.2.6 "Interpreting an event stream": lines end
 * in LF, CR or CRLF, a byte order mark may stand first, lines that begin with a colon are comments,
 * several data lines are joined by LF, a blank line ends the event, and one without data is none.
 * `id` and `retry` are passed over. Bytes are not judged: whether they are UTF-8 or JSON is the
 * reader's business.
 */
#ifndef OPTIROUTE_BASE_SSE_H
#define OPTIROUTE_BASE_SSE_H

#include "base/bytes.h"

#define SSE_MAX_NAME 63 /* bytes of an event's name; what follows is cut off */

/* Views, valid until the next call for the same parser, and as long as the input. */
struct sse_event {
    struct bytes name; /* of its `event` line, empty without one */
    struct bytes data; /* never empty but for a lone "data:" line */
};

struct sse_parser {
    struct buf line;   /* an unfinished line */
    struct buf data;   /* data lines that do not stand in the input as one piece */
    struct bytes view; /* data that does; meaningful when is_view */
    bool is_view, has_data;
    bool skip_lf;   /* the line before ended in CR, at the end of its piece */
    bool in_stream; /* the first line is through */
    bool given;     /* an event was given out: forget it before going on */
    size_t name_size;
    char name[SSE_MAX_NAME + 1];
    size_t limit;
};

enum sse_result {
    SSE_MORE,      /* the input is used up */
    SSE_EVENT,     /* *event is filled; call again with what is left of the input */
    SSE_TOO_LARGE, /* a line, or an event's data, is longer than the limit */
    SSE_NO_MEMORY
};

/* limit: bytes of an event. Allocates nothing before an event is cut by the end of a piece. */
void sse_init(struct sse_parser *parser, size_t limit);
void sse_fini(struct sse_parser *parser);
/* Takes from the front of *input. After TOO_LARGE and NO_MEMORY the parser is of no use. */
enum sse_result sse_next(struct sse_parser *parser, struct bytes *input, struct sse_event *event);
/* The stream is over. True: there was an event whose blank line did not come. (The standard drops
 * it; servers that forget the last blank line are many.) */
bool sse_last(struct sse_parser *parser, struct sse_event *event);

#endif
