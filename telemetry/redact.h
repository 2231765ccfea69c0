/*
 * redact.h - takes personal data and secrets out of a text
 *
 * Purpose  what REDACT names is replaced by [email], [card], [phone] or [key], what begins with one of REDACT_PREFIXES
 *          by [redacted]. A shape has to be certain: order numbers, dates, prices and IP addresses stay.
 *          email  local@domain.tld, Latin letters included, however long the first part is
 *          card   13 to 19 digits, also in groups, of a known brand and with a right check digit (Luhn)
 *          phone  +country or 00country; without: groups of digits as they are usual in America and Europe
 *          key    the shapes of well-known API keys and tokens (redact.c has the list)
 * Promise  the time is linear in the text. A valid UTF-8 text stays one, a valid JSON text stays one.
 * Threads  pure.
 * Errors   the buf's `failed`.
 */
#ifndef ATALAYA_TELEMETRY_REDACT_H
#define ATALAYA_TELEMETRY_REDACT_H

#include <stdbool.h>

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/limits.h"

enum { REDACT_EMAIL = 1, REDACT_CARD = 2, REDACT_PHONE = 4, REDACT_KEY = 8 };

struct redact {
    unsigned kinds;
    size_t n_prefixes;
    struct str prefixes[REDACT_PREFIXES_MAX]; /* borrowed */
};

/* "email,card" and "acme_,ACME-": -EINVAL for an unknown kind, an empty or a surplus prefix. Both may be empty. */
int redact_init(struct redact *r, const char *kinds, const char *prefixes) NODISCARD;
bool redact_is_off(const struct redact *r);

void redact_text(const struct redact *r, struct buf *out, struct str text);

/* The same for each string and number in a JSON text (jsonwalk_can()); the rest stays byte for byte. */
void redact_json(const struct redact *r, struct buf *out, struct str json);

#endif
