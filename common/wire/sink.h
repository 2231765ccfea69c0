/*
 * sink.h - the sending end of the events wire
 *
 * Purpose  takes finished events from a process and gets them to telemetry: batched, acknowledged,
 *          re-sent.
 * Promise  P2, P5: sink_put() never blocks and never fails; an event is kept until telemetry has
 *          committed it or the buffer is full, when the oldest goes and telemetry is told how many.
 *          Who wants to know when it is committed is told, or that it has taken too long.
 * Owner    the event's strings are copied before sink_put() returns.
 * Threads  the loop's thread.
 * Limits   EVENT_BUFFER_MAX, EVENT_FLUSH_MS, EVENT_RESEND_MS, WIRE_BATCH_BYTES
 */
#ifndef ATALAYA_WIRE_SINK_H
#define ATALAYA_WIRE_SINK_H

#include <stdbool.h>

#include "common/base/accept.h"
#include "common/proc/loop.h"
#include "common/wire/event.h"
#include "common/wire/zsock.h"

struct sink;

int sink_new(struct sink **out, struct loop *l, struct zwire *w, const char *endpoint,
             const char *process) NODISCARD;
void sink_free(
    struct sink
        *s); /* gives the unacknowledged events up, and tells those who wait for one or for a scrape */

void sink_put(struct sink *s, const struct event *e);
/* The latest values win; not kept. */
void sink_gauges(struct sink *s, const struct event_gauges *g);
void sink_in_progress(struct sink *s, uint64_t n); /* one of them */

/* The same, and fn hears once whether telemetry has committed it: false when it has not by `deadline` (ms of clock_ms(),
 * never earlier than that of the call before), when the event cannot be kept, perhaps before the call returns, or at
 * sink_release(). The event stays in the buffer all the same and goes without waiting for company. */
typedef void sink_confirmed(void *arg, bool committed);
void sink_put_notify(struct sink *s, const struct event *e, int64_t deadline, sink_confirmed *fn, void *arg);
void sink_release(struct sink *s); /* whoever waits for that is told now */

/* The same for how the upstreams do; copied. */
void sink_upstreams(struct sink *s, const struct event_upstream *list, size_t n);

/* Asks telemetry for its exposition. fn gets the text (borrowed) and the format that it came in, or a NULL text when
 * telemetry has not answered by `deadline` (ms, absolute). Several may be outstanding. */
typedef void sink_exposition(void *arg, struct str text, enum metrics_format format);
void sink_scrape(struct sink *s, enum metrics_format wanted, int64_t deadline, sink_exposition *fn,
                 void *arg);

bool sink_telemetry_alive(const struct sink *s);   /* heard within the last few seconds */
bool sink_telemetry_awaited(const struct sink *s); /* or not even we are that old */
bool sink_langfuse_enabled(const struct sink *s);  /* as telemetry last said */
bool sink_empty(const struct sink *s);             /* everything acknowledged */

/* Calls fn (once) when everything has been acknowledged. For draining. */
void sink_on_empty(struct sink *s, void (*fn)(void *arg), void *arg);

#endif
