/* conf_value: see conf_value.h. Used by the master at boot, at reload and for -t and -T.
 *
 * The surprise: numbers with decimals are parsed as exact nano units, also where the field is a
 * double, so the locale has no say and -T prints what was written.
 */
#include "config.h"

#include "conf_value.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/panic.h"
#include "base/text.h"

#define NUMBER_SCALE 1e9

void conf_reason_set(struct conf_reason *reason, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(reason->text, sizeof(reason->text), format, args);
    va_end(args);
}

static void *field(const struct conf_key *key, void *base) {
    return (char *)base + key->offset;
}

static const void *field_const(const struct conf_key *key, const void *base) {
    return (const char *)base + key->offset;
}

static bool parse_bool(struct bytes text, bool *value) {
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (bytes_equal_nocase(text, bytes_from_str(words[i]))) {
            *value = i % 2 == 1;
            return true;
        }
    }
    return false;
}

void conf_number_format(enum conf_key_kind kind, int64_t value, char *out, size_t out_size) {
    switch (kind) {
    case KEY_DURATION:
        text_format_duration_ms(value, out, out_size);
        break;
    case KEY_SIZE:
        text_format_size(value, out, out_size);
        break;
    case KEY_NUMBER:
    case KEY_MONEY:
        text_format_nano(value, out, out_size);
        break;
    default:
        snprintf(out, out_size, "%" PRId64, value);
    }
}

static const char *number_wanted(enum conf_key_kind kind) {
    switch (kind) {
    case KEY_DURATION:
        return "a duration like 500ms, 30s, 5m, 1h or 1d";
    case KEY_SIZE:
        return "a size like 512KB, 4MB or 1GB";
    case KEY_NUMBER:
        return "a number with at most nine decimals";
    case KEY_MONEY:
        return "an amount in USD with at most nine decimals";
    default:
        return "a whole number";
    }
}

static bool parse_number(enum conf_key_kind kind, struct bytes text, int64_t *value) {
    switch (kind) {
    case KEY_DURATION:
        return text_parse_duration_ms(text, value);
    case KEY_SIZE:
        return text_parse_size(text, value);
    case KEY_NUMBER:
    case KEY_MONEY:
        return text_parse_nano(text, value);
    default:
        return bytes_to_int64(text, value);
    }
}

static bool parse_bounded(const struct conf_key *key, struct bytes text, int64_t *value,
                          struct conf_reason *reason) {
    if (!parse_number(key->kind, text, value)) {
        conf_reason_set(reason, "`%.*s` is not %s", SHOWN(text), number_wanted(key->kind));
        return false;
    }
    bool off = *value == 0 && (key->flags & KEY_ZERO) != 0;
    if (!off && (*value < key->min || *value > key->max)) {
        char min[32];
        char max[32];
        conf_number_format(key->kind, key->min, min, sizeof(min));
        conf_number_format(key->kind, key->max, max, sizeof(max));
        conf_reason_set(reason, "%.*s is out of bounds: %sfrom %s to %s", SHOWN(text),
                        (key->flags & KEY_ZERO) != 0 ? "0 or " : "", min, max);
        return false;
    }
    return true;
}

static bool parse_choice(const struct conf_key *key, struct bytes text, unsigned *value,
                         struct conf_reason *reason) {
    char all[128] = "";
    size_t used = 0;
    size_t count = 0;
    for (; key->choices[count] != NULL; count++) {
        if (bytes_equal_str(text, key->choices[count])) {
            *value = (unsigned)count;
            return true;
        }
        used += (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", count > 0 ? ", " : "",
                                 key->choices[count]);
        ASSERT(used < sizeof(all));
    }
    char word[CONF_MAX_SHOWN + 1];
    snprintf(word, sizeof(word), "%.*s", SHOWN(text));
    const char *nearest = text_nearest(word, key->choices, count);
    conf_reason_set(reason, "`%s` is none of %s%s%s%s", word, all,
                    nearest != NULL ? "; did you mean `" : "", nearest != NULL ? nearest : "",
                    nearest != NULL ? "`?" : "");
    return false;
}

static bool parse_string(const struct conf_key *key, struct bytes text, const char **value,
                         struct arena *arena, struct conf_reason *reason) {
    if (text.size == 0 && (key->flags & KEY_NOT_EMPTY) != 0) {
        conf_reason_set(reason, "must not be empty");
        return false;
    }
    if (text.size > CONF_MAX_STRING) {
        conf_reason_set(reason, "is longer than %d bytes", CONF_MAX_STRING);
        return false;
    }
    if (bytes_find(text, '\0') != text.size || text_utf8_check(text) != text.size) {
        conf_reason_set(reason, "contains NUL or invalid UTF-8");
        return false;
    }
    if ((key->flags & KEY_TEXT) == 0 && !conf_text_is_line(text)) {
        conf_reason_set(reason, "contains a line break or another control character");
        return false;
    }
    if ((key->flags & KEY_NAME) != 0 && !conf_name_is_valid(text)) {
        conf_reason_set(reason, "`%.*s` is not a name of 1 to %d characters from A-Z a-z 0-9 . _ -",
                        SHOWN(text), CONF_MAX_NAME);
        return false;
    }
    *value = arena_copy(arena, text).data;
    if (*value == NULL) {
        *value = ""; /* every string of a configuration can be read, also of one that failed */
        conf_reason_set(reason, "out of memory");
        return false;
    }
    return true;
}

static bool parse_workers(const struct conf_key *key, struct bytes text, struct conf *conf,
                          struct conf_reason *reason) {
    int64_t count;
    if (bytes_equal_str(text, "auto")) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        count = cores < key->min ? key->min : cores > key->max ? key->max : cores;
        conf->workers_auto = true;
    } else if (bytes_to_int64(text, &count) && count >= key->min && count <= key->max) {
        conf->workers_auto = false;
    } else {
        conf_reason_set(reason, "`%.*s` is neither auto nor a number from %" PRId64 " to %" PRId64,
                        SHOWN(text), key->min, key->max);
        return false;
    }
    conf->workers = (unsigned)count;
    return true;
}

static bool parse_address(const struct conf_key *key, struct bytes text,
                          struct conf_address *address, struct arena *arena,
                          struct conf_reason *reason) {
    if (text.size == 0 && (key->flags & KEY_NOT_EMPTY) == 0) {
        *address = (struct conf_address){.text = "", .host = ""};
        return true;
    }
    return conf_address_parse(text, arena, address, reason);
}

bool conf_value_parse(const struct conf_key *key, struct bytes text, void *base,
                      struct arena *arena, struct conf_reason *reason) {
    int64_t number;
    unsigned choice;
    switch (key->kind) {
    case KEY_BOOL:
        if (!parse_bool(text, field(key, base))) {
            conf_reason_set(reason, "`%.*s` is neither yes nor no", SHOWN(text));
            return false;
        }
        return true;
    case KEY_INT:
    case KEY_DURATION:
    case KEY_SIZE:
    case KEY_MONEY:
        if (!parse_bounded(key, text, &number, reason)) {
            return false;
        }
        *(int64_t *)field(key, base) = number;
        return true;
    case KEY_NUMBER:
        if (!parse_bounded(key, text, &number, reason)) {
            return false;
        }
        *(double *)field(key, base) = (double)number / NUMBER_SCALE;
        return true;
    case KEY_STRING:
        return parse_string(key, text, field(key, base), arena, reason);
    case KEY_CHOICE:
        if (!parse_choice(key, text, &choice, reason)) {
            return false;
        }
        /* Copied, because an enum need not be an unsigned. */
        _Static_assert(sizeof(enum conf_policy) == sizeof(choice), "enums are as wide as unsigned");
        memcpy(field(key, base), &choice, sizeof(choice));
        return true;
    case KEY_ADDRESS:
    case KEY_ADDRESS_LIST:
        return parse_address(key, text, field(key, base), arena, reason);
    case KEY_WORKERS:
        return parse_workers(key, text, base, reason);
    default:
        panic(__FILE__, __LINE__, "not a single value");
    }
}

bool conf_value_is_unset(const struct conf_key *key, const void *base) {
    if (key->standard != NULL) {
        return false;
    }
    switch (key->kind) {
    case KEY_MONEY:
        return *(const int64_t *)field_const(key, base) == CONF_PRICE_UNKNOWN;
    case KEY_NUMBER:
        return *(const double *)field_const(key, base) < 0;
    default:
        return false;
    }
}

static void append_number(enum conf_key_kind kind, int64_t value, struct buf *out) {
    char text[48];
    conf_number_format(kind, value, text, sizeof(text));
    buf_append_str(out, text);
}

void conf_value_format(const struct conf_key *key, const void *base, struct buf *out) {
    const void *at = field_const(key, base);
    unsigned choice;
    switch (key->kind) {
    case KEY_BOOL:
        buf_append_str(out, *(const bool *)at ? "yes" : "no");
        break;
    case KEY_INT:
    case KEY_DURATION:
    case KEY_SIZE:
    case KEY_MONEY:
        append_number(key->kind, *(const int64_t *)at, out);
        break;
    case KEY_NUMBER:
        /* Never negative here; the half makes up for what the division lost. */
        append_number(key->kind, (int64_t)(*(const double *)at * NUMBER_SCALE + 0.5), out);
        break;
    case KEY_STRING:
        conf_text_quote(bytes_from_str(*(const char *const *)at), out);
        break;
    case KEY_CHOICE:
        memcpy(&choice, at, sizeof(choice));
        buf_append_str(out, key->choices[choice]);
        break;
    case KEY_ADDRESS:
        conf_text_quote(bytes_from_str(((const struct conf_address *)at)->text), out);
        break;
    case KEY_WORKERS:
        if (((const struct conf *)base)->workers_auto) {
            buf_append_str(out, "auto");
        } else {
            buf_append_u64(out, ((const struct conf *)base)->workers);
        }
        break;
    default:
        panic(__FILE__, __LINE__, "not a single value");
    }
}

static bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool conf_name_is_valid(struct bytes name) {
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        if (!is_alnum(c) && c != '.' && c != '_' && c != '-') {
            return false;
        }
    }
    return name.size >= 1 && name.size <= CONF_MAX_NAME;
}

static bool is_control(uint32_t cp) {
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0);
}

bool conf_text_is_line(struct bytes text) {
    if (text_utf8_check(text) != text.size) {
        return false;
    }
    for (size_t at = 0; at < text.size;) {
        if (is_control(text_utf8_next(text, &at))) {
            return false;
        }
    }
    return true;
}

/* Words that some YAML reader takes for something else than a string. */
static bool is_reserved_word(struct bytes text) {
    static const char *const words[] = {"y",     "n",  "yes", "no",  "true",
                                        "false", "on", "off", "null"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (bytes_equal_nocase(text, bytes_from_str(words[i]))) {
            return true;
        }
    }
    return false;
}

static bool is_plain(struct bytes text) {
    if (text.size == 0 || is_reserved_word(text) || text.data[text.size - 1] == ':') {
        return false;
    }
    if (text.data[0] != '/' && (!is_alnum(text.data[0]) || text.data[0] <= '9')) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (!is_alnum(text.data[i]) && memchr("_./:-", text.data[i], 5) == NULL) {
            return false;
        }
    }
    return true;
}

void conf_text_quote(struct bytes text, struct buf *out) {
    if (is_plain(text)) {
        buf_append_bytes(out, text);
        return;
    }
    buf_append_char(out, '"');
    for (size_t at = 0; at < text.size;) {
        size_t start = at;
        uint32_t cp = text_utf8_next(text, &at);
        if (cp == '"' || cp == '\\') {
            buf_append_char(out, '\\');
            buf_append_char(out, (char)cp);
        } else if (cp == '$' && conf_expand_match(text, start) > 0) {
            buf_append_str(out, "$$");
        } else if (is_control(cp)) {
            buf_printf(out, "\\x%02X", (unsigned)cp);
        } else if (cp == 0xa0 || cp == 0x2028 || cp == 0x2029 || cp == 0xfeff ||
                   (cp & 0xfffe) == 0xfffe) {
            buf_printf(out, "\\U%08X", (unsigned)cp); /* a break or unprintable to libyaml */
        } else {
            buf_append(out, text.data + start, at - start);
        }
    }
    buf_append_char(out, '"');
}
