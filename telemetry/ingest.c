#include "telemetry/ingest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/event.h"
#include "telemetry/account.h"
#include "telemetry/gauges.h"
#include "telemetry/senders.h"

#define WARN_EVERY_MS   60000
#define HOUSEKEEPING_MS 5000
#define BUSY_WAIT_MS    100
#define SETTLE_TURNS    16

/* A message whose events wait for the commit: their texts live in it. */
struct held {
    struct zmsg msg;
    struct pack_reader *reader;
};

struct asked {
    struct zroute route;
    uint64_t id;
    enum metrics_format format;
};

struct ingest {
    struct ingest_conf conf;
    struct loop *loop;
    struct zsock *sock;
    struct loop_io io;
    struct loop_hook hook;
    struct loop_timer timer, housekeeping;
    struct spool *spool;
    struct metrics *metrics;
    struct senders *senders;
    struct gauges *gauges;
    struct buf scratch;
    int busy_turns;

    /* this turn */
    struct held held[TURN_MESSAGES_MAX];
    size_t n_held;
    struct asked asked[TURN_MESSAGES_MAX];
    size_t n_asked;
    struct event *events; /* what has been taken */
    size_t n_events, cap_events;
    size_t n_records; /* of them */
    size_t duplicates, unreadable;
    uint64_t lost; /* by a sender whose buffer was full */
    bool counted;  /* all of that */
    size_t bytes;
};

static void warn(const char *text)
{
    static struct log_limit limit = LOG_LIMIT(1, WARN_EVERY_MS, "events that cannot be read");

    if (log_allowed(LOG_WARNING, &limit))
        log_warning("%s", text);
}

static void keep(struct ingest *in, const struct event *e)
{
    if (in->n_events == in->cap_events) {
        in->cap_events = in->cap_events ? 2 * in->cap_events : 64;
        in->events = xrealloc(in->events, in->cap_events * sizeof *in->events);
    }
    in->events[in->n_events++] = *e;
}

static bool has_record(const struct event *e)
{
    return (e->kind == EVENT_REQUEST || e->kind == EVENT_FEEDBACK) && record_wanted(e);
}

static void take(struct ingest *in, const struct event *e)
{
    keep(in, e);
    if (has_record(e))
        in->n_records++;
    else if (e->kind == EVENT_FEEDBACK)
        in->unreadable++;
}

/* The events behind a batch's head. One that cannot be read is passed over, or it would come again for ever. */
static void take_batch(struct ingest *in, struct pack_reader *r, struct sender *s, const struct event *head)
{
    uint64_t seq = head->seq;
    struct event e;
    int got;

    bool unknown = s->last == 0;
    uint64_t lost = sender_base(s, head->base);
    /* After the loss of our own file nobody can say whether these had been taken. */
    if (lost && !(unknown && spool_replaced(in->spool)))
        in->lost += lost;
    for (; (got = pack_next(r, &event_fields, &e)) > 0; seq++) {
        enum sender_verdict v = sender_offer(s, seq);
        if (v == SENDER_TAKE)
            take(in, &e);
        else if (v == SENDER_DUPLICATE)
            in->duplicates++;
        else
            return;
    }
    if (got < 0 && sender_offer(s, seq) == SENDER_TAKE) {
        in->unreadable++;
        warn("an event cannot be read and is dropped; do all processes have the same version?");
    }
}

static void note_scrape(struct ingest *in, const struct zroute *route, const struct event *e)
{
    enum metrics_format format = e->format == METRICS_OPENMETRICS ? METRICS_OPENMETRICS : METRICS_TEXT;

    if (in->n_asked < TURN_MESSAGES_MAX)
        in->asked[in->n_asked++] = (struct asked){*route, e->id, format};
}

static void apply(struct ingest *in, const struct zmsg *m, struct pack_reader *r)
{
    struct event head;

    if (pack_next(r, &event_fields, &head) <= 0 || head.epoch == 0) {
        warn("a message on the events wire cannot be read and is ignored");
        return;
    }
    if (head.kind != EVENT_BATCH && head.kind != EVENT_GAUGES && head.kind != EVENT_SCRAPE)
        return; /* of a newer version */
    struct sender *s = senders_get(in->senders, head.epoch, clock_ms());
    s->route = m->route;
    s->owed = true;
    if (head.kind == EVENT_BATCH) {
        take_batch(in, r, s, &head);
        return;
    }
    gauges_take(in->gauges, &head, clock_ms());
    if (head.kind == EVENT_SCRAPE)
        note_scrape(in, &m->route, &head);
}

static void receive(struct ingest *in, struct zmsg *m)
{
    struct held *h = &in->held[in->n_held];

    *h = (struct held){.msg = *m};
    if (pack_open(&h->reader, m->body.p, m->body.n) < 0) {
        warn("a message on the events wire cannot be read and is ignored");
        zmsg_free(m);
        return;
    }
    in->n_held++;
    in->bytes += m->body.n;
    apply(in, m, h->reader);
}

static bool turn_is_full(const struct ingest *in)
{
    return in->n_held == TURN_MESSAGES_MAX || in->n_events >= TURN_EVENTS_MAX || in->bytes >= TURN_BYTES_MAX;
}

/* Not before the transaction is open: an upload that is settled meanwhile writes down all that has been counted, and
 * what is not acknowledged comes again. */
static void count(struct ingest *in)
{
    if (in->counted)
        return;
    in->counted = in->n_held > 0; /* housekeeping holds nothing, and what comes next is to be counted */
    for (size_t i = 0; i < in->n_events; i++)
        account_event(in->metrics, &in->events[i]);
    if (in->lost)
        account_dropped(in->metrics, DROPPED_SENDER, (double)in->lost);
    if (in->unreadable)
        account_dropped(in->metrics, DROPPED_UNREADABLE, (double)in->unreadable);
    if (in->duplicates)
        metrics_add(in->metrics, METRIC_DUPLICATES, METRIC_PLAIN, (double)in->duplicates);
}

static int put_records(struct ingest *in)
{
    int rc = 0;

    for (size_t i = 0; i < in->n_events && rc == 0; i++) {
        struct record r;
        if (!has_record(&in->events[i]))
            continue;
        record_of_event(&r, &in->events[i], &in->scratch);
        if (in->conf.privacy)
            privacy_apply(in->conf.privacy, &r);
        rc = spool_put(in->spool, &r);
    }
    return rc;
}

static int put_senders(struct ingest *in)
{
    int rc = 0;

    for (struct sender *s = NULL; rc == 0 && (s = senders_next(in->senders, s)) != NULL;)
        if (s->moved)
            rc = spool_put_sender(in->spool, s->epoch, s->last, wall_us());
    return rc;
}

/* sign -1: it did not come to that. */
static void account_trimmed(struct metrics *m, const struct spool_trimmed *t, const char *reason, double sign)
{
    if (t->records)
        account_dropped(m, reason, sign * (double)t->records);
    if (t->old_records)
        account_dropped(m, DROPPED_SPOOL_AGE, sign * (double)t->old_records);
    if (t->letters)
        metrics_add(m, METRIC_LETTERS_DROPPED, METRIC_PLAIN, sign * (double)t->letters);
}

/* squeeze: the disk is full, old records make room for the new ones. */
static int store(struct ingest *in, bool squeeze)
{
    struct spool_trimmed squeezed = {0}, trimmed = {0};
    int rc = spool_begin(in->spool);

    if (rc == 0)
        count(in);
    if (rc == 0 && squeeze)
        rc = spool_squeeze(in->spool, 2 * (int64_t)in->bytes, &squeezed);
    if (rc == 0)
        rc = put_records(in);
    if (rc == 0)
        rc = spool_trim(in->spool, wall_us(), &trimmed);
    account_trimmed(in->metrics, &squeezed, DROPPED_DISK_FULL, 1);
    account_trimmed(in->metrics, &trimmed, DROPPED_SPOOL_FULL, 1);
    if (rc == 0)
        rc = put_senders(in);
    if (rc == 0)
        rc = metrics_save(in->metrics, in->spool);
    if (rc == 0)
        rc = spool_commit(in->spool);
    if (rc < 0) {
        spool_rollback(in->spool);
        account_trimmed(in->metrics, &squeezed, DROPPED_DISK_FULL, -1);
        account_trimmed(in->metrics, &trimmed, DROPPED_SPOOL_FULL, -1);
        return rc;
    }
    metrics_saved(in->metrics);
    for (struct sender *s = NULL; (s = senders_next(in->senders, s)) != NULL;)
        s->moved = false;
    return 0;
}

int ingest_repair(struct ingest *in, int error)
{
    uint64_t replaced = spool_replaced(in->spool);
    int64_t lost = spool_lost(in->spool);
    int rc = spool_repair(in->spool, error);

    if (spool_replaced(in->spool) == replaced)
        return rc;
    metrics_add(in->metrics, METRIC_SPOOL_REPLACED, METRIC_PLAIN, 1);
    account_dropped(in->metrics, DROPPED_SPOOL_DAMAGED, (double)(spool_lost(in->spool) - lost));
    metrics_unsaved(in->metrics);
    for (struct sender *s = NULL; (s = senders_next(in->senders, s)) != NULL;)
        s->moved = s->last > 0;
    return rc;
}

static bool anything_to_store(struct ingest *in)
{
    if (in->n_events || in->duplicates || metrics_dirty(in->metrics) || spool_expired(in->spool, wall_us()))
        return true;
    for (struct sender *s = NULL; (s = senders_next(in->senders, s)) != NULL;)
        if (s->moved)
            return true;
    return false;
}

static void give_up(struct ingest *in, const char *reason)
{
    count(in);
    account_dropped(in->metrics, reason, (double)in->n_records);
}

/* false: somebody's tool holds the file, try again soon. */
static bool commit(struct ingest *in)
{
    if (!anything_to_store(in))
        return true;
    int rc = store(in, false);
    if (rc < 0 && ingest_repair(in, rc) == 0) {
        rc = store(in, false);
        if (rc == -ENOSPC && in->n_records)
            rc = store(in, true);
    }
    if (rc == -EBUSY) { /* nothing is acknowledged meanwhile: the senders keep it */
        in->busy_turns++;
        return false;
    }
    in->busy_turns = 0;
    if (rc < 0)
        give_up(in, rc == -ENOSPC ? DROPPED_DISK_FULL : DROPPED_SPOOL_ERROR);
    else if (in->n_records)
        in->conf.stored(in->conf.arg);
    return true;
}

/* What has to be done although nobody sends anything. */
static void housekeeping(void *arg)
{
    struct ingest *in = arg;

    spool_relax(in->spool);
    if (!in->n_held)
        (void)commit(in);
    loop_timer_set(in->loop, &in->housekeeping, clock_ms() + HOUSEKEEPING_MS);
}

/* A peer that has gone meanwhile gets nothing: it will ask again. */
static int reply(struct ingest *in, const struct zroute *to, const struct event *e)
{
    struct buf body = BUF_INIT(WIRE_MESSAGE_MAX);

    pack_begin(&body);
    pack_put(&body, &event_fields, e);
    int rc = body.failed ? -EMSGSIZE : zsock_send(in->sock, to, buf_str(&body));
    if (rc < 0)
        log_debug("an answer on the events wire is lost: %s", strerror(-rc));
    buf_free(&body);
    return rc;
}

static int send_ack(struct ingest *in, const struct sender *s)
{
    struct event ack = {.kind = EVENT_ACK,
                        .epoch = s->epoch,
                        .seq = s->committed,
                        .langfuse_enabled = in->conf.langfuse_enabled};

    return reply(in, &s->route, &ack);
}

static void acknowledge(struct ingest *in)
{
    for (struct sender *s = NULL; (s = senders_next(in->senders, s)) != NULL;) {
        if (s->owed)
            (void)send_ack(in, s);
        s->owed = false;
    }
}

bool ingest_deserted(struct ingest *in)
{
    bool deserted = true;

    for (struct sender *s = NULL; (s = senders_next(in->senders, s)) != NULL;) {
        if (s->route.n == 0)
            continue;
        if (send_ack(in, s) == -EHOSTUNREACH)
            s->route.n = 0;
        else
            deserted = false;
    }
    return deserted;
}

static void answer_scrapes(struct ingest *in)
{
    struct buf pages[METRICS_FORMATS] = {BUF_INIT(METRIC_PAGE_MAX), BUF_INIT(METRIC_PAGE_MAX)};

    for (size_t i = 0; i < in->n_asked; i++) {
        const struct asked *a = &in->asked[i];
        struct buf *page = &pages[a->format];
        if (page->len == 0)
            in->conf.page(in->conf.arg, a->format, page);
        struct event e = {.kind = EVENT_EXPOSITION, .id = a->id, .format = a->format, .text = buf_str(page)};
        (void)reply(in, &a->route, &e);
    }
    in->n_asked = 0;
    for (size_t i = 0; i < METRICS_FORMATS; i++)
        buf_free(&pages[i]);
}

static void release(struct ingest *in)
{
    for (size_t i = 0; i < in->n_held; i++) {
        pack_close(in->held[i].reader);
        zmsg_free(&in->held[i].msg);
    }
    in->n_held = in->n_events = in->n_records = in->bytes = 0;
    in->duplicates = in->unreadable = in->lost = 0;
    in->counted = false;
}

static void turn(void *arg)
{
    struct ingest *in = arg;

    if (!commit(in)) {
        loop_timer_set(in->loop, &in->timer, clock_ms() + BUSY_WAIT_MS);
        return;
    }
    loop_timer_clear(in->loop, &in->timer);
    for (struct sender *s = NULL; (s = senders_next(in->senders, s)) != NULL;)
        s->committed = s->last;
    acknowledge(in);
    release(in);
    answer_scrapes(in);
}

static bool read_socket(void *arg)
{
    struct ingest *in = arg;
    struct zmsg m;

    while (!turn_is_full(in) && zsock_recv(in->sock, &m) == 0)
        receive(in, &m);
    if ((turn_is_full(in) || in->n_asked) && !in->busy_turns) {
        turn(in);
        return !in->busy_turns;
    }
    if (in->n_held && !in->timer.place)
        loop_timer_set(in->loop, &in->timer, clock_ms() + TURN_WAIT_MS);
    return false;
}

void ingest_settle(struct ingest *in)
{
    for (int i = 0; i < SETTLE_TURNS && read_socket(in); i++)
        ;
    if (in->n_held && !in->busy_turns)
        turn(in);
}

static void readable(void *arg, uint32_t events)
{
    (void)arg; /* the hook reads */
    (void)events;
}

void ingest_show_gauges(struct ingest *in)
{
    gauges_show(in->gauges, in->metrics, clock_ms());
}

static void restore(void *arg, uint64_t epoch, uint64_t seq, int64_t seen_us)
{
    struct ingest *in = arg;

    (void)seen_us;
    senders_restore(in->senders, epoch, seq);
}

int ingest_new(struct ingest **out, struct loop *l, struct zwire *w, const struct ingest_conf *c,
               struct spool *s, struct metrics *m)
{
    struct zsock *sock;
    int rc = zsock_router(w, c->endpoint, EVENT_QUEUE, &sock);

    if (rc < 0) {
        log_error("cannot bind %s: %s; choose another one with ATALAYA_EVENTS_ENDPOINT", c->endpoint,
                  strerror(-rc));
        return rc;
    }
    struct ingest *in = xcalloc(1, sizeof *in);
    in->conf = *c;
    in->loop = l;
    in->sock = sock;
    in->spool = s;
    in->metrics = m;
    in->senders = senders_new();
    in->gauges = gauges_new();
    in->scratch = BUF_INIT(RECORD_BYTES_MAX);
    in->io = (struct loop_io){.fd = zsock_fd(sock), .fn = readable, .arg = in};
    in->hook = (struct loop_hook){.fn = read_socket, .arg = in};
    in->timer = (struct loop_timer){.fn = turn, .arg = in};
    rc = spool_each_sender(s, restore, in);
    if (rc == 0)
        rc = loop_io_set(l, &in->io, EPOLLIN);
    if (rc < 0) {
        ingest_free(in);
        return rc;
    }
    loop_hook_add(l, &in->hook);
    in->housekeeping = (struct loop_timer){.fn = housekeeping, .arg = in};
    loop_timer_set(l, &in->housekeeping, clock_ms() + HOUSEKEEPING_MS);
    *out = in;
    return 0;
}

void ingest_free(struct ingest *in)
{
    if (!in)
        return;
    loop_io_clear(in->loop, &in->io);
    loop_timer_clear(in->loop, &in->timer);
    loop_timer_clear(in->loop, &in->housekeeping);
    release(in);
    senders_free(in->senders);
    gauges_free(in->gauges);
    buf_free(&in->scratch);
    free(in->events);
    zsock_close(in->sock);
    free(in);
}
