#include "gateway/digest.h"

#include <stdlib.h>

#include <sodium.h>

_Static_assert(DIGEST_SHA256_SIZE == crypto_hash_sha256_BYTES, "sodium's size");
_Static_assert(DIGEST_SIPHASH_SIZE == crypto_shorthash_siphash24_KEYBYTES, "sodium's size");

void digest_init(void)
{
    if (sodium_init() < 0)
        abort();
}

void digest_sha256(uint8_t out[DIGEST_SHA256_SIZE], const void *p, size_t n)
{
    crypto_hash_sha256(out, p, n);
}

/* crypto_generichash() makes no less than 16 bytes. The first half of those is as good. */
void digest_blake2b_64(uint8_t out[8], const void *p, size_t n, const uint8_t *key)
{
    uint8_t whole[crypto_generichash_BYTES_MIN];

    crypto_generichash(whole, sizeof whole, p, n, key, key ? DIGEST_KEY_SIZE : 0);
    for (size_t i = 0; i < 8; i++)
        out[i] = whole[i];
}

void digest_key(uint8_t key[DIGEST_KEY_SIZE], const char *text, size_t n)
{
    crypto_generichash(key, DIGEST_KEY_SIZE, (const uint8_t *)text, n, NULL, 0);
}

uint64_t digest_siphash(const void *p, size_t n, const uint8_t key[DIGEST_SIPHASH_SIZE])
{
    union {
        uint8_t bytes[crypto_shorthash_siphash24_BYTES];
        uint64_t number;
    } out;

    crypto_shorthash_siphash24(out.bytes, p, n, key);
    return out.number;
}

bool digest_equal(const uint8_t a[DIGEST_SHA256_SIZE], const uint8_t b[DIGEST_SHA256_SIZE])
{
    return sodium_memcmp(a, b, DIGEST_SHA256_SIZE) == 0;
}
