#include "llm-worker/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "llm-worker/guardrails.h"
#include "llm-worker/openai.h"
#include "llm-worker/pool.h"
#include "llm-worker/prompt.h"
#include "llm-worker/trail.h"

#define BUCKETS 4096

struct run {
    struct run *prev, *next; /* in its bucket */
    struct jobs *jobs;
    uint64_t epoch, id;
    bool has_max_words;
    int64_t max_words;
    int64_t start_us;
    int64_t deadline_ms;
    struct buf
        question; /* only where there is another upstream, with perhaps another model, to ask it again */
    struct buf body;
    struct pass pass;
    struct loop_timer timer; /* between two calls */
    uint32_t tried;          /* bits: upstreams that this question has given up */
    unsigned tries_here;     /* at the upstream of pass.member */
    int64_t ready_us;        /* when the wait before the next call began */
    struct trail trail;
};

struct jobs {
    struct loop *loop;
    const struct worker_conf *conf;
    struct pool *pool; /* NULL: nobody to ask */
    void (*report)(void *arg, const struct job *result);
    void *arg;
    uint64_t held;
    struct run *buckets[BUCKETS]; /* by id, for cancel */
};

static struct run **bucket(struct jobs *j, uint64_t id)
{
    return &j->buckets[id % BUCKETS];
}

static void run_free(struct run *r)
{
    struct jobs *j = r->jobs;

    pool_cancel(&r->pass);
    loop_timer_clear(j->loop, &r->timer);
    *(r->prev ? &r->prev->next : bucket(j, r->id)) = r->next;
    if (r->next)
        r->next->prev = r->prev;
    j->held--;
    buf_free(&r->question);
    buf_free(&r->body);
    free(r);
}

/* Reports and forgets the run. */
static void finish(struct run *r, struct job *result)
{
    result->epoch = r->epoch;
    result->id = r->id;
    result->worker_us = clock_us() - r->start_us;
    result->attempts = trail_list(&r->trail);
    if (!result->model.n)
        result->model =
            str_of(r->trail.n ? pool_target(r->jobs->pool, r->pass.member)->model : r->jobs->conf->model);
    result->has_cost =
        result->has_cost && prices_cost(r->jobs->conf->prices, prices_today(), result, &result->cost_usd);
    r->jobs->report(r->jobs->arg, result);
    run_free(r);
}

static void fail(struct run *r, const char *word, const char *text)
{
    finish(r, &(struct job){.kind = JOB_FAILED, .error = str_of(word), .error_text = str_of(text)});
}

static void succeed(struct run *r, const struct completion *c)
{
    struct buf hold = BUF_INIT(ANSWER_MAX);
    struct str answer = r->has_max_words ? guardrails_limit(c->content, r->max_words, &hold) : c->content;
    struct job result = {
        .kind = JOB_DONE,
        .answer = answer,
        .truncated = answer.p != c->content.p,
        .model = c->model,
        .has_usage = c->has_usage,
        .prompt_tokens = c->prompt_tokens,
        .completion_tokens = c->completion_tokens,
        .total_tokens = c->total_tokens,
        .cached_tokens = c->cached_tokens,
        .reasoning_tokens = c->reasoning_tokens,
        .has_cost = c->list_price, /* if the model has one: finish() */
        .non_empty_answer = guardrails_non_empty(answer),
        .toxicity_safe = guardrails_toxicity_safe(r->jobs->conf->wordlist, answer),
    };

    finish(r, &result);
    buf_free(&hold);
}

static void fail_without_upstream(struct run *r)
{
    fail(r, "upstream_down",
         "every upstream is left alone for a while, because too many of its calls failed");
}

static void note_attempt(struct run *r, const struct call_result *res, enum outcome outcome, const char *code)
{
    r->tries_here++;
    trail_add(&r->trail, pool_target(r->jobs->pool, r->pass.member)->name, outcome, res, code,
              r->pass.started_us, r->pass.started_us - r->ready_us);
}

/* For whoever runs the service: what happened, where, and what to look at. */
static void describe(struct buf *text, const struct verdict *v, const char *url, const char *code)
{
    if (v->status >= 300 && v->status < 400)
        buf_printf(text, "%s answered %d, a redirect, which is not followed: is the base URL right?", url,
                   v->status);
    else if (v->outcome == OUTCOME_HTTP)
        buf_printf(text, "%s answered %d%s%s%s", url, v->status, *code ? " " : "", code,
                   v->status == 404 ? ": are the base URL and the model right?" : "");
    else if (v->outcome == OUTCOME_GARBAGE)
        buf_printf(text, "%s answered with something that is no JSON: is the base URL right?", url);
    else if (v->outcome == OUTCOME_NO_ANSWER)
        buf_printf(text, "%s answered with JSON that holds no answer", url);
    else
        buf_printf(text, "no answer from %s (%s%s%s)", url, outcome_word(v->outcome), v->trouble ? ": " : "",
                   v->trouble ? v->trouble : "");
}

static void give_up(struct run *r, const struct verdict *v, enum retry_why why)
{
    const char *reason = retry_why_text(why);
    struct buf text = BUF_INIT(4 * KIB);

    describe(&text, v, pool_target(r->jobs->pool, r->pass.member)->base_url, trail_last_code(&r->trail));
    buf_printf(&text, "; tries: %u%s%s", r->trail.n, *reason ? ", no more because " : "", reason);
    fail(r, retry_error_word(v), text.data);
    buf_free(&text);
}

static bool go_to_another(struct run *r);

/* The upstream may have been given up since the call was planned. */
static void call(void *arg)
{
    struct run *r = arg;

    if (pool_is_usable(r->jobs->pool, r->pass.member))
        pool_ask(r->jobs->pool, &r->pass);
    else if (!go_to_another(r))
        fail_without_upstream(r);
}

/* The first upstream for a question, or the next one: at once, there is nothing to wait for. False: there is none. */
static bool go_to_another(struct run *r)
{
    struct jobs *j = r->jobs;
    int member = pool_pick(j->pool, r->tried);

    if (member < 0)
        return false;
    r->tried |= 1u << member;
    r->tries_here = 0;
    r->pass.member = (size_t)member;
    if (r->question.len) {
        buf_reset(&r->body);
        prompt_write(&r->body, pool_target(j->pool, r->pass.member)->model, buf_str(&r->question));
        r->pass.body = buf_str(&r->body);
    }
    r->ready_us = clock_us();
    pool_first_call(j->pool, r->pass.member);
    pool_ask(j->pool, &r->pass);
    return true;
}

static bool another_may_help(const struct run *r, const struct verdict *v)
{
    return retry_elsewhere(v) && r->trail.n < UPSTREAM_ATTEMPTS_MAX && clock_ms() < r->deadline_ms;
}

static struct retry decide(const struct run *r, const struct verdict *v, int64_t now)
{
    const struct worker_conf *c = r->jobs->conf;
    struct retry_limits limits = {c->attempts, c->retry_after_ms};
    struct retry retry = retry_decide(v, &limits, r->tries_here, now, r->deadline_ms, wall_us(), id_u32());

    if (retry.again && r->trail.n >= UPSTREAM_ATTEMPTS_MAX)
        return (struct retry){.why = RETRY_TRIES};
    if (retry.again && !pool_is_usable(r->jobs->pool, r->pass.member))
        return (struct retry){.why = RETRY_BREAKER};
    if (retry.again && !pool_may_repeat(r->jobs->pool, r->pass.member))
        return (struct retry){.why = RETRY_BUDGET};
    return retry;
}

static void try_again_or_fail(struct run *r, const struct verdict *v)
{
    int64_t now = clock_ms();

    if (retry_is_mute(v) && another_may_help(r, v) && go_to_another(r))
        return;
    struct retry retry = decide(r, v, now);
    if (retry.again) {
        r->ready_us = clock_us();
        loop_timer_set(r->jobs->loop, &r->timer, now + retry.wait_ms);
    } else if (!another_may_help(r, v) || !go_to_another(r)) {
        give_up(r, v, retry.why);
    }
}

static enum outcome read_answer(struct str body, struct completion *c)
{
    switch (openai_read_completion(body, c)) {
    case 0:
        return OUTCOME_OK;
    case -ENODATA:
        return OUTCOME_NO_ANSWER;
    default:
        return OUTCOME_GARBAGE;
    }
}

static struct verdict verdict_of(const struct call_result *res, enum outcome outcome,
                                 const struct openai_error *e)
{
    return (struct verdict){
        .outcome = outcome,
        .status = res->status,
        .code = e->code,
        .type = e->type,
        .trouble = res->trouble,
        .should_retry = res->should_retry,
        .retry_after_ms = res->retry_after_ms,
        .retry_after = res->retry_after,
        .date = res->date,
    };
}

/* Nothing was asked: the upstream was given up, or the time is over. */
static void turn_did_not_come(struct run *r)
{
    if (clock_ms() >= r->deadline_ms)
        fail(r, "rate_limited",
             "the request's time was over while it waited for its turn at the upstream's limits");
    else if (!go_to_another(r))
        fail_without_upstream(r);
}

static void on_result(void *arg, const struct call_result *res)
{
    struct run *r = arg;
    struct completion c;
    struct openai_error e = {.code = ""};
    enum outcome outcome;

    if (!res) {
        turn_did_not_come(r);
        return;
    }
    outcome = res->outcome;
    if (outcome == OUTCOME_OK)
        outcome = read_answer(res->body, &c);
    if (outcome == OUTCOME_HTTP)
        openai_read_error(res->body, &e);
    note_attempt(r, res, outcome, openai_error_word(&e));
    struct verdict v = verdict_of(res, outcome, &e);
    pool_learn(r->jobs->pool, &r->pass, &v, outcome == OUTCOME_OK ? c.total_tokens : 0);
    if (outcome == OUTCOME_OK) {
        succeed(r, &c);
        openai_free(&c);
    } else {
        try_again_or_fail(r, &v);
    }
}

static struct run *run_new(struct jobs *j, const struct job *m)
{
    struct run *r = xcalloc(1, sizeof *r);
    struct run **head = bucket(j, m->id);

    r->jobs = j;
    r->epoch = m->epoch;
    r->id = m->id;
    r->has_max_words = m->has_max_words;
    r->max_words = m->max_words;
    r->start_us = clock_us();
    r->deadline_ms = clock_ms() + m->budget_ms;
    r->question = BUF_INIT(QUESTION_MAX);
    r->body = BUF_INIT(4 * QUESTION_MAX);
    r->timer = (struct loop_timer){.fn = call, .arg = r};
    r->next = *head;
    if (r->next)
        r->next->prev = r;
    *head = r;
    return r;
}

static void ask(struct run *r, struct str question)
{
    const struct roster *roster = r->jobs->conf->roster;

    if (roster->n > 1)
        buf_append(&r->question, question.p, question.n);
    else
        prompt_write(&r->body, roster->targets[0].model, question);
    r->pass =
        (struct pass){.body = buf_str(&r->body), .deadline_ms = r->deadline_ms, .done = on_result, .arg = r};
    if (!go_to_another(r))
        fail_without_upstream(r);
}

void jobs_start(struct jobs *j, const struct job *m)
{
    struct run *r = run_new(j, m);

    if (j->held++ >= (uint64_t)j->conf->slots)
        fail(r, "worker_full", "the worker was given more questions than it has slots");
    else if (!j->pool)
        fail(r, "no_api_key", "OPENAI_API_KEY is not set");
    else if (m->budget_ms <= 0)
        fail(r, "timeout", "the request's deadline had passed before the provider was called");
    else
        ask(r, m->question);
}

static struct run *find(struct jobs *j, uint64_t epoch, uint64_t id)
{
    for (struct run *r = *bucket(j, id); r; r = r->next)
        if (r->id == id && r->epoch == epoch)
            return r;
    return NULL;
}

static void stop(struct run *r)
{
    if (r->pass.call)
        note_attempt(r, NULL, OUTCOME_CANCELLED, "");
    fail(r, "cancelled", "stopped before the provider had answered");
}

void jobs_cancel(struct jobs *j, uint64_t epoch, uint64_t id)
{
    struct run *r = find(j, epoch, id);

    if (r)
        stop(r);
}

void jobs_abandon(struct jobs *j, uint64_t epoch_now)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct run *r = j->buckets[i], *next; r; r = next) {
            next = r->next;
            if (r->epoch != epoch_now)
                stop(r);
        }
}

void jobs_set_workers(struct jobs *j, uint64_t workers)
{
    if (j->pool)
        pool_set_workers(j->pool, workers);
}

size_t jobs_upstreams(const struct jobs *j, struct event_upstream out[UPSTREAMS_MAX], bool *down)
{
    *down = false;
    return j->pool ? pool_report(j->pool, out, down) : 0;
}

uint64_t jobs_held(const struct jobs *j)
{
    return j->held;
}

struct jobs *jobs_new(struct loop *l, const struct worker_conf *conf,
                      void (*report)(void *arg, const struct job *result), void *arg)
{
    struct jobs *j = xcalloc(1, sizeof *j);

    j->loop = l;
    j->conf = conf;
    j->report = report;
    j->arg = arg;
    if (conf->roster)
        j->pool = pool_new(l, conf);
    return j;
}

void jobs_free(struct jobs *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (j->buckets[i])
            run_free(j->buckets[i]);
    pool_free(j->pool);
    free(j);
}
