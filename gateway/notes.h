/*
 * notes.h - what the HTTP threads tell telemetry, by way of the I/O thread
 *
 * Purpose  every HTTP request becomes one event and one log line. Those to /ask become theirs in dispatch.h;
 *          the others are answered by their own threads, which leave a note.
 * Owner    notes_…() copy what they are given, and take the promise of a scrape.
 * Threads  any but notes_init() and notes_ask(): the loop's.
 */
#ifndef ATALAYA_GATEWAY_NOTES_H
#define ATALAYA_GATEWAY_NOTES_H

#include <stdatomic.h>

#include "common/base/accept.h"
#include "common/wire/event.h"
#include "common/wire/sink.h"
#include "gateway/caller.h"
#include "gateway/confirm.h"
#include "gateway/feedback.h"
#include "gateway/http.h"
#include "gateway/inbox.h"
#include "gateway/userhash.h"

struct notes {
    struct inbox *inbox;
    struct sink *sink;
    struct confirm confirm;
    const struct userhash *users;
    atomic_int in_progress; /* HTTP requests being handled, for app_requests_in_progress */
};

void notes_init(struct notes *n, struct inbox *inbox, struct sink *sink, const struct userhash *users,
                int64_t ack_timeout_ms);

/* A request is being handled; one of the others says that it is no more. */
void notes_begin(struct notes *n);

/* It has been answered. error: a machine word for the log, NULL = none. */
void notes_request(struct notes *n, const struct caller *c, int status, const char *error);

/* What was no request has been answered, and logged: it only counts. */
void notes_refused(struct notes *n, const struct caller *c, int status);

/* The client has scored a trace. */
void notes_feedback(struct notes *n, const struct caller *c, const struct feedback *f, const char *score_id);

/* GET /metrics: fetches the exposition and keeps the promise with it. headers: of the answer. */
void notes_scrape(struct notes *n, struct http_promise *p, const struct caller *c, enum metrics_format format,
                  struct str headers);

/* A question has been answered, and nobody has anything more to say about it. */
void notes_ask(struct notes *n, const struct event *e, const struct caller *c);

/* It is going to be, when fn is called. */
void notes_held_ask(struct notes *n, const struct event *e, const struct caller *c, struct confirm_wait *w,
                    void (*fn)(void *arg), void *arg);

#endif
