/*
 * digest.h - a keyed hash, and base64
 *
 * Purpose  the only file of telemetry that includes sodium.h.
 * Threads  any, after digest_init().
 * Errors   none: digest_init() ends the process when the library cannot start.
 */
#ifndef ATALAYA_TELEMETRY_DIGEST_H
#define ATALAYA_TELEMETRY_DIGEST_H

#include <stdint.h>

#include "common/base/str.h"

#define DIGEST_SIZE 32

void digest_init(void);
void digest_hmac_sha256(uint8_t out[DIGEST_SIZE], struct str key, struct str text);

char *digest_base64(struct str bytes); /* the caller's to free */

#endif
