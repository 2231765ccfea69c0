/*
 * privacy.h - what of people's words is kept: CAPTURE_CONTENT and REDACT
 *
 * Purpose  applied to a record before the spool sees it, so what it takes out is in no file, no backup and no upload.
 *          It does not touch what the client gets, nor ids, user, session, tags and numbers: Langfuse finds traces by
 *          them.
 *
 *                    question, answer, comment     metadata (JSON)            error_text
 *          full      redacted (redact.h)           redacted                   redacted
 *          hashed    hmac-sha256:HEX of the text   each value hashed          left out: `error` says enough
 *          none      left out                      left out                   left out
 * Promise  JSON stays JSON: the hash of a chat is a JSON string. What should be JSON and is not is kept as the text that
 *          it is, and a chat with such a text is a chat nevertheless.
 * Owner    the record's texts are borrowed from here until the next privacy_apply().
 * Threads  one.
 * Errors   privacy_new() returns -EINVAL and has logged what is wrong.
 */
#ifndef ATALAYA_TELEMETRY_PRIVACY_H
#define ATALAYA_TELEMETRY_PRIVACY_H

#include "telemetry/record.h"

/* In the order of CAPTURE_CONTENT's words. */
enum capture { CAPTURE_FULL, CAPTURE_HASHED, CAPTURE_NONE };

struct privacy_conf {
    int capture;
    const char *redact, *redact_prefixes; /* kept, not copied */
    const char *hash_key;                 /* kept, not copied */
};

struct privacy;

int privacy_new(struct privacy **out, const struct privacy_conf *c) NODISCARD;
void privacy_free(struct privacy *p);
void privacy_apply(struct privacy *p, struct record *r);

#endif
