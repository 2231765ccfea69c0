#include "common/proc/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/mem.h"

#define EVENTS_PER_TURN 256

struct loop {
    int epoll;
    bool stop;
    int64_t now;
    struct loop_hook *hooks;
    struct loop_timer **heap; /* binary heap by `at`; index 0 is the earliest */
    size_t n, cap;
    struct epoll_event ready[EVENTS_PER_TURN];
    int n_ready; /* of ready[]: a cleared io must not be called any more in this turn */
};

struct loop *loop_new(void)
{
    struct loop *l = xcalloc(1, sizeof *l);

    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0)
        abort();
    l->now = clock_ms();
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    close(l->epoll);
    free(l->heap);
    free(l);
}

void loop_stop(struct loop *l)
{
    l->stop = true;
}

int64_t loop_now(const struct loop *l)
{
    return l->now;
}

int loop_io_set(struct loop *l, struct loop_io *io, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = io};

    if (events == io->events)
        return 0;
    if (events == 0) {
        loop_io_clear(l, io);
        return 0;
    }
    if (epoll_ctl(l->epoll, io->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, io->fd, &e) < 0)
        return -errno;
    io->events = events;
    return 0;
}

void loop_io_clear(struct loop *l, struct loop_io *io)
{
    if (!io->events)
        return;
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, io->fd, NULL);
    io->events = 0;
    for (int i = 0; i < l->n_ready; i++)
        if (l->ready[i].data.ptr == io)
            l->ready[i].data.ptr = NULL;
}

/* The heap: children of i are 2i+1 and 2i+2; every move updates the timer's place. */
static void put(struct loop *l, size_t i, struct loop_timer *t)
{
    l->heap[i] = t;
    t->place = i + 1;
}

static void up(struct loop *l, size_t i)
{
    struct loop_timer *t = l->heap[i];

    for (; i > 0 && l->heap[(i - 1) / 2]->at > t->at; i = (i - 1) / 2)
        put(l, i, l->heap[(i - 1) / 2]);
    put(l, i, t);
}

static void down(struct loop *l, size_t i)
{
    struct loop_timer *t = l->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= l->n)
            break;
        if (child + 1 < l->n && l->heap[child + 1]->at < l->heap[child]->at)
            child++;
        if (l->heap[child]->at >= t->at)
            break;
        put(l, i, l->heap[child]);
        i = child;
    }
    put(l, i, t);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t at)
{
    t->at = at;
    if (t->place) {
        up(l, t->place - 1);
        down(l, t->place - 1);
        return;
    }
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->heap = xrealloc(l->heap, l->cap * sizeof *l->heap);
    }
    put(l, l->n++, t);
    up(l, l->n - 1);
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
    if (!t->place)
        return;
    size_t i = t->place - 1;
    assert(i < l->n && l->heap[i] == t);
    t->place = 0;
    struct loop_timer *last = l->heap[--l->n];
    if (last == t)
        return;
    put(l, i, last);
    up(l, i);
    down(l, last->place - 1);
}

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
    struct loop_hook **at = &l->hooks;

    while (*at)
        at = &(*at)->next;
    h->next = NULL;
    *at = h;
}

static bool run_hooks(struct loop *l)
{
    bool worked = false;

    for (struct loop_hook *h = l->hooks; h; h = h->next)
        if (h->fn(h->arg))
            worked = true;
    return worked;
}

/* Timers that were due when the turn began: one that sets itself again for now waits for the next turn. */
static void run_timers(struct loop *l)
{
    for (size_t most = l->n; most > 0 && l->n > 0 && l->heap[0]->at <= l->now; most--) {
        struct loop_timer *t = l->heap[0];
        loop_timer_clear(l, t);
        t->fn(t->arg);
    }
}

static int sleep_ms(const struct loop *l)
{
    if (l->n == 0)
        return -1;
    int64_t ms = l->heap[0]->at - clock_ms();
    return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

void loop_run(struct loop *l)
{
    l->stop = false;
    while (!l->stop) {
        bool worked = run_hooks(l);
        if (l->stop)
            break;
        int n = epoll_wait(l->epoll, l->ready, EVENTS_PER_TURN, worked ? 0 : sleep_ms(l));
        if (n < 0 && errno != EINTR)
            abort();
        l->now = clock_ms();
        l->n_ready = n;
        for (int i = 0; i < n; i++) {
            struct loop_io *io = l->ready[i].data.ptr;
            if (io)
                io->fn(io->arg, l->ready[i].events);
        }
        l->n_ready = 0;
        run_timers(l);
    }
}
