/*
 * retry.h - what one call to the provider came to, and whether another one is worth it
 *
 * Purpose  408, 409, 429, 5xx, connection errors and broken answers are worth another try; an exhausted
 *          quota, a bad key and a bad request are not.
 * Threads  pure.
 * Units    milliseconds.
 */
#ifndef ATALAYA_LLM_WORKER_RETRY_H
#define ATALAYA_LLM_WORKER_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#define RETRY_BASE_MS 300
#define RETRY_CAP_MS  3000

enum outcome {
    OUTCOME_OK,
    OUTCOME_HTTP, /* an answer with an error status */
    OUTCOME_TIMEOUT,
    OUTCOME_CONNECT,   /* no connection: refused, DNS, TLS */
    OUTCOME_CUT,       /* the connection ended in the middle */
    OUTCOME_GARBAGE,   /* 200 with something that is no JSON */
    OUTCOME_NO_ANSWER, /* 200 with JSON that holds no answer: the provider means it */
    OUTCOME_TOO_LARGE, /* more than ANSWER_MAX */
    OUTCOME_CANCELLED,
};

const char *outcome_word(enum outcome o); /* "ok", "http", … as in metrics */

/* code: the error code of the body, may be empty. */
bool retry_is_worth_it(enum outcome o, int status, const char *code);

/* The word for the client and the record when no further try is made: "rate_limited", "timeout", … */
const char *retry_error_word(enum outcome o, int status, const char *code);

/* Wait before try number `attempt` + 1 (attempt counts from 0), or -1 when it would end at or after the
 * deadline. */
int64_t retry_wait(unsigned attempt, int64_t now, int64_t deadline, uint32_t random);

#endif
