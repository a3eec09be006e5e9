/* Command lines: what each asks for, and what is refused with which word. */
#include "config.h"

#include "proc/options.h"

#include <string.h>

#include "unit.h"

#define MAX_ARGS 8

struct good {
    const char *args[MAX_ARGS];
    enum options_task task;
    bool test, print, foreground;
    enum options_signal signal;
    const char *config, *pid_file;
};

static const struct good goods[] = {
    {.args = {NULL}, .task = OPTIONS_RUN},
    {.args = {"-f"}, .task = OPTIONS_RUN, .foreground = true},
    {.args = {"-c", "a.yaml"}, .task = OPTIONS_RUN, .config = "a.yaml"},
    {.args = {"-ca.yaml", "-f"}, .task = OPTIONS_RUN, .foreground = true, .config = "a.yaml"},
    {.args = {"-t"}, .task = OPTIONS_TEST, .test = true},
    {.args = {"-T"}, .task = OPTIONS_TEST, .print = true},
    {.args = {"-tT"}, .task = OPTIONS_TEST, .test = true, .print = true},
    {.args = {"-s", "reload"}, .task = OPTIONS_SIGNAL, .signal = OPTIONS_RELOAD},
    {.args = {"-s", "reopen"}, .task = OPTIONS_SIGNAL, .signal = OPTIONS_REOPEN},
    {.args = {"-s", "quit"}, .task = OPTIONS_SIGNAL, .signal = OPTIONS_QUIT},
    {.args = {"-s", "stop", "-p", "x"},
     .task = OPTIONS_SIGNAL,
     .signal = OPTIONS_STOP,
     .pid_file = "x"},
    {.args = {"-s", "upgrade"}, .task = OPTIONS_SIGNAL, .signal = OPTIONS_UPGRADE},
    {.args = {"-v"}, .task = OPTIONS_VERSION},
    {.args = {"--version"}, .task = OPTIONS_VERSION},
    {.args = {"-t", "-h"}, .task = OPTIONS_HELP, .test = true},
    {.args = {"--help"}, .task = OPTIONS_HELP},
};

static const struct {
    const char *args[MAX_ARGS];
    const char *says;
} bads[] = {
    {{"-x"}, "-x"},
    {{"--nonsense"}, "long option"},
    {{"-c"}, "-c needs an argument"},
    {{"-s"}, "-s needs an argument"},
    {{"-s", "relaod"}, "relaod"},
    {{"-s", "reloadx"}, "reloadx"},
    {{"-s", ""}, "not one of"},
    {{"-c", ""}, "file name"},
    {{"-p", ""}, "file name"},
    {{"serve"}, "serve"},
    {{"-f", "--", "-t"}, "-t: not an option"},
};

static int parse(const char *const *args, struct options *options, struct buf *error) {
    const char *argv[MAX_ARGS + 2] = {"optirouted"};
    int argc = 1;
    while (args[argc - 1] != NULL) {
        argv[argc] = args[argc - 1];
        argc++;
    }
    return options_parse(options, argc, (char **)argv, error);
}

START_TEST(good_lines) {
    const struct good *row = &goods[_i];
    struct options options;
    char memory[256];
    struct buf error;
    buf_init_fixed(&error, memory, sizeof(memory));
    ck_assert_int_eq(parse(row->args, &options, &error), 0);
    ck_assert_int_eq(options.task, row->task);
    ck_assert_int_eq(options.test, row->test);
    ck_assert_int_eq(options.print, row->print);
    ck_assert_int_eq(options.foreground, row->foreground);
    ck_assert_pstr_eq(options.config, row->config);
    ck_assert_pstr_eq(options.pid_file, row->pid_file);
    if (row->task == OPTIONS_SIGNAL) {
        ck_assert_int_eq(options.signal, row->signal);
    }
}
END_TEST

START_TEST(bad_lines) {
    struct options options;
    char memory[256];
    struct buf error;
    buf_init_fixed(&error, memory, sizeof(memory));
    ck_assert_int_eq(parse(bads[_i].args, &options, &error), -1);
    buf_append_char(&error, '\0');
    ck_assert(!error.failed);
    ck_assert_msg(strstr(error.data, bads[_i].says) != NULL, "%s", error.data);
    ck_assert_ptr_null(strchr(error.data, '\n'));
}
END_TEST

START_TEST(help_names_every_option) {
    struct buf help;
    buf_init(&help, 0);
    options_help(&help);
    buf_append_char(&help, '\0');
    const char *letters = "ctTfspvh";
    for (size_t i = 0; letters[i] != '\0'; i++) {
        char option[] = {' ', ' ', '-', letters[i], ' ', '\0'};
        ck_assert_msg(strstr(help.data, option) != NULL, "%s", option);
    }
    buf_free(&help);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("options");
    TCase *tcase = tcase_create("options");
    tcase_add_loop_test(tcase, good_lines, 0, sizeof(goods) / sizeof(goods[0]));
    tcase_add_loop_test(tcase, bad_lines, 0, sizeof(bads) / sizeof(bads[0]));
    tcase_add_test(tcase, help_names_every_option);
    suite_add_tcase(suite, tcase);
    return suite;
}
UNIT_MAIN(make_suite)
