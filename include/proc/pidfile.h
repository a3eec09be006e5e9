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
/* The same in two steps, for who is to take another's place: a complete, locked file beside the
 * path (PATH.PID), and its move there at once, over a file that nobody or the predecessor holds. -1
 * with one line in error; pidfile_remove ends either. */
int pidfile_prepare(const char *path, char *error, size_t error_size);
int pidfile_place(const char *path, pid_t predecessor, char *error, size_t error_size);
/* Would pidfile_place be refused for somebody's sake? */
bool pidfile_is_held_by_another(const char *path, pid_t predecessor);
/* Removes what a dead process prepared and never placed. */
void pidfile_discard(const char *path, pid_t pid);
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
