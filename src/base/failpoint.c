/* failpoint: see base/failpoint.h. In a test build used by every process; otherwise empty.
 *
 * The surprise: the environment is read before main and the counts start again in every forked
 * child, so `:2` means the second pass of whichever process gets there, `:+2` that of the family.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/panic.h"

#define FAILPOINT_VARIABLE "OPTIROUTE_FAILPOINT"
#define FAILPOINT_MAX 64
#define FAILPOINT_NAME_MAX 64

enum failpoint_action { FAILPOINT_KILL, FAILPOINT_STOP, FAILPOINT_FAIL };

struct failpoint {
    char name[FAILPOINT_NAME_MAX];
    enum failpoint_action action;
    int64_t only_pass;      /* act at this pass, from 1; 0: at every pass */
    bool of_family;         /* `only_pass` counts the passes of all processes */
    _Atomic int64_t passes; /* of this process */
};

static const char *const action_names[] = {
    [FAILPOINT_KILL] = "kill", [FAILPOINT_STOP] = "stop", [FAILPOINT_FAIL] = "fail"};

/* Written before main, read only afterwards except for the counts. */
static struct failpoint points[FAILPOINT_MAX];
static size_t point_count;
/* Passes of each entry by all processes together; shared by those that descend from who made it. */
static _Atomic int64_t *family_passes;

static bool parse_action(struct bytes word, enum failpoint_action *action) {
    for (size_t i = 0; i < sizeof(action_names) / sizeof(action_names[0]); i++) {
        if (bytes_equal_str(word, action_names[i])) {
            *action = (enum failpoint_action)i;
            return true;
        }
    }
    return false;
}

/* name:action[:[+]n] */
static bool parse_point(struct bytes spec, struct failpoint *point) {
    struct bytes rest = spec;
    struct bytes name = bytes_cut(&rest, ':');
    struct bytes action = bytes_cut(&rest, ':');
    bool counted = action.size + name.size + 1 < spec.size;
    if (name.size == 0 || name.size >= sizeof(point->name) ||
        !parse_action(action, &point->action)) {
        return false;
    }
    point->of_family = counted && rest.size > 0 && rest.data[0] == '+';
    if (point->of_family) {
        rest = bytes_make(rest.data + 1, rest.size - 1);
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

/* False when any entry is malformed, there are too many or no page is to be had; what came before
 * it stays set. */
static bool load_points(const char *text) {
    point_count = 0;
    family_passes = mmap(NULL, FAILPOINT_MAX * sizeof(family_passes[0]), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (family_passes == MAP_FAILED) {
        return false;
    }
    struct bytes rest = bytes_from_str(text);
    while (rest.size > 0) {
        struct bytes spec = bytes_cut(&rest, ',');
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

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Each name of this program once, a line each, in order. */
static _Noreturn void print_names(void) {
    size_t count = (size_t)(failpoints_end - failpoints_begin);
    const char **names = calloc(count + 1, sizeof(names[0]));
    if (names == NULL) {
        die(1, "%s: no memory", FAILPOINT_VARIABLE);
    }
    memcpy(names, failpoints_begin, count * sizeof(names[0]));
    qsort(names, count, sizeof(names[0]), compare_names);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0) {
            puts(names[i]);
        }
    }
    free(names);
    exit(0);
}

/* Read here and not at the first pass: getenv is not async-signal-safe, a pass must be. */
__attribute__((constructor)) static void failpoint_start(void) {
    const char *text = getenv(FAILPOINT_VARIABLE);
    if (text == NULL) {
        return;
    }
    if (strcmp(text, "list") == 0) {
        print_names();
    }
    if (!load_points(text)) {
        die(1, "%s: \"%s\" is not name:kill|stop|fail[:[+]n],...", FAILPOINT_VARIABLE, text);
    }
    if (pthread_atfork(NULL, NULL, forget_passes) != 0) {
        die(1, "%s: no memory", FAILPOINT_VARIABLE);
    }
}

/* One write: the lines of processes that end at the same time do not mix. */
static void announce(const struct failpoint *point) {
    const char *const parts[] = {"failpoint: ", point->name, ": ", action_names[point->action],
                                 "\n"};
    struct iovec line[sizeof(parts) / sizeof(parts[0])];
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        line[i].iov_base = (void *)(uintptr_t)parts[i];
        line[i].iov_len = strlen(parts[i]);
    }
    (void)!writev(STDERR_FILENO, line, sizeof(parts) / sizeof(parts[0]));
}

/* Counts a pass; true when the entry acts at it. */
static bool is_due(struct failpoint *point) {
    int64_t own = atomic_fetch_add(&point->passes, 1) + 1;
    int64_t of_all = atomic_fetch_add(&family_passes[point - points], 1) + 1;
    return point->only_pass == 0 || point->only_pass == (point->of_family ? of_all : own);
}

/* Counts the pass of every entry with this name; true when a `fail` entry is due. */
static bool pass(const char *name) {
    bool fails = false;
    for (size_t i = 0; i < point_count; i++) {
        struct failpoint *point = &points[i];
        if (strcmp(point->name, name) != 0) {
            continue;
        }
        if (!is_due(point)) {
            continue;
        }
        switch (point->action) {
        case FAILPOINT_KILL:
            announce(point);
            kill(getpid(), SIGKILL);
            _exit(128 + SIGKILL); /* the kernel spares process 1 of a container from itself */
        case FAILPOINT_STOP:
            announce(point);
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
