/* master: the process that serves nobody: it binds, forks, reaps, reloads, hands over and ends.
 *
 * It reads no socket and touches neither libevent nor libcurl nor TLS; it is a loop of questions,
 * and between them it sleeps in sigtimedwait.
 */
#ifndef OPTIROUTE_PROC_MASTER_H
#define OPTIROUTE_PROC_MASTER_H

#include "conf/conf.h"
#include "proc/options.h"

/* Runs the daemon with a checked configuration, which it takes over. In the background it returns
 * in the daemon; the process that was started exits. Returns the exit status. */
int master_run(const struct options *options, struct conf *conf);

#endif
