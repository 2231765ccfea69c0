/*
 * digest.h - hashes and the comparison that tells nothing by its duration
 *
 * Purpose  the only file of the gateway that includes sodium.h.
 * Threads  any, after digest_init(), which may be called more than once.
 * Errors   none: digest_init() ends the process when the library cannot start.
 */
#ifndef ATALAYA_GATEWAY_DIGEST_H
#define ATALAYA_GATEWAY_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_SHA256_SIZE  32
#define DIGEST_KEY_SIZE     32
#define DIGEST_SIPHASH_SIZE 16 /* of its key */

void digest_init(void);
void digest_sha256(uint8_t out[DIGEST_SHA256_SIZE], const void *p, size_t n);
/* The first 8 bytes of BLAKE2b-128; key: DIGEST_KEY_SIZE bytes, or NULL. */
void digest_blake2b_64(uint8_t out[8], const void *p, size_t n, const uint8_t *key);
/* A key from a text of any length: its BLAKE2b-256. */
void digest_key(uint8_t key[DIGEST_KEY_SIZE], const char *text, size_t n);
/* SipHash-2-4, which a peer who does not know the key cannot steer. */
uint64_t digest_siphash(const void *p, size_t n, const uint8_t key[DIGEST_SIPHASH_SIZE]);
bool digest_equal(const uint8_t a[DIGEST_SHA256_SIZE], const uint8_t b[DIGEST_SHA256_SIZE]);

#endif
