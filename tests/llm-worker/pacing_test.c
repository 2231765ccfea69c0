#include "llm-worker/pacing.h"

#include <criterion/criterion.h>

#include <stdio.h>

static void learn(struct pacing *p, const char *limit, const char *remaining, const char *reset, int64_t now)
{
    struct quota_headers requests = {str_of(limit), str_of(remaining), str_of(reset)};
    struct quota_headers none = {str_of(""), str_of(""), str_of("")};

    pacing_learn(p, &requests, &none, now);
}

Test(pacing, headers_in_every_form)
{
    static const struct {
        const char *limit, *remaining, *reset;
        int64_t ahead, least, most;
    } table[] = {
        {"60", "5", "6s", 4, 0, 0},
        {"60", "0", "6s", 0, 100, 102},
        {"60", "0", "6", 0, 100, 102},
        {"60", "0", "6000ms", 9, 1000, 1002},
        {"60", "2", "6s", 3, 200, 210},
        {"60", "0", "6s", 1000, 6000, 6001},
        {"", "0", "500ms", 0, 500, 501},
        {"60", "0", "0s", 0, 0, 0},
        {"60", "-1", "6s", 0, 0, 0},
        {"60", "0", "-1", 0, 0, 0},
        {"60", "0", "", 0, 0, 0},
        {"60", "", "6s", 0, 0, 0},
        {"60", "0", "soon", 0, 0, 0},
        {"60", "0", "6h0m0s", 0, 0, 0},
        {"nonsense", "0", "1s", 0, 1000, 1001},
        {"5", "10", "1s", 9, 0, 0},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct pacing p = {0};
        learn(&p, table[i].limit, table[i].remaining, table[i].reset, 1000);
        int64_t wait = pacing_wait(&p, table[i].ahead, 1, 1000);
        cr_expect(wait >= table[i].least && wait <= table[i].most, "row %zu: %lld", i, (long long)wait);
    }
}

Test(pacing, it_fills_up_and_what_was_said_ends)
{
    struct pacing p = {0};

    cr_expect_eq(pacing_wait(&p, 1000, 1, 0), 0, "nothing is known");
    learn(&p, "60", "0", "6s", 1000);
    cr_expect_eq(pacing_wait(&p, 0, 1, 1100), 0);
    cr_expect_gt(pacing_wait(&p, 1, 1, 1100), 0);
    cr_expect_eq(pacing_wait(&p, 1000, 1, 7000), 0);
}

Test(pacing, workers_share)
{
    struct pacing p = {0};

    learn(&p, "60", "8", "6s", 1000);
    cr_expect_eq(pacing_wait(&p, 7, 1, 1000), 0);
    cr_expect_eq(pacing_wait(&p, 3, 2, 1000), 0);
    cr_expect_gt(pacing_wait(&p, 4, 2, 1000), 0);
}

Test(pacing, tokens_count_as_calls_have_used_them)
{
    struct quota_headers none = {str_of(""), str_of(""), str_of("")};
    struct quota_headers tokens = {str_of("10000"), str_of("1000"), str_of("9s")};
    struct pacing p = {0};

    pacing_used(&p, 400);
    pacing_learn(&p, &none, &tokens, 0);
    cr_expect_eq(pacing_wait(&p, 1, 1, 0), 0);
    int64_t wait = pacing_wait(&p, 2, 1, 0); /* 200 tokens are missing, 1 grows back in a millisecond */
    cr_expect(wait >= 200 && wait <= 202, "%lld", (long long)wait);
    for (int i = 0; i < 200; i++)
        pacing_used(&p, 100);
    cr_expect_eq(pacing_wait(&p, 8, 1, 0), 0);
}

/* A thousand calls at once against 600 a minute: they go as the limit allows, none is refused. */
Test(pacing, a_crowd_is_let_through_at_the_providers_rate)
{
    struct pacing p = {0};
    double bucket = 600;
    int sent = 0;
    char remaining[16], reset[16];

    for (int64_t now = 1; now < 120000; now++) {
        bucket = bucket + 0.01 > 600 ? 600 : bucket + 0.01;
        while (sent < 1000 && pacing_wait(&p, 0, 1, now) == 0) {
            cr_assert_geq(bucket, 1.0, "refused at %lld after %d", (long long)now, sent);
            bucket -= 1;
            sent++;
            snprintf(remaining, sizeof remaining, "%d", (int)bucket);
            snprintf(reset, sizeof reset, "%dms", (int)((600 - bucket) * 100));
            learn(&p, "600", remaining, reset, now);
        }
    }
    cr_expect_eq(sent, 1000);
}
