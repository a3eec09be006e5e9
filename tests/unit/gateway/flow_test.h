/* flow_test: a gateway on a real region and store, a sink that remembers what it heard, and a clock
 * turned by hand; for the tests of flow. The includer says with which configuration and which
 * providers:
 *
 *     static const char flow_test_conf[] = "...";
 *     #define flow_test_ops provider_ops_for
 */
#ifndef OPTIROUTE_TESTS_FLOW_TEST_H
#define OPTIROUTE_TESTS_FLOW_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../../src/shm/region_layout.h"
#include "base/clock.h"
#include "fake_timers.h"
#include "gateway/breaker.h"
#include "gateway/cost.h"
#include "gateway/flow.h"
#include "shm/word.h"
#include "upstream/outcome.h"

static struct conf_errors errors;
static struct conf *conf;
static struct region *region;
static struct labels labels;
static struct fake_timers fake;
static struct gateway *gateway;
static int log_fd; /* a memory file behind the access log */

/* What the one sink of a test heard. */
static struct {
    int heads, pieces, dones, failed;
    char text[8192];
    struct answer answer;
    char provider[64], reason[128], model[64];
    int status, retry_after_s;
    char code[64];
} heard;

static inline void on_head(struct sink *sink, const struct answer *answer) {
    (void)sink;
    (void)answer;
    heard.heads++;
}
static inline void on_piece(struct sink *sink, struct bytes piece) {
    (void)sink;
    (void)piece;
    heard.pieces++;
}
static inline void copy(char *out, size_t size, struct bytes from) {
    snprintf(out, size, "%.*s", (int)from.size, from.data != NULL ? from.data : "");
}
static inline void on_done(struct sink *sink, const struct answer *answer) {
    (void)sink;
    heard.dones++;
    heard.answer = *answer;
    copy(heard.text, sizeof(heard.text), answer->text);
    copy(heard.provider, sizeof(heard.provider), answer->provider);
    copy(heard.reason, sizeof(heard.reason), answer->reason);
    copy(heard.model, sizeof(heard.model), answer->model);
}
static inline void on_failed(struct sink *sink, const struct failure *failure) {
    (void)sink;
    heard.failed++;
    heard.status = failure->status;
    heard.retry_after_s = failure->retry_after_s;
    snprintf(heard.code, sizeof(heard.code), "%s", failure->code);
}
static struct sink sink = {on_head, on_piece, on_done, on_failed};

static inline void setup(void) {
    char error[256];
    conf_errors_init(&errors);
    conf = conf_load_text("test.yaml", bytes_from_str(flow_test_conf), &errors);
    if (conf == NULL) {
        ck_abort_msg("%.*s", (int)errors.lines.size, errors.lines.data);
    }
    struct region_params params = {.store_bytes = conf->cache.size,
                                   .counter_cells = metrics_cells(),
                                   .counter_layout = metrics_layout_hash()};
    region = region_create(&params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    ck_assert_int_eq(labels_bind(&labels, conf, region, error, sizeof(error)), 0);
    fake = (struct fake_timers){.now_ns = 5 * NS_PER_S};
    char log_path[64];
    log_fd = memfd_create("access_log", MFD_CLOEXEC);
    ck_assert_int_ne(log_fd, -1);
    snprintf(log_path, sizeof(log_path), "/proc/self/fd/%d", log_fd);
    struct gateway_env env = {.conf = conf,
                              .labels = &labels,
                              .region = region,
                              .slot = board_claim(region, BOARD_WORKER, 1),
                              .store = store_open(region),
                              .provider_ops = flow_test_ops,
                              .metrics = {counters_row(region, 0)},
                              .access_log = access_log_open(log_path),
                              .timers = fake_timers_make(&fake)};
    breaker_bind(region, conf, &labels);
    gateway = gateway_new(&env);
    ck_assert_ptr_nonnull(gateway);
    memset(&heard, 0, sizeof(heard));
}

static inline void teardown(void) {
    ck_assert_uint_eq(gateway_flows(gateway), 0);
    ck_assert_ptr_null(fake.first);
    struct gateway_env env = *gateway_env(gateway);
    gateway_free(gateway);
    store_close(env.store);
    access_log_close(env.access_log);
    close(log_fd);
    region_destroy(region);
    conf_free(conf);
    conf_errors_fini(&errors);
}

struct ask {
    const char *to, *prompt;
    enum cache_mode cache;
    bool stream;
    const char *model;
};

static inline struct flow *start(struct ask ask) {
    struct flow *flow = flow_new(gateway);
    struct flow_request *request = arena_calloc(flow_arena(flow), 1, sizeof(*request));
    char *prompt = strdup(ask.prompt); /* gone when flow_start returns, as a request body is */
    request->chat =
        (struct chat){.prompt = bytes_from_str(prompt), .max_tokens = 100, .stream = ask.stream};
    request->route.model = bytes_from_str(ask.model);
    request->route.route = conf_find_route(conf, bytes_from_str(ask.to));
    request->route.provider = conf_find_provider(conf, bytes_from_str(ask.to));
    request->canonical = bytes_from_str(prompt);
    request->cache = ask.cache;
    request->max_age_ms = INT64_MAX;
    request->started_ns = request->parsed_ns = fake.now_ns;
    flow_start(flow, request, &sink);
    memset(prompt, '#', strlen(prompt));
    free(prompt);
    return flow;
}

static inline void run(struct ask ask) {
    start(ask);
    while (fake_timers_step(&fake)) {
    }
}

/* The access line of the one request so far. */
static inline const char *line(void) {
    static char lines[2048];
    access_log_flush(gateway_env(gateway)->access_log);
    ssize_t size = pread(log_fd, lines, sizeof(lines) - 1, 0);
    ck_assert_int_gt(size, 0);
    lines[size] = '\0';
    ck_assert_ptr_eq(strchr(lines, '\n'), lines + size - 1);
    return lines;
}
#define ck_assert_line_has(part) \
    ck_assert_msg(strstr(line(), part) != NULL, "no %s in: %s", part, line())

static inline uint64_t total(enum metric_id id, unsigned i, unsigned j, unsigned k) {
    return metric_total(region, id, i, j, k);
}
static inline unsigned pair_of(const char *provider) {
    return labels.pair[conf_find_provider(conf, bytes_from_str(provider))][0];
}
static inline uint64_t event(enum metric_cache_event what) {
    return total(METRIC_CACHE_EVENTS, what, 0, 0);
}

#endif
