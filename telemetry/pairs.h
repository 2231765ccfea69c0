/*
 * pairs.h - lists like "key=value,key2=value2" of OpenTelemetry's variables
 *
 * Purpose  OTEL_RESOURCE_ATTRIBUTES and OTEL_EXPORTER_OTLP_HEADERS: blanks around keys and values do not count, %XX in
 *          a value (of resource attributes in a key too) is the byte it names.
 * Errors   -EINVAL: an item without = or key, a % without two hex digits, a control character, more than the caller
 *          has room for.
 * Threads  pure.
 * Source   https://opentelemetry.io/docs/specs/otel/resource/sdk/, W3C Baggage
 */
#ifndef ATALAYA_TELEMETRY_PAIRS_H
#define ATALAYA_TELEMETRY_PAIRS_H

#include <stddef.h>

#include "common/base/attr.h"

struct pair {
    const char *key, *value;
};

/* Writes into `text`, where the pairs then point. */
int pairs_read(char *text, struct pair *out, size_t max, size_t *n) NODISCARD;

#endif
