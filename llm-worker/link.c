#include "llm-worker/link.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/job.h"
#include "common/wire/zsock.h"
#include "llm-worker/job.h"

#define MESSAGES_PER_TURN 64
#define WARN_EVERY_MS     60000
/* Unsent: beyond the first nothing more is read from the providers; what had come by then fits up to the second, the
 * rest is for their accounts. */
#define HOLD_BYTES    (4 * MIB)
#define ANSWERS_BYTES (16 * MIB)

struct link {
    struct loop *loop;
    const struct worker_conf *conf;
    struct zwire *wire;
    struct zsock *sock;
    struct loop_io io;
    struct loop_hook hook;
    struct loop_timer beat;
    struct jobs *jobs;
    char name[ID_SPAN_SIZE];
    uint64_t epoch; /* of the gateway we last heard; 0 = none yet */
    struct buf out;
    uint64_t unsent; /* chunks and results in it; the rest of it is presence, which nobody needs later */
    void (*drained)(void *arg);
    void *drained_arg;
    bool leaving;
};

static void say(struct link *k, const struct job *m)
{
    if (k->out.len == 0)
        pack_begin(&k->out);
    pack_put(&k->out, &job_fields, m);
}

static bool flush(struct link *k)
{
    static struct log_limit limit =
        LOG_LIMIT(1, WARN_EVERY_MS, "results dropped while the gateway does not answer");

    if (k->out.failed) {
        if (log_allowed(LOG_ERROR, &limit))
            log_error("more results than can be kept while the gateway does not answer: they are dropped");
        buf_free(&k->out);
        k->unsent = 0;
    }
    if (k->out.len == 0)
        return true;
    if (zsock_send(k->sock, NULL, buf_str(&k->out)) < 0)
        return false;
    buf_reset(&k->out);
    k->unsent = 0;
    return true;
}

static void announce(struct link *k, enum job_kind kind)
{
    struct event_upstream list[UPSTREAMS_MAX];
    bool down;
    size_t n = jobs_upstreams(k->jobs, list, &down);

    say(k, &(struct job){
               .kind = kind,
               .down = down,
               .upstreams = {list, n},
               .worker = str_of(k->name),
               .pid = (uint64_t)getpid(),
               .slots = (uint64_t)k->conf->slots,
               .configured = k->conf->roster && !worker_conf_is_demo(k->conf),
           });
}

static void check_drained(struct link *k)
{
    if (k->drained && jobs_held(k->jobs) == 0 && k->unsent == 0) {
        void (*fn)(void *) = k->drained;
        k->drained = NULL;
        fn(k->drained_arg);
    }
}

static void on_beat(void *arg)
{
    struct link *k = arg;

    /* Presence is said only into an empty buffer: one that cannot be sent must not fill up with beats. */
    if (flush(k))
        announce(k, k->leaving ? JOB_LEAVING : JOB_BEAT);
    flush(k);
    check_drained(k);
    loop_timer_set(k->loop, &k->beat, clock_ms() + JOB_BEAT_MS);
}

static void new_gateway(struct link *k, uint64_t epoch)
{
    if (epoch == k->epoch)
        return;
    k->epoch = epoch;
    if (jobs_held(k->jobs) > 0)
        log_event(LOG_WARNING, LOG_FIELDS(LOG_INT("jobs", jobs_held(k->jobs))),
                  "the gateway has been restarted: stopping what the last one asked for");
    jobs_abandon(k->jobs, epoch);
}

static void on_message(struct link *k, struct str body)
{
    static struct log_limit limit =
        LOG_LIMIT(1, WARN_EVERY_MS, "messages on the jobs socket that cannot be read");
    struct pack_reader *r = NULL;
    struct job m;
    int got = pack_open(&r, body.p, body.n);

    while (got >= 0 && (got = pack_next(r, &job_fields, &m)) > 0) {
        new_gateway(k, m.epoch);
        if (m.kind == JOB_BEAT)
            jobs_set_workers(k->jobs, m.workers);
        else if (m.kind == JOB_JOB)
            jobs_start(k->jobs, &m);
        else if (m.kind == JOB_CANCEL)
            jobs_cancel(k->jobs, m.epoch, m.id);
        else if (m.kind == JOB_PAUSE || m.kind == JOB_RESUME)
            jobs_pause(k->jobs, m.epoch, m.id, m.kind == JOB_PAUSE);
    }
    if (got < 0 && log_allowed(LOG_WARNING, &limit))
        log_warning("a message on the jobs socket cannot be read and is ignored: not from a gateway of this "
                    "version?");
    pack_close(r);
}

static bool before_sleep(void *arg)
{
    struct link *k = arg;
    struct zmsg m;
    int n = 0;

    flush(k); /* before reading: a send can swallow the wake-up of what arrives meanwhile */
    while (n < MESSAGES_PER_TURN && zsock_recv(k->sock, &m) == 0) {
        on_message(k, m.body);
        zmsg_free(&m);
        n++;
    }
    if (n == 0 && k->out.len > 0 && flush(k)) /* and reading that of room for what could not be sent */
        n++;
    jobs_hold(k->jobs, k->out.len > HOLD_BYTES);
    check_drained(k);
    return n > 0;
}

/* False: the gateway has not taken anything for so long that there is no room for the answer. */
static bool report(void *arg, const struct job *m)
{
    static struct log_limit limit =
        LOG_LIMIT(1, WARN_EVERY_MS, "answers given up while the gateway does not take them");
    struct link *k = arg;
    size_t size = m->kind == JOB_CHUNK ? 0 : m->answer.n + m->body.n;

    if (size > 0 && k->out.len + size > ANSWERS_BYTES) {
        if (log_allowed(LOG_ERROR, &limit))
            log_error("the gateway does not take the answers, and there is no room for more of them: one is "
                      "given up; is the gateway stopped, or its machine overloaded?");
        return false;
    }
    say(k, m);
    k->unsent++;
    if (k->out.len > HOLD_BYTES)
        jobs_hold(k->jobs, true);
    if (k->out.len > WIRE_BATCH_BYTES)
        flush(k);
    return true;
}

static void on_readable(void *arg, uint32_t events)
{
    (void)arg; /* before_sleep() reads */
    (void)events;
}

int link_new(struct link **out, struct loop *l, const struct worker_conf *conf)
{
    struct zwire *wire = zwire_new();
    struct zsock *sock;
    int ret = zsock_dealer(wire, conf->jobs_endpoint, JOB_QUEUE, &sock);

    if (ret < 0) {
        log_error("cannot open the jobs socket %s: %s", conf->jobs_endpoint, strerror(-ret));
        zwire_free(wire);
        return ret;
    }
    struct link *k = xcalloc(1, sizeof *k);
    k->loop = l;
    k->conf = conf;
    k->wire = wire;
    k->sock = sock;
    k->out = BUF_INIT(WIRE_MESSAGE_MAX);
    k->io = (struct loop_io){.fd = zsock_fd(sock), .fn = on_readable, .arg = k};
    k->hook = (struct loop_hook){.fn = before_sleep, .arg = k};
    k->beat = (struct loop_timer){.fn = on_beat, .arg = k};
    k->jobs = jobs_new(l, conf, report, k);
    id_span(k->name);
    ret = loop_io_set(l, &k->io, EPOLLIN);
    if (ret < 0) {
        link_free(k);
        return ret;
    }
    loop_hook_add(l, &k->hook);
    announce(k, JOB_HELLO);
    on_beat(k);
    *out = k;
    return 0;
}

void link_free(struct link *k)
{
    if (!k)
        return;
    loop_timer_clear(k->loop, &k->beat);
    loop_io_clear(k->loop, &k->io);
    jobs_free(k->jobs);
    buf_free(&k->out);
    zsock_close(k->sock);
    zwire_free(k->wire);
    free(k);
}

void link_drain(struct link *k, void (*fn)(void *arg), void *arg)
{
    k->leaving = true;
    k->drained = fn;
    k->drained_arg = arg;
    announce(k, JOB_LEAVING);
    flush(k);
    check_drained(k);
}
