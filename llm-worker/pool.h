/*
 * pool.h - the upstreams at work: whom to ask, when, and how they do
 *
 * Purpose  chooses an upstream for a question, makes the call when its turn has come, and learns from what came of it:
 *          an upstream that only fails (breaker.h) or whose account is empty is left alone for a while, repetitions are
 *          bounded (budget.h), calls at once are as many as it bears (climit.h) and as its headers allow (pacing.h).
 * Owner    a struct pass is the caller's and stays where it is from pool_ask() until `done` is called or pool_cancel()
 *          returns; so does its body.
 * Threads  the loop's thread.
 * Units    milliseconds, deadlines absolute.
 */
#ifndef ATALAYA_LLM_WORKER_POOL_H
#define ATALAYA_LLM_WORKER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/limits.h"
#include "common/proc/loop.h"
#include "common/wire/event.h"
#include "llm-worker/conf.h"
#include "llm-worker/roster.h"
#include "llm-worker/upstream.h"

struct pool;

/* One call: waiting for its turn, under way, or neither. */
struct pass {
    size_t member;
    struct str body;
    int64_t deadline_ms;
    bool (*piece)(void *arg, struct str bytes);           /* as in struct call_order */
    void (*done)(void *arg, const struct call_result *r); /* NULL: its turn did not come */
    void *arg;

    int64_t started_us; /* when the call began; 0: not yet */
    struct call *call;
    bool trying; /* it is the one call that an open breaker lets through */
    bool paused; /* nothing of its answer is wanted for now; also before it begins */

    struct pool *pool;
    struct pass *prev, *next; /* while it waits */
    bool waits;
    struct loop_timer patience;
};

struct pool *pool_new(struct loop *l, const struct worker_conf *conf);
void pool_free(struct pool *p);

/* A member that is usable and not among `tried`, a set of bits, rather one that need not be waited for; -1: none is. */
int pool_pick(struct pool *p, uint32_t tried);
bool pool_is_usable(const struct pool *p, size_t member);
const struct target *pool_target(const struct pool *p, size_t member);

void pool_ask(struct pool *p, struct pass *pass); /* member to arg are set; `done` comes later */
void pool_cancel(struct pass *pass);              /* also when it does nothing */
void pool_finish(struct pass *pass);              /* as upstream_finish(); a call is under way */
void pool_pause(struct pass *pass, bool pause);   /* as upstream_pause(); also of a call that will begin */

void pool_first_call(struct pool *p, size_t member); /* of a question at this member: pays into its budget */
bool pool_may_repeat(struct pool *p, size_t member); /* takes it out of the budget */

/* What a call came to, said inside `done`; tokens: that it used, 0 when that is not known. */
void pool_learn(struct pool *p, struct pass *pass, const struct verdict *v, uint64_t tokens);

/* For LLM_HEDGE: a call has now taken as long as it does until its answer, or the first piece of it; or is ended before. */
void pool_took(struct pool *p, const struct pass *pass, bool stream, bool ended);
int64_t pool_p95(const struct pool *p, size_t member, bool stream); /* of that; -1: too little is known */

void pool_set_workers(struct pool *p,
                      uint64_t workers); /* that share the upstreams with this one, it included */

/* How they do; their number. *down: each of them is left alone or refuses our key. */
size_t pool_report(const struct pool *p, struct event_upstream out[UPSTREAMS_MAX], bool *down);

#endif
