/*
 * event.h - the events wire: senders DEALER, telemetry ROUTER (docs/protocol-events.md)
 *
 * Purpose  what happened, once, whole. One EVENT_REQUEST per finished HTTP request; for /ask it carries
 *          everything that a trace needs, so that a trace is never half there. One EVENT_FEEDBACK per accepted
 *          score of a client, beside the EVENT_REQUEST of its POST.
 *
 * Delivery go-back-N. A sender has a random `epoch` for its life and numbers its events from 1. A
 *          batch is one EVENT_BATCH entry (epoch, seq of the first event that follows, base = oldest seq
 *          the sender still holds) and then the events. Telemetry commits only the event after the last it
 *          has committed, ignores what it has seen, and answers EVENT_ACK (epoch, seq = last committed).
 *          Events below base that were never seen are gone: telemetry counts them as dropped by the sender.
 *
 * Units    *_us wall times since 1970 or durations, as named.
 */
#ifndef ATALAYA_WIRE_EVENT_H
#define ATALAYA_WIRE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/wire/pack.h"

enum event_kind {
    EVENT_BATCH = 1,  /* both ends: envelope, first entry of a body */
    EVENT_ACK,        /* telemetry to sender */
    EVENT_REQUEST,    /* a finished HTTP request */
    EVENT_GAUGES,     /* current values of a sender; not numbered; answered with EVENT_ACK, so it doubles as a
                         ping */
    EVENT_SCRAPE,     /* gateway to telemetry: send me the exposition (id) */
    EVENT_EXPOSITION, /* telemetry to gateway: text (id) in a format, which need not be the one asked for */
    EVENT_FEEDBACK,   /* a client's score of a trace; numbered and kept like a request */
    EVENT_WORKER,     /* a worker has come or gone; numbered, and counted only */
    EVENT_UNCONFIRMED, /* `count` answers went out before their records were known to be committed; numbered */
};

/* One call to the provider. */
struct event_attempt {
    int64_t start_us; /* wall */
    int64_t duration_us;
    int64_t wait_us;        /* before it: backoff, or for its turn */
    uint64_t status;        /* HTTP status; 0 = no answer */
    struct str outcome;     /* "ok", "http", "connect", "stall_timeout", "garbage", … */
    struct str upstream_id; /* the provider's x-request-id */
    struct str code;        /* error.code, else error.type, of its answer */
    struct str upstream;    /* name of the upstream that was asked */
    bool hedge;             /* it was asked while another call was under way */
    struct str model;       /* that it was asked for */
    /* Of a call that was ended because the other one of a hedge was taken: beside the request's usage and cost. */
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    bool usage_estimated;
    bool has_cost;
    double cost_usd;
};

/* How an upstream does: of one worker on its beats, of all in the gauges. */
struct event_upstream {
    struct str name;
    uint64_t state; /* its breaker: 0 closed, 1 half-open, 2 open */
    uint64_t in_flight;
    uint64_t limit; /* calls at once that it is believed to bear */
    struct str model;
    bool refused; /* it refuses our key */
};

/* Which of these a worker is: the first that is true. */
enum worker_state { WORKER_LEAVING, WORKER_DOWN, WORKER_FULL, WORKER_BUSY, WORKER_IDLE, WORKER_STATES };

/* How a gateway stands. */
struct event_gauges {
    uint64_t in_progress; /* HTTP requests being handled */
    uint64_t queued;      /* questions that wait for a worker */
    int64_t queue_age_us; /* how old the oldest of them is */
    uint64_t workers[WORKER_STATES];
};

struct event {
    uint64_t kind;

    /* batch, ack, gauges, scrape, exposition */
    uint64_t epoch;
    uint64_t seq;
    uint64_t base;
    struct str process; /* who sends: "gateway" (docs/decisions/0008) */
    uint64_t pid;
    bool langfuse_enabled;      /* ack: keys are set */
    uint64_t id;                /* scrape, exposition */
    uint64_t format;            /* scrape, exposition: enum metrics_format */
    struct str text;            /* exposition */
    struct event_gauges gauges; /* gauges, scrape */
    struct str change;          /* worker: "joined", "left" in order, "lost" */
    uint64_t count;             /* unconfirmed */
    struct list
        upstreams; /* gauges: of struct event_upstream; state: the worst of all workers, the rest is the sum */

    /* request: HTTP; feedback: start_us, request_id */
    struct str endpoint; /* the route, "other" for unknown paths */
    struct str method;   /* of RFC 9110 or PATCH; "other" for the rest */
    uint64_t status;     /* 0: never answered (client or gateway gone) */
    int64_t start_us;    /* wall */
    int64_t duration_us;
    struct str request_id;

    /* request with a generation: /ask, /v1/chat/completions; feedback: trace_id */
    struct str trace_id;      /* 32 hex digits; empty: no generation, no record */
    struct str generation_id; /* 16 hex digits */
    struct str parent_id;     /* 16 hex digits: the caller's span, from traceparent */
    struct str user_id;
    struct str question; /* of a chat completion: its messages, JSON */
    struct str
        answer;  /* of a chat completion: its message, JSON; of a stream that was cut: what there is of it */
    bool chat;   /* question and answer are JSON */
    bool stream; /* the answer went out piece by piece */
    struct str cache; /* "hit": from the cache; "shared": another request's; empty: the provider's own */
    struct str session_id;
    struct str tags;     /* with commas between */
    struct str metadata; /* a JSON object of the client's */
    struct str model;
    struct str error; /* machine word; empty when answered */
    struct str error_text;
    bool truncated;
    bool has_usage;
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
    uint64_t total_tokens;
    uint64_t cached_tokens;    /* of prompt_tokens */
    uint64_t reasoning_tokens; /* of completion_tokens */
    bool usage_estimated;      /* the call was ended before the provider had counted */
    bool has_cost;
    double cost_usd;
    int64_t
        first_token_us; /* of a stream: from the request to the first piece of its answer; 0: there was none */
    bool has_scores;
    double non_empty_answer;
    double toxicity_safe;
    int64_t queue_us; /* waiting for a worker */
    int64_t worker_us;
    uint64_t dispatches;  /* workers it was given to */
    struct list attempts; /* of struct event_attempt */

    /* feedback */
    struct str score_id; /* sending it again replaces the score instead of adding one */
    struct str score_name;
    struct str score_type; /* "NUMERIC", "BOOLEAN", "CATEGORICAL" */
    double score_value;    /* of a boolean 0 or 1 */
    struct str score_text; /* the value of a categorical one */
    struct str comment;
};

extern const struct fields event_fields;
extern const struct fields event_attempt_fields;
extern const struct fields event_upstream_fields;

#endif
