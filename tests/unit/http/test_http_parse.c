/* http_parse: every case at once, cut in two at every byte, and byte by byte; the verdict and the
 * head must be the same each time, and a fault must not come later than the byte that makes it. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "http/http_parse.h"

/* One verdict in a form that can be compared: "DONE POST /a?b ..." or "400 reason". */
struct verdict {
    enum http_parse_result result;
    size_t needed; /* bytes there when it was reached */
    char text[2048];
};

static void describe_head(const struct http_head *head, char *out, size_t size) {
    int at =
        snprintf(out, size,
                 "%d [%.*s] [%.*s] [%.*s] [%.*s] 1.%d keep=%d chunked=%d expect=%d "
                 "length=%lld size=%zu",
                 (int)head->method, (int)head->method_text.size, head->method_text.data,
                 (int)head->target.size, head->target.data, (int)head->path.size, head->path.data,
                 (int)head->query.size, head->query.data, head->minor_version, head->keep_alive,
                 head->chunked, head->expect_continue, (long long)head->content_length, head->size);
    for (unsigned i = 0; i < head->field_count && (size_t)at < size; i++) {
        at += snprintf(out + at, size - (size_t)at, " %.*s=<%.*s>", (int)head->fields[i].name.size,
                       head->fields[i].name.data, (int)head->fields[i].value.size,
                       head->fields[i].value.data);
    }
}

/* Feeds data up to each of the cuts, in a fresh copy each time, so that a stale pointer shows. */
static struct verdict parse_cut(struct bytes data, const size_t *cuts, size_t cut_count) {
    static struct http_head head;
    struct verdict verdict = {.result = HTTP_PARSE_PARTIAL};
    struct http_parser parser;
    struct http_fault fault;
    http_parser_reset(&parser);
    for (size_t i = 0; i < cut_count && verdict.result == HTTP_PARSE_PARTIAL; i++) {
        char *copy = malloc(cuts[i] + 1);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, data.data, cuts[i]);
        verdict.result = http_parse_head(&parser, bytes_make(copy, cuts[i]), &head, &fault);
        verdict.needed = cuts[i];
        if (verdict.result == HTTP_PARSE_DONE) {
            describe_head(&head, verdict.text, sizeof(verdict.text));
        } else if (verdict.result == HTTP_PARSE_ERROR) {
            snprintf(verdict.text, sizeof(verdict.text), "%d %s", fault.status, fault.reason);
        }
        free(copy);
    }
    return verdict;
}

static struct verdict parse_whole(struct bytes data) {
    return parse_cut(data, &data.size, 1);
}

/* Byte by byte, up to the verdict. */
static struct verdict parse_bytes(struct bytes data) {
    size_t *cuts = calloc(data.size, sizeof(*cuts));
    for (size_t i = 0; i < data.size; i++) {
        cuts[i] = i + 1;
    }
    struct verdict verdict = parse_cut(data, cuts, data.size);
    free(cuts);
    return verdict;
}

static void check_every_split(struct bytes data) {
    struct verdict whole = parse_whole(data);
    struct verdict slow = parse_bytes(data);
    ck_assert_int_eq(whole.result, slow.result);
    ck_assert_str_eq(whole.text, slow.text);
    for (size_t cut = 1; cut < data.size; cut++) {
        size_t cuts[] = {cut, data.size};
        struct verdict split = parse_cut(data, cuts, 2);
        ck_assert_int_eq(split.result, whole.result);
        ck_assert_str_eq(split.text, whole.text);
        /* As early as can be: the first part decides exactly when it holds the deciding byte. */
        if (whole.result != HTTP_PARSE_PARTIAL) {
            ck_assert_int_eq(split.needed == cut, slow.needed <= cut);
        }
    }
}

#define HOST "Host: a\r\n"
#define END "\r\n"

struct good {
    const char *text;
    const char *head;
};

static const struct good good[] = {
    {"GET / HTTP/1.1\r\n" HOST END,
     "0 [GET] [/] [/] [] 1.1 keep=1 chunked=0 expect=0 length=-1 size=27 Host=<a>"},
    {"\r\nGET / HTTP/1.1\r\n" HOST END,
     "0 [GET] [/] [/] [] 1.1 keep=1 chunked=0 expect=0 length=-1 size=29 Host=<a>"},
    {"HEAD /a/b?c=d?e HTTP/1.0\r\n" END,
     "1 [HEAD] [/a/b?c=d?e] [/a/b] [c=d?e] 1.0 keep=0 chunked=0 expect=0 length=-1 size=28"},
    {"POST /x? HTTP/1.1\r\nhOsT:a:80\r\nCONTENT-length: 007\r\n" END,
     "2 [POST] [/x?] [/x] [] 1.1 keep=1 chunked=0 expect=0 length=7 size=53 hOsT=<a:80> "
     "CONTENT-length=<007>"},
    {"PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n" END,
     "3 [PUT] [/] [/] [] 1.1 keep=1 chunked=1 expect=0 length=-1 size=55 Host=<a> "
     "Transfer-Encoding=<Chunked>"},
    {"DELETE / HTTP/1.1\r\n" HOST "Connection: x, CLOSE ,y\r\n" END,
     "4 [DELETE] [/] [/] [] 1.1 keep=0 chunked=0 expect=0 length=-1 size=55 Host=<a> "
     "Connection=<x, CLOSE ,y>"},
    {"OPTIONS * HTTP/1.1\r\n" HOST END,
     "5 [OPTIONS] [*] [*] [] 1.1 keep=1 chunked=0 expect=0 length=-1 size=31 Host=<a>"},
    {"PATCH / HTTP/1.0\r\nConnection: ,keep-alive\r\n" END,
     "6 [PATCH] [/] [/] [] 1.0 keep=1 chunked=0 expect=0 length=-1 size=45 "
     "Connection=<,keep-alive>"},
    {"GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: close\r\n" END,
     "0 [GET] [/] [/] [] 1.1 keep=0 chunked=0 expect=0 length=-1 size=70 Host=<a> "
     "Connection=<keep-alive> Connection=<close>"},
    {"PURGE!# / HTTP/1.1\r\n" HOST END,
     "7 [PURGE!#] [/] [/] [] 1.1 keep=1 chunked=0 expect=0 length=-1 size=31 Host=<a>"},
    {"abcdefghijklmnopqrstuvwxyzABCDEF / HTTP/1.1\r\n" HOST END,
     "7 [abcdefghijklmnopqrstuvwxyzABCDEF] [/] [/] [] 1.1 keep=1 chunked=0 expect=0 length=-1 "
     "size=56 Host=<a>"},
    {"GET http://h.example:80/p?q HTTP/1.1\r\n" HOST END,
     "0 [GET] [/p?q] [/p] [q] 1.1 keep=1 chunked=0 expect=0 length=-1 size=49 Host=<a>"},
    {"GET HTTPS://h HTTP/1.1\r\n" HOST END,
     "0 [GET] [] [/] [] 1.1 keep=1 chunked=0 expect=0 length=-1 size=35 Host=<a>"},
    {"GET http://h?q HTTP/1.1\r\n" HOST END,
     "0 [GET] [?q] [/] [q] 1.1 keep=1 chunked=0 expect=0 length=-1 size=36 Host=<a>"},
    {"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n" END,
     "0 [GET] [/] [/] [] 1.1 keep=1 chunked=0 expect=0 length=-1 size=36 Host=<[::1]:8000>"},
    {"POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length:0\r\n" END,
     "2 [POST] [/] [/] [] 1.1 keep=1 chunked=0 expect=1 length=0 size=68 Host=<a> "
     "Expect=<100-Continue> Content-Length=<0>"},
    {"POST / HTTP/1.0\r\nExpect: 100-continue\r\n" END,
     "2 [POST] [/] [/] [] 1.0 keep=0 chunked=0 expect=0 length=-1 size=41 Expect=<100-continue>"},
    {"GET / HTTP/1.1\r\n" HOST "A: \t b\tc\xc3\xa9 d \t\r\nB:\r\nC:  \r\n" END,
     "0 [GET] [/] [/] [] 1.1 keep=1 chunked=0 expect=0 length=-1 size=53 Host=<a> "
     "A=<b\tc\xc3\xa9 d> B=<> C=<>"},
    {"GET / HTTP/1.1\r\n" HOST "Long: 0123456789\t0123456789abcdef0123456789\r\n" END,
     "0 [GET] [/] [/] [] 1.1 keep=1 chunked=0 expect=0 length=-1 size=72 Host=<a> "
     "Long=<0123456789\t0123456789abcdef0123456789>"},
};

START_TEST(test_good_heads) {
    struct verdict verdict = parse_whole(bytes_from_str(good[_i].text));
    ck_assert_int_eq(verdict.result, HTTP_PARSE_DONE);
    ck_assert_str_eq(verdict.text, good[_i].head);
    check_every_split(bytes_from_str(good[_i].text));
}
END_TEST

struct bad {
    int status;
    const char *text;
    size_t size; /* 0: strlen */
};

#define LINE "GET / HTTP/1.1\r\n"
#define WITH_NUL(text) text, sizeof(text) - 1

static const struct bad bad[] = {
    /* lines */
    {400, "GET / HTTP/1.1\n", 0},
    {400, "GET / HTTP/1.1\rX", 0},
    {400, LINE "Host: a\n", 0},
    {400, LINE "Host: a\rb\r\n", 0},
    {400, LINE HOST "\n", 0},
    {400, LINE HOST "\rX", 0},
    {400, LINE HOST "A: b\r\n c\r\n", 0},
    {400, LINE HOST "A: b\r\n\tc\r\n", 0},
    {400, LINE " Host: a\r\n", 0},
    {400, "\r\n\r\nGET", 0},
    {400, "\rG", 0},
    {400, "\nGET", 0},
    /* request line */
    {400, " GET / HTTP/1.1\r\n", 0},
    {400, "GET  / HTTP/1.1\r\n", 0},
    {400, "GET /  HTTP/1.1\r\n", 0},
    {400, "GET / HTTP/1.1 \r\n", 0},
    {400, "GET\t/ HTTP/1.1\r\n", 0},
    {400, "GET /\r\n", 0},
    {400, "GET\r\n", 0},
    {400, "G(T / HTTP/1.1\r\n", 0},
    {501, "abcdefghijklmnopqrstuvwxyzABCDEFG / HTTP/1.1\r\n", 0},
    {501, "abcdefghijklmnopqrstuvwxyzABCDEFG(", 0},
    {400, "GET a HTTP/1.1\r\n", 0},
    {400, "GET * HTTP/1.1\r\n", 0},
    {400, "OPTIONS ** HTTP/1.1\r\n", 0},
    {400, "CONNECT a:443 HTTP/1.1\r\n", 0},
    {400, "GET ftp://a/ HTTP/1.1\r\n", 0},
    {400, "GET http:/a/ HTTP/1.1\r\n", 0},
    {400, "GET http:///a HTTP/1.1\r\n", 0},
    {400, "GET http://u@a/ HTTP/1.1\r\n", 0},
    {400, "GET /a\x7f HTTP/1.1\r\n", 0},
    {400, "GET /\xc3\xa9 HTTP/1.1\r\n", 0},
    {400, "GET /a#b HTTP/1.1\r\n", 0},
    {400, "GET /\ta HTTP/1.1\r\n", 0},
    {400, WITH_NUL("GET /\0a HTTP/1.1\r\n")},
    {400, "GET / http/1.1\r\n", 0},
    {400, "GET / HTTP/1.1x\r\n", 0},
    {400, "GET / HTTP/1.10\r\n", 0},
    {400, "GET / HTTP/1,1\r\n", 0},
    {400, "GET / HTTP/x.1\r\n", 0},
    {400, "GET / HTTPS/1.1\r\n", 0},
    {505, "GET / HTTP/2.0\r\n", 0},
    {505, "GET / HTTP/0.9\r\n", 0},
    {505, "GET / HTTP/1.2\r\n", 0},
    /* fields */
    {400, LINE HOST ": b\r\n", 0},
    {400, LINE HOST "A : b\r\n", 0},
    {400, LINE HOST "A\t: b\r\n", 0},
    {400, LINE HOST "A b: c\r\n", 0},
    {400, LINE HOST "A\r\n", 0},
    {400, LINE HOST "A(: b\r\n", 0},
    {400, LINE HOST "A\xc3\xa9: b\r\n", 0},
    {400, LINE HOST "A: \x01\r\n", 0},
    {400, LINE HOST "A: 0123456789\x7f 0123456789\r\n", 0},
    {400, WITH_NUL(LINE HOST "A: b\0c\r\n")},
    {400, WITH_NUL(LINE HOST "A\0: b\r\n")},
    /* Host */
    {400, LINE END, 0},
    {400, LINE "A: b\r\n" END, 0},
    {400, LINE HOST HOST, 0},
    {400, "GET / HTTP/1.0\r\n" HOST HOST, 0},
    {400, LINE "Host:\r\n", 0},
    {400, LINE "Host: \r\n", 0},
    {400, LINE "Host: a b\r\n", 0},
    {400, LINE "Host: a,b\r\n", 0},
    {400, LINE "Host: a/b\r\n", 0},
    {400, LINE "Host: u@a\r\n", 0},
    {400, LINE "Host: a:8x\r\n", 0},
    {400, LINE "Host: :80\r\n", 0},
    {400, LINE "Host: [::1\r\n", 0},
    {400, LINE "Host: []\r\n", 0},
    {400, LINE "Host: [::1]a\r\n", 0},
    {400, "GET http://a/ HTTP/1.1\r\n" END, 0},
    /* framing */
    {400, LINE HOST "Content-Length: 5\r\nContent-Length: 5\r\n", 0},
    {400, LINE HOST "Content-Length: 5\r\nContent-Length: 6\r\n", 0},
    {400, LINE HOST "Content-Length: 5, 5\r\n", 0},
    {400, LINE HOST "Content-Length: +5\r\n", 0},
    {400, LINE HOST "Content-Length: -5\r\n", 0},
    {400, LINE HOST "Content-Length: 5 5\r\n", 0},
    {400, LINE HOST "Content-Length: 0x5\r\n", 0},
    {400, LINE HOST "Content-Length: 5.0\r\n", 0},
    {400, LINE HOST "Content-Length:\r\n", 0},
    {400, LINE HOST "Content-Length: 9223372036854775808\r\n", 0},
    {400, LINE HOST "Content-Length: 99999999999999999999999\r\n", 0},
    {400, LINE HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 0},
    {400, LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 0},
    {400, LINE HOST "Content-Length: 5\r\nTransfer-Encoding: gzip\r\n", 0},
    {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 0},
    {400, "POST / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n", 0},
    {501, LINE HOST "Transfer-Encoding: gzip\r\n", 0},
    {501, LINE HOST "Transfer-Encoding: gzip, chunked\r\n", 0},
    {501, LINE HOST "Transfer-Encoding: chunked, chunked\r\n", 0},
    {501, LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 0},
    {501, LINE HOST "Transfer-Encoding: chunked;a=b\r\n", 0},
    {501, LINE HOST "Transfer-Encoding: xchunked\r\n", 0},
    {501, LINE HOST "Transfer-Encoding: identity\r\n", 0},
    {501, LINE HOST "Transfer-Encoding:\r\n", 0},
    {417, LINE HOST "Expect: 200-ok\r\n", 0},
    {417, LINE HOST "Expect:\r\n", 0},
    /* not HTTP */
    {400, "\x16\x03\x01\x02", 0},
    {400, "SSH-2.0-OpenSSH\r\n", 0},
};

START_TEST(test_bad_heads) {
    size_t size = bad[_i].size != 0 ? bad[_i].size : strlen(bad[_i].text);
    struct bytes text = bytes_make(bad[_i].text, size);
    struct verdict verdict = parse_whole(text);
    ck_assert_int_eq(verdict.result, HTTP_PARSE_ERROR);
    ck_assert_int_eq(atoi(verdict.text), bad[_i].status);
    check_every_split(text);
}
END_TEST

/* What comes behind the first fault makes no difference. */
START_TEST(test_first_fault_counts) {
    static const char text[] = LINE HOST "Transfer-Encoding: gzip\r\nA\x01: b\r\n\r\n";
    ck_assert_int_eq(atoi(parse_whole(bytes_from_str(text)).text), 501);
    check_every_split(bytes_from_str(text));
}
END_TEST

START_TEST(test_incomplete_is_partial) {
    static const char text[] = "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n";
    for (size_t size = 1; size + 1 < sizeof(text); size++) {
        ck_assert_int_eq(parse_whole(bytes_make(text, size)).result,
                         size + 1 < sizeof(text) ? HTTP_PARSE_PARTIAL : HTTP_PARSE_DONE);
    }
}
END_TEST

/* "GET /aaa... HTTP/1.1" of exactly `line` bytes, then the rest. */
static struct bytes long_target(size_t line, const char *rest) {
    size_t size = line + strlen(rest);
    char *text = malloc(size + 1);
    memset(text, 'a', size);
    memcpy(text, "GET /", 5);
    memcpy(text + line - 9, " HTTP/1.1", 9);
    memcpy(text + line, rest, strlen(rest) + 1);
    return bytes_make(text, size);
}

static void check_at(struct bytes text, enum http_parse_result result, int status) {
    struct verdict whole = parse_whole(text);
    struct verdict slow = parse_bytes(text);
    ck_assert_int_eq(whole.result, result);
    ck_assert_int_eq(slow.result, result);
    if (result == HTTP_PARSE_ERROR) {
        ck_assert_int_eq(atoi(whole.text), status);
        ck_assert_str_eq(whole.text, slow.text);
    }
    free((char *)(uintptr_t)text.data);
}

START_TEST(test_request_line_limit) {
    check_at(long_target(HTTP_MAX_REQUEST_LINE, "\r\n" HOST END), HTTP_PARSE_DONE, 0);
    check_at(long_target(HTTP_MAX_REQUEST_LINE + 1, "\r\n" HOST END), HTTP_PARSE_ERROR, 414);
    check_at(long_target(HTTP_MAX_REQUEST_LINE + 5000, "\r\n" HOST END), HTTP_PARSE_ERROR, 414);
    /* The fault behind the limit is not looked at. */
    check_at(long_target(HTTP_MAX_REQUEST_LINE + 10, "\x01"), HTTP_PARSE_ERROR, 414);
}
END_TEST

/* A head of exactly `size` bytes, its last field filled up. */
static struct bytes long_head(size_t size) {
    static const char start[] = LINE HOST "Filler: ";
    char *text = malloc(size);
    memset(text, 'f', size);
    memcpy(text, start, sizeof(start) - 1);
    memcpy(text + size - 4, "\r\n\r\n", 4);
    return bytes_make(text, size);
}

START_TEST(test_head_limit) {
    check_at(long_head(HTTP_MAX_HEAD), HTTP_PARSE_DONE, 0);
    check_at(long_head(HTTP_MAX_HEAD + 1), HTTP_PARSE_ERROR, 431);
    check_at(long_head(3 * HTTP_MAX_HEAD), HTTP_PARSE_ERROR, 431);
}
END_TEST

static struct bytes many_fields(int count) {
    char *text = malloc(4096);
    size_t at = (size_t)snprintf(text, 4096, LINE HOST);
    for (int i = 1; i < count; i++) {
        at += (size_t)snprintf(text + at, 4096 - at, "F%d: %d\r\n", i, i);
    }
    at += (size_t)snprintf(text + at, 4096 - at, END);
    return bytes_make(text, at);
}

START_TEST(test_field_limit) {
    check_at(many_fields(HTTP_MAX_FIELDS), HTTP_PARSE_DONE, 0);
    check_at(many_fields(HTTP_MAX_FIELDS + 1), HTTP_PARSE_ERROR, 431);
}
END_TEST

START_TEST(test_find) {
    static const char text[] = LINE HOST "Accept: x\r\naccept: y\r\n" END;
    static struct http_head head;
    struct http_parser parser;
    struct http_fault fault;
    http_parser_reset(&parser);
    ck_assert_int_eq(http_parse_head(&parser, bytes_from_str(text), &head, &fault),
                     HTTP_PARSE_DONE);
    ck_assert(bytes_equal_str(http_head_find(&head, "ACCEPT"), "x"));
    ck_assert_ptr_null(http_head_find(&head, "Accep").data);
    /* Bytes behind the head are not its own. */
    http_parser_reset(&parser);
    ck_assert_int_eq(
        http_parse_head(&parser, BYTES_LITERAL(LINE HOST END "\x01\x02"), &head, &fault),
        HTTP_PARSE_DONE);
    ck_assert_uint_eq(head.size, strlen(LINE HOST END));
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("http_parse");
    TCase *tcase = tcase_create("head");
    tcase_add_loop_test(tcase, test_good_heads, 0, sizeof(good) / sizeof(good[0]));
    tcase_add_loop_test(tcase, test_bad_heads, 0, sizeof(bad) / sizeof(bad[0]));
    tcase_add_test(tcase, test_first_fault_counts);
    tcase_add_test(tcase, test_incomplete_is_partial);
    tcase_add_test(tcase, test_request_line_limit);
    tcase_add_test(tcase, test_head_limit);
    tcase_add_test(tcase, test_field_limit);
    tcase_add_test(tcase, test_find);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
