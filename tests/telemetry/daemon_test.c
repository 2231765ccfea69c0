/* The shipped program from outside: its port, its exit codes, what it leaves behind. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/proc/child.h"
#include "tests/e2e/http_client.h"
#include "tests/e2e/process.h"
#include "tests/telemetry/support.h"

struct bench {
    char dir[SUPPORT_DIR_SIZE];
    char program[4096], log[SUPPORT_DIR_SIZE + 16];
    char env[6][160];
    const char *envp[8];
    uint16_t port;
    pid_t pid;
};

static void prepare(struct bench *b)
{
    cr_assert(getenv("ATALAYA_BIN"));
    process_adopt_orphans();
    support_dir(b->dir);
    b->port = free_port();
    snprintf(b->program, sizeof b->program, "%s/atalaya-telemetry", getenv("ATALAYA_BIN"));
    snprintf(b->log, sizeof b->log, "%s/log", b->dir);
    snprintf(b->env[0], sizeof b->env[0], "ATALAYA_STATE_DIR=%s", b->dir);
    snprintf(b->env[1], sizeof b->env[1], "ATALAYA_RUN_DIR=%s", b->dir);
    snprintf(b->env[2], sizeof b->env[2], "TELEMETRY_HOST=127.0.0.1");
    snprintf(b->env[3], sizeof b->env[3], "TELEMETRY_PORT=%u", b->port);
    for (size_t i = 0; i < 4; i++)
        b->envp[i] = b->env[i];
}

static void launch(struct bench *b)
{
    const char *const argv[] = {b->program, NULL};

    b->pid = process_start(argv, b->envp, b->dir, b->log, b->log);
}

static struct http_reply call_with(struct bench *b, const char *method, const char *path, const char *headers)
{
    struct http_client c = http_open(b->port);
    struct http_reply r = {0};

    c.headers = headers;
    http_call(&c, method, path, (struct str){NULL, 0}, &r);
    http_close(&c);
    return r;
}

static struct http_reply call(struct bench *b, const char *method, const char *path)
{
    return call_with(b, method, path, NULL);
}

static int status_of(struct bench *b, const char *method, const char *path)
{
    struct http_reply r = call(b, method, path);
    int status = r.status;

    http_reply_free(&r);
    return status;
}

static void wait_until_up(struct bench *b)
{
    int64_t until = clock_ms() + SUPPORT_PATIENCE_MS;

    while (status_of(b, "GET", "/health") != 200) {
        cr_assert_lt(clock_ms(), until);
        poll(NULL, 0, 5);
    }
}

static int wait_for_end(pid_t pid)
{
    int64_t until = clock_ms() + SUPPORT_PATIENCE_MS;
    int status = 0;

    while (!process_ended(pid, &status)) {
        cr_assert_lt(clock_ms(), until);
        poll(NULL, 0, 5);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(daemon, serves_its_pages)
{
    struct bench b = {0};
    char header[128];

    prepare(&b);
    launch(&b);
    wait_until_up(&b);
    struct http_reply r = call(&b, "GET", "/metrics");
    cr_expect_eq(r.status, 200);
    cr_expect(http_header(&r, "Content-Type", header, sizeof header));
    cr_expect_str_eq(header, "text/plain; version=0.0.4; charset=utf-8");
    cr_expect(strstr(r.body.data, "\napp_requests_in_progress 0.0\n"));
    cr_expect(strstr(r.body.data, "\natalaya_build_info{version=\"" ATALAYA_VERSION "\"} 1.0\n"));
    http_reply_free(&r);
    r = call_with(
        &b, "GET", "/metrics",
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3\r\n");
    cr_expect_eq(r.status, 200);
    cr_expect(http_header(&r, "Content-Type", header, sizeof header));
    cr_expect_str_eq(header, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    cr_expect(http_header(&r, "Vary", header, sizeof header));
    cr_expect_str_eq(header, "Accept");
    cr_expect(strstr(r.body.data, "\n# TYPE atalaya_uploads counter\n"));
    cr_expect_str_eq(r.body.data + r.body.len - 6, "# EOF\n");
    http_reply_free(&r);
    r = call(&b, "GET", "/health");
    cr_expect_str_eq(r.body.data, "{\"status\":\"ok\",\"langfuse_enabled\":false,\"spool_records\":0}");
    http_reply_free(&r);
    cr_expect_eq(status_of(&b, "GET", "/"), 404);
    cr_expect_eq(status_of(&b, "GET", "/metrics/../../etc/passwd"), 404);
    r = call(&b, "POST", "/metrics");
    cr_expect_eq(r.status, 405);
    cr_expect(http_header(&r, "Allow", header, sizeof header));
    cr_expect_str_eq(header, "GET, HEAD");
    http_reply_free(&r);
    int64_t from = clock_ms();
    kill(b.pid, SIGTERM);
    cr_expect_eq(wait_for_end(b.pid), EXIT_DONE);
    cr_expect_lt(clock_ms() - from, 1500, "nothing was in flight");
}

/* One such byte in each span would make Langfuse refuse every export. */
Test(daemon, a_text_that_is_no_utf8_is_refused_at_start)
{
    static const char *const cases[][2] = {
        {"LANGFUSE_RELEASE=v1-\xe9", "LANGFUSE_RELEASE: its text is no UTF-8 at byte 4."},
        {"OTEL_RESOURCE_ATTRIBUTES=a=b,team=se%F1or",
         "OTEL_RESOURCE_ATTRIBUTES: the value of its attribute 2 is no UTF-8 at byte 3, once %XX is decoded"},
        {"OTEL_RESOURCE_ATTRIBUTES=te%C3=b",
         "OTEL_RESOURCE_ATTRIBUTES: the name of its attribute 1 is no UTF-8 at byte 3, once %XX is decoded"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b = {0};
        struct buf log = BUF_INIT(MIB);
        prepare(&b);
        b.envp[4] = cases[i][0];
        launch(&b);
        cr_expect_eq(wait_for_end(b.pid), EXIT_CONFIG, "%s", cases[i][1]);
        cr_assert(read_file(b.log, &log));
        cr_expect(strstr(log.data, cases[i][1]), "%s", log.data);
        buf_free(&log);
    }
}

Test(daemon, says_what_is_taken)
{
    struct bench first = {0}, second = {0};

    prepare(&first);
    launch(&first);
    wait_until_up(&first);
    prepare(&second);
    snprintf(second.env[0], sizeof second.env[0], "ATALAYA_STATE_DIR=%s", first.dir);
    launch(&second);
    cr_expect_eq(wait_for_end(second.pid), EXIT_ENVIRONMENT, "the spool is in use");
    prepare(&second);
    snprintf(second.env[3], sizeof second.env[3], "TELEMETRY_PORT=%u", first.port);
    launch(&second);
    cr_expect_eq(wait_for_end(second.pid), EXIT_ENVIRONMENT, "the port is in use");
    prepare(&second);
    snprintf(second.env[4], sizeof second.env[4], "LANGFUSE_FLUSH_AT=many");
    second.envp[4] = second.env[4];
    launch(&second);
    cr_expect_eq(wait_for_end(second.pid), EXIT_CONFIG);
    kill(first.pid, SIGTERM);
    cr_expect_eq(wait_for_end(first.pid), EXIT_DONE);
}
