/*
 * refusal.h - what a destination says of what it refuses, and where that may be shown
 *
 * Purpose  such words help, and may repeat what was sent: our keys, a question, an answer.
 *          refusal_phrase() is for the log: the phrase of ours that they contain. refusal_clean() is for the spool, which
 *          has the record itself: without our keys. refusal_show() is for a terminal: without words of the record.
 * Promise  P8: neither a key nor anybody's words can be in what refusal_phrase() returns: it is a constant. No word of
 *          more than three bytes that is in one of the texts comes out of refusal_show().
 * Threads  pure.
 * Errors   the buf's `failed`.
 */
#ifndef ATALAYA_TELEMETRY_REFUSAL_H
#define ATALAYA_TELEMETRY_REFUSAL_H

#include "common/base/buf.h"

const char *refusal_phrase(struct str words); /* NULL: it says nothing that we know */

/* The beginning; each secret of more than three bytes is [key]. */
void refusal_clean(struct buf *out, struct str words, const struct str *secrets, size_t n);

void refusal_show(struct buf *out, struct str words, const struct str *texts, size_t n);

#endif
