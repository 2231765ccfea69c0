/*
 * ratelimit.h - so many requests a minute for each key, and a burst
 *
 * Purpose  a token bucket per key as GCRA keeps it: one moment, when the bucket will be full again.
 *          Keys are hashed with a random key, so nobody can choose whose place he takes.
 * Owner    ratelimit_free(). ratelimit_new() gives NULL for per_minute 0: no limit; take and free accept it.
 * Threads  any; a take locks one of 64 parts.
 * Units    now_us as clock_us() gives it; seconds are rounded up.
 * Limits   RATELIMIT_KEYS_MAX: beyond it a new key takes the place of the one that is closest to its full
 *          allowance, which then gets the little that it had used back. A key of any length costs the same
 *          memory.
 * Source   draft-ietf-httpapi-ratelimit-headers-09 (RateLimit, RateLimit-Policy) and -06 (the older three)
 */
#ifndef ATALAYA_GATEWAY_RATELIMIT_H
#define ATALAYA_GATEWAY_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/str.h"

struct ratelimit;

/* A bucket of `limit` requests that fills up in `window_s`. All 0 but `allowed` when there is no limit. */
struct ratelimit_verdict {
    bool allowed;
    int64_t limit;
    int64_t window_s;
    int64_t remaining;     /* requests that would be allowed right now */
    int64_t reset_s;       /* until the bucket is full */
    int64_t retry_after_s; /* 0 when allowed; else waiting so long is enough, unless others use the key */
};

/* burst 0: as many as a minute gives. per_minute up to 60 million. */
struct ratelimit *ratelimit_new(int64_t per_minute, int64_t burst);
void ratelimit_free(struct ratelimit *r);

struct ratelimit_verdict ratelimit_take(struct ratelimit *r, struct str key, int64_t now_us);

/* Complete lines; nothing when v has no limit. Of several verdicts on one request give the one that refused,
 * else the one with the least remaining: the older three headers know one policy only. */
void ratelimit_headers(struct buf *out, const char *policy_name, const struct ratelimit_verdict *v);

#endif
