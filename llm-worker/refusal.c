#include "llm-worker/refusal.h"

enum refusal_news refusal_learn(struct refusal *r, const struct verdict *v, int64_t now)
{
    bool known = r->until > 0;

    if (v->outcome == OUTCOME_HTTP && (v->status == 401 || v->status == 403)) {
        r->in_a_row = v->status == 401 ? REFUSAL_MANY : r->in_a_row + 1;
        if (r->in_a_row < REFUSAL_MANY)
            return REFUSAL_NOTHING_NEW;
        r->in_a_row = REFUSAL_MANY;
        r->until = now + REFUSAL_FOR_MS;
        return known ? REFUSAL_NOTHING_NEW : REFUSAL_BEGINS;
    }
    /* Who answers 5xx need not have looked at the key. */
    if (v->outcome == OUTCOME_OK || (v->outcome == OUTCOME_HTTP && v->status < 500)) {
        *r = (struct refusal){.in_a_row = 0};
        return known ? REFUSAL_ENDS : REFUSAL_NOTHING_NEW;
    }
    return REFUSAL_NOTHING_NEW;
}

bool refusal_holds(const struct refusal *r, int64_t now)
{
    return now < r->until;
}
