/*
 * The sink against a router that plays telemetry (P2, P5): what is not acknowledged comes again, in order,
 * once telemetry is there; what is lost to the bound is announced by `base`.
 */
#include "common/wire/sink.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

#define PATIENCE_MS 20000

struct telemetry {
    struct loop *loop;
    struct zwire *wire;
    struct zsock *sock;
    struct loop_hook hook;
    struct loop_timer poll, give_up;
    uint64_t last; /* committed */
    uint64_t epoch;
    uint64_t base; /* as the last batch said */
    uint64_t seen; /* events in batches, duplicates included */
    uint64_t want; /* stop when last reaches it */
    bool deaf;     /* takes batches, acknowledges nothing */
    struct str reply_to_scrape;
    bool old; /* knows one format of its exposition */
};

static void answer(struct telemetry *t, const struct zroute *to, const struct event *e)
{
    struct buf b = BUF_INIT(MIB);

    pack_begin(&b);
    pack_put(&b, &event_fields, e);
    cr_assert_eq(zsock_send(t->sock, to, buf_str(&b)), 0);
    buf_free(&b);
}

static void take(struct telemetry *t, const struct zmsg *z)
{
    struct pack_reader *r;
    struct event e;
    uint64_t seq = 0;

    cr_assert_eq(pack_open(&r, z->body.p, z->body.n), 0);
    while (pack_next(r, &event_fields, &e) == 1) {
        if (e.kind == EVENT_BATCH) {
            t->epoch = e.epoch;
            t->base = e.base;
            seq = e.seq;
            if (t->last + 1 < e.base && !t->deaf)
                t->last = e.base - 1;
        } else if (e.kind == EVENT_REQUEST) {
            t->seen++;
            cr_assert_eq(e.status, 1000 + seq, "event %lu carries its own number", (unsigned long)seq);
            if (!t->deaf && seq == t->last + 1)
                t->last = seq;
            seq++;
        } else if (e.kind == EVENT_SCRAPE && t->reply_to_scrape.p) {
            answer(t, &z->route,
                   &(struct event){.kind = EVENT_EXPOSITION,
                                   .id = e.id,
                                   .format = t->old ? 0 : e.format,
                                   .text = t->reply_to_scrape});
        }
    }
    pack_close(r);
    if (seq && !t->deaf)
        answer(
            t, &z->route,
            &(struct event){.kind = EVENT_ACK, .epoch = t->epoch, .seq = t->last, .langfuse_enabled = true});
    if (t->want && t->last >= t->want)
        loop_stop(t->loop);
}

static bool hook(void *arg)
{
    struct telemetry *t = arg;
    struct zmsg z;
    int n = 0;

    while (t->sock && zsock_recv(t->sock, &z) == 0) {
        take(t, &z);
        zmsg_free(&z);
        n++;
    }
    return n > 0;
}

static void poll_again(void *arg)
{
    struct telemetry *t = arg;

    loop_timer_set(t->loop, &t->poll, clock_ms() + 5);
}

static void stop(void *arg)
{
    struct telemetry *t = arg;

    loop_stop(t->loop);
}

static void start(struct telemetry *t, struct loop *l, const char *endpoint)
{
    t->loop = l;
    t->wire = zwire_new();
    cr_assert_eq(zsock_router(t->wire, endpoint, EVENT_QUEUE, &t->sock), 0);
    t->hook = (struct loop_hook){.fn = hook, .arg = t};
    t->poll = (struct loop_timer){.fn = poll_again, .arg = t};
    t->give_up = (struct loop_timer){.fn = stop, .arg = t};
    loop_hook_add(l, &t->hook);
    poll_again(t);
}

static void end(struct telemetry *t)
{
    loop_timer_clear(t->loop, &t->poll);
    loop_timer_clear(t->loop, &t->give_up);
    zsock_close(t->sock);
    zwire_free(t->wire);
    t->sock = NULL;
}

static void run(struct telemetry *t, int64_t ms)
{
    loop_timer_set(t->loop, &t->give_up, clock_ms() + ms);
    loop_run(t->loop);
}

static void put(struct sink *s, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i <= to; i++)
        sink_put(s, &(struct event){.kind = EVENT_REQUEST, .status = 1000 + i});
}

static char endpoint[64];
static struct loop *loop;
static struct zwire *wire;
static struct sink *sink;

static void setup(void)
{
    snprintf(endpoint, sizeof endpoint, "ipc:///tmp/sink_test.%d", getpid());
    loop = loop_new();
    wire = zwire_new();
    cr_assert_eq(sink_new(&sink, loop, wire, endpoint, "gateway"), 0);
}

static void teardown(void)
{
    sink_free(sink);
    zwire_free(wire);
    loop_free(loop);
    unlink(endpoint + 6);
}

TestSuite(sink, .init = setup, .fini = teardown);

Test(sink, events_from_before_telemetry_was_there_arrive_in_order)
{
    struct telemetry t = {.want = 5000};

    put(sink, 1, 3000);
    start(&t, loop, endpoint);
    put(sink, 3001, 5000);
    run(&t, PATIENCE_MS);
    cr_assert_eq(t.last, 5000);
    run(&t, 300); /* the last acknowledgement is on its way */
    cr_expect(sink_empty(sink));
    cr_expect(sink_telemetry_alive(sink) && sink_langfuse_enabled(sink));
    end(&t);
}

Test(sink, what_a_killed_telemetry_had_not_committed_comes_again)
{
    struct telemetry first = {.deaf = true}, second = {.want = 900};

    start(&first, loop, endpoint);
    put(sink, 1, 600);
    run(&first, 400);
    cr_assert_geq(first.seen, 600);
    end(&first);
    put(sink, 601, 900);
    start(&second, loop, endpoint);
    run(&second, PATIENCE_MS);
    cr_assert_eq(second.last, 900);
    end(&second);
}

Test(sink, the_buffer_is_bounded_and_the_gap_is_announced)
{
    struct telemetry t = {.last = 0};
    struct event big = {.kind = EVENT_REQUEST, .status = 1, .answer = {xcalloc(1, MIB), MIB}};

    for (uint64_t i = 1; i <= 2 * EVENT_BUFFER_MAX / MIB; i++) {
        big.status = 1000 + i;
        sink_put(sink, &big);
    }
    start(&t, loop, endpoint);
    t.want = 2 * EVENT_BUFFER_MAX / MIB;
    run(&t, PATIENCE_MS);
    cr_assert_eq(t.last, t.want);
    cr_assert_leq(t.seen, EVENT_BUFFER_MAX / MIB);
    cr_assert_gt(t.base, t.want - EVENT_BUFFER_MAX / MIB);
    free((void *)(uintptr_t)big.answer.p);
    end(&t);
}

/* Who waits for a commit. */
struct waiter {
    int told;
    bool committed;
    struct loop *stop; /* when told */
    bool puts_more;    /* from inside */
};

static void told(void *arg, bool committed)
{
    struct waiter *w = arg;

    w->told++;
    w->committed = committed;
    if (w->puts_more)
        put(sink, 4, 4);
    if (w->stop)
        loop_stop(w->stop);
}

static void put_waited(uint64_t i, int64_t ms, struct waiter *w)
{
    sink_put_notify(sink, &(struct event){.kind = EVENT_REQUEST, .status = 1000 + i}, clock_ms() + ms, told,
                    w);
}

Test(sink, who_waits_is_told_of_the_commit)
{
    struct telemetry t = {.last = 0};
    struct waiter first = {.puts_more = true}, second = {.stop = loop};

    put(sink, 1, 1);
    put_waited(2, PATIENCE_MS, &first);
    put_waited(3, PATIENCE_MS, &second);
    cr_expect_eq(first.told + second.told, 0);
    start(&t, loop, endpoint);
    run(&t, PATIENCE_MS);
    cr_expect(first.told == 1 && first.committed && second.told == 1 && second.committed);
    cr_expect_geq(t.last, 3);
    t.want = 4;
    run(&t, PATIENCE_MS);
    cr_expect_eq(t.last, 4, "what was put meanwhile comes too");
    cr_expect(first.told == 1 && second.told == 1, "once");
    end(&t);
}

Test(sink, who_waits_waits_no_longer_than_it_wants)
{
    struct telemetry t = {.deaf = true};
    struct waiter early = {.told = 0}, late = {.stop = loop};

    start(&t, loop, endpoint);
    put_waited(1, 50, &early);
    put(sink, 2, 2);
    put_waited(3, 200, &late);
    run(&t, PATIENCE_MS);
    cr_expect(early.told == 1 && !early.committed && late.told == 1 && !late.committed);
    t.deaf = false;
    t.want = 3;
    run(&t, PATIENCE_MS);
    cr_expect_eq(t.last, 3, "the events are there all the same");
    cr_expect(early.told == 1 && late.told == 1);
    end(&t);
}

Test(sink, who_waits_for_what_is_dropped_is_told)
{
    struct waiter dropped = {.told = 0}, kept = {.told = 0};
    struct event big = {.kind = EVENT_REQUEST, .status = 1, .answer = {xcalloc(1, MIB), MIB}};

    put_waited(1, PATIENCE_MS, &dropped);
    for (uint64_t i = 0; i <= EVENT_BUFFER_MAX / MIB; i++)
        sink_put(sink, &big);
    cr_expect(dropped.told == 1 && !dropped.committed);
    put_waited(2, PATIENCE_MS, &kept);
    cr_expect_eq(kept.told, 0);
    sink_release(sink);
    cr_expect(kept.told == 1 && !kept.committed);
    sink_release(sink);
    cr_expect_eq(kept.told, 1);
    free((void *)(uintptr_t)big.answer.p);
}

static char got[64];
static enum metrics_format got_format;

static void scraped(void *arg, struct str text, enum metrics_format format)
{
    got_format = format;
    snprintf(got, sizeof got, "%.*s", (int)text.n, text.p ? text.p : "");
    loop_stop(arg);
}

Test(sink, a_scrape_is_answered_or_ends_at_its_deadline)
{
    struct telemetry t = {.reply_to_scrape = str_of("app_up 1\n")};

    snprintf(got, sizeof got, "not called");
    sink_scrape(sink, METRICS_OPENMETRICS, clock_ms() + 100, scraped, loop); /* nobody is there */
    cr_expect_str_eq(got, "");
    start(&t, loop, endpoint);
    run(&t, 1500); /* connects */
    sink_scrape(sink, METRICS_OPENMETRICS, clock_ms() + PATIENCE_MS, scraped, loop);
    run(&t, PATIENCE_MS);
    cr_expect_str_eq(got, "app_up 1\n");
    cr_expect_eq(got_format, METRICS_OPENMETRICS);
    t.old = true; /* its page must not go out under the name of what was asked for */
    sink_scrape(sink, METRICS_OPENMETRICS, clock_ms() + PATIENCE_MS, scraped, loop);
    run(&t, PATIENCE_MS);
    cr_expect_eq(got_format, METRICS_TEXT);
    t.reply_to_scrape.p = NULL;
    snprintf(got, sizeof got, "not called");
    sink_scrape(sink, METRICS_TEXT, clock_ms() + 200, scraped, loop);
    run(&t, PATIENCE_MS);
    cr_expect_str_eq(got, "");
    end(&t);
}
