#include "gateway/userhash.h"

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

static const char *shown(enum userhash_mode mode, const char *key, const char *id)
{
    static char out[USERHASH_SIZE];
    struct userhash h;

    userhash_init(&h, mode, key);
    memset(out, '?', sizeof out);
    userhash_write(&h, str_of(id), out);
    return out;
}

/* The expected values were made with Python's hashlib: blake2b(id, digest_size=16, key=blake2b(secret, digest_size=32)). */
Test(userhash, hashed_is_blake2b)
{
    cr_expect_str_eq(shown(USERHASH_HASHED, NULL, "ana"), "a07ce676b7999dee");
    cr_expect_str_eq(shown(USERHASH_HASHED, "", "ana"), "a07ce676b7999dee");
    cr_expect_str_eq(shown(USERHASH_HASHED, "secret", "ana"), "8b74e913615a0fd9");
    cr_expect_str_eq(shown(USERHASH_HASHED, NULL, "Ana"), "2ce296a58402c8e6");
    cr_expect_str_eq(shown(USERHASH_HASHED, NULL, ""), "");
}

Test(userhash, a_key_of_any_length_matters_to_its_end)
{
    char key[1000];
    char first[USERHASH_SIZE];

    memset(key, 'k', sizeof key);
    key[sizeof key - 1] = '\0';
    snprintf(first, sizeof first, "%s", shown(USERHASH_HASHED, key, "ana"));
    key[sizeof key - 2] = 'l';
    cr_assert_str_neq(shown(USERHASH_HASHED, key, "ana"), first);
}

Test(userhash, plain_is_cut_between_characters)
{
    char id[100];

    cr_expect_str_eq(shown(USERHASH_PLAIN, "secret", "ana@example.com"), "ana@example.com");
    memset(id, 'a', 64);
    id[64] = '\0';
    cr_expect_str_eq(shown(USERHASH_PLAIN, NULL, id), id);
    memcpy(id + 63, "\xc3\xa9", 3); /* its second byte would be the 65th */
    cr_expect_eq(strlen(shown(USERHASH_PLAIN, NULL, id)), 63);
    memcpy(id + 62, "\xc3\xa9zz", 5);
    cr_expect_eq(strlen(shown(USERHASH_PLAIN, NULL, id)), 64);
    memset(id, '\xa9', 99); /* no UTF-8 at all */
    id[99] = '\0';
    cr_expect_leq(strlen(shown(USERHASH_PLAIN, NULL, id)), 64);
}

Test(userhash, none_shows_nothing)
{
    cr_expect_str_eq(shown(USERHASH_NONE, "secret", "ana"), "");
}
