#include "llm-worker/pool.h"

#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "llm-worker/breaker.h"
#include "llm-worker/budget.h"
#include "llm-worker/choice.h"
#include "llm-worker/climit.h"
#include "llm-worker/latency.h"
#include "llm-worker/refusal.h"

#define QUOTA_PAUSE_MS 60000 /* an account that is empty is asked again so often */

struct member {
    struct pool *pool;
    const struct target *target;
    struct upstream *upstream;
    struct budget budget;
    struct breaker breaker;
    struct climit climit;
    struct pacing pacing;
    struct latency latency[2]; /* of whole answers, of first pieces */
    struct refusal refusal;    /* of our key */
    int64_t no_quota_until;    /* 0: it has quota, as far as we know */
    int64_t in_flight;
    struct pass *first, *last; /* waiting for their turn */
    struct loop_timer turn;    /* when the headers allow the next one, or nobody is let through any more */
};

struct pool {
    struct loop *loop;
    int64_t workers; /* that share the upstreams */
    size_t n;
    struct member members[UPSTREAMS_MAX];
};

/* Calls at once that are ours. */
static int64_t room(const struct member *m)
{
    int64_t most = climit_calls(&m->climit), all = m->target->max_concurrency;
    int64_t share = all > 0 ? (all + m->pool->workers - 1) / m->pool->workers : most;

    return share < most ? share : most;
}

static bool is_usable(const struct member *m, int64_t now)
{
    /* With nobody else to go to, an empty account is asked all the same: it may have been filled. */
    return breaker_allows(&m->breaker, now) && (m->pool->n == 1 || m->no_quota_until <= now);
}

static bool is_free(const struct member *m, int64_t now)
{
    return !m->first && m->in_flight < room(m) &&
           pacing_wait(&m->pacing, m->in_flight, m->pool->workers, now) == 0;
}

static int pick(const struct pool *p, uint32_t tried, bool free_only)
{
    struct candidate c[UPSTREAMS_MAX];
    int64_t now = clock_ms();

    for (size_t i = 0; i < p->n; i++) {
        const struct member *m = &p->members[i];
        c[i] = (struct candidate){
            .priority = m->target->priority,
            .weight = m->target->weight,
            .usable = !(tried >> i & 1) && is_usable(m, now) && (!free_only || is_free(m, now)),
        };
    }
    size_t i = choice_of(c, p->n, id_u32());
    return i < p->n ? (int)i : -1;
}

int pool_pick(struct pool *p, uint32_t tried)
{
    int member = p->n > 1 ? pick(p, tried, true) : -1;

    return member >= 0 ? member : pick(p, tried, false);
}

bool pool_is_usable(const struct pool *p, size_t member)
{
    return is_usable(&p->members[member], clock_ms());
}

const struct target *pool_target(const struct pool *p, size_t member)
{
    return p->members[member].target;
}

static void unqueue(struct pass *pass)
{
    struct member *m = &pass->pool->members[pass->member];

    *(pass->prev ? &pass->prev->next : &m->first) = pass->next;
    *(pass->next ? &pass->next->prev : &m->last) = pass->prev;
    pass->prev = pass->next = NULL;
    pass->waits = false;
    loop_timer_clear(pass->pool->loop, &pass->patience);
}

static void pump(struct member *m);

static bool on_piece(void *arg, struct str bytes)
{
    struct pass *pass = arg;

    return pass->piece(pass->arg, bytes);
}

static void on_done(void *arg, const struct call_result *r)
{
    struct pass *pass = arg;
    struct member *m = &pass->pool->members[pass->member];

    pass->call = NULL;
    m->in_flight--;
    pacing_learn(&m->pacing, &r->requests, &r->tokens, clock_ms());
    pass->done(pass->arg, r); /* it may be gone now */
    pump(m);
}

static void start(struct member *m, struct pass *pass)
{
    pass->started_us = clock_us();
    pass->trying = breaker_begun(&m->breaker, pass->started_us / 1000);
    m->in_flight++;
    pass->call = upstream_start(m->upstream, &(struct call_order){
                                                 .body = pass->body,
                                                 .left_ms = pass->deadline_ms - pass->started_us / 1000,
                                                 .piece = pass->piece ? on_piece : NULL,
                                                 .done = on_done,
                                                 .arg = pass,
                                             });
    if (pass->paused)
        upstream_pause(pass->call, true);
}

/* Lets through whose turn it is. Calls nobody back. */
static void pump(struct member *m)
{
    while (m->first && m->in_flight < room(m) && breaker_allows(&m->breaker, clock_ms())) {
        int64_t now = clock_ms();
        int64_t wait = pacing_wait(&m->pacing, m->in_flight, m->pool->workers, now);
        struct pass *pass = m->first;
        if (wait > 0) {
            loop_timer_set(m->pool->loop, &m->turn, now + wait);
            return;
        }
        unqueue(pass);
        start(m, pass);
    }
}

/* Whoever waits for it looks for another one. */
static void turn_away(struct member *m)
{
    while (m->first) {
        struct pass *pass = m->first;
        unqueue(pass);
        pass->done(pass->arg, NULL);
    }
}

static void on_turn(void *arg)
{
    struct member *m = arg;

    if (breaker_allows(&m->breaker, clock_ms()))
        pump(m);
    else
        turn_away(m);
}

/* It has waited until its deadline. */
static void on_impatient(void *arg)
{
    struct pass *pass = arg;

    unqueue(pass);
    pass->done(pass->arg, NULL);
}

void pool_ask(struct pool *p, struct pass *pass)
{
    struct member *m = &p->members[pass->member];

    pass->pool = p;
    pass->started_us = 0;
    if (is_free(m, clock_ms())) {
        start(m, pass);
        return;
    }
    pass->waits = true;
    pass->prev = m->last;
    *(m->last ? &m->last->next : &m->first) = pass;
    m->last = pass;
    pass->patience = (struct loop_timer){.fn = on_impatient, .arg = pass};
    loop_timer_set(p->loop, &pass->patience, pass->deadline_ms);
    pump(m);
}

void pool_cancel(struct pass *pass)
{
    if (pass->waits) {
        unqueue(pass);
    } else if (pass->call) {
        struct member *m = &pass->pool->members[pass->member];
        upstream_cancel(pass->call);
        pass->call = NULL;
        m->in_flight--;
        breaker_ended(&m->breaker, clock_ms(), FAULT_OTHER, pass->trying);
        pump(m);
    }
}

void pool_finish(struct pass *pass)
{
    upstream_finish(pass->call);
}

void pool_pause(struct pass *pass, bool pause)
{
    pass->paused = pause;
    if (pass->call)
        upstream_pause(pass->call, pause);
}

void pool_first_call(struct pool *p, size_t member)
{
    budget_first_call(&p->members[member].budget);
}

bool pool_may_repeat(struct pool *p, size_t member)
{
    return budget_take(&p->members[member].budget, clock_ms());
}

static void learn_quota(struct member *m, const struct verdict *v, int64_t now)
{
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

static void learn_refusal(struct member *m, const struct verdict *v, int64_t now)
{
    const struct target *t = m->target;
    enum refusal_news news = refusal_learn(&m->refusal, v, now);

    if (news == REFUSAL_ENDS)
        log_event(LOG_INFO, LOG_FIELDS(LOG_CSTR("upstream", t->name)), "the upstream takes our key again");
    if (news != REFUSAL_BEGINS)
        return;
    const struct log_field fields[] = {LOG_CSTR("upstream", t->name),
                                       LOG_INT("status", v->status),
                                       LOG_CSTR("code", *v->code ? v->code : v->type),
                                       {.key = NULL}};
    if (*t->key_name)
        log_event(
            LOG_ERROR, fields,
            "the upstream refuses our key, or what it may do: put one that is good for %s into %s (or the "
            "file that %s_FILE names) and start again",
            t->base_url, t->key_name, t->key_name);
    else
        log_event(LOG_ERROR, fields,
                  "the upstream wants a key, and none is configured for %s: name one in \"key\" in "
                  "LLM_UPSTREAMS_FILE and start again",
                  t->base_url);
}

static void learn_health(struct member *m, const struct pass *pass, const struct verdict *v, int64_t now)
{
    bool was_open = m->breaker.open;
    bool unread = pass->paused && v->outcome == OUTCOME_TIMEOUT; /* it may have answered */

    breaker_ended(&m->breaker, now, unread ? FAULT_OTHER : retry_fault(v, now - pass->started_us / 1000),
                  pass->trying);
    if (was_open && !m->breaker.open)
        log_event(LOG_INFO, LOG_FIELDS(LOG_CSTR("upstream", m->target->name)), "the upstream answers again");
    else if (!was_open && m->breaker.open)
        log_event(LOG_WARNING,
                  LOG_FIELDS(LOG_CSTR("upstream", m->target->name),
                             LOG_CSTR("outcome", outcome_word(v->outcome)), LOG_INT("status", v->status)),
                  "too many calls to the upstream failed: it is left alone for a while");
    if (!breaker_allows(&m->breaker, now))
        loop_timer_set(m->pool->loop, &m->turn, now); /* not now: the caller may wait for it, too */
}

void pool_learn(struct pool *p, struct pass *pass, const struct verdict *v, uint64_t tokens)
{
    struct member *m = &p->members[pass->member];
    int64_t now = clock_ms();

    learn_quota(m, v, now);
    learn_refusal(m, v, now);
    if (v->outcome == OUTCOME_OK)
        climit_good(&m->climit, m->in_flight + 1);
    else if (retry_is_overload(v))
        climit_overload(&m->climit, now);
    if (tokens)
        pacing_used(&m->pacing, tokens);
    learn_health(m, pass, v, now);
}

void pool_took(struct pool *p, const struct pass *pass, bool stream, bool ended)
{
    latency_add(&p->members[pass->member].latency[stream], (clock_us() - pass->started_us) / 1000, ended);
}

int64_t pool_p95(const struct pool *p, size_t member, bool stream)
{
    return latency_p95(&p->members[member].latency[stream]);
}

void pool_set_workers(struct pool *p, uint64_t workers)
{
    p->workers = workers > 0 && workers < 100000 ? (int64_t)workers : 1;
}

size_t pool_report(const struct pool *p, struct event_upstream out[UPSTREAMS_MAX], bool *down)
{
    int64_t now = clock_ms();

    *down = p->n > 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct member *m = &p->members[i];
        enum breaker_state state = breaker_state(&m->breaker, now);
        out[i] = (struct event_upstream){
            .name = str_of(m->target->name),
            .state = state,
            .in_flight = (uint64_t)m->in_flight,
            .limit = (uint64_t)room(m),
            .model = str_of(m->target->model),
            .refused = refusal_holds(&m->refusal, now),
        };
        *down = *down && (state == BREAKER_OPEN || out[i].refused);
    }
    return p->n;
}

static void member_init(struct member *m, struct pool *p, const struct worker_conf *conf,
                        const struct target *t)
{
    const struct upstream_conf u = {
        .target = t,
        .ca_file = *t->ca_file ? t->ca_file : worker_conf_ca_file(conf),
        .connect_timeout_ms = conf->connect_timeout_ms,
        .first_byte_timeout_ms = conf->first_byte_timeout_ms,
        .stall_timeout_ms = conf->stall_timeout_ms,
        .call_timeout_ms = conf->call_timeout_ms,
    };

    m->pool = p;
    m->target = t;
    m->upstream = upstream_new(p->loop, &u);
    m->turn = (struct loop_timer){.fn = on_turn, .arg = m};
    budget_init(&m->budget, conf->retry_budget, clock_ms());
    breaker_init(&m->breaker, conf->breaker_failures);
    climit_init(&m->climit, conf->slots);
}

struct pool *pool_new(struct loop *l, const struct worker_conf *conf)
{
    struct pool *p = xcalloc(1, sizeof *p);

    p->loop = l;
    p->workers = 1;
    p->n = conf->roster->n;
    for (size_t i = 0; i < p->n; i++)
        member_init(&p->members[i], p, conf, &conf->roster->targets[i]);
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++) {
        loop_timer_clear(p->loop, &p->members[i].turn);
        upstream_free(p->members[i].upstream);
    }
    free(p);
}
