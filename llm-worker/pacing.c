#include "llm-worker/pacing.h"

#include <stdbool.h>

#include "common/base/limits.h"
#include "llm-worker/delay.h"

static void learn(struct pacing_kind *k, const struct quota_headers *h, int64_t now)
{
    int64_t remaining = h->remaining.n ? delay_count(h->remaining) : -1;
    int64_t reset = remaining >= 0 ? delay_duration(h->reset) : -1;

    if (reset < 0)
        return;
    if (reset > UPSTREAM_WAITING_MAX_MS)
        reset = 0; /* nobody waits for that: the provider's own 429 decides */
    *k = (struct pacing_kind){
        .limit = delay_count(h->limit), .remaining = remaining, .at = now, .full_at = now + reset};
}

void pacing_learn(struct pacing *p, const struct quota_headers *requests, const struct quota_headers *tokens,
                  int64_t now)
{
    learn(&p->requests, requests, now);
    learn(&p->tokens, tokens, now);
}

void pacing_used(struct pacing *p, uint64_t tokens)
{
    p->tokens_per_call += ((double)tokens - p->tokens_per_call) * (p->tokens_per_call > 0 ? 0.1 : 1);
}

static int64_t wait_for(const struct pacing_kind *k, double need, double workers, int64_t now)
{
    if (now >= k->full_at)
        return 0;
    double span = (double)(k->full_at - k->at);
    double rate = k->limit > k->remaining ? (double)(k->limit - k->remaining) / span / workers : 0;
    double have = (double)k->remaining / workers + rate * (double)(now - k->at);
    double left = (double)(k->full_at - now);
    if (need <= have)
        return 0;
    double wait = rate > 0 ? (need - have) / rate : left;
    return (int64_t)(wait < left ? wait : left) + 1;
}

int64_t pacing_wait(const struct pacing *p, int64_t ahead, int64_t workers, int64_t now)
{
    double calls = (double)(ahead + 1), n = workers > 0 ? (double)workers : 1;
    double tokens = p->tokens_per_call > 1 ? p->tokens_per_call : 1;
    int64_t a = wait_for(&p->requests, calls, n, now);
    int64_t b = wait_for(&p->tokens, calls * tokens, n, now);

    return a > b ? a : b;
}
