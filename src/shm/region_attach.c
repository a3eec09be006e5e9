/* region_attach: what a dead daemon left in the file, made fit for the next one; and the marks by
 * which its time goes on.
 *
 * Runs in the master before its first fork, when nobody else has the region; region_mark_time runs
 * in every process. It may die at any step and run again: nothing is given up before what replaces
 * it is there. The surprise: in the same boot the page cache is as the dead left it, so a shard
 * that nobody was changing needs no look. After a reboot any page may be older than its neighbour,
 * and only checksums are believed.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "region_layout.h"
#include "store_layout.h"

#define MARK_PERIOD_MS 900 /* callers come once a second, and not to the millisecond */

/* -- Time -- */

static uint64_t mark_check(const struct region_mark *mark) {
    return hash64(mark, offsetof(struct region_mark, check), REGION_MAGIC);
}

const struct region_mark *region_newest_mark(const struct region_header *header) {
    const struct region_mark *newest = NULL;
    for (unsigned i = 0; i < REGION_MARKS; i++) {
        const struct region_mark *mark = &header->marks[i];
        if (mark->number != 0 && mark->check == mark_check(mark) &&
            (newest == NULL || mark->number > newest->number)) {
            newest = mark;
        }
    }
    return newest;
}

/* Two who write at once write different marks; who was stopped for so long that his turn came again
 * may spoil one, never the newest. */
static void write_mark(struct region *region, int64_t wall_ms) {
    struct region_header *header = region->header;
    struct region_mark mark = {
        .number = atomic_fetch_add(&header->marks_made, 1) + 1,
        .offset_ms = atomic_load_explicit(&header->time_offset_ms, memory_order_relaxed),
        .wall_ms = wall_ms,
        .region_ms = region_now_ms(region),
    };
    memcpy(mark.boot_id, region->boot_id, sizeof(mark.boot_id));
    mark.check = mark_check(&mark);
    atomic_store_explicit(&header->marked_ms, mark.region_ms, memory_order_relaxed);
    memcpy(&header->marks[mark.number % REGION_MARKS], &mark, sizeof(mark));
}

void region_mark_time(struct region *region, int64_t wall_ms) {
    if (!region->is_file) {
        return;
    }
    int64_t now_ms = region_now_ms(region);
    int64_t marked_ms = atomic_load_explicit(&region->header->marked_ms, memory_order_relaxed);
    if (now_ms - marked_ms >= MARK_PERIOD_MS &&
        atomic_compare_exchange_strong(&region->header->marked_ms, &marked_ms, now_ms)) {
        write_mark(region, wall_ms);
    }
}

void region_mark_end(struct region *region, int64_t wall_ms) {
    if (region->is_file) {
        write_mark(region, wall_ms);
    }
}

static int64_t wall_of(const struct region_params *params) {
    return params->wall_ms != 0 ? params->wall_ms : clock_wall_ns() / NS_PER_MS;
}

void region_start_time(struct region *region, const struct region_params *params) {
    write_mark(region, wall_of(params));
}

/* How the time since the mark was told. */
enum passage {
    PASSED_SAME_BOOT, /* by CLOCK_BOOTTIME: exact */
    PASSED_REBOOT,    /* by the wall clock, which had not gone back */
    PASSED_UNKNOWN    /* it had: nothing can say what has expired */
};

static enum passage resume_time(struct region *region, const struct region_params *params,
                                const struct region_mark *mark) {
    struct region_header *header = region->header;
    int64_t boot_ms = clock_boot_ns() / NS_PER_MS;
    int64_t offset_ms = mark->offset_ms;
    enum passage passage = PASSED_SAME_BOOT;
    if (memcmp(mark->boot_id, region->boot_id, sizeof(mark->boot_id)) != 0 ||
        boot_ms + mark->offset_ms < mark->region_ms) {
        int64_t passed_ms = wall_of(params) - mark->wall_ms;
        passage = passed_ms >= 0 ? PASSED_REBOOT : PASSED_UNKNOWN;
        offset_ms = mark->region_ms + (passed_ms >= 0 ? passed_ms : 0) - boot_ms;
    }
    atomic_store(&header->time_offset_ms, offset_ms);
    atomic_store(&header->marks_made, mark->number);
    return passage;
}

/* -- Shards -- */

static void repair(struct region *region, struct store *store, struct shard *shard,
                   enum rebuild_cause cause) {
    lock_change_begin(&shard->lock);
    if (store_rebuild(store, shard, cause, region_now_ms(region)) == REBUILD_KEPT) {
        region->report.shards_rebuilt++;
    } else {
        region->report.shards_emptied++;
    }
    lock_change_end(&shard->lock);
}

/* Every lock is made anew: one that was saved while it was held would time out for ever. */
static int renew_shard(struct region *region, struct store *store, struct shard *shard,
                       enum passage passage) {
    if (lock_renew(&shard->lock) == -1) {
        return -1;
    }
    FAILPOINT("region.attach.3");
    if (passage == PASSED_UNKNOWN) {
        lock_change_begin(&shard->lock);
        shard_empty(store, shard);
        lock_change_end(&shard->lock);
    } else if (passage == PASSED_REBOOT) {
        repair(region, store, shard, REBUILD_AFTER_REBOOT);
    } else if (atomic_load(&shard->lock.dirty) != 0) {
        repair(region, store, shard, REBUILD_AFTER_DEATH);
    }
    return 0;
}

static int renew_store(struct region *region, enum passage passage) {
    struct store *store = store_open(region);
    if (store == NULL) {
        return -1;
    }
    int result = 0;
    for (uint32_t i = 0; i < region->at.shard_count && result == 0; i++) {
        void *shard = region->base + region->at.store + i * region->at.shard_bytes;
        result = renew_shard(region, store, shard, passage);
    }
    store_close(store);
    return result;
}

/* -- All of it -- */

static void describe(struct region *region, const char *path, enum passage passage) {
    static const char *const how[] = {
        [PASSED_SAME_BOOT] = "of this boot",
        [PASSED_REBOOT] = "of another boot, every record verified, circuits closed",
        [PASSED_UNKNOWN] = "of another boot; the wall clock went back, so the cache starts empty",
    };
    struct region_report *report = &region->report;
    uint64_t entries = 0, bytes = 0, capacity;
    struct store *store = store_open(region);
    if (store != NULL) {
        store_usage(store, &entries, &bytes, &capacity);
        store_close(store);
    }
    report->rebooted = passage != PASSED_SAME_BOOT;
    report->is_loss = passage == PASSED_UNKNOWN || report->shards_emptied > 0;
    int size = snprintf(report->text, sizeof(report->text),
                        "cache.file %.250s goes on with %llu entries in %llu bytes (%s", path,
                        (unsigned long long)entries, (unsigned long long)bytes, how[passage]);
    snprintf(report->text + size, sizeof(report->text) - (size_t)size,
             "; %u shards rebuilt, %u emptied)", report->shards_rebuilt, report->shards_emptied);
}

static int count_names(const struct region *region) {
    return names_count(region, NAMES_PROVIDER) + names_count(region, NAMES_PAIR) +
           names_count(region, NAMES_ROUTE);
}

void region_resume_names(struct region *region) {
    region->names_synced = count_names(region);
}

int region_attach(struct region *region, const struct region_params *params) {
    const struct region_mark *mark = region_newest_mark(region->header);
    if (mark == NULL) { /* it was there a moment ago, when the file was judged */
        return -1;
    }
    enum passage passage = resume_time(region, params, mark);
    FAILPOINT("region.attach.1");
    board_reset(region);
    region_resume_names(region);
    if (passage != PASSED_SAME_BOOT) {
        word_reset(region);
        history_forget(region); /* its pages may be of different moments */
    }
    FAILPOINT("region.attach.2");
    if (region->report.origin == REGION_ATTACHED) {
        if (renew_store(region, passage) == -1) {
            return -1;
        }
        describe(region, params->path, passage);
    }
    FAILPOINT("region.attach.4");
    write_mark(region, wall_of(params)); /* last: until it stands, the next start does all again */
    return 0;
}

void region_sync_names(struct region *region) {
    int count = count_names(region);
    if (region->is_file && count != region->names_synced) {
        /* What comes of it cannot be told; without it only a power cut at a bad moment is worse. */
        (void)msync(region->base, region->at.slots, MS_SYNC);
        region->names_synced = count;
    }
}

void region_forget_totals(struct region *region) {
    const struct region_geometry *at = &region->at;
    memset(region->base + at->rows, 0, REGION_ROWS * at->row_bytes);
    memset(region->base + at->words, 0, at->catalogue - at->words); /* words, subjects, names */
    history_forget(region);                                         /* it speaks of both */
}
