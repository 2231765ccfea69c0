#include "gateway/conn.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

#define LOOK_AROUND_MS 250 /* how often a waiting thread looks whether its client is still there */

void conns_init(struct conns *all)
{
    pthread_mutex_init(&all->lock, NULL);
}

/* The peer has closed or broken the connection, whatever lies unread before that. */
static bool peer_gone(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    struct timespec now = {0};

    return ppoll(&p, 1, &now, NULL) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static bool has_input(int fd)
{
    int n = 0;

    return ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

/* With c->lock held. What the connection waits for, all in all. */
static enum conn_phase phase_of(const struct conn *c)
{
    if (c->phase == CONN_LINGER)
        return CONN_LINGER;
    if (c->writing)
        return CONN_WRITING;
    if (c->busy || (c->in_hand && c->phase != CONN_BODY))
        return CONN_ANSWER;
    return c->phase;
}

void conn_gone(struct conn *c)
{
    if (c->gone)
        c->gone(c->gone_arg);
    c->gone = NULL;
}

/* connect(2): AF_UNSPEC dissolves the association, for TCP by a reset. */
static void reset(int fd)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    if (connect(fd, &nobody, sizeof nobody) < 0)
        shutdown(fd, SHUT_RDWR);
}

void conn_cut(struct conn *c)
{
    if (c->fd >= 0 && c->unframed)
        reset(c->fd);
    else if (c->fd >= 0)
        shutdown(c->fd, SHUT_RDWR);
    c->cut = true;
    pthread_cond_broadcast(&c->idle);
}

/* With c->lock held. */
static void show_out(struct conn *c)
{
    enum conn_phase phase = phase_of(c);

    c->shown_out = true;
    c->late = phase == CONN_HEAD || phase == CONN_BODY;
    if (phase == CONN_WRITING)
        conn_cut(c);
    else
        shutdown(c->fd, SHUT_RD);
}

/* With c->lock held. What has just arrived on an idle connection is a request, not idleness. */
static bool may_be_shown_out(const struct conn *c)
{
    enum conn_phase phase = phase_of(c);

    return c->fd >= 0 && !c->shown_out && phase != CONN_ANSWER && !(phase == CONN_IDLE && has_input(c->fd));
}

/* With all->lock held: the one that has waited longest for its client. */
static void make_room(struct conns *all)
{
    struct conn *longest = NULL;
    int64_t since = INT64_MAX;

    for (struct conn *c = all->first; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        if (c->since_ms < since && may_be_shown_out(c)) {
            longest = c;
            since = c->since_ms;
        }
        pthread_mutex_unlock(&c->lock);
    }
    if (!longest)
        return;
    pthread_mutex_lock(&longest->lock);
    if (may_be_shown_out(longest))
        show_out(longest);
    pthread_mutex_unlock(&longest->lock);
}

struct conn *conn_new(struct conns *all)
{
    struct conn *c = xcalloc(1, sizeof *c);
    pthread_condattr_t attr;

    c->all = all;
    c->refs = 1;
    c->fd = -1;
    c->since_ms = clock_ms();
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->idle, &attr);
    pthread_condattr_destroy(&attr);

    pthread_mutex_lock(&all->lock);
    if (++all->count > all->limit)
        make_room(all);
    c->next = all->first;
    if (c->next)
        c->next->prev = c;
    all->first = c;
    pthread_mutex_unlock(&all->lock);
    return c;
}

void conn_ref(struct conn *c)
{
    c->refs++;
}

void conn_unref(struct conn *c)
{
    pthread_mutex_lock(&c->lock);
    int left = --c->refs;
    pthread_mutex_unlock(&c->lock);
    if (left)
        return;
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->idle);
    free(c);
}

void conn_close(struct conn *c)
{
    struct conns *all = c->all;

    pthread_mutex_lock(&all->lock);
    *(c->prev ? &c->prev->next : &all->first) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    all->count--;
    pthread_mutex_unlock(&all->lock);

    pthread_mutex_lock(&c->lock);
    c->closed = true;
    c->fd = -1;
    conn_gone(c);
    pthread_mutex_unlock(&c->lock);
    conn_unref(c);
}

void conn_enter(struct conn *c, enum conn_phase phase)
{
    pthread_mutex_lock(&c->lock);
    if (c->phase != phase) {
        c->phase = phase;
        c->since_ms = clock_ms();
    }
    pthread_mutex_unlock(&c->lock);
}

void conn_writing(struct conn *c, bool writing)
{
    pthread_mutex_lock(&c->lock);
    c->writing = writing;
    c->since_ms = clock_ms();
    pthread_mutex_unlock(&c->lock);
}

void conn_in_hand(struct conn *c, bool in_hand)
{
    pthread_mutex_lock(&c->lock);
    c->in_hand = in_hand;
    c->since_ms = clock_ms();
    pthread_mutex_unlock(&c->lock);
}

void conn_is_idle(struct conn *c)
{
    pthread_mutex_lock(&c->lock);
    c->busy = c->writing = false;
    c->since_ms = clock_ms();
    pthread_cond_broadcast(&c->idle);
    pthread_mutex_unlock(&c->lock);
}

static struct timespec after_ms(int64_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

bool conn_wait_idle(struct conn *c)
{
    bool gone = false;

    pthread_mutex_lock(&c->lock);
    while (c->busy && !c->cut && !gone) {
        struct timespec until = after_ms(LOOK_AROUND_MS);
        pthread_cond_timedwait(&c->idle, &c->lock, &until);
        gone =
            c->busy && (atomic_load(&c->all->stopping) || (c->fd >= 0 && !c->shown_out && peer_gone(c->fd)));
    }
    gone |= c->cut;
    pthread_mutex_unlock(&c->lock);
    return !gone;
}

/* With c->lock held. */
static bool is_overdue(const struct conns *all, const struct conn *c, int64_t now)
{
    int64_t patience = 0;

    switch (phase_of(c)) {
    case CONN_IDLE:
        patience = all->keep_alive_ms;
        break;
    case CONN_HEAD:
        patience = all->head_ms;
        break;
    case CONN_BODY:
        patience = all->body_ms;
        break;
    case CONN_WRITING:
        patience = HTTP_WRITING_MS;
        break;
    case CONN_ANSWER:
    case CONN_LINGER:
        return false; /* they have ends of their own */
    }
    return now - c->since_ms > patience;
}

void conns_sweep(struct conns *all, int64_t now_ms)
{
    int leaving = 0;

    pthread_mutex_lock(&all->lock);
    for (struct conn *c = all->first; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        if (is_overdue(all, c, now_ms) && may_be_shown_out(c))
            show_out(c);
        leaving += c->shown_out;
        pthread_mutex_unlock(&c->lock);
    }
    /* Whoever came when all were at work, and stopped reading later. */
    for (int i = all->limit + leaving; i < all->count; i++)
        make_room(all);
    pthread_mutex_unlock(&all->lock);
}

void conns_stop(struct conns *all)
{
    atomic_store(&all->stopping, true);
    pthread_mutex_lock(&all->lock);
    for (struct conn *c = all->first; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        if (c->unframed)
            conn_cut(c);
        else if (c->fd >= 0)
            shutdown(c->fd, SHUT_RD);
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&all->lock);
}
