/* fuzz_http_head: any bytes, cut anywhere, give the same verdict, the same head and the same
 * fault; and what is accepted keeps its promises.
 *
 * The first two bytes of the input say where the rest is cut in two; it is also given byte by byte.
 */
#include "config.h"

#include <stdlib.h>

#include "base/panic.h"
#include "http/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct verdict {
    enum http_parse_result result;
    struct http_fault fault;
    struct http_head head;
    const char *base; /* where the bytes stood that the head shows */
};

static void parse_cut(struct verdict *verdict, struct bytes text, size_t cut, size_t step) {
    struct http_parser parser;
    http_parser_reset(&parser);
    verdict->base = text.data;
    verdict->fault.status = 0;
    verdict->result = HTTP_PARSE_PARTIAL;
    for (size_t size = cut;; size += step) {
        size = size < text.size ? size : text.size;
        verdict->result =
            http_parse_head(&parser, bytes_make(text.data, size), &verdict->head, &verdict->fault);
        if (verdict->result != HTTP_PARSE_PARTIAL || size == text.size) {
            return;
        }
    }
}

static void check_same(const struct verdict *a, const struct verdict *b) {
    ASSERT(a->result == b->result);
    if (a->result == HTTP_PARSE_ERROR) {
        ASSERT(a->fault.status == b->fault.status && a->fault.reason == b->fault.reason);
        return;
    }
    if (a->result == HTTP_PARSE_PARTIAL) {
        return;
    }
    ASSERT(a->head.size == b->head.size && a->head.field_count == b->head.field_count);
    ASSERT(a->head.method == b->head.method && a->head.keep_alive == b->head.keep_alive);
    ASSERT(a->head.chunked == b->head.chunked);
    ASSERT(a->head.content_length == b->head.content_length);
    ASSERT(bytes_equal(a->head.path, b->head.path) && bytes_equal(a->head.query, b->head.query));
    for (unsigned i = 0; i < a->head.field_count; i++) {
        ASSERT(bytes_equal(a->head.fields[i].name, b->head.fields[i].name));
        ASSERT(bytes_equal(a->head.fields[i].value, b->head.fields[i].value));
    }
}

static void check_view(const struct verdict *verdict, struct bytes view) {
    ASSERT(view.data >= verdict->base);
    ASSERT(view.data + view.size <= verdict->base + verdict->head.size);
}

static void check_accepted(const struct verdict *verdict) {
    const struct http_head *head = &verdict->head;
    ASSERT(head->size <= HTTP_MAX_HEAD && head->field_count <= HTTP_MAX_FIELDS);
    ASSERT(!head->chunked || (head->content_length == -1 && head->minor_version == 1));
    ASSERT(head->content_length >= -1);
    ASSERT(head->path.size > 0);
    ASSERT(head->minor_version == 0 || http_head_find(head, "host").size > 0);
    check_view(verdict, head->target);
    check_view(verdict, head->query);
    for (unsigned i = 0; i < head->field_count; i++) {
        ASSERT(head->fields[i].name.size > 0);
        check_view(verdict, head->fields[i].name);
        check_view(verdict, head->fields[i].value);
        ASSERT(memchr(head->fields[i].value.data, '\n', head->fields[i].value.size) == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct verdict whole, other;
    if (size < 2) {
        return 0;
    }
    size_t cut = (size_t)data[0] * 256 + data[1];
    struct bytes text = bytes_make((const char *)data + 2, size - 2);
    parse_cut(&whole, text, text.size, 1);
    parse_cut(&other, text, cut, text.size);
    check_same(&whole, &other);
    parse_cut(&other, text, 0, 1);
    check_same(&whole, &other);
    if (whole.result == HTTP_PARSE_DONE) {
        check_accepted(&whole);
    }
    return 0;
}
