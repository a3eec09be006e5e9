/* The region at boot: made, attached or inherited, what is said of it, what is carried over into
 * it, and the names that the configuration needs there. See master_private.h. Runs in the master,
 * before its first fork.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "gateway/entry.h"
#include "master_private.h"
#include "shm/totals.h"
#include "shm/wake.h"
#include "watch/carry.h"

/* What became of cache.file. */
static void report_region(struct master *master) {
    const struct region_report *report = region_report(master->region);
    if (report->text[0] != '\0') {
        log_write(report->is_loss ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "%s", report->text);
    }
    /* After a reboot every shard is looked at; that is no recovery from a death. */
    if (!report->rebooted && report->shards_rebuilt > 0) {
        metric_add_shared(&master->counters, METRIC_SHARD_RECOVERIES, report->shards_rebuilt,
                          RECOVERY_REBUILT, 0, 0);
    }
    if (report->shards_emptied > 0) {
        metric_add_shared(&master->counters, METRIC_SHARD_RECOVERIES, report->shards_emptied,
                          RECOVERY_EMPTIED, 0, 0);
    }
}

void boot_say_carried(struct carried carried) {
    log_info("totals of %u series carried over, %u have no counterpart here", carried.series,
             carried.lost);
}

/* Of a file with another layout, now; of a region that the old daemon still uses, when we take over
 * and until it ends (successor.c). */
static void carry_foreign(struct master *master) {
    struct totals *foreign = region_take_foreign(master->region);
    if (foreign != NULL) {
        boot_say_carried(carry_totals(master->region, &master->counters, foreign, NULL));
        totals_free(foreign);
    }
    const char *why = region_report(master->region)->not_inherited;
    if (why != NULL) {
        log_warn("the region of process %d cannot go on: %s; the cache starts empty, totals are "
                 "carried over",
                 (int)master->predecessor, why);
        master->foreign_fd = master->handover.region_fd;
    }
}

int boot_make_region(struct master *master, int64_t patience_ms) {
    const struct conf *conf = master->boot_conf;
    char error[512];
    struct region_params params = {
        .store_bytes = conf->cache.size,
        .path = conf->cache.file,
        .counter_cells = metrics_cells(),
        .counter_layout = metrics_layout_hash(),
        .catalogue = carry_catalogue(),
        .value_layout = ENTRY_LAYOUT,
        .lock_wait_ms = patience_ms,
        .inherited_fd = master->predecessor != 0 ? master->handover.region_fd : 0,
    };
    master->region = region_create(&params, error, sizeof(error));
    if (master->region == NULL) {
        boot_fail(master, "%s", error);
        return -1;
    }
    if (wake_open(master->region) == -1) {
        boot_fail(master, "no eventfd: %s", strerror(errno));
        return -1;
    }
    master->counters.row = counters_row(master->region, REGION_MASTER_ROW);
    report_region(master);
    carry_foreign(master);
    if (region_report(master->region)->origin == REGION_INHERITED) {
        return 0; /* the words are the old master's until we take over */
    }
    board_set_word(master->region, BOARD_WORD_DRAINING, 0);
    board_set_word(master->region, BOARD_WORD_RELOAD_SUCCESSFUL, 1);
    board_set_word(master->region, BOARD_WORD_START_TIME_MS, clock_wall_ns() / NS_PER_MS);
    board_set_word(master->region, BOARD_WORD_GENERATION, (int64_t)master->last_number + 1);
    board_set_word(master->region, BOARD_WORD_WORKERS, conf->workers);
    return 0;
}

/* Could the configuration be bound if there were no names of others? */
static bool fits_alone(const struct conf *conf) {
    const struct region_params params = {.counter_cells = 1};
    struct labels labels;
    char error[512];
    struct region *empty = region_create(&params, error, sizeof(error));
    bool fits = empty != NULL && labels_bind(&labels, conf, empty, error, sizeof(error)) == 0;
    region_destroy(empty);
    return fits;
}

/* Names of years of configurations in a cache.file must not keep this one from starting. */
int boot_bind_labels(struct master *master, struct labels *labels, char *error, size_t error_size) {
    const struct conf *conf = master->boot_conf;
    int bound = labels_bind(labels, conf, master->region, error, error_size);
    enum region_origin origin = region_report(master->region)->origin;
    if (bound == -1 && origin != REGION_NEW && origin != REGION_INHERITED && fits_alone(conf)) {
        log_warn("%s: totals and circuits of cache.file begin anew", error);
        region_forget_totals(master->region);
        bound = labels_bind(labels, conf, master->region, error, error_size);
    }
    return bound;
}
