/*
 * openai.h - reading what an OpenAI-compatible API answers
 *
 * Purpose  the only file that knows the shape of a chat completion and of an error body.
 * Owner    the strings of a completion are borrowed from `hold`, which the caller gives back to
 *          openai_free().
 * Threads  pure.
 * Errors   -EBADMSG: no JSON. -ENODATA: no choices, no content. Missing usage is fine.
 * Source   https://platform.openai.com/docs/api-reference/chat/object
 */
#ifndef ATALAYA_LLM_WORKER_OPENAI_H
#define ATALAYA_LLM_WORKER_OPENAI_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/jsonscan.h"

struct completion {
    struct str content;
    struct str model; /* empty when the answer names none */
    bool has_usage;
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    uint64_t total_tokens;
    uint64_t cached_tokens;    /* of prompt_tokens */
    uint64_t reasoning_tokens; /* of completion_tokens */
    bool list_price; /* the usual service tier, and no tokens that are neither text nor read from a cache */
    struct jsonscan hold[6];
};

#define OPENAI_CODE_MAX 48

int openai_read_completion(struct str body, struct completion *c) NODISCARD;
void openai_free(struct completion *c);

/* error.code and error.type of an error body; only letters, digits, _ - and . are taken over. Empty when there are none.
 * The message is left alone: it may repeat a key or the question. */
struct openai_error {
    char code[OPENAI_CODE_MAX];
    char type[OPENAI_CODE_MAX];
};

void openai_read_error(struct str body, struct openai_error *e);
const char *openai_error_word(const struct openai_error *e); /* the code, else the type */

#endif
