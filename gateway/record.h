/*
 * record.h - what is told about a finished request: one event for telemetry, one log line
 *
 * Threads  any for the log; the event goes to the sink of the I/O thread.
 */
#ifndef ATALAYA_GATEWAY_RECORD_H
#define ATALAYA_GATEWAY_RECORD_H

#include "common/wire/event.h"
#include "common/wire/job.h"
#include "gateway/ask.h"

/* The result is the worker's last word on the ask, or what stands in for it. Strings are borrowed from both.
 */
struct event record_of_ask(const struct ask *a, const struct job *result);

/* user: what the log may show of the user id. */
void record_log(const struct event *e, const struct caller *c, const char *user);

#endif
