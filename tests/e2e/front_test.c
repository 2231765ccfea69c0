/*
 * The front door as a peer meets it that speaks raw HTTP, well or badly: each case names its paragraph. And the days
 * on which many of them come at once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/e2e/harness.h"

TestSuite(front, .fini = e2e_cleanup, .timeout = 120);

#define WAIT_MS 10000

static int dial(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "%s", strerror(errno));
    return fd;
}

static void say(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t put = send(fd, bytes, n, MSG_NOSIGNAL);
        if (put < 0)
            return; /* refused already: the answer tells */
        bytes += put;
        n -= (size_t)put;
    }
}

/* More of what the peer sends; false at its end, or when nothing comes. */
static bool hear(int fd, struct buf *in, int wait_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char *at = buf_reserve(in, 4096);

    cr_assert_not_null(at);
    if (poll(&p, 1, wait_ms) != 1)
        return false;
    ssize_t got = recv(fd, at, 4096, 0);
    if (got <= 0)
        return false;
    in->len += (size_t)got;
    in->data[in->len] = '\0';
    return true;
}

static bool at_end(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char byte;

    return poll(&p, 1, WAIT_MS) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

/* Takes one answer off `in`, reading as much as it takes. Returns its status; 0: the connection has ended. */
static int answer(int fd, struct buf *in, bool head_only, struct buf *whole)
{
    char *end;

    while (!in->len || !(end = strstr(in->data, "\r\n\r\n")))
        if (!hear(fd, in, WAIT_MS))
            return 0;
    int status = (int)strtol(in->data + 9, NULL, 10);
    const char *field = strcasestr(in->data, "\r\nContent-Length: ");
    size_t head = (size_t)(end - in->data) + 4;
    size_t body =
        status == 100 || head_only || !field || field > end ? 0 : (size_t)strtoul(field + 18, NULL, 10);
    while (in->len < head + body)
        if (!hear(fd, in, WAIT_MS))
            return 0;
    if (whole) {
        buf_reset(whole);
        buf_append(whole, in->data, head + body);
    }
    buf_consume(in, head + body);
    if (in->len)
        in->data[in->len] = '\0';
    return status;
}

#define HOST      "Host: a.example\r\n"
#define JSON      "Content-Type: application/json\r\n"
#define GOOD      "{\"user_id\":\"ana\",\"question\":\"azafran-7d41\"}" /* 43 bytes; harness.h's canary */
#define GOOD_SIZE "43"

static const struct {
    const char *paragraph;
    const char *in;
    int status[3]; /* of the answers, in their order */
    bool ends;     /* and then the connection does */
} cases[] = {
    {"RFC 9112 3", "GET /livez HTTP/1.1\r\n" HOST "\r\n", {200}, false},
    {"RFC 9112 2.2: an empty line before the request",
     "\r\nGET /livez HTTP/1.1\r\n" HOST "\r\n",
     {200},
     false},
    {"RFC 9112 2.2: a line ends with CRLF", "GET /livez HTTP/1.1\n" HOST "\r\n", {400}, true},
    {"RFC 9112 2.2: a bare CR", "GET /livez HTTP/1.1\r" HOST "\r\n", {400}, true},
    {"RFC 9112 2.2: no white space before the first field",
     "GET /livez HTTP/1.1\r\n X: y\r\n" HOST "\r\n",
     {400},
     true},
    {"RFC 9112 3: one space between the parts", "GET  /livez HTTP/1.1\r\n" HOST "\r\n", {400}, true},
    {"RFC 9112 3: not a request line", "hello\r\n\r\n", {400}, true},
    {"RFC 9112 3: a target too long is 414", NULL, {414}, true},
    {"RFC 9110 15.5.6: so is one that nobody knows", "BREW /livez HTTP/1.1\r\n" HOST "\r\n", {405}, false},
    {"RFC 9112 3.2: no Host", "GET /livez HTTP/1.1\r\n\r\n", {400}, true},
    {"RFC 9112 3.2: two Hosts", "GET /livez HTTP/1.1\r\n" HOST HOST "\r\n", {400}, true},
    {"RFC 9112 3.2.2: absolute form", "GET http://b.example/livez HTTP/1.1\r\n" HOST "\r\n", {200}, false},
    {"RFC 9112 3.2.2: absolute form without a path",
     "GET http://b.example?x HTTP/1.1\r\n" HOST "\r\n",
     {404},
     false},
    {"RFC 9112 3.2.4: the asterisk stands alone", "OPTIONS *livez HTTP/1.1\r\n" HOST "\r\n", {400}, true},
    {"RFC 9112 3.2: Host is a name", "GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", {400}, true},
    {"RFC 9112 3.2.4: asterisk form", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", {404}, false},
    {"RFC 9112 2.3: a version nobody speaks", "GET /livez HTTP/3.0\r\n" HOST "\r\n", {505}, true},
    {"RFC 9110 2.5: HTTP/1.0 closes", "GET /livez HTTP/1.0\r\n\r\n", {200}, true},
    {"RFC 9112 9.3: HTTP/1.0 asks to stay",
     "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /livez HTTP/1.0\r\n\r\n",
     {200, 200},
     true},
    {"RFC 9112 9.3: closing wins",
     "GET /livez HTTP/1.1\r\n" HOST "Connection: keep-alive, close\r\n\r\n",
     {200},
     true},
    {"RFC 9112 9.3: on whichever line",
     "GET /livez HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: close\r\n\r\n",
     {200},
     true},
    {"RFC 9110 5.5: blanks around a value do not belong to it",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked \t\r\n\r\n2B\r\n" GOOD "\r\n0\r\n\r\n",
     {200},
     false},
    {"RFC 9110 10.1.1: nobody asks for the body of a scrape",
     "GET /metrics HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
     {200},
     true},
    {"RFC 9112 9.6: Connection: close",
     "GET /livez HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
     {200},
     true},
    {"RFC 9112 9.3.2: pipelining",
     "GET /livez HTTP/1.1\r\n" HOST "\r\nPOST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: " GOOD_SIZE
     "\r\n\r\n" GOOD "GET /nowhere HTTP/1.1\r\n" HOST "\r\n",
     {200, 200, 404},
     false},
    {"RFC 9112 5.1: no space before the colon", "GET /livez HTTP/1.1\r\nHost : a\r\n\r\n", {400}, true},
    {"RFC 9112 5.2: no folded lines", "GET /livez HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", {400}, true},
    {"RFC 9110 5.5: tabs around and inside a value",
     "GET /livez HTTP/1.1\r\n" HOST "X:\ta\tb\t\r\n\r\n",
     {200},
     false},
    {"RFC 9110 5.5: no control characters in a value",
     "GET /livez HTTP/1.1\r\n" HOST "X: a\x07\r\n\r\n",
     {400},
     true},
    {"RFC 9110 5.6.2: a field's name is a token",
     "GET /livez HTTP/1.1\r\n" HOST "X(y): z\r\n\r\n",
     {400},
     true},
    {"RFC 6585 5: head too large", NULL, {431}, true},
    {"RFC 9112 6.3: two lengths",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: 42\r\nContent-Length: 43\r\n\r\n" GOOD,
     {400},
     true},
    {"RFC 9112 6.3: twice the same length",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: 42\r\nContent-Length: 42\r\n\r\n" GOOD,
     {400},
     true},
    {"RFC 9110 8.6: a list of lengths",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: 42, 42\r\n\r\n" GOOD,
     {400},
     true},
    {"RFC 9110 8.6: a length is digits",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: +42\r\n\r\n" GOOD,
     {400},
     true},
    {"RFC 9112 6.1: length and chunked",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: 42\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     {400},
     true},
    {"RFC 9112 6.1: chunked and length",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\nContent-Length: 42\r\n\r\n0\r\n\r\n",
     {400},
     true},
    {"RFC 9112 6.1: chunked in HTTP/1.0",
     "POST /ask HTTP/1.0\r\n" JSON "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     {400},
     true},
    {"RFC 9112 6.1: a coding nobody knows is 501",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: gzip, chunked\r\n\r\n",
     {501},
     true},
    {"RFC 9112 7.1: a chunked body, extensions and trailers ignored",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n"
     "10;a=b\r\n{\"user_id\":\"ana\"\r\n1B;c\r\n,\"question\":\"azafran-7d41\"}\r\n0\r\nTrailer: x\r\n\r\n"
     "GET /livez HTTP/1.1\r\n" HOST "\r\n",
     {200, 200},
     false},
    {"RFC 9112 7.1: a chunk longer than its size",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
     {400},
     true},
    {"RFC 9112 7.1: a chunk's size with LF alone",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
     {400},
     true},
    {"RFC 9110 15.5.14: a length beyond the limit is 413 at once",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: 999999999\r\n\r\n{",
     {413},
     true},
    {"RFC 9110 10.1.1: the body is asked for",
     "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: " GOOD_SIZE "\r\nExpect: 100-continue\r\n\r\n",
     {100},
     false},
    {"RFC 9110 10.1.1: a refusal comes instead of 100",
     "POST /nowhere HTTP/1.1\r\n" HOST JSON "Content-Length: 42\r\nExpect: 100-continue\r\n\r\n",
     {404},
     true},
    {"RFC 9110 10.1.1: another expectation is 417",
     "GET /livez HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n",
     {417},
     true},
    {"RFC 9110 9.3.2: HEAD has no body",
     "HEAD /livez HTTP/1.1\r\n" HOST "\r\nGET /livez HTTP/1.1\r\n" HOST "\r\n",
     {200, 200},
     false},
    {"RFC 9110 15.5.6: the wrong method", "DELETE /ask HTTP/1.1\r\n" HOST "\r\n", {405}, false},
    {"RFC 9110 7.8: an upgrade is not taken up",
     "GET /livez HTTP/1.1\r\n" HOST "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
     {200},
     true},
    {"RFC 9112 9.3: a body that nobody wanted is skipped",
     "POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nabcdeGET /livez HTTP/1.1\r\n" HOST "\r\n",
     {404, 200},
     false},
    {"RFC 9112 2.2 behind a good request",
     "GET /livez HTTP/1.1\r\n" HOST "\r\nGET /livez HTTP/1.1\n\n",
     {200, 400},
     true},
    {"TLS on the plain port", "\x16\x03\x01\x02\x01\x01", {400}, true},
};

/* The two that are too large to stand in a table. */
static const char *bytes_of(size_t i, struct buf *hold)
{
    const char *begin = cases[i].status[0] == 414 ? "GET /" : "GET /livez HTTP/1.1\r\n" HOST "X: ";

    if (cases[i].in)
        return cases[i].in;
    *hold = BUF_INIT(64 * 1024);
    buf_puts(hold, begin);
    while (hold->len < 40000)
        buf_putc(hold, 'a');
    return hold->data;
}

static void check_case(uint16_t port, size_t i, size_t piece)
{
    struct buf hold = BUF_INIT(0), in = BUF_INIT(1 << 20);
    const char *bytes = bytes_of(i, &hold);
    size_t n = strlen(bytes);
    int fd = dial(port);
    bool head = strncmp(bytes, "HEAD", 4) == 0;

    for (size_t at = 0; at < n; at += piece)
        say(fd, bytes + at, n - at < piece ? n - at : piece);
    for (size_t k = 0; k < 3 && cases[i].status[k]; k++) {
        int status = answer(fd, &in, head && k == 0, NULL);
        cr_expect_eq(status, cases[i].status[k], "%s, answer %zu: %d, not %d", cases[i].paragraph, k + 1,
                     status, cases[i].status[k]);
    }
    if (cases[i].ends)
        cr_expect(in.len == 0 && at_end(fd), "%s: the connection must end", cases[i].paragraph);
    close(fd);
    buf_free(&hold);
    buf_free(&in);
}

Test(front, raw_requests)
{
    struct e2e *e = e2e_new();

    e2e_start(e);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(e->port, i, SIZE_MAX / 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (cases[i].in)
            check_case(e->port, i, 7);
    e2e_end(e);
}

/* Unknown methods are written in another way for civetweb: many in one packet must not run into each other. */
Test(front, many_short_methods_at_once)
{
    struct e2e *e = e2e_new();
    struct buf in = BUF_INIT(1 << 20), all = BUF_INIT(1 << 20);

    e2e_start(e);
    int fd = dial(e->port);
    for (int i = 0; i < 60; i++)
        buf_puts(&all, "A /livez HTTP/1.1\r\nHost:a\r\n\r\n");
    say(fd, all.data, all.len);
    for (int i = 0; i < 60; i++)
        cr_assert_eq(answer(fd, &in, false, NULL), 405, "answer %d", i + 1);
    close(fd);
    buf_free(&in);
    buf_free(&all);
    e2e_end(e);
}

/* RFC 9110 10.1.1 to its end: 100, then the body, then the answer; and HTTP/1.1 goes on. */
Test(front, expect_100_continue)
{
    struct e2e *e = e2e_new();
    struct buf in = BUF_INIT(1 << 20);

    e2e_start(e);
    int fd = dial(e->port);
    static const char head[] =
        "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: " GOOD_SIZE "\r\nExpect: 100-continue\r\n\r\n";
    for (int i = 0; i < 2; i++) {
        say(fd, head, strlen(head));
        cr_assert_eq(answer(fd, &in, false, NULL), 100);
        say(fd, GOOD, strlen(GOOD));
        cr_assert_eq(answer(fd, &in, false, NULL), 200);
    }
    close(fd);
    buf_free(&in);
    e2e_end(e);
}

/* A body that ends too early is no question. */
Test(front, a_body_that_is_cut)
{
    struct e2e *e = e2e_new();
    struct buf in = BUF_INIT(1 << 20);

    e2e_start(e);
    int fd = dial(e->port);
    static const char part[] = "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: 100\r\n\r\n" GOOD;
    say(fd, part, strlen(part));
    shutdown(fd, SHUT_WR);
    cr_expect_eq(answer(fd, &in, false, NULL), 400);
    cr_expect(at_end(fd));
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 0, "the provider must not be asked");
    close(fd);
    buf_free(&in);
    e2e_end(e);
}

/* Slow heads and bodies are 408, idle connections just end. */
Test(front, slow_and_idle_clients)
{
    struct e2e *e = e2e_new();
    struct buf in = BUF_INIT(1 << 20);

    e2e_env(e, "GATEWAY_HEAD_TIMEOUT_MS", "300");
    e2e_env(e, "GATEWAY_BODY_TIMEOUT_MS", "300");
    e2e_env(e, "GATEWAY_KEEP_ALIVE_MS", "300");
    e2e_start(e);
    int head = dial(e->port), body = dial(e->port), idle = dial(e->port), silent = dial(e->port);
    static const char half_head[] = "GET /livez HTTP/1.1\r\nHo";
    static const char half_body[] = "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: 42\r\n\r\n{";
    static const char request[] = "GET /livez HTTP/1.1\r\n" HOST "\r\n";
    say(head, half_head, strlen(half_head));
    say(body, half_body, strlen(half_body));
    say(idle, request, strlen(request));
    cr_expect_eq(answer(idle, &in, false, NULL), 200);
    cr_expect(at_end(idle), "an idle connection ends");
    cr_expect(at_end(silent), "a silent one too");
    cr_expect_eq(answer(head, &in, false, NULL), 408);
    cr_expect(at_end(head));
    cr_expect_eq(answer(body, &in, false, NULL), 408);
    cr_expect(at_end(body));
    close(head);
    close(body);
    close(idle);
    close(silent);
    buf_free(&in);
    e2e_end(e);
}

static int64_t livez_us(uint16_t port)
{
    int64_t start = clock_us();
    struct http_reply r = e2e_get(port, "/livez");

    cr_assert_eq(r.status, 200, "%d %s", r.status, r.trouble ? r.trouble : "");
    http_reply_free(&r);
    return clock_us() - start;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static int64_t median_livez_us(uint16_t port)
{
    int64_t took[11];

    for (size_t i = 0; i < 11; i++)
        took[i] = livez_us(port);
    qsort(took, 11, sizeof *took, by_value);
    return took[5];
}

/* P7: a crowd that drips bytes, or sends none, takes all threads and keeps nobody out. How long /livez takes beside it is
 * compared with how long it takes alone: waiting for one of them would be seconds. */
static void crowd(int n, bool drips)
{
    struct e2e *e = e2e_new();
    int fd[256];

    e2e_env(e, "GATEWAY_THREADS", "50");
    e2e_start(e);
    int64_t alone = median_livez_us(e->port);
    for (int i = 0; i < n; i++)
        fd[i] = dial(e->port);
    int64_t beside = median_livez_us(e->port);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; drips && i < n; i++)
            say(fd[i], "G", 1);
        int64_t now = median_livez_us(e->port);
        beside = now > beside ? now : beside;
    }
    fprintf(stderr, "/livez alone %lld us, beside %d clients that %s %lld us\n", (long long)alone, n,
            drips ? "drip" : "are silent", (long long)beside);
    cr_expect_lt(beside, 100 * alone + 500000);
    struct http_reply r = e2e_ask(e, "ana", "¿Sigue ahí?", NULL);
    cr_expect_eq(r.status, 200);
    http_reply_free(&r);
    for (int i = 0; i < n; i++)
        close(fd[i]);
    e2e_end(e);
}

Test(front, sixty_slow_clients_with_fifty_threads)
{
    crowd(60, true);
}

Test(front, two_hundred_silent_clients_with_fifty_threads)
{
    crowd(200, false);
}

static int dial_small(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    cr_assert(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "%s", strerror(errno));
    return fd;
}

/* Clients that ask for much and read nothing keep nobody out either. */
Test(front, clients_that_do_not_read)
{
    static const char bytes[] = "GET /openapi.json HTTP/1.1\r\n" HOST "\r\n";
    const size_t times = 250;
    struct e2e *e = e2e_new();
    int fd[40];

    e2e_env(e, "GATEWAY_THREADS", "10");
    e2e_start(e);
    for (int i = 0; i < 40; i++) {
        fd[i] = dial_small(e->port);
        for (size_t k = 0; k < times; k++)
            if (send(fd[i], bytes, strlen(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                break;
    }
    for (int i = 0; i < 5; i++) {
        struct http_client c = http_open(e->port);
        struct http_reply r;
        c.timeout_ms = 3000;
        http_call(&c, "GET", "/livez", (struct str){NULL, 0}, &r);
        cr_expect_eq(r.status, 200, "%d %s", r.status, r.trouble ? r.trouble : "");
        http_reply_free(&r);
        http_close(&c);
    }
    for (int i = 0; i < 40; i++)
        close(fd[i]);
    e2e_end(e);
}

/* P6, also when bytes lie unread behind the question: a pipelined request, or an empty line. */
Test(front, a_client_who_leaves_unread_bytes_behind)
{
    static const char *const heads[] = {"Connection: close\r\n", ""};
    static const char *const behind[] = {"\r\n", "GET /livez HTTP/1.1\r\n" HOST
                                                 "\r\nGET /livez HTTP/1.1\r\n" HOST "\r\n"};
    struct e2e *e = e2e_new();

    e2e_start(e);
    for (int i = 0; i < 2; i++) {
        int64_t before = e2e_stat(&e->openai, "client_left");
        int64_t asked = e2e_stat(&e->openai, "requests");
        e2e_tell(&e->openai, "/_admin/script", "[{\"stall\":true}]");
        int fd = dial(e->port);
        struct buf all = BUF_INIT(4096);
        buf_printf(&all, "POST /ask HTTP/1.1\r\n" HOST JSON "%sContent-Length: " GOOD_SIZE "\r\n\r\n" GOOD,
                   heads[i]);
        say(fd, all.data, all.len);
        E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "requests") == asked + 1);
        say(fd, behind[i], strlen(behind[i]));
        close(fd);
        E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "client_left") == before + 1);
        buf_free(&all);
    }
    e2e_end(e);
}

/* The body of a pipelined request may take its time while our own thread is busy with its predecessor. */
Test(front, a_body_behind_a_slow_answer_is_not_late)
{
    struct e2e *e = e2e_new();
    struct buf in = BUF_INIT(1 << 20), all = BUF_INIT(1 << 20);

    e2e_env(e, "GATEWAY_BODY_TIMEOUT_MS", "300");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"content\":\"tarde\",\"delay_ms\":1500}]");
    int fd = dial(e->port);
    buf_puts(&all, "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: " GOOD_SIZE "\r\n\r\n" GOOD);
    buf_puts(&all, "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: 500043\r\n\r\n" GOOD);
    while (all.len < 500043 + 400)
        buf_puts(&all, "                                                  ");
    const char *second = strstr(strstr(all.data, GOOD) + 1, GOOD);
    say(fd, all.data, (size_t)(second - all.data) + 500043);
    cr_expect_eq(answer(fd, &in, false, NULL), 200);
    cr_expect_eq(answer(fd, &in, false, NULL), 200);
    close(fd);
    buf_free(&in);
    buf_free(&all);
    e2e_end(e);
}

/* Whoever waits for an answer is never shown out, however many come. */
Test(front, a_crowd_does_not_cost_an_answer)
{
    struct e2e *e = e2e_new();
    struct buf in = BUF_INIT(1 << 20);
    int fd[100];
    static const char question[] =
        "POST /ask HTTP/1.1\r\n" HOST JSON "Content-Length: " GOOD_SIZE "\r\n\r\n" GOOD;

    e2e_env(e, "GATEWAY_THREADS", "20");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/script", "[{\"content\":\"tarde\",\"delay_ms\":1500}]");
    int patient = dial(e->port);
    say(patient, question, strlen(question));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "requests") == 1);
    for (int i = 0; i < 100; i++)
        fd[i] = dial(e->port);
    cr_expect_eq(answer(patient, &in, false, NULL), 200);
    for (int i = 0; i < 100; i++)
        close(fd[i]);
    close(patient);
    buf_free(&in);
    e2e_end(e);
}
