#include "gateway/inbox.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

void inbox_init(struct inbox *in)
{
    atomic_init(&in->top, NULL);
    in->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (in->eventfd < 0)
        abort();
}

void inbox_close(struct inbox *in)
{
    close(in->eventfd);
}

void inbox_push(struct inbox *in, struct inbox_node *n)
{
    uint64_t one = 1;
    struct inbox_node *top = atomic_load_explicit(&in->top, memory_order_relaxed);

    do
        n->next = top;
    while (!atomic_compare_exchange_weak_explicit(&in->top, &top, n, memory_order_release,
                                                  memory_order_relaxed));
    if (!top && write(in->eventfd, &one, sizeof one) != sizeof one)
        abort(); /* a counter of 64 bits does not overflow */
}

struct inbox_node *inbox_take(struct inbox *in)
{
    uint64_t count;
    struct inbox_node *oldest = NULL;

    if (!atomic_load_explicit(&in->top, memory_order_relaxed))
        return NULL;
    /* The counter first: a push behind the exchange below must find it cleared, or its wake-up would be lost.
     */
    if (read(in->eventfd, &count, sizeof count) < 0)
        count = 0;
    struct inbox_node *n = atomic_exchange_explicit(&in->top, NULL, memory_order_acquire);
    while (n) {
        struct inbox_node *older = n->next;
        n->next = oldest;
        oldest = n;
        n = older;
    }
    return oldest;
}
