/*
 * prompt.h - the provider request of a question
 *
 * Purpose  the chat completion request of contract.md: system prompt, question, model, temperature. For a stream, which
 *          the Python service had not, with options: to say in the end what was used, and no padding.
 * Threads  pure.
 */
#ifndef ATALAYA_LLM_WORKER_PROMPT_H
#define ATALAYA_LLM_WORKER_PROMPT_H

#include "common/base/buf.h"

void prompt_write(struct buf *out, const char *model, struct str question, bool stream, bool options);

#endif
