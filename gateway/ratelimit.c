#include "gateway/ratelimit.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/base/id.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "gateway/digest.h"

#define SHARDS 64
#define WAYS   8 /* keys that share a place: two cache lines */
#define SETS   (RATELIMIT_KEYS_MAX / WAYS)

#define MINUTE_NS 60000000000
#define SECOND_NS 1000000000

_Static_assert((SETS & (SETS - 1)) == 0 && SETS % SHARDS == 0, "places are found by masks");

struct entry {
    uint64_t key;
    int64_t full_ns; /* when the bucket is full again; not later than now: it is */
};

struct ratelimit {
    int64_t each_ns; /* a request comes back after this */
    int64_t whole_ns;
    int64_t limit;
    uint8_t secret[DIGEST_SIPHASH_SIZE];
    pthread_mutex_t lock[SHARDS]; /* shard i: the sets whose number ends in i */
    struct entry set[SETS][WAYS];
};

struct ratelimit *ratelimit_new(int64_t per_minute, int64_t burst)
{
    if (per_minute <= 0)
        return NULL;
    assert(per_minute <= 60000000 && burst <= 60000000);

    struct ratelimit *r = xcalloc(1, sizeof *r);
    digest_init();
    r->each_ns = MINUTE_NS / per_minute;
    r->limit = burst > 0 ? burst : per_minute;
    r->whole_ns = r->limit * r->each_ns;
    id_random(r->secret, sizeof r->secret);
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&r->lock[i], NULL);
    return r;
}

void ratelimit_free(struct ratelimit *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&r->lock[i]);
    free(r);
}

/* The key's entry, or that of the fullest bucket, which is lost. */
static struct entry *place(struct entry *set, uint64_t key)
{
    struct entry *fullest = &set[0];

    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].full_ns < fullest->full_ns)
            fullest = &set[i];
    }
    *fullest = (struct entry){.key = key};
    return fullest;
}

static int64_t seconds(int64_t ns)
{
    return (ns + SECOND_NS - 1) / SECOND_NS;
}

struct ratelimit_verdict ratelimit_take(struct ratelimit *r, struct str key, int64_t now_us)
{
    if (!r)
        return (struct ratelimit_verdict){.allowed = true};

    uint64_t h = digest_siphash(key.p, key.n, r->secret);
    size_t set = h & (SETS - 1);
    pthread_mutex_t *lock = &r->lock[set % SHARDS];
    int64_t now_ns = now_us * 1000;

    pthread_mutex_lock(lock);
    struct entry *e = place(r->set[set], h);
    int64_t missing_ns = e->full_ns > now_ns ? e->full_ns - now_ns : 0;
    int64_t excess_ns = missing_ns + r->each_ns - r->whole_ns;
    bool allowed = excess_ns <= 0;
    if (allowed) {
        missing_ns += r->each_ns;
        e->full_ns = now_ns + missing_ns;
    }
    pthread_mutex_unlock(lock);

    return (struct ratelimit_verdict){
        .allowed = allowed,
        .limit = r->limit,
        .window_s = seconds(r->whole_ns),
        .remaining = allowed ? (r->whole_ns - missing_ns) / r->each_ns : 0,
        .reset_s = seconds(missing_ns),
        .retry_after_s = allowed ? 0 : seconds(excess_ns),
    };
}

void ratelimit_headers(struct buf *out, const char *policy_name, const struct ratelimit_verdict *v)
{
    long long limit = v->limit, remaining = v->remaining, reset = v->reset_s;

    if (limit == 0)
        return;
    buf_printf(out, "RateLimit-Policy: \"%s\";q=%lld;w=%lld\r\n", policy_name, limit, (long long)v->window_s);
    buf_printf(out, "RateLimit: \"%s\";r=%lld;t=%lld\r\n", policy_name, remaining, reset);
    buf_printf(out, "RateLimit-Limit: %lld\r\nRateLimit-Remaining: %lld\r\nRateLimit-Reset: %lld\r\n", limit,
               remaining, reset);
}
