#include "llm-worker/retry.h"

#include <string.h>

#include "common/base/attr.h"
#include "common/base/backoff.h"

static const char *const words[] = {
    [OUTCOME_OK] = "ok",
    [OUTCOME_HTTP] = "http",
    [OUTCOME_TIMEOUT] = "timeout",
    [OUTCOME_CONNECT] = "connect",
    [OUTCOME_CUT] = "cut",
    [OUTCOME_GARBAGE] = "garbage",
    [OUTCOME_NO_ANSWER] = "no_answer",
    [OUTCOME_TOO_LARGE] = "too_large",
    [OUTCOME_CANCELLED] = "cancelled",
};

const char *outcome_word(enum outcome o)
{
    return words[o];
}

static bool is_quota(int status, const char *code)
{
    return status == 429 &&
           (strcmp(code, "insufficient_quota") == 0 || strcmp(code, "credit_balance_exhausted") == 0);
}

bool retry_is_worth_it(enum outcome o, int status, const char *code)
{
    switch (o) {
    case OUTCOME_HTTP:
        return !is_quota(status, code) && (status == 408 || status == 409 || status == 429 || status >= 500);
    case OUTCOME_TIMEOUT:
    case OUTCOME_CONNECT:
    case OUTCOME_CUT:
    case OUTCOME_GARBAGE:
        return true;
    case OUTCOME_OK:
    case OUTCOME_NO_ANSWER:
    case OUTCOME_TOO_LARGE:
    case OUTCOME_CANCELLED:
        return false;
    }
    return false;
}

const char *retry_error_word(enum outcome o, int status, const char *code)
{
    if (o != OUTCOME_HTTP)
        return o == OUTCOME_GARBAGE || o == OUTCOME_NO_ANSWER || o == OUTCOME_TOO_LARGE ? "bad_answer"
                                                                                        : words[o];
    if (is_quota(status, code))
        return "quota_exhausted";
    switch (status) {
    case 401:
    case 403:
        return "not_authorized";
    case 408:
        return "timeout";
    case 429:
        return "rate_limited";
    default:
        return status >= 500 ? "upstream_error" : "bad_request";
    }
}

int64_t retry_wait(unsigned attempt, int64_t now, int64_t deadline, uint32_t random)
{
    int64_t wait = backoff_full_jitter(attempt, RETRY_BASE_MS, RETRY_CAP_MS, random);

    return now + wait < deadline ? wait : -1;
}
