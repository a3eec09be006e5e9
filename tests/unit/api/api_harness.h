/* What tests of the endpoints share: a real HTTP server, gateway and store, one worker's worth, and
 * a client on the other end of a socket pair. The clock is turned by hand (fake_timers.h).
 */
#ifndef OPTIROUTE_TESTS_API_HARNESS_H
#define OPTIROUTE_TESTS_API_HARNESS_H

#include "unit.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api.h"
#include "base/clock.h"
#include "fake_timers.h"

static struct conf_errors errors;
static struct conf *conf;
static struct region *region;
static struct labels labels;
static struct fake_timers fake;
static struct gateway *gateway;
static struct api *api;
static struct event_base *base;
static struct http_server *server;
static int client;

/* stream_buffer: bytes that a slow client may leave unread in the server; send_buffer: in the
 * socket, 0 for the usual. */
static inline void api_begin(const char *text, enum http_place place, size_t stream_buffer,
                             int send_buffer) {
    char error[256];
    int pair[2];
    conf_errors_init(&errors);
    conf = conf_load_text("test.yaml", bytes_from_str(text), &errors);
    if (conf == NULL) {
        ck_abort_msg("%.*s", (int)errors.lines.size, errors.lines.data);
    }
    struct region_params params = {.store_bytes = conf->cache.size,
                                   .counter_cells = metrics_cells(),
                                   .counter_layout = metrics_layout_hash()};
    region = region_create(&params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    ck_assert_int_eq(labels_bind(&labels, conf, region, error, sizeof(error)), 0);
    fake = (struct fake_timers){.now_ns = clock_mono_ns()};
    struct gateway_env env = {.conf = conf,
                              .labels = &labels,
                              .region = region,
                              .slot = board_claim(region, BOARD_WORKER, 1),
                              .store = store_open(region),
                              .provider_ops = provider_ops_for,
                              .metrics = {counters_row(region, 0)},
                              .access_log = access_log_open(""),
                              .timers = fake_timers_make(&fake),
                              .metrics_address = "127.0.0.1:9999"};
    gateway = gateway_new(&env);
    api = api_new(gateway);
    base = event_base_new();
    struct http_limits limits = {.max_body_bytes = 4 << 20,
                                 .max_input_bytes = 1 << 30,
                                 .max_output_bytes = 1 << 30,
                                 .max_above = 2,
                                 .above_ms = 1000,
                                 .busy_answer = api_busy_answer,
                                 .header_timeout_ms = 10000,
                                 .keepalive_ms = 75000,
                                 .body_idle_ms = 10000,
                                 .body_per_mib_ms = 30000,
                                 .send_stall_ms = 30000,
                                 .stream_buffer_bytes = stream_buffer};
    server = http_server_new(base, &limits, &api_callbacks, api);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    if (send_buffer > 0) {
        ck_assert_int_eq(
            setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer)), 0);
    }
    fcntl(pair[1], F_SETFL, O_NONBLOCK);
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    client = pair[0];
    ck_assert_int_eq(http_server_add(server, pair[1], NULL, NULL, place), 0);
}

static inline void teardown(void) {
    struct gateway_env env = *gateway_env(gateway);
    close(client);
    http_server_free(server);
    event_base_free(base);
    api_free(api);
    ck_assert_uint_eq(gateway_flows(gateway), 0);
    gateway_free(gateway);
    store_close(env.store);
    access_log_close(env.access_log);
    region_destroy(region);
    conf_free(conf);
    conf_errors_fini(&errors);
}

#endif
