/*
 * pool.h - the upstreams at work: whom to ask, how they do
 *
 * Purpose  chooses an upstream for a question, makes the call, and learns from what came of it: an account that is empty
 *          is left alone for a while, repetitions are bounded by a budget.
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

#include "common/proc/loop.h"
#include "llm-worker/conf.h"
#include "llm-worker/roster.h"
#include "llm-worker/upstream.h"

struct pool;

/* One call on its way. */
struct pass {
    size_t member;
    struct str body;
    int64_t deadline_ms;
    int64_t started_us; /* when the call began; 0: not yet */
    struct call *call;
    struct pool *pool;
    void (*done)(void *arg, const struct call_result *r);
    void *arg;
};

struct pool *pool_new(struct loop *l, const struct worker_conf *conf);
void pool_free(struct pool *p);

/* A member that is usable and not among `tried`, a set of bits; -1: there is none. */
int pool_pick(struct pool *p, uint32_t tried);
const struct target *pool_target(const struct pool *p, size_t member);

void pool_ask(struct pool *p,
              struct pass *pass);    /* member, body, deadline_ms, done, arg are set; `done` comes later */
void pool_cancel(struct pass *pass); /* also when nothing is under way */

void pool_first_call(struct pool *p, size_t member); /* of a question at this member: pays into its budget */
bool pool_may_repeat(struct pool *p, size_t member); /* takes it out of the budget */
void pool_learn(struct pool *p, size_t member, const struct verdict *v); /* what a call came to */

#endif
