/*
 * pacing.h - slowing down before the provider has to say 429
 *
 * Purpose  x-ratelimit-limit/-remaining/-reset-requests and -tokens tell how much is left and when it is full again; in
 *          between it fills up steadily. A call whose share of it is used up waits until it has grown back. Headers that
 *          are absent, make no sense, or name a time beyond UPSTREAM_WAITING_MAX_MS pace nothing.
 * Threads  pure; time comes from the caller.
 * Units    milliseconds.
 */
#ifndef ATALAYA_LLM_WORKER_PACING_H
#define ATALAYA_LLM_WORKER_PACING_H

#include <stdint.h>

#include "common/base/str.h"

/* One kind of thing that is limited. */
struct quota_headers {
    struct str limit, remaining, reset;
};

struct pacing_kind {
    int64_t limit; /* -1: not known */
    int64_t remaining;
    int64_t at, full_at; /* when that was; when it is full again. What is said holds until then */
};

struct pacing {
    struct pacing_kind requests, tokens;
    double tokens_per_call; /* of late */
};

void pacing_learn(struct pacing *p, const struct quota_headers *requests, const struct quota_headers *tokens,
                  int64_t now);
void pacing_used(struct pacing *p, uint64_t tokens); /* by one call */

/* Until one more call is paid for; ahead: calls under way, which may not be subtracted yet; workers share it all. */
int64_t pacing_wait(const struct pacing *p, int64_t ahead, int64_t workers, int64_t now);

#endif
