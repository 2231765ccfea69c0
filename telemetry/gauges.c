#include "telemetry/gauges.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

struct upstream {
    char name[UPSTREAM_NAME_MAX + 1];
    uint64_t state, in_flight, limit;
    bool refused;
};

struct said {
    uint64_t epoch; /* of the sender; 0: free */
    int64_t at;
    struct event_gauges gauges;
    struct upstream upstreams[UPSTREAMS_MAX];
    size_t n_upstreams;
};

struct gauges {
    struct said senders[GAUGE_SENDERS_MAX];
};

struct gauges *gauges_new(void)
{
    return xcalloc(1, sizeof(struct gauges));
}

void gauges_free(struct gauges *g)
{
    free(g);
}

static struct said *place_of(struct gauges *g, uint64_t epoch)
{
    struct said *oldest = &g->senders[0];

    for (size_t i = 0; i < GAUGE_SENDERS_MAX; i++) {
        struct said *s = &g->senders[i];
        if (s->epoch == epoch)
            return s;
        if (s->at < oldest->at)
            oldest = s;
    }
    return oldest;
}

void gauges_take(struct gauges *g, const struct event *e, int64_t now)
{
    const struct event_upstream *from = e->upstreams.items;
    struct said *s = place_of(g, e->epoch);

    s->epoch = e->epoch;
    s->at = now;
    s->gauges = e->gauges;
    s->n_upstreams = e->upstreams.n < UPSTREAMS_MAX ? e->upstreams.n : UPSTREAMS_MAX;
    for (size_t i = 0; i < s->n_upstreams; i++) {
        struct upstream *u = &s->upstreams[i];
        size_t n = from[i].name.n < UPSTREAM_NAME_MAX ? from[i].name.n : UPSTREAM_NAME_MAX;
        *u = (struct upstream){.state = from[i].state,
                               .in_flight = from[i].in_flight,
                               .limit = from[i].limit,
                               .refused = from[i].refused};
        if (n)
            memcpy(u->name, from[i].name.p, n);
    }
}

static void add_upstreams(const struct said *s, struct metrics *m)
{
    for (size_t i = 0; i < s->n_upstreams; i++) {
        const struct upstream *u = &s->upstreams[i];
        metrics_raise(m, METRIC_UPSTREAM_BREAKER, METRIC_WITH(u->name), (double)u->state);
        metrics_raise(m, METRIC_UPSTREAM_REFUSED, METRIC_WITH(u->name), u->refused);
        metrics_add(m, METRIC_UPSTREAM_CALLS, METRIC_WITH(u->name), (double)u->in_flight);
        metrics_add(m, METRIC_UPSTREAM_LIMIT, METRIC_WITH(u->name), (double)u->limit);
    }
}

static void add(struct event_gauges *sum, const struct event_gauges *g)
{
    sum->in_progress += g->in_progress;
    sum->queued += g->queued;
    if (g->queue_age_us > sum->queue_age_us)
        sum->queue_age_us = g->queue_age_us;
    for (size_t i = 0; i < WORKER_STATES; i++)
        sum->workers[i] += g->workers[i];
}

void gauges_show(const struct gauges *g, struct metrics *m, int64_t now)
{
    static const char *const states[WORKER_STATES] = {[WORKER_IDLE] = "idle",
                                                      [WORKER_BUSY] = "busy",
                                                      [WORKER_FULL] = "full",
                                                      [WORKER_DOWN] = "down",
                                                      [WORKER_LEAVING] = "leaving"};
    struct event_gauges sum = {0};

    metrics_clear(m, METRIC_UPSTREAM_BREAKER);
    metrics_clear(m, METRIC_UPSTREAM_REFUSED);
    metrics_clear(m, METRIC_UPSTREAM_CALLS);
    metrics_clear(m, METRIC_UPSTREAM_LIMIT);
    for (size_t i = 0; i < GAUGE_SENDERS_MAX; i++) {
        const struct said *s = &g->senders[i];
        if (!s->epoch || now - s->at >= EVENT_SILENCE_MS)
            continue;
        add(&sum, &s->gauges);
        add_upstreams(s, m);
    }
    metrics_set(m, METRIC_IN_PROGRESS, METRIC_PLAIN, (double)sum.in_progress);
    metrics_set(m, METRIC_QUEUE, METRIC_PLAIN, (double)sum.queued);
    metrics_set(m, METRIC_QUEUE_AGE, METRIC_PLAIN, (double)sum.queue_age_us / 1e6);
    for (size_t i = 0; i < WORKER_STATES; i++)
        metrics_set(m, METRIC_WORKERS, METRIC_WITH(states[i]), (double)sum.workers[i]);
}
