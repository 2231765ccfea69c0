#include "gateway/dispatch.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/sink.h"
#include "gateway/answer.h"
#include "gateway/asks.h"
#include "gateway/cache.h"
#include "gateway/flight.h"
#include "gateway/notes.h"
#include "gateway/record.h"
#include "gateway/workers.h"

#define MESSAGES_PER_TURN 256
#define HELD_GRACE_MS     500  /* a worker keeps the deadline itself; this is for one that does not */
#define LAST_WORD_MS      5000 /* how long an answered ask waits for what its worker still has to say */
#define ABSENT_MS         2000 /* at the end, wait no longer for a telemetry that has not been heard of lately */

struct dispatch {
    struct loop *loop;
    const struct gateway_conf *conf;
    struct admission *admission;
    struct inbox inbox;
    struct loop_io inbox_io;
    struct zwire *wire;
    struct zsock *router;
    struct loop_io router_io;
    struct loop_hook hook;
    struct loop_timer tick;
    struct sink *sink;
    struct workers workers;

    struct asks asks;
    uint64_t epoch; /* of this life: so does one about an ask of the last */

    struct cache *cache;     /* NULL: there is none */
    struct flights *flights; /* likewise */

    struct notes notes;
    struct models models;
    atomic_int facts_workers;
    atomic_bool facts_openai, facts_down, facts_langfuse, facts_telemetry;

    void (*drained)(void *arg);
    void *drained_arg;
    struct loop_timer drain_end;
    struct loop_timer patience; /* with an absent telemetry, at the end */
};

static void pump(struct dispatch *d);

/* Answers. */

static void finish(struct ask *a, const struct job *result);
static void conclude(struct ask *a, int status, const char *detail, const struct job *result);

static void set_timer(struct ask *a, int64_t at)
{
    loop_timer_set(a->dispatch->loop, &a->timer, at);
}

static void wait_for_worker(struct ask *a, int64_t from)
{
    int64_t until = from + a->dispatch->conf->queue_timeout_ms;

    set_timer(a, until < a->deadline_ms ? until : a->deadline_ms);
}

static void have_drained(void *arg)
{
    struct dispatch *d = arg;
    void (*fn)(void *) = d->drained;

    loop_timer_clear(d->loop, &d->patience);
    d->drained = NULL;
    if (fn)
        fn(d->drained_arg);
}

/* Everything is answered; telemetry gets the time to take the last events, less when it is not there. */
static void check_drained(struct dispatch *d)
{
    if (!d->drained || d->asks.n > 0 || admission_inside(d->admission) > 0)
        return;
    confirm_tell(&d->notes.confirm);
    sink_on_empty(d->sink, have_drained, d);
    if (d->drained && !d->patience.place && !sink_telemetry_alive(d->sink))
        loop_timer_set(d->loop, &d->patience, clock_ms() + ABSENT_MS);
}

/* Questions that are the same. */

/* The first of those that follow the ask takes its place: it was not answered in a way that they could share. */
static void pass_lead_on(struct ask *a)
{
    struct dispatch *d = a->dispatch;
    struct ask *leader = flights_take(a), *f;

    flights_end(d->flights, a);
    if (!leader)
        return;
    while ((f = flights_take(a)))
        flights_follow(leader, f);
    flights_lead(d->flights, leader);
    asks_wait_first(&d->asks, leader);
    wait_for_worker(leader, a->state == ASK_WAITING ? leader->put_ms : clock_ms()); /* they waited, too */
}

/* A provider's failure is theirs too, when it is one: to ask for each of them again would multiply it. */
static bool can_be_shared(const struct ask *a, const struct job *result)
{
    return result->kind == JOB_DONE || (result->kind == JOB_FAILED && result->attempts.n && !a->late);
}

static void share(struct ask *a, const struct job *result)
{
    struct job theirs = *result;
    struct ask *f;

    if (!a->leads)
        return;
    if (!can_be_shared(a, result)) {
        pass_lead_on(a);
        return;
    }
    flights_end(a->dispatch->flights, a);
    theirs.attempts = (struct list){NULL, 0};
    theirs.has_usage = theirs.has_cost = false;
    theirs.prompt_tokens = theirs.completion_tokens = theirs.total_tokens = 0;
    theirs.cached_tokens = theirs.reasoning_tokens = 0;
    theirs.worker_us = 0;
    while ((f = flights_take(a))) {
        f->cache = "shared";
        conclude(f, 502, "Upstream LLM error", &theirs);
    }
}

/* False: it has to be asked. */
static bool answer_from_cache(struct dispatch *d, struct ask *a)
{
    struct job done;

    if (!d->cache || !cache_get(d->cache, &a->same, clock_ms(), &done))
        return false;
    a->cache = "hit";
    if (a->input.stream && done.answer.n)
        answer_piece(a, &(struct job){.kind = JOB_CHUNK, .answer = done.answer});
    conclude(a, 0, NULL, &done);
    return true;
}

static bool follow(struct dispatch *d, struct ask *a)
{
    struct ask *leader = d->flights && !a->input.stream ? flights_leader(d->flights, &a->same) : NULL;

    if (leader)
        flights_follow(leader, a);
    else if (d->flights && !a->input.stream)
        flights_lead(d->flights, a);
    return leader != NULL;
}

/* Of a stream whose client has left a part is missing. */
static void remember(struct dispatch *d, const struct ask *a, const struct job *done)
{
    struct job whole = *done;

    if (!d->cache || !a->has_same || (a->input.stream && !answer_is_owed(a)))
        return;
    if (a->input.stream)
        whole.answer = buf_str(&a->partial);
    cache_put(d->cache, &a->same, clock_ms(), &whole);
}

static void forget(struct ask *a)
{
    struct dispatch *d = a->dispatch;

    asks_remove(&d->asks, a);
    a->state = ASK_FINISHED;
    if (!a->gone || a->gone_noted)
        ask_free(a);
    check_drained(d);
}

static void release(void *arg)
{
    answer_release(arg);
    forget(arg);
}

/* The ask is answered, or its answer is held, and nobody has anything more to say about it: tell telemetry and the log. */
static void finish(struct ask *a, const struct job *result)
{
    struct dispatch *d = a->dispatch;
    struct event e = record_of_ask(a, result);

    if (a->left || (!a->status && !e.error.n))
        e.error = str_of("client_gone");
    else if (a->late)
        e.error = str_of("timeout");
    loop_timer_clear(d->loop, &a->timer);
    loop_timer_clear(d->loop, &a->heartbeat);
    share(a, result);
    if (a->hold.held) {
        a->state = ASK_CONFIRMING;
        notes_held_ask(&d->notes, &e, &a->caller, &a->wait, release, a);
    } else {
        notes_ask(&d->notes, &e, &a->caller);
        forget(a);
    }
}

/* Answers, unless that is done or nobody is there, and finishes; with TELEMETRY_ACK=before-answer the other way round.
 * status, detail: for a failure. */
static void conclude(struct ask *a, int status, const char *detail, const struct job *result)
{
    a->hold.wanted = a->dispatch->conf->telemetry_ack == TELEMETRY_ACK_BEFORE_ANSWER;
    if (answer_is_owed(a) && result->kind == JOB_DONE)
        answer_done(a, result);
    else if (answer_is_owed(a))
        answer_failure(a, status, detail, result);
    finish(a, result);
}

static void fail(struct ask *a, int status, const char *detail, const char *error, const char *text)
{
    struct job result = {.kind = JOB_FAILED, .error = str_of(error), .error_text = str_of(text)};

    conclude(a, status, detail, &result);
}

static void tell_worker(struct ask *a, enum job_kind kind)
{
    worker_say(a->worker, &(struct job){.kind = kind, .epoch = a->dispatch->epoch, .id = a->id});
}

static void stop(struct ask *a);

/* One who follows waits no more, and perhaps was the last who did. */
static void leave_leader(struct ask *a)
{
    struct ask *leader = a->leader;

    flights_leave(a);
    if (leader->left && !leader->followers)
        stop(leader);
}

/* Nobody waits for the answer any more: stop paying for it. */
static void stop(struct ask *a)
{
    struct dispatch *d = a->dispatch;

    a->left = !a->late;
    if (a->late)
        share(a, &(struct job){.kind = JOB_FAILED});
    else if (a->followers)
        return; /* others wait for it */
    loop_timer_clear(d->loop, &a->heartbeat);
    if (a->state == ASK_WAITING) {
        asks_wait_no_more(&d->asks, a);
        finish(a, &(struct job){.kind = JOB_FAILED});
        return;
    }
    if (a->state == ASK_FOLLOWING) {
        leave_leader(a);
        finish(a, &(struct job){.kind = JOB_FAILED});
        return;
    }
    if (a->leads) /* what is being stopped is nothing to wait for */
        flights_end(d->flights, a);
    tell_worker(a, JOB_CANCEL);
    set_timer(a, clock_ms() + LAST_WORD_MS);
}

/* The client has left. */
static void on_gone(void *owner)
{
    struct ask *a = owner;

    a->gone_noted = true;
    if (a->state == ASK_FINISHED) {
        ask_free(a);
        return;
    }
    if (a->state == ASK_CONFIRMING || !answer_is_owed(a)) /* its answer finds out; it was noticed before */
        return;
    answer_nobody(a);
    stop(a);
}

void dispatch_gone(void *ask)
{
    struct ask *a = ask;

    a->gone_node.fn = on_gone;
    a->gone_node.owner = a;
    inbox_push(&a->dispatch->inbox, &a->gone_node);
}

/* Workers. */

static void give_to(struct worker *w, struct ask *a)
{
    struct dispatch *d = a->dispatch;
    int64_t now = clock_us();

    asks_wait_no_more(&d->asks, a);
    a->state = ASK_HELD;
    a->dispatches++;
    a->queue_us = now - a->caller.start_us;
    worker_hold(w, a);
    set_timer(a, a->deadline_ms + HELD_GRACE_MS);
    worker_say(w, &(struct job){
                      .kind = JOB_JOB,
                      .epoch = d->epoch,
                      .id = a->id,
                      .budget_ms = a->deadline_ms - now / 1000,
                      .request_id = str_of(a->caller.request_id),
                      .question = a->input.chat ? str_of("") : a->input.question,
                      .has_max_words = a->input.has_max_words,
                      .max_words = a->input.max_words,
                      .stream = a->input.stream,
                      .request = a->input.request,
                  });
}

static void flush_worker(struct dispatch *d, struct worker *w);

static void pump(struct dispatch *d)
{
    while (d->asks.first) {
        struct worker *w = workers_least_loaded(&d->workers);
        if (!w)
            return;
        give_to(w, d->asks.first);
        if (w->out.len > WIRE_BATCH_BYTES)
            flush_worker(d, w);
    }
}

/* What a lost worker held goes to the head of the queue; what has been answered already is closed. */
static void take_back(struct dispatch *d, struct worker *w, struct ask *a)
{
    worker_release(w, a);
    if (!answer_is_owed(a)) {
        finish(a, &(struct job){.kind = JOB_FAILED});
    } else if (a->begun) {
        fail(a, 502, "Upstream LLM error", "worker_lost", "the worker died in the middle of the answer");
    } else if (a->dispatches >= JOB_DISPATCHES_MAX) {
        fail(a, 502, "Upstream LLM error", "worker_lost", "every worker that was given this question died");
    } else {
        /* The next worker may be this one, when it comes back with what it still holds. */
        asks_rename(&d->asks, a);
        asks_wait_first(&d->asks, a);
        wait_for_worker(a, clock_ms());
    }
}

static void note_worker(struct dispatch *d, const struct worker *w, const char *change)
{
    sink_put(d->sink,
             &(struct event){
                 .kind = EVENT_WORKER, .start_us = wall_us(), .pid = w->pid, .change = str_of(change)});
}

/* It may be stopped and come back, with its slots taken: best it hears that first. */
static void cancel_all(struct dispatch *d, struct worker *w)
{
    for (struct ask *a = w->asks; a; a = a->next)
        tell_worker(a, JOB_CANCEL);
    if (w->out.len > 0 && zsock_send(d->router, &w->route, buf_str(&w->out)) == 0)
        buf_reset(&w->out);
}

static void lose(struct dispatch *d, struct worker *w, const char *why)
{
    bool in_order = w->leaving && !w->held;

    note_worker(d, w, in_order ? "left" : "lost");
    if (!in_order)
        log_event(LOG_WARNING, LOG_FIELDS(LOG_INT("worker_pid", w->pid), LOG_INT("jobs", w->held)),
                  "lost an llm-worker: %s; its jobs go to another one, but for streams that have begun", why);
    cancel_all(d, w);
    while (w->asks)
        take_back(d, w, w->asks);
    workers_remove(&d->workers, w);
}

/* A worker that cannot be reached is not lost yet: results that it sent before it ended are read first. */
static void flush_worker(struct dispatch *d, struct worker *w)
{
    if (w->out.len == 0 || w->lost)
        return;
    int ret = zsock_send(d->router, &w->route, buf_str(&w->out));
    if (ret == 0)
        buf_reset(&w->out);
    else if (ret != -EAGAIN) /* with EAGAIN its queue is full: silence will tell whether it lives */
        w->lost = ret == -EHOSTUNREACH ? "it is gone" : strerror(-ret);
}

/* True when something went out, or a worker turned out to be unreachable. */
static bool flush_workers(struct dispatch *d)
{
    bool moved = false;

    for (struct worker *w = d->workers.first; w; w = w->next) {
        bool waits = w->out.len > 0 && !w->lost;
        flush_worker(d, w);
        moved |= waits && (w->out.len == 0 || w->lost);
    }
    return moved;
}

static bool reap_lost(struct dispatch *d)
{
    bool any = false;

    for (struct worker *w = d->workers.first, *next; w; w = next) {
        next = w->next;
        if (w->lost) {
            lose(d, w, w->lost);
            any = true;
        }
    }
    return any;
}

static void update_facts(struct dispatch *d)
{
    int n = 0;
    bool configured = false, down = true;

    for (struct worker *w = d->workers.first; w; w = w->next) {
        n++;
        configured |= w->configured;
        down &= w->down;
    }
    atomic_store(&d->facts_workers, n);
    atomic_store(&d->facts_down, n > 0 && down);
    if (n)
        atomic_store(&d->facts_openai, configured);
    atomic_store(&d->facts_langfuse, sink_langfuse_enabled(d->sink));
    atomic_store(&d->facts_telemetry, sink_telemetry_alive(d->sink));
}

static void on_presence(struct dispatch *d, const struct zroute *from, const struct job *m)
{
    struct worker *w = workers_find(&d->workers, from);

    if (!w) {
        w = workers_add(&d->workers, from);
        w->pid = m->pid;
        note_worker(d, w, "joined");
        log_event(LOG_INFO, LOG_FIELDS(LOG_INT("worker_pid", m->pid), LOG_INT("slots", m->slots)),
                  "an llm-worker joined");
    }
    w->slots = m->slots;
    w->configured = m->configured;
    w->down = m->down;
    worker_learn_upstreams(w, &m->upstreams);
    w->leaving = m->kind == JOB_LEAVING;
    w->heard_ms = clock_ms();
    update_facts(d);
}

/* The ask that a worker speaks of; NULL: late, it was given to another worker, or closed. */
static struct ask *held_by(struct dispatch *d, const struct zroute *from, const struct job *m)
{
    struct ask *a = asks_find(&d->asks, m->id);
    struct worker *w = workers_find(&d->workers, from);

    if (m->epoch != d->epoch || !a || !w || a->worker != w)
        return NULL;
    w->heard_ms = clock_ms();
    return a;
}

static void on_result(struct dispatch *d, const struct zroute *from, const struct job *m)
{
    struct ask *a = held_by(d, from, m);

    if (!a)
        return;
    worker_release(a->worker, a);
    if (m->kind == JOB_DONE)
        remember(d, a, m);
    conclude(a, 502, "Upstream LLM error", m);
}

/* Of a stream: it takes no more for now, or its client has left. */
static void mind_room(struct ask *a, enum http_room room)
{
    if (room == HTTP_LOST) {
        stop(a);
    } else if (room == HTTP_FULL && !a->paused && a->state == ASK_HELD) {
        a->paused = true;
        tell_worker(a, JOB_PAUSE);
    }
}

void dispatch_taken(void *ask)
{
    struct ask *a = ask;

    if (a->paused && a->state == ASK_HELD)
        tell_worker(a, JOB_RESUME);
    a->paused = false;
}

static void on_chunk(struct dispatch *d, const struct zroute *from, const struct job *m)
{
    struct ask *a = held_by(d, from, m);

    if (a && answer_is_owed(a) && a->input.stream)
        mind_room(a, answer_piece(a, m));
}

static void on_heartbeat(void *arg)
{
    struct ask *a = arg;
    struct dispatch *d = a->dispatch;
    int64_t now = clock_ms(), due = a->put_ms + d->conf->heartbeat_ms;

    if (due <= now) {
        due = now + d->conf->heartbeat_ms;
        loop_timer_set(d->loop, &a->heartbeat, due);
        mind_room(a, answer_heartbeat(a));
    } else {
        loop_timer_set(d->loop, &a->heartbeat, due);
    }
}

static void on_message(struct dispatch *d, const struct zmsg *z)
{
    static struct log_limit unreadable = LOG_LIMIT(1, 60000, "unreadable messages on the jobs socket");
    struct pack_reader *r = NULL;
    struct job m;
    int got = pack_open(&r, z->body.p, z->body.n);

    while (got >= 0 && (got = pack_next(r, &job_fields, &m)) > 0) {
        switch (m.kind) {
        case JOB_HELLO:
        case JOB_BEAT:
        case JOB_LEAVING:
            on_presence(d, &z->route, &m);
            break;
        case JOB_CHUNK:
            on_chunk(d, &z->route, &m);
            break;
        case JOB_DONE:
        case JOB_FAILED:
            on_result(d, &z->route, &m);
            break;
        default: /* a newer worker's; not for us */
            break;
        }
    }
    if (got < 0 && log_allowed(LOG_WARNING, &unreadable))
        log_warning("a message on the jobs socket cannot be read and is ignored: not from an llm-worker of "
                    "this version?");
    pack_close(r);
}

static bool before_sleep(void *arg)
{
    struct dispatch *d = arg;
    struct zmsg m;
    int n = 0;

    /* Sending first: a send can swallow the wake-up of what arrives meanwhile. */
    pump(d);
    (void)flush_workers(d);
    while (n < MESSAGES_PER_TURN && zsock_recv(d->router, &m) == 0) {
        on_message(d, &m);
        zmsg_free(&m);
        n++;
    }
    if (n < MESSAGES_PER_TURN && reap_lost(d)) /* nothing is left to be read from anybody */
        return true;
    return n > 0 || flush_workers(d); /* reading can swallow that of room for what could not be sent */
}

static struct event_gauges gauges_of(const struct dispatch *d)
{
    struct event_gauges g = {
        .in_progress = (uint64_t)atomic_load(&d->notes.in_progress),
        .queued = d->asks.n_waiting,
        .queue_age_us = d->asks.first ? clock_us() - d->asks.first->caller.start_us : 0,
    };

    for (const struct worker *w = d->workers.first; w; w = w->next)
        g.workers[worker_state(w)]++;
    return g;
}

static void on_tick(void *arg)
{
    struct dispatch *d = arg;
    int64_t now = clock_ms();
    uint64_t workers = (uint64_t)atomic_load(&d->facts_workers);
    struct event_upstream upstreams[UPSTREAMS_MAX];
    bool was_deaf = now - d->tick.at > JOB_SILENCE_MS / 2; /* stopped, or starved: what they said is unread */

    for (struct worker *w = d->workers.first; w; w = w->next) {
        if (was_deaf)
            w->heard_ms = now;
        if (now - w->heard_ms > JOB_SILENCE_MS)
            w->lost = "it has been silent for too long";
        else /* its answer does not matter: sending fails at once when its connection has ended */
            worker_say(w, &(struct job){.kind = JOB_BEAT, .epoch = d->epoch, .workers = workers});
    }
    update_facts(d);
    struct event_gauges gauges = gauges_of(d);
    size_t n = workers_upstreams(&d->workers, upstreams);
    sink_gauges(d->sink, &gauges);
    sink_upstreams(d->sink, upstreams, n);
    models_learn(&d->models, upstreams, n);
    confirm_tell(&d->notes.confirm);
    check_drained(d); /* telemetry may be gone by now */
    loop_timer_set(d->loop, &d->tick, now + JOB_BEAT_MS);
}

/* The inbox. */

static void on_timer(void *arg)
{
    struct ask *a = arg;
    struct dispatch *d = a->dispatch;

    if (a->state == ASK_FOLLOWING) {
        leave_leader(a);
        fail(a, 502, "Upstream LLM error", "timeout",
             "the same question, asked before, was not answered in time");
    } else if (a->state == ASK_WAITING) {
        bool late = clock_ms() >= a->deadline_ms;
        asks_wait_no_more(&d->asks, a);
        if (late)
            fail(a, 502, "Upstream LLM error", "timeout", "no worker was free before the request's deadline");
        else
            fail(a, 503, "Service Unavailable", "no_worker", "no worker was free before the queue timeout");
    } else if (answer_is_owed(a)) {
        a->late = true;
        answer_failure(a, 502, "Upstream LLM error", &(struct job){.error = str_of("timeout")});
        stop(a);
    } else {
        worker_release(a->worker, a);
        finish(a, &(struct job){.kind = JOB_FAILED});
    }
}

static void on_submit(void *owner)
{
    struct ask *a = owner;
    struct dispatch *d = a->dispatch;

    asks_add(&d->asks, a);
    a->admission = d->admission;
    a->timer = (struct loop_timer){.fn = on_timer, .arg = a};
    a->heartbeat = (struct loop_timer){.fn = on_heartbeat, .arg = a};
    a->put_ms = a->caller.start_us / 1000;
    a->deadline_ms = a->put_ms + d->conf->request_timeout_ms;
    if (a->has_same && answer_from_cache(d, a))
        return;
    if (a->has_same && follow(d, a)) {
        set_timer(a, a->deadline_ms);
        return;
    }
    if (a->input.stream)
        loop_timer_set(d->loop, &a->heartbeat, a->put_ms + d->conf->heartbeat_ms);
    asks_wait(&d->asks, a);
    wait_for_worker(a, a->put_ms);
}

void dispatch_submit(struct dispatch *d, struct ask *a)
{
    a->submit_node.fn = on_submit;
    a->submit_node.owner = a;
    inbox_push(&d->inbox, &a->submit_node);
}

static void on_inbox(void *arg, uint32_t events)
{
    struct dispatch *d = arg;

    (void)events;
    /* Let the HTTP threads that are ready add their asks: fuller messages, half the wake-ups (performance.md
     * 2). */
    sched_yield();
    sched_yield();
    for (struct inbox_node *n = inbox_take(&d->inbox), *next; n; n = next) {
        next = n->next;
        n->fn(n->owner);
    }
}

struct notes *dispatch_notes(struct dispatch *d)
{
    return &d->notes;
}

struct models *dispatch_models(struct dispatch *d)
{
    return &d->models;
}

struct dispatch_facts dispatch_facts(const struct dispatch *d)
{
    return (struct dispatch_facts){
        .workers = atomic_load(&d->facts_workers),
        .openai_configured = atomic_load(&d->facts_openai),
        .upstreams_down = atomic_load(&d->facts_down),
        .langfuse_enabled = atomic_load(&d->facts_langfuse),
        .telemetry = atomic_load(&d->facts_telemetry),
    };
}

void dispatch_give_up(struct dispatch *d)
{
    on_inbox(d, 0); /* those that have just come, too */
    for (uint32_t i = 0; i < d->asks.capacity; i++) {
        struct ask *a = d->asks.places[i];
        if (!a || a->state == ASK_CONFIRMING)
            continue;
        if (a->state == ASK_WAITING)
            asks_wait_no_more(&d->asks, a);
        else if (a->state == ASK_FOLLOWING)
            flights_leave(a);
        else
            worker_release(a->worker, a);
        fail(a, 503, "Shutting down", "shutting_down", "not finished within DRAIN_TIMEOUT_MS");
    }
    sink_release(d->sink);
}

static void on_drain_end(void *arg)
{
    dispatch_give_up(arg);
}

void dispatch_drain(struct dispatch *d, int64_t deadline, void (*fn)(void *arg), void *arg)
{
    on_inbox(d, 0); /* what the HTTP threads have left there counts too */
    d->drained = fn;
    d->drained_arg = arg;
    loop_timer_set(d->loop, &d->drain_end, deadline);
    check_drained(d);
}

static void on_router(void *arg, uint32_t events)
{
    (void)arg; /* before_sleep() reads */
    (void)events;
}

int dispatch_new(struct dispatch **out, struct loop *l, const struct gateway_conf *conf, struct admission *a)
{
    struct dispatch *d = xcalloc(1, sizeof *d);
    int ret;

    d->loop = l;
    d->conf = conf;
    d->admission = a;
    d->epoch = id_u64();
    inbox_init(&d->inbox);
    same_init();
    models_init(&d->models);
    d->cache = conf->cache_bytes ? cache_new((size_t)conf->cache_bytes, conf->cache_age_ms) : NULL;
    d->flights = conf->single_flight ? xcalloc(1, sizeof *d->flights) : NULL;
    d->wire = zwire_new();
    ret = zsock_router(d->wire, conf->jobs_endpoint, JOB_QUEUE, &d->router);
    if (ret < 0) {
        log_error("cannot open the jobs socket %s: %s", conf->jobs_endpoint, strerror(-ret));
        goto fail;
    }
    ret = sink_new(&d->sink, l, d->wire, conf->events_endpoint, "gateway");
    if (ret < 0) {
        log_error("cannot open the events socket %s: %s", conf->events_endpoint, strerror(-ret));
        goto fail;
    }
    notes_init(&d->notes, &d->inbox, d->sink, &conf->users, conf->telemetry_ack_timeout_ms);
    d->inbox_io = (struct loop_io){.fd = d->inbox.eventfd, .fn = on_inbox, .arg = d};
    d->router_io = (struct loop_io){.fd = zsock_fd(d->router), .fn = on_router, .arg = d};
    ret = loop_io_set(l, &d->inbox_io, EPOLLIN);
    if (ret == 0)
        ret = loop_io_set(l, &d->router_io, EPOLLIN);
    if (ret < 0)
        goto fail;
    d->hook = (struct loop_hook){.fn = before_sleep, .arg = d};
    loop_hook_add(l, &d->hook);
    d->drain_end = (struct loop_timer){.fn = on_drain_end, .arg = d};
    d->patience = (struct loop_timer){.fn = have_drained, .arg = d};
    d->tick = (struct loop_timer){.fn = on_tick, .arg = d};
    on_tick(d);
    *out = d;
    return 0;

fail:
    dispatch_free(d);
    return ret;
}

void dispatch_free(struct dispatch *d)
{
    if (!d)
        return;
    on_inbox(d, 0);
    if (d->sink)
        sink_release(d->sink);
    for (struct worker *w = d->workers.first, *next; w; w = next) {
        next = w->next;
        w->asks = NULL;
        workers_remove(&d->workers, w);
    }
    for (uint32_t i = 0; i < d->asks.capacity; i++) {
        if (d->asks.places[i])
            answer_nobody(d->asks.places[i]);
        ask_free(d->asks.places[i]);
    }
    cache_free(d->cache);
    free(d->flights);
    asks_free(&d->asks);
    loop_timer_clear(d->loop, &d->tick);
    loop_timer_clear(d->loop, &d->patience);
    loop_timer_clear(d->loop, &d->drain_end);
    loop_io_clear(d->loop, &d->inbox_io);
    loop_io_clear(d->loop, &d->router_io);
    sink_free(d->sink);
    zsock_close(d->router);
    zwire_free(d->wire);
    inbox_close(&d->inbox);
    free(d);
}
