/*
 * openai.h - the parts of fake-openai and what they share
 *
 * Purpose  a chat completions API for tests, benches and the demo: as strict as OpenAI about what it is sent,
 *          and as ill-behaved as a test asks for.
 *            openai_main.c   options            openai_route.c  paths, keys, methods, statistics
 *            openai_parse.c  reads requests     openai_call.c   decides and times an answer, streams it
 *            openai_reply.c  writes answers     openai_admin.c  the /_admin/ paths
 * Threads  one.
 */
#ifndef ATALAYA_TESTS_FAKES_OPENAI_H
#define ATALAYA_TESTS_FAKES_OPENAI_H

#include "common/base/limits.h"
#include "tests/fakes/httpd.h"
#include "tests/fakes/reqlog.h"

#define SHARES_MAX 16
#define NAMES_MAX  32

/* An error as OpenAI words it; code and param may be NULL. */
struct api_error {
    int status;
    const char *type;
    const char *code;
    char param[160];
    char message[640];
};

/* A request that OpenAI would accept. Equal bodies share one: parsing is done once for each text. */
struct chat {
    unsigned refs;
    uint64_t hash;
    char *body;
    size_t body_n;
    char *model;              /* as asked */
    const char *answer_model; /* the snapshot that answers; static, or equal to model */
    char *question;           /* text of the last user message */
    size_t prompt_tokens;
    int64_t max_tokens; /* 0: no limit */
    int choices;
    bool stream, include_usage, obfuscate;
};

enum act {
    ACT_ANSWER,
    ACT_ERROR,
    ACT_BODY, /* a given body */
    ACT_STALL,
    ACT_STALL_BODY, /* half the answer, then silence */
    ACT_CUT_HEAD,
    ACT_CUT_BODY,
    ACT_GARBAGE,     /* a 200 whose body is no JSON */
    ACT_GARBAGE_WIRE /* bytes that are no HTTP */
};

/* What to do with one call. Counted by reference: a call keeps its step while it waits. */
struct step {
    unsigned refs;
    enum act act;
    int status;               /* 0: 200, or what the error has */
    const char *error;        /* name in the table of errors; NULL: by status */
    char *text;               /* content of an answer, or the whole body */
    size_t text_n;            /* with text */
    char *headers;            /* more header lines */
    char *content_type;       /* NULL: the usual one */
    char *usage;              /* JSON in place of the usual one; NULL */
    int64_t delay_ms;         /* -1: the default */
    double tokens_per_second; /* -1: the default */
    size_t trickle_bytes;     /* 0: at once */
    int64_t trickle_ms;
    struct step *next; /* in the script */
    int64_t repeat;    /* calls left for it */
};

struct share {
    char what[24];
    double share;
    struct step *step;
};

enum voice { VOICE_FIXED, VOICE_ECHO, VOICE_DEMO };

struct defaults {
    int64_t latency_ms, jitter_ms;
    double tokens_per_second; /* 0: at once */
    enum voice voice;
    char *content; /* of VOICE_FIXED */
    struct share shares[SHARES_MAX];
    size_t n_shares;
    double retry_after; /* seconds; < 0: no such header */
};

struct call;

struct openai {
    struct loop *loop;
    struct httpd *server;
    struct reqlog *log;
    struct defaults now, at_start;
    struct step *script, **script_end;
    const char *keys[NAMES_MAX]; /* none: any key will do */
    size_t n_keys;
    enum auth_style { STYLE_BEARER, STYLE_AZURE, STYLE_NONE } style;
    const char *models[NAMES_MAX]; /* besides the names that look like OpenAI's */
    size_t n_models;
    bool any_model;
    uint64_t random;
    struct call *idle_calls;
    size_t in_flight, max_in_flight;
    uint64_t requests, client_left, refused; /* refused: 4xx that the caller earned by itself */
    uint64_t by_status[600];
    uint64_t acts[ACT_GARBAGE_WIRE + 1];
    struct buf body, headers; /* scratch */
};

/* openai_parse.c: NULL and *err when OpenAI would refuse it. */
struct chat *chat_parse(struct openai *o, struct str body, struct api_error *err);
void chat_unref(struct chat *c);
bool model_known(const struct openai *o, const char *model);
size_t count_tokens(const char *text, size_t n); /* a word with the blanks before it is one token */
size_t next_token(const char *text, size_t n);   /* its length; 0 at the end */

/* openai_reply.c */
const char *error_named(const char *name); /* the table's own text, NULL when there is no such error */
const char *error_names(void);
void error_fill(struct api_error *e, int status, const char *name, const struct chat *c);
void reply_error(struct openai *o, struct exchange *x, const struct api_error *e, const char *more_headers);
void write_headers(struct openai *o, int64_t ms, const char *more); /* into o->headers */
void write_completion(struct openai *o, struct buf *b, const struct chat *c, struct str content,
                      const char *usage);
struct str clip_tokens(const struct chat *c, struct str content, size_t *tokens, bool *clipped);
void write_id(struct openai *o, struct buf *b, const char *prefix, size_t digits);
void write_models(struct openai *o, struct buf *b);
void write_model(struct buf *b, const char *id);

/* One event of a stream. */
enum chunk_kind { CHUNK_ROLE, CHUNK_TEXT, CHUNK_FINISH, CHUNK_USAGE };
struct chunk {
    enum chunk_kind kind;
    int index;
    struct str text;
    bool clipped;
    size_t tokens;
    const char *usage; /* of a step; NULL */
};
void write_chunk(struct openai *o, struct buf *b, const struct chat *c, const char *id, int64_t created,
                 const struct chunk *k);

/* openai_call.c */
void call_start(struct openai *o, struct exchange *x, struct chat *c); /* takes the reference */
void call_done(struct openai *o, struct exchange *x);
void calls_free(struct openai *o);
struct step *step_new(void);
void step_unref(struct step *s);
void script_clear(struct openai *o);
void defaults_copy(struct defaults *to, const struct defaults *from);
void defaults_free(struct defaults *d);
/* "429", "quota", "stall", "cut"…; false when there is no such thing. share 0 removes it. */
bool set_share(struct defaults *d, const char *what, double share);

/* openai_admin.c, openai_route.c */
void admin_request(struct openai *o, struct exchange *x);
void route_request(void *arg, struct exchange *x);
void route_done(void *arg, struct exchange *x, enum httpd_end end);
void stats_reset(struct openai *o);

#endif
