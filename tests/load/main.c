/* main: see load.h. Arguments, the loop, figures.
 *
 *   benchload streams|idle|probe|upload key=value...
 *
 * The surprise: with first=1 it asks to go before all others on its core. What is measured is the
 * server, and a client that waits for its turn would be taken for a slow one.
 */
#include "config.h"

#include "load.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define COMPLAINTS 5

static struct event_base *base;

struct event_base *load_base(void) {
    return base;
}

void give_up(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("benchload: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

void complain(const char *format, ...) {
    static int said;
    va_list args;
    if (said++ >= COMPLAINTS) {
        return;
    }
    va_start(args, format);
    fputs("benchload: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void *must_alloc(size_t size) {
    void *memory = calloc(1, size);
    if (memory == NULL) {
        give_up("no memory");
    }
    return memory;
}

void say_open(void) {
    puts("open");
    fflush(stdout);
}

/* ---- figures ---- */

void samples_add(struct samples *samples, int64_t value) {
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity == 0 ? 4096 : samples->capacity * 2;
        samples->at = realloc(samples->at, samples->capacity * sizeof(*samples->at));
        if (samples->at == NULL) {
            give_up("no memory");
        }
    }
    samples->at[samples->count++] = value;
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double part_us(const struct samples *samples, size_t permille) {
    return samples->count == 0
               ? 0.0
               : (double)samples->at[(samples->count - 1) * permille / 1000] / NS_PER_US;
}

void samples_print(const char *name, struct samples *samples) {
    if (samples->count > 0) {
        qsort(samples->at, samples->count, sizeof(*samples->at), compare);
    }
    printf("\"%s\":{\"count\":%zu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}", name,
           samples->count, part_us(samples, 500), part_us(samples, 900), part_us(samples, 990),
           part_us(samples, 1000));
}

/* ---- arguments ---- */

static const struct {
    const char *name;
    size_t offset;
    bool is_text;
} keys[] = {
    {"port", offsetof(struct options, port), false},
    {"count", offsetof(struct options, count), false},
    {"repeat", offsetof(struct options, repeat), false},
    {"events", offsetof(struct options, events), false},
    {"pace_ms", offsetof(struct options, pace_ms), false},
    {"ramp_ms", offsetof(struct options, ramp_ms), false},
    {"every_us", offsetof(struct options, every_us), false},
    {"run_ms", offsetof(struct options, run_ms), false},
    {"size", offsetof(struct options, size), false},
    {"mib_per_s", offsetof(struct options, mib_per_s), false},
    {"first", offsetof(struct options, first), false},
    {"path", offsetof(struct options, path), true},
    {"model", offsetof(struct options, model), true},
    {"body", offsetof(struct options, body), true},
};

static void take_option(struct options *options, const char *argument) {
    struct bytes text = bytes_from_str(argument);
    size_t equals = bytes_find(text, '=');
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        void *field = (char *)options + keys[i].offset;
        if (equals == text.size || !bytes_equal_str(bytes_make(argument, equals), keys[i].name)) {
            continue;
        }
        if (keys[i].is_text) {
            *(const char **)field = argument + equals + 1;
            return;
        }
        if (bytes_to_int64(bytes_make(argument + equals + 1, text.size - equals - 1), field)) {
            return;
        }
    }
    give_up("no such option: %s", argument);
}

static void prepare(bool goes_first) {
    struct rlimit limit;
    struct sched_param param = {.sched_priority = 10};
    (void)signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (goes_first) { /* as root; others are measured less exactly */
        (void)sched_setscheduler(0, SCHED_FIFO, &param);
    }
    struct event_config *config = event_config_new();
    if (config == NULL || event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == -1 ||
        (base = event_base_new_with_config(config)) == NULL) {
        give_up("no memory");
    }
    event_config_free(config);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*run)(const struct options *options);
    } modes[] = {{"streams", load_streams},
                 {"idle", load_idle},
                 {"probe", load_probe},
                 {"upload", load_upload}};
    struct options options = {.count = 1, .repeat = 1, .run_ms = 1000, .every_us = 2000};
    int result = 2;
    for (int i = 2; i < argc; i++) {
        take_option(&options, argv[i]);
    }
    prepare(options.first != 0);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]) && argc > 1; i++) {
        if (bytes_equal_str(bytes_from_str(argv[1]), modes[i].name)) {
            result = modes[i].run(&options);
        }
    }
    if (result == 2) {
        give_up("usage: benchload streams|idle|probe|upload key=value...");
    }
    event_base_free(base);
    return result;
}
