#include "telemetry/account.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/attr.h"
#include "common/base/limits.h"
#include "common/base/utf8.h"
#include "telemetry/usage.h"

#define NAME_SIZE (METRIC_LABEL_MAX + 1)

static const char *const reasons[] = {DROPPED_SPOOL_FULL, DROPPED_SPOOL_AGE,   DROPPED_SPOOL_DAMAGED,
                                      DROPPED_DISK_FULL,  DROPPED_SPOOL_ERROR, DROPPED_SENDER,
                                      DROPPED_UNREADABLE};

static const struct {
    enum metric id;
    const char *labels[METRIC_LABELS];
} known[] = {
    {METRIC_WORKER_CHANGES, {"joined"}}, {METRIC_WORKER_CHANGES, {"left"}},
    {METRIC_WORKER_CHANGES, {"lost"}},   {METRIC_ANSWERS, {"upstream"}},
    {METRIC_ANSWERS, {"cache"}},         {METRIC_ANSWERS, {"shared"}},
    {METRIC_BROKEN_STREAMS, {"cut"}},    {METRIC_FAILURES, {"undelivered"}},
    {METRIC_GUARDRAILS, {"max_words"}},  {METRIC_GUARDRAILS, {"toxicity"}},
    {METRIC_UPLOADS, {"ok", "traces"}},  {METRIC_UPLOADS, {"ok", "scores"}},
};

void account_begin(struct metrics *m)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        account_dropped(m, reasons[i], 0);
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        metrics_add(m, known[i].id, known[i].labels, 0);
    metrics_add(m, METRIC_UNCONFIRMED, METRIC_PLAIN, 0);
    metrics_set(m, METRIC_BUILD, METRIC_WITH(ATALAYA_VERSION), 1);
}

void account_dropped(struct metrics *m, const char *reason, double n)
{
    metrics_add(m, METRIC_DROPPED, METRIC_WITH(reason), n);
}

static const char *name(char out[NAME_SIZE], struct str s, const char *empty)
{
    size_t n = utf8_clip(s.p, s.n, METRIC_LABEL_MAX);

    if (n == 0)
        return empty;
    memcpy(out, s.p, n);
    out[n] = '\0';
    return out;
}

static double seconds(int64_t us)
{
    return us > 0 ? (double)us / 1e6 : 0;
}

static struct exemplar exemplar_of(const struct event *e, int64_t at_us)
{
    return (struct exemplar){e->trace_id, e->request_id, at_us};
}

static void count_http(struct metrics *m, const struct event *e)
{
    char endpoint[NAME_SIZE], verb[NAME_SIZE], status[24] = "other";
    const char *route = name(endpoint, e->endpoint, "other");
    const char *method = name(verb, e->method, "other");

    if (e->status >= 100 && e->status <= 999)
        snprintf(status, sizeof status, "%" PRIu64, e->status);
    metrics_add(m, METRIC_REQUESTS, METRIC_WITH(route, method, status), 1);
    struct exemplar x = exemplar_of(e, e->start_us + e->duration_us);
    metrics_observe(m, METRIC_REQUEST_LATENCY, METRIC_WITH(route, method), seconds(e->duration_us), &x);
}

/* Its status says nothing of it. */
static void count_broken_stream(struct metrics *m, const struct event *e)
{
    char error[NAME_SIZE];

    if (e->stream && e->status == 200 && e->error.n && !str_eq(e->error, "client_gone"))
        metrics_add(m, METRIC_BROKEN_STREAMS, METRIC_WITH(name(error, e->error, "other")), 1);
}

#define OPERATION "chat"
#define PROVIDER  "openai" /* whose API it is; who runs it is not known */

static void observe_call(struct metrics *m, const struct event *e, const struct event_attempt *a)
{
    char asked_buf[NAME_SIZE], model_buf[NAME_SIZE], error_buf[NAME_SIZE];
    const char *asked = name(asked_buf, a->model, ""), *model = "", *error = "";
    struct exemplar x = exemplar_of(e, a->start_us + a->duration_us);

    if (str_eq(a->outcome, "ok")) {
        model = name(model_buf, e->model, "other");
        /* As the Python service labels it: with the model that is configured, not with the one that its provider names. */
        metrics_observe(m, METRIC_LLM_LATENCY, METRIC_WITH(*asked ? asked : model), seconds(a->duration_us),
                        &x);
    } else if (a->status >= 400 && a->status <= 599) {
        snprintf(error_buf, sizeof error_buf, "%" PRIu64, a->status);
        error = error_buf;
    } else {
        error = name(error_buf, a->outcome, "other");
    }
    metrics_observe(m, METRIC_GENAI_DURATION, METRIC_WITH(error, OPERATION, PROVIDER, asked, model),
                    seconds(a->duration_us), &x);
}

/* They are listed as they ended. The first one to begin repeats nothing, and neither does a hedge. */
static void count_attempts(struct metrics *m, const struct event *e)
{
    const struct event_attempt *a = e->attempts.items;
    char outcome[NAME_SIZE], before[NAME_SIZE] = "", upstream[NAME_SIZE];
    size_t first = 0;

    for (size_t i = 1; i < e->attempts.n; i++)
        if (a[i].start_us < a[first].start_us)
            first = i;
    for (size_t i = 0; i < e->attempts.n; i++) {
        const char *what = name(outcome, a[i].outcome, "other");
        metrics_add(m, METRIC_ATTEMPTS, METRIC_WITH(what, name(upstream, a[i].upstream, "")), 1);
        if (a[i].hedge)
            metrics_add(m, METRIC_HEDGES, METRIC_WITH(what), 1);
        else if (i != first)
            metrics_add(m, METRIC_RETRIES, METRIC_WITH(before), 1);
        snprintf(before, sizeof before, "%s", what);
        observe_call(m, e, &a[i]);
    }
}

/* Of the call whose tokens the event tells. */
static struct str asked_model(const struct event *e)
{
    const struct event_attempt *a = e->attempts.items;
    struct str model = {"", 0};

    for (size_t i = 0; i < e->attempts.n; i++)
        if (model.n == 0 || str_eq(a[i].outcome, "ok"))
            model = a[i].model;
    return model;
}

static void add_kinds(struct metrics *m, enum metric id, const char *model, const struct usage *u)
{
    metrics_add(m, id, METRIC_WITH("input", model), (double)u->input);
    metrics_add(m, id, METRIC_WITH("input_cached", model), (double)u->cached);
    metrics_add(m, id, METRIC_WITH("output", model), (double)u->output);
    metrics_add(m, id, METRIC_WITH("reasoning", model), (double)u->reasoning);
}

static void add_cost(struct metrics *m, const char *model, bool has, double usd)
{
    if (has && usage_is_cost(usd))
        metrics_add(m, METRIC_COST, METRIC_WITH(model), usd);
}

/* What the losers of hedges have used, beside what the event tells; how many tokens that is. */
static uint64_t count_losers(struct metrics *m, const struct event *e)
{
    const struct event_attempt *a = e->attempts.items;
    char buf[NAME_SIZE];
    uint64_t sum = 0;

    for (size_t i = 0; i < e->attempts.n; i++) {
        const struct usage u = {.input = a[i].prompt_tokens, .output = a[i].completion_tokens};
        const char *model = name(buf, a[i].model, "other");
        if (u.input + u.output == 0)
            continue;
        sum += u.input + u.output;
        add_kinds(m, METRIC_TOKENS, model, &u);
        if (a[i].usage_estimated)
            add_kinds(m, METRIC_TOKENS_ESTIMATED, model, &u);
        add_cost(m, model, a[i].has_cost, a[i].cost_usd);
    }
    return sum;
}

static void count_tokens(struct metrics *m, const struct event *e)
{
    struct usage u =
        usage_split(e->prompt_tokens, e->cached_tokens, e->completion_tokens, e->reasoning_tokens);
    char buf[NAME_SIZE], asked_buf[NAME_SIZE];
    const char *model = name(buf, e->model, "other");
    const char *asked = name(asked_buf, asked_model(e), "");

    add_kinds(m, METRIC_TOKENS, model, &u);
    if (e->usage_estimated) {
        add_kinds(m, METRIC_TOKENS_ESTIMATED, model, &u);
        return;
    }
    metrics_observe(m, METRIC_GENAI_TOKENS, METRIC_WITH(OPERATION, PROVIDER, asked, model, "input"),
                    (double)e->prompt_tokens, NULL);
    metrics_observe(m, METRIC_GENAI_TOKENS, METRIC_WITH(OPERATION, PROVIDER, asked, model, "output"),
                    (double)e->completion_tokens, NULL);
}

static void count_usage(struct metrics *m, const struct event *e)
{
    uint64_t tokens = count_losers(m, e);
    char model[NAME_SIZE];

    if (e->has_usage || tokens)
        metrics_observe(m, METRIC_LLM_TOKENS, METRIC_PLAIN, (double)(e->total_tokens + tokens), NULL);
    if (e->has_usage)
        count_tokens(m, e);
    add_cost(m, name(model, e->model, "other"), e->has_cost, e->cost_usd);
}

static void observe_score(struct metrics *m, const char *which, double value)
{
    if (value >= 0 && value <= 1)
        metrics_observe(m, METRIC_SCORES, METRIC_WITH(which), value, NULL);
}

/* What the client got, wherever it came from. */
static void count_answer(struct metrics *m, const struct event *e)
{
    struct exemplar x = exemplar_of(e, e->start_us + e->duration_us);
    char model[NAME_SIZE];

    count_broken_stream(m, e);
    if (e->error.n)
        metrics_add(m, METRIC_FAILURES, METRIC_WITH(name(model, e->error, "other")), 1);
    if (e->status == 200 && !e->error.n)
        metrics_add(m, METRIC_ANSWERS,
                    METRIC_WITH(str_eq(e->cache, "hit")      ? "cache"
                                : str_eq(e->cache, "shared") ? "shared"
                                                             : "upstream"),
                    1);
    if (e->first_token_us > 0)
        metrics_observe(m, METRIC_FIRST_TOKEN, METRIC_WITH(name(model, e->model, "other")),
                        seconds(e->first_token_us), &x);
    if (e->truncated)
        metrics_add_from(m, METRIC_GUARDRAILS, METRIC_WITH("max_words"), 1, &x);
    if (!e->has_scores)
        return;
    if (e->toxicity_safe < 1)
        metrics_add_from(m, METRIC_GUARDRAILS, METRIC_WITH("toxicity"), 1, &x);
    observe_score(m, "non_empty_answer", e->non_empty_answer);
    observe_score(m, "toxicity_safe", e->toxicity_safe);
}

static void count_request(struct metrics *m, const struct event *e)
{
    if (e->status)
        count_http(m, e);
    if (e->trace_id.n)
        count_answer(m, e);
    if (e->cache.n) /* its call counts where it was made */
        return;
    count_attempts(m, e);
    count_usage(m, e);
}

static void count_feedback(struct metrics *m, const struct event *e)
{
    char buf[NAME_SIZE];
    const char *score = name(buf, e->score_name, "other");
    bool number = str_eq(e->score_type, "NUMERIC") || str_eq(e->score_type, "BOOLEAN");

    metrics_add(m, METRIC_FEEDBACK, METRIC_WITH(score), 1);
    if (number && e->score_value >= 0 && e->score_value <= 1)
        metrics_observe(m, METRIC_FEEDBACK_SCORE, METRIC_WITH(score), e->score_value, NULL);
}

static void count_worker(struct metrics *m, const struct event *e)
{
    char change[NAME_SIZE];

    metrics_add(m, METRIC_WORKER_CHANGES, METRIC_WITH(name(change, e->change, "other")), 1);
}

void account_event(struct metrics *m, const struct event *e)
{
    const char *kind = "other";

    if (e->kind == EVENT_REQUEST) {
        kind = "request";
        count_request(m, e);
    } else if (e->kind == EVENT_FEEDBACK) {
        kind = "feedback";
        count_feedback(m, e);
    } else if (e->kind == EVENT_WORKER) {
        kind = "worker";
        count_worker(m, e);
    } else if (e->kind == EVENT_UNCONFIRMED) {
        kind = "unconfirmed";
        metrics_add(m, METRIC_UNCONFIRMED, METRIC_PLAIN, (double)e->count);
    }
    metrics_add(m, METRIC_EVENTS, METRIC_WITH(kind), 1);
}
