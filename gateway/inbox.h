/*
 * inbox.h - the way from the HTTP threads to the I/O thread
 *
 * Purpose  many pushers, one taker: a lock-free stack that the taker empties at once (performance.md:
 *          measured best). Only the push that finds it empty writes the eventfd.
 * Owner    a node lives inside the object that is handed over; with the push that object belongs to the
 *          taker.
 * Threads  inbox_push() any; inbox_take() the I/O thread.
 */
#ifndef ATALAYA_GATEWAY_INBOX_H
#define ATALAYA_GATEWAY_INBOX_H

#include <stdatomic.h>

struct inbox_node {
    struct inbox_node *next;
    void (*fn)(void *owner); /* what the taker does with it */
    void *owner;
};

struct inbox {
    _Atomic(struct inbox_node *) top;
    int eventfd;
};

void inbox_init(struct inbox *in);
void inbox_close(struct inbox *in);
void inbox_push(struct inbox *in, struct inbox_node *n);
struct inbox_node *inbox_take(struct inbox *in); /* all of them, oldest first; NULL when there is none */

#endif
