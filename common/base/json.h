/*
 * json.h - writing JSON (RFC 8259) into a buf
 *
 * Purpose  answers, log lines and provider requests are written, not built as trees. Reading JSON is
 *          jansson's job.
 * Threads  any, one buf per thread.
 * Errors   the buf's `failed`. Bytes that are no UTF-8 become U+FFFD, so the output always parses.
 */
#ifndef ATALAYA_BASE_JSON_H
#define ATALAYA_BASE_JSON_H

#include <stdint.h>

#include "common/base/buf.h"

#define JSON_GROWTH_MAX 6 /* a byte becomes at most so many: \u001f */

void json_str(struct buf *b, const char *s, size_t n); /* quoted and escaped; non-ASCII kept as UTF-8 */
void json_double(struct buf *b,
                 double v); /* shortest text that reads back; always has . or e; null for NaN, inf */
void json_key(
    struct buf *b,
    const char *key); /* comma where one is due (looks at the last byte), "key":, which needs no escapes */

void json_field_str(struct buf *b, const char *key, struct str v);
void json_field_int(struct buf *b, const char *key, int64_t v);
void json_field_bool(struct buf *b, const char *key, bool v);

#endif
