#include "gateway/http.h"

#include <civetweb.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/proc/door.h"

#define BODY_FIRST 4096

static _Thread_local int last_recv_fd = -1;

/* civetweb's library resolves recv() to this one. */
ssize_t recv(int fd, void *buf, size_t n, int flags)
{
    last_recv_fd = fd;
    return recvfrom(fd, buf, n, flags, NULL, NULL);
}

struct http {
    struct mg_context *mg;
    struct loop *loop;
    http_handler *handler;
    void *arg;
    pthread_mutex_t lock; /* conns */
    struct conn *conns;
    atomic_bool stopping; /* nobody keeps a promise any more */
    const char *host;     /* the configuration's */
    int port;
};

/* A client's connection. `lock` guards everything below it: this is what the I/O thread and the connection's
 * thread share. civetweb holds one reference, every promise another. */
struct conn {
    struct http *http;
    struct conn *prev, *next;
    pthread_mutex_t lock;
    pthread_cond_t idle; /* signalled when busy becomes false */
    int refs;
    int fd; /* -1: not known */
    bool closed;
    bool busy; /* an answer is owed or still being sent */
    struct http_promise *promise;
    struct buf waited; /* the answer, when the connection's thread waits for it and sends it itself */
};

struct http_promise {
    struct conn *conn;
    bool head_only;
    bool thread_waits;
    void (*gone)(void *arg);
    void *arg;
};

/* An answer that the client's receive window did not take at once. It has its own descriptor of the same
 * socket, because civetweb may close its one at any time. */
struct slow {
    struct conn *conn;
    struct loop_io io;
    struct loop_timer patience;
    struct buf out;
};

static void conn_unref(struct conn *c)
{
    pthread_mutex_lock(&c->lock);
    int left = --c->refs;
    pthread_mutex_unlock(&c->lock);
    if (left)
        return;
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->idle);
    buf_free(&c->waited);
    free(c);
}

static void conn_idle(struct conn *c)
{
    pthread_mutex_lock(&c->lock);
    c->busy = false;
    pthread_cond_broadcast(&c->idle);
    pthread_mutex_unlock(&c->lock);
}

static int on_connection(const struct mg_connection *mg, void **data)
{
    struct http *h = mg_get_user_data(mg_get_context(mg));
    struct conn *c = xcalloc(1, sizeof *c);
    pthread_condattr_t attr;

    c->http = h;
    c->refs = 1;
    c->fd = -1;
    c->waited = BUF_INIT(0);
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->idle, &attr);
    pthread_condattr_destroy(&attr);
    last_recv_fd = -1; /* what this thread reads next is this connection */

    pthread_mutex_lock(&h->lock);
    c->next = h->conns;
    if (c->next)
        c->next->prev = c;
    h->conns = c;
    pthread_mutex_unlock(&h->lock);
    *data = c;
    return 0;
}

static void on_close(const struct mg_connection *mg)
{
    struct conn *c = mg_get_user_connection_data(mg);
    struct http *h = c->http;

    pthread_mutex_lock(&h->lock);
    *(c->prev ? &c->prev->next : &h->conns) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    pthread_mutex_unlock(&h->lock);

    pthread_mutex_lock(&c->lock);
    c->closed = true;
    c->fd = -1;
    if (c->promise)
        c->promise->gone(c->promise->arg);
    pthread_mutex_unlock(&c->lock);
    conn_unref(c);
}

static bool has_token(const char *list, const char *token)
{
    size_t n = strlen(token);

    while (*list) {
        list += strspn(list, " \t,");
        size_t len = strcspn(list, ",");
        size_t trimmed = len;
        while (trimmed > 0 && (list[trimmed - 1] == ' ' || list[trimmed - 1] == '\t'))
            trimmed--;
        if (trimmed == n && strncasecmp(list, token, n) == 0)
            return true;
        list += len;
    }
    return false;
}

/* As civetweb decides it: when it would close, the thread must not return before the answer is out. */
static bool stays_open(const struct mg_connection *mg)
{
    const char *header = mg_get_header(mg, "Connection");
    const struct mg_request_info *info = mg_get_request_info(mg);

    if (header)
        return has_token(header, "keep-alive");
    return info->http_version && strcmp(info->http_version, "1.1") == 0;
}

struct in_hand {
    struct mg_connection *mg;
    struct conn *conn;
    bool later;
};

const char *http_header(const struct http_request *q, const char *name)
{
    const struct in_hand *in = q->hold;

    return mg_get_header(in->mg, name);
}

void http_answer(struct http_request *q, const struct reply *r)
{
    struct in_hand *in = q->hold;
    struct buf out = BUF_INIT(r->body.n + HTTP_HEADERS_MAX);

    reply_render(&out, r, str_eq(q->method, "HEAD"), !stays_open(in->mg));
    mg_write(in->mg, out.data, out.len);
    buf_free(&out);
}

struct http_promise *http_later(struct http_request *q, void (*gone)(void *arg), void *arg)
{
    struct in_hand *in = q->hold;
    struct conn *c = in->conn;
    struct http_promise *p = xcalloc(1, sizeof *p);

    in->later = true;
    pthread_mutex_lock(&c->lock);
    *p = (struct http_promise){
        .conn = c,
        .head_only = str_eq(q->method, "HEAD"),
        .thread_waits = c->fd < 0 || !stays_open(in->mg),
        .gone = gone,
        .arg = arg,
    };
    c->refs++;
    c->busy = true;
    c->promise = p;
    pthread_mutex_unlock(&c->lock);
    return p;
}

static void slow_done(struct slow *s)
{
    struct loop *l = s->conn->http->loop;

    loop_io_clear(l, &s->io);
    loop_timer_clear(l, &s->patience);
    close(s->io.fd);
    conn_idle(s->conn);
    conn_unref(s->conn);
    buf_free(&s->out);
    free(s);
}

/* The client reads nothing: end the connection, civetweb's thread sees it and closes. */
static void slow_expired(void *arg)
{
    struct slow *s = arg;

    shutdown(s->io.fd, SHUT_RDWR);
    slow_done(s);
}

static void slow_writable(void *arg, uint32_t events)
{
    struct slow *s = arg;
    struct loop *l = s->conn->http->loop;

    (void)events;
    ssize_t put = send(s->io.fd, s->out.data, s->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (put < 0) {
        slow_expired(s);
        return;
    }
    buf_consume(&s->out, (size_t)put);
    if (s->out.len == 0)
        slow_done(s);
    else
        loop_timer_set(l, &s->patience, clock_ms() + HTTP_SLOW_MS);
}

/* Takes `out` over. The connection is locked and stays busy. */
static bool slow_start(struct conn *c, struct buf *out)
{
    int fd = dup(c->fd);

    if (fd < 0)
        return false;
    struct slow *s = xcalloc(1, sizeof *s);
    s->conn = c;
    c->refs++;
    s->out = *out;
    *out = BUF_INIT(0);
    s->io = (struct loop_io){.fd = fd, .fn = slow_writable, .arg = s};
    s->patience = (struct loop_timer){.fn = slow_expired, .arg = s};
    if (loop_io_set(c->http->loop, &s->io, EPOLLOUT) < 0)
        abort();
    loop_timer_set(c->http->loop, &s->patience, clock_ms() + HTTP_SLOW_MS);
    return true;
}

/* With the connection locked. Returns true when the connection is idle again. */
static bool send_now(struct conn *c, struct buf *out)
{
    ssize_t put = send(c->fd, out->data, out->len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (put < 0 && errno != EAGAIN && errno != EINTR)
        return true; /* the connection broke: its thread sees that too */
    if (put > 0)
        buf_consume(out, (size_t)put);
    if (out->len == 0)
        return true;
    if (slow_start(c, out))
        return false;
    shutdown(c->fd, SHUT_RDWR); /* half an answer must not look like a whole one */
    return true;
}

bool http_send(struct http_promise *p, const struct reply *r)
{
    struct conn *c = p->conn;
    struct buf out = BUF_INIT(r->body.n + HTTP_HEADERS_MAX);

    reply_render(&out, r, p->head_only, p->thread_waits);
    pthread_mutex_lock(&c->lock);
    bool there = !c->closed;
    c->promise = NULL;
    if (there && p->thread_waits) {
        buf_free(&c->waited);
        c->waited = out;
        out = BUF_INIT(0);
        c->busy = false;
    } else if (!there || send_now(c, &out)) {
        c->busy = false;
    }
    if (!c->busy)
        pthread_cond_broadcast(&c->idle);
    pthread_mutex_unlock(&c->lock);
    conn_unref(c);
    buf_free(&out);
    free(p);
    return there;
}

/* The peer has closed or broken the connection, as far as can be seen without taking bytes from it. */
static bool peer_gone(int fd)
{
    char byte;
    ssize_t n = recvfrom(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL);

    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* Until nothing is owed on this connection, or the client has gone. */
static bool wait_idle(struct conn *c)
{
    bool gone = false;

    pthread_mutex_lock(&c->lock);
    while (c->busy && !gone) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 250 * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&c->idle, &c->lock, &until);
        gone = c->busy && (atomic_load(&c->http->stopping) || (c->fd >= 0 && peer_gone(c->fd)));
    }
    pthread_mutex_unlock(&c->lock);
    return !gone;
}

static bool read_body(struct mg_connection *mg, struct buf *body)
{
    for (;;) {
        char *at = buf_reserve(body, BODY_FIRST);
        if (!at)
            return false;
        int got = mg_read(mg, at, BODY_FIRST);
        if (got <= 0)
            return true;
        body->len += (size_t)got;
    }
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* In place. A % without two digits stays. */
static struct str percent_decode(char *s)
{
    char *to = s;

    for (const char *from = s; *from; from++) {
        int high = from[0] == '%' ? hex_digit(from[1]) : -1;
        int low = high >= 0 ? hex_digit(from[2]) : -1;
        if (low >= 0) {
            *to++ = (char)(high << 4 | low);
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    return (struct str){s, (size_t)(to - s)};
}

static int on_request(struct mg_connection *mg)
{
    const struct mg_request_info *info = mg_get_request_info(mg);
    struct conn *c = info->conn_data;
    struct http *h = c->http;
    struct in_hand in = {mg, c, false};
    struct buf body = BUF_INIT(REQUEST_BODY_MAX + BODY_FIRST);
    struct http_request q = {.method = str_of(info->request_method), .hold = &in};

    if (c->fd < 0)
        c->fd = last_recv_fd;
    if (!wait_idle(c) || atomic_load(&h->stopping)) /* a pipelined request: its predecessor first */
        return -1;
    q.start_us = clock_us();
    if (!read_body(mg, &body) || body.len > REQUEST_BODY_MAX) {
        q.body_too_large = true;
        buf_reset(&body);
    }
    char *path = xstrdup(info->local_uri_raw ? info->local_uri_raw : info->request_uri);
    q.path = percent_decode(path);
    q.body = buf_str(&body);
    h->handler(h->arg, &q);
    free(path);
    buf_free(&body);

    if (in.later && (c->fd < 0 || !stays_open(mg))) {
        if (!wait_idle(c))
            return -1;
        mg_write(mg, c->waited.data, c->waited.len);
    }
    return 200;
}

/* What civetweb itself answers (a head it cannot read, too many headers) speaks our API's language too. */
static int on_error(struct mg_connection *mg, int status, const char *text)
{
    struct buf body = BUF_INIT(4 * KIB);
    struct buf out = BUF_INIT(8 * KIB);
    struct reply r = reply_detail(&body, status, text && *text ? text : "Bad request");

    reply_render(&out, &r, false, true);
    mg_write(mg, out.data, out.len);
    buf_free(&out);
    buf_free(&body);
    return 0;
}

static int on_log(const struct mg_connection *mg, const char *text)
{
    (void)mg;
    log_debug("civetweb: %s", text);
    return 1;
}

int http_start(struct http **out, struct loop *l, const struct http_conf *c, http_handler *handler, void *arg)
{
    char ports[64], threads[16], keep_alive[16], headers[16];
    const char *options[] = {"listening_ports",
                             ports,
                             "num_threads",
                             threads,
                             "enable_keep_alive",
                             "yes",
                             "keep_alive_timeout_ms",
                             keep_alive,
                             "request_timeout_ms",
                             "30000",
                             "tcp_nodelay",
                             "1",
                             "listen_backlog",
                             "4096",
                             "connection_queue",
                             "1024",
                             "decode_url",
                             "no",
                             "enable_auth_domain_check",
                             "no",
                             "max_request_size",
                             headers,
                             NULL};
    struct mg_callbacks callbacks = {
        .begin_request = on_request,
        .init_connection = on_connection,
        .connection_close = on_close,
        .http_error = on_error,
        .log_message = on_log,
    };
    int ret = door_check(c->host, c->port, "HOST", "PORT");

    if (ret < 0)
        return ret;
    snprintf(ports, sizeof ports, "%s:%d", c->host, c->port);
    snprintf(threads, sizeof threads, "%d", c->threads);
    snprintf(keep_alive, sizeof keep_alive, "%d", c->keep_alive_ms);
    snprintf(headers, sizeof headers, "%u", HTTP_HEADERS_MAX);
    struct http *h = xcalloc(1, sizeof *h);
    h->loop = l;
    h->handler = handler;
    h->arg = arg;
    h->host = c->host;
    h->port = c->port;
    pthread_mutex_init(&h->lock, NULL);
    mg_init_library(0);
    h->mg = mg_start(&callbacks, h, options);
    if (!h->mg) {
        log_error("the HTTP server does not start with %d threads on %s", c->threads, ports);
        mg_exit_library();
        pthread_mutex_destroy(&h->lock);
        free(h);
        return -EIO;
    }
    *out = h;
    return 0;
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    atomic_store(&h->stopping, true);
    /* Idle threads sleep in poll() for up to two seconds; the end of their connection wakes them now. */
    pthread_mutex_lock(&h->lock);
    for (struct conn *c = h->conns; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        if (c->fd >= 0)
            shutdown(c->fd, SHUT_RD);
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&h->lock);
    struct knock *k = door_knock(h->host, h->port);
    mg_stop(h->mg);
    door_answered(k);
    mg_exit_library();
    pthread_mutex_destroy(&h->lock);
    free(h);
}
