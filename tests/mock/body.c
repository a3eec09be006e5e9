/* body: which body an answer has: the dialect's (completion.c), its error, a file, or what is no
 * answer at all. Streams are stream.c's.
 *
 * The surprise: an ordered body wins over an ordered status, so that `status=502+body=html` is what
 * a proxy in front of a provider says.
 */
#include "config.h"

#include "mock.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define NESTED 100000
#define FILE_MAX (16 << 20)

static const char json_type_name[] = "application/json";

/* ---- errors ---- */

static const char *anthropic_error(int64_t status) {
    static const struct {
        int64_t status;
        const char *type;
    } types[] = {
        {400, "invalid_request_error"}, {401, "authentication_error"}, {403, "permission_error"},
        {404, "not_found_error"},       {413, "request_too_large"},    {429, "rate_limit_error"},
        {529, "overloaded_error"},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (types[i].status == status) {
            return types[i].type;
        }
    }
    return "api_error";
}

static void put_bytes(struct json_writer *writer, const char *key, struct bytes text) {
    json_key(writer, key);
    json_put_string(writer, text);
}

static void put_error_object(struct json_writer *writer, enum dialect dialect, int64_t status,
                             struct bytes message, struct bytes code) {
    json_key(writer, "error");
    json_object_begin(writer);
    if (dialect == DIALECT_MESSAGES) {
        put_bytes(writer, "type",
                  code.data != NULL ? code : bytes_from_str(anthropic_error(status)));
        put_bytes(writer, "message", message);
        json_object_end(writer);
        return;
    }
    put_bytes(writer, "message", message);
    put_str(writer, "type", "mock_error");
    put_str(writer, "param", NULL);
    if (code.data != NULL) {
        put_bytes(writer, "code", code);
    } else {
        put_str(writer, "code", NULL);
    }
    json_object_end(writer);
}

void body_error(struct buf *out, enum dialect dialect, int64_t status, struct bytes message,
                struct bytes code) {
    struct json_writer writer;
    json_write_init(&writer, out);
    json_object_begin(&writer);
    if (dialect == DIALECT_INFERENCE) {
        put_bytes(&writer, "error", message);
        if (code.data != NULL) {
            put_bytes(&writer, "error_type", code);
        }
    } else {
        if (dialect == DIALECT_MESSAGES) {
            put_str(&writer, "type", "error");
        }
        put_error_object(&writer, dialect, status, message, code);
    }
    json_object_end(&writer);
}

static void compose_error(struct conn *conn) {
    const struct answer *answer = &conn->answer;
    struct bytes message = BYTES_LITERAL("as ordered");
    body_error(&conn->mock->body, answer->dialect, answer->orders->status,
               answer->leak.size > 0 ? buf_bytes(&answer->leak) : message, answer->orders->code);
}

/* ---- bodies that are none ---- */

static void compose_html(struct buf *out) {
    buf_append_str(out, "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head>"
                        "<body><h1>502 Bad Gateway</h1></body></html>\n");
}

static void compose_nested(struct buf *out) {
    for (int i = 0; i < NESTED; i++) {
        buf_append_char(out, '[');
    }
}

static bool compose_odd(struct buf *out, int64_t form) {
    switch (form) {
    case BODY_EMPTY:
        return true;
    case BODY_HTML:
        compose_html(out);
        return true;
    case BODY_NOT_JSON:
        buf_append_str(out, "{\"id\":\"chatcmpl-mock\",\"choices\":[{\"index\":");
        return true;
    case BODY_NO_SCHEMA:
        buf_append_str(out, "{\"status\":\"fine\",\"figures\":[1,2,3]}");
        return true;
    case BODY_NESTED:
        compose_nested(out);
        return true;
    default:
        return false;
    }
}

static int read_file(const char *directory, struct bytes name, struct buf *out) {
    char path[PATH_MAX];
    struct stat facts;
    int status = -1;
    if (directory == NULL || snprintf(path, sizeof(path), "%s/%.*s", directory, (int)name.size,
                                      name.data) >= (int)sizeof(path)) {
        return -1;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return -1;
    }
    if (fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size <= FILE_MAX) {
        size_t size = (size_t)facts.st_size;
        char *at = buf_reserve(out, size);
        if (at != NULL && read(fd, at, size) == facts.st_size) {
            out->size += size;
            status = 0;
        }
    }
    (void)close(fd);
    return status;
}

/* ---- the choice ---- */

const char *body_compose(struct conn *conn) {
    struct answer *answer = &conn->answer;
    const struct orders *orders = answer->orders;
    struct buf *out = &conn->mock->body;
    buf_clear(out);
    answer->text_at = 0;
    if (orders->gzip) {
        gzip_bomb(out);
    } else if (orders->file.data != NULL) {
        if (read_file(conn->mock->files, orders->file, out) == -1) {
            return NULL;
        }
    } else if (compose_odd(out, orders->body)) {
        return orders->body == BODY_HTML ? "text/html; charset=utf-8" : json_type_name;
    } else if (orders->status >= 300) {
        compose_error(conn);
    } else {
        completion_write(conn);
    }
    return json_type_name;
}
