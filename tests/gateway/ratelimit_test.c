#include "gateway/ratelimit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "common/base/clock.h"
#include "common/base/limits.h"

#define S 1000000LL

static bool take(struct ratelimit *r, const char *key, int64_t now_us)
{
    return ratelimit_take(r, str_of(key), now_us).allowed;
}

static int take_many(struct ratelimit *r, const char *key, int64_t now_us, int n)
{
    int allowed = 0;

    while (n-- > 0)
        allowed += take(r, key, now_us);
    return allowed;
}

Test(ratelimit, without_a_rate_there_is_no_limit)
{
    struct ratelimit *r = ratelimit_new(0, 10);
    struct buf b = BUF_INIT(1000);
    struct ratelimit_verdict v = ratelimit_take(r, str_of("ana"), 0);

    cr_assert_null(r);
    cr_expect(v.allowed);
    ratelimit_headers(&b, "user", &v);
    cr_expect_eq(b.len, 0);
    ratelimit_free(r);
}

Test(ratelimit, a_burst_then_one_at_a_time)
{
    struct ratelimit *r = ratelimit_new(60, 5);

    cr_expect_eq(take_many(r, "ana", 0, 100), 5);
    cr_expect_eq(take_many(r, "ana", 1 * S - 1, 100), 0);
    cr_expect_eq(take_many(r, "ana", 1 * S, 100), 1);
    cr_expect_eq(take_many(r, "ana", 3 * S, 100), 2);
    cr_expect_eq(take_many(r, "ana", 1000 * S, 100), 5, "no more than the burst, however long the silence");
    ratelimit_free(r);
}

Test(ratelimit, the_burst_is_a_minutes_worth_unless_said)
{
    struct ratelimit *r = ratelimit_new(7, 0);

    cr_expect_eq(take_many(r, "ana", 0, 100), 7);
    cr_expect_eq(take_many(r, "ana", 60 * S, 100), 7);
    ratelimit_free(r);
}

Test(ratelimit, a_long_run_gets_the_rate_and_no_more)
{
    static const int64_t rates[] = {1, 7, 59, 60, 1000, 90000};

    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        struct ratelimit *r = ratelimit_new(rates[i], 1);
        int64_t allowed = 0;
        for (int64_t t = 0; t < 600 * S; t += 301)
            allowed += take(r, "ana", t);
        /* Who looks every 301 us misses up to that at each request. */
        int64_t each_us = 60 * S / rates[i];
        cr_expect_leq(allowed, 10 * rates[i] + 1, "%d", (int)rates[i]);
        cr_expect_geq(allowed, 600 * S / (each_us + 301), "%d", (int)rates[i]);
        ratelimit_free(r);
    }
}

Test(ratelimit, one_key_does_not_feel_another)
{
    struct ratelimit *r = ratelimit_new(60, 3);

    cr_expect_eq(take_many(r, "ana", 0, 1000), 3);
    cr_expect_eq(take_many(r, "bea", 0, 1000), 3);
    cr_expect_eq(take_many(r, "", 0, 1000), 3);
    cr_expect(ratelimit_take(r, (struct str){"ana\0x", 5}, 0).allowed, "a NUL is part of a key");
    ratelimit_free(r);
}

Test(ratelimit, retry_after_is_enough_and_no_second_too_long)
{
    static const int64_t rates[] = {1, 7, 59, 60, 61, 1000, 90000};

    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        for (int64_t now = 0; now < 3 * S; now += 77777) {
            struct ratelimit *r = ratelimit_new(rates[i], 4);
            cr_assert_eq(take_many(r, "ana", 0, 4), 4);
            struct ratelimit_verdict v = ratelimit_take(r, str_of("ana"), now);
            if (!v.allowed) {
                cr_expect_geq(v.retry_after_s, 1);
                cr_expect_eq(v.remaining, 0);
                cr_expect_not(take(r, "ana", now + (v.retry_after_s - 1) * S), "%d", (int)rates[i]);
                cr_expect(take(r, "ana", now + v.retry_after_s * S), "%d", (int)rates[i]);
            }
            ratelimit_free(r);
        }
    }
}

Test(ratelimit, being_refused_costs_nothing)
{
    struct ratelimit *r = ratelimit_new(60, 1);

    cr_assert(take(r, "ana", 0));
    cr_assert_eq(take_many(r, "ana", S / 2, 100000), 0);
    cr_assert(take(r, "ana", S));
    ratelimit_free(r);
}

Test(ratelimit, the_verdict_counts_down_and_up_again)
{
    struct ratelimit *r = ratelimit_new(30, 3); /* one every 2 s */
    struct ratelimit_verdict v = ratelimit_take(r, str_of("ana"), 0);

    cr_expect(v.allowed);
    cr_expect_eq(v.limit, 3);
    cr_expect_eq(v.window_s, 6);
    cr_expect_eq(v.remaining, 2);
    cr_expect_eq(v.reset_s, 2);
    cr_expect_eq(v.retry_after_s, 0);
    take(r, "ana", 0);
    v = ratelimit_take(r, str_of("ana"), 0);
    cr_expect_eq(v.remaining, 0);
    cr_expect_eq(v.reset_s, 6);
    v = ratelimit_take(r, str_of("ana"), S / 2);
    cr_expect_not(v.allowed);
    cr_expect_eq(v.reset_s, 6);
    cr_expect_eq(v.retry_after_s, 2);
    v = ratelimit_take(r, str_of("ana"), 5 * S);
    cr_expect(v.allowed);
    cr_expect_eq(v.remaining, 1);
    cr_expect_eq(v.reset_s, 3);
    ratelimit_free(r);
}

Test(ratelimit, what_remains_is_what_is_allowed)
{
    for (int64_t now = 0; now < 20 * S; now += 333333) {
        struct ratelimit *r = ratelimit_new(31, 9);
        take_many(r, "ana", 0, 9);
        struct ratelimit_verdict v = ratelimit_take(r, str_of("ana"), now);
        cr_expect_eq(take_many(r, "ana", now, 100), v.remaining);
        ratelimit_free(r);
    }
}

Test(ratelimit, the_largest_settings_do_not_overflow)
{
    struct ratelimit *r = ratelimit_new(1, 60000000);
    struct ratelimit_verdict v = ratelimit_take(r, str_of("ana"), clock_us());

    cr_expect(v.allowed);
    cr_expect_eq(v.remaining, 59999999);
    cr_expect_eq(v.window_s, 3600000000);
    ratelimit_free(r);
    r = ratelimit_new(60000000, 1);
    cr_expect_eq(take_many(r, "ana", 1000, 10), 1);
    cr_expect_eq(take_many(r, "ana", 1001, 10), 1);
    ratelimit_free(r);
}

Test(ratelimit, a_flood_of_keys_frees_nobody_who_has_used_more)
{
    struct ratelimit *r = ratelimit_new(1, 10);
    char key[32];

    cr_assert_eq(take_many(r, "ana", 0, 20), 10);
    for (int i = 0; i < 4 * RATELIMIT_KEYS_MAX; i++) {
        snprintf(key, sizeof key, "flood-%d", i);
        cr_assert(take(r, key, i), "a new key is always let in");
    }
    cr_expect_eq(take_many(r, "ana", S, 20), 0, "the flood took the flood's places");
    ratelimit_free(r);
}

Test(ratelimit, most_keys_find_a_place_of_their_own)
{
    struct ratelimit *r = ratelimit_new(1, 1);
    char key[32];
    int forgotten = 0;

    for (int i = 0; i < RATELIMIT_KEYS_MAX / 4; i++) {
        snprintf(key, sizeof key, "user-%d", i);
        cr_assert(take(r, key, i));
    }
    for (int i = 0; i < RATELIMIT_KEYS_MAX / 4; i++) {
        snprintf(key, sizeof key, "user-%d", i);
        forgotten += take(r, key, S);
    }
    /* Poisson: a set of 8 that 2 keys hit on average overflows for 1 in some 4000. */
    cr_expect_lt(forgotten, RATELIMIT_KEYS_MAX / 4 / 200, "%d", forgotten);
    ratelimit_free(r);
}

Test(ratelimit, fields_of_the_draft_and_the_older_three)
{
    struct ratelimit *r = ratelimit_new(60, 0);
    struct buf b = BUF_INIT(1000);

    take_many(r, "ana", 0, 9);
    struct ratelimit_verdict v = ratelimit_take(r, str_of("ana"), 0);
    ratelimit_headers(&b, "user", &v);
    cr_assert_str_eq(b.data, "RateLimit-Policy: \"user\";q=60;w=60\r\nRateLimit: \"user\";r=50;t=10\r\n"
                             "RateLimit-Limit: 60\r\nRateLimit-Remaining: 50\r\nRateLimit-Reset: 10\r\n");
    buf_free(&b);
    ratelimit_free(r);
}

#define EACH 200000

static void *taker(void *arg)
{
    intptr_t allowed = 0;
    char key[16];

    for (int i = 0; i < EACH; i++) {
        snprintf(key, sizeof key, "key-%d", i % 50);
        allowed += take(arg, key, S);
    }
    return (void *)allowed;
}

Test(ratelimit, threads_share_one_allowance)
{
    struct ratelimit *r = ratelimit_new(60, 1000);
    pthread_t thread[4];
    intptr_t sum = 0;

    for (size_t i = 0; i < ARRAY_LEN(thread); i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, taker, r), 0);
    for (size_t i = 0; i < ARRAY_LEN(thread); i++) {
        void *allowed;
        cr_assert_eq(pthread_join(thread[i], &allowed), 0);
        sum += (intptr_t)allowed;
    }
    cr_assert_eq(sum, 50 * 1000);
    ratelimit_free(r);
}
