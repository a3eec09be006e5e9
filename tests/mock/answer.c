/* answer: an answer as HTTP: head, framing, body, ending, and what goes wrong with each. Bodies are
 * body.c's, events stream.c's, time and the socket conn.c's.
 *
 * An answer is asked for its next piece whenever the one before is gone:
 *
 *   HEAD -> [EVENTS | FILL] -> [TAIL] -> DONE     HEAD and a body that fits in one piece: one turn
 *     \-> INFORMATIONAL, for ever
 *
 * The surprise: a cut is made where bytes are appended, not where they are sent, so that framing
 * always announces the whole.
 */
#include "config.h"

#include "mock.h"

#include <time.h>

#define BIG_FIELDS 300 /* of a KiB each */
#define MANY_FIELDS 10000
#define LENGTH_UNKNOWN (-1)

static const char json_type_name[] = "application/json";

/* ---- head ---- */

static void put_date_field(struct buf *out, struct bytes seconds_text) {
    char text[64];
    struct tm parts;
    bool past = seconds_text.size > 0 && seconds_text.data[0] == '-';
    int64_t seconds = 0;
    (void)bytes_to_int64(bytes_make(seconds_text.data + past, seconds_text.size - past), &seconds);
    time_t when = time(NULL) + (past ? -seconds : seconds);
    gmtime_r(&when, &parts);
    (void)strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    buf_append_str(out, text);
}

static void put_ordered_fields(struct buf *out, const struct orders *orders) {
    struct bytes date = BYTES_LITERAL("date:");
    if (orders->retry.data != NULL) {
        struct bytes retry = orders->retry;
        buf_append_str(out, "Retry-After: ");
        if (bytes_start_with(retry, date)) {
            put_date_field(out, bytes_make(retry.data + date.size, retry.size - date.size));
        } else {
            buf_append_bytes(out, retry);
        }
        buf_append_str(out, "\r\n");
    }
    if (orders->should_retry.data != NULL) {
        buf_append_str(out, "X-Should-Retry: ");
        buf_append_bytes(out, orders->should_retry);
        buf_append_str(out, "\r\n");
    }
    if (orders->location.data != NULL) {
        buf_append_str(out, "Location: ");
        buf_append_bytes(out, orders->location);
        buf_append_str(out, "\r\n");
    }
    for (int i = 0; orders->head == HEAD_BIG && i < BIG_FIELDS; i++) {
        buf_printf(out, "X-Fill-%04d: %01009d\r\n", i, 0);
    }
    for (int i = 0; orders->head == HEAD_MANY && i < MANY_FIELDS; i++) {
        buf_printf(out, "X-Fill-%05d: y\r\n", i);
    }
}

static void put_type(struct buf *out, const struct orders *orders, const char *usual) {
    struct bytes type = orders->type.data != NULL ? orders->type : bytes_from_str(usual);
    if (bytes_equal_str(orders->type, "none")) {
        return;
    }
    buf_append_str(out, "Content-Type: ");
    buf_append_bytes(out, type);
    buf_append_str(out, "\r\n");
}

static void put_length(struct buf *out, int64_t length) {
    buf_append_str(out, "Content-Length: ");
    buf_append_i64(out, length);
    buf_append_str(out, "\r\n");
}

/* How the body is framed, and so what follows it. */
static enum framing choose_framing(const struct answer *answer, int64_t length) {
    enum framing framing = (enum framing)answer->orders->framing;
    bool counts = framing == FRAMING_LENGTH || framing == FRAMING_TWO_LENGTHS;
    if (framing == FRAMING_AUTO || (counts && length == LENGTH_UNKNOWN)) {
        framing = length == LENGTH_UNKNOWN ? FRAMING_CHUNKED : FRAMING_LENGTH;
    }
    if (answer->old_version && framing == FRAMING_CHUNKED) {
        framing = FRAMING_CLOSE; /* HTTP/1.0 knows no chunks */
    }
    return framing;
}

static void put_framing(struct conn *conn, int64_t length) {
    struct answer *answer = &conn->answer;
    struct buf *out = &conn->out;
    const struct orders *orders = answer->orders;
    enum framing framing = choose_framing(answer, length);
    bool closes = !answer->keep_alive || orders->close || framing == FRAMING_CLOSE;
    answer->chunked =
        framing == FRAMING_CHUNKED || framing == FRAMING_BAD_CHUNK || framing == FRAMING_NO_LAST;
    answer->ending = closes || orders->finish ? END_FIN : END_KEEP;
    if (answer->chunked) {
        buf_append_str(out, "Transfer-Encoding: chunked\r\n");
    } else if (framing != FRAMING_CLOSE) {
        put_length(out, length);
    }
    if (framing == FRAMING_TWO_LENGTHS) {
        put_length(out, length + 1);
    }
    if (closes) {
        buf_append_str(out, "Connection: close\r\n");
    } else if (answer->old_version) {
        buf_append_str(out, "Connection: keep-alive\r\n");
    }
}

static void put_head(struct conn *conn, int64_t status, const char *type, int64_t length) {
    struct answer *answer = &conn->answer;
    struct buf *out = &conn->out;
    size_t begin = out->size;
    buf_append_str(out, "HTTP/1.1 ");
    buf_append_i64(out, status);
    buf_append_str(out, status == 200 ? " OK\r\n" : " As Ordered\r\n");
    put_type(out, answer->orders, type);
    if (answer->orders->gzip) {
        buf_append_str(out, "Content-Encoding: gzip\r\n");
    }
    put_ordered_fields(out, answer->orders);
    put_framing(conn, length);
    buf_append_str(out, "\r\n");
    conn->mock->counters.errors += answer->counted && status >= 400;
    if (answer->orders->head == HEAD_HTTP09) {
        out->size = begin; /* the rest of it decides as usual how the body is sent */
        answer->chunked = false;
        answer->ending = END_FIN;
    }
    answer->unhurried = out->size;
}

/* ---- body ---- */

void answer_cut(struct conn *conn) {
    struct answer *answer = &conn->answer;
    answer->stage = STAGE_DONE;
    answer->cut_short = true;
    answer->ending = (enum ending)answer->orders->then;
}

void answer_put(struct conn *conn, struct bytes piece) {
    struct answer *answer = &conn->answer;
    struct buf *out = &conn->out;
    if (piece.size == 0 || answer->stage == STAGE_DONE) {
        return;
    }
    bool is_cut = answer->body_left != UNSET && answer->body_left < (int64_t)piece.size;
    size_t size = is_cut ? (size_t)answer->body_left : piece.size;
    if (answer->chunked && answer->orders->framing == FRAMING_BAD_CHUNK && answer->body_bytes > 0) {
        buf_append_str(out, "ZZ\r\nno chunk has this size\r\n");
        answer_cut(conn);
        return;
    }
    if (answer->chunked) {
        buf_printf(out, "%zx\r\n", piece.size);
    }
    buf_append(out, piece.data, size);
    answer->body_bytes += (int64_t)size;
    if (is_cut) {
        answer_cut(conn);
        return;
    }
    if (answer->body_left != UNSET) {
        answer->body_left -= (int64_t)size;
    }
    if (answer->chunked) {
        buf_append_str(out, "\r\n");
    }
}

static void put_tail(struct conn *conn) {
    struct answer *answer = &conn->answer;
    struct buf *out = &conn->out;
    answer->stage = STAGE_DONE;
    if (answer->chunked && answer->orders->framing == FRAMING_NO_LAST) {
        answer_cut(conn);
        return;
    }
    if (answer->chunked) {
        buf_append_str(out, "0\r\n\r\n");
    }
    if (answer->orders->extra) {
        buf_append_str(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                            "Content-Length: 15\r\n\r\n{\"extra\":\"yes\"}");
    }
}

/* Generated text, and at its end what stands behind it. */
static void put_fill(struct conn *conn) {
    static char fill[PIECE_SIZE];
    struct answer *answer = &conn->answer;
    if (fill[0] == '\0') {
        memset(fill, 'x', sizeof(fill));
    }
    size_t size = answer->fill_left < PIECE_SIZE ? (size_t)answer->fill_left : (size_t)PIECE_SIZE;
    answer->fill_left -= (int64_t)size;
    answer_put(conn, bytes_make(fill, size));
    if (answer->fill_left == 0 && answer->stage == STAGE_FILL) {
        answer_put(conn, buf_bytes(&answer->rest));
        if (answer->stage == STAGE_FILL) {
            answer->stage = STAGE_TAIL;
        }
    }
}

/* ---- the first piece ---- */

/* True when the answer is cut before its body. */
static bool is_cut_in_head(struct conn *conn) {
    int64_t cut = conn->answer.orders->cut;
    if (cut == CUT_IN_HEAD) {
        conn->out.size /= 2;
    }
    if (cut == CUT_IN_HEAD || cut == CUT_HEAD) {
        answer_cut(conn);
    }
    return conn->answer.stage == STAGE_DONE;
}

static void choose_cut(struct answer *answer, int64_t length) {
    int64_t cut = answer->orders->cut;
    if (cut == CUT_HALF && length != LENGTH_UNKNOWN) {
        cut = length / 2;
    }
    bool is_cut = cut >= 0 && (length == LENGTH_UNKNOWN || cut < length);
    answer->body_left = is_cut ? cut : UNSET;
}

/* In two pieces, so that chunks are really joined by who reads them. */
static void put_whole(struct conn *conn, struct bytes body) {
    size_t half = conn->answer.chunked ? body.size / 2 : body.size;
    answer_put(conn, bytes_make(body.data, half));
    answer_put(conn, bytes_make(body.data + half, body.size - half));
    if (conn->answer.stage != STAGE_DONE) {
        put_tail(conn);
    }
}

static void start_body(struct conn *conn) {
    struct answer *answer = &conn->answer;
    struct buf *body = &conn->mock->body;
    int64_t status = answer->orders->status;
    const char *type = body_compose(conn);
    if (type == NULL) {
        status = 404;
        type = json_type_name;
        body_error(body, answer->dialect, status, BYTES_LITERAL("no such file"), (struct bytes){0});
    }
    if (status == 204 || status == 304) { /* HTTP gives these no body */
        buf_clear(body);
    }
    int64_t fill = answer->text_at > 0 && body->size > 0 ? answer->orders->huge_mib << 20 : 0;
    int64_t length = (int64_t)body->size + fill;
    put_head(conn, status, type, length);
    if (is_cut_in_head(conn)) {
        return;
    }
    choose_cut(answer, length);
    if (fill == 0) {
        put_whole(conn, buf_bytes(body));
        return;
    }
    answer->stage = STAGE_FILL;
    answer->fill_left = fill;
    buf_append(&answer->rest, body->data + answer->text_at, body->size - answer->text_at);
    answer_put(conn, bytes_make(body->data, answer->text_at));
}

static void start_stream(struct conn *conn) {
    put_head(conn, conn->answer.orders->status, "text/event-stream", LENGTH_UNKNOWN);
    if (!is_cut_in_head(conn)) {
        conn->answer.stage = STAGE_EVENTS;
        choose_cut(&conn->answer, LENGTH_UNKNOWN);
    }
}

static void start(struct conn *conn) {
    struct answer *answer = &conn->answer;
    const struct orders *orders = answer->orders;
    if (orders->cut == CUT_START) {
        answer_cut(conn);
    } else if (orders->head == HEAD_BANNER) {
        buf_append_str(&conn->out, "SSH-2.0-OpenSSH_9.2\r\n");
        answer_cut(conn);
    } else if (orders->head == HEAD_INFORMATIONAL) {
        answer->stage = STAGE_INFORMATIONAL;
    } else if (answer->stream) {
        start_stream(conn);
    } else {
        start_body(conn);
    }
}

/* ---- the public functions ---- */

/* Orders for a body make a body of what was asked for as a stream, as providers do when they
 * fail. */
static bool has_body(const struct orders *orders) {
    return orders->status >= 300 || orders->body != BODY_OK || orders->huge_mib > 0 ||
           orders->gzip || orders->file.data != NULL;
}

static void prepare(struct conn *conn, enum stage stage) {
    struct answer *answer = &conn->answer;
    answer->serial = ++conn->mock->serial;
    answer->created_s = time(NULL);
    answer->stage = stage;
    answer->body_left = UNSET;
    buf_init(&answer->rest, 0);
    conn->state = CONN_ANSWERING;
}

void answer_begin(struct conn *conn) {
    struct answer *answer = &conn->answer;
    answer->stream = answer->stream && !has_body(answer->orders);
    prepare(conn, STAGE_HEAD);
    if (answer->orders->delay_ms > 0) {
        conn_wait(conn, answer->orders->delay_ms);
    } else {
        conn_send(conn);
    }
}

void answer_reply(struct conn *conn, int status, bool closes) {
    struct answer *answer = &conn->answer;
    struct bytes body = buf_bytes(&conn->mock->body);
    answer->orders = &orders_default;
    answer->keep_alive = answer->keep_alive && !closes;
    prepare(conn, STAGE_HEAD);
    put_head(conn, status, json_type_name, (int64_t)body.size);
    put_whole(conn, body);
    conn_send(conn);
}

void answer_refuse(struct conn *conn, int status, const char *message, bool closes) {
    struct buf *body = &conn->mock->body;
    buf_clear(body);
    body_error(body, conn->answer.dialect, status, bytes_from_str(message), (struct bytes){0});
    answer_reply(conn, status, closes);
}

/* One stage after the other as long as there is room in the piece: a head and its first events, the
 * last event and what ends the body, leave together. */
bool answer_more(struct conn *conn) {
    struct answer *answer = &conn->answer;
    if (answer->stage == STAGE_DONE) {
        return false;
    }
    if (answer->stage == STAGE_HEAD) {
        start(conn);
    }
    if (answer->stage == STAGE_INFORMATIONAL) {
        buf_append_str(&conn->out, "HTTP/1.1 102 Processing\r\n\r\n");
        conn->pause_ms = 1;
    }
    if (answer->stage == STAGE_EVENTS) {
        stream_more(conn);
    }
    if (answer->stage == STAGE_FILL) {
        put_fill(conn);
    }
    if (answer->stage == STAGE_TAIL) {
        put_tail(conn);
    }
    return true;
}

void answer_over(struct conn *conn, bool aborted) {
    struct answer *answer = &conn->answer;
    count_end(conn, aborted);
    buf_free(&answer->leak);
    buf_free(&answer->rest);
    answer->model = NULL;
    answer->orders = &orders_default; /* a reset may free the model's now */
}
