#include "gateway/correlation.h"

#include <stdio.h>
#include <string.h>

#include "common/base/ascii.h"
#include "common/base/limits.h"

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool request_id_is_sane(const char *s)
{
    static const char fine[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._:/+=@-";

    if (!s)
        return false;
    size_t n = strspn(s, fine);
    return n >= 1 && n <= REQUEST_ID_MAX && s[n] == '\0';
}

/* n digits, not all zero, then a dash or the end. */
static bool take_id(const char **p, char *out, size_t n)
{
    size_t zeros = strspn(*p, "0");

    for (size_t i = 0; i < n; i++)
        if (!is_hex((*p)[i]))
            return false;
    if (zeros >= n || (*p)[n] != '-')
        return false;
    memcpy(out, *p, n);
    out[n] = '\0';
    *p += n + 1;
    return true;
}

/* Two digits, or -1. */
static int hex_byte(const char *p)
{
    return is_hex(p[0]) && is_hex(p[1]) ? ascii_hex(p[0]) * 16 + ascii_hex(p[1]) : -1;
}

bool traceparent_parse(const char *header, struct traceparent *out)
{
    if (!header)
        return false;
    int version = hex_byte(header);
    if (version < 0 || version == 0xff || header[2] != '-')
        return false;

    const char *p = header + 3;
    if (!take_id(&p, out->trace_id, ID_TRACE_SIZE - 1) || !take_id(&p, out->parent_id, ID_SPAN_SIZE - 1))
        return false;
    int flags = hex_byte(p);
    /* A later version may go on behind a dash. */
    if (flags < 0 || (p[2] != '\0' && (version == 0 || p[2] != '-')))
        return false;
    out->flags = (uint8_t)(flags & (TRACE_SAMPLED | TRACE_RANDOM));
    return true;
}

void traceparent_write(char out[TRACEPARENT_SIZE], const char *trace_id, const char *span_id, uint8_t flags)
{
    snprintf(out, TRACEPARENT_SIZE, "00-%.32s-%.16s-%02x", trace_id, span_id, flags);
}

static void entry(struct buf *out, const char **before, const char *name, int64_t us)
{
    char number[32];

    if (us < 0)
        return;
    int n = snprintf(number, sizeof number, "%lld.%03d", (long long)(us / 1000), (int)(us % 1000));
    while (number[n - 1] == '0')
        n--;
    if (number[n - 1] == '.')
        n--;
    buf_printf(out, "%s%s;dur=%.*s", *before, name, n, number);
    *before = ", ";
}

void server_timing_write(struct buf *out, const struct timing *t)
{
    const char *before = "Server-Timing: ";
    size_t start = out->len;

    entry(out, &before, "queue", t->queue_us);
    entry(out, &before, "worker", t->worker_us);
    entry(out, &before, "upstream", t->upstream_us);
    entry(out, &before, "total", t->total_us);
    if (out->len > start)
        buf_puts(out, "\r\n");
}
