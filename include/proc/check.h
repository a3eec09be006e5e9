/* check: a configuration that can really be run: read, and tried as far as one can without serving.
 *
 * The same at boot, at reload and for -t, so that what -t accepts a reload accepts.
 */
#ifndef OPTIROUTE_PROC_CHECK_H
#define OPTIROUTE_PROC_CHECK_H

#include "conf/conf.h"

/* The file of -c, else the usual place when there is one, else NULL: the built-in one. */
const char *check_conf_path(const char *option);
/* NULL with the errors when anything is wrong. */
struct conf *check_load(const char *path, struct conf_errors *errors);
/* A daemon in the background lives in / and reloads later: adds an error for each relative path. */
void check_paths_absolute(const struct conf *conf, struct conf_errors *errors);
/* Logs a warning when there are not enough open files for limits.max_connections. */
void check_capacity(const struct conf *conf);

#endif
