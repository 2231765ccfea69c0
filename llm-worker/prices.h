/*
 * prices.h - what an answer cost
 *
 * Purpose  a table in a file, one line a price:
 *
 *              MODEL  INPUT  CACHED  OUTPUT  FROM
 *
 *          with blanks between, prices in USD for a million tokens, FROM as YYYY-MM-DD (UTC). MODEL is the name that
 *          the provider answers with, or its beginning and a *. CACHED is the price of input that the provider had
 *          in its cache; - when it has none of its own and costs as much as other input. # begins a comment.
 *
 *          A name counts before a beginning, a longer beginning before a shorter one, and of several lines for the
 *          same the newest whose day has come.
 * Promise  no number rather than a wrong one. Prices have six decimals at most, so a cost is computed in whole
 *          pico-dollars and rounded once, to a double.
 * Threads  pure; struct prices does not change.
 * Units    days since 1970-01-01, UTC; dollars.
 * Limits   PRICE…_MAX
 */
#ifndef ATALAYA_LLM_WORKER_PRICES_H
#define ATALAYA_LLM_WORKER_PRICES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/wire/job.h"

struct prices;

/* path: "" = nothing has a price, *out is NULL. 0 or -EINVAL, having said which line is wrong. */
int prices_new(struct prices **out, const char *path) NODISCARD;
void prices_free(struct prices *p);

int64_t prices_today(void);

/* False: nobody knows. The model has no price, there is no usage, or its numbers contradict each other: more cached
 * than input, more reasoning than output, a total that is something else than the sum. p may be NULL. */
bool prices_cost(const struct prices *p, int64_t today, const struct job *result, double *usd) NODISCARD;

#endif
