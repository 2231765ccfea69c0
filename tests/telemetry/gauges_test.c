/* Several gateways are one service: sums, and of breakers the worst. */
#include "telemetry/gauges.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/limits.h"

static double value_of(const struct metrics *m, const char *series)
{
    struct buf page = BUF_INIT(METRIC_PAGE_MAX);
    char line[200];

    metrics_print(m, METRICS_TEXT, &page);
    snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(page.data, line);
    double v = at ? strtod(at + strlen(line), NULL) : -1;
    buf_free(&page);
    return v;
}

#define BREAKER(name) "atalaya_upstream_breaker_state{upstream=\"" name "\"}"
#define CALLS(name)   "atalaya_upstream_calls_in_flight{upstream=\"" name "\"}"
#define REFUSED(name) "atalaya_upstream_key_refused{upstream=\"" name "\"}"
#define LIMIT(name)   "atalaya_upstream_calls_limit{upstream=\"" name "\"}"
#define WORKERS(s)    "atalaya_workers{state=\"" s "\"}"

Test(gauges, of_all_gateways_together)
{
    struct gauges *g = gauges_new();
    struct metrics *m = metrics_new();
    struct event_upstream one[] = {{str_of("a"), 2, 3, 10, str_of("m"), true},
                                   {str_of("b"), 0, 1, 5, str_of("m"), false}};
    struct event_upstream two[] = {{str_of("a"), 0, 4, 20, str_of("m"), false}};
    struct event first = {
        .epoch = 1,
        .gauges = {3, 7, 1500000, {[WORKER_IDLE] = 1, [WORKER_FULL] = 2, [WORKER_DOWN] = 3}},
        .upstreams = {one, 2}};
    struct event second = {.epoch = 2,
                           .gauges = {4, 1, 2500000, {[WORKER_IDLE] = 5, [WORKER_LEAVING] = 1}},
                           .upstreams = {two, 1}};

    gauges_show(g, m, 0);
    cr_expect_eq(value_of(m, WORKERS("idle")), 0, "an alert needs a number");
    gauges_take(g, &first, 10000);
    gauges_take(g, &second, 12000);
    gauges_show(g, m, 12000);
    cr_expect_eq(value_of(m, "app_requests_in_progress"), 7);
    cr_expect_eq(value_of(m, "atalaya_queue_questions"), 8);
    cr_expect_eq(value_of(m, "atalaya_queue_oldest_age_seconds"), 2.5);
    cr_expect_eq(value_of(m, WORKERS("idle")), 6);
    cr_expect_eq(value_of(m, WORKERS("busy")), 0);
    cr_expect_eq(value_of(m, WORKERS("full")), 2);
    cr_expect_eq(value_of(m, WORKERS("down")), 3);
    cr_expect_eq(value_of(m, WORKERS("leaving")), 1);
    cr_expect_eq(value_of(m, BREAKER("a")), 2, "whoever was heard last");
    cr_expect_eq(value_of(m, REFUSED("a")), 1);
    cr_expect_eq(value_of(m, REFUSED("b")), 0);
    cr_expect_eq(value_of(m, CALLS("a")), 7);
    cr_expect_eq(value_of(m, LIMIT("a")), 30);
    cr_expect_eq(value_of(m, LIMIT("b")), 5);

    gauges_show(g, m, 10000 + EVENT_SILENCE_MS); /* the first is silent */
    cr_expect_eq(value_of(m, "atalaya_queue_questions"), 1);
    cr_expect_eq(value_of(m, BREAKER("a")), 0);
    cr_expect_eq(value_of(m, BREAKER("b")), -1);
    second.upstreams.n = 0; /* what it says replaces what it said */
    second.gauges = (struct event_gauges){0};
    gauges_take(g, &second, 16000);
    gauges_show(g, m, 16000);
    cr_expect_eq(value_of(m, "app_requests_in_progress"), 0);
    cr_expect_eq(value_of(m, BREAKER("a")), -1);
    gauges_free(g);
    metrics_free(m);
}

Test(gauges, bounded)
{
    struct gauges *g = gauges_new();
    struct metrics *m = metrics_new();
    char name[2 * UPSTREAM_NAME_MAX];
    struct event_upstream many[UPSTREAMS_MAX + 1];
    struct event e = {.gauges = {.in_progress = 1}};

    for (e.epoch = 1; e.epoch <= 2 * GAUGE_SENDERS_MAX; e.epoch++)
        gauges_take(g, &e, (int64_t)e.epoch);
    gauges_show(g, m, (int64_t)e.epoch);
    cr_expect_eq(value_of(m, "app_requests_in_progress"), GAUGE_SENDERS_MAX, "the longest silent have gone");
    memset(name, 'u', sizeof name);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct event_upstream){.name = {name, i < UPSTREAMS_MAX ? sizeof name : 1}, .limit = 1};
    e.upstreams = (struct list){many, ARRAY_LEN(many)};
    gauges_take(g, &e, 1000);
    gauges_show(g, m, 1000);
    cr_expect_eq(value_of(m, LIMIT("u")), -1, "more than there may be");
    metrics_free(m);
    gauges_free(g);
}
