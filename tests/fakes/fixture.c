#include "tests/fakes/fixture.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "tests/fakes/http1.h"

#define ANSWER_MAX_BYTES (64u * 1024 * 1024)
#define ARGS_MAX         32

static void run(const char *program, const char *const args[], int out)
{
    const char *bin = getenv("ATALAYA_BIN");
    const char *argv[ARGS_MAX] = {program};
    char path[512];

    for (size_t i = 0; args[i] && i + 2 < ARGS_MAX; i++)
        argv[i + 1] = args[i];
    snprintf(path, sizeof path, "%s/%s", bin ? bin : ".", program);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    execv(path, (char *const *)(uintptr_t)argv);
    _exit(127);
}

static void read_line(struct fixture *f, int fd)
{
    size_t n = 0;
    int64_t end = clock_ms() + FIXTURE_WAIT_MS;

    while (n + 1 < sizeof f->line && !memchr(f->line, '\n', n)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        cr_assert(poll(&p, 1, (int)(end - clock_ms())) > 0, "the fake did not say that it is ready");
        ssize_t k = read(fd, f->line + n, 1);
        cr_assert(k == 1, "the fake ended before it was ready");
        n++;
    }
    f->line[n] = '\0';
}

struct fixture fixture_start(const char *program, const char *const args[])
{
    struct fixture f = {0};
    int fds[2];

    cr_assert(pipe(fds) == 0);
    f.pid = fork();
    cr_assert(f.pid >= 0);
    if (f.pid == 0)
        run(program, args, fds[1]);
    close(fds[1]);
    read_line(&f, fds[0]);
    const char *at = strstr(f.line, "127.0.0.1:");
    cr_assert(at, "ready line: %s", f.line);
    f.port = (uint16_t)strtoul(at + 10, NULL, 10);
    return f;
}

void fixture_stop(struct fixture *f)
{
    int status = 0;

    kill(f->pid, SIGTERM);
    cr_assert(waitpid(f->pid, &status, 0) == f->pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status %#x", (unsigned)status);
}

int fixture_connect(const struct fixture *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "connect: %s", strerror(errno));
    return fd;
}

void fixture_send(int fd, const void *p, size_t n)
{
    const char *s = p;

    while (n) {
        ssize_t k = send(fd, s, n, MSG_NOSIGNAL);
        if (k <= 0)
            return; /* the fake may refuse before it has read everything */
        s += k;
        n -= (size_t)k;
    }
}

static void take_apart(struct got *g)
{
    static const char chunked[] = "transfer-encoding: chunked";
    char *end = g->raw.len ? strstr(g->raw.data, "\r\n\r\n") : NULL;

    if (!end || strncmp(g->raw.data, "HTTP/1.1 ", 9) != 0)
        return;
    end[2] = '\0';
    g->head = g->raw.data;
    g->status = (int)strtol(g->head + 9, NULL, 10);
    char *body = end + 4;
    size_t n = g->raw.len - (size_t)(body - g->raw.data);
    const char *length = strstr(g->head, "content-length: ");
    g->body = (struct str){body, n};
    if (strstr(g->head, chunked)) {
        struct http1_chunks c = {0};
        g->whole = http1_dechunk(&c, body, n) == 1;
        g->body.n = c.body;
        body[c.body] = '\0';
    } else if (length) {
        g->whole = n == strtoul(length + 16, NULL, 10);
    }
}

struct got fixture_read(int fd, int wait_ms)
{
    struct got g = {.raw = BUF_INIT(ANSWER_MAX_BYTES)};

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, wait_ms) == 0) {
            g.timed_out = true;
            break;
        }
        char *at = buf_reserve(&g.raw, 65536);
        cr_assert(at);
        ssize_t k = recv(fd, at, 65536, 0);
        if (k <= 0)
            break;
        g.raw.len += (size_t)k;
        at[k] = '\0';
    }
    close(fd);
    take_apart(&g);
    return g;
}

struct got fixture_call_wait(const struct fixture *f, const char *method, const char *path, const char *more,
                             struct str body, int wait_ms)
{
    struct buf b = BUF_INIT(ANSWER_MAX_BYTES);
    int fd = fixture_connect(f);

    buf_printf(&b, "%s %s HTTP/1.1\r\nHost: fake\r\nConnection: close\r\nContent-Length: %zu\r\n", method,
               path, body.n);
    buf_puts(&b, more);
    buf_puts(&b, "\r\n");
    buf_append(&b, body.p, body.n);
    fixture_send(fd, b.data, b.len);
    buf_free(&b);
    return fixture_read(fd, wait_ms);
}

struct got fixture_call(const struct fixture *f, const char *method, const char *path, const char *more,
                        struct str body)
{
    return fixture_call_wait(f, method, path, more, body, FIXTURE_WAIT_MS);
}

void got_free(struct got *g)
{
    buf_free(&g->raw);
}

bool got_has(const struct got *g, const char *text)
{
    return g->body.n && memmem(g->body.p, g->body.n, text, strlen(text)) != NULL;
}
