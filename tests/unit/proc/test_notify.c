/* Messages for systemd: their text, addresses, and what the environment asks for. */
#include "config.h"

#include "proc/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "unit.h"

START_TEST(texts) {
    static const struct {
        enum notify_event event;
        const char *text;
    } rows[] = {
        {NOTIFY_READY, "READY=1\nMAINPID=4711\n"},
        {NOTIFY_RELOADING, "RELOADING=1\nMONOTONIC_USEC=1234567\n"},
        {NOTIFY_STOPPING, "STOPPING=1\n"},
        {NOTIFY_WATCHDOG, "WATCHDOG=1\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf text;
        buf_init(&text, 0);
        notify_compose(&text, rows[i].event, 1234567999, 4711);
        ck_assert(bytes_equal_str(buf_bytes(&text), rows[i].text));
        buf_free(&text);
    }
}
END_TEST

START_TEST(addresses) {
    struct sockaddr_un address;
    socklen_t size;
    ck_assert(notify_address("/run/x", &address, &size));
    ck_assert_str_eq(address.sun_path, "/run/x");
    ck_assert_uint_eq(size, sizeof(sa_family_t) + 7);
    ck_assert(notify_address("@x/y", &address, &size));
    ck_assert_mem_eq(address.sun_path, "\0x/y", 4);
    ck_assert_uint_eq(size, sizeof(sa_family_t) + 4);
    ck_assert(!notify_address("", &address, &size));
    ck_assert(!notify_address("@", &address, &size));
    ck_assert(!notify_address("run/x", &address, &size));
    ck_assert(!notify_address("vsock:2:1", &address, &size));

    /* 108 bytes of sun_path: an abstract name may fill it, a path needs its NUL. */
    char name[sizeof(address.sun_path) + 2];
    memset(name, 'a', sizeof(name));
    name[0] = '/';
    name[sizeof(address.sun_path)] = '\0';
    ck_assert(!notify_address(name, &address, &size));
    name[0] = '@';
    ck_assert(notify_address(name, &address, &size));
    ck_assert_uint_eq(size, sizeof(address));
    name[sizeof(address.sun_path)] = 'a';
    name[sizeof(address.sun_path) + 1] = '\0';
    ck_assert(!notify_address(name, &address, &size));
}
END_TEST

START_TEST(arrives) {
    int receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    char name[64];
    snprintf(name, sizeof(name), "@optiroute-test-%d", (int)getpid());
    struct sockaddr_un address;
    socklen_t size;
    ck_assert(notify_address(name, &address, &size));
    ck_assert_int_eq(bind(receiver, (struct sockaddr *)&address, size), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", "2000000", 1);
    struct notify notify;
    notify_open(&notify);
    ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
    ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
    ck_assert_int_eq(notify.watchdog_ns, NS_PER_S);
    notify_send(&notify, NOTIFY_STOPPING);
    char text[64];
    ck_assert_int_eq(recv(receiver, text, sizeof(text), 0), 11);
    ck_assert_mem_eq(text, "STOPPING=1\n", 11);
    notify_close(&notify);
    close(receiver);
    notify_send(&notify, NOTIFY_READY); /* nobody: nothing happens */
}
END_TEST

START_TEST(watchdog_of_others) {
    static const struct {
        const char *usec, *pid;
    } rows[] = {{NULL, NULL},    {"2000000", "1"}, {"0", NULL},
                {"-5", NULL},    {"1s", NULL},     {"9223372036854775807", NULL},
                {"2000000", "x"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setenv("NOTIFY_SOCKET", "@nobody", 1);
        if (rows[i].usec != NULL) {
            setenv("WATCHDOG_USEC", rows[i].usec, 1);
        }
        if (rows[i].pid != NULL) {
            setenv("WATCHDOG_PID", rows[i].pid, 1);
        }
        struct notify notify;
        notify_open(&notify);
        ck_assert_int_ne(notify.fd, -1);
        ck_assert_int_eq(notify.watchdog_ns, 0);
        notify_close(&notify);
    }
}
END_TEST

/* What an upgrade hands on is what was given to us. */
START_TEST(exported_again) {
    static const char *const names[] = {"/run/notify", "@abstract"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        setenv("WATCHDOG_USEC", "3000000", 1);
        struct notify notify;
        notify_open(&notify);
        ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
        notify_export(&notify);
        ck_assert_str_eq(getenv("NOTIFY_SOCKET"), names[i]);
        ck_assert_str_eq(getenv("WATCHDOG_USEC"), "3000000");
        notify_close(&notify);
    }
}
END_TEST

START_TEST(without_systemd) {
    unsetenv("NOTIFY_SOCKET");
    setenv("WATCHDOG_USEC", "2000000", 1);
    struct notify notify;
    notify_open(&notify);
    ck_assert_int_eq(notify.fd, -1);
    ck_assert_int_eq(notify.watchdog_ns, 0);
    notify_send(&notify, NOTIFY_READY);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("notify");
    TCase *tcase = tcase_create("notify");
    tcase_add_test(tcase, texts);
    tcase_add_test(tcase, addresses);
    tcase_add_test(tcase, arrives);
    tcase_add_test(tcase, watchdog_of_others);
    tcase_add_test(tcase, exported_again);
    tcase_add_test(tcase, without_systemd);
    suite_add_tcase(suite, tcase);
    return suite;
}
UNIT_MAIN(make_suite)
