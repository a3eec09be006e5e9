/* conf_file: see conf_file.h. Used by the master at boot and reload, and by -t. */
#include "config.h"

#include "conf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf.h"

#define READ_BLOCK 16384
#define TOO_LARGE "larger than 1 MB"

static const char *read_regular(int fd, struct buf *text) {
    struct stat status;
    ssize_t got;
    if (fstat(fd, &status) == -1) {
        return strerror(errno);
    }
    if (!S_ISREG(status.st_mode)) {
        return "not a regular file";
    }
    do { /* by what arrives, not by st_size: the file may grow meanwhile */
        char *room = buf_reserve(text, READ_BLOCK);
        if (room == NULL) {
            return "out of memory";
        }
        got = read(fd, room, READ_BLOCK);
        if (got == -1) {
            return strerror(errno);
        }
        text->size += (size_t)got;
    } while (got > 0 && text->size <= CONF_MAX_FILE_BYTES);
    return text->size > CONF_MAX_FILE_BYTES ? TOO_LARGE : NULL;
}

const char *conf_file_read(const char *path, struct buf *text) {
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd == -1) {
        return strerror(errno);
    }
    const char *reason = read_regular(fd, text);
    close(fd);
    return reason;
}
