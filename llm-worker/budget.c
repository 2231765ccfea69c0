#include "llm-worker/budget.h"

#define TOKEN 1000

static void add(struct budget *b, int64_t tokens)
{
    b->tokens += tokens;
    if (b->tokens > BUDGET_BURST * TOKEN)
        b->tokens = BUDGET_BURST * TOKEN;
}

void budget_init(struct budget *b, int64_t percent, int64_t now)
{
    *b = (struct budget){.percent = percent, .tokens = BUDGET_BURST * TOKEN, .filled_ms = now};
}

void budget_first_call(struct budget *b)
{
    add(b, b->percent * TOKEN / 100);
}

bool budget_take(struct budget *b, int64_t now)
{
    int64_t passed = now - b->filled_ms;

    b->filled_ms = now;
    add(b, passed > 3600 * 1000 ? BUDGET_BURST * TOKEN : passed * BUDGET_FLOOR_PER_SECOND * TOKEN / 1000);
    if (b->percent == 0 || b->tokens < TOKEN)
        return false;
    b->tokens -= TOKEN;
    return true;
}
