/*
 * userhash.h - what the log shows of a user id
 *
 * Purpose  LOG_USER_ID: hashed (16 hex digits of BLAKE2b, the same for the same user, keyed with
 *          LOG_USER_ID_KEY when it is set: without a key whoever can guess an id can look for it), plain
 *          (the first 64 bytes, whole characters) or none.
 * Owner    the struct is the caller's and holds no pointer.
 * Threads  userhash_write(): any.
 */
#ifndef ATALAYA_GATEWAY_USERHASH_H
#define ATALAYA_GATEWAY_USERHASH_H

#include <stdbool.h>

#include "common/base/attr.h"
#include "common/base/str.h"
#include "gateway/digest.h"

#define USERHASH_SIZE 65

/* In the order of LOG_USER_ID's words. */
enum userhash_mode { USERHASH_HASHED, USERHASH_PLAIN, USERHASH_NONE };

struct userhash {
    enum userhash_mode mode;
    bool keyed;
    uint8_t key[DIGEST_KEY_SIZE];
};

/* key: NULL or "" = none. */
void userhash_init(struct userhash *h, enum userhash_mode mode, const char *key);

/* Empty for USERHASH_NONE and for an empty id: log_event() leaves such a field out. */
void userhash_write(const struct userhash *h, struct str user_id, char out[USERHASH_SIZE]);

#endif
