/* What was accepted: items in traces, both found by hash, the oldest trace out first. */
#include <stdlib.h>

#include "common/base/mem.h"
#include "tests/fakes/langfuse.h"

#define BUCKETS (1u << 18)

uint64_t store_hash(const void *p, size_t n)
{
    const char *s = p;
    uint64_t h = 0xcbf29ce484222325u ^ n, word;

    for (; n >= 8; n -= 8, s += 8) {
        memcpy(&word, s, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    for (; n; n--, s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h ^ (h >> 29);
}

void store_init(struct store *s)
{
    *s = (struct store){0};
    s->traces = xcalloc(BUCKETS, sizeof *s->traces);
    s->items = xcalloc(BUCKETS, sizeof *s->items);
    s->newest_end = &s->oldest;
    s->scores_end = &s->scores;
}

static struct trace **trace_bucket(const struct store *s, struct str id)
{
    return &s->traces[store_hash(id.p, id.n) % BUCKETS];
}

static struct item **item_bucket(const struct store *s, const struct trace *t, struct str key)
{
    return &s->items[(store_hash(key.p, key.n) ^ (uintptr_t)t) % BUCKETS];
}

static void item_free(struct store *s, struct item *i)
{
    struct item **at = item_bucket(s, i->trace, (struct str){i->key, i->key_n});

    while (*at != i)
        at = &(*at)->hash_next;
    *at = i->hash_next;
    s->bytes -= i->n + i->key_n + sizeof *i;
    free(i->key);
    free(i->bytes);
    free(i);
}

static void drop_oldest_trace(struct store *s)
{
    struct trace *t = s->oldest;
    struct trace **at = trace_bucket(s, (struct str){t->id, t->id_n});

    s->oldest = t->next;
    if (!s->oldest)
        s->newest_end = &s->oldest;
    while (*at != t)
        at = &(*at)->hash_next;
    *at = t->hash_next;
    while (t->items) {
        struct item *i = t->items;
        t->items = i->next;
        item_free(s, i);
    }
    if (t->batch)
        item_free(s, t->batch);
    s->n_items -= t->n_items;
    s->n_traces--;
    s->bytes -= t->id_n + sizeof *t;
    free(t->id);
    free(t->name);
    free(t->user);
    free(t->session);
    free(t);
}

static void drop_oldest_score(struct store *s)
{
    struct item *i = s->scores;

    s->scores = i->next;
    if (!s->scores)
        s->scores_end = &s->scores;
    item_free(s, i);
    s->n_scores--;
}

void store_trim(struct store *s)
{
    while (s->oldest &&
           (s->n_items > FAKE_SPANS_MAX || s->n_traces > FAKE_SPANS_MAX || s->bytes > FAKE_SPANS_BYTES_MAX)) {
        s->evicted_traces++;
        s->evicted_items += s->oldest->n_items;
        drop_oldest_trace(s);
    }
    while (s->scores && (s->n_scores > FAKE_SCORES_MAX || s->bytes > FAKE_SPANS_BYTES_MAX)) {
        s->evicted_scores++;
        drop_oldest_score(s);
    }
}

void store_free(struct store *s)
{
    while (s->oldest)
        drop_oldest_trace(s);
    while (s->scores)
        drop_oldest_score(s);
    free(s->traces);
    free(s->items);
}

struct trace *store_find_trace(const struct store *s, struct str id)
{
    for (struct trace *t = *trace_bucket(s, id); t; t = t->hash_next)
        if (t->id_n == id.n && memcmp(t->id, id.p, id.n) == 0)
            return t;
    return NULL;
}

struct trace *store_trace(struct store *s, struct str id)
{
    struct trace *t = store_find_trace(s, id);

    if (t)
        return t;
    t = xcalloc(1, sizeof *t);
    t->id = xmemdup(id.p, id.n);
    t->id_n = id.n;
    t->items_end = &t->items;
    t->serial = ++s->serial;
    struct trace **bucket = trace_bucket(s, id);
    t->hash_next = *bucket;
    *bucket = t;
    *s->newest_end = t;
    s->newest_end = &t->next;
    s->n_traces++;
    s->bytes += id.n + sizeof *t;
    return t;
}

static struct item *find_or_make(struct store *s, struct trace *t, struct str key, bool *made)
{
    struct item **bucket = item_bucket(s, t, key);

    *made = false;
    for (struct item *i = *bucket; i; i = i->hash_next)
        if (i->trace == t && i->key_n == key.n && memcmp(i->key, key.p, key.n) == 0)
            return i;
    struct item *i = xcalloc(1, sizeof *i);
    i->trace = t;
    i->key = xmemdup(key.p, key.n);
    i->key_n = key.n;
    i->serial = ++s->serial;
    i->hash_next = *bucket;
    *bucket = i;
    s->bytes += key.n + sizeof *i;
    *made = true;
    return i;
}

struct item *store_item(struct store *s, struct trace *t, struct str key)
{
    bool made;
    struct item *i = find_or_make(s, t, key, &made);

    if (made) {
        *t->items_end = i;
        t->items_end = &i->next;
        t->n_items++;
        s->n_items++;
    }
    return i;
}

struct item *store_trace_body(struct store *s, struct trace *t)
{
    bool made;

    if (!t->batch)
        t->batch = find_or_make(s, t, (struct str){"", 1}, &made);
    return t->batch;
}

struct item *store_score(struct store *s, struct str key)
{
    bool made;
    struct item *i = find_or_make(s, NULL, key, &made);

    if (made) {
        *s->scores_end = i;
        s->scores_end = &i->next;
        s->n_scores++;
    }
    return i;
}

void store_set(struct store *s, struct item *i, const void *bytes, size_t n, uint64_t hash)
{
    s->bytes += n - i->n;
    free(i->bytes);
    i->bytes = xmemdup(bytes, n);
    i->n = n;
    i->hash = hash;
}
