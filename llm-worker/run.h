/*
 * run.h - one question or chat completion inside the worker: calls, waits, guardrails, result
 *
 * Purpose  tries the provider until there is an answer, another try is pointless or the time is up; then applies the
 *          guardrails and hands the result over.
 *
 *              CALLING --answer--> done      CALLING --error worth a try--> WAITING --timer--> CALLING
 *                                            CALLING --anything else--> failed
 *
 *          A call that takes longer than most is joined by a second one, if that is wanted (LLM_HEDGE): whichever has
 *          something for the client first wins, and the other one is ended.
 *          The pieces of a stream are handed on as they come; after the first of them there is no other try. A call that
 *          is ended before the provider has said what it used is accounted by an estimate; the loser of two beside the
 *          answer, with its attempt.
 *
 * Owner    whoever has called run_new(); run_free() ends what is under way without a word. The chunk or result given to
 *          the host is borrowed until it returns; it may free the run with the result.
 * Threads  the loop's thread.
 */
#ifndef ATALAYA_LLM_WORKER_RUN_H
#define ATALAYA_LLM_WORKER_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/proc/loop.h"
#include "common/wire/job.h"
#include "llm-worker/conf.h"
#include "llm-worker/pool.h"
#include "llm-worker/stream.h"
#include "llm-worker/trail.h"

struct run;

/* Whom runs work for. */
struct run_host {
    struct loop *loop;
    const struct worker_conf *conf;
    struct pool *pool; /* NULL: nobody to ask */
    bool hold;         /* no answer may go on */
    void (*chunk)(void *arg, struct run *r, struct job *chunk);
    void (*over)(void *arg, struct run *r, struct job *result); /* epoch and id are not set, in both */
    void *arg;
};

/* A call, and what is read of it. */
struct leg {
    struct run *run;
    struct pass pass;
    struct buf body;
    struct stream *stream;  /* NULL: the answer is wanted in one piece */
    struct loop_timer tail; /* the answer is whole, and the call not over yet */
    int64_t ready_us;       /* when the wait before the call began */
};

struct run {
    struct run *prev, *next; /* the host's */
    uint64_t epoch, id;      /* the host's */

    struct run_host *host;
    bool chat;   /* the client's own request, for every upstream */
    bool paused; /* its client takes no more for now */
    bool hedges;
    bool has_max_words;
    int64_t max_words;
    int64_t start_us;
    int64_t deadline_ms;
    struct buf model;       /* of a chat completion: that was asked for */
    struct buf question;    /* the chat completion's request, or the question */
    struct buf counted;     /* of a streamed chat completion: the same, with usage asked for */
    struct leg legs[2];     /* the second one is the hedge */
    struct leg *winner;     /* which has given the client something; NULL: none has */
    struct loop_timer wait; /* between two calls */
    struct loop_timer hedge;
    struct loop_timer loser; /* ends the leg that has not won */
    uint32_t tried;          /* bits: upstreams that were asked, or that have not its model */
    unsigned char tries[UPSTREAMS_MAX];
    struct trail trail;
};

struct run *run_new(struct run_host *h, const struct job *m);
void run_free(struct run *r);

void run_start(struct run *r, int64_t budget_ms); /* the end may come before it returns, as in the next two */
void run_stop(struct run *r);                     /* nobody waits for it any more */
void run_refuse(struct run *r, const char *word, const char *text);
void run_pause(struct run *r, bool pause); /* no more chunks for now */
void run_mind_hold(struct run *r);         /* host->hold has changed */

#endif
