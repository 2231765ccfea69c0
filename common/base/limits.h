/*
 * limits.h - every cap of the tree in one place: whatever a peer sizes is bounded here
 *
 * Units    bytes unless the name says otherwise.
 */
#ifndef ATALAYA_BASE_LIMITS_H
#define ATALAYA_BASE_LIMITS_H

#define KIB 1024u
#define MIB (1024u * 1024u)

#define DOTENV_FILE_MAX (1 * MIB)
#define LOG_LINE_MAX    (8 * KIB)

#define WIRE_MESSAGE_MAX  (32 * MIB) /* one ZeroMQ message: many entries */
#define WIRE_BATCH_BYTES  (60 * KIB) /* a sender starts the next message beyond this */
#define WIRE_ATTEMPTS_MAX 64         /* attempts recorded per request */

#define ANSWER_MAX       (4 * MIB)  /* body of a provider's answer */
#define REQUEST_BODY_MAX (1 * MIB)  /* body of a client's request */
#define QUESTION_MAX     (64 * KIB) /* bytes; the contract's limit is 2000 code points */
#define HTTP_SLOW_MS     30000      /* a client that takes no byte of its answer for this long is cut off */
#define HTTP_HEADERS_MAX (16 * KIB)

#define EVENT_BUFFER_MAX (32 * MIB) /* events a sender keeps until telemetry has acknowledged them */
#define EVENT_FLUSH_MS   5          /* events wait this long for company */
#define EVENT_RESEND_MS  1000       /* no acknowledgement for this long: send again */

#define JOB_BEAT_MS        100  /* how often gateway and worker tell each other that they live */
#define JOB_SILENCE_MS     3000 /* a peer that has said nothing for this long is given up */
#define JOB_DISPATCHES_MAX 5    /* a job that has lost this many workers is not tried on another */

#define FAKE_HEAD_MAX        (16 * KIB) /* tests/fakes: a request's head */
#define FAKE_BODY_MAX        (32 * MIB) /* a request's body, also unpacked */
#define FAKE_CONNECTIONS_MAX 32768
#define FAKE_LOG_ENTRIES     10000       /* requests kept for whoever asks what was sent */
#define FAKE_LOG_BODY_MAX    (256 * KIB) /* of one body in that log */
#define FAKE_LOG_BYTES_MAX   (64 * MIB)  /* of the whole log */
#define FAKE_SPANS_MAX       200000      /* spans kept, the oldest trace goes first */
#define FAKE_SPANS_BYTES_MAX (512 * MIB)
#define FAKE_SCORES_MAX      200000
#define FAKE_VIOLATIONS_MAX  1000

#define LLM_WORKERS_MAX 64 /* children of that kind under one supervisor */

#endif
