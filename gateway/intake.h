/*
 * intake.h - what civetweb reads, and from whom
 *
 * Purpose  civetweb's library calls poll() and recv() by name and finds those of intake.c: they learn a connection's
 *          descriptor, which civetweb does not tell, pass what comes in through framing.h, and note what the connection
 *          waits for. On every other thread they are the C library's.
 * Threads  a connection's thread between intake_begin() and intake_end().
 */
#ifndef ATALAYA_GATEWAY_INTAKE_H
#define ATALAYA_GATEWAY_INTAKE_H

#include "gateway/conn.h"

void intake_begin(struct conn *c); /* what this thread reads from now on is this connection */
struct conn *intake_end(void);     /* nothing any more; returns it */
struct conn *intake_mine(void);    /* NULL: this thread serves nobody */

/* The handler has been given the next request: what comes in now belongs to it or to what follows. */
void intake_handled(struct conn *c);

#endif
