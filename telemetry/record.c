#include "telemetry/record.h"

#include <inttypes.h>

#include "common/base/json.h"
#include "common/base/limits.h"
#include "telemetry/text.h"
#include "telemetry/usage.h"

#define ROW_BYTES     256 /* what a row costs beside its text */
#define ATTEMPT_BYTES 512 /* the numbers and keys of an attempt */

static int64_t clamp(uint64_t v)
{
    return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

static size_t scratch_need(const struct str *texts, size_t n, const struct event *e)
{
    const struct event_attempt *a = e->attempts.items;
    size_t need = 16;

    for (size_t i = 0; i < n; i++)
        need += text_is_clean(texts[i]) ? 0 : 3 * texts[i].n;
    for (size_t i = 0; i < e->attempts.n; i++)
        need += ATTEMPT_BYTES +
                6 * (a[i].outcome.n + a[i].upstream_id.n + a[i].code.n + a[i].upstream.n + a[i].model.n);
    return need;
}

static void write_usage(struct buf *out, const struct event_attempt *a)
{
    json_field_str(out, "model", a->model);
    json_field_int(out, "prompt_tokens", clamp(a->prompt_tokens));
    json_field_int(out, "completion_tokens", clamp(a->completion_tokens));
    json_field_bool(out, "usage_estimated", a->usage_estimated);
    if (a->has_cost && usage_is_cost(a->cost_usd)) {
        json_key(out, "cost_usd");
        json_double(out, a->cost_usd);
    }
}

static struct str write_attempts(struct buf *out, const struct list *attempts)
{
    const struct event_attempt *a = attempts->items;
    size_t from = out->len;

    buf_putc(out, '[');
    for (size_t i = 0; i < attempts->n; i++) {
        buf_printf(out,
                   "%s{\"start_us\":%" PRId64 ",\"duration_us\":%" PRId64 ",\"wait_us\":%" PRId64
                   ",\"status\":%" PRId64,
                   i ? "," : "", a[i].start_us, a[i].duration_us, a[i].wait_us, clamp(a[i].status));
        json_field_str(out, "outcome", a[i].outcome);
        json_field_str(out, "upstream_id", a[i].upstream_id);
        json_field_str(out, "code", a[i].code);
        json_field_str(out, "upstream", a[i].upstream);
        if (a[i].prompt_tokens || a[i].completion_tokens)
            write_usage(out, &a[i]);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
    return (struct str){out->data + from, out->len - from};
}

static struct str cleaned(struct buf *scratch, struct str s)
{
    if (text_is_clean(s))
        return s;
    size_t from = scratch->len;
    text_clean(scratch, s);
    return (struct str){scratch->data + from, scratch->len - from};
}

void record_measure(struct record *r)
{
    r->bytes =
        (int64_t)(ROW_BYTES + r->request_id.n + r->trace_id.n + r->generation_id.n + r->parent_id.n +
                  r->user_id.n + r->question.n + r->answer.n + r->model.n + r->error.n + r->error_text.n +
                  r->attempts.n + r->score_id.n + r->score_name.n + r->score_type.n + r->score_text.n +
                  r->comment.n + r->session_id.n + r->tags.n + r->metadata.n + r->cache.n);
}

void record_of_event(struct record *r, const struct event *e, struct buf *scratch)
{
    struct str texts[] = {e->request_id, e->user_id,  e->question,   e->answer,     e->model,      e->error,
                          e->error_text, e->score_id, e->score_name, e->score_type, e->score_text, e->comment,
                          e->session_id, e->tags,     e->metadata,   e->cache};

    buf_reset(scratch);
    /* Reserved as a whole: later appends must not move what earlier texts point to. */
    bool room = buf_reserve(scratch, scratch_need(texts, ARRAY_LEN(texts), e)) != NULL;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        texts[i] = room ? cleaned(scratch, texts[i]) : (struct str){"", 0};
    *r = (struct record){
        .stage = e->kind == EVENT_FEEDBACK ? RECORD_TRACE_SENT : RECORD_NEW,
        .request_id = texts[0],
        .trace_id = e->trace_id,
        .generation_id = e->generation_id,
        .parent_id = text_is_hex(e->parent_id, 16) ? e->parent_id : (struct str){"", 0},
        .user_id = texts[1],
        .question = texts[2],
        .answer = texts[3],
        .model = texts[4],
        .error = texts[5],
        .error_text = texts[6],
        .status = clamp(e->status),
        .truncated = e->truncated,
        .start_us = e->start_us,
        .duration_us = e->duration_us > 0 ? e->duration_us : 0,
        .queue_us = e->queue_us,
        .worker_us = e->worker_us,
        .dispatches = clamp(e->dispatches),
        .tries = (int64_t)e->attempts.n,
        .attempts = room ? write_attempts(scratch, &e->attempts) : str_of("[]"),
        .has_usage = e->has_usage,
        .has_scores = e->has_scores,
        .prompt_tokens = clamp(e->prompt_tokens),
        .completion_tokens = clamp(e->completion_tokens),
        .total_tokens = clamp(e->total_tokens),
        .cached_tokens = clamp(e->cached_tokens),
        .reasoning_tokens = clamp(e->reasoning_tokens),
        .has_cost = e->has_cost && usage_is_cost(e->cost_usd),
        .cost_usd = e->cost_usd,
        .non_empty_answer = e->non_empty_answer,
        .toxicity_safe = e->toxicity_safe,
        .score_id = texts[7],
        .score_name = texts[8],
        .score_type = texts[9],
        .score_text = texts[10],
        .comment = texts[11],
        .score_value = e->score_value,
        .session_id = texts[12],
        .tags = texts[13],
        .metadata = texts[14],
        .cache = texts[15],
        .chat = e->chat,
        .stream = e->stream,
        .usage_estimated = e->usage_estimated,
        .first_token_us = e->first_token_us > 0 ? e->first_token_us : 0,
    };
    record_measure(r);
}

bool record_wanted(const struct event *e)
{
    if (!text_is_hex(e->trace_id, 32))
        return false;
    if (e->kind == EVENT_FEEDBACK)
        return e->score_id.n && text_is_clean(e->score_id) && e->score_name.n;
    return text_is_hex(e->generation_id, 16);
}

bool record_is_feedback(const struct record *r)
{
    return r->score_id.n > 0;
}

bool record_failed(const struct record *r)
{
    return r->error.n > 0 || r->status == 0 || r->status >= 500;
}
