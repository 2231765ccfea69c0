/*
 * prompt.h - the provider request of a question
 *
 * Purpose  the chat completion request of contract.md: system prompt, question, model, temperature.
 * Threads  pure.
 */
#ifndef ATALAYA_LLM_WORKER_PROMPT_H
#define ATALAYA_LLM_WORKER_PROMPT_H

#include "common/base/buf.h"

void prompt_write(struct buf *out, const char *model, struct str question);

#endif
