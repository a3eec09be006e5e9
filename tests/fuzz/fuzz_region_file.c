/* fuzz_region_file: whatever a cache file holds, a start does not crash, ends with a store that
 * keeps its invariants, and serves no value that was never stored under its key.
 *
 * Input: a byte of flags (1: another boot, 2: the header's check is made right again, 4: the clock
 * went back, 8: cut short, 16: the directory's check is made right again), then edits of four bytes
 * each: three of offset, one that is xored into a good file there. With 8 the first edit's offset
 * is the length.
 */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/shm/region_layout.h"
#include "../../src/shm/store_layout.h"
#include "base/panic.h"
#include "shm/totals.h"

#define KEYS 24
#define WALL_MS INT64_C(1800000000000)
#define HOUR_MS INT64_C(3600000)
#define BOOT_A "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
#define BOOT_B "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char directory[] = "/tmp/optiroute-fuzz-XXXXXX";
static char path[64];
static uint8_t *good; /* a file that a daemon left */
static size_t good_size;

static struct region *start(bool same_boot, int64_t wall_ms, char *error, size_t error_size) {
    struct region_params params = {.store_bytes = REGION_STORE_BYTES_MIN,
                                   .path = path,
                                   .counter_cells = 8,
                                   .counter_layout = 5,
                                   .boot_id = same_boot ? BOOT_A : BOOT_B,
                                   .wall_ms = wall_ms};
    return region_create(&params, error, error_size);
}

static void make_key(unsigned number, uint8_t key[STORE_KEY_SIZE]) {
    memset(key, 0, STORE_KEY_SIZE);
    for (unsigned i = 0; i < STORE_KEY_SIZE; i++) {
        key[i] = (uint8_t)(number * 37 + i * 11 + 1);
    }
}

static size_t make_value(unsigned number, char value[1024]) {
    size_t size = 1 + number * 40;
    memset(value, 'a' + (int)number % 26, size);
    return size;
}

static void remove_all(void) {
    DIR *listing = opendir(directory);
    ASSERT(listing != NULL);
    const struct dirent *entry;
    while ((entry = readdir(listing)) != NULL) {
        (void)unlinkat(dirfd(listing), entry->d_name, 0);
    }
    closedir(listing);
}

static void clean_up(void) {
    remove_all();
    rmdir(directory);
    free(good);
}

static void make_good(void) {
    char error[512], value[1024];
    ASSERT(mkdtemp(directory) != NULL);
    snprintf(path, sizeof(path), "%s/cache", directory);
    atexit(clean_up);
    struct region *region = start(true, WALL_MS, error, sizeof(error));
    ASSERT(region != NULL);
    struct store *store = store_open(region);
    ASSERT(store != NULL);
    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t key[STORE_KEY_SIZE];
        make_key(i, key);
        size_t size = make_value(i, value);
        ASSERT(store_put(store, key, bytes_make(value, size), HOUR_MS) == STORE_PUT_DONE);
    }
    ASSERT(names_add(region, NAMES_PROVIDER, "openai") == 0);
    ASSERT(names_add(region, NAMES_ROUTE, "auto") == 0);
    region_mark_end(region, WALL_MS);
    store_close(store);
    good_size = region_size(region);
    good = malloc(good_size);
    ASSERT(good != NULL);
    memcpy(good, region->base, good_size);
    region_destroy(region);
}

static void write_file(const uint8_t *data, size_t size) {
    uint8_t flags = data[0];
    uint8_t *bytes = malloc(good_size);
    ASSERT(bytes != NULL);
    memcpy(bytes, good, good_size);
    size_t length = good_size;
    for (size_t at = 1; at + 4 <= size; at += 4) {
        size_t offset = (size_t)data[at] | (size_t)data[at + 1] << 8 | (size_t)data[at + 2] << 16;
        if (at == 1 && (flags & 8) != 0) {
            length = offset % good_size;
        }
        bytes[offset % good_size] ^= data[at + 3];
    }
    if ((flags & 2) != 0) {
        struct region_header *header = (struct region_header *)(void *)bytes;
        header->check = region_header_check(header);
    }
    if ((flags & 16) != 0) {
        struct region_header *header = (struct region_header *)(void *)bytes;
        header->directory.check = region_directory_check(&header->directory);
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ASSERT(fd != -1 && write(fd, bytes, length) == (ssize_t)length);
    close(fd);
    free(bytes);
}

/* Of a file with another layout: wherever its directory points. */
static void read_totals(struct region *region) {
    struct totals *totals = region_take_foreign(region);
    if (totals == NULL) {
        return;
    }
    for (unsigned cell = 0; cell < totals_cells(totals); cell++) {
        (void)totals_sum(totals, cell);
    }
    for (unsigned kind = 0; kind <= NAMES_ROUTE; kind++) {
        const char *name;
        for (unsigned i = 0; (name = totals_name(totals, (enum names_kind)kind, i)) != NULL; i++) {
            ASSERT(strlen(name) < REGION_NAME_SIZE);
        }
    }
    totals_free(totals);
}

static void use(struct region *region) {
    read_totals(region);
    struct store *store = store_open(region);
    ASSERT(store != NULL);
    char expected[1024], got[1024];
    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t key[STORE_KEY_SIZE];
        size_t size = 0, wanted = make_value(i, expected);
        make_key(i, key);
        if (store_get(store, key, INT64_MAX, got, sizeof(got), &size, NULL) == STORE_HIT) {
            ASSERT(size == wanted && memcmp(got, expected, size) == 0);
        }
        ASSERT(store_put(store, key, bytes_make(expected, wanted), HOUR_MS) == STORE_PUT_DONE);
    }
    for (int kind = 0; kind <= NAMES_ROUTE; kind++) {
        for (int i = 0; i < names_count(region, (enum names_kind)kind); i++) {
            ASSERT(strlen(names_get(region, (enum names_kind)kind, i)) < REGION_NAME_SIZE);
        }
    }
    ASSERT(board_claim(region, BOARD_WORKER, 1) == 0);
    (void)counters_sum(region, 3);
    store_close(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (good == NULL) {
        make_good();
    }
    if (size == 0) {
        return 0;
    }
    write_file(data, size);
    char error[512] = "";
    bool same_boot = (data[0] & 1) == 0;
    int64_t wall_ms = WALL_MS + ((data[0] & 4) != 0 ? -1000 : 1000);
    struct region *region = start(same_boot, wall_ms, error, sizeof(error));
    if (region == NULL) { /* only for want of a magic */
        ASSERT(strstr(error, "something else than a cache") != NULL);
    } else {
        use(region);
        region_destroy(region);
        region = start(same_boot, wall_ms + 1000, error, sizeof(error));
        ASSERT(region != NULL && region_was_attached(region));
        region_destroy(region);
    }
    remove_all();
    return 0;
}
