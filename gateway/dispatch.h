/*
 * dispatch.h - the I/O thread: questions to workers, answers to clients, events to telemetry
 *
 * Promise  P1: every ask that was submitted is answered exactly once. A worker that dies (its connection
 *          ends) or goes silent for JOB_SILENCE_MS gives its jobs back; they go to another worker,
 *          within their deadline and at most JOB_DISPATCHES_MAX times, unless a part of the answer has gone out. P6: an ask whose client has left
 *          is cancelled at its worker at once. P7: an ask that finds no worker within the queue timeout
 *          is 503.
 * Owner    dispatch_submit() takes the ask. The notes are the dispatch's.
 *          With a cache or single flight (cache.h, flight.h) an ask that is the same as another one gets that one's
 *          answer, in a trace of its own.
 * Limits   a client that does not take its stream pauses it at its worker; what waits for it is bounded by http.h.
 * Threads  dispatch_submit(), dispatch_gone() and dispatch_facts() any; the rest the loop's thread.
 * Units    milliseconds of clock_ms() for deadlines.
 */
#ifndef ATALAYA_GATEWAY_DISPATCH_H
#define ATALAYA_GATEWAY_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/proc/loop.h"
#include "common/wire/event.h"
#include "gateway/admission.h"
#include "gateway/ask.h"
#include "gateway/conf.h"
#include "gateway/models.h"
#include "gateway/notes.h"

struct dispatch;

/* What /health tells, as the I/O thread last saw it. */
struct dispatch_facts {
    int workers;
    bool openai_configured;
    bool upstreams_down; /* no worker has an upstream to ask: all of them only fail */
    bool langfuse_enabled;
    bool telemetry;
};

int dispatch_new(struct dispatch **out, struct loop *l, const struct gateway_conf *conf,
                 struct admission *a) NODISCARD;
void dispatch_free(struct dispatch *d);

void dispatch_submit(struct dispatch *d, struct ask *a); /* a->promise is set */
void dispatch_gone(void *ask);                           /* the `gone` callback of a->promise */
void dispatch_taken(void *ask);                          /* the `taken` callback of a->stream */

struct notes *dispatch_notes(struct dispatch *d);
struct models *dispatch_models(struct dispatch *d);
struct dispatch_facts dispatch_facts(const struct dispatch *d);

/* No new asks come any more: calls fn when all are answered and telemetry has every event. What is not answered at
 * `deadline` is given up. */
void dispatch_drain(struct dispatch *d, int64_t deadline, void (*fn)(void *arg), void *arg);

/* Answers whatever is left with 503, now. */
void dispatch_give_up(struct dispatch *d);

#endif
