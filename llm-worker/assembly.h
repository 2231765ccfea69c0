/*
 * assembly.h - a streamed chat completion as the one message that it would have been
 *
 * Purpose  the trace of a stream shows what the model said, and the scores need its text. Pieces of a tool call belong
 *          together by index; where a provider gives none, or every call the same, a new id with a name begins
 *          another one.
 * Owner    the struct is the caller's, assembly_free() releases what it holds. Chunks are copied from, texts borrowed.
 * Threads  one stream, one thread.
 * Errors   none: what is beyond the limits is left out, and `incomplete` says so.
 * Limits   ANSWER_MAX bytes all together, TOOL_CALLS_MAX
 */
#ifndef ATALAYA_LLM_WORKER_ASSEMBLY_H
#define ATALAYA_LLM_WORKER_ASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "llm-worker/openai.h"

struct assembled_call;

struct assembly {
    struct buf content;
    struct buf refusal;
    struct assembled_call *calls;
    size_t n;
    size_t bytes;
    bool has_content; /* though it may be empty */
    bool incomplete;
};

void assembly_init(struct assembly *a);
void assembly_free(struct assembly *a); /* also of a zeroed struct */
void assembly_add(struct assembly *a, const struct chunk *c);

struct str assembly_content(const struct assembly *a);
void assembly_write(const struct assembly *a, struct buf *out); /* {"role":"assistant","content":…}, JSON */

#endif
