/* panic: see base/panic.h. Used by every process.
 *
 * The surprise: die() also writes to stderr when the log goes elsewhere, because whoever starts a
 * daemon that does not come up looks at the terminal first.
 */
#include "config.h"

#include "base/panic.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

#define LAST_WORDS_MAX 256
#define FAREWELL_MAX 2048

static _Atomic(panic_hook_fn *) panic_hook;
static atomic_flag panicking = ATOMIC_FLAG_INIT;

void panic_set_hook(panic_hook_fn *hook) {
    atomic_store(&panic_hook, hook);
}

_Noreturn void panic(const char *file, int line, const char *what) {
    /* A fault in the hook or in the log must not call them again. */
    if (!atomic_flag_test_and_set(&panicking)) {
        char last_words[LAST_WORDS_MAX];
        snprintf(last_words, sizeof(last_words), "%s:%d: %s", file, line, what);
        panic_hook_fn *hook = atomic_load(&panic_hook);
        if (hook != NULL) {
            hook(last_words);
        }
        log_error("panic: %s", last_words);
    }
    abort();
}

_Noreturn void die(int status, const char *format, ...) {
    char farewell[FAREWELL_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(farewell, sizeof(farewell), format, args);
    va_end(args);
    log_error("%s", farewell);
    if (log_descriptor() != STDERR_FILENO) {
        fprintf(stderr, "optiroute: %s\n", farewell);
    }
    exit(status);
}
