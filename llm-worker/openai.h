/*
 * openai.h - reading what an OpenAI-compatible API answers
 *
 * Purpose  the only file that knows the shape of a chat completion, of the chunks of a streamed one and of an error.
 * Owner    the strings of a completion are borrowed from the body and from `hold`, which the caller gives back to
 *          openai_free(); those of a chunk likewise.
 * Threads  pure.
 * Errors   -EBADMSG: no JSON. -ENODATA: no choices, no message. Missing usage is fine.
 * Source   https://platform.openai.com/docs/api-reference/chat/object and …/chat/streaming
 */
#ifndef ATALAYA_LLM_WORKER_OPENAI_H
#define ATALAYA_LLM_WORKER_OPENAI_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/jsonscan.h"

struct completion {
    struct str message; /* JSON */
    struct str content; /* its text; .p is NULL when it holds something else, like calls of tools */
    struct str model;   /* empty when the answer names none */
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

bool openai_is_object(struct str body); /* it is JSON, and that */

void openai_read_error(struct str body, struct openai_error *e);
const char *openai_error_word(const struct openai_error *e); /* the code, else the type */

/* The data of one event of a streamed chat completion. Of several choices that were asked for, number 0 is the answer;
 * the others are read over. */
struct chunk {
    struct completion
        part; /* content: what this chunk adds; .p is NULL when it says nothing of it. The list price
                                 holds for the whole when it holds for every chunk */
    struct str refusal;       /* what it adds to that */
    struct str tool_calls;    /* source of an array that is not empty */
    struct str finish_reason; /* empty while more is to come */
    bool has_choices;         /* of whatever number: the chunk with the usage has none */
    bool has_error;           /* the provider gives up: `error`, which may be empty */
    struct openai_error error;
};

/* -EBADMSG: no JSON object. Whatever an object lacks is empty. */
int openai_read_chunk(struct str data, struct chunk *c) NODISCARD;
void openai_free_chunk(struct chunk *c);

/* One of the array of tool calls of a chunk: the first piece of a call, or more of its arguments. */
struct tool_call {
    bool has_index; /* which call it is a piece of; some providers do not say */
    uint64_t index;
    struct str id, type, name; /* empty in later pieces, with most providers */
    struct str arguments;
    struct jsonscan hold[2];
};

/* The one at *at, which then is the next one's; false at the end, and when there is nothing to be freed. */
bool openai_next_tool_call(struct str tool_calls, size_t *at, struct tool_call *t) NODISCARD;
void openai_free_tool_call(struct tool_call *t);

bool openai_is_done(struct str data); /* the last event: no chunk, but the word [DONE] */

/* What an error says, but for names of the operator's: those of organisation, project and key, "org-***". */
void openai_mask_names(struct str error, struct buf *out);

#endif
