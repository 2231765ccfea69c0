#include "telemetry/account.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/attr.h"
#include "common/base/limits.h"
#include "common/base/utf8.h"
#include "telemetry/usage.h"

#define NAME_SIZE (METRIC_LABEL_MAX + 1)

static const char *const reasons[] = {DROPPED_SPOOL_FULL, DROPPED_SPOOL_ERROR, DROPPED_SENDER,
                                      DROPPED_UNREADABLE, DROPPED_REJECTED,    DROPPED_TOO_LARGE};

void account_begin(struct metrics *m)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        account_dropped(m, reasons[i], 0);
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

void account_upstreams(struct metrics *m, const struct list *upstreams)
{
    const struct event_upstream *u = upstreams->items;
    char label[NAME_SIZE];

    if (upstreams->n == 0)
        return;
    metrics_clear(m, METRIC_UPSTREAM_BREAKER);
    metrics_clear(m, METRIC_UPSTREAM_CALLS);
    metrics_clear(m, METRIC_UPSTREAM_LIMIT);
    for (size_t i = 0; i < upstreams->n; i++) {
        const char *upstream = name(label, u[i].name, "other");
        metrics_set(m, METRIC_UPSTREAM_BREAKER, METRIC_WITH(upstream), (double)u[i].state);
        metrics_set(m, METRIC_UPSTREAM_CALLS, METRIC_WITH(upstream), (double)u[i].in_flight);
        metrics_set(m, METRIC_UPSTREAM_LIMIT, METRIC_WITH(upstream), (double)u[i].limit);
    }
}

static double seconds(int64_t us)
{
    return us > 0 ? (double)us / 1e6 : 0;
}

static void count_answer(struct metrics *m, const struct event *e)
{
    char endpoint[NAME_SIZE], verb[NAME_SIZE], status[24] = "other";
    const char *route = name(endpoint, e->endpoint, "other");
    const char *method = name(verb, e->method, "other");

    if (e->status >= 100 && e->status <= 999)
        snprintf(status, sizeof status, "%" PRIu64, e->status);
    metrics_add(m, METRIC_REQUESTS, METRIC_WITH(route, method, status), 1);
    struct exemplar x = {e->trace_id, e->request_id, e->start_us + e->duration_us};
    metrics_observe(m, METRIC_REQUEST_LATENCY, METRIC_WITH(route, method), seconds(e->duration_us), &x);
}

static void count_attempts(struct metrics *m, const struct event *e)
{
    const struct event_attempt *a = e->attempts.items;
    char outcome[NAME_SIZE], model[NAME_SIZE];
    const struct event_attempt *good = NULL;

    for (size_t i = 0; i < e->attempts.n; i++) {
        metrics_add(m, METRIC_ATTEMPTS, METRIC_WITH(name(outcome, a[i].outcome, "other")), 1);
        if (str_eq(a[i].outcome, "ok"))
            good = &a[i];
    }
    if (!good)
        return;
    struct exemplar x = {e->trace_id, e->request_id, good->start_us + good->duration_us};
    metrics_observe(m, METRIC_LLM_LATENCY, METRIC_WITH(name(model, e->model, "other")),
                    seconds(good->duration_us), &x);
}

static void count_tokens(struct metrics *m, const struct event *e)
{
    struct usage u =
        usage_split(e->prompt_tokens, e->cached_tokens, e->completion_tokens, e->reasoning_tokens);
    char buf[NAME_SIZE];
    const char *model = name(buf, e->model, "other");

    metrics_observe(m, METRIC_LLM_TOKENS, METRIC_PLAIN, (double)e->total_tokens, NULL);
    metrics_add(m, METRIC_TOKENS, METRIC_WITH("input", model), (double)u.input);
    metrics_add(m, METRIC_TOKENS, METRIC_WITH("input_cached", model), (double)u.cached);
    metrics_add(m, METRIC_TOKENS, METRIC_WITH("output", model), (double)u.output);
    metrics_add(m, METRIC_TOKENS, METRIC_WITH("reasoning", model), (double)u.reasoning);
}

static void count_cost(struct metrics *m, const struct event *e)
{
    char model[NAME_SIZE];

    if (e->has_cost && usage_is_cost(e->cost_usd))
        metrics_add(m, METRIC_COST, METRIC_WITH(name(model, e->model, "other")), e->cost_usd);
}

static void count_request(struct metrics *m, const struct event *e)
{
    if (e->status)
        count_answer(m, e);
    count_attempts(m, e);
    if (e->has_usage)
        count_tokens(m, e);
    count_cost(m, e);
}

static void count_feedback(struct metrics *m, const struct event *e)
{
    char score[NAME_SIZE];

    metrics_add(m, METRIC_FEEDBACK, METRIC_WITH(name(score, e->score_name, "other")), 1);
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
    }
    metrics_add(m, METRIC_EVENTS, METRIC_WITH(kind), 1);
}
