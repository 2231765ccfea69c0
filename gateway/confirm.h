/*
 * confirm.h - answers that wait until their record is on disk (TELEMETRY_ACK=before-answer)
 *
 * Purpose  puts a question's event and says when its answer may go out: telemetry has committed it, or has not within
 *          the timeout. With TELEMETRY_ACK=async nothing waits and none of this is called.
 * Promise  P2 also when the gateway is killed: who has an answer has a record. P5: a telemetry that has not been heard
 *          of for a while is not waited for at all; every answer that did not wait to the end is counted.
 * Owner    the wait lives in the caller's object until fn is called.
 * Threads  the loop's.
 */
#ifndef ATALAYA_GATEWAY_CONFIRM_H
#define ATALAYA_GATEWAY_CONFIRM_H

#include <stdint.h>

#include "common/wire/sink.h"

struct confirm {
    struct sink *sink;
    int64_t timeout_ms;
    uint64_t unconfirmed; /* not told yet */
};

struct confirm_wait {
    struct confirm *confirm;
    void (*fn)(void *arg);
    void *arg;
};

/* fn is called once, perhaps before the call returns. */
void confirm_put(struct confirm *c, const struct event *e, struct confirm_wait *w, void (*fn)(void *arg),
                 void *arg);

/* Tells telemetry of those that went out without. Several a second do, and once at the end. */
void confirm_tell(struct confirm *c);

#endif
