/*
 * sender.h - answers on their way out, to clients that read slowly or not at all
 *
 * Purpose  most answers go out with one send(2). What does not is finished by the connection's own thread
 *          (sender_write) or by the loop (sender_send), and the connection counts as writing meanwhile: it may be
 *          shown out when threads are short (conn.h).
 * Owner    sender_send() takes `out`.
 * Threads  as named.
 * Limits   HTTP_SLOW_MS without a byte taken, HTTP_WRITING_MS altogether
 */
#ifndef ATALAYA_GATEWAY_SENDER_H
#define ATALAYA_GATEWAY_SENDER_H

#include "common/proc/loop.h"
#include "gateway/conn.h"

/* The connection's thread. False: the client did not take all of it. */
bool sender_write(struct conn *c, struct str bytes) NODISCARD;

enum sender_result {
    SENDER_DONE,
    SENDER_LATER,  /* the loop goes on with it, and calls `done` at the end */
    SENDER_BROKEN, /* the connection is */
};

/* The loop's thread, with the connection locked. The connection stays busy until it is done. */
enum sender_result sender_send(struct loop *l, struct conn *c, struct buf *out, void (*done)(void *arg),
                               void *arg) NODISCARD;

#endif
