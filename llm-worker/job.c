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
#include "llm-worker/budget.h"
#include "llm-worker/guardrails.h"
#include "llm-worker/openai.h"
#include "llm-worker/prompt.h"
#include "llm-worker/upstream.h"

#define ATTEMPTS_MAX    10 /* LLM_MAX_ATTEMPTS goes no higher */
#define UPSTREAM_ID_MAX 64
#define UPSTREAM_NAME   "openai"
#define BUCKETS         4096

/* One try, with room for the texts that its event_attempt points at. */
struct attempt {
    struct event_attempt event;
    char upstream_id[UPSTREAM_ID_MAX];
    char code[OPENAI_CODE_MAX];
};

struct run {
    struct run *prev, *next; /* in its bucket */
    struct jobs *jobs;
    uint64_t epoch, id;
    bool has_max_words;
    int64_t max_words;
    int64_t start_us;
    int64_t deadline_ms;
    struct buf body;
    struct call *call;
    struct loop_timer timer; /* between two calls */
    unsigned tries;
    int64_t call_us;
    int64_t waited_us;
    struct attempt attempts[ATTEMPTS_MAX];
};

struct jobs {
    struct loop *loop;
    const struct worker_conf *conf;
    struct upstream *upstream; /* NULL: nobody to ask */
    struct budget budget;
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

    if (r->call)
        upstream_cancel(r->call);
    loop_timer_clear(j->loop, &r->timer);
    *(r->prev ? &r->prev->next : bucket(j, r->id)) = r->next;
    if (r->next)
        r->next->prev = r->prev;
    j->held--;
    buf_free(&r->body);
    free(r);
}

/* Reports and forgets the run. */
static void finish(struct run *r, struct job *result)
{
    struct event_attempt attempts[ATTEMPTS_MAX];

    for (unsigned i = 0; i < r->tries; i++)
        attempts[i] = r->attempts[i].event;
    result->epoch = r->epoch;
    result->id = r->id;
    result->worker_us = clock_us() - r->start_us;
    result->attempts = (struct list){attempts, r->tries};
    if (!result->model.n)
        result->model = str_of(r->jobs->conf->model);
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
        .non_empty_answer = guardrails_non_empty(answer),
        .toxicity_safe = guardrails_toxicity_safe(r->jobs->conf->wordlist, answer),
    };

    finish(r, &result);
    buf_free(&hold);
}

static void call(void *arg);

static void note_attempt(struct run *r, const struct call_result *res, enum outcome outcome, const char *code)
{
    struct attempt *a = &r->attempts[r->tries++];
    int64_t took = clock_us() - r->call_us;
    size_t n = res ? res->request_id.n : 0;

    n = n < UPSTREAM_ID_MAX ? n : UPSTREAM_ID_MAX;
    if (n)
        memcpy(a->upstream_id, res->request_id.p, n);
    snprintf(a->code, sizeof a->code, "%s", code);
    a->event = (struct event_attempt){
        .start_us = wall_us() - took,
        .duration_us = took,
        .wait_us = r->waited_us,
        .status = res ? (uint64_t)res->status : 0,
        .outcome = str_of(outcome_word(outcome)),
        .upstream_id = {a->upstream_id, n},
        .code = str_of(a->code),
        .upstream = str_of(UPSTREAM_NAME),
    };
}

static void give_up(struct run *r, const struct verdict *v, enum retry_why why)
{
    const char *code = r->attempts[r->tries - 1].code;
    const char *reason = retry_why_text(why);
    struct buf text = BUF_INIT(KIB);

    if (v->status >= 300 && v->status < 400)
        buf_printf(&text,
                   "the provider answered %d, a redirect, which is not followed: is the base URL right?",
                   v->status);
    else if (v->outcome == OUTCOME_HTTP)
        buf_printf(&text, "the provider answered %d%s%s", v->status, *code ? " " : "", code);
    else
        buf_printf(&text, "no answer from the provider (%s)", outcome_word(v->outcome));
    buf_printf(&text, "; tries: %u%s%s", r->tries, *reason ? ", no more because " : "", reason);
    fail(r, retry_error_word(v), text.data);
    buf_free(&text);
}

static void try_again_or_fail(struct run *r, const struct verdict *v)
{
    struct jobs *j = r->jobs;
    struct retry_limits limits = {j->conf->attempts, j->conf->retry_after_ms};
    int64_t now = clock_ms();
    struct retry retry = retry_decide(v, &limits, r->tries, now, r->deadline_ms, wall_us(), id_u32());

    if (retry.again && !budget_take(&j->budget, now))
        retry = (struct retry){.why = RETRY_BUDGET};
    if (!retry.again) {
        give_up(r, v, retry.why);
        return;
    }
    r->waited_us = retry.wait_ms * 1000;
    loop_timer_set(j->loop, &r->timer, now + retry.wait_ms);
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
        .should_retry = res->should_retry,
        .retry_after_ms = res->retry_after_ms,
        .retry_after = res->retry_after,
        .date = res->date,
    };
}

static void on_result(void *arg, const struct call_result *res)
{
    struct run *r = arg;
    struct completion c;
    struct openai_error e = {.code = ""};
    enum outcome outcome = res->outcome;

    r->call = NULL;
    if (outcome == OUTCOME_OK)
        outcome = read_answer(res->body, &c);
    if (outcome == OUTCOME_HTTP)
        openai_read_error(res->body, &e);
    note_attempt(r, res, outcome, openai_error_word(&e));
    if (outcome == OUTCOME_OK) {
        succeed(r, &c);
        openai_free(&c);
        return;
    }
    struct verdict v = verdict_of(res, outcome, &e);
    try_again_or_fail(r, &v);
}

static void call(void *arg)
{
    struct run *r = arg;

    r->call_us = clock_us();
    r->call = upstream_start(r->jobs->upstream, buf_str(&r->body), r->deadline_ms - clock_ms(), on_result, r);
}

void jobs_start(struct jobs *j, const struct job *m)
{
    struct run *r = xcalloc(1, sizeof *r);

    *r = (struct run){
        .jobs = j,
        .epoch = m->epoch,
        .id = m->id,
        .has_max_words = m->has_max_words,
        .max_words = m->max_words,
        .start_us = clock_us(),
        .deadline_ms = clock_ms() + m->budget_ms,
        .body = BUF_INIT(4 * QUESTION_MAX),
        .timer = {.fn = call, .arg = r},
    };
    struct run **head = bucket(j, r->id);
    r->next = *head;
    if (r->next)
        r->next->prev = r;
    *head = r;
    if (j->held++ >= (uint64_t)j->conf->slots) {
        fail(r, "worker_full", "the worker was given more questions than it has slots");
    } else if (!j->upstream) {
        fail(r, "no_api_key", "OPENAI_API_KEY is not set");
    } else if (m->budget_ms <= 0) {
        fail(r, "timeout", "the request's deadline had passed before the provider was called");
    } else {
        prompt_write(&r->body, j->conf->model, m->question);
        budget_first_call(&j->budget);
        call(r);
    }
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
    if (r->call)
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

uint64_t jobs_held(const struct jobs *j)
{
    return j->held;
}

struct jobs *jobs_new(struct loop *l, const struct worker_conf *conf,
                      void (*report)(void *arg, const struct job *result), void *arg)
{
    struct jobs *j = xcalloc(1, sizeof *j);
    bool demo = worker_conf_is_demo(conf);
    struct upstream_conf u = {
        .base_url = demo ? conf->demo_base_url : conf->base_url,
        .api_key = demo ? "demo" : conf->api_key,
        .connect_timeout_ms = conf->connect_timeout_ms,
        .first_byte_timeout_ms = conf->first_byte_timeout_ms,
        .stall_timeout_ms = conf->stall_timeout_ms,
        .call_timeout_ms = conf->call_timeout_ms,
    };

    budget_init(&j->budget, conf->retry_budget, clock_ms());
    j->loop = l;
    j->conf = conf;
    j->report = report;
    j->arg = arg;
    if (worker_conf_has_upstream(conf))
        j->upstream = upstream_new(l, &u);
    return j;
}

void jobs_free(struct jobs *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (j->buckets[i])
            run_free(j->buckets[i]);
    upstream_free(j->upstream);
    free(j);
}
