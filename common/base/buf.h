/*
 * buf.h - growable byte buffer with a maximum given at birth
 *
 * Purpose  every place that collects bytes (bodies, log lines, wire messages) states its bound once.
 * Owner    the struct is the caller's; buf_free() releases the bytes and may be called on a zeroed buf.
 * Threads  one thread per buffer.
 * Errors   an append that would pass max adds nothing and sets `failed`, which sticks until buf_reset():
 *          build the whole thing, then look once.
 * Units    bytes. data is NUL-terminated whenever it is not NULL; the NUL is not counted in len.
 */
#ifndef ATALAYA_BASE_BUF_H
#define ATALAYA_BASE_BUF_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/str.h"

struct buf {
    char *data;
    size_t len;
    size_t cap;
    size_t max;
    bool failed;
};

#define BUF_INIT(limit) ((struct buf){.max = (limit)})

void buf_append(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
char *buf_reserve(struct buf *b,
                  size_t n);               /* n writable bytes at the end, or NULL; then add to len by hand */
void buf_consume(struct buf *b, size_t n); /* drops the first n bytes */
void buf_reset(struct buf *b);             /* empty, memory kept */
void buf_free(struct buf *b);              /* empty, memory gone, max kept */

static inline void buf_putc(struct buf *b, char c)
{
    if (b->len + 1 < b->cap && b->len < b->max && !b->failed) {
        b->data[b->len++] = c;
        b->data[b->len] = '\0';
    } else {
        buf_append(b, &c, 1);
    }
}

static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->data, b->len};
}

#endif
