/*
 * visible.h - a stranger's text, written so that it stays one line and looks like what it is
 *
 * Purpose  control characters (C0, DEL, C1), line and paragraph separators and the marks that turn the direction of
 *          writing become escapes: \n \r \t \u001b. Bytes that are no UTF-8 become U+FFFD. With `also` = "\"\\"
 *          and quotes around, the result is a JSON string that reads back as the text.
 * Threads  pure.
 * Errors   the buf's `failed`.
 */
#ifndef ATALAYA_BASE_VISIBLE_H
#define ATALAYA_BASE_VISIBLE_H

#include "common/base/buf.h"

#define VISIBLE_IN_QUOTES "\"\\"

/* also: ASCII characters that get a backslash; "" for none. */
void visible_put(struct buf *b, const char *s, size_t n, const char *also);

#endif
