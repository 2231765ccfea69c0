/*
 * chat.h - a client's chat completion request on its way to the provider
 *
 * Purpose  the provider gets the client's bytes. One thing is changed: a stream is asked to say at its end what it has
 *          used, for the record; where the client has not asked for that, it is not given it (stream.h).
 * Owner    the strings are borrowed from the request and from `hold`; chat_free() in any case.
 * Threads  pure.
 * Errors   chat_read(): -EBADMSG, no JSON object.
 * Source   https://platform.openai.com/docs/api-reference/chat/create
 */
#ifndef ATALAYA_LLM_WORKER_CHAT_H
#define ATALAYA_LLM_WORKER_CHAT_H

#include <stdbool.h>

#include "common/base/attr.h"
#include "common/base/jsonscan.h"

struct chat {
    struct str text; /* the request in UTF-8 */
    struct str model;
    struct str options; /* source of stream_options; empty: there are none */
    bool wants_usage;   /* they ask for it */
    struct jsonscan hold[2];
};

int chat_read(struct chat *c, struct str request) NODISCARD;
void chat_write(struct buf *out, const struct chat *c); /* of a stream: with usage asked for */
void chat_free(struct chat *c);

#endif
