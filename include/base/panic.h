/* panic: what happens when an invariant is broken, and how boot gives up.
 *
 * ASSERT states an invariant, never judges input: on failure the last words go through the hook
 * (the worker writes them to the board), to the log, and the process aborts; the master replaces
 * it.
 */
#ifndef OPTIROUTE_BASE_PANIC_H
#define OPTIROUTE_BASE_PANIC_H

typedef void panic_hook_fn(const char *last_words);

/* NULL removes the hook. The hook must be async-signal-safe in spirit: no allocation, no lock. */
void panic_set_hook(panic_hook_fn *hook);
_Noreturn void panic(const char *file, int line, const char *what);
/* Boot cannot go on: logs and exits with `status` (1 usage or configuration, 2 fatal at boot). */
_Noreturn void die(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define ASSERT(condition)                          \
    do {                                           \
        if (!(condition)) {                        \
            panic(__FILE__, __LINE__, #condition); \
        }                                          \
    } while (0)

#endif
