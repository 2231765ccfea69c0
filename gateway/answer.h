/*
 * answer.h - what the client is told: an answer in one piece, a stream of events, an error in the form of its API
 *
 * Purpose  a question's answer is owed until it is given once: whole, as the end of a stream, or as an error. As long as
 *          nothing of a stream has gone out, an error is a status; later it is an event.
 *
 *          A stream of /ask has events "delta" {"text"}, then "done" or "error"; one of /v1/chat/completions carries the
 *          provider's own. Comments keep it alive while the model thinks.
 *
 * Owner    the ask is the caller's; its promise and its stream are given back here.
 * Threads  the I/O thread.
 * Source   https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
#ifndef ATALAYA_GATEWAY_ANSWER_H
#define ATALAYA_GATEWAY_ANSWER_H

#include <stdbool.h>

#include "common/wire/job.h"
#include "gateway/ask.h"

bool answer_is_owed(const struct ask *a);

/* The answer, or the end of a streamed one. */
void answer_done(struct ask *a, const struct job *result);

/* None. detail: for a client of /ask; the result's error and text say more, its body is what a chat completion's client
 * is given. */
void answer_failure(struct ask *a, int status, const char *detail, const struct job *result);

/* Both keep back the whole answer, or a stream's end, when a->hold wants it: then this lets it go. */
void answer_release(struct ask *a);

/* The client has left: nothing can be told any more. */
void answer_nobody(struct ask *a);

/* The next piece of a stream; also one that has been begun by nothing but comments. HTTP_LOST: the client is gone, and
 * answer_nobody() has been called. HTTP_FULL: it does not take more now; dispatch_taken() says when it does. */
enum http_room answer_piece(struct ask *a, const struct job *chunk);

/* A comment, where nothing has gone out for a while; begins the stream where it has not begun. */
enum http_room answer_heartbeat(struct ask *a);

#endif
