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

#define OUT_KEPT 1024

/* Bytes that went out, 0 when the socket takes none now, or -1. */
static ssize_t put(int fd, const char *p, size_t n)
{
    ssize_t sent = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    return sent >= 0 ? sent : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static bool writable(int fd, int64_t patience_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    struct timespec patience = {.tv_sec = patience_ms / 1000, .tv_nsec = patience_ms % 1000 * 1000000};

    return ppoll(&p, 1, &patience, NULL) == 1 && !(p.revents & (POLLERR | POLLHUP));
}

static bool write_slowly(struct conn *c, struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t sent = put(c->fd, bytes.p, bytes.n);
        if (sent < 0 || (sent == 0 && !writable(c->fd, c->all->slow_ms)))
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

/* Lists. */

static void leave_list(struct sender *s)
{
    if (!s->at)
        return;
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    s->at = NULL;
}

static void enter_list(struct sender *s, struct sender **list)
{
    leave_list(s);
    s->next = *list;
    if (s->next)
        s->next->at = &s->next;
    s->at = list;
    *list = s;
}

/* On the loop's thread. */

/* Few pieces are larger, and thousands of streams are open at once. */
static void empty(struct buf *out)
{
    if (out->cap > OUT_KEPT)
        buf_free(out);
    else
        buf_reset(out);
}

/* With the connection locked. */
static void settle(struct sender *s, enum sender_state state)
{
    leave_list(s);
    if (s->state == SENDER_WAITING) {
        loop_io_clear(s->all->loop, &s->io);
        loop_timer_clear(s->all->loop, &s->patience);
        close(s->io.fd);
        s->conn->writing = false;
        s->conn->since_ms = clock_ms();
    }
    s->state = state;
    empty(&s->out);
}

void sender_drop(struct sender *s)
{
    settle(s, SENDER_BROKEN);
    buf_free(&s->out);
}

void sender_cut(struct sender *s)
{
    conn_cut(s->conn);
    sender_drop(s);
    conn_gone(s->conn);
}

/* The client reads nothing; civetweb's thread sees the end of the connection and closes. */
static void on_patience(void *arg)
{
    struct sender *s = arg;

    pthread_mutex_lock(&s->conn->lock);
    sender_cut(s);
    pthread_mutex_unlock(&s->conn->lock);
    s->moved(s->arg);
}

static void be_patient(struct sender *s)
{
    loop_timer_set(s->all->loop, &s->patience, clock_ms() + s->conn->all->slow_ms);
}

static void on_writable(void *arg, uint32_t events)
{
    struct sender *s = arg;

    (void)events;
    pthread_mutex_lock(&s->conn->lock);
    ssize_t sent = put(s->io.fd, s->out.data, s->out.len);
    if (sent < 0) {
        sender_cut(s);
    } else if ((size_t)sent == s->out.len) {
        settle(s, SENDER_IDLE);
    } else if (sent > 0) {
        buf_consume(&s->out, (size_t)sent);
        be_patient(s);
        if (s->grows)
            s->conn->since_ms = clock_ms();
    }
    pthread_mutex_unlock(&s->conn->lock);
    if (sent != 0)
        s->moved(s->arg);
}

/* False: there is no descriptor left for it. */
static bool wait_for_client(struct sender *s)
{
    int fd = dup(s->conn->fd);

    if (fd < 0)
        return false;
    s->io = (struct loop_io){.fd = fd, .fn = on_writable, .arg = s};
    s->patience = (struct loop_timer){.fn = on_patience, .arg = s};
    s->state = SENDER_WAITING;
    s->conn->writing = true;
    s->conn->since_ms = clock_ms();
    enter_list(s, &s->all->waiting);
    if (loop_io_set(s->all->loop, &s->io, EPOLLOUT) < 0)
        abort();
    be_patient(s);
    return true;
}

enum sender_state sender_now(struct sender *s)
{
    if (s->state == SENDER_WAITING || s->state == SENDER_BROKEN)
        return s->state;
    ssize_t sent = s->conn->closed ? -1 : put(s->conn->fd, s->out.data, s->out.len);

    if (sent >= 0 && (size_t)sent == s->out.len) {
        settle(s, SENDER_IDLE);
        return s->state;
    }
    if (sent > 0)
        buf_consume(&s->out, (size_t)sent);
    if (sent < 0 || !wait_for_client(s))
        sender_cut(s);
    return s->state;
}

void sender_soon(struct sender *s)
{
    if (s->state != SENDER_IDLE || s->out.len == 0)
        return;
    s->state = SENDER_SOON;
    if (!s->all->soon)
        loop_timer_set(s->all->loop, &s->all->flush, 0); /* due at once: timers come last in a turn */
    enter_list(s, &s->all->soon);
}

static void on_flush(void *arg)
{
    struct senders *all = arg;

    while (all->soon) {
        struct conn *c = all->soon->conn;
        pthread_mutex_lock(&c->lock);
        sender_now(all->soon);
        pthread_mutex_unlock(&c->lock);
    }
}

void senders_init(struct senders *all, struct loop *l)
{
    *all = (struct senders){.loop = l, .flush = {.fn = on_flush, .arg = all}};
}

void senders_stop(struct senders *all)
{
    loop_timer_clear(all->loop, &all->flush);
    while (all->waiting)
        on_patience(all->waiting);
}
