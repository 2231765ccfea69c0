#include "llm-worker/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "llm-worker/chat.h"
#include "llm-worker/delay.h"
#include "llm-worker/estimate.h"
#include "llm-worker/guardrails.h"
#include "llm-worker/openai.h"
#include "llm-worker/pool.h"
#include "llm-worker/prompt.h"
#include "llm-worker/stream.h"
#include "llm-worker/trail.h"

#define BUCKETS 4096
#define TAIL_MS 100 /* for a provider to end its answer after it has said that it is whole */

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
    bool chat;             /* the body is the client's own, for every upstream */
    struct stream *stream; /* NULL: the answer is wanted in one piece */
    bool paused;           /* its client takes no more for now */
    struct pass pass;
    struct loop_timer timer; /* between two calls */
    struct loop_timer tail;  /* the answer is whole, and the call not over yet */
    uint32_t tried;          /* bits: upstreams that this question has given up, or that have not its model */
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
    bool hold;                    /* no stream may go on */
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
    loop_timer_clear(j->loop, &r->tail);
    *(r->prev ? &r->prev->next : bucket(j, r->id)) = r->next;
    if (r->next)
        r->next->prev = r->prev;
    j->held--;
    buf_free(&r->question);
    buf_free(&r->body);
    stream_free(r->stream);
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

static void set_usage(struct job *to, const struct completion *c)
{
    if (c->model.n)
        to->model = c->model;
    to->has_usage = c->has_usage;
    to->prompt_tokens = c->prompt_tokens;
    to->completion_tokens = c->completion_tokens;
    to->total_tokens = c->total_tokens;
    to->cached_tokens = c->cached_tokens;
    to->reasoning_tokens = c->reasoning_tokens;
    to->has_cost = c->list_price; /* if the model has one: finish() */
}

static void set_scores(struct job *to, const struct run *r, struct str answer)
{
    to->non_empty_answer = guardrails_non_empty(answer);
    to->toxicity_safe = guardrails_toxicity_safe(r->jobs->conf->wordlist, answer);
}

/* The provider has been asked, and will not say any more what that has used. */
static void estimate_usage(struct job *to, const struct run *r, uint64_t deltas, uint64_t delta_bytes)
{
    if (to->has_usage)
        return;
    to->has_usage = to->usage_estimated = to->has_cost = true;
    to->prompt_tokens = estimate_prompt(buf_str(&r->body));
    to->completion_tokens = estimate_completion(deltas, delta_bytes);
    to->total_tokens = to->prompt_tokens + to->completion_tokens;
    to->cached_tokens = to->reasoning_tokens = 0;
}

/* What there is of a streamed answer. The gateway has the text of a question's. */
static void set_stream(struct job *to, const struct run *r)
{
    struct stream_summary sum = stream_summary(r->stream);

    set_usage(to, &sum.whole);
    set_scores(to, r, sum.whole.content);
    to->truncated = sum.truncated;
    if (r->chat)
        to->answer = sum.message;
    if (sum.deltas || r->pass.call)
        estimate_usage(to, r, sum.deltas, sum.delta_bytes);
}

/* A stream that broke off has used something, and said something. */
static void fail_with(struct run *r, struct job *result, const char *word, const char *text)
{
    if (r->stream && stream_has_begun(r->stream))
        set_stream(result, r);
    result->kind = JOB_FAILED;
    result->error = str_of(word);
    result->error_text = str_of(text);
    finish(r, result);
}

static void fail(struct run *r, const char *word, const char *text)
{
    fail_with(r, &(struct job){.kind = JOB_FAILED}, word, text);
}

static void succeed_stream(struct run *r)
{
    struct job result = {.kind = JOB_DONE};

    set_stream(&result, r);
    finish(r, &result);
}

/* body: as the provider wrote it. */
static void succeed_chat(struct run *r, const struct completion *c, struct str body)
{
    struct job result = {.kind = JOB_DONE, .status = 200, .body = body, .answer = c->message};

    set_usage(&result, c);
    set_scores(&result, r, c->content);
    finish(r, &result);
}

static void succeed(struct run *r, const struct completion *c)
{
    struct buf hold = BUF_INIT(ANSWER_MAX);
    struct str answer = r->has_max_words ? guardrails_limit(c->content, r->max_words, &hold) : c->content;
    struct job result = {.kind = JOB_DONE, .answer = answer, .truncated = answer.p != c->content.p};

    set_usage(&result, c);
    set_scores(&result, r, answer);
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
static void describe(struct buf *text, const struct verdict *v, const char *url, const char *code,
                     bool stream)
{
    if (v->status >= 300 && v->status < 400)
        buf_printf(text, "%s answered %d, a redirect, which is not followed: is the base URL right?", url,
                   v->status);
    else if (v->outcome == OUTCOME_HTTP)
        buf_printf(text, "%s answered %d%s%s%s", url, v->status, *code ? " " : "", code,
                   v->status == 404 ? ": are the base URL and the model right?" : "");
    else if (v->outcome == OUTCOME_GARBAGE)
        buf_printf(text, "%s answered with something that is no %s: is the base URL right?", url,
                   stream ? "event stream of JSON" : "JSON");
    else if (v->outcome == OUTCOME_STREAM_ERROR)
        buf_printf(text, "%s reported an error in the middle of the stream%s%s", url, *code ? ": " : "",
                   code);
    else if (v->outcome == OUTCOME_NO_ANSWER)
        buf_printf(text, "%s answered with JSON that holds no answer", url);
    else
        buf_printf(text, "no answer from %s (%s%s%s)", url, outcome_word(v->outcome), v->trouble ? ": " : "",
                   v->trouble ? v->trouble : "");
}

/* A chat completion's client is told what the provider says, unless that is about our key: it may show a part of it. */
static void set_refusal(struct job *to, const struct run *r, const struct verdict *v, struct str body)
{
    int64_t after = delay_retry_after(v->retry_after_ms, v->retry_after, v->date, wall_us());

    if (!r->chat || v->outcome != OUTCOME_HTTP || v->status == 401 || v->status == 403)
        return;
    to->retry_after_ms = after > 0 ? after : 0;
    if (v->status >= 400 && body.n <= CHAT_REFUSAL_MAX && openai_is_object(body)) {
        to->status = (uint64_t)v->status;
        to->body = body;
    }
}

static void give_up(struct run *r, const struct verdict *v, enum retry_why why, struct str body)
{
    const char *reason = retry_why_text(why);
    struct buf text = BUF_INIT(4 * KIB);
    struct job result = {.kind = JOB_FAILED};

    describe(&text, v, pool_target(r->jobs->pool, r->pass.member)->base_url, trail_last_code(&r->trail),
             r->stream != NULL);
    buf_printf(&text, "; tries: %u%s%s", r->trail.n, *reason ? ", no more because " : "", reason);
    set_refusal(&result, r, v, body);
    fail_with(r, &result, retry_error_word(v), text.data);
    buf_free(&text);
}

static bool go_to_another(struct run *r);

static void start(struct run *r)
{
    if (r->stream)
        stream_reset(r->stream);
    pool_ask(r->jobs->pool, &r->pass);
}

/* The upstream may have been given up since the call was planned. */
static void call(void *arg)
{
    struct run *r = arg;

    if (pool_is_usable(r->jobs->pool, r->pass.member))
        start(r);
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
        prompt_write(&r->body, pool_target(j->pool, r->pass.member)->model, buf_str(&r->question),
                     r->stream != NULL);
        r->pass.body = buf_str(&r->body);
    }
    r->ready_us = clock_us();
    pool_first_call(j->pool, r->pass.member);
    start(r);
    return true;
}

static bool may_ask_again(const struct run *r)
{
    return !r->stream || !stream_has_begun(r->stream);
}

static bool another_may_help(const struct run *r, const struct verdict *v)
{
    return may_ask_again(r) && retry_elsewhere(v) && r->trail.n < UPSTREAM_ATTEMPTS_MAX &&
           clock_ms() < r->deadline_ms;
}

static struct retry decide(const struct run *r, const struct verdict *v, int64_t now)
{
    const struct worker_conf *c = r->jobs->conf;
    struct retry_limits limits = {c->attempts, c->retry_after_ms};
    struct retry retry = retry_decide(v, &limits, r->tries_here, now, r->deadline_ms, wall_us(), id_u32());

    if (retry.again && !may_ask_again(r))
        return (struct retry){.why = RETRY_BEGUN};
    if (retry.again && r->trail.n >= UPSTREAM_ATTEMPTS_MAX)
        return (struct retry){.why = RETRY_TRIES};
    if (retry.again && !pool_is_usable(r->jobs->pool, r->pass.member))
        return (struct retry){.why = RETRY_BREAKER};
    if (retry.again && !pool_may_repeat(r->jobs->pool, r->pass.member))
        return (struct retry){.why = RETRY_BUDGET};
    return retry;
}

/* body: of the provider's answer. */
static void try_again_or_fail(struct run *r, const struct verdict *v, struct str body)
{
    int64_t now = clock_ms();

    if (retry_is_mute(v) && another_may_help(r, v) && go_to_another(r))
        return;
    struct retry retry = decide(r, v, now);
    if (retry.again) {
        r->ready_us = clock_us();
        loop_timer_set(r->jobs->loop, &r->timer, now + retry.wait_ms);
    } else if (!another_may_help(r, v) || !go_to_another(r)) {
        give_up(r, v, retry.why, body);
    }
}

/* A chat completion's message may hold something else than text, like calls of tools. */
static enum outcome read_answer(const struct run *r, struct str body, struct completion *c)
{
    switch (openai_read_completion(body, c)) {
    case 0:
        if (r->chat || c->content.p)
            return OUTCOME_OK;
        openai_free(c);
        return OUTCOME_NO_ANSWER;
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

static void have_answer(struct run *r, const struct call_result *res)
{
    struct completion c;
    struct openai_error e = {.code = ""};
    enum outcome outcome = res->outcome;

    if (outcome == OUTCOME_OK)
        outcome = read_answer(r, res->body, &c);
    if (outcome == OUTCOME_HTTP)
        openai_read_error(res->body, &e);
    note_attempt(r, res, outcome, openai_error_word(&e));
    struct verdict v = verdict_of(res, outcome, &e);
    pool_learn(r->jobs->pool, &r->pass, &v, outcome == OUTCOME_OK ? c.total_tokens : 0);
    if (outcome != OUTCOME_OK) {
        try_again_or_fail(r, &v, res->body);
        return;
    }
    if (r->chat)
        succeed_chat(r, &c, res->body);
    else
        succeed(r, &c);
    openai_free(&c);
}

static void have_stream(struct run *r, const struct call_result *res)
{
    enum outcome outcome = stream_end(r->stream, res->outcome);
    struct stream_summary sum = stream_summary(r->stream);
    struct openai_error e = *sum.error;

    loop_timer_clear(r->jobs->loop, &r->tail);
    if (outcome == OUTCOME_HTTP)
        openai_read_error(res->body, &e);
    note_attempt(r, res, outcome, openai_error_word(&e));
    struct verdict v = verdict_of(res, outcome, &e);
    pool_learn(r->jobs->pool, &r->pass, &v, sum.whole.total_tokens);
    if (outcome == OUTCOME_OK)
        succeed_stream(r);
    else
        try_again_or_fail(r, &v, res->body);
}

static void on_result(void *arg, const struct call_result *res)
{
    struct run *r = arg;

    if (!res)
        turn_did_not_come(r);
    else if (r->stream)
        have_stream(r, res);
    else
        have_answer(r, res);
}

static void on_tail(void *arg)
{
    struct run *r = arg;

    if (r->pass.call)
        pool_finish(&r->pass);
}

static bool on_piece(void *arg, struct str bytes)
{
    struct run *r = arg;
    bool more = stream_feed(r->stream, bytes);

    if (r->jobs->hold)
        pool_pause(&r->pass, true);
    if (stream_is_whole(r->stream) && !r->tail.place)
        loop_timer_set(r->jobs->loop, &r->tail, clock_ms() + TAIL_MS);
    return more;
}

static void on_emit(void *arg, struct str text, struct str bytes)
{
    const struct run *r = arg;

    r->jobs->report(r->jobs->arg, &(struct job){
                                      .kind = JOB_CHUNK,
                                      .epoch = r->epoch,
                                      .id = r->id,
                                      .answer = text,
                                      .bytes = bytes,
                                  });
}

static struct run *run_new(struct jobs *j, const struct job *m)
{
    struct run *r = xcalloc(1, sizeof *r);
    struct run **head = bucket(j, m->id);
    const struct stream_conf stream = {
        .chat = m->request.n > 0, .max_words = m->has_max_words ? m->max_words : INT64_MAX};

    r->jobs = j;
    r->epoch = m->epoch;
    r->id = m->id;
    r->has_max_words = m->has_max_words;
    r->max_words = m->max_words;
    r->start_us = clock_us();
    r->deadline_ms = clock_ms() + m->budget_ms;
    r->question = BUF_INIT(QUESTION_MAX);
    r->body = BUF_INIT(m->request.n + JSON_GROWTH_MAX * QUESTION_MAX);
    r->chat = m->request.n > 0;
    r->stream = m->stream ? stream_new(&stream, on_emit, r) : NULL;
    r->timer = (struct loop_timer){.fn = call, .arg = r};
    r->tail = (struct loop_timer){.fn = on_tail, .arg = r};
    r->next = *head;
    if (r->next)
        r->next->prev = r;
    *head = r;
    return r;
}

static void ask(struct run *r)
{
    r->pass = (struct pass){
        .body = buf_str(&r->body),
        .deadline_ms = r->deadline_ms,
        .piece = r->stream ? on_piece : NULL,
        .done = on_result,
        .arg = r,
    };
    if (!go_to_another(r))
        fail_without_upstream(r);
}

static void ask_question(struct run *r, struct str question)
{
    const struct roster *roster = r->jobs->conf->roster;

    if (roster->n > 1)
        buf_append(&r->question, question.p, question.n);
    else
        prompt_write(&r->body, roster->targets[0].model, question, r->stream != NULL);
    ask(r);
}

/* Where upstreams are configured for the model that a client names, the others are left out; where none is, the
 * provider will say whether it has it. */
static uint32_t without_model(const struct roster *roster, struct str model)
{
    uint32_t without = 0;
    size_t n = 0;

    for (size_t i = 0; i < roster->n; i++) {
        bool has = str_eq(model, roster->targets[i].model);
        without |= has ? 0 : 1u << i;
        n += has;
    }
    return n ? without : 0;
}

static void ask_chat(struct run *r, struct str request)
{
    struct chat c;

    if (chat_read(&c, request) == 0) {
        chat_write(&r->body, &c, r->stream != NULL);
        r->tried = without_model(r->jobs->conf->roster, c.model);
        if (r->stream)
            stream_wants_usage(r->stream, c.wants_usage);
        ask(r);
    } else {
        fail(r, "bad_request", "the chat completion's request is no JSON object");
    }
    chat_free(&c);
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
    else if (r->chat)
        ask_chat(r, m->request);
    else
        ask_question(r, m->question);
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
    struct job result = {.kind = JOB_FAILED};

    if (r->pass.call) {
        note_attempt(r, NULL, OUTCOME_CANCELLED, "");
        estimate_usage(&result, r, 0, 0);
    }
    fail_with(r, &result, "cancelled", "stopped before the provider had answered");
}

void jobs_cancel(struct jobs *j, uint64_t epoch, uint64_t id)
{
    struct run *r = find(j, epoch, id);

    if (r)
        stop(r);
}

static void let_go_on(struct run *r)
{
    pool_pause(&r->pass, r->paused || r->jobs->hold);
}

void jobs_pause(struct jobs *j, uint64_t epoch, uint64_t id, bool pause)
{
    struct run *r = find(j, epoch, id);

    if (!r || !r->stream)
        return;
    r->paused = pause;
    let_go_on(r);
}

void jobs_hold(struct jobs *j, bool hold)
{
    if (j->hold == hold)
        return;
    j->hold = hold;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct run *r = j->buckets[i]; r; r = r->next)
            if (r->stream)
                let_go_on(r);
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
