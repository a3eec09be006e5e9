/* test_conf: what a loaded configuration says: every default, values given, keys, files refused.
 */
#include "config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf_unit.h"

static char directory[64];

static void make_directory(void) {
    snprintf(directory, sizeof(directory), "/tmp/optiroute-test-conf-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
    unsetenv("HF_API_TOKEN");
}

static void remove_directory(void) {
    static const char *const names[] = {"file", "fifo", "key", "directory"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        remove(names[i]);
    }
    ck_assert_int_eq(rmdir(directory), 0);
}

static void write_file(const char *name, mode_t mode, const void *data, size_t size) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ne(fd, -1);
    ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

static void check_daemon_defaults(const struct conf *conf) {
    ck_assert_uint_eq(conf->listen_count, 1);
    ck_assert_str_eq(conf->listen[0].text, "127.0.0.1:8000");
    ck_assert_str_eq(conf->listen[0].host, "127.0.0.1");
    ck_assert_uint_eq(conf->listen[0].port, 8000);
    ck_assert_str_eq(conf->metrics_listen.text, "127.0.0.1:9464");
    ck_assert_str_eq(conf->metrics_listen.host, "127.0.0.1");
    ck_assert_uint_eq(conf->metrics_listen.port, 9464);
    ck_assert(conf->workers_auto);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    ck_assert_uint_eq(conf->workers,
                      (unsigned)(cores > CONF_MAX_WORKERS ? CONF_MAX_WORKERS : cores));
    ck_assert_str_eq(conf->user, "nobody");
    ck_assert_str_eq(conf->pid_file, "");
    ck_assert_str_eq(conf->error_log, "stderr");
    ck_assert_str_eq(conf->access_log, "");
    ck_assert_int_eq(conf->limits.max_body, 4 * 1024 * 1024);
    ck_assert_int_eq(conf->limits.max_connections, 10000);
    ck_assert_int_eq(conf->limits.header_timeout_ms, 10000);
    ck_assert_int_eq(conf->limits.keepalive_ms, 75000);
    ck_assert_int_eq(conf->limits.shutdown_timeout_ms, 30000);
    ck_assert_int_eq(conf->limits.drain_delay_ms, 0);
    ck_assert_int_eq(conf->cache.size, 256 * 1024 * 1024);
    ck_assert_int_eq(conf->cache.ttl_ms, 3600 * 1000);
    ck_assert_int_eq(conf->cache.max_value, 1024 * 1024);
    ck_assert_str_eq(conf->cache.file, "");
    ck_assert(!conf->cache.tool_calls);
    ck_assert_int_eq(conf->cache.replay_pace_ms, 0);
    ck_assert_str_eq(conf->tls.certificate, "");
    ck_assert_str_eq(conf->tls.key, "");
}

static void check_provider_defaults(const struct conf_provider *provider) {
    ck_assert(!provider->allow_unlisted_models);
    ck_assert_int_eq(provider->connect_timeout_ms, 3000);
    ck_assert_int_eq(provider->first_byte_timeout_ms, 30000);
    ck_assert_int_eq(provider->idle_timeout_ms, 30000);
    ck_assert_int_eq(provider->total_timeout_ms, 600000);
    ck_assert_int_eq(provider->retry_attempts, 2);
    ck_assert_int_eq(provider->retry_backoff_ms, 100);
    ck_assert_int_eq(provider->breaker_failures, 3);
    ck_assert_int_eq(provider->breaker_open_ms, 30000);
    ck_assert_int_eq(provider->breaker_max_open_ms, 300000);
    ck_assert_int_eq(provider->max_concurrency, 1000);
    ck_assert_int_eq(provider->simulation.latency_ms, 500);
    ck_assert_int_eq(provider->simulation.per_token_ms, 20);
    ck_assert_int_eq(provider->simulation.max_latency_ms, 2000);
    ck_assert_double_eq(provider->simulation.failure_rate, 0);
    ck_assert_int_eq(provider->simulation.seed, 1);
    ck_assert_str_eq(provider->api_key_file, "");
}

static void check_built_in(const struct conf *conf) {
    check_daemon_defaults(conf);
    ck_assert_uint_eq(conf->provider_count, 2);
    const struct conf_provider *local = &conf->providers[0];
    check_provider_defaults(local);
    ck_assert_str_eq(local->name, "local");
    ck_assert_int_eq(local->type, CONF_SIMULATED);
    ck_assert(local->simulated);
    ck_assert_int_eq(local->line, 0);
    ck_assert_str_eq(local->url, "");
    ck_assert_str_eq(local->api_key_env, "");
    ck_assert_ptr_null(local->api_key);
    ck_assert_str_eq(local->default_model, "llama-2-7b-local");
    ck_assert_int_eq(local->per_second_nusd, 5000);
    ck_assert_uint_eq(local->model_count, 1);
    ck_assert_str_eq(local->models[0].label, "llama-2-7b-local");
    ck_assert_int_eq(local->models[0].input_nusd, CONF_PRICE_UNKNOWN);
    const struct conf_provider *far = &conf->providers[1];
    check_provider_defaults(far);
    ck_assert_str_eq(far->name, "huggingface");
    ck_assert_int_eq(far->type, CONF_OPENAI);
    ck_assert(far->simulate_without_key);
    ck_assert_str_eq(far->url, "https://router.huggingface.co/v1");
    ck_assert_str_eq(far->api_key_env, "HF_API_TOKEN");
    ck_assert_str_eq(far->default_model, "mistralai/Mistral-7B-Instruct-v0.2");
    ck_assert_int_eq(far->per_second_nusd, CONF_PRICE_UNKNOWN);
    ck_assert_uint_eq(far->model_count, 1);
    ck_assert_int_eq(far->models[0].input_nusd, 200000000);
    ck_assert_int_eq(far->models[0].output_nusd, 200000000);
    ck_assert_int_eq(far->models[0].cached_input_nusd, 200000000);
    ck_assert_int_eq(far->models[0].cache_write_nusd, 200000000);
    ck_assert_int_eq(far->models[0].cache_write_1h_nusd, 200000000);
    ck_assert_uint_eq(conf->route_count, 1);
    const struct conf_route *route = &conf->routes[0];
    ck_assert_str_eq(route->name, "auto");
    ck_assert_uint_eq(route->cheap, 0);
    ck_assert_uint_eq(route->strong, 1);
    ck_assert_int_eq(route->policy, CONF_POLICY_SCORE);
    ck_assert_double_eq(route->threshold, 0.5);
    ck_assert_uint_eq(route->fallback_count, 1);
    ck_assert_uint_eq(route->fallback[0], 0);
    ck_assert_uint_eq(route->rule_count, 0);
}

START_TEST(built_in) {
    struct conf_errors errors;
    conf_errors_init(&errors);
    struct conf *conf = conf_load(NULL, &errors);
    ck_assert_ptr_nonnull(conf);
    check_built_in(conf);
    ck_assert_str_eq(conf->source, "(built-in)");
    ck_assert(conf->providers[1].simulated);
    ck_assert_ptr_null(conf->providers[1].api_key);
    ck_assert_str_eq(conf->providers[1].models[0].label,
                     "mistralai/Mistral-7B-Instruct-v0.2 (simulated)");
    conf_free(conf);
    setenv("HF_API_TOKEN", "hf_x", 1);
    conf = conf_load(NULL, &errors);
    ck_assert_str_eq(conf->providers[1].api_key, "hf_x");
    ck_assert(!conf->providers[1].simulated);
    ck_assert_str_eq(conf->providers[1].models[0].label, "mistralai/Mistral-7B-Instruct-v0.2");
    conf_free(conf);
    setenv("HF_API_TOKEN", "hf\r\nx", 1);
    ck_assert_ptr_null(conf_load(NULL, &errors));
    buf_append_char(&errors.lines, '\0');
    ck_assert_str_eq(errors.lines.data, "(built-in):9:18: api_key_env: the key contains a blank, "
                                        "line break or special character\n");
    unsetenv("HF_API_TOKEN");
    conf_errors_fini(&errors);
}
END_TEST

START_TEST(nothing_given_is_built_in) {
    static const char *const texts[] = {
        "",     "\n",       "# nothing\n",  "---\n",        "~\n",
        "{}\n", "cache:\n", "routes: {}\n", "\xef\xbb\xbf", "routes:\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct conf *conf = load_good(texts[i]);
        check_built_in(conf);
        conf_free(conf);
    }
}
END_TEST

START_TEST(values) {
    setenv("PORT", "81", 1);
    struct conf *conf = load_good("listen: [0.0.0.0:80, \"[0:0::1]:${PORT}\", 'a-b.example:0', "
                                  "'a-b.example:0']\n"
                                  "metrics_listen: ''\n"
                                  "workers: 3\n"
                                  "pid_file: '/run/$${PORT}$$/${PORT}${ ${1}'\n"
                                  "error_log: syslog\n"
                                  "limits: {max_body: 64MB, keepalive: 1.5s}\n"
                                  "cache: {size: 0, ttl: 1d, tool_calls: ON, file: /x}\n"
                                  "tls: {certificate: /c, key: /k}\n");
    ck_assert_uint_eq(conf->listen_count, 4);
    ck_assert_str_eq(conf->listen[1].text, "[0:0::1]:81");
    ck_assert_str_eq(conf->listen[1].host, "::1");
    ck_assert_uint_eq(conf->listen[1].port, 81);
    ck_assert_str_eq(conf->listen[3].host, "a-b.example");
    ck_assert_uint_eq(conf->listen[3].port, 0);
    ck_assert_str_eq(conf->metrics_listen.text, "");
    ck_assert_uint_eq(conf->workers, 3);
    ck_assert(!conf->workers_auto);
    ck_assert_str_eq(conf->pid_file, "/run/${PORT}$$/81${ ${1}");
    ck_assert_str_eq(conf->error_log, "syslog");
    ck_assert_int_eq(conf->limits.max_body, 64 * 1024 * 1024);
    ck_assert_int_eq(conf->limits.keepalive_ms, 1500);
    ck_assert_int_eq(conf->cache.size, 0);
    ck_assert_int_eq(conf->cache.ttl_ms, 86400000);
    ck_assert(conf->cache.tool_calls);
    ck_assert_str_eq(conf->cache.file, "/x");
    ck_assert_str_eq(conf->tls.key, "/k");
    conf_free(conf);
}
END_TEST

START_TEST(providers_and_routes) {
    setenv("MY_KEY", "sk-1", 1);
    struct conf *conf = load_good(
        "routes:\n" /* before the providers they name */
        "  auto: {cheap: llama, strong: gpt, policy: length, fallback: [llama, sim],\n"
        "    rules: [{name: code, match: '^def \\w+', to: strong},\n"
        "      {name: hi, match: 'prefix:Hello', to: cheap}, {name: own, match: x+, to: sim}]}\n"
        "  fast: {cheap: llama, strong: llama, threshold: 0.25}\n"
        "providers:\n"
        "  gpt: {type: openai, api_key_env: MY_KEY, default_model: gpt-4o-mini, models: {\n"
        "    gpt-4o: {input: 2.5, output: 10},\n"
        "    gpt-4o-mini: {input: 0.15, output: 0.60, cached_input: 0.075}}}\n"
        "  llama: {type: openai, url: 'http://[::1]:8080/v1//', default_model: l, models: {k: }}\n"
        "  claude: {type: anthropic, simulate_without_key: yes, default_model: c, models: {\n"
        "    d: {input: 3, output: 15, cached_input: 0.3},\n"
        "    e: {input: 0.000000001, output: 15, cache_write: 7, cache_write_1h: 8}}}\n"
        "  sim: {type: simulated, default_model: s, simulated: {failure_rate: 0.125}}\n");
    const struct conf_provider *gpt = &conf->providers[0];
    ck_assert_uint_eq(conf->provider_count, 4);
    ck_assert_str_eq(gpt->url, "https://api.openai.com/v1");
    ck_assert_str_eq(gpt->api_key, "sk-1");
    ck_assert_int_eq(gpt->line, 7);
    ck_assert_uint_eq(gpt->model_count, 2);
    ck_assert_int_eq(conf_find_model(gpt, BYTES_LITERAL("gpt-4o-mini")), 1);
    ck_assert_int_eq(gpt->models[0].cached_input_nusd, 2500000000);
    ck_assert_int_eq(gpt->models[1].input_nusd, 150000000);
    ck_assert_int_eq(gpt->models[1].output_nusd, 600000000);
    ck_assert_int_eq(gpt->models[1].cached_input_nusd, 75000000);
    ck_assert_int_eq(gpt->models[1].cache_write_1h_nusd, 150000000);
    ck_assert_int_eq(conf_find_model(gpt, BYTES_LITERAL("gpt")), -1);
    const struct conf_provider *llama = &conf->providers[1];
    ck_assert_str_eq(llama->url, "http://[::1]:8080/v1");
    ck_assert(!llama->simulated);
    ck_assert_ptr_null(llama->api_key);
    ck_assert_uint_eq(llama->model_count, 2);
    ck_assert_str_eq(llama->models[1].label, "l");
    ck_assert_int_eq(llama->models[1].output_nusd, CONF_PRICE_UNKNOWN);
    ck_assert_str_eq(conf->providers[2].url, "https://api.anthropic.com");
    ck_assert(conf->providers[2].simulated);
    const struct conf_model *claude = conf->providers[2].models;
    ck_assert_str_eq(claude[0].label, "d (simulated)");
    ck_assert_int_eq(claude[0].cached_input_nusd, 300000000);
    ck_assert_int_eq(claude[0].cache_write_nusd, 3750000000);    /* 1.25 times input */
    ck_assert_int_eq(claude[0].cache_write_1h_nusd, 6000000000); /* twice input */
    ck_assert_int_eq(claude[1].cache_write_nusd, 7000000000);
    ck_assert_int_eq(claude[1].cache_write_1h_nusd, 8000000000);
    ck_assert_str_eq(claude[2].label, "c (simulated)");
    ck_assert_int_eq(claude[2].cache_write_nusd, CONF_PRICE_UNKNOWN);
    ck_assert_str_eq(conf->providers[3].models[0].label, "s");
    ck_assert_double_eq(conf->providers[3].simulation.failure_rate, 0.125);
    ck_assert_int_eq(conf_find_provider(conf, BYTES_LITERAL("sim")), 3);
    ck_assert_int_eq(conf_find_provider(conf, BYTES_LITERAL("auto")), -1);
    const struct conf_route *route = &conf->routes[conf_find_route(conf, BYTES_LITERAL("auto"))];
    ck_assert_uint_eq(route->cheap, 1);
    ck_assert_uint_eq(route->strong, 0);
    ck_assert_double_eq(route->threshold, 60);
    ck_assert_uint_eq(route->fallback_count, 2);
    ck_assert_uint_eq(route->fallback[1], 3);
    ck_assert_uint_eq(route->rule_count, 3);
    ck_assert_ptr_null(route->rules[0].prefix);
    ck_assert_int_eq(route->rules[0].target, CONF_TARGET_STRONG);
    ck_assert_int_eq(regexec(&route->rules[0].regex, "def main", 0, NULL, 0), 0);
    ck_assert_int_eq(regexec(&route->rules[0].regex, "a def main", 0, NULL, 0), REG_NOMATCH);
    ck_assert_str_eq(route->rules[1].prefix, "Hello");
    ck_assert_int_eq(route->rules[2].target, CONF_TARGET_PROVIDER);
    ck_assert_uint_eq(route->rules[2].provider, 3);
    ck_assert_double_eq(conf->routes[conf_find_route(conf, BYTES_LITERAL("fast"))].threshold, 0.25);
    ck_assert_int_eq(conf_find_route(conf, BYTES_LITERAL("gpt")), -1);
    conf_free(conf);
}
END_TEST

START_TEST(auto_is_always_there) {
    struct conf *conf = load_good(ONE_PROVIDER);
    ck_assert_uint_eq(conf->route_count, 1);
    ck_assert_str_eq(conf->routes[0].name, "auto");
    ck_assert_uint_eq(conf->routes[0].cheap, 0);
    ck_assert_uint_eq(conf->routes[0].strong, 0);
    ck_assert_double_eq(conf->routes[0].threshold, 0.5);
    conf_free(conf);
    conf = load_good("routes: {more: {cheap: local, strong: local}}\n");
    ck_assert_uint_eq(conf->route_count, 2);
    ck_assert_str_eq(conf->routes[1].name, "auto");
    ck_assert_uint_eq(conf->routes[1].strong, 1);
    conf_free(conf);
    conf = load_good("routes: {auto: {cheap: huggingface, strong: local}}\n");
    ck_assert_uint_eq(conf->route_count, 1);
    ck_assert_uint_eq(conf->routes[0].strong, 0);
    conf_free(conf);
}
END_TEST

#define WITH_KEY_FILE "providers: {a: {type: openai, default_model: m, api_key_file: key}}\n"
#define WITH_KEY_AT "f:1:63: api_key_file: "

START_TEST(key_files) {
    static const struct {
        mode_t mode;
        const char *content;
        size_t size;
        const char *key;    /* what becomes of it, or */
        const char *reason; /* why not */
    } cases[] = {
        {0600, "sk-file", 7, "sk-file", NULL},
        {0400, "sk-file\n", 8, "sk-file", NULL},
        {0600, "sk-file\r\n", 9, "sk-file", NULL},
        {0640, "sk-file", 7, NULL, "mode 0640 lets others in, it must be 0600\n"},
        {0604, "sk-file", 7, NULL, "mode 0604 lets others in, it must be 0600\n"},
        {0600, "OPENAI_API_KEY=sk-x\n", 20, NULL,
         "it looks like NAME=key; only the key belongs there\n"},
        {0600, "\n", 1, NULL, "the file is empty\n"},
        {0600, "a\nb\n", 4, NULL, "the key contains a blank, line break or special character\n"},
        {0600, "a\0b", 3, NULL, "the key contains a blank, line break or special character\n"},
        {0600, "a b", 3, NULL, "the key contains a blank, line break or special character\n"},
        {0600, "a\xc3\xa9", 3, NULL, "the key contains a blank, line break or special character\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_file("key", cases[i].mode, cases[i].content, cases[i].size);
        if (cases[i].key != NULL) {
            struct conf *conf = load_good(WITH_KEY_FILE);
            ck_assert_str_eq(conf->providers[0].api_key, cases[i].key);
            conf_free(conf);
        } else {
            char lines[256];
            snprintf(lines, sizeof(lines), WITH_KEY_AT "%s", cases[i].reason);
            expect_errors(WITH_KEY_FILE, lines);
        }
    }
    char *large = calloc(1, 5000);
    memset(large, 'k', 5000);
    write_file("key", 0600, large, 4096);
    conf_free(load_good(WITH_KEY_FILE));
    write_file("key", 0600, large, 4097);
    expect_errors(WITH_KEY_FILE, WITH_KEY_AT "the key is longer than 4096 bytes\n");
    write_file("key", 0600, large, 5000);
    expect_errors(WITH_KEY_FILE, WITH_KEY_AT "the key is longer than 4096 bytes\n");
    free(large);
    remove("key");
    ck_assert_int_eq(mkfifo("key", 0600), 0);
    expect_errors(WITH_KEY_FILE, WITH_KEY_AT "is not a regular file\n");
    remove("key");
    struct conf *conf = load_good("providers: {a: {type: openai, default_model: m, "
                                  "api_key_file: key, simulate_without_key: yes}}\n");
    ck_assert(conf->providers[0].simulated);
    conf_free(conf);
}
END_TEST

#define WITH_CA_FILE                                                                        \
    "providers: {a: {type: openai, url: 'https://x', default_model: m, api_key_file: key, " \
    "ca_file: ca.pem}}\n"
#define WITH_CA_AT "f:1:95: ca_file: "

START_TEST(authorities_are_kept_as_text) {
    static const char pem[] = "# ours\n-----BEGIN CERTIFICATE-----\nMIIB\n"
                              "-----END CERTIFICATE-----\n";
    write_file("key", 0600, "k", 1);
    expect_errors(WITH_CA_FILE, WITH_CA_AT "cannot be read: No such file or directory\n");
    write_file("ca.pem", 0644, "x", 1);
    expect_errors(WITH_CA_FILE, WITH_CA_AT "there is no PEM certificate in it\n");
    write_file("ca.pem", 0644, pem, sizeof(pem) - 1);
    struct conf *conf = load_good(WITH_CA_FILE);
    ck_assert(bytes_equal_str(conf->providers[0].ca_pem, pem));
    conf_free(conf);
    remove("ca.pem");
    ck_assert_int_eq(mkfifo("ca.pem", 0600), 0);
    expect_errors(WITH_CA_FILE, WITH_CA_AT "cannot be read: not a regular file\n");
    remove("ca.pem");
    remove("key");
}
END_TEST

static void expect_refused(const char *path, const char *line) {
    struct conf_errors errors;
    conf_errors_init(&errors);
    ck_assert_ptr_null(conf_load(path, &errors));
    ck_assert_uint_eq(errors.count, 1);
    buf_append_char(&errors.lines, '\0');
    ck_assert_str_eq(errors.lines.data, line);
    conf_errors_fini(&errors);
}

START_TEST(files) {
    expect_refused("absent", "absent:1:1: No such file or directory\n");
    expect_refused("", ":1:1: No such file or directory\n");
    ck_assert_int_eq(mkdir("directory", 0700), 0);
    expect_refused("directory", "directory:1:1: not a regular file\n");
    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    expect_refused("fifo", "fifo:1:1: not a regular file\n");
    expect_refused("/dev/null", "/dev/null:1:1: not a regular file\n");
    write_file("file", 0600, "workers: x\n", 11);
    expect_refused("file", "file:1:10: workers: `x` is neither auto nor a number from 1 to 60\n");
    ck_assert_int_eq(truncate("file", 100 * 1024 * 1024), 0);
    expect_refused("file", "file:1:1: larger than 1 MB\n");
    ck_assert_int_eq(truncate("file", CONF_MAX_FILE_BYTES + 1), 0);
    expect_refused("file", "file:1:1: larger than 1 MB\n");
    char *blanks = malloc(CONF_MAX_FILE_BYTES);
    memset(blanks, '\n', CONF_MAX_FILE_BYTES);
    write_file("file", 0600, blanks, CONF_MAX_FILE_BYTES);
    free(blanks);
    struct conf_errors errors;
    conf_errors_init(&errors);
    struct conf *conf = conf_load("file", &errors);
    ck_assert_ptr_nonnull(conf);
    ck_assert_str_eq(conf->source, "file");
    conf_free(conf);
    conf_errors_fini(&errors);
}
END_TEST

START_TEST(long_values) {
    struct buf text;
    buf_init(&text, 0);
    buf_append_str(&text, "pid_file: ");
    for (unsigned i = 0; i < 4097; i++) {
        buf_append_char(&text, 'x');
    }
    buf_append_char(&text, '\0');
    expect_errors(text.data, "f:1:11: pid_file: is longer than 4096 bytes\n");
    setenv("LONG", text.data, 1); /* 4107 bytes */
    expect_errors("pid_file: a${LONG}\n", "f:1:11: pid_file: is longer than 4096 bytes\n");
    text.data[10 + 4096] = '\0';
    struct conf *conf = load_good(text.data);
    ck_assert_uint_eq(strlen(conf->pid_file), 4096);
    conf_free(conf);
    setenv("LATIN", "caf\xe9", 1);
    expect_errors("pid_file: ${LATIN}\n", "f:1:11: pid_file: contains NUL or invalid UTF-8\n");
    buf_free(&text);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("conf");
    TCase *tcase = tcase_create("load");
    tcase_add_checked_fixture(tcase, make_directory, remove_directory);
    tcase_add_test(tcase, built_in);
    tcase_add_test(tcase, nothing_given_is_built_in);
    tcase_add_test(tcase, values);
    tcase_add_test(tcase, providers_and_routes);
    tcase_add_test(tcase, auto_is_always_there);
    tcase_add_test(tcase, key_files);
    tcase_add_test(tcase, authorities_are_kept_as_text);
    tcase_add_test(tcase, files);
    tcase_add_test(tcase, long_values);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
