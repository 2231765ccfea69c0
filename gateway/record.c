#include "gateway/record.h"

#include <math.h>

#include "common/base/clock.h"
#include "common/base/log.h"

struct event record_of_ask(const struct ask *a, const struct job *r)
{
    return (struct event){
        .kind = EVENT_REQUEST,
        .endpoint = str_of(a->caller.endpoint),
        .method = str_of("POST"),
        .status = (uint64_t)a->status,
        .start_us = a->start_wall_us,
        .duration_us = clock_us() - a->caller.start_us,
        .request_id = str_of(a->caller.request_id),
        .trace_id = str_of(a->trace_id),
        .generation_id = str_of(a->generation_id),
        .parent_id = str_of(a->parent_id),
        .user_id = a->input.user_id,
        .question = a->input.question,
        .answer = r->answer.n ? r->answer : buf_str(&a->partial),
        .chat = a->input.chat,
        .stream = a->input.stream,
        .cache = str_of(a->cache),
        .session_id = a->input.session_id,
        .tags = a->input.tags,
        .metadata = a->input.metadata,
        .model = r->model,
        .error = r->error,
        .error_text = r->error_text,
        .truncated = r->truncated,
        .has_usage = r->has_usage,
        .prompt_tokens = r->prompt_tokens,
        .completion_tokens = r->completion_tokens,
        .total_tokens = r->total_tokens,
        .cached_tokens = r->cached_tokens,
        .reasoning_tokens = r->reasoning_tokens,
        .usage_estimated = r->usage_estimated,
        .first_token_us = a->first_token_us,
        .has_cost = r->has_cost,
        .cost_usd = r->cost_usd,
        .has_scores = r->kind == JOB_DONE,
        .non_empty_answer = r->non_empty_answer,
        .toxicity_safe = r->toxicity_safe,
        .queue_us = a->queue_us,
        .worker_us = r->worker_us,
        .dispatches = (uint64_t)a->dispatches,
        .attempts = r->attempts,
    };
}

void record_log(const struct event *e, const struct caller *c, const char *user)
{
    bool broken = e->status == 200 && e->error.n && !str_eq(e->error, "client_gone"); /* a stream */
    enum log_level level = e->status >= 500 || broken ? LOG_WARNING : LOG_INFO;
    const struct event_attempt *attempts = e->attempts.items;
    struct str upstream = e->attempts.n ? attempts[e->attempts.n - 1].upstream : str_of("");
    const char *trace = e->trace_id.n ? "trace_id" : NULL; /* without a question the list ends before it */

    log_event(
        level,
        LOG_FIELDS(LOG_STR("request_id", e->request_id), LOG_STR("endpoint", e->endpoint),
                   LOG_STR("method", e->method), LOG_INT("status", e->status),
                   LOG_INT("duration_ms", (e->duration_us + 500) / 1000), LOG_CSTR("client", c->address),
                   LOG_CSTR("token", c->token), LOG_STR("error", e->error), LOG_STR(trace, e->trace_id),
                   LOG_CSTR("user_id", user), LOG_INT("attempts", e->attempts.n),
                   LOG_STR("upstream", upstream), LOG_STR("cache", e->cache),
                   LOG_REAL("first_token_ms", e->first_token_us ? (double)e->first_token_us / 1000 : NAN),
                   LOG_STR("model", e->model), LOG_INT("tokens", e->total_tokens),
                   LOG_REAL("cost_usd", e->has_cost ? e->cost_usd : NAN),
                   LOG_STR("error_text", e->error_text)),
        e->status && !str_eq(e->error, "client_gone") ? "request completed in %.3fs"
                                                      : "client left after %.3fs",
        (double)e->duration_us / 1e6);
}
