#include "telemetry/exposition.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

#define PATIENCE_S 5

struct exposition {
    struct loop *loop;
    struct loop_io io; /* an eventfd: somebody has asked */
    exposition_fill *fill;
    void *arg;

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t made_more;
    uint64_t asked, made; /* every question up to number `made` has its page */
    bool wanted[EXPOSITION_PAGES];
    struct buf pages[EXPOSITION_PAGES];
    bool closed;
};

static void make(void *arg, uint32_t events)
{
    struct exposition *x = arg;
    struct buf fresh[EXPOSITION_PAGES];
    bool wanted[EXPOSITION_PAGES];
    eventfd_t ignored;

    (void)events;
    if (eventfd_read(x->io.fd, &ignored) < 0)
        return;
    pthread_mutex_lock(&x->lock);
    uint64_t upto = x->asked;
    memcpy(wanted, x->wanted, sizeof wanted);
    memset(x->wanted, 0, sizeof x->wanted);
    pthread_mutex_unlock(&x->lock);

    for (unsigned i = 0; i < EXPOSITION_PAGES; i++) {
        fresh[i] = BUF_INIT(METRIC_PAGE_MAX);
        if (wanted[i])
            x->fill(x->arg, i, &fresh[i]);
    }

    pthread_mutex_lock(&x->lock);
    for (unsigned i = 0; i < EXPOSITION_PAGES; i++) {
        if (!wanted[i])
            continue;
        buf_free(&x->pages[i]);
        x->pages[i] = fresh[i];
    }
    x->made = upto;
    pthread_cond_broadcast(&x->made_more);
    pthread_mutex_unlock(&x->lock);
}

int exposition_new(struct exposition **out, struct loop *l, exposition_fill *fill, void *arg)
{
    struct exposition *x = xcalloc(1, sizeof *x);
    pthread_condattr_t attr;

    x->loop = l;
    x->fill = fill;
    x->arg = arg;
    pthread_mutex_init(&x->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&x->made_more, &attr);
    pthread_condattr_destroy(&attr);
    x->io = (struct loop_io){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .fn = make, .arg = x};
    int rc = x->io.fd < 0 ? -errno : loop_io_set(l, &x->io, EPOLLIN);
    if (rc < 0) {
        exposition_free(x);
        return rc;
    }
    *out = x;
    return 0;
}

void exposition_close(struct exposition *x)
{
    if (!x)
        return;
    pthread_mutex_lock(&x->lock);
    x->closed = true;
    pthread_cond_broadcast(&x->made_more);
    pthread_mutex_unlock(&x->lock);
}

void exposition_free(struct exposition *x)
{
    if (!x)
        return;
    loop_io_clear(x->loop, &x->io);
    if (x->io.fd >= 0)
        close(x->io.fd);
    for (int i = 0; i < EXPOSITION_PAGES; i++)
        buf_free(&x->pages[i]);
    pthread_cond_destroy(&x->made_more);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

int exposition_get(struct exposition *x, unsigned page, struct buf *out)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&x->lock);
    uint64_t mine = ++x->asked;
    x->wanted[page] = true;
    if (eventfd_write(x->io.fd, 1) < 0)
        rc = errno;
    while (rc == 0 && x->made < mine && !x->closed)
        rc = pthread_cond_timedwait(&x->made_more, &x->lock, &until);
    if (x->made >= mine) {
        rc = 0;
        buf_append(out, x->pages[page].data, x->pages[page].len);
    } else if (rc == 0) {
        rc = ESHUTDOWN;
    }
    pthread_mutex_unlock(&x->lock);
    return -rc;
}
