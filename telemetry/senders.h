/*
 * senders.h - who sends events, and how far we have taken them
 *
 * Purpose  telemetry's end of go-back-N (common/wire/event.h): per sender's life (epoch) the last event that was
 *          taken. Pure: no I/O, time comes from the caller.
 * Owner    a struct sender is valid until the next senders_get().
 * Threads  one.
 * Limits   EVENT_SENDERS_MAX lives; the one that has been silent for longest goes.
 * Units    milliseconds of clock_ms().
 */
#ifndef ATALAYA_TELEMETRY_SENDERS_H
#define ATALAYA_TELEMETRY_SENDERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/wire/zsock.h"

struct sender {
    uint64_t epoch;     /* 0: free */
    uint64_t last;      /* greatest seq taken */
    uint64_t committed; /* greatest seq that may be acknowledged */
    struct zroute route;
    int64_t heard_at;
    bool moved; /* last is not saved yet */
    bool owed;  /* waits for an acknowledgement */
};

struct senders;

enum sender_verdict { SENDER_TAKE, SENDER_DUPLICATE, SENDER_GAP };

struct senders *senders_new(void);
void senders_free(struct senders *t);

struct sender *senders_get(struct senders *t, uint64_t epoch, int64_t now); /* made when it is new */
void senders_restore(struct senders *t, uint64_t epoch, uint64_t last);

/* Everything below base that we have not seen is gone: returns how many that were. */
uint64_t sender_base(struct sender *s, uint64_t base);
enum sender_verdict sender_offer(struct sender *s, uint64_t seq);

/* for (struct sender *s = NULL; (s = senders_next(t, s)) != NULL;) */
struct sender *senders_next(struct senders *t, struct sender *after);

#endif
