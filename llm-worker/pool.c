#include "llm-worker/pool.h"

#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "llm-worker/budget.h"
#include "llm-worker/choice.h"

#define QUOTA_PAUSE_MS 60000 /* an account that is empty is asked again so often */

struct member {
    const struct target *target;
    struct upstream *upstream;
    struct budget budget;
    int64_t no_quota_until; /* 0: it has quota, as far as we know */
};

struct pool {
    struct loop *loop;
    size_t n;
    struct member members[UPSTREAMS_MAX];
};

/* With nobody else to go to, an empty account is asked all the same: it may have been filled. */
static bool is_usable(const struct pool *p, const struct member *m, int64_t now)
{
    return p->n == 1 || m->no_quota_until <= now;
}

int pool_pick(struct pool *p, uint32_t tried)
{
    struct candidate c[UPSTREAMS_MAX];
    int64_t now = clock_ms();

    for (size_t i = 0; i < p->n; i++)
        c[i] = (struct candidate){
            .priority = p->members[i].target->priority,
            .weight = p->members[i].target->weight,
            .usable = !(tried >> i & 1) && is_usable(p, &p->members[i], now),
        };
    size_t i = choice_of(c, p->n, p->n > 1 ? id_u32() : 0);
    return i < p->n ? (int)i : -1;
}

const struct target *pool_target(const struct pool *p, size_t member)
{
    return p->members[member].target;
}

static void on_done(void *arg, const struct call_result *r)
{
    struct pass *pass = arg;

    pass->call = NULL;
    pass->done(pass->arg, r);
}

void pool_ask(struct pool *p, struct pass *pass)
{
    pass->pool = p;
    pass->started_us = clock_us();
    pass->call = upstream_start(p->members[pass->member].upstream, pass->body,
                                pass->deadline_ms - pass->started_us / 1000, on_done, pass);
}

void pool_cancel(struct pass *pass)
{
    if (pass->call)
        upstream_cancel(pass->call);
    pass->call = NULL;
}

void pool_first_call(struct pool *p, size_t member)
{
    budget_first_call(&p->members[member].budget);
}

bool pool_may_repeat(struct pool *p, size_t member)
{
    return budget_take(&p->members[member].budget, clock_ms());
}

void pool_learn(struct pool *p, size_t member, const struct verdict *v)
{
    struct member *m = &p->members[member];
    int64_t now = clock_ms();

    if (v->outcome == OUTCOME_OK) {
        m->no_quota_until = 0;
    } else if (retry_is_quota(v)) {
        if (m->no_quota_until <= now)
            log_event(LOG_WARNING,
                      LOG_FIELDS(LOG_CSTR("upstream", m->target->name), LOG_CSTR("code", v->code)),
                      "the upstream says that the account is empty or a limit of spending is reached");
        m->no_quota_until = now + QUOTA_PAUSE_MS;
    }
}

struct pool *pool_new(struct loop *l, const struct worker_conf *conf)
{
    struct pool *p = xcalloc(1, sizeof *p);

    p->loop = l;
    p->n = conf->roster->n;
    for (size_t i = 0; i < p->n; i++) {
        struct member *m = &p->members[i];
        struct upstream_conf u = {
            .target = &conf->roster->targets[i],
            .connect_timeout_ms = conf->connect_timeout_ms,
            .first_byte_timeout_ms = conf->first_byte_timeout_ms,
            .stall_timeout_ms = conf->stall_timeout_ms,
            .call_timeout_ms = conf->call_timeout_ms,
        };
        m->target = u.target;
        m->upstream = upstream_new(l, &u);
        budget_init(&m->budget, conf->retry_budget, clock_ms());
    }
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        upstream_free(p->members[i].upstream);
    free(p);
}
