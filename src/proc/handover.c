/* handover: see proc/handover.h. Runs in masters, and before main does anything. */
#include "config.h"

#include "proc/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOCKETS_FROM 2 /* behind the pipe and the region */
#define GIVEN_MAX (SOCKETS_FROM + 2 * LISTEN_MAX)
#define TEXT_MAX (64 + 2 * LISTEN_MAX * (LISTEN_ASKED_SIZE + 16))

static const char clients_word[] = "clients=", metrics_word[] = "metrics=";

/* -- The text -- */

static void compose_list(const struct listeners *listeners, const char *word, struct buf *out) {
    for (unsigned i = 0; i < listeners->count; i++) {
        buf_printf(out, " %s%s", word, listeners->items[i].asked);
    }
}

void handover_compose(const struct handover *handover, struct buf *out) {
    buf_printf(out, "%d %u", (int)handover->master, (unsigned)handover->generation);
    compose_list(&handover->clients, clients_word, out);
    compose_list(&handover->metrics, metrics_word, out);
}

/* What is behind the word's beginning, in *asked. */
static bool begins_with(struct bytes word, const char *beginning, struct bytes *asked) {
    size_t size = strlen(beginning);
    if (word.size < size || memcmp(word.data, beginning, size) != 0) {
        return false;
    }
    *asked = bytes_make(word.data + size, word.size - size);
    return true;
}

int handover_parse(struct bytes text, struct handover *handover, struct bytes *list) {
    int64_t master, generation;
    *handover = (struct handover){.console_fd = -1, .region_fd = -1};
    if (!bytes_to_int64(bytes_cut(&text, ' '), &master) || master <= 0 || master > INT32_MAX ||
        !bytes_to_int64(bytes_cut(&text, ' '), &generation) || generation < 0 ||
        generation >= UINT32_MAX) {
        return -1;
    }
    handover->master = (pid_t)master;
    handover->generation = (uint32_t)generation;
    *list = text;
    int sockets = 0;
    struct bytes asked;
    while (text.size > 0) {
        struct bytes word = bytes_cut(&text, ' ');
        if (!begins_with(word, clients_word, &asked) && !begins_with(word, metrics_word, &asked)) {
            return -1;
        }
        sockets++;
    }
    return sockets > 0 && sockets <= 2 * LISTEN_MAX ? sockets : -1;
}

/* -- Give -- */

int handover_give(const struct handover *handover) {
    int fds[GIVEN_MAX] = {handover->console_fd, handover->region_fd};
    unsigned count = SOCKETS_FROM;
    for (unsigned i = 0; i < handover->clients.count; i++) {
        fds[count++] = handover->clients.items[i].fd;
    }
    for (unsigned i = 0; i < handover->metrics.count; i++) {
        fds[count++] = handover->metrics.items[i].fd;
    }
    /* First all out of the way, so that none is overwritten before it was moved. */
    for (unsigned i = 0; i < count; i++) {
        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, HANDOVER_FIRST_FD + GIVEN_MAX);
        if (fds[i] == -1) {
            return -1;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (dup2(fds[i], HANDOVER_FIRST_FD + (int)i) == -1) { /* clears close-on-exec */
            return -1;
        }
    }
    static char text[TEXT_MAX];
    struct buf out;
    buf_init_fixed(&out, text, sizeof(text));
    handover_compose(handover, &out);
    buf_append_char(&out, '\0');
    if (out.failed) {
        errno = E2BIG;
        return -1;
    }
    return setenv(HANDOVER_VARIABLE, text, 1);
}

/* -- Take -- */

/* Sockets in the variable; -1: none of this concerns us. */
static int look(struct handover *handover, struct bytes *list) {
    const char *text = getenv(HANDOVER_VARIABLE);
    if (text == NULL) {
        return -1;
    }
    int sockets = handover_parse(bytes_from_str(text), handover, list);
    return handover->master == getppid() ? sockets : -1;
}

unsigned handover_count(void) {
    struct handover handover;
    struct bytes list;
    int sockets = look(&handover, &list);
    return sockets > 0 ? (unsigned)(SOCKETS_FROM + sockets) : 0;
}

static int take_sockets(struct handover *handover, struct bytes list, char *error,
                        size_t error_size) {
    int fd = HANDOVER_FIRST_FD + SOCKETS_FROM;
    while (list.size > 0) {
        struct bytes asked = bytes_make("", 0), word = bytes_cut(&list, ' ');
        bool is_client = begins_with(word, clients_word, &asked);
        (void)begins_with(word, metrics_word, &asked);
        char text[LISTEN_ASKED_SIZE];
        snprintf(text, sizeof(text), "%.*s", (int)asked.size, asked.data);
        if (listen_adopt(is_client ? &handover->clients : &handover->metrics, fd, text) == -1) {
            snprintf(error, error_size, "upgrade: descriptor %d is no listening TCP socket", fd);
            return -1;
        }
        fd++;
    }
    return 0;
}

int handover_take(struct handover *handover, char *error, size_t error_size) {
    struct bytes list;
    int sockets = look(handover, &list);
    struct stat status;
    int result = 0;
    if (sockets > 0) {
        int console_fd = HANDOVER_FIRST_FD, region_fd = HANDOVER_FIRST_FD + 1;
        result = 1;
        if (fstat(console_fd, &status) == -1 || !S_ISFIFO(status.st_mode) ||
            fcntl(console_fd, F_SETFD, FD_CLOEXEC) == -1) {
            snprintf(error, error_size, "upgrade: descriptor %d is no pipe", console_fd);
            result = -1;
        } else if (fstat(region_fd, &status) == -1 || !S_ISREG(status.st_mode) ||
                   fcntl(region_fd, F_SETFD, FD_CLOEXEC) == -1) {
            snprintf(error, error_size, "upgrade: descriptor %d is no region", region_fd);
            result = -1;
        } else if (take_sockets(handover, list, error, error_size) == -1) {
            result = -1;
        }
        handover->console_fd = console_fd;
        handover->region_fd = region_fd;
    }
    unsetenv(HANDOVER_VARIABLE);
    return result;
}
