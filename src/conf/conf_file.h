/* conf_file: reads a whole regular file, as the configuration and the files it names are read.
 *
 * Private to layer conf.
 */
#ifndef OPTIROUTE_CONF_FILE_H
#define OPTIROUTE_CONF_FILE_H

#include "base/bytes.h"

/* Appends what the file holds to *text (at most CONF_MAX_FILE_BYTES). NULL, or in one line why it
 * cannot be read; a FIFO or a device is refused, not waited for. */
const char *conf_file_read(const char *path, struct buf *text);

#endif
