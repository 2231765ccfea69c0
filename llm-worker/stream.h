/*
 * stream.h - one streamed answer while it comes in
 *
 * Purpose  bytes of the provider in, pieces for the client out: of a question the text within its word limit
 *          (wordcut.h), of a chat completion the provider's events as they stand, but for a usage that the client has not
 *          asked for. Keeps what the record will tell: the text, or the message put together (assembly.h), and the usage.
 * Owner    the strings of a piece are borrowed until the callback returns, those of a summary until stream_reset().
 * Threads  pure.
 * Limits   SSE_EVENT_MAX an event, ANSWER_MAX the whole
 * Source   https://platform.openai.com/docs/api-reference/chat/streaming
 */
#ifndef ATALAYA_LLM_WORKER_STREAM_H
#define ATALAYA_LLM_WORKER_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/str.h"
#include "llm-worker/estimate.h"
#include "llm-worker/openai.h"
#include "llm-worker/retry.h"

struct stream;

struct stream_conf {
    bool chat;
    int64_t max_words; /* of a question; INT64_MAX: no limit */
};

/* A piece: its text, and of a chat completion the bytes for its client. */
typedef void stream_emit(void *arg, struct str text, struct str bytes);

struct stream *stream_new(const struct stream_conf *c, stream_emit *emit, void *arg);
void stream_free(struct stream *s);
void stream_wants_usage(struct stream *s, bool wants); /* the client of a chat completion has asked for it */
void stream_reset(struct stream *s);                   /* for another call: nothing had been emitted */

bool stream_feed(struct stream *s, struct str bytes) NODISCARD; /* false: enough, or broken: end the call */
bool stream_is_whole(const struct stream *s); /* the provider has said that nothing more comes */

/* The call has ended like that: what it came to. Emits what was held back. */
enum outcome stream_end(struct stream *s, enum outcome outcome);

/* Of what has come so far. */
struct stream_summary {
    struct completion whole;          /* content: that the client has been given; nothing to free */
    bool truncated;                   /* by the word limit */
    struct estimate said;             /* texts and calls */
    const struct openai_error *error; /* in place of the rest; its words are empty when there was none */
};

struct stream_summary stream_summary(const struct stream *s);

/* Of a chat completion the message so far, JSON; empty when that is more than the wire takes: the record has its text
 * then. */
struct str stream_message(struct stream *s);

#endif
