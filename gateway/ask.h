/*
 * ask.h - one question on its way through the gateway
 *
 * Purpose  everything known about a question between its HTTP request and its record in telemetry.
 *
 * Life     ask_new() on the connection's thread -> inbox -> the I/O thread owns it:
 *
 *              WAITING --dispatch--> HELD --done/failed--> finish
 *                 ^                   |
 *                 +---worker lost-----+
 *
 *          With single flight an ask may FOLLOW another one that is the same (flight.h).
 *
 *          An ask is answered once (`promise` and `stream` become NULL) and freed when it is answered, its worker has
 *          nothing more to say about it, and no note of the client's leaving is still in the inbox.
 * Owner    ask_free() by the I/O thread. All strings are its own.
 * Threads  one after the other: connection's thread until it is pushed, then the I/O thread; only
 *          `gone_node` is pushed by the connection's thread later.
 */
#ifndef ATALAYA_GATEWAY_ASK_H
#define ATALAYA_GATEWAY_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/id.h"
#include "common/proc/loop.h"
#include "common/wire/event.h"
#include "gateway/admission.h"
#include "gateway/caller.h"
#include "gateway/confirm.h"
#include "gateway/correlation.h"
#include "gateway/http.h"
#include "gateway/inbox.h"
#include "gateway/same.h"
#include "gateway/validate.h"

struct worker;

enum ask_state { ASK_WAITING, ASK_HELD, ASK_FOLLOWING, ASK_CONFIRMING, ASK_FINISHED };

/* The last word to the client, when it waits for the commit of its record (confirm.h). */
struct answer_hold {
    bool wanted; /* it is to wait */
    bool held;   /* it does */
    struct reply reply;
    struct buf body; /* the reply's; of a stream: its last piece */
    bool good;       /* of a stream: the client has what it asked for */
};

struct ask {
    struct inbox_node submit_node;
    struct inbox_node gone_node;
    struct dispatch *dispatch;

    struct caller caller;
    char trace_id[ID_TRACE_SIZE]; /* the caller's where it brings one */
    char generation_id[ID_SPAN_SIZE];
    char parent_id[ID_SPAN_SIZE]; /* the caller's span; "" = none */
    struct ask_input input;       /* strings owned by this ask */
    struct buf headers;           /* of the answer, complete lines */
    int64_t start_wall_us;
    int64_t deadline_ms; /* clock_ms() */

    /* the I/O thread's */
    enum ask_state state;
    uint64_t id;
    struct admission *admission;  /* left when it is answered */
    struct http_promise *promise; /* NULL: answered, or a stream has begun */
    struct http_stream *stream;   /* NULL: none is open */
    struct buf partial;           /* what the client has been given of a streamed answer */
    bool begun;                   /* that is something: no other worker can go on with it */
    bool paused;                  /* the client takes no more for now */
    int64_t first_token_us;       /* from start to the first piece of a stream */
    int64_t put_ms;               /* when something last went out on the stream */
    struct loop_timer heartbeat;
    bool has_same; /* answers are shared: `same` is set */
    struct same same;
    const char *cache; /* where its answer came from: "hit", "shared"; NULL: the provider */
    bool leads;        /* others may follow it */
    struct ask *next_leader, *leader, *followers, *last_follower;
    bool gone;       /* the client left before its answer, so gone_node is or was in the inbox */
    bool left;       /* the client left before it had its answer */
    bool late;       /* its time was over before it was answered */
    bool gone_noted; /* gone_node has come out of it */
    int status;      /* sent to the client; 0 = none */
    struct answer_hold hold;
    struct confirm_wait wait;
    struct worker *worker;   /* which holds it */
    struct ask *prev, *next; /* in the worker's list or in the queue */
    struct loop_timer timer;
    int dispatches;
    int64_t queue_us;
};

/* traceparent: the caller's, NULL when it has sent none. */
struct ask *ask_new(struct dispatch *d, const struct ask_input *input, const struct caller *caller,
                    const struct traceparent *parent);
void ask_free(struct ask *a);

#endif
