/* orders: what a model's name orders: `gpt+delay=200+status=429+retry_after=7`. One table; a new
 * order is a row in it and a field in orders.h.
 *
 * Not for doing anything: that is answer.c's and stream.c's. The surprise: `times` and
 * `fault_every` are orders too but change which of the others hold, so a model keeps two sets.
 */
#include "config.h"

#include "orders.h"

#include <stddef.h>

#define DELAY_MAX_MS 600000
#define TOKENS_MAX 100000
#define FIGURE_MAX INT64_MAX
#define FLOOD_MAX (1LL << 40)

struct word {
    const char *text;
    int64_t value;
};

/* A value is one of the words, else a number from least to most. An order without a value sets 1
 * and has neither. */
struct row {
    const char *name;
    size_t offset;
    const struct word *words; /* NULL: none */
    int64_t least, most;      /* both 0: no number */
    bool is_text;
    bool is_figure; /* outlives `times` */
    bool (*fits)(struct bytes text);
};

static const struct word usage_words[] = {
    {"ok", USAGE_OK},
    {"none", USAGE_NONE},
    {"negative", USAGE_NEGATIVE},
    {"huge", USAGE_HUGE},
    {"text", USAGE_TEXT},
    {"float", USAGE_FLOAT},
    {"null", USAGE_NULL},
    {NULL, 0},
};
static const struct word body_words[] = {
    {"ok", BODY_OK},
    {"empty", BODY_EMPTY},
    {"html", BODY_HTML},
    {"notjson", BODY_NOT_JSON},
    {"noschema", BODY_NO_SCHEMA},
    {"badutf8", BODY_BAD_UTF8},
    {"nested", BODY_NESTED},
    {"null", BODY_NULL},
    {"parts", BODY_PARTS},
    {NULL, 0},
};
static const struct word framing_words[] = {
    {"length", FRAMING_LENGTH},
    {"chunked", FRAMING_CHUNKED},
    {"close", FRAMING_CLOSE},
    {"badchunk", FRAMING_BAD_CHUNK},
    {"nolast", FRAMING_NO_LAST},
    {"twolengths", FRAMING_TWO_LENGTHS},
    {NULL, 0},
};
static const struct word head_words[] = {
    {"big", HEAD_BIG},       {"many", HEAD_MANY},     {"informational", HEAD_INFORMATIONAL},
    {"http09", HEAD_HTTP09}, {"banner", HEAD_BANNER}, {NULL, 0},
};
static const struct word cut_words[] = {
    {"start", CUT_START},
    {"inhead", CUT_IN_HEAD},
    {"head", CUT_HEAD},
    {"half", CUT_HALF},
    {NULL, 0},
};
static const struct word then_words[] = {
    {"fin", END_FIN}, {"rst", END_RST}, {"hold", END_HOLD}, {NULL, 0}};
static const struct word eol_words[] = {
    {"lf", EOL_LF}, {"crlf", EOL_CRLF}, {"cr", EOL_CR}, {NULL, 0}};
static const struct word stop_words[] = {
    {"length", STOP_LENGTH}, {"filter", STOP_FILTER}, {NULL, 0}};

static bool is_printable(struct bytes text) {
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < 0x20 || c == 0x7f) {
            return false;
        }
    }
    return text.size > 0;
}

/* Any text, or date:SECONDS with or without a sign. */
static bool is_retry(struct bytes text) {
    struct bytes date = BYTES_LITERAL("date:");
    int64_t seconds;
    if (!bytes_start_with(text, date)) {
        return is_printable(text);
    }
    size_t skip = date.size + (text.size > date.size && text.data[date.size] == '-');
    return bytes_to_int64(bytes_make(text.data + skip, text.size - skip), &seconds) &&
           seconds <= INT32_MAX;
}

/* No way out of the directory. */
static bool is_file_name(struct bytes text) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-";
    for (size_t i = 0; i < text.size; i++) {
        if (memchr(allowed, text.data[i], sizeof(allowed) - 1) == NULL) {
            return false;
        }
    }
    return text.size > 0 && text.size < 256 && text.data[0] != '.';
}

#define AT(field) .offset = offsetof(struct orders, field)
#define NUMBER(from, to) .least = (from), .most = (to)
#define TEXT(check) .is_text = true, .fits = (check)

static const struct row rows[] = {
    {"delay", AT(delay_ms), NUMBER(0, DELAY_MAX_MS)},
    {"status", AT(status), NUMBER(200, 599)},
    {"leak", AT(leak)},
    {"code", AT(code), TEXT(is_printable)},
    {"retry_after", AT(retry), TEXT(is_retry)},
    {"should_retry", AT(should_retry), TEXT(is_printable)},
    {"location", AT(location), TEXT(is_printable)},
    {"tokens", AT(tokens), NUMBER(0, TOKENS_MAX), .is_figure = true},
    {"usage", AT(usage), .words = usage_words},
    {"prompt", AT(prompt), NUMBER(0, FIGURE_MAX), .is_figure = true},
    {"cached", AT(cached), NUMBER(0, FIGURE_MAX), .is_figure = true},
    {"reasoning", AT(reasoning), NUMBER(0, FIGURE_MAX), .is_figure = true},
    {"cache_write", AT(cache_write), NUMBER(0, FIGURE_MAX), .is_figure = true},
    {"body", AT(body), .words = body_words},
    {"huge", AT(huge_mib), NUMBER(1, 1 << 20)},
    {"file", AT(file), TEXT(is_file_name)},
    {"type", AT(type), TEXT(is_printable)},
    {"gzip", AT(gzip)},
    {"framing", AT(framing), .words = framing_words},
    {"head", AT(head), .words = head_words},
    {"cut", AT(cut), .words = cut_words, NUMBER(0, FIGURE_MAX)},
    {"then", AT(then), .words = then_words},
    {"drip", AT(drip_ms), NUMBER(1, DELAY_MAX_MS)},
    {"extra", AT(extra)},
    {"close", AT(close)},
    {"stale", AT(stale)},
    {"finish", AT(finish)},
    {"times", AT(times), NUMBER(1, FIGURE_MAX)},
    {"fault_every", AT(fault_every), NUMBER(1, FIGURE_MAX)},
    {"pace", AT(pace_ms), NUMBER(0, DELAY_MAX_MS)},
    {"eol", AT(eol), .words = eol_words},
    {"split", AT(split), NUMBER(1, FIGURE_MAX)},
    {"comments", AT(comments)},
    {"bom", AT(bom)},
    {"nospace", AT(nospace)},
    {"multiline", AT(multiline)},
    {"utf8", AT(utf8)},
    {"kill", AT(kill), NUMBER(0, FIGURE_MAX)},
    {"idle", AT(idle), NUMBER(0, FIGURE_MAX)},
    {"badevent", AT(bad_event), NUMBER(1, FIGURE_MAX)},
    {"errorevent", AT(error_event), NUMBER(1, FIGURE_MAX)},
    {"hugeevent", AT(huge_event)},
    {"hugeat", AT(huge_at), NUMBER(1, FIGURE_MAX)},
    {"hold", AT(hold)},
    {"nodone", AT(no_done)},
    {"nousage", AT(no_usage)},
    {"nullchoices", AT(null_choices)},
    {"tool", AT(tool)},
    {"reasoning_text", AT(reasoning_text)},
    {"flood", AT(flood), NUMBER(1, FLOOD_MAX)},
    {"stop", AT(stop), .words = stop_words},
    {"logprobs", AT(logprobs)},
    {"stamp", AT(stamp)},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

const struct orders orders_default = {
    .status = 200,
    .tokens = 10,
    .prompt = UNSET,
    .cached = UNSET,
    .reasoning = UNSET,
    .cache_write = UNSET,
    .cut = CUT_NONE,
    .then = END_FIN,
    .kill = UNSET,
    .idle = UNSET,
};

/* The faults of `fault_every`: as an answer, and where a stream says the same otherwise. */
static const struct {
    int64_t status, body, cut, then;
    bool in_events; /* of a stream: half of its words, its second event */
} faults[] = {
    {.status = 500, .cut = CUT_NONE, .then = END_FIN},
    {.status = 200, .cut = CUT_START, .then = END_RST},
    {.status = 200, .cut = CUT_HALF, .then = END_FIN, .in_events = true},
    {.status = 200, .cut = CUT_NONE, .then = END_FIN, .body = BODY_NOT_JSON, .in_events = true},
    {.status = 200, .cut = CUT_START, .then = END_FIN},
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static const struct row *find_row(struct bytes name) {
    for (size_t i = 0; i < ROWS; i++) {
        if (bytes_equal_str(name, rows[i].name)) {
            return &rows[i];
        }
    }
    return NULL;
}

static bool read_value(const struct row *row, struct bytes value, int64_t *number) {
    for (const struct word *word = row->words; word != NULL && word->text != NULL; word++) {
        if (bytes_equal_str(value, word->text)) {
            *number = word->value;
            return true;
        }
    }
    return row->most > 0 && bytes_to_int64(value, number) && *number >= row->least &&
           *number <= row->most;
}

/* One `key=value` or `key`; -1 when it is no order. */
static int take_order(struct orders *orders, struct bytes order) {
    size_t equals = bytes_find(order, '=');
    const struct row *row = find_row(bytes_make(order.data, equals));
    if (row == NULL) {
        return -1;
    }
    void *field = (char *)orders + row->offset;
    int64_t number = 1;
    bool is_flag = row->words == NULL && row->most == 0 && !row->is_text;
    if (equals == order.size || is_flag) {
        if (equals < order.size || !is_flag) {
            return -1;
        }
        memcpy(field, &number, sizeof(number));
        return 0;
    }
    struct bytes value = bytes_make(order.data + equals + 1, order.size - equals - 1);
    if (row->is_text) {
        if (!row->fits(value)) {
            return -1;
        }
        memcpy(field, &value, sizeof(value));
        return 0;
    }
    if (!read_value(row, value, &number)) {
        return -1;
    }
    memcpy(field, &number, sizeof(number));
    return 0;
}

int orders_read(struct bytes model, struct orders *orders) {
    *orders = orders_default;
    size_t at = bytes_find(model, '+');
    while (at < model.size) {
        struct bytes rest = bytes_make(model.data + at + 1, model.size - at - 1);
        struct bytes order = bytes_make(rest.data, bytes_find(rest, '+'));
        if (take_order(orders, order) == -1) {
            return -1;
        }
        at += 1 + order.size;
    }
    return 0;
}

void orders_calm(const struct orders *orders, struct orders *calm) {
    *calm = orders_default;
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].is_figure) {
            memcpy((char *)calm + rows[i].offset, (const char *)orders + rows[i].offset,
                   sizeof(int64_t));
        }
    }
}

void orders_fault(struct orders *orders, uint64_t number, bool stream) {
    size_t i = number % FAULTS;
    orders->then = faults[i].then;
    if (stream && faults[i].in_events) {
        if (faults[i].cut == CUT_HALF) {
            orders->cut = CUT_HALF;
        } else {
            orders->bad_event = 2;
        }
        return;
    }
    orders->status = faults[i].status;
    orders->body = faults[i].body;
    orders->cut = faults[i].cut;
}
