/* test_conf_read: texts that must be refused, each with the exact lines that say why.
 */
#include "conf_unit.h"

struct refusal {
    const char *text;
    const char *lines;
};

static void check_all(const struct refusal *cases, size_t count) {
    unsetenv("NOT_THERE");
    setenv("EMPTY", "", 1);
    for (size_t i = 0; i < count; i++) {
        expect_errors(cases[i].text, cases[i].lines);
    }
}
#define CHECK_ALL(cases) check_all((cases), sizeof(cases) / sizeof((cases)[0]))

START_TEST(keys) {
    static const struct refusal cases[] = {
        {"lisen: 1\n", "f:1:1: unknown key `lisen`, did you mean `listen`?\n"},
        {"quux: 1\n", "f:1:1: unknown key `quux`\n"},
        {"cache:\n  sise: 1\n", "f:2:3: unknown key `sise`, did you mean `size`?\n"},
        {"cache: {tt: 1h}\n", "f:1:9: unknown key `tt`, did you mean `ttl`?\n"},
        {"<<: 1\n", "f:1:1: unknown key `<<`\n"},
        {"\"a\\eb\": 1\n", "f:1:1: unknown key `a\\x1Bb`\n"},
        {"workers: 1\n\nworkers: 2\n", "f:3:1: key `workers` stands here twice, first in line 1\n"},
        {"workers: 1\n\"workers\": 2\n",
         "f:2:1: key `workers` stands here twice, first in line 1\n"},
        {"cache: {ttl: 1s, size: 0, ttl: 2s, ttl: 3s}\n",
         "f:1:27: key `ttl` stands here twice, first in line 1\n"
         "f:1:36: key `ttl` stands here twice, first in line 1\n"},
        {"providers:\n  a: {type: simulated, default_model: m}\n"
         "  a: {type: simulated, default_model: m}\n",
         "f:3:3: key `a` stands here twice, first in line 2\n"},
        {"cache: 5\n", "f:1:8: cache: must be a mapping, not a single value\n"},
        {"cache: [a]\n", "f:1:8: cache: must be a mapping, not a list\n"},
        {"cache: {size: {a: b}}\n", "f:1:15: size: must be a single value, not a mapping\n"},
        {"- a\n", "f:1:1: the file: must be a mapping, not a list\n"},
        {"hello\n", "f:1:1: the file: must be a mapping, not a single value\n"},
        {"workers:\n", "f:1:9: workers: has no value\n"},
        {"workers: ~\n", "f:1:10: workers: has no value\n"},
    };
    CHECK_ALL(cases);
}
END_TEST

START_TEST(values) {
    static const struct refusal cases[] = {
        {"cache: {ttl: 5x}\n",
         "f:1:14: ttl: `5x` is not a duration like 500ms, 30s, 5m, 1h or 1d\n"},
        {"cache: {ttl: 5}\n", "f:1:14: ttl: `5` is not a duration like 500ms, 30s, 5m, 1h or 1d\n"},
        {"cache: {ttl: 0}\n", "f:1:14: ttl: 0 is out of bounds: from 1ms to 365d\n"},
        {"cache: {ttl: 366d}\n", "f:1:14: ttl: 366d is out of bounds: from 1ms to 365d\n"},
        {"cache: {size: 4mb}\n", "f:1:15: size: `4mb` is not a size like 512KB, 4MB or 1GB\n"},
        {"cache: {size: 1KB}\n", "f:1:15: size: 1KB is out of bounds: 0 or from 1MB to 1TB\n"},
        {"cache: {tool_calls: maybe}\n", "f:1:21: tool_calls: `maybe` is neither yes nor no\n"},
        {"workers: 0\n", "f:1:10: workers: `0` is neither auto nor a number from 1 to 60\n"},
        {"workers: 61\n", "f:1:10: workers: `61` is neither auto nor a number from 1 to 60\n"},
        {"workers: -1\n", "f:1:10: workers: `-1` is neither auto nor a number from 1 to 60\n"},
        {"limits: {max_connections: 1e3}\n",
         "f:1:27: max_connections: `1e3` is not a whole number\n"},
        {"limits: {max_connections: 0}\n",
         "f:1:27: max_connections: 0 is out of bounds: from 1 to 1000000\n"},
        {"error_log: \"\"\n", "f:1:12: error_log: must not be empty\n"},
        {"pid_file: \"a\\nb\"\n",
         "f:1:11: pid_file: contains a line break or another control character\n"},
        {"pid_file: \"a\\0b\"\n", "f:1:11: pid_file: contains NUL or invalid UTF-8\n"},
        {"pid_file: \"a\\x9bb\"\n",
         "f:1:11: pid_file: contains a line break or another control character\n"},
        {"pid_file: ${NOT_THERE}\nuser: ${NOT_THERE}\n",
         "f:2:7: user: ${NOT_THERE} is not set in the environment\n"},
        {"user: ${EMPTY}\n", "f:1:7: user: must not be empty\n"},
        {"access_log: ${NOT_THERE}/a.log\npid_file: /run${EMPTY}/o.pid\n",
         "f:1:13: access_log: ${NOT_THERE} is not set in the environment\n"},
        {"listen: 127.0.0.1:${NOT_THERE}\n",
         "f:1:9: listen: ${NOT_THERE} is not set in the environment\n"},
    };
    CHECK_ALL(cases);
}
END_TEST

#define NOT_ADDRESS "is not an address like 127.0.0.1:8000 or [::1]:8000\n"

START_TEST(addresses) {
    static const struct refusal cases[] = {
        {"listen: 8000\n", "f:1:9: listen: `8000` " NOT_ADDRESS},
        {"listen: 1.2.3:80\n", "f:1:9: listen: `1.2.3:80` " NOT_ADDRESS},
        {"listen: 1.2.3.256:80\n", "f:1:9: listen: `1.2.3.256:80` " NOT_ADDRESS},
        {"listen: ':80'\n", "f:1:9: listen: `:80` " NOT_ADDRESS},
        {"listen: 'a:'\n", "f:1:9: listen: `a:` " NOT_ADDRESS},
        {"listen: '::1:80'\n", "f:1:9: listen: `::1:80` " NOT_ADDRESS},
        {"listen: '[::1'\n", "f:1:9: listen: `[::1` " NOT_ADDRESS},
        {"listen: '[::1]80'\n", "f:1:9: listen: `[::1]80` " NOT_ADDRESS},
        {"listen: '[127.0.0.1]:80'\n", "f:1:9: listen: `[127.0.0.1]:80` " NOT_ADDRESS},
        {"listen: 'a b:80'\n", "f:1:9: listen: `a b:80` " NOT_ADDRESS},
        {"listen: a:65536\n",
         "f:1:9: listen: `a:65536`: the port must be a number from 0 to 65535\n"},
        {"listen: a:+1\n", "f:1:9: listen: `a:+1`: the port must be a number from 0 to 65535\n"},
        {"listen: []\n", "f:1:9: listen: needs at least one address\n"},
        {"listen: {a: b}\n", "f:1:9: listen: must be a list of addresses, not a mapping\n"},
        {"listen: [[a]]\n", "f:1:10: listen: must be a single value, not a list\n"},
        {"listen: ['a:1', 'A:1']\n", "f:1:17: listen: `A:1` is in the list twice\n"},
        {"listen: ['[::1]:1', '[0:0::1]:1']\n",
         "f:1:21: listen: `[0:0::1]:1` is in the list twice\n"},
        {"listen: 127.0.0.1:9464\n",
         "f:1:9: metrics_listen: `127.0.0.1:9464` is in `listen` too\n"},
        {"metrics_listen: x\n", "f:1:17: metrics_listen: `x` " NOT_ADDRESS},
        {"tls: {certificate: a}\n", "f:1:7: tls: `certificate` without `key`\n"},
        {"tls: {key: a}\n", "f:1:7: tls: `key` without `certificate`\n"},
    };
    CHECK_ALL(cases);
}
END_TEST

#define KEY_ADVICE "; set it, name an api_key_file, or say simulate_without_key: yes\n"
#define P(inside) "providers: {a: {type: openai, url: 'http://x', default_model: m, " inside "}}\n"
#define URL(url) "providers: {a: {type: openai, default_model: m, url: '" url "'}}\n"
#define NOT_NAME "is not a name of 1 to 64 characters from A-Z a-z 0-9 . _ -\n"
#define NOT_PLAIN                                                                         \
    "must be a plain address and path: no user, password, query, blank or other special " \
    "character\n"

START_TEST(providers) {
    static const struct refusal cases[] = {
        {"providers:\n", "f:1:1: providers: needs at least one\n"},
        {"providers: {}\n", "f:1:1: providers: needs at least one\n"},
        {"providers: [a]\n", "f:1:12: providers: must be a mapping, not a list\n"},
        {"providers:\n  a:\n",
         "f:2:3: a: `default_model` is missing\nf:2:3: a: `type` is missing\n"},
        {"providers:\n  a: 5\n", "f:2:6: a: must be a mapping, not a single value\n"},
        {"providers: {a: {type: opnai, default_model: m}}\n",
         "f:1:23: type: `opnai` is none of simulated, openai, anthropic, huggingface; did you "
         "mean `openai`?\n"},
        {"providers: {auto: {type: simulated, default_model: m}}\n",
         "f:1:13: a provider must not be called `auto`\n"},
        {"providers: {cheap: {type: simulated, default_model: m}}\n",
         "f:1:13: a provider must not be called `cheap`\n"},
        {"providers: {strong: {type: simulated, default_model: m}}\n",
         "f:1:13: a provider must not be called `strong`\n"},
        {"providers: {a/b: {type: simulated, default_model: m}}\n", "f:1:13: `a/b` " NOT_NAME},
        {"providers: {a: {type: simulated, default_model: \"m\\r\"}}\n",
         "f:1:49: default_model: contains a line break or another control character\n"},
        {"providers: {a: {type: simulated, default_model: ' m'}}\n",
         "f:1:49: the model's name begins or ends with a blank\n"},
        {"providers: {a: {type: simulated, default_model: m, models: {\"x\\ty\": {}}}}\n",
         "f:1:61: the model's name contains a control character\n"},
        {P("api_key: sk"), "f:1:66: unknown key `api_key`, did you mean `api_key_env`?\n"},
        {P("api_key_env: NOT_THERE"),
         "f:1:79: api_key_env: NOT_THERE is not set in the environment" KEY_ADVICE},
        {P("api_key_env: EMPTY"),
         "f:1:79: api_key_env: EMPTY is not set in the environment" KEY_ADVICE},
        {P("api_key_env: sk-secret"),
         "f:1:79: api_key_env: this is not the name of an environment variable (the key itself "
         "never stands in this file)\n"},
        {P("api_key_file: /no/such/file"),
         "f:1:80: api_key_file: cannot be opened: No such file or directory\n"},
        {P("api_key_env: EMPTY, api_key_file: x"),
         "f:1:86: api_key_file: api_key_env is given too, one of them is enough\n"},
        {"providers: {a: {type: openai, default_model: m}}\n",
         "f:1:13: a: https://api.openai.com/v1 needs a key: `api_key_env` or `api_key_file`\n"},
        {URL("ftp://x"), "f:1:54: url: must begin with http:// or https://\n"},
        {URL("http://"), "f:1:54: url: `` is not a host with an optional port\n"},
        {URL("http://x:0"), "f:1:54: url: `x:0` is not a host with an optional port\n"},
        {URL("http://x:/a"), "f:1:54: url: `x:` is not a host with an optional port\n"},
        {URL("http://x/v1/chat/completions/"),
         "f:1:54: url: ends in /chat/completions, which is added by itself: leave it out\n"},
        {URL("http://x/v1/messages"),
         "f:1:54: url: ends in /messages, which is added by itself: leave it out\n"},
        {URL("http://u:p@x"), "f:1:54: url: " NOT_PLAIN},
        {URL("http://x?k=v"), "f:1:54: url: " NOT_PLAIN},
        {URL("http://x y"), "f:1:54: url: " NOT_PLAIN},
        {P("models: {x: {input: 1}}"), "f:1:75: x: the price needs both `input` and `output`\n"},
        {P("models: {x: {cache_write: 1}}"),
         "f:1:75: x: the price needs both `input` and `output`\n"},
        {P("models: {x: {cached_input: 1}}"),
         "f:1:75: x: the price needs both `input` and `output`\n"},
        {P("models: {x: {input: 0.1234567891, output: 1}}"),
         "f:1:75: x: the price needs both `input` and `output`\n"
         "f:1:86: input: `0.1234567891` is not an amount in USD with at most nine decimals\n"},
        {P("models: {x: {input: 1000001, output: -1}}"),
         "f:1:86: input: 1000001 is out of bounds: from 0 to 1000000\n"
         "f:1:103: output: -1 is out of bounds: from 0 to 1000000\n"},
        {P("models: {x: {input: 1, output: 2}}, per_second: 1"),
         "f:1:102: per_second: the models have prices too, one of them must go\n"},
        {P("per_second: free"),
         "f:1:78: per_second: `free` is not an amount in USD with at most nine decimals\n"},
        {P("breaker: {open: 10m}"), "f:1:66: breaker: max_open must not be shorter than open\n"},
        {P("breaker: {failures: 256}"), "f:1:86: failures: 256 is out of bounds: from 1 to 255\n"},
        {P("simulated: {failure_rate: 1.01}"),
         "f:1:92: failure_rate: 1.01 is out of bounds: from 0 to 1\n"},
    };
    CHECK_ALL(cases);
}
END_TEST

#define R(inside) ONE_PROVIDER "routes: {r: {cheap: a, strong: a, " inside "}}\n"

START_TEST(routes) {
    static const struct refusal cases[] = {
        {"providers:\n  a: {type: simulated, default_model: m}\n"
         "  b: {type: simulated, default_model: m}\n",
         "f:1:1: routes: `auto` is missing: it must say which provider is cheap and which is "
         "strong\n"},
        {"routes: {auto: {cheap: local, strong: gpt, threshold: 1.5}}\n",
         "f:1:39: strong: there is no provider `gpt`\n"
         "f:1:55: threshold: out of bounds: from 0 to 1 for policy score\n"},
        {"routes: {auto: {cheap: local, strong: local, policy: lenght, threshold: 60}}\n",
         "f:1:54: policy: `lenght` is none of length, score; did you mean `length`?\n"},
        {"routes: {auto: {cheap: lokal, strong: huggingface}}\n",
         "f:1:24: cheap: there is no provider `lokal`, did you mean `local`?\n"},
        {"routes: {auto: {cheap: [local], strong: }}\n",
         "f:1:24: cheap: must be a single value, not a list\nf:1:41: strong: has no value\n"},
        {"routes: {auto: {cheap: local}}\n", "f:1:10: auto: `strong` is missing\n"},
        {"routes: {local: {cheap: local, strong: local}}\n",
         "f:1:10: route `local` has the name of a provider\n"},
        {"routes: {cheap: {cheap: local, strong: local}}\n",
         "f:1:10: a route must not be called `cheap`\n"},
        {"routes: {'': {cheap: local, strong: local}}\n", "f:1:10: `` " NOT_NAME},
        {R("fallback: [a, c]"), "f:2:49: fallback: there is no provider `c`\n"},
        {R("fallback: [a, a]"), "f:2:49: fallback: `a` is in the list twice\n"},
        {R("fallback: c"), "f:2:45: fallback: there is no provider `c`\n"},
        {R("fallback: {a: b}"), "f:2:45: fallback: must be a list, not a mapping\n"},
        {R("policy: lenght, threshold: 60"),
         "f:2:43: policy: `lenght` is none of length, score; did you mean `length`?\n"},
        {R("threshold: 60"), "f:2:46: threshold: out of bounds: from 0 to 1 for policy score\n"},
        {R("policy: length, threshold: 0.5"),
         "f:2:62: threshold: out of bounds: from 1 to 100000 for policy length\n"},
        {R("rules: [{name: x, match: '(', to: cheap}]"),
         "f:2:60: match: not a regular expression: Unmatched ( or \\(\n"},
        {R("rules: [{name: x, match: 'prefix:', to: cheap}]"),
         "f:2:60: match: nothing stands behind prefix:\n"},
        {R("rules: [{name: x, match: '(a)\\1', to: cheap}]"),
         "f:2:60: match: back-references (\\1) are not allowed\n"},
        {R("rules: [{name: x, match: '((a{200}){200})', to: cheap}]"),
         "f:2:60: match: its repetitions multiply to more than 2000 characters\n"},
        {R("rules: [{name: x, match: 'a{256}', to: cheap}]"),
         "f:2:60: match: a repetition must be at most 255\n"},
        {R("rules: [{name: x, match: '(((((((((((((((a+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)', to: a}]"),
         "f:2:60: match: its repetitions multiply to more than 2000 characters\n"},
        {R("rules: [{name: x, match: a, to: b}]"), "f:2:67: to: there is no provider `b`\n"},
        {R("rules: [{name: x y, match: a, to: a}]"), "f:2:50: name: `x y` " NOT_NAME},
        {R("rules: [{name: x, match: a, to: a}, {name: x, match: b, to: a}]"),
         "f:2:71: rules: `x` is the name of two rules\n"},
        {R("rules: [{match: a, to: a}]"), "f:2:43: rule: `name` is missing\n"},
        {R("rules: [x]"), "f:2:43: rule: must be a mapping, not a single value\n"},
        {R("rules: {name: x}"), "f:2:42: rules: must be a list, not a mapping\n"},
    };
    CHECK_ALL(cases);
}
END_TEST

START_TEST(everything_at_once) {
    expect_errors("cache: {size: 5x}\n"
                  "routes: {auto: {cheap: x, strong: local}}\n"
                  "lisen: 1\n"
                  "workers: many\n",
                  "f:1:15: size: `5x` is not a size like 512KB, 4MB or 1GB\n"
                  "f:2:24: cheap: there is no provider `x`\n"
                  "f:3:1: unknown key `lisen`, did you mean `listen`?\n"
                  "f:4:10: workers: `many` is neither auto nor a number from 1 to 60\n");
}
END_TEST

START_TEST(fifty_are_enough) {
    struct buf text;
    struct conf_errors errors;
    buf_init(&text, 0);
    conf_errors_init(&errors);
    for (unsigned i = 0; i < 57; i++) {
        buf_printf(&text, "zz%u: 1\n", i);
    }
    ck_assert_ptr_null(conf_load_text("f", buf_bytes(&text), &errors));
    ck_assert_uint_eq(errors.count, 57);
    unsigned lines = 0;
    for (size_t i = 0; i < errors.lines.size; i++) {
        lines += errors.lines.data[i] == '\n';
    }
    ck_assert_uint_eq(lines, 51);
    const char tail[] = "\nand 7 more\n";
    ck_assert_mem_eq(errors.lines.data + errors.lines.size - strlen(tail), tail, strlen(tail));
    conf_errors_fini(&errors);
    buf_free(&text);
}
END_TEST

/* How many of a kind there may be, one less and one more. */
START_TEST(counts) {
    static const struct {
        const char *before, *each, *after; /* each has one %u */
        unsigned max;
        const char *reason;
    } cases[] = {
        {"providers: {", "p%u: {type: simulated, default_model: m}, ",
         "}\nroutes: {auto: {cheap: p0, strong: p0}}\n", CONF_MAX_PROVIDERS,
         "providers: at most 32\n"},
        {"providers: {p: {type: simulated, default_model: m0, models: {", "m%u: {}, ", "}}}\n",
         CONF_MAX_MODELS, "models: at most 64 of one provider\n"},
        {ONE_PROVIDER "routes: {", "r%u: {cheap: a, strong: a}, ", "}\n", CONF_MAX_ROUTES - 1,
         "routes: at most 32, auto included\n"},
        {ONE_PROVIDER "routes: {r: {cheap: a, strong: a, rules: [",
         "{name: n%u, match: x, to: a}, ", "]}}\n", CONF_MAX_RULES,
         "rules: at most 64 in a route\n"},
        {"listen: [", "'a:%u', ", "]\n", CONF_MAX_LISTEN, "listen: at most 16 addresses\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned count = cases[i].max; count <= cases[i].max + 1; count++) {
            struct buf text;
            struct conf_errors errors;
            buf_init(&text, 0);
            conf_errors_init(&errors);
            buf_append_str(&text, cases[i].before);
            for (unsigned j = 0; j < count; j++) {
                const char *number = strstr(cases[i].each, "%u");
                buf_append(&text, cases[i].each, (size_t)(number - cases[i].each));
                buf_printf(&text, "%u%s", j, number + 2);
            }
            buf_append_str(&text, cases[i].after);
            struct conf *conf = conf_load_text("f", buf_bytes(&text), &errors);
            buf_append_char(&errors.lines, '\0');
            if (count == cases[i].max) {
                ck_assert_msg(conf != NULL, "%s", errors.lines.data);
            } else {
                ck_assert_ptr_null(conf);
                ck_assert_msg(strstr(errors.lines.data, cases[i].reason) != NULL, "%s",
                              errors.lines.data);
            }
            conf_free(conf);
            conf_errors_fini(&errors);
            buf_free(&text);
        }
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("conf_read");
    TCase *tcase = tcase_create("refusals");
    tcase_add_test(tcase, keys);
    tcase_add_test(tcase, values);
    tcase_add_test(tcase, addresses);
    tcase_add_test(tcase, providers);
    tcase_add_test(tcase, routes);
    tcase_add_test(tcase, everything_at_once);
    tcase_add_test(tcase, fifty_are_enough);
    tcase_add_test(tcase, counts);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)
