/* system: what the daemon asks of the operating system for itself: limits, the user it works as,
 * files that this user must own, the fate it shares with its master.
 *
 * Small wrappers that log or explain; no policy about workers (proc/spawn.h).
 */
#ifndef OPTIROUTE_PROC_SYSTEM_H
#define OPTIROUTE_PROC_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IDENTITY_GROUPS_MAX 64

/* Who workers are. Looked up once by the master, so that no child reads the user database. */
struct identity {
    bool change; /* started as root: children give their privileges up */
    uid_t uid;
    gid_t gid;
    int group_count; /* supplementary groups of the user */
    gid_t groups[IDENTITY_GROUPS_MAX];
};

/* 0, or -1 with one line: no such user. Not root: nothing changes, whatever `user` says. */
int identity_find(struct identity *identity, const char *user, char *error, size_t error_size);
/* In a child: groups, group, user, for good. -1 with errno. */
int identity_assume(const struct identity *identity);

/* Creates the log file if need be and gives it to the identity, if that changes. Nothing for "",
 * stderr and syslog. Symbolic links and what is no regular file keep their owner. -1 with errno
 * when the file cannot be opened. */
int system_own_log(const char *path, const struct identity *identity);
/* Soft limit of open files up to the hard one. Returns what is in force. */
uint64_t system_raise_file_limit(void);
/* Open files that a daemon started here may have: the hard limit, which it makes its own. */
uint64_t system_file_limit(void);
/* Bytes of memory that we may use: the machine's, or our control group's if that is less. */
uint64_t system_memory(void);
/* In a child, after identity_assume (a change of user clears it): SIGKILL when the master ends. -1
 * when it already did. */
int system_die_with(pid_t master);
/* Has it neither ended nor never been? One that ended and was not waited for yet is not alive. */
bool system_is_alive(pid_t pid);
/* The absolute path by which this program was called, without following links, so that what is
 * installed there later is found; by /proc when `called` says nothing. Heap; NULL when not known.
 */
char *system_find_program(const char *called);
/* First of all: 0, 1 and 2 are open (on /dev/null where they were not, else a socket or the region
 * would get the number that log lines are written to), and nothing else that the caller left open
 * is, the sockets of LISTEN_FDS and what an upgrade hands over excepted. -1 with errno. */
int system_take_descriptors(void);
/* Descriptors 0, 1, 2 to /dev/null. */
int system_detach_stdio(void);
/* Name in ps and top; at most 15 bytes count. */
void system_set_title(const char *title);

#endif
