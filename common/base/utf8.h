/*
 * utf8.h - decoding UTF-8 strictly (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF)
 *
 * Threads  pure.
 * Units    n and returned lengths in bytes, counts in code points.
 */
#ifndef ATALAYA_BASE_UTF8_H
#define ATALAYA_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int utf8_next(const char *s, size_t n, uint32_t *cp); /* bytes taken, or -1 (also for n == 0) */
bool utf8_is_cut(const char *s, size_t n);    /* s may be the begin of a code point of more than n bytes */
size_t utf8_encode(char out[4], uint32_t cp); /* cp must be a Unicode scalar value */
size_t utf8_valid(const char *s, size_t n);   /* length of what is valid from the beginning */
size_t utf8_count(const char *s, size_t n);   /* code points; a bad byte counts as one */
size_t utf8_clip(const char *s, size_t n, size_t max); /* largest length <= max that cuts no sequence */

/* What Python's str.split() splits on and str.strip() strips: Unicode White_Space plus U+001C..U+001F. */
bool utf8_is_space(uint32_t cp);

#endif
