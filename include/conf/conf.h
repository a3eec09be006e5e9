/* conf: the configuration: one YAML file, read once into one immutable structure.
 *
 * The master loads it, checks it and forks workers that inherit it; nobody changes a loaded
 * configuration. A reload makes a new one and a new generation of workers. Keys, types, bounds,
 * defaults and help are rows of conf_table.c. Durations are milliseconds, sizes bytes, money
 * nano-dollars (10^-9 USD).
 */
#ifndef OPTIROUTE_CONF_CONF_H
#define OPTIROUTE_CONF_CONF_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define CONF_MAX_PROVIDERS 32
#define CONF_MAX_MODELS 64      /* per provider */
#define CONF_MAX_MODELS_ALL 192 /* of all providers; the region has 256 names for pairs */
#define CONF_MAX_PAIR_BYTES 127 /* provider + separator + label, as a name in the region */
#define CONF_MAX_ROUTES 32
#define CONF_MAX_RULES 64    /* per route */
#define CONF_MAX_FALLBACKS 8 /* per route */
#define CONF_MAX_LISTEN 16
#define CONF_MAX_WORKERS 60 /* two generations, each with a metrics worker, fit 128 slots */
#define CONF_MAX_FILE_BYTES (1024 * 1024)
#define CONF_PRICE_UNKNOWN (-1)

enum conf_provider_type {
    CONF_SIMULATED,
    CONF_OPENAI,
    CONF_ANTHROPIC,
    CONF_HUGGINGFACE,
    CONF_TYPE_COUNT
};

/* A TCP address to listen on: numeric IPv4, [IPv6] or a host name that resolves, with a port (0:
 * any free one). */
struct conf_address {
    const char *text; /* as written: "127.0.0.1:8000", "[::1]:8000" */
    const char *host; /* without brackets */
    uint16_t port;
};

struct conf_limits {
    int64_t max_body;        /* bytes */
    int64_t max_connections; /* whole daemon */
    int64_t header_timeout_ms;
    int64_t keepalive_ms;
    int64_t shutdown_timeout_ms;
    int64_t drain_delay_ms;
};

struct conf_cache {
    int64_t size; /* bytes; 0: off */
    int64_t ttl_ms;
    int64_t max_value; /* bytes */
    const char *file;  /* "": memory only */
    bool tool_calls;
    int64_t replay_pace_ms;
};

struct conf_tls {
    const char *certificate; /* path, "" when plain */
    const char *key;
};

/* Prices in nano-dollars per 1,000,000 tokens; CONF_PRICE_UNKNOWN when not given. */
struct conf_model {
    const char *name;  /* as clients and the upstream say it */
    const char *label; /* as answers, logs and metrics say it: the name, or "name (simulated)" */
    int64_t input_nusd;
    int64_t output_nusd;
    int64_t cached_input_nusd; /* read from the provider's cache; input_nusd when not given */
    /* Written to the provider's cache (Anthropic), for 5 minutes and for an hour. Not given: 1.25
     * and 2 times input_nusd for type anthropic, as its price list says, else input_nusd. */
    int64_t cache_write_nusd, cache_write_1h_nusd;
};

struct conf_simulated {
    int64_t latency_ms;     /* base */
    int64_t per_token_ms;   /* per token of max_tokens */
    int64_t max_latency_ms; /* cap */
    double failure_rate;    /* 0..1 of requests that fail */
    int64_t seed;           /* same seed, same text */
};

struct conf_provider {
    const char *name;
    enum conf_provider_type type;
    bool simulated; /* type simulated, or no key and simulate_without_key */
    bool simulate_without_key;
    const char *url;         /* "" for simulated */
    const char *api_key_env; /* names only; "" when not used */
    const char *api_key_file;
    const char *api_key; /* secret; never printed (-T says "(set)" in a comment); NULL when none */
    const char *ca_file; /* path, "": the system's certificates */
    struct bytes ca_pem; /* what stands in it; size 0 without ca_file */
    const char *default_model;
    unsigned model_count; /* default_model is always among them */
    struct conf_model *models;
    bool allow_unlisted_models; /* others are served under the label "other", price unknown */
    int64_t per_second_nusd; /* nano-dollars per second of upstream time; CONF_PRICE_UNKNOWN: priced
                                by token */
    int64_t connect_timeout_ms, first_byte_timeout_ms, idle_timeout_ms, total_timeout_ms;
    int64_t retry_attempts; /* extra attempts at the same provider */
    int64_t retry_backoff_ms;
    int64_t breaker_failures, breaker_open_ms, breaker_max_open_ms;
    int64_t max_concurrency;
    struct conf_simulated simulation;
    int line; /* where it is defined, 0 for built in */
};

enum conf_policy { CONF_POLICY_LENGTH, CONF_POLICY_SCORE };
enum conf_target { CONF_TARGET_CHEAP, CONF_TARGET_STRONG, CONF_TARGET_PROVIDER };

struct conf_rule {
    const char *name;   /* appears as reason "rule:name" and in metrics */
    const char *match;  /* as written */
    const char *prefix; /* for prefix:, else NULL */
    regex_t regex;      /* compiled POSIX ERE when prefix is NULL */
    enum conf_target target;
    unsigned provider; /* index, for CONF_TARGET_PROVIDER */
};

struct conf_route {
    const char *name;
    unsigned cheap, strong; /* provider indexes */
    enum conf_policy policy;
    double threshold; /* score: 0..1; length: code points; above it goes strong */
    unsigned fallback_count;
    unsigned fallback[CONF_MAX_FALLBACKS];
    unsigned rule_count;
    struct conf_rule *rules;
};

struct conf {
    const char *source; /* path, or "(built-in)" */
    unsigned listen_count;
    struct conf_address listen[CONF_MAX_LISTEN];
    struct conf_address metrics_listen; /* text "" when off */
    unsigned workers;                   /* resolved number, 1..CONF_MAX_WORKERS */
    bool workers_auto;
    const char *user;
    const char *pid_file;
    const char *error_log;
    const char *access_log;
    struct conf_limits limits;
    struct conf_cache cache;
    struct conf_tls tls;
    unsigned provider_count;
    struct conf_provider *providers;
    unsigned route_count;
    struct conf_route *routes; /* "auto" is always among them */
};

/* Everything that was wrong, one line each, "file:line:column: reason". */
struct conf_errors {
    struct buf lines; /* each ends in '\n' */
    unsigned count;
    unsigned unset; /* of these: variables that are not set in this process's environment */
};

void conf_errors_init(struct conf_errors *errors);
void conf_errors_fini(struct conf_errors *errors);

/* path NULL: the built-in configuration. NULL when anything is wrong (errors say what; never
 * silent). Regular files of at most 1 MB only. The environment is read for ${NAME} and api_key_env.
 */
struct conf *conf_load(const char *path, struct conf_errors *errors);
/* The same from memory; `name` stands where the file's name would. */
struct conf *conf_load_text(const char *name, struct bytes text, struct conf_errors *errors);
/* What can be read of a file, right or wrong, for who only wants to find a running daemon
 * (pid_file) and has not its environment; errors are filled all the same. Not to serve with. NULL
 * when it is no YAML. */
struct conf *conf_load_anyway(const char *path, struct conf_errors *errors);
void conf_free(struct conf *conf);

/* -T: the effective configuration as YAML that loads again to the same; secrets are not shown. */
void conf_print(const struct conf *conf, struct buf *out);
/* Keys whose new value only a restart can bring into force, as "cache.size, listen"; empty when
 * none differs. */
void conf_restart_keys(const struct conf *running, const struct conf *fresh, struct buf *out);
/* The key table as a JSON schema (draft 2020-12) for editors: contrib/optiroute.schema.json. */
void conf_print_schema(struct buf *out);
/* The key table as an mdoc(7) list, for the manual page optiroute.yaml(5). */
void conf_print_manual(struct buf *out);

/* -1 when there is none. */
int conf_find_provider(const struct conf *conf, struct bytes name);
int conf_find_route(const struct conf *conf, struct bytes name);
/* Index in provider->models, -1 when not listed. */
int conf_find_model(const struct conf_provider *provider, struct bytes name);

#endif
