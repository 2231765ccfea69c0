/*
 * conn.h - the connections of clients: who is slow, who is idle, who is shown out when all threads are taken
 *
 * Purpose  a connection holds a thread, also while nothing comes in on it. So the gateway ends those that are
 *          idle or slow for too long, and beyond `limit` connections the one that has waited longest for its client: a
 *          crowd of silent or dripping clients cannot keep others out (P7). A connection that is owed an answer
 *          is never ended here, unless it does not read what it is given.
 *
 * How      whoever is shown out finds its input ended (its output, too, when it does not read). Its own thread sees
 *          that, says why, and closes.
 *
 * Owner    civetweb holds one reference of a conn, every promise another.
 * Threads  `lock` guards what stands below it; `framing` and `handled` belong to the connection's thread. conns_sweep():
 *          the loop's thread. Lock order: conns, then conn.
 * Units    milliseconds of clock_ms()
 */
#ifndef ATALAYA_GATEWAY_CONN_H
#define ATALAYA_GATEWAY_CONN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gateway/framing.h"

struct conns {
    pthread_mutex_t lock;
    struct conn *first;
    int count;
    int limit;
    int64_t head_ms, body_ms, keep_alive_ms, slow_ms;
    atomic_bool stopping; /* nobody keeps a promise any more */
};

/* What the connection waits for. */
enum conn_phase { CONN_IDLE, CONN_HEAD, CONN_BODY, CONN_ANSWER, CONN_WRITING, CONN_LINGER };

struct conn {
    struct conns *all;
    struct conn *prev, *next; /* guarded by all->lock */

    struct framing framing;
    uint64_t handled; /* requests that a handler has been given */

    pthread_mutex_t lock;
    pthread_cond_t idle; /* signalled when busy becomes false */
    int refs;
    int fd; /* -1: not known yet, or closed */
    bool closed;
    bool busy;             /* an answer is owed or still being sent */
    bool writing;          /* the client does not take its answer as fast as it could */
    bool in_hand;          /* a handler runs */
    bool shown_out;        /* we ended the input: its end says nothing about the client */
    bool late;             /* and it was in the middle of a request: 408 */
    bool cut;              /* we ended both ways: nothing can be answered here any more */
    bool unframed;         /* the answer ends with the connection: only a reset tells that it was cut */
    enum conn_phase phase; /* what comes in; see conn_phase() */
    int64_t since_ms;
    void (*gone)(void *arg); /* of the promise; NULL: there is none */
    void *gone_arg;
};

void conns_init(struct conns *all);
struct conn *conn_new(struct conns *all); /* linked in; shows somebody out when there are too many */
void conn_close(struct conn *c); /* its socket is about to be closed; calls `gone`; gives a reference back */
void conn_ref(struct conn *c);   /* with c->lock held */
void conn_unref(struct conn *c);

/* Notes what the connection waits for from now on. */
void conn_enter(struct conn *c, enum conn_phase phase);
void conn_writing(struct conn *c, bool writing);
void conn_in_hand(struct conn *c, bool in_hand);
void conn_is_idle(struct conn *c); /* nothing is owed any more */

/* With c->lock held. */
void conn_gone(struct conn *c); /* calls `gone` unless it has been */
void conn_cut(struct conn *c);  /* an answer that is not all out stays half; its client can tell */

/* Until nothing is owed; false: the client has left, or nothing will be answered any more. */
bool conn_wait_idle(struct conn *c);

void conns_sweep(struct conns *all, int64_t now_ms);
void conns_stop(struct conns *all); /* wakes every connection's thread for good */

#endif
