/* The endpoints over a socket pair. */
#include <stdio.h>

#include "api_harness.h"

static const char text[] =
    "cache: {size: 8MB}\n"
    "providers:\n"
    "  small: {type: simulated, default_model: s, per_second: 0.000005}\n"
    "  broken: {type: simulated, default_model: b, simulated: {failure_rate: 1}}\n"
    "routes:\n"
    "  auto: {cheap: small, strong: small, policy: length}\n";

static char answer[65536];

static void setup(void) {
    api_begin(text, HTTP_REGULAR, 262144, 0);
}

static void setup_above(void) {
    api_begin(text, HTTP_ABOVE_CONNECTIONS, 262144, 0);
}

/* Runs loop and timers until nothing more happens; collects what the client got. */
static void collect(void) {
    size_t size = 0;
    bool busy = true;
    while (busy) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        ssize_t got = read(client, answer + size, sizeof(answer) - 1 - size);
        if (got > 0) {
            size += (size_t)got;
        }
        busy = got > 0 || fake_timers_step(&fake) != 0;
    }
    answer[size] = '\0';
}

/* A long request does not fit the socket in one go. */
static void send_bytes(struct bytes request) {
    while (request.size > 0) {
        ssize_t sent = write(client, request.data, request.size);
        ck_assert(sent > 0 || errno == EAGAIN);
        if (sent > 0) {
            request = bytes_make(request.data + sent, request.size - (size_t)sent);
        }
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

static void say(const char *request) {
    send_bytes(bytes_from_str(request));
    collect();
}

/* Sends a request and does not wait for more than that it is read. */
static void begin_post(const char *path, const char *fields, const char *body) {
    struct buf request;
    buf_init(&request, 0);
    buf_printf(&request,
               "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: application/json; "
               "charset=utf-8\r\nContent-Length: %zu\r\n%s\r\n",
               path, strlen(body), fields);
    buf_append_str(&request, body);
    send_bytes(buf_bytes(&request));
    buf_free(&request);
}

static void post(const char *path, const char *fields, const char *body) {
    begin_post(path, fields, body);
    collect();
}

static void generate_with(const char *fields, const char *body) {
    post("/generate", fields, body);
}
static void generate(const char *body) {
    generate_with("", body);
}

/* Cut, because check cannot take a message of a whole stream. */
#define ck_assert_has(part) \
    ck_assert_msg(strstr(answer, part) != NULL, "no %s in: %.3000s", part, answer)
#define ck_assert_has_not(part) \
    ck_assert_msg(strstr(answer, part) == NULL, "there is %s in: %.3000s", part, answer)

START_TEST(bodies_are_judged_by_the_table) {
    static const struct {
        const char *body;
        int status;
        const char *part;
    } rows[] = {
        {"{\"prompt\":\"x\"}", 200, "\"cached\":false"},
        {"{\"prompt\":\"y\",\"max_tokens\":null,\"provider\":null,\"stream\":false}", 200,
         "\"model\":\"s\""},
        {"{\"prompt\":\"z\",\"provider\":\"small\",\"model_id\":\"s\",\"temperature\":0.5}", 200,
         "\"route_reason\":\"model\""},
        {"", 400, "invalid JSON at byte 0"},
        {"{\"prompt\":\"x\"", 400, "\"code\":\"invalid_json\""},
        {"[]", 400, "must be a JSON object"},
        {"{}", 400, "\"param\":\"prompt\",\"code\":\"missing\""},
        {"{\"prompt\":null}", 400, "\"param\":\"prompt\",\"code\":\"missing\""},
        {"{\"prompt\":1}", 400, "\"param\":\"prompt\",\"code\":\"invalid_type\""},
        {"{\"prompt\":\"\"}", 400, "\"param\":\"prompt\",\"code\":\"invalid_value\""},
        {"{\"prompt\":\"x\",\"max_tokens\":\"1\"}", 400,
         "\"param\":\"max_tokens\",\"code\":\"invalid_type\""},
        {"{\"prompt\":\"x\",\"max_tokens\":1.5}", 400,
         "\"param\":\"max_tokens\",\"code\":\"invalid_type\""},
        {"{\"prompt\":\"x\",\"max_tokens\":0}", 400,
         "\"param\":\"max_tokens\",\"code\":\"invalid_value\""},
        {"{\"prompt\":\"x\",\"max_tokens\":1000001}", 400,
         "\"param\":\"max_tokens\",\"code\":\"invalid_value\""},
        {"{\"prompt\":\"x\",\"temperature\":2.01}", 400,
         "\"param\":\"temperature\",\"code\":\"invalid_value\""},
        {"{\"prompt\":\"x\",\"temperature\":-1}", 400,
         "\"param\":\"temperature\",\"code\":\"invalid_value\""},
        {"{\"prompt\":\"x\",\"stream\":1}", 400, "\"param\":\"stream\",\"code\":\"invalid_type\""},
        {"{\"prompt\":\"x\",\"provider\":\"nobody\"}", 400,
         "\"param\":\"provider\",\"code\":\"unknown_provider\""},
        {"{\"prompt\":\"x\",\"provider\":\"cheap\"}", 400, "\"code\":\"unknown_provider\""},
        {"{\"prompt\":\"x\",\"model_id\":\"zz\"}", 400,
         "\"param\":\"model_id\",\"code\":\"model_not_found\""},
        {"{\"prompt\":\"x\",\"model_id\":\"\"}", 400,
         "\"param\":\"model_id\",\"code\":\"invalid_value\""},
        {"{\"prompt\":\"x\",\"prompt\":\"x\"}", 400,
         "\"param\":\"prompt\",\"code\":\"doubled_key\""},
        {"{\"prompt\":\"x\",\"pr\\u006fmpt\":null}", 400,
         "\"param\":\"prompt\",\"code\":\"doubled_key\""},
        {"{\"prompt\":null,\"prompt\":\"x\"}", 400,
         "\"param\":\"prompt\",\"code\":\"doubled_key\""},
        {"{\"prompt\":\"x\",\"a\":1,\"a\":2}", 400, "\"code\":\"doubled_key\""},
        {"{\"prompt\":\"x\",\"a\":[{\"b\":1,\"b\":2}]}", 400, "\"code\":\"doubled_key\""},
        {"{\"prompt\":\"x\",\"user\":1,\"us\\u0065r\":2}", 400, "\"code\":\"doubled_key\""},
        {"{\"prompt\":\"x\",\"metadata\":{\"b\":1,\"b\":2}}", 400, "\"code\":\"doubled_key\""},
        {"{\"prompt\":\"\xff\"}", 400, "\"code\":\"invalid_json\""},
        {"{\"prompt\":\"x\",\"provider\":\"broken\"}", 502, "\"type\":\"upstream_error\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char status[32];
        snprintf(status, sizeof(status), "HTTP/1.1 %d ", rows[i].status);
        generate(rows[i].body);
        ck_assert_msg(strncmp(answer, status, strlen(status)) == 0, "%s: %s", rows[i].body, answer);
        ck_assert_has(rows[i].part);
        ck_assert_has("x-request-id: ");
        if (rows[i].status == 400) {
            ck_assert_has("x-should-retry: false");
        }
    }
}
END_TEST

START_TEST(what_means_the_same_shares_an_entry_and_nothing_else_does) {
    static const struct {
        const char *body;
        bool hit;
    } rows[] = {
        {"{\"prompt\":\"same\"}", false},
        {" { \"prompt\" : \"s\\u0061me\" } ", true},
        {"{\"max_tokens\":100,\"prompt\":\"same\",\"provider\":\"auto\"}", true},
        {"{\"user\":\"me\",\"metadata\":{\"a\":1},\"stream_options\":{},\"prompt\":\"same\"}",
         true},
        {"{\"prompt\":\"Same\"}", false},
        {"{\"prompt\":\"same\",\"max_tokens\":99}", false},
        {"{\"prompt\":\"same\",\"temperature\":1}", false},
        {"{\"prompt\":\"same\",\"temperature\":1.0}", false},
        {"{\"prompt\":\"same\",\"provider\":\"small\"}", false},
        {"{\"prompt\":\"same\",\"provider\":\"small\",\"model_id\":\"s\"}", false},
        {"{\"prompt\":\"same\",\"extra\":{\"b\":1,\"a\":2}}", false},
        {"{\"extra\":{\"a\":2,\"b\":1},\"prompt\":\"same\"}", true},
        {"{\"prompt\":\"same\",\"extra\":{\"a\":1,\"b\":2}}", false},
        {"{\"prompt\":\"same\",\"messages\":[]}", false},
        {"{\"prompt\":\"same\",\"model\":\"auto\"}", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        generate(rows[i].body);
        ck_assert_has("HTTP/1.1 200 ");
        ck_assert_msg((strstr(answer, "x-optiroute-cache: hit") != NULL) == rows[i].hit, "%s: %s",
                      rows[i].body, answer);
    }
}
END_TEST

START_TEST(cache_control_is_obeyed) {
    static const struct {
        const char *field, *cache;
    } rows[] = {
        {"Cache-Control: no-store\r\n", "bypass"},
        {"", "miss"},
        {"Cache-Control: foo, No-Cache\r\n", "bypass"},
        {"", "hit"},
        {"Cache-Control: max-age=3600\r\n", "hit"},
        {"Cache-Control: max-age=x\r\n", "hit"},
        {"Cache-Control: max-age=99999999999999999999\r\n", "hit"},
        {"Cache-Control: no-store, no-cache\r\n", "bypass"},
        {"Cache-Control: max-age=60\r\nCACHE-CONTROL: no-store\r\n", "bypass"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char want[64];
        snprintf(want, sizeof(want), "x-optiroute-cache: %s\r\n", rows[i].cache);
        generate_with(rows[i].field, "{\"prompt\":\"p\"}");
        ck_assert_has(want);
    }
}
END_TEST

START_TEST(a_stream_has_pieces_the_answer_and_done) {
    for (int round = 0; round < 2; round++) { /* a miss, then a hit */
        generate("{\"prompt\":\"tell\",\"stream\":true,\"max_tokens\":200}");
        ck_assert_has("Content-Type: text/event-stream\r\n");
        ck_assert_has("Cache-Control: no-cache\r\n");
        ck_assert_has("X-Accel-Buffering: no\r\n");
        ck_assert_has(round == 0 ? "x-optiroute-cache: miss" : "x-optiroute-cache: hit");
        ck_assert_has_not("x-optiroute-cost-usd");
        ck_assert_has("data: {\"text\":\"");
        ck_assert_has(round == 0 ? "\"cached\":false" : "\"cached\":true");
        ck_assert_has(round == 0 ? ": optiroute cost_usd=0.000010000 saved_usd="
                                 : ": optiroute cost_usd=0.000000000 saved_usd=0.000010000");
        ck_assert_has("data: [DONE]\n\n");
    }
    generate("{\"prompt\":\"tell\",\"max_tokens\":200}");
    ck_assert_has("x-optiroute-cache: hit");
    generate("{\"prompt\":\"tell\",\"stream\":true,\"max_tokens\":9}"); /* it is cut there */
    generate("{\"prompt\":\"tell\",\"max_tokens\":9}");
    ck_assert_has("x-optiroute-cache: miss");
}
END_TEST

#define HI "[{\"role\":\"user\",\"content\":\"hi\"}]"

/* Beside the body a key has the endpoint, who is asked, and what the API's own fields say. */
START_TEST(below_v1_too_what_means_the_same_shares_an_entry) {
    static const struct {
        const char *path, *fields, *body;
        bool hit;
    } rows[] = {
        {"/generate", "", "{\"prompt\":\"hi\",\"max_tokens\":200}", false},
        {"/v1/chat/completions", "", "{\"model\":\"auto\",\"messages\":" HI ",\"max_tokens\":200}",
         true},
        {"/v1/chat/completions", "",
         "{\"max_tokens\":200,\"messages\":[{\"content\":\"h\\u0069\",\"role\":\"user\"}],"
         "\"user\":\"me\", \"metadata\":{},\"stream\":false,\"model\":\"auto\"}",
         true},
        {"/v1/chat/completions", "",
         "{\"model\":\"auto\",\"messages\":" HI ",\"max_tokens\":200,\"stream\":true}", true},
        {"/v1/chat/completions", "", "{\"model\":\"auto\",\"messages\":" HI "}", false},
        {"/v1/chat/completions", "", "{\"model\":\"small\",\"messages\":" HI ",\"max_tokens\":200}",
         false},
        {"/v1/chat/completions", "OpenAI-Beta: x\r\n",
         "{\"model\":\"auto\",\"messages\":" HI ",\"max_tokens\":200}", false},
        {"/v1/chat/completions", "OpenAI-Beta: x\r\n",
         "{\"model\":\"auto\",\"messages\":" HI ",\"max_tokens\":200}", true},
        {"/v1/chat/completions", "anthropic-beta: x\r\n", /* not this API's */
         "{\"model\":\"auto\",\"messages\":" HI ",\"max_tokens\":200}", true},
        {"/v1/messages", "", "{\"model\":\"auto\",\"messages\":" HI ",\"max_tokens\":200}", false},
        {"/v1/messages", "", "{\"model\":\"auto\",\"messages\":" HI ",\"max_tokens\":200}", true},
        {"/v1/messages", "anthropic-version: 2023-06-01\r\n",
         "{\"model\":\"auto\",\"messages\":" HI ",\"max_tokens\":200}", false},
        {"/v1/messages", "anthropic-beta: 2023-06-01\r\n",
         "{\"model\":\"auto\",\"messages\":" HI ",\"max_tokens\":200}", false},
        {"/v1/messages", "anthropic-version: 2023-06-01\r\n",
         "{\"model\":\"auto\",\"messages\":" HI ",\"max_tokens\":200,\"stream\":true}", true},
        {"/v1/completions", "", "{\"model\":\"auto\",\"prompt\":\"hi\",\"max_tokens\":200}", false},
        {"/v1/completions", "", "{\"model\":\"auto\",\"prompt\":\"hi\",\"max_tokens\":200}", true},
        {"/v1/chat/completions", "", /* somebody keeps it: it is made anew each time */
         "{\"model\":\"auto\",\"messages\":" HI ",\"store\":true}", false},
        {"/v1/chat/completions", "", "{\"model\":\"auto\",\"messages\":" HI ",\"store\":true}",
         false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        post(rows[i].path, rows[i].fields, rows[i].body);
        ck_assert_has("HTTP/1.1 200 ");
        ck_assert_msg((strstr(answer, "x-optiroute-cache: hit") != NULL) == rows[i].hit,
                      "row %zu: %.1000s", i, answer);
    }
}
END_TEST

START_TEST(streams_and_errors_have_the_form_of_their_api) {
    static const struct {
        const char *path, *body, *parts[4], *not ;
    } rows[] = {
        {"/v1/chat/completions",
         "{\"model\":\"auto\",\"stream\":true,\"messages\":" HI "}",
         {"data: {\"id\":\"chatcmpl-", "\"object\":\"chat.completion.chunk\"",
          "\"finish_reason\":\"stop\"", "data: [DONE]\n\n"},
         "\"usage\":{"},
        {"/v1/chat/completions",
         "{\"model\":\"auto\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
         "\"messages\":" HI "}",
         {"\"usage\":null", "\"choices\":[],\"usage\":{\"prompt_tokens\":", ": optiroute cost_usd=",
          "data: [DONE]\n\n"},
         "event: "},
        {"/v1/messages",
         "{\"model\":\"auto\",\"stream\":true,\"max_tokens\":200,\"messages\":" HI "}",
         {"event: message_start\ndata: {\"type\":\"message_start\"",
          "event: content_block_delta\ndata: ", "\"stop_reason\":\"end_turn\"",
          "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
         "[DONE]"},
        {"/v1/messages",
         "{\"model\":\"auto\",\"messages\":" HI "}",
         {"HTTP/1.1 400 ", "{\"type\":\"error\",\"error\":{", "\"type\":\"invalid_request_error\"",
          "\"param\":\"max_tokens\""},
         "event: "},
        {"/v1/chat/completions",
         "{\"model\":\"nobody\",\"messages\":" HI "}",
         {"HTTP/1.1 404 ", "{\"error\":{", "\"code\":\"model_not_found\"", "\"param\":\"model\""},
         "\"type\":\"error\""},
        {"/v1/embeddings",
         "{\"model\":\"auto\",\"input\":\"hi\"}",
         {"HTTP/1.1 400 ", "{\"error\":{", "\"code\":\"unsupported_endpoint\"", ""},
         "\"type\":\"error\""},
        {"/v1/chat/completions",
         "{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":1}]}",
         {"HTTP/1.1 400 ", "\"code\":\"invalid_type\"", "\"param\":\"messages[0].content\"", ""},
         "\"type\":\"error\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        post(rows[i].path, "", rows[i].body);
        for (int j = 0; j < 4; j++) {
            ck_assert_has(rows[i].parts[j]);
        }
        ck_assert_has_not(rows[i].not );
    }
}
END_TEST

/* -- large bodies are read in turns of the loop ---- */

static char *padded(const char *body, size_t size) {
    size_t used = strlen(body);
    char *large = malloc(size + 1);
    memset(large, ' ', size);
    memcpy(large + size - used, body, used + 1);
    return large;
}

START_TEST(a_large_body_means_what_a_small_one_does) {
    static const struct {
        size_t size;
        const char *cache;
    } rows[] = {{300000, "x-optiroute-cache: hit"}, {1100000, "x-optiroute-cache: bypass"}};
    const char *body = "{\"model\":\"auto\",\"max_tokens\":200,\"messages\":" HI "}";
    post("/v1/chat/completions", "", body);
    ck_assert_has("x-optiroute-cache: miss");
    for (size_t i = 0; i < 2; i++) {
        char *large = padded(body, rows[i].size);
        begin_post("/v1/chat/completions", "", large);
        ck_assert_uint_eq(gateway_flows(gateway), 0); /* it is still being read */
        ck_assert_ptr_nonnull(fake.first);
        collect();
        ck_assert_has("HTTP/1.1 200 ");
        ck_assert_has(rows[i].cache);
        large[rows[i].size - 1] = '!';
        post("/v1/chat/completions", "", large);
        ck_assert_has("HTTP/1.1 400 ");
        ck_assert_has("\"code\":\"invalid_json\"");
        free(large);
    }
}
END_TEST

static uint64_t count_at(enum metric_endpoint endpoint, int status) {
    return metric_total(region, METRIC_HTTP_REQUESTS, METHOD_POST, endpoint,
                        metrics_status_index(status));
}

static uint64_t count_of(int status) {
    return count_at(ENDPOINT_GENERATE, status);
}

/* Not at its head: what http_request_duration_seconds promises is the complete answer. */
START_TEST(a_stream_is_counted_once_at_its_end) {
    const char *request = "POST /generate HTTP/1.1\r\nHost: h\r\nContent-Length: 48\r\n\r\n"
                          "{\"prompt\":\"tell\",\"stream\":true,\"max_tokens\":200}";
    ck_assert_int_eq(write(client, request, strlen(request)), (ssize_t)strlen(request));
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    ck_assert_int_gt(read(client, answer, sizeof(answer)), 0);
    ck_assert_uint_eq(count_of(200), 0);
    collect();
    ck_assert_has("data: [DONE]\n\n");
    ck_assert_uint_eq(count_of(200), 1);
    ck_assert_uint_eq(metric_total(region, METRIC_HTTP_DURATION, METHOD_POST, ENDPOINT_GENERATE, 0),
                      1);
    generate("{\"prompt\":\"tell\",\"stream\":true,\"max_tokens\":200}"); /* the hit */
    ck_assert_has("x-optiroute-cache: hit");
    ck_assert_uint_eq(count_of(200), 2);
}
END_TEST

START_TEST(paths_methods_and_types) {
    static const struct {
        const char *request;
        int status;
        const char *part;
    } rows[] = {
        {"GET /health HTTP/1.1\r\nHost: h\r\n\r\n", 200, "{\"status\":\"ok\"}"},
        {"GET /health/ready?x=1 HTTP/1.1\r\nHost: h\r\n\r\n", 200, "{\"status\":\"ok\"}"},
        {"HEAD /health HTTP/1.1\r\nHost: h\r\n\r\n", 200, "Content-Length: 15\r\n"},
        {"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 404, "127.0.0.1:9999/metrics"},
        {"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", 404, "\"code\":\"not_found\""},
        {"GET /generate HTTP/1.1\r\nHost: h\r\n\r\n", 405, "Allow: POST, OPTIONS\r\n"},
        {"PUT /health HTTP/1.1\r\nHost: h\r\n\r\n", 405, "Allow: GET, HEAD, OPTIONS\r\n"},
        {"OPTIONS /generate HTTP/1.1\r\nHost: h\r\n\r\n", 204, "Allow: POST, OPTIONS\r\n"},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 204, "Allow: GET, HEAD, POST, OPTIONS\r\n"},
        {"BREW /generate HTTP/1.1\r\nHost: h\r\n\r\n", 501, "not_implemented"},
        {"POST /generate HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: "
         "2\r\n\r\n{}",
         415, "unsupported_media_type"},
        {"GET /health HTTP/1.1\r\nHost: h\r\nX-Request-Id: a.B_9-z\r\n\r\n", 200,
         "x-request-id: a.B_9-z\r\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char status[32];
        snprintf(status, sizeof(status), "HTTP/1.1 %d ", rows[i].status);
        say(rows[i].request);
        ck_assert_msg(strncmp(answer, status, strlen(status)) == 0, "%s: %s", rows[i].request,
                      answer);
        ck_assert_has(rows[i].part);
    }
    say("GET /health HTTP/1.1\r\nHost: h\r\nX-Request-Id: not good\r\n\r\n");
    ck_assert_has("x-request-id: ");
    ck_assert_has_not("not good");
}
END_TEST

START_TEST(draining_is_not_ready) {
    board_set_word(region, BOARD_WORD_DRAINING, 1);
    say("GET /health/ready HTTP/1.1\r\nHost: h\r\n\r\n");
    ck_assert_has("HTTP/1.1 503 ");
    ck_assert_has("retry-after: 1\r\n");
    say("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    ck_assert_has("HTTP/1.1 200 ");
}
END_TEST

START_TEST(bad_http_is_answered_in_the_same_shape) {
    say("GET /health HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n");
    ck_assert_has("HTTP/1.1 400 ");
    ck_assert_has("\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_http\"");
    ck_assert_has("x-request-id: ");
    ck_assert_uint_eq(metric_total(region, METRIC_HTTP_REQUESTS, METHOD_OTHER, ENDPOINT_OTHER,
                                   metrics_status_index(400)),
                      1);
}
END_TEST

START_TEST(a_client_that_leaves_stops_its_upstream) {
    const char *request = "POST /generate HTTP/1.1\r\nHost: h\r\nContent-Length: 17\r\n\r\n"
                          "{\"prompt\":\"gone\"}";
    ck_assert_int_eq(write(client, request, strlen(request)), (ssize_t)strlen(request));
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_uint_eq(gateway_flows(gateway), 1);
    shutdown(client, SHUT_RDWR);
    for (int i = 0; i < 10 && gateway_flows(gateway) > 0; i++) {
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    ck_assert_uint_eq(gateway_flows(gateway), 0);
    ck_assert_ptr_null(fake.first);
    ck_assert_uint_eq(metric_total(region, METRIC_CLIENT_ABORTS, 0, 0, 0), 1);
    ck_assert_uint_eq(count_of(499), 1);
}
END_TEST

START_TEST(a_client_that_leaves_while_its_body_is_read_is_let_go) {
    char *large = padded("{\"model\":\"auto\",\"messages\":" HI "}", 1000000);
    begin_post("/v1/chat/completions", "", large);
    free(large);
    ck_assert_int_eq(fake_timers_step(&fake), 1);
    ck_assert_ptr_nonnull(fake.first);
    shutdown(client, SHUT_RDWR);
    for (int i = 0; i < 10 && fake.first != NULL; i++) {
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    ck_assert_ptr_null(fake.first);
    ck_assert_uint_eq(gateway_flows(gateway), 0);
    ck_assert_uint_eq(count_at(ENDPOINT_CHAT, 499), 1);
}
END_TEST

/* -- above the limit of connections -- */

START_TEST(above_the_limit_health_is_answered) {
    static const char *const paths[] = {"/health", "/health/ready"};
    char request[128];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", paths[_i]);
    say(request);
    ck_assert_has("HTTP/1.1 200 ");
    ck_assert_has("Connection: close\r\n");
}
END_TEST

START_TEST(above_the_limit_all_else_comes_again) {
    say("GET /v1/models HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\n\r\n");
    ck_assert_has("HTTP/1.1 503 ");
    ck_assert_has("retry-after: 1\r\n");
    ck_assert_has("x-request-id: mine\r\n");
    ck_assert_has("Connection: close\r\n");
    ck_assert_has("\"type\":\"server_error\",\"param\":null,\"code\":\"too_many_connections\"");
    ck_assert_has_not("x-should-retry: false");
    ck_assert_uint_eq(metric_total(region, METRIC_HTTP_REQUESTS, METHOD_GET, ENDPOINT_MODELS,
                                   metrics_status_index(503)),
                      1);
}
END_TEST

/* POST to a path that is admitted by GET; and Anthropic's clients hear it in their own form. */
START_TEST(above_the_limit_forms_and_methods_are_looked_at) {
    static const struct {
        const char *line, *part;
    } rows[] = {{"POST /health", "\"code\":\"too_many_connections\""},
                {"POST /v1/messages", "{\"type\":\"error\",\"error\":{\"message\":\"too many "}};
    char request[128];
    snprintf(request, sizeof(request), "%s HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n",
             rows[_i].line);
    say(request);
    ck_assert_has("HTTP/1.1 503 ");
    ck_assert_has(rows[_i].part);
}
END_TEST

/* The prepared answer is what a composed one would be. */
START_TEST(the_prepared_answer_is_whole) {
    const char *body = strstr(api_busy_answer.data, "\r\n\r\n");
    ck_assert_ptr_nonnull(body);
    say("GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n");
    const char *composed = strstr(answer, "\r\n\r\n");
    ck_assert_ptr_nonnull(composed);
    ck_assert_str_eq(body, composed);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("api");
    TCase *busy = tcase_create("above");
    tcase_add_checked_fixture(busy, setup_above, teardown);
    tcase_add_loop_test(busy, above_the_limit_health_is_answered, 0, 2);
    tcase_add_test(busy, above_the_limit_all_else_comes_again);
    tcase_add_loop_test(busy, above_the_limit_forms_and_methods_are_looked_at, 0, 2);
    tcase_add_test(busy, the_prepared_answer_is_whole);
    suite_add_tcase(suite, busy);
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, bodies_are_judged_by_the_table);
    tcase_add_test(tcase, what_means_the_same_shares_an_entry_and_nothing_else_does);
    tcase_add_test(tcase, cache_control_is_obeyed);
    tcase_add_test(tcase, a_stream_has_pieces_the_answer_and_done);
    tcase_add_test(tcase, below_v1_too_what_means_the_same_shares_an_entry);
    tcase_add_test(tcase, streams_and_errors_have_the_form_of_their_api);
    tcase_add_test(tcase, a_large_body_means_what_a_small_one_does);
    tcase_add_test(tcase, a_stream_is_counted_once_at_its_end);
    tcase_add_test(tcase, paths_methods_and_types);
    tcase_add_test(tcase, draining_is_not_ready);
    tcase_add_test(tcase, bad_http_is_answered_in_the_same_shape);
    tcase_add_test(tcase, a_client_that_leaves_stops_its_upstream);
    tcase_add_test(tcase, a_client_that_leaves_while_its_body_is_read_is_let_go);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
