#include "llm-worker/delay.h"

#include <criterion/criterion.h>

#define NOW_US ((int64_t)784111777 * 1000000) /* Sun, 06 Nov 1994 08:49:37 GMT */

Test(delay, retry_after_in_every_form)
{
    static const struct {
        const char *ms, *after, *date;
        int64_t want;
    } table[] = {
        {"", "", "", -1},
        {"1500", "", "", 1500},
        {"1500", "7", "", 1500},
        {"0.2", "", "", 1},
        {"0", "7", "", 7000},
        {"soon", "7", "", 7000},
        {"-1", "2", "", 2000},
        {"", "7", "", 7000},
        {"", " 7 ", "", 7000},
        {"", "0.25", "", 250},
        {"", "0", "", -1},
        {"", "-3", "", -1},
        {"", "1e3", "", -1},
        {"", "0x10", "", -1},
        {"", "inf", "", -1},
        {"", "1.2.3", "", -1},
        {"", "99999999999999999999", "", DELAY_MAX_MS},
        {"", "Sun, 06 Nov 1994 08:49:47 GMT", "", 10000},
        {"", "Sun, 06 Nov 1994 08:49:37 GMT", "", -1},
        {"", "Sun, 06 Nov 1994 08:00:00 GMT", "", -1},
        /* The provider's clock is an hour ahead of ours: its own Date tells. */
        {"", "Sun, 06 Nov 1994 09:49:47 GMT", "Sun, 06 Nov 1994 09:49:37 GMT", 10000},
        {"", "Sun, 06 Nov 1994 08:49:47 GMT", "yesterday", 10000},
        {"", "Mon, 06 Nov 1995 08:49:47 GMT", "", DELAY_MAX_MS},
        {"", "tomorrow", "", -1},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        cr_expect_eq(
            delay_retry_after(str_of(table[i].ms), str_of(table[i].after), str_of(table[i].date), NOW_US),
            table[i].want, "row %zu", i);
}

Test(delay, durations_as_go_writes_them_and_as_azure_does)
{
    static const struct {
        const char *text;
        int64_t ms;
    } table[] = {
        {"12ms", 12},       {"1s", 1000},
        {"6m0s", 360000},   {"1h2m3.5s", 3723500},
        {"500us", 1},       {"1.5ms", 2},
        {"0s", 0},          {"60", 60000},
        {"0.5", 500},       {"\xc2\xb5s", -1},
        {"", -1},           {"s", -1},
        {"-1s", -1},        {"1d", -1},
        {"1s ", 1000},      {"1 s", -1},
        {"6m0", -1},        {"1000000h", DELAY_MAX_MS},
        {"12\xc2\xb5s", 1}, {"NaN", -1},
        {"1..5s", -1},      {"99999999999999999999999999999999999999999999999999s", -1},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        cr_expect_eq(delay_duration(str_of(table[i].text)), table[i].ms, "%s: %lld", table[i].text,
                     (long long)delay_duration(str_of(table[i].text)));
}

Test(delay, counts)
{
    static const struct {
        const char *text;
        int64_t n;
    } table[] = {{"0", 0},    {"9999", 9999},           {" 5 ", 5}, {"-1", -1}, {"", -1},
                 {"1.5", -1}, {"9999999999999999", -1}, {"x", -1}};

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        cr_expect_eq(delay_count(str_of(table[i].text)), table[i].n, "%s", table[i].text);
}
