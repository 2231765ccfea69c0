#include "tests/telemetry/upload_bench.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "telemetry/account.h"

const char *const bench_plain[] = {NULL};

static void broken(void *arg, int error)
{
    (void)arg;
    cr_assert_fail("the spool failed: %d", error);
}

static void drained(void *arg)
{
    struct bench *b = arg;

    b->drained = true;
}

struct bench *bench_start(int64_t flush_at, const char *const args[])
{
    static struct bench b;

    support_dir(b.dir);
    b.fake = fixture_start("fake-langfuse", args);
    snprintf(b.url, sizeof b.url, "http://127.0.0.1:%u", b.fake.port);
    b.loop = loop_new();
    b.spool = support_spool(b.dir, 1024 * (int64_t)MIB);
    b.metrics = metrics_new();
    account_begin(b.metrics);
    b.conf = (struct upload_conf){.url = b.url,
                                  .public_key = "pk-lf-test",
                                  .secret_key = "sk-lf-test",
                                  .trace = {"test", "", "1.2.3", "", 0},
                                  .sample_rate = 1,
                                  .needed = RECORD_IN_LANGFUSE,
                                  .ca_file = "",
                                  .ca_dir = "",
                                  .flush_at = flush_at,
                                  .flush_interval_ms = 20,
                                  .timeout_ms = 2000,
                                  .broken = broken,
                                  .drained = drained,
                                  .arg = &b};
    b.upload = upload_new(b.loop, &b.conf, b.spool, b.metrics);
    return &b;
}

void bench_end(struct bench *b)
{
    upload_free(b->upload);
    spool_free(b->spool);
    metrics_free(b->metrics);
    loop_free(b->loop);
    fixture_stop(&b->fake);
}

json_t *bench_admin(struct bench *b, const char *method, const char *path, const char *body)
{
    struct got g = fixture_call(&b->fake, method, path, "Content-Type: application/json\r\n", str_of(body));
    json_t *root = json_loadb(g.body.p, g.body.n, 0, NULL);

    cr_assert_lt(g.status, 300, "%s: %.*s", path, (int)g.body.n, g.body.p);
    got_free(&g);
    return root;
}

void bench_behave(struct bench *b, const char *json)
{
    json_decref(bench_admin(b, "POST", "/_admin/behaviour", json));
}

int64_t bench_stat(struct bench *b, const char *name)
{
    json_t *root = bench_admin(b, "GET", "/_admin/stats", "");
    int64_t n = json_integer_value(json_object_get(root, name));

    cr_assert(json_object_get(root, name), "%s", name);
    json_decref(root);
    return n;
}

double bench_value(const struct bench *b, const char *series)
{
    struct buf out = BUF_INIT(METRIC_PAGE_MAX);
    double v = 0;

    metrics_print(b->metrics, METRICS_TEXT, &out);
    const char *at = strstr(out.data, series);
    if (at)
        v = strtod(at + strlen(series), NULL);
    buf_free(&out);
    return v;
}

static bool reached(void *arg)
{
    struct bench *b = arg;

    return bench_value(b, b->counter) >= b->wanted;
}

void bench_wait(struct bench *b, const char *counter, double wanted)
{
    b->counter = counter;
    b->wanted = wanted;
    support_run(b->loop, reached, b);
}

void bench_put(struct bench *b, unsigned first, unsigned last)
{
    support_put(b->spool, first, last);
    upload_wake(b->upload);
}

/* n traces with two scores each, none twice, nothing that the real server would have lost. */
void bench_expect_arrived(struct bench *b, int64_t n)
{
    cr_expect_eq(bench_stat(b, "traces"), n);
    cr_expect_eq(bench_stat(b, "spans_unique"), n);
    cr_expect_eq(bench_stat(b, "scores_unique"), 2 * n);
    cr_expect_eq(bench_stat(b, "violations"), 0);
    cr_expect_eq(spool_records(b->spool), 0);
}

bool bench_spool_is_empty(void *arg)
{
    const struct bench *b = arg;

    return spool_records(b->spool) == 0;
}

static bool is_asked(void *arg)
{
    struct bench *b = arg;

    return bench_stat(b, "requests") >= b->wanted;
}

void bench_wait_for_requests(struct bench *b, double n)
{
    b->wanted = n;
    support_run(b->loop, is_asked, b);
}

void bench_restart(struct bench *b)
{
    upload_free(b->upload);
    b->upload = upload_new(b->loop, &b->conf, b->spool, b->metrics);
}

void bench_put_event(struct bench *b, const struct event *e)
{
    support_put_event(b->spool, e);
    upload_wake(b->upload);
}

bool bench_is_drained(void *arg)
{
    const struct bench *b = arg;

    return b->drained;
}
