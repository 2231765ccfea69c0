#include "llm-worker/retry.h"

#include "common/base/attr.h"
#include "common/base/backoff.h"
#include "llm-worker/delay.h"

static const char *const words[] = {
    [OUTCOME_OK] = "ok",
    [OUTCOME_HTTP] = "http",
    [OUTCOME_TIMEOUT] = "timeout",
    [OUTCOME_CONNECT_TIMEOUT] = "connect_timeout",
    [OUTCOME_FIRST_BYTE] = "first_byte_timeout",
    [OUTCOME_STALL] = "stall_timeout",
    [OUTCOME_CONNECT] = "connect",
    [OUTCOME_TLS] = "tls",
    [OUTCOME_CUT] = "cut",
    [OUTCOME_GARBAGE] = "garbage",
    [OUTCOME_STREAM_ERROR] = "stream_error",
    [OUTCOME_NO_ANSWER] = "no_answer",
    [OUTCOME_TOO_LARGE] = "too_large",
    [OUTCOME_CANCELLED] = "cancelled",
};

/* error.code or error.type of answers that no repetition makes better, whatever their status. */
static const char *const quotas[] = {
    "insufficient_quota",    "credit_balance_exhausted", "billing_hard_limit_reached", "billing_not_active",
    "billing_limit_reached", "spend_limit_reached",      "spending_limit_exceeded",    "usage_limit_reached",
    "usage_limit_exceeded",  "account_deactivated",      "insufficient_credits",
};
static const char *const mistakes[] = {
    "invalid_api_key",          "context_length_exceeded", "model_not_found",
    "content_policy_violation", "content_filter",          "unsupported_country_region_territory",
    "string_above_max_length",  "invalid_organization",
};

static bool is_word(const struct verdict *v, const char *word)
{
    return strcmp(v->code, word) == 0 || strcmp(v->type, word) == 0;
}

static bool is_among(const struct verdict *v, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_word(v, list[i]))
            return true;
    return false;
}

const char *outcome_word(enum outcome o)
{
    return words[o];
}

const char *retry_why_text(enum retry_why why)
{
    static const char *const texts[] = {
        [RETRY_REFUSED] = "the provider says not to repeat it",
        [RETRY_TOO_LATE] = "the provider says to come back later than LLM_RETRY_AFTER_MAX",
        [RETRY_DEADLINE] = "the request's time is over",
        [RETRY_BEGUN] = "a part of the answer has gone out",
        [RETRY_BREAKER] = "too many calls to this upstream failed, so it is left alone for a while",
        [RETRY_BUDGET] = "the retry budget is spent",
    };

    return why < ARRAY_LEN(texts) && texts[why] ? texts[why] : "";
}

bool retry_is_quota(const struct verdict *v)
{
    return (v->outcome == OUTCOME_HTTP || v->outcome == OUTCOME_STREAM_ERROR) &&
           is_among(v, quotas, ARRAY_LEN(quotas));
}

static bool status_is_worth_it(int status)
{
    return status == 408 || status == 409 || status == 429 || status >= 500;
}

/* By its code, whatever else the answer says. */
static bool is_final(const struct verdict *v)
{
    return is_among(v, quotas, ARRAY_LEN(quotas)) || is_among(v, mistakes, ARRAY_LEN(mistakes));
}

static enum retry_why http_is_worth_it(const struct verdict *v)
{
    if (is_final(v))
        return RETRY_POINTLESS;
    if (str_eq(v->should_retry, "false"))
        return RETRY_REFUSED;
    if (!status_is_worth_it(v->status) && !str_eq(v->should_retry, "true"))
        return RETRY_POINTLESS;
    return is_word(v, "slow_down") ? RETRY_SLOWER : RETRY_BACKOFF;
}

static enum retry_why is_worth_it(const struct verdict *v)
{
    switch (v->outcome) {
    case OUTCOME_HTTP:
        return http_is_worth_it(v);
    case OUTCOME_STREAM_ERROR:
        return is_final(v) ? RETRY_POINTLESS : RETRY_BACKOFF;
    case OUTCOME_TIMEOUT:
    case OUTCOME_CONNECT_TIMEOUT:
    case OUTCOME_FIRST_BYTE:
    case OUTCOME_STALL:
    case OUTCOME_CONNECT:
    case OUTCOME_CUT:
    case OUTCOME_GARBAGE:
        return RETRY_BACKOFF;
    case OUTCOME_OK:
    case OUTCOME_TLS:
    case OUTCOME_NO_ANSWER:
    case OUTCOME_TOO_LARGE:
    case OUTCOME_CANCELLED:
        break;
    }
    return RETRY_POINTLESS;
}

bool retry_elsewhere(const struct verdict *v)
{
    if (v->outcome != OUTCOME_HTTP)
        return is_worth_it(v) == RETRY_BACKOFF || v->outcome == OUTCOME_TLS || retry_is_quota(v);
    return retry_is_quota(v) || status_is_worth_it(v->status) || v->status == 401 || v->status == 403 ||
           v->status == 404 || (v->status >= 300 && v->status < 400);
}

bool retry_is_mute(const struct verdict *v)
{
    switch (v->outcome) {
    case OUTCOME_TIMEOUT:
    case OUTCOME_CONNECT_TIMEOUT:
    case OUTCOME_FIRST_BYTE:
    case OUTCOME_STALL:
    case OUTCOME_CONNECT:
        return true;
    default:
        return false;
    }
}

enum fault retry_fault(const struct verdict *v, int64_t took_ms)
{
    switch (v->outcome) {
    case OUTCOME_OK:
    case OUTCOME_NO_ANSWER:
    case OUTCOME_TOO_LARGE:
        return FAULT_NONE;
    case OUTCOME_HTTP:
        return v->status >= 500 ||
                       (v->status == 429 && (is_word(v, "slow_down") || is_word(v, "server_is_overloaded")))
                   ? FAULT_UPSTREAM
                   : FAULT_OTHER;
    case OUTCOME_TIMEOUT:
        return took_ms < RETRY_FAIR_MS ? FAULT_OTHER : FAULT_UPSTREAM;
    case OUTCOME_CANCELLED:
        return FAULT_OTHER;
    default:
        return FAULT_UPSTREAM;
    }
}

bool retry_is_overload(const struct verdict *v)
{
    if (v->outcome == OUTCOME_HTTP)
        return (v->status == 429 && !retry_is_quota(v)) || v->status == 503 || v->status == 529;
    return v->outcome == OUTCOME_FIRST_BYTE;
}

/* Uniform in [0, top]. */
static int64_t chance(int64_t top, uint32_t random)
{
    return (int64_t)((uint64_t)top * random / UINT32_MAX);
}

static int64_t slower(unsigned attempt, uint32_t random)
{
    int64_t top = backoff_cap(attempt, RETRY_SLOW_BASE_MS, RETRY_SLOW_CAP_MS);

    return top / 2 + chance(top - top / 2, random);
}

/* What the provider says, and a little more if there is time for it. */
static int64_t as_told(int64_t after, int64_t left, uint32_t random)
{
    int64_t more = after / 10 < RETRY_SPREAD_MS ? after / 10 : RETRY_SPREAD_MS;
    int64_t wait = after + chance(more, random);

    return wait < left ? wait : after;
}

static struct retry no(enum retry_why why)
{
    return (struct retry){.why = why};
}

struct retry retry_decide(const struct verdict *v, const struct retry_limits *limits, unsigned tries,
                          int64_t now, int64_t deadline, int64_t wall_us, uint32_t random)
{
    struct retry r = {.again = true, .why = is_worth_it(v)};
    int64_t after = -1;

    if (r.why != RETRY_BACKOFF && r.why != RETRY_SLOWER)
        return no(r.why);
    if (v->outcome == OUTCOME_HTTP)
        after = delay_retry_after(v->retry_after_ms, v->retry_after, v->date, wall_us);
    if (after > limits->retry_after_ms)
        return no(RETRY_TOO_LATE);
    if (tries >= limits->tries)
        return no(RETRY_TRIES);
    if (after > 0) {
        r.why = RETRY_AS_TOLD;
        r.wait_ms = as_told(after, deadline - now, random);
    } else if (r.why == RETRY_SLOWER) {
        r.wait_ms = slower(tries - 1, random);
    } else {
        r.wait_ms = backoff_full_jitter(tries - 1, RETRY_BASE_MS, RETRY_CAP_MS, random);
    }
    return now + r.wait_ms < deadline ? r : no(RETRY_DEADLINE);
}

static const char *http_word(const struct verdict *v)
{
    if (retry_is_quota(v))
        return "quota_exhausted";
    switch (v->status) {
    case 401:
    case 403:
        return "not_authorized";
    case 408:
        return "timeout";
    case 429:
        return "rate_limited";
    default:
        return v->status >= 500   ? "upstream_error"
               : v->status >= 400 ? "bad_request"
               : v->status >= 300 ? "redirected"
                                  : "bad_answer";
    }
}

const char *retry_error_word(const struct verdict *v)
{
    switch (v->outcome) {
    case OUTCOME_HTTP:
        return http_word(v);
    case OUTCOME_CONNECT_TIMEOUT:
    case OUTCOME_FIRST_BYTE:
    case OUTCOME_STALL:
        return "timeout";
    case OUTCOME_STREAM_ERROR:
        return retry_is_quota(v) ? "quota_exhausted" : "upstream_error";
    case OUTCOME_GARBAGE:
    case OUTCOME_NO_ANSWER:
    case OUTCOME_TOO_LARGE:
        return "bad_answer";
    default:
        return words[v->outcome];
    }
}
