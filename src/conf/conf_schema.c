/* conf_schema: the key table as a JSON schema (draft 2020-12) for editors; see conf/conf.h.
 *
 * The surprise: it is a help for writing, not the judge. It knows names, types and bounds of
 * numbers; what depends on several keys, or on units, only the daemon's own -t can tell.
 */
#include "config.h"

#include "base/json_write.h"
#include "conf/conf.h"
#include "conf_table.h"

#define STEP 2
/* Any value may come from the environment as a whole or in part. */
#define OR_ENVIRONMENT "|\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}"

static void put_table(struct json_writer *json, const struct conf_table *table);

static void put(struct json_writer *json, const char *key, const char *value) {
    json_key(json, key);
    json_put_str(json, value);
}

static void put_pattern(struct json_writer *json, const char *pattern) {
    put(json, "type", "string");
    put(json, "pattern", pattern);
}

static void begin_alternatives(struct json_writer *json) {
    json_key(json, "anyOf");
    json_array_begin(json);
    json_object_begin(json);
}

static void next_alternative(struct json_writer *json) {
    json_object_end(json);
    json_object_begin(json);
}

static void end_alternatives(struct json_writer *json) {
    json_object_end(json);
    json_array_end(json);
}

static void put_bool_type(struct json_writer *json) {
    begin_alternatives(json);
    put(json, "type", "boolean");
    next_alternative(json);
    put_pattern(json, "^(yes|no|true|false|on|off)$" OR_ENVIRONMENT);
    end_alternatives(json);
}

/* Bounds are told where JSON has the unit of the field; others carry a unit in their text. */
static void put_number_type(struct json_writer *json, const struct conf_key *row) {
    bool whole = row->kind == KEY_INT || row->kind == KEY_WORKERS;
    begin_alternatives(json);
    put(json, "type", whole ? "integer" : "number");
    json_key(json, "minimum");
    whole ? json_put_int(json, row->min) : json_put_nano(json, row->min);
    json_key(json, "maximum");
    whole ? json_put_int(json, row->max) : json_put_nano(json, row->max);
    next_alternative(json);
    put_pattern(json, row->kind == KEY_WORKERS ? "^auto$" OR_ENVIRONMENT
                      : whole                  ? "^[0-9]+$" OR_ENVIRONMENT
                                               : "^[0-9]+(\\.[0-9]{1,9})?$" OR_ENVIRONMENT);
    end_alternatives(json);
}

/* A bare 0 is a number to JSON. */
static void put_unit_type(struct json_writer *json, const char *pattern, bool any_number) {
    begin_alternatives(json);
    put(json, "type", "integer");
    json_key(json, "minimum");
    json_put_int(json, 0);
    if (!any_number) {
        json_key(json, "maximum");
        json_put_int(json, 0);
    }
    next_alternative(json);
    put_pattern(json, pattern);
    end_alternatives(json);
}

static void put_string_type(struct json_writer *json, const struct conf_key *row) {
    if ((row->flags & KEY_NAME) != 0) {
        put_pattern(json, "^[A-Za-z0-9._-]{1,64}$" OR_ENVIRONMENT);
        return;
    }
    put(json, "type", "string");
    if ((row->flags & KEY_NOT_EMPTY) != 0) {
        json_key(json, "minLength");
        json_put_int(json, 1);
    }
}

static void put_choice_type(struct json_writer *json, const struct conf_key *row) {
    json_key(json, "enum");
    json_array_begin(json);
    for (size_t i = 0; row->choices[i] != NULL; i++) {
        json_put_str(json, row->choices[i]);
    }
    json_array_end(json);
}

/* A mapping whose keys are names the user chooses. */
static void put_map_type(struct json_writer *json, const struct conf_key *row) {
    json_key(json, "type");
    json_array_begin(json);
    json_put_str(json, "object");
    json_put_str(json, "null");
    json_array_end(json);
    if (row->kind != KEY_MODELS) {
        json_key(json, "propertyNames");
        json_object_begin(json);
        put_pattern(json, "^[A-Za-z0-9._-]{1,64}$");
        json_object_end(json);
    }
    json_key(json, "additionalProperties");
    json_object_begin(json);
    put_table(json, row->table);
    json_object_end(json);
}

static void begin_items(struct json_writer *json, int64_t max) {
    put(json, "type", "array");
    json_key(json, "maxItems");
    json_put_int(json, max);
    json_key(json, "items");
    json_object_begin(json);
}

static void put_one_or_list_type(struct json_writer *json, int64_t max) {
    begin_alternatives(json);
    put(json, "type", "string");
    next_alternative(json);
    begin_items(json, max);
    put(json, "type", "string");
    json_object_end(json);
    end_alternatives(json);
}

static void put_type(struct json_writer *json, const struct conf_key *row) {
    switch (row->kind) {
    case KEY_BOOL:
        put_bool_type(json);
        break;
    case KEY_INT:
    case KEY_NUMBER:
    case KEY_MONEY:
    case KEY_WORKERS:
        put_number_type(json, row);
        break;
    case KEY_DURATION:
        put_unit_type(json, "^(0|[0-9]+(\\.[0-9]{1,3})?(ms|s|m|h|d))$" OR_ENVIRONMENT, false);
        break;
    case KEY_SIZE:
        put_unit_type(json, "^[0-9]+(B|KB|MB|GB|TB)?$" OR_ENVIRONMENT, true);
        break;
    case KEY_STRING:
        put_string_type(json, row);
        break;
    case KEY_CHOICE:
        put_choice_type(json, row);
        break;
    case KEY_ADDRESS:
    case KEY_PROVIDER:
    case KEY_TARGET:
        put(json, "type", "string");
        break;
    case KEY_SECTION:
        put_table(json, row->table);
        break;
    case KEY_ADDRESS_LIST:
        put_one_or_list_type(json, CONF_MAX_LISTEN);
        break;
    case KEY_PROVIDER_LIST:
        put_one_or_list_type(json, CONF_MAX_FALLBACKS);
        break;
    case KEY_RULES:
        begin_items(json, CONF_MAX_RULES);
        put_table(json, row->table);
        json_object_end(json);
        break;
    case KEY_PROVIDERS:
    case KEY_MODELS:
    case KEY_ROUTES:
        put_map_type(json, row);
        break;
    }
}

static void put_row(struct json_writer *json, const struct conf_key *row) {
    json_key(json, row->name);
    json_object_begin(json);
    put(json, "description", row->help);
    if (row->standard != NULL && row->kind != KEY_PROVIDER_LIST) {
        put(json, "default", row->standard);
    }
    put_type(json, row);
    json_object_end(json);
}

static void put_table(struct json_writer *json, const struct conf_table *table) {
    bool any_required = false;
    json_key(json, "type");
    json_array_begin(json);
    json_put_str(json, "object");
    json_put_str(json, "null");
    json_array_end(json);
    json_key(json, "additionalProperties");
    json_put_bool(json, false);
    json_key(json, "properties");
    json_object_begin(json);
    for (size_t i = 0; i < table->count; i++) {
        put_row(json, &table->keys[i]);
        any_required = any_required || (table->keys[i].flags & KEY_REQUIRED) != 0;
    }
    json_object_end(json);
    if (any_required) {
        json_key(json, "required");
        json_array_begin(json);
        for (size_t i = 0; i < table->count; i++) {
            if ((table->keys[i].flags & KEY_REQUIRED) != 0) {
                json_put_str(json, table->keys[i].name);
            }
        }
        json_array_end(json);
    }
}

static void break_line(unsigned depth, struct buf *out) {
    buf_append_char(out, '\n');
    for (unsigned i = 0; i < depth * STEP; i++) {
        buf_append_char(out, ' ');
    }
}

/* The writer writes one line; the file is read by people and by diff. */
static void indent_json(struct bytes json, struct buf *out) {
    bool in_string = false;
    unsigned depth = 0;
    for (size_t i = 0; i < json.size; i++) {
        char c = json.data[i];
        if (in_string) {
            buf_append_char(out, c);
            if (c == '\\') {
                buf_append_char(out, json.data[++i]);
            }
            in_string = c != '"';
            continue;
        }
        if (c == '}' || c == ']') {
            break_line(--depth, out);
        }
        buf_append_char(out, c);
        in_string = c == '"';
        if (c == '{' || c == '[') {
            break_line(++depth, out);
        } else if (c == ',') {
            break_line(depth, out);
        } else if (c == ':') {
            buf_append_char(out, ' ');
        }
    }
    buf_append_char(out, '\n');
}

void conf_print_schema(struct buf *out) {
    struct json_writer json;
    struct buf line;
    buf_init(&line, 0);
    json_write_init(&json, &line);
    json_object_begin(&json);
    put(&json, "$schema", "https://json-schema.org/draft/2020-12/schema");
    put(&json, "title", "OptiRoute configuration");
    put(&json, "description", "Made from the key table of the daemon; do not edit.");
    put_table(&json, &conf_table_root);
    json_object_end(&json);
    if (line.failed) {
        out->failed = true;
    } else {
        indent_json(buf_bytes(&line), out);
    }
    buf_free(&line);
}
