/* Access log: what a line says, in which order lines come, what happens when they do not fit. */
#include "config.h"

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json_read.h"
#include "watch/access_log.h"

static char directory[] = "/tmp/optiroute-access-XXXXXX";
static char path[PATH_MAX];
static char rotated[PATH_MAX];

static void set_up(void) {
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/access.log", directory);
    snprintf(rotated, sizeof(rotated), "%s/access.log.1", directory);
}

static void tear_down(void) {
    unlink(path);
    unlink(rotated);
    rmdir(directory);
}

/* The file's bytes, terminated; the caller frees. */
static char *slurp(const char *name, size_t *size) {
    struct stat status;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ne(fd, -1);
    ck_assert_int_eq(fstat(fd, &status), 0);
    char *text = malloc((size_t)status.st_size + 1);
    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(read(fd, text, (size_t)status.st_size), status.st_size);
    close(fd);
    text[status.st_size] = '\0';
    if (size != NULL) {
        *size = (size_t)status.st_size;
    }
    return text;
}

static struct access_record full_record(void) {
    return (struct access_record){
        .wall_ns = 1769860800123999999, /* 2026-01-31T12:00:00.123 */
        .request_id = BYTES_LITERAL("req-1"),
        .tenant = BYTES_LITERAL("default"),
        .client = BYTES_LITERAL("127.0.0.1"),
        .method = BYTES_LITERAL("POST"),
        .path = BYTES_LITERAL("/generate"),
        .status = 200,
        .route = BYTES_LITERAL("auto"),
        .route_reason = BYTES_LITERAL("rule:code"),
        .provider = BYTES_LITERAL("local"),
        .model = BYTES_LITERAL("llama"),
        .cache = "miss",
        .outcome = "ok",
        .attempts = 3,
        .has_usage = true,
        .prompt_tokens = 12,
        .completion_tokens = 345,
        .cached_tokens = 5,
        .has_cost = true,
        .cost_nusd = 2500,
        .saved_nusd = 1234567890123,
        .upstream_ns = 500000000,
        .overhead_ns = 42,
        .duration_ns = 500000042,
    };
}

START_TEST(line_is_exact) {
    struct access_record bare = {.wall_ns = 0,
                                 .request_id = BYTES_LITERAL("x"),
                                 .tenant = BYTES_LITERAL("default"),
                                 .method = BYTES_LITERAL("other"),
                                 .path = BYTES_LITERAL("other"),
                                 .status = 400,
                                 .estimated = true};
    struct access_record full = full_record();
    struct access_log *log = access_log_open(path);
    ck_assert_ptr_nonnull(log);
    access_log_write(log, &full);
    access_log_write(log, &bare);
    access_log_close(log);
    char *text = slurp(path, NULL);
    ck_assert_str_eq(
        text,
        "{\"time\":\"2026-01-31T12:00:00.123Z\",\"request_id\":\"req-1\",\"tenant\":\"default\","
        "\"client\":\"127.0.0.1\",\"method\":\"POST\",\"path\":\"/generate\",\"status\":200,"
        "\"route\":\"auto\",\"reason\":\"rule:code\",\"provider\":\"local\",\"model\":\"llama\","
        "\"cache\":\"miss\",\"outcome\":\"ok\",\"attempts\":3,\"prompt_tokens\":12,"
        "\"completion_tokens\":345,\"cached_tokens\":5,\"estimated\":false,\"cost_usd\":0."
        "000002500,\"saved_usd\":1234.567890123,"
        "\"upstream_s\":0.500000000,\"overhead_s\":0.000000042,\"duration_s\":0.500000042}\n"
        "{\"time\":\"1970-01-01T00:00:00.000Z\",\"request_id\":\"x\",\"tenant\":\"default\","
        "\"client\":null,\"method\":\"other\",\"path\":\"other\",\"status\":400,"
        "\"route\":null,\"reason\":null,\"provider\":null,\"model\":null,"
        "\"cache\":null,\"outcome\":null,\"attempts\":0,\"prompt_tokens\":null,"
        "\"completion_tokens\":null,\"cached_tokens\":null,\"estimated\":true,\"cost_usd\":null,"
        "\"saved_usd\":0.000000000,"
        "\"upstream_s\":0.000000000,\"overhead_s\":0.000000000,\"duration_s\":0.000000000}\n");
    free(text);
}
END_TEST

START_TEST(time_follows_the_clock) {
    static const struct {
        int64_t wall_ns;
        const char *time;
    } cases[] = {
        {1709251199999999999, "2024-02-29T23:59:59.999Z"},
        {1709251200000000000, "2024-03-01T00:00:00.000Z"},
        {1709251199000000000, "2024-02-29T23:59:59.000Z"}, /* a request that came earlier */
        {4102444800007000000, "2100-01-01T00:00:00.007Z"},
    };
    struct access_log *log = access_log_open(path);
    struct access_record record = full_record();
    for (unsigned i = 0; i < 4; i++) {
        record.wall_ns = cases[i].wall_ns;
        access_log_write(log, &record);
    }
    access_log_close(log);
    char *text = slurp(path, NULL);
    char *line = text;
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(strncmp(line + strlen("{\"time\":\""), cases[i].time, 24), 0);
        line = strchr(line, '\n') + 1;
    }
    free(text);
}
END_TEST

/* Every line is JSON by our own strict reader, whatever the names contain, and none is missing. */
START_TEST(lines_parse_and_keep_order) {
    enum { LINES = 3000 }; /* several buffers */
    struct access_log *log = access_log_open(path);
    struct access_record record = full_record();
    record.route_reason = BYTES_LITERAL("rule:\"quo\\te\"\n\x01\xff\xc3\xa9");
    for (int i = 0; i < LINES; i++) {
        char id[32];
        record.request_id = bytes_make(id, (size_t)snprintf(id, sizeof(id), "id-%d", i));
        record.cost_nusd = i;
        access_log_write(log, &record);
    }
    access_log_close(log);
    size_t size;
    char *text = slurp(path, &size);
    struct json_reader reader;
    struct json_fault fault;
    json_reader_init(&reader);
    const char *at = text;
    for (int i = 0; i < LINES; i++) {
        char id[32];
        const char *end = strchr(at, '\n');
        ck_assert_ptr_nonnull(end);
        ck_assert_int_eq(json_read(&reader, bytes_make(at, (size_t)(end - at)), &fault), 0);
        snprintf(id, sizeof(id), "id-%d", i);
        ck_assert(
            json_string_equals(&reader, json_get(&reader, 0, "request_id"), bytes_from_str(id)));
        ck_assert(json_string_equals(&reader, json_get(&reader, 0, "reason"),
                                     bytes_from_str("rule:\"quo\\te\"\n\x01\xef\xbf\xbd\xc3\xa9")));
        double cost;
        ck_assert(json_double(&reader, json_get(&reader, 0, "cost_usd"), &cost));
        ck_assert_double_eq_tol(cost, i / 1e9, 1e-12);
        at = end + 1;
    }
    ck_assert_ptr_eq(at, text + size);
    json_reader_fini(&reader);
    free(text);
}
END_TEST

START_TEST(buffered_until_flush) {
    struct stat status;
    struct access_log *log = access_log_open(path);
    struct access_record record = full_record();
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777 & ~0640u, 0);
    access_log_write(log, &record);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_eq(status.st_size, 0);
    access_log_flush(log);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_gt(status.st_size, 0);
    /* Without a flush a full buffer is written, and what is written ends with a line. */
    for (int i = 0; i < 300; i++) {
        access_log_write(log, &record);
    }
    size_t size;
    char *text = slurp(path, &size);
    ck_assert_uint_ge(size, 64 * 1024);
    ck_assert_int_eq(text[size - 1], '\n');
    free(text);
    access_log_close(log);
}
END_TEST

START_TEST(reopen_after_rename) {
    struct access_log *log = access_log_open(path);
    struct access_record record = full_record();
    access_log_write(log, &record);
    ck_assert_int_eq(rename(path, rotated), 0);
    record.status = 503;
    access_log_write(log, &record); /* still the old file's */
    ck_assert_int_eq(access_log_reopen(log), 0);
    record.status = 404;
    access_log_write(log, &record);
    access_log_close(log);
    char *old = slurp(rotated, NULL);
    char *fresh = slurp(path, NULL);
    ck_assert_ptr_nonnull(strstr(old, "\"status\":200"));
    ck_assert_ptr_nonnull(strstr(old, "\"status\":503"));
    ck_assert_ptr_null(strstr(old, "\"status\":404"));
    ck_assert_ptr_nonnull(strstr(fresh, "\"status\":404"));
    ck_assert_ptr_null(strstr(fresh, "\"status\":503"));
    free(old);
    free(fresh);
}
END_TEST

START_TEST(failed_reopen_keeps_the_old_file) {
    struct access_log *log = access_log_open(path);
    struct access_record record = full_record();
    ck_assert_int_eq(rename(path, rotated), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(access_log_reopen(log), -1);
    ck_assert_int_eq(errno, EISDIR);
    access_log_write(log, &record);
    access_log_close(log);
    ck_assert_int_eq(rmdir(path), 0);
    char *old = slurp(rotated, NULL);
    ck_assert_ptr_nonnull(strstr(old, "\"status\":200"));
    free(old);
}
END_TEST

START_TEST(full_disk_is_counted) {
    struct access_log *log = access_log_open("/dev/full");
    struct access_record record = full_record();
    ck_assert_ptr_nonnull(log);
    for (int i = 0; i < 7; i++) {
        access_log_write(log, &record);
    }
    ck_assert_uint_eq(access_log_dropped(log), 0);
    access_log_flush(log);
    ck_assert_uint_eq(access_log_dropped(log), 7);
    access_log_flush(log);
    ck_assert_uint_eq(access_log_dropped(log), 7);
    for (int i = 0; i < 1000; i++) {
        access_log_write(log, &record);
    }
    ck_assert_int_eq(access_log_reopen(log), 0);
    ck_assert_uint_eq(access_log_dropped(log), 1007);
    access_log_close(log);
}
END_TEST

static void limit_file_size(size_t size) {
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A disk that is full in the middle of the third line, and has room again later. */
START_TEST(torn_line_is_mended) {
    struct access_record record = full_record();
    struct access_log *log = access_log_open(path);
    struct stat status;
    signal(SIGXFSZ, SIG_IGN);
    access_log_write(log, &record);
    access_log_flush(log);
    ck_assert_int_eq(stat(path, &status), 0);
    size_t line = (size_t)status.st_size;

    limit_file_size(2 * line + line / 2);
    for (int i = 0; i < 3; i++) {
        access_log_write(log, &record); /* one fits, one is cut, one is lost */
    }
    access_log_flush(log);
    ck_assert_uint_eq(access_log_dropped(log), 2);
    access_log_write(log, &record); /* still full: lost, and the newline is not counted */
    access_log_flush(log);
    ck_assert_uint_eq(access_log_dropped(log), 3);
    ck_assert_int_eq(access_log_reopen(log), 0); /* the same file: still torn */

    limit_file_size(1 << 20);
    access_log_write(log, &record);
    access_log_write(log, &record);
    access_log_close(log);
    size_t size;
    char *text = slurp(path, &size);
    ck_assert_uint_eq(size, 2 * line + line / 2 + 1 + 2 * line);
    const char *torn = text + 2 * line;
    const char *mended = torn + line / 2 + 1;
    ck_assert_int_eq(memcmp(text, text + line, line), 0);
    ck_assert_int_eq(memcmp(text, torn, line / 2), 0);
    ck_assert_int_eq(mended[-1], '\n');
    ck_assert_int_eq(memcmp(mended, text, line), 0);
    ck_assert_int_eq(memcmp(mended + line, text, line), 0);
    free(text);
}
END_TEST

/* A cut between two lines leaves nothing to mend. */
START_TEST(cut_between_lines) {
    struct access_record record = full_record();
    struct access_log *log = access_log_open(path);
    struct stat status;
    signal(SIGXFSZ, SIG_IGN);
    access_log_write(log, &record);
    access_log_flush(log);
    ck_assert_int_eq(stat(path, &status), 0);
    limit_file_size(2 * (size_t)status.st_size);
    access_log_write(log, &record);
    access_log_write(log, &record);
    access_log_flush(log);
    ck_assert_uint_eq(access_log_dropped(log), 1);
    limit_file_size(1 << 20);
    access_log_write(log, &record);
    access_log_close(log);
    size_t size;
    char *text = slurp(path, &size);
    ck_assert_uint_eq(size, 3 * (size_t)status.st_size);
    free(text);
}
END_TEST

START_TEST(line_without_room_is_dropped) {
    enum { HUGE_SIZE = 100 * 1024 };
    char *name = malloc(HUGE_SIZE);
    ck_assert_ptr_nonnull(name);
    memset(name, 'm', HUGE_SIZE);
    struct access_record record = full_record();
    struct access_record huge = full_record();
    huge.model = bytes_make(name, HUGE_SIZE);
    struct access_log *log = access_log_open(path);
    access_log_write(log, &record);
    access_log_write(log, &huge);
    access_log_write(log, &record);
    ck_assert_uint_eq(access_log_dropped(log), 1);
    access_log_close(log);
    size_t size;
    char *text = slurp(path, &size);
    ck_assert_ptr_null(strstr(text, "mmm"));
    ck_assert_uint_eq(size % 2, 0);
    ck_assert_int_eq(memcmp(text, text + size / 2, size / 2), 0);
    free(text);
    free(name);
}
END_TEST

START_TEST(off_writes_nothing) {
    struct access_record record = full_record();
    struct access_log *log = access_log_open("");
    ck_assert_ptr_nonnull(log);
    ck_assert(!access_log_is_on(log));
    access_log_write(log, &record);
    access_log_flush(log);
    ck_assert_int_eq(access_log_reopen(log), 0);
    ck_assert_uint_eq(access_log_dropped(log), 0);
    access_log_close(log);
    access_log_close(NULL);
}
END_TEST

/* A worker hung in open for ever, at its start or at SIGUSR1. */
START_TEST(a_fifo_without_a_reader_is_an_error) {
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_ptr_null(access_log_open(path));
    ck_assert_int_eq(errno, ENXIO);
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ne(reader, -1);
    struct access_log *log = access_log_open(path);
    ck_assert_ptr_nonnull(log);
    struct access_record record = full_record();
    access_log_write(log, &record);
    access_log_close(log);
    char byte = '\0';
    ck_assert_int_eq(read(reader, &byte, 1), 1);
    ck_assert_int_eq(byte, '{');
    close(reader);
}
END_TEST

START_TEST(unusable_path_is_an_error) {
    char missing[PATH_MAX + 16];
    snprintf(missing, sizeof(missing), "%s/none/access.log", directory);
    ck_assert_ptr_null(access_log_open(missing));
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("access_log");
    TCase *tcase = tcase_create("lines");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, line_is_exact);
    tcase_add_test(tcase, time_follows_the_clock);
    tcase_add_test(tcase, lines_parse_and_keep_order);
    tcase_add_test(tcase, buffered_until_flush);
    tcase_add_test(tcase, reopen_after_rename);
    tcase_add_test(tcase, failed_reopen_keeps_the_old_file);
    tcase_add_test(tcase, full_disk_is_counted);
    tcase_add_test(tcase, torn_line_is_mended);
    tcase_add_test(tcase, cut_between_lines);
    tcase_add_test(tcase, line_without_room_is_dropped);
    tcase_add_test(tcase, off_writes_nothing);
    tcase_add_test(tcase, a_fifo_without_a_reader_is_an_error);
    tcase_add_test(tcase, unusable_path_is_an_error);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
