/* http_parse: see http/http_parse.h. Used by workers and the metrics worker.
 *
 *   START -> [LEADING_LF] -> METHOD -> TARGET -> VERSION -> VERSION_LF
 *     -> FIELD_START -> NAME -> BLANK -> VALUE -> VALUE_LF -> FIELD_START ...
 *              \-> END_LF -> done
 *
 * The surprise: views into the bytes are written into the head while scanning, but the bytes may
 * move between two calls. So a head that came in one call (nearly all do) is complete when its last
 * byte is judged, and one that came in several is scanned a second time then, from its first byte,
 * to make all views point to where the bytes are now. Work stays linear: twice at most.
 */
#include "http/http_parse.h"

#include "http_chars.h"
#include "http_rules.h"

enum parse_state {
    STATE_START,
    STATE_LEADING_LF,
    STATE_METHOD,
    STATE_TARGET,
    STATE_VERSION,
    STATE_VERSION_LF,
    STATE_FIELD_START,
    STATE_NAME,
    STATE_BLANK,
    STATE_VALUE,
    STATE_VALUE_LF,
    STATE_END_LF
};

enum step { STEP_ON, STEP_WAIT, STEP_DONE, STEP_ERROR };

struct scan {
    const unsigned char *data;
    size_t at;  /* next byte to judge; at < end whenever a step begins */
    size_t end; /* bytes there, at most HTTP_MAX_HEAD */
    struct http_parser *parser;
    struct http_head *head;
    struct http_fault *fault;
};

void http_parser_reset(struct http_parser *parser) {
    *parser = (struct http_parser){0};
}

static struct bytes scan_view(const struct scan *scan, size_t from, size_t to) {
    return bytes_make((const char *)scan->data + from, to - from);
}

static enum step scan_refuse(struct scan *scan, int status, const char *reason) {
    http_refuse(scan->fault, status, reason);
    return STEP_ERROR;
}

/* At the first byte past the allowed request line: 414 whatever the byte is, unless it ends the
 * line. */
static bool scan_line_is_too_long(const struct scan *scan) {
    return scan->at - scan->parser->line_start >= HTTP_MAX_REQUEST_LINE &&
           scan->data[scan->at] != '\r';
}

static size_t scan_line_limit(const struct scan *scan) {
    size_t limit = scan->parser->line_start + HTTP_MAX_REQUEST_LINE;
    return limit < scan->end ? limit : scan->end;
}

/* RFC 9112 section 2.2: an empty line before the request line is ignored; one, here. */
static enum step scan_start(struct scan *scan) {
    struct http_parser *parser = scan->parser;
    if (parser->state == STATE_START && scan->data[scan->at] == '\r') {
        scan->at++;
        parser->state = STATE_LEADING_LF;
        return STEP_ON;
    }
    if (parser->state == STATE_LEADING_LF) {
        if (scan->data[scan->at] != '\n') {
            return scan_refuse(scan, 400, "CR without LF");
        }
        scan->at++;
    }
    parser->line_start = scan->at;
    parser->state = STATE_METHOD;
    return STEP_ON;
}

static enum step scan_method(struct scan *scan) {
    struct http_parser *parser = scan->parser;
    size_t limit = parser->line_start + HTTP_MAX_METHOD + 1;
    limit = limit < scan->end ? limit : scan->end;
    scan->at = http_skip_class(scan->data, scan->at, limit, HTTP_CHAR_TOKEN);
    if (scan->at - parser->line_start > HTTP_MAX_METHOD) {
        return scan_refuse(scan, 501, "method is too long");
    }
    if (scan->at == scan->end) {
        return STEP_WAIT;
    }
    if (scan->data[scan->at] != ' ' || scan->at == parser->line_start) {
        return scan_refuse(scan, 400, "invalid method in request line");
    }
    scan->head->method_text = scan_view(scan, parser->line_start, scan->at);
    parser->method = (uint8_t)http_rules_method(scan->head->method_text);
    scan->at++;
    parser->value_start = scan->at;
    parser->state = STATE_TARGET;
    return STEP_ON;
}

static enum step scan_target(struct scan *scan) {
    struct http_parser *parser = scan->parser;
    scan->at = http_skip_class(scan->data, scan->at, scan_line_limit(scan), HTTP_CHAR_TARGET);
    if (scan->at == scan->end) {
        return STEP_WAIT;
    }
    if (scan_line_is_too_long(scan)) {
        return scan_refuse(scan, 414, "request line is too long");
    }
    if (scan->data[scan->at] != ' ' || scan->at == parser->value_start) {
        return scan_refuse(scan, 400, "invalid request target");
    }
    if (!http_rules_target((enum http_method)parser->method,
                           scan_view(scan, parser->value_start, scan->at), scan->head,
                           scan->fault)) {
        return STEP_ERROR;
    }
    scan->at++;
    parser->value_start = scan->at;
    parser->state = STATE_VERSION;
    return STEP_ON;
}

static enum step scan_version(struct scan *scan) {
    struct http_parser *parser = scan->parser;
    static const char expected[] = "HTTP/1.x\r";
    if (scan->at == parser->value_start && scan->end - scan->at >= 9 &&
        scan->at + 8 - parser->line_start <= HTTP_MAX_REQUEST_LINE &&
        memcmp(scan->data + scan->at, "HTTP/1.1\r", 9) == 0) { /* nearly always */
        scan->at += 9;
        parser->minor_version = 1;
        parser->state = STATE_VERSION_LF;
        return STEP_ON;
    }
    for (; scan->at < scan->end; scan->at++) {
        size_t index = scan->at - parser->value_start;
        char c = (char)scan->data[scan->at];
        if (scan_line_is_too_long(scan)) {
            return scan_refuse(scan, 414, "request line is too long");
        }
        bool is_number = index == 5 || index == 7;
        if (is_number && c >= '0' && c <= '9') {
            if (c != '1' && (index == 5 || c != '0')) {
                return scan_refuse(scan, 505, "HTTP version other than 1.0 and 1.1");
            }
            parser->minor_version = (uint8_t)(c - '0');
        } else if (is_number || c != expected[index]) {
            return scan_refuse(scan, 400, "invalid HTTP version in request line");
        } else if (c == '\r') {
            scan->at++;
            parser->state = STATE_VERSION_LF;
            return STEP_ON;
        }
    }
    return STEP_WAIT;
}

static enum step scan_version_lf(struct scan *scan) {
    if (scan->data[scan->at] != '\n') {
        return scan_refuse(scan, 400, "CR without LF");
    }
    scan->at++;
    scan->parser->state = STATE_FIELD_START;
    return STEP_ON;
}

/* A value without the blanks behind it. */
static size_t trimmed_end(const unsigned char *data, size_t start, size_t end) {
    while (end > start && (data[end - 1] == ' ' || data[end - 1] == '\t')) {
        end--;
    }
    return end;
}

static bool scan_keep_field(struct scan *scan, size_t name_end, size_t value_start,
                            size_t value_end) {
    struct http_parser *parser = scan->parser;
    struct http_field *field = &scan->head->fields[parser->field_count];
    field->name = scan_view(scan, parser->line_start, name_end);
    field->value = scan_view(scan, value_start, trimmed_end(scan->data, value_start, value_end));
    if (!http_rules_field(parser, field->name, field->value, scan->fault)) {
        return false;
    }
    parser->field_count++;
    return true;
}

/* The same as the steps from NAME to VALUE_LF for lines that are here in full and without fault,
 * which is nearly all of them, three times as fast. Anything else it leaves where the line begins,
 * for the steps to judge. */
static enum step scan_whole_fields(struct scan *scan) {
    const unsigned char *data = scan->data;
    size_t end = scan->end;
    while (scan->parser->field_count < HTTP_MAX_FIELDS) {
        size_t name_end = http_skip_class(data, scan->at, end, HTTP_CHAR_TOKEN);
        if (name_end == scan->at || name_end == end || data[name_end] != ':') {
            return STEP_ON;
        }
        size_t value = name_end + 1;
        while (value < end && (data[value] == ' ' || data[value] == '\t')) {
            value++;
        }
        size_t value_end = http_skip_value(data, value, end);
        if (end - value_end < 2 || data[value_end] != '\r' || data[value_end + 1] != '\n') {
            return STEP_ON;
        }
        scan->parser->line_start = scan->at;
        if (!scan_keep_field(scan, name_end, value, value_end)) {
            return STEP_ERROR;
        }
        scan->at = value_end + 2;
    }
    return STEP_ON;
}

static enum step scan_field_start(struct scan *scan) {
    struct http_parser *parser = scan->parser;
    if (scan_whole_fields(scan) == STEP_ERROR) {
        return STEP_ERROR;
    }
    if (scan->at == scan->end) {
        return STEP_WAIT;
    }
    unsigned char c = scan->data[scan->at];
    if (c == '\r') {
        scan->at++;
        parser->state = STATE_END_LF;
        return STEP_ON;
    }
    if (c == ' ' || c == '\t') {
        return scan_refuse(scan, 400, "folded field line");
    }
    if (parser->field_count == HTTP_MAX_FIELDS) {
        return scan_refuse(scan, 431, "too many fields");
    }
    parser->line_start = scan->at;
    parser->state = STATE_NAME;
    return STEP_ON;
}

static enum step scan_name(struct scan *scan) {
    struct http_parser *parser = scan->parser;
    scan->at = http_skip_class(scan->data, scan->at, scan->end, HTTP_CHAR_TOKEN);
    if (scan->at == scan->end) {
        return STEP_WAIT;
    }
    unsigned char c = scan->data[scan->at];
    if (c == ' ' || c == '\t') {
        return scan_refuse(scan, 400, "blank before the colon of a field");
    }
    if (c != ':' || scan->at == parser->line_start) {
        return scan_refuse(scan, 400, "invalid field name");
    }
    parser->name_end = scan->at;
    scan->at++;
    parser->state = STATE_BLANK;
    return STEP_ON;
}

static enum step scan_blank(struct scan *scan) {
    while (scan->at < scan->end && (scan->data[scan->at] == ' ' || scan->data[scan->at] == '\t')) {
        scan->at++;
    }
    if (scan->at == scan->end) {
        return STEP_WAIT;
    }
    scan->parser->value_start = scan->at;
    scan->parser->state = STATE_VALUE;
    return STEP_ON;
}

static enum step scan_value(struct scan *scan) {
    scan->at = http_skip_value(scan->data, scan->at, scan->end);
    if (scan->at == scan->end) {
        return STEP_WAIT;
    }
    if (scan->data[scan->at] != '\r') {
        return scan_refuse(scan, 400,
                           scan->data[scan->at] == '\n' ? "LF without CR"
                                                        : "control character in a field value");
    }
    scan->at++;
    scan->parser->state = STATE_VALUE_LF;
    return STEP_ON;
}

static enum step scan_value_lf(struct scan *scan) {
    struct http_parser *parser = scan->parser;
    if (scan->data[scan->at] != '\n') {
        return scan_refuse(scan, 400, "CR without LF");
    }
    if (!scan_keep_field(scan, parser->name_end, parser->value_start, scan->at - 1)) {
        return STEP_ERROR;
    }
    scan->at++;
    parser->state = STATE_FIELD_START;
    return STEP_ON;
}

static enum step scan_end_lf(struct scan *scan) {
    if (scan->data[scan->at] != '\n') {
        return scan_refuse(scan, 400, "CR without LF");
    }
    scan->at++;
    scan->head->size = scan->at;
    return http_rules_finish(scan->parser, scan->head, scan->fault) ? STEP_DONE : STEP_ERROR;
}

static enum step scan_step(struct scan *scan) {
    switch ((enum parse_state)scan->parser->state) {
    case STATE_START:
    case STATE_LEADING_LF:
        return scan_start(scan);
    case STATE_METHOD:
        return scan_method(scan);
    case STATE_TARGET:
        return scan_target(scan);
    case STATE_VERSION:
        return scan_version(scan);
    case STATE_VERSION_LF:
        return scan_version_lf(scan);
    case STATE_FIELD_START:
        return scan_field_start(scan);
    case STATE_NAME:
        return scan_name(scan);
    case STATE_BLANK:
        return scan_blank(scan);
    case STATE_VALUE:
        return scan_value(scan);
    case STATE_VALUE_LF:
        return scan_value_lf(scan);
    case STATE_END_LF:
        return scan_end_lf(scan);
    }
    return scan_refuse(scan, 400, "invalid request");
}

/* From parser->scanned on. */
static enum step scan_run(struct scan *scan) {
    scan->at = scan->parser->scanned;
    enum step step = STEP_ON;
    while (step == STEP_ON && scan->at < scan->end) {
        step = scan_step(scan);
    }
    scan->parser->scanned = scan->at;
    return step;
}

enum http_parse_result http_parse_head(struct http_parser *parser, struct bytes data,
                                       struct http_head *head, struct http_fault *fault) {
    struct scan scan = {
        .data = (const unsigned char *)data.data,
        .end = data.size < HTTP_MAX_HEAD ? data.size : HTTP_MAX_HEAD,
        .parser = parser,
        .head = head,
        .fault = fault,
    };
    bool resumed = parser->scanned > 0;
    enum step step = scan_run(&scan);
    if (step == STEP_DONE && resumed) {
        http_parser_reset(parser);
        step = scan_run(&scan);
    }
    switch (step) {
    case STEP_DONE:
        return HTTP_PARSE_DONE;
    case STEP_ERROR:
        return HTTP_PARSE_ERROR;
    default:
        break;
    }
    if (scan.end == HTTP_MAX_HEAD) { /* full and not complete: one byte more cannot help */
        scan_refuse(&scan, 431, "head is too large");
        return HTTP_PARSE_ERROR;
    }
    return HTTP_PARSE_PARTIAL;
}

struct bytes http_head_find(const struct http_head *head, const char *name) {
    struct bytes wanted = bytes_from_str(name);
    for (unsigned i = 0; i < head->field_count; i++) {
        if (bytes_equal_nocase(head->fields[i].name, wanted)) {
            return head->fields[i].value;
        }
    }
    return bytes_make(NULL, 0);
}
