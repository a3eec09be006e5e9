/* conf_value: single values: from text to field and back, addresses, ${NAME}, regular expressions.
 *
 * Private to layer conf. Functions that may refuse write a reason without the key's name, fit to
 * stand behind "key: ".
 */
#ifndef OPTIROUTE_CONF_VALUE_H
#define OPTIROUTE_CONF_VALUE_H

#include <regex.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "conf/conf.h"
#include "conf_table.h"

#define CONF_MAX_STRING 4096 /* bytes of one value */
#define CONF_MAX_NAME 64
#define CONF_MAX_SHOWN 64 /* bytes of a user's text repeated in a message */
#define CONF_REASON_SIZE 320

/* For printf's "%.*s": a user's text, cut to what a message can bear. */
#define SHOWN(bytes) \
    (int)((bytes).size < CONF_MAX_SHOWN ? (bytes).size : CONF_MAX_SHOWN), (bytes).data

struct conf_reason {
    char text[CONF_REASON_SIZE]; /* terminated */
};
void conf_reason_set(struct conf_reason *reason, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* conf_value.c: single values (KEY_BOOL to KEY_WORKERS). `base` is the structure that the key's
 * table describes. False with the reason set when the text is not such a value or out of bounds. */
bool conf_value_parse(const struct conf_key *key, struct bytes text, void *base,
                      struct arena *arena, struct conf_reason *reason);
/* The field has no value: a NULL default was never replaced. */
bool conf_value_is_unset(const struct conf_key *key, const void *base);
/* As YAML that parses to the same value. */
void conf_value_format(const struct conf_key *key, const void *base, struct buf *out);
/* A number, of whichever kind, as people would write it. */
void conf_number_format(enum conf_key_kind kind, int64_t value, char *out, size_t out_size);
/* [A-Za-z0-9._-]{1,64} */
bool conf_name_is_valid(struct bytes name);
/* No control character (C0, DEL, C1) and valid UTF-8: fit for a header, a label and a log line. */
bool conf_text_is_line(struct bytes text);
/* The text as a YAML scalar, quoted where needed, with ${NAME} escaped. */
void conf_text_quote(struct bytes text, struct buf *out);

/* conf_expand.c: replaces each ${NAME} by the environment's value, "" when it is not set; $${NAME}
 * stands for ${NAME} itself. *unset (CONF_MAX_NAME + 1 bytes) gets the first name that is not set,
 * else "". data is NULL without memory. */
struct bytes conf_expand(struct arena *arena, struct bytes text, char *unset);
/* Bytes of the ${NAME} that begins at text.data[at], or 0. */
size_t conf_expand_match(struct bytes text, size_t at);
/* [A-Za-z_][A-Za-z0-9_]*, at most CONF_MAX_NAME bytes. */
bool conf_env_name_is_valid(struct bytes name);

/* conf_address.c */
bool conf_address_parse(struct bytes text, struct arena *arena, struct conf_address *address,
                        struct conf_reason *reason);
/* Would the second bind fail? Port 0 is never the same. */
bool conf_address_equal(const struct conf_address *a, const struct conf_address *b);
/* http:// or https://, host, port, path; no user, no query. */
bool conf_url_check(struct bytes url, struct conf_reason *reason);

/* conf_regex.c: compiles a POSIX ERE (REG_NOSUB) that cannot cost unbounded memory or time. 0, or
 * -1 with the reason and nothing to free. */
int conf_regex_compile(regex_t *regex, const char *pattern, struct conf_reason *reason);

#endif
