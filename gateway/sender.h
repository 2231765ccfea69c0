/*
 * sender.h - answers on their way out, to clients that read slowly or not at all
 *
 * Purpose  most answers go out with one send(2), and so do the pieces that an answer gets in one turn of the loop. What
 *          does not is sent by the loop when the client takes it, and the connection counts as writing meanwhile: it may
 *          be shown out when threads are short (conn.h).
 * Owner    the caller's; `out` is empty, and the sender in no list, after sender_drop(). `conn` is borrowed.
 * Threads  sender_write(): the connection's thread. The rest: the loop's.
 * Limits   conns.slow_ms without a byte taken; HTTP_WRITING_MS altogether once nothing is added any more
 */
#ifndef ATALAYA_GATEWAY_SENDER_H
#define ATALAYA_GATEWAY_SENDER_H

#include "common/base/buf.h"
#include "common/proc/loop.h"
#include "gateway/conn.h"

/* The connection's thread. False: the client did not take all of it. */
bool sender_write(struct conn *c, struct str bytes) NODISCARD;

/* All that have something to send. */
struct senders {
    struct loop *loop;
    struct sender *soon;     /* at the end of this turn */
    struct sender *waiting;  /* until their clients take more */
    struct loop_timer flush; /* ends the turn for `soon` */
};

enum sender_state {
    SENDER_IDLE,    /* all is out */
    SENDER_SOON,    /* it goes out at the end of this turn */
    SENDER_WAITING, /* the loop sends it as the client takes it, and calls `moved` */
    SENDER_BROKEN,  /* the connection is: what was left is dropped, and the conn's `gone` has been called */
};

struct sender {
    struct senders *all;
    struct conn *conn;
    struct buf
        out; /* what is to go out; add to it in any state but SENDER_BROKEN, then sender_soon() or _now() */
    bool grows;               /* more will be added: taking long is no offence */
    void (*moved)(void *arg); /* some of what waited is out, or it is broken; may free the sender */
    void *arg;

    enum sender_state state;
    struct loop_io
        io; /* while it waits: its own descriptor, because civetweb may close its one at any time */
    struct loop_timer patience;
    struct sender *next, **at; /* in a list of `all` */
};

void senders_init(struct senders *all, struct loop *l);
void senders_stop(struct senders *all); /* no connection is left: breaks all that wait */

void sender_soon(struct sender *s);
/* With the connection locked. */
enum sender_state sender_now(struct sender *s);
void sender_cut(struct sender *s); /* it and its connection are broken */
void sender_drop(struct sender *s);

#endif
