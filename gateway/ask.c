#include "gateway/ask.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

static struct str own(struct str s)
{
    return (struct str){xmemdup(s.p, s.n), s.n};
}

struct ask *ask_new(struct dispatch *d, const struct ask_input *input, const struct caller *caller,
                    const struct traceparent *parent)
{
    struct ask *a = xcalloc(1, sizeof *a);

    a->dispatch = d;
    a->caller = *caller;
    if (parent) {
        memcpy(a->trace_id, parent->trace_id, sizeof a->trace_id);
        memcpy(a->parent_id, parent->parent_id, sizeof a->parent_id);
    } else {
        id_trace(a->trace_id);
    }
    id_span(a->generation_id);
    a->input = *input;
    a->input.user_id = own(input->user_id);
    a->input.question = own(input->question);
    a->headers = BUF_INIT(2 * HTTP_HEADERS_MAX);
    a->partial = BUF_INIT(ANSWER_MAX);
    a->start_wall_us = wall_us();
    return a;
}

void ask_free(struct ask *a)
{
    if (!a)
        return;
    free((void *)(uintptr_t)a->input.user_id.p);
    free((void *)(uintptr_t)a->input.question.p);
    buf_free(&a->headers);
    buf_free(&a->partial);
    free(a);
}
