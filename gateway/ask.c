#include "gateway/ask.h"

#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/mem.h"

static struct str own(struct str s)
{
    return (struct str){xmemdup(s.p, s.n), s.n};
}

struct ask *ask_new(struct dispatch *d, const struct ask_input *input, int64_t start_us)
{
    struct ask *a = xcalloc(1, sizeof *a);

    a->dispatch = d;
    id_uuid(a->request_id);
    id_trace(a->trace_id);
    id_span(a->generation_id);
    a->input = *input;
    a->input.user_id = own(input->user_id);
    a->input.question = own(input->question);
    a->start_us = start_us;
    a->start_wall_us = wall_us();
    return a;
}

void ask_free(struct ask *a)
{
    if (!a)
        return;
    free((void *)(uintptr_t)a->input.user_id.p);
    free((void *)(uintptr_t)a->input.question.p);
    free(a);
}
