/* pidfile: the file that says which process is the master, locked as long as it lives.
 *
 * The lock (a POSIX record lock, fcntl(2)) is what counts: it ends with the master however that
 * dies, so a stale file is never mistaken for a running daemon. The file appears complete, by
 * link(2) or rename(2).
 */
#ifndef OPTIROUTE_PROC_PIDFILE_H
#define OPTIROUTE_PROC_PIDFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Creates (or takes over from a dead daemon) and locks the file, with this process's id in it.
 * Descriptor to keep open, or -1 with one line in error. The process must not open that file again:
 * closing any descriptor of it gives the lock up. */
int pidfile_create(const char *path, char *error, size_t error_size);
/* As pidfile_create, but a file that the predecessor still holds is replaced by ours, at once. */
int pidfile_succeed(const char *path, pid_t predecessor, char *error, size_t error_size);
/* A sign to who waits for an upgrade (proc/control.h) that it has failed: the file's time of change
 * moves, and nothing else. */
void pidfile_touch(int fd);
/* Is the path still this process's file? Somebody may have replaced it. */
bool pidfile_is_ours(const char *path, int fd);
/* Removes the file if it is still the one behind fd, and closes fd. */
void pidfile_remove(const char *path, int fd);
/* The id of the daemon that holds the file, or -1 with one line in error. Not for the process that
 * holds it. */
pid_t pidfile_read(const char *path, char *error, size_t error_size);

#endif
