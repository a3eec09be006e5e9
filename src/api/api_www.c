/* GET /, /dashboard and /static/NAME: the pages that are embedded into the daemon.
 *
 * Runs in workers. The pages may load nothing from elsewhere and run nothing that is not in a file
 * of theirs: the policy sent with them says so. Every use asks again whether the file is still the
 * same (its tag is of the content), so that an upgrade never mixes old scripts with new pages.
 */
#include "api_private.h"

#include "www.h"

#define WWW_FIELDS                                                                       \
    "Cache-Control: no-cache\r\n"                                                        \
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; " \
    "connect-src 'self'; img-src 'self' data:; font-src 'self'; base-uri 'none'; "       \
    "form-action 'none'; frame-ancestors 'none'\r\n"                                     \
    "Referrer-Policy: no-referrer\r\n"                                                   \
    "X-Content-Type-Options: nosniff\r\n"                                                \
    "Vary: Accept-Encoding\r\n"

static const struct www_file *find_file(struct bytes path) {
    for (size_t i = 0; i < www_file_count; i++) {
        if (bytes_equal_str(path, www_files[i].path)) {
            return &www_files[i];
        }
    }
    return NULL;
}

/* "q=0" and "q=0.000" are a no (RFC 9110 section 12.4.2). */
static bool is_refused(struct bytes parameters) {
    struct bytes q = bytes_trim(parameters);
    if (!bytes_start_with(q, BYTES_LITERAL("q=0"))) {
        return false;
    }
    for (size_t i = 3; i < q.size; i++) {
        if (q.data[i] != '.' && q.data[i] != '0') {
            return false;
        }
    }
    return true;
}

static bool takes_gzip(const struct http_head *head) {
    struct bytes list = http_head_find(head, "accept-encoding");
    while (list.size > 0) {
        struct bytes element = bytes_trim(bytes_cut(&list, ','));
        struct bytes name = bytes_trim(bytes_cut(&element, ';'));
        if (bytes_equal_nocase(name, BYTES_LITERAL("gzip"))) {
            return !is_refused(element);
        }
    }
    return false;
}

/* Does the browser have it? Tags compare weakly (RFC 9110 section 13.1.2). */
static bool is_known(const struct http_head *head, struct bytes tag) {
    struct bytes list = http_head_find(head, "if-none-match");
    while (list.size > 0) {
        struct bytes element = bytes_trim(bytes_cut(&list, ','));
        if (bytes_start_with(element, BYTES_LITERAL("W/"))) {
            element = bytes_make(element.data + 2, element.size - 2);
        }
        if (bytes_equal(element, tag) || bytes_equal_str(element, "*")) {
            return true;
        }
    }
    return false;
}

static void answer_none(struct api_call *call) {
    struct api_error error = {
        .status = 404,
        .type = "invalid_request_error",
        .code = "not_found",
        .message = www_file_count == 0
                       ? "this daemon was built without its pages (./configure --without-www)"
                       : "there is no such file; the pages are / and /dashboard"};
    api_reply_error(call, &error);
    api_log(call, error.status);
}

void api_www(struct api_call *call, const struct http_head *head, struct bytes body) {
    struct buf *fields = &call->api->fields;
    const struct www_file *file = find_file(head->path);
    (void)body;
    if (file == NULL) {
        answer_none(call);
        return;
    }
    bool packed = file->gzip != NULL && takes_gzip(head);
    char room[80];
    struct buf tag;
    buf_init_fixed(&tag, room, sizeof(room));
    buf_printf(&tag, "\"%s%s\"", file->tag, packed ? "-gzip" : "");
    buf_append_str(fields, WWW_FIELDS "ETag: ");
    buf_append_bytes(fields, buf_bytes(&tag));
    buf_append_str(fields, "\r\n");
    if (is_known(head, buf_bytes(&tag))) {
        api_reply(call, 304, NULL, bytes_make(NULL, 0));
        api_log(call, 304);
        return;
    }
    if (packed) {
        buf_append_str(fields, "Content-Encoding: gzip\r\n");
    }
    const unsigned char *data = packed ? file->gzip : file->plain;
    size_t size = packed ? file->gzip_size : file->plain_size;
    api_reply(call, 200, file->content_type, bytes_make((const char *)data, size));
    api_log(call, 200);
}
