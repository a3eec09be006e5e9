/* test_conf_print: -T loads again to the same configuration, shows no secret, and is what
 * etc/optiroute.yaml says; the list of keys that need a restart.
 */
#include "config.h"

#include "conf_unit.h"

static const char complicated[] =
    "listen: ['[::]:8000', localhost:0]\n"
    "metrics_listen: ''\n"
    "workers: 7\n"
    "user: 'yes'\n"
    "pid_file: '$${HOME}/$$${HOME_}'\n"
    "access_log: \"/var/log/\\u00e9 #'\\\" : {x}\"\n"
    "limits: {max_body: 1536KB, keepalive: 1.5s, drain_delay: 90s}\n"
    "cache: {size: 0, tool_calls: yes, replay_pace: 15ms}\n"
    "tls: {certificate: a, key: b}\n"
    "providers:\n"
    "  '1.5': {type: simulated, default_model: 'null', models: {'~': {}, \"a\\u2028\\uFEFFb\": "
    "{}},\n"
    "    per_second: 0.000000001, simulated: {failure_rate: 0.333333333, seed: 9007199254740992}}\n"
    "  gpt: {type: openai, api_key_env: MY_KEY, default_model: d, allow_unlisted_models: yes,\n"
    "    models: {a b: {input: 0, output: 999999.999999999}, 'x: y': {input: 1, output: 2,\n"
    "    cached_input: 0.5}}, timeouts: {total: 1d}, retry: {attempts: 0, backoff: 0}}\n"
    "  'yes': {type: anthropic, simulate_without_key: yes, default_model: c,\n"
    "    url: 'https://h:1/a', breaker: {open: 1ms, max_open: 2ms}}\n"
    "routes:\n"
    "  'on': {cheap: gpt, strong: '1.5', policy: length, threshold: 61.5,\n"
    "    fallback: ['yes', '1.5'],\n"
    "    rules: [{name: '1', match: \"prefix:\\t${X\\x01'\\\"\\\\\\\\ $${HOME}\\n\", to: cheap},\n"
    "      {name: b, match: 'prefix: x', to: 'yes'}, {name: c, match: '[]a]{1,3}', to: strong}]}\n"
    "  auto: {cheap: 'yes', strong: gpt, threshold: 0}\n";

static void set_environment(void) {
    setenv("MY_KEY", "sk-very-secret", 1);
    setenv("HOME_", "home", 1);
    unsetenv("HF_API_TOKEN");
}

static void check_same_model(const struct conf_model *a, const struct conf_model *b) {
    ck_assert_str_eq(a->name, b->name);
    ck_assert_str_eq(a->label, b->label);
    ck_assert_int_eq(a->input_nusd, b->input_nusd);
    ck_assert_int_eq(a->output_nusd, b->output_nusd);
    ck_assert_int_eq(a->cached_input_nusd, b->cached_input_nusd);
}

static void check_same_provider(const struct conf_provider *a, const struct conf_provider *b) {
    ck_assert_str_eq(a->name, b->name);
    ck_assert_int_eq(a->type, b->type);
    ck_assert_int_eq(a->simulated, b->simulated);
    ck_assert_int_eq(a->simulate_without_key, b->simulate_without_key);
    ck_assert_str_eq(a->url, b->url);
    ck_assert_str_eq(a->api_key_env, b->api_key_env);
    ck_assert_str_eq(a->api_key_file, b->api_key_file);
    ck_assert_pstr_eq(a->api_key, b->api_key);
    ck_assert_str_eq(a->default_model, b->default_model);
    ck_assert_uint_eq(a->model_count, b->model_count);
    for (unsigned i = 0; i < a->model_count; i++) {
        check_same_model(&a->models[i], &b->models[i]);
    }
    ck_assert_int_eq(a->allow_unlisted_models, b->allow_unlisted_models);
    ck_assert_int_eq(a->per_second_nusd, b->per_second_nusd);
    ck_assert_int_eq(a->connect_timeout_ms, b->connect_timeout_ms);
    ck_assert_int_eq(a->first_byte_timeout_ms, b->first_byte_timeout_ms);
    ck_assert_int_eq(a->idle_timeout_ms, b->idle_timeout_ms);
    ck_assert_int_eq(a->total_timeout_ms, b->total_timeout_ms);
    ck_assert_int_eq(a->retry_attempts, b->retry_attempts);
    ck_assert_int_eq(a->retry_backoff_ms, b->retry_backoff_ms);
    ck_assert_int_eq(a->breaker_failures, b->breaker_failures);
    ck_assert_int_eq(a->breaker_open_ms, b->breaker_open_ms);
    ck_assert_int_eq(a->breaker_max_open_ms, b->breaker_max_open_ms);
    ck_assert_int_eq(a->max_concurrency, b->max_concurrency);
    ck_assert_mem_eq(&a->simulation, &b->simulation, sizeof(a->simulation));
}

static void check_same_route(const struct conf_route *a, const struct conf_route *b) {
    ck_assert_str_eq(a->name, b->name);
    ck_assert_uint_eq(a->cheap, b->cheap);
    ck_assert_uint_eq(a->strong, b->strong);
    ck_assert_int_eq(a->policy, b->policy);
    ck_assert_double_eq(a->threshold, b->threshold);
    ck_assert_uint_eq(a->fallback_count, b->fallback_count);
    ck_assert_mem_eq(a->fallback, b->fallback, a->fallback_count * sizeof(a->fallback[0]));
    ck_assert_uint_eq(a->rule_count, b->rule_count);
    for (unsigned i = 0; i < a->rule_count; i++) {
        ck_assert_str_eq(a->rules[i].name, b->rules[i].name);
        ck_assert_str_eq(a->rules[i].match, b->rules[i].match);
        ck_assert_pstr_eq(a->rules[i].prefix, b->rules[i].prefix);
        ck_assert_int_eq(a->rules[i].target, b->rules[i].target);
        ck_assert_uint_eq(a->rules[i].provider, b->rules[i].provider);
    }
}

static void check_same(const struct conf *a, const struct conf *b) {
    ck_assert_uint_eq(a->listen_count, b->listen_count);
    for (unsigned i = 0; i < a->listen_count; i++) {
        ck_assert_str_eq(a->listen[i].text, b->listen[i].text);
        ck_assert_str_eq(a->listen[i].host, b->listen[i].host);
        ck_assert_uint_eq(a->listen[i].port, b->listen[i].port);
    }
    ck_assert_str_eq(a->metrics_listen.text, b->metrics_listen.text);
    ck_assert_uint_eq(a->workers, b->workers);
    ck_assert_int_eq(a->workers_auto, b->workers_auto);
    ck_assert_str_eq(a->user, b->user);
    ck_assert_str_eq(a->pid_file, b->pid_file);
    ck_assert_str_eq(a->error_log, b->error_log);
    ck_assert_str_eq(a->access_log, b->access_log);
    ck_assert_mem_eq(&a->limits, &b->limits, sizeof(a->limits));
    ck_assert_int_eq(a->cache.size, b->cache.size);
    ck_assert_int_eq(a->cache.ttl_ms, b->cache.ttl_ms);
    ck_assert_int_eq(a->cache.max_value, b->cache.max_value);
    ck_assert_str_eq(a->cache.file, b->cache.file);
    ck_assert_int_eq(a->cache.tool_calls, b->cache.tool_calls);
    ck_assert_int_eq(a->cache.replay_pace_ms, b->cache.replay_pace_ms);
    ck_assert_str_eq(a->tls.certificate, b->tls.certificate);
    ck_assert_str_eq(a->tls.key, b->tls.key);
    ck_assert_uint_eq(a->provider_count, b->provider_count);
    for (unsigned i = 0; i < a->provider_count; i++) {
        check_same_provider(&a->providers[i], &b->providers[i]);
    }
    ck_assert_uint_eq(a->route_count, b->route_count);
    for (unsigned i = 0; i < a->route_count; i++) {
        check_same_route(&a->routes[i], &b->routes[i]);
    }
}

static void check_round_trip(const char *text) {
    struct buf printed;
    struct buf again;
    struct conf *first = load_good(text);
    print_to(first, &printed);
    ck_assert_ptr_null(strstr(printed.data, "very-secret"));
    struct conf *second = load_good(printed.data);
    check_same(first, second);
    print_to(second, &again);
    ck_assert_str_eq(strchr(printed.data, '\n'), strchr(again.data, '\n'));
    conf_free(first);
    conf_free(second);
    buf_free(&printed);
    buf_free(&again);
}

START_TEST(round_trips) {
    struct buf complete;
    struct buf minimal;
    read_source_file("etc/optiroute.yaml", &complete);
    read_source_file("etc/optiroute-minimal.yaml", &minimal);
    check_round_trip("");
    check_round_trip(complete.data);
    check_round_trip(minimal.data);
    check_round_trip(complicated);
    setenv("HF_API_TOKEN", "hf-very-secret", 1);
    check_round_trip("");
    buf_free(&complete);
    buf_free(&minimal);
}
END_TEST

START_TEST(complicated_is_understood) {
    struct conf *conf = load_good(complicated);
    ck_assert_str_eq(conf->pid_file, "${HOME}/$${HOME_}");
    ck_assert_str_eq(conf->routes[0].rules[0].match, "prefix:\t${X\x01'\"\\\\ ${HOME}\n");
    ck_assert_int_eq(conf->providers[0].per_second_nusd, 1);
    ck_assert_int_eq(conf->providers[1].models[0].output_nusd, 999999999999999);
    ck_assert_str_eq(conf->providers[1].api_key, "sk-very-secret");
    ck_assert_double_eq(conf->routes[0].threshold, 61.5);
    conf_free(conf);
}
END_TEST

/* Without comments, empty lines and blanks at the end; in place. */
static void strip_comments(char *text) {
    char *to = text;
    char *line = text;
    while (*line != '\0') {
        char *end = strchr(line, '\n');
        ck_assert_ptr_nonnull(end);
        *end = '\0';
        char *comment = line[0] == '#' ? line : strstr(line, " #");
        if (comment != NULL) {
            *comment = '\0';
        }
        size_t size = strlen(line);
        while (size > 0 && line[size - 1] == ' ') {
            size--;
        }
        if (size > 0) {
            memmove(to, line, size);
            to[size] = '\n';
            to += size + 1;
        }
        line = end + 1;
    }
    *to = '\0';
}

START_TEST(complete_file_is_every_key_with_its_default) {
    struct buf complete;
    struct buf printed;
    struct conf *conf = load_good("");
    print_to(conf, &printed);
    read_source_file("etc/optiroute.yaml", &complete);
    strip_comments(printed.data);
    strip_comments(complete.data);
    ck_assert_str_eq(complete.data, printed.data);
    conf_free(conf);
    buf_free(&complete);
    buf_free(&printed);
}
END_TEST

START_TEST(keys_for_restart) {
    static const struct {
        const char *running, *fresh, *keys;
    } cases[] = {
        {"", "", ""},
        {"", "workers: 3\nerror_log: x\naccess_log: y\ncache: {ttl: 5s}\n", ""},
        {"", "listen: 127.0.0.1:8000\n", ""},
        {"", "listen: [127.0.0.1:8000, 127.0.0.1:8001]\n", "listen"},
        {"cache: {size: 1GB}\n", "cache: {size: 1024MB}\n", ""},
        {"cache: {size: 1GB}\n",
         "cache: {file: x}\nuser: u\npid_file: p\nmetrics_listen: ''\nlisten: a:1\n",
         "listen, metrics_listen, user, pid_file, cache.size, cache.file"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct conf *running = load_good(cases[i].running);
        struct conf *fresh = load_good(cases[i].fresh);
        struct buf keys;
        buf_init(&keys, 0);
        conf_restart_keys(running, fresh, &keys);
        buf_append_char(&keys, '\0');
        ck_assert_str_eq(keys.data, cases[i].keys);
        buf_free(&keys);
        conf_free(running);
        conf_free(fresh);
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("conf_print");
    TCase *tcase = tcase_create("print");
    tcase_add_checked_fixture(tcase, set_environment, NULL);
    tcase_add_test(tcase, round_trips);
    tcase_add_test(tcase, complicated_is_understood);
    tcase_add_test(tcase, complete_file_is_every_key_with_its_default);
    tcase_add_test(tcase, keys_for_restart);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
