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

static void disown(struct str s)
{
    free((void *)(uintptr_t)s.p);
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
    a->input.request = own(input->request);
    a->input.model = own(input->model);
    a->input.metadata = own(input->metadata);
    a->input.session_id = own(input->session_id);
    a->input.tags = own(input->tags);
    a->headers = BUF_INIT(2 * HTTP_HEADERS_MAX);
    a->partial = BUF_INIT(ANSWER_MAX);
    a->start_wall_us = wall_us();
    return a;
}

void ask_free(struct ask *a)
{
    if (!a)
        return;
    disown(a->input.user_id);
    disown(a->input.question);
    disown(a->input.request);
    disown(a->input.model);
    disown(a->input.metadata);
    disown(a->input.session_id);
    disown(a->input.tags);
    buf_free(&a->hold.body);
    buf_free(&a->headers);
    buf_free(&a->partial);
    free(a);
}
