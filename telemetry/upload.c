#include "telemetry/upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "telemetry/account.h"
#include "telemetry/gzip.h"
#include "telemetry/jsonread.h"
#include "telemetry/langfuse_batch.h"
#include "telemetry/langfuse_otlp.h"
#include "telemetry/post.h"
#include "telemetry/upload_policy.h"

#define PROBE_MS        30000 /* between two tries when keys or address are wrong */
#define SPOOL_RETRY_MS  1000
#define WARN_EVERY_MS   60000
#define SPAN_SPARE      (2 * KIB) /* what a record's span may hold beside its text */
#define SCORES_A_RECORD 2
#define BODY_MAX        (64 * MIB)
#define TRIMMED         "<truncated due to size exceeding limit>"

#define HEADERS                                                                                              \
    "x-langfuse-sdk-name: atalaya", "x-langfuse-sdk-version: " ATALAYA_VERSION,                              \
        "Expect:" /* no 100-continue */

enum row_stage { ROW_NEW = RECORD_NEW, ROW_TRACE_SENT = RECORD_TRACE_SENT, ROW_FINISHED };

struct row {
    int64_t seq;
    enum row_stage stage;
    bool dirty; /* stage is not in the spool yet */
    bool feedback;
    unsigned scores;
    unsigned trims;      /* texts to leave out because it was too large */
    unsigned verdicts;   /* of its scores, in the answer that is being read */
    unsigned refused;    /* of them */
    const char *dropped; /* why, when it is finished without Langfuse having it */
    int64_t gone;        /* rows that left the spool with this one, the first of them */
    char trace_id[ID_TRACE_SIZE];
    char key[BATCH_KEY_SIZE];
};

/* Records that travel together. */
struct parcel {
    struct parcel *next;
    unsigned attempt;
    int64_t due;
    size_t n, cap;
    struct row rows[];
};

/* One request at a time, and what it sends. */
struct flight {
    struct upload *upload;
    struct post *post;
    struct parcel *parcel; /* NULL: free */
    enum upload_target target;
    struct buf spans; /* compressed */
    struct buf scores;
    size_t n_scores;
    size_t answered; /* where the search for the next verdict's row starts */
};

struct upload {
    struct upload_conf conf;
    struct loop *loop;
    struct spool *spool;
    struct metrics *metrics;
    struct otlp *otlp;
    struct gzip *gzip;
    struct post_client *client;
    struct post_target *targets[2];
    struct flight flights[UPLOAD_FLIGHTS];
    struct loop_timer timer;

    struct parcel *queue; /* not in the air: waits for its time or for a free flight */
    size_t open;          /* parcels in all */
    size_t in_air;
    int64_t cursor;    /* rows up to here are in parcels, or done */
    int64_t flush_due; /* when the rows behind it go, however few; 0 = there are none */
    int64_t hold_until;
    bool holding; /* until an answer is good again, one request at a time */
    bool draining, drain_failed, drained;
};

/* One batch may have thousands. */
static struct log_limit refusals = LOG_LIMIT(10, 1000, "records and scores that Langfuse refuses");

static void pump(struct upload *u);

static void warn(struct upload *u, int status, const char *error, const char *text)
{
    static struct log_limit limit = LOG_LIMIT(1, WARN_EVERY_MS, "trouble with Langfuse");

    if (!log_allowed(LOG_WARNING, &limit))
        return;
    log_event(LOG_WARNING,
              LOG_FIELDS(LOG_CSTR("url", u->conf.url), LOG_INT("status", status), LOG_CSTR("error", error),
                         LOG_INT("records", spool_records(u->spool))),
              "%s", text);
}

static struct parcel *parcel_new(struct upload *u, size_t cap)
{
    struct parcel *p = xcalloc(1, sizeof *p + cap * sizeof *p->rows);

    p->cap = cap;
    u->open++;
    return p;
}

static void parcel_free(struct upload *u, struct parcel *p)
{
    u->open--;
    free(p);
}

static void enqueue(struct upload *u, struct parcel *p, int64_t due)
{
    struct parcel **at = &u->queue;

    p->due = due;
    while (*at)
        at = &(*at)->next;
    p->next = NULL;
    *at = p;
}

static struct parcel *dequeue(struct upload *u, int64_t now)
{
    for (struct parcel **at = &u->queue; *at; at = &(*at)->next) {
        struct parcel *p = *at;
        if (p->due > now)
            continue;
        *at = p->next;
        return p;
    }
    return NULL;
}

/* Settling: what is known about a parcel's rows goes into the spool, with the counters, in one transaction. */

static int settle_run(struct spool *s, struct row *first, const struct row *last)
{
    return first->stage == ROW_FINISHED ? spool_delete(s, first->seq, last->seq, &first->gone)
                                        : spool_mark_sent(s, first->seq, last->seq);
}

static int settle_rows(struct upload *u, struct parcel *p)
{
    int rc = 0;

    for (size_t i = 0; i < p->n && rc == 0; i++) {
        struct row *first = &p->rows[i], *last = first;
        if (!first->dirty)
            continue;
        for (; i + 1 < p->n; i++, last++)
            if (!last[1].dirty || last[1].stage != first->stage || last[1].dropped != first->dropped ||
                last[1].seq != last->seq + 1)
                break;
        rc = settle_run(u->spool, first, last);
    }
    return rc;
}

/* Only what was still there: a row that the spool has dropped under way is counted already, as that. */
static void count_gone(struct upload *u, const struct parcel *p, double sign)
{
    for (const struct row *row = p->rows; row < p->rows + p->n; row++) {
        if (row->gone && row->dropped)
            account_dropped(u->metrics, row->dropped, sign * (double)row->gone);
        else if (row->gone)
            metrics_add(u->metrics, METRIC_UPLOADED, METRIC_PLAIN, sign * (double)row->gone);
    }
}

static void forget_finished(struct parcel *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n; i++) {
        p->rows[i].dirty = false;
        if (p->rows[i].stage != ROW_FINISHED)
            p->rows[n++] = p->rows[i];
    }
    p->n = n;
}

static int settle(struct upload *u, struct parcel *p)
{
    bool dirty = false;

    for (size_t i = 0; i < p->n; i++) {
        dirty = dirty || p->rows[i].dirty;
        p->rows[i].gone = 0;
    }
    if (!dirty)
        return 0;
    int rc = spool_begin(u->spool);
    if (rc == 0)
        rc = settle_rows(u, p);
    count_gone(u, p, 1);
    if (rc == 0)
        rc = metrics_save(u->metrics, u->spool);
    if (rc == 0)
        rc = spool_commit(u->spool);
    if (rc < 0) {
        spool_rollback(u->spool);
        count_gone(u, p, -1);
        u->conf.broken(u->conf.arg, rc);
        return rc;
    }
    metrics_saved(u->metrics);
    forget_finished(p);
    return 0;
}

static void set_stage(struct row *row, enum row_stage stage)
{
    row->stage = stage;
    row->dirty = true;
}

/* Loading: rows of the spool become spans and scores. */

static void trim_largest(struct record *r)
{
    struct str *const texts[] = {&r->question, &r->answer, &r->user_id};
    struct str *largest = texts[0];

    for (size_t i = 1; i < ARRAY_LEN(texts); i++)
        if (texts[i]->n > largest->n)
            largest = texts[i];
    if (largest->n > sizeof TRIMMED - 1)
        *largest = str_of(TRIMMED);
}

static void encode(struct flight *f, struct row *row, struct record *r)
{
    for (unsigned i = 0; i < row->trims; i++)
        trim_largest(r);
    row->feedback = record_is_feedback(r);
    row->scores = row->feedback ? 1 : r->has_scores ? SCORES_A_RECORD : 0;
    row->verdicts = row->refused = 0;
    snprintf(row->trace_id, sizeof row->trace_id, "%.*s", (int)r->trace_id.n, r->trace_id.p);
    batch_key(row->key, r);
    if (row->stage == ROW_NEW)
        otlp_add(f->upload->otlp, r);
    if (row->scores == 0)
        return;
    if (f->n_scores == 0)
        batch_begin(&f->scores);
    f->n_scores += row->scores;
    if (row->feedback)
        batch_feedback(&f->scores, r, f->upload->conf.environment);
    else
        batch_scores(&f->scores, r, f->upload->conf.environment);
}

static bool fits(const struct flight *f, const struct record *r)
{
    size_t more = (size_t)r->bytes + (size_t)r->tries * SPAN_SPARE + SPAN_SPARE;

    return otlp_bytes(f->upload->otlp) + more <= UPLOAD_BATCH_BYTES &&
           f->scores.len + more <= UPLOAD_BATCH_BYTES;
}

/* The next rows that are in no parcel. */
static int load_new(struct flight *f)
{
    struct upload *u = f->upload;
    struct parcel *p = f->parcel;
    struct record r;
    int rc = spool_scan(u->spool, u->cursor + 1, INT64_MAX);

    while (rc == 0 && p->n < p->cap && (rc = spool_next(u->spool, &r)) > 0) {
        rc = 0;
        if (p->n > 0 && !fits(f, &r))
            break;
        struct row *row = &p->rows[p->n++];
        *row = (struct row){.seq = r.seq, .stage = r.stage == RECORD_NEW ? ROW_NEW : ROW_TRACE_SENT};
        encode(f, row, &r);
        u->cursor = r.seq;
    }
    if (rc == 0 && p->n == 0)
        u->cursor = spool_last(u->spool);
    spool_scan_end(u->spool);
    return rc;
}

/* The rows of a parcel that has been under way before; those that the spool has dropped meanwhile leave it. */
static int load_again(struct flight *f)
{
    struct upload *u = f->upload;
    struct parcel *p = f->parcel;
    struct record r;
    size_t kept = 0, at = 0;
    int rc = spool_scan(u->spool, p->rows[0].seq, p->rows[p->n - 1].seq);

    while (rc == 0 && (rc = spool_next(u->spool, &r)) > 0) {
        rc = 0;
        while (at < p->n && p->rows[at].seq < r.seq)
            at++;
        if (at == p->n || p->rows[at].seq != r.seq)
            continue;
        p->rows[kept] = p->rows[at++];
        encode(f, &p->rows[kept++], &r);
    }
    spool_scan_end(u->spool);
    if (rc == 0)
        p->n = kept;
    return rc;
}

static int load(struct flight *f)
{
    struct upload *u = f->upload;
    struct str parts[OTLP_PARTS];

    otlp_reset(u->otlp);
    buf_reset(&f->spans);
    buf_reset(&f->scores);
    f->n_scores = 0;
    int rc = f->parcel->n ? load_again(f) : load_new(f);
    if (rc < 0)
        return rc;
    if (f->n_scores)
        batch_end(&f->scores);
    if (otlp_spans(u->otlp)) {
        otlp_export(u->otlp, parts);
        gzip_pack(u->gzip, &f->spans, parts, OTLP_PARTS);
    }
    otlp_reset(u->otlp);
    return f->spans.failed || f->scores.failed ? -EMSGSIZE : 0;
}

/* Flying. */

static void post(struct flight *f, enum upload_target target)
{
    f->target = target;
    post_send(f->post, f->upload->targets[target], buf_str(target == UPLOAD_TRACES ? &f->spans : &f->scores));
}

static void land(struct flight *f)
{
    f->parcel = NULL;
    f->upload->in_air--;
}

static void land_later(struct flight *f, int64_t due)
{
    struct parcel *p = f->parcel;

    land(f);
    if (p->n == 0)
        parcel_free(f->upload, p);
    else
        enqueue(f->upload, p, due);
}

static void land_failed(struct flight *f, int64_t due)
{
    (void)settle(f->upload, f->parcel); /* what has been done already; otherwise before the next try */
    f->upload->drain_failed = true;
    land_later(f, due);
}

/* A row without scores is done with its trace; one that has been marked in an earlier life needs its scores. */
static void finish_without_scores(struct flight *f)
{
    for (size_t i = 0; i < f->parcel->n; i++)
        if (f->parcel->rows[i].stage == ROW_TRACE_SENT && f->parcel->rows[i].scores == 0) {
            set_stage(&f->parcel->rows[i], ROW_FINISHED);
        }
}

/* The scores follow at once, unless all wait: that the traces are there is written down with the scores' answer,
 * whichever it is. */
static void go_on_with_scores(struct flight *f)
{
    finish_without_scores(f);
    if (f->n_scores && clock_ms() >= f->upload->hold_until)
        post(f, UPLOAD_SCORES);
    else if (settle(f->upload, f->parcel) < 0)
        land_failed(f, clock_ms() + SPOOL_RETRY_MS);
    else
        land_later(f, 0);
}

static void launch(struct flight *f, struct parcel *p)
{
    struct upload *u = f->upload;

    f->parcel = p;
    u->in_air++;
    int rc = settle(u, p); /* what the spool did not take before */
    if (rc == 0)
        rc = load(f);
    if (rc < 0) {
        u->conf.broken(u->conf.arg, rc);
        land_failed(f, clock_ms() + SPOOL_RETRY_MS);
    } else if (f->spans.len) {
        post(f, UPLOAD_TRACES);
    } else {
        go_on_with_scores(f);
    }
}

static struct flight *free_flight(struct upload *u)
{
    for (size_t i = 0; i < UPLOAD_FLIGHTS; i++)
        if (!u->flights[i].parcel)
            return &u->flights[i];
    return NULL;
}

static bool may_take_new(const struct upload *u, int64_t now)
{
    int64_t waiting = spool_waiting(u->spool, u->cursor);

    if (waiting == 0 || u->open >= UPLOAD_FLIGHTS)
        return false;
    if (u->draining)
        return !u->drain_failed;
    return waiting >= u->conf.flush_at || (u->flush_due && u->flush_due <= now);
}

static struct parcel *next_parcel(struct upload *u, int64_t now)
{
    if (now < u->hold_until || (u->holding && u->in_air > 0))
        return NULL;
    struct parcel *p = dequeue(u, now);
    if (p || !may_take_new(u, now))
        return p;
    /* The rows that stay behind have just begun to wait. */
    u->flush_due = now + u->conf.flush_interval_ms;
    return parcel_new(u, (size_t)u->conf.flush_at);
}

static void set_timer(struct upload *u, int64_t now)
{
    int64_t at = INT64_MAX;

    for (const struct parcel *p = u->queue; p; p = p->next)
        at = p->due < at ? p->due : at;
    if (u->flush_due && u->open < UPLOAD_FLIGHTS)
        at = u->flush_due < at ? u->flush_due : at;
    if (at < u->hold_until)
        at = u->hold_until;
    /* Without a free flight, or while one probes for all, the next answer calls. */
    if (at == INT64_MAX || !free_flight(u) || (u->holding && u->in_air > 0))
        loop_timer_clear(u->loop, &u->timer);
    else
        loop_timer_set(u->loop, &u->timer, at > now ? at : now + 1);
}

static void report_drained(struct upload *u)
{
    if (!u->draining || u->drained || u->in_air > 0)
        return;
    u->drained = true;
    u->conf.drained(u->conf.arg);
}

static void pump(struct upload *u)
{
    int64_t now = clock_ms();
    struct flight *f;
    struct parcel *p;

    while ((f = free_flight(u)) != NULL && (p = next_parcel(u, now)) != NULL)
        launch(f, p);
    if (spool_waiting(u->spool, u->cursor) == 0)
        u->flush_due = 0;
    set_timer(u, now);
    report_drained(u);
}

static void on_timer(void *arg)
{
    pump(arg);
}

/* Answers. */

static void hold(struct upload *u, int64_t ms)
{
    int64_t until = clock_ms() + ms;

    u->holding = true;
    if (until > u->hold_until)
        u->hold_until = until;
}

/* Langfuse takes something again: whoever waits need not wait longer. An answer that comes while all wait is to a
 * request from before: it takes nothing back. */
static void good_news(struct upload *u)
{
    if (clock_ms() < u->hold_until)
        return;
    u->holding = false;
    u->hold_until = 0;
    for (struct parcel *p = u->queue; p; p = p->next)
        p->due = 0;
}

static void retry(struct flight *f, const struct post_answer *a)
{
    struct upload *u = f->upload;
    int64_t wait = upload_retry_after(a->retry_after, wall_us());

    if (wait > 0)
        hold(u, wait);
    warn(u, a->status, a->error,
         "Langfuse does not take records now: they stay in the spool and are tried again");
    land_failed(f, clock_ms() + upload_backoff(f->parcel->attempt++, id_u32()));
}

static void keep_and_probe(struct flight *f, const struct post_answer *a)
{
    bool keys = a->status == 401 || a->status == 403;

    hold(f->upload, PROBE_MS);
    warn(f->upload, a->status, NULL,
         keys
             ? "Langfuse refuses our keys: check LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_HOST; "
               "records stay in the spool"
             : "this is not where Langfuse takes records: check LANGFUSE_BASE_URL or LANGFUSE_HOST; records "
               "stay in the spool");
    land_failed(f, 0);
}

static void halve(struct flight *f)
{
    struct upload *u = f->upload;
    struct parcel *p = f->parcel;
    size_t n = p->n / 2;
    struct parcel *second = parcel_new(u, p->n - n);

    second->n = p->n - n;
    memcpy(second->rows, p->rows + n, second->n * sizeof *second->rows);
    p->n = n;
    p->attempt = 0;
    land_later(f, 0);
    enqueue(u, second, 0);
}

/* A record that Langfuse refuses for good, alone in its parcel. */
static void give_up(struct flight *f, const struct post_answer *a, const char *reason)
{
    struct upload *u = f->upload;
    struct row *row = &f->parcel->rows[0];
    bool trace = row->stage == ROW_NEW;

    if (log_allowed(LOG_WARNING, &refusals))
        log_event(LOG_WARNING,
                  LOG_FIELDS(LOG_CSTR("trace_id", row->trace_id), LOG_INT("status", a->status),
                             LOG_CSTR("reason", reason)),
                  trace || row->feedback ? "Langfuse refuses a record: it is dropped"
                                         : "Langfuse refuses the scores of a record");
    if (!trace)
        metrics_add(u->metrics, METRIC_SCORES_REJECTED, METRIC_PLAIN, row->scores);
    if (trace || row->feedback)
        row->dropped = reason;
    set_stage(row, ROW_FINISHED);
    int rc = settle(u, f->parcel);
    land_later(f, rc < 0 ? clock_ms() + SPOOL_RETRY_MS : 0);
}

static void isolate(struct flight *f, const struct post_answer *a)
{
    if (f->parcel->n > 1)
        halve(f);
    else
        give_up(f, a, DROPPED_REJECTED);
}

static void make_smaller(struct flight *f, const struct post_answer *a)
{
    if (f->parcel->n > 1) {
        halve(f);
    } else if (f->target == UPLOAD_TRACES && f->parcel->rows[0].trims < 3) {
        f->parcel->rows[0].trims++;
        land_later(f, 0);
    } else {
        give_up(f, a, DROPPED_TOO_LARGE);
    }
}

static void traces_taken(struct flight *f)
{
    for (size_t i = 0; i < f->parcel->n; i++)
        if (f->parcel->rows[i].stage == ROW_NEW)
            set_stage(&f->parcel->rows[i], ROW_TRACE_SENT);
    f->parcel->attempt = 0;
    go_on_with_scores(f);
}

/* Answers come in the order of the batch, nearly always. */
static struct row *row_of(struct flight *f, struct str event_id)
{
    struct parcel *p = f->parcel;

    for (size_t i = 0; i < p->n; i++) {
        struct row *row = &p->rows[(f->answered + i) % p->n];
        if (!batch_is_of(event_id, row->key))
            continue;
        f->answered = (size_t)(row - p->rows);
        return row;
    }
    return NULL;
}

static void on_verdict(void *arg, struct str id, int status, struct str message)
{
    struct flight *f = arg;
    struct row *row = row_of(f, id);

    if (!row || !upload_event_is_final(status))
        return;
    row->verdicts++;
    if (status < 400)
        return;
    row->refused++;
    metrics_add(f->upload->metrics, METRIC_SCORES_REJECTED, METRIC_PLAIN, 1);
    if (log_allowed(LOG_WARNING, &refusals))
        log_event(LOG_WARNING,
                  LOG_FIELDS(LOG_CSTR("trace_id", row->trace_id), LOG_INT("status", status),
                             LOG_STR("reason", ((struct str){message.p, message.n < 200 ? message.n : 200}))),
                  "Langfuse refuses a score");
}

/* The usual answer, without building a tree of it: no error, and as many successes as there were events. */
static bool all_taken(struct flight *f, struct str body)
{
    if (!jsonread_all_taken(body, f->n_scores))
        return false;
    for (size_t i = 0; i < f->parcel->n; i++)
        f->parcel->rows[i].verdicts = f->parcel->rows[i].scores;
    return true;
}

/* A row is done when each of its scores has a final verdict; what the answer does not name goes again. */
static void scores_answered(struct flight *f, const struct post_answer *a)
{
    struct parcel *p = f->parcel;
    bool again = false;

    f->answered = 0;
    if (!all_taken(f, a->body) && jsonread_ingestion(a->body, on_verdict, f) < 0) {
        retry(f, a);
        return;
    }
    for (size_t i = 0; i < p->n; i++) {
        if (p->rows[i].stage == ROW_FINISHED) /* it has no scores */
            continue;
        if (p->rows[i].verdicts < p->rows[i].scores) {
            again = true;
            continue;
        }
        if (p->rows[i].feedback && p->rows[i].refused)
            p->rows[i].dropped = DROPPED_REJECTED;
        set_stage(&p->rows[i], ROW_FINISHED);
    }
    int rc = settle(f->upload, p);
    if (rc < 0)
        land_failed(f, clock_ms() + SPOOL_RETRY_MS);
    else if (again)
        retry(f, a);
    else
        land_later(f, 0);
}

static void count_request(struct upload *u, enum upload_target target, enum upload_action action)
{
    static const char *const results[] = {[UPLOAD_DONE] = "ok",
                                          [UPLOAD_RETRY] = "retry",
                                          [UPLOAD_HOLD] = "refused",
                                          [UPLOAD_SMALLER] = "too_large",
                                          [UPLOAD_ISOLATE] = "rejected"};

    metrics_add(u->metrics, METRIC_UPLOADS,
                METRIC_WITH(results[action], target == UPLOAD_TRACES ? "traces" : "scores"), 1);
}

static void on_answer(void *arg, const struct post_answer *a)
{
    struct flight *f = arg;
    struct upload *u = f->upload;
    enum upload_action action = upload_action(f->target, a->status, a->body);

    count_request(u, f->target, action);
    if (action == UPLOAD_DONE)
        good_news(u);
    switch (action) {
    case UPLOAD_DONE:
        if (f->target == UPLOAD_TRACES)
            traces_taken(f);
        else
            scores_answered(f, a);
        break;
    case UPLOAD_RETRY:
        retry(f, a);
        break;
    case UPLOAD_HOLD:
        keep_and_probe(f, a);
        break;
    case UPLOAD_SMALLER:
        make_smaller(f, a);
        break;
    case UPLOAD_ISOLATE:
        isolate(f, a);
        break;
    }
    pump(u);
}

void upload_wake(struct upload *u)
{
    if (!u->flush_due)
        u->flush_due = clock_ms() + u->conf.flush_interval_ms;
    pump(u);
}

void upload_drain(struct upload *u)
{
    u->draining = true;
    u->drain_failed = u->holding;
    for (struct parcel *p = u->queue; p; p = p->next)
        p->due = 0; /* one last try each */
    pump(u);
}

struct upload *upload_new(struct loop *l, const struct upload_conf *c, struct spool *s, struct metrics *m)
{
    static const char *const for_traces[] = {"Content-Type: application/x-protobuf", "Content-Encoding: gzip",
                                             "x-langfuse-ingestion-version: 4", HEADERS, NULL};
    static const char *const for_scores[] = {"Content-Type: application/json", HEADERS, NULL};
    struct upload *u = xcalloc(1, sizeof *u);
    struct post_conf conf = {c->public_key, c->secret_key, c->timeout_ms, c->ca_file, c->ca_dir};

    u->conf = *c;
    u->loop = l;
    u->spool = s;
    u->metrics = m;
    u->otlp = otlp_new(c->environment, c->release);
    u->gzip = gzip_new();
    u->client = post_client_new(l, &conf);
    u->targets[UPLOAD_TRACES] = post_target_new(c->url, "/api/public/otel/v1/traces", for_traces);
    u->targets[UPLOAD_SCORES] = post_target_new(c->url, "/api/public/ingestion", for_scores);
    u->timer = (struct loop_timer){.fn = on_timer, .arg = u};
    for (size_t i = 0; i < UPLOAD_FLIGHTS; i++) {
        struct flight *f = &u->flights[i];
        f->upload = u;
        f->post = post_new(u->client, on_answer, f);
        f->spans = BUF_INIT(BODY_MAX);
        f->scores = BUF_INIT(BODY_MAX);
    }
    if (spool_records(s))
        u->flush_due = clock_ms(); /* what an earlier life has left */
    set_timer(u, clock_ms());
    return u;
}

void upload_free(struct upload *u)
{
    if (!u)
        return;
    loop_timer_clear(u->loop, &u->timer);
    for (size_t i = 0; i < UPLOAD_FLIGHTS; i++) {
        struct flight *f = &u->flights[i];
        if (f->parcel)
            (void)settle(u, f->parcel); /* traces whose scores are still in the air */
        post_free(f->post);
        free(f->parcel);
        buf_free(&f->spans);
        buf_free(&f->scores);
    }
    while (u->queue) {
        struct parcel *p = u->queue;
        u->queue = p->next;
        free(p);
    }
    for (size_t i = 0; i < ARRAY_LEN(u->targets); i++)
        post_target_free(u->targets[i]);
    post_client_free(u->client);
    gzip_free(u->gzip);
    otlp_free(u->otlp);
    free(u);
}
