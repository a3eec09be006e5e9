/* failpoint: see base/failpoint.h. In a test build used by every process; otherwise empty.
 *
 * The surprise: the environment is read before main and the counts start again in every forked
 * child, so `:2` means the second pass of whichever process gets there, not of the family.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "base/failpoint.h"

#ifdef ENABLE_FAILPOINTS

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/panic.h"

#define FAILPOINT_VARIABLE "OPTIROUTE_FAILPOINT"
#define FAILPOINT_MAX 16
#define FAILPOINT_NAME_MAX 64

enum failpoint_action { FAILPOINT_KILL, FAILPOINT_STOP, FAILPOINT_FAIL };

struct failpoint {
    char name[FAILPOINT_NAME_MAX];
    enum failpoint_action action;
    int64_t only_pass;      /* act at this pass, from 1; 0: at every pass */
    _Atomic int64_t passes; /* of this process */
};

/* Written before main, read only afterwards except for the counts. */
static struct failpoint points[FAILPOINT_MAX];
static size_t point_count;

/* The part before the next `separator`; *rest moves past it. */
static struct bytes take_part(struct bytes *rest, char separator) {
    size_t size = bytes_find(*rest, separator);
    struct bytes part = bytes_make(rest->data, size);
    size_t skip = size < rest->size ? size + 1 : size;
    *rest = bytes_make(rest->data + skip, rest->size - skip);
    return part;
}

static bool parse_action(struct bytes word, enum failpoint_action *action) {
    static const char *const names[] = {
        [FAILPOINT_KILL] = "kill", [FAILPOINT_STOP] = "stop", [FAILPOINT_FAIL] = "fail"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (bytes_equal_str(word, names[i])) {
            *action = (enum failpoint_action)i;
            return true;
        }
    }
    return false;
}

/* name:action[:n] */
static bool parse_point(struct bytes spec, struct failpoint *point) {
    struct bytes rest = spec;
    struct bytes name = take_part(&rest, ':');
    struct bytes action = take_part(&rest, ':');
    bool counted = action.size + name.size + 1 < spec.size;
    if (name.size == 0 || name.size >= sizeof(point->name) ||
        !parse_action(action, &point->action)) {
        return false;
    }
    point->only_pass = 0;
    if (counted && (!bytes_to_int64(rest, &point->only_pass) || point->only_pass == 0)) {
        return false;
    }
    memcpy(point->name, name.data, name.size);
    point->name[name.size] = '\0';
    atomic_store(&point->passes, 0);
    return true;
}

/* False when any entry is malformed or there are too many; what came before it stays set. */
static bool load_points(const char *text) {
    point_count = 0;
    struct bytes rest = bytes_from_str(text);
    while (rest.size > 0) {
        struct bytes spec = take_part(&rest, ',');
        if (point_count == FAILPOINT_MAX || !parse_point(spec, &points[point_count])) {
            return false;
        }
        point_count++;
    }
    return true;
}

static void forget_passes(void) {
    for (size_t i = 0; i < point_count; i++) {
        atomic_store(&points[i].passes, 0);
    }
}

/* Read here and not at the first pass: getenv is not async-signal-safe, a pass must be. */
__attribute__((constructor)) static void failpoint_start(void) {
    const char *text = getenv(FAILPOINT_VARIABLE);
    if (text == NULL) {
        return;
    }
    if (!load_points(text)) {
        die(1, "%s: \"%s\" is not name:kill|stop|fail[:n],...", FAILPOINT_VARIABLE, text);
    }
    if (pthread_atfork(NULL, NULL, forget_passes) != 0) {
        die(1, "%s: no memory", FAILPOINT_VARIABLE);
    }
}

/* Counts the pass of every entry with this name; true when a `fail` entry is due. */
static bool pass(const char *name) {
    bool fails = false;
    for (size_t i = 0; i < point_count; i++) {
        struct failpoint *point = &points[i];
        if (strcmp(point->name, name) != 0) {
            continue;
        }
        int64_t nth = atomic_fetch_add(&point->passes, 1) + 1;
        if (point->only_pass != 0 && point->only_pass != nth) {
            continue;
        }
        switch (point->action) {
        case FAILPOINT_KILL:
            kill(getpid(), SIGKILL);
            _exit(128 + SIGKILL); /* the kernel spares process 1 of a container from itself */
        case FAILPOINT_STOP:
            kill(getpid(), SIGSTOP);
            break;
        case FAILPOINT_FAIL:
            fails = true;
            break;
        }
    }
    return fails;
}

void failpoint_pass(const char *name) {
    (void)pass(name);
}

bool failpoint_fails(const char *name) {
    return pass(name);
}

#endif
