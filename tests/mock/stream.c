/* stream: server-sent events on the wire: their lines, the pauses between them, and where a stream
 * breaks. What the events say is events.c's.
 *
 * The surprise: without a pace, events leave many to a write, so that a mock under load is not
 * slower than what it tests; with a pace each has a write of its own.
 */
#include "config.h"

#include "mock.h"

static const char *eol_of(const struct orders *orders) {
    static const char *const eols[] = {[EOL_LF] = "\n", [EOL_CRLF] = "\r\n", [EOL_CR] = "\r"};
    return eols[orders->eol];
}

static void put_event(struct conn *conn, const char *name, struct bytes data) {
    const struct orders *orders = conn->answer.orders;
    const char *eol = eol_of(orders);
    const char *field = orders->nospace ? "data:" : "data: ";
    struct buf *out = &conn->mock->event;
    buf_clear(out);
    if (orders->bom && conn->answer.events == 0) {
        buf_append_str(out, "\xef\xbb\xbf");
    }
    if (orders->comments) {
        buf_append_str(out, ": comment");
        buf_append_str(out, eol);
        buf_append_str(out, eol);
    }
    if (name != NULL) {
        buf_append_str(out, orders->nospace ? "event:" : "event: ");
        buf_append_str(out, name);
        buf_append_str(out, eol);
    }
    buf_append_str(out, field);
    if (orders->multiline && data.size > 0 && data.data[0] == '{') {
        buf_append_char(out,
                        '{'); /* behind it JSON allows a line feed, which is what joins lines */
        buf_append_str(out, eol);
        buf_append_str(out, field);
        data = bytes_make(data.data + 1, data.size - 1);
    }
    buf_append_bytes(out, data);
    buf_append_str(out, eol);
    buf_append_str(out, eol);
    answer_put(conn, buf_bytes(out));
}

/* Responses puts the members of an error into the event itself. */
static void compose_response_error(struct buf *out, const struct answer *answer) {
    struct json_writer writer;
    json_write_init(&writer, out);
    json_object_begin(&writer);
    put_str(&writer, "type", "error");
    put_int(&writer, "sequence_number", answer->events);
    json_key(&writer, "code");
    json_put_string(&writer, answer->orders->code.data != NULL ? answer->orders->code
                                                               : BYTES_LITERAL("server_error"));
    put_str(&writer, "message", "as ordered");
    put_str(&writer, "param", NULL);
    json_object_end(&writer);
}

/* The stream says that it failed, and ends. */
static void put_error_event(struct conn *conn) {
    struct answer *answer = &conn->answer;
    struct buf *out = &conn->mock->body;
    bool named = answer->dialect == DIALECT_MESSAGES || answer->dialect == DIALECT_RESPONSES;
    buf_clear(out);
    if (answer->dialect == DIALECT_RESPONSES) {
        compose_response_error(out, answer);
    } else {
        body_error(out, answer->dialect, 500, BYTES_LITERAL("as ordered"), answer->orders->code);
    }
    put_event(conn, named ? "error" : NULL, buf_bytes(out));
    if (answer->stage != STAGE_DONE) {
        answer->stage = STAGE_TAIL;
    }
}

static void fall_silent(struct answer *answer) {
    answer->stage = STAGE_DONE;
    answer->ending = END_HOLD;
}

/* All events are out. */
static void end_events(struct conn *conn) {
    struct answer *answer = &conn->answer;
    if (answer->events == answer->orders->kill) {
        answer_cut(conn);
    } else if (answer->orders->hold || answer->events == answer->orders->idle) {
        fall_silent(answer);
    } else {
        answer->stage = STAGE_TAIL;
    }
}

static void put_next_event(struct conn *conn) {
    struct answer *answer = &conn->answer;
    const struct orders *orders = answer->orders;
    const char *name = events_compose(conn);
    struct bytes data = buf_bytes(&conn->mock->body);
    if (answer->events + 1 == orders->bad_event) {
        data = BYTES_LITERAL("{\"choices\":[{\"index\":0,\"delta\":");
    }
    put_event(conn, name, data);
    answer->events++;
    if (answer->stage == STAGE_DONE) {
        return; /* it was cut */
    }
    if (events_are_left(answer)) {
        conn->pause_ms = orders->pace_ms;
    } else {
        end_events(conn);
    }
}

/* Half of the words are out; where a stream has its middle is not known by bytes. */
static bool is_half(const struct answer *answer) {
    return answer->orders->cut == CUT_HALF && answer->events > answer->orders->tokens / 2;
}

static void put_one(struct conn *conn) {
    struct answer *answer = &conn->answer;
    const struct orders *orders = answer->orders;
    if (answer->events == orders->kill || is_half(answer)) {
        answer_cut(conn);
    } else if (answer->events == orders->idle) {
        fall_silent(answer);
    } else if ((orders->huge_event && answer->events == 1) ||
               answer->events + 1 == orders->huge_at) {
        answer_put(conn, BYTES_LITERAL("data: "));
        answer->fill_left = HUGE_EVENT_BYTES;
        answer->stage = STAGE_FILL;
    } else if (answer->events + 1 == orders->error_event) {
        put_error_event(conn);
    } else if (events_are_left(answer)) {
        put_next_event(conn);
    } else {
        end_events(conn); /* there was none at all */
    }
}

void stream_more(struct conn *conn) {
    const struct answer *answer = &conn->answer;
    do {
        put_one(conn);
    } while (answer->stage == STAGE_EVENTS && conn->pause_ms == 0 && conn->out.size < PIECE_SIZE);
}
