#include "common/wire/sink.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define PING_MS       1000 /* silence towards telemetry never lasts longer */
#define GAUGE_MS      200  /* a changed gauge waits this long at most */
#define ALIVE_MS      3500
#define SCRAPES_MAX   64
#define WARN_EVERY_MS 60000

/* An event as it goes over the wire, kept until it is acknowledged. */
struct entry {
    struct entry *next;
    uint64_t seq;
    sink_confirmed *fn; /* NULL: nobody waits, or any more */
    void *arg;
    int64_t deadline;
    size_t n;
    char bytes[];
};

struct scrape {
    uint64_t id; /* 0 = free */
    int64_t deadline;
    sink_exposition *fn;
    void *arg;
};

struct sink {
    struct loop *loop;
    struct zsock *sock;
    struct loop_io io;
    struct loop_hook hook;
    struct loop_timer flush_timer;
    struct loop_timer tick;
    struct loop_timer patience; /* of those who wait */

    const char *process;
    uint64_t epoch;
    uint64_t next_seq;
    struct entry *head, *tail; /* unacknowledged, oldest first */
    struct entry *unsent;      /* first of them that has not been handed to ZeroMQ; NULL = none */
    struct entry *waited;      /* first of them that somebody waits for; NULL = none */
    size_t bytes;
    uint64_t overflowed;

    int64_t progress_at; /* last acknowledgement that freed something, or last (re)send after silence */
    int64_t heard_at;    /* 0 = never */
    int64_t born_at;
    int64_t said_at;
    bool probing; /* telemetry has not answered the last re-send: one batch is enough until it does */
    bool probed;
    bool blocked; /* ZeroMQ took no more: wait for the next tick, a try costs a batch's worth of copying */
    bool langfuse_enabled;

    struct event_gauges gauges;
    struct event_upstream upstreams[UPSTREAMS_MAX]; /* the names are below */
    char upstream_names[UPSTREAMS_MAX][UPSTREAM_NAME_MAX];
    size_t n_upstreams;
    bool gauge_dirty;
    int64_t gauge_at;

    struct scrape scrapes[SCRAPES_MAX];
    uint64_t next_scrape;

    void (*on_empty)(void *arg);
    void *on_empty_arg;
};

static int send_body(struct sink *s, struct buf *body)
{
    int ret = body->failed ? -EMSGSIZE : zsock_send(s->sock, NULL, buf_str(body));

    if (ret == 0)
        s->said_at = clock_ms();
    buf_free(body);
    return ret;
}

/* One message of as many unsent events as fit. */
static int send_batch(struct sink *s)
{
    struct buf body = BUF_INIT(WIRE_MESSAGE_MAX);
    struct entry *e = s->unsent;
    struct event head = {
        .kind = EVENT_BATCH,
        .epoch = s->epoch,
        .seq = e->seq,
        .base = s->head->seq,
        .process = str_of(s->process),
        .pid = (uint64_t)getpid(),
    };

    pack_begin(&body);
    pack_put(&body, &event_fields, &head);
    do {
        buf_append(&body, e->bytes, e->n);
        e = e->next;
    } while (e && body.len + e->n <= WIRE_BATCH_BYTES);
    int ret = send_body(s, &body);
    if (ret == 0)
        s->unsent = e;
    return ret;
}

static void send_gauges(struct sink *s)
{
    struct buf body = BUF_INIT(4 * KIB);
    struct event e = {
        .kind = EVENT_GAUGES,
        .epoch = s->epoch,
        .process = str_of(s->process),
        .pid = (uint64_t)getpid(),
        .gauges = s->gauges,
        .upstreams = {s->upstreams, s->n_upstreams},
    };

    pack_begin(&body);
    pack_put(&body, &event_fields, &e);
    if (send_body(s, &body) == 0) {
        s->gauge_dirty = false;
        s->gauge_at = s->said_at;
    }
}

static void flush(void *arg)
{
    struct sink *s = arg;

    while (s->unsent && !s->blocked && !(s->probing && s->probed)) {
        if (s->unsent == s->head)
            s->progress_at = clock_ms(); /* the clock for a re-send starts with the first send */
        if (send_batch(s) < 0)
            s->blocked = true;
        else
            s->probed = true;
    }
}

/* Somebody waits for it, or for one behind it. */
static void find_waited(struct sink *s, struct entry *from)
{
    while (from && !from->fn)
        from = from->next;
    s->waited = from;
    if (from)
        loop_timer_set(s->loop, &s->patience, from->deadline);
    else
        loop_timer_clear(s->loop, &s->patience);
}

static void tell(struct sink *s, struct entry *e, bool committed)
{
    sink_confirmed *fn = e->fn;

    e->fn = NULL;
    if (s->waited == e)
        find_waited(s, e->next);
    if (fn)
        fn(e->arg, committed);
}

static void give_up_waiting(struct sink *s, int64_t until)
{
    while (s->waited && s->waited->deadline <= until)
        tell(s, s->waited, false);
}

static void out_of_patience(void *arg)
{
    give_up_waiting(arg, clock_ms());
}

void sink_release(struct sink *s)
{
    give_up_waiting(s, INT64_MAX);
}

/* What is told may put the next event: everything is in order before. */
static void remove_oldest(struct sink *s, bool committed)
{
    struct entry *e = s->head;

    s->head = e->next;
    if (!s->head)
        s->tail = NULL;
    if (s->unsent == e)
        s->unsent = e->next;
    s->bytes -= e->n;
    tell(s, e, committed);
    free(e);
}

static void drop_oldest(struct sink *s)
{
    static struct log_limit limit = LOG_LIMIT(1, WARN_EVERY_MS, "events dropped because the buffer is full");

    s->overflowed++;
    if (log_allowed(LOG_WARNING, &limit))
        log_event(LOG_WARNING, LOG_FIELDS(LOG_INT("dropped", s->overflowed)),
                  "telemetry does not take our events and the buffer is full: the oldest are dropped");
    remove_oldest(s, false);
}

/* NULL: larger than any field's maximum allows. */
static struct entry *append(struct sink *s, const struct event *event)
{
    struct buf body = BUF_INIT(EVENT_BUFFER_MAX / 2);

    pack_put(&body, &event_fields, event);
    if (body.failed) {
        buf_free(&body);
        s->overflowed++;
        return NULL;
    }
    while (s->head && s->bytes + body.len > EVENT_BUFFER_MAX)
        drop_oldest(s);
    struct entry *e = xmalloc(sizeof *e + body.len);
    *e = (struct entry){.seq = s->next_seq++, .n = body.len};
    memcpy(e->bytes, body.data, body.len);
    buf_free(&body);
    *(s->tail ? &s->tail->next : &s->head) = e;
    s->tail = e;
    s->bytes += e->n;
    if (!s->unsent)
        s->unsent = e;
    return e;
}

void sink_put(struct sink *s, const struct event *event)
{
    const struct entry *e = append(s, event);

    if (!e)
        return;
    if (!s->flush_timer.place)
        loop_timer_set(s->loop, &s->flush_timer, clock_ms() + EVENT_FLUSH_MS);
    else if (e->seq - s->unsent->seq >= 64)
        flush(s);
}

void sink_put_notify(struct sink *s, const struct event *event, int64_t deadline, sink_confirmed *fn,
                     void *arg)
{
    struct entry *e = append(s, event);

    if (!e) {
        fn(arg, false);
        return;
    }
    e->fn = fn;
    e->arg = arg;
    e->deadline = deadline;
    if (!s->waited)
        find_waited(s, e);
    loop_timer_set(s->loop, &s->flush_timer, clock_ms()); /* with what else this turn brings */
}

static void acknowledged(struct sink *s, uint64_t seq)
{
    bool moved = false;

    while (s->head && s->head->seq <= seq) {
        remove_oldest(s, true);
        moved = true;
    }
    if (moved)
        s->progress_at = clock_ms();
    s->probing = false;
    if (!s->head && s->on_empty) {
        void (*fn)(void *) = s->on_empty;
        s->on_empty = NULL;
        fn(s->on_empty_arg);
    }
}

static void finish_scrape(struct scrape *c, struct str text, enum metrics_format format)
{
    struct scrape done = *c;

    c->id = 0;
    done.fn(done.arg, text, format);
}

static void exposition(struct sink *s, const struct event *e)
{
    for (size_t i = 0; i < SCRAPES_MAX; i++)
        if (s->scrapes[i].id && s->scrapes[i].id == e->id)
            finish_scrape(&s->scrapes[i], e->text,
                          e->format == METRICS_OPENMETRICS ? METRICS_OPENMETRICS : METRICS_TEXT);
}

static void received(struct sink *s, struct str body)
{
    static struct log_limit limit = LOG_LIMIT(1, WARN_EVERY_MS, "answers of telemetry that cannot be read");
    struct pack_reader *r = NULL;
    struct event e;
    int got = pack_open(&r, body.p, body.n);

    while (got >= 0 && (got = pack_next(r, &event_fields, &e)) > 0) {
        s->heard_at = clock_ms();
        if (e.kind == EVENT_ACK && e.epoch == s->epoch) {
            s->langfuse_enabled = e.langfuse_enabled;
            acknowledged(s, e.seq);
        } else if (e.kind == EVENT_EXPOSITION) {
            exposition(s, &e);
        }
    }
    if (got < 0 && log_allowed(LOG_WARNING, &limit))
        log_warning("an answer of telemetry cannot be read and is ignored");
    pack_close(r);
}

static bool drain_socket(void *arg)
{
    struct sink *s = arg;
    struct zmsg m;
    int n = 0;

    while (n < 64 && zsock_recv(s->sock, &m) == 0) {
        received(s, m.body);
        zmsg_free(&m);
        n++;
    }
    return n > 0;
}

static void readable(void *arg, uint32_t events)
{
    (void)arg; /* the hook reads */
    (void)events;
}

static void expire_scrapes(struct sink *s, int64_t now)
{
    for (size_t i = 0; i < SCRAPES_MAX; i++)
        if (s->scrapes[i].id && s->scrapes[i].deadline <= now)
            finish_scrape(&s->scrapes[i], (struct str){NULL, 0}, METRICS_TEXT);
}

static void tick(void *arg)
{
    struct sink *s = arg;
    int64_t now = clock_ms();

    if (s->head && s->unsent != s->head && now - s->progress_at >= EVENT_RESEND_MS) {
        s->unsent = s->head;
        s->probing = true;
        s->probed = false;
    }
    s->blocked = false;
    flush(s);
    if (now - s->said_at >= PING_MS || (s->gauge_dirty && now - s->gauge_at >= GAUGE_MS))
        send_gauges(s);
    expire_scrapes(s, now);
    loop_timer_set(s->loop, &s->tick, now + GAUGE_MS / 2);
}

int sink_new(struct sink **out, struct loop *l, struct zwire *w, const char *endpoint, const char *process)
{
    struct zsock *sock;
    int ret = zsock_dealer(w, endpoint, EVENT_QUEUE, &sock);

    if (ret < 0)
        return ret;
    struct sink *s = xcalloc(1, sizeof *s);
    s->loop = l;
    s->sock = sock;
    s->process = process;
    s->epoch = id_u64();
    s->born_at = clock_ms();
    s->next_seq = 1;
    s->next_scrape = 1;
    s->io = (struct loop_io){.fd = zsock_fd(sock), .fn = readable, .arg = s};
    s->hook = (struct loop_hook){.fn = drain_socket, .arg = s};
    s->flush_timer = (struct loop_timer){.fn = flush, .arg = s};
    s->tick = (struct loop_timer){.fn = tick, .arg = s};
    s->patience = (struct loop_timer){.fn = out_of_patience, .arg = s};
    ret = loop_io_set(l, &s->io, EPOLLIN);
    if (ret < 0) {
        zsock_close(sock);
        free(s);
        return ret;
    }
    loop_hook_add(l, &s->hook);
    tick(s);
    *out = s;
    return 0;
}

void sink_free(struct sink *s)
{
    if (!s)
        return;
    sink_release(s);
    loop_io_clear(s->loop, &s->io);
    for (size_t i = 0; i < SCRAPES_MAX; i++)
        if (s->scrapes[i].id)
            finish_scrape(&s->scrapes[i], (struct str){NULL, 0}, METRICS_TEXT);
    loop_timer_clear(s->loop, &s->flush_timer);
    loop_timer_clear(s->loop, &s->tick);
    while (s->head) {
        struct entry *e = s->head;
        s->head = e->next;
        free(e);
    }
    zsock_close(s->sock);
    free(s);
}

void sink_gauges(struct sink *s, const struct event_gauges *g)
{
    s->gauge_dirty |= memcmp(&s->gauges, g, sizeof *g) != 0; /* no padding: eight bytes each */
    s->gauges = *g;
}

void sink_in_progress(struct sink *s, uint64_t n)
{
    s->gauge_dirty |= s->gauges.in_progress != n;
    s->gauges.in_progress = n;
}

static bool same_upstream(const struct event_upstream *a, const struct event_upstream *b)
{
    return a->name.n == b->name.n && memcmp(a->name.p, b->name.p, a->name.n) == 0 && a->state == b->state &&
           a->in_flight == b->in_flight && a->limit == b->limit && a->refused == b->refused;
}

void sink_upstreams(struct sink *s, const struct event_upstream *list, size_t n)
{
    n = n < UPSTREAMS_MAX ? n : UPSTREAMS_MAX;
    for (size_t i = 0; i < n; i++) {
        struct event_upstream *u = &s->upstreams[i];
        if (i < s->n_upstreams && same_upstream(u, &list[i]))
            continue;
        s->gauge_dirty = true;
        *u = list[i];
        u->name.n = u->name.n < UPSTREAM_NAME_MAX ? u->name.n : UPSTREAM_NAME_MAX;
        memcpy(s->upstream_names[i], list[i].name.p, u->name.n);
        u->name.p = s->upstream_names[i];
    }
    s->gauge_dirty |= n != s->n_upstreams;
    s->n_upstreams = n;
}

void sink_scrape(struct sink *s, enum metrics_format wanted, int64_t deadline, sink_exposition *fn, void *arg)
{
    struct buf body = BUF_INIT(4 * KIB);
    struct scrape *slot = NULL;

    for (size_t i = 0; i < SCRAPES_MAX && !slot; i++)
        if (!s->scrapes[i].id)
            slot = &s->scrapes[i];
    struct event e = {
        .kind = EVENT_SCRAPE,
        .epoch = s->epoch,
        .process = str_of(s->process),
        .pid = (uint64_t)getpid(),
        .id = s->next_scrape,
        .format = wanted,
        .gauges = s->gauges,
        .upstreams = {s->upstreams, s->n_upstreams},
    };
    pack_begin(&body);
    pack_put(&body, &event_fields, &e);
    flush(s); /* what has happened before the scrape is in it */
    if (!slot || send_body(s, &body) < 0) {
        buf_free(&body);
        fn(arg, (struct str){NULL, 0}, METRICS_TEXT);
        return;
    }
    *slot = (struct scrape){s->next_scrape++, deadline, fn, arg};
}

bool sink_telemetry_alive(const struct sink *s)
{
    return s->heard_at != 0 && clock_ms() - s->heard_at < ALIVE_MS;
}

bool sink_telemetry_awaited(const struct sink *s)
{
    return clock_ms() - (s->heard_at ? s->heard_at : s->born_at) < ALIVE_MS;
}

bool sink_langfuse_enabled(const struct sink *s)
{
    return s->langfuse_enabled;
}

bool sink_empty(const struct sink *s)
{
    return !s->head;
}

void sink_on_empty(struct sink *s, void (*fn)(void *arg), void *arg)
{
    if (!s->head) {
        fn(arg);
        return;
    }
    s->on_empty = fn;
    s->on_empty_arg = arg;
    flush(s);
}
