#include "gateway/userhash.h"

#include <string.h>

#include "common/base/utf8.h"

void userhash_init(struct userhash *h, enum userhash_mode mode, const char *key)
{
    *h = (struct userhash){.mode = mode};
    digest_init();
    if (key && *key) {
        h->keyed = true;
        digest_key(h->key, key, strlen(key));
    }
}

static void write_hash(const struct userhash *h, struct str id, char out[USERHASH_SIZE])
{
    static const char digit[] = "0123456789abcdef";
    uint8_t hash[8];

    digest_blake2b_64(hash, id.p, id.n, h->keyed ? h->key : NULL);
    for (size_t i = 0; i < sizeof hash; i++) {
        *out++ = digit[hash[i] >> 4];
        *out++ = digit[hash[i] & 15];
    }
    *out = '\0';
}

void userhash_write(const struct userhash *h, struct str user_id, char out[USERHASH_SIZE])
{
    out[0] = '\0';
    if (user_id.n == 0 || h->mode == USERHASH_NONE)
        return;
    if (h->mode == USERHASH_HASHED) {
        write_hash(h, user_id, out);
        return;
    }
    size_t n = utf8_clip(user_id.p, user_id.n, USERHASH_SIZE - 1);
    memcpy(out, user_id.p, n);
    out[n] = '\0';
}
