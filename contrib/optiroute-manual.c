/* optiroute-manual: makes a manual page of a template on stdin, for the build.
 *
 *     optiroute-manual < doc/man/optiroute.yaml.5.in > doc/man/optiroute.yaml.5
 *
 * @KEYS@ and @OPTIONS@, each alone in a line, become the lists that the daemon's own tables make;
 * @VERSION@,
 * @SYSCONFDIR@ and @PKGDATADIR@ are replaced wherever they stand. Built, not installed.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "conf/conf.h"
#include "proc/options.h"

#define LINE_WIDTH 77 /* and a full stop */

/* One text line for each that fits the margin. */
static void put_text(char *text, struct buf *out) {
    size_t column = 0;
    char *rest;
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        size_t size = strlen(word);
        if (column > 0) {
            bool is_full = column + 1 + size > LINE_WIDTH;
            buf_append_char(out, is_full ? '\n' : ' ');
            column = is_full ? 0 : column + 1;
        }
        buf_append(out, word, size);
        column += size;
    }
    buf_append_str(out, ".\n");
}

/* A line of -h is "  -c FILE  what it does"; options without an argument have blanks there. */
static void put_option(char *line, struct buf *out) {
    char letter, argument[16] = "";
    int at = 0;
    if (sscanf(line, "  -%c%n", &letter, &at) != 1 || at == 0) {
        return;
    }
    if (line[at + 1] != ' ') {
        int size = 0;
        (void)sscanf(line + at, "%15s%n", argument, &size);
        at += size;
    }
    char *text = line + at + strspn(line + at, " ");
    text[0] = (char)(text[0] - 'a' + 'A');
    buf_printf(out, ".It Fl %c%s%s\n", letter, argument[0] != '\0' ? " Ar " : "", argument);
    put_text(text, out);
}

static void put_options(struct buf *out) {
    struct buf help;
    buf_init(&help, 0);
    options_help(&help);
    buf_append_char(&help, '\0');
    buf_append_str(out, ".Bl -tag -width Ds\n");
    char *rest;
    for (char *line = strtok_r(help.data, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        put_option(line, out);
    }
    buf_append_str(out, ".El\n");
    buf_free(&help);
}

static void put_version(struct buf *out) {
    buf_append_str(out, PACKAGE_VERSION);
}

static void put_sysconfdir(struct buf *out) {
    buf_append_str(out, SYSCONFDIR);
}

static void put_pkgdatadir(struct buf *out) {
    buf_append_str(out, PKGDATADIR);
}

static const struct {
    const char *mark;
    void (*put)(struct buf *out);
} marks[] = {
    {"@KEYS@\n", conf_print_manual},  {"@OPTIONS@\n", put_options},     {"@VERSION@", put_version},
    {"@SYSCONFDIR@", put_sysconfdir}, {"@PKGDATADIR@", put_pkgdatadir},
};

/* What stands at text for a mark is written; returns the size of the mark, 0 when there is none. */
static size_t put_mark(const char *text, struct buf *out) {
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        size_t size = strlen(marks[i].mark);
        if (strncmp(text, marks[i].mark, size) == 0) {
            marks[i].put(out);
            return size;
        }
    }
    return 0;
}

int main(void) {
    char line[1024];
    struct buf out;
    buf_init(&out, 0);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        for (const char *at = line; *at != '\0';) {
            size_t size = *at == '@' ? put_mark(at, &out) : 0;
            if (size == 0) {
                buf_append_char(&out, *at);
                size = 1;
            }
            at += size;
        }
    }
    bool is_whole = !out.failed && !ferror(stdin) &&
                    fwrite(out.data, 1, out.size, stdout) == out.size && fflush(stdout) == 0;
    buf_free(&out);
    return is_whole ? EXIT_SUCCESS : EXIT_FAILURE;
}
