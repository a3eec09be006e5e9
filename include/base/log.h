/* log: the error log: levels, one line per event, to stderr, a file or syslog.
 *
 * A line is `2026-01-31T12:00:00.123Z level who[pid]: message`, written with one write(2) so lines
 * of several processes do not mix. Never prompts, answers, keys. Control characters in a message,
 * and bytes that are not UTF-8, are written as \xNN; a line past 4096 bytes is cut and ends in
 * `...`. log_write may be called from any thread and keeps errno; the other functions belong to the
 * one thread that runs the process.
 */
#ifndef OPTIROUTE_BASE_LOG_H
#define OPTIROUTE_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* destination: "stderr", "syslog" or a path (created 0640, appended). 0, or -1 with errno; the old
 * destination then stays. The first call may be skipped: stderr at INFO is the default. */
int log_open(const char *destination, enum log_level level);
/* Opens the path again (after rotation); nothing for stderr and syslog. */
int log_reopen(void);
/* For a process that would only repeat what others have said: no line is written while muted. */
void log_mute(bool muted);
/* Name of this process in every line: "master", "worker 0", "metrics". Copied. */
void log_set_identity(const char *who);
/* Descriptor behind the log, -1 for syslog; for handing over ownership of the file. */
int log_descriptor(void);
/* Lines that could not be written (disk full) by this process. */
uint64_t log_dropped(void);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
