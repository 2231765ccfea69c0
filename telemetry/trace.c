#include "telemetry/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "telemetry/jsonread.h"

void trace_open(struct trace *t, const struct record *r)
{
    size_t n = 0;

    t->record = r;
    t->own_prompt = !r->chat;
    t->hold = NULL;
    if (r->tries > 0 && jsonread_attempts(r->attempts, t->attempts, ARRAY_LEN(t->attempts), &n, &t->hold) < 0)
        n = 0;
    t->upstream = n ? t->attempts[n - 1].upstream : str_of("");
    t->n = r->tries > 1 ? n : 0;
}

void trace_close(struct trace *t)
{
    jsonread_free(t->hold);
    t->hold = NULL;
}

const char *trace_name(const struct trace *t)
{
    return t->own_prompt ? "qa_chat" : "chat_completion";
}

const char *trace_reason(const struct trace *t)
{
    const struct record *r = t->record;

    if (r->error_text.n)
        return r->error_text.p;
    if (r->error.n)
        return r->error.p;
    return r->status == 0 ? "the client left before the answer" : "the request failed";
}

static uint64_t count(int64_t tokens)
{
    return tokens > 0 ? (uint64_t)tokens : 0;
}

struct usage trace_usage(const struct record *r)
{
    return usage_split(count(r->prompt_tokens), count(r->cached_tokens), count(r->completion_tokens),
                       count(r->reasoning_tokens));
}

static uint64_t number_of(struct str hex)
{
    char text[17] = "";

    memcpy(text, hex.p, hex.n < sizeof text ? hex.n : sizeof text - 1);
    return strtoull(text, NULL, 16);
}

/* Different from every other one's: a bijection of the generation's id for each index. */
void trace_attempt_id(char out[ID_SPAN_SIZE], const struct trace *t, size_t index)
{
    uint64_t v = number_of(t->record->generation_id) + 0x9e3779b97f4a7c15u * (index + 1);

    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    v ^= v >> 31;
    snprintf(out, ID_SPAN_SIZE, "%016" PRIx64, v ? v : index + 1);
}

bool trace_attempt_failed(const struct trace *t, size_t index)
{
    return !str_eq(t->attempts[index].outcome, "ok");
}

bool trace_attempt_usage(const struct trace *t, size_t index, struct record *as)
{
    const struct event_attempt *a = &t->attempts[index];

    *as = (struct record){
        .model = a->model,
        .has_usage = a->prompt_tokens || a->completion_tokens,
        .prompt_tokens = (int64_t)a->prompt_tokens,
        .completion_tokens = (int64_t)a->completion_tokens,
        .total_tokens = (int64_t)(a->prompt_tokens + a->completion_tokens),
        .usage_estimated = a->usage_estimated,
        .has_cost = a->has_cost,
        .cost_usd = a->cost_usd,
    };
    return as->has_usage;
}

/* OpenTelemetry's TraceIdRatioBased, as Langfuse's SDKs have it: a trace that several of them see is whole or away. */
bool trace_is_sampled(struct str trace_id, double rate)
{
    if (rate >= 1 || trace_id.n != 32)
        return true;
    return number_of((struct str){trace_id.p + 16, 16}) < (uint64_t)(rate * 0x1p64);
}
