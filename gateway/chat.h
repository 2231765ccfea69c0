/*
 * chat.h - the body of POST /v1/chat/completions: what the gateway itself needs of it
 *
 * Purpose  the request goes to the provider as it stands, and what it may say is the provider's to judge: tools, images,
 *          fields that nobody has heard of. Checked here is only what is needed to hand it on and to record it: JSON in
 *          UTF-8, `model`, `messages`, `stream`.
 * Owner    the strings of ask_input are borrowed from the body and from `hold`, which the caller frees with
 *          chat_hold_free() in any case.
 * Threads  pure.
 * Errors   400 with the words and codes of OpenAI (gateway/openai_error.h).
 * Limits   CHAT_MODEL_MAX. What is only recorded is left out or shortened rather than refused: a user id beyond
 *          CHAT_USER_MAX, metadata beyond METADATA_MAX, and of messages beyond REQUEST_BODY_MAX the strings that are
 *          longer than CHAT_STRING_KEPT, which mostly are images.
 * Source   https://platform.openai.com/docs/api-reference/chat/create
 */
#ifndef ATALAYA_GATEWAY_CHAT_H
#define ATALAYA_GATEWAY_CHAT_H

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/jsonscan.h"
#include "gateway/validate.h"

struct chat_hold {
    struct jsonscan scan;
    struct buf messages; /* shortened */
};

/* 200 and *in is filled, or 400, and the JSON that says why is in `error`. content_type may be NULL. */
int validate_chat(struct str body, const char *content_type, struct chat_hold *hold, struct ask_input *in,
                  struct buf *error) NODISCARD;

void chat_hold_free(struct chat_hold *hold);

#endif
