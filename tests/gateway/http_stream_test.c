/*
 * Answers in pieces (gateway/http.h) over real sockets: the test is the handler, the loop's callers and the clients.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/proc/loop.h"
#include "gateway/http.h"
#include "gateway/inbox.h"
#include "tests/e2e/process.h"

#define PATIENCE_MS 20000
#define THREADS     8
#define REPLY_MAX   (64 * MIB)
#define MANY        500

#define GET(path)          "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define GET_CLOSE(path)    "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define GET_1_0(path)      "GET " path " HTTP/1.0\r\n\r\n"
#define GET_1_0_KEEP(path) "GET " path " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
#define WAIT(condition)                                                                                      \
    for (int64_t end_ = clock_ms() + PATIENCE_MS; !(condition); poll(NULL, 0, 2))                            \
    cr_assert_lt(clock_ms(), end_, "in vain: " #condition)

/* A request that is to be answered in pieces. */
struct ask {
    struct ask *next;
    struct http_promise *promise;
    struct http_stream *stream; /* the loop's, like what follows */
    int sent, size, most;       /* feed() */
    bool lost;                  /* the client was lost before the end: `gone` is called, else never */
    atomic_int gone, taken, fed;
};

static struct loop *loop;
static struct http *http;
static uint16_t port;
static pthread_t looper;
static struct inbox inbox;
static struct loop_io inbox_io;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct ask *asks; /* latest first */
static int n_asks, n_plain;

/* The server. */

static void on_gone(void *arg)
{
    struct ask *a = arg;

    atomic_fetch_add(&a->gone, 1);
}

static void handle(void *arg, struct http_request *q)
{
    (void)arg;
    if (str_eq(q->path, "/plain")) {
        pthread_mutex_lock(&lock);
        n_plain++;
        pthread_mutex_unlock(&lock);
        http_answer(q, &(struct reply){.status = 200, .type = REPLY_TEXT, .body = str_of("plain")});
        return;
    }
    struct ask *a = calloc(1, sizeof *a);
    a->promise = http_later(q, on_gone, a);
    pthread_mutex_lock(&lock);
    a->next = asks;
    asks = a;
    n_asks++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void refused(void *arg, int status, const char *why, const char *peer)
{
    (void)arg;
    cr_expect_fail("%d %s for %s", status, why, peer);
}

static void wait_for_change(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += PATIENCE_MS / 1000;
    cr_assert_eq(pthread_cond_timedwait(&changed, &lock, &t), 0, "nothing happens any more");
}

/* The nth request for pieces. */
static struct ask *ask(int nth)
{
    pthread_mutex_lock(&lock);
    while (n_asks < nth)
        wait_for_change();
    struct ask *a = asks;
    for (int i = n_asks; i > nth; i--)
        a = a->next;
    pthread_mutex_unlock(&lock);
    return a;
}

static void on_inbox(void *arg, uint32_t events)
{
    (void)arg;
    (void)events;
    for (struct inbox_node *n = inbox_take(&inbox), *next; n; n = next) {
        next = n->next;
        n->fn(n->owner);
    }
}

struct call {
    struct inbox_node node;
    void (*fn)(void *arg);
    void *arg;
    bool done;
};

static void on_call(void *owner)
{
    struct call *c = owner;

    c->fn(c->arg);
    pthread_mutex_lock(&lock);
    c->done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Returns when the loop's thread has done it. */
static void on_loop(void (*fn)(void *arg), void *arg)
{
    struct call c = {.node = {.fn = on_call, .owner = &c}, .fn = fn, .arg = arg};

    inbox_push(&inbox, &c.node);
    pthread_mutex_lock(&lock);
    while (!c.done)
        wait_for_change();
    pthread_mutex_unlock(&lock);
}

static void *run(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void start(int threads, int64_t slow_ms)
{
    port = free_port();
    struct http_conf c = {
        .host = "127.0.0.1",
        .port = port,
        .threads = threads,
        .request_ms = PATIENCE_MS,
        .head_ms = PATIENCE_MS,
        .body_ms = PATIENCE_MS,
        .keep_alive_ms = PATIENCE_MS,
        .slow_ms = slow_ms,
        .handler = handle,
        .refused = refused,
    };

    loop = loop_new();
    inbox_init(&inbox);
    inbox_io = (struct loop_io){.fd = inbox.eventfd, .fn = on_inbox};
    cr_assert_eq(loop_io_set(loop, &inbox_io, EPOLLIN), 0);
    cr_assert_eq(http_start(&http, loop, &c), 0);
    cr_assert_eq(pthread_create(&looper, NULL, run, loop), 0);
}

static void stop_loop(void *arg)
{
    loop_stop(arg);
}

static struct buf got = {.max = REPLY_MAX};

/* However a client was lost, `gone` was called once by the time that its connection is closed. */
static void stop(void)
{
    on_loop(stop_loop, loop);
    pthread_join(looper, NULL);
    http_stop(http);
    http_free(http);
    loop_io_clear(loop, &inbox_io);
    inbox_close(&inbox);
    loop_free(loop);
    buf_free(&got);
    while (asks) {
        struct ask *next = asks->next;
        cr_expect_eq(atomic_load(&asks->gone), asks->lost, "gone: %d", asks->gone);
        free(asks);
        asks = next;
    }
}

/* What a daemon does with its streams, each as one turn of the loop. */

struct order {
    struct ask *ask;
    const char *text;
    bool whole;
    enum http_sent sent;
    enum http_room room;
};

static void on_taken(void *arg)
{
    struct ask *a = arg;

    atomic_fetch_add(&a->taken, 1);
}

static void do_begin(void *arg)
{
    struct order *o = arg;
    struct reply r = {.status = 200, .type = "text/event-stream", .body = str_of(o->text)};

    o->sent = http_stream_begin(&o->ask->stream, o->ask->promise, &r, on_taken, o->ask);
}

static enum http_sent begin(struct ask *a, const char *first)
{
    struct order o = {.ask = a, .text = first};

    on_loop(do_begin, &o);
    return o.sent;
}

static void do_put(void *arg)
{
    struct order *o = arg;

    o->room = http_stream_put(o->ask->stream, str_of(o->text));
    if (o->room == HTTP_LOST)
        cr_expect_eq(atomic_load(&o->ask->gone), 1, "lost, and nobody was told");
}

static enum http_room put(struct ask *a, const char *piece)
{
    struct order o = {.ask = a, .text = piece};

    on_loop(do_put, &o);
    return o.room;
}

static void do_end(void *arg)
{
    struct order *o = arg;

    o->sent = http_stream_end(o->ask->stream, o->whole);
}

static enum http_sent end(struct ask *a, bool whole)
{
    struct order o = {.ask = a, .whole = whole};

    on_loop(do_end, &o);
    return o.sent;
}

/* Numbered pieces of a->size bytes as long as there is room, and at `taken` again; ends with the a->most-th. */
static void feed(void *arg)
{
    struct ask *a = arg;
    char *piece = malloc((size_t)a->size + 1);
    enum http_room room = HTTP_ROOM;

    while (a->sent < a->most && room == HTTP_ROOM) {
        snprintf(piece, (size_t)a->size + 1, "%*d\n", a->size - 1, a->sent++);
        room = http_stream_put(a->stream, (struct str){piece, (size_t)a->size});
    }
    free(piece);
    if (a->sent == a->most)
        cr_expect_eq(http_stream_end(a->stream, true), HTTP_SENT);
    atomic_store(&a->fed, a->sent);
}

static void feed_more(void *arg)
{
    on_taken(arg);
    feed(arg);
}

static void begin_feeding(void *arg)
{
    struct ask *a = arg;
    struct reply r = {.status = 200};

    cr_expect_eq(http_stream_begin(&a->stream, a->promise, &r, feed_more, a), HTTP_SENT);
    feed(a);
}

/* Starts an answer whose client does not read, until no more is taken from us. */
static void fill(struct ask *a)
{
    a->size = 16 * 1024;
    a->most = 1 << 20;
    on_loop(begin_feeding, a);
    for (int fed = 0; fed != atomic_load(&a->fed);
         poll(NULL, 0, 50)) /* the socket's buffers may still grow */
        fed = atomic_load(&a->fed);
}

/* Clients. */

static int dial(void)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int room = 64 * KIB; /* for what is not read */

    cr_assert_geq(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static int say(const char *request)
{
    int fd = dial();

    cr_assert_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    return fd;
}

static void leave_rudely(int fd)
{
    struct linger l = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(fd);
}

/* One read: bytes, 0 for the end, or -errno. */
static ssize_t hear_some(int fd)
{
    struct buf *b = &got;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    cr_assert_eq(poll(&p, 1, PATIENCE_MS), 1, "the server is silent after: %s", b->data ? b->data : "");
    char *at = buf_reserve(b, 64 * KIB);
    cr_assert_not_null(at);
    ssize_t n = recv(fd, at, 64 * KIB, 0);
    if (n < 0)
        return -errno;
    b->len += (size_t)n;
    b->data[b->len] = '\0';
    return n;
}

/* What comes until it ends with that text, without the head if it begins with one. */
static const char *hear(int fd, const char *last)
{
    struct buf *b = &got;
    size_t n = strlen(last);

    buf_reset(b);
    while (b->len < n || memcmp(b->data + b->len - n, last, n) != 0)
        cr_assert_gt(hear_some(fd), 0, "no \"%s\" came, but: %s", last, b->data);
    char *body = strncmp(b->data, "HTTP/", 5) == 0 ? strstr(b->data, "\r\n\r\n") : NULL;
    return body ? body + 4 : b->data;
}

/* All that still comes; 0, or -errno when it does not end well. */
static int hear_out(int fd)
{
    ssize_t n;

    buf_reset(&got);
    buf_puts(&got, "");
    while ((n = hear_some(fd)) > 0)
        ;
    return (int)n;
}

static bool has(const char *text)
{
    return strstr(got.data, text) != NULL;
}

/* The body of a chunked answer that has come as a whole; in place. */
static struct str dechunked(void)
{
    char *from = strstr(got.data, "\r\n\r\n") + 4, *to = from;
    struct str body = {from, 0};

    for (;;) {
        char *text;
        size_t n = strtoul(from, &text, 16);
        cr_assert(text > from && memcmp(text, "\r\n", 2) == 0, "no chunk: %.20s", from);
        if (n == 0) {
            cr_assert_str_eq(text, "\r\n\r\n");
            return body;
        }
        cr_assert_eq(memcmp(text + 2 + n, "\r\n", 2), 0);
        memmove(to, text + 2, n);
        to += n;
        body.n += n;
        from = text + 2 + n + 2;
    }
}

static void expect_numbers(struct str body, int most, int size)
{
    cr_assert_eq(body.n, (size_t)most * (size_t)size);
    for (int i = 0; i < most; i++)
        cr_assert_eq(strtol(body.p + (size_t)i * (size_t)size, NULL, 10), i);
}

static void expect_plain(int fd)
{
    const char *request = GET("/plain");

    cr_assert_gt(send(fd, request, strlen(request), MSG_NOSIGNAL), 0);
    cr_assert_str_eq(hear(fd, "plain"), "plain");
}

static void setup(void)
{
    start(THREADS, HTTP_SLOW_MS);
}

TestSuite(http_stream, .init = setup, .fini = stop, .timeout = 60);

Test(http_stream, each_piece_is_a_chunk_and_goes_out_at_once)
{
    int fd = say(GET("/pieces"));
    struct ask *a = ask(1);

    cr_assert_eq(begin(a, "first"), HTTP_SENT);
    cr_assert_str_eq(hear(fd, "first\r\n"), "5\r\nfirst\r\n");
    cr_assert(has("\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n"));
    cr_assert(!has("Content-Length") && !has("Connection"));
    cr_assert_eq(put(a, "data: a\n\n"), HTTP_ROOM);
    cr_assert_str_eq(hear(fd, "\n\n\r\n"), "9\r\ndata: a\n\n\r\n");
    cr_assert_eq(put(a, ""), HTTP_ROOM);
    cr_assert_eq(put(a, "0123456789abcdef"), HTTP_ROOM);
    cr_assert_str_eq(hear(fd, "f\r\n"), "10\r\n0123456789abcdef\r\n");
    cr_assert_eq(end(a, true), HTTP_SENT);
    cr_assert_str_eq(hear(fd, "\r\n\r\n"), "0\r\n\r\n");
    expect_plain(fd);
    close(fd);
}

Test(http_stream, a_reader_gets_all_in_order_however_much_it_is)
{
    int fd = say(GET_CLOSE("/pieces"));
    struct ask *a = ask(1);

    a->size = 500;
    a->most = 40000;
    on_loop(begin_feeding, a);
    cr_assert_eq(hear_out(fd), 0);
    expect_numbers(dechunked(), a->most, a->size);
    close(fd);
}

/* One large piece is no reason to cut off a client that reads. */
Test(http_stream, a_piece_may_be_larger_than_what_may_wait)
{
    int fd = say(GET_CLOSE("/pieces"));
    struct ask *a = ask(1);

    a->size = HTTP_PIECE_MAX;
    a->most = 1;
    on_loop(begin_feeding, a);
    cr_assert_eq(hear_out(fd), 0);
    expect_numbers(dechunked(), a->most, a->size);
    close(fd);
}

Test(http_stream, a_pipelined_request_waits_for_the_end)
{
    int fd = say(GET("/pieces") GET("/plain"));
    struct ask *a = ask(1);

    cr_assert_eq(begin(a, "one"), HTTP_SENT);
    cr_assert_str_eq(hear(fd, "one\r\n"), "3\r\none\r\n");
    cr_assert_eq(put(a, "two"), HTTP_ROOM);
    cr_assert_str_eq(hear(fd, "two\r\n"), "3\r\ntwo\r\n");
    cr_assert_eq(end(a, true), HTTP_SENT);
    hear(fd, "plain");
    cr_assert_eq(strncmp(got.data, "0\r\n\r\nHTTP/1.1 200 OK\r\n", 20), 0, "%s", got.data);
    close(fd);
}

Test(http_stream, connection_close_ends_it_after_the_last_chunk)
{
    int fd = say(GET_CLOSE("/pieces"));
    struct ask *a = ask(1);

    cr_assert_eq(begin(a, ""), HTTP_SENT);
    cr_assert_eq(put(a, "all"), HTTP_ROOM);
    cr_assert_str_eq(hear(fd, "all\r\n"), "3\r\nall\r\n");
    cr_assert(has("\r\nConnection: close\r\n\r\n"));
    cr_assert_eq(end(a, true), HTTP_SENT);
    cr_assert_eq(hear_out(fd), 0);
    cr_assert_str_eq(got.data, "0\r\n\r\n");
    close(fd);
}

Test(http_stream, http_1_0_gets_no_chunks_but_the_end_of_the_connection)
{
    const char *const requests[] = {GET_1_0("/pieces"), GET_1_0_KEEP("/pieces")};

    for (int i = 0; i < 2; i++) {
        int fd = say(requests[i]);
        struct ask *a = ask(i + 1);
        cr_assert_eq(begin(a, "a"), HTTP_SENT);
        cr_assert_eq(put(a, "b"), HTTP_ROOM);
        cr_assert_str_eq(hear(fd, "b"), "ab");
        cr_assert(has("\r\nConnection: close\r\n\r\n") && !has("Transfer-Encoding"));
        cr_assert_eq(put(a, "c"), HTTP_ROOM);
        cr_assert_eq(end(a, true), HTTP_SENT);
        cr_assert_eq(hear_out(fd), 0, "a whole answer ends with a reset");
        cr_assert_str_eq(got.data, "c");
        close(fd);
    }
}

Test(http_stream, head_gets_the_head_alone)
{
    int fd = say("HEAD /pieces HTTP/1.1\r\nHost: x\r\n\r\n");
    struct ask *a = ask(1);

    cr_assert_eq(begin(a, "no"), HTTP_SENT);
    cr_assert_eq(put(a, "body"), HTTP_ROOM);
    cr_assert_eq(end(a, true), HTTP_SENT);
    cr_assert_str_eq(hear(fd, "\r\n\r\n"), "");
    cr_assert(has("\r\nTransfer-Encoding: chunked\r\n"));
    expect_plain(fd);
    close(fd);
}

Test(http_stream, pieces_of_one_turn_go_out_together)
{
    int fd = say(GET("/pieces"));
    struct ask *a = ask(1);

    cr_assert_eq(begin(a, ""), HTTP_SENT);
    hear(fd, "\r\n\r\n");
    a->size = 10;
    a->most = 1000;
    on_loop(feed, a); /* its end is in the same turn, too */
    buf_reset(&got);
    cr_assert_eq(hear_some(fd), a->most * (3 + 10 + 2) + 5);
    close(fd);
}

/* Whatever ends the connection, `gone` comes once (stop() looks), and nothing more goes out. */

static void expect_lost(struct ask *a)
{
    a->lost = true;
    WAIT(atomic_load(&a->gone) == 1);
    WAIT(put(a, "x") == HTTP_LOST);
    cr_assert_eq(put(a, "x"), HTTP_LOST);
    cr_assert_eq(end(a, true), HTTP_GONE);
}

Test(http_stream, a_client_that_leaves_is_noticed_while_nothing_is_said)
{
    const char *const requests[] = {GET("/pieces"), GET_CLOSE("/pieces"), GET_1_0("/pieces"),
                                    GET_1_0_KEEP("/pieces"), GET("/pieces") GET("/plain")};

    for (int i = 0; i < 2 * (int)(sizeof requests / sizeof *requests); i++) {
        int fd = say(requests[i / 2]);
        struct ask *a = ask(i + 1);
        cr_assert_eq(begin(a, "x"), HTTP_SENT);
        i % 2 ? leave_rudely(fd) : close(fd);
        expect_lost(a);
    }
}

/* The first write after a reset fails before the connection's thread has seen it, or after: both are right. */
Test(http_stream, a_client_that_leaves_is_noticed_while_pieces_go_out)
{
    const char *const requests[] = {GET("/pieces"), GET_CLOSE("/pieces")};

    for (int i = 0; i < 100; i++) {
        int fd = say(requests[i % 2]);
        struct ask *a = ask(i + 1);
        cr_assert_eq(begin(a, "x"), HTTP_SENT);
        leave_rudely(fd);
        WAIT(put(a, "x") == HTTP_LOST);
        a->lost = true;
        cr_assert_eq(end(a, i % 3), HTTP_GONE);
    }
}

Test(http_stream, a_client_that_has_left_before_the_head)
{
    int fd = say(GET("/pieces"));
    struct ask *a = ask(1);

    close(fd);
    WAIT(atomic_load(&a->gone) == 1);
    cr_assert_eq(begin(a, "x"), HTTP_GONE);
    cr_assert_null(a->stream);
    a->lost = true;
}

Test(http_stream, after_the_end_nobody_is_told_that_the_client_left)
{
    int fd = say(GET("/pieces"));
    struct ask *a = ask(1);

    cr_assert_eq(begin(a, "x"), HTTP_SENT);
    leave_rudely(fd);
    enum http_sent sent = end(a, true); /* before or after its leaving shows */
    a->lost = sent == HTTP_GONE;
}

/* Clients that do not read. */

static void bounded(const struct ask *a)
{
    cr_assert_leq(atomic_load(&a->fed), (int)((HTTP_STREAM_MAX + 8 * MIB) / (unsigned)a->size));
}

static void feed_300_more(void *arg)
{
    struct ask *a = arg;

    a->most = a->sent + 300;
}

Test(http_stream, who_stops_reading_stops_us_and_goes_on)
{
    int fd = say(GET_CLOSE("/pieces"));
    struct ask *a = ask(1);

    fill(a);
    bounded(a);
    on_loop(feed_300_more, a);
    cr_assert_eq(hear_out(fd), 0);
    cr_assert_geq(atomic_load(&a->taken), 1);
    expect_numbers(dechunked(), a->most, a->size);
    close(fd);
}

/* More in one turn than may wait, for a client that takes all of it at once: wherever the frame of a chunk passes the
 * mark, it goes on. */
Test(http_stream, who_takes_all_at_once_does_not_stop_us)
{
    for (int size = 40; size < 60; size++) {
        int fd = say(GET_CLOSE("/pieces"));
        struct ask *a = ask(size - 39);
        a->size = size;
        a->most = 2 * (int)HTTP_STREAM_HIGH / size;
        on_loop(begin_feeding, a);
        cr_assert_eq(hear_out(fd), 0);
        expect_numbers(dechunked(), a->most, a->size);
        close(fd);
    }
}

Test(http_stream, the_end_waits_for_a_slow_reader)
{
    const char *const requests[] = {GET_CLOSE("/pieces"), GET_1_0_KEEP("/pieces")};

    for (int i = 0; i < 2; i++) {
        int fd = say(requests[i]);
        struct ask *a = ask(i + 1);
        fill(a);
        cr_assert_eq(end(a, true), HTTP_SENT);
        int taken = atomic_load(&a->taken);
        cr_assert_eq(hear_out(fd), 0);
        struct str body = i ? str_of(strstr(got.data, "\r\n\r\n") + 4) : dechunked();
        expect_numbers(body, a->sent, a->size);
        cr_assert_eq(atomic_load(&a->taken), taken, "asked for more after the end");
        close(fd);
    }
}

static void on_quiet(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

static void ask_for_quiet(void *arg)
{
    http_when_quiet(http, on_quiet, arg);
}

Test(http_stream, quiet_is_when_the_last_byte_is_out)
{
    static atomic_bool quiet;
    int fd = say(GET_CLOSE("/pieces"));
    struct ask *a = ask(1);

    fill(a);
    on_loop(ask_for_quiet, &quiet);
    cr_assert_eq(end(a, true), HTTP_SENT);
    poll(NULL, 0, 50);
    cr_assert(!atomic_load(&quiet), "with bytes that wait");
    cr_assert_eq(hear_out(fd), 0);
    WAIT(atomic_load(&quiet));
    close(fd);
}

Test(http_stream, what_nobody_takes_does_not_wait_without_end)
{
    int fd = say(GET("/pieces"));
    struct ask *a = ask(1);
    char *piece = malloc(64 * KIB + 1);
    size_t n = 0;

    memset(piece, 'x', 64 * KIB);
    piece[64 * KIB] = '\0';
    cr_assert_eq(begin(a, ""), HTTP_SENT);
    for (enum http_room room = HTTP_ROOM; room != HTTP_LOST; n += 64 * KIB) {
        room = put(a, piece);
        cr_assert_leq(n, HTTP_STREAM_MAX + 8 * MIB);
    }
    cr_assert_geq(n, HTTP_STREAM_MAX);
    expect_lost(a);
    free(piece);
    close(fd);
}

static void setup_impatient(void)
{
    start(THREADS, 1000);
}

TestSuite(http_stream_impatient, .init = setup_impatient, .fini = stop, .timeout = 60);

Test(http_stream_impatient, who_never_reads_is_cut_off)
{
    const char *const requests[] = {GET("/pieces"), GET_CLOSE("/pieces"), GET_1_0("/pieces")};

    for (int i = 0; i < 3; i++) {
        int fd = say(requests[i]);
        struct ask *a = ask(i + 1);
        fill(a);
        expect_lost(a);
        int last = hear_out(fd);
        cr_assert(i == 2 ? last == -ECONNRESET : !has("0\r\n\r\n"), "it looks whole: %d", last);
        close(fd);
    }
}

Test(http_stream_impatient, also_after_the_end)
{
    static atomic_bool quiet;
    int fd = say(GET("/pieces"));
    struct ask *a = ask(1);

    fill(a);
    a->lost = end(a, true) == HTTP_GONE; /* on a machine that is slower still */
    on_loop(ask_for_quiet, &quiet);
    WAIT(atomic_load(&quiet));
    close(fd);
}

static void setup_crowd(void)
{
    start(1, HTTP_SLOW_MS);
}

TestSuite(http_stream_crowd, .init = setup_crowd, .fini = stop, .timeout = 60);

/* There is one thread, and some to spare while somebody is shown out. */
Test(http_stream_crowd, who_does_not_read_makes_room_and_who_waits_for_the_model_stays)
{
    int waiting = say(GET("/pieces"));
    struct ask *a = ask(1);
    cr_assert_eq(begin(a, "x"), HTTP_SENT);
    hear(waiting, "x\r\n");

    int deaf = say(GET("/pieces"));
    struct ask *b = ask(2);
    fill(b);
    int next = say(GET_CLOSE("/plain"));
    hear(next, "plain");
    expect_lost(b);

    cr_assert_eq(put(a, "y"), HTTP_ROOM);
    cr_assert_str_eq(hear(waiting, "y\r\n"), "1\r\ny\r\n");
    cr_assert_eq(end(a, true), HTTP_SENT);
    cr_assert_str_eq(hear(waiting, "\r\n\r\n"), "0\r\n\r\n");
    close(waiting);
    close(deaf);
    close(next);
}

/* Answers that stay half. */

static void stop_http(void *arg)
{
    http_stop(arg);
}

Test(http_stream, a_cut_shows)
{
    const char *const requests[] = {GET("/pieces"), GET_CLOSE("/pieces"), GET_1_0("/pieces"),
                                    GET_1_0_KEEP("/pieces")};

    for (int i = 0; i < 4; i++) {
        int fd = say(requests[i]);
        struct ask *a = ask(i + 1);
        cr_assert_eq(begin(a, "half"), HTTP_SENT);
        hear(fd, i < 2 ? "half\r\n" : "half");
        cr_assert_eq(end(a, false), HTTP_SENT);
        cr_assert_eq(hear_out(fd), i < 2 ? 0 : -ECONNRESET);
        cr_assert_str_eq(got.data, "");
        close(fd);
    }
}

Test(http_stream, after_a_cut_nothing_is_asked_any_more)
{
    for (int i = 0; i < 50; i++) {
        int fd = say(GET("/pieces") GET("/plain"));
        struct ask *a = ask(i + 1);
        cr_assert_eq(begin(a, "half"), HTTP_SENT);
        hear(fd, "half\r\n");
        cr_assert_eq(end(a, false), HTTP_SENT);
        close(fd);
    }
    on_loop(stop_http, http);
    cr_assert_eq(n_plain, 0, "a pipelined question was asked although nobody can be answered");
}

Test(http_stream, what_was_put_goes_out_before_a_cut)
{
    int fd = say(GET("/pieces"));
    struct ask *a = ask(1);

    cr_assert_eq(begin(a, ""), HTTP_SENT);
    hear(fd, "\r\n\r\n");
    cr_assert_eq(put(a, "the reason"), HTTP_ROOM);
    cr_assert_eq(end(a, false), HTTP_SENT);
    cr_assert_eq(hear_out(fd), 0);
    cr_assert_str_eq(got.data, "a\r\nthe reason\r\n");
    close(fd);
}

Test(http_stream, a_cut_does_not_wait_for_a_slow_reader)
{
    int fd = say(GET("/pieces"));
    struct ask *a = ask(1);

    fill(a);
    cr_assert_eq(end(a, false), HTTP_SENT);
    cr_assert_eq(hear_out(fd), 0);
    cr_assert(!has("\r\n0\r\n\r\n"));
    close(fd);
}

Test(http_stream, stopping_loses_all_that_is_open)
{
    const char *const requests[] = {GET("/pieces"), GET_CLOSE("/pieces"),    GET("/pieces") GET("/plain"),
                                    GET("/pieces"), GET_1_0_KEEP("/pieces"), GET_1_0("/pieces"),
                                    GET("/pieces")};
    enum { FULL = 3, ENDED = 6, N = 7 };
    struct ask *a[N];
    int fds[N];

    for (int i = 0; i < N; i++) {
        fds[i] = say(requests[i]);
        a[i] = ask(i + 1);
        if (i == FULL || i == ENDED)
            fill(a[i]);
        else
            cr_assert_eq(begin(a[i], "x"), HTTP_SENT);
    }
    cr_assert_eq(end(a[ENDED], true), HTTP_SENT);
    on_loop(stop_http, http);
    for (int i = 0; i < ENDED; i++)
        expect_lost(a[i]);
    for (int i = 0; i < N; i++) {
        int last = hear_out(fds[i]);
        cr_assert(i == 4 || i == 5 ? last == -ECONNRESET : !has("\r\n0\r\n\r\n"), "%d looks whole", i);
        close(fds[i]);
    }
}

/* Many at once. */

static void setup_many(void)
{
    struct rlimit files;

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    start(MANY, HTTP_SLOW_MS);
}

TestSuite(http_stream_many, .init = setup_many, .fini = stop, .timeout = 60);

static void begin_all(void *arg)
{
    struct reply r = {.status = 200};

    (void)arg;
    for (struct ask *a = asks; a; a = a->next)
        cr_expect_eq(http_stream_begin(&a->stream, a->promise, &r, on_taken, a), HTTP_SENT);
}

static void put_all(void *arg)
{
    char text[16];

    (void)arg;
    for (struct ask *a = asks; a; a = a->next) {
        snprintf(text, sizeof text, "%15d", a->sent++);
        cr_expect_eq(http_stream_put(a->stream, (struct str){text, 15}), HTTP_ROOM);
    }
}

static void end_all(void *arg)
{
    (void)arg;
    for (struct ask *a = asks; a; a = a->next)
        cr_expect_eq(http_stream_end(a->stream, true), HTTP_SENT);
}

Test(http_stream_many, five_hundred_at_once)
{
    int fds[MANY];

    for (int i = 0; i < MANY; i++)
        fds[i] = say(GET_CLOSE("/pieces"));
    ask(MANY);
    on_loop(begin_all, NULL);
    for (int i = 0; i < 20; i++)
        on_loop(put_all, NULL);
    on_loop(end_all, NULL);
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(hear_out(fds[i]), 0);
        expect_numbers(dechunked(), 20, 15);
        close(fds[i]);
    }
}
