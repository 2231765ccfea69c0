#include "gateway/intake.h"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "gateway/framing.h"

#define POISON   '\1' /* framing.h */
#define READ_MAX 8192 /* on a stack of 100 KiB */

static _Thread_local struct conn *mine;

void intake_begin(struct conn *c)
{
    mine = c;
}

struct conn *intake_end(void)
{
    struct conn *c = mine;

    mine = NULL;
    return c;
}

struct conn *intake_mine(void)
{
    return mine;
}

static void learn(struct conn *c, int fd)
{
    pthread_mutex_lock(&c->lock);
    c->fd = fd;
    pthread_mutex_unlock(&c->lock);
}

/* glibc's header claims that poll() only writes what it is given. */
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    struct timespec t = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000};
    struct conn *c = mine;
    bool endless = timeout < 0;

    if (c && n == 1 && (fds[0].events & POLLIN) && (c->fd < 0 || c->fd == fds[0].fd)) {
        if (c->fd < 0)
            learn(c, fds[0].fd);
        if (c->framing.state == FRAMING_REFUSED) {
            fds[0].revents = POLLIN; /* recv() has more of what makes civetweb give up */
            return 1;
        }
        /* Nothing but input, or the end of it, wakes a thread that reads: no looking around every two seconds. */
        endless = !atomic_load(&c->all->stopping);
    }
    return ppoll(fds, n, endless ? NULL : &t, NULL);
}
#pragma GCC diagnostic pop

static ssize_t poison(char *buf)
{
    buf[0] = POISON;
    return 1;
}

/* Nothing more comes in: 0, or one byte that makes civetweb give up and ask what to say. */
static ssize_t end_of_input(struct conn *c, char *buf)
{
    pthread_mutex_lock(&c->lock);
    bool shown_out = c->shown_out, late = c->late;
    pthread_mutex_unlock(&c->lock);

    bool in_head = framing_in_head(&c->framing);
    if (late && framing_inside(&c->framing))
        framing_refuse(&c->framing, 408, "the request did not arrive in time");
    if (late && in_head)
        return poison(buf);
    if (shown_out)
        conn_wait_idle(c); /* what looks like the client's end is ours, and an answer may still be owed */
    return 0;
}

static void note_phase(struct conn *c)
{
    const struct framing *f = &c->framing;

    conn_enter(c, f->complete > c->handled ? CONN_ANSWER
                  : framing_in_head(f)     ? CONN_HEAD
                  : framing_inside(f)      ? CONN_BODY
                                           : CONN_IDLE);
}

void intake_handled(struct conn *c)
{
    c->handled++;
    note_phase(c);
}

/* One read and what the filter leaves of it; *left 0: all of it was for the filter. */
static ssize_t take(struct conn *c, int fd, char *buf, size_t n, size_t *left)
{
    char raw[READ_MAX];
    bool as_it_is = c->framing.state == FRAMING_BODY || n < FRAMING_ROOM(1);
    size_t most = (n - FRAMING_GROWTH_MAX) / 2;
    char *in = as_it_is ? buf : raw;
    ssize_t got = recvfrom(fd, in, as_it_is ? n : most < READ_MAX ? most : READ_MAX, 0, NULL, NULL);

    *left = 0;
    if (got > 0) {
        *left = framing_filter(&c->framing, buf, in, (size_t)got);
        note_phase(c);
    }
    return got;
}

static int wait_for_input(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return ppoll(&p, 1, NULL, NULL);
}

ssize_t recv(int fd, void *buf, size_t n, int flags)
{
    struct conn *c = mine;
    size_t left = 0;

    if (!c || n == 0)
        return recvfrom(fd, buf, n, flags, NULL, NULL);
    if (c->framing.state == FRAMING_REFUSED)
        return poison(buf);
    for (;;) {
        ssize_t got = take(c, fd, buf, n, &left);
        if (got == 0)
            return end_of_input(c, buf);
        if (got < 0)
            return got;
        if (left > 0)
            return (ssize_t)left;
        if (wait_for_input(fd) < 0)
            return -1;
    }
}
