/* optiroute-score: scores prompts with the daemon's own score.c.
 *
 *     optiroute-score < prompts.csv > scores.csv      column `prompt`, and `qid` when there is one
 *     optiroute-score prompts.csv
 *     optiroute-score -p 'Prove that there are infinitely many primes.'
 *     optiroute-score -t                              the table of features
 *     optiroute-score -n 100 prompts.csv              also the mean time per prompt, to stderr
 *
 * The input is RFC 4180 with a header row: quoted fields may hold commas, line ends and doubled
 * quotes; lines end in LF or CRLF. For each row it writes qid (or the row's number from 1), len
 * (code points), score and every feature. A tool for developers: built, not installed.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "gateway/score.h"

#define FIELD_LIMIT (64u << 20)

enum csv_end { CSV_FIELD, CSV_ROW, CSV_EOF, CSV_BAD };

/* Where the columns we want are; SIZE_MAX: there is none. */
struct columns {
    size_t prompt, qid;
};

/* Reads one field into `field` and says what ended it. */
static enum csv_end read_field(FILE *in, struct buf *field) {
    buf_clear(field);
    int c = getc(in);
    bool quoted = c == '"';
    if (quoted)
        c = getc(in);
    else if (c == EOF)
        return CSV_EOF;
    for (;; c = getc(in)) {
        if (quoted && c == EOF)
            return CSV_BAD;
        if (quoted && c == '"') {
            c = getc(in);
            if (c != '"') {
                break; /* closed: only a separator may follow, checked below */
            }
        } else if (!quoted && (c == ',' || c == '\n' || c == '\r' || c == EOF)) {
            break;
        }
        buf_append_char(field, (char)c);
    }
    if (c == '\r')
        c = getc(in);
    if (field->failed || (c != ',' && c != '\n' && c != EOF))
        return CSV_BAD;
    return c == ',' ? CSV_FIELD : CSV_ROW;
}

static size_t count_code_points(struct bytes text) {
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++)
        count += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    return count;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int read_header(FILE *in, struct buf *field, struct columns *columns) {
    *columns = (struct columns){SIZE_MAX, SIZE_MAX};
    enum csv_end end = CSV_FIELD;
    for (size_t i = 0; end == CSV_FIELD; i++) {
        end = read_field(in, field);
        struct bytes name = buf_bytes(field);
        if (bytes_start_with(name, BYTES_LITERAL("\xef\xbb\xbf"))) /* spreadsheets write a mark */
            name = bytes_make(name.data + 3, name.size - 3);
        if (bytes_equal_str(name, "prompt"))
            columns->prompt = i;
        else if (bytes_equal_str(name, "qid"))
            columns->qid = i;
    }
    return end == CSV_ROW && columns->prompt != SIZE_MAX ? 0 : -1;
}

/* The id as a CSV field, quoted when it has to be. */
static void print_qid(struct bytes qid) {
    bool plain = true;
    for (size_t i = 0; i < qid.size; i++)
        plain = plain && strchr("\",\r\n", qid.data[i]) == NULL;
    if (!plain)
        putchar('"');
    for (size_t i = 0; i < qid.size; i++) {
        if (qid.data[i] == '"')
            putchar('"');
        putchar(qid.data[i]);
    }
    if (!plain)
        putchar('"');
}

static void print_row(struct bytes qid, size_t row, struct bytes prompt,
                      const struct score_result *result) {
    if (qid.size > 0)
        print_qid(qid);
    else
        printf("%zu", row);
    printf(",%zu,%.6f", count_code_points(prompt), result->score);
    for (unsigned i = 0; i < SCORE_FEATURE_COUNT; i++)
        printf(",%.6g", result->feature[i]);
    putchar('\n');
}

/* What we keep of one row. */
struct record {
    struct buf field; /* scratch */
    struct buf prompt, qid;
};

/* Reads one row: CSV_ROW, CSV_EOF after the last one, or CSV_BAD. Empty lines are passed over. */
static enum csv_end read_record(FILE *in, const struct columns *columns, struct record *record) {
    size_t count;
    enum csv_end end;
    do {
        buf_clear(&record->prompt);
        buf_clear(&record->qid);
        count = 0;
        do {
            end = read_field(in, &record->field);
            if (end == CSV_BAD || (end == CSV_EOF && count == 0))
                return end;
            if (count == columns->prompt)
                buf_append_bytes(&record->prompt, buf_bytes(&record->field));
            else if (count == columns->qid)
                buf_append_bytes(&record->qid, buf_bytes(&record->field));
            count++;
        } while (end == CSV_FIELD);
    } while (count == 1 && record->field.size == 0 && columns->prompt != 0);
    return count > columns->prompt ? CSV_ROW : CSV_BAD;
}

static void print_header(void) {
    printf("qid,len,score");
    for (unsigned i = 0; i < SCORE_FEATURE_COUNT; i++)
        printf(",%s", score_feature_name(i));
    putchar('\n');
}

/* Scores every row `rounds` times, writes it once; returns the exit status. */
static int score_rows(FILE *in, const struct columns *columns, struct record *record,
                      unsigned rounds) {
    size_t row = 0, bytes = 0;
    int64_t spent_ns = 0;
    enum csv_end end;
    while ((end = read_record(in, columns, record)) == CSV_ROW) {
        struct score_input input = {.last_user = buf_bytes(&record->prompt)};
        struct score_result result;
        int64_t begin_ns = now_ns();
        for (unsigned i = 0; i < rounds; i++)
            score_prompt(&input, &result);
        spent_ns += now_ns() - begin_ns;
        row++;
        bytes += record->prompt.size;
        print_row(buf_bytes(&record->qid), row, buf_bytes(&record->prompt), &result);
    }
    if (end == CSV_BAD) {
        fprintf(stderr, "optiroute-score: row %zu is not CSV (RFC 4180) or too short\n", row + 1);
        return EXIT_FAILURE;
    }
    if (rounds > 1 && row > 0)
        fprintf(stderr, "%zu prompts of %zu bytes on average: %.0f ns each\n", row, bytes / row,
                (double)spent_ns / (double)rounds / (double)row);
    return fflush(stdout) == EOF ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int score_csv(FILE *in, unsigned rounds) {
    struct record record;
    struct columns columns;
    int status = EXIT_FAILURE;
    buf_init(&record.field, FIELD_LIMIT);
    buf_init(&record.prompt, FIELD_LIMIT);
    buf_init(&record.qid, FIELD_LIMIT);
    if (read_header(in, &record.field, &columns) == -1) {
        fprintf(stderr, "optiroute-score: no header row with a column \"prompt\"\n");
    } else {
        print_header();
        status = score_rows(in, &columns, &record, rounds);
    }
    buf_free(&record.field);
    buf_free(&record.prompt);
    buf_free(&record.qid);
    return status;
}

static int score_text(const char *text) {
    struct score_input input = {.last_user = bytes_from_str(text)};
    struct score_result result;
    char reason[SCORE_REASON_SIZE];
    score_prompt(&input, &result);
    score_reason(&result, reason);
    puts(reason);
    for (unsigned i = 0; i < SCORE_FEATURE_COUNT; i++) {
        if (result.feature[i] > 0)
            printf("%-12s %5.2f x %5.2f = %+.2f\n", score_feature_name(i), result.feature[i],
                   score_feature_weight(i), result.feature[i] * score_feature_weight(i));
    }
    return EXIT_SUCCESS;
}

static int print_table(void) {
    printf("| feature | weight | how it is computed |\n|---|---|---|\n");
    for (unsigned i = 0; i < SCORE_FEATURE_COUNT; i++)
        printf("| %s | %+.2f | %s |\n", score_feature_name(i), score_feature_weight(i),
               score_feature_help(i));
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    unsigned rounds = 1;
    for (int option; (option = getopt(argc, argv, "p:tn:")) != -1;) {
        switch (option) {
        case 'p':
            return score_text(optarg);
        case 't':
            return print_table();
        case 'n':
            rounds = (unsigned)strtoul(optarg, NULL, 10);
            if (rounds >= 1 && rounds <= 1000000)
                break;
            /* fall through */
        default:
            fprintf(stderr, "usage: optiroute-score [-n ROUNDS] [FILE] | -p PROMPT | -t\n");
            return EXIT_FAILURE;
        }
    }
    FILE *in = optind < argc ? fopen(argv[optind], "r") : stdin;
    if (in == NULL) {
        fprintf(stderr, "optiroute-score: %s: %s\n", argv[optind], strerror(errno));
        return EXIT_FAILURE;
    }
    int status = score_csv(in, rounds);
    if (in != stdin)
        fclose(in);
    return status;
}
