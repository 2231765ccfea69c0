/* An answer waits for the commit of its record, for a while, and for a telemetry that is there (P2, P5). */
#include "gateway/confirm.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/proc/loop.h"

#define PATIENCE_MS 20000

/* Plays telemetry. */
static char endpoint[64];
static struct loop *loop;
static struct zwire *wire;
static struct sink *sink;
static struct zsock *telemetry;
static struct loop_hook hook;
static struct loop_timer late, poll_timer;
static bool acknowledges;
static uint64_t requests, unconfirmed;
static bool (*done)(void);

static void answer(const struct zroute *to, uint64_t epoch, uint64_t seq)
{
    struct buf b = BUF_INIT(KIB);

    pack_begin(&b);
    pack_put(&b, &event_fields, &(struct event){.kind = EVENT_ACK, .epoch = epoch, .seq = seq});
    cr_assert_eq(zsock_send(telemetry, to, buf_str(&b)), 0);
    buf_free(&b);
}

static void take(const struct zmsg *z)
{
    static uint64_t last;
    struct pack_reader *r;
    struct event e;
    uint64_t epoch = 0, seq = 0;

    cr_assert_eq(pack_open(&r, z->body.p, z->body.n), 0);
    while (pack_next(r, &event_fields, &e) == 1) {
        if (e.kind == EVENT_BATCH || e.kind == EVENT_GAUGES)
            epoch = e.epoch;
        if (e.kind == EVENT_BATCH)
            seq = e.seq - 1;
        else if (e.kind != EVENT_GAUGES && ++seq == last + 1 && acknowledges) {
            last = seq;
            requests += e.kind == EVENT_REQUEST;
            unconfirmed += e.kind == EVENT_UNCONFIRMED ? e.count : 0;
        }
    }
    pack_close(r);
    answer(&z->route, epoch, last);
}

static bool read_telemetry(void *arg)
{
    struct zmsg z;
    bool any = false;

    (void)arg;
    for (; telemetry && zsock_recv(telemetry, &z) == 0; any = true) {
        take(&z);
        zmsg_free(&z);
    }
    return any;
}

static void look(void *arg)
{
    (void)arg;
    if (done())
        loop_stop(loop);
    loop_timer_set(loop, &poll_timer, clock_ms() + 5);
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void run_until(bool (*condition)(void))
{
    done = condition;
    loop_timer_set(loop, &late, clock_ms() + PATIENCE_MS);
    loop_timer_set(loop, &poll_timer, clock_ms());
    loop_run(loop);
    cr_assert(condition());
}

static void setup(void)
{
    snprintf(endpoint, sizeof endpoint, "ipc:///tmp/confirm_test.%d", getpid());
    loop = loop_new();
    wire = zwire_new();
    cr_assert_eq(sink_new(&sink, loop, wire, endpoint, "gateway"), 0);
    hook = (struct loop_hook){.fn = read_telemetry};
    late = (struct loop_timer){.fn = stop};
    poll_timer = (struct loop_timer){.fn = look};
    loop_hook_add(loop, &hook);
}

static void teardown(void)
{
    sink_free(sink);
    zsock_close(telemetry);
    zwire_free(wire);
    loop_free(loop);
    unlink(endpoint + 6);
}

TestSuite(confirm, .init = setup, .fini = teardown);

static void out(void *arg)
{
    ++*(int *)arg;
}

static int sent;

static bool one_is_out(void)
{
    return sent == 1;
}

static bool both_are_out(void)
{
    return sent == 2;
}

static bool all_is_told(void)
{
    return unconfirmed == 4 && requests == 4;
}

static bool is_given_up(void)
{
    return !sink_telemetry_awaited(sink);
}

static bool is_here(void)
{
    return sink_telemetry_alive(sink);
}

/* Waiting for one that has not come yet, for one that does not commit, and not at all for one that is silent. */
Test(confirm, waits_for_the_commit_but_not_for_ever)
{
    struct confirm c = {.sink = sink, .timeout_ms = 50};
    struct confirm_wait waits[2];
    struct event e = {.kind = EVENT_REQUEST, .status = 200};

    confirm_put(&c, &e, &waits[0], out, &sent);
    cr_expect_eq(sent, 0, "it may be about to come");
    run_until(one_is_out);
    run_until(is_given_up);
    c.timeout_ms = PATIENCE_MS;
    confirm_put(&c, &e, &waits[0], out, &sent);
    cr_expect_eq(sent, 2, "nobody has come: it does not wait");
    cr_expect_eq(c.unconfirmed, 2);

    cr_assert_eq(zsock_router(wire, endpoint, EVENT_QUEUE, &telemetry), 0);
    run_until(is_here);
    sent = 0;
    c.timeout_ms = 50;
    confirm_put(&c, &e, &waits[0], out, &sent);
    confirm_put(&c, &e, &waits[1], out, &sent);
    cr_expect_eq(sent, 0);
    run_until(both_are_out); /* it answers, but commits nothing */
    cr_expect_eq(c.unconfirmed, 4);
    acknowledges = true;
    confirm_tell(&c);
    cr_expect_eq(c.unconfirmed, 0);
    run_until(all_is_told);

    c.timeout_ms = PATIENCE_MS;
    sent = 0;
    confirm_put(&c, &e, &waits[0], out, &sent);
    confirm_put(&c, &e, &waits[1], out, &sent);
    cr_expect_eq(sent, 0, "it waits");
    run_until(both_are_out);
    cr_expect_eq(requests, 6, "it has waited");
    confirm_tell(&c);
    cr_expect_eq(c.unconfirmed, 0);
}
