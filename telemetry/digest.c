#include "telemetry/digest.h"

#include <stdlib.h>

#include <sodium.h>

#include "common/base/mem.h"

_Static_assert(DIGEST_SIZE == crypto_auth_hmacsha256_BYTES, "sodium's size");

void digest_init(void)
{
    if (sodium_init() < 0)
        abort();
}

void digest_hmac_sha256(uint8_t out[DIGEST_SIZE], struct str key, struct str text)
{
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, (const unsigned char *)key.p, key.n);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)text.p, text.n);
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(&state, sizeof state);
}

char *digest_base64(struct str bytes)
{
    size_t size = sodium_base64_encoded_len(bytes.n, sodium_base64_VARIANT_ORIGINAL);

    return sodium_bin2base64(xmalloc(size), size, (const unsigned char *)bytes.p, bytes.n,
                             sodium_base64_VARIANT_ORIGINAL);
}
