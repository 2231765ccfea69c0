#include "gateway/guard.h"

#include <errno.h>

#include "common/base/clock.h"

int guard_init(struct guard *g, const struct gateway_conf *c)
{
    g->by_address = ratelimit_new(c->rate_address, c->rate_burst);
    g->by_token = ratelimit_new(c->rate_token, c->rate_burst);
    g->by_user = ratelimit_new(c->rate_user, c->rate_burst);
    if (c->tokens_file && *c->tokens_file && tokens_open(&g->tokens, c->tokens_file) < 0)
        return -EINVAL;
    return 0;
}

void guard_free(struct guard *g)
{
    tokens_free(g->tokens);
    ratelimit_free(g->by_address);
    ratelimit_free(g->by_token);
    ratelimit_free(g->by_user);
    *g = (struct guard){.tokens = NULL};
}

void guard_reload(struct guard *g)
{
    int ret = g->tokens ? tokens_reload(g->tokens) : 0;

    (void)ret; /* it has said why, and the old ones stay */
}

/* Takes one from the limit of that name, and notes it when it is the tightest so far. */
static int take(struct ratelimit *r, const char *policy, struct str key, struct allowance *a)
{
    if (!r)
        return 0;
    struct ratelimit_verdict v = ratelimit_take(r, key, clock_us());
    if (!a->policy || !v.allowed || v.remaining < a->verdict.remaining)
        *a = (struct allowance){policy, v};
    return v.allowed ? 0 : 429;
}

static int check_token(struct guard *g, struct caller *c, const char *authorization, struct buf *headers,
                       const char **error)
{
    switch (g->tokens ? tokens_check(g->tokens, authorization, c->token) : TOKEN_OK) {
    case TOKEN_OK:
        return 0;
    case TOKEN_MISSING:
        buf_puts(headers, "WWW-Authenticate: Bearer\r\n");
        *error = "no_token";
        return 401;
    case TOKEN_WRONG:
        buf_puts(headers, "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n");
        *error = "wrong_token";
        return 401;
    }
    return 401;
}

/* The address first: whoever guesses tokens is slowed down by it. */
int guard_enter(struct guard *g, struct caller *c, const char *authorization, struct allowance *a,
                struct buf *headers, const char **error)
{
    int status = take(g->by_address, "address", str_of(c->address), a);

    if (!status)
        status = check_token(g, c, authorization, headers, error);
    if (!status && *c->token)
        status = take(g->by_token, "token", str_of(c->token), a);
    if (status == 429)
        *error = "rate_limited";
    return status;
}

int guard_user(struct guard *g, struct str user_id, struct allowance *a)
{
    return take(g->by_user, "user", user_id, a);
}
