/* kill_test: a process killed at every failpoint that a piece of work passes, many times over.
 *
 * For programs that compile layer shm once more with failpoints (local.mk shows how): this header
 * brings failpoint_pass, so it is included once. Nobody keeps a list of steps. The section of
 * failpoint names says which there are (base/failpoint.h), a first run of the work which of them it
 * passes and how often, and kill_assert_covered fails for a step that was not reached.
 *
 * For each point that the work of a case passes:
 *
 *     world = prepare(seed); a child does work(world) and is killed at one of its passes of the
 *     point; check(world, point); finish(world)
 *
 * How another module joins: failpoints named module.verb.step, a `struct kill_case` for each role
 * in a program of its own (test_flight.c), kill_everywhere for each, kill_assert_covered("module.",
 * 20). test_store_kill's `owners` says which program answers for which names; one that no program
 * answers for fails there.
 */
#ifndef OPTIROUTE_TESTS_KILL_TEST_H
#define OPTIROUTE_TESTS_KILL_TEST_H

#include <signal.h>

#include "base/failpoint.h"
#include "shm_test.h"

#define KILL_POINTS_MAX 128

/* -- Our failpoints -- */

struct kill_point {
    const char *name;
    int passes; /* by this process since kill_forget_passes */
    int kills;  /* children that died here */
};

static struct kill_point kill_points[KILL_POINTS_MAX];
static int kill_point_count;
static const char *kill_armed; /* where `kill_signal` is raised; NULL: nowhere */
static int kill_armed_pass;    /* at this pass of it, from 1; 0: at every one */
static int kill_signal = SIGKILL;

static struct kill_point *kill_point(const char *name) {
    for (int i = 0; i < kill_point_count; i++) {
        if (strcmp(kill_points[i].name, name) == 0) {
            return &kill_points[i];
        }
    }
    ck_assert_int_lt(kill_point_count, KILL_POINTS_MAX);
    kill_points[kill_point_count].name = name;
    return &kill_points[kill_point_count++];
}

static inline void kill_forget_passes(void) {
    for (int i = 0; i < kill_point_count; i++) {
        kill_points[i].passes = 0;
    }
}

void failpoint_pass(const char *name) {
    int pass = ++kill_point(name)->passes;
    if (kill_armed != NULL && strcmp(name, kill_armed) == 0 &&
        (kill_armed_pass == 0 || kill_armed_pass == pass)) {
        raise(kill_signal);
    }
}

bool failpoint_fails(const char *name) {
    failpoint_pass(name);
    return false;
}

/* For a child, before its work. */
static inline void kill_arm(const char *name, int pass, int signal) {
    kill_forget_passes();
    kill_armed = name;
    kill_armed_pass = pass;
    kill_signal = signal;
}

/* -- One child -- */

struct kill_job {
    void (*work)(void *world);
    void *world;
    const char *point;
    int pass;
};

static inline int kill_child(void *argument) {
    const struct kill_job *job = argument;
    kill_arm(job->point, job->pass, SIGKILL);
    job->work(job->world);
    return 9; /* the pass did not come */
}

/* The child is killed at that pass of the point, or the test fails. */
static inline void kill_at(void (*work)(void *world), void *world, const char *point, int pass) {
    struct kill_job job = {work, world, point, pass};
    int status = test_reap(test_spawn(kill_child, &job));
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s, pass %d: status %d",
                  point, pass, status);
}

/* -- All of them -- */

struct kill_case {
    void *(*prepare)(uint64_t seed);
    void (*work)(void *world); /* the same passes for the same seed */
    void (*check)(void *world, const char *point);
    void (*finish)(void *world);
};

/* What the work of this seed passes, and how often: run in this process, killed nowhere. */
static inline void kill_learn(const struct kill_case *one, uint64_t seed, int *passes) {
    void *world = one->prepare(seed);
    kill_forget_passes();
    one->work(world);
    for (int i = 0; i < kill_point_count; i++) {
        passes[i] = kill_points[i].passes;
    }
    one->finish(world);
}

/* Seeds 1, 2, 3 ...; with each a child is killed at each point that the work passes, at a pass that
 * the seed chooses, until `rounds` died at it. The worlds of a case are of so many kinds in turn.
 */
static inline void kill_everywhere(const struct kill_case *one, int kinds, int rounds) {
    int kills[KILL_POINTS_MAX] = {0};
    for (uint64_t seed = 1; seed <= (uint64_t)(kinds * rounds); seed++) {
        int passes[KILL_POINTS_MAX] = {0};
        kill_learn(one, seed, passes);
        uint64_t random = seed;
        int known = kill_point_count;
        for (int i = 0; i < known; i++) {
            if (passes[i] == 0 || kills[i] == rounds) {
                continue;
            }
            void *world = one->prepare(seed);
            int pass = 1 + (int)(test_random(&random) % (uint64_t)passes[i]);
            kill_at(one->work, world, kill_points[i].name, pass);
            kills[i]++;
            kill_points[i].kills++;
            one->check(world, kill_points[i].name);
            one->finish(world);
        }
    }
}

static inline bool kill_has_prefix(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Each step with that prefix which is in this program was the end of `least` children. */
static inline void kill_assert_covered(const char *prefix, int least) {
    int steps = 0;
    for (const char *const *at = failpoints_begin; at < failpoints_end; at++) {
        if (kill_has_prefix(*at, prefix)) {
            int kills = kill_point(*at)->kills;
            ck_assert_msg(kills >= least, "%s: %d kills", *at, kills);
            steps++;
        }
    }
    ck_assert_int_gt(steps, 0);
}

#endif
