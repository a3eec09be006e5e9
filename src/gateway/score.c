/* score: reads a prompt once, counts, and weighs what it counted.
 *
 *     score = logistic(BIAS + sum over the table of weight * feature)
 *
 * Every feature is between 0 and 1, so a weight is the most a feature can move the sum, and a line
 * of the table can be judged alone. Runs in workers for each routed request, and in
 * contrib/optiroute-score, whose output contrib/fit_score.py fits the weights on.
 *
 * It does not decide: route.c holds the score against the threshold.
 *
 * The surprise: the sum is scaled for the threshold, not for probability. 0.5 is where an ordinary
 * chat request begins to look demanding; it does not mean that the cheap model fails half the time.
 */
#include "gateway/score.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>

#include "score_words.h"

/* Chosen by hand: it moves every score alike, so that ordinary chat prompts (those of
 * test_score.c) fall on their side of 0.5. */
#define SCORE_BIAS (-0.8)
/* A text of fewer words counts as this many for the rows per hundred words. */
#define SHORT_WORDS 20

/* How a row becomes its value, always within 0..1. */
enum kind {
    COUNT,   /* n occurrences: n / (n + half), so no repetition gives more than 1 */
    DENSITY, /* the same with n per hundred words: long prompts have no advantage */
    SHAPE,   /* computed in fill_shapes */
};

struct feature_row {
    const char *name; /* lower case, at most 12 letters: three must fit score_reason */
    double weight;    /* the most that the row can move the sum */
    enum kind kind;
    double half;      /* COUNT and DENSITY: the n that gives 0.5 */
    const char *help; /* one line for people, printed by optiroute-score -t */
};

static const struct feature_row table[SCORE_FEATURE_COUNT] = {
    [SCORE_LENGTH] = {"length", 0.30, SHAPE, 0,
                      "log2 of the code points: 16 or fewer 0, 4096 or more 1"},
    [SCORE_SENTENCES] = {"sentences", 0.20, COUNT, 6,
                         "sentence ends followed by a blank or the end"},
    [SCORE_QUESTIONS] = {"questions", 0.40, COUNT, 2, "question marks after the first"},
    [SCORE_CODE] = {"code", 2.00, COUNT, 3, "operators, fences and words of programming"},
    [SCORE_COMPUTING] = {"computing", 1.80, COUNT, 2,
                         "words of computer science and machine learning"},
    [SCORE_MATHS] = {"maths", 1.00, COUNT, 3, "operators, LaTeX and words of mathematics"},
    [SCORE_NUMBERS] = {"numbers", 0.40, COUNT, 5, "numbers written in digits"},
    [SCORE_QUANTITIES] = {"quantities", 0.80, COUNT, 5,
                          "how many, total, each, units, number words, sums of money"},
    [SCORE_PROPORTIONS] = {"proportions", 2.12, COUNT, 3,
                           "twice, half, per, %, times as many, remaining"},
    [SCORE_REASONING] = {"reasoning", 2.00, COUNT, 2,
                         "why, explain, prove, compare, step, because"},
    [SCORE_TASK] = {"task", 1.00, COUNT, 1, "write, implement, design, plan, essay"},
    [SCORE_CONSTRAINTS] = {"constraints", 1.00, COUNT, 2,
                           "must, exactly, at least, do not, between"},
    [SCORE_FORMAT] = {"format", 0.40, COUNT, 1, "table, json, bullets, paragraphs, list items"},
    [SCORE_CONDITIONS] = {"conditions", 0.63, COUNT, 3, "if, unless, suppose, would, when"},
    [SCORE_NEGATION] = {"negation", 1.67, DENSITY, 6,
                        "not, never, except, but, although; per hundred words"},
    [SCORE_COMPARISON] = {"comparison", 3.50, DENSITY, 6,
                          "than, more, less, increase, same; per hundred words"},
    [SCORE_STORY] = {"story", 1.18, COUNT, 6, "persons and what they did: he, her, I, went"},
    [SCORE_PROPERTY] = {"property", 2.83, COUNT, 3,
                        "who owns what: deed, tenant, estate, possession"},
    [SCORE_EXPERT] = {"expert", 0.40, COUNT, 4,
                      "terms of law, medicine, science, statistics, economy"},
    [SCORE_ETHICS] = {"ethics", 4.00, COUNT, 3, "wrong, moral, fair, appropriate, duty, harm"},
    [SCORE_LOGIC] = {"logic", 1.36, COUNT, 2, "statement, premise, valid, true, implies"},
    [SCORE_RECALL] = {"recall", -2.35, COUNT, 2, "what is, who, define, called, translate, hello"},
    [SCORE_PASSAGE] = {"passage", -0.83, COUNT, 4,
                       "questions about a quoted text or about history"},
    [SCORE_CHOICES] = {"choices", -2.00, SHAPE, 0, "1 when at least three lines begin as A. B. C."},
    [SCORE_LONG_WORDS] = {"long_words", -0.50, SHAPE, 0,
                          "mean word length, 3.5 letters give 0 and 6.5 give 1"},
    [SCORE_LANGUAGE] =
        {"language", 1.46, SHAPE, 0,
         "share of letters outside ASCII (accented ones four times) times n / (n + 20)"},
    [SCORE_SYSTEM] = {"system", 0.40, SHAPE, 0, "bytes of the system prompt over 4096, at most 1"},
    [SCORE_HISTORY] = {"history", 0.50, SHAPE, 0, "earlier messages n / (n + 6)"},
    [SCORE_TOOLS] = {"tools", 0.40, SHAPE, 0, "1 when the request offers tools"},
};

/* What one pass over the text gathers. */
struct tally {
    unsigned count[SCORE_FEATURE_COUNT]; /* occurrences, for the rows with a half */
    size_t code_points;                  /* bytes that do not continue a code point */
    size_t words, letters;               /* words of ASCII letters, and their letters */
    size_t accented, foreign;            /* Latin letters with marks; letters of other scripts */
    unsigned choice_lines;               /* lines that begin as "A. " or "(b) " */
};

/* The word being read. */
struct word {
    uint64_t hash; /* of its letters so far, in lower case */
    uint64_t stem; /* the same without a plural -s or a possessive 's */
    size_t size;
    unsigned char last; /* its last letter */
};

static bool is_alpha(unsigned char c) {
    return (unsigned char)((c | 0x20) - 'a') < 26;
}

static bool is_digit(unsigned char c) {
    return (unsigned char)(c - '0') < 10;
}

/* The byte at `at`, or a line end past the text, which spares the callers the bounds. */
static unsigned char peek(struct bytes text, size_t at) {
    return at < text.size ? (unsigned char)text.data[at] : '\n';
}

/* ---- words ---- */

static size_t read_word(struct bytes text, size_t at, struct word *word) {
    *word = (struct word){.hash = SCORE_WORD_SEED};
    uint64_t unmarked = 0; /* the hash before the last apostrophe */
    for (;; at++) {
        unsigned char c = peek(text, at);
        /* An apostrophe belongs to a word only between letters: don't, but 'hello'. */
        if (!is_alpha(c) && !(c == '\'' && word->size > 0 && is_alpha(peek(text, at + 1))))
            return at;
        if (c == '\'')
            unmarked = word->hash;
        word->stem = word->last == '\'' ? unmarked : word->hash;
        word->last = c | (is_alpha(c) ? 0x20 : 0);
        word->hash = score_word_add(word->hash, word->last);
        word->size++;
    }
}

/* Counts the word, or the phrase that it completes after `opener` (0: none). Returns the hash to
 * keep as the next word's opener. */
static uint64_t count_word(struct tally *tally, const struct word *word, uint64_t opener) {
    tally->words++;
    tally->letters += word->size;
    uint64_t hash = word->hash;
    struct score_word found = score_word_find(hash);
    if (found.feature == SCORE_WORD_NONE && word->last == 's' && word->size > 3) {
        struct score_word singular = score_word_find(word->stem);
        if (singular.feature != SCORE_WORD_NONE) {
            found.feature = singular.feature;
            hash = word->stem;
        }
    }
    if (opener != 0) {
        struct score_word phrase = score_word_find(score_word_join(opener, hash));
        if (phrase.feature != SCORE_WORD_NONE)
            found.feature = phrase.feature;
    }
    if (found.feature != SCORE_WORD_NONE)
        tally->count[found.feature]++;
    return found.opens_phrase ? word->hash : 0;
}

/* ---- everything that is not a word ---- */

/* Two bytes that people write in programs and rarely elsewhere. */
static bool is_code_pair(unsigned char a, unsigned char b) {
    static const char pairs[][3] = {"()", "[]", "{}", "==", "!=", "<=", ">=", "->", "=>",  "::",
                                    "&&", "||", "</", "++", "+=", "*=", "/*", "*/", ";\n", "{\n"};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if ((unsigned char)pairs[i][0] == a && (unsigned char)pairs[i][1] == b)
            return true;
    }
    return false;
}

/* One or more bytes of punctuation at `at`; returns where to go on. */
static size_t read_symbol(struct bytes text, size_t at, struct tally *tally) {
    unsigned char c = peek(text, at), next = peek(text, at + 1);
    switch (c) {
    case '?':
        tally->count[SCORE_QUESTIONS]++;
        /* fall through */
    case '.':
    case '!':
        if (next == ' ' || next == '\n' || next == '\r' || next == '"')
            tally->count[SCORE_SENTENCES]++;
        return at + 1;
    case '`':
        while (peek(text, at) == '`')
            at++;
        tally->count[SCORE_CODE]++;
        return at;
    case '_': /* a_name is code, a run of them is a blank to fill in */
        if (next != '_' && at > 0 && is_alpha(peek(text, at - 1)) && is_alpha(next))
            tally->count[SCORE_CODE]++;
        while (peek(text, at) == '_')
            at++;
        return at;
    case '$':
        tally->count[is_digit(next) || next == ' ' ? SCORE_QUANTITIES : SCORE_MATHS]++;
        return at + 1;
    case '%':
        tally->count[SCORE_PROPORTIONS]++;
        return at + 1;
    case '\\':
        if (is_alpha(next))
            tally->count[SCORE_MATHS]++;
        return at + 1;
    default:
        break;
    }
    if (is_code_pair(c, next)) {
        tally->count[SCORE_CODE]++;
        return at + (next == '\n' ? 1 : 2);
    }
    if (c == '=' || c == '^' || c == '+' || c == '*' || c == '<' || c == '>')
        tally->count[SCORE_MATHS]++;
    return at + 1;
}

/* 1,250.75 is one number. */
static size_t read_number(struct bytes text, size_t at, struct tally *tally) {
    tally->count[SCORE_NUMBERS]++;
    while (is_digit(peek(text, at)) ||
           ((peek(text, at) == ',' || peek(text, at) == '.') && is_digit(peek(text, at + 1))))
        at++;
    return at;
}

/* A sequence of bytes outside ASCII. What is not UTF-8 counts as one foreign code point a byte or
 * so: harmless, and nothing is read past the text. */
static size_t read_foreign(struct bytes text, size_t at, struct tally *tally) {
    unsigned char c = peek(text, at);
    uint32_t lead = c >= 0xf0 ? c & 0x07u : c >= 0xe0 ? c & 0x0fu : c & 0x1fu;
    unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
    uint32_t cp = lead;
    size_t end = at + 1;
    for (; more > 0 && (peek(text, end) & 0xc0) == 0x80; more--, end++)
        cp = (cp << 6) | (peek(text, end) & 0x3fu);
    if (cp >= 0xc0 && cp < 0x250) {
        tally->accented += cp != 0xd7 && cp != 0xf7;
    } else if ((cp >= 0x2200 && cp < 0x2300) || (cp >= 0x1d400 && cp < 0x1d800)) {
        tally->count[SCORE_MATHS]++;
    } else if (cp == 0x20ac || cp == 0xa3 || cp == 0xa5) {
        tally->count[SCORE_QUANTITIES]++;
    } else if ((cp >= 0x250 && cp < 0x2000) || (cp >= 0x2e80 && cp < 0xfe00) ||
               (cp >= 0x20000 && cp < 0x32000)) {
        tally->foreign++;
        if (cp == 0x37e || cp == 0x61f)
            tally->count[SCORE_QUESTIONS]++;
    } else if (cp == 0xff1f) {
        tally->count[SCORE_QUESTIONS]++;
        tally->count[SCORE_SENTENCES]++;
    } else if (cp == 0x3002) {
        tally->count[SCORE_SENTENCES]++;
    }
    return end;
}

/* Looks at how a line begins: a choice "A. " or "(b) ", an item "- ", "* " or "3. ". */
static void count_line_start(struct bytes text, size_t at, struct tally *tally) {
    unsigned char c = peek(text, at);
    if (c == '(')
        c = peek(text, ++at);
    unsigned char mark = peek(text, at + 1);
    bool marked = (mark == '.' || mark == ')') && peek(text, at + 2) == ' ';
    if (marked && (c | 0x20) >= 'a' && (c | 0x20) <= 'j')
        tally->choice_lines++;
    else if ((marked && is_digit(c)) || ((c == '-' || c == '*') && mark == ' '))
        tally->count[SCORE_FORMAT]++;
}

static void scan(struct bytes text, struct tally *tally) {
    uint64_t opener = 0; /* the word before, when it may open a phrase and only a blank follows */
    size_t opener_end = 0;
    bool line_start = true;
    for (size_t at = 0; at < text.size;) {
        unsigned char c = (unsigned char)text.data[at];
        if (line_start)
            count_line_start(text, at, tally);
        line_start = c == '\n';
        if (is_alpha(c)) {
            struct word word;
            size_t end = read_word(text, at, &word);
            opener = count_word(tally, &word, at == opener_end + 1 ? opener : 0);
            opener_end = at = end;
        } else if (is_digit(c)) {
            at = read_number(text, at, tally);
        } else if (c >= 0x80) {
            at = read_foreign(text, at, tally);
        } else if (c <= ' ') {
            at++;
        } else {
            at = read_symbol(text, at, tally);
        }
    }
}

/* ---- values ---- */

static double clamp01(double value) {
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

static size_t count_code_points(struct bytes text) {
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++)
        count += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    return count;
}

/* The rows that are not a saturating count. */
static void fill_shapes(const struct score_input *input, const struct tally *tally, double *value) {
    double letters = (double)(tally->letters + tally->accented + tally->foreign);
    double foreign = (double)(4 * tally->accented + tally->foreign);
    value[SCORE_LENGTH] = clamp01(log2((double)(tally->code_points + 1) / 16) / 8);
    value[SCORE_CHOICES] = tally->choice_lines >= 3;
    if (tally->words > 0)
        value[SCORE_LONG_WORDS] =
            clamp01(((double)tally->letters / (double)tally->words - 3.5) / 3);
    if (letters > 0) /* the second factor keeps a bare greeting low in every language */
        value[SCORE_LANGUAGE] = clamp01(foreign / letters) * foreign / (foreign + 20);
    value[SCORE_SYSTEM] = clamp01((double)input->system_size / 4096);
    value[SCORE_HISTORY] = input->history_turns / (input->history_turns + 6.0);
    value[SCORE_TOOLS] = input->has_tools;
}

void score_prompt(const struct score_input *input, struct score_result *result) {
    struct tally tally = {.words = 0};
    struct bytes text = input->last_user, tail = {NULL, 0};
    if (text.size > SCORE_HEAD_SIZE + SCORE_TAIL_SIZE) {
        tail = bytes_make(text.data + text.size - SCORE_TAIL_SIZE, SCORE_TAIL_SIZE);
        text.size = SCORE_HEAD_SIZE;
    }
    scan(text, &tally);
    scan(tail, &tally);
    /* The middle of a long text is not read: past 4096 code points length says no more anyway. */
    tally.code_points = count_code_points(text) + count_code_points(tail);
    if (tally.count[SCORE_QUESTIONS] > 0)
        tally.count[SCORE_QUESTIONS]--;

    /* Very short texts count as SHORT_WORDS words, or one word would be half of the prompt. */
    double hundreds = (double)(tally.words > SHORT_WORDS ? tally.words : SHORT_WORDS) / 100;
    *result = (struct score_result){.score = 0};
    for (unsigned i = 0; i < SCORE_FEATURE_COUNT; i++) {
        double half = table[i].kind == DENSITY ? table[i].half * hundreds : table[i].half;
        if (table[i].kind != SHAPE)
            result->feature[i] = tally.count[i] / (tally.count[i] + half);
    }
    fill_shapes(input, &tally, result->feature);
    double sum = SCORE_BIAS;
    for (unsigned i = 0; i < SCORE_FEATURE_COUNT; i++)
        sum += table[i].weight * result->feature[i];
    result->score = 1 / (1 + exp(-sum));
}

void score_reason(const struct score_result *result, char out[SCORE_REASON_SIZE]) {
    enum { SHOWN = 3 };
    unsigned best[SHOWN];
    double moved[SHOWN] = {0};
    unsigned count = 0;
    for (unsigned i = 0; i < SCORE_FEATURE_COUNT; i++) {
        double move = fabs(table[i].weight * result->feature[i]);
        if (move < 0.05 || (count == SHOWN && move <= moved[SHOWN - 1]))
            continue;
        unsigned at = count < SHOWN ? count++ : SHOWN - 1;
        for (; at > 0 && moved[at - 1] < move; at--) {
            moved[at] = moved[at - 1];
            best[at] = best[at - 1];
        }
        moved[at] = move;
        best[at] = i;
    }
    /* Cut, not rounded: a score just below a threshold must not be shown as above it. */
    int size = snprintf(out, SCORE_REASON_SIZE, "score:%.2f", floor(result->score * 100) / 100);
    for (unsigned i = 0; i < count; i++)
        size += snprintf(out + size, SCORE_REASON_SIZE - (size_t)size, " %s%c", table[best[i]].name,
                         table[best[i]].weight > 0 ? '+' : '-');
}

const char *score_feature_name(unsigned index) {
    return table[index].name;
}

double score_feature_weight(unsigned index) {
    return table[index].weight;
}

const char *score_feature_help(unsigned index) {
    return table[index].help;
}
