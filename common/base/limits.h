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
#define LOG_LINE_MAX    4096u /* PIPE_BUF: what a writable pipe takes at once */

#define WIRE_MESSAGE_MAX  (32 * MIB) /* one ZeroMQ message: many entries */
#define WIRE_BATCH_BYTES  (60 * KIB) /* a sender starts the next message beyond this */
#define WIRE_ENTRIES_MAX  32768      /* entries of a message, however small they are */
#define PACK_VALUES_MAX   8192       /* of an entry, keys and unknown ones included */
#define PACK_DEPTH_MAX    16
#define WIRE_ATTEMPTS_MAX 64 /* attempts recorded per request */

#define ANSWER_MAX             (4 * MIB)  /* body of a provider's answer */
#define SSE_EVENT_MAX          (4 * MIB)  /* of a provider's stream: one event */
#define TOOL_CALLS_MAX         128        /* of one streamed answer: that are kept for its trace */
#define REQUEST_BODY_MAX       (1 * MIB)  /* body of a client's request; a question in a record */
#define CHAT_BODY_MAX          (16 * MIB) /* body of a chat completion's request, which may hold images */
#define CHAT_MODEL_MAX         256        /* bytes */
#define CHAT_USER_MAX          KIB        /* of a user id that is recorded */
#define CHAT_STRING_KEPT       (16 * KIB) /* of a string in messages that are too long for a record */
#define QUESTION_MAX           (64 * KIB) /* bytes; the contract's limit is 2000 code points */
#define INPUT_ECHO_MAX         (8 * KIB)  /* JSON of one wrong value that a 422 repeats to its client */
#define HTTP_SLOW_MS           30000  /* a client that takes no byte of its answer for this long is cut off */
#define HTTP_WRITING_MS        300000 /* nor one that takes longer than this for all of it */
#define HTTP_STREAM_HIGH       (64 * KIB) /* waiting for a client: whoever makes its answer should stop, */
#define HTTP_STREAM_LOW        (16 * KIB) /* and go on */
#define HTTP_STREAM_MAX        (4 * MIB)  /* and beyond this the client is cut off */
#define HTTP_PIECE_MAX         (32 * MIB) /* one piece of an answer */
#define HTTP_HEADERS_MAX       (16 * KIB)
#define HTTP_FIELDS_MAX        64 /* header fields of a request; civetweb has room for no more */
#define HTTP_TARGET_MAX        8192
#define HTTP_CHUNK_LINE_MAX    4096 /* extensions of a chunk, or trailers */
#define HTTP_LENGTH_DIGITS_MAX 18   /* of Content-Length: fits an int64_t */
#define HTTP_SPARE_THREADS                                                                                   \
    16 /* beyond GATEWAY_THREADS: while somebody is shown out, the next one is served */
#define HTTP_LINGER_MS    1000 /* for a refused client to read why, while what it still sends is thrown away */
#define HTTP_LINGER_BYTES (8 * MIB)
#define HTTP_SWEEP_MS     250 /* how often slow, idle and surplus connections are looked for */

#define REQUEST_ID_MAX     128       /* of X-Request-ID from a client */
#define CORS_ECHO_MAX      (8 * KIB) /* of a header that a preflight's answer repeats */
#define TOKENS_MAX         1000
#define TOKEN_LENGTH_MAX   (4 * KIB)
#define TOKEN_NAME_MAX     64
#define RATELIMIT_KEYS_MAX 65536 /* of each limit; 16 bytes a key */
#define FORWARDED_HOPS_MAX 64    /* proxies in a row */

#define EVENT_BUFFER_MAX (32 * MIB) /* events a sender keeps until telemetry has acknowledged them */
#define EVENT_QUEUE      10000      /* messages are batches; what matters is acknowledged above this layer */
#define EVENT_FLUSH_MS   5          /* events wait this long for company */
#define EVENT_RESEND_MS  1000       /* no acknowledgement for this long: send again */

#define EVENT_SENDERS_MAX 256  /* lives of senders that telemetry remembers; the longest silent goes first */
#define EVENT_SILENCE_MS  5000 /* a sender that has said nothing for this long handles no requests */
#define GAUGE_SENDERS_MAX 64   /* gateways whose gauges are shown */
#define TURN_WAIT_MS      5    /* telemetry collects messages for this long before it commits them together */
#define TURN_MESSAGES_MAX 256  /* and not more than these */
#define TURN_EVENTS_MAX   4096
#define TURN_BYTES_MAX    (8 * MIB)
#define RECORD_BYTES_MAX  (16 * MIB) /* text of one record, attempts included */

#define SESSION_ID_MAX 200 /* of a trace, as Langfuse allows; bytes */
#define TAGS_MAX       KIB
#define METADATA_MAX   (16 * KIB)

#define REDACT_PREFIXES_MAX 32 /* of REDACT_PREFIXES */
#define OTEL_PAIRS_MAX      32 /* of OTEL_RESOURCE_ATTRIBUTES, and of OTEL_EXPORTER_OTLP_HEADERS */

#define FEEDBACK_ID_MAX      64 /* of a client's score, in bytes like the next three */
#define FEEDBACK_NAME_MAX    KIB
#define FEEDBACK_TEXT_MAX    (2 * KIB)
#define FEEDBACK_COMMENT_MAX (8 * KIB)

#define METRIC_SERIES_MAX 512 /* of one metric; what is new then counts as "other" */
#define METRIC_NAMES_MAX  100 /* of a histogram, or one whose label somebody else names: a model, a score */
#define METRIC_ROUTES_MAX 200 /* routes and methods of a histogram */
#define METRIC_LABEL_MAX  128
#define METRIC_PAGE_MAX   (8 * MIB)

#define UPLOAD_FLIGHTS     4       /* requests to one destination at once */
#define UPLOAD_BATCH_BYTES 2500000 /* of one request, before compression */
#define UPLOAD_BATCH_MAX   2000    /* records of one request */
#define UPLOAD_ANSWER_MAX  (8 * MIB)
#define UPLOAD_WAIT_MAX_MS 600000 /* longest Retry-After that is believed */

#define UPSTREAM_NAME_MAX       64
#define UPSTREAMS_MAX           32    /* providers that a worker knows */
#define UPSTREAM_ATTEMPTS_MAX   16    /* calls for one question, all upstreams together */
#define UPSTREAM_WAITING_MAX_MS 60000 /* longest that a provider's rate-limit headers make a question wait */

#define CHAT_REFUSAL_MAX (64 * KIB) /* body of a provider's error that a chat completion's client is given */

#define CA_FILE_MAX (4 * MIB) /* certificates of authorities; the system's are a quarter of a megabyte */

#define GUARDRAIL_WORDS_MAX 1000 /* words that make an answer toxic */
#define GUARDRAIL_WORD_MAX  200
#define GUARDRAIL_FILE_MAX  (512 * KIB)

#define PRICES_MAX       1000 /* lines of a price table */
#define PRICES_FILE_MAX  (512 * KIB)
#define PRICE_MODEL_MAX  256       /* of a model's name */
#define PRICE_USD_MAX    10000     /* a million tokens of any kind */
#define PRICE_TOKENS_MAX 100000000 /* of one answer; what claims more is not believed */

#define JOB_BEAT_MS        100  /* how often gateway and worker tell each other that they live */
#define JOB_SILENCE_MS     3000 /* a peer that has said nothing for this long is given up */
#define JOB_QUEUE          16 /* messages in ZeroMQ's hands: whoever cannot send more knows it, and stops reading */
#define JOB_DISPATCHES_MAX 5 /* a job that has lost this many workers is not tried on another */

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

#define CHECK_TEXT_MAX  (256 * KIB) /* what a program says of its configuration */
#define CHECK_MS        10000       /* and how long it may take for that */
#define LLM_WORKERS_MAX 64          /* children of that kind under one supervisor */

#endif
