/* The worker's end of the jobs wire, against a gateway that the test plays and that takes nothing for a while (P4). */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/wire/job.h"
#include "common/wire/zsock.h"
#include "llm-worker/job.h"
#include "llm-worker/link.h"
#include "tests/fakes/fixture.h"

#define PATIENCE_MS 30000
#define JOBS        40
#define LARGE       (2 * MIB) /* and twice on the wire: as it is, and for the record */
#define REQUEST     "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"hola\"}]}"

TestSuite(link, .timeout = 120);

static struct fixture fake;
static struct worker_conf conf;
static struct loop *loop;
static struct loop_timer look, patience;
static unsigned whole, given_up, others; /* results */

static void tell_fake(const char *path, struct str json)
{
    struct got g = fixture_call(&fake, "POST", path, "", json);

    cr_assert_eq(g.status, 200, "%s", path);
    got_free(&g);
}

static int64_t calls_begun(void)
{
    struct got g = fixture_call(&fake, "GET", "/_admin/stats", "", str_of(""));
    const char *at = g.body.n ? strstr(g.body.p, "\"requests\":") : NULL;
    int64_t n = at ? strtoll(at + strlen("\"requests\":"), NULL, 10) : -1;

    got_free(&g);
    return n;
}

static void on_patience(void *arg)
{
    (void)arg;
    loop_stop(loop);
    cr_assert_fail("%u whole, %u given up, %u others", whole, given_up, others);
}

/* A provider whose answers are large. */
static void set_up(void)
{
    struct buf json = BUF_INIT(LARGE + KIB);
    char *text = xcalloc(1, LARGE + 1), url[64];

    fake = fixture_start("fake-openai", (const char *const[]){NULL});
    memset(text, 'x', LARGE);
    buf_printf(&json, "{\"content\":\"%s\"}", text);
    tell_fake("/_admin/defaults", buf_str(&json));
    buf_free(&json);
    free(text);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", fake.port);
    setenv("OPENAI_API_KEY", "sk-test", 1);
    setenv("OPENAI_BASE_URL", url, 1);
    loop = loop_new();
    patience = (struct loop_timer){.fn = on_patience};
    loop_timer_set(loop, &patience, clock_ms() + PATIENCE_MS);
}

static void clean_up(void)
{
    loop_timer_clear(loop, &look);
    loop_timer_clear(loop, &patience);
    loop_free(loop);
    worker_conf_free(&conf);
    fixture_stop(&fake);
}

/* The gateway. */

static struct zsock *router;
static bool seen[JOBS];

static void give_jobs(const struct zroute *to)
{
    struct buf out = BUF_INIT(MIB);

    pack_begin(&out);
    for (uint64_t i = 0; i < JOBS; i++)
        pack_put(
            &out, &job_fields,
            &(struct job){
                .kind = JOB_JOB, .epoch = 7, .id = i, .budget_ms = PATIENCE_MS, .request = str_of(REQUEST)});
    cr_assert_eq(zsock_send(router, to, buf_str(&out)), 0);
    buf_free(&out);
}

static void note(const struct job *m)
{
    cr_assert_lt(m->id, JOBS);
    cr_expect_not(seen[m->id], "two results for one job");
    seen[m->id] = true;
    if (m->kind == JOB_DONE && m->body.n > LARGE && m->answer.n > LARGE)
        whole++;
    else if (m->kind == JOB_FAILED && str_eq(m->error, "undelivered") && m->has_usage)
        given_up++;
    else
        others++;
}

static void read_all(struct zroute *from)
{
    struct zmsg z;

    while (zsock_recv(router, &z) == 0) {
        struct pack_reader *r;
        struct job m;
        *from = z.route;
        cr_assert_eq(pack_open(&r, z.body.p, z.body.n), 0);
        while (pack_next(r, &job_fields, &m) == 1)
            if (m.kind == JOB_DONE || m.kind == JOB_FAILED)
                note(&m);
        pack_close(r);
        zmsg_free(&z);
    }
}

static void on_look(void *arg)
{
    static enum { WAITS, IS_DEAF, READS } state;
    static struct zroute worker;
    static int64_t deaf_until;

    (void)arg;
    if (state != IS_DEAF)
        read_all(&worker);
    if (state == WAITS && worker.n > 0) {
        give_jobs(&worker);
        state = IS_DEAF;
    } else if (state == IS_DEAF && !deaf_until && calls_begun() == JOBS) {
        deaf_until = clock_ms() + 1000;
    } else if (state == IS_DEAF && deaf_until && clock_ms() > deaf_until) {
        state = READS;
    } else if (state == READS && whole + given_up + others == JOBS) {
        loop_stop(loop);
    }
    loop_timer_set(loop, &look, clock_ms() + 5);
}

/* 160 MiB are on their way when the gateway falls silent. */
Test(link, a_gateway_that_takes_nothing_gets_every_word_later)
{
    char dir[] = "/tmp/link_test.XXXXXX", endpoint[64];
    struct zwire *wire = zwire_new();
    struct link *k;

    cr_assert_not_null(mkdtemp(dir));
    snprintf(endpoint, sizeof endpoint, "ipc://%s/jobs.sock", dir);
    setenv("ATALAYA_JOBS_ENDPOINT", endpoint, 1);
    set_up();
    cr_assert_eq(worker_conf_load(&conf), 0);
    cr_assert_eq(zsock_router(wire, endpoint, 1, &router), 0);
    cr_assert_eq(link_new(&k, loop, &conf), 0);
    look = (struct loop_timer){.fn = on_look};
    on_look(NULL);
    loop_run(loop);
    cr_expect_eq(whole, JOBS, "%u whole, %u given up, %u others", whole, given_up, others);
    link_free(k);
    zsock_close(router);
    zwire_free(wire);
    unlink(endpoint + strlen("ipc://"));
    rmdir(dir);
    clean_up();
}

/* Without room. */

static bool no_room(void *arg, const struct job *m)
{
    unsigned *times = arg;

    cr_expect_eq(m->id, 3);
    if ((*times)++ == 0) {
        cr_expect_eq(m->kind, JOB_DONE);
        return false;
    }
    note(m);
    loop_stop(loop);
    return true;
}

Test(link, an_answer_without_room_is_a_failure_with_its_account)
{
    unsigned times = 0;

    set_up();
    cr_assert_eq(worker_conf_load(&conf), 0);
    struct jobs *j = jobs_new(loop, &conf, no_room, &times);
    jobs_start(j, &(struct job){.id = 3, .budget_ms = PATIENCE_MS, .request = str_of(REQUEST)});
    loop_run(loop);
    cr_expect_eq(times, 2);
    cr_expect_eq(given_up, 1);
    jobs_free(j);
    clean_up();
}
