/* control: `optirouted -s WORD`: finds the running daemon by its pid file and signals it.
 */
#ifndef OPTIROUTE_PROC_CONTROL_H
#define OPTIROUTE_PROC_CONTROL_H

#include <stddef.h>

#include "proc/options.h"

/* 0 when the signal was sent; an upgrade is waited for: 0 when another process has taken over. Or
 * -1 with one line in error. */
int control_send(enum options_signal signal, const char *pid_path, char *error, size_t error_size);

#endif
