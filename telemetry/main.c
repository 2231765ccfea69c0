#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/proc/child.h"
#include "common/proc/daemon.h"
#include "common/proc/dirs.h"
#include "telemetry/account.h"
#include "telemetry/conf.h"
#include "telemetry/exposition.h"
#include "telemetry/http.h"
#include "telemetry/ingest.h"
#include "telemetry/letters.h"
#include "telemetry/privacy.h"
#include "telemetry/processes.h"
#include "telemetry/upload.h"

#define LOOK_EVERY_MS 20
#define STRANGERS_MS  500 /* for senders so young that they have not been heard of yet */

struct telemetry {
    struct daemon daemon;
    struct telemetry_conf conf;
    char run_dir[DIRS_PATH_MAX];
    struct loop *loop;
    struct spool *spool;
    struct metrics *metrics;
    struct zwire *wire;
    struct ingest *ingest;
    struct privacy *privacy;
    struct letters letters;
    struct upload *langfuse; /* NULL without keys */
    struct upload *otlp;     /* NULL without an endpoint */
    int drained;
    struct exposition *exposition;
    struct http *http;
    struct loop_timer leaving;
    int64_t stay_until;
};

static void fill_metrics(void *arg, enum metrics_format format, struct buf *out)
{
    struct telemetry *t = arg;
    int64_t oldest = spool_oldest_us(t->spool);
    double age = oldest ? (double)(wall_us() - oldest) / 1e6 : 0;

    ingest_show_gauges(t->ingest);
    metrics_set(t->metrics, METRIC_SPOOL_RECORDS, METRIC_PLAIN, (double)spool_records(t->spool));
    metrics_set(t->metrics, METRIC_SPOOL_BYTES, METRIC_PLAIN, (double)spool_bytes(t->spool));
    metrics_set(t->metrics, METRIC_SPOOL_DISK_FULL, METRIC_PLAIN, spool_full(t->spool));
    metrics_set(t->metrics, METRIC_LETTERS, METRIC_PLAIN, (double)spool_letters(t->spool));
    metrics_set(t->metrics, METRIC_SPOOL_AGE, METRIC_PLAIN, age > 0 ? age : 0);
    processes_read(t->run_dir, t->metrics);
    metrics_print(t->metrics, format, out);
}

static void fill_health(const struct telemetry *t, struct buf *out)
{
    buf_putc(out, '{');
    json_field_str(out, "status", str_of("ok"));
    json_field_bool(out, "langfuse_enabled", t->conf.langfuse_enabled);
    json_field_int(out, "spool_records", spool_records(t->spool));
    buf_putc(out, '}');
}

static void fill_page(void *arg, unsigned page, struct buf *out)
{
    struct telemetry *t = arg;

    ingest_settle(t->ingest);
    if (page == EXPOSITION_HEALTH)
        fill_health(t, out);
    else
        fill_metrics(t, page, out);
}

static void stored(void *arg)
{
    struct telemetry *t = arg;

    if (t->langfuse)
        upload_wake(t->langfuse);
    if (t->otlp)
        upload_wake(t->otlp);
}

static void broken(void *arg, int error)
{
    struct telemetry *t = arg;

    ingest_repair(t->ingest, error);
}

static void drained(void *arg)
{
    struct telemetry *t = arg;

    if (++t->drained == (t->langfuse != NULL) + (t->otlp != NULL))
        daemon_drained(&t->daemon);
}

static int open_spool(struct telemetry *t)
{
    char state_dir[DIRS_PATH_MAX];
    const char *what = "";
    int rc = dirs_run(t->run_dir, &what);

    if (rc == 0)
        rc = dirs_state(state_dir, &what);
    if (rc < 0) {
        log_error("%s: the folder cannot be used: %s", what, strerror(-rc));
        return EXIT_ENVIRONMENT; /* it may come back: a mount, space on the disk */
    }
    t->metrics = metrics_new();
    account_begin(t->metrics);
    struct spool_conf conf = {
        .dir = state_dir,
        .max_bytes = t->conf.spool_max_bytes,
        .max_age_us = t->conf.spool_max_age_hours * INT64_C(3600000000),
        .sync = (enum spool_sync)t->conf.spool_sync,
    };
    rc = spool_open(&t->spool, &conf);
    if (rc == 0)
        rc = metrics_load(t->metrics, t->spool);
    if (rc < 0)
        return EXIT_ENVIRONMENT;
    metrics_add(t->metrics, METRIC_SPOOL_REPLACED, METRIC_PLAIN, (double)spool_replaced(t->spool));
    account_dropped(t->metrics, DROPPED_SPOOL_DAMAGED, (double)spool_lost(t->spool));
    log_event(LOG_INFO,
              LOG_FIELDS(LOG_CSTR("folder", state_dir), LOG_INT("records", spool_records(t->spool)),
                         LOG_INT("bytes", spool_bytes(t->spool))),
              "spool open");
    return EXIT_DONE;
}

static int open_wire(struct telemetry *t)
{
    struct privacy_conf privacy = {t->conf.capture, t->conf.redact, t->conf.redact_prefixes,
                                   t->conf.hash_key};

    if (privacy_new(&t->privacy, &privacy) < 0)
        return EXIT_CONFIG;
    struct ingest_conf conf = {
        .endpoint = t->conf.events_endpoint,
        .langfuse_enabled = t->conf.langfuse_enabled,
        .privacy = t->privacy,
        .stored = stored,
        .page = fill_metrics,
        .arg = t,
    };

    t->wire = zwire_new();
    return ingest_new(&t->ingest, t->loop, t->wire, &conf, t->spool, t->metrics) < 0 ? EXIT_ENVIRONMENT
                                                                                     : EXIT_DONE;
}

static void tell_destinations(const struct telemetry_conf *c)
{
    const char *stay = c->otel_url ? "" : ": records stay in the spool, the oldest go at SPOOL_MAX_BYTES";

    if (!c->langfuse_enabled && (*c->public_key || *c->secret_key))
        log_warning("%s is missing, so nothing goes to Langfuse%s",
                    *c->public_key ? "LANGFUSE_SECRET_KEY" : "LANGFUSE_PUBLIC_KEY", stay);
    else if (!c->langfuse_enabled)
        log_info("no Langfuse keys%s", stay);
    if (c->otel_url)
        log_event(LOG_INFO, LOG_FIELDS(LOG_CSTR("url", c->otel_url)), "traces go to an OTLP backend");
}

static int64_t needed(const struct telemetry_conf *c)
{
    return (c->langfuse_enabled ? RECORD_IN_LANGFUSE : 0) | (c->otel_url ? RECORD_EXPORTED : 0);
}

static void open_uploads(struct telemetry *t)
{
    const struct telemetry_conf *c = &t->conf;
    struct upload_conf langfuse = {
        .kind = UPLOAD_TO_LANGFUSE,
        .url = c->langfuse_url,
        .trace = {c->environment, c->release, ATALAYA_VERSION, c->prompt_name, c->prompt_version},
        .ca_file = c->ca_file,
        .ca_dir = c->ca_dir,
        .flush_at = c->flush_at,
        .flush_interval_ms = c->flush_interval_ms,
        .timeout_ms = c->timeout_ms,
        .needed = needed(c),
        .public_key = c->public_key,
        .secret_key = c->secret_key,
        .sample_rate = c->sample_rate,
        .broken = broken,
        .drained = drained,
        .arg = t,
    };
    struct upload_conf otlp = langfuse;

    otlp.kind = UPLOAD_TO_OTLP;
    otlp.url = c->otel_url;
    otlp.timeout_ms = c->otel_timeout_ms;
    otlp.service = c->otel_service;
    otlp.attributes = c->attributes;
    otlp.n_attributes = c->n_attributes;
    otlp.headers = c->headers;
    otlp.n_headers = c->n_headers;
    otlp.plain = c->otel_compression == 1;
    tell_destinations(c);
    upload_sweep(t->spool, needed(c));
    metrics_set(t->metrics, METRIC_UPLOAD_ENABLED, METRIC_WITH(UPLOAD_LANGFUSE), c->langfuse_enabled);
    metrics_set(t->metrics, METRIC_UPLOAD_ENABLED, METRIC_WITH(UPLOAD_OTLP), c->otel_url != NULL);
    if (c->langfuse_enabled)
        t->langfuse = upload_new(t->loop, &langfuse, t->spool, t->metrics);
    if (c->otel_url)
        t->otlp = upload_new(t->loop, &otlp, t->spool, t->metrics);
}

static int open_http(struct telemetry *t)
{
    if (exposition_new(&t->exposition, t->loop, fill_page, t) < 0)
        return EXIT_ENVIRONMENT;
    if (http_start(&t->http, t->conf.host, (int)t->conf.port, t->exposition) < 0)
        return EXIT_ENVIRONMENT;
    log_event(LOG_INFO, LOG_FIELDS(LOG_CSTR("host", t->conf.host), LOG_INT("port", t->conf.port)),
              "listening on http://%s:%d/metrics", t->conf.host, (int)t->conf.port);
    return EXIT_DONE;
}

static int configure(void *self)
{
    struct telemetry *t = self;
    int rc = telemetry_conf_load(&t->conf);

    t->daemon.drain_ms = t->conf.drain_timeout_ms;
    return rc;
}

static int init(void *self, struct loop *loop)
{
    struct telemetry *t = self;

    t->loop = loop;
    int code = open_spool(t);
    if (code == EXIT_DONE)
        code = open_wire(t);
    if (code != EXIT_DONE)
        return code;
    open_uploads(t);
    t->letters = (struct letters){.loop = loop,
                                  .spool = t->spool,
                                  .needed = needed(&t->conf),
                                  .revived = stored,
                                  .broken = broken,
                                  .arg = t};
    letters_watch(&t->letters);
    return open_http(t);
}

static bool supervisor_is_gone(void)
{
    struct pollfd p = {.fd = child_lifeline_fd()};

    return p.fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static void drain_uploads(struct telemetry *t)
{
    if (!t->langfuse && !t->otlp)
        daemon_drained(&t->daemon);
    if (t->langfuse)
        upload_drain(t->langfuse);
    if (t->otlp)
        upload_drain(t->otlp);
}

/* A supervisor stops the senders before us. When it dies, everybody drains at once: then we stay until the last sender
 * has left, or its records would have to wait for the next life. */
static void leave(void *arg)
{
    struct telemetry *t = arg;

    ingest_settle(t->ingest);
    if (supervisor_is_gone() && (clock_ms() < t->stay_until || !ingest_deserted(t->ingest)))
        loop_timer_set(t->loop, &t->leaving, clock_ms() + LOOK_EVERY_MS);
    else
        drain_uploads(t);
}

static void drain(void *self)
{
    struct telemetry *t = self;

    t->leaving = (struct loop_timer){.fn = leave, .arg = t};
    t->stay_until = clock_ms() + STRANGERS_MS;
    leave(t);
}

static void fini(void *self)
{
    struct telemetry *t = self;

    if (t->loop)
        loop_timer_clear(t->loop, &t->leaving);
    if (t->ingest)
        ingest_settle(t->ingest);
    letters_stop(&t->letters);
    exposition_close(t->exposition);
    http_stop(t->http);
    exposition_free(t->exposition);
    upload_free(t->langfuse);
    upload_free(t->otlp);
    ingest_free(t->ingest);
    privacy_free(t->privacy);
    zwire_free(t->wire);
    spool_free(t->spool);
    metrics_free(t->metrics);
    telemetry_conf_free(&t->conf);
}

static int print_metrics_doc(void)
{
    struct buf out = BUF_INIT(MIB);

    metric_document(&out);
    int bad = fputs(out.data, stdout) < 0 || fflush(stdout) != 0;
    buf_free(&out);
    return bad ? EXIT_ENVIRONMENT : EXIT_DONE;
}

int main(int argc, char **argv)
{
    static struct telemetry t = {.daemon = {
                                     .name = "telemetry",
                                     .program = "atalaya-telemetry",
                                     .purpose = "counts, spools and uploads what the other processes did",
                                     .conf = &telemetry_conf_table,
                                     .configure = configure,
                                     .init = init,
                                     .drain = drain,
                                     .fini = fini,
                                 }};

    if (argc == 2 && strcmp(argv[1], "--metrics-doc") == 0)
        return print_metrics_doc();
    if (argc == 2 && strcmp(argv[1], "--dead-letters") == 0)
        return letters_print();
    if (argc >= 2 && strcmp(argv[1], "--replay") == 0)
        return letters_replay(argc - 2, argv + 2);
    t.daemon.self = &t;
    return daemon_run(&t.daemon, argc, argv);
}
