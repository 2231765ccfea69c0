#include "llm-worker/retry.h"

#include <criterion/criterion.h>

#define DEADLINE 100000
#define WALL_US  ((int64_t)784111777 * 1000000) /* Sun, 06 Nov 1994 08:49:37 GMT */

static const struct retry_limits limits = {.tries = 3, .retry_after_ms = 60000};

static struct verdict http(int status, const char *code)
{
    return (struct verdict){.outcome = OUTCOME_HTTP, .status = status, .code = code, .type = ""};
}

static struct retry decide(struct verdict v, unsigned tries, uint32_t random)
{
    return retry_decide(&v, &limits, tries, 1000, DEADLINE, WALL_US, random);
}

Test(retry, which_errors_are_worth_another_try)
{
    static const struct {
        enum outcome outcome;
        int status;
        const char *code, *type, *should_retry;
        enum retry_why why;
        const char *word;
    } table[] = {
        {OUTCOME_HTTP, 400, "", "", "", RETRY_POINTLESS, "bad_request"},
        {OUTCOME_HTTP, 401, "invalid_api_key", "", "", RETRY_POINTLESS, "not_authorized"},
        {OUTCOME_HTTP, 401, "invalid_api_key", "", "true", RETRY_POINTLESS, "not_authorized"},
        {OUTCOME_HTTP, 403, "", "", "", RETRY_POINTLESS, "not_authorized"},
        {OUTCOME_HTTP, 404, "", "", "", RETRY_POINTLESS, "bad_request"},
        {OUTCOME_HTTP, 408, "", "", "", RETRY_BACKOFF, "timeout"},
        {OUTCOME_HTTP, 409, "", "", "", RETRY_BACKOFF, "bad_request"},
        {OUTCOME_HTTP, 422, "", "", "", RETRY_POINTLESS, "bad_request"},
        {OUTCOME_HTTP, 429, "rate_limit_exceeded", "requests", "", RETRY_BACKOFF, "rate_limited"},
        {OUTCOME_HTTP, 429, "slow_down", "rate_limit_error", "", RETRY_SLOWER, "rate_limited"},
        {OUTCOME_HTTP, 429, "insufficient_quota", "", "", RETRY_POINTLESS, "quota_exhausted"},
        {OUTCOME_HTTP, 429, "", "insufficient_quota", "", RETRY_POINTLESS, "quota_exhausted"},
        {OUTCOME_HTTP, 429, "some_limit", "insufficient_quota", "true", RETRY_POINTLESS, "quota_exhausted"},
        {OUTCOME_HTTP, 429, "credit_balance_exhausted", "", "", RETRY_POINTLESS, "quota_exhausted"},
        {OUTCOME_HTTP, 400, "billing_hard_limit_reached", "", "", RETRY_POINTLESS, "quota_exhausted"},
        {OUTCOME_HTTP, 500, "context_length_exceeded", "", "", RETRY_POINTLESS, "upstream_error"},
        {OUTCOME_HTTP, 500, "", "", "", RETRY_BACKOFF, "upstream_error"},
        {OUTCOME_HTTP, 500, "", "", "false", RETRY_REFUSED, "upstream_error"},
        {OUTCOME_HTTP, 429, "", "", "false", RETRY_REFUSED, "rate_limited"},
        {OUTCOME_HTTP, 400, "", "", "true", RETRY_BACKOFF, "bad_request"},
        {OUTCOME_HTTP, 500, "", "", "maybe", RETRY_BACKOFF, "upstream_error"},
        {OUTCOME_HTTP, 503, "server_is_overloaded", "", "", RETRY_BACKOFF, "upstream_error"},
        {OUTCOME_HTTP, 302, "", "", "", RETRY_POINTLESS, "redirected"},
        {OUTCOME_HTTP, 204, "", "", "", RETRY_POINTLESS, "bad_answer"},
        {OUTCOME_TIMEOUT, 0, "", "", "", RETRY_BACKOFF, "timeout"},
        {OUTCOME_CONNECT_TIMEOUT, 0, "", "", "", RETRY_BACKOFF, "timeout"},
        {OUTCOME_FIRST_BYTE, 0, "", "", "", RETRY_BACKOFF, "timeout"},
        {OUTCOME_STALL, 200, "", "", "", RETRY_BACKOFF, "timeout"},
        {OUTCOME_CONNECT, 0, "", "", "", RETRY_BACKOFF, "connect"},
        {OUTCOME_TLS, 0, "", "", "", RETRY_POINTLESS, "tls"},
        {OUTCOME_CUT, 200, "", "", "", RETRY_BACKOFF, "cut"},
        {OUTCOME_GARBAGE, 200, "", "", "", RETRY_BACKOFF, "bad_answer"},
        {OUTCOME_NO_ANSWER, 200, "", "", "", RETRY_POINTLESS, "bad_answer"},
        {OUTCOME_TOO_LARGE, 200, "", "", "", RETRY_POINTLESS, "bad_answer"},
        {OUTCOME_CANCELLED, 0, "", "", "", RETRY_POINTLESS, "cancelled"},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct verdict v = {.outcome = table[i].outcome,
                            .status = table[i].status,
                            .code = table[i].code,
                            .type = table[i].type,
                            .should_retry = str_of(table[i].should_retry)};
        struct retry r = decide(v, 1, 0);
        cr_expect_eq(r.why, table[i].why, "row %zu: %d", i, r.why);
        cr_expect_eq(r.again, r.why == RETRY_BACKOFF || r.why == RETRY_SLOWER, "row %zu", i);
        cr_expect_str_eq(retry_error_word(&v), table[i].word, "row %zu", i);
        cr_expect_eq(retry_is_quota(&v), strcmp(table[i].word, "quota_exhausted") == 0, "row %zu", i);
    }
}

Test(retry, waits_grow_to_the_cap)
{
    cr_expect_eq(decide(http(500, ""), 1, 0).wait_ms, 0);
    cr_expect_eq(decide(http(500, ""), 1, UINT32_MAX).wait_ms, RETRY_BASE_MS);
    cr_expect_eq(decide(http(500, ""), 2, UINT32_MAX).wait_ms, 2 * RETRY_BASE_MS);

    struct verdict v = http(500, "");
    struct retry_limits many = {.tries = 10, .retry_after_ms = 60000};
    cr_expect_eq(retry_decide(&v, &many, 9, 1000, DEADLINE, WALL_US, UINT32_MAX).wait_ms, RETRY_CAP_MS);
}

Test(retry, slow_down_waits_at_least_half)
{
    cr_expect_eq(decide(http(429, "slow_down"), 1, 0).wait_ms, RETRY_SLOW_BASE_MS / 2);
    cr_expect_eq(decide(http(429, "slow_down"), 1, UINT32_MAX).wait_ms, RETRY_SLOW_BASE_MS);
    cr_expect_eq(decide(http(429, "slow_down"), 2, 0).wait_ms, RETRY_SLOW_BASE_MS);
}

Test(retry, no_more_tries_than_allowed)
{
    cr_expect(decide(http(500, ""), 2, 0).again);
    struct retry r = decide(http(500, ""), 3, 0);
    cr_expect_not(r.again);
    cr_expect_eq(r.why, RETRY_TRIES);
}

Test(retry, never_past_the_deadline)
{
    struct verdict v = http(500, "");
    struct retry r = retry_decide(&v, &limits, 2, 1000, 1600, WALL_US, UINT32_MAX);

    cr_expect_not(r.again);
    cr_expect_eq(r.why, RETRY_DEADLINE);
    cr_expect(retry_decide(&v, &limits, 2, 1000, 1601, WALL_US, UINT32_MAX).again);
    v.retry_after = str_of("5");
    cr_expect_eq(retry_decide(&v, &limits, 1, 1000, 6000, WALL_US, 0).why, RETRY_DEADLINE);
    cr_expect_eq(retry_decide(&v, &limits, 1, 1000, 6001, WALL_US, UINT32_MAX).wait_ms, 5000,
                 "the spread yields to the deadline");
}

Test(retry, the_provider_says_when)
{
    static const struct {
        const char *ms, *after;
        enum retry_why why;
        int64_t least, most;
    } table[] = {
        {"1500", "", RETRY_AS_TOLD, 1500, 1650},
        {"1500", "9", RETRY_AS_TOLD, 1500, 1650},
        {"", "9", RETRY_AS_TOLD, 9000, 9900},
        {"", "0.5", RETRY_AS_TOLD, 500, 550},
        {"", "30", RETRY_AS_TOLD, 30000, 31000},
        {"", "60", RETRY_AS_TOLD, 60000, 61000},
        {"", "61", RETRY_TOO_LATE, 0, 0},
        {"60001", "1", RETRY_TOO_LATE, 0, 0},
        {"", "Sun, 06 Nov 1994 08:49:47 GMT", RETRY_AS_TOLD, 10000, 11000},
        {"", "Sun, 06 Nov 1994 09:49:47 GMT", RETRY_TOO_LATE, 0, 0},
        {"", "Sun, 06 Nov 1994 08:49:27 GMT", RETRY_BACKOFF, 0, RETRY_BASE_MS},
        {"", "0", RETRY_BACKOFF, 0, RETRY_BASE_MS},
        {"", "next week", RETRY_BACKOFF, 0, RETRY_BASE_MS},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct verdict v = http(429, "rate_limit_exceeded");
        v.retry_after_ms = str_of(table[i].ms);
        v.retry_after = str_of(table[i].after);
        cr_expect_eq(decide(v, 1, 0).why, table[i].why, "row %zu", i);
        cr_expect_eq(decide(v, 1, 0).wait_ms, table[i].least, "row %zu", i);
        cr_expect_eq(decide(v, 1, UINT32_MAX).wait_ms, table[i].most, "row %zu", i);
    }
}

Test(retry, the_operator_is_told_why_there_is_no_more)
{
    cr_expect_str_eq(retry_why_text(RETRY_TRIES), "");
    cr_expect_str_eq(retry_why_text(RETRY_POINTLESS), "");
    cr_expect(strstr(retry_why_text(RETRY_TOO_LATE), "LLM_RETRY_AFTER_MAX"));
    cr_expect_gt(strlen(retry_why_text(RETRY_BUDGET)), 0);
    cr_expect_gt(strlen(retry_why_text(RETRY_DEADLINE)), 0);
    cr_expect_gt(strlen(retry_why_text(RETRY_REFUSED)), 0);
}

Test(retry, whose_fault_it_is)
{
    static const struct {
        enum outcome outcome;
        int status;
        const char *code;
        int64_t took_ms;
        enum fault fault;
        bool overload, elsewhere, mute;
    } table[] = {
        {OUTCOME_OK, 200, "", 10, FAULT_NONE, false, false, false},
        {OUTCOME_NO_ANSWER, 200, "", 10, FAULT_NONE, false, false, false},
        {OUTCOME_TOO_LARGE, 200, "", 10, FAULT_NONE, false, false, false},
        {OUTCOME_HTTP, 400, "context_length_exceeded", 10, FAULT_OTHER, false, false, false},
        {OUTCOME_HTTP, 401, "invalid_api_key", 10, FAULT_OTHER, false, true, false},
        {OUTCOME_HTTP, 403, "", 10, FAULT_OTHER, false, true, false},
        {OUTCOME_HTTP, 404, "model_not_found", 10, FAULT_OTHER, false, true, false},
        {OUTCOME_HTTP, 422, "", 10, FAULT_OTHER, false, false, false},
        {OUTCOME_HTTP, 429, "rate_limit_exceeded", 10, FAULT_OTHER, true, true, false},
        {OUTCOME_HTTP, 429, "insufficient_quota", 10, FAULT_OTHER, false, true, false},
        {OUTCOME_HTTP, 429, "slow_down", 10, FAULT_UPSTREAM, true, true, false},
        {OUTCOME_HTTP, 500, "", 10, FAULT_UPSTREAM, false, true, false},
        {OUTCOME_HTTP, 503, "server_is_overloaded", 10, FAULT_UPSTREAM, true, true, false},
        {OUTCOME_HTTP, 302, "", 10, FAULT_OTHER, false, true, false},
        {OUTCOME_TIMEOUT, 0, "", RETRY_FAIR_MS - 1, FAULT_OTHER, false, true, true},
        {OUTCOME_TIMEOUT, 0, "", RETRY_FAIR_MS, FAULT_UPSTREAM, false, true, true},
        {OUTCOME_CONNECT_TIMEOUT, 0, "", 10, FAULT_UPSTREAM, false, true, true},
        {OUTCOME_FIRST_BYTE, 0, "", 10, FAULT_UPSTREAM, true, true, true},
        {OUTCOME_STALL, 200, "", 10, FAULT_UPSTREAM, false, true, true},
        {OUTCOME_CONNECT, 0, "", 10, FAULT_UPSTREAM, false, true, true},
        {OUTCOME_TLS, 0, "", 10, FAULT_UPSTREAM, false, true, false},
        {OUTCOME_CUT, 200, "", 10, FAULT_UPSTREAM, false, true, false},
        {OUTCOME_GARBAGE, 200, "", 10, FAULT_UPSTREAM, false, true, false},
        {OUTCOME_CANCELLED, 0, "", 10, FAULT_OTHER, false, false, false},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct verdict v = {
            .outcome = table[i].outcome, .status = table[i].status, .code = table[i].code, .type = ""};
        cr_expect_eq(retry_fault(&v, table[i].took_ms), table[i].fault, "row %zu", i);
        cr_expect_eq(retry_is_overload(&v), table[i].overload, "row %zu", i);
        cr_expect_eq(retry_elsewhere(&v), table[i].elsewhere, "row %zu", i);
        cr_expect_eq(retry_is_mute(&v), table[i].mute, "row %zu", i);
    }
}
