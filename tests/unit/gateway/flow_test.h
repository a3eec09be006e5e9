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

#include "../../../src/gateway/gateway_private.h"
#include "../../../src/shm/region_layout.h"
#include "base/clock.h"
#include "fake_timers.h"
#include "gateway/breaker.h"
#include "gateway/cost.h"
#include "gateway/flow.h"
#include "shm/word.h"
#include "still_clock.h"
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
    int heads, events, pieces, pings, flushes, dones, failed; /* pieces: events with content */
    char order[8192]; /* a letter each: h head, e event, c one with content, p, f, d, x: failed */
    char told[65536]; /* the data of all events, a line each */
    char said[8192];  /* and their texts */
    char text[8192], json[16384];
    char last[1024]; /* the form's own last event: its name, a colon, its data */
    struct answer answer;
    char provider[64], reason[128], model[64];
    char head_provider[64];
    enum answer_cache head_cache;
    int status, retry_after_s;
    char code[64], param[64];
} heard;
static bool sink_is_slow;    /* what its flush says */
static bool sink_keeps_data; /* of events; off for what is large */

static inline void copy(char *out, size_t size, struct bytes from) {
    ck_assert_uint_lt(from.size, size);
    snprintf(out, size, "%.*s", (int)from.size, from.data != NULL ? from.data : "");
}
static inline void append(char *out, size_t size, struct bytes more) {
    size_t used = strlen(out);
    copy(out + used, size - used, more);
}
static inline void note(const char *letter) {
    append(heard.order, sizeof(heard.order), bytes_from_str(letter));
}
static inline void on_head(struct sink *sink, const struct answer *answer) {
    (void)sink;
    heard.heads++;
    heard.head_cache = answer->cache;
    copy(heard.head_provider, sizeof(heard.head_provider), answer->provider);
    note("h");
}
static inline void on_event(struct sink *sink, const struct chat_event *event) {
    (void)sink;
    ck_assert(!event->is_last); /* that comes with done */
    heard.events++;
    heard.pieces += event->is_content;
    note(event->is_content ? "c" : "e");
    if (sink_keeps_data) {
        append(heard.told, sizeof(heard.told), event->data);
        append(heard.told, sizeof(heard.told), BYTES_LITERAL("\n"));
        append(heard.said, sizeof(heard.said), event->text);
    }
}
static inline void on_ping(struct sink *sink) {
    (void)sink;
    heard.pings++;
    note("p");
}
static inline enum sink_fill on_flush(struct sink *sink) {
    (void)sink;
    heard.flushes++;
    note("f");
    return sink_is_slow ? SINK_FULL : SINK_HAS_ROOM;
}
static inline void on_done(struct sink *sink, const struct answer *answer) {
    (void)sink;
    heard.dones++;
    note("d");
    heard.answer = *answer;
    copy(heard.text, sizeof(heard.text), answer->text);
    copy(heard.json, sizeof(heard.json), answer->json);
    copy(heard.provider, sizeof(heard.provider), answer->provider);
    copy(heard.reason, sizeof(heard.reason), answer->reason);
    copy(heard.model, sizeof(heard.model), answer->model);
    snprintf(heard.last, sizeof(heard.last), "%.*s:%.*s", (int)answer->last.name.size,
             answer->last.name.data, (int)answer->last.data.size, answer->last.data.data);
}
static inline void on_failed(struct sink *sink, const struct failure *failure) {
    (void)sink;
    heard.failed++;
    note("x");
    heard.status = failure->status;
    heard.retry_after_s = failure->retry_after_s;
    snprintf(heard.code, sizeof(heard.code), "%s", failure->code);
    snprintf(heard.param, sizeof(heard.param), "%s", failure->param != NULL ? failure->param : "");
}
static struct sink sink = {on_head, on_event, on_ping, on_flush, on_done, on_failed};
/* Who asks next, and of which gateway; NULL: `sink` of `gateway`. */
static struct sink *asking_sink;
static struct gateway *asked_gateway;

/* What was heard so far is no matter any more. */
static inline void forget(void) {
    memset(&heard, 0, sizeof(heard));
}

static inline void setup(void) {
    char error[256];
    stop_the_clock();
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
    forget();
    sink_is_slow = false;
    sink_keeps_data = true;
}

static inline void teardown(void) {
    ck_assert_uint_eq(gateway_flows(gateway), 0);
    ck_assert_uint_eq(gateway->kept_bytes, 0); /* whatever happened to the streams */
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

#define ENOUGH_TOKENS 200 /* no simulated answer is as long */

/* As /v1 asks: `how` has what a request says beside the prompt. */
static inline struct flow *start_chat(struct ask ask, struct chat how) {
    struct flow *flow = flow_new(asked_gateway != NULL ? asked_gateway : gateway);
    struct flow_request *request = arena_calloc(flow_arena(flow), 1, sizeof(*request));
    char *prompt = strdup(ask.prompt); /* gone when flow_start returns, as a request body is */
    request->chat = how;
    request->chat.prompt = request->chat.body = bytes_from_str(prompt);
    request->chat.text_size = strlen(prompt);
    request->chat.max_tokens = how.max_tokens != 0 ? how.max_tokens : ENOUGH_TOKENS;
    request->chat.wants_stream = ask.stream;
    request->route.model = bytes_from_str(ask.model);
    request->route.route = conf_find_route(conf, bytes_from_str(ask.to));
    request->route.provider = conf_find_provider(conf, bytes_from_str(ask.to));
    request->canonical = bytes_from_str(prompt);
    request->cache = ask.cache;
    request->max_age_ms = INT64_MAX;
    request->started_ns = request->parsed_ns = fake.now_ns;
    flow_start(flow, request, asking_sink != NULL ? asking_sink : &sink);
    memset(prompt, '#', strlen(prompt));
    free(prompt);
    return flow;
}

/* As /generate asks. */
static inline struct flow *start(struct ask ask) {
    return start_chat(ask, (struct chat){.form = FORM_CHAT, .wants_text = true});
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
static inline unsigned label_of(const char *provider) {
    return labels.provider[conf_find_provider(conf, bytes_from_str(provider))];
}
static inline uint64_t provider_total(enum metric_id id, const char *provider, unsigned j) {
    return total(id, label_of(provider), j, 0);
}
static inline uint64_t event(enum metric_cache_event what) {
    return total(METRIC_CACHE_EVENTS, what, 0, 0);
}

#endif
