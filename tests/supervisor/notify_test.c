/* What systemd hears from the supervisor; we are systemd. */
#include "supervisor/notify.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/proc/child.h"
#include "tests/supervisor/fixture.h"

#define HEARD_MAX 64

static struct house house;
static int manager;
static char assignment[160];
static char heard[HEARD_MAX][NOTIFY_MAX];
static size_t n_heard;

/* A name that begins with @ is abstract. */
static void listen_on(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(assignment, sizeof assignment, "NOTIFY_SOCKET=%s", name);
    memcpy(at.sun_path, name, strlen(name));
    if (*name == '@')
        at.sun_path[0] = '\0';
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert_eq(bind(manager, (const struct sockaddr *)&at,
                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                 0);
}

static void set_up(void)
{
    char path[96];

    house_open(&house);
    snprintf(path, sizeof path, "%s/notify", house.dir);
    listen_on(path);
    house_env(&house, assignment);
}

static void tear_down(void)
{
    house_close(&house);
    close(manager);
}

TestSuite(notify, .init = set_up, .fini = tear_down, .timeout = 110);

static void hear(void)
{
    while (n_heard < HEARD_MAX) {
        ssize_t n = recv(manager, heard[n_heard], NOTIFY_MAX - 1, 0);
        if (n < 0)
            return;
        heard[n_heard++][n] = '\0';
    }
}

/* The place of the first datagram from `from` on that has this text; -1: none yet. */
static long find(long from, const char *text)
{
    hear();
    for (size_t i = (size_t)from; i < n_heard; i++) {
        if (strstr(heard[i], text))
            return (long)i;
    }
    return -1;
}

static long wait_for(long from, const char *text)
{
    WAIT_FOR(find(from, text) >= 0);
    return find(from, text);
}

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

#define ALL_READY "ready: gateway 1 of 1, llm-worker 2 of 2, telemetry 1 of 1"

static void stop(void)
{
    house_signal(&house, SIGTERM);
    cr_assert_eq(house_wait_exit(&house), EXIT_DONE);
}

Test(notify, ready_when_it_can_answer_and_stopping_when_it_stops)
{
    house_script(&house, "gateway", "linger 300");
    house_start(&house, ARGV("run"));
    long ready = wait_for(0, "READY=1\n");
    cr_expect_not_null(strstr(heard[ready], "STATUS=" ALL_READY), "%s", heard[ready]);
    long starting = find(0, "STATUS=ready: gateway 0 of 1, llm-worker 2 of 2, telemetry 1 of 1");
    cr_expect(starting >= 0 && starting < ready, "%ld", starting);

    stop();
    long stopping = find(ready, "STOPPING=1");
    cr_assert_gt(stopping, ready);
    cr_expect_eq(find(stopping, "READY=1"), -1);
    cr_expect_gt(find(stopping, "STATUS=stopping; ready: gateway 0 of 1, llm-worker 2 of 2"), stopping);
}

Test(notify, each_kind_that_stops_gets_its_time)
{
    house_env(&house, "DRAIN_TIMEOUT_MS=200000");
    house_start(&house, ARGV("run"));
    wait_for(0, "READY=1");
    cr_expect_eq(find(0, "EXTEND_TIMEOUT_USEC"), -1);
    stop();
    long at = -1;
    for (int kind = 0; kind < 3; kind++) {
        at = find(at + 1, "EXTEND_TIMEOUT_USEC=207000000");
        cr_assert_geq(at, 0, "kind %d", kind);
    }
    cr_expect_eq(find(at + 1, "EXTEND_TIMEOUT_USEC"), -1);
}

Test(notify, telemetry_is_not_waited_for) /* P5 */
{
    house_script(&house, "telemetry", "never");
    house_start(&house, ARGV("run"));
    long ready = wait_for(0, "READY=1");
    cr_expect_not_null(strstr(heard[ready], "telemetry 0 of 1"), "%s", heard[ready]);
    stop();
}

Test(notify, alone_telemetry_is)
{
    house_script(&house, "telemetry", "slow 300");
    house_start(&house, ARGV("run", "telemetry"));
    long ready = wait_for(0, "READY=1");
    cr_expect_not_null(strstr(heard[ready], "STATUS=ready: telemetry 1 of 1"), "%s", heard[ready]);
    cr_expect_null(strstr(heard[ready], "gateway"), "%s", heard[ready]);
    stop();
}

Test(notify, hup_is_a_reload)
{
    long long at = 0;

    house_start(&house, ARGV("run"));
    long ready = wait_for(0, "READY=1");
    int64_t before = clock_us();
    house_signal(&house, SIGHUP);
    long reload = wait_for(ready, "RELOADING=1\nMONOTONIC_USEC=");
    cr_assert_eq(sscanf(heard[reload], "RELOADING=1\nMONOTONIC_USEC=%lld", &at), 1);
    cr_expect(at >= before && at <= clock_us());
    wait_for(reload, "READY=1");
    stop();
}

Test(notify, the_watchdog_hears_from_a_supervisor_that_has_nothing_to_do)
{
    house_env(&house, "WATCHDOG_USEC=200000");
    house_start(&house, ARGV("run"));
    long at = wait_for(0, ALL_READY);
    for (int beats = 0; beats < 5; beats++)
        at = wait_for(at + 1, "WATCHDOG=1");
    stop();
}

Test(notify, the_watchdog_of_another_process_is_not_ours)
{
    house_env(&house, "WATCHDOG_USEC=1000");
    house_env(&house, "WATCHDOG_PID=1");
    house_start(&house, ARGV("run"));
    wait_for(0, ALL_READY);
    stop();
    cr_expect_eq(find(0, "WATCHDOG"), -1);
}

Test(notify, a_socket_that_is_not_there_stops_nobody)
{
    char path[160];

    snprintf(path, sizeof path, "%s", strchr(assignment, '=') + 1);
    cr_assert_eq(unlink(path), 0);
    house_start(&house, ARGV("run"));
    house_wait_all_ready(&house);
    stop();
    cr_expect_eq(house_count(&house, "log", "cannot tell the service manager anything"), 1);
}

/* The queue of a socket that nobody reads holds some ten datagrams; the beats alone fill it. */
Test(notify, a_manager_that_does_not_listen_delays_nobody)
{
    struct pollfd queue = {.fd = manager, .events = POLLIN};

    house_env(&house, "WATCHDOG_USEC=2000");
    house_start(&house, ARGV("run"));
    house_wait_all_ready(&house);
    cr_expect_eq(poll(&queue, 1, 0), 1);
    int64_t full = clock_ms() + 200; /* a hundred beats and more */
    WAIT_FOR(clock_ms() > full);
    house_signal(&house, SIGHUP);
    WAIT_FOR(house_count(&house, "run/journal", "reload") == 4);
    stop();
}

Test(notify, takes_the_variables_and_reaches_an_abstract_socket)
{
    char name[64];

    close(manager);
    snprintf(name, sizeof name, "@atalaya-notify-test-%d", (int)getpid());
    listen_on(name);
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", "3000000", 1);
    snprintf(name, sizeof name, "%d", (int)getpid());
    setenv("WATCHDOG_PID", name, 1);
    notify_open();
    cr_expect_null(getenv("NOTIFY_SOCKET"));
    cr_expect_null(getenv("WATCHDOG_USEC"));
    cr_expect_null(getenv("WATCHDOG_PID"));
    cr_expect_eq(notify_watchdog_ms(), 1500);
    notify("STATUS=%d", 7);
    cr_expect_eq(find(0, "STATUS=7"), 0);
    notify_close();
    notify("STATUS=8");
    cr_expect_eq(find(0, "STATUS=8"), -1);
    cr_expect_eq(notify_watchdog_ms(), 0);
}

Test(notify, what_names_no_socket_is_not_one)
{
    static const char *const names[] = {
        "relative", "vsock:2:1234", "/", "@",
        "/too/long/"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxx"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        setenv("WATCHDOG_USEC", "3000000", 1);
        notify_open();
        cr_expect_eq(notify_watchdog_ms(), 0, "%s", names[i]);
        notify("READY=1");
        notify_close();
    }
    cr_expect_eq(find(0, "READY=1"), -1);
}
