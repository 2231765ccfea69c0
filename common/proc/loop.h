/*
 * loop.h - the event loop: descriptors, timers, and a look around before every sleep
 *
 * Purpose  one thread, one epoll; the only three things that wake a process are descriptors, timers and
 *          signals (a signalfd is a descriptor).
 * Owner    the loop owns nothing it is given: remove a descriptor before closing it, a timer before
 *          freeing it. Removing any of them from inside any callback is safe.
 * Threads  everything from the loop's thread, except loop_stop(), which is also safe in a callback only.
 * Units    milliseconds of clock_ms(), absolute.
 * Errors   registration 0 or -errno; running out of memory ends the process.
 */
#ifndef ATALAYA_PROC_LOOP_H
#define ATALAYA_PROC_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

struct loop;

/* A descriptor's registration lives in the caller's object. */
struct loop_io {
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT… as registered; 0 = not registered */
    void (*fn)(void *arg, uint32_t events);
    void *arg;
};

struct loop_timer {
    int64_t at;
    void (*fn)(void *arg);
    void *arg;
    size_t place; /* 1 + index in the heap; 0 = not set */
};

/* Called before every sleep until none of them reports work: drains what no descriptor announces (ZeroMQ). */
struct loop_hook {
    bool (*fn)(void *arg); /* true: something was done, ask again */
    void *arg;
    struct loop_hook *next;
};

struct loop *loop_new(void);
void loop_free(struct loop *l);
void loop_run(struct loop *l); /* until loop_stop() */
void loop_stop(struct loop *l);
int64_t loop_now(const struct loop *l); /* clock_ms() of this turn */

/* Registers, changes (also to 0: removes) what io waits for. io->fd, fn, arg are set by the caller before. */
int loop_io_set(struct loop *l, struct loop_io *io, uint32_t events) NODISCARD;
void loop_io_clear(struct loop *l, struct loop_io *io);

/* timer->fn, arg are set by the caller; setting a set timer moves it. It fires once. */
void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t at);
void loop_timer_clear(struct loop *l, struct loop_timer *t);

void loop_hook_add(struct loop *l, struct loop_hook *h);

#endif
