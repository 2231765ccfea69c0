#include "gateway/workers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "gateway/ask.h"

struct worker *workers_find(const struct workers *w, const struct zroute *route)
{
    for (struct worker *it = w->first; it; it = it->next)
        if (it->route.n == route->n && memcmp(it->route.id, route->id, route->n) == 0)
            return it;
    return NULL;
}

struct worker *workers_add(struct workers *w, const struct zroute *route)
{
    struct worker *new = xcalloc(1, sizeof *new);

    new->route = *route;
    new->out = BUF_INIT(WIRE_MESSAGE_MAX);
    new->next = w->first;
    w->first = new;
    return new;
}

void workers_remove(struct workers *w, struct worker *gone)
{
    struct worker **at = &w->first;

    assert(!gone->asks);
    while (*at != gone)
        at = &(*at)->next;
    *at = gone->next;
    buf_free(&gone->out);
    free(gone);
}

struct worker *workers_least_loaded(const struct workers *w)
{
    struct worker *best = NULL;

    for (struct worker *it = w->first; it; it = it->next)
        if (!it->leaving && !it->lost && it->out.len <= WIRE_BATCH_BYTES && it->held < it->slots &&
            (!best || (best->down == it->down ? it->held < best->held : best->down)))
            best = it;
    return best;
}

static struct str keep(char *to, size_t room, struct str from)
{
    return (struct str){to, str_copy(to, room, from)};
}

enum worker_state worker_state(const struct worker *w)
{
    if (w->leaving || w->lost)
        return WORKER_LEAVING;
    if (w->down)
        return WORKER_DOWN;
    if (w->held >= w->slots)
        return WORKER_FULL;
    return w->held ? WORKER_BUSY : WORKER_IDLE;
}

void worker_learn_upstreams(struct worker *w, const struct list *upstreams)
{
    const struct event_upstream *from = upstreams->items;

    w->n_upstreams = upstreams->n < UPSTREAMS_MAX ? upstreams->n : UPSTREAMS_MAX;
    for (size_t i = 0; i < w->n_upstreams; i++) {
        w->upstreams[i] = from[i];
        w->upstreams[i].name = keep(w->upstream_names[i], sizeof w->upstream_names[i], from[i].name);
        w->upstreams[i].model = keep(w->upstream_models[i], sizeof w->upstream_models[i], from[i].model);
    }
}

static struct event_upstream *place_of(struct event_upstream *list, size_t *n, const struct event_upstream *u)
{
    for (size_t i = 0; i < *n; i++)
        if (list[i].name.n == u->name.n && memcmp(list[i].name.p, u->name.p, u->name.n) == 0)
            return &list[i];
    if (*n == UPSTREAMS_MAX)
        return NULL;
    list[*n] = (struct event_upstream){.name = u->name, .model = u->model};
    return &list[(*n)++];
}

size_t workers_upstreams(const struct workers *w, struct event_upstream out[UPSTREAMS_MAX])
{
    size_t n = 0;

    for (const struct worker *it = w->first; it; it = it->next)
        for (size_t i = 0; i < it->n_upstreams; i++) {
            const struct event_upstream *u = &it->upstreams[i];
            struct event_upstream *sum = place_of(out, &n, u);
            if (!sum)
                continue;
            sum->state = u->state > sum->state ? u->state : sum->state;
            sum->in_flight += u->in_flight;
            sum->limit += u->limit;
            sum->refused |= u->refused;
        }
    return n;
}

void worker_hold(struct worker *w, struct ask *a)
{
    a->worker = w;
    a->prev = NULL;
    a->next = w->asks;
    if (a->next)
        a->next->prev = a;
    w->asks = a;
    w->held++;
}

void worker_release(struct worker *w, struct ask *a)
{
    *(a->prev ? &a->prev->next : &w->asks) = a->next;
    if (a->next)
        a->next->prev = a->prev;
    a->prev = a->next = NULL;
    a->worker = NULL;
    w->held--;
}

void worker_say(struct worker *w, const struct job *entry)
{
    if (w->out.len == 0)
        pack_begin(&w->out);
    pack_put(&w->out, &job_fields, entry);
}
