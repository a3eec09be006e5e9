/* prometheus: see the header. Runs in the metrics worker, once per scrape. Not here: which metrics
 * there are (metrics.c), HTTP (api).
 *
 * The surprise: nothing stops the workers while their rows are summed, so two series of a scrape
 * may be of slightly different moments. Within one histogram they agree: every cell is read once,
 * and the cumulative buckets, +Inf and _count are made from that reading.
 */
#include "watch/prometheus.h"

#include "base/clock.h"
#include "base/text.h"
#include "watch/metrics_table.h"
#include "watch/process_stats.h"

#define NANO 1000000000u

/* --- text ------------------------------------------------------------------------------------ */

/* Backslash and newline are escaped in help and label values, quotes in label values alone. */
static void put_escaped(struct buf *out, const char *text, size_t size, bool quotes) {
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '\n') {
            buf_append(out, "\\n", 2);
            continue;
        }
        if (c == '\\' || (c == '"' && quotes)) {
            buf_append_char(out, '\\');
        }
        buf_append_char(out, c);
    }
}

static void put_head(struct buf *out, const char *name, const char *type, const char *help) {
    buf_append_str(out, "# HELP ");
    buf_append_str(out, name);
    buf_append_char(out, ' ');
    put_escaped(out, help, strlen(help), false);
    buf_append_str(out, "\n# TYPE ");
    buf_append_str(out, name);
    buf_append_char(out, ' ');
    buf_append_str(out, type);
    buf_append_char(out, '\n');
}

/* Nine decimals of the whole unsigned range, which buf_append_nano does not have. */
static void put_nano(struct buf *out, uint64_t value) {
    char decimals[10] = ".";
    uint64_t fraction = value % NANO;
    for (int i = 9; i > 0; i--) {
        decimals[i] = (char)('0' + fraction % 10);
        fraction /= 10;
    }
    buf_append_u64(out, value / NANO);
    buf_append(out, decimals, sizeof(decimals));
}

static void put_value(struct buf *out, enum metric_unit unit, uint64_t value) {
    buf_append_char(out, ' ');
    if (unit == UNIT_PLAIN) {
        buf_append_u64(out, value);
    } else {
        put_nano(out, value);
    }
    buf_append_char(out, '\n');
}

/* Writes `{` or `,` in front of each label and `}` behind the last one. */
struct label_list {
    struct buf *out;
    bool open;
};

static void put_label(struct label_list *list, const char *label, const char *value, size_t size) {
    buf_append_char(list->out, list->open ? ',' : '{');
    list->open = true;
    buf_append_str(list->out, label);
    buf_append(list->out, "=\"", 2);
    put_escaped(list->out, value, size, true);
    buf_append_char(list->out, '"');
}

static void end_labels(struct label_list *list) {
    if (list->open) {
        buf_append_char(list->out, '}');
    }
}

/* --- counters and histograms ----------------------------------------------------------------- */

static void put_dim(const struct region *region, struct label_list *list, enum metric_dim dim,
                    unsigned index) {
    const struct metric_dim_info *info = metric_dim_info(dim);
    if (dim == DIM_NONE) {
        return;
    }
    const char *value =
        info->values != NULL ? info->values[index] : names_get(region, info->names, (int)index);
    size_t size = strlen(value);
    if (dim == DIM_PAIR) {
        /* "provider\nmodel", printed the other way round */
        size_t provider_size = bytes_find(bytes_make(value, size), '\n');
        const char *model = value + provider_size + (provider_size < size);
        put_label(list, info->labels[0], model, strlen(model));
        put_label(list, info->labels[1], value, provider_size);
        return;
    }
    put_label(list, info->labels[0], value, size);
}

/* Everything of a line up to its value: name, suffix, labels, le. */
static void put_series(const struct region *region, struct buf *out, const struct metric_row *row,
                       const unsigned index[METRIC_DIMS], const char *suffix, const char *le) {
    struct label_list list = {.out = out};
    buf_append_str(out, row->name);
    buf_append_str(out, suffix);
    for (unsigned d = 0; d < METRIC_DIMS; d++) {
        put_dim(region, &list, row->dims[d], index[d]);
    }
    if (le != NULL) {
        put_label(&list, "le", le, strlen(le));
    }
    end_labels(&list);
}

static void put_histogram(const struct region *region, struct buf *out,
                          const struct metric_row *row, const unsigned index[METRIC_DIMS],
                          const uint64_t *cells) {
    uint64_t count = 0;
    for (unsigned b = 0; b <= METRIC_BOUNDS; b++) {
        char le[32] = "+Inf";
        if (b < METRIC_BOUNDS) {
            text_format_nano(row->bounds[b], le, sizeof(le));
        }
        count += cells[b];
        put_series(region, out, row, index, "_bucket", le);
        put_value(out, UNIT_PLAIN, count);
    }
    put_series(region, out, row, index, "_sum", NULL);
    put_value(out, row->unit, cells[METRIC_HISTOGRAM_SUM]);
    put_series(region, out, row, index, "_count", NULL);
    put_value(out, UNIT_PLAIN, count);
}

/* Sums of a series' cells; true when one of them is not 0. */
static bool sum_cells(const struct region *region, unsigned first, unsigned count,
                      uint64_t *cells) {
    bool used = false;
    for (unsigned i = 0; i < count; i++) {
        cells[i] = counters_sum(region, first + i);
        used = used || cells[i] != 0;
    }
    return used;
}

static void put_one(const struct region *region, struct buf *out, const struct metric_row *row,
                    const unsigned index[METRIC_DIMS]) {
    uint64_t cells[METRIC_HISTOGRAM_CELLS];
    bool is_histogram = row->type == METRIC_HISTOGRAM;
    bool used = sum_cells(region, metric_cell(row, index[0], index[1], index[2]),
                          is_histogram ? METRIC_HISTOGRAM_CELLS : 1, cells);
    bool wanted =
        row->show == SHOW_ALL || (row->show == SHOW_NAMES && index[1] == 0 && index[2] == 0);
    if (!used && !wanted) {
        return;
    }
    if (is_histogram) {
        put_histogram(region, out, row, index, cells);
    } else {
        put_series(region, out, row, index, "", NULL);
        put_value(out, row->unit, cells[0]);
    }
}

/* How many indexes mean something by now. */
static unsigned dim_count(const struct region *region, enum metric_dim dim) {
    const struct metric_dim_info *info = metric_dim_info(dim);
    return info->values != NULL || dim == DIM_NONE ? info->size
                                                   : (unsigned)names_count(region, info->names);
}

static void put_metric(const struct region *region, struct buf *out, const struct metric_row *row) {
    unsigned counts[METRIC_DIMS];
    unsigned at[METRIC_DIMS];
    for (unsigned d = 0; d < METRIC_DIMS; d++) {
        counts[d] = dim_count(region, row->dims[d]);
    }
    put_head(out, row->name, row->type == METRIC_HISTOGRAM ? "histogram" : "counter", row->help);
    for (at[0] = 0; at[0] < counts[0]; at[0]++) {
        for (at[1] = 0; at[1] < counts[1]; at[1]++) {
            for (at[2] = 0; at[2] < counts[2]; at[2]++) {
                put_one(region, out, row, at);
            }
        }
    }
}

/* --- gauges ---------------------------------------------------------------------------------- */

enum gauge {
    GAUGE_CACHE_ENTRIES,
    GAUGE_CACHE_BYTES,
    GAUGE_CACHE_CAPACITY,
    GAUGE_CONNECTIONS_ACTIVE,
    GAUGE_CONNECTIONS_IDLE,
    GAUGE_IN_FLIGHT,
    GAUGE_WORKERS,
    GAUGE_WORKERS_READY,
    GAUGE_RELOAD_SUCCESSFUL,
    GAUGE_GENERATION,
    GAUGE_BUILD_INFO,
    GAUGE_CPU,
    GAUGE_RESIDENT,
    GAUGE_VIRTUAL,
    GAUGE_OPEN_FDS,
    GAUGE_MAX_FDS,
    GAUGE_START_TIME,
    GAUGE_COUNT
};

static const struct gauge_row {
    const char *name;
    const char *label, *label_value; /* NULL: none, or taken from the source */
    enum metric_unit unit;
    const char *help; /* NULL: another series of the row before */
} gauge_rows[GAUGE_COUNT] = {
    [GAUGE_CACHE_ENTRIES] = {"optiroute_cache_entries", .help = "Answers in the cache."},
    [GAUGE_CACHE_BYTES] = {"optiroute_cache_bytes", .help = "Bytes in use in the cache."},
    [GAUGE_CACHE_CAPACITY] = {"optiroute_cache_capacity_bytes",
                              .help = "Bytes the cache can use at most."},
    [GAUGE_CONNECTIONS_ACTIVE] = {"optiroute_connections", "state", "active",
                                  .help = "Open client connections."},
    [GAUGE_CONNECTIONS_IDLE] = {"optiroute_connections", "state", "idle", .help = NULL},
    [GAUGE_IN_FLIGHT] = {"optiroute_requests_in_flight",
                         .help = "Requests whose answer is not complete."},
    [GAUGE_WORKERS] = {"optiroute_workers", .help = "Workers the configuration asks for."},
    [GAUGE_WORKERS_READY] = {"optiroute_workers_ready",
                             .help = "Workers that take requests; more while a reload swaps them."},
    [GAUGE_RELOAD_SUCCESSFUL] = {"optiroute_config_last_reload_successful",
                                 .help = "1 when the last reload brought the file into force."},
    [GAUGE_GENERATION] = {"optiroute_config_generation",
                          .help = "Configurations brought into force since the start."},
    [GAUGE_BUILD_INFO] = {"optiroute_build_info", "version", .help = "1, labelled by version."},
    [GAUGE_CPU] = {"process_cpu_seconds_total", .unit = UNIT_NANOSECONDS,
                   .help = "User and system CPU time of all processes of the daemon."},
    [GAUGE_RESIDENT] = {"process_resident_memory_bytes",
                        .help = "Resident memory of all processes, shared pages counted once."},
    [GAUGE_VIRTUAL] = {"process_virtual_memory_bytes", .help = "Virtual memory of all processes."},
    [GAUGE_OPEN_FDS] = {"process_open_fds", .help = "Open file descriptors of all processes."},
    [GAUGE_MAX_FDS] = {"process_max_fds",
                       .help = "Sum of the processes' limits of file descriptors."},
    [GAUGE_START_TIME] = {"process_start_time_seconds", .unit = UNIT_NANOSECONDS,
                          .help = "Start of the daemon since the Unix epoch."},
};

static uint64_t not_negative(int64_t value) {
    return value > 0 ? (uint64_t)value : 0;
}

static uint64_t ready_workers(const struct region *region) {
    uint64_t count = 0;
    for (int slot = 0; slot < REGION_SLOTS; slot++) {
        count +=
            board_role(region, slot) == BOARD_WORKER && board_state(region, slot) == BOARD_READY;
    }
    return count;
}

static void read_board(const struct region *region, uint64_t values[GAUGE_COUNT]) {
    int64_t connections;
    int64_t idle;
    int64_t in_flight;
    board_sum_gauges(region, &connections, &idle, &in_flight);
    /* Read one after the other while workers change them: a difference may be off for a moment. */
    values[GAUGE_CONNECTIONS_ACTIVE] = not_negative(connections - idle);
    values[GAUGE_CONNECTIONS_IDLE] = not_negative(idle);
    values[GAUGE_IN_FLIGHT] = not_negative(in_flight);
    values[GAUGE_WORKERS] = not_negative(board_get_word(region, BOARD_WORD_WORKERS));
    values[GAUGE_WORKERS_READY] = ready_workers(region);
    values[GAUGE_GENERATION] = not_negative(board_get_word(region, BOARD_WORD_GENERATION));
    values[GAUGE_RELOAD_SUCCESSFUL] =
        not_negative(board_get_word(region, BOARD_WORD_RELOAD_SUCCESSFUL));
    values[GAUGE_START_TIME] =
        not_negative(board_get_word(region, BOARD_WORD_START_TIME_MS)) * (uint64_t)NS_PER_MS;
}

static bool is_among(const pid_t *pids, unsigned count, pid_t pid) {
    for (unsigned i = 0; i < count; i++) {
        if (pids[i] == pid) {
            return true;
        }
    }
    return false;
}

/* After an upgrade: the masters before ours that still have processes. */
static unsigned find_masters(const struct prometheus_source *source, pid_t pids[REGION_SLOTS]) {
    unsigned count = 0;
    for (int slot = 0; slot < REGION_SLOTS; slot++) {
        pid_t master = board_master(source->region, slot);
        if (master != 0 && master != source->master && !is_among(pids, count, master)) {
            pids[count++] = master;
        }
    }
    return count;
}

/* A master that was replaced leaves its figure in a word when it ends. Between the end of its last
 * process and that its time is in neither place; so never less is shown than once was. */
static uint64_t cpu_of_daemon(const struct prometheus_source *source, uint64_t cpu_ns) {
    cpu_ns += not_negative(board_get_word(source->region, BOARD_WORD_CPU_GONE_NS));
    return not_negative(board_raise_word(source->region, BOARD_WORD_CPU_SHOWN_NS, (int64_t)cpu_ns));
}

static void read_processes(const struct prometheus_source *source, uint64_t values[GAUGE_COUNT]) {
    pid_t pids[2 * REGION_SLOTS];
    unsigned count = find_masters(source, pids);
    uint64_t older_ns = 0;
    for (unsigned i = 0; i < count; i++) {
        older_ns += process_children_cpu_ns(pids[i]);
    }
    for (int slot = 0; slot < REGION_SLOTS; slot++) {
        pid_t pid =
            board_role(source->region, slot) != BOARD_FREE ? board_pid(source->region, slot) : 0;
        if (pid > 0) {
            pids[count++] = pid;
        }
    }
    struct process_stats stats;
    process_stats_read(source->master, pids, count, &stats);
    values[GAUGE_CPU] = cpu_of_daemon(source, stats.cpu_ns + older_ns);
    values[GAUGE_RESIDENT] = stats.resident_bytes;
    values[GAUGE_VIRTUAL] = stats.virtual_bytes;
    values[GAUGE_OPEN_FDS] = stats.open_fds;
    values[GAUGE_MAX_FDS] = stats.max_fds;
}

static void put_gauges(const struct prometheus_source *source, struct buf *out) {
    uint64_t values[GAUGE_COUNT] = {[GAUGE_BUILD_INFO] = 1};
    store_usage(source->store, &values[GAUGE_CACHE_ENTRIES], &values[GAUGE_CACHE_BYTES],
                &values[GAUGE_CACHE_CAPACITY]);
    read_board(source->region, values);
    read_processes(source, values);
    for (unsigned g = 0; g < GAUGE_COUNT; g++) {
        const struct gauge_row *row = &gauge_rows[g];
        struct label_list list = {.out = out};
        if (row->help != NULL) {
            put_head(out, row->name, g == GAUGE_CPU ? "counter" : "gauge", row->help);
        }
        buf_append_str(out, row->name);
        if (row->label != NULL) {
            const char *value = row->label_value != NULL ? row->label_value : source->version;
            put_label(&list, row->label, value, strlen(value));
        }
        end_labels(&list);
        put_value(out, row->unit, values[g]);
    }
}

static void put_circuits(const struct prometheus_source *source, struct buf *out) {
    int count = names_count(source->region, NAMES_PROVIDER);
    put_head(out, "llm_circuit_state", "gauge",
             "Circuit breaker of a provider: 0 closed, 1 half-open, 2 open.");
    for (int i = 0; i < count; i++) {
        const char *name = names_get(source->region, NAMES_PROVIDER, i);
        struct label_list list = {.out = out};
        buf_append_str(out, "llm_circuit_state");
        put_label(&list, "provider", name, strlen(name));
        end_labels(&list);
        put_value(out, UNIT_PLAIN, (uint64_t)source->circuit(source->region, (unsigned)i));
    }
}

void prometheus_render(const struct prometheus_source *source, struct buf *out) {
    for (unsigned id = 0; id < METRIC_COUNT; id++) {
        put_metric(source->region, out, metric_row((enum metric_id)id));
    }
    put_circuits(source, out);
    put_gauges(source, out);
}
