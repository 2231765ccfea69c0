/*
 * cache.h - answers that were given lately, by exactly the same question
 *
 * Purpose  off unless GATEWAY_CACHE_BYTES is set. An answer is found again for `age_ms`; when the room is short, the one
 *          that nobody has asked for longest goes first.
 * Owner    cache_put() copies. What cache_get() returns is borrowed until the next call.
 * Threads  the I/O thread.
 * Units    bytes; what an answer takes is its texts and CACHE_OVERHEAD. Milliseconds of clock_ms().
 */
#ifndef ATALAYA_GATEWAY_CACHE_H
#define ATALAYA_GATEWAY_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/wire/job.h"
#include "gateway/same.h"

#define CACHE_OVERHEAD 512

struct cache;

struct cache *cache_new(size_t bytes, int64_t age_ms);
void cache_free(struct cache *c);

/* The answer as the worker gave it, but for what it took: attempts, usage, cost. */
bool cache_get(struct cache *c, const struct same *key, int64_t now, struct job *out);
void cache_put(struct cache *c, const struct same *key, int64_t now, const struct job *done);

size_t cache_bytes(const struct cache *c); /* taken */

#endif
