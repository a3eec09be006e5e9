/* conf_manual: the key table as the list of keys in optiroute.yaml(5), in mdoc(7); see conf/conf.h.
 *
 * Not in the daemon: the build runs it once, in contrib/optiroute-manual. The surprise: sections
 * are not told as such; a key of theirs is listed by its whole path, as an error or a search would
 * name it.
 */
#include "config.h"

#include <stdio.h>

#include "conf/conf.h"
#include "conf_value.h"

#define PATH_MAX_BYTES 128
#define VALUE_MAX_BYTES 128
#define LINE_WIDTH 78

static void put_rows(const struct conf_table *table, const char *path, struct buf *out);

/* What stands behind the colon, for each kind that is not a mapping of rows. */
static const char *const values[] = {
    [KEY_BOOL] = "Ar yes | no",
    [KEY_INT] = "Ar number",
    [KEY_DURATION] = "Ar duration",
    [KEY_SIZE] = "Ar size",
    [KEY_NUMBER] = "Ar number",
    [KEY_MONEY] = "Ar USD",
    [KEY_STRING] = "Ar string",
    [KEY_ADDRESS] = "Ar address",
    [KEY_WORKERS] = "Ar auto | number",
    [KEY_PROVIDER] = "Ar provider",
    [KEY_TARGET] = "Ar cheap | strong | provider",
    [KEY_ADDRESS_LIST] = "Ar address ...",
    [KEY_PROVIDER_LIST] = "Ar provider ...",
};

/* Text lines: a new one for each sentence and before the margin. */
static void put_text(const char *text, struct buf *out) {
    size_t column = 0;
    while (*text != '\0') {
        size_t size = strcspn(text, " ");
        if (column > 0) {
            bool is_new = text[-2] == '.' || column + 1 + size > LINE_WIDTH;
            buf_append_char(out, is_new ? '\n' : ' ');
            column = is_new ? 0 : column + 1;
        }
        /* A control line begins with these; nothing of ours does, a new help text might. */
        if (column == 0 && (*text == '.' || *text == '\'')) {
            buf_append_str(out, "\\&");
        }
        buf_append(out, text, size);
        column += size;
        text += size;
        text += *text == ' ';
    }
    buf_append_char(out, '\n');
}

static bool has_bounds(const struct conf_key *row) {
    return (row->kind >= KEY_INT && row->kind <= KEY_MONEY) || row->kind == KEY_WORKERS;
}

/* Default, bounds, and whether a reload is enough: a sentence each. */
static void put_facts(const struct conf_key *row, struct buf *out) {
    char low[VALUE_MAX_BYTES], high[VALUE_MAX_BYTES];
    struct buf facts;
    buf_init(&facts, 0);
    if ((row->flags & KEY_REQUIRED) != 0) {
        buf_append_str(&facts, "Required. ");
    } else if (row->standard != NULL) {
        buf_printf(&facts, "Default: %s. ", row->standard[0] != '\0' ? row->standard : "empty");
    } /* else the help says what happens without it */
    if (has_bounds(row)) {
        conf_number_format(row->kind, row->min, low, sizeof(low));
        conf_number_format(row->kind, row->max, high, sizeof(high));
        buf_printf(&facts, "From %s to %s%s. ", low, high,
                   (row->flags & KEY_ZERO) != 0 ? ", or 0" : "");
    }
    if ((row->flags & KEY_RESTART) != 0) {
        buf_append_str(&facts, "Needs a restart. ");
    }
    buf_append_char(&facts, '\0');
    out->failed = out->failed || facts.failed;
    if (!facts.failed && facts.data[0] != '\0') {
        put_text(facts.data, out);
    }
    buf_free(&facts);
}

static void put_choices(const struct conf_key *row, struct buf *out) {
    buf_append_str(out, "Ar ");
    for (size_t i = 0; row->choices[i] != NULL; i++) {
        buf_printf(out, "%s%s", i > 0 ? " | " : "", row->choices[i]);
    }
}

/* How the rows inside a mapping are reached from its key, or NULL. */
static const char *inner_path(const struct conf_key *row) {
    switch (row->kind) {
    case KEY_SECTION:
        return "";
    case KEY_PROVIDERS:
    case KEY_ROUTES:
        return ".NAME";
    case KEY_MODELS:
        return ".MODEL";
    case KEY_RULES:
        return "[]";
    default:
        return NULL;
    }
}

static void put_row(const struct conf_key *row, const char *prefix, struct buf *out) {
    char path[PATH_MAX_BYTES];
    const char *inner = inner_path(row);
    snprintf(path, sizeof(path), "%s%s%s", prefix, row->name, inner != NULL ? inner : "");
    buf_printf(out, ".It Ic %s", path);
    if (inner != NULL) {
        buf_append_char(out, '\n');
        put_text(row->help, out);
        snprintf(path, sizeof(path), "%s%s%s.", prefix, row->name, inner);
        put_rows(row->table, path, out);
        return;
    }
    buf_append_str(out, " : ");
    if (row->kind == KEY_CHOICE) {
        put_choices(row, out);
    } else {
        buf_append_str(out, values[row->kind]);
    }
    buf_append_char(out, '\n');
    put_text(row->help, out);
    put_facts(row, out);
}

static void put_rows(const struct conf_table *table, const char *path, struct buf *out) {
    for (size_t i = 0; i < table->count; i++) {
        put_row(&table->keys[i], path, out);
    }
}

void conf_print_manual(struct buf *out) {
    buf_append_str(out, ".Bl -tag -width Ds\n");
    put_rows(&conf_table_root, "", out);
    buf_append_str(out, ".El\n");
}
