#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "telemetry/account.h"
#include "telemetry/jsonread.h"
#include "telemetry/refusal.h"
#include "telemetry/upload_inside.h"

#define NOT_ACCEPTED "Event type not accepted" /* Langfuse 4 on what is no score in a batch */
#define TRIMS_MAX    5

/* One batch may have thousands. */
static struct log_limit refusals = LOG_LIMIT(10, 1000, "records and scores that are refused");

static const char *name_of(const struct upload *u)
{
    return u->conf.kind == UPLOAD_TO_LANGFUSE ? "Langfuse" : "the OTLP backend";
}

static void acquit(struct parcel *p)
{
    p->strikes = p->verdicts = 0;
    p->half = p->same = false;
}

/* What was suspected has passed as it is: who fails now fails at random, as one of several servers does behind one
 * address. That is no word about any record. */
static void acquit_all(struct upload *u)
{
    for (struct parcel *p = u->parcels.queue; p; p = p->next)
        acquit(p);
    for (size_t i = 0; i < UPLOAD_FLIGHTS; i++)
        if (u->flights[i].parcel)
            acquit(u->flights[i].parcel);
}

/* The destination takes something again after it has taken nothing: whoever waits need not wait longer. What has failed
 * beside others that went well waits its time. An answer that comes while all wait is to a request from before: it takes
 * nothing back. */
static void good_news(struct flight *f)
{
    struct upload *u = f->upload;

    u->tally[f->target].taken++;
    if (parcel_is_suspect(f->parcel) && f->parcel->same)
        acquit_all(u);
    acquit(f->parcel);
    f->parcel->attempt = 0;
    if (clock_ms() < u->hold_until)
        return;
    if (u->holding || u->failures >= UPLOAD_FLIGHTS)
        parcels_hurry(&u->parcels);
    u->failures = 0;
    u->holding = false;
    u->hold_until = 0;
}

static const char *advice(const struct upload *u, bool keys)
{
    if (u->conf.kind == UPLOAD_TO_OTLP)
        return keys ? "the OTLP backend does not let us in: check OTEL_EXPORTER_OTLP_HEADERS; records stay "
                      "in the spool"
                    : "this is not where an OTLP backend takes spans: check OTEL_EXPORTER_OTLP_ENDPOINT; "
                      "records stay "
                      "in the spool";
    return keys ? "Langfuse refuses our keys: check LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and "
                  "LANGFUSE_HOST; records "
                  "stay in the spool"
                : "this is not where Langfuse takes records: check LANGFUSE_BASE_URL or LANGFUSE_HOST; "
                  "records stay in "
                  "the spool";
}

static int64_t next_try(struct parcel *p)
{
    return clock_ms() + upload_backoff(p->attempt++, id_u32());
}

static void halve(struct flight *f)
{
    f->parcel->attempt = 0;
    parcels_put(&f->upload->parcels, parcel_split(f->parcel, f->parcel->n / 2), 0);
    upload_land(f, 0);
}

static void refuse(const struct upload *u, struct row *row, int status, struct str why)
{
    struct buf clean = BUF_INIT(MIB);

    refusal_clean(&clean, why, u->secrets, u->n_secrets);
    parcel_refuse(row, status, buf_str(&clean));
    buf_free(&clean);
}

/* What is refused for good: `lost` is what is to be done again when somebody wants it back. */
static void bury(struct flight *f, struct row *row, int status, struct str why, const char *rejected)
{
    struct upload *u = f->upload;
    bool trace = !(row->stage & trace_bit(u));

    row->lost = u->books.all & ~row->stage;
    if (trace || row->feedback)
        row->rejected = rejected;
    refuse(u, row, status, why);
    row_has(row, u->books.all);
    if (log_allowed(LOG_WARNING, &refusals))
        log_event(LOG_WARNING,
                  LOG_FIELDS(LOG_CSTR("trace_id", row->trace_id), LOG_INT("status", status),
                             LOG_CSTR("reason", refusal_phrase(str_of(row->refusal)))),
                  trace || row->feedback
                      ? "%s refuses a record: it is among the dead letters, with the reason"
                      : "%s refuses the scores of a record: it is among the dead letters, with the reason",
                  name_of(u));
}

static void settle_and_land(struct flight *f)
{
    int rc = upload_settle(f->upload, f->parcel);

    upload_land(f, rc < 0 ? clock_ms() + UPLOAD_SPOOL_RETRY_MS : 0);
}

/* A record that is refused for good, alone in its parcel. */
static void give_up(struct flight *f, const struct post_answer *a, const char *reason)
{
    struct row *row = &f->parcel->rows[0];

    if (f->target == UPLOAD_SCORES)
        metrics_add(f->upload->metrics, METRIC_SCORES_REJECTED, METRIC_PLAIN, row->scores);
    bury(f, row, a->status, a->error ? str_of(a->error) : a->body, reason);
    settle_and_land(f);
}

/* A parcel has failed in a way that may be its own fault: one record of it that the server always fails at, or that a
 * proxy does not let through. Between an outage and that, others tell: the server is well when it has taken more of them
 * since then than it has failed. Then the parcel is halved until the record is alone, and a record that is alone is given
 * up when it has failed often enough. As long as nothing is taken single records are split off, to show whether they
 * are: a few, so that an outage does not make many requests of one.
 * True: it was the parcel, and is dealt with. */
static bool blame(struct flight *f, const struct post_answer *a, unsigned strikes)
{
    struct upload *u = f->upload;
    struct parcel *p = f->parcel;
    struct tally *t = &u->tally[f->target];
    bool suspected = parcel_is_suspect(p), room = upload_undecided(u, true) < UPLOAD_PROBES;
    bool well = suspected && t->taken - p->seen.taken > t->failed - p->seen.failed;
    bool hopeful = well || (p->half && room); /* the other half may be on its way yet */

    t->failed += !suspected;
    u->failures += !suspected;
    p->seen = *t;
    p->half = false;
    p->same = true;
    p->strikes += strikes;
    if (!parcel_is_suspect(p))
        return false;
    if (hopeful && p->n > 1) {
        p->half = true;
        halve(f);
    } else if (well && ++p->verdicts >= UPLOAD_VERDICTS) {
        give_up(f, a, REJECTED_FAILED);
    } else if (hopeful) {
        upload_land_failed(f, next_try(p));
    } else if (p->n > 1 && room) {
        struct parcel *one = parcel_split(p, p->n - 1);
        parcels_put(&u->parcels, one, next_try(one));
    }
    return hopeful;
}

/* What asks us to wait is no word about a record. */
static void retry(struct flight *f, const struct post_answer *a)
{
    struct upload *u = f->upload;
    int64_t wait = upload_retry_after(a->retry_after, wall_us());
    bool busy = wait > 0 || (a->status >= 400 && a->status < 500);

    if (!busy && blame(f, a, 1))
        return;
    u->failures += busy;
    server_failed(&u->server);
    if (wait > 0)
        upload_hold(u, wait);
    upload_warn(
        u, a->status, a->error,
        u->conf.kind == UPLOAD_TO_LANGFUSE
            ? "Langfuse does not take records now: they stay in the spool and are tried again"
            : "the OTLP backend does not take records now: they stay in the spool and are tried again");
    upload_land_failed(f, next_try(f->parcel));
}

static void keep_and_probe(struct flight *f, const struct post_answer *a)
{
    int64_t wait = upload_retry_after(a->retry_after, wall_us());

    if (wait <= 0 && blame(f, a, UPLOAD_PATIENCE))
        return;
    f->upload->failures += wait > 0;
    server_failed(&f->upload->server);
    upload_hold(f->upload, wait > UPLOAD_PROBE_MS ? wait : UPLOAD_PROBE_MS);
    upload_warn(f->upload, a->status, NULL, advice(f->upload, a->status == 401 || a->status == 403));
    upload_land_failed(f, 0);
}

static void isolate(struct flight *f, const struct post_answer *a)
{
    if (f->parcel->n > 1)
        halve(f);
    else
        give_up(f, a, REJECTED_REFUSED);
}

static void make_smaller(struct flight *f, const struct post_answer *a)
{
    if (f->parcel->n > 1) {
        halve(f);
    } else if (f->target != UPLOAD_SCORES && f->parcel->rows[0].trims < TRIMS_MAX) {
        f->parcel->rows[0].trims++;
        upload_land(f, 0);
    } else {
        give_up(f, a, REJECTED_TOO_LARGE);
    }
}

static void traces_taken(struct flight *f)
{
    for (size_t i = 0; i < f->parcel->n; i++)
        if (!(f->parcel->rows[i].stage & RECORD_TRACE_SENT))
            row_has(&f->parcel->rows[i], RECORD_TRACE_SENT);
    good_news(f);
    upload_go_on_with_scores(f);
}

/* A collector may take an export and say that it has not kept all of it; it must not be sent again then. */
static void spans_taken(struct flight *f, const struct post_answer *a)
{
    struct str why = {"", 0};
    int64_t rejected = otlp_rejected(f->upload->otlp, a->body, &why);

    if (rejected > 0) {
        metrics_add(f->upload->metrics, METRIC_SPANS_REJECTED, METRIC_PLAIN, (double)rejected);
        if (log_allowed(LOG_WARNING, &refusals))
            log_event(LOG_WARNING,
                      LOG_FIELDS(LOG_INT("spans", rejected), LOG_CSTR("reason", refusal_phrase(why))),
                      "the OTLP backend has not kept all spans of an export");
    }
    for (size_t i = 0; i < f->parcel->n; i++)
        row_has(&f->parcel->rows[i], RECORD_EXPORTED);
    good_news(f);
    settle_and_land(f);
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

static bool begins_with(struct str s, const char *head)
{
    return s.n >= strlen(head) && memcmp(s.p, head, strlen(head)) == 0;
}

static void on_verdict(void *arg, struct str id, int status, struct str why)
{
    struct flight *f = arg;
    struct row *row = row_of(f, id);

    if (f->target == UPLOAD_BATCH && status >= 400 && begins_with(why, NOT_ACCEPTED)) {
        f->not_accepted = true;
        return;
    }
    if (!row || !upload_event_is_final(status))
        return;
    row->verdicts++;
    if (status < 400)
        return;
    row->refused++;
    refuse(f->upload, row, status, why);
    if (f->target == UPLOAD_SCORES)
        metrics_add(f->upload->metrics, METRIC_SCORES_REJECTED, METRIC_PLAIN, 1);
}

/* The usual answer, without building a tree of it: no error, and as many successes as there were events. */
static bool all_taken(struct flight *f, struct str body)
{
    bool scores = f->target == UPLOAD_SCORES;

    if (!jsonread_all_taken(body, scores ? f->n_scores : f->n_events))
        return false;
    for (size_t i = 0; i < f->parcel->n; i++)
        f->parcel->rows[i].verdicts = scores ? f->parcel->rows[i].scores : f->parcel->rows[i].events;
    return true;
}

/* What a batch's answer says of one row: true when it is not settled. What the answer does not name goes again. */
static bool judge(struct flight *f, struct row *row)
{
    bool scores = f->target == UPLOAD_SCORES;
    unsigned sent = scores ? row->scores : row->events;

    if (sent == 0 || row_is_done(f->upload, row))
        return false;
    if (row->verdicts < sent)
        return true;
    if (row->refused)
        bury(f, row, 400, str_of(row->refusal), REJECTED_REFUSED);
    else
        row_has(row, scores ? RECORD_SCORES_SENT : RECORD_TRACE_SENT);
    return false;
}

static void batch_answered(struct flight *f, const struct post_answer *a)
{
    struct parcel *p = f->parcel;
    bool again = false, buried = false;

    f->answered = 0;
    if (!all_taken(f, a->body) && jsonread_ingestion(a->body, on_verdict, f) < 0) {
        retry(f, a);
        return;
    }
    for (size_t i = 0; i < p->n; i++) {
        again = judge(f, &p->rows[i]) || again;
        buried = buried || p->rows[i].refusal;
    }
    if (!again)
        good_news(f);
    if (f->not_accepted) {
        log_info("Langfuse takes no traces in batches any more: they go as OTLP from now on");
        server_refused_batch(&f->upload->server);
        settle_and_land(f);
    } else if (f->target == UPLOAD_BATCH && !again && !buried) {
        upload_go_on_with_scores(f);
    } else if (upload_settle(f->upload, p) < 0) {
        upload_land_failed(f, clock_ms() + UPLOAD_SPOOL_RETRY_MS);
    } else if (again) {
        retry(f, a);
    } else {
        upload_land(f, 0);
    }
}

static void count_request(struct upload *u, enum upload_target target, enum upload_action action)
{
    static const char *const results[] = {[UPLOAD_DONE] = "ok",
                                          [UPLOAD_RETRY] = "retry",
                                          [UPLOAD_HOLD] = "refused",
                                          [UPLOAD_SMALLER] = "too_large",
                                          [UPLOAD_ISOLATE] = "rejected"};
    static const char *const targets[] = {[UPLOAD_TRACES] = "traces",
                                          [UPLOAD_BATCH] = "traces",
                                          [UPLOAD_SCORES] = "scores",
                                          [UPLOAD_SPANS] = "otlp"};

    metrics_add(u->metrics, METRIC_UPLOADS, METRIC_WITH(results[action], targets[target]), 1);
}

static void taken(struct flight *f, const struct post_answer *a)
{
    if (f->target == UPLOAD_TRACES)
        traces_taken(f);
    else if (f->target == UPLOAD_SPANS)
        spans_taken(f, a);
    else
        batch_answered(f, a);
}

void upload_answered(void *arg, const struct post_answer *a)
{
    struct flight *f = arg;
    struct upload *u = f->upload;
    enum upload_action action = upload_action(f->target, a->status, a->body);

    count_request(u, f->target, action);
    switch (action) {
    case UPLOAD_DONE:
        taken(f, a);
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
    upload_pump(u);
}
