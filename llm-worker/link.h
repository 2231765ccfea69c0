/*
 * link.h - the worker's end of the jobs wire
 *
 * Purpose  announces the worker, beats, takes jobs, sends results: all of one loop turn in one message.
 * Promise  P1: while the gateway cannot be reached the results wait here; when another life of the gateway
 *          answers, the old one's jobs are stopped, because nobody waits for them.
 *          P4: while the gateway takes nothing, nothing is read from the providers either; an answer that had come
 *          by then and for which there is no room becomes a failure.
 * Threads  the loop's thread.
 * Errors   link_new(): 0 or -errno, having logged why.
 */
#ifndef ATALAYA_LLM_WORKER_LINK_H
#define ATALAYA_LLM_WORKER_LINK_H

#include "common/base/attr.h"
#include "common/proc/loop.h"
#include "llm-worker/conf.h"

struct link;

int link_new(struct link **out, struct loop *l, const struct worker_conf *conf) NODISCARD;
void link_free(struct link *k);

/* No new jobs please; calls fn when the last one is finished and its result is on its way. */
void link_drain(struct link *k, void (*fn)(void *arg), void *arg);

#endif
