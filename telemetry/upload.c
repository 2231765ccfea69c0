#include "telemetry/upload.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "telemetry/account.h"
#include "telemetry/digest.h"
#include "telemetry/genai_otlp.h"
#include "telemetry/gzip.h"
#include "telemetry/jsonread.h"
#include "telemetry/langfuse_otlp.h"
#include "telemetry/upload_inside.h"

#define WARN_EVERY_MS 60000
#define ASK_MS        5000 /* nobody waits longer for a version */
#define BODY_MAX      (64 * MIB)

#define LANGFUSE_HEADERS                                                                                     \
    "x-langfuse-sdk-name: atalaya", "x-langfuse-sdk-version: " ATALAYA_VERSION, NO_CONTINUE
#define NO_CONTINUE "Expect:" /* no 100-continue */

void upload_warn(struct upload *u, int status, const char *error, const char *text)
{
    static struct log_limit limits[] = {
        [UPLOAD_TO_LANGFUSE] = LOG_LIMIT(1, WARN_EVERY_MS, "trouble with Langfuse"),
        [UPLOAD_TO_OTLP] = LOG_LIMIT(1, WARN_EVERY_MS, "trouble with the OTLP backend")};

    if (!log_allowed(LOG_WARNING, &limits[u->conf.kind]))
        return;
    log_event(LOG_WARNING,
              LOG_FIELDS(LOG_CSTR("url", u->conf.url), LOG_INT("status", status), LOG_CSTR("error", error),
                         LOG_INT("records", spool_records(u->spool))),
              "%s", text);
}

int upload_settle(struct upload *u, struct parcel *p)
{
    int rc = parcel_settle(p, &u->books);

    if (rc < 0)
        u->conf.broken(u->conf.arg, rc);
    return rc;
}

/* Flying. */

void upload_post(struct flight *f, enum upload_target target)
{
    f->target = target;
    post_send(f->post, f->upload->targets[target],
              buf_str(target == UPLOAD_SCORES ? &f->scores : &f->traces));
}

void upload_land(struct flight *f, int64_t due)
{
    struct upload *u = f->upload;
    struct parcel *p = f->parcel;

    f->parcel = NULL;
    u->in_air--;
    if (p->n == 0 || p->scout)
        parcel_free(p);
    else
        parcels_put(&u->parcels, p, due);
}

void upload_land_failed(struct flight *f, int64_t due)
{
    (void)upload_settle(f->upload, f->parcel); /* what has been done already; otherwise before the next try */
    f->upload->drain_failed = true;
    upload_land(f, due);
}

/* A row without scores is done with its trace; one that has been marked in an earlier life needs its scores. */
static void finish_without_scores(struct flight *f)
{
    for (size_t i = 0; i < f->parcel->n; i++) {
        struct row *row = &f->parcel->rows[i];
        if ((row->stage & RECORD_TRACE_SENT) && row->scores == 0)
            row_has(row, RECORD_SCORES_SENT);
    }
}

/* The scores follow at once, unless all wait: that the traces are there is written down with the scores' answer,
 * whichever it is. */
void upload_go_on_with_scores(struct flight *f)
{
    finish_without_scores(f);
    if (f->n_scores && clock_ms() >= f->upload->hold_until)
        upload_post(f, UPLOAD_SCORES);
    else if (upload_settle(f->upload, f->parcel) < 0)
        upload_land_failed(f, clock_ms() + UPLOAD_SPOOL_RETRY_MS);
    else
        upload_land(f, 0);
}

static void launch(struct flight *f, struct parcel *p)
{
    struct upload *u = f->upload;

    f->parcel = p;
    u->in_air++;
    int rc = upload_settle(u, p); /* what the spool did not take before */
    if (rc == 0) {
        rc = upload_load(f);
        if (rc < 0)
            u->conf.broken(u->conf.arg, rc);
    }
    if (rc < 0)
        upload_land_failed(f, clock_ms() + UPLOAD_SPOOL_RETRY_MS);
    else if (f->traces.len)
        upload_post(f, f->form);
    else
        upload_go_on_with_scores(f);
}

static struct flight *free_flight(struct upload *u)
{
    for (size_t i = 0; i < UPLOAD_FLIGHTS; i++)
        if (!u->flights[i].parcel)
            return &u->flights[i];
    return NULL;
}

static bool is_scouting(const struct upload *u)
{
    for (size_t i = 0; i < UPLOAD_FLIGHTS; i++)
        if (u->flights[i].parcel && u->flights[i].parcel->scout)
            return true;
    return false;
}

static bool counts(const struct parcel *p, bool suspects)
{
    return p->verdicts == 0 && !p->scout && (suspects || !parcel_is_suspect(p));
}

size_t upload_undecided(const struct upload *u, bool suspects)
{
    size_t n = 0;

    for (const struct parcel *p = u->parcels.queue; p; p = p->next)
        n += counts(p, suspects);
    for (size_t i = 0; i < UPLOAD_FLIGHTS; i++)
        n += u->flights[i].parcel && counts(u->flights[i].parcel, suspects);
    return n;
}

/* What is suspected itself does not keep others from showing that the server is well; as long as nothing does, there are
 * bounds. */
static bool has_room(const struct upload *u)
{
    return upload_undecided(u, false) < UPLOAD_FLIGHTS && upload_undecided(u, true) < 2 * UPLOAD_FLIGHTS;
}

/* Only suspects are left: what comes after them may be well all the same. One record goes at a time, and whatever has not
 * become of it is done when its turn comes: so it takes no room. */
static bool needs_scout(const struct upload *u)
{
    return !has_room(u) && upload_undecided(u, false) == 0 && !is_scouting(u) && !u->draining;
}

static bool may_take_new(const struct upload *u, int64_t now)
{
    int64_t waiting = spool_waiting(u->spool, u->cursor);

    if (waiting == 0 || is_scouting(u))
        return false;
    if (!has_room(u))
        return needs_scout(u) && u->scout_due <= now;
    if (u->draining)
        return !u->drain_failed;
    return waiting >= u->conf.flush_at || (u->flush_due && u->flush_due <= now);
}

static bool must_wait(const struct upload *u, int64_t now)
{
    return u->asks || now < u->hold_until || (u->holding && u->in_air > 0);
}

/* True while the answer is awaited: nothing starts before it. */
static bool ask_version(struct upload *u, int64_t now)
{
    if (u->conf.kind == UPLOAD_TO_OTLP || !server_is_due(&u->server, now))
        return false;
    server_ask(&u->server, now);
    u->asks = true;
    post_get(u->asking, u->health);
    return true;
}

static struct parcel *new_parcel(struct upload *u, int64_t now)
{
    bool scout = !has_room(u);
    struct parcel *p = parcel_new(scout ? 1 : (size_t)u->conf.flush_at);

    p->scout = scout;
    if (scout)
        u->scout_due = now + UPLOAD_SCOUT_MS;
    else
        u->flush_due =
            now + u->conf.flush_interval_ms; /* the rows that stay behind have just begun to wait */
    return p;
}

static struct parcel *next_parcel(struct upload *u, int64_t now)
{
    bool ready = parcels_due(&u->parcels) <= now, fresh = may_take_new(u, now);

    if (must_wait(u, now) || (!ready && !fresh) || ask_version(u, now))
        return NULL;
    /* One probes for all: rather what has not been refused yet. Else they take turns: those that always come again must
     * not keep new ones away. */
    u->again = ready && !(fresh && (u->holding || u->again));
    return u->again ? parcels_take(&u->parcels, now) : new_parcel(u, now);
}

static void set_timer(struct upload *u, int64_t now)
{
    int64_t at = parcels_due(&u->parcels);

    if (u->flush_due && has_room(u))
        at = u->flush_due < at ? u->flush_due : at;
    else if (u->flush_due && needs_scout(u))
        at = u->scout_due < at ? u->scout_due : at;
    if (at < u->hold_until)
        at = u->hold_until;
    /* Without a free flight, or while one probes for all, the next answer calls. */
    if (at == INT64_MAX || !free_flight(u) || u->asks || (u->holding && u->in_air > 0))
        loop_timer_clear(u->loop, &u->timer);
    else
        loop_timer_set(u->loop, &u->timer, at > now ? at : now + 1);
}

static void report_drained(struct upload *u)
{
    if (!u->draining || u->drained || u->in_air > 0 || u->asks)
        return;
    u->drained = true;
    u->conf.drained(u->conf.arg);
}

void upload_pump(struct upload *u)
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
    upload_pump(arg);
}

/* A server that does not say its version is tried as the one that it was last. */
static void version_answered(void *arg, const struct post_answer *a)
{
    char version[SERVER_VERSION_SIZE] = "";
    struct upload *u = arg;

    u->asks = false;
    if (a->body.n)
        jsonread_version(a->body, version, sizeof version);
    if (*version < '0' || *version > '9') /* it is going to be logged */
        *version = '\0';
    if (server_told(&u->server, version))
        log_event(LOG_INFO, LOG_FIELDS(LOG_CSTR("url", u->conf.url), LOG_CSTR("version", version)),
                  u->server.form == SERVER_BATCH ? "Langfuse takes traces in batches"
                                                 : "Langfuse takes traces as OTLP");
    upload_pump(u);
}

void upload_hold(struct upload *u, int64_t ms)
{
    int64_t until = clock_ms() + ms;

    u->holding = true;
    if (until > u->hold_until)
        u->hold_until = until;
}

void upload_wake(struct upload *u)
{
    if (!u->flush_due)
        u->flush_due = clock_ms() + u->conf.flush_interval_ms;
    upload_pump(u);
}

void upload_drain(struct upload *u)
{
    u->draining = true;
    u->drain_failed = u->holding;
    parcels_hurry(&u->parcels); /* one last try each */
    upload_pump(u);
}

static void keep_secret(struct upload *u, const char *text)
{
    u->secrets[u->n_secrets++] = str_of(text);
}

static void keep_keys_secret(struct upload *u)
{
    const struct upload_conf *c = &u->conf;
    struct buf pair = BUF_INIT(KIB);

    buf_printf(&pair, "%s:%s", c->public_key, c->secret_key);
    u->basic = digest_base64(buf_str(&pair));
    buf_free(&pair);
    keep_secret(u, u->basic);
    keep_secret(u, c->public_key);
    keep_secret(u, c->secret_key);
}

static void to_langfuse(struct upload *u)
{
    static const char *const for_traces[] = {"Content-Type: application/x-protobuf", "Content-Encoding: gzip",
                                             "x-langfuse-ingestion-version: 4", LANGFUSE_HEADERS, NULL};
    static const char *const for_batches[] = {"Content-Type: application/json", LANGFUSE_HEADERS, NULL};
    static const char *const for_health[] = {LANGFUSE_HEADERS, NULL};
    const struct upload_conf *c = &u->conf;
    struct post_conf conf = {c->public_key, c->secret_key, c->timeout_ms, c->ca_file, c->ca_dir};
    struct post_conf impatient = conf;

    u->books.all = RECORD_IN_LANGFUSE;
    u->books.taken = METRIC_UPLOADED;
    u->books.destination = UPLOAD_LANGFUSE;
    keep_keys_secret(u);
    u->otlp = langfuse_otlp_new(&c->trace);
    u->client = post_client_new(u->loop, &conf);
    u->targets[UPLOAD_TRACES] = post_target_new(c->url, "/api/public/otel/v1/traces", for_traces);
    u->targets[UPLOAD_BATCH] = post_target_new(c->url, "/api/public/ingestion", for_batches);
    u->targets[UPLOAD_SCORES] = post_target_new(c->url, "/api/public/ingestion", for_batches);
    u->health = post_target_new(c->url, "/api/public/health", for_health);
    impatient.timeout_ms = c->timeout_ms < ASK_MS ? c->timeout_ms : ASK_MS;
    u->asking = post_new(u->client, version_answered, u);
    post_set_timeout(u->asking, impatient.timeout_ms);
}

static void to_otlp(struct upload *u)
{
    const char *headers[OTEL_PAIRS_MAX + 5];
    char *own[OTEL_PAIRS_MAX];
    const struct upload_conf *c = &u->conf;
    struct post_conf conf = {"", "", c->timeout_ms, c->ca_file, c->ca_dir};
    size_t n = 0;

    headers[n++] = "Content-Type: application/x-protobuf";
    headers[n++] = NO_CONTINUE;
    if (!c->plain)
        headers[n++] = "Content-Encoding: gzip";
    for (size_t i = 0; i < c->n_headers && i < ARRAY_LEN(own); i++) {
        size_t room = strlen(c->headers[i].key) + strlen(c->headers[i].value) + 3;
        own[i] = xmalloc(room);
        snprintf(own[i], room, "%s: %s", c->headers[i].key, c->headers[i].value);
        headers[n++] = own[i];
        keep_secret(u, c->headers[i].value);
        const char *space = strchr(c->headers[i].value, ' '); /* "Bearer …" */
        keep_secret(u, space ? space + 1 : "");
    }
    headers[n] = NULL;
    u->books.all = RECORD_EXPORTED;
    u->books.taken = METRIC_EXPORTED;
    u->books.destination = UPLOAD_OTLP;
    u->otlp = genai_otlp_new(&c->trace, c->service, c->attributes, c->n_attributes);
    u->client = post_client_new(u->loop, &conf);
    u->targets[UPLOAD_SPANS] = post_target_new(c->url, "", headers);
    for (size_t i = 0; i < c->n_headers && i < ARRAY_LEN(own); i++)
        free(own[i]);
}

/* Known series start at 0, so that rates see their first step. */
static void begin_counting(const struct upload *u)
{
    static const char *const reasons[] = {REJECTED_REFUSED, REJECTED_TOO_LARGE, REJECTED_FAILED};

    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        metrics_add(u->metrics, METRIC_REJECTED, METRIC_WITH(u->books.destination, reasons[i]), 0);
}

void upload_sweep(struct spool *s, int64_t needed)
{
    int64_t n = 0;
    int rc = spool_begin(s);

    if (rc == 0)
        rc = spool_sweep(s, needed, &n);
    if (rc == 0)
        rc = spool_commit(s);
    if (rc < 0)
        spool_rollback(s);
    else if (n > 0)
        log_event(LOG_INFO, LOG_FIELDS(LOG_INT("records", n)),
                  "records go that only waited for a destination which is not configured any more");
}

struct upload *upload_new(struct loop *l, const struct upload_conf *c, struct spool *s, struct metrics *m)
{
    struct upload *u = xcalloc(1, sizeof *u);

    u->conf = *c;
    u->loop = l;
    u->spool = s;
    u->metrics = m;
    u->books = (struct parcel_books){.spool = s, .metrics = m, .needed = c->needed};
    u->gzip = gzip_new();
    if (c->kind == UPLOAD_TO_LANGFUSE)
        to_langfuse(u);
    else
        to_otlp(u);
    begin_counting(u);
    u->timer = (struct loop_timer){.fn = on_timer, .arg = u};
    for (size_t i = 0; i < UPLOAD_FLIGHTS; i++) {
        struct flight *f = &u->flights[i];
        f->upload = u;
        f->post = post_new(u->client, upload_answered, f);
        f->traces = BUF_INIT(BODY_MAX);
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
            (void)upload_settle(u, f->parcel); /* traces whose scores are still in the air */
        post_free(f->post);
        parcel_free(f->parcel);
        buf_free(&f->traces);
        buf_free(&f->scores);
    }
    parcels_free(&u->parcels);
    post_free(u->asking);
    for (size_t i = 0; i < ARRAY_LEN(u->targets); i++)
        post_target_free(u->targets[i]);
    post_target_free(u->health);
    post_client_free(u->client);
    gzip_free(u->gzip);
    otlp_free(u->otlp);
    free(u->basic);
    free(u);
}
