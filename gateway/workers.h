/*
 * workers.h - the workers that the gateway knows, and what each of them holds
 *
 * Purpose  who is alive, who has room, what goes back into the queue when one is lost.
 * Owner    a worker lives from its first message until it is lost; its asks are borrowed.
 * Threads  the I/O thread.
 */
#ifndef ATALAYA_GATEWAY_WORKERS_H
#define ATALAYA_GATEWAY_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/limits.h"
#include "common/wire/job.h"
#include "common/wire/zsock.h"

struct ask;

struct worker {
    struct worker *next;
    struct zroute route;
    uint64_t pid;
    int64_t heard_ms;
    uint64_t slots;
    uint64_t held;    /* jobs it has not finished */
    struct ask *asks; /* the same as a list */
    bool configured;
    bool down;                                      /* none of its upstreams can be asked */
    struct event_upstream upstreams[UPSTREAMS_MAX]; /* as it last said; its texts are in the next two */
    char upstream_names[UPSTREAMS_MAX][UPSTREAM_NAME_MAX + 1];
    char upstream_models[UPSTREAMS_MAX][CHAT_MODEL_MAX + 1];
    size_t n_upstreams;
    bool leaving;
    const char *lost; /* why it cannot be reached any more; NULL: it can */
    struct buf out;   /* entries for the next message to it; beyond WIRE_BATCH_BYTES it takes no more jobs */
};

struct workers {
    struct worker *first;
};

struct worker *workers_find(const struct workers *w, const struct zroute *route);
struct worker *workers_add(struct workers *w, const struct zroute *route);
void workers_remove(struct workers *w, struct worker *gone); /* holds no asks any more; freed */

/* The one with the fewest jobs among those that have a free slot, are not leaving and can be reached, rather one that
 * has an upstream to ask; NULL = none. */
struct worker *workers_least_loaded(const struct workers *w);

enum worker_state worker_state(const struct worker *w);

/* What its beat says of its upstreams is copied. */
void worker_learn_upstreams(struct worker *w, const struct list *upstreams);

/* Each upstream of all workers together: the worst state, the sum of the rest. The texts are the workers'. */
size_t workers_upstreams(const struct workers *w, struct event_upstream out[UPSTREAMS_MAX]);

void worker_hold(struct worker *w, struct ask *a);
void worker_release(struct worker *w, struct ask *a);
void worker_say(struct worker *w, const struct job *entry); /* goes out with the next flush */

#endif
