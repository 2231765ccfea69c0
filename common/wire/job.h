/*
 * job.h - the jobs wire: gateway ROUTER, llm-worker DEALER (docs/protocol-jobs.md)
 *
 * Purpose  one struct for every message kind; the kind says which fields mean something. Bodies are packed
 *          by pack.h; several entries travel in one message.
 * Units    budget_ms: time left until the request's deadline, counted from sending (hosts need no common
 *          clock); *_us wall times since 1970 or durations, as named.
 * Limits   the max column of job_fields.
 */
#ifndef ATALAYA_WIRE_JOB_H
#define ATALAYA_WIRE_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/wire/event.h"
#include "common/wire/pack.h"

enum job_kind {
    JOB_HELLO = 1, /* worker: I am here and can hold `slots` jobs; I hold none of yours */
    JOB_JOB,       /* gateway: do this */
    JOB_CANCEL,    /* gateway: stop that; the worker still answers with done or failed, for the account */
    JOB_CHUNK,     /* worker: part of a streamed answer; the first one binds the job to this worker */
    JOB_DONE,      /* worker: the answer, or the end of a streamed one */
    JOB_FAILED,    /* worker: no answer, and why */
    JOB_BEAT,      /* both: I live; from a worker with the fields of hello */
    JOB_LEAVING,   /* worker: no more jobs please, I finish what I hold */
    JOB_PAUSE,     /* gateway: no more chunks of that, its client does not take them */
    JOB_RESUME,    /* gateway: it does again */
};

struct job {
    uint64_t kind;
    uint64_t epoch; /* of the gateway's life; done and failed give it back, so that an id never meets a later
                       job */
    uint64_t id;    /* the gateway's; unique in its life */

    /* hello, beat */
    struct str worker; /* random name of this life of the worker */
    uint64_t pid;
    uint64_t slots;
    bool configured; /* a provider key is set */
    bool down; /* every upstream is left alone, because too many of its calls failed, or refuses our key */
    struct list upstreams; /* of struct event_upstream */

    /* beat of the gateway */
    uint64_t workers; /* that live: what an upstream bears is shared between them */

    /* job */
    int64_t budget_ms;
    struct str request_id;
    struct str question;
    bool has_max_words;
    int64_t max_words;
    bool stream;        /* the answer is wanted piece by piece */
    struct str request; /* a chat completion request as the client wrote it, in place of a question */

    /* chunk */
    struct str bytes; /* of a chat completion: for the client as they stand, whole SSE events */

    /* chunk: this piece's text; done, failed */
    struct str
        answer; /* after the guardrails; of a chat completion its message as JSON. Of a question that was
                              streamed empty: the chunks were it */
    uint64_t
        status; /* chat completion: the provider's, for the client; 0: it gave none that a client may see */
    struct str body;        /* chat completion: the provider's answer as it stands, also that of an error */
    int64_t retry_after_ms; /* chat completion, failed: the provider's wish; 0: none */
    bool truncated;         /* the word limit cut it */
    struct str model;       /* as the provider names it, else as asked for */
    struct str error;       /* failed: machine word, e.g. "timeout", "rate_limited", "no_api_key" */
    struct str error_text;  /* failed: a sentence for the operator; never a secret */
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    uint64_t total_tokens;
    uint64_t cached_tokens;    /* of prompt_tokens */
    uint64_t reasoning_tokens; /* of completion_tokens */
    bool has_usage;
    bool usage_estimated; /* the call was ended before the provider had counted */
    bool has_cost;
    double cost_usd;
    double non_empty_answer;
    double toxicity_safe;
    int64_t worker_us;    /* time inside the worker */
    struct list attempts; /* of struct event_attempt */
};

extern const struct fields job_fields;

#endif
