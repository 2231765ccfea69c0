/*
 * retry.h - what one call to the provider came to, and whether another one is worth it
 *
 * Purpose  408, 409, 429, 5xx, connection errors and broken answers are worth another try; an exhausted quota, a bad key
 *          and a bad request are not. In this order:
 *            1. errors that say "never" by their code, whatever else the answer says: they cost money or are ours
 *            2. x-should-retry
 *            3. the status
 *            4. retry-after-ms, retry-after: no earlier; and not at all when that is later than we care to wait
 *            5. tries, deadline
 *          Whether the upstream can bear another call (budget.h) is for the caller to ask last.
 * Threads  pure; time and chance come from the caller.
 * Units    milliseconds.
 */
#ifndef ATALAYA_LLM_WORKER_RETRY_H
#define ATALAYA_LLM_WORKER_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/str.h"
#include "llm-worker/breaker.h"

#define RETRY_BASE_MS      300
#define RETRY_CAP_MS       3000
#define RETRY_SLOW_BASE_MS 2000 /* after 429 slow_down: at least half of these */
#define RETRY_SLOW_CAP_MS  15000
#define RETRY_FAIR_MS      1000 /* time that a provider must have been given to be blamed for a timeout */
#define RETRY_SPREAD_MS    1000 /* what retry-after says, and up to a tenth or this more: not all come at once */

enum outcome {
    OUTCOME_OK,
    OUTCOME_HTTP,            /* an answer with an error status */
    OUTCOME_TIMEOUT,         /* the call took too long as a whole */
    OUTCOME_CONNECT_TIMEOUT, /* no connection in time */
    OUTCOME_FIRST_BYTE,      /* connected, and then silence */
    OUTCOME_STALL,           /* silence in the middle of the answer */
    OUTCOME_CONNECT,         /* no connection: refused, DNS, no common TLS */
    OUTCOME_TLS,             /* it cannot prove that it is who it should be: no waiting makes that better */
    OUTCOME_CUT,             /* the connection ended in the middle */
    OUTCOME_GARBAGE,         /* 200 with something that is no JSON */
    OUTCOME_STREAM_ERROR,    /* an error in place of the next piece of a stream */
    OUTCOME_NO_ANSWER,       /* 200 with JSON that holds no answer: the provider means it */
    OUTCOME_TOO_LARGE,       /* more than ANSWER_MAX */
    OUTCOME_CANCELLED,
};

const char *outcome_word(enum outcome o); /* "ok", "http", … as in metrics */

/* What an attempt came to. Absent texts are empty. */
struct verdict {
    enum outcome outcome;
    int status;       /* 0: no answer */
    const char *code; /* of the error in the body */
    const char *type;
    const char *trouble;     /* for people; NULL = there is nothing to add */
    struct str should_retry; /* headers */
    struct str retry_after_ms, retry_after, date;
};

enum retry_why {
    RETRY_BACKOFF,   /* again, after a wait by chance */
    RETRY_SLOWER,    /* again, after a longer one: the provider says we grow too fast */
    RETRY_AS_TOLD,   /* again, when the provider says */
    RETRY_POINTLESS, /* no: it would come to the same */
    RETRY_REFUSED,   /* no: x-should-retry: false */
    RETRY_TOO_LATE,  /* no: the provider names a time that is too far away */
    RETRY_DEADLINE,  /* no: the question's time would be over */
    RETRY_TRIES,     /* no: that was the last try */
    RETRY_BEGUN,     /* no: a part of the answer has gone out; said by the caller, like the next two */
    RETRY_BREAKER,   /* no: the upstream is left alone */
    RETRY_BUDGET,    /* no: too much of the traffic is repetition already */
};

const char *
retry_why_text(enum retry_why why); /* why no further try: for the operator; "" when there is one */

struct retry {
    bool again;
    enum retry_why why;
    int64_t wait_ms;
};

struct retry_limits {
    int64_t tries;          /* in all */
    int64_t retry_after_ms; /* longest that is waited for */
};

/* tries: made so far, this one included. */
struct retry retry_decide(const struct verdict *v, const struct retry_limits *limits, unsigned tries,
                          int64_t now, int64_t deadline, int64_t wall_us, uint32_t random);

/* The account is empty or a limit of spending is reached: this upstream answers nobody for a while. */
bool retry_is_quota(const struct verdict *v);

/* Another upstream may do better: this one is in trouble, has no quota, or is configured wrongly. */
bool retry_elsewhere(const struct verdict *v);

/* Whatever is wrong, it answers nobody in time: with another one at hand, it is not worth waiting for. */
bool retry_is_mute(const struct verdict *v);

/* For the breaker: whose fault it is. A call that its question's deadline ended early says nothing. */
enum fault retry_fault(const struct verdict *v, int64_t took_ms);

/* The upstream is asked too much at once. */
bool retry_is_overload(const struct verdict *v);

/* The word for the client and the record when no further try is made: "rate_limited", "timeout", … */
const char *retry_error_word(const struct verdict *v);

#endif
