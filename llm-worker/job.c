#include "llm-worker/job.h"

#include <stdlib.h>

#include "common/base/mem.h"
#include "llm-worker/pool.h"
#include "llm-worker/run.h"

#define BUCKETS 4096

struct jobs {
    struct run_host host;
    bool (*report)(void *arg, const struct job *result);
    void *arg;
    uint64_t held;
    struct run *buckets[BUCKETS]; /* by id, for cancel */
};

static struct run **bucket(struct jobs *j, uint64_t id)
{
    return &j->buckets[id % BUCKETS];
}

static bool report(struct jobs *j, const struct run *r, struct job *m)
{
    m->epoch = r->epoch;
    m->id = r->id;
    return j->report(j->arg, m);
}

static void on_chunk(void *arg, struct run *r, struct job *chunk)
{
    (void)report(arg, r, chunk); /* it has its place */
}

static void forget(struct jobs *j, struct run *r)
{
    *(r->prev ? &r->prev->next : bucket(j, r->id)) = r->next;
    if (r->next)
        r->next->prev = r->prev;
    j->held--;
    run_free(r);
}

/* To what there is always room for: its account, and a word for its client. A stream's has its text already. */
static void shrink(const struct run *r, struct job *m)
{
    m->answer = m->body = str_of("");
    m->status = 0;
    if (m->kind == JOB_DONE && !r->legs->stream) {
        m->kind = JOB_FAILED;
        m->error = str_of("undelivered");
        m->error_text =
            str_of("the gateway did not take the answers of its worker, which had no room for this one");
    }
}

static void on_over(void *arg, struct run *r, struct job *result)
{
    if (!report(arg, r, result)) {
        shrink(r, result);
        (void)report(arg, r, result);
    }
    forget(arg, r);
}

void jobs_start(struct jobs *j, const struct job *m)
{
    struct run *r = run_new(&j->host, m);
    struct run **head = bucket(j, m->id);

    r->epoch = m->epoch;
    r->id = m->id;
    r->next = *head;
    if (r->next)
        r->next->prev = r;
    *head = r;
    if (j->held++ >= (uint64_t)j->host.conf->slots)
        run_refuse(r, "worker_full", "the worker was given more questions than it has slots");
    else
        run_start(r, m->budget_ms);
}

static struct run *find(struct jobs *j, uint64_t epoch, uint64_t id)
{
    for (struct run *r = *bucket(j, id); r; r = r->next)
        if (r->id == id && r->epoch == epoch)
            return r;
    return NULL;
}

void jobs_cancel(struct jobs *j, uint64_t epoch, uint64_t id)
{
    struct run *r = find(j, epoch, id);

    if (r)
        run_stop(r);
}

void jobs_pause(struct jobs *j, uint64_t epoch, uint64_t id, bool pause)
{
    struct run *r = find(j, epoch, id);

    if (r)
        run_pause(r, pause);
}

void jobs_hold(struct jobs *j, bool hold)
{
    if (j->host.hold == hold)
        return;
    j->host.hold = hold;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct run *r = j->buckets[i]; r; r = r->next)
            run_mind_hold(r);
}

void jobs_abandon(struct jobs *j, uint64_t epoch_now)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct run *r = j->buckets[i], *next; r; r = next) {
            next = r->next;
            if (r->epoch != epoch_now)
                run_stop(r);
        }
}

void jobs_set_workers(struct jobs *j, uint64_t workers)
{
    if (j->host.pool)
        pool_set_workers(j->host.pool, workers);
}

size_t jobs_upstreams(const struct jobs *j, struct event_upstream out[UPSTREAMS_MAX], bool *down)
{
    *down = false;
    return j->host.pool ? pool_report(j->host.pool, out, down) : 0;
}

uint64_t jobs_held(const struct jobs *j)
{
    return j->held;
}

struct jobs *jobs_new(struct loop *l, const struct worker_conf *conf,
                      bool (*fn)(void *arg, const struct job *result), void *arg)
{
    struct jobs *j = xcalloc(1, sizeof *j);

    j->host = (struct run_host){.loop = l, .conf = conf, .chunk = on_chunk, .over = on_over, .arg = j};
    j->report = fn;
    j->arg = arg;
    if (conf->roster)
        j->host.pool = pool_new(l, conf);
    return j;
}

void jobs_free(struct jobs *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (j->buckets[i])
            forget(j, j->buckets[i]);
    pool_free(j->host.pool);
    free(j);
}
