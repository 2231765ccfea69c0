/*
 * gauges.h - how the gateways stand, all of them together
 *
 * Purpose  keeps what each sender has last said of itself and shows the sum; of a breaker the worst. Whoever has been
 *          silent for EVENT_SILENCE_MS is left out: it handles nothing any more.
 * Owner    texts are copied.
 * Threads  the loop's.
 * Limits   GAUGE_SENDERS_MAX senders; the one that has been silent for longest goes.
 * Units    milliseconds of clock_ms().
 */
#ifndef ATALAYA_TELEMETRY_GAUGES_H
#define ATALAYA_TELEMETRY_GAUGES_H

#include "common/wire/event.h"
#include "telemetry/metrics.h"

struct gauges;

struct gauges *gauges_new(void);
void gauges_free(struct gauges *g);

void gauges_take(struct gauges *g, const struct event *e, int64_t now); /* of kind gauges or scrape */
void gauges_show(const struct gauges *g, struct metrics *m, int64_t now);

#endif
