/*
 * jsonread.h - the JSON that telemetry reads
 *
 * Purpose  the only file that includes jansson.h.
 * Errors   0 or -EBADMSG.
 * Threads  pure.
 */
#ifndef ATALAYA_TELEMETRY_JSONREAD_H
#define ATALAYA_TELEMETRY_JSONREAD_H

#include <stdbool.h>

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/wire/event.h"

/* record.h's attempts. The strings of a[] point into hold, which jsonread_free() releases. */
int jsonread_attempts(struct str text, struct event_attempt *a, size_t max, size_t *n, void **hold) NODISCARD;
void jsonread_free(void *hold);

/* Messages of a chat completion (a list, or one) as OpenTelemetry's conventions write them: a list of {role, parts}.
 * -EBADMSG: they are none. */
int jsonread_messages(struct str text, struct buf *out) NODISCARD;

/* The version that Langfuse's /api/public/health says; empty when it says none. At most size - 1 bytes. */
void jsonread_version(struct str text, char *out, size_t size);

/* The answer to an ingestion batch: fn is called for every event that the server says something about. All
 * texts are borrowed for the call. why: its message, and behind a colon what it says in detail. */
typedef void ingestion_verdict(void *arg, struct str id, int status, struct str why);
int jsonread_ingestion(struct str text, ingestion_verdict *fn, void *arg) NODISCARD;

/* True when the answer can be seen at once to be n successes and no error, as it nearly always is. False says nothing:
 * read it then. */
bool jsonread_all_taken(struct str text, size_t n);

#endif
