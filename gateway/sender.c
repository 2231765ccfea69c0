#include "gateway/sender.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

/* Bytes that went out, 0 when the socket takes none now, or -1. */
static ssize_t put(int fd, const char *p, size_t n)
{
    ssize_t sent = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    return sent >= 0 ? sent : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static bool writable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    struct timespec patience = {.tv_sec = HTTP_SLOW_MS / 1000};

    return ppoll(&p, 1, &patience, NULL) == 1 && !(p.revents & (POLLERR | POLLHUP));
}

static bool write_slowly(struct conn *c, struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t sent = put(c->fd, bytes.p, bytes.n);
        if (sent < 0 || (sent == 0 && !writable(c->fd)))
            return false;
        bytes.p += sent;
        bytes.n -= (size_t)sent;
    }
    return true;
}

bool sender_write(struct conn *c, struct str bytes)
{
    ssize_t sent = put(c->fd, bytes.p, bytes.n);

    if (sent < 0)
        return false;
    if ((size_t)sent == bytes.n)
        return true;
    conn_writing(c, true);
    bool all = write_slowly(c, (struct str){bytes.p + sent, bytes.n - (size_t)sent});
    conn_writing(c, false);
    return all;
}

/* It has its own descriptor of the same socket, because civetweb may close its one at any time. */
struct slow {
    struct loop *loop;
    struct conn *conn;
    struct loop_io io;
    struct loop_timer patience;
    struct buf out;
    void (*done)(void *arg);
    void *arg;
};

static void slow_done(struct slow *s)
{
    loop_io_clear(s->loop, &s->io);
    loop_timer_clear(s->loop, &s->patience);
    close(s->io.fd);
    conn_is_idle(s->conn);
    conn_unref(s->conn);
    s->done(s->arg);
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
    ssize_t sent = put(s->io.fd, s->out.data, s->out.len);

    (void)events;
    if (sent < 0) {
        slow_expired(s);
        return;
    }
    buf_consume(&s->out, (size_t)sent);
    if (s->out.len == 0)
        slow_done(s);
    else if (sent > 0)
        loop_timer_set(s->loop, &s->patience, clock_ms() + HTTP_SLOW_MS);
}

enum sender_result sender_send(struct loop *l, struct conn *c, struct buf *out, void (*done)(void *arg),
                               void *arg)
{
    ssize_t sent = put(c->fd, out->data, out->len);

    if (sent < 0)
        return SENDER_BROKEN;
    buf_consume(out, (size_t)sent);
    if (out->len == 0)
        return SENDER_DONE;
    int fd = dup(c->fd);
    if (fd < 0) {
        shutdown(c->fd, SHUT_RDWR); /* half an answer must not look like a whole one */
        return SENDER_BROKEN;
    }
    struct slow *s = xcalloc(1, sizeof *s);
    *s = (struct slow){
        .loop = l,
        .conn = c,
        .io = {.fd = fd, .fn = slow_writable, .arg = s},
        .patience = {.fn = slow_expired, .arg = s},
        .out = *out,
        .done = done,
        .arg = arg,
    };
    *out = BUF_INIT(0);
    conn_ref(c);
    c->writing = true;
    c->since_ms = clock_ms();
    if (loop_io_set(l, &s->io, EPOLLOUT) < 0)
        abort();
    loop_timer_set(l, &s->patience, clock_ms() + HTTP_SLOW_MS);
    return SENDER_LATER;
}
