#include "gateway/record.h"

#include "common/base/clock.h"
#include "common/base/log.h"

struct event record_of_ask(const struct ask *a, const struct job *r)
{
    return (struct event){
        .kind = EVENT_REQUEST,
        .endpoint = str_of("/ask"),
        .method = str_of("POST"),
        .status = (uint64_t)a->status,
        .start_us = a->start_wall_us,
        .duration_us = clock_us() - a->start_us,
        .request_id = str_of(a->request_id),
        .trace_id = str_of(a->trace_id),
        .generation_id = str_of(a->generation_id),
        .user_id = a->input.user_id,
        .question = a->input.question,
        .answer = r->answer,
        .model = r->model,
        .error = r->error,
        .error_text = r->error_text,
        .truncated = r->truncated,
        .has_usage = r->has_usage,
        .prompt_tokens = r->prompt_tokens,
        .completion_tokens = r->completion_tokens,
        .total_tokens = r->total_tokens,
        .has_scores = r->kind == JOB_DONE,
        .non_empty_answer = r->non_empty_answer,
        .toxicity_safe = r->toxicity_safe,
        .queue_us = a->queue_us,
        .worker_us = r->worker_us,
        .dispatches = (uint64_t)a->dispatches,
        .attempts = r->attempts,
    };
}

void record_log(const struct event *e)
{
    enum log_level level = e->status >= 500 ? LOG_WARNING : LOG_INFO;

    log_event(level,
              LOG_FIELDS(LOG_STR("request_id", e->request_id), LOG_STR("endpoint", e->endpoint),
                         LOG_STR("method", e->method), LOG_INT("status", e->status),
                         LOG_INT("duration_ms", e->duration_us / 1000), LOG_STR("trace_id", e->trace_id),
                         LOG_INT("attempts", e->attempts.n), LOG_STR("model", e->model),
                         LOG_INT("tokens", e->total_tokens), LOG_STR("error", e->error),
                         LOG_STR("error_text", e->error_text)),
              e->status ? "request completed in %.3fs" : "client left after %.3fs",
              (double)e->duration_us / 1e6);
}
