#include "tests/fakes/httpd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define BACKLOG          4096
#define ACCEPTS_PER_TURN 256
#define READ_FIRST       2000       /* a small request fits, and 10,000 idle connections cost 20 MB */
#define READ_MOST        (1 * MIB)  /* of one read of a large body */
#define KEEP_CAP         (64 * KIB) /* a larger buffer is given back after its request */
#define SCRATCH_KEEP     (1 * MIB)
#define OUT_MAX          (256 * MIB) /* answers not yet taken by one client */
#define LINGER_MS        1000        /* how long a closing connection swallows what the client still sends */
#define ACCEPT_RETRY_MS  50

struct conn {
    struct exchange x; /* first: an exchange is its connection */
    struct httpd *s;
    struct loop_io io;
    struct loop_timer drip; /* of a trickled answer, or of lingering */
    struct buf in, out;
    struct http1_chunks chunks;
    size_t head_len;       /* 0: the head is not here yet */
    size_t request_len;    /* head and body as they stand in `in` */
    const char *parsed_at; /* in.data when the head was parsed */
    size_t trickle;
    int64_t trickle_ms;
    struct conn *next, *prev;
    unsigned depth; /* of calls into this connection: it is released when the last one returns */
    enum http_cut cut;
    bool busy;       /* between on_request and on_done */
    bool complete;   /* the whole answer is in `out` or gone */
    bool begun;      /* piece by piece */
    bool close;      /* when the answer is out */
    bool abrupt;     /* then without courtesy */
    bool lingers;    /* the answer is out, what still comes is thrown away */
    bool broken;     /* a write failed */
    bool processing; /* the loop over pipelined requests runs further up */
    bool piped;      /* more input waits in the kernel until this exchange is over */
    bool dead;
};

struct httpd {
    struct loop *loop;
    struct loop_io listener;
    struct loop_timer accept_again;
    struct httpd_handler handler;
    struct conn *all, *idle; /* open; released and kept for reuse */
    struct buf scratch;
    uint64_t accepted;
    size_t open;
    uint16_t port;
    char date[48];
    int64_t date_at;
};

static void process(struct conn *c);
static void settle(struct conn *c);

static struct conn *conn_of(struct exchange *x)
{
    return (struct conn *)x;
}

static void conn_release(struct conn *c)
{
    struct httpd *s = c->s;

    if (c->in.cap > KEEP_CAP)
        buf_free(&c->in);
    if (c->out.cap > KEEP_CAP)
        buf_free(&c->out);
    buf_reset(&c->in);
    buf_reset(&c->out);
    c->prev = NULL;
    c->next = s->idle;
    s->idle = c;
}

static void end_exchange(struct conn *c, enum httpd_end end)
{
    if (!c->busy)
        return;
    c->busy = false;
    loop_timer_clear(c->s->loop, &c->x.timer);
    c->s->handler.on_done(c->s->handler.arg, &c->x, end);
}

static void conn_close(struct conn *c, enum httpd_end end)
{
    struct httpd *s = c->s;

    if (c->dead)
        return;
    c->dead = true;
    loop_io_clear(s->loop, &c->io);
    loop_timer_clear(s->loop, &c->drip);
    close(c->io.fd);
    end_exchange(c, end);
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->all = c->next;
    s->open--;
    if (c->depth == 0)
        conn_release(c);
}

static void enter(struct conn *c)
{
    c->depth++;
}

static void leave(struct conn *c)
{
    if (--c->depth == 0 && c->dead)
        conn_release(c);
}

static void watch(struct conn *c)
{
    uint32_t events = EPOLLRDHUP;

    if (!c->piped)
        events |= EPOLLIN;
    if (c->out.len && !c->trickle)
        events |= EPOLLOUT;
    if (events != c->io.events && loop_io_set(c->s->loop, &c->io, events) < 0)
        c->broken = true;
}

/* Sends from p as much as the kernel takes. */
static size_t push(struct conn *c, const char *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t k = send(c->io.fd, p + done, n - done, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno != EAGAIN)
            c->broken = true;
        if (k < 0)
            break;
        done += (size_t)k;
    }
    return done;
}

static void drip(void *arg)
{
    struct conn *c = arg;
    size_t n = c->out.len < c->trickle ? c->out.len : c->trickle;

    enter(c);
    buf_consume(&c->out, push(c, c->out.data, n));
    if (c->out.len && !c->broken)
        loop_timer_set(c->s->loop, &c->drip, loop_now(c->s->loop) + c->trickle_ms);
    settle(c);
    leave(c);
}

static void emit(struct conn *c, const char *p, size_t n)
{
    if (c->trickle) {
        buf_append(&c->out, p, n);
        if (!c->drip.place) {
            c->drip.fn = drip;
            c->drip.arg = c;
            loop_timer_set(c->s->loop, &c->drip, loop_now(c->s->loop));
        }
        return;
    }
    size_t done = c->out.len ? 0 : push(c, p, n);
    if (done < n)
        buf_append(&c->out, p + done, n - done);
    if (c->out.failed)
        c->broken = true;
    watch(c);
}

static void linger_over(void *arg)
{
    conn_close(arg, HTTPD_SENT);
}

/* A close() with unread input would reset the connection and could take the answer away from the client. */
static void linger(struct conn *c)
{
    c->lingers = true;
    c->piped = false;
    shutdown(c->io.fd, SHUT_WR);
    c->drip.fn = linger_over;
    c->drip.arg = c;
    loop_timer_set(c->s->loop, &c->drip, loop_now(c->s->loop) + LINGER_MS);
    watch(c);
}

/* Makes the connection ready for its next request. */
static void next_request(struct conn *c)
{
    if (c->in.cap > KEEP_CAP && c->in.len == c->request_len)
        buf_free(&c->in);
    else
        buf_consume(&c->in, c->request_len);
    c->head_len = c->request_len = 0;
    c->cut = HTTP_WHOLE;
    c->trickle = 0;
    c->complete = c->begun = c->piped = false;
    watch(c);
    if (c->in.len && !c->processing)
        process(c);
}

/* After everything that may have finished or broken something. */
static void settle(struct conn *c)
{
    if (c->dead || c->lingers)
        return;
    if (c->broken) {
        conn_close(c, HTTPD_GONE);
        return;
    }
    if (!c->complete || c->out.len)
        return;
    if (c->close && c->abrupt) {
        conn_close(c, HTTPD_SENT);
        return;
    }
    end_exchange(c, HTTPD_SENT);
    if (c->close)
        linger(c);
    else
        next_request(c);
}

static const char *date(struct httpd *s)
{
    int64_t now = loop_now(s->loop);

    if (!s->date[0] || now - s->date_at >= 1000) {
        time_t t = (time_t)(wall_us() / 1000000);
        struct tm tm;
        gmtime_r(&t, &tm);
        strftime(s->date, sizeof s->date, "date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        s->date_at = now;
    }
    return s->date;
}

static void put_number(struct buf *b, uint64_t n)
{
    char text[24];
    size_t at = sizeof text;

    do
        text[--at] = (char)('0' + n % 10);
    while (n /= 10);
    buf_append(b, text + at, sizeof text - at);
}

static void put_head(struct conn *c, int status, const char *content_type, struct str headers)
{
    struct buf *b = &c->s->scratch;

    buf_reset(b);
    buf_puts(b, "HTTP/1.1 ");
    put_number(b, (uint64_t)status);
    buf_putc(b, ' ');
    buf_puts(b, http1_reason(status));
    buf_puts(b, "\r\n");
    buf_puts(b, date(c->s));
    if (content_type && *content_type) {
        buf_puts(b, "content-type: ");
        buf_puts(b, content_type);
        buf_puts(b, "\r\n");
    }
    buf_append(b, headers.p, headers.n);
    if (c->close)
        buf_puts(b, "connection: close\r\n");
    else if (c->x.head.http10)
        buf_puts(b, "connection: keep-alive\r\n");
}

void http_answer(struct exchange *x, int status, const char *content_type, struct str headers,
                 struct str body)
{
    struct conn *c = conn_of(x);
    struct buf *b = &c->s->scratch;

    assert(!c->complete && !c->begun);
    enter(c);
    x->status = status;
    put_head(c, status, content_type, headers);
    if (c->cut != HTTP_WHOLE) /* not announced */
        c->close = c->abrupt = true;
    buf_puts(b, "content-length: ");
    put_number(b, body.n);
    buf_puts(b, "\r\n\r\n");
    size_t head = b->len;
    if (!str_eq(x->head.method, "HEAD"))
        buf_append(b, body.p, body.n);
    size_t n = b->len;
    if (c->cut == HTTP_CUT_HEAD)
        n = head / 2;
    else if (c->cut == HTTP_CUT_BODY)
        n = head + (b->len - head) / 2;
    c->complete = true;
    emit(c, b->data, n);
    if (b->cap > SCRATCH_KEEP)
        buf_free(b);
    settle(c);
    leave(c);
}

void http_begin(struct exchange *x, int status, const char *content_type, struct str headers)
{
    struct conn *c = conn_of(x);
    struct buf *b = &c->s->scratch;

    assert(!c->complete && !c->begun);
    enter(c);
    c->begun = true;
    x->status = status;
    if (x->head.http10)
        c->close = true;
    put_head(c, status, content_type, headers);
    buf_puts(b, x->head.http10 ? "\r\n" : "transfer-encoding: chunked\r\n\r\n");
    emit(c, b->data, b->len);
    leave(c);
}

bool http_piece(struct exchange *x, struct str bytes)
{
    struct conn *c = conn_of(x);
    struct buf *b = &c->s->scratch;

    assert(c->begun && !c->complete);
    if (bytes.n == 0 || str_eq(x->head.method, "HEAD"))
        return true;
    enter(c);
    buf_reset(b);
    if (!x->head.http10)
        buf_printf(b, "%zx\r\n", bytes.n);
    buf_append(b, bytes.p, bytes.n);
    if (!x->head.http10)
        buf_puts(b, "\r\n");
    emit(c, b->data, b->len);
    settle(c);
    bool alive = !c->dead;
    leave(c);
    return alive;
}

void http_end(struct exchange *x)
{
    struct conn *c = conn_of(x);

    assert(c->begun && !c->complete);
    enter(c);
    c->complete = true;
    if (!x->head.http10 && !str_eq(x->head.method, "HEAD"))
        emit(c, "0\r\n\r\n", 5);
    settle(c);
    leave(c);
}

void http_raw(struct exchange *x, struct str bytes)
{
    struct conn *c = conn_of(x);

    enter(c);
    c->complete = c->close = true;
    emit(c, bytes.p, bytes.n);
    settle(c);
    leave(c);
}

void http_drop(struct exchange *x)
{
    conn_close(conn_of(x), HTTPD_SENT);
}

void http_cut(struct exchange *x, enum http_cut where)
{
    conn_of(x)->cut = where;
}

void http_trickle(struct exchange *x, size_t bytes, int64_t every_ms)
{
    conn_of(x)->trickle = bytes;
    conn_of(x)->trickle_ms = every_ms;
}

void http_close_after(struct exchange *x)
{
    conn_of(x)->close = true;
}

static void refuse(struct conn *c, int status)
{
    char text[64];
    struct buf body = BUF_INIT(sizeof text);

    c->close = c->complete = true;
    buf_printf(&body, "%d %s\n", status, http1_reason(status));
    put_head(c, status, "text/plain", (struct str){0});
    buf_printf(&c->s->scratch, "content-length: %zu\r\n\r\n%s", body.len, body.data);
    buf_free(&body);
    emit(c, c->s->scratch.data, c->s->scratch.len);
    settle(c);
}

/* 1: a whole request stands at the beginning of `in`; 0: not yet; negative: refuse. */
static int body_arrived(struct conn *c)
{
    struct http1_head *h = &c->x.head;
    char *body = c->in.data + c->head_len;
    size_t n = c->in.len - c->head_len;

    if (!h->chunked) {
        if (n < h->length)
            return 0;
        c->x.body = (struct str){body, (size_t)h->length};
        c->request_len = c->head_len + (size_t)h->length;
        return 1;
    }
    int rc = http1_dechunk(&c->chunks, body, n);
    if (rc == 1) {
        c->x.body = (struct str){body, c->chunks.body};
        c->request_len = c->head_len + c->chunks.raw;
    }
    return rc;
}

static int request_arrived(struct conn *c)
{
    if (c->head_len == 0) {
        int rc = http1_parse_head(c->in.data, c->in.len, &c->x.head);
        if (rc <= 0)
            return rc;
        c->head_len = (size_t)rc;
        c->parsed_at = c->in.data;
        c->chunks = (struct http1_chunks){0};
        c->close = !c->x.head.keep_alive;
        bool waits = c->x.head.expects_continue && c->in.len == c->head_len;
        if (waits && (c->x.head.chunked || c->x.head.length))
            emit(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
    int rc = body_arrived(c);
    /* The buffer may have moved under the head while the body came in. */
    if (rc == 1 && c->parsed_at != c->in.data && http1_parse_head(c->in.data, c->in.len, &c->x.head) <= 0)
        abort();
    return rc;
}

static void process(struct conn *c)
{
    enter(c);
    c->processing = true;
    while (!c->dead && !c->busy && !c->lingers && !c->complete && c->in.len) {
        int rc = request_arrived(c);
        if (rc == 0)
            break;
        if (rc < 0) {
            refuse(c, -rc);
            break;
        }
        c->busy = true;
        c->x.status = 0;
        c->x.user = NULL;
        c->x.tag = 0;
        c->s->handler.on_request(c->s->handler.arg, &c->x);
    }
    c->processing = false;
    leave(c);
}

static size_t read_size(const struct conn *c)
{
    if (c->in.len < READ_FIRST)
        return READ_FIRST;
    if (c->head_len && !c->x.head.chunked) {
        size_t left = c->head_len + (size_t)c->x.head.length - c->in.len;
        return left < READ_FIRST ? READ_FIRST : left < READ_MOST ? left : READ_MOST;
    }
    return c->in.len < READ_MOST ? c->in.len : READ_MOST;
}

static void receive(struct conn *c)
{
    size_t want = read_size(c);
    char *at = buf_reserve(&c->in, want);

    if (!at) {
        refuse(c, 413);
        return;
    }
    ssize_t n = recv(c->io.fd, at, want, 0);
    if (n > 0) {
        c->in.len += (size_t)n;
        c->in.data[c->in.len] = '\0';
        process(c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        conn_close(c, HTTPD_GONE);
    }
}

/* While an answer is due the input stays in the kernel: only its end matters. */
static void look_for_end(struct conn *c)
{
    char byte;
    ssize_t n = recv(c->io.fd, &byte, 1, MSG_PEEK);

    if (n > 0) {
        c->piped = true;
        watch(c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        conn_close(c, HTTPD_GONE);
    }
}

static void swallow(struct conn *c)
{
    char waste[16 * 1024];
    ssize_t n = recv(c->io.fd, waste, sizeof waste, 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        conn_close(c, HTTPD_SENT);
}

static void on_conn(void *arg, uint32_t events)
{
    struct conn *c = arg;

    enter(c);
    if (events & (EPOLLERR | EPOLLHUP)) {
        conn_close(c, c->lingers ? HTTPD_SENT : HTTPD_GONE);
    } else if (c->lingers) {
        swallow(c);
    } else {
        if (events & EPOLLOUT) {
            buf_consume(&c->out, push(c, c->out.data, c->out.len));
            watch(c);
            settle(c);
        }
        if (!c->dead && c->busy && (events & EPOLLRDHUP))
            conn_close(c, HTTPD_GONE);
        else if (!c->dead && !c->lingers && (events & EPOLLIN) && (c->busy || c->complete))
            look_for_end(c);
        else if (!c->dead && !c->lingers && (events & (EPOLLIN | EPOLLRDHUP)))
            receive(c);
    }
    leave(c);
}

static void conn_open(struct httpd *s, int fd)
{
    struct conn *c = s->idle;

    if (c) {
        s->idle = c->next;
        struct buf in = c->in, out = c->out;
        *c = (struct conn){.in = in, .out = out};
    } else {
        c = xcalloc(1, sizeof *c);
        c->in = BUF_INIT(FAKE_HEAD_MAX + 2 * FAKE_BODY_MAX);
        c->out = BUF_INIT(OUT_MAX);
    }
    c->s = s;
    c->io = (struct loop_io){.fd = fd, .fn = on_conn, .arg = c};
    c->next = s->all;
    if (s->all)
        s->all->prev = c;
    s->all = c;
    s->open++;
    s->accepted++;
    watch(c);
    if (c->broken)
        conn_close(c, HTTPD_GONE);
}

static void accept_again(void *arg)
{
    struct httpd *s = arg;

    if (loop_io_set(s->loop, &s->listener, EPOLLIN) < 0)
        abort();
}

static void on_listener(void *arg, uint32_t events)
{
    struct httpd *s = arg;

    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(s->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && s->open >= FAKE_CONNECTIONS_MAX) {
            close(fd);
        } else if (fd >= 0) {
            conn_open(s, fd);
        } else if (errno == EMFILE || errno == ENFILE) {
            log_warning("out of descriptors with %zu connections open; raise the limit (ulimit -n)", s->open);
            loop_io_clear(s->loop, &s->listener);
            loop_timer_set(s->loop, &s->accept_again, loop_now(s->loop) + ACCEPT_RETRY_MS);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void raise_descriptors(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static int listen_on(const char *host, uint16_t port, uint16_t *got)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t n = sizeof a;
    int one = 1;

    if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
        errno = EINVAL;
        return -1;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* accepted sockets inherit it */
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    *got = ntohs(a.sin_port);
    return fd;
}

struct httpd *httpd_new(struct loop *l, const char *host, uint16_t port, const struct httpd_handler *handler)
{
    uint16_t got = 0;
    int fd = listen_on(host, port, &got);

    if (fd < 0)
        return NULL;
    raise_descriptors();
    struct httpd *s = xcalloc(1, sizeof *s);
    s->loop = l;
    s->port = got;
    s->handler = *handler;
    s->scratch = BUF_INIT(OUT_MAX);
    s->listener = (struct loop_io){.fd = fd, .fn = on_listener, .arg = s};
    s->accept_again = (struct loop_timer){.fn = accept_again, .arg = s};
    int rc = loop_io_set(l, &s->listener, EPOLLIN);
    if (rc < 0) {
        httpd_free(s);
        errno = -rc;
        return NULL;
    }
    return s;
}

void httpd_free(struct httpd *s)
{
    if (!s)
        return;
    loop_io_clear(s->loop, &s->listener);
    loop_timer_clear(s->loop, &s->accept_again);
    close(s->listener.fd);
    while (s->all)
        conn_close(s->all, HTTPD_STOPPED);
    while (s->idle) {
        struct conn *c = s->idle;
        s->idle = c->next;
        buf_free(&c->in);
        buf_free(&c->out);
        free(c);
    }
    buf_free(&s->scratch);
    free(s);
}

uint16_t httpd_port(const struct httpd *s)
{
    return s->port;
}

uint64_t httpd_connections(const struct httpd *s)
{
    return s->accepted;
}

size_t httpd_open(const struct httpd *s)
{
    return s->open;
}
