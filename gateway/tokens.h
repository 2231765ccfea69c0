/*
 * tokens.h - bearer tokens of our own clients
 *
 * Purpose  GATEWAY_TOKENS_FILE holds one token a line as sha256sum prints it: 64 hex digits, white space, a
 *          name; # begins a comment line. `printf %s "$TOKEN" | sha256sum`, and the name in place of "-".
 *          The file has no secret in it as long as tokens cannot be guessed: 128 random bits or more
 *          (`openssl rand -base64 32`). Several tokens may have one name, so that a client can change its
 *          token without a gap.
 * Promise  P8: no token is kept, logged or echoed. How long a check takes tells nothing about the hashes.
 * Threads  tokens_check(): any, also while tokens_reload() runs, which is called by one thread at a time.
 * Errors   0 or -errno, having logged path, line and reason. A bad file leaves the old tokens in force.
 * Limits   TOKENS_MAX, TOKEN_LENGTH_MAX, TOKEN_NAME_MAX
 * Source   RFC 6750, RFC 9110 11.4
 */
#ifndef ATALAYA_GATEWAY_TOKENS_H
#define ATALAYA_GATEWAY_TOKENS_H

#include "common/base/attr.h"
#include "common/base/limits.h"

struct token_store;

#define TOKEN_NAME_SIZE (TOKEN_NAME_MAX + 1)

enum token_check {
    TOKEN_OK,
    TOKEN_MISSING, /* no Authorization, another scheme, or nothing behind it */
    TOKEN_WRONG,   /* not one of ours, or no token in form */
};

int tokens_open(struct token_store **out, const char *path) NODISCARD;
void tokens_free(struct token_store *s);
int tokens_reload(struct token_store *s) NODISCARD; /* logs the names that came and went */

/* authorization: the header's value, NULL when there is none. name is "" unless TOKEN_OK. */
enum token_check tokens_check(struct token_store *s, const char *authorization, char name[TOKEN_NAME_SIZE]);

#endif
