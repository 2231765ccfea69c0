/*
 * Many streams at once on two workers: every piece arrives, in order, at whom it belongs to, and memory stays bounded.
 * ATALAYA_STREAMS says how many (300; the figures of docs/ are of 5000, which needs `ulimit -n 20000`).
 */
#include "tests/e2e/harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/mem.h"

TestSuite(streams, .fini = e2e_cleanup, .timeout = 280);

#define WORDS      40
#define TEXT_MAX   1024
#define PATIENCE_S 120

struct stream {
    int fd;
    struct buf in; /* as it came */
    bool over;
};

static size_t how_many(void)
{
    const char *given = getenv("ATALAYA_STREAMS");

    return given ? strtoul(given, NULL, 10) : 300;
}

static void allow_files(size_t n)
{
    struct rlimit r;

    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &r), 0);
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r);
    cr_assert_geq(r.rlim_cur, 2 * n + 500, "ulimit -n is too low for %zu streams", n);
}

/* What is asked, and echoed. */
static void words_of(size_t i, char out[TEXT_MAX])
{
    size_t n = (size_t)snprintf(out, TEXT_MAX, "[%zu]", i);

    for (int w = 0; w < WORDS; w++)
        n += (size_t)snprintf(out + n, TEXT_MAX - n, " %zu.%d", i, w);
}

static void begin(struct stream *s, size_t i, uint16_t port, int epoll)
{
    char words[TEXT_MAX], body[2 * TEXT_MAX], request[4 * TEXT_MAX];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};

    words_of(i, words);
    snprintf(body, sizeof body, "{\"user_id\":\"u\",\"question\":\"%s\",\"max_words\":null,\"stream\":true}",
             words);
    int n = snprintf(
        request, sizeof request,
        "POST /ask HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        strlen(body), body);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->in = BUF_INIT(1024 * 1024);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(s->fd >= 0 && connect(s->fd, (struct sockaddr *)&a, sizeof a) == 0, "stream %zu: %s", i,
              strerror(errno));
    cr_assert_eq(send(s->fd, request, (size_t)n, MSG_NOSIGNAL), n);
    cr_assert_eq(fcntl(s->fd, F_SETFL, O_NONBLOCK), 0);
    cr_assert_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &event), 0);
}

static void read_some(struct stream *s)
{
    char *at = buf_reserve(&s->in, 16 * 1024);
    ssize_t n = recv(s->fd, at, 16 * 1024, 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0) {
        s->in.len += (size_t)n;
        s->in.data[s->in.len] = '\0';
        s->over = s->in.len > 5 && memcmp(s->in.data + s->in.len - 5, "0\r\n\r\n", 5) == 0;
    }
    if (n <= 0 || s->over) {
        s->over = true;
        close(s->fd);
    }
}

/* The texts of all deltas, one after the other. The frames of the chunks are no lines of events. */
static void text_of(const struct stream *s, struct buf *out, bool *done)
{
    static const char mark[] = "data: {\"text\":\"";

    for (const char *at = s->in.data; at && (at = strstr(at, mark));) {
        at += sizeof mark - 1;
        buf_append(out, at, strcspn(at, "\""));
    }
    *done = s->in.data && strstr(s->in.data, "event: done\n") && strstr(s->in.data, "\r\n0\r\n\r\n");
}

static long peak_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = 0;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

static void report(const struct e2e *e, size_t n)
{
    long gateway = peak_kib(e2e_pid(e, "gateway", 0)), telemetry = peak_kib(e2e_pid(e, "telemetry", 0));
    long workers[2] = {peak_kib(e2e_pid(e, "llm-worker", 0)), peak_kib(e2e_pid(e, "llm-worker", 1))};

    fprintf(stderr, "%zu streams: peak memory in MiB: gateway %ld, llm-workers %ld and %ld, telemetry %ld\n",
            n, gateway / 1024, workers[0] / 1024, workers[1] / 1024, telemetry / 1024);
    cr_expect_lt(gateway, (long)(128 * 1024 + 100 * n), "%ld KiB", gateway);
    cr_expect_lt(workers[0], (long)(128 * 1024 + 100 * n), "%ld KiB", workers[0]);
}

static void collect(struct stream *all, size_t n, int epoll)
{
    struct epoll_event events[256];
    size_t left = n;
    int64_t end = clock_ms() + PATIENCE_S * 1000;

    while (left > 0 && clock_ms() < end) {
        int got = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < got; i++) {
            struct stream *s = &all[events[i].data.u64];
            read_some(s);
            left -= s->over;
        }
    }
    cr_assert_eq(left, 0, "%zu of %zu streams are not over", left, n);
}

Test(streams, all_at_once)
{
    size_t n = how_many(), wrong = 0;
    struct stream *all = xcalloc(n, sizeof *all);
    struct e2e *e = e2e_new();
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    allow_files(n);
    e2e_env(e, "GATEWAY_THREADS", "%zu", n + 200);
    e2e_env(e, "GATEWAY_MAX_IN_FLIGHT", "%zu", n + 100);
    e2e_env(e, "LLM_WORKERS", "2");
    e2e_env(e, "REQUEST_TIMEOUT_MS", "120000");
    e2e_env(e, "LLM_CALL_TIMEOUT_MS", "120000");
    e2e_env(e, "LLM_FIRST_BYTE_TIMEOUT_MS", "120000");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/defaults",
             n > 1000 ? "{\"echo\":true,\"latency_ms\":15000,\"tokens_per_second\":10}"
                      : "{\"echo\":true,\"latency_ms\":1500,\"tokens_per_second\":20}");
    for (size_t i = 0; i < n; i++)
        begin(&all[i], i, e->port, epoll);
    collect(all, n, epoll);
    for (size_t i = 0; i < n; i++) {
        struct buf text = BUF_INIT(64 * 1024);
        char words[TEXT_MAX];
        bool done;
        words_of(i, words);
        text_of(&all[i], &text, &done);
        wrong += !done || !text.data || strcmp(text.data, words) != 0;
        if (wrong == 1)
            fprintf(stderr, "stream %zu: %s\nwanted: %s\n", i, all[i].in.data ? all[i].in.data : "nothing",
                    words);
        buf_free(&text);
        buf_free(&all[i].in);
    }
    cr_expect_eq(wrong, 0, "%zu of %zu streams are not what was asked", wrong, n);
    cr_expect_eq(e2e_stat(&e->openai, "max_in_flight"), (int64_t)n);
    report(e, n);
    free(all);
    close(epoll);
    e2e_end(e);
}
