/*
 * ascii.h - what a byte of a protocol is, whatever the locale
 *
 * Threads  pure.
 * Source   RFC 5234 B.1; RFC 9110 5.6.2 (token)
 */
#ifndef ATALAYA_BASE_ASCII_H
#define ATALAYA_BASE_ASCII_H

#include <stdbool.h>
#include <string.h>

static inline bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool ascii_is_alpha(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static inline int ascii_hex(char c) /* its value, or -1 */
{
    return ascii_is_digit(c) ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

static inline bool ascii_is_token(char c)
{
    return ascii_is_digit(c) || ascii_is_alpha(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

#endif
