#include "gateway/cache.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define BUCKETS 16384 /* for the 500,000 answers that GATEWAY_CACHE_BYTES may hold: 32 each */

struct entry {
    struct entry *chain;         /* in its bucket */
    struct entry *newer, *older; /* by when it was asked for */
    struct same key;
    int64_t until_ms;
    size_t bytes;
    struct job done; /* its strings stand behind it */
};

_Static_assert(sizeof(struct entry) + 2 * sizeof(size_t) <= CACHE_OVERHEAD, "what an answer takes");

struct cache {
    size_t room, bytes;
    int64_t age_ms;
    struct entry *newest, *oldest;
    struct entry *buckets[BUCKETS];
};

static struct entry **bucket(struct cache *c, const struct same *key)
{
    return &c->buckets[same_hash(key) % BUCKETS];
}

static void unlink_age(struct cache *c, struct entry *e)
{
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void link_newest(struct cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(e->older ? &e->older->newer : &c->oldest) = e;
    c->newest = e;
}

static void drop(struct cache *c, struct entry *e)
{
    struct entry **at = bucket(c, &e->key);

    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    unlink_age(c, e);
    c->bytes -= e->bytes;
    free(e);
}

static struct entry *find(struct cache *c, const struct same *key)
{
    struct entry *e = *bucket(c, key);

    while (e && !same_equal(&e->key, key))
        e = e->chain;
    return e;
}

bool cache_get(struct cache *c, const struct same *key, int64_t now, struct job *out)
{
    struct entry *e = find(c, key);

    if (e && now >= e->until_ms) {
        drop(c, e);
        e = NULL;
    }
    if (!e)
        return false;
    unlink_age(c, e);
    link_newest(c, e);
    *out = e->done;
    return true;
}

/* A copy that stands at *at, which moves on. */
static struct str keep(char **at, struct str s)
{
    struct str copy = {*at, s.n};

    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

void cache_put(struct cache *c, const struct same *key, int64_t now, const struct job *done)
{
    size_t texts = done->answer.n + done->body.n + done->model.n;
    struct entry *e = find(c, key);

    if (e)
        drop(c, e);
    if (texts + CACHE_OVERHEAD > c->room)
        return;
    while (c->bytes + texts + CACHE_OVERHEAD > c->room)
        drop(c, c->oldest);
    e = xmalloc(sizeof *e + texts);
    char *at = (char *)(e + 1);
    *e = (struct entry){
        .key = *key,
        .until_ms = now + c->age_ms,
        .bytes = texts + CACHE_OVERHEAD,
        .chain = *bucket(c, key),
    };
    e->done = (struct job){
        .kind = JOB_DONE,
        .status = done->status,
        .answer = keep(&at, done->answer),
        .body = keep(&at, done->body),
        .model = keep(&at, done->model),
        .truncated = done->truncated,
        .non_empty_answer = done->non_empty_answer,
        .toxicity_safe = done->toxicity_safe,
    };
    *bucket(c, key) = e;
    link_newest(c, e);
    c->bytes += e->bytes;
}

size_t cache_bytes(const struct cache *c)
{
    return c->bytes;
}

struct cache *cache_new(size_t bytes, int64_t age_ms)
{
    struct cache *c = xcalloc(1, sizeof *c);

    c->room = bytes;
    c->age_ms = age_ms;
    return c;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    while (c->newest)
        drop(c, c->newest);
    free(c);
}
