#include "llm-worker/run.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "llm-worker/chat.h"
#include "llm-worker/delay.h"
#include "llm-worker/estimate.h"
#include "llm-worker/guardrails.h"
#include "llm-worker/openai.h"
#include "llm-worker/prompt.h"

#define TAIL_MS 100 /* for a provider to end its answer after it has said that it is whole */

static const struct target *target_of(const struct run *r, const struct leg *leg)
{
    return pool_target(r->host->pool, leg->pass.member);
}

static struct leg *other(struct leg *leg)
{
    struct run *r = leg->run;

    return &r->legs[leg == r->legs];
}

static bool is_busy(const struct leg *leg)
{
    return leg->pass.call || leg->pass.waits;
}

/* Results. */

static void set_cost(struct job *to, const struct prices *prices)
{
    to->has_cost = to->has_cost && prices_cost(prices, prices_today(), to, &to->cost_usd);
}

/* Reports; the run may be gone then. */
static void finish(struct run *r, const struct leg *leg, struct job *result)
{
    const struct worker_conf *conf = r->host->conf;

    result->worker_us = clock_us() - r->start_us;
    result->attempts = trail_list(&r->trail);
    if (!result->model.n)
        result->model =
            r->model.len ? buf_str(&r->model) : str_of(r->trail.n ? target_of(r, leg)->model : conf->model);
    set_cost(result, conf->prices);
    r->host->over(r->host->arg, r, result);
}

static void set_usage(struct job *to, const struct completion *c)
{
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
    to->toxicity_safe = guardrails_toxicity_safe(r->host->conf->wordlist, answer);
}

/* The provider has been asked, and will not say any more what that has used. */
static void estimate_usage(struct job *to, const struct leg *leg, const struct estimate *said)
{
    if (to->has_usage)
        return;
    to->has_usage = to->usage_estimated = to->has_cost = true;
    to->prompt_tokens = estimate_prompt(leg->pass.body);
    to->completion_tokens = estimate_tokens(said);
    to->total_tokens = to->prompt_tokens + to->completion_tokens;
}

/* Of a call that is ended: as its stream has said it, else an estimate. */
static void set_used(struct job *to, const struct leg *leg)
{
    struct stream_summary sum = {.said.pieces = 0};

    if (leg->stream) {
        sum = stream_summary(leg->stream);
        set_usage(to, &sum.whole);
    }
    estimate_usage(to, leg, &sum.said);
}

/* What there is of a streamed answer. The gateway has the text of a question's. */
static void set_stream(struct job *to, const struct leg *leg)
{
    struct stream_summary sum = stream_summary(leg->stream);

    set_usage(to, &sum.whole);
    set_scores(to, leg->run, sum.whole.content);
    to->truncated = sum.truncated;
    if (leg->run->chat)
        to->answer = stream_message(leg->stream);
    if (sum.said.pieces || leg->pass.call)
        estimate_usage(to, leg, &sum.said);
}

/* A stream that broke off has said something, and used something. */
static void fail_with(struct run *r, struct job *result, const char *word, const char *text)
{
    const struct leg *leg = r->winner ? r->winner : r->legs;

    if (r->winner)
        set_stream(result, leg);
    result->kind = JOB_FAILED;
    result->error = str_of(word);
    result->error_text = str_of(text);
    finish(r, leg, result);
}

static void fail(struct run *r, const char *word, const char *text)
{
    fail_with(r, &(struct job){.kind = JOB_FAILED}, word, text);
}

static void fail_without_upstream(struct run *r)
{
    fail(r, "upstream_down",
         "every upstream is left alone for a while, because too many of its calls failed");
}

static void succeed_stream(struct leg *leg)
{
    struct job result = {.kind = JOB_DONE};

    set_stream(&result, leg);
    finish(leg->run, leg, &result);
}

/* body: as the provider wrote it. */
static void succeed_chat(struct leg *leg, const struct completion *c, struct str body)
{
    struct job result = {.kind = JOB_DONE, .status = 200, .body = body, .answer = c->message};

    set_usage(&result, c);
    set_scores(&result, leg->run, c->content);
    finish(leg->run, leg, &result);
}

static void succeed(struct leg *leg, const struct completion *c)
{
    struct run *r = leg->run;
    struct buf hold = BUF_INIT(ANSWER_MAX);
    struct str answer = r->has_max_words ? guardrails_limit(c->content, r->max_words, &hold) : c->content;
    struct job result = {.kind = JOB_DONE, .answer = answer, .truncated = answer.p != c->content.p};

    set_usage(&result, c);
    set_scores(&result, r, answer);
    finish(r, leg, &result);
    buf_free(&hold);
}

/* For whoever runs the service: what happened, where, and what to look at. */
static void describe(struct buf *text, const struct verdict *v, const char *url, bool stream)
{
    const char *code = *v->code ? v->code : v->type;

    if (v->status >= 300 && v->status < 400)
        buf_printf(text, "%s answered %d, a redirect, which is not followed: is the base URL right?", url,
                   v->status);
    else if (v->outcome == OUTCOME_HTTP)
        buf_printf(text, "%s answered %d%s%s%s", url, v->status, *code ? " " : "", code,
                   v->status == 404                       ? ": are the base URL and the model right?"
                   : v->status == 401 || v->status == 403 ? ": is the key right?"
                                                          : "");
    else if (v->outcome == OUTCOME_GARBAGE)
        buf_printf(text, "%s answered with something that is no %s: is the base URL right?", url,
                   stream ? "event stream" : "JSON");
    else if (v->outcome == OUTCOME_STREAM_ERROR)
        buf_printf(text, "%s reported an error in place of the next piece%s%s", url, *code ? ": " : "", code);
    else if (v->outcome == OUTCOME_NO_ANSWER)
        buf_printf(text, "%s answered with JSON that holds no answer", url);
    else
        buf_printf(text, "no answer from %s (%s%s%s)", url, outcome_word(v->outcome), v->trouble ? ": " : "",
                   v->trouble ? v->trouble : "");
}

/* A chat completion's client is told what the provider says, unless that is about our key: it may show a part of it.
 * hold: of the body. */
static void set_refusal(struct job *to, const struct run *r, const struct verdict *v, struct str body,
                        struct buf *hold)
{
    int64_t after = delay_retry_after(v->retry_after_ms, v->retry_after, v->date, wall_us());

    if (!r->chat || v->outcome != OUTCOME_HTTP || v->status == 401 || v->status == 403)
        return;
    to->retry_after_ms = after > 0 ? after : 0;
    if (v->status >= 400 && body.n <= CHAT_REFUSAL_MAX && openai_is_object(body)) {
        openai_mask_names(body, hold);
        to->status = (uint64_t)v->status;
        to->body = buf_str(hold);
    }
}

static void give_up(struct leg *leg, const struct verdict *v, enum retry_why why, struct str body)
{
    struct run *r = leg->run;
    const char *reason = retry_why_text(why);
    struct buf text = BUF_INIT(4 * KIB), masked = BUF_INIT(2 * CHAT_REFUSAL_MAX);
    struct job result = {.kind = JOB_FAILED};

    describe(&text, v, target_of(r, leg)->base_url, leg->stream != NULL);
    buf_printf(&text, "; tries: %u%s%s", r->trail.n, *reason ? ", no more because " : "", reason);
    set_refusal(&result, r, v, body, &masked);
    fail_with(r, &result, retry_error_word(v), text.data);
    buf_free(&masked);
    buf_free(&text);
}

/* Calls. */

static void note_attempt(struct leg *leg, const struct call_result *res, enum outcome outcome,
                         const char *code)
{
    struct run *r = leg->run;

    r->tries[leg->pass.member]++;
    if (outcome == OUTCOME_CANCELLED && leg != r->winner)
        pool_took(r->host->pool, &leg->pass, leg->stream != NULL, true);
    trail_add(&r->trail, target_of(r, leg), r->model.len ? r->model.data : NULL, outcome, res, code,
              leg->pass.started_us, leg->pass.started_us - leg->ready_us, leg != r->legs);
}

/* Of a call that is ended because the other one was taken: its usage is beside the result's. */
static void note_loser(struct leg *leg, const struct call_result *res)
{
    struct run *r = leg->run;
    struct event_attempt *a = &r->trail.events[r->trail.n];
    struct job used = {.has_usage = false};

    note_attempt(leg, res, OUTCOME_CANCELLED, "");
    set_used(&used, leg);
    if (!used.model.n)
        used.model = a->model;
    a->prompt_tokens = used.prompt_tokens;
    a->completion_tokens = used.completion_tokens;
    a->usage_estimated = used.usage_estimated;
    set_cost(&used, r->host->conf->prices);
    a->has_cost = used.has_cost;
    a->cost_usd = used.cost_usd;
}

static void end(struct leg *leg)
{
    if (leg->pass.call)
        note_loser(leg, NULL);
    pool_cancel(&leg->pass);
    loop_timer_clear(leg->run->host->loop, &leg->tail);
}

static void start(struct leg *leg)
{
    struct run *r = leg->run;

    if (leg->stream)
        stream_reset(leg->stream);
    pool_ask(r->host->pool, &leg->pass);
}

/* A question is put to each upstream for the model that it has there. */
static void write_body(struct leg *leg)
{
    struct run *r = leg->run;
    const struct target *t = target_of(r, leg);

    if (r->chat) {
        leg->pass.body = buf_str(leg->stream && !t->bare_streams ? &r->counted : &r->question);
        return;
    }
    buf_reset(&leg->body);
    prompt_write(&leg->body, t->model, buf_str(&r->question), leg->stream != NULL, !t->bare_streams);
    leg->pass.body = buf_str(&leg->body);
}

static void prepare(struct leg *leg, size_t member)
{
    struct run *r = leg->run;

    r->tried |= 1u << member;
    leg->pass.member = member;
    leg->ready_us = clock_us();
    write_body(leg);
}

static void watch_for_slowness(struct run *r)
{
    int64_t after = r->hedges ? pool_p95(r->host->pool, r->legs->pass.member, r->legs->stream != NULL) : -1;

    if (after >= 0)
        loop_timer_set(r->host->loop, &r->hedge, clock_ms() + after);
}

/* The first upstream for a question, or the next one: at once, there is nothing to wait for. False: there is none. */
static bool go_to_another(struct run *r)
{
    int member = pool_pick(r->host->pool, r->tried);

    if (member < 0)
        return false;
    prepare(r->legs, (size_t)member);
    pool_first_call(r->host->pool, (size_t)member);
    watch_for_slowness(r);
    start(r->legs);
    return true;
}

/* The upstream may have been given up since the call was planned. */
static void call(void *arg)
{
    struct run *r = arg;

    if (pool_is_usable(r->host->pool, r->legs->pass.member)) {
        watch_for_slowness(r);
        start(r->legs);
    } else if (!go_to_another(r)) {
        fail_without_upstream(r);
    }
}

/* The call has become one of the slow ones: a second one, at another upstream where there is one. */
static void on_slow(void *arg)
{
    struct run *r = arg;
    struct pool *p = r->host->pool;
    struct leg *leg = &r->legs[1];
    int member = pool_pick(p, r->tried);

    if (member < 0)
        member = (int)r->legs->pass.member;
    if (!r->legs->pass.call || r->host->hold || is_busy(leg) || r->winner ||
        r->trail.n + 2 > UPSTREAM_ATTEMPTS_MAX || !pool_is_usable(p, (size_t)member) ||
        !pool_may_repeat(p, (size_t)member))
        return;
    prepare(leg, (size_t)member);
    start(leg);
}

static bool another_may_help(const struct run *r, const struct verdict *v)
{
    return !r->winner && retry_elsewhere(v) && r->trail.n < UPSTREAM_ATTEMPTS_MAX &&
           clock_ms() < r->deadline_ms;
}

static struct retry decide(const struct leg *leg, const struct verdict *v, int64_t now)
{
    const struct run *r = leg->run;
    const struct worker_conf *c = r->host->conf;
    size_t member = leg->pass.member;
    struct retry_limits limits = {c->attempts, c->retry_after_ms};
    struct retry retry = retry_decide(v, &limits, r->tries[member], now, r->deadline_ms, wall_us(), id_u32());

    if (retry.again && r->winner)
        return (struct retry){.why = RETRY_BEGUN};
    if (retry.again && r->trail.n >= UPSTREAM_ATTEMPTS_MAX)
        return (struct retry){.why = RETRY_TRIES};
    if (retry.again && !pool_is_usable(r->host->pool, member))
        return (struct retry){.why = RETRY_BREAKER};
    if (retry.again && !pool_may_repeat(r->host->pool, member))
        return (struct retry){.why = RETRY_BUDGET};
    return retry;
}

/* body: of the provider's answer. */
static void try_again_or_fail(struct leg *leg, const struct verdict *v, struct str body)
{
    struct run *r = leg->run;
    int64_t now = clock_ms();

    if (!r->winner && is_busy(other(leg)))
        return; /* that one may do better */
    end(other(leg));
    if (retry_is_mute(v) && another_may_help(r, v) && go_to_another(r))
        return;
    struct retry retry = decide(leg, v, now);
    if (retry.again) {
        prepare(r->legs, leg->pass.member);
        loop_timer_set(r->host->loop, &r->wait, now + retry.wait_ms);
    } else if (!another_may_help(r, v) || !go_to_another(r)) {
        give_up(leg, v, retry.why, body);
    }
}

/* Answers. */

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

/* What the call came to, for the record and for the pool. */
static struct verdict judge(struct leg *leg, const struct call_result *res, enum outcome outcome,
                            struct openai_error *e, uint64_t tokens)
{
    if (outcome == OUTCOME_HTTP)
        openai_read_error(res->body, e);
    note_attempt(leg, res, outcome, openai_error_word(e));
    struct verdict v = verdict_of(res, outcome, e);
    pool_learn(leg->run->host->pool, &leg->pass, &v, tokens);
    return v;
}

static void have_answer(struct leg *leg, const struct call_result *res)
{
    struct run *r = leg->run;
    struct completion c = {.total_tokens = 0};
    struct openai_error e = {.code = ""};
    enum outcome outcome = res->outcome;

    if (outcome == OUTCOME_OK)
        outcome = read_answer(r, res->body, &c);
    struct verdict v = judge(leg, res, outcome, &e, outcome == OUTCOME_OK ? c.total_tokens : 0);
    if (outcome != OUTCOME_OK) {
        try_again_or_fail(leg, &v, res->body);
        return;
    }
    pool_took(r->host->pool, &leg->pass, false, false);
    end(other(leg));
    if (r->chat)
        succeed_chat(leg, &c, res->body);
    else
        succeed(leg, &c);
    openai_free(&c);
}

static void have_stream(struct leg *leg, const struct call_result *res)
{
    enum outcome outcome = stream_end(leg->stream, res->outcome);
    struct stream_summary sum = stream_summary(leg->stream);
    struct openai_error e = *sum.error;

    loop_timer_clear(leg->run->host->loop, &leg->tail);
    struct verdict v = judge(leg, res, outcome, &e, sum.whole.total_tokens);
    if (outcome == OUTCOME_OK) {
        end(other(leg));
        succeed_stream(leg);
    } else {
        try_again_or_fail(leg, &v, res->body);
    }
}

/* Nothing was asked: the upstream was given up, or the time is over. */
static void turn_did_not_come(struct leg *leg)
{
    struct run *r = leg->run;

    if (is_busy(other(leg)))
        return;
    if (clock_ms() >= r->deadline_ms)
        fail(r, "rate_limited",
             "the request's time was over while it waited for its turn at the upstream's limits");
    else if (!go_to_another(r))
        fail_without_upstream(r);
}

/* Its stream has been ended from inside a piece, because the other one had won. */
static void lose(struct leg *leg, const struct call_result *res)
{
    struct verdict v = {.outcome = OUTCOME_CANCELLED, .code = "", .type = ""};

    note_loser(leg, res);
    pool_learn(leg->run->host->pool, &leg->pass, &v, 0);
}

static void on_result(void *arg, const struct call_result *res)
{
    struct leg *leg = arg;
    struct run *r = leg->run;

    if (!is_busy(other(leg)))
        loop_timer_clear(r->host->loop, &r->hedge);
    if (!res)
        turn_did_not_come(leg);
    else if (r->winner && r->winner != leg)
        lose(leg, res);
    else if (leg->stream)
        have_stream(leg, res);
    else
        have_answer(leg, res);
}

/* Streams. */

static void on_tail(void *arg)
{
    struct leg *leg = arg;

    if (leg->pass.call)
        pool_finish(&leg->pass);
}

/* Not at once: libcurl does not like that from inside a piece. */
static void on_loser(void *arg)
{
    struct run *r = arg;

    end(other(r->winner));
}

static bool on_piece(void *arg, struct str bytes)
{
    struct leg *leg = arg;
    struct run *r = leg->run;

    if (r->winner && r->winner != leg)
        return false;
    bool more = stream_feed(leg->stream, bytes);
    if (r->paused || r->host->hold)
        pool_pause(&leg->pass, true);
    if (stream_is_whole(leg->stream) && !leg->tail.place)
        loop_timer_set(r->host->loop, &leg->tail, clock_ms() + TAIL_MS);
    return more;
}

static void on_emit(void *arg, struct str text, struct str bytes)
{
    struct leg *leg = arg;
    struct run *r = leg->run;

    if (!r->winner) {
        r->winner = leg;
        pool_took(r->host->pool, &leg->pass, true, false);
        if (is_busy(other(leg)))
            loop_timer_set(r->host->loop, &r->loser, clock_ms());
    }
    r->host->chunk(r->host->arg, r, &(struct job){.kind = JOB_CHUNK, .answer = text, .bytes = bytes});
}

void run_mind_hold(struct run *r)
{
    for (size_t i = 0; i < ARRAY_LEN(r->legs); i++)
        pool_pause(&r->legs[i].pass, r->paused || r->host->hold);
}

void run_pause(struct run *r, bool pause)
{
    r->paused = pause;
    run_mind_hold(r);
}

/* Beginning and end. */

/* Where upstreams are configured for the model that a client names, the others are left out; where none is, the
 * provider will say whether it has it. */
static uint32_t without_model(const struct roster *roster, struct str model, bool *known)
{
    uint32_t without = 0;

    *known = false;
    for (size_t i = 0; i < roster->n; i++) {
        bool has = str_eq(model, roster->targets[i].model);
        without |= has ? 0 : 1u << i;
        *known |= has;
    }
    return *known ? without : 0;
}

/* False: that is no request. */
static bool read_chat(struct run *r)
{
    struct chat c;
    bool good = chat_read(&c, buf_str(&r->question)) == 0, known = false;

    if (good) {
        if (r->legs->stream)
            chat_write(&r->counted, &c);
        r->tried = without_model(r->host->conf->roster, c.model, &known);
        r->hedges = r->hedges && known;
        buf_append(&r->model, c.model.p, c.model.n);
        for (size_t i = 0; i < ARRAY_LEN(r->legs) && r->legs[i].stream; i++)
            stream_wants_usage(r->legs[i].stream, c.wants_usage);
    }
    chat_free(&c);
    return good;
}

void run_start(struct run *r, int64_t budget_ms)
{
    if (!r->host->pool)
        fail(r, "no_api_key", "OPENAI_API_KEY is not set");
    else if (budget_ms <= 0)
        fail(r, "timeout", "the request's deadline had passed before the provider was called");
    else if (r->chat && !read_chat(r))
        fail(r, "bad_request", "the chat completion's request is no JSON object");
    else if (!go_to_another(r))
        fail_without_upstream(r);
}

void run_refuse(struct run *r, const char *word, const char *text)
{
    fail(r, word, text);
}

void run_stop(struct run *r)
{
    struct job result = {.kind = JOB_FAILED};
    struct leg *told = r->winner ? r->winner : &r->legs[!r->legs->pass.call];

    end(other(told));
    if (told->pass.call) {
        set_used(&result, told);
        note_attempt(told, NULL, OUTCOME_CANCELLED, "");
    }
    fail_with(r, &result, "cancelled",
              r->winner ? "stopped in the middle of the answer" : "stopped before the provider had answered");
}

static void leg_init(struct leg *leg, struct run *r, const struct stream_conf *stream)
{
    leg->run = r;
    leg->body = BUF_INIT(r->question.max);
    leg->stream = stream ? stream_new(stream, on_emit, leg) : NULL;
    leg->tail = (struct loop_timer){.fn = on_tail, .arg = leg};
    leg->pass = (struct pass){
        .deadline_ms = r->deadline_ms,
        .paused = r->host->hold,
        .piece = stream ? on_piece : NULL,
        .done = on_result,
        .arg = leg,
    };
}

struct run *run_new(struct run_host *h, const struct job *m)
{
    struct run *r = xcalloc(1, sizeof *r);
    const struct stream_conf stream = {.chat = m->request.n > 0,
                                       .max_words = m->has_max_words ? m->max_words : INT64_MAX};
    struct str question = m->request.n ? m->request : m->question;

    r->host = h;
    r->chat = m->request.n > 0;
    r->hedges = h->conf->hedge;
    r->has_max_words = m->has_max_words;
    r->max_words = m->max_words;
    r->start_us = clock_us();
    r->deadline_ms = clock_ms() + m->budget_ms;
    r->question = BUF_INIT(JSON_GROWTH_MAX * question.n + 4 * KIB);
    buf_append(&r->question, question.p, question.n);
    r->counted = BUF_INIT(question.n + KIB);
    r->model = BUF_INIT(CHAT_MODEL_MAX);
    leg_init(&r->legs[0], r, m->stream ? &stream : NULL);
    leg_init(&r->legs[1], r, m->stream && r->hedges ? &stream : NULL);
    r->wait = (struct loop_timer){.fn = call, .arg = r};
    r->hedge = (struct loop_timer){.fn = on_slow, .arg = r};
    r->loser = (struct loop_timer){.fn = on_loser, .arg = r};
    return r;
}

void run_free(struct run *r)
{
    struct loop *l = r->host->loop;

    for (size_t i = 0; i < ARRAY_LEN(r->legs); i++) {
        pool_cancel(&r->legs[i].pass);
        loop_timer_clear(l, &r->legs[i].tail);
        buf_free(&r->legs[i].body);
        stream_free(r->legs[i].stream);
    }
    loop_timer_clear(l, &r->wait);
    loop_timer_clear(l, &r->hedge);
    loop_timer_clear(l, &r->loser);
    buf_free(&r->model);
    buf_free(&r->counted);
    buf_free(&r->question);
    free(r);
}
