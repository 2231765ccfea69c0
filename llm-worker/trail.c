#include "llm-worker/trail.h"

#include <stdio.h>

#include "common/base/clock.h"

void trail_add(struct trail *t, const struct target *asked, const char *model, enum outcome outcome,
               const struct call_result *res, const char *code, int64_t started_us, int64_t wait_us,
               bool hedge)
{
    int64_t took = clock_us() - started_us;
    size_t n = res ? res->request_id.n : 0;
    char *id = t->texts[t->n].upstream_id, *code_copy = t->texts[t->n].code;

    n = n < TRAIL_ID_MAX ? n : TRAIL_ID_MAX;
    if (n)
        memcpy(id, res->request_id.p, n);
    snprintf(code_copy, OPENAI_CODE_MAX, "%s", code);
    t->events[t->n++] = (struct event_attempt){
        .start_us = wall_us() - took,
        .duration_us = took,
        .wait_us = wait_us,
        .status = res ? (uint64_t)res->status : 0,
        .outcome = str_of(outcome_word(outcome)),
        .upstream_id = {id, n},
        .code = str_of(code_copy),
        .upstream = str_of(asked->name),
        .model = str_of(model ? model : asked->model),
        .hedge = hedge,
    };
}

struct list trail_list(struct trail *t)
{
    return (struct list){t->events, t->n};
}
