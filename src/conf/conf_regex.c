/* conf_regex: regular expressions of routing rules; see conf_value.h.
 *
 * The surprise: a pattern of 40 bytes can ask for gigabytes. glibc copies the tree of what is
 * repeated ("(a{1,999}){1,999}", and one doubling for every nested "+"), so the size of the copies
 * is reckoned before regcomp sees the pattern. Back-references are refused: they make matching
 * exponential, and matching runs on what clients send.
 */
#include "config.h"

#include "conf_value.h"

#define MAX_PATTERN 1024 /* bytes */
#define MAX_WEIGHT 2000  /* atoms after copying: at most some 80 ms in regcomp */
#define MAX_GROUPS 32    /* nested parentheses */
#define MAX_REPEAT INT64_C(255)

struct weigher {
    const char *at;               /* next byte */
    int64_t sums[MAX_GROUPS + 1]; /* weight of each open group so far */
    unsigned depth;               /* of the innermost open group */
    int64_t last;                 /* weight of the atom a repetition would copy */
};

/* Past "[...]"; ']' first in the set and inside [: :], [. .], [= =] does not close it. */
static void skip_set(struct weigher *weigher) {
    const char *p = weigher->at + 1;
    p += *p == '^';
    p += *p == ']';
    while (*p != '\0' && *p != ']') {
        char kind = p[1];
        if (*p == '[' && (kind == ':' || kind == '.' || kind == '=')) {
            const char close[] = {kind, ']', '\0'};
            const char *end = strstr(p + 2, close);
            p = end != NULL ? end + 2 : p + 1;
        } else {
            p++;
        }
    }
    weigher->at = *p != '\0' ? p + 1 : p;
}

static void add_atom(struct weigher *weigher, int64_t weight) {
    weigher->sums[weigher->depth] += weight;
    weigher->last = weight;
}

/* The last atom stands there `factor` times now. */
static void repeat_atom(struct weigher *weigher, int64_t factor) {
    weigher->sums[weigher->depth] += weigher->last * (factor - 1);
    weigher->last *= factor;
}

static const char *read_number(const char *p, int64_t *number) {
    *number = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        *number = *number > MAX_REPEAT ? *number : *number * 10 + (*p - '0');
    }
    return p;
}

/* "{n}", "{n,}", "{n,m}": false when a bound is past MAX_REPEAT. What is no bound is an atom. */
static bool take_bound(struct weigher *weigher) {
    int64_t min;
    int64_t max;
    const char *p = read_number(weigher->at + 1, &min);
    max = min;
    if (*p == ',') {
        p = read_number(p + 1, &max);
        max = max > min ? max : min + 1;
    }
    if (*p != '}') {
        add_atom(weigher, 1);
        weigher->at++;
        return true;
    }
    weigher->at = p + 1;
    if (min > MAX_REPEAT || max > MAX_REPEAT + 1) {
        return false;
    }
    repeat_atom(weigher, max > 1 ? max : 1);
    return true;
}

static bool take_byte(struct weigher *weigher, struct conf_reason *reason) {
    switch (*weigher->at) {
    case '\\':
        if (weigher->at[1] >= '1' && weigher->at[1] <= '9') {
            conf_reason_set(reason, "back-references (\\%c) are not allowed", weigher->at[1]);
            return false;
        }
        weigher->at += weigher->at[1] != '\0' ? 2 : 1;
        add_atom(weigher, 1);
        return true;
    case '[':
        skip_set(weigher);
        add_atom(weigher, 1);
        return true;
    case '(':
        if (weigher->depth == MAX_GROUPS) {
            conf_reason_set(reason, "more than %d nested parentheses", MAX_GROUPS);
            return false;
        }
        weigher->sums[++weigher->depth] = 1;
        break;
    case ')':
        if (weigher->depth > 0) {
            int64_t weight = weigher->sums[weigher->depth--];
            add_atom(weigher, weight);
        }
        break;
    case '+':
        repeat_atom(weigher, 2);
        break;
    case '{':
        if (!take_bound(weigher)) {
            conf_reason_set(reason, "a repetition must be at most %d", (int)MAX_REPEAT);
            return false;
        }
        return true;
    case '*':
    case '?':
    case '|':
        break;
    default:
        add_atom(weigher, 1);
    }
    weigher->at++;
    return true;
}

static bool check_weight(const char *pattern, struct conf_reason *reason) {
    struct weigher weigher = {.at = pattern};
    if (strlen(pattern) > MAX_PATTERN) {
        conf_reason_set(reason, "a pattern has at most %d bytes", MAX_PATTERN);
        return false;
    }
    while (*weigher.at != '\0') {
        if (!take_byte(&weigher, reason)) {
            return false;
        }
        if (weigher.sums[weigher.depth] > MAX_WEIGHT) {
            conf_reason_set(reason, "its repetitions multiply to more than %d characters",
                            MAX_WEIGHT);
            return false;
        }
    }
    return true;
}

int conf_regex_compile(regex_t *regex, const char *pattern, struct conf_reason *reason) {
    if (!check_weight(pattern, reason)) {
        return -1;
    }
    int error = regcomp(regex, pattern, REG_EXTENDED | REG_NOSUB);
    if (error != 0) {
        char text[128];
        regerror(error, regex, text, sizeof(text));
        conf_reason_set(reason, "not a regular expression: %s", text);
        return -1;
    }
    return 0;
}
