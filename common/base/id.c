#include "common/base/id.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define POOL 1024

static _Thread_local struct {
    unsigned char bytes[POOL];
    size_t left;
    pid_t pid; /* a forked child must not repeat its parent's ids */
} pool;

void id_random(void *out, size_t n)
{
    unsigned char *p = out;

    while (n > 0) {
        if (pool.left == 0 || pool.pid != getpid()) {
            if (getrandom(pool.bytes, POOL, 0) != POOL)
                abort();
            pool.left = POOL;
            pool.pid = getpid();
        }
        size_t take = n < pool.left ? n : pool.left;
        memcpy(p, pool.bytes + POOL - pool.left, take);
        pool.left -= take;
        p += take;
        n -= take;
    }
}

uint64_t id_u64(void)
{
    uint64_t v;

    do
        id_random(&v, sizeof v);
    while (v == 0);
    return v;
}

uint32_t id_u32(void)
{
    uint32_t v;

    id_random(&v, sizeof v);
    return v;
}

static void hex(char *out, const unsigned char *p, size_t n)
{
    static const char digit[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        *out++ = digit[p[i] >> 4];
        *out++ = digit[p[i] & 15];
    }
    *out = '\0';
}

void id_trace(char out[ID_TRACE_SIZE])
{
    uint64_t v[2] = {id_u64(), id_u64()};

    hex(out, (const unsigned char *)v, 16);
}

void id_span(char out[ID_SPAN_SIZE])
{
    uint64_t v = id_u64();

    hex(out, (const unsigned char *)&v, 8);
}

void id_uuid(char out[ID_UUID_SIZE])
{
    unsigned char v[16];
    char h[33];

    id_random(v, sizeof v);
    v[6] = (unsigned char)((v[6] & 0x0f) | 0x40);
    v[8] = (unsigned char)((v[8] & 0x3f) | 0x80);
    hex(h, v, 16);
    static const unsigned char group[] = {8, 4, 4, 4, 12};
    const char *from = h;
    for (size_t i = 0; i < sizeof group; i++) {
        memcpy(out, from, group[i]);
        out += group[i];
        from += group[i];
        *out++ = '-';
    }
    out[-1] = '\0';
}
