/*
 * zsock.h - the ZeroMQ sockets we use: a ROUTER that binds, a DEALER that connects
 *
 * Purpose  the only file of a process that includes zmq.h. Every call is non-blocking.
 * Owner    zsock_close() closes; zwire_free() waits up to a second for messages that are still on their way
 *          out. A received message is the caller's until zmsg_free().
 * Threads  one thread per socket; zwire_new() once per process.
 * Errors   0 or -errno. zsock_send(): -EAGAIN queue full or nobody connected (DEALER), -EHOSTUNREACH the
 *          peer of this route is gone (ROUTER).
 * Limits   WIRE_MESSAGE_MAX; a larger message closes the peer's connection.
 *
 * Waiting  zsock_fd() becomes readable on an edge only: register it with a loop for EPOLLIN and read
 *          until -EAGAIN in a loop_hook before every sleep (the descriptor alone misses messages that
 *          arrive during a send).
 */
#ifndef ATALAYA_WIRE_ZSOCK_H
#define ATALAYA_WIRE_ZSOCK_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/str.h"

struct zwire; /* the process's ZeroMQ context */
struct zsock;

#define ZROUTE_MAX 64

/* The address of a peer on a ROUTER. */
struct zroute {
    uint8_t n;
    char id[ZROUTE_MAX];
};

struct zmsg {
    struct zroute route; /* of the sender; n = 0 on a DEALER */
    struct str body;
    void *hold;
};

struct zwire *zwire_new(void);
void zwire_free(struct zwire *w); /* after the sockets are closed */

/* queue: messages that wait for each peer in each direction, JOB_QUEUE or EVENT_QUEUE. */
int zsock_router(struct zwire *w, const char *endpoint, int queue, struct zsock **out) NODISCARD;
int zsock_dealer(struct zwire *w, const char *endpoint, int queue, struct zsock **out) NODISCARD;
void zsock_close(struct zsock *s);
int zsock_fd(const struct zsock *s);
int zsock_send(struct zsock *s, const struct zroute *to,
               struct str body) NODISCARD; /* to is NULL on a DEALER */
int zsock_recv(struct zsock *s, struct zmsg *m) NODISCARD;
void zmsg_free(struct zmsg *m);

#endif
