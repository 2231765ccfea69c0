/*
 * httpdate.h - the dates of HTTP headers
 *
 * Purpose  reads the three forms that RFC 9110 asks a recipient to understand.
 * Threads  pure.
 * Errors   -1: no such date.
 * Units    milliseconds since 1970.
 * Source   RFC 9110 chapter 5.6.7
 */
#ifndef ATALAYA_BASE_HTTPDATE_H
#define ATALAYA_BASE_HTTPDATE_H

#include <stdint.h>

#include "common/base/str.h"

int64_t httpdate_ms(struct str text); /* white space around it does not matter */

#endif
