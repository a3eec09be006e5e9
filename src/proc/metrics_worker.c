/* metrics_worker: GET /metrics on an address of its own, and nothing else. See proc/worker.h.
 *
 * It reads the region without locks, so it answers however busy or stuck the workers are, and who
 * holds connections to it without asking is pushed out by who asks. It does not count its own
 * requests.
 */
#include "config.h"

#include "base/clock.h"
#include "base/log.h"
#include "gateway/breaker.h"
#include "proc/worker.h"
#include "watch/prometheus.h"

#define MAX_CONNECTIONS 192 /* more are answered once each */
#define MAX_BODY_BYTES 4096 /* nobody has a reason to send one */
#define MAX_OUTPUT_BYTES ((int64_t)256 << 20)
#define BODY_MS 10000
#define ABOVE_MS 1000
#define EXPOSITION_LIMIT ((size_t)16 * 1024 * 1024)

struct metrics_worker {
    struct child child; /* first: hooks get the child and know its worker */
    struct store *store;
    struct buf text; /* the last exposition; its memory is used again */
};

static const struct bytes allow_fields = BYTES_LITERAL("Allow: GET, HEAD\r\n");
static const struct bytes no_fields = BYTES_LITERAL("");

static void reply_text(struct http_exchange *exchange, int status, struct bytes fields,
                       const char *text) {
    struct http_reply reply = {.status = status,
                               .content_type = "text/plain; charset=utf-8",
                               .fields = fields,
                               .body = bytes_from_str(text)};
    http_reply(exchange, &reply);
}

static void reply_metrics(struct metrics_worker *worker, struct http_exchange *exchange) {
    const struct child_env *env = worker->child.env;
    struct prometheus_source source = {.region = env->region,
                                       .store = worker->store,
                                       .version = PACKAGE_VERSION,
                                       .master = env->master,
                                       .circuit = breaker_state};
    buf_clear(&worker->text);
    prometheus_render(&source, &worker->text);
    if (worker->text.failed) {
        reply_text(exchange, 503, no_fields, "no memory\n");
        return;
    }
    struct http_reply reply = {.status = 200,
                               .content_type = PROMETHEUS_CONTENT_TYPE,
                               .fields = no_fields,
                               .body = buf_bytes(&worker->text)};
    http_reply(exchange, &reply);
}

static void on_request(void *context, struct http_exchange *exchange, const struct http_head *head,
                       struct bytes body) {
    (void)body;
    if (!bytes_equal_str(head->path, "/metrics")) {
        reply_text(exchange, 404, no_fields, "only /metrics is here\n");
    } else if (head->method != HTTP_GET && head->method != HTTP_HEAD) {
        reply_text(exchange, 405, allow_fields, "GET and HEAD only\n");
    } else {
        reply_metrics(context, exchange);
    }
}

static void on_fault(void *context, struct http_exchange *exchange, const struct http_head *head,
                     const struct http_fault *fault) {
    (void)context;
    (void)head;
    reply_text(exchange, fault->status, no_fields, fault->reason);
}

/* Every request was answered inside its callback: there is nothing to stop. */
static void on_aborted(void *context, struct http_exchange *exchange, enum http_abort why) {
    (void)why;
    (void)context;
    (void)exchange;
}

static void on_writable(void *context, struct http_exchange *exchange) {
    (void)context;
    (void)exchange;
}

static const struct http_callbacks callbacks = {
    .request = on_request, .fault = on_fault, .aborted = on_aborted, .writable = on_writable};

static void on_tick(struct child *child) {
    child_count_dropped(child, log_dropped());
}

static const struct child_hooks hooks = {.tick = on_tick};

static int build(struct metrics_worker *worker, const struct child_env *env) {
    child_start(env);
    if (child_confine(env) == -1 || child_open(&worker->child, env, &hooks) == -1) {
        return 1;
    }
    struct capacity capacity = capacity_of(MAX_CONNECTIONS, 1, system_file_limit());
    struct http_limits limits = {
        .max_output_bytes = MAX_OUTPUT_BYTES,
        .max_body_bytes = MAX_BODY_BYTES,
        .max_input_bytes = (MAX_CONNECTIONS + capacity.above) * MAX_BODY_BYTES,
        .max_above = capacity.above,
        .above_ms = ABOVE_MS,
        .busy_answer = BYTES_LITERAL("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                                     "Content-Length: 0\r\nConnection: close\r\n\r\n"),
        .header_timeout_ms = env->conf->limits.header_timeout_ms,
        .keepalive_ms = env->conf->limits.keepalive_ms,
        .body_idle_ms = BODY_MS,
        .body_per_mib_ms = BODY_MS,
        .send_stall_ms = BODY_MS,
        .stream_buffer_bytes = MAX_BODY_BYTES, /* no streams here */
    };
    worker->store = store_open(env->region);
    struct http_server *server =
        worker->store != NULL ? http_server_new(worker->child.base, &limits, &callbacks, worker)
                              : NULL;
    if (server == NULL) {
        log_error("no memory");
        return 1;
    }
    return child_serve(&worker->child, server, NULL, &capacity) == -1 ? 1 : 0;
}

int metrics_worker_main(const struct child_env *env) {
    struct metrics_worker worker = {.child = {.signal_fd = -1}};
    buf_init(&worker.text, EXPOSITION_LIMIT);
    int status = build(&worker, env);
    if (status == 0) {
        child_run(&worker.child);
    }
    child_hang_up(&worker.child);
    buf_free(&worker.text);
    if (worker.store != NULL) {
        store_close(worker.store);
    }
    int end = child_close(&worker.child);
    return status != 0 ? status : end;
}
