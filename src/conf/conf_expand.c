/* conf_expand: ${NAME} in values; see conf_value.h.
 *
 * The surprise: it runs on values, after YAML was parsed, so nothing in the environment can add a
 * key or close a quote. A "${" that is not followed by a name and "}" stands for itself: regular
 * expressions have such.
 */
#include "config.h"

#include "conf_value.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_name_byte(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

bool conf_env_name_is_valid(struct bytes name) {
    for (size_t i = 0; i < name.size; i++) {
        if (!is_name_byte(name.data[i], i == 0)) {
            return false;
        }
    }
    return name.size >= 1 && name.size <= CONF_MAX_NAME;
}

size_t conf_expand_match(struct bytes text, size_t at) {
    struct bytes rest = bytes_make(text.data + at, text.size - at);
    if (rest.size < 4 || rest.data[0] != '$' || rest.data[1] != '{') {
        return 0;
    }
    size_t end = bytes_find(rest, '}');
    if (end == rest.size || !conf_env_name_is_valid(bytes_make(rest.data + 2, end - 2))) {
        return 0;
    }
    return end + 1;
}

/* The environment's value for "${NAME}"; "" when it is not set, noted in *unset. */
static struct bytes look_up(struct bytes reference, char *unset) {
    char name[CONF_MAX_NAME + 1];
    snprintf(name, sizeof(name), "%.*s", (int)(reference.size - 3), reference.data + 2);
    const char *value = getenv(name);
    if (value == NULL && unset[0] == '\0') {
        memcpy(unset, name, sizeof(name));
    }
    return bytes_from_str(value != NULL ? value : "");
}

struct bytes conf_expand(struct arena *arena, struct bytes text, char *unset) {
    struct buf out;
    unset[0] = '\0';
    if (bytes_find(text, '$') == text.size) {
        return text;
    }
    /* One byte more than a value may have, so that the check of its length sees it. */
    buf_init(&out, CONF_MAX_STRING + 1);
    for (size_t at = 0; at < text.size && !out.failed;) {
        size_t size = conf_expand_match(text, at);
        if (size > 0) {
            buf_append_bytes(&out, look_up(bytes_make(text.data + at, size), unset));
            at += size;
        } else if (text.data[at] == '$' && at + 1 < text.size &&
                   (size = conf_expand_match(text, at + 1)) > 0) {
            buf_append(&out, text.data + at + 1, size);
            at += 1 + size;
        } else {
            buf_append_char(&out, text.data[at]);
            at++;
        }
    }
    if (out.failed) { /* longer than any value: let the text itself, padded, be refused for that */
        out.size = 0;
        out.failed = false;
        char *room = buf_reserve(&out, CONF_MAX_STRING + 1);
        if (room != NULL) {
            memset(room, '?', CONF_MAX_STRING + 1);
            out.size = CONF_MAX_STRING + 1;
        }
    }
    struct bytes copy = out.failed ? bytes_make(NULL, 0) : arena_copy(arena, buf_bytes(&out));
    buf_free(&out);
    return copy;
}
