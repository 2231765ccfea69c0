/*
 * job.h - the questions and chat completions that the worker holds
 *
 * Purpose  finds the run that a message of the gateway is about (run.h), and tells the link what comes of each.
 * Owner    jobs_start() copies what it needs of the message. The chunk or result given to `report` is borrowed
 *          until it returns; false: there is no room for its answer. Without one it is given again.
 * Threads  the loop's thread.
 * Limits   `slots` jobs at once; one more fails with "worker_full".
 */
#ifndef ATALAYA_LLM_WORKER_JOB_H
#define ATALAYA_LLM_WORKER_JOB_H

#include <stdint.h>

#include "common/base/limits.h"
#include "common/proc/loop.h"
#include "common/wire/job.h"
#include "llm-worker/conf.h"

struct jobs;

struct jobs *jobs_new(struct loop *l, const struct worker_conf *conf,
                      bool (*report)(void *arg, const struct job *result), void *arg);
void jobs_free(struct jobs *j);

void jobs_start(struct jobs *j, const struct job *message);
void jobs_cancel(struct jobs *j, uint64_t epoch, uint64_t id);
void jobs_abandon(struct jobs *j,
                  uint64_t epoch_now); /* the jobs of every other epoch: nobody waits for them */
void jobs_pause(struct jobs *j, uint64_t epoch, uint64_t id,
                bool pause);               /* its client takes no more for now */
void jobs_hold(struct jobs *j, bool hold); /* nor does the gateway, of any */
uint64_t jobs_held(const struct jobs *j);

void jobs_set_workers(struct jobs *j, uint64_t workers); /* that share the upstreams */
/* How they do, for the beats (pool.h). */
size_t jobs_upstreams(const struct jobs *j, struct event_upstream out[UPSTREAMS_MAX], bool *down);

#endif
