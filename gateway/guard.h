/*
 * guard.h - who may come in, and how often
 *
 * Purpose  bearer tokens of our own clients, and limits per address, token and user; each only when it is configured.
 * Promise  P7: whoever is refused is told when to come again.
 * Owner    guard_free() takes all; everything in the struct may be NULL.
 * Threads  guard_enter(), guard_user(): any. guard_reload(): the loop's.
 * Errors   guard_init(): 0 or -EINVAL, having logged why.
 */
#ifndef ATALAYA_GATEWAY_GUARD_H
#define ATALAYA_GATEWAY_GUARD_H

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "gateway/caller.h"
#include "gateway/conf.h"
#include "gateway/ratelimit.h"

struct guard {
    struct token_store *tokens;
    struct ratelimit *by_address, *by_token, *by_user;
};

int guard_init(struct guard *g, const struct gateway_conf *c) NODISCARD;
void guard_free(struct guard *g);
void guard_reload(struct guard *g); /* reads the tokens again */

/* The tightest of the limits that a request has passed, or the one that it has not; for its answer. */
struct allowance {
    const char *policy; /* NULL: there is no limit */
    struct ratelimit_verdict verdict;
};

/* 0, 401 or 429, and the word for the log. Writes c->token; for 401 the line that says what is wanted. */
int guard_enter(struct guard *g, struct caller *c, const char *authorization, struct allowance *a,
                struct buf *headers, const char **error) NODISCARD;

/* 0 or 429. */
int guard_user(struct guard *g, struct str user_id, struct allowance *a) NODISCARD;

#endif
