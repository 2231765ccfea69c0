/*
 * text.h - makes bytes of peers fit for JSON, protobuf and SQLite
 *
 * Threads  pure.
 */
#ifndef ATALAYA_TELEMETRY_TEXT_H
#define ATALAYA_TELEMETRY_TEXT_H

#include <stdbool.h>

#include "common/base/buf.h"

bool text_is_clean(struct str s);               /* valid UTF-8 without NUL */
void text_clean(struct buf *out, struct str s); /* appends s without NULs, U+FFFD for bad bytes: <= 3 * s.n */
bool text_is_hex(struct str s, size_t digits);  /* exactly so many lower-case hex digits, not all zero */

#endif
