#include "llm-worker/retry.h"

#include <criterion/criterion.h>

Test(retry, which_errors_are_worth_another_try)
{
    static const struct {
        enum outcome outcome;
        int status;
        const char *code;
        bool worth;
        const char *word;
    } table[] = {
        {OUTCOME_HTTP, 400, "", false, "bad_request"},
        {OUTCOME_HTTP, 401, "invalid_api_key", false, "not_authorized"},
        {OUTCOME_HTTP, 403, "", false, "not_authorized"},
        {OUTCOME_HTTP, 404, "", false, "bad_request"},
        {OUTCOME_HTTP, 408, "", true, "timeout"},
        {OUTCOME_HTTP, 409, "", true, "bad_request"},
        {OUTCOME_HTTP, 422, "", false, "bad_request"},
        {OUTCOME_HTTP, 429, "rate_limit_exceeded", true, "rate_limited"},
        {OUTCOME_HTTP, 429, "insufficient_quota", false, "quota_exhausted"},
        {OUTCOME_HTTP, 429, "credit_balance_exhausted", false, "quota_exhausted"},
        {OUTCOME_HTTP, 500, "", true, "upstream_error"},
        {OUTCOME_HTTP, 503, "server_is_overloaded", true, "upstream_error"},
        {OUTCOME_HTTP, 302, "", false, "bad_request"},
        {OUTCOME_TIMEOUT, 0, "", true, "timeout"},
        {OUTCOME_CONNECT, 0, "", true, "connect"},
        {OUTCOME_CUT, 200, "", true, "cut"},
        {OUTCOME_GARBAGE, 200, "", true, "bad_answer"},
        {OUTCOME_NO_ANSWER, 200, "", false, "bad_answer"},
        {OUTCOME_TOO_LARGE, 200, "", false, "bad_answer"},
        {OUTCOME_CANCELLED, 0, "", false, "cancelled"},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        cr_expect_eq(retry_is_worth_it(table[i].outcome, table[i].status, table[i].code), table[i].worth,
                     "row %zu", i);
        cr_expect_str_eq(retry_error_word(table[i].outcome, table[i].status, table[i].code), table[i].word);
    }
}

Test(retry, waits_grow_to_the_cap_and_never_pass_the_deadline)
{
    cr_expect_eq(retry_wait(0, 1000, 60000, 0), 0);
    cr_expect_eq(retry_wait(0, 1000, 60000, UINT32_MAX), 300);
    cr_expect_eq(retry_wait(1, 1000, 60000, UINT32_MAX), 600);
    cr_expect_eq(retry_wait(9, 1000, 60000, UINT32_MAX), 3000);
    cr_expect_eq(retry_wait(1, 1000, 1600, UINT32_MAX), -1);
    cr_expect_eq(retry_wait(1, 1000, 1601, UINT32_MAX), 600);
}
