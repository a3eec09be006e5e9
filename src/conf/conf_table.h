/* conf_table: every key of the configuration as a row: name, type, place, default, bounds, help.
 *
 * Private to layer conf. Reading, -T, the schema and the list of keys that need a restart all walk
 * these rows; adding a key means adding a row and a field.
 */
#ifndef OPTIROUTE_CONF_TABLE_H
#define OPTIROUTE_CONF_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* What stands in the file, and (in brackets) the field it is read into. */
enum conf_key_kind {
    /* single values: conf_value.c */
    KEY_BOOL,     /* yes, no (bool) */
    KEY_INT,      /* 1000 (int64_t) */
    KEY_DURATION, /* 30s (int64_t, ms) */
    KEY_SIZE,     /* 4MB (int64_t, bytes) */
    KEY_NUMBER,   /* 0.5, at most nine decimals (double) */
    KEY_MONEY,    /* 0.15 USD (int64_t, nano-dollars) */
    KEY_STRING,   /* (const char *) */
    KEY_CHOICE,   /* one of choices (an enum whose values are their positions) */
    KEY_ADDRESS,  /* 127.0.0.1:9464 (struct conf_address) */
    KEY_WORKERS,  /* auto or a number (workers and workers_auto of struct conf) */
    /* single values that name a provider: conf_route.c */
    KEY_PROVIDER, /* (unsigned, index) */
    KEY_TARGET,   /* cheap, strong or a provider (target and provider of struct conf_rule) */
    /* several values */
    KEY_SECTION,       /* mapping of the rows of `table` (a struct, or the same one) */
    KEY_ADDRESS_LIST,  /* listen of struct conf */
    KEY_PROVIDER_LIST, /* fallback of struct conf_route */
    KEY_PROVIDERS,     /* mapping of names to `table` (providers of struct conf) */
    KEY_MODELS,        /* mapping of names to `table` (models of struct conf_provider) */
    KEY_ROUTES,        /* mapping of names to `table` (routes of struct conf) */
    KEY_RULES          /* list of `table` (rules of struct conf_route) */
};

enum conf_key_flags {
    KEY_REQUIRED = 1,  /* no default: its mapping is wrong without it */
    KEY_RESTART = 2,   /* a reload cannot bring it into force */
    KEY_NOT_EMPTY = 4, /* string, address */
    KEY_NAME = 8,      /* string: [A-Za-z0-9._-]{1,64} */
    KEY_TEXT = 16,     /* string: may contain line breaks and other control characters but NUL */
    KEY_ZERO = 32      /* number: 0 is allowed though it is below min; it means "off" */
};

struct conf_table;

struct conf_key {
    const char *name;
    enum conf_key_kind kind;
    unsigned flags;
    size_t offset;                  /* of the field in the structure of this table */
    const char *standard;           /* the default, as it would be written; NULL: none (-1 or "") */
    int64_t min, max;               /* of numbers, in the field's unit; KEY_NUMBER: 10^-9 */
    const char *const *choices;     /* KEY_CHOICE: ends with NULL */
    const struct conf_table *table; /* of the mapping inside */
    const char *help;
};

struct conf_table {
    const struct conf_key *keys;
    size_t count;
};

#define CONF_TABLE_MAX 24 /* rows of one table */

extern const struct conf_table conf_table_root;
extern const struct conf_table conf_table_provider;
extern const struct conf_table conf_table_model;
extern const struct conf_table conf_table_route;
extern const struct conf_table conf_table_rule;

#endif
