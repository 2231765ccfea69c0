/*
 * echo.h - a value of a request's body as its error answer repeats it
 *
 * Purpose  Pydantic's "input": what the client sent, printed as Python prints JSON. Floats are the shortest
 *          text that reads back, integers exact; NaN and what overflows a double, which are no JSON, are
 *          null; a lone surrogate, which is no text, is U+FFFD.
 * Threads  pure.
 * Limits   INPUT_ECHO_MAX bytes of JSON. A longer value is replaced by a string: as much of its text as fits
 *          (of a list or an object: of its JSON as written), then U+2026 and " (N bytes)", the whole length
 *          of that text.
 * Source   docs/decisions/0011-echoed-input-is-cut.md
 */
#ifndef ATALAYA_GATEWAY_ECHO_H
#define ATALAYA_GATEWAY_ECHO_H

#include "common/base/buf.h"
#include "common/base/jsonscan.h"

void echo_value(struct buf *out, const struct value *v); /* v comes from jsonscan() */

#endif
