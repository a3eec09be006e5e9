/* The exposition of a small region, metric by metric and to the byte. */
#include "config.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shm/names.h"
#include "watch/prometheus.h"

static struct region *region;
static struct store *store;
static struct prometheus_source source;
static struct buf out;

/* Provider 0 closed, 1 half-open, 2 open. */
static enum metric_circuit circuit(const struct region *of, unsigned provider) {
    ck_assert_ptr_eq(of, region);
    return (enum metric_circuit)(provider % CIRCUIT_COUNT);
}

static void set_up(void) {
    char error[200] = "";
    struct region_params params = {.counter_cells = metrics_cells(),
                                   .counter_layout = metrics_layout_hash()};
    region = region_create(&params, error, sizeof(error));
    ck_assert_msg(region != NULL, "%s", error);
    store = store_open(region);
    ck_assert_ptr_nonnull(store);
    source = (struct prometheus_source){.region = region,
                                        .store = store,
                                        .version = "0.1.0",
                                        .master = getpid(),
                                        .circuit = circuit};
    buf_init(&out, 0);
}

static void tear_down(void) {
    buf_free(&out);
    store_close(store);
    region_destroy(region);
}

static void render(void) {
    buf_clear(&out);
    prometheus_render(&source, &out);
    ck_assert(!out.failed);
    buf_append_char(&out, '\0'); /* for strstr */
    ck_assert(!out.failed);
}

/* The lines of one metric, from its HELP to the next one; the caller frees. */
static char *section(const char *name) {
    char head[128];
    snprintf(head, sizeof(head), "# HELP %s ", name);
    const char *start = strstr(out.data, head);
    ck_assert_msg(start != NULL, "no %s", name);
    const char *end = strstr(start + 1, "# HELP ");
    return strndup(start, end != NULL ? (size_t)(end - start) : strlen(start));
}

static void expect(const char *name, const char *expected) {
    char *found = section(name);
    ck_assert_str_eq(found, expected);
    free(found);
}

static const char *const all_names[] = {
    "http_requests_total",
    "http_request_duration_seconds",
    "optiroute_overhead_seconds",
    "llm_total_cost_usd_total",
    "llm_saved_cost_usd_total",
    "llm_unknown_price_total",
    "llm_cache_events_total",
    "llm_requests_total",
    "llm_tokens_total",
    "llm_upstream_duration_seconds",
    "llm_time_to_first_token_seconds",
    "llm_upstream_errors_total",
    "llm_client_aborts_total",
    "llm_fallbacks_total",
    "llm_route_decisions_total",
    "optiroute_cache_shard_recoveries_total",
    "optiroute_cache_lock_timeouts_total",
    "optiroute_worker_restarts_total",
    "optiroute_log_dropped_total",
    "llm_upstream_responses_total",
    "llm_retries_total",
    "llm_circuit_transitions_total",
    "llm_breaker_stale_reports_total",
    "llm_usage_invalid_total",
    "optiroute_shed_total",
    "llm_provider_saved_cost_usd_total",
    "llm_circuit_state",
    "optiroute_cache_entries",
    "optiroute_cache_bytes",
    "optiroute_cache_capacity_bytes",
    "optiroute_connections",
    "optiroute_requests_in_flight",
    "optiroute_workers",
    "optiroute_workers_ready",
    "optiroute_config_last_reload_successful",
    "optiroute_config_generation",
    "optiroute_build_info",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
};
#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Each metric has one HELP, one TYPE behind it, and no other is there. */
START_TEST(every_metric_once) {
    render();
    const char *at = out.data;
    for (int i = 0; i < COUNT(all_names); i++) {
        char head[128];
        snprintf(head, sizeof(head), "# HELP %s ", all_names[i]);
        at = strstr(at, "# HELP ");
        ck_assert_ptr_nonnull(at);
        ck_assert_int_eq(strncmp(at, head, strlen(head)), 0);
        snprintf(head, sizeof(head), "\n# TYPE %s ", all_names[i]);
        ck_assert_int_eq(strncmp(strchr(at, '\n'), head, strlen(head)), 0);
        at++;
    }
    ck_assert_ptr_null(strstr(at, "# HELP "));
}
END_TEST

/* Before anything happened: small lists at 0, nothing of what depends on names. */
START_TEST(empty_region) {
    render();
    expect("http_requests_total", "# HELP http_requests_total Requests answered, by status code.\n"
                                  "# TYPE http_requests_total counter\n");
    expect("llm_saved_cost_usd_total",
           "# HELP llm_saved_cost_usd_total Money not spent, in USD, by what saved it.\n"
           "# TYPE llm_saved_cost_usd_total counter\n"
           "llm_saved_cost_usd_total{reason=\"cache\"} 0.000000000\n"
           "llm_saved_cost_usd_total{reason=\"coalesced\"} 0.000000000\n"
           "llm_saved_cost_usd_total{reason=\"routing\"} 0.000000000\n");
    expect("llm_cache_events_total",
           "# HELP llm_cache_events_total What happened at the answer cache.\n"
           "# TYPE llm_cache_events_total counter\n"
           "llm_cache_events_total{event_type=\"hit\"} 0\n"
           "llm_cache_events_total{event_type=\"coalesced\"} 0\n"
           "llm_cache_events_total{event_type=\"miss\"} 0\n"
           "llm_cache_events_total{event_type=\"bypass\"} 0\n"
           "llm_cache_events_total{event_type=\"store\"} 0\n"
           "llm_cache_events_total{event_type=\"evict\"} 0\n"
           "llm_cache_events_total{event_type=\"expire\"} 0\n"
           "llm_cache_events_total{event_type=\"corrupt\"} 0\n");
    expect("llm_client_aborts_total",
           "# HELP llm_client_aborts_total Clients that left before their answer was complete.\n"
           "# TYPE llm_client_aborts_total counter\n"
           "llm_client_aborts_total 0\n");
    expect("optiroute_worker_restarts_total",
           "# HELP optiroute_worker_restarts_total Processes started again after one died.\n"
           "# TYPE optiroute_worker_restarts_total counter\n"
           "optiroute_worker_restarts_total{reason=\"signal\"} 0\n"
           "optiroute_worker_restarts_total{reason=\"exit\"} 0\n"
           "optiroute_worker_restarts_total{reason=\"boot\"} 0\n");
    expect("llm_total_cost_usd_total", "# HELP llm_total_cost_usd_total Money spent, in USD.\n"
                                       "# TYPE llm_total_cost_usd_total counter\n");
}
END_TEST

START_TEST(counters) {
    struct metrics first = {.row = counters_row(region, 0)};
    struct metrics second = {.row = counters_row(region, 1)};
    names_add(region, NAMES_PROVIDER, "local");
    names_add(region, NAMES_PROVIDER, "remote");
    names_add(region, NAMES_PAIR, "local\nllama");
    names_add(region, NAMES_PAIR, "remote\nbig (simulated)");
    names_add(region, NAMES_ROUTE, "auto");
    unsigned ok = metrics_status_index(200);
    metric_add(&first, METRIC_HTTP_REQUESTS, 2, METHOD_POST, ENDPOINT_GENERATE, ok);
    metric_add(&second, METRIC_HTTP_REQUESTS, 3, METHOD_POST, ENDPOINT_GENERATE, ok);
    metric_add(&second, METRIC_HTTP_REQUESTS, 1, METHOD_OTHER, ENDPOINT_OTHER,
               metrics_status_index(599));
    metric_add(&second, METRIC_HTTP_REQUESTS, 1, METHOD_GET, ENDPOINT_READY,
               metrics_status_index(503));
    metric_add(&first, METRIC_COST, 1, 1, 0, 0);
    metric_add(&second, METRIC_COST, 12345678901234567890u, 1, 0, 0);
    metric_add(&first, METRIC_LLM_REQUESTS, 4, 1, OUTCOME_SIMULATED_FAILURE, 0);
    metric_add(&first, METRIC_TOKENS, 77, 0, TOKEN_COMPLETION, 0);
    metric_add(&first, METRIC_FALLBACKS, 9, 1, OUTCOME_TOTAL_TIMEOUT, 0);
    metric_add(&first, METRIC_UPSTREAM_ERRORS, 8, 1, OUTCOME_OVERLOADED, 0);
    metric_add(&first, METRIC_RETRIES, 7, 1, OUTCOME_STALE, 0);
    metric_add(&first, METRIC_UPSTREAM_RESPONSES, 5, 1, metrics_status_index(529), 0);
    metric_add(&first, METRIC_CIRCUIT_TRANSITIONS, 4, 0, CIRCUIT_HALF_OPEN, 0);
    metric_add(&first, METRIC_ROUTE_DECISIONS, 6, 0, TIER_CHEAP, ROUTE_BY_SCORE);
    render();
    expect("http_requests_total",
           "# HELP http_requests_total Requests answered, by status code.\n"
           "# TYPE http_requests_total counter\n"
           "http_requests_total{method=\"GET\",endpoint=\"/health/ready\",status=\"503\"} 1\n"
           "http_requests_total{method=\"POST\",endpoint=\"/generate\",status=\"200\"} 5\n"
           "http_requests_total{method=\"other\",endpoint=\"other\",status=\"other\"} 1\n");
    expect("llm_total_cost_usd_total",
           "# HELP llm_total_cost_usd_total Money spent, in USD.\n"
           "# TYPE llm_total_cost_usd_total counter\n"
           "llm_total_cost_usd_total{model=\"llama\",provider=\"local\"} 0.000000000\n"
           "llm_total_cost_usd_total{model=\"big (simulated)\",provider=\"remote\"} "
           "12345678901.234567891\n");
    expect("llm_requests_total",
           "# HELP llm_requests_total Attempts at a provider, by how they ended.\n"
           "# TYPE llm_requests_total counter\n"
           "llm_requests_total{model=\"llama\",provider=\"local\",outcome=\"ok\"} 0\n"
           "llm_requests_total{model=\"big (simulated)\",provider=\"remote\",outcome=\"ok\"} 0\n"
           "llm_requests_total{model=\"big (simulated)\",provider=\"remote\","
           "outcome=\"simulated_failure\"} 4\n");
    expect("llm_tokens_total",
           "# HELP llm_tokens_total Tokens billed by providers; cached_prompt is part of prompt, "
           "reasoning of completion.\n"
           "# TYPE llm_tokens_total counter\n"
           "llm_tokens_total{model=\"llama\",provider=\"local\",type=\"completion\"} 77\n");
    expect("llm_fallbacks_total",
           "# HELP llm_fallbacks_total Requests passed on to a fallback, by the provider that "
           "failed and why.\n"
           "# TYPE llm_fallbacks_total counter\n"
           "llm_fallbacks_total{from=\"remote\",reason=\"total_timeout\"} 9\n");
    expect("llm_upstream_errors_total",
           "# HELP llm_upstream_errors_total Failed attempts at a provider, by what went wrong.\n"
           "# TYPE llm_upstream_errors_total counter\n"
           "llm_upstream_errors_total{provider=\"remote\",reason=\"overloaded\"} 8\n");
    expect("llm_retries_total",
           "# HELP llm_retries_total Requests sent to the same provider again, by what went wrong "
           "before.\n"
           "# TYPE llm_retries_total counter\n"
           "llm_retries_total{provider=\"remote\",reason=\"stale\"} 7\n");
    expect("llm_upstream_responses_total",
           "# HELP llm_upstream_responses_total Answers of providers, by status code.\n"
           "# TYPE llm_upstream_responses_total counter\n"
           "llm_upstream_responses_total{provider=\"remote\",code=\"529\"} 5\n");
    expect(
        "llm_circuit_transitions_total",
        "# HELP llm_circuit_transitions_total Changes of a provider's circuit breaker, by the new "
        "state.\n"
        "# TYPE llm_circuit_transitions_total counter\n"
        "llm_circuit_transitions_total{provider=\"local\",to=\"half_open\"} 4\n");
    expect(
        "llm_circuit_state",
        "# HELP llm_circuit_state Circuit breaker of a provider: 0 closed, 1 half-open, 2 open.\n"
        "# TYPE llm_circuit_state gauge\n"
        "llm_circuit_state{provider=\"local\"} 0\n"
        "llm_circuit_state{provider=\"remote\"} 1\n");
    expect("llm_route_decisions_total",
           "# HELP llm_route_decisions_total Routing decisions, by the chosen tier and what "
           "decided.\n"
           "# TYPE llm_route_decisions_total counter\n"
           "llm_route_decisions_total{route=\"auto\",tier=\"cheap\",reason=\"score\"} 6\n");
}
END_TEST

START_TEST(histograms) {
    struct metrics metrics = {.row = counters_row(region, 7)};
    metric_observe(&metrics, METRIC_OVERHEAD, 1000, 0, 0);
    metric_observe(&metrics, METRIC_OVERHEAD, 1001, 0, 0);
    metric_observe(&metrics, METRIC_OVERHEAD, 30000, 0, 0);
    metric_observe(&metrics, METRIC_OVERHEAD, 5000000000, 0, 0);
    metric_observe(&metrics, METRIC_HTTP_DURATION, 2500000000, METHOD_POST, ENDPOINT_GENERATE);
    render();
    expect("optiroute_overhead_seconds",
           "# HELP optiroute_overhead_seconds Time the gateway itself added to a request, without "
           "waiting for a provider.\n"
           "# TYPE optiroute_overhead_seconds histogram\n"
           "optiroute_overhead_seconds_bucket{le=\"0.000001\"} 1\n"
           "optiroute_overhead_seconds_bucket{le=\"0.0000025\"} 2\n"
           "optiroute_overhead_seconds_bucket{le=\"0.000005\"} 2\n"
           "optiroute_overhead_seconds_bucket{le=\"0.00001\"} 2\n"
           "optiroute_overhead_seconds_bucket{le=\"0.000025\"} 2\n"
           "optiroute_overhead_seconds_bucket{le=\"0.00005\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"0.0001\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"0.00025\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"0.0005\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"0.001\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"0.0025\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"0.005\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"0.01\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"0.025\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"0.05\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"0.1\"} 3\n"
           "optiroute_overhead_seconds_bucket{le=\"+Inf\"} 4\n"
           "optiroute_overhead_seconds_sum 5.000032001\n"
           "optiroute_overhead_seconds_count 4\n");
    char *duration = section("http_request_duration_seconds");
#define SERIES "{method=\"POST\",endpoint=\"/generate\""
    ck_assert_ptr_nonnull(strstr(duration, "_bucket" SERIES ",le=\"1\"} 0\n"));
    ck_assert_ptr_nonnull(strstr(duration, "_bucket" SERIES ",le=\"2.5\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(duration, "_bucket" SERIES ",le=\"100\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(duration, "_bucket" SERIES ",le=\"+Inf\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(duration, "_sum" SERIES "} 2.500000000\n"));
    ck_assert_ptr_nonnull(strstr(duration, "_count" SERIES "} 1\n"));
    ck_assert_ptr_null(strstr(duration, "GET"));
    free(duration);
}
END_TEST

START_TEST(label_values_are_escaped) {
    names_add(region, NAMES_PROVIDER, "p");
    names_add(region, NAMES_PAIR, "p\na\"b\\c\nd");
    source.version = "1\"2";
    render();
    expect("llm_total_cost_usd_total",
           "# HELP llm_total_cost_usd_total Money spent, in USD.\n"
           "# TYPE llm_total_cost_usd_total counter\n"
           "llm_total_cost_usd_total{model=\"a\\\"b\\\\c\\nd\",provider=\"p\"} 0.000000000\n");
    expect("optiroute_build_info", "# HELP optiroute_build_info 1, labelled by version.\n"
                                   "# TYPE optiroute_build_info gauge\n"
                                   "optiroute_build_info{version=\"1\\\"2\"} 1\n");
}
END_TEST

START_TEST(gauges_of_the_board) {
    int slots[2] = {board_claim(region, BOARD_WORKER, 3), board_claim(region, BOARD_METRICS, 3)};
    struct board_gauges *gauges = board_gauges(region, slots[0]);
    atomic_store(&gauges->connections, 12);
    atomic_store(&gauges->connections_idle, 5);
    atomic_store(&gauges->requests_in_flight, 4);
    board_set_pid(region, slots[0], getpid());
    board_set_state(region, slots[0], BOARD_READY);
    board_set_state(region, slots[1], BOARD_READY); /* no worker */
    board_claim(region, BOARD_WORKER, 3);           /* still starting */
    board_set_word(region, BOARD_WORD_WORKERS, 2);
    board_set_word(region, BOARD_WORD_GENERATION, 3);
    board_set_word(region, BOARD_WORD_RELOAD_SUCCESSFUL, 1);
    board_set_word(region, BOARD_WORD_START_TIME_MS, 1769860800123);
    render();
    expect("optiroute_connections", "# HELP optiroute_connections Open client connections.\n"
                                    "# TYPE optiroute_connections gauge\n"
                                    "optiroute_connections{state=\"active\"} 7\n"
                                    "optiroute_connections{state=\"idle\"} 5\n");
    ck_assert_ptr_nonnull(strstr(out.data, "\noptiroute_requests_in_flight 4\n"));
    ck_assert_ptr_nonnull(strstr(out.data, "\noptiroute_workers 2\n"));
    ck_assert_ptr_nonnull(strstr(out.data, "\noptiroute_workers_ready 1\n"));
    ck_assert_ptr_nonnull(strstr(out.data, "\noptiroute_config_generation 3\n"));
    ck_assert_ptr_nonnull(strstr(out.data, "\noptiroute_config_last_reload_successful 1\n"));
    ck_assert_ptr_nonnull(strstr(out.data, "\nprocess_start_time_seconds 1769860800.123000000\n"));
    ck_assert_ptr_nonnull(strstr(out.data, "\n# TYPE process_cpu_seconds_total counter\n"));
    ck_assert_ptr_null(strstr(out.data, "\nprocess_resident_memory_bytes 0\n"));
    ck_assert_ptr_null(strstr(out.data, "\nprocess_open_fds 0\n"));
    /* What a dead worker held is cleared; what it counted stays. */
    struct metrics metrics = {.row = counters_row(region, (unsigned)slots[0])};
    metric_add(&metrics, METRIC_CLIENT_ABORTS, 2, 0, 0, 0);
    board_release(region, slots[0]);
    render();
    ck_assert_ptr_nonnull(strstr(out.data, "\noptiroute_connections{state=\"active\"} 0\n"));
    ck_assert_ptr_nonnull(strstr(out.data, "\nllm_client_aborts_total 2\n"));
    ck_assert_int_eq(board_claim(region, BOARD_WORKER, 3), slots[0]);
    metric_add(&metrics, METRIC_CLIENT_ABORTS, 1, 0, 0, 0);
    render();
    ck_assert_ptr_nonnull(strstr(out.data, "\nllm_client_aborts_total 3\n"));
}
END_TEST

/* Idle above connections happens for a moment while a worker changes both. */
START_TEST(active_is_never_negative) {
    struct board_gauges *gauges = board_gauges(region, board_claim(region, BOARD_WORKER, 1));
    atomic_store(&gauges->connections, 1);
    atomic_store(&gauges->connections_idle, 2);
    render();
    ck_assert_ptr_nonnull(strstr(out.data, "{state=\"active\"} 0\n"));
}
END_TEST

START_TEST(too_small_a_buffer_fails) {
    char memory[500];
    struct buf small;
    buf_init_fixed(&small, memory, sizeof(memory));
    prometheus_render(&source, &small);
    ck_assert(small.failed);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("prometheus");
    TCase *tcase = tcase_create("render");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, every_metric_once);
    tcase_add_test(tcase, empty_region);
    tcase_add_test(tcase, counters);
    tcase_add_test(tcase, histograms);
    tcase_add_test(tcase, label_values_are_escaped);
    tcase_add_test(tcase, gauges_of_the_board);
    tcase_add_test(tcase, active_is_never_negative);
    tcase_add_test(tcase, too_small_a_buffer_fails);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
