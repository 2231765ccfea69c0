/* What an answer cost, to the pico-dollar; and nothing rather than something wrong. */
#include "llm-worker/prices.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/limits.h"
#include "common/base/log.h"

static char path[] = "/tmp/prices_test.XXXXXX";

static void set_up(void)
{
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    close(fd);
}

static void tear_down(void)
{
    unlink(path);
}

TestSuite(prices, .init = set_up, .fini = tear_down);

static int read_text(struct prices **p, const char *text, size_t n)
{
    FILE *f = fopen(path, "w");

    cr_assert_not_null(f);
    cr_assert_eq(fwrite(text, 1, n, f), n);
    fclose(f);
    return prices_new(p, path);
}

static struct prices *table(const char *text)
{
    struct prices *p = NULL;

    cr_assert_eq(read_text(&p, text, strlen(text)), 0);
    return p;
}

static struct job answer(const char *model, uint64_t prompt, uint64_t cached, uint64_t completion)
{
    return (struct job){.model = str_of(model),
                        .has_usage = true,
                        .prompt_tokens = prompt,
                        .cached_tokens = cached,
                        .completion_tokens = completion,
                        .total_tokens = prompt + completion};
}

/* -1: no price */
static double cost(const struct prices *p, int64_t today, struct job j)
{
    double usd = -2;

    return prices_cost(p, today, &j, &usd) ? usd : -1;
}

/* A million input tokens of that model. */
static double input_price(const struct prices *p, int64_t today, const char *model)
{
    return cost(p, today, answer(model, 1000000, 0, 0));
}

#define DAY_2024_07_18 19922
#define DAY_2026_11_24 20781

Test(prices, tokens_times_prices)
{
    struct prices *p = table("# a comment\n"
                             "\n"
                             "mini\t0.15 0.075  0.60 2024-07-18 # list price\r\n"
                             "  dear 9999.999999 - 0 2024-07-18\n"
                             "free 0 0 0.0 1970-01-01");
    static const struct {
        const char *model;
        uint64_t prompt, cached, completion;
        double usd;
    } cases[] = {
        {"mini", 0, 0, 0, 0},
        {"mini", 1, 0, 0, 1.5e-7},
        {"mini", 1000, 0, 500, 0.00045},
        {"mini", 1000, 600, 500, 0.000405},
        {"mini", 1024, 1024, 0, 0.0000768},
        {"mini", 7, 3, 11, 0.000007425},
        {"mini", 100000000, 0, 100000000, 75},
        {"dear", 1, 0, 999, 0.009999999999},
        {"dear", 3, 2, 0, 0.029999999997},
        {"free", 12345, 0, 678, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double usd = cost(p, DAY_2026_11_24,
                          answer(cases[i].model, cases[i].prompt, cases[i].cached, cases[i].completion));
        cr_expect_eq(usd, cases[i].usd, "case %zu: %.17g, not %.17g", i, usd, cases[i].usd);
    }
    prices_free(p);
}

Test(prices, reasoning_is_output_already)
{
    struct prices *p = table("o 1.1 0.55 4.4 2025-01-31\n");
    struct job j = answer("o", 10, 0, 1000);

    j.reasoning_tokens = 900;
    cr_expect_eq(cost(p, DAY_2026_11_24, j), 0.004411);
    prices_free(p);
}

Test(prices, no_number_rather_than_a_wrong_one)
{
    struct prices *p = table("mini 0.15 0.075 0.60 2024-07-18\n");
    const struct job good = answer("mini", 100, 50, 10);
    struct job j = good;

    cr_expect_gt(cost(p, DAY_2026_11_24, good), 0);
    cr_expect_eq(cost(NULL, DAY_2026_11_24, good), -1, "no table");
    j.has_usage = false;
    cr_expect_eq(cost(p, DAY_2026_11_24, j), -1, "no usage");
    j = good;
    j.cached_tokens = 101;
    cr_expect_eq(cost(p, DAY_2026_11_24, j), -1, "more cached than there was");
    j = good;
    j.reasoning_tokens = 11;
    cr_expect_eq(cost(p, DAY_2026_11_24, j), -1, "reasoning counted beside the output");
    j = good;
    j.total_tokens = 150;
    cr_expect_eq(cost(p, DAY_2026_11_24, j), -1, "the total knows of more");
    j.total_tokens = 0;
    cr_expect_gt(cost(p, DAY_2026_11_24, j), 0, "there need not be a total");
    cr_expect_eq(cost(p, DAY_2026_11_24, answer("mini", PRICE_TOKENS_MAX + 1, 0, 0)), -1);
    cr_expect_eq(cost(p, DAY_2026_11_24, answer("mini", UINT64_MAX, 0, 1)), -1);
    static const char *const strangers[] = {"", "min", "mini-2", "Mini", "openai/mini"};
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++)
        cr_expect_eq(input_price(p, DAY_2026_11_24, strangers[i]), -1, "%s", strangers[i]);
    prices_free(p);
}

Test(prices, a_name_before_a_beginning_a_longer_one_before_a_shorter)
{
    struct prices *p = table("gpt-4o-20* 1 - 1 2024-01-01\n"
                             "gpt-4o-2024-05-13 2 - 1 2024-01-01\n"
                             "gpt-4o-2024* 3 - 1 2024-01-01\n"
                             "gpt-4o 4 - 1 2024-01-01\n");

    cr_expect_eq(input_price(p, DAY_2026_11_24, "gpt-4o-2025-01-01"), 1);
    cr_expect_eq(input_price(p, DAY_2026_11_24, "gpt-4o-2024-05-13"), 2);
    cr_expect_eq(input_price(p, DAY_2026_11_24, "gpt-4o-2024-08-06"), 3);
    cr_expect_eq(input_price(p, DAY_2026_11_24, "gpt-4o"), 4);
    cr_expect_eq(input_price(p, DAY_2026_11_24, "gpt-4o-mini"), -1);
    cr_expect_eq(input_price(p, DAY_2026_11_24, "ft:gpt-4o-2024-08-06:me::1"), -1);
    prices_free(p);
}

Test(prices, the_newest_whose_day_has_come)
{
    struct prices *p = table("m 5 - 1 2024-07-18\n"
                             "m 7 - 1 2026-11-25\n"
                             "m 6 - 1 2026-11-24\n"
                             "m* 1 - 1 2024-02-29\n");
    static const struct {
        int64_t today;
        double price;
    } cases[] = {
        {DAY_2024_07_18 - 141, -1}, /* 28 February */
        {DAY_2024_07_18 - 140, 1},  /* 29 February */
        {DAY_2024_07_18 - 1, 1},    {DAY_2024_07_18, 5},     {DAY_2026_11_24 - 1, 5},
        {DAY_2026_11_24, 6},        {DAY_2026_11_24 + 1, 7},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(input_price(p, cases[i].today, "m"), cases[i].price, "day %d", (int)cases[i].today);
    cr_expect_geq(prices_today(), DAY_2026_11_24 - 366 * 3);
    prices_free(p);
}

static void expect_refusal(const char *text, size_t n, const char *says)
{
    char said[LOG_SAID_MAX], start[64];
    struct prices *p = (struct prices *)path;

    cr_expect_eq(read_text(&p, text, n), -EINVAL, "%s", says);
    cr_expect_null(p);
    log_last_error(said);
    snprintf(start, sizeof start, "LLM_PRICES_FILE=%s", path);
    cr_expect_eq(strncmp(said, start, strlen(start)), 0, "%s", said);
    cr_expect(strstr(said, says), "\"%s\" is not in: %s", says, said);
}

Test(prices, a_bad_line_is_named)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"m 1 1 1", "line 2: a line is: MODEL INPUT CACHED OUTPUT FROM"},
        {"m 1 1 # 1 2024-01-01", "line 2: a line is:"},
        {"m 1 1 1 2024-01-01 x", "line 2: a line is:"},
        {"m x 1 1 2024-01-01", "line 2: a price is a number"},
        {"m 1 -1 1 2024-01-01", "a price is a number"},
        {"m 1 1 1. 2024-01-01", "a price is a number"},
        {"m 1 1 .5 2024-01-01", "a price is a number"},
        {"m 1 1 1e3 2024-01-01", "a price is a number"},
        {"m - 1 1 2024-01-01", "a price is a number"},
        {"m 1 1 - 2024-01-01", "a price is a number"},
        {"m $1 1 1 2024-01-01", "a price is a number"},
        {"m 0,15 1 1 2024-01-01", "a price is a number"},
        {"m 0.1500001 1 1 2024-01-01", "6 decimals at most"},
        {"m 10000 1 1 2024-01-01", "must be below 10000 USD"},
        {"m 99999999999999999999999 1 1 2024-01-01", "must be below 10000 USD"},
        {"m 1 1 1 18.7.2024", "the last column is the day"},
        {"m 1 1 1 2023-02-29", "the last column is the day"},
        {"m 1 1 1 2024-00-01", "the last column is the day"},
        {"m 1 1 1 2024-13-01", "the last column is the day"},
        {"m 1 1 1 2024-04-31", "the last column is the day"},
        {"m 1 1 1 1969-12-31", "the last column is the day"},
        {"* 1 1 1 2024-01-01", "every unknown model"},
        {"a*b 1 1 1 2024-01-01", "the last character"},
        {"a** 1 1 1 2024-01-01", "the last character"},
        {"first 2 2 2 2024-01-01", "another price from the same day"},
    };
    char text[200];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int n = snprintf(text, sizeof text, "first 1 1 1 2024-01-01\n%s\n", cases[i].line);
        expect_refusal(text, (size_t)n, cases[i].says);
    }
    expect_refusal("m\0 1 1 1 2024-01-01", 20, "line 1: this is no text");
}

Test(prices, limits)
{
    struct buf many = BUF_INIT(MIB);
    struct prices *p = NULL;

    for (unsigned i = 1; i <= PRICES_MAX; i++)
        buf_printf(&many, "m%u %u - 1 2024-01-01\n", i, i);
    cr_assert_eq(read_text(&p, many.data, many.len), 0);
    cr_expect_eq(input_price(p, DAY_2026_11_24, "m1000"), 1000);
    prices_free(p);
    buf_puts(&many, "one-more 1 - 1 2024-01-01\n");
    expect_refusal(many.data, many.len, "line 1001: there are more than 1000 prices");
    buf_reset(&many);
    for (unsigned i = 0; i <= PRICE_MODEL_MAX; i++)
        buf_putc(&many, 'x');
    buf_puts(&many, " 1 - 1 2024-01-01\n");
    expect_refusal(many.data, many.len, "longer than 256 bytes");
    buf_reset(&many);
    while (many.len <= PRICES_FILE_MAX)
        buf_puts(&many, "# nothing, but a lot of it\n");
    expect_refusal(many.data, many.len, "cannot read this file: File too large");
    buf_free(&many);
}

Test(prices, no_file)
{
    struct prices *p = (struct prices *)path;
    char said[LOG_SAID_MAX];

    cr_expect_eq(prices_new(&p, ""), 0);
    cr_expect_null(p);
    cr_expect_eq(prices_new(&p, "/nowhere/at/all"), -EINVAL);
    log_last_error(said);
    cr_expect_str_eq(said,
                     "LLM_PRICES_FILE=/nowhere/at/all: cannot read this file: No such file or directory");
    cr_expect_eq(prices_new(&p, "/dev/null"), 0);
    cr_expect_eq(input_price(p, DAY_2026_11_24, "m"), -1);
    prices_free(p);
}

/* The example that ships: it is read, and it knows the default model under both its names. */
Test(prices, the_shipped_table)
{
    struct prices *p = NULL;
    char shipped[1024];

    snprintf(shipped, sizeof shipped, "%s/infra/prices.conf", getenv("ATALAYA_SOURCE"));
    cr_assert_eq(prices_new(&p, shipped), 0);
    cr_expect_eq(input_price(p, DAY_2026_11_24, "gpt-4o-mini"), 0.15);
    cr_expect_eq(cost(p, DAY_2026_11_24, answer("gpt-4o-mini-2024-07-18", 1000000, 1000000, 1000000)), 0.675);
    cr_expect_eq(input_price(p, DAY_2026_11_24, "gpt-4o-mini-audio-preview"), -1);
    prices_free(p);
}
